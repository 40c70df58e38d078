/*
 * Places: ring parts, bases and regions that are out of range, unaligned, overlapping, wrapping
 * around 2^64, at the last byte of a region, or in memory that cannot be had.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../front/yard.h"

static struct yard y;

/* The victim with memory and a queue, and all of the ring's messages but the addresses. */
static struct front_queue *begin(void)
{
	struct front_queue *q;

	rig_negotiate(&y.rig, ~0ull, ~0ull);
	rig_share(&y.rig);
	q = rig_queue(&y.rig);
	CHECK_EQ(front_queue_set(&y.rig.front, q, driver_base(&q->driver, 0)), 0);
	CHECK_EQ(front_set_vring_enable(&y.rig.front, 0, true), 0);
	return q;
}

static struct front_ring_addr good_addr(const struct front_queue *q)
{
	const struct driver_layout *at = &q->driver.at;

	return (struct front_ring_addr){ .desc = front_user_of(&y.rig.memory, at->desc),
		.used = front_user_of(&y.rig.memory, at->used),
		.avail = front_user_of(&y.rig.memory, at->avail) };
}

static int start_at(const struct front_queue *q, const struct front_ring_addr *addr)
{
	CHECK_EQ(front_set_vring_addr(&y.rig.front, addr), 0);
	return front_set_vring_kick(&y.rig.front, 0, q->kick);
}

/* Each part of the ring in turn at these places; what is refused leaves the connection sane. */
static void each_part_is_refused_at(const uint64_t *places, unsigned count, bool also_desc)
{
	struct front_queue *q;

	yard_serve(&y, NULL);
	q = begin();
	for (unsigned part = also_desc ? 0 : 1; part < 3; part++)
		for (unsigned i = 0; i < count; i++) {
			struct front_ring_addr addr = good_addr(q);

			*(part == 0         ? &addr.desc
				: part == 1 ? &addr.avail
					    : &addr.used) = places[i];
			if (start_at(q, &addr) != FRONT_REFUSED)
				harness_fail(HERE, "part %u at %#llx is not refused", part,
					(unsigned long long)places[i]);
		}
	CHECK_EQ(start_at(q, &(struct front_ring_addr){ 0 }), FRONT_REFUSED);
	rig_start(&y.rig, q);
	yard_reads(&y);
	yard_check(&y);
}

static void ring_parts_that_are_nowhere(const char *with)
{
	static const uint64_t nowhere[] = { 0, RIG_GUEST, RIG_USER - 4096, RIG_USER - 4,
		RIG_USER + RIG_MEMORY, RIG_USER + RIG_MEMORY + 4096, 1ull << 63, 0ull - 4096,
		0ull - 16, 0ull - 4 };

	(void)with;
	each_part_is_refused_at(nowhere, sizeof(nowhere) / sizeof(nowhere[0]), true);
}

/* Some bytes of it are there, and some are not: 2^64 is one such edge. */
static void ring_parts_over_the_end_of_a_region(const char *with)
{
	static const uint64_t edge[] = { RIG_USER + RIG_MEMORY - 2, RIG_USER - 2 };

	(void)with;
	each_part_is_refused_at(edge, 2, true);
}

static void ring_parts_that_are_not_aligned(const char *with)
{
	static const uint64_t odd[] = { RIG_USER + 0x9001, RIG_USER + 0x9003, RIG_USER + 0x9007 };

	(void)with;
	each_part_is_refused_at(odd, 3, harness_packed());
}

/* The ring ends with the last byte of its region: it works there, and one step further not. */
static void a_ring_at_the_last_byte_of_a_region(const char *with)
{
	struct driver_options options = { .size = RIG_RING_SIZE, .event_idx = true };
	struct front_queue *q = &y.rig.queues[0];
	struct driver_layout at;
	struct front_ring_addr addr;
	uint64_t bytes, guest;

	(void)with;
	yard_serve(&y, NULL);
	rig_negotiate(&y.rig, ~0ull, ~0ull);
	rig_share(&y.rig);
	bytes = driver_place(rig_format(), &at, options.size, RIG_GUEST) - RIG_GUEST;
	/* Split: its last word is 2 bytes, and the used ring is aligned to 4. */
	guest = (RIG_GUEST + RIG_MEMORY - bytes) / 16 * 16;
	driver_place(rig_format(), &at, options.size, guest);
	at.used += (RIG_GUEST + RIG_MEMORY - at.end) / 4 * 4;
	at.end += (RIG_GUEST + RIG_MEMORY - at.end) / 4 * 4;
	CHECK(RIG_GUEST + RIG_MEMORY - at.end < 4);
	CHECK_EQ(front_queue_open(q, 0, rig_format(), &y.rig.memory, &at, &options), 0);
	y.rig.queue_count = 1;
	rig_start(&y.rig, q);
	for (unsigned i = 0; i < 2 * RIG_RING_SIZE; i++)
		yard_reads(&y);
	CHECK_EQ(front_get_vring_base(&y.rig.front, 0, &(uint32_t){ 0 }), 0);
	addr = good_addr(q);
	addr.used += 4;
	CHECK_EQ(start_at(q, &addr), FRONT_REFUSED);
	yard_check(&y);
}

