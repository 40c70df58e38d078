/*
 * Drivers that break the rules of the ring: each breaks its own queue, is said once everywhere, and
 * a reset revives it (VIRTIO 2.1.2, 2.7 and 2.8). What is no broken rule fails one request.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../front/yard.h"

enum { NEXT = DRIVER_DESC_NEXT, WRITE = DRIVER_DESC_WRITE, INDIRECT = DRIVER_DESC_INDIRECT };

static struct yard y;

#define AT    RIG_SLOTS_AT
#define TABLE (AT + 0x1000)

static struct driver *driver(void)
{
	return &y.rig.queues[0].driver;
}

/* Offers these descriptors and checks that the queue breaks for it. */
static void breaks(const struct driver_desc *descs, unsigned count, const char *why)
{
	yard_open(&y, "auto", 2);
	driver_offer_raw(driver(), descs, count);
	yard_breaks(&y, why);
}

/* An indirect descriptor, and what is in the table that it means. */
static void breaks_by_table(
	struct driver_desc head, const struct driver_desc *descs, unsigned count, const char *why)
{
	yard_open(&y, "auto", 2);
	CHECK(driver_put_table(driver(), TABLE, descs, count));
	driver_offer_raw(driver(), &head, 1);
	yard_breaks(&y, why);
}

/* ---- directions and sizes ---- */

static void readable_after_writable(const char *with)
{
	struct driver_desc d[] = { desc(AT, 16, NEXT, 1), desc(AT, 1, NEXT | WRITE, 2),
		desc(AT, 16, 0, 0) };

	(void)with;
	breaks(d, 3, "readable");
}

static void readable_after_writable_in_a_table(const char *with)
{
	const struct driver_desc d[] = { desc(AT, 16, NEXT, 1), desc(AT, 1, NEXT | WRITE, 2),
		desc(AT, 16, 0, 0) };

	(void)with;
	breaks_by_table(desc(TABLE, 48, INDIRECT, 0), d, 3, "readable");
}

static void four_gib_of_the_same_page(const char *with)
{
	static struct driver_desc d[1024];

	(void)with;
	for (unsigned i = 0; i < 1024; i++)
		d[i] = desc(RIG_GUEST, RIG_MEMORY, WRITE | (i < 1023 ? NEXT : 0), i + 1);
	d[0] = desc(AT, 16, NEXT, 1);
	breaks_by_table(desc(TABLE, 16 * 1024, INDIRECT, 0), d, 1024, "4 GiB");
}

/* ---- header and status ---- */

static void no_status(const char *with)
{
	struct driver_desc d[] = { desc(AT, 16, 0, 0) };

	(void)with;
	breaks(d, 1, "status");
}

static void no_header(const char *with)
{
	struct driver_desc d[] = { desc(AT, 512, WRITE, 0) };

	(void)with;
	breaks(d, 1, "header");
}

static void half_a_header(const char *with)
{
	struct driver_desc d[] = { desc(AT, 15, NEXT, 1), desc(AT + 64, 1, WRITE, 0) };

	(void)with;
	breaks(d, 2, "header");
}

static void half_a_header_in_pieces(const char *with)
{
	struct driver_desc d[16];

	(void)with;
	for (unsigned i = 0; i < 15; i++)
		d[i] = desc(AT + i, 1, NEXT, i + 1);
	d[15] = desc(AT + 64, 1, WRITE, 0);
	breaks(d, 16, "header");
}

static void nothing_at_all(const char *with)
{
	struct driver_desc d[] = { desc(AT, 0, 0, 0) };

	(void)with;
	breaks(d, 1, "status");
}

static void a_status_of_no_length(const char *with)
{
	struct driver_desc d[] = { desc(AT, 16, NEXT, 1), desc(AT + 64, 0, WRITE, 0) };

	(void)with;
	breaks(d, 2, "status");
}

static void a_status_that_is_nowhere(const char *with)
{
	struct driver_desc d[] = { desc(AT, 16, NEXT, 1), desc(1ull << 40, 1, WRITE, 0) };

	(void)with;
	breaks(d, 2, "status");
}

/* ---- indirect descriptors ---- */

