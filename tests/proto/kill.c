/*
 * kill -9 at random moments under a verifying load of four queues, with in-flight tracking and
 * reconnect: every request comes back exactly once, and no byte is lost.
 *
 * Environment: KILLS (40) says how many lives each case has, SEED repeats one (it is printed).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../front/load.h"
#include "../front/slowfs.h"
#include "../front/track.h"

enum { QUEUES = 4, DEPTH = 16 };

static struct rig r;
static struct load l;
static struct track t;

static struct {
	unsigned lives, cut_short, found;
} count;

static void serve_tracked(const char *engine)
{
	static char io[32] = "--io=";

	strcat(io, engine);
	/* Packed rings have room for no more than they need now and then, and wrap oddly. */
	r.ring_size = harness_packed() ? 45 : 64;
	r.start = (uint16_t)harness_random() % r.ring_size;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ io, NULL });
	load_open(&l, &r, QUEUES, DEPTH);
	rig_negotiate(&r, ~0ull, ~0ull);
	track_get(&t, &r.front, QUEUES, r.ring_size);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	rig_share(&r);
	while (r.queue_count < QUEUES)
		rig_start(&r, rig_queue(&r));
}

static void kill_it(void)
{
	CHECK_EQ(vubox_end(&r.vubox, SIGKILL), -SIGKILL);
	front_close(&r.front);
	count.lives++;
	load_poll(&l);
	for (unsigned i = 0; i < QUEUES; i++)
		count.found += track_in_flight(&t, i);
}

/* What SET_VRING_BASE says after a crash: QEMU's used index, or anything for packed rings. */
static uint32_t base_of(const struct front_queue *q)
{
	if (!harness_packed() || track_version(&t, q->index) == 0)
		return driver_base_in_memory(&q->driver);
	return harness_random() % 2 ? 0x80008000 : driver_base(&q->driver, 0);
}

/* Brings the next life up, unless it is killed again before all queues run: false. */
static bool live_again(void)
{
	unsigned queues =
		harness_random() % 4 == 0 ? (unsigned)(harness_random() % QUEUES) : QUEUES;

	rig_serve_again(&r);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	CHECK_EQ(front_share(&r.front, &r.memory), 0);
	for (unsigned i = 0; i < queues; i++) {
		CHECK_EQ(front_queue_start(&r.front, &r.queues[i], base_of(&r.queues[i])), 0);
		/* The driver does not know of all this, and goes on. */
		if (harness_random() % 4 == 0)
			load_fill(&l, i);
	}
	return queues == QUEUES;
}

/* Some work, and some time in which more of it goes on: then it is the end. */
static void live(void)
{
	unsigned requests = harness_random() % 3 == 0 ? 0 : (unsigned)(harness_random() % 200);

	load_fill(&l, ~0u);
	load_run(&l, requests);
	if (harness_random() % 2) {
		uint64_t end_us = front_now_us() + harness_random() % 2000;

		while (front_now_us() < end_us)
			if (load_poll(&l) > 0)
				load_fill(&l, ~0u);
	}
}

static void kill_9_under_a_verifying_load(const char *with)
{
	const char *asked = getenv("KILLS");
	unsigned kills = asked ? (unsigned)atoi(asked) : 40;

	harness_seed();
	serve_tracked(with);
	/* If nothing ever was in flight, nothing was shown. */
	while (count.lives < kills || count.found == 0) {
		CHECK(count.lives < kills + 1000);
		live();
		kill_it();
		while (!live_again()) {
			count.cut_short++;
			kill_it();
		}
	}
	load_run(&l, 100);
	load_drain(&l);
	load_check(&l);
	for (unsigned i = 0; i < QUEUES; i++)
		track_check_rest(&t, &r.queues[i]);
	harness_say("%s %s: %llu requests in %u lives, %u of which never came up; %u marked in "
		    "flight when they ended",
		with, rig_format()->name, (unsigned long long)l.done, count.lives, count.cut_short,
		count.found);
}

/* ---- with requests that are on the disk for sure ---- */

enum { COUNT = 12, BYTES = 4096 };

static uint64_t sector_of(unsigned slot)
{
	return 1024 + slot * 8;
}

/* vubox on a disk that hangs, one tracked ring. */
static void serve_slow(const char *engine)
{
	static char io[32] = "--io=";

	strcat(io, engine);
	r.image = slowfs_mount(RIG_DISK_BYTES, SLOWFS_ASYNC);
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ io, NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	track_get(&t, &r.front, 1, RIG_RING_SIZE);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	rig_run(&r);
	rig_works(&r);
}

static void next_life(void)
{
	rig_serve_again(&r);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	CHECK_EQ(front_share(&r.front, &r.memory), 0);
	CHECK_EQ(front_queue_start(&r.front, &r.queues[0], base_of(&r.queues[0])), 0);
}

static void add_writes(unsigned from, unsigned to)
{
	struct front_queue *q = &r.queues[0];

	for (unsigned slot = from; slot < to; slot++) {
		struct blk_request w = rig_request(&r, slot, BLK_OUT, sector_of(slot), BYTES);

		memset(driver_at(&r.memory.driver, w.data, BYTES), (int)slot + 1, BYTES);
		rig_add(&r, q, &w, slot);
	}
	front_queue_offer(q);
	front_kick(q);
}

