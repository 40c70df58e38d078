/* src/opts.c: words into values, help, and the config file. */
#include "opts.h"

#include <stdio.h>

#include "device.h"
#include "fake_port.h"
#include "num.h"
#include "unit.h"

enum { FLAG, TEXT, NUMBER, SIZE, CHOICE, LIST, COUNT };

static const struct option options[COUNT] = {
	[FLAG] = { "flag", 'F', OPTION_FLAG, NULL, NULL, 0, 0, "a flag" },
	[TEXT] = { "text", 't', OPTION_TEXT, "T", "none given", 0, 0, "a text" },
	[NUMBER] = { "number", 'n', OPTION_NUMBER, "N", "7", 1, 100, "a number" },
	[SIZE] = { "size", 0, OPTION_SIZE, "N", NULL, 512, INT64_MAX, "a size" },
	[CHOICE] = { "choice", 0, OPTION_CHOICE, "one|two|twofold", "two", 0, 0, "a choice" },
	[LIST] = { "list", 'l', OPTION_LIST, "TEXT", NULL, 0, 0, "any number of texts" },
};
static const struct device_class class = {
	.name = "dev", .summary = "a device", .options = options, .option_count = COUNT
};

static struct option_value values[OPTIONS_MAX];
static const struct option_value *const common = values + COUNT;

/* Parses a line that is cut at spaces; "~" stands for an empty word. */
static int parse(const char *line)
{
	static char text[400];
	static char *words[40];
	char *rest;
	int count = 0;

	fake_reset(1);
	(void)snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		words[count++] = strcmp(word, "~") == 0 ? word + 1 : word;
	return opts_parse(&class, NULL, count, words, values);
}

#define CHECK_USAGE(line, text)                                          \
	(CHECK_EQ(parse(line), EXIT_USAGE), CHECK_EQ(fake.log_lines, 1), \
		CHECK_TEXT(fake.log, "vubox: dev: " text "\n"))

CASE(defaults)
{
	CHECK_EQ(parse("--socket-path=/s"), EXIT_OK);
	CHECK(!values[FLAG].given && !values[TEXT].given && !values[NUMBER].given);
	CHECK_TEXT(values[TEXT].text, "none given");
	CHECK_EQ(values[NUMBER].number, 7);
	CHECK(values[SIZE].text == NULL && values[SIZE].number == 0);
	CHECK_EQ(values[CHOICE].number, 1);
	CHECK_TEXT(common[OPT_SOCKET_PATH].text, "/s");
	CHECK_EQ(common[OPT_POLL_US].number, 32);
	CHECK_TEXT(common[OPT_SANDBOX].text, "full");
	CHECK(common[OPT_SANDBOX].number == 2 && !common[OPT_SANDBOX].given);
	CHECK(!common[OPT_USER].text && !common[OPT_CHROOT].text);
}

CASE(options_of_the_process)
{
	CHECK_EQ(parse("-s /s --sandbox=off --user=vm:vm --chroot=/run"), EXIT_OK);
	CHECK(common[OPT_SANDBOX].number == 0 && common[OPT_SANDBOX].given);
	CHECK_TEXT(common[OPT_USER].text, "vm:vm");
	CHECK_TEXT(common[OPT_CHROOT].text, "/run");
	CHECK_EQ(parse("-s /s --sandbox seccomp"), EXIT_OK);
	CHECK_EQ(common[OPT_SANDBOX].number, 1);
	CHECK_USAGE("-s /s --sandbox=on", "--sandbox=on: not one of off|seccomp|full");
	CHECK_USAGE("-s /s --user", "--user needs a value");
}

