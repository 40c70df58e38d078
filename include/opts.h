/* The command line: what parser, --help and config file share. */
#ifndef VUBOX_OPTS_H
#define VUBOX_OPTS_H

#include "option.h"

/* Options of every device, at these places behind the device's own. */
enum {
	OPT_SOCKET_PATH,
	OPT_FD,
	OPT_CLIENT,
	OPT_NAME,
	OPT_POLL_US,
	OPT_SANDBOX,
	OPT_USER,
	OPT_CHROOT,
	OPT_STATS,
	OPT_READY_FD,
	OPT_VERBOSE,
	OPT_PRINT_CAPABILITIES,
	OPT_HELP,
	OPT_COMMON_COUNT
};
enum { OPTIONS_MAX = 40 };

struct device_class;

/*
 * Parses the words of one device (without its name) into values: the class's options first, then
 * the common ones. `where` is NULL or "FILE:LINE". Without a class, the words are of the whole
 * process, and `where` is not NULL. Returns EXIT_OK, or EXIT_USAGE after one line.
 */
int opts_parse(const struct device_class *class, const char *where, int count, char **words,
	struct option_value *values);

/* What a symlink's name says: "blk" for vhost-user-blk and virtio-blk. NULL: nothing. */
const char *opts_program(const char *program);

/* Prints the table of devices; what a device can do, as JSON. */
void opts_list(void);
void opts_capabilities(const struct device_class *class);

/* Prints the help of a device, or of vubox itself (class NULL), on stdout. */
void opts_help(const struct device_class *class);

/*
 * Splits a config file's text in place into words; each line is one device. Calls fn for each line
 * that has words, with "FILE:LINE". Stops at the first result that is not EXIT_OK.
 */
int opts_config(
	const char *path, char *text, int (*fn)(const char *where, int count, char **words));

#endif
