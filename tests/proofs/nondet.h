/*
 * What a proof does not know. CBMC takes all values at once; libFuzzer, which runs the same file,
 * reads one after the other from its input (nondet.c). What is assumed and not so ends its run.
 */
#ifndef VUBOX_PROOFS_NONDET_H
#define VUBOX_PROOFS_NONDET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool nondet_bool(void);
uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
int nondet_int(void);

#ifdef __CPROVER__

#define assume(x) __CPROVER_assume(x)
#define claim(x)  __CPROVER_assert(x, #x)

enum { FUZZING = 0 };

static inline uint64_t nondet_upto(uint64_t max)
{
	uint64_t v = nondet_u64();

	__CPROVER_assume(v <= max);
	return v;
}

static inline void nondet_bytes(void *at, size_t len)
{
	if (len > 0)
		__CPROVER_havoc_slice(at, len);
}

/* An object of its own, of exactly this size and with anything in it. */
static inline void *nondet_object(size_t size)
{
	void *at = malloc(size);

	__CPROVER_assume(at != NULL);
	return at;
}

/* Whether all of [at, at + len) is in one object. */
static inline bool readable(const void *at, size_t len)
{
	return __CPROVER_r_ok(at, len);
}

static inline bool writable(void *at, size_t len)
{
	return __CPROVER_w_ok(at, len);
}

/* The proofs of a file, for the fuzzer. CBMC takes them by name: tests/proofs/list. */
#define PROOFS(...)

#else

#define assume(x) ((x) ? (void)0 : proof_unlikely())
#define claim(x)  ((x) ? (void)0 : proof_failed(__FILE__, __LINE__, #x))

enum { FUZZING = 1 };

_Noreturn void proof_unlikely(void);
_Noreturn void proof_failed(const char *file, int line, const char *what);
uint64_t nondet_upto(uint64_t max);
void nondet_bytes(void *at, size_t len);
void *nondet_object(size_t size);
/* False is for AddressSanitizer to say. */
bool readable(const void *at, size_t len);
bool writable(void *at, size_t len);

typedef void proof_fn(void);
extern proof_fn *const proofs[];
extern const unsigned proof_count;

#define PROOFS(...)                                 \
	proof_fn *const proofs[] = { __VA_ARGS__ }; \
	const unsigned proof_count = sizeof(proofs) / sizeof(proofs[0]);

#endif

/* A size as large as it can be; the fuzzer has to have the memory, and to meet its edges. */
#define PROOF_SIZE(real, fuzzed) (FUZZING ? (uint64_t)(fuzzed) : (uint64_t)(real))

#endif
