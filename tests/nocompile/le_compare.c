/*
 * A value in the order of the wire is not compared: on a big-endian machine it would be wrong.
 * expect: invalid operands to binary
 */
#include "le.h"

int f(le16 wire);

int f(le16 wire)
{
#ifdef CONTROL
	return le16_get(wire) == 7;
#else
	return wire == 7;
#endif
}
