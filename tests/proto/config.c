/* The configuration space: reads of any size, the one writable field, changes of the image. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../front/rig.h"

enum { SPACE = 256 };

static struct rig r;

static uint64_t field(uint32_t offset, uint32_t size)
{
	uint64_t value = 0;
	uint32_t got;

	CHECK_EQ(front_get_config(&r.front, offset, size, &value, &got), 0);
	CHECK_EQ(got, size);
	return value;
}

static void serve(const char *const *options)
{
	rig_serve(&r, RIG_DISK_BYTES, options);
	rig_negotiate(&r, ~0ull, ~0ull);
}

/* ---- reading ---- */

/* QEMU asks for what it knows, Firecracker for 60 bytes, SPDK for 256. */
static void reads_of_every_size(const char *with)
{
	unsigned char whole[SPACE], part[SPACE];
	uint32_t got;

	(void)with;
	serve(NULL);
	CHECK_EQ(front_get_config(&r.front, 0, SPACE, whole, &got), 0);
	CHECK_EQ(got, SPACE);
	for (uint32_t size = 1; size <= SPACE; size++) {
		CHECK_EQ(front_get_config(&r.front, 0, size, part, &got), 0);
		CHECK_EQ(got, size); /* "payload size MUST match the front-end's request" */
		CHECK_BYTES(part, whole, size);
	}
	for (uint32_t offset = 0; offset < SPACE; offset++) {
		CHECK_EQ(front_get_config(&r.front, offset, 1, part, &got), 0);
		CHECK_EQ(part[0], whole[offset]);
	}
	for (unsigned i = 100; i < SPACE; i++)
		CHECK_EQ(whole[i], 0); /* what does not exist */
}

/* "zero length of payload to indicate an error" */
static void reads_beyond_the_space_fail(const char *with)
{
	static const uint32_t bad[][2] = { { 0, 257 }, { 1, 256 }, { 255, 2 }, { 256, 1 },
		{ 0, 4000 }, { ~0u, 1 }, { ~0u, 2 }, { 1u << 31, 1u << 31 }, { 16, ~0u - 15 } };

	(void)with;
	serve(NULL);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t config[3 + SPACE / 4] = { bad[i][0], bad[i][1], 0 };
		struct front_message m;

		CHECK_EQ(front_ask(&r.front, VU_GET_CONFIG, 0, config, sizeof(config), NULL, 0, &m),
			0);
		CHECK_EQ(m.header.size, 0);
		CHECK_EQ(front_settle(&r.front), 0);
	}
}

static void fields_say_what_options_say(const char *with)
{
	uint64_t count;

	(void)with;
	serve((const char *const[]){
		"--num-queues=5", "--logical-block-size=4096", "--queue-size=64", NULL });
	CHECK_EQ(field(BLK_CONFIG_CAPACITY, 8), RIG_DISK_BYTES / 512);
	CHECK_EQ(field(BLK_CONFIG_BLK_SIZE, 4), 4096);
	CHECK_EQ(field(BLK_CONFIG_NUM_QUEUES, 2), 5);
	CHECK_EQ(front_get_queue_num(&r.front, &count), 0);
	CHECK_EQ(count, 5);
	CHECK_EQ(field(BLK_CONFIG_WRITEBACK, 1), 1);
	CHECK_EQ(field(BLK_CONFIG_SEG_MAX, 4), 62); /* with header and status it fits into a ring */
	CHECK(field(BLK_CONFIG_MAX_DISCARD_SEG, 4) > 0);
}

static void one_queue_is_not_many(const char *with)
{
	(void)with;
	serve((const char *const[]){ "--num-queues=1", NULL });
	CHECK((r.front.features & 1 << BLK_F_MQ) == 0);
	CHECK_EQ(field(BLK_CONFIG_NUM_QUEUES, 2), 1);
}

/* As many segments as it says do work. */
static void seg_max_is_true(const char *with)
{
	struct driver_buffer buffers[3], pieces[200];
	struct driver_chain chain = { .buffers = pieces };
	struct blk_request w;
	uint32_t seg_max;

	rig_open(&r, RIG_DISK_BYTES, with);
	seg_max = (uint32_t)field(BLK_CONFIG_SEG_MAX, 4);
	CHECK(seg_max <= 190);
	w = rig_request(&r, 0, BLK_OUT, 0, seg_max * 512);
	blk_build(&r.memory.driver, &w, buffers);
	pieces[0] = buffers[0];
	for (unsigned i = 0; i < seg_max; i++)
		pieces[1 + i] =
			(struct driver_buffer){ w.data + (i * 7 % seg_max) * 512, 512, false };
	pieces[1 + seg_max] = buffers[2];
	chain.count = seg_max + 2;
	chain.table = rig_table(&r, 0);
	CHECK_EQ(rig_chain(&r, &w, &chain), BLK_OK);
	if (chain.count > RIG_RING_SIZE)
		return;
	chain.table = 0;
	CHECK_EQ(rig_chain(&r, &w, &chain), BLK_OK);
}

