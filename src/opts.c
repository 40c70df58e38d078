/* The command line and the config file: words into values, by the tables of the devices. */
#include "opts.h"

#include <string.h>

#include "device.h"
#include "num.h"
#include "text.h"

static struct {
	struct option_item items[CONFIG_ITEMS_MAX]; /* of lists */
	uint32_t count;
	char *words[CONFIG_WORDS_MAX]; /* of a line of the config file */
} state;

static const struct option common[OPT_COMMON_COUNT] = {
	[OPT_SOCKET_PATH] = { "socket-path", 's', OPTION_TEXT, "PATH", NULL, 0, 0,
		"listen on this unix socket (or connect to it: --client)" },
	[OPT_FD] = { "fd", 'f', OPTION_NUMBER, "N", NULL, 0, INT32_MAX,
		"use this open socket, listening or connected" },
	[OPT_CLIENT] = { "client", 0, OPTION_FLAG, NULL, NULL, 0, 0,
		"connect to --socket-path, where the front-end listens" },
	[OPT_NAME] = { "name", 0, OPTION_TEXT, "NAME", NULL, 0, 0,
		"call the device so in messages and counters (default: blk, blk2)" },
	[OPT_POLL_US] = { "poll-us", 0, OPTION_NUMBER, "N", "32", 0, 1000000,
		"look at the rings so long before sleeping" },
	[OPT_SANDBOX] = { "sandbox", 0, OPTION_CHOICE, "off|seccomp|full", "full", 0, 0,
		"what to give up before serving" },
	[OPT_USER] = { "user", 0, OPTION_TEXT, "USER[:GROUP]", NULL, 0, 0,
		"become this user once the files are open" },
	[OPT_CHROOT] = { "chroot", 0, OPTION_TEXT, "DIR", NULL, 0, 0,
		"go there once the files are open: sockets are inside" },
	[OPT_STATS] = { "stats", 0, OPTION_TEXT, "PATH", NULL, 0, 0,
		"who connects to this unix socket gets all counters as JSON" },
	[OPT_READY_FD] = { "ready-fd", 0, OPTION_NUMBER, "N", NULL, 3, INT32_MAX,
		"write a newline to this, and close it, when all is served" },
	[OPT_VERBOSE] = { "verbose", 'v', OPTION_FLAG, NULL, NULL, 0, 0,
		"say what happens, not only what fails" },
	[OPT_PRINT_CAPABILITIES] = { "print-capabilities", 'c', OPTION_FLAG, NULL, NULL, 0, 0,
		"print what the device can do as JSON, and exit" },
	[OPT_HELP] = { "help", 'h', OPTION_FLAG, NULL, NULL, 0, 0, "print this, and exit" },
};

/* Options of the class's own; there is no class for the words of the whole process. */
static int option_count(const struct device_class *class)
{
	return class ? class->option_count : 0;
}

static const struct option *option_at(const struct device_class *class, int i)
{
	return i < option_count(class) ? &class->options[i] : &common[i - option_count(class)];
}

static int option_total(const struct device_class *class)
{
	return option_count(class) + OPT_COMMON_COUNT;
}

/* A word that is an option: its place, or -1. *value is what follows a '=', or NULL. */
static int option_find(const struct device_class *class, const char *word, const char **value)
{
	*value = NULL;
	for (int i = 0; i < option_total(class); i++) {
		const struct option *o = option_at(class, i);
		size_t len = strlen(o->name);

		if (o->letter && word[0] == '-' && word[1] == o->letter && word[2] == 0)
			return i;
		if (word[0] != '-' || word[1] != '-' || strncmp(word + 2, o->name, len) != 0)
			continue;
		if (word[2 + len] == 0)
			return i;
		if (word[2 + len] == '=') {
			*value = word + 2 + len + 1;
			return i;
		}
	}
	return -1;
}

/* Digits, and for sizes one of K, M, G, T behind them. */
static bool parse_number(const char *text, bool size, uint64_t *number)
{
	uint64_t n = 0;
	unsigned shift = 0;

	if (*text < '0' || *text > '9')
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(n, 10u, &n) || !num_add(n, (uint64_t)(*text - '0'), &n))
			return false;
	if (size && *text) {
		static const char units[] = "KMGT";
		const char *unit = strchr(units, *text >= 'a' ? *text - 'a' + 'A' : *text);

		if (!unit)
			return false;
		shift = 10u * (unsigned)(unit - units + 1);
		text++;
	}
	if (*text || n > UINT64_MAX >> shift)
		return false;
	*number = n << shift;
	return true;
}