/* A ring of 4 whose part that grows with the size ends where its region ends. */
static void open_at_the_end(struct front_queue *q)
{
	const struct driver_memory *mem = &y.rig.memory.driver;
	struct driver_options options = { .size = 4, .event_idx = true };
	uint64_t end = RIG_GUEST + RIG_MEMORY;
	struct driver_layout at;

	driver_place(rig_format(), &at, 4, RIG_GUEST);
	if (!harness_packed()) {
		at.end = end - 2;
		at.used = at.end - 38;
	}
	CHECK_EQ(front_queue_open(q, 0, rig_format(), &y.rig.memory, &at, &options), 0);
	y.rig.queue_count = 1;
	if (harness_packed()) {
		q->driver.at.desc = end - 64;
		q->driver.desc = driver_at(mem, end - 64, 64);
	}
}

/* A ring that runs is to start again with a size for which there is no room: it stops. */
static void a_restart_that_fails_stops_the_ring(const char *with)
{
	static unsigned char before[RIG_SLOTS_AT - RIG_GUEST], after[sizeof(before)];
	struct front_queue *q = &y.rig.queues[0];
	unsigned char id[BLK_ID_BYTES];
	uint32_t base;

	(void)with;
	yard_serve(&y, NULL);
	rig_negotiate(&y.rig, ~0ull, ~0ull);
	rig_share(&y.rig);
	open_at_the_end(q);
	rig_start(&y.rig, q);
	CHECK_EQ(rig_blk(&y.rig, BLK_GET_ID, 0, id, sizeof(id)), BLK_OK);
	base = driver_base(&q->driver, 0);
	CHECK_EQ(front_set_vring_num(&y.rig.front, 0, 1024), 0);
	CHECK_EQ(front_set_vring_base(&y.rig.front, 0, base), 0);
	CHECK_EQ(front_set_vring_kick(&y.rig.front, 0, q->kick), FRONT_REFUSED);
	CHECK(driver_read(&y.rig.memory.driver, RIG_GUEST, before, sizeof(before)));
	for (unsigned i = 0; i < 3; i++) {
		front_kick(q);
		CHECK_EQ(front_set_vring_enable(&y.rig.front, 0, true), 0);
		CHECK_EQ(front_settle(&y.rig.front), 0);
	}
	CHECK(driver_read(&y.rig.memory.driver, RIG_GUEST, after, sizeof(after)));
	CHECK_BYTES(after, before, sizeof(after));
	CHECK_EQ(front_set_vring_num(&y.rig.front, 0, 4), 0);
	CHECK_EQ(front_set_vring_base(&y.rig.front, 0, base), 0);
	CHECK_EQ(front_set_vring_kick(&y.rig.front, 0, q->kick), 0);
	CHECK_EQ(rig_blk(&y.rig, BLK_GET_ID, 0, id, sizeof(id)), BLK_OK);
	yard_check(&y);
}

/* Two regions that are neighbours for the guest are not for us: a ring part lies in one. */
static void a_ring_over_two_regions(const char *with)
{
	uint64_t edge = RIG_USER + RIG_MEMORY;
	struct front_queue *q;

	(void)with;
	yard_serve(&y, NULL);
	CHECK_EQ(front_memory_add(&y.rig.memory, RIG_GUEST, RIG_USER, RIG_MEMORY, 0), 0);
	CHECK_EQ(front_memory_add(&y.rig.memory, RIG_GUEST + RIG_MEMORY, edge, 1 << 20, 0), 0);
	q = begin();
	for (unsigned part = 0; part < 3; part++)
		for (uint64_t before = 16; before <= 64; before += 16) {
			struct front_ring_addr addr = good_addr(q);

			*(part == 0         ? &addr.desc
				: part == 1 ? &addr.avail
					    : &addr.used) = edge - before;
			/* It may be able to; what it may not is crash. */
			(void)start_at(q, &addr);
			front_kick(q);
			CHECK_EQ(front_settle(&y.rig.front), 0);
			CHECK_EQ(front_get_vring_base(&y.rig.front, 0, &(uint32_t){ 0 }), 0);
		}
	yard_check(&y);
}

/* ---- overlapping ---- */

