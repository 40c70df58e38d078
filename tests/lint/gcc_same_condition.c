/*
 * A branch that is never taken, as an earlier one has the same condition.
 * expect: -Wduplicated-cond
 * found at: sources
 */
int f(int x);

int f(int x)
{
	if (x == 1)
		return 2;
#ifdef CONTROL
	else if (x == 2)
#else
	else if (x == 1)
#endif
		return 3;
	return x;
}
