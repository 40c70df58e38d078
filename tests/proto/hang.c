/*
 * What drivers and front-ends do while their requests are on a disk that hangs: heads that are out
 * already, more slots than the ring has, memory that goes, a process that is to end.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../front/slowfs.h"
#include "../front/yard.h"

enum { COUNT = 12, BYTES = 4096 };

static struct yard y;

/* Two queues; so many writes of queue 0 wait on the disk. */
static void open_hanging(uint16_t ring_size, unsigned count)
{
	struct front_queue *q = &y.rig.queues[0];

	y.rig.image = slowfs_mount(RIG_DISK_BYTES, SLOWFS_ASYNC);
	yard_serve(&y, (const char *const[]){ "--io=uring", NULL });
	y.rig.ring_size = ring_size;
	yard_connect(&y, 2);
	slowfs_hold(SLOWFS_WRITES, 0, RIG_DISK_BYTES);
	for (unsigned slot = 0; slot < count; slot++) {
		struct blk_request w = rig_request(&y.rig, slot, BLK_OUT, 1024 + slot * 8, BYTES);

		rig_add(&y.rig, q, &w, slot);
	}
	front_queue_offer(q);
	UNTIL(slowfs_held() == count);
}

/* The queue breaks while requests are in flight: the disk must let go before a reset is done. */
static void breaks_and_heals(const char *why)
{
	struct front_queue *bad = &y.rig.queues[0];

	CHECK_EQ(front_wait_signal(bad->err, harness_wait_ms()), 0);
	if (!vubox_said(&y.rig.vubox, why))
		harness_fail(HERE, "it did not say “%s”", why);
	yard_is_idle(&y);
	slowfs_release(0);
	CHECK_EQ(front_set_status(&y.rig.front, 0), 0);
	CHECK_EQ(front_set_features(&y.rig.front, y.rig.front.features), 0);
	rig_reopen(&y.rig, bad);
	rig_start(&y.rig, bad);
	/* What was dropped does not show up in the new ring. */
	CHECK_EQ(front_settle(&y.rig.front), 0);
	CHECK(!driver_is_back(&bad->driver));
	y.rig.ring_size = 0;
	yard_check(&y);
}

/* 2.8: slots that are in flight are made available again: the driver has overtaken itself. */
static void more_slots_than_the_ring_has(const char *with)
{
	struct driver_desc d[6];

	(void)with;
	open_hanging(8, 2); /* six of eight slots */
	for (unsigned i = 0; i < 6; i++)
		d[i] = desc(RIG_SLOTS_AT + i, 1, i < 5 ? DRIVER_DESC_NEXT : 0, i + 1);
	driver_offer_raw(&y.rig.queues[0].driver, d, 6);
	front_kick(&y.rig.queues[0]);
	breaks_and_heals("more descriptors than");
}

/* All slots are in flight, and the next one is made available: that is not seen at all. */
static void a_full_ring_is_made_available_again(const char *with)
{
	struct driver_desc d[3];
	struct driver_used used;

	(void)with;
	open_hanging(6, 2);
	for (unsigned i = 0; i < 3; i++)
		d[i] = desc(RIG_SLOTS_AT + i, 1, i < 2 ? DRIVER_DESC_NEXT : 0, i + 1);
	driver_offer_raw(&y.rig.queues[0].driver, d, 3);
	front_kick(&y.rig.queues[0]);
	CHECK_EQ(front_settle(&y.rig.front), 0);
	yard_is_idle(&y);
	slowfs_release(0);
	CHECK_EQ(front_settle(&y.rig.front), 0);
	(void)driver_poll(&y.rig.queues[0].driver, &used);
	rig_disconnect(&y.rig);
	y.rig.ring_size = 0;
	yard_check(&y);
}

/* Split: heads that are out are offered again, as often as the ring allows. */
static void heads_that_are_out_are_offered_again(const char *with)
{
	struct driver *d;

	(void)with;
	open_hanging(64, COUNT);
	d = &y.rig.queues[0].driver;
	for (unsigned i = 0; i < 64 - COUNT; i++)
		driver_offer_head(d, (uint16_t)(i % COUNT * 3));
	front_kick(&y.rig.queues[0]);
	UNTIL(slowfs_held() == 64);
	yard_is_idle(&y);
	slowfs_release(0);
	UNTIL(driver_base_in_memory(d) == 64);
	rig_disconnect(&y.rig);
	y.rig.ring_size = 0;
	yard_check(&y);
}

/* And beyond: the avail index is further ahead than the ring is long. */
static void more_heads_than_the_ring_has(const char *with)
{
	struct driver *d;

	(void)with;
	open_hanging(16, 5);
	d = &y.rig.queues[0].driver;
	for (unsigned i = 0; i < 40; i++)
		driver_offer_head(d, (uint16_t)(i % 5 * 3));
	front_kick(&y.rig.queues[0]);
	breaks_and_heals("jumps");
}