/* A ring whose parts lie like this, with requests in it: whatever comes of it, no more does. */
static void runs_with(const struct front_ring_addr *addr)
{
	struct front_queue *q = &y.rig.queues[0];

	if (start_at(q, addr) == 0)
		for (unsigned i = 0; i < 3; i++) {
			struct driver_desc d[] = { desc(RIG_SLOTS_AT, 16, DRIVER_DESC_NEXT, 1),
				desc(RIG_SLOTS_AT + 64, 1, DRIVER_DESC_WRITE, 0) };

			driver_offer_raw(&q->driver, d, 2);
			front_kick(q);
			CHECK_EQ(front_settle(&y.rig.front), 0);
		}
	CHECK_EQ(front_set_status(&y.rig.front, 0), 0);
	rig_disconnect(&y.rig);
	UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
}

static void ring_parts_that_overlap(const char *with)
{
	(void)with;
	yard_serve(&y, NULL);
	for (unsigned how = 0; how < 9; how++)
		for (unsigned shift = 0; shift <= 64; shift += 16) {
			struct front_ring_addr addr = good_addr(begin());
			uint64_t *parts[] = { &addr.desc, &addr.avail, &addr.used };

			*parts[how % 3] = *parts[how / 3] + shift;
			runs_with(&addr);
		}
	for (unsigned all = 0; all < 3; all++) {
		struct front_ring_addr addr = good_addr(begin());

		addr.desc = addr.avail = addr.used = all == 0   ? addr.desc
						     : all == 1 ? addr.avail
								: addr.used;
		runs_with(&addr);
	}
	yard_check(&y);
}

/* The data of a read goes over the ring itself, and the status over any part of it. */
static void buffers_over_the_ring(const char *with)
{
	yard_open(&y, with, 1);
	for (unsigned turn = 0; turn < 60; turn++) {
		struct front_queue *q = &y.rig.queues[0];
		struct blk_request i = rig_request(&y.rig, 0, BLK_IN, turn, 512);
		struct driver_buffer buffers[3];
		struct driver_chain chain = { .buffers = buffers };

		i.data = q->driver.at.desc + turn * 64;
		i.status = turn % 2 ? i.status : q->driver.at.used + turn % 8;
		chain.count = blk_build(&y.rig.memory.driver, &i, buffers);
		CHECK(driver_add(&q->driver, &chain) >= 0);
		front_queue_offer(q);
		CHECK_EQ(front_settle(&y.rig.front), 0);
		rig_disconnect(&y.rig);
		yard_connect(&y, 1);
	}
	yard_check(&y);
}

/* ---- bases ---- */

static void bases_out_of_range(const char *with)
{
	static const uint32_t bases[] = { 0, 1, RIG_RING_SIZE - 1, RIG_RING_SIZE, RIG_RING_SIZE + 1,
		0x7fff, 0x8000, 0xffff, 0x10000, 0x80008000, 0x80000000, 0x00008000, 0x80018001,
		0x80018000, 0x80008001, 0x00018000, 0x8000ffff, 0xffff8000, 0x7fff7fff, 0xffffffff,
		0x80000000 | RIG_RING_SIZE << 16 | 0x8000, 0x80008000 | RIG_RING_SIZE };
	unsigned started = 0;

	(void)with;
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		struct front_queue *q = begin();
		struct blk_request id = rig_request(&y.rig, 0, BLK_GET_ID, 0, BLK_ID_BYTES);

		rig_add(&y.rig, q, &id, 0);
		driver_publish(&q->driver);
		if (front_set_vring_base(&y.rig.front, 0, bases[i]) == 0)
			started += front_set_vring_kick(&y.rig.front, 0, q->kick) == 0;
		front_kick(q);
		CHECK_EQ(front_settle(&y.rig.front), 0);
		rig_disconnect(&y.rig);
		UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
	}
	CHECK(started >= 2 && started < sizeof(bases) / sizeof(bases[0]));
	yard_check(&y);
}

/* ---- regions ---- */

static void bad_tables_leave_no_memory(const char *with)
{
	static const struct front_place bad[][2] = {
		{ { 0x10000, 8192, 0x10000, 0 }, { 0x11000, 8192, 0x80000, 0 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0x80000, 8192, 0x11000, 0 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0x10000, 8192, 0x10000, 0 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0x80000, 0, 0x80000, 0 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0ull - 4096, 8192, 0x80000, 0 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0x80000, 8192, 0ull - 4096, 0 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0x80000, 8192, 0x80000, 0ull - 4096 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0x80000, 8192, 0x80000, 1ull << 40 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0x80000, 1ull << 40, 1ull << 41, 0 } },
		{ { 0x10000, 8192, 0x10000, 0 }, { 0, ~0ull, 0, 0 } },
	};
	int fd = memfd_create("table", MFD_CLOEXEC), fds[] = { fd, fd };

	(void)with;
	CHECK_EQ(ftruncate(fd, 1 << 20), 0);
	yard_open(&y, "auto", 1);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_EQ(front_set_mem_table(&y.rig.front, bad[i], fds, 2), FRONT_REFUSED);
		/* Of a table that is refused, nothing is mapped. */
		CHECK_EQ(vubox_maps(&y.rig.vubox), y.maps);
		rig_disconnect(&y.rig);
		yard_connect(&y, 1);
		yard_reads(&y);
	}
	yard_check(&y);
}

