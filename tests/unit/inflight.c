/* src/core/inflight_split.c: what the next life finds, and how little it trusts that. */
#include "inflight.h"

#include <errno.h>

#include "fake_port.h"
#include "spec/vhost_user.h"
#include "unit.h"

enum { SIZE = 8 };

/* The region as it lies in memory; all machines that run this are little-endian. */
static union {
	struct vhost_user_queue_region_split region;
	char bytes[16 + 16 * SIZE];
} shared;
static struct inflight in;

static struct guest *region(void)
{
	return (struct guest *)&shared;
}

static int attach(uint16_t used_idx)
{
	return inflight_split_attach(&in, region(), SIZE, SIZE, used_idx);
}

static void start(void)
{
	memset(&shared, 0, sizeof(shared));
	CHECK_EQ(attach(0), 0);
}

static void take(unsigned head)
{
	inflight_split_take(&in, (uint16_t)head);
}

static void push(unsigned head)
{
	inflight_split_push(&in, (uint16_t)head);
}

/* The heads that are marked as in flight, one bit each. */
static unsigned marked(void)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < SIZE; i++)
		bits |= (unsigned)(shared.region.desc[i].inflight != 0) << i;
	return bits;
}

/* Does all that is in flight again: the heads in the order in which they come, as digits. */
static unsigned resubmitted(void)
{
	unsigned order = 0;
	uint16_t head;

	while (in.resubmit_left > 0 && inflight_resubmit(&in, &head)) {
		order = order * 10 + head;
		inflight_retake(&in, head);
	}
	return order;
}

CASE(regions_are_multiples_of_64_bytes)
{
	CHECK_EQ(inflight_region_bytes(false, 1), 64);
	CHECK_EQ(inflight_region_bytes(false, 3), 64);
	CHECK_EQ(inflight_region_bytes(false, 4), 128);
	CHECK_EQ(inflight_region_bytes(false, 128), 16 + 16 * 128 + 48);
	CHECK_EQ(inflight_region_bytes(false, 65535), 1048576);
}

CASE(without_a_region_nothing_happens)
{
	take(3);
	push(3);
	inflight_split_publish(&in, 1, 1);
	CHECK(in.region == NULL);
}

CASE(a_fresh_region_is_formatted)
{
	CHECK_EQ(attach(5), 0);
	CHECK_EQ(shared.region.version, 1);
	CHECK_EQ(shared.region.desc_num, SIZE);
	CHECK_EQ(shared.region.used_idx, 5);
}

CASE(a_region_of_another_ring_is_refused)
{
	start();
	CHECK_EQ(inflight_split_attach(&in, region(), SIZE - 1, SIZE, 0), -EINVAL);
	CHECK(in.region == NULL);
	CHECK_EQ(inflight_split_attach(&in, region(), SIZE, SIZE / 2, 0), 0);
	shared.region.version = 2;
	CHECK_EQ(attach(0), -EINVAL);
}

CASE(heads_are_marked_until_they_are_published)
{
	start();
	take(1);
	take(4);
	CHECK_EQ(marked(), 1 << 1 | 1 << 4);
	push(4);
	CHECK_EQ(marked(), 1 << 1 | 1 << 4);
	inflight_split_publish(&in, 1, 1);
	CHECK_EQ(marked(), 1 << 1);
	CHECK_EQ(shared.region.used_idx, 1);
	push(1);
	inflight_split_publish(&in, 1, 2);
	CHECK_EQ(marked(), 0);
}

CASE(a_batch_is_cleared_as_a_whole)
{
	start();
	for (unsigned i = 0; i < 6; i++)
		take(i);
	push(2);
	push(5);
	push(0);
	inflight_split_publish(&in, 3, 3);
	CHECK_EQ(marked(), 1 << 1 | 1 << 3 | 1 << 4);
	push(3);
	inflight_split_publish(&in, 1, 4);
	CHECK_EQ(marked(), 1 << 1 | 1 << 4);
}

CASE(what_was_in_flight_is_done_again_oldest_first)
{
	start();
	take(6);
	take(2);
	take(7);
	take(0);
	push(2);
	inflight_split_publish(&in, 1, 1);
	CHECK_EQ(attach(1), 3);
	CHECK_EQ(resubmitted(), 670);
	CHECK_EQ(marked(), 1 << 0 | 1 << 6 | 1 << 7);
	take(5); /* newer than all of those */
	CHECK_EQ(attach(1), 4);
	CHECK_EQ(resubmitted(), 6705);
}

