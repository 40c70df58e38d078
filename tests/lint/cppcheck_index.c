/*
 * An index behind the end of its array, in the last round of a loop.
 * expect: arrayIndexOutOfBounds
 * found at: sources
 * found at: tests
 */
int sum(const int *more);

int sum(const int *more)
{
	int all[8] = { 0 }, n = 0;

#ifdef CONTROL
	for (int i = 0; i < 8; i++)
#else
	for (int i = 0; i <= 8; i++)
#endif
		all[i] = more[i];
	for (int i = 0; i < 8; i++)
		n += all[i];
	return n;
}

int main(void)
{
	const int more[9] = { 0 };

	return sum(more);
}
