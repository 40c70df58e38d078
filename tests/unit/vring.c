/* src/core/vring.c: split rings: what is taken, what is given back, and who is called. */
#include "vring.h"

#include <errno.h>

#include "driver.h"
#include "fake_port.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"
#include "unit.h"

/* Guest memory: the ring at its start, buffers and tables behind it; a second region follows. */
enum { GPA = 0x100000, BYTES = 0x10000, DATA = 0x8000, TABLE = 0xc000 };
#define UVA 0x7f0000000000ull

static struct mem mem;
static struct vring ring;
static struct driver drv;
static const char *why;

static void start_at(uint32_t size, uint64_t features, uint16_t idx)
{
	int fd;

	mem_clear(&mem);
	fake_reset(1);
	fd = fake_memory_new(BYTES);
	CHECK_OK(mem_add(&mem, &(struct mem_region){ GPA, BYTES, UVA, 0 }, fd));
	CHECK_OK(mem_add(&mem, &(struct mem_region){ GPA + BYTES, 0x1000, UVA + 2 * BYTES, 0 },
		fake_memory_new(0x1000)));
	driver_init(&drv, fake_memory(fd), GPA, 0, size);
	driver_start_at(&drv, idx);
	CHECK_OK(vring_map(&ring, &mem,
		&(struct vring_addr){ UVA + drv.desc, UVA + drv.avail, UVA + drv.used },
		(uint16_t)size, false, &why));
	CHECK_OK(vring_start(&ring, idx, features, &why));
}

static void start(uint32_t size)
{
	start_at(size, VIRTIO_F_INDIRECT_DESC, 0);
}

/* What vring_pop says, and the request that it filled. */
static struct request *req;

static int pop(void)
{
	if (!req)
		req = request_get(0);
	request_put(req, 0);
	req = request_get(0);
	return vring_pop(&ring, &mem, req, &why);
}

static void give(unsigned head, uint32_t written)
{
	struct chain chain = { .head = (uint16_t)head };

	vring_push(&ring, &chain, written);
}

static const struct buffer one = { GPA + DATA, 8, true };

#define CHECK_BREAKS(text) (CHECK_EQ(pop(), -EINVAL), CHECK_TEXT(why, text))

CASE(an_empty_ring_gives_nothing)
{
	start(4);
	CHECK(!vring_has_work(&ring));
	CHECK_EQ(pop(), 0);
}

