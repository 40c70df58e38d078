/*
 * A guest's bytes are not copied as a struct: only a span has a length.
 * expect: incomplete type
 */
#include "span.h"

void f(void *to, const struct guest *from);

void f(void *to, const struct guest *from)
{
#ifdef CONTROL
	guest_copy_in(to, from, sizeof(uint32_t));
#else
	guest_copy_in(to, from, sizeof(*from));
#endif
}
