/*
 * A function that nobody calls.
 * expect: unusedFunction
 * found at: sources
 */
int half(int n);

int half(int n)
{
	return n / 2;
}

int main(void)
{
#ifdef CONTROL
	return half(0);
#else
	return 0;
#endif
}
