/*
 * A path through two functions on which something is freed twice.
 * expect: -Wanalyzer-double-free
 * found at: sources
 * found at: tests
 */
#include <stdbool.h>
#include <stdlib.h>

bool use(char *p);
void f(void);

static void give_up(char *p)
{
	free(p);
}

void f(void)
{
	char *p = malloc(8);

	if (p && !use(p)) {
		give_up(p);
#ifdef CONTROL
		return;
#endif
	}
	free(p);
}
