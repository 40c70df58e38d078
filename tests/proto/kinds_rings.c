/*
 * Drivers that misbehave, on every queue of every kind of device (tests/front/kinds.c): chains that
 * break the rules, descriptors that say anything, rings that lie on each other or change while they
 * are read. At most that queue breaks, and a reset revives it. What it means to disks in detail is
 * in breaks.c, harmless.c, places.c and scribble.c.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../front/yard.h"

enum { NEXT = DRIVER_DESC_NEXT, WRITE = DRIVER_DESC_WRITE, INDIRECT = DRIVER_DESC_INDIRECT };
/* In tables of this file only: WRITE if the device writes into buffers of this queue. */
enum { OWN = 8 };

#define AT    RIG_SLOTS_AT
#define TABLE (AT + 0x1000)
#define END   (RIG_GUEST + RIG_MEMORY)

static struct yard y;

static const struct kind_queue *kind_of(unsigned queue)
{
	return &y.kind->queues[queue];
}

static struct front_queue *queue_of(unsigned queue)
{
	return &y.rig.queues[queue];
}

static void poke(unsigned queue)
{
	if (kind_of(queue)->poke)
		kind_of(queue)->poke(&y.rig);
}

/* The device has been made to look at what this queue was given, and has. */
static void looks(unsigned queue)
{
	front_kick(queue_of(queue));
	poke(queue);
	front_kick(queue_of(queue));
	CHECK_EQ(front_settle(&y.rig.front), 0);
	CHECK_EQ(front_settle(&y.rig.front), 0);
}

/*
 * Whatever became of this queue was told at most once, nobody else noticed, and a reset is a reset.
 * (One more, as some of what a device says it says once.)
 */
static void begin_anew(unsigned queue)
{
	yard_bystander(&y);
	yard_reset(&y);
	for (unsigned i = 0; i < y.kind->queue_count; i++)
		CHECK(front_signals(queue_of(i)->err) <= (i == queue));
	yard_reads(&y);
	yard_reset(&y);
}

/* ---- what breaks a queue ---- */

static void is_broken(unsigned queue, const char *by)
{
	struct front_queue *q = queue_of(queue);
	uint64_t status;

	CHECK_EQ(front_set_status(&y.rig.front, VIRTIO_DRIVER_OK), 0);
	front_kick(q);
	poke(queue);
	if (front_wait_signal(q->err, harness_wait_ms()) != 0)
		harness_fail(HERE, "queue %s does not break by %s", kind_of(queue)->name, by);
	front_kick(q);
	CHECK_EQ(front_settle(&y.rig.front), 0);
	CHECK_EQ(front_signals(q->err), 1);
	CHECK_EQ(front_get_status(&y.rig.front, &status), 0);
	CHECK_EQ(status, VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET);
	begin_anew(queue);
}

enum formats { SPLIT = 1, PACKED = 2, BOTH = 3 };

