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
	unsigned kills = getenv("KILLS") ? (unsigned)atoi(getenv("KILLS")) : 40;

	harness_seed();
	serve_tracked(with);
	while (count.lives < kills) {
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
	/* If nothing ever was in flight, nothing was shown. */
	CHECK(count.found > 0);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH(kill_9_under_a_verifying_load),
};
HARNESS_MAIN(cases)
