/*
 * A guest whose memory nobody knows: what src/base/span.c and src/core/mem.c do for the rings,
 * for proofs about the rings. Each load must lie in an object and gives any value, however often it
 * is done: the guest may write between any two loads. So what is stored is forgotten. That the
 * functions themselves keep to [p, p + len) is for the proofs of span.c and mem.c.
 *
 * Defines functions: for one file of a program.
 */
#ifndef VUBOX_PROOFS_ANY_GUEST_H
#define VUBOX_PROOFS_ANY_GUEST_H

#include "mem.h"
#include "nondet.h"
#include "panic.h"
#include "span.h"

/* For what will be assumed to be max at most: the fuzzer would hardly meet it. */
static inline uint16_t likely_u16(uint16_t max)
{
	return FUZZING ? (uint16_t)nondet_upto(max) : nondet_u16();
}

static inline uint32_t likely_u32(uint32_t max)
{
	return FUZZING ? (uint32_t)nondet_upto(max) : nondet_u32();
}

_Noreturn void panic(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	claim(!"an ASSERT fails");
	abort();
}

/* Single accesses are aligned: span.h. */
static void one_access(const struct guest *p, size_t len)
{
	claim((uintptr_t)p % len == 0);
	claim(writable((void *)p, len));
}

uint16_t guest_load16(const struct guest *p)
{
	one_access(p, 2);
	return nondet_u16();
}

uint16_t guest_load16_acquire(const struct guest *p)
{
	one_access(p, 2);
	return nondet_u16();
}

void guest_store16(struct guest *p, uint16_t value)
{
	(void)value;
	one_access(p, 2);
}

void guest_store16_release(struct guest *p, uint16_t value)
{
	(void)value;
	one_access(p, 2);
}

void guest_store64_release(struct guest *p, uint64_t value)
{
	(void)value;
	one_access(p, 8);
}

void guest_copy_in(void *dst, const struct guest *src, size_t len)
{
	claim(readable(src, len));
	claim(writable(dst, len));
	nondet_bytes(dst, len);
}

void guest_copy_out(struct guest *dst, const void *src, size_t len)
{
	claim(writable((void *)dst, len));
	claim(readable(src, len));
}

/*
 * A part of a ring, or of anything that must be whole: nowhere, or an object that ends where it
 * does. Up to 7 bytes lie before it, so that it may be aligned to nothing.
 */
static struct guest *any_part(uint64_t len)
{
	size_t before = nondet_upto(7);

	if (nondet_bool())
		return NULL;
	return guest_at(nondet_object(before + len), before);
}

struct guest *mem_at_user(const struct mem *mem, uint64_t user_addr, uint64_t len)
{
	(void)mem;
	(void)user_addr;
	return any_part(len);
}

/* A hole or a part of a region, of 1 byte at least and len at most. */
struct span mem_at(struct mem *mem, uint64_t guest_addr, uint64_t len)
{
	struct span s;

	(void)mem;
	claim(len > 0);
	claim(guest_addr + len - 1 >= guest_addr);
	s.len = 1 + nondet_upto(len - 1);
	s.base = any_part(s.len);
	return s;
}

bool mem_read(struct mem *mem, uint64_t guest_addr, void *dst, uint32_t len)
{
	(void)mem;
	(void)guest_addr;
	claim(writable(dst, len));
	nondet_bytes(dst, len);
	return nondet_bool();
}

#endif
