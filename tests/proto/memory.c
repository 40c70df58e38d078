/* Guest memory: regions of every shape and number, hot-plug, addresses of two kinds. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../front/rig.h"

static struct rig r;

static void serve(void)
{
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, ~0ull);
}

static void add(uint64_t guest, uint64_t user, uint64_t size, uint64_t offset)
{
	CHECK_EQ(front_memory_add(&r.memory, guest, user, size, offset), 0);
}

/* Writes a pattern to the disk through these guest addresses and reads it back through others. */
static void moves_data(uint64_t from, uint64_t to, uint32_t len, uint64_t sector)
{
	static unsigned char data[1 << 16], back[1 << 16];
	struct blk_request w = rig_request(&r, 0, BLK_OUT, sector, len);
	struct blk_request i = rig_request(&r, 0, BLK_IN, sector, len);
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers };

	harness_fill(data, len);
	w.data = from;
	i.data = to;
	CHECK(driver_write(&r.memory.driver, from, data, len));
	chain.count = blk_build(&r.memory.driver, &w, buffers);
	CHECK_EQ(rig_chain(&r, &w, &chain), BLK_OK);
	rig_disk_read(&r, sector * 512, back, len);
	CHECK_BYTES(back, data, len);
	memset(back, 0, len);
	CHECK(driver_write(&r.memory.driver, to, back, len));
	chain.count = blk_build(&r.memory.driver, &i, buffers);
	CHECK_EQ(rig_chain(&r, &i, &chain), BLK_OK);
	CHECK(driver_read(&r.memory.driver, to, back, len));
	CHECK_BYTES(back, data, len);
}

/* Reads from the disk to an address that is not there any more: the request fails, and no more. */
static void fails_at(uint64_t guest)
{
	struct blk_request i = rig_request(&r, 0, BLK_IN, 0, 512);
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers };

	i.data = guest;
	chain.count = blk_build(&r.memory.driver, &i, buffers);
	CHECK_EQ(rig_chain(&r, &i, &chain), BLK_IOERR);
}

/* ---- SET_MEM_TABLE ---- */

/* User Mode Linux 6.1 sends one region with 72 bytes of payload; QEMU's may have all eight. */
static void a_table_may_be_longer_than_its_regions(const char *with)
{
	static const uint32_t sizes[] = { 40, 72, 8 + 8 * 32 };
	unsigned char payload[8 + 8 * 32] = { 1 };

	(void)with;
	serve();
	add(RIG_GUEST, RIG_USER, RIG_MEMORY, 0);
	memcpy(payload + 8, &r.memory.regions[0].place, 32);
	rig_run(&r);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(front_acked(&r.front, VU_SET_MEM_TABLE, payload, sizes[i],
				 &r.memory.regions[0].fd, 1),
			0);
		rig_works(&r);
	}
	/* But not shorter. */
	payload[0] = 2;
	CHECK_EQ(front_acked(&r.front, VU_SET_MEM_TABLE, payload, 40,
			 (int[]){ r.memory.regions[0].fd, r.memory.regions[0].fd }, 2),
		FRONT_REFUSED);
}

static void eight_regions_in_a_table(const char *with)
{
	(void)with;
	serve();
	for (uint64_t i = 0; i < 8; i++) /* in no order */
		add(RIG_GUEST + (i * 3 % 8) * (4 * RIG_MEMORY), RIG_USER + i * (1ull << 32),
			RIG_MEMORY, 0);
	rig_run(&r);
	for (unsigned from = 0; from < 8; from++)
		moves_data(r.memory.regions[from].place.guest + 9 * (1 << 20),
			r.memory.regions[(from + 5) % 8].place.guest + 10 * (1 << 20), 8192, from);
}

static void a_new_table_while_rings_run(const char *with)
{
	unsigned maps = 0;

	(void)with;
	serve();
	rig_run(&r);
	for (unsigned i = 0; i < 50; i++) {
		for (unsigned slot = 0; slot < 20; slot++) {
			struct blk_request w = rig_request(&r, slot, BLK_OUT, slot * 8, 4096);

			rig_add(&r, &r.queues[0], &w, slot);
		}
		front_queue_offer(&r.queues[0]);
		CHECK_EQ(front_share(&r.front, &r.memory), 0);
		for (unsigned slot = 0; slot < 20; slot++)
			rig_take(&r, &r.queues[0], NULL);
		if (i == 0)
			maps = vubox_maps(&r.vubox);
		CHECK_EQ(vubox_maps(&r.vubox), maps);
	}
}

