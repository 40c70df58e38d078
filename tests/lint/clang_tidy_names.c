/*
 * Two names for one parameter.
 * expect: readability-inconsistent-declaration-parameter-name
 * found at: sources
 */
#ifdef CONTROL
int half(int whole);
#else
int half(int part);
#endif

int half(int whole)
{
	return whole / 2;
}
