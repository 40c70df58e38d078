/*
 * What every proof says about the end of a process, and about copying. Defines functions: for one
 * file of a program.
 */
#ifndef VUBOX_PROOFS_STUBS_H
#define VUBOX_PROOFS_STUBS_H

#include "nondet.h"
#include "panic.h"

/* Whatever comes from outside, no ASSERT fails. */
_Noreturn void panic(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	claim(!"an ASSERT fails");
	abort();
}

#ifdef __CPROVER__
/*
 * A copy of any size, as far as it matters here: where it reads and writes. What is copied is not:
 * nothing that copies a variable number of bytes looks at them (the fuzzer copies them).
 */
void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	claim(readable(src, n));
	claim(writable(dst, n));
	return dst;
}
#endif

#endif