/* ---- addresses ---- */

/* Ring addresses are user addresses, buffers are guest addresses: mixed up, nothing works. */
static void user_addresses_are_not_guest_addresses(const char *with)
{
	static const uint64_t users[] = { 0x1000, RIG_GUEST, RIG_GUEST + 0x8000, 1ull << 47,
		0xffff800000000000ull, ~0ull - RIG_MEMORY - 4095 };

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		rig_negotiate(&r, ~0ull, ~0ull);
		add(RIG_GUEST, users[i], RIG_MEMORY, 0);
		rig_run(&r);
		moves_data(RIG_GUEST + (9 << 20), RIG_GUEST + (10 << 20), 4096, i);
		rig_disconnect(&r);
	}
}

/* Two regions whose guest and user addresses are each other's. */
static void crossed_addresses(const char *with)
{
	(void)with;
	serve();
	add(1ull << 32, 1ull << 33, RIG_MEMORY, 0);
	add(1ull << 33, 1ull << 32, RIG_MEMORY, 0);
	rig_run(&r);
	moves_data((1ull << 32) + (9 << 20), (1ull << 33) + (10 << 20), 4096, 0);
}

static void mmap_offsets_of_any_alignment(const char *with)
{
	static const uint64_t offsets[] = { 4096, 512, 64, 8, 0x12348, 65536 + 2048, (1 << 20) - 16,
		(5ull << 30) + 4096 + 256 };

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		rig_negotiate(&r, ~0ull, ~0ull);
		add(RIG_GUEST, RIG_USER, RIG_MEMORY, offsets[i]);
		rig_run(&r);
		moves_data(RIG_GUEST + (9 << 20), RIG_GUEST + RIG_MEMORY - 4096, 4096, i);
		rig_disconnect(&r);
	}
}

/* QEMU's pc: one file behind the memory below and above the hole at 4 GiB. */
static void two_regions_of_one_file(const char *with)
{
	struct front_place low = { 0, 8 << 20, RIG_USER, 0 };
	struct front_place high = { 1ull << 32, 8 << 20, RIG_USER + (1 << 30), 8 << 20 };
	int fd = memfd_create("guest", MFD_CLOEXEC);

	(void)with;
	serve();
	CHECK_EQ(ftruncate(fd, 16 << 20), 0);
	CHECK_EQ(front_memory_add_fd(&r.memory, &low, fd), 0);
	CHECK_EQ(front_memory_add_fd(&r.memory, &high, fd), 0);
	rig_run(&r);
	moves_data((7 << 20), (1ull << 32) + (7 << 20), 65536, 0);
	moves_data((1ull << 32), 7 << 20, 65536, 128);
}

static void a_buffer_over_the_edge_of_regions(const char *with)
{
	uint64_t edge = RIG_GUEST + RIG_MEMORY;

	(void)with;
	serve();
	add(RIG_GUEST, RIG_USER, RIG_MEMORY, 0);
	add(edge + 4096, 0x5000, 1 << 20, 512);
	add(edge, 0x1000000, 4096, 0); /* a page between the two: buffers span three */
	rig_run(&r);
	moves_data(edge - 777, edge - 1333, 8192, 0);
	moves_data(edge - 1, edge + 4095, 512, 16);
	moves_data(edge - 511, edge - 512, 4096 + 1024, 32);
	fails_at(edge + 4096 + (1 << 20) - 256); /* half of it is nowhere */
}

/* The ring, its buffers and the data, all above 4 GiB of one region. */
static void a_region_of_more_than_4_gib(const char *with)
{
	uint64_t guest = 1ull << 32, size = 6ull << 30;

	(void)with;
	serve();
	add(guest, RIG_USER, size, 4096);
	r.slots = guest + (5ull << 30) + 123 * 16;
	rig_run(&r);
	moves_data(guest + (4ull << 30) - 4096, guest + size - 16384, 16384, 0);
	moves_data(guest + size - 512, guest + 0x400000, 512, 64);
	fails_at(guest + size - 256);
	rig_disconnect(&r);
	/* Rings there, too. */
	rig_negotiate(&r, ~0ull, ~0ull);
	add(guest, RIG_USER, size, 0);
	r.slots = guest;
	rig_share(&r);
	{
		struct driver_options options = { .size = 256, .event_idx = true };
		struct driver_layout at;

		driver_place(rig_format(), &at, 256, guest + size - 0x4000);
		CHECK_EQ(front_queue_open(&r.queues[0], 0, rig_format(), &r.memory, &at, &options),
			0);
		r.queue_count = 1;
		rig_start(&r, &r.queues[0]);
	}
	moves_data(guest + (5ull << 30), guest + (3ull << 30), 4096, 0);
}

