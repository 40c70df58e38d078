/*
 * A function that calls itself by way of another one.
 * expect: misc-no-recursion
 * found at: sources
 */
int even(unsigned n);
int odd(unsigned n);

int even(unsigned n)
{
	return n == 0 ? 1 : odd(n - 1);
}

int odd(unsigned n)
{
#ifdef CONTROL
	return (int)(n & 1);
#else
	return n == 0 ? 0 : even(n - 1);
#endif
}