/* ---- writing ---- */

static void only_writeback_can_be_written(const char *with)
{
	static const uint32_t others[][2] = { { 0, 1 }, { 0, 8 }, { 8, 4 }, { 20, 4 }, { 31, 1 },
		{ 33, 1 }, { 34, 2 }, { 31, 2 }, { 32, 2 }, { 0, 60 }, { 63, 1 }, { 255, 1 } };
	unsigned char bytes[64] = { 0 }, before[SPACE], after[SPACE];
	uint32_t got;

	(void)with;
	serve(NULL);
	CHECK_EQ(front_get_config(&r.front, 0, SPACE, before, &got), 0);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		CHECK_EQ(front_set_config(
				 &r.front, others[i][0], others[i][1], VU_CONFIG_WRITABLE, bytes),
			FRONT_REFUSED);
	CHECK_EQ(front_set_config(&r.front, 32, 1, VU_CONFIG_WRITABLE, "\2"), FRONT_REFUSED);
	CHECK_EQ(front_set_config(&r.front, 256, 1, VU_CONFIG_WRITABLE, bytes), FRONT_REFUSED);
	CHECK_EQ(front_get_config(&r.front, 0, SPACE, after, &got), 0);
	CHECK_BYTES(after, before, SPACE);
	for (unsigned i = 0; i < 4; i++) {
		bytes[0] = (unsigned char)(i % 2);
		CHECK_EQ(front_set_config(&r.front, 32, 1, VU_CONFIG_WRITABLE, bytes), 0);
		CHECK_EQ(field(BLK_CONFIG_WRITEBACK, 1), i % 2);
	}
}

/* The size that it names must be in its payload. */
static void a_write_that_is_cut_short_is_refused(const char *with)
{
	uint32_t config[4] = { BLK_CONFIG_WRITEBACK, 1, 0 };

	(void)with;
	serve(NULL);
	CHECK_EQ(front_acked(&r.front, VU_SET_CONFIG, config, 12, NULL, 0), FRONT_REFUSED);
	config[0] = 0;
	config[1] = ~0u;
	CHECK_EQ(front_acked(&r.front, VU_SET_CONFIG, config, 16, NULL, 0), FRONT_REFUSED);
	CHECK_EQ(field(BLK_CONFIG_WRITEBACK, 1), 1);
}

/* "MUST NOT accept SET_CONFIG for read-only fields unless the live migration bit is set" */
static void migration_restores_the_space(const char *with)
{
	unsigned char space[BLK_CONFIG_BYTES];
	uint32_t got;

	(void)with;
	serve(NULL);
	CHECK_EQ(front_set_config(&r.front, 32, 1, VU_CONFIG_WRITABLE, "\0"), 0);
	CHECK_EQ(front_get_config(&r.front, 0, sizeof(space), space, &got), 0);
	CHECK_EQ(front_set_config(&r.front, 32, 1, VU_CONFIG_WRITABLE, "\1"), 0);
	CHECK_EQ(front_set_config(&r.front, 0, sizeof(space), VU_CONFIG_MIGRATE, space), 0);
	CHECK_EQ(field(BLK_CONFIG_WRITEBACK, 1), 0);
	CHECK_EQ(field(BLK_CONFIG_CAPACITY, 8), RIG_DISK_BYTES / 512);
}

/* Data comes back with the cache on and off, and across the change. */
static void writes_work_with_and_without_a_cache(const char *with)
{
	unsigned char data[4096], back[4096];

	rig_open(&r, RIG_DISK_BYTES, with);
	for (unsigned i = 0; i < 6; i++) {
		harness_fill(data, sizeof(data));
		CHECK_EQ(front_set_config(&r.front, 32, 1, VU_CONFIG_WRITABLE, i % 2 ? "\1" : "\0"),
			0);
		CHECK_EQ(rig_blk(&r, BLK_OUT, i * 8, data, sizeof(data)), BLK_OK);
		rig_disk_read(&r, i * 4096, back, sizeof(back));
		CHECK_BYTES(back, data, sizeof(back));
		CHECK_EQ(rig_blk(&r, BLK_FLUSH, 0, NULL, 0), BLK_OK);
	}
}

/* ---- changes ---- */

static int open_channel(void)
{
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	CHECK_EQ(front_set_backend_req_fd(&r.front, pair[1]), 0);
	close(pair[1]);
	return pair[0];
}

static void grow(uint64_t bytes)
{
	CHECK_EQ(truncate(r.image, (off_t)bytes), 0);
	CHECK_EQ(kill(r.vubox.pid, SIGHUP), 0);
}

