/* src/core/msg.c: acknowledgements, replies that are not read, and messages that wait. */
#include <errno.h>

#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

static struct front front;

static void start(void)
{
	rig_stub(1, false);
	front_connect(&front, "/s");
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

static int reply_u64(uint64_t *value)
{
	uint32_t request;

	return front_reply(&front, &request, value, sizeof(*value), NULL);
}

CASE(no_acknowledgement_before_it_is_negotiated)
{
	uint64_t none = 0;

	start();
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_FEATURES, 0, -1), FRONT_SILENT);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_PROTOCOL_FEATURES,
			 1 << VHOST_USER_PROTOCOL_F_REPLY_ACK, -1),
		0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_FEATURES, 0, -1), 0);
	front_send(&front, VHOST_USER_SET_FEATURES, 0, &none, sizeof(none), -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(reply_u64(&none), FRONT_SILENT);
}

CASE(a_message_with_a_reply_of_its_own_has_no_other)
{
	uint64_t value;

	start();
	front_negotiate(&front, 0);
	CHECK(front_ack(&front, VHOST_USER_GET_FEATURES, NULL, 0, -1) != 0);
	CHECK_EQ(reply_u64(&value), FRONT_SILENT);
}

CASE(a_failure_that_nobody_would_hear_of_closes_the_connection)
{
	uint64_t wrong = 1ull << 63;

	start();
	front_negotiate(&front, 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_FEATURES, wrong, -1), 1);
	front_send(&front, VHOST_USER_SET_FEATURES, 0, &wrong, sizeof(wrong), -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(reply_u64(&wrong), FRONT_GONE);
	CHECK(fake_log_has("SET_FEATURES failed: a feature that was not offered"));
}

CASE(a_failed_request_for_a_value_closes_the_connection)
{
	struct vhost_user_vring_state state = { 99, 0 };

	start();
	front_negotiate(&front, 0);
	front_send(&front, VHOST_USER_GET_VRING_BASE, VHOST_USER_NEED_REPLY, &state, sizeof(state),
		-1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(reply_u64(&(uint64_t){ 0 }), FRONT_GONE);
}

CASE(replies_wait_until_they_are_read)
{
	uint64_t value = 0;

	start();
	front_negotiate(&front, 0);
	fake.socket_room = 100; /* five replies of 20 bytes */
	for (unsigned i = 0; i < 8; i++)
		front_send(&front, VHOST_USER_GET_FEATURES, 0, NULL, 0, -1);
	fake.end_ns = fake.now_ns + 100000000;
	CHECK_EQ(rig_run(), FAKE_TIME);
	CHECK(rig_device(0)->session.replying);
	for (unsigned i = 0; i < 5; i++)
		CHECK_EQ(reply_u64(&value), 8);
	CHECK_EQ(reply_u64(&value), FRONT_SILENT);
	fake.end_ns = 0;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(reply_u64(&value), 8);
	CHECK_EQ(reply_u64(&value), FRONT_SILENT);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 0);
}

CASE(a_reply_that_waited_is_sent_and_then_nothing_can_be_watched)
{
	uint64_t value;

	start();
	fake.socket_room = 10;
	front_send(&front, VHOST_USER_GET_FEATURES, 0, NULL, 0, -1);
	fake.end_ns = fake.now_ns + 100000000;
	CHECK_EQ(rig_run(), FAKE_TIME);
	fake.end_ns = 0;
	fake.socket_room = 100;
	fake.fail_at[FAKE_WAIT_ADD] = fake.calls[FAKE_WAIT_ADD] + 1;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake_log_has("it cannot be watched"));
	CHECK_EQ(reply_u64(&value), 8);
	CHECK_EQ(reply_u64(&value), FRONT_GONE);
}

CASE(hanging_up_with_a_reply_that_waits)
{
	struct vhost_user_inflight inflight = { .num_queues = 1, .queue_size = 16 };

	start();
	front_negotiate(&front, 0);
	fake.socket_room = 10;
	front_send(&front, VHOST_USER_GET_INFLIGHT_FD, 0, &inflight, sizeof(inflight), -1);
	fake.end_ns = fake.now_ns + 100000000;
	CHECK_EQ(rig_run(), FAKE_TIME);
	fake.end_ns = 0;
	front_hang_up(&front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_open_fds(), 3); /* signals, I/O event, listener */
	CHECK_EQ(fake_open_maps(), 0);
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSED);
}

CASE(a_reply_that_cannot_be_sent_closes_the_connection)
{
	start();
	fake.fail_at[FAKE_SEND] = fake.calls[FAKE_SEND] + 1;
	front_send(&front, VHOST_USER_GET_FEATURES, 0, NULL, 0, -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(reply_u64(&(uint64_t){ 0 }), FRONT_GONE);
	CHECK(fake_log_has("it does not take our reply"));
}

/* ---- messages that wait for I/O ---- */

static void start_held(void)
{
	rig_stub(1, false);
	stub.hold = true;
	front_start(&front, "/s", 1, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	CHECK_EQ(stub.held_count, 1);
}

CASE(memory_stays_until_io_is_done)
{
	struct vhost_user_mem_reg reg = { 0, { FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0 } };

	start_held();
	CHECK_EQ(front_ack(&front, VHOST_USER_REM_MEM_REG, &reg, sizeof(reg), -1), FRONT_SILENT);
	CHECK_EQ(fake_open_maps(), 1);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(driver_used_count(&front.rings[0]), 1);
	CHECK_EQ(fake_open_maps(), 0);
	CHECK_EQ(reply_u64(&(uint64_t){ 0 }), 8);
}

CASE(messages_behind_one_that_waits_wait_too)
{
	struct vhost_user_vring_state state = { 0, 0 };
	uint32_t request;
	uint64_t value;

	start_held();
	front_send(&front, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), -1);
	front_send(&front, VHOST_USER_GET_STATUS, 0, NULL, 0, -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(front_reply(&front, &request, &value, 8, NULL), FRONT_SILENT);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(front_reply(&front, &request, &value, 8, NULL), 8);
	CHECK_EQ(request, VHOST_USER_GET_VRING_BASE);
	CHECK_EQ(front_reply(&front, &request, &value, 8, NULL), 8);
	CHECK_EQ(request, VHOST_USER_GET_STATUS);
}

CASE(requests_go_on_behind_a_message_that_has_waited)
{
	start_held();
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 15, -1), FRONT_SILENT);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0); /* while it is paused: not lost */
	CHECK_EQ(stub.taken, 1);
	stub_finish();
	stub.hold = false;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(driver_used_count(&front.rings[0]), 2);
}

CASE(hanging_up_behind_a_message_that_waits)
{
	start_held();
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 0, -1), FRONT_SILENT);
	front_hang_up(&front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_open_maps(), 1);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_open_maps(), 0);
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSED);
}

/* ---- the other direction ---- */

CASE(the_front_end_hears_of_a_new_configuration)
{
	struct vhost_user_header h;
	int pair[2], got;

	rig_stub(1, false);
	front_start(&front, "/s", 1, 0);
	fake_socketpair(pair);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]), 0);
	fake_close(pair[1]);
	stub.grown = true;
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(stub.looked, 1);
	CHECK_EQ(fake_recv(pair[0], &h, sizeof(h), &got), sizeof(h));
	CHECK_EQ(h.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	CHECK_EQ(h.flags, VHOST_USER_VERSION);
	CHECK_EQ(h.size, 0);
	fake.fail_at[FAKE_SEND] = fake.calls[FAKE_SEND] + 1;
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake_log_has("cannot tell the front-end"));
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 0);
}