static const struct sin {
	const char *name;
	enum formats formats;
	unsigned count, table_count;
	struct driver_desc d[3], table[3];
} sins[] = {
	{ "readable after writable", BOTH, 2, 0,
		{ { AT, 16, NEXT | WRITE, 1, 0 }, { AT, 16, 0, 0, 0 } }, { { 0 } } },
	{ "that in a table", BOTH, 1, 2, { { TABLE, 32, INDIRECT, 0, 0 } },
		{ { AT, 16, NEXT | WRITE, 1, 0 }, { AT, 16, 0, 0, 0 } } },
	{ "an empty table", BOTH, 1, 0, { { TABLE, 0, INDIRECT, 0, 0 } }, { { 0 } } },
	{ "a table of an odd size", BOTH, 1, 0, { { TABLE, 17, INDIRECT, 0, 0 } }, { { 0 } } },
	{ "a huge table", BOTH, 1, 0, { { TABLE, 16 * 4096, INDIRECT, 0, 0 } }, { { 0 } } },
	{ "a table of 4 GiB", BOTH, 1, 0, { { TABLE, 0xfffffff0, INDIRECT, 0, 0 } }, { { 0 } } },
	{ "a table that is nowhere", BOTH, 1, 0, { { 0x10, 32, INDIRECT, 0, 0 } }, { { 0 } } },
	{ "a table that wraps", BOTH, 1, 0, { { 0ull - 16, 32, INDIRECT, 0, 0 } }, { { 0 } } },
	{ "a table over the end", BOTH, 1, 1, { { END - 24, 48, INDIRECT, 0, 0 } },
		{ { AT, 16, OWN | NEXT, 1, 0 } } },
	{ "a table and more", BOTH, 2, 1,
		{ { TABLE, 16, INDIRECT | NEXT, 1, 0 }, { AT, 16, OWN, 0, 0 } },
		{ { AT, 16, OWN, 0, 0 } } },
	{ "a table in the middle", BOTH, 3, 1,
		{ { AT, 16, OWN | NEXT, 1, 0 }, { TABLE, 16, INDIRECT | NEXT, 2, 0 },
			{ AT, 16, OWN, 0, 0 } },
		{ { AT, 16, OWN, 0, 0 } } },
	{ "a table at the end", PACKED, 2, 1,
		{ { AT, 16, OWN | NEXT, 1, 0 }, { TABLE, 16, INDIRECT, 0, 0 } },
		{ { AT, 16, OWN, 0, 0 } } },
	{ "a table in a table", SPLIT, 1, 1, { { TABLE, 16, INDIRECT, 0, 0 } },
		{ { TABLE, 16, INDIRECT, 0, 0 } } },
	{ "a next behind the end of a table", SPLIT, 1, 1, { { TABLE, 32, INDIRECT, 0, 0 } },
		{ { AT, 16, OWN | NEXT, 9, 0 } } },
	{ "a loop in a table", SPLIT, 1, 2, { { TABLE, 32, INDIRECT, 0, 0 } },
		{ { AT, 16, OWN | NEXT, 1, 0 }, { AT, 0, OWN | NEXT, 1, 0 } } },
	{ "a next behind the end", SPLIT, 1, 0, { { AT, 16, OWN | NEXT, RIG_RING_SIZE, 0 } },
		{ { 0 } } },
	{ "a loop of one", SPLIT, 1, 0, { { AT, 16, OWN | NEXT, 0, 0 } }, { { 0 } } },
	{ "a self-loop of no length", SPLIT, 1, 0, { { AT, 0, OWN | NEXT, 0, 0 } }, { { 0 } } },
	{ "a loop of two", SPLIT, 2, 0,
		{ { AT, 1, OWN | NEXT, 1, 0 }, { AT, 0, OWN | NEXT, 0, 0 } }, { { 0 } } },
};

static struct driver_desc meant(struct driver_desc d, bool writes)
{
	unsigned own = d.flags & OWN;

	d.flags &= (uint16_t)~OWN;
	d.flags |= own && writes ? WRITE : 0;
	d.id = 0xbeef;
	return d;
}

/* If it is one of this format. */
static void commit(unsigned queue, const struct sin *sin)
{
	struct driver *driver = &queue_of(queue)->driver;
	bool writes = kind_of(queue)->writes;
	struct driver_desc d[3], table[3];

	if ((sin->formats & (harness_packed() ? PACKED : SPLIT)) == 0)
		return;
	for (unsigned i = 0; i < 3; i++) {
		d[i] = meant(sin->d[i], writes);
		table[i] = meant(sin->table[i], writes);
	}
	for (unsigned i = 0; i < sin->count; i++)
		if ((d[i].flags & INDIRECT) != 0)
			CHECK(driver_put_table(driver, d[i].addr, table, sin->table_count));
	driver_offer_raw(driver, d, sin->count);
	is_broken(queue, sin->name);
}

static void each_sin(const char *with)
{
	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++)
		for (unsigned i = 0; i < sizeof(sins) / sizeof(sins[0]); i++)
			commit(queue, &sins[i]);
	yard_check(&y);
}

