/*
 * A guest pointer is not moved by +: the step would be of a type that nobody knows.
 * expect: arithmetic on a pointer to an incomplete type|undefined type
 */
#include "span.h"

struct guest *f(struct guest *p);

struct guest *f(struct guest *p)
{
#ifdef CONTROL
	return guest_at(p, 4);
#else
	return p + 4;
#endif
}
