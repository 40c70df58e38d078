/*
 * Bits of the wire are not tested before they are read.
 * expect: invalid operands to binary
 */
#include "le.h"

int f(le16 flags);

int f(le16 flags)
{
#ifdef CONTROL
	return (le16_get(flags) & 2) != 0;
#else
	return (flags & 2) != 0;
#endif
}
