/* src/core/window.c: a device that takes its buffers itself. */
#include "window.h"

#include <errno.h>

#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

enum { SHARED_MAX = CONFIG_REQUESTS_MAX - CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX };

static struct front front;

/* What the device has for the guest: a message of so many bytes, over as many buffers as it needs.
 */
static unsigned message, turns, said;

static int turn(struct queue *q)
{
	static const char bytes[256] = "0123456789abcdef";
	struct window w;
	uint32_t done = 0;
	int found;

	turns++;
	if (message == 0)
		return -EBUSY;
	if (!window_open(&w, q))
		FAIL("a queue in its turn has no window");
	found = window_fill(&w, message);
	said = w.count;
	while (found > 0 && done < message) {
		struct request *req = window_take(&w);
		uint32_t n = req->chain.writable;

		n = n < message - done ? n : message - done;
		CHECK(writer_put(&req->out, bytes + done, n));
		done += n;
		request_done(req, n);
	}
	window_close(&w);
	if (found > 0)
		message = 0;
	return found > 0 ? -EBUSY : found;
}

static void start(uint64_t features)
{
	message = turns = 0;
	fake_reset(1);
	stub.on_turn = turn;
	if (rig_stub_at(2, false, "--socket-path=/s --poll-us=0") != FAKE_IDLE)
		fake_die("the stub does not serve");
	front_start(&front, "/s", 2, features);
}

/* A buffer of n bytes at byte `at` behind the rings. */
static void add(uint32_t at, uint32_t n)
{
	driver_add(&front.rings[0], &(struct buffer){ front_addr(at), n, true }, 1);
}

static void send(unsigned bytes)
{
	message = bytes;
	queue_ready(&rig_device(0)->queues[0]);
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

CASE(a_message_goes_over_as_many_buffers_as_it_needs)
{
	uint32_t id, len;

	start(0);
	for (unsigned i = 0; i < 4; i++)
		add(0x100 * i, 4);
	front_kick(&front, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 0);
	send(10);
	CHECK_EQ(said, 3);
	CHECK_EQ(driver_used_count(&front.rings[0]), 3);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(driver_used(&front.rings[0], &id, &len));
		CHECK_EQ(id, i);
		CHECK_EQ(len, i < 2 ? 4 : 2);
	}
	CHECK_BYTES(front_data(&front, 0), "0123", 4);
	CHECK_BYTES(front_data(&front, 0x200), "89", 2);
	send(3);
	CHECK_EQ(driver_used_count(&front.rings[0]), 1);
	CHECK_EQ(rig_device(0)->queues[0].in_flight, 0);
}

static void wait_for_room(uint64_t features)
{
	start(features);
	add(0, 4);
	add(0x100, 4);
	/* Not enough: nothing is taken, and it sleeps until the driver adds more, or this hangs. */
	front_kick(&front, 0);
	send(10);
	CHECK_EQ(driver_used_count(&front.rings[0]), 0);
	CHECK_EQ(message, 10);
	if (features)
		CHECK_EQ(driver_avail_event(&front.rings[0]), 2);
	add(0x200, 4);
	front_kick(&front, 0);
	CHECK_EQ(message, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 3);
}

CASE(what_lacks_room_waits_for_the_next_buffer)
{
	wait_for_room(0);
}

CASE(what_lacks_room_waits_for_an_event_behind_it)
{
	wait_for_room(VIRTIO_F_EVENT_IDX);
}

CASE(a_bad_chain_behind_good_ones_breaks_the_queue)
{
	start(0);
	add(0, 4);
	driver_avail(&front.rings[0], 77);
	send(10);
	CHECK(rig_device(0)->queues[0].broken);
	CHECK_EQ(rig_device(0)->queues[0].in_flight, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 0);
}

CASE(a_window_that_lacks_requests_waits_for_those_of_others)
{
	static struct request *others[SHARED_MAX];
	unsigned n = 0;

	start(0);
	add(0, 4);
	add(0x100, 4);
	while (n < SHARED_MAX && (others[n] = request_get(1)))
		n++;
	fake.end_ns = fake.now_ns + 1000000;
	send(8);
	CHECK_EQ(message, 8);
	fake.end_ns = 0;
	/* Queue 1 gives one back, and that wakes it. */
	CHECK(request_put(others[0], 1));
	stub.hold = true;
	driver_add(&front.rings[1], &(struct buffer){ front_addr(0x300), 4, true }, 1);
	driver_add(&front.rings[1], &(struct buffer){ front_addr(0x400), 4, true }, 1);
	front_kick(&front, 1);
	CHECK_EQ(stub.held_count, 2);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(message, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 2);
}

CASE(a_queue_that_does_not_work_has_no_window)
{
	struct window w;

	start(0);
	add(0, 4);
	CHECK(window_open(&w, &rig_device(0)->queues[0]));
	window_close(&w);
	front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 0);
	CHECK(!window_open(&w, &rig_device(0)->queues[0]));
}