CASE(a_list_of_texts)
{
	const struct option_item *i;

	CHECK_EQ(parse("-s /s --list=one -l two --list three --list="), EXIT_OK);
	i = values[LIST].list;
	CHECK(values[LIST].given && i);
	CHECK_TEXT(i->text, "one");
	CHECK_TEXT(i->next->text, "two");
	CHECK_TEXT(i->next->next->text, "three");
	CHECK_TEXT(i->next->next->next->text, "");
	CHECK(!i->next->next->next->next);
	CHECK_EQ(parse("-s /s -l four"), EXIT_OK); /* another device's */
	CHECK_TEXT(values[LIST].list->text, "four");
	CHECK(!values[LIST].list->next);
	CHECK_EQ(parse("-s /s"), EXIT_OK);
	CHECK(!values[LIST].given && !values[LIST].list);
	CHECK_USAGE("-s /s --list", "--list needs a value");
}

CASE(more_texts_than_there_is_room_for)
{
	for (unsigned i = 0; i < CONFIG_ITEMS_MAX / 2; i++)
		CHECK_EQ(parse("-s /s --list=a --list=b"), EXIT_OK);
	CHECK_USAGE("-s /s --list=c", "--list=c: there are 64 such options already");
}

CASE(every_form_of_an_option)
{
	static const char *const forms[] = { "-n 5", "--number 5", "--number=5" };

	for (unsigned i = 0; i < countof(forms); i++) {
		char line[100];

		(void)snprintf(line, sizeof(line), "%s -s /s -F", forms[i]);
		CHECK_EQ(parse(line), EXIT_OK);
		CHECK(values[NUMBER].given && values[NUMBER].number == 5);
		CHECK(values[FLAG].given);
		CHECK_TEXT(common[OPT_SOCKET_PATH].text, "/s");
	}
}

CASE(the_last_one_counts)
{
	CHECK_EQ(parse("-s /a --number=5 -s /b --number=6"), EXIT_OK);
	CHECK_EQ(values[NUMBER].number, 6);
	CHECK_TEXT(common[OPT_SOCKET_PATH].text, "/b");
}

CASE(a_value_may_be_empty_or_look_like_an_option)
{
	CHECK_EQ(parse("-s /s --text="), EXIT_OK);
	CHECK_TEXT(values[TEXT].text, "");
	CHECK_EQ(parse("-s /s --text ~"), EXIT_OK);
	CHECK_TEXT(values[TEXT].text, "");
	CHECK_EQ(parse("-s /s --text --flag"), EXIT_OK);
	CHECK_TEXT(values[TEXT].text, "--flag");
	CHECK(!values[FLAG].given);
	CHECK_EQ(parse("-s /s --text=a=b"), EXIT_OK);
	CHECK_TEXT(values[TEXT].text, "a=b");
}

CASE(words_that_are_no_options)
{
	CHECK_USAGE("-s /s ~", ": no such option (see vubox dev --help)");
	CHECK_USAGE("-s /s -", "-: no such option (see vubox dev --help)");
	CHECK_USAGE("-s /s word", "word: no such option (see vubox dev --help)");
	CHECK_USAGE("-s /s -z", "-z: no such option (see vubox dev --help)");
	CHECK_USAGE("-s /s --flags", "--flags: no such option (see vubox dev --help)");
	CHECK_USAGE("-s /s --fla", "--fla: no such option (see vubox dev --help)");
	CHECK_USAGE("-s /s -FF", "-FF: no such option (see vubox dev --help)");
	CHECK_USAGE("-s /s -n5", "-n5: no such option (see vubox dev --help)");
}

CASE(values_that_are_missing_or_too_many)
{
	CHECK_USAGE("-s", "--socket-path needs a value");
	CHECK_USAGE("-s /s --number", "--number needs a value");
	CHECK_USAGE("-s /s --flag=1", "--flag takes no value");
	CHECK_USAGE("-s /s --flag=", "--flag takes no value");
}

