/*
 * A way on which NULL is dereferenced.
 * expect: clang-analyzer-core.NullDereference
 * found at: sources
 * found at: tests
 */
#include <stddef.h>

struct node {
	struct node *next;
	int value;
};

int last(const struct node *list);

int last(const struct node *list)
{
	const struct node *found = NULL;

	for (; list; list = list->next)
		found = list;
#ifdef CONTROL
	return found ? found->value : 0;
#else
	return found->value;
#endif
}
