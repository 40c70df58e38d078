/* src/core/loop.c: watches, timers, and when it sleeps. */
#include "loop.h"

#include <errno.h>

#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

#define MS 1000000ull

static unsigned ticks;

static void tick(void)
{
	ticks++;
}

static void run_loop(void *arg)
{
	(void)arg;
	loop_run(tick);
}

static void start(void)
{
	fake_reset(1);
	CHECK_OK(loop_open());
}

static enum fake_end run(void)
{
	return fake_run(run_loop, NULL);
}

/* What was called, as letters. */
static char called[32];

static void note(void *owner)
{
	strncat(called, owner, 1);
}

/* ---- watches ---- */

CASE(it_calls_who_watches)
{
	int a, b;

	start();
	a = fake_notify_new(PORT_NOTIFY_EVENT);
	b = fake_notify_new(PORT_NOTIFY_EVENT);
	CHECK(loop_watch(a, PORT_EDGE, note, "a") >= 0);
	CHECK(loop_watch(b, PORT_EDGE, note, "b") >= 0);
	CHECK_EQ(run(), FAKE_IDLE);
	CHECK_TEXT(called, "");
	fake_notify_signal(b);
	CHECK_EQ(run(), FAKE_IDLE);
	CHECK_TEXT(called, "b");
	fake_notify_signal(a);
	fake_notify_signal(b);
	CHECK_EQ(run(), FAKE_IDLE);
	CHECK_TEXT(called, "bab");
}

static int watch_a, watch_b, fd_b;

static void remove_b(void *owner)
{
	note(owner);
	loop_unwatch(watch_b);
}

CASE(an_event_of_a_watch_that_is_gone_does_nothing)
{
	int a;

	start();
	a = fake_notify_new(PORT_NOTIFY_EVENT);
	fd_b = fake_notify_new(PORT_NOTIFY_EVENT);
	watch_a = loop_watch(a, PORT_EDGE, remove_b, "a");
	watch_b = loop_watch(fd_b, PORT_EDGE, note, "b");
	fake_notify_signal(a);
	fake_notify_signal(fd_b);
	CHECK_EQ(run(), FAKE_IDLE);
	CHECK_TEXT(called, "a");
	CHECK_EQ(fake_watches(), 1);
}

/* The new watch gets the place of the old one, while an event of that is on its way. */
static void replace_b(void *owner)
{
	note(owner);
	loop_unwatch(watch_b);
	CHECK_EQ(loop_watch(fake_notify_new(PORT_NOTIFY_EVENT), PORT_EDGE, note, "c"), watch_b);
}

CASE(an_event_of_an_old_watch_does_not_reach_its_successor)
{
	int a;

	start();
	a = fake_notify_new(PORT_NOTIFY_EVENT);
	fd_b = fake_notify_new(PORT_NOTIFY_EVENT);
	watch_a = loop_watch(a, PORT_EDGE, replace_b, "a");
	watch_b = loop_watch(fd_b, PORT_EDGE, note, "b");
	fake_notify_signal(a);
	fake_notify_signal(fd_b);
	CHECK_EQ(run(), FAKE_IDLE);
	CHECK_TEXT(called, "a");
}

CASE(watches_run_out)
{
	int watch = 0, count = 0;

	start();
	while ((watch = loop_watch(fake_notify_new(PORT_NOTIFY_EVENT), PORT_EDGE, note, "x")) >= 0)
		count++;
	CHECK_EQ(watch, -ENOSPC);
	CHECK_EQ(count, CONFIG_WATCHES_MAX);
	loop_unwatch(7);
	CHECK_EQ(loop_watch(fake_notify_new(PORT_NOTIFY_EVENT), PORT_EDGE, note, "x"), 7);
}

CASE(a_watch_that_fails_takes_no_place)
{
	start();
	fake.fail_at[FAKE_WAIT_ADD] = 1;
	CHECK_EQ(loop_watch(fake_notify_new(PORT_NOTIFY_EVENT), PORT_EDGE, note, "a"), -ENOSPC);
	CHECK_EQ(loop_watch(fake_other_new(), PORT_EDGE, note, "a"), -EPERM);
	CHECK_EQ(loop_watch(fake_notify_new(PORT_NOTIFY_EVENT), PORT_EDGE, note, "a"), 0);
}

