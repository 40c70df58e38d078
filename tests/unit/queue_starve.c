/* src/core/queue.c and req.c: what happens when something runs out. */
#include <errno.h>

#include "queue.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

enum { SHARED_MAX = CONFIG_REQUESTS_MAX - CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX };

static struct front front;
static struct request *others[SHARED_MAX];

static void start(unsigned rings, bool shy)
{
	rig_stub(rings, shy);
	front_start(&front, "/s", rings, VIRTIO_F_INDIRECT_DESC);
}

static void add(unsigned i)
{
	driver_add(&front.rings[i], &(struct buffer){ front_addr(0), 4, true }, 1);
}

/* A chain that needs a long array; its table is at `at` behind the rings. */
static void add_long(unsigned i, uint32_t at)
{
	static struct buffer all[CONFIG_SPANS_INLINE + 1];

	for (unsigned k = 0; k < CONFIG_SPANS_INLINE + 1; k++)
		all[k] = (struct buffer){ front_addr(2 * k), 1, true };
	driver_add_indirect(&front.rings[i], FRONT_DATA + at, all, CONFIG_SPANS_INLINE + 1);
}

CASE(a_device_that_takes_nothing_leaves_requests_in_the_ring)
{
	start(1, true);
	stub.full = true;
	add(0);
	front_kick(&front, 0);
	CHECK_EQ(stub.taken, 0);
	add(0);
	front_kick(&front, 0);
	CHECK_EQ(stub.taken, 0);
	stub.full = false;
	device_ready(rig_device(0));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(driver_used_count(&front.rings[0]), 2);
}

CASE(when_requests_run_out_every_queue_still_has_one)
{
	unsigned n = 0;

	start(2, false);
	stub.hold = true;
	while (n < SHARED_MAX && (others[n] = request_get(1)))
		n++;
	CHECK_EQ(n, SHARED_MAX);
	for (unsigned i = 0; i < 3; i++) {
		add(0);
		add(1);
	}
	front_kick(&front, 0);
	front_kick(&front, 1);
	CHECK_EQ(stub.held_count, 2);
	/* Each that is done makes room for the next one of its queue. */
	for (unsigned left = 6; left > 2; left--) {
		stub_finish();
		CHECK_EQ(rig_run(), FAKE_IDLE);
		CHECK_EQ(stub.held_count, 2);
	}
	request_put(others[0], 1);
	add(0);
	add(0);
	front_kick(&front, 0);
	CHECK_EQ(stub.held_count, 3);
	while (stub.held_count > 0) {
		stub_finish();
		CHECK_EQ(rig_run(), FAKE_IDLE);
	}
	CHECK_EQ(driver_used_count(&front.rings[0]), 5);
	CHECK_EQ(driver_used_count(&front.rings[1]), 3);
}

CASE(long_chains_wait_for_a_long_array)
{
	start(1, false);
	stub.hold = true;
	for (unsigned i = 0; i < CONFIG_LONG_MAX + 3; i++)
		add_long(0, 0x1000 * (i + 1));
	front_kick(&front, 0);
	CHECK_EQ(stub.held_count, CONFIG_LONG_MAX);
	for (unsigned i = 0; i < CONFIG_LONG_MAX + 3; i++) {
		stub_finish();
		CHECK_EQ(rig_run(), FAKE_IDLE);
	}
	CHECK_EQ(driver_used_count(&front.rings[0]), CONFIG_LONG_MAX + 3);
}

/* Queue 0 holds every long array, and queue 1, which has nothing in flight, wants one. */
static void starve_a_neighbour(bool shy)
{
	start(2, shy);
	stub.hold = true;
	for (unsigned i = 0; i < CONFIG_LONG_MAX; i++)
		add_long(0, 0x1000 * (i + 1));
	front_kick(&front, 0);
	CHECK_EQ(stub.held_count, CONFIG_LONG_MAX);
	add_long(1, 0x1000 * (CONFIG_LONG_MAX + 1));
	fake.end_ns = fake.now_ns + 1000000;
	front_kick(&front, 1);
	CHECK_EQ(stub.held_count, CONFIG_LONG_MAX);
	fake.end_ns = 0;
	stub_finish();
	stub.hold = false;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(driver_used_count(&front.rings[1]), 1);
}

CASE(a_queue_without_requests_waits_for_what_others_hold)
{
	starve_a_neighbour(false);
}

CASE(a_queue_of_a_shy_device_waits_for_what_others_hold)
{
	starve_a_neighbour(true);
}

CASE(queues_run_out)
{
	struct device dev = { .name = "more" };
	unsigned made = 0;

	CHECK(queue_create(&dev, CONFIG_QUEUES_MAX + 1) == NULL);
	while (queue_create(&dev, CONFIG_QUEUES_MAX))
		made++;
	CHECK_EQ(made, CONFIG_DEVICES_MAX);
	CHECK(queue_create(&dev, 1) == NULL);
	CHECK(queue_create(&dev, 0) != NULL);
}

CASE(descriptors_for_kicks_can_fail)
{
	struct queue *q;

	start(1, false);
	q = &rig_device(0)->queues[0];
	fake.end_ns = fake.now_ns + 1000000; /* without a kick it is polled */
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, fake_other_new()), 1);
	CHECK(q->kick.kind == PORT_NOTIFY_NONE);
	fake.fail_at[FAKE_WAIT_ADD] = fake.calls[FAKE_WAIT_ADD] + 1;
	fake.end_ns = fake.now_ns + 1000000;
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 1);
	CHECK(q->kick.kind == PORT_NOTIFY_NONE);
	fake.end_ns = 0;
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 0);
	add(0);
	front_kick(&front, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 1);
}