CASE(chains_come_in_the_order_of_the_driver)
{
	static const uint16_t heads[] = { 2, 0, 3, 1 };

	start(4);
	for (unsigned i = 0; i < 4; i++)
		driver_desc(&drv, i, GPA + DATA + 64 * i, 1 + i, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		driver_avail(&drv, heads[i]);
	CHECK(vring_has_work(&ring));
	for (unsigned i = 0; i < 4; i++) {
		CHECK_EQ(pop(), 1);
		CHECK_EQ(req->chain.head, heads[i]);
		CHECK_EQ(reader_left(&req->in), 1u + heads[i]);
	}
	CHECK_EQ(pop(), 0);
}

CASE(indices_wrap)
{
	uint32_t id, len;

	start_at(4, 0, 65533);
	for (unsigned i = 0; i < 10; i++) {
		uint16_t head = driver_add(&drv, &one, 1);

		CHECK_EQ(pop(), 1);
		CHECK_EQ(pop(), 0);
		give(head, i);
		CHECK(vring_publish(&ring));
		CHECK(driver_used(&drv, &id, &len) && id == head && len == i);
	}
	CHECK_EQ(ring.last_avail, (uint16_t)(65533 + 10));
	CHECK_EQ(driver_used_idx(&drv), (uint16_t)(65533 + 10));
}

CASE(every_size_goes_round)
{
	for (uint32_t size = 1; size <= CONFIG_RING_SIZE_MAX; size *= 2) {
		start(size);
		for (unsigned round = 0; round < 3; round++) {
			for (uint32_t i = 0; i < size; i++)
				driver_add(&drv, &one, 1);
			for (uint32_t i = 0; i < size; i++) {
				CHECK_EQ(pop(), 1);
				CHECK_EQ(req->chain.head, i);
				give(req->chain.head, 0);
			}
			CHECK_EQ(pop(), 0);
			CHECK_EQ(ring.unpublished, size);
			CHECK(vring_publish(&ring));
			CHECK_EQ(ring.unpublished, 0);
		}
	}
}

CASE(an_index_that_jumps_breaks_the_ring)
{
	start(4);
	driver_avail_idx(&drv, 5);
	CHECK_BREAKS("an avail index that jumps");
	start_at(4, 0, 65535);
	driver_avail_idx(&drv, 65534);
	CHECK_BREAKS("an avail index that jumps");
}

CASE(what_the_driver_does_to_the_used_ring_changes_nothing)
{
	uint32_t id, len;

	start(4);
	memset(drv.mem + drv.used, 0xee, driver_bytes(4) - drv.used);
	give(3, 7);
	CHECK(vring_publish(&ring));
	CHECK_EQ(driver_used_idx(&drv), 1);
	CHECK(driver_used(&drv, &id, &len) && id == 3 && len == 7);
}

CASE(a_chain_may_be_as_long_as_the_ring)
{
	struct buffer all[8];

	start(8);
	for (unsigned i = 0; i < 8; i++)
		all[i] = (struct buffer){ GPA + DATA + 64 * i, 10, i >= 4 };
	drv.next = 5;
	driver_add(&drv, all, 8);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(req->chain.head, 5);
	CHECK_EQ(reader_left(&req->in), 40);
	CHECK_EQ(writer_left(&req->out), 40);
}

CASE(empty_descriptors_are_passed_over)
{
	struct buffer all[4] = { { 0, 0, false }, { GPA + DATA, 4, false }, { 1, 0, true },
		{ GPA + DATA, 4, true } };

	start(8);
	driver_add(&drv, all, 4);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(reader_left(&req->in), 4);
	CHECK_EQ(writer_left(&req->out), 4);
}

CASE(heads_and_links_stay_in_the_table)
{
	start(4);
	driver_avail(&drv, 4);
	CHECK_BREAKS("a descriptor behind the end of the table");
	start(4);
	driver_desc(&drv, 0, GPA + DATA, 8, VIRTQ_DESC_F_NEXT, 65535);
	driver_avail(&drv, 0);
	CHECK_BREAKS("a descriptor behind the end of the table");
}

CASE(loops_end)
{
	start(4);
	driver_desc(&drv, 0, GPA + DATA, 8, VIRTQ_DESC_F_NEXT, 1);
	driver_desc(&drv, 1, GPA + DATA, 8, VIRTQ_DESC_F_NEXT, 0);
	driver_avail(&drv, 0);
	CHECK_BREAKS("a loop of descriptors");
	start(4);
	driver_desc(&drv, 2, 0, 0, VIRTQ_DESC_F_NEXT, 2);
	driver_avail(&drv, 2);
	CHECK_BREAKS("a loop of descriptors");
}

CASE(a_chain_that_breaks_a_rule_breaks_the_ring)
{
	struct buffer two[2] = { { GPA + DATA, 8, true }, { GPA + DATA, 8, false } };

	start(4);
	driver_add(&drv, two, 2);
	CHECK_BREAKS("a readable descriptor after a writable one");
}

CASE(a_chain_that_must_wait_is_not_taken)
{
	static struct buffer all[CONFIG_SPANS_INLINE + 1];
	struct request *others[CONFIG_LONG_MAX];

	start(256);
	for (unsigned i = 0; i < CONFIG_SPANS_INLINE + 1; i++)
		all[i] = (struct buffer){ GPA + DATA + 16 * i, 8, true };
	driver_add(&drv, all, CONFIG_SPANS_INLINE + 1);
	for (unsigned i = 0; i < CONFIG_LONG_MAX; i++) {
		others[i] = request_get(0);
		driver_avail(&drv, 0);
		CHECK_EQ(vring_pop(&ring, &mem, others[i], &why), 1);
	}
	CHECK_EQ(pop(), -EAGAIN);
	CHECK_EQ(pop(), -EAGAIN);
	request_put(others[0], 0);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(pop(), 0);
}

/* ---- indirect tables ---- */

static const struct buffer three[3] = { { GPA + DATA, 16, false }, { GPA + DATA + 64, 8, true },
	{ GPA + DATA + 128, 1, true } };

/* Makes head 0 available: an indirect descriptor for the table. */
static void add_table(uint64_t addr, uint32_t len, uint16_t flags)
{
	driver_desc(&drv, 0, addr, len, flags | VIRTQ_DESC_F_INDIRECT, 1);
	driver_avail(&drv, 0);
}

CASE(an_indirect_table)
{
	start(4);
	driver_add_indirect(&drv, TABLE, three, 3);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(reader_left(&req->in), 16);
	CHECK_EQ(writer_left(&req->out), 9);
}

CASE(an_indirect_table_ends_a_chain)
{
	start(4);
	driver_table(&drv, TABLE, three, 3);
	driver_desc(&drv, 1, GPA + DATA + 512, 4, VIRTQ_DESC_F_NEXT, 3);
	driver_desc(&drv, 3, GPA + TABLE, 48, VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_WRITE, 0);
	driver_avail(&drv, 1);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(req->chain.head, 1);
	CHECK_EQ(reader_left(&req->in), 20);
}

CASE(an_indirect_table_may_be_longer_than_the_ring)
{
	static struct buffer all[CONFIG_RING_SIZE_MAX + 1];

	start(2);
	for (unsigned i = 0; i < CONFIG_RING_SIZE_MAX + 1; i++)
		all[i] = (struct buffer){ GPA + 2 * i, 1, true };
	driver_add_indirect(&drv, DATA, all, CONFIG_RING_SIZE_MAX);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(writer_left(&req->out), CONFIG_RING_SIZE_MAX);
	driver_add_indirect(&drv, DATA, all, CONFIG_RING_SIZE_MAX + 1);
	CHECK_BREAKS("an indirect table of a wrong size");
}

CASE(an_indirect_table_over_two_regions)
{
	for (uint32_t at = BYTES - 48; at < BYTES; at++) {
		struct guest *second;

		start(4);
		second = mem_at(&mem, GPA + BYTES, 64).base;
		driver_table(&drv, TABLE, three, 3);
		memcpy(drv.mem + at, drv.mem + TABLE, BYTES - at);
		guest_copy_out(second, drv.mem + TABLE + (BYTES - at), 48 - (BYTES - at));
		add_table(GPA + at, 48, 0);
		CHECK_EQ(pop(), 1);
		CHECK_EQ(reader_left(&req->in), 16);
		CHECK_EQ(writer_left(&req->out), 9);
	}
}

CASE(indirect_only_if_it_was_negotiated)
{
	start_at(4, 0, 0);
	driver_table(&drv, TABLE, three, 3);
	add_table(GPA + TABLE, 48, 0);
	CHECK_BREAKS("an indirect descriptor where none may be");
	start(4);
	add_table(GPA + TABLE, 48, VIRTQ_DESC_F_NEXT);
	CHECK_BREAKS("an indirect descriptor where none may be");
}

CASE(indirect_tables_of_a_wrong_size)
{
	static const uint32_t sizes[] = { 0, 15, 17, 16 * CONFIG_RING_SIZE_MAX + 16, UINT32_MAX };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		start(4);
		add_table(GPA + TABLE, sizes[i], 0);
		CHECK_BREAKS("an indirect table of a wrong size");
	}
}