/* ---- slots ---- */

static void slots_up_to_509(const char *with)
{
	enum { SLOTS = 509, STEP = 8192 };
	struct front_place place = { RIG_GUEST + RIG_MEMORY, 4096, 1ull << 40, 0 };
	int fd = memfd_create("slots", MFD_CLOEXEC);
	uint64_t max;

	(void)with;
	serve();
	CHECK_EQ(ftruncate(fd, 4096 * 512), 0);
	CHECK_EQ(front_get_max_mem_slots(&r.front, &max), 0);
	CHECK_EQ(max, SLOTS);
	add(RIG_GUEST, RIG_USER, RIG_MEMORY, 0);
	CHECK_EQ(
		front_add_mem_reg(&r.front, &r.memory.regions[0].place, r.memory.regions[0].fd), 0);
	r.slots = RIG_GUEST + (1 << 20);
	rig_start(&r, rig_queue(&r));
	for (unsigned i = 1; i < SLOTS; i++) {
		unsigned k = i * 7 % SLOTS; /* in no order; 7 and 509 have no common divisor */

		place = (struct front_place){ RIG_GUEST + RIG_MEMORY + k * STEP, 4096,
			(1ull << 40) + k * STEP, k * 4096ull };
		CHECK_EQ(front_memory_add_fd(&r.memory, &place, fd), 0);
		CHECK_EQ(front_add_mem_reg(&r.front, &place, fd), 0);
	}
	place = (struct front_place){ 1ull << 45, 4096, 1ull << 45, 0 };
	CHECK_EQ(front_add_mem_reg(&r.front, &place, fd), FRONT_REFUSED);
	for (unsigned i = 1; i < SLOTS; i++)
		moves_data(r.memory.regions[i].place.guest,
			r.memory.regions[1 + i * 5 % (SLOTS - 1)].place.guest, 4096, i);
	for (unsigned i = 1; i < SLOTS; i++) {
		CHECK_EQ(front_rem_mem_reg(&r.front, &r.memory.regions[i].place, -1), 0);
		if (i % 50 == 1)
			fails_at(r.memory.regions[i].place.guest);
	}
	rig_works(&r);
}

static void removing_a_region(const char *with)
{
	struct front_place *p, wrong = { 0 };
	unsigned fds, maps;
	int fd;

	(void)with;
	serve();
	rig_run(&r);
	add(RIG_GUEST + (1ull << 32), RIG_USER + (1ull << 32), 1 << 20, 0);
	p = &r.memory.regions[1].place;
	fd = r.memory.regions[1].fd;
	fds = vubox_fds(&r.vubox);
	maps = vubox_maps(&r.vubox);
	CHECK_EQ(front_add_mem_reg(&r.front, p, fd), 0);
	CHECK_EQ(front_add_mem_reg(&r.front, p, fd), FRONT_REFUSED); /* it overlaps itself */
	for (unsigned i = 0; i < 3; i++) {
		/* "identified by its guest address, user address and size" */
		uint64_t *const keys[] = { &wrong.guest, &wrong.user, &wrong.size };

		wrong = *p;
		*keys[i] += 4096;
		CHECK_EQ(front_rem_mem_reg(&r.front, &wrong, -1), FRONT_REFUSED);
	}
	moves_data(p->guest, p->guest + 8192, 4096, 0);
	wrong = *p;
	wrong.offset = 12345; /* "The mmap offset is ignored." */
	CHECK_EQ(front_rem_mem_reg(&r.front, &wrong, fd), 0);
	CHECK_EQ(vubox_fds(&r.vubox), fds);
	CHECK_EQ(vubox_maps(&r.vubox), maps);
	fails_at(p->guest);
	CHECK_EQ(front_rem_mem_reg(&r.front, p, -1), FRONT_REFUSED);
	CHECK_EQ(front_add_mem_reg(&r.front, p, fd), 0);
	moves_data(p->guest, p->guest + 8192, 4096, 8);
}