static void table_at(uint64_t addr, uint32_t len, const char *why)
{
	struct driver_desc d = desc(addr, len, INDIRECT, 0);

	breaks(&d, 1, why);
}

static void an_empty_table(const char *with)
{
	(void)with;
	table_at(TABLE, 0, "wrong size");
}

static void a_table_of_an_odd_size(const char *with)
{
	(void)with;
	table_at(TABLE, 17, "wrong size");
}

static void a_huge_table(const char *with)
{
	(void)with;
	table_at(TABLE, 16 * 4096, "wrong size");
}

static void a_table_of_4_gib(const char *with)
{
	(void)with;
	table_at(TABLE, 0xfffffff0, "wrong size");
}

static void a_table_that_is_nowhere(const char *with)
{
	(void)with;
	table_at(0x10, 32, "not in shared memory");
}

static void a_table_that_wraps(const char *with)
{
	(void)with;
	table_at(0ull - 16, 32, "not in shared memory");
}

static void a_table_over_the_end_of_memory(const char *with)
{
	uint64_t at = RIG_GUEST + RIG_MEMORY - 24;
	struct driver_desc first = desc(AT, 16, NEXT, 1), d = desc(at, 48, INDIRECT, 0);

	(void)with;
	yard_open(&y, "auto", 2);
	CHECK(driver_put_table(driver(), at, &first, 1));
	driver_offer_raw(driver(), &d, 1);
	yard_breaks(&y, "not in shared memory");
}

static void indirect_with_next(const char *with)
{
	struct driver_desc d[] = { desc(TABLE, 32, INDIRECT | NEXT, 1),
		desc(AT + 64, 1, WRITE, 0) };

	(void)with;
	breaks(d, 2, "none may be");
}

static void indirect_in_the_middle(const char *with)
{
	struct driver_desc d[] = { desc(AT, 16, NEXT, 1), desc(TABLE, 16, INDIRECT | NEXT, 2),
		desc(AT + 64, 1, WRITE, 0) };

	(void)with;
	breaks(d, 3, "none may be");
}

/* Packed, 2.8.7: "each list only contains descriptors of a given type". */
static void indirect_after_direct(const char *with)
{
	struct driver_desc d[] = { desc(AT, 16, NEXT, 1), desc(TABLE, 16, INDIRECT, 0) };

	(void)with;
	breaks(d, 2, "none may be");
}

static void indirect_without_the_feature(const char *with)
{
	struct driver_desc d = desc(AT, 32, INDIRECT, 0);

	(void)with;
	yard_serve(&y, NULL);
	rig_negotiate(&y.rig, ~VU_F(INDIRECT_DESC), ~0ull);
	rig_share(&y.rig);
	rig_start(&y.rig, rig_queue(&y.rig));
	rig_start(&y.rig, rig_queue(&y.rig));
	d.addr = TABLE;
	driver_offer_raw(driver(), &d, 1);
	yard_breaks(&y, "none may be");
}

static void a_table_in_a_table(const char *with)
{
	struct driver_desc d = desc(TABLE, 16, INDIRECT, 0);

	(void)with;
	breaks_by_table(d, &d, 1, "indirect descriptor in");
}

static void a_next_behind_the_end_of_a_table(const char *with)
{
	struct driver_desc d = desc(AT, 16, NEXT, 9);

	(void)with;
	breaks_by_table(desc(TABLE, 32, INDIRECT, 0), &d, 1, "behind the end of its indirect");
}

static void a_loop_in_a_table(const char *with)
{
	const struct driver_desc d[] = { desc(AT, 16, NEXT, 1), desc(AT, 0, NEXT, 1) };

	(void)with;
	breaks_by_table(desc(TABLE, 32, INDIRECT, 0), d, 2, "loop");
}

/* ---- heads, nexts and indices of split rings ---- */

static void a_head_behind_the_end(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 2);
	driver_offer_head(driver(), RIG_RING_SIZE);
	yard_breaks_and_heals(&y, "behind the end");
	driver_offer_head(driver(), 65535);
	yard_breaks(&y, "behind the end");
}

static void a_next_behind_the_end(const char *with)
{
	struct driver_desc d = desc(AT, 16, NEXT, RIG_RING_SIZE);

	(void)with;
	breaks(&d, 1, "behind the end");
}

