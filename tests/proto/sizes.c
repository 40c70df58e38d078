/* Rings of every size, their wraps, and notifications (VIRTIO 2.7 and 2.8). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../front/rig.h"

/* What a combination of features is called, and which ring features it has. */
struct mode {
	const char *name;
	uint64_t ring_features;
};

static const struct mode modes[] = {
	{ "plain", 0 },
	{ "event_idx", VU_F(EVENT_IDX) },
	{ "indirect", VU_F(INDIRECT_DESC) },
	{ "both", VU_F(EVENT_IDX) | VU_F(INDIRECT_DESC) },
};

/* clang-format off */
#define CASE_OF_EACH_MODE(function) \
	CASE_WITH_EACH_FORMAT(function, "plain"), \
	CASE_WITH_EACH_FORMAT(function, "event_idx"), \
	CASE_WITH_EACH_FORMAT(function, "indirect"), \
	CASE_WITH_EACH_FORMAT(function, "both")
/* clang-format on */

static struct rig r;
static unsigned char disk[RIG_DISK_BYTES];

static void serve(const char *engine)
{
	static char io[32] = "--io=";

	strcat(io, engine);
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ io, NULL });
	harness_fill(disk, sizeof(disk));
	rig_disk_write(&r, 0, disk, sizeof(disk));
}

static uint64_t features_of(const char *mode)
{
	uint64_t rings = VU_F(EVENT_IDX) | VU_F(INDIRECT_DESC);

	for (unsigned i = 0; i < 4; i++)
		if (strcmp(modes[i].name, mode) == 0)
			return (~0ull & ~rings) | modes[i].ring_features;
	harness_fail(HERE, "no such mode: %s", mode);
}

static void run(uint64_t features, uint16_t size, uint16_t start)
{
	r.ring_size = size;
	r.start = start;
	rig_negotiate(&r, features, ~0ull);
	rig_run(&r);
}

/* ---- sizes and wraps ---- */

/* A read of one sector by slot, in as few descriptors as the mode allows. False: it is full. */
static bool add_read(struct front_queue *q, unsigned slot, unsigned turn, bool indirect)
{
	struct blk_request i = rig_request(&r, slot, BLK_IN, (turn * 97) % 8192, 512);
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers, .owner = (void *)(uintptr_t)slot };

	chain.count = blk_build(&r.memory.driver, &i, buffers);
	chain.table = indirect ? rig_table(&r, slot) : 0;
	return driver_add(&q->driver, &chain) >= 0;
}

static void check_read(unsigned slot, unsigned turn)
{
	struct blk_request i = rig_request(&r, slot, BLK_IN, 0, 512);

	CHECK_EQ(blk_status(&r.memory.driver, &i), BLK_OK);
	CHECK_BYTES(driver_at(&r.memory.driver, i.data, 512), disk + (turn * 97) % 8192 * 512, 512);
}

/* Fills the ring up (or all slots), again and again, until both indices have wrapped around. */
static void fill_and_take(unsigned rounds, bool indirect)
{
	struct front_queue *q = &r.queues[0];
	unsigned turn = 0, turns[RIG_SLOTS];

	while (rounds-- > 0) {
		unsigned slot = 0;

		while (slot < RIG_SLOTS && add_read(q, slot, turn, indirect))
			turns[slot++] = turn++;
		CHECK(slot > 0);
		front_queue_offer(q);
		for (unsigned n = slot; n > 0; n--) {
			uint32_t len;

			slot = rig_take(&r, q, &len);
			CHECK_EQ(len, 513);
			check_read(slot, turns[slot]);
		}
	}
}

/* Some turns of a ring of this size. */
static void one_size(uint64_t features, uint16_t size, uint16_t start)
{
	uint32_t base;

	run(features, size, start);
	fill_and_take(size < 16 ? 40 : 12, (features & VU_F(INDIRECT_DESC)) != 0);
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	CHECK_EQ(base, driver_base(&r.queues[0].driver, 0));
	rig_disconnect(&r);
}

/* Every power of two; split ones from an index that soon wraps at 16 bits. */
static void every_size(const char *with)
{
	uint64_t features = features_of(with);

	serve("mmap");
	for (unsigned size = (features & VU_F(INDIRECT_DESC)) != 0 ? 1 : 4; size <= 1024; size *= 2)
		one_size(features, (uint16_t)size, (uint16_t)(65535 - size / 2 - 3));
}

/* 2.8: "does not have to be a power of 2"; from either lap, and near the end of one. */
static void sizes_that_are_no_power_of_two(const char *with)
{
	static const uint16_t sizes[] = { 3, 5, 6, 7, 12, 13, 100, 129, 255, 257, 509, 1000, 1023 };
	uint64_t features = features_of(with);

	serve("mmap");
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (unsigned lap = 0; lap < 3; lap++)
			one_size(features, sizes[i],
				(uint16_t)(lap * sizes[i] + (lap > 0 ? sizes[i] - lap : 0)));
}