/* A chain is rewritten while its request is in flight: it was copied, so nothing changes. */
static void descriptors_change_in_flight(const char *with)
{
	struct front_queue *q = &y.rig.queues[0];

	(void)with;
	open_hanging(64, COUNT);
	for (unsigned i = 0; i < 64; i++) {
		if (!harness_packed())
			harness_fill(q->driver.desc + 16 * i, 16);
		else
			harness_fill(q->driver.desc + 16 * i, 14); /* not the flags */
	}
	slowfs_release(0);
	UNTIL(driver_is_back(&q->driver));
	for (unsigned slot = 0; slot < COUNT; slot++) {
		struct blk_request w = rig_request(&y.rig, slot, 0, 0, 0);

		UNTIL(blk_status(&y.rig.memory.driver, &w) == BLK_OK);
	}
	rig_disconnect(&y.rig);
	y.rig.ring_size = 0;
	yard_check(&y);
}

/* ---- front-ends ---- */

static bool is_silent(void)
{
	struct pollfd p = { .fd = y.rig.front.fd, .events = POLLIN };

	CHECK_EQ(front_settle(&y.other.front), 0);
	return poll(&p, 1, 0) == 0;
}

/* A message that takes memory or rings away is answered when the disk has let go of them. */
static void waits(
	uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned fd_count)
{
	struct front_message m;

	CHECK_EQ(front_send(&y.rig.front, request, VU_NEED_REPLY, payload, size, fds, fd_count), 0);
	if (!is_silent())
		harness_fail(HERE, "message %u did not wait for the disk", request);
	yard_is_idle(&y);
	slowfs_release(0);
	CHECK_EQ(front_receive(&y.rig.front, &m), 0);
	CHECK_EQ(m.header.request, request);
}

static void removing_memory_waits(const char *with)
{
	struct {
		uint64_t padding;
		struct front_place place;
	} reg = { 0 };

	(void)with;
	open_hanging(64, COUNT);
	reg.place = y.rig.memory.regions[0].place;
	waits(VU_REM_MEM_REG, &reg, sizeof(reg), NULL, 0);
	rig_disconnect(&y.rig);
	yard_check(&y);
}

static void a_new_table_waits(const char *with)
{
	static const uint64_t none;

	(void)with;
	open_hanging(64, COUNT);
	waits(VU_SET_MEM_TABLE, &none, sizeof(none), NULL, 0);
	rig_disconnect(&y.rig);
	yard_check(&y);
}

static void stopping_waits(const char *with)
{
	static const uint32_t state[2];

	(void)with;
	open_hanging(64, COUNT);
	waits(VU_GET_VRING_BASE, state, sizeof(state), NULL, 0);
	rig_disconnect(&y.rig);
	yard_check(&y);
}

/* While one front-end's disk hangs, another front-end waits for the device, and is served then. */
static void a_successor_waits_for_the_disk(const char *with)
{
	(void)with;
	open_hanging(64, COUNT);
	rig_disconnect(&y.rig);
	rig_connect(&y.rig);
	CHECK_EQ(front_send(&y.rig.front, VU_GET_FEATURES, 0, NULL, 0, NULL, 0), 0);
	CHECK(is_silent());
	yard_is_idle(&y);
	slowfs_release(0);
	CHECK_EQ(front_receive(&y.rig.front, &(struct front_message){ 0 }), 0);
	y.rig.ring_size = 0;
	yard_check(&y);
}

/* ---- the process ---- */

/* SIGTERM does not wait for a disk for ever. */
static void sigterm_does_not_wait_for_ever(const char *with)
{
	(void)with;
	open_hanging(64, COUNT);
	CHECK_EQ(kill(y.rig.vubox.pid, SIGTERM), 0);
	/* It gives the disk a moment, and goes; the kernel then waits until the disk is through. */
	CHECK_EQ(front_wait_closed(&y.rig.front), 0);
	slowfs_release(EIO);
	CHECK_EQ(vubox_wait(&y.rig.vubox), 0);
}

static const struct harness_case cases[] = {
	CASE_PACKED(more_slots_than_the_ring_has),
	CASE_PACKED(a_full_ring_is_made_available_again),
	CASE(heads_that_are_out_are_offered_again),
	CASE(more_heads_than_the_ring_has),
	CASE_OF_EACH_FORMAT(descriptors_change_in_flight),
	CASE_OF_EACH_FORMAT(removing_memory_waits),
	CASE_OF_EACH_FORMAT(a_new_table_waits),
	CASE_OF_EACH_FORMAT(stopping_waits),
	CASE_OF_EACH_FORMAT(a_successor_waits_for_the_disk),
	CASE_OF_EACH_FORMAT(sigterm_does_not_wait_for_ever),
};
HARNESS_MAIN(cases)