/* The process cannot end before the kernel is through with its I/O: well, or badly. */
static void kill_on_the_disk(int error)
{
	CHECK_EQ(kill(r.vubox.pid, SIGKILL), 0);
	slowfs_release(error);
	CHECK_EQ(vubox_wait(&r.vubox), -SIGKILL);
	front_close(&r.front);
}

/* Each of these slots comes back once, in whatever order, and nothing else does. */
static void come_back(unsigned left)
{
	struct driver_used used;

	while (left != 0) {
		unsigned slot = rig_take(&r, &r.queues[0], NULL);
		struct blk_request w = rig_request(&r, slot, 0, 0, 0);

		CHECK((left & 1u << slot) != 0);
		CHECK_EQ(blk_status(&r.memory.driver, &w), BLK_OK);
		left &= ~(1u << slot);
	}
	CHECK_EQ(front_settle(&r.front), 0);
	CHECK_EQ(driver_poll(&r.queues[0].driver, &used), 0);
}

static void check_slow_disk(void)
{
	unsigned char should[BYTES];

	for (unsigned slot = 0; slot < COUNT; slot++) {
		memset(should, (int)slot + 1, BYTES);
		CHECK_BYTES(slowfs_bytes() + sector_of(slot) * 512, should, BYTES);
	}
	track_check_rest(&t, &r.queues[0]);
	rig_works(&r);
}

/* All are taken, none is done; the disk did them, or did not, after the end of the process. */
static void kill_9_with_requests_on_the_disk(const char *with)
{
	bool sync = strcmp(with, "sync") == 0;

	serve_slow(with);
	for (unsigned turn = 0; turn < 6; turn++) {
		slowfs_hold(SLOWFS_WRITES, 0, RIG_DISK_BYTES);
		add_writes(0, COUNT);
		UNTIL(slowfs_held() == (sync ? 1 : COUNT));
		kill_on_the_disk(turn % 2 ? EIO : 0);
		CHECK(track_in_flight(&t, 0) >= (sync ? 1 : COUNT));
		memset(slowfs_bytes(), 0, turn % 3 == 0 ? 0 : RIG_DISK_BYTES);
		next_life();
		come_back((1u << COUNT) - 1);
		check_slow_disk();
	}
}

/* The new life takes them again, and is killed again, and again. */
static void kill_9_while_they_are_done_again(const char *with)
{
	serve_slow("uring");
	slowfs_hold(SLOWFS_WRITES, 0, RIG_DISK_BYTES);
	add_writes(0, COUNT / 2);
	UNTIL(slowfs_held() == COUNT / 2);
	(void)with;
	for (unsigned life = 0; life < 5; life++) {
		kill_on_the_disk(EIO);
		slowfs_hold(SLOWFS_WRITES, 0, RIG_DISK_BYTES);
		next_life();
		UNTIL(slowfs_held() == COUNT / 2);
		CHECK_EQ(track_in_flight(&t, 0), COUNT / 2);
	}
	add_writes(COUNT / 2, COUNT);
	UNTIL(slowfs_held() == COUNT);
	kill_on_the_disk(0);
	next_life();
	come_back((1u << COUNT) - 1);
	check_slow_disk();
}

/*
 * Some of a batch were written into the ring when it was cut, but not the first: the driver must
 * not find them there when the next life gives back the first one alone.
 */
static void a_batch_that_was_rolled_back_is_not_seen(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint16_t heads[COUNT], given[3];
	uint32_t base;

	(void)with;
	serve_slow("uring");
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	CHECK_EQ(vubox_end(&r.vubox, SIGKILL), -SIGKILL);
	front_close(&r.front);
	track_forge(&t, q);
	for (unsigned slot = 0; slot < COUNT; slot++) {
		heads[slot] = q->driver.free_head;
		add_writes(slot, slot + 1);
		track_forge_take(&t, q, heads[slot], slot);
	}
	for (unsigned i = 0; i < 3; i++)
		given[i] = heads[i];
	track_forge_publish(&t, q, given, 3, TRACK_PREPARED);
	/* All but the first one hang. */
	slowfs_hold(SLOWFS_WRITES, sector_of(1) * 512, RIG_DISK_BYTES);
	next_life();
	UNTIL(slowfs_held() == COUNT - 1);
	come_back(1);
	slowfs_release(0);
	come_back(((1u << COUNT) - 1) & ~1u);
	check_slow_disk();
}

static const struct harness_case cases[] = {
	CASE_OF_EACH(kill_9_under_a_verifying_load),
	CASE_WITH_EACH_FORMAT(kill_9_with_requests_on_the_disk, "uring"),
	CASE_WITH_EACH_FORMAT(kill_9_with_requests_on_the_disk, "sync"),
	CASE_OF_EACH_FORMAT(kill_9_while_they_are_done_again),
	CASE_OF_EACH_FORMAT(a_batch_that_was_rolled_back_is_not_seen),
};
HARNESS_MAIN(cases)