/* The place of a word among "a|b|c", or -1. */
static int parse_choice(const char *text, const char *choices)
{
	size_t len = strlen(text);

	for (int place = 0;; place++) {
		size_t n = strcspn(choices, "|");

		if (n == len && strncmp(choices, text, n) == 0)
			return place;
		if (choices[n] == 0)
			return -1;
		choices += n + 1;
	}
}

/* Adds a text to a list's; false after one line. */
static bool list_add(
	const char *name, const struct option *o, const char *text, struct option_value *value)
{
	struct option_item **last = &value->list;

	if (state.count == CONFIG_ITEMS_MAX) {
		log_error(name, "--%s=%s: there are %d such options already", o->name, text,
			CONFIG_ITEMS_MAX);
		return false;
	}
	while (*last)
		last = &(*last)->next;
	*last = &state.items[state.count++];
	**last = (struct option_item){ .text = text };
	return true;
}

/* Sets a value from its text; false after one line. */
static bool option_set(
	const char *name, const struct option *o, const char *text, struct option_value *value)
{
	uint64_t n = 0;

	if (o->kind == OPTION_NUMBER || o->kind == OPTION_SIZE) {
		if (!parse_number(text, o->kind == OPTION_SIZE, &n) || n < o->min || n > o->max) {
			log_error(name, "--%s=%s: not a %s from %llu to %llu", o->name, text,
				o->kind == OPTION_SIZE ? "size (K, M, G, T)" : "number",
				(unsigned long long)o->min, (unsigned long long)o->max);
			return false;
		}
	} else if (o->kind == OPTION_CHOICE) {
		int place = parse_choice(text, o->value_name);

		if (place < 0) {
			log_error(name, "--%s=%s: not one of %s", o->name, text, o->value_name);
			return false;
		}
		n = (uint64_t)place;
	} else if (o->kind == OPTION_LIST && !list_add(name, o, text, value)) {
		return false;
	}
	value->text = text;
	value->number = n;
	return true;
}

/* A way out that counts before everything else on the line. */
static bool asks_for(const struct device_class *class, int count, char **words, int which)
{
	const char *value;

	for (int i = 0; i < count; i++)
		if (option_find(class, words[i], &value) == option_count(class) + which && !value)
			return true;
	return false;
}

static int check_common(const char *name, const struct option_value *v)
{
	if (v[OPT_SOCKET_PATH].given && v[OPT_FD].given)
		log_error(name, "--socket-path and --fd exclude each other");
	else if (!v[OPT_SOCKET_PATH].given && !v[OPT_FD].given)
		log_error(name, "say where the front-end is: --socket-path=PATH or --fd=N");
	else if (v[OPT_CLIENT].given && !v[OPT_SOCKET_PATH].given)
		log_error(name, "--client needs --socket-path=PATH");
	else
		return EXIT_OK;
	return EXIT_USAGE;
}

/* Of a process, without a device: what belongs to one has no place there. */
static int check_process(const char *name, const struct option_value *v)
{
	for (int i = OPT_SOCKET_PATH; i <= OPT_NAME; i++)
		if (v[i].given) {
			log_error(name, "--%s belongs to a device", common[i].name);
			return EXIT_USAGE;
		}
	return EXIT_OK;
}

static bool set_defaults(
	const char *name, const struct device_class *class, struct option_value *values)
{
	for (int i = 0; i < option_total(class); i++) {
		const struct option *o = option_at(class, i);

		values[i] = (struct option_value){ 0 };
		if (o->default_text && !option_set(name, o, o->default_text, &values[i]))
			return false;
	}
	return true;
}

/* The option at words[*i], with its value there or in the next word. */
static bool take_option(const struct device_class *class, const char *name, int count, char **words,
	int *i, struct option_value *values)
{
	const char *text;
	int place = option_find(class, words[*i], &text);
	const struct option *o;

	if (place < 0) {
		log_error(name, "%s: no such option (see vubox %s --help)", words[*i],
			class ? class->name : "DEVICE");
		return false;
	}
	o = option_at(class, place);
	if (o->kind == OPTION_FLAG ? text != NULL : !text && ++*i == count) {
		log_error(name, "--%s %s", o->name, text ? "takes no value" : "needs a value");
		return false;
	}
	values[place].given = true;
	return o->kind == OPTION_FLAG ||
	       option_set(name, o, text ? text : words[*i], &values[place]);
}

int opts_parse(const struct device_class *class, const char *where, int count, char **words,
	struct option_value *values)
{
	const char *name = where ? where : class->name;

	if (!set_defaults(name, class, values))
		return EXIT_USAGE;
	for (int which = OPT_PRINT_CAPABILITIES; which <= OPT_HELP; which++)
		if (asks_for(class, count, words, which)) {
			values[option_count(class) + which].given = true;
			return EXIT_OK;
		}
	for (int i = 0; i < count; i++)
		if (!take_option(class, name, count, words, &i, values))
			return EXIT_USAGE;
	return class ? check_common(name, values + option_count(class))
		     : check_process(name, values);
}

