/*
 * Cases that start the real program. Each case runs in a process of its own with a directory of its
 * own: when it ends, however it ends, its descriptors, files and children are gone.
 *
 *     SUITE             runs all cases: one `ok`, `not ok` or `skip` line for each
 *     SUITE CASE...     runs these; --list names them
 *
 * Environment: VUBOX (./vubox) is the program, WAIT_MS (20000) how long an answer may take before
 * it counts as a hang, TMPDIR (/var/tmp) where the directories are made.
 */
#ifndef VUBOX_TESTS_HARNESS_H
#define VUBOX_TESTS_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- cases ---- */

struct harness_case {
	const char *name;
	void (*run)(const char *with);
	const char *with;   /* a word for the case, such as an I/O engine, or NULL */
	const char *format; /* of its rings: "split" (NULL too) or "packed" */
};

/* clang-format off */
#define CASE_WITH(function, with) { #function, function, with, NULL }
#define CASE(function) CASE_WITH(function, NULL)
#define CASE_OF_EACH_ENGINE(function) \
	CASE_WITH(function, "auto"), CASE_WITH(function, "uring"), CASE_WITH(function, "mmap"), \
	CASE_WITH(function, "sync")
#define CASE_WITH_EACH_FORMAT(function, with) \
	{ #function, function, with, "split" }, \
	{ #function, function, with, "packed" }
#define CASE_OF_EACH_FORMAT(function) CASE_WITH_EACH_FORMAT(function, NULL)
#define CASE_OF_EACH(function) /* engine and format */ \
	CASE_WITH_EACH_FORMAT(function, "auto"), \
	CASE_WITH_EACH_FORMAT(function, "uring"), \
	CASE_WITH_EACH_FORMAT(function, "mmap"), \
	CASE_WITH_EACH_FORMAT(function, "sync")
#define CASE_PACKED_WITH(function, with) { #function, function, with, "packed" }
#define CASE_PACKED(function) CASE_PACKED_WITH(function, NULL)
/* clang-format on */

/* Whether the case that runs is to use packed rings. */
bool harness_packed(void);

int harness_main(int argc, char **argv, const struct harness_case *cases, unsigned count);
#define HARNESS_MAIN(cases)                                                                 \
	int main(int argc, char **argv)                                                     \
	{                                                                                   \
		return harness_main(argc, argv, cases, sizeof(cases) / sizeof((cases)[0])); \
	}

/* Ends the case as failed, or as one that this machine cannot run. */
__attribute__((noreturn, format(printf, 3, 4))) void harness_fail(
	const char *file, int line, const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void harness_skip(const char *format, ...);
/* A line for the reader of the results. */
__attribute__((format(printf, 1, 2))) void harness_say(const char *format, ...);

/* They end the case if what they say is not so. */
#define HERE                         __FILE__, __LINE__
#define CHECK(condition)             ((condition) ? (void)0 : harness_fail(HERE, "%s", #condition))
#define CHECK_EQ(is, should)         check_eq(HERE, #is, (long long)(is), (long long)(should))
#define CHECK_BYTES(is, should, len) check_bytes(HERE, #is, is, should, len)

void check_eq(const char *file, int line, const char *what, long long is, long long should);
void check_bytes(const char *file, int line, const char *what, const void *is, const void *should,
	size_t len);

/* Looks until the condition is true, as long as WAIT_MS. */
#define UNTIL(condition)                                               \
	for (uint64_t until_us = harness_deadline_us(); !(condition);) \
	harness_pause(until_us, HERE, #condition)

uint64_t harness_deadline_us(void);
void harness_pause(uint64_t until_us, const char *file, int line, const char *what);
int harness_wait_ms(void);

/* A path in the case's directory; it stays valid. */
const char *harness_path(const char *name);
/* Makes a sparse file of so many bytes in the case's directory. */
const char *harness_file(const char *name, uint64_t bytes);
/* The same pseudo-random numbers on every run, unless the case has called harness_seed. */
uint64_t harness_random(void);
/* Other numbers on each run: SEED, or one that is printed. */
void harness_seed(void);
void harness_fill(void *bytes, size_t len);

/* ---- the program ---- */

struct vubox {
	pid_t pid;
	char socket[100]; /* of its first device, by convention */
	char log[100];    /* what it says on stderr */
};

/* Runs VUBOX with these words; a NULL ends them. pass_fd (or -1) is fd 3 there. */
void vubox_exec(struct vubox *v, int pass_fd, const char *const *words);
/* Runs in the process that is to become the program, before it does. NULL: nothing. */
void vubox_before_exec(void (*hook)(void));
/* DEVICE --socket-path=… and more words; does not wait. */
void vubox_start(struct vubox *v, const char *device, const char *const *words);
/* Ends it with SIGTERM, or another signal, and returns its exit status (or -signal). */
int vubox_end(struct vubox *v, int signal);
/* Waits for it to end by itself. */
int vubox_wait(struct vubox *v);
bool vubox_lives(const struct vubox *v);
/* Whether, and how often, it has said this. */
bool vubox_said(const struct vubox *v, const char *text);
unsigned vubox_said_times(const struct vubox *v, const char *text);

unsigned vubox_fds(const struct vubox *v);
unsigned vubox_maps(const struct vubox *v);
unsigned vubox_rss_kib(const struct vubox *v);
/* Processor time that it has used. */
uint64_t vubox_cpu_ns(const struct vubox *v);
/* Built with sanitizers: memory and time are not its own. */
bool vubox_is_sanitized(void);

#endif