static void receive_change(int channel)
{
	struct front_message m;

	CHECK_EQ(front_receive_from(channel, harness_wait_ms(), &m), 0);
	CHECK_EQ(m.header.request, VU_BACKEND_CONFIG_CHANGE);
	CHECK_EQ(m.header.flags & 7, VU_VERSION);
	CHECK_EQ(m.header.size, 0);
	CHECK_EQ(m.fd_count, 0);
	if (m.header.flags & VU_NEED_REPLY) {
		uint64_t zero = 0;
		struct front back = { .fd = channel };

		CHECK_EQ(front_send(&back, VU_BACKEND_CONFIG_CHANGE, VU_REPLY, &zero, 8, NULL, 0),
			0);
	}
}

static bool is_silent(int channel)
{
	struct pollfd p = { .fd = channel, .events = POLLIN };

	CHECK_EQ(front_settle(&r.front), 0);
	return poll(&p, 1, 0) == 0;
}

static void growth_is_announced(const char *with)
{
	unsigned char data[512], back[512];
	uint64_t bytes = RIG_DISK_BYTES;
	int channel;

	rig_open(&r, bytes, with);
	channel = open_channel();
	for (unsigned i = 0; i < 5; i++) {
		uint64_t old = bytes;

		CHECK_EQ(rig_blk(&r, BLK_OUT, old / 512, data, 512), BLK_IOERR);
		bytes += 1 << 20;
		grow(bytes);
		receive_change(channel);
		CHECK_EQ(field(BLK_CONFIG_CAPACITY, 8), bytes / 512);
		harness_fill(data, sizeof(data));
		CHECK_EQ(rig_blk(&r, BLK_OUT, bytes / 512 - 1, data, 512), BLK_OK);
		rig_disk_read(&r, bytes - 512, back, sizeof(back));
		CHECK_BYTES(back, data, sizeof(back));
		CHECK_EQ(rig_blk(&r, BLK_OUT, bytes / 512, data, 512), BLK_IOERR);
	}
	CHECK_EQ(kill(r.vubox.pid, SIGHUP), 0); /* nothing has changed */
	CHECK(is_silent(channel));
}

/* Growth while requests are in flight: they come back, and the change is told. */
static void growth_under_load(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint64_t bytes = RIG_DISK_BYTES;
	int channel;

	rig_open(&r, bytes, with);
	channel = open_channel();
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned slot = 0; slot < 32; slot++) {
			struct blk_request w = rig_request(&r, slot, BLK_OUT, slot * 64, 16384);

			rig_add(&r, q, &w, slot);
		}
		front_queue_offer(q);
		bytes += 65536;
		grow(bytes);
		for (unsigned i = 0; i < 32; i++) {
			struct blk_request w = rig_request(&r, rig_take(&r, q, NULL), 0, 0, 0);

			CHECK_EQ(blk_status(&r.memory.driver, &w), BLK_OK);
		}
		receive_change(channel);
		CHECK_EQ(field(BLK_CONFIG_CAPACITY, 8), bytes / 512);
	}
}

/* "not send any messages to the front-end" while all rings are stopped; the space is up to date. */
static void a_suspended_device_announces_nothing(const char *with)
{
	uint32_t base;
	int channel;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	channel = open_channel();
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	grow(RIG_DISK_BYTES * 2);
	UNTIL(field(BLK_CONFIG_CAPACITY, 8) == RIG_DISK_BYTES * 2 / 512);
	CHECK(is_silent(channel));
	CHECK_EQ(front_queue_start(&r.front, &r.queues[0], base), 0);
	receive_change(channel); /* "when a ring starts" it is not suspended any more */
	rig_works(&r);
}

/* A channel that is gone, or full, harms nobody. */
static void a_dead_channel_is_no_harm(const char *with)
{
	unsigned char bytes[4096] = { 0 };
	int channel, pair[2];

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	channel = open_channel();
	close(channel);
	grow(RIG_DISK_BYTES + 4096);
	UNTIL(field(BLK_CONFIG_CAPACITY, 8) == RIG_DISK_BYTES / 512 + 8);
	rig_works(&r);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	while (send(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	CHECK_EQ(front_set_backend_req_fd(&r.front, pair[1]), 0);
	grow(RIG_DISK_BYTES + 8192);
	UNTIL(field(BLK_CONFIG_CAPACITY, 8) == RIG_DISK_BYTES / 512 + 16);
	rig_works(&r);
}

static const struct harness_case cases[] = {
	CASE(reads_of_every_size),
	CASE(reads_beyond_the_space_fail),
	CASE(fields_say_what_options_say),
	CASE(one_queue_is_not_many),
	CASE_OF_EACH_ENGINE(seg_max_is_true),
	CASE(only_writeback_can_be_written),
	CASE(a_write_that_is_cut_short_is_refused),
	CASE(migration_restores_the_space),
	CASE_OF_EACH_ENGINE(writes_work_with_and_without_a_cache),
	CASE_OF_EACH_ENGINE(growth_is_announced),
	CASE_OF_EACH_ENGINE(growth_under_load),
	CASE(a_suspended_device_announces_nothing),
	CASE(a_dead_channel_is_no_harm),
};
HARNESS_MAIN(cases)
