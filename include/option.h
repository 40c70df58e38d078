/* Options as data: each device has a table of them, and main one for what is common to all. */
#ifndef VUBOX_OPTION_H
#define VUBOX_OPTION_H

#include <stdbool.h>
#include <stdint.h>

enum option_kind {
	OPTION_FLAG,
	OPTION_TEXT,
	OPTION_NUMBER,
	OPTION_SIZE,
	OPTION_CHOICE,
	OPTION_LIST /* a text, and each time that it is given counts */
};

struct option {
	const char *name;       /* without the dashes */
	char letter;            /* of the short form, or 0 */
	uint8_t kind;           /* enum option_kind */
	const char *value_name; /* for --help, NULL for flags; for a choice "a|b|c" */
	const char
		*default_text; /* for --help, and parsed when the option is not given; NULL: none */
	uint64_t min, max;     /* of numbers and sizes */
	const char *help;
};

/* The texts of a list, in their order. */
struct option_item {
	const char *text;
	struct option_item *next;
};

/*
 * number: of numbers, sizes (bytes), and the place of a choice among its words. text: of a list,
 * the last one.
 */
struct option_value {
	const char *text;
	struct option_item *list;
	uint64_t number;
	bool given;
};

/* Exit codes (the command line's promise). */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#endif