CASE(numbers)
{
	static const char *const wrong[] = { "0", "101", "-1", "+5", "5x", "5K", "x", "0x5", "5 ",
		"18446744073709551616", "99999999999999999999999" };
	struct option_value v[OPTIONS_MAX];

	CHECK_EQ(parse("-s /s --number=1"), EXIT_OK);
	CHECK_EQ(parse("-s /s --number=100"), EXIT_OK);
	CHECK_EQ(parse("-s /s --number=0042"), EXIT_OK);
	CHECK_EQ(values[NUMBER].number, 42);
	for (unsigned i = 0; i < countof(wrong); i++) {
		char word[60];
		char *words[3] = { "-s", "/s", word };

		(void)snprintf(word, sizeof(word), "--number=%s", wrong[i]);
		CHECK_EQ(opts_parse(&class, "file:3", 3, words, v), EXIT_USAGE);
	}
	CHECK_USAGE("-s /s --number=", "--number=: not a number from 1 to 100");
}

CASE(sizes)
{
	static const struct {
		const char *line;
		uint64_t bytes;
	} right[] = { { "512", 512 }, { "1K", 1024 }, { "1k", 1024 }, { "3M", 3 << 20 },
		{ "2g", 2ull << 30 }, { "5T", 5ull << 40 }, { "9223372036854775807", INT64_MAX },
		{ "8388607T", 8388607ull << 40 } };
	static const char *const wrong[] = { "511", "0K", "1KB", "1P", "K", "1KK", "1 K", "1{",
		"8388608T", "16777216T", "99999999999G", "9223372036854775808" };
	char line[100];

	for (unsigned i = 0; i < countof(right); i++) {
		(void)snprintf(line, sizeof(line), "-s /s --size=%s", right[i].line);
		CHECK_EQ(parse(line), EXIT_OK);
		CHECK_EQ(values[SIZE].number, right[i].bytes);
	}
	for (unsigned i = 0; i < countof(wrong); i++) {
		(void)snprintf(line, sizeof(line), "-s /s --size=%s", wrong[i]);
		CHECK_EQ(parse(line), EXIT_USAGE);
	}
}

CASE(choices)
{
	CHECK_EQ(parse("-s /s --choice=one"), EXIT_OK);
	CHECK_EQ(values[CHOICE].number, 0);
	CHECK_EQ(parse("-s /s --choice=twofold"), EXIT_OK);
	CHECK_EQ(values[CHOICE].number, 2);
	CHECK_USAGE("-s /s --choice=tw", "--choice=tw: not one of one|two|twofold");
	CHECK_USAGE("-s /s --choice=", "--choice=: not one of one|two|twofold");
	CHECK_USAGE("-s /s --choice=one|two", "--choice=one|two: not one of one|two|twofold");
}

CASE(where_the_front_end_is)
{
	CHECK_USAGE("--flag", "say where the front-end is: --socket-path=PATH or --fd=N");
	CHECK_USAGE("-s /s --fd=3", "--socket-path and --fd exclude each other");
	CHECK_USAGE("--fd=3 --client", "--client needs --socket-path=PATH");
	CHECK_EQ(parse("--fd=3"), EXIT_OK);
	CHECK_EQ(parse("-s /s --client"), EXIT_OK);
}

CASE(help_and_capabilities_count_before_all_else)
{
	CHECK_EQ(parse("--nonsense --help"), EXIT_OK);
	CHECK(common[OPT_HELP].given);
	CHECK_EQ(parse("--nonsense -c"), EXIT_OK);
	CHECK(common[OPT_PRINT_CAPABILITIES].given);
	CHECK_USAGE("-s /s --help=5", "--help takes no value");
}

CASE(a_default_that_its_own_range_refuses)
{
	static const struct option odd[] = { { "odd", 0, OPTION_NUMBER, "N", "9", 1, 5, "" } };
	static const struct device_class other = { .name = "o", .options = odd, .option_count = 1 };

	fake_reset(1);
	CHECK_EQ(opts_parse(&other, NULL, 0, NULL, values), EXIT_USAGE);
}

