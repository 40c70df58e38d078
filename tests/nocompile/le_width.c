/*
 * A wire value keeps its width: 16 bits are not read where the layout has 32.
 * expect: incompatible type
 */
#include "le.h"

uint32_t f(le32 wire);

uint32_t f(le32 wire)
{
#ifdef CONTROL
	return le32_get(wire);
#else
	return le16_get(wire);
#endif
}
