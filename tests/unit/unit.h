/*
 * The frame of a unit test. A suite is a file of cases:
 *
 *     CASE(index_wraps)
 *     {
 *             CHECK_EQ(ring.used_idx, 0);
 *     }
 *
 * Each case runs in a process of its own, so it starts from zero whatever was done before, and a
 * crash is one failed case. The first check that does not hold ends the case. `SUITE 'index wraps'`
 * runs one case in the suite's own process, for a debugger.
 */
#ifndef VUBOX_UNIT_H
#define VUBOX_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct unit_case {
	const char *name;
	void (*run)(void);
	struct unit_case *next;
};

void unit_add(struct unit_case *c);

#define CASE(id)                                                      \
	static void case_##id(void);                                  \
	static struct unit_case unit_##id = { #id, case_##id, NULL }; \
	__attribute__((constructor)) static void add_##id(void)       \
	{                                                             \
		unit_add(&unit_##id);                                 \
	}                                                             \
	static void case_##id(void)

/* Ends the case: it has failed, or this machine cannot run it. */
_Noreturn __attribute__((format(printf, 3, 4))) void unit_fail(
	const char *file, int line, const char *format, ...);
_Noreturn void unit_skip(const char *why);

/*
 * A path of this name in a directory of the suite's own, on a file system of memory or on another.
 * It is removed after the case, however that ends.
 */
enum unit_place { UNIT_DISK, UNIT_MEMORY };
const char *unit_path(enum unit_place place, const char *name);

void unit_eq(const char *file, int line, const char *what, long long a, long long b);
void unit_text(const char *file, int line, const char *what, const char *a, const char *b);
void unit_bytes(
	const char *file, int line, const char *what, const void *a, const void *b, size_t len);

#define FAIL(...) unit_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(x)  ((x) ? (void)0 : unit_fail(__FILE__, __LINE__, "not true: %s", #x))

#define CHECK_EQ(a, b) unit_eq(__FILE__, __LINE__, #a " == " #b, (long long)(a), (long long)(b))

#define CHECK_TEXT(a, b)       unit_text(__FILE__, __LINE__, #a " == " #b, (a), (b))
#define CHECK_BYTES(a, b, len) unit_bytes(__FILE__, __LINE__, #a " == " #b, (a), (b), (len))

/* A call that returns -errno. */
#define CHECK_OK(call) CHECK_EQ(call, 0)

#endif
