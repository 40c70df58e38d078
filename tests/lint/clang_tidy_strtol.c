/*
 * A number whose errors nobody looks at.
 * expect: cert-err34-c
 * found at: sources
 */
#include <stdlib.h>

long f(const char *text);

long f(const char *text)
{
#ifdef CONTROL
	return strtol(text, NULL, 10);
#else
	return atol(text);
#endif
}