static void unwatch_twice(void *arg)
{
	(void)arg;
	loop_unwatch(3);
}

CASE(what_is_not_watched_cannot_be_unwatched)
{
	start();
	CHECK_EQ(fake_run(unwatch_twice, NULL), FAKE_ABORTED);
}

/* ---- timers ---- */

static struct loop_timer timers[4];

CASE(timers_fire_in_the_order_of_their_times)
{
	uint64_t now;

	start();
	now = fake.now_ns;
	loop_timer_set(&timers[0], now + 30 * MS, note, "c");
	loop_timer_set(&timers[1], now + 10 * MS, note, "a");
	loop_timer_set(&timers[2], now + 40 * MS, note, "d");
	loop_timer_set(&timers[3], now + 20 * MS, note, "b");
	CHECK_EQ(run(), FAKE_IDLE);
	CHECK_TEXT(called, "abcd");
	CHECK(fake.now_ns >= now + 40 * MS && fake.now_ns < now + 41 * MS);
	CHECK(!timers[0].set && !timers[3].set);
}

CASE(a_timer_is_set_anew_or_cleared)
{
	uint64_t now;

	start();
	now = fake.now_ns;
	loop_timer_clear(&timers[0]);
	loop_timer_set(&timers[0], now + 10 * MS, note, "x");
	loop_timer_set(&timers[1], now + 20 * MS, note, "b");
	loop_timer_set(&timers[2], now + 20 * MS, note, "c");
	loop_timer_set(&timers[0], now + 30 * MS, note, "d");
	loop_timer_clear(&timers[2]);
	CHECK_EQ(run(), FAKE_IDLE);
	CHECK_TEXT(called, "bd");
}

static void again(void *owner)
{
	note(owner);
	if (strlen(called) < 4)
		loop_timer_set(&timers[0], fake.now_ns + MS, again, owner);
}

CASE(a_timer_may_set_itself_again)
{
	start();
	loop_timer_set(&timers[0], 0, again, "t");
	CHECK_EQ(run(), FAKE_IDLE);
	CHECK_TEXT(called, "tttt");
}

/* ---- the end, and sleep ---- */

static void end(void *owner)
{
	(void)owner;
	loop_end();
}

CASE(it_ends_with_the_tick)
{
	start();
	loop_timer_set(&timers[0], fake.now_ns + MS, end, NULL);
	CHECK_EQ(run(), FAKE_RETURNED);
	CHECK(ticks > 0);
}

static struct front front;

static void add(void)
{
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
}

static unsigned waits_asleep;

static void count_sleep(int64_t timeout_ns)
{
	waits_asleep += timeout_ns != 0;
}

CASE(it_sleeps_only_when_every_ring_has_asked_for_kicks)
{
	rig_stub(1, false);
	front_start(&front, "/s", 1, VIRTIO_F_EVENT_IDX);
	add();
	front_kick(&front, 0);
	CHECK_EQ(driver_avail_event(&front.rings[0]), 1);
	CHECK_EQ(driver_used_count(&front.rings[0]), 1);
}

/* A driver that adds at the very moment of the sleep, and whose kick was not wanted before. */
static bool add_late(int64_t timeout_ns)
{
	(void)timeout_ns;
	if (front.rings[0].avail_idx != 1)
		return false;
	add();
	if (driver_avail_event(&front.rings[0]) != 1)
		FAIL("it sleeps without having asked for a kick");
	fake_notify_signal(front.kick[0]);
	return true;
}

CASE(a_kick_in_the_moment_of_sleep_is_not_lost)
{
	rig_stub(1, false);
	front_start(&front, "/s", 1, VIRTIO_F_EVENT_IDX);
	fake.on_idle = add_late;
	add();
	front_kick(&front, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 2);
}

/* A driver on another CPU: it adds whenever it likes, and kicks only if it was asked to. */
static unsigned to_add;

static void add_before_wait(int64_t timeout_ns)
{
	(void)timeout_ns;
	if (to_add == 0)
		return;
	to_add--;
	add();
	if (driver_used_flags(&front.rings[0]) == 0)
		fake_notify_signal(front.kick[0]);
}

