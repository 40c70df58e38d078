/*
 * A number does not become a wire value by assignment.
 * expect: incompatible types when|assigning to .le64. .*from incompatible type
 */
#include "le.h"

void f(le64 *wire, uint64_t sectors);

void f(le64 *wire, uint64_t sectors)
{
#ifdef CONTROL
	*wire = le64_put(sectors);
#else
	*wire = sectors;
#endif
}
