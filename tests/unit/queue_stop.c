/* src/core/queue.c: rings that stop with something in flight, of this life or an earlier one. */
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "unit.h"

#define BIT(name) (1ull << VHOST_USER_PROTOCOL_F_##name)
enum { RING = 16, ONE_HEAD = 3, HEADER = 0, STATUS = 0x8000, DATA = 0x1000 };

static struct front front;
static struct vhost_user_queue_region_split *region;
static int inflight_fd;

/* Protocol features but for those of `without`, memory, and an in-flight buffer. */
static void connect_tracked(uint64_t features, uint64_t without)
{
	struct vhost_user_inflight i = { .num_queues = 1, .queue_size = RING };

	front_connect(&front, "/s");
	front_negotiate(&front, features);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_PROTOCOL_FEATURES,
			 front_get(&front, VHOST_USER_GET_PROTOCOL_FEATURES) & ~without, -1),
		0);
	front_share(&front);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_INFLIGHT_FD, &i, sizeof(i), sizeof(i), -1,
			 &inflight_fd),
		sizeof(i));
	region = (void *)fake_memory(inflight_fd);
	region->version = 1;
	region->desc_num = RING;
}

/* A ring that an earlier life has left with so many heads taken; it is started, and not enabled. */
static void start_with_heads(uint16_t n, uint64_t without, bool shy)
{
	rig_stub(1, shy);
	connect_tracked(0, without);
	for (int head = ONE_HEAD; head < ONE_HEAD + n; head++) {
		region->desc[head].inflight = 1;
		region->desc[head].counter = (uint64_t)head;
	}
	front_ring(&front, 0, RING);
	for (int head = ONE_HEAD; head < ONE_HEAD + n; head++) {
		driver_desc(&front.rings[0], (unsigned)head, front_addr(0), 4, 2, 0);
		driver_avail(&front.rings[0], (uint16_t)head);
	}
	CHECK_EQ(stub.taken, 0);
}

static void start_with_history(uint64_t without, bool shy)
{
	start_with_heads(1, without, shy);
}

static void ask(uint32_t request)
{
	struct vhost_user_vring_state state = { 0, 0 };

	front_send(&front, request, 0, &state, sizeof(state), -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

/* The base that the answer carries, or FRONT_SILENT. */
static int64_t answer(void)
{
	struct vhost_user_vring_state state;
	uint32_t request;
	int n = front_reply(&front, &request, &state, sizeof(state), NULL);

	return n == sizeof(state) ? (int64_t)state.num : n;
}

CASE(what_an_earlier_life_took_is_done_before_the_ring_stops)
{
	start_with_history(BIT(GET_VRING_BASE_INFLIGHT) | BIT(GET_VRING_BASE_SKIP_DRAIN), false);
	ask(VHOST_USER_GET_VRING_BASE);
	CHECK_EQ(answer(), 1);
	CHECK_EQ(stub.taken, 1);
	CHECK_EQ(driver_used_count(&front.rings[0]), 1);
	CHECK_EQ(region->desc[ONE_HEAD].inflight, 0);
	CHECK(!rig_device(0)->queues[0].started && !rig_device(0)->queues[0].finishing);
}

CASE(a_ring_that_finishes_takes_nothing_new)
{
	start_with_history(BIT(GET_VRING_BASE_INFLIGHT) | BIT(GET_VRING_BASE_SKIP_DRAIN), false);
	driver_desc(&front.rings[0], 5, front_addr(0), 4, 2, 0);
	driver_avail(&front.rings[0], 5);
	ask(VHOST_USER_GET_VRING_BASE);
	CHECK_EQ(answer(), 1);
	CHECK_EQ(stub.taken, 1);
}

CASE(with_inflight_negotiated_it_stays_on_record)
{
	start_with_history(0, false);
	ask(VHOST_USER_GET_VRING_BASE);
	CHECK_EQ(answer(), 1);
	CHECK_EQ(stub.taken, 0);
	CHECK_EQ(region->desc[ONE_HEAD].inflight, 1);
}

CASE(the_answer_does_not_wait_for_a_device_that_takes_nothing)
{
	start_with_history(BIT(GET_VRING_BASE_INFLIGHT) | BIT(GET_VRING_BASE_SKIP_DRAIN), true);
	stub.full = true;
	ask(VHOST_USER_GET_VRING_BASE);
	CHECK_EQ(answer(), 1);
	CHECK_EQ(stub.taken, 0);
	CHECK_EQ(region->desc[ONE_HEAD].inflight, 1);
}

/* ---- what comes between ---- */

static void start_finishing(uint16_t n)
{
	struct vhost_user_vring_state state = { 0, 0 };

	start_with_heads(n, BIT(GET_VRING_BASE_INFLIGHT) | BIT(GET_VRING_BASE_SKIP_DRAIN), true);
	front_send(&front, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), -1);
}

CASE(a_sighup_that_comes_with_the_message_is_served_first)
{
	start_finishing(1);
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(stub.looked, 1);
	CHECK_EQ(answer(), 1);
	CHECK_EQ(stub.taken, 1);
	CHECK_EQ(region->desc[ONE_HEAD].inflight, 0);
}

CASE(a_sigterm_that_comes_with_the_message_leaves_it_on_record)
{
	start_finishing(1);
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 0);
	CHECK_EQ(answer(), FRONT_SILENT);
	CHECK_EQ(stub.taken, 0);
	CHECK_EQ(region->desc[ONE_HEAD].inflight, 1);
}

