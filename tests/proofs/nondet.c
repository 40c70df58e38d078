/* What a proof does not know, from libFuzzer's input. The first byte says which proof it is. */
#include "nondet.h"

#include <setjmp.h>
#include <stdio.h>

enum { OBJECTS_MAX = 256 };

static struct {
	const uint8_t *at;
	size_t left;
	void *objects[OBJECTS_MAX];
	unsigned object_count;
	jmp_buf end;
} state;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

void proof_unlikely(void)
{
	longjmp(state.end, 1);
}

void proof_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "proof: %s:%d: not true: %s\n", file, line, what);
	abort();
}

uint8_t nondet_u8(void)
{
	if (state.left == 0)
		return 0;
	state.left--;
	return *state.at++;
}

uint16_t nondet_u16(void)
{
	uint16_t low = nondet_u8();

	return (uint16_t)(low | nondet_u8() << 8);
}

uint32_t nondet_u32(void)
{
	uint32_t low = nondet_u16();

	return low | (uint32_t)nondet_u16() << 16;
}

uint64_t nondet_u64(void)
{
	uint64_t low = nondet_u32();

	return low | (uint64_t)nondet_u32() << 32;
}

int nondet_int(void)
{
	return (int)nondet_u32();
}

bool nondet_bool(void)
{
	return (nondet_u8() & 1) != 0;
}

/* No more bytes of the input than it takes. */
uint64_t nondet_upto(uint64_t max)
{
	uint64_t v = max <= UINT8_MAX    ? nondet_u8()
		     : max <= UINT16_MAX ? nondet_u16()
		     : max <= UINT32_MAX ? nondet_u32()
					 : nondet_u64();

	return max == UINT64_MAX ? v : v % (max + 1);
}

void nondet_bytes(void *at, size_t len)
{
	uint8_t *to = at;

	for (size_t i = 0; i < len; i++)
		to[i] = nondet_u8();
}

/* AddressSanitizer guards both of its ends. */
void *nondet_object(size_t size)
{
	void *at;

	if (state.object_count == OBJECTS_MAX)
		proof_unlikely();
	at = malloc(size > 0 ? size : 1);
	if (!at)
		abort();
	state.objects[state.object_count++] = at;
	nondet_bytes(at, size < 64 ? size : 64);
	return at;
}

bool readable(const void *at, size_t len)
{
	const volatile char *from = at;

	for (size_t i = 0; i < len; i++)
		(void)from[i];
	return true;
}

bool writable(void *at, size_t len)
{
	volatile char *to = at;

	for (size_t i = 0; i < len; i++)
		to[i] = to[i];
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	state.at = bytes;
	state.left = len;
	state.object_count = 0;
	if (setjmp(state.end) == 0)
		proofs[nondet_upto(proof_count - 1)]();
	while (state.object_count > 0)
		free(state.objects[--state.object_count]);
	return 0;
}
