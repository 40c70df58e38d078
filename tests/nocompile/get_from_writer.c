/*
 * What the driver lets us write is not taken as its request: VIRTIO lets us only write there.
 * expect: incompatible.pointer.types
 */
#include "span.h"

bool f(struct reader *in, struct writer *out);

bool f(struct reader *in, struct writer *out)
{
	uint32_t word;

#ifdef CONTROL
	(void)out;
	return reader_get(in, &word, sizeof(word));
#else
	(void)in;
	return reader_get(out, &word, sizeof(word));
#endif
}
