/*
 * Something is freed twice in one case of 16: more than gcc tells apart unless it is told to.
 * expect: -Wanalyzer-double-free
 * found at: sources
 */
#include <stdbool.h>
#include <stdlib.h>

bool wants(char *p);
void f(void);

static void keep(char **p)
{
	if (!wants(*p)) {
		free(*p);
		*p = NULL;
	}
}

void f(void)
{
	char *a = malloc(1), *b = malloc(1), *c = malloc(1), *d = malloc(1);

	keep(&a);
	keep(&b);
	keep(&c);
	keep(&d);
#ifndef CONTROL
	if (a && b && c && d)
		free(a);
#endif
	free(a);
	free(b);
	free(c);
	free(d);
}
