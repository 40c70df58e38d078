/*
 * A wire value does not become a number by assignment.
 * expect: incompatible types when|with an expression of incompatible type
 */
#include "le.h"

uint64_t f(le64 wire);

uint64_t f(le64 wire)
{
#ifdef CONTROL
	uint64_t sectors = le64_get(wire);
#else
	uint64_t sectors = wire;
#endif
	return sectors;
}
