/* One line on stderr for whoever runs vubox: what failed, on what, why. */
#ifndef VUBOX_LOG_H
#define VUBOX_LOG_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A line `vubox: NAME: text`; NAME is a device's name, or NULL for the process. Lines are cut
 * at 512 bytes, control characters become '?', and a reader of stderr that is slow loses lines:
 * the loop never waits for it.
 */
__attribute__((format(printf, 2, 3))) void log_error(const char *name, const char *format, ...);

/* The same, only with -v. */
__attribute__((format(printf, 2, 3))) void log_info(const char *name, const char *format, ...);

void log_verbose(bool on);

/*
 * Lines that a guest or a front-end can cause again and again: at most ten in each ten seconds for
 * one source, then silence, then the number of lines that were lost. Zero is a fresh limit.
 */
struct log_limit {
	uint64_t window_ns;
	uint32_t said;
	uint32_t lost;
};

/* True if a line may be written now. */
bool log_allow(struct log_limit *limit, const char *name);

/* The text of a negative errno value. */
const char *log_errno(int error);

#endif