CASE(help_has_a_line_for_every_option)
{
	fake_reset(1);
	opts_help(&class);
	CHECK(strstr(fake.out, "usage: vubox dev --socket-path=PATH [options]\n"));
	CHECK(strstr(fake.out, "\n  -F, --flag                      a flag\n"));
	CHECK(strstr(fake.out, "\n  -n, --number=N                  a number (default: 7)\n"));
	CHECK(strstr(fake.out, "\n      --size=N                    a size\n"));
	CHECK(strstr(fake.out, " (default: two)\n"));
	CHECK(strstr(fake.out, "--print-capabilities"));
	opts_help(NULL);
	CHECK(strstr(fake.out, "--config=FILE"));
}

/* ---- the config file ---- */

static char seen[400];
static int fn_result;

/* Words in brackets, and where. */
static int note_line(const char *where, int count, char **words)
{
	strcat(seen, where);
	for (int i = 0; i < count; i++) {
		strcat(seen, " [");
		strcat(seen, words[i]);
		strcat(seen, "]");
	}
	strcat(seen, "\n");
	return fn_result;
}

static int config(const char *path, const char *text)
{
	static char copy[CONFIG_FILE_MAX + 1];

	fake_reset(1);
	seen[0] = 0;
	(void)snprintf(copy, sizeof(copy), "%s", text);
	return opts_config(path, copy, note_line);
}

#define CHECK_CONFIG(text, expected) \
	(CHECK_EQ(config("f", text), EXIT_OK), CHECK_TEXT(seen, expected))

CASE(lines_are_devices)
{
	CHECK_CONFIG("", "");
	CHECK_CONFIG("one", "f:1 [one]\n");
	CHECK_CONFIG("one two\n\n  three\tfour  \n", "f:1 [one] [two]\nf:3 [three] [four]\n");
	CHECK_CONFIG("one\r\ntwo\r\n", "f:1 [one]\nf:2 [two]\n");
	CHECK_CONFIG("# all\n \t# of it\none # two\nthree#four\n", "f:3 [one]\nf:4 [three#four]\n");
}

CASE(quotes_and_backslashes)
{
	CHECK_CONFIG("'a b' \"c d\" e' 'f", "f:1 [a b] [c d] [e f]\n");
	CHECK_CONFIG("'' \"\"", "f:1 [] []\n");
	CHECK_CONFIG("'it''s' \"it's\" 'a\"b'", "f:1 [its] [it's] [a\"b]\n");
	CHECK_CONFIG("a\\ b \\# \"\\\"\" '\\' \\\\", "f:1 [a b] [#] [\"] [\\] [\\]\n");
	CHECK_CONFIG("a\\", "f:1 [a\\]\n");
	CHECK_CONFIG("'# no comment'", "f:1 [# no comment]\n");
}

CASE(a_quote_that_is_not_closed)
{
	CHECK_EQ(config("f", "one\n'two\nthree'"), EXIT_USAGE);
	CHECK_TEXT(seen, "f:1 [one]\n");
	CHECK_TEXT(fake.log, "vubox: f:2: a quote is not closed\n");
}

CASE(too_many_words)
{
	static char text[3 * CONFIG_WORDS_MAX];

	for (unsigned i = 0; i < CONFIG_WORDS_MAX + 1; i++)
		memcpy(text + 2 * i, "x ", 2);
	seen[0] = 0;
	fake_reset(1);
	CHECK_EQ(opts_config("f", text, note_line), EXIT_USAGE);
	CHECK_TEXT(fake.log, "vubox: f:1: too many words\n");
}

CASE(the_first_line_that_fails_is_the_last)
{
	fn_result = EXIT_FAILED;
	CHECK_EQ(config("f", "one\ntwo\n"), EXIT_FAILED);
	CHECK_TEXT(seen, "f:1 [one]\n");
}

CASE(a_long_path_keeps_its_end)
{
	CHECK_EQ(config("/a/very/long/path/that/is/longer/than/a/line/wants/vubox.conf", "one"),
		EXIT_OK);
	CHECK_TEXT(seen, "...h/that/is/longer/than/a/line/wants/vubox.conf:1 [one]\n");
}