/* All the way around: 65,536 requests and some more, from the first index. */
static void the_index_goes_all_around(const char *with)
{
	serve("mmap");
	run(features_of(with), harness_packed() ? 251 : 256, 0);
	fill_and_take(65536 / 64 + 20, strcmp(with, "both") == 0 || strcmp(with, "indirect") == 0);
}

/* ---- notifications ---- */

/* A driver that kicks only when asked and sleeps until called: a lost one hangs. */
static void a_sleeping_driver_is_called(const char *with)
{
	struct front_queue *q = &r.queues[0];
	struct driver_used used;

	serve("auto");
	run(features_of(with), 64, 65500);
	for (unsigned turn = 0; turn < 3000; turn++) {
		unsigned depth = 1 + turn % 8;

		for (unsigned slot = 0; slot < depth; slot++)
			CHECK(add_read(q, slot, turn + slot, false));
		driver_want_calls(&q->driver, true, (uint16_t)(turn % 3 == 0 ? depth : 1));
		front_queue_offer(q);
		for (unsigned n = 0; n < depth;) {
			while (driver_poll(&q->driver, &used) > 0)
				n++;
			CHECK(!q->driver.wrong);
			if (n == depth)
				break;
			driver_want_calls(&q->driver, true, 1);
			if (driver_poll(&q->driver, &used) > 0) {
				n++;
				continue;
			}
			CHECK_EQ(front_wait_signal(q->call, harness_wait_ms()), 0);
			front_signals(q->call);
		}
	}
}

static void a_driver_that_wants_no_call_gets_none(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint64_t features = features_of(with);

	serve("sync");
	run(features, 64, 65500);
	/* The first one of all may come with EVENT_IDX: nothing was decided before it. */
	CHECK(add_read(q, 0, 0, false));
	front_queue_offer(q);
	while (driver_poll(&q->driver, &(struct driver_used){ 0 }) == 0)
		usleep(100);
	CHECK_EQ(front_settle(&r.front), 0);
	front_signals(q->call);
	for (unsigned turn = 0; turn < 200; turn++) {
		driver_want_calls(&q->driver, false, 0);
		CHECK(add_read(q, 0, turn, false));
		front_queue_offer(q);
		UNTIL(driver_poll(&q->driver, &(struct driver_used){ 0 }) != 0);
	}
	CHECK_EQ(front_settle(&r.front), 0);
	CHECK_EQ(front_signals(q->call), 0);
	driver_want_calls(&q->driver, true, 1);
	CHECK(add_read(q, 0, 0, false));
	front_queue_offer(q);
	CHECK_EQ(front_wait_signal(q->call, harness_wait_ms()), 0);
}

/* used_event: not before the entry that it names. */
static void a_call_comes_when_it_was_asked_for(const char *with)
{
	struct front_queue *q = &r.queues[0];
	struct driver_used used;

	(void)with;
	serve("sync");
	run(features_of("event_idx"), 64, 65530);
	CHECK(add_read(q, 0, 0, false));
	front_queue_offer(q);
	UNTIL(driver_poll(&q->driver, &used) > 0);
	for (unsigned after = 1; after <= 20; after++) {
		CHECK_EQ(front_settle(&r.front), 0);
		front_signals(q->call);
		driver_want_calls(&q->driver, true, (uint16_t)after);
		for (unsigned n = 1; n <= after; n++) {
			CHECK_EQ(front_signals(q->call), 0);
			CHECK(add_read(q, 0, n, false));
			front_queue_offer(q);
			UNTIL(driver_poll(&q->driver, &used) > 0);
			CHECK_EQ(front_settle(&r.front), 0);
		}
		CHECK_EQ(front_wait_signal(q->call, harness_wait_ms()), 0);
	}
}

/* One call for a batch, not one for each. */
static void calls_are_batched(const char *with)
{
	struct front_queue *q = &r.queues[0];
	struct driver_used used;
	uint64_t calls;

	(void)with;
	serve("mmap");
	run(features_of("plain"), 256, 0);
	CHECK_EQ(front_settle(&r.front), 0);
	front_signals(q->call);
	for (unsigned slot = 0; slot < 60; slot++)
		CHECK(add_read(q, slot, slot, false));
	front_queue_offer(q);
	for (unsigned n = 0; n < 60; n++)
		UNTIL(driver_poll(&q->driver, &used) > 0);
	CHECK_EQ(front_settle(&r.front), 0);
	calls = front_signals(q->call);
	CHECK(calls >= 1 && calls <= 30);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_MODE(every_size),
	CASE_PACKED_WITH(sizes_that_are_no_power_of_two, "plain"),
	CASE_PACKED_WITH(sizes_that_are_no_power_of_two, "both"),
	CASE_OF_EACH_MODE(the_index_goes_all_around),
	CASE_OF_EACH_MODE(a_sleeping_driver_is_called),
	CASE_OF_EACH_MODE(a_driver_that_wants_no_call_gets_none),
	CASE_OF_EACH_FORMAT(a_call_comes_when_it_was_asked_for),
	CASE_OF_EACH_FORMAT(calls_are_batched),
};
HARNESS_MAIN(cases)
