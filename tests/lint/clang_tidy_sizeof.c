/*
 * The size of a pointer where that of the bytes behind it is meant.
 * expect: bugprone-sizeof-expression
 * found at: sources
 */
#include <stddef.h>

size_t f(const char *text);

size_t f(const char *text)
{
#ifdef CONTROL
	return text ? sizeof(*text) : 0;
#else
	return text ? sizeof(sizeof(*text)) : 0;
#endif
}