/* Chains of up to 1024 descriptors: longer than the ring, or of more bytes than there may be. */
static void chains_that_are_too_long(const char *with)
{
	static struct driver_desc d[1024];

	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++) {
		struct driver *driver = &queue_of(queue)->driver;
		unsigned own = kind_of(queue)->writes ? WRITE : 0;

		for (unsigned i = 0; i < 1024; i++)
			d[i] = desc(RIG_GUEST, RIG_MEMORY, own | (i < 1023 ? NEXT : 0), i + 1);
		CHECK(driver_put_table(driver, TABLE, d, 1024));
		d[0] = desc(TABLE, 16 * 1024, INDIRECT, 0);
		driver_offer_raw(driver, d, 1);
		is_broken(queue, "4 GiB of the same pages");
		/* A split ring's ends where it began, as there is no more. */
		for (unsigned len = 0; len < 2; len++) {
			for (unsigned i = 0; i < RIG_RING_SIZE; i++)
				d[i] = desc(AT, len, own | NEXT, (i + 1) % RIG_RING_SIZE);
			driver_offer_raw(driver, d, RIG_RING_SIZE);
			is_broken(queue, "a chain longer than the ring");
		}
	}
	yard_check(&y);
}

/* Heads and indices of split rings; what packed rings have instead says that there is nothing. */
static void indices_that_jump(const char *with)
{
	static const uint16_t heads[] = { RIG_RING_SIZE, RIG_RING_SIZE + 1, 0x8000, 65535 };
	static const uint16_t jumps[] = { RIG_RING_SIZE + 1, 0x8000, 65535 };

	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++) {
		struct driver *driver = &queue_of(queue)->driver;

		for (unsigned i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
			driver_offer_head(driver, heads[i]);
			is_broken(queue, "a head behind the end");
		}
		for (unsigned i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
			driver_store16(driver->avail + 2, (uint16_t)(driver->added + jumps[i]));
			is_broken(queue, "an index that jumps");
		}
	}
	yard_check(&y);
}

static void tables_without_the_feature(const char *with)
{
	struct driver_desc d = desc(TABLE, 32, INDIRECT, 0);

	y.kind = kind_find(with);
	yard_serve(&y, NULL);
	rig_negotiate(&y.rig, ~VU_F(INDIRECT_DESC), ~0ull);
	rig_share(&y.rig);
	while (y.rig.queue_count < y.kind->queue_count)
		rig_start(&y.rig, rig_queue(&y.rig));
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++) {
		driver_offer_raw(&queue_of(queue)->driver, &d, 1);
		is_broken(queue, "a table that was not agreed on");
	}
	yard_check(&y);
}

/* ---- what may break a queue, or one request, or nothing ---- */

static void whatever_comes(unsigned queue)
{
	looks(queue);
	begin_anew(queue);
}

static void every_field_out_of_range(const char *with)
{
	static const uint64_t places[] = { AT, 0, RIG_GUEST - 8, END - 8, END, 1ull << 40,
		1ull << 63, 0ull - 8 };
	static const uint32_t lengths[] = { 0, 1, 7, 16, 1 << 20, RIG_MEMORY + 1, 0xfffffff0 };

	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++)
		for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
			for (unsigned k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
				unsigned flags = (i + k) % 5 == 0         ? 0
						 : kind_of(queue)->writes ? WRITE
									  : 0;
				struct driver_desc d[] = {
					desc(AT, k, flags | NEXT | (0xfff8 & ~(1u << 7 | 1u << 15)),
						1),
					desc(places[i], lengths[k], flags, 65535),
				};

				driver_offer_raw(&queue_of(queue)->driver, d + i % 2, 2 - i % 2);
				whatever_comes(queue);
			}
	yard_check(&y);
}

