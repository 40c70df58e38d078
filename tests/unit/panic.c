/* src/base/panic.c: our own invariants. */
#include "panic.h"

#include "fake_port.h"
#include "unit.h"

static void assert_equal(void *arg)
{
	int *n = arg;

	ASSERT(n[0] == n[1]);
	n[1] = 3;
}

CASE(what_is_true_goes_on)
{
	int n[2] = { 1, 1 };

	fake_reset(1);
	CHECK_EQ(fake_run(assert_equal, n), FAKE_RETURNED);
	CHECK_EQ(n[1], 3);
	CHECK_TEXT(fake.log, "");
}

CASE(what_is_not_true_ends_the_process_and_says_where)
{
	int n[2] = { 1, 2 };

	fake_reset(1);
	CHECK_EQ(fake_run(assert_equal, n), FAKE_ABORTED);
	CHECK_EQ(n[1], 2);
	CHECK(fake_log_has("unit/panic.c:11: not true: n[0] == n[1]"));
}
