/*
 * A guest pointer is not followed: the guest may write between two looks at the same byte.
 * expect: invalid use of undefined type|operand of type 'struct guest'
 */
#include "span.h"

uint16_t f(const struct guest *p);

uint16_t f(const struct guest *p)
{
#ifdef CONTROL
	return guest_load16(p);
#else
	return (uint16_t)*p;
#endif
}