/* A region on this descriptor is refused, alone and in a table. */
static void refuses_memory(int fd, uint64_t bytes, const char *what)
{
	struct front_place place = { 1ull << 40, bytes, 1ull << 41, 0 };

	CHECK(fd >= 0);
	yard_connect(&y, 1);
	if (front_add_mem_reg(&y.rig.front, &place, fd) != FRONT_REFUSED)
		harness_fail(HERE, "%s was taken", what);
	yard_reads(&y);
	CHECK_EQ(front_set_mem_table(&y.rig.front, &place, &fd, 1), FRONT_REFUSED);
	rig_disconnect(&y.rig);
	UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
	UNTIL(vubox_maps(&y.rig.vubox) == y.maps);
}

static void memory_that_cannot_be_mapped(const char *with)
{
	int pair[2], pipes[2];

	(void)with;
	yard_serve(&y, NULL);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQ(pipe(pipes), 0);
	refuses_memory(pair[0], 4096, "a socket");
	refuses_memory(pipes[0], 4096, "a pipe");
	refuses_memory(eventfd(0, 0), 4096, "an eventfd");
	refuses_memory(epoll_create1(0), 4096, "an epoll");
	refuses_memory(open("/", O_RDONLY | O_DIRECTORY), 4096, "a directory");
	refuses_memory(open("/proc/self/stat", O_RDONLY), 4096, "a file of /proc");
	refuses_memory(open("/dev/null", O_RDWR), 4096, "/dev/null");
	refuses_memory(open(harness_file("path", 4096), O_PATH), 4096, "a path only");
	yard_check(&y);
}

/* vubox writes into guest memory: what it cannot write, it does not map. */
static void memory_that_can_only_be_read(const char *with)
{
	int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int future = memfd_create("future", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int whole = memfd_create("whole", MFD_CLOEXEC);
	char path[64];

	(void)with;
	yard_serve(&y, NULL);
	CHECK_EQ(
		ftruncate(sealed, 1 << 20) | ftruncate(future, 1 << 20) | ftruncate(whole, 1 << 20),
		0);
	CHECK_EQ(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	CHECK_EQ(fcntl(future, F_ADD_SEALS, 16 /* F_SEAL_FUTURE_WRITE */), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", whole);
	refuses_memory(open(path, O_RDONLY), 1 << 20, "a memfd to be read");
	refuses_memory(open(harness_file("read", 1 << 20), O_RDONLY), 1 << 20, "a file to be read");
	refuses_memory(
		open(harness_file("write", 1 << 20), O_WRONLY), 1 << 20, "one to be written");
	refuses_memory(sealed, 1 << 20, "a memfd sealed against writing");
	refuses_memory(future, 1 << 20, "a memfd sealed against future writing");
	yard_check(&y);
}

static void memory_larger_than_its_file(const char *with)
{
	int fd = memfd_create("small", MFD_CLOEXEC);

	(void)with;
	CHECK_EQ(ftruncate(fd, 4096), 0);
	yard_serve(&y, NULL);
	refuses_memory(fd, 4097, "one byte more than its file");
	refuses_memory(fd, 8192, "a page more than its file");
	refuses_memory(fd, 1ull << 46, "64 TiB");
	refuses_memory(fd, 1ull << 63, "8 EiB");
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(ring_parts_that_are_nowhere),
	CASE_OF_EACH_FORMAT(ring_parts_over_the_end_of_a_region),
	CASE_OF_EACH_FORMAT(ring_parts_that_are_not_aligned),
	CASE_OF_EACH_FORMAT(a_ring_at_the_last_byte_of_a_region),
	CASE_OF_EACH_FORMAT(a_restart_that_fails_stops_the_ring),
	CASE_OF_EACH_FORMAT(a_ring_over_two_regions),
	CASE_OF_EACH_FORMAT(ring_parts_that_overlap),
	CASE_OF_EACH(buffers_over_the_ring),
	CASE_OF_EACH_FORMAT(bases_out_of_range),
	CASE(bad_tables_leave_no_memory),
	CASE(memory_that_cannot_be_mapped),
	CASE(memory_that_can_only_be_read),
	CASE(memory_larger_than_its_file),
};
HARNESS_MAIN(cases)
