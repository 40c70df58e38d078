/* src/base/text.c: a small printf. */
#include "text.h"

#include <limits.h>

#include "fake_port.h"
#include "unit.h"

static char buf[64];

static const char *formatted(size_t len)
{
	CHECK_EQ(len, strlen(buf));
	return buf;
}
#define FORMAT(...) formatted(text_format(buf, sizeof(buf), __VA_ARGS__))

CASE(plain_text_stays)
{
	CHECK_TEXT(FORMAT("%s", ""), "");
	CHECK_TEXT(FORMAT("plain"), "plain");
	CHECK_TEXT(FORMAT("100%% of it"), "100% of it");
}

CASE(strings)
{
	const char *volatile none = NULL; /* gcc would warn of it */

	CHECK_TEXT(FORMAT("[%s]", "text"), "[text]");
	CHECK_TEXT(FORMAT("[%s]", none), "[]");
	CHECK_TEXT(FORMAT("[%.*s]", 2, "text"), "[te]");
	CHECK_TEXT(FORMAT("[%.*s]", 9, "text"), "[text]");
	CHECK_TEXT(FORMAT("[%.*s]", 0, "text"), "[]");
	CHECK_TEXT(FORMAT("[%c%c]", 'a', '%'), "[a%]");
}

CASE(numbers)
{
	CHECK_TEXT(FORMAT("%d %d %d", 0, 7, -7), "0 7 -7");
	CHECK_TEXT(FORMAT("%d %d", INT_MAX, INT_MIN), "2147483647 -2147483648");
	CHECK_TEXT(FORMAT("%u %x", UINT_MAX, UINT_MAX), "4294967295 ffffffff");
	CHECK_TEXT(FORMAT("%x %x", 0u, 0x1234abcdu), "0 1234abcd");
	CHECK_TEXT(FORMAT("%llu", ULLONG_MAX), "18446744073709551615");
	CHECK_TEXT(FORMAT("%llu%s", 1ull, "u"), "1u");
}

CASE(what_is_too_long_is_cut)
{
	char small[8];

	memset(small, 'x', sizeof(small));
	CHECK_EQ(text_format(small, 4, "%s%s", "ab", "cdef"), 3);
	CHECK_BYTES(small, "abc\0xxxx", 8);
	CHECK_EQ(text_format(small, 4, "%d", 12345), 3);
	CHECK_TEXT(small, "123");
	CHECK_EQ(text_format(small, 1, "%s", "abc"), 0);
	CHECK_TEXT(small, "");
}

static void format_unknown(void *format)
{
	(void)text_format(buf, sizeof(buf), format, 1.0);
}

CASE(a_conversion_it_does_not_know_is_a_bug)
{
	CHECK_EQ(fake_run(format_unknown, "%f"), FAKE_ABORTED);
	CHECK_EQ(fake_run(format_unknown, "%"), FAKE_ABORTED);
}
