/* Checked arithmetic on what the other side sent. */
#ifndef VUBOX_NUM_H
#define VUBOX_NUM_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

/* The value of a macro as a string. */
#define TEXT_OF(macro)  TEXT_OF_(macro)
#define TEXT_OF_(value) #value

#define countof(a) (sizeof(a) / sizeof((a)[0]))

/* a + b into *sum; false (and *sum untouched) if that leaves 64 bits. */
static inline bool num_add(uint64_t a, uint64_t b, uint64_t *sum)
{
	uint64_t r;

	if (__builtin_add_overflow(a, b, &r))
		return false;
	*sum = r;
	return true;
}

/* Whether [at, at + len) lies within [base, base + size), however large the numbers are. */
static FAST bool num_within(uint64_t at, uint64_t len, uint64_t base, uint64_t size)
{
	return at >= base && at - base <= size && len <= size - (at - base);
}

static inline bool num_is_power_of_2(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

static inline uint64_t num_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#endif