/* Buffers for what only reads, none at all, and chains that are cut anywhere. */
static void chains_of_any_shape(const char *with)
{
	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++)
		for (unsigned turn = 0; turn < 40; turn++) {
			struct driver_desc d[16];
			unsigned count = 1 + (unsigned)(harness_random() % 16);
			unsigned writable = (unsigned)(harness_random() % 17);
			unsigned char bytes[256];

			harness_fill(bytes, sizeof(bytes));
			CHECK(driver_write(
				&y.rig.memory.driver, AT, bytes, turn % 2 ? sizeof(bytes) : 8));
			for (unsigned i = 0; i < count; i++)
				d[i] = desc(AT + harness_random() % 64,
					(uint32_t)(harness_random() % (turn % 3 ? 20 : 3000)),
					(i >= writable ? WRITE : 0) | (i + 1 < count ? NEXT : 0),
					i + 1);
			driver_offer_raw(&queue_of(queue)->driver, d, count);
			whatever_comes(queue);
		}
	yard_check(&y);
}

static void event_suppression_of_any_value(const char *with)
{
	yard_open(&y, with, 0);
	for (unsigned i = 0; i < 40; i++) {
		for (unsigned queue = 0; queue < y.kind->queue_count; queue++) {
			uint32_t any = (uint32_t)harness_random();

			memcpy(queue_of(queue)->driver.avail +
					(harness_packed() ? 0 : 4 + 2 * RIG_RING_SIZE),
				&any, harness_packed() ? 4 : 2);
		}
		yard_reads(&y);
	}
	yard_check(&y);
}

/* ---- places ---- */

/* What the device writes goes over the ring that it belongs to. */
static void buffers_over_the_ring(const char *with)
{
	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++)
		for (unsigned turn = 0; turn < 24; turn++) {
			const struct driver_layout *at = &queue_of(queue)->driver.at;
			uint64_t part = turn % 3 == 0   ? at->desc
					: turn % 3 == 1 ? at->avail
							: at->used;
			struct driver_desc d = desc(
				part + turn / 3 * 8, 4096, kind_of(queue)->writes ? WRITE : 0, 0);

			driver_offer_raw(&queue_of(queue)->driver, &d, 1);
			whatever_comes(queue);
		}
	yard_check(&y);
}

/* Starts a queue whose parts lie like this, in place of one that was stopped. */
static int start_at(unsigned queue, const struct front_ring_addr *addr)
{
	struct front *f = &y.rig.front;
	uint32_t base;

	CHECK_EQ(front_get_vring_base(f, queue, &base), 0);
	CHECK_EQ(front_set_vring_addr(f, addr), 0);
	(void)front_set_vring_base(f, queue, base);
	return front_set_vring_kick(f, queue, queue_of(queue)->kick);
}

static struct front_ring_addr good_addr(unsigned queue)
{
	const struct driver_layout *at = &queue_of(queue)->driver.at;

	return (struct front_ring_addr){ .index = queue,
		.desc = front_user_of(&y.rig.memory, at->desc),
		.used = front_user_of(&y.rig.memory, at->used),
		.avail = front_user_of(&y.rig.memory, at->avail) };
}

static void ring_parts_that_are_nowhere(const char *with)
{
	static const uint64_t nowhere[] = { 0, RIG_GUEST, RIG_USER - 4, RIG_USER + RIG_MEMORY - 2,
		RIG_USER + RIG_MEMORY, 1ull << 63, 0ull - 16 };

	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++)
		for (unsigned part = 0; part < 3; part++)
			for (unsigned i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
				struct front_ring_addr addr = good_addr(queue);

				*(part == 0         ? &addr.desc
					: part == 1 ? &addr.avail
						    : &addr.used) = nowhere[i];
				CHECK_EQ(start_at(queue, &addr), FRONT_REFUSED);
				if (i % 3 == 0)
					whatever_comes(queue);
			}
	yard_check(&y);
}

