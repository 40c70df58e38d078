/* include/num.h: arithmetic on what the other side sent. */
#include "num.h"

#include "unit.h"

CASE(a_sum_that_leaves_64_bits_is_refused)
{
	uint64_t sum = 5;

	CHECK(num_add(UINT64_MAX, 0, &sum) && sum == UINT64_MAX);
	CHECK(num_add(UINT64_MAX - 1, 1, &sum) && sum == UINT64_MAX);
	sum = 5;
	CHECK(!num_add(UINT64_MAX, 1, &sum));
	CHECK(!num_add(UINT64_MAX, UINT64_MAX, &sum));
	CHECK_EQ(sum, 5);
}

CASE(within)
{
	CHECK(num_within(10, 5, 10, 5));
	CHECK(num_within(15, 0, 10, 5));
	CHECK(num_within(12, 2, 10, 5));
	CHECK(!num_within(9, 1, 10, 5));
	CHECK(!num_within(15, 1, 10, 5));
	CHECK(!num_within(16, 0, 10, 5));
	CHECK(!num_within(10, 6, 10, 5));
}

CASE(within_at_the_end_of_64_bits)
{
	CHECK(num_within(UINT64_MAX, 1, UINT64_MAX - 1, 2));
	CHECK(num_within(0, UINT64_MAX, 0, UINT64_MAX));
	CHECK(!num_within(UINT64_MAX, 2, UINT64_MAX - 1, 2));
	CHECK(!num_within(1, UINT64_MAX, 0, UINT64_MAX));
	CHECK(!num_within(5, UINT64_MAX, 4, 8));
}

CASE(powers_of_2)
{
	CHECK(num_is_power_of_2(1) && num_is_power_of_2(2) && num_is_power_of_2(1ull << 63));
	CHECK(!num_is_power_of_2(0) && !num_is_power_of_2(3) && !num_is_power_of_2(UINT64_MAX));
}

CASE(the_smaller_one)
{
	CHECK_EQ(num_min(1, 2), 1);
	CHECK_EQ(num_min(UINT64_MAX, 3), 3);
}
