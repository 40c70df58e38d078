/*
 * Everything that the program reads changes while it reads it: a thread scribbles over rings,
 * tables, headers, event suppression and the in-flight area while requests run. Queues break by it,
 * again and again; nothing else does.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "../front/track.h"
#include "../front/yard.h"

enum { ROUNDS = 120, REQUESTS = 24 };

static struct yard y;

/* What the thread scribbles over, and how. */
static struct scribbler {
	unsigned char *at;
	size_t len;
	bool flips; /* between what is there and one changed bit, not any bytes at any time */
	uint64_t random;
	atomic_bool ends;
	pthread_t thread;
	atomic_ulong stores;
} scribblers[4];
static unsigned scribbler_count;

static uint64_t next(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

static void *scribble(void *with)
{
	struct scribbler *s = with;

	while (!atomic_load(&s->ends)) {
		volatile unsigned char *byte = s->at + next(&s->random) % s->len;
		unsigned char was = *byte;

		if (s->flips) {
			for (unsigned i = 0; i < 200; i++) {
				*byte = was ^ (unsigned char)(1u << s->random % 8);
				*byte = was;
			}
			atomic_fetch_add(&s->stores, 400);
		} else {
			*byte = (unsigned char)next(&s->random);
			atomic_fetch_add(&s->stores, 1);
		}
	}
	return NULL;
}

static void scribble_over(void *at, size_t len, bool flips)
{
	struct scribbler *s = &scribblers[scribbler_count++];

	s->at = at;
	s->len = len;
	s->flips = flips;
	s->random = harness_random();
	atomic_store(&s->ends, false);
	atomic_store(&s->stores, 0);
	CHECK_EQ(pthread_create(&s->thread, NULL, scribble, s), 0);
	/* On a busy machine it may not begin before all rounds are over. */
	UNTIL(atomic_load(&s->stores) > 0);
}

static void scribble_guest(uint64_t guest, size_t len, bool flips)
{
	void *at = driver_at(&y.rig.memory.driver, guest, len);

	CHECK(at != NULL);
	scribble_over(at, len, flips);
}

static unsigned long stop_scribbling(void)
{
	unsigned long stores = 0;

	for (unsigned i = 0; i < scribbler_count; i++) {
		atomic_store(&scribblers[i].ends, true);
		CHECK_EQ(pthread_join(scribblers[i].thread, NULL), 0);
		stores += atomic_load(&scribblers[i].stores);
	}
	scribbler_count = 0;
	return stores;
}

/* Reads and writes of any size, direct and in tables. What comes of them is not judged. */
static void offer_some(struct front_queue *q)
{
	for (unsigned slot = 0; slot < REQUESTS; slot++) {
		uint32_t len = (uint32_t)(1 + harness_random() % 16) * 512;
		struct blk_request x = rig_request(&y.rig, slot,
			harness_random() % 2 ? BLK_IN : BLK_OUT, 4096 + slot * 32, len);
		struct driver_buffer buffers[3];
		struct driver_chain chain = { .buffers = buffers };

		chain.count = blk_build(&y.rig.memory.driver, &x, buffers);
		chain.table = harness_random() % 2 ? rig_table(&y.rig, slot) : 0;
		if (driver_add(&q->driver, &chain) < 0)
			break;
		driver_publish(&q->driver);
		front_kick(q);
	}
}

/* Lets the device work, and starts over whatever became of the queue. True if it broke. */
static bool end_round(struct front_queue *q)
{
	bool broke;

	for (unsigned i = 0; i < 4; i++) {
		front_kick(q);
		CHECK_EQ(front_settle(&y.rig.front), 0);
	}
	broke = front_signals(q->err) > 0;
	CHECK_EQ(front_set_status(&y.rig.front, 0), 0);
	CHECK_EQ(front_set_features(&y.rig.front, y.rig.front.features), 0);
	rig_reopen(&y.rig, q);
	/* What is scribbled over its place in the ring may make it refuse to start. */
	if (front_queue_start(&y.rig.front, q, driver_base(&q->driver, 0)) != 0)
		CHECK_EQ(front_settle(&y.rig.front), 0);
	return broke;
}

/* Rounds of requests while the scribblers are at it; their number is what ends it, not time. */
static void run_rounds(const char *what)
{
	struct front_queue *q = &y.rig.queues[0];
	unsigned broken = 0;
	unsigned long stores;

	for (unsigned round = 0; round < ROUNDS; round++) {
		offer_some(q);
		broken += end_round(q);
	}
	stores = stop_scribbling();
	harness_say(
		"%s: %u of %u rounds broke the queue, %lu stores", what, broken, ROUNDS, stores);
	CHECK(stores > 0);
	rig_disconnect(&y.rig);
	yard_repair(&y);
	yard_check(&y);
}

/* ---- what is scribbled over ---- */

static void over_the_ring(const char *with)
{
	yard_open(&y, with, 1);
	scribble_guest(y.rig.queues[0].driver.at.desc, 16 * RIG_RING_SIZE, false);
	run_rounds("descriptors");
}

static void bits_of_the_ring(const char *with)
{
	yard_open(&y, with, 1);
	scribble_guest(y.rig.queues[0].driver.at.desc, 16 * 3 * REQUESTS, true);
	run_rounds("bits of descriptors");
}

static void over_what_the_driver_says(const char *with)
{
	const struct driver_layout *at;

	yard_open(&y, with, 1);
	at = &y.rig.queues[0].driver.at;
	scribble_guest(at->avail, at->used - at->avail, false);
	run_rounds("the driver's area");
}

static void over_what_the_device_says(const char *with)
{
	const struct driver_layout *at;

	yard_open(&y, with, 1);
	at = &y.rig.queues[0].driver.at;
	scribble_guest(at->used, at->end - at->used, false);
	run_rounds("the device's area");
}

static void over_indirect_tables(const char *with)
{
	yard_open(&y, with, 1);
	for (unsigned slot = 0; slot < 4; slot++)
		scribble_guest(rig_table(&y.rig, slot), 48, slot % 2);
	run_rounds("tables");
}

static void over_headers_and_statuses(const char *with)
{
	yard_open(&y, with, 1);
	for (unsigned slot = 0; slot < 4; slot++)
		scribble_guest(rig_request(&y.rig, slot, 0, 0, 0).header, 65, slot % 2);
	run_rounds("headers");
}

/* Everything at once, in memory of 16 MiB that holds all of it. */
static void over_all_memory(const char *with)
{
	yard_open(&y, with, 1);
	scribble_guest(RIG_GUEST, 0x8000, false);
	scribble_guest(RIG_GUEST, 0x8000, true);
	scribble_guest(RIG_SLOTS_AT, (uint64_t)REQUESTS * RIG_SLOT_BYTES, false);
	run_rounds("all");
}

static void over_the_in_flight_area(const char *with)
{
	static char io[32] = "--io=";
	struct track t;

	strcat(io, with);
	yard_serve(&y, (const char *const[]){ io, NULL });
	rig_negotiate(&y.rig, ~0ull, ~0ull);
	track_get(&t, &y.rig.front, 1, RIG_RING_SIZE);
	CHECK_EQ(front_set_inflight_fd(&y.rig.front, &t.want, t.fd), 0);
	rig_share(&y.rig);
	rig_start(&y.rig, rig_queue(&y.rig));
	scribble_over(t.map, t.want.size, false);
	scribble_over(t.map, t.want.size, true);
	run_rounds("the in-flight area");
	track_put(&t);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH(over_the_ring),
	CASE_OF_EACH(bits_of_the_ring),
	CASE_OF_EACH(over_what_the_driver_says),
	CASE_OF_EACH(over_what_the_device_says),
	CASE_OF_EACH(over_indirect_tables),
	CASE_OF_EACH(over_headers_and_statuses),
	CASE_OF_EACH(over_all_memory),
	CASE_OF_EACH(over_the_in_flight_area),
};
HARNESS_MAIN(cases)