CASE(what_is_done_before_all_are_resubmitted)
{
	uint16_t head;

	start();
	take(3);
	take(1);
	CHECK_EQ(attach(0), 2);
	CHECK(inflight_resubmit(&in, &head) && head == 3);
	CHECK(inflight_resubmit(&in, &head) && head == 3); /* it had to wait */
	take(3);
	push(3);
	inflight_split_publish(&in, 1, 1);
	CHECK_EQ(attach(1), 1);
	CHECK_EQ(resubmitted(), 1);
}

CASE(death_before_the_used_index_moves)
{
	start();
	take(3);
	take(1);
	push(3);
	/* The used ring has it, but the driver was never told. */
	CHECK_EQ(attach(0), 2);
	CHECK_EQ(resubmitted(), 31);
}

CASE(death_after_the_used_index_has_moved)
{
	start();
	for (unsigned i = 0; i < 5; i++)
		take(i);
	push(2);
	inflight_split_publish(&in, 1, 1);
	push(0);
	push(4);
	/* used->idx is 3 now, and the flags of 0 and 4 are still to be cleared. */
	CHECK_EQ(attach(3), 2);
	CHECK_EQ(marked(), 1 << 1 | 1 << 3);
	CHECK_EQ(shared.region.used_idx, 3);
	CHECK_EQ(resubmitted(), 13);
}

CASE(death_in_the_middle_of_clearing)
{
	start();
	take(0);
	take(1);
	push(0);
	push(1);
	shared.region.desc[1].inflight = 0;
	CHECK_EQ(attach(2), 0);
	CHECK_EQ(marked(), 0);
}

CASE(the_used_index_wraps)
{
	memset(&shared, 0, sizeof(shared));
	CHECK_EQ(attach(65535), 0);
	take(0);
	take(1);
	push(0);
	push(1);
	CHECK_EQ(attach(1), 0);
	CHECK_EQ(shared.region.used_idx, 1);
}

CASE(a_ring_that_was_set_up_anew)
{
	start();
	take(3);
	/* The distance of the indices is no batch: nothing is cleared by it. */
	CHECK_EQ(attach(1000), 1);
	CHECK_EQ(shared.region.used_idx, 1000);
}

CASE(equal_counters_are_done_in_order_of_heads)
{
	start();
	for (unsigned i = 0; i < SIZE; i += 2) {
		shared.region.desc[i].inflight = 1;
		shared.region.desc[i].counter = 7;
	}
	CHECK_EQ(attach(0), 4);
	CHECK_EQ(resubmitted(), 246);
}

CASE(counters_at_their_end)
{
	start();
	shared.region.desc[1].inflight = 1;
	shared.region.desc[1].counter = UINT64_MAX;
	shared.region.desc[2].inflight = 1;
	CHECK_EQ(attach(0), 2);
	CHECK_EQ(resubmitted(), 21);
}

CASE(a_list_that_leads_nowhere)
{
	start();
	shared.region.desc[2].inflight = 1;
	shared.region.last_batch_head = 60000;
	CHECK_EQ(attach(3), 1);
	take(5);
	push(5);
	CHECK_EQ(shared.region.desc[5].next, 0);

	start();
	shared.region.desc[2].inflight = 1;
	shared.region.desc[2].next = 60000;
	shared.region.last_batch_head = 2;
	CHECK_EQ(attach(3), 0);

	start();
	shared.region.desc[2].next = 2; /* a loop */
	shared.region.last_batch_head = 2;
	CHECK_EQ(attach(SIZE), 0);
	push(2);
	shared.region.desc[2].next = 65535;
	inflight_split_publish(&in, 3, 3);
	CHECK_EQ(shared.region.used_idx, 3);
}

CASE(someone_who_clears_flags_meanwhile)
{
	uint16_t head;

	start();
	take(3);
	take(4);
	CHECK_EQ(attach(0), 2);
	memset(shared.region.desc, 0, sizeof(shared.region.desc[0]) * SIZE);
	CHECK(!inflight_resubmit(&in, &head));
	CHECK_EQ(in.resubmit_left, 0);
}

CASE(everything_is_forgotten)
{
	start();
	take(3);
	take(4);
	CHECK_EQ(attach(0), 2);
	inflight_forget(region());
	CHECK_EQ(attach(0), 0);
	CHECK_EQ(marked(), 0);
	CHECK_EQ(in.resubmit_left, 0);
}

static void take_outside(void *arg)
{
	(void)arg;
	take(SIZE);
}

CASE(a_head_outside_is_a_bug)
{
	start();
	CHECK_EQ(fake_run(take_outside, NULL), FAKE_ABORTED);
}