CASE(indirect_tables_that_are_nowhere)
{
	static const uint64_t addrs[] = { 0, GPA - 8, GPA + BYTES + 0x1000 - 8, UINT64_MAX - 8 };

	for (unsigned i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
		start(4);
		add_table(addrs[i], 16, 0);
		CHECK_BREAKS("an indirect table that is not in shared memory");
	}
}

CASE(indirect_tables_do_not_nest)
{
	start(4);
	driver_add_indirect(&drv, TABLE, three, 3);
	drv.mem[TABLE + 16 + 12] |= VIRTQ_DESC_F_INDIRECT;
	CHECK_BREAKS("an indirect descriptor in an indirect table");
}

CASE(links_stay_in_an_indirect_table)
{
	start(4);
	driver_add_indirect(&drv, TABLE, three, 3);
	drv.mem[TABLE + 14] = 3;
	CHECK_BREAKS("a descriptor behind the end of its indirect table");
	start(4);
	driver_add_indirect(&drv, TABLE, three, 3);
	drv.mem[TABLE + 16 + 14] = 1;
	CHECK_BREAKS("a loop of descriptors in an indirect table");
}

CASE(a_rule_broken_in_an_indirect_table)
{
	start(4);
	driver_add_indirect(&drv, TABLE, three, 3);
	drv.mem[TABLE + 32 + 12] = 0;
	CHECK_BREAKS("a readable descriptor after a writable one");
}
