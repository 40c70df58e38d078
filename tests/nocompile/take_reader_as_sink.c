/*
 * The spans of a reader do not become a place to read a file into.
 * expect: incompatible.pointer.types
 */
#include "span.h"

bool f(struct reader *in, struct source *from, struct sink *to);

bool f(struct reader *in, struct source *from, struct sink *to)
{
#ifdef CONTROL
	(void)to;
	return reader_take(in, from);
#else
	(void)from;
	return reader_take(in, to);
#endif
}
