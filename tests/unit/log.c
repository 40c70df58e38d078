/* src/base/log.c: lines on stderr. */
#include "log.h"

#include <errno.h>

#include "fake_port.h"
#include "unit.h"

#define SECOND 1000000000ull

CASE(a_line_says_who_and_what)
{
	fake_reset(1);
	log_error("blk", "%s is %u", "it", 7u);
	CHECK_TEXT(fake.log, "vubox: blk: it is 7\n");
	fake_log_clear();
	log_error(NULL, "text");
	CHECK_TEXT(fake.log, "vubox: text\n");
}

CASE(information_only_if_wanted)
{
	fake_reset(1);
	log_info("blk", "one");
	log_verbose(true);
	log_info("blk", "two");
	log_verbose(false);
	log_info("blk", "three");
	CHECK_TEXT(fake.log, "vubox: blk: two\n");
}

CASE(a_terminal_is_not_driven)
{
	fake_reset(1);
	log_error("a\nb", "\033[2J\r\t\177\001 \303\244");
	CHECK_TEXT(fake.log, "vubox: a?b: ?[2J???? \303\244\n");
}

CASE(a_long_line_is_cut_and_ends)
{
	char text[2000], name[200];

	fake_reset(1);
	memset(text, 'x', sizeof(text) - 1);
	memset(name, 'n', sizeof(name) - 1);
	text[sizeof(text) - 1] = name[sizeof(name) - 1] = 0;
	log_error(name, "%s", text);
	CHECK(fake.log_len > 500 && fake.log_len <= 512);
	CHECK(strchr(fake.log, '\n') == fake.log + fake.log_len - 1);
	CHECK_EQ(strspn(fake.log + 7, "n"), 128);
}

/* How many of n lines are allowed at this time. */
static int allowed(struct log_limit *limit, int n)
{
	int count = 0;

	while (n-- > 0)
		count += log_allow(limit, "blk");
	return count;
}

CASE(one_source_gets_ten_lines_in_ten_seconds)
{
	struct log_limit a = { 0 }, b = { 0 };

	fake_reset(1);
	CHECK_EQ(allowed(&a, 25), 10);
	CHECK_EQ(allowed(&b, 10), 10);
	fake.now_ns += 9 * SECOND;
	CHECK_EQ(allowed(&a, 5), 0);
	CHECK_TEXT(fake.log, "");
}

CASE(then_it_says_how_many_were_lost)
{
	struct log_limit a = { 0 };

	fake_reset(1);
	CHECK_EQ(allowed(&a, 25), 10);
	fake.now_ns += 11 * SECOND;
	CHECK_EQ(allowed(&a, 1), 1);
	CHECK_TEXT(fake.log, "vubox: blk: 15 more lines like this were left out\n");
	fake_log_clear();
	fake.now_ns += 11 * SECOND;
	CHECK_EQ(allowed(&a, 11), 10);
	CHECK_TEXT(fake.log, "");
}

CASE(errors_have_a_text)
{
	CHECK_TEXT(log_errno(-ENOENT), log_errno(ENOENT));
	CHECK(strlen(log_errno(-ENOENT)) > 0);
}