CASE(work_of_a_driver_that_kicks_only_when_asked_is_seen)
{
	rig_stub(1, false);
	front_start(&front, "/s", 1, 0);
	fake.on_wait = add_before_wait;
	to_add = 5;
	add();
	front_kick(&front, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 6);
}

CASE(it_spins_only_while_that_pays)
{
	uint64_t before;

	fake_reset(1);
	CHECK_EQ(rig_stub_at(1, false, "--socket-path=/s --poll-us=1000"), FAKE_IDLE);
	front_start(&front, "/s", 1, 0);
	/* After a long sleep it goes to sleep at once. */
	loop_timer_set(&timers[0], fake.now_ns + 50 * MS, note, "t");
	CHECK_EQ(rig_run(), FAKE_IDLE);
	before = fake.now_ns;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake.now_ns - before < MS / 2);
	/* Also after a short one that looking at the rings would not have ended. */
	loop_timer_set(&timers[0], fake.now_ns + MS / 10, note, "t");
	CHECK_EQ(rig_run(), FAKE_IDLE);
	before = fake.now_ns;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake.now_ns - before < MS / 2);
	/* After a short one that a kick has ended it spins first. */
	fake_notify_signal(front.kick[0]);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake.now_ns - before >= MS);
}

static unsigned waits;

static void count_wait(int64_t timeout_ns)
{
	waits += timeout_ns == 0;
}

CASE(who_spins_long_forgets_neither_events_nor_timers)
{
	fake_reset(1);
	CHECK_EQ(rig_stub_at(1, false, "--socket-path=/s --poll-us=10000"), FAKE_IDLE);
	front_start(&front, "/s", 1, 0);
	rig_patience_ns = 5 * MS;
	waits = 0;
	fake.on_wait = count_wait;
	fake_notify_signal(front.kick[0]);
	(void)rig_run();
	CHECK(waits > 40 && waits < 60);
	called[0] = '\0';
	rig_patience_ns = MS;
	fake_notify_signal(front.kick[0]);
	loop_timer_set(&timers[0], fake.now_ns + MS / 2, note, "t");
	(void)rig_run();
	CHECK_TEXT(called, "t");
}

/* A ring that nobody kicks: looked at once a POLLED_NS of loop.c at least. */
static void start_unkicked(const char *options)
{
	fake_reset(1);
	CHECK_EQ(rig_stub_at(1, false, options), FAKE_IDLE);
	front_start(&front, "/s", 1, 0);
	rig_patience_ns = MS;
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, VHOST_USER_VRING_NO_FD, -1), 0);
}

static uint64_t asleep_ns, first_ns;

static void measure_sleep(int64_t timeout_ns)
{
	if (timeout_ns > 0 && first_ns == 0)
		first_ns = (uint64_t)timeout_ns;
	asleep_ns += timeout_ns > 0 ? (uint64_t)timeout_ns : 0;
}

CASE(a_timer_may_come_before_the_next_look_at_an_unkicked_ring)
{
	start_unkicked("--socket-path=/s --poll-us=0");
	fake.on_wait = measure_sleep;
	loop_timer_set(&timers[0], fake.now_ns + MS / 10, note, "");
	CHECK_EQ(rig_run(), FAKE_TIME);
	CHECK(first_ns > 0 && first_ns < MS / 10);
	first_ns = 0;
	CHECK_EQ(rig_run(), FAKE_TIME);
	CHECK_EQ(first_ns, MS / 5);
}

CASE(an_unkicked_ring_is_spun_on_for_as_long_as_was_asked)
{
	start_unkicked("--socket-path=/s --poll-us=300");
	fake.on_wait = measure_sleep;
	rig_patience_ns = 20 * MS;
	CHECK_EQ(rig_run(), FAKE_TIME);
	/* Sleeps of 200 us between spins of 300 us. */
	CHECK(asleep_ns > 5 * MS && asleep_ns < 12 * MS);
}

CASE(work_is_not_interrupted_for_events_at_every_tick)
{
	rig_stub(1, false);
	front_start(&front, "/s", 1, 0);
	front_ring(&front, 0, 256);
	fake.on_wait = count_sleep;
	for (unsigned i = 0; i < 250; i++)
		add();
	front_kick(&front, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 250);
	CHECK_EQ(waits_asleep, 2); /* the one that brought the kick, and the last one */
}