static struct request *taken;

static void take_one(struct request *req)
{
	taken = req;
	stub.full = true;
}

CASE(a_connection_that_closes_meanwhile_leaves_the_rest_on_record)
{
	start_finishing(2);
	stub.on_request = take_one;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(taken && taken->chain.head == ONE_HEAD);
	fake_truncate(front.mem_fd, FRONT_BYTES / 2);
	front_kick(&front, 0);
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSING);
	stub.full = false;
	request_done(taken, 0);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSED);
	CHECK_EQ(stub.taken, 1);
	CHECK_EQ(region->desc[ONE_HEAD + 1].inflight, 1);
}

/* ---- skip drain ---- */

/* A disk whose I/O takes a long time, and n reads of it in flight. */
static void start_slow_disk(unsigned n, bool tracked)
{
	fake_reset(1);
	(void)fake_image_new("/img", 64 * 1024);
	CHECK_EQ(rig_main("vubox blk -s /s --blk-file=/img"), FAKE_IDLE);
	connect_tracked(VIRTIO_BLK_F_FLUSH, 0);
	if (tracked) {
		struct vhost_user_inflight i = {
			.mmap_size = 320, .num_queues = 1, .queue_size = RING
		};

		CHECK_EQ(front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &i, sizeof(i), inflight_fd),
			0);
	} else {
		rig_device(0)->session.has_inflight = false;
	}
	front_ring(&front, 0, RING);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	for (unsigned i = 0; i < n; i++) {
		struct virtio_blk_req header = { .sector = le64_put(i) };
		struct buffer parts[3] = { { front_addr(HEADER + 16 * i), 16, false },
			{ front_addr(DATA + 512 * i), 512, true },
			{ front_addr(STATUS + i), 1, true } };

		memcpy(front_data(&front, HEADER + 16 * i), &header, sizeof(header));
		driver_add(&front.rings[0], parts, 3);
	}
	fake.io_delay_ns = 1000000000;
	rig_patience_ns = 1000000;
	fake_notify_signal(front.kick[0]);
	(void)rig_run();
	CHECK(n == 0 || rig_device(0)->queues[0].in_flight > n / 2);
	rig_patience_ns = fake.end_ns = 0;
}

static unsigned on_record(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RING; i++)
		n += region->desc[i].inflight != 0;
	return n;
}

CASE(what_is_in_flight_is_cancelled_and_stays_on_record)
{
	unsigned done, kept;

	start_slow_disk(5, true);
	ask(VHOST_USER_GET_VRING_BASE_SKIP_DRAIN);
	CHECK_EQ(answer(), 5);
	done = driver_used_count(&front.rings[0]);
	kept = on_record();
	CHECK_EQ(done + kept, 5);
	CHECK(kept > 0);
	CHECK(!rig_device(0)->queues[0].started && !rig_device(0)->queues[0].suspending);
	/* The next start does them. */
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 5);
	CHECK_EQ(on_record(), 0);
}

CASE(without_a_record_it_is_completed)
{
	start_slow_disk(5, false);
	ask(VHOST_USER_GET_VRING_BASE_SKIP_DRAIN);
	CHECK_EQ(answer(), 5);
	CHECK_EQ(driver_used_count(&front.rings[0]), 5);
}

CASE(a_broken_ring_waits_for_what_it_has_in_flight)
{
	start_slow_disk(5, true);
	driver_avail(&front.rings[0], RING + 1);
	rig_patience_ns = 1000000;
	front_kick(&front, 0);
	rig_patience_ns = fake.end_ns = 0;
	CHECK(rig_device(0)->queues[0].broken && rig_device(0)->queues[0].in_flight > 0);
	ask(VHOST_USER_GET_VRING_BASE_SKIP_DRAIN);
	CHECK_EQ(answer(), 5);
	CHECK_EQ(rig_device(0)->queues[0].in_flight, 0);
	CHECK_EQ(region->version, 0); /* the driver starts over: nothing is done again */
}

CASE(a_queue_that_there_is_not)
{
	struct vhost_user_vring_state state = { 77, 0 };

	start_slow_disk(0, true);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_VRING_BASE_SKIP_DRAIN, &state, sizeof(state),
			 sizeof(state), -1, NULL),
		0);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_VRING_BASE, &state, sizeof(state), sizeof(state),
			 -1, NULL),
		FRONT_GONE);
}
