/*
 * A value in the order of the wire is not calculated with: first it is read.
 * expect: invalid operands to binary
 */
#include "le.h"

uint32_t f(le32 wire);

uint32_t f(le32 wire)
{
#ifdef CONTROL
	return le32_get(wire) + 1;
#else
	return wire + 1;
#endif
}