/* The memory of a ring is taken away while it runs, and comes again: the ring goes on. */
static void the_memory_of_a_ring_goes_and_comes_again(const char *with)
{
	struct front_queue *q = &r.queues[0];
	const struct front_region *region = &r.memory.regions[0];

	(void)with;
	serve();
	rig_run(&r);
	for (unsigned i = 0; i < 5; i++) {
		rig_works(&r);
		CHECK_EQ(front_rem_mem_reg(&r.front, &region->place, -1), 0);
		front_kick(q);
		CHECK_EQ(front_settle(&r.front), 0);
		CHECK_EQ(front_add_mem_reg(&r.front, &region->place, region->fd), 0);
		front_signals(q->err);
		rig_works(&r);
		CHECK_EQ(front_signals(q->err), 0);
		/* A start instead of that does as well. */
		CHECK_EQ(front_rem_mem_reg(&r.front, &region->place, -1), 0);
		CHECK_EQ(front_add_mem_reg(&r.front, &region->place, region->fd), 0);
		rig_start(&r, q);
	}
	rig_works(&r);
}

/* Bad regions: empty, wrapping, overlapping, larger than their file. */
static void bad_regions_are_refused(const char *with)
{
	uint64_t at = 1ull << 36;
	const struct front_place bad[] = {
		{ at, 0, at, 0 },
		{ ~0ull - 4095, 8192, at, 0 },
		{ at, 8192, ~0ull - 4095, 0 },
		{ at, 4096, at, ~0ull - 4095 },
		{ at, RIG_MEMORY + 4096, at, 0 },
		{ at, 4096, at, RIG_MEMORY },
		{ RIG_GUEST + 4096, 4096, at, 0 },
		{ at, 4096, RIG_USER + 4096, 0 },
		{ RIG_GUEST - 4096, RIG_MEMORY, at, 0 },
	};
	unsigned fds, maps;

	(void)with;
	serve();
	rig_run(&r);
	fds = vubox_fds(&r.vubox);
	maps = vubox_maps(&r.vubox);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_EQ(front_add_mem_reg(&r.front, &bad[i], r.memory.regions[0].fd),
			FRONT_REFUSED);
		CHECK_EQ(vubox_fds(&r.vubox), fds);
		CHECK_EQ(vubox_maps(&r.vubox), maps);
		rig_works(&r);
	}
}

/* Regions come and go while requests are in flight in another one. */
static void hot_plug_under_load(const char *with)
{
	struct front_queue *q = &r.queues[0];
	struct front_region *more = &r.memory.regions[1];
	unsigned slot_of_more = 31;

	rig_open(&r, RIG_DISK_BYTES, with);
	add(RIG_GUEST + (1ull << 32), 0x10000, 1 << 20, 0);
	for (unsigned round = 0; round < 60; round++) {
		for (unsigned slot = 0; slot < 32; slot++) {
			uint32_t type = slot % 2 ? BLK_OUT : BLK_IN;
			struct blk_request x = rig_request(&r, slot, type, slot * 64, 8192);

			if (slot == slot_of_more && round % 2 == 1)
				x.data = more->place.guest;
			rig_add(&r, q, &x, slot);
		}
		front_queue_offer(q);
		if (round % 2 == 0)
			CHECK_EQ(front_add_mem_reg(&r.front, &more->place, more->fd), 0);
		else /* its request may be done before or after, but it comes back */
			CHECK_EQ(front_rem_mem_reg(&r.front, &more->place, -1), 0);
		for (unsigned i = 0; i < 32; i++) {
			unsigned slot = rig_take(&r, q, NULL);
			struct blk_request x = rig_request(&r, slot, 0, 0, 0);
			uint8_t status = blk_status(&r.memory.driver, &x);

			CHECK(status == BLK_OK ||
				(slot == slot_of_more && round % 2 && status == BLK_IOERR));
		}
	}
}

static const struct harness_case cases[] = {
	CASE(a_table_may_be_longer_than_its_regions),
	CASE(eight_regions_in_a_table),
	CASE_OF_EACH_FORMAT(a_new_table_while_rings_run),
	CASE_OF_EACH_FORMAT(user_addresses_are_not_guest_addresses),
	CASE(crossed_addresses),
	CASE_OF_EACH_FORMAT(mmap_offsets_of_any_alignment),
	CASE(two_regions_of_one_file),
	CASE_OF_EACH_FORMAT(a_buffer_over_the_edge_of_regions),
	CASE_OF_EACH_FORMAT(a_region_of_more_than_4_gib),
	CASE(slots_up_to_509),
	CASE_OF_EACH_FORMAT(removing_a_region),
	CASE_OF_EACH_FORMAT(the_memory_of_a_ring_goes_and_comes_again),
	CASE(bad_regions_are_refused),
	CASE_OF_EACH(hot_plug_under_load),
};
HARNESS_MAIN(cases)
