/*
 * What the driver only lets us read is not written.
 * expect: incompatible.pointer.types
 */
#include "span.h"

bool f(struct reader *in, struct writer *out);

bool f(struct reader *in, struct writer *out)
{
	uint32_t word = 1;

#ifdef CONTROL
	(void)in;
	return writer_put(out, &word, sizeof(word));
#else
	(void)out;
	return writer_put(in, &word, sizeof(word));
#endif
}
