/*
 * A guest pointer is not an array: there is no bound to index within.
 * expect: incomplete type|undefined type
 */
#include "span.h"

struct guest *f(struct guest *p);

struct guest *f(struct guest *p)
{
#ifdef CONTROL
	return guest_at(p, 4);
#else
	return &p[4];
#endif
}
