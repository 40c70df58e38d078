/*
 * A guest pointer does not turn into one to bytes by itself: that takes a cast, which is seen.
 * expect: incompatible.pointer.types
 */
#include "span.h"

void f(char *to, struct span from);

void f(char *to, struct span from)
{
#ifdef CONTROL
	guest_copy_in(to, from.base, 1);
#else
	const char *bytes = from.base;

	*to = *bytes;
#endif
}