static void ring_parts_that_overlap(const char *with)
{
	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++)
		for (unsigned how = 0; how < 9; how++)
			for (unsigned shift = 0; shift <= 32; shift += 16) {
				struct front_ring_addr addr = good_addr(queue);
				uint64_t *parts[] = { &addr.desc, &addr.avail, &addr.used };
				struct driver_desc d =
					desc(AT, 512, kind_of(queue)->writes ? WRITE : 0, 0);

				*parts[how % 3] = *parts[how / 3] + shift;
				(void)start_at(queue, &addr);
				driver_offer_raw(&queue_of(queue)->driver, &d, 1);
				looks(queue);
				whatever_comes(queue);
			}
	yard_check(&y);
}

/* ---- what changes while it is read ---- */

static struct {
	unsigned char *at;
	size_t len;
	uint64_t random;
	atomic_bool ends;
	atomic_ulong stores;
	pthread_t thread;
} scribbler;

static void *scribble(void *with)
{
	uint64_t x = scribbler.random;

	(void)with;
	while (!atomic_load(&scribbler.ends)) {
		volatile unsigned char *byte = scribbler.at + x % scribbler.len;
		unsigned char was = *byte;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		*byte = (unsigned char)(x >> 32);
		if (x % 2)
			*byte = was;
		atomic_fetch_add(&scribbler.stores, 1);
	}
	return NULL;
}

/* Rounds of chains in this queue while all of its ring and its tables are scribbled over. */
static void scribbled(unsigned queue)
{
	struct front_queue *q = queue_of(queue);
	const struct driver_layout *at = &q->driver.at;
	bool tables = queue % 2;

	scribbler.len = tables ? 0x2000 : at->end - at->desc;
	scribbler.at = driver_at(&y.rig.memory.driver, tables ? AT : at->desc, scribbler.len);
	scribbler.random = harness_random() | 1;
	atomic_store(&scribbler.ends, false);
	atomic_store(&scribbler.stores, 0);
	CHECK_EQ(pthread_create(&scribbler.thread, NULL, scribble, NULL), 0);
	UNTIL(atomic_load(&scribbler.stores) > 0);
	for (unsigned turn = 0; turn < 40; turn++) {
		struct driver_desc d[] = { desc(AT, 16, NEXT | (kind_of(queue)->writes ? WRITE : 0),
						   1),
			desc(AT + 512, 1500, kind_of(queue)->writes ? WRITE : 0, 0) };
		struct driver_desc head = desc(TABLE, 32, INDIRECT, 0);

		CHECK(driver_put_table(&q->driver, TABLE, d, 2));
		driver_offer_raw(&q->driver, turn % 2 ? &head : d, turn % 2 ? 1 : 2);
		looks(queue);
		if (turn % 4 == 3) {
			CHECK_EQ(front_set_status(&y.rig.front, 0), 0);
			CHECK_EQ(front_set_features(&y.rig.front, y.rig.front.features), 0);
			for (unsigned i = 0; i < y.rig.queue_count; i++) {
				rig_reopen(&y.rig, queue_of(i));
				/* What is scribbled over may make it refuse. */
				(void)front_queue_start(&y.rig.front, queue_of(i),
					driver_base(&queue_of(i)->driver, 0));
			}
		}
	}
	atomic_store(&scribbler.ends, true);
	CHECK_EQ(pthread_join(scribbler.thread, NULL), 0);
	rig_disconnect(&y.rig);
	yard_connect(&y, 0);
	yard_reads(&y);
}

static void all_of_it_changes(const char *with)
{
	yard_open(&y, with, 0);
	for (unsigned queue = 0; queue < y.kind->queue_count; queue++)
		scribbled(queue);
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(each_sin),
	CASE_OF_EACH_FORMAT(chains_that_are_too_long),
	{ "indices_that_jump", indices_that_jump, NULL, "split" },
	CASE(tables_without_the_feature),
	CASE(every_field_out_of_range),
	CASE(chains_of_any_shape),
	CASE(event_suppression_of_any_value),
	CASE(buffers_over_the_ring),
	CASE(ring_parts_that_are_nowhere),
	CASE(ring_parts_that_overlap),
	CASE_OF_EACH_FORMAT(all_of_it_changes),
};
KIND_MAIN(cases)