static void a_loop_of_one(const char *with)
{
	struct driver_desc d = desc(AT, 16, NEXT, 0);

	(void)with;
	breaks(&d, 1, "loop");
}

static void a_self_loop_of_no_length(const char *with)
{
	struct driver_desc d = desc(AT, 0, NEXT, 0);

	(void)with;
	breaks(&d, 1, "loop");
}

static void a_loop_of_two(const char *with)
{
	struct driver_desc d[] = { desc(AT, 1, NEXT, 1), desc(AT, 0, NEXT, 0) };

	(void)with;
	breaks(d, 2, "loop");
}

static void avail_index_jumps(unsigned by)
{
	yard_open(&y, "auto", 2);
	driver_store16(driver()->avail + 2, (uint16_t)(driver()->added + by));
	yard_breaks(&y, "jumps");
}

static void the_avail_index_jumps(const char *with)
{
	(void)with;
	avail_index_jumps(RIG_RING_SIZE + 1);
}

static void the_avail_index_goes_back(const char *with)
{
	(void)with;
	avail_index_jumps(65535);
}

static void the_avail_index_jumps_half_around(const char *with)
{
	(void)with;
	avail_index_jumps(32768);
}

/* ---- chains of packed rings ---- */

static void a_chain_longer_than_the_ring(const char *with)
{
	static struct driver_desc d[RIG_RING_SIZE];

	(void)with;
	for (unsigned i = 0; i < RIG_RING_SIZE; i++)
		d[i] = desc(AT, 1, NEXT, 0);
	breaks(d, RIG_RING_SIZE, "more descriptors than");
}

static void a_chain_of_nothing_as_long_as_the_ring(const char *with)
{
	static struct driver_desc d[RIG_RING_SIZE];

	(void)with;
	for (unsigned i = 0; i < RIG_RING_SIZE; i++)
		d[i] = desc(AT, 0, NEXT, 0);
	breaks(d, RIG_RING_SIZE, "more descriptors than");
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(readable_after_writable),
	CASE_OF_EACH_FORMAT(readable_after_writable_in_a_table),
	CASE_OF_EACH_FORMAT(four_gib_of_the_same_page),
	CASE_OF_EACH_FORMAT(no_status),
	CASE_OF_EACH_FORMAT(no_header),
	CASE_OF_EACH_FORMAT(half_a_header),
	CASE_OF_EACH_FORMAT(half_a_header_in_pieces),
	CASE_OF_EACH_FORMAT(nothing_at_all),
	CASE_OF_EACH_FORMAT(a_status_of_no_length),
	CASE_OF_EACH_FORMAT(a_status_that_is_nowhere),
	CASE_OF_EACH_FORMAT(an_empty_table),
	CASE_OF_EACH_FORMAT(a_table_of_an_odd_size),
	CASE_OF_EACH_FORMAT(a_huge_table),
	CASE_OF_EACH_FORMAT(a_table_of_4_gib),
	CASE_OF_EACH_FORMAT(a_table_that_is_nowhere),
	CASE_OF_EACH_FORMAT(a_table_that_wraps),
	CASE_OF_EACH_FORMAT(a_table_over_the_end_of_memory),
	CASE_OF_EACH_FORMAT(indirect_with_next),
	CASE_OF_EACH_FORMAT(indirect_in_the_middle),
	CASE_OF_EACH_FORMAT(indirect_without_the_feature),
	CASE(a_table_in_a_table),
	CASE(a_next_behind_the_end_of_a_table),
	CASE(a_loop_in_a_table),
	CASE(a_head_behind_the_end),
	CASE(a_next_behind_the_end),
	CASE(a_loop_of_one),
	CASE(a_self_loop_of_no_length),
	CASE(a_loop_of_two),
	CASE(the_avail_index_jumps),
	CASE(the_avail_index_goes_back),
	CASE(the_avail_index_jumps_half_around),
	CASE_PACKED(indirect_after_direct),
	CASE_PACKED(a_chain_longer_than_the_ring),
	CASE_PACKED(a_chain_of_nothing_as_long_as_the_ring),
};
HARNESS_MAIN(cases)