/* ---- what is printed ---- */

const char *opts_program(const char *program)
{
	static const char *const prefixes[] = { "vhost-user-", "virtio-" };
	const char *slash = strrchr(program, '/');
	const char *name = slash ? slash + 1 : program;

	for (size_t i = 0; i < countof(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return name + strlen(prefixes[i]);
	return NULL;
}

static void print(const char *text)
{
	port_write_out(text, strlen(text));
}

void opts_list(void)
{
	for (const struct device_class *const *c = device_table; *c; c++) {
		char line[128];

		(void)text_format(line, sizeof(line), "%s\t%s\n", (*c)->name, (*c)->summary);
		print(line);
	}
}

void opts_capabilities(const struct device_class *class)
{
	char line[256];

	(void)text_format(line, sizeof(line), "{\n  \"type\": \"%s\"%s%s\n}\n", class->json_type,
		class->json_features ? ",\n  \"features\": " : "", class->json_features);
	print(line);
}

/* Help starts in this column. */
enum { HELP_COLUMN = 34 };

static void print_option(const struct option *o)
{
	char line[400];
	size_t n = o->letter ? text_format(line, sizeof(line), "  -%c,", o->letter)
			     : text_format(line, sizeof(line), "     ");

	n += text_format(line + n, sizeof(line) - n, " --%s%s%s", o->name, o->value_name ? "=" : "",
		o->value_name);
	do
		line[n++] = ' ';
	while (n < HELP_COLUMN);
	n += text_format(line + n, sizeof(line) - n, "%s", o->help);
	if (o->default_text)
		n += text_format(line + n, sizeof(line) - n, " (default: %s)",
			o->default_text[0] ? o->default_text : "none");
	(void)text_format(line + n, sizeof(line) - n, "\n");
	print(line);
}

void opts_help(const struct device_class *class)
{
	if (!class) {
		print("usage: vubox DEVICE --socket-path=PATH [options] [-- DEVICE ...]\n"
		      "       vubox --config=FILE [options]\n"
		      "       vubox --list | --version | --help\n"
		      "       vubox DEVICE --help\n"
		      "Serves VirtIO devices to a virtual machine over vhost-user.\n");
		return;
	}
	print("usage: vubox ");
	print(class->name);
	print(" --socket-path=PATH [options]\nServes VirtIO over vhost-user: ");
	print(class->summary);
	print("\n");
	for (int i = 0; i < option_total(class); i++)
		print_option(option_at(class, i));
}

/* ---- the config file ---- */

/* Cuts the next word off *text, in place: quotes group, a backslash takes what follows as it is. */
static char *next_word(char **text, bool *unclosed)
{
	char *from = *text, *to, *word, quote = 0;

	while (*from == ' ' || *from == '\t' || *from == '\r')
		from++;
	if (*from == 0 || *from == '#')
		return NULL;
	for (word = to = from; *from && (quote || (*from != ' ' && *from != '\t' && *from != '\r'));
		from++) {
		if (*from == '\\' && quote != '\'' && from[1])
			*to++ = *++from;
		else if (*from == quote)
			quote = 0;
		else if (!quote && (*from == '"' || *from == '\''))
			quote = *from;
		else
			*to++ = *from;
	}
	*unclosed = quote != 0;
	*text = *from ? from + 1 : from;
	*to = 0;
	return word;
}

static int config_line(
	const char *where, char *line, int (*fn)(const char *where, int count, char **words))
{
	bool unclosed = false;
	int count = 0;
	char *word;

	while ((word = next_word(&line, &unclosed))) {
		if (unclosed) {
			log_error(where, "a quote is not closed");
			return EXIT_USAGE;
		}
		if (count == CONFIG_WORDS_MAX) {
			log_error(where, "too many words");
			return EXIT_USAGE;
		}
		state.words[count++] = word;
	}
	return count > 0 ? fn(where, count, state.words) : EXIT_OK;
}

int opts_config(const char *path, char *text, int (*fn)(const char *where, int count, char **words))
{
	int result = EXIT_OK;

	for (unsigned number = 1; *text && result == EXIT_OK; number++) {
		char where[64];
		size_t len = strcspn(text, "\n"), path_len = strlen(path);
		bool last = text[len] == 0;
		char *line = text;

		/* A long path loses its beginning, not its line. */
		(void)text_format(where, sizeof(where), "%s%s:%u", path_len > 48 ? "..." : "",
			path_len > 48 ? path + path_len - 45 : path, number);
		text += len + !last;
		line[len] = 0;
		result = config_line(where, line, fn);
	}
	return result;
}
