/* src/core/session.c: who may connect, and that the end of a connection gives everything back. */
#include <errno.h>

#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

#define MS 1000000ull

static struct front front;
static unsigned fds_before, watches_before;

static void start(void)
{
	rig_stub(2, false);
	fds_before = fake_open_fds();
	watches_before = fake_watches();
}

static void expect_nothing_left(void)
{
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSED);
	CHECK_EQ(fake_open_fds(), fds_before);
	CHECK_EQ(fake_watches(), watches_before);
	CHECK_EQ(fake_open_maps(), 0);
	CHECK_EQ(stub.accepted, 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct queue *q = &rig_device(0)->queues[i];

		CHECK(!q->started && !q->enabled && !q->addr_set && !q->broken);
	}
}

static void expect_service(unsigned ring)
{
	driver_add(&front.rings[ring], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, ring);
	CHECK_EQ(driver_used_count(&front.rings[ring]), 1);
}

/* ---- connecting ---- */

CASE(hanging_up_gives_everything_back)
{
	struct vhost_user_inflight inflight = { .num_queues = 2, .queue_size = 16 };
	int pair[2], fd;

	start();
	for (unsigned round = 0; round < 3; round++) {
		front_start(&front, "/s", 2, 0);
		fake_socketpair(pair);
		CHECK_EQ(front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]), 0);
		CHECK_EQ(front_call(&front, VHOST_USER_GET_INFLIGHT_FD, &inflight, sizeof(inflight),
				 sizeof(inflight), -1, &fd),
			sizeof(inflight));
		expect_service(0);
		expect_service(1);
		fake_close(fd);
		fake_close(pair[0]);
		fake_close(pair[1]);
		front_hang_up(&front);
		expect_nothing_left();
	}
}

CASE(a_second_front_end_is_turned_away)
{
	struct front second;
	uint64_t value;
	uint32_t request;

	start();
	front_start(&front, "/s", 1, 0);
	front_connect(&second, "/s");
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(front_reply(&second, &request, &value, sizeof(value), NULL), FRONT_GONE);
	CHECK(fake_log_has("turned away a second front-end"));
	expect_service(0);
}

CASE(the_next_one_is_served_even_if_both_come_at_once)
{
	struct front second;

	for (unsigned seed = 0; seed < 8; seed++) {
		if (seed == 0)
			start();
		fake.shuffle = true;
		front_start(&front, "/s", 1, 0);
		front_hang_up(&front);
		front_connect(&second, "/s");
		CHECK_EQ(rig_run(), FAKE_IDLE);
		CHECK(front_get(&second, VHOST_USER_GET_FEATURES) != 0);
		front_hang_up(&second);
		expect_nothing_left();
	}
}

CASE(hanging_up_waits_for_io)
{
	struct front second;

	start();
	stub.hold = true;
	front_start(&front, "/s", 2, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	front_hang_up(&front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSING);
	CHECK_EQ(fake_open_maps(), 1);
	front_connect(&second, "/s");
	front_send(&second, VHOST_USER_GET_FEATURES, 0, NULL, 0, -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSING);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_open_maps(), 0);
	CHECK(front_get(&second, VHOST_USER_GET_FEATURES) != 0);
}

CASE(memory_that_was_taken_back_closes_the_connection)
{
	start();
	front_start(&front, "/s", 1, 0);
	fake_truncate(front.mem_fd, FRONT_BYTES / 2);
	front_kick(&front, 0);
	CHECK(fake_log_has("it took back memory that it shares"));
	expect_nothing_left();
}

CASE(an_inflight_buffer_that_was_taken_back_closes_the_connection)
{
	struct vhost_user_inflight inflight = { 4096, 0, 1, 16, 0 };
	int fd;

	start();
	front_start(&front, "/s", 1, 0);
	fd = fake_memory_new(4096);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof(inflight), fd), 0);
	fake_truncate(fd, 0);
	front_kick(&front, 0);
	expect_nothing_left();
}

CASE(out_of_descriptors_it_accepts_later)
{
	start();
	fake.fail_at[FAKE_ACCEPT] = 1;
	fake_log_clear();
	front_connect(&front, "/s");
	front_send(&front, VHOST_USER_GET_FEATURES, 0, NULL, 0, -1);
	fake.end_ns = fake.now_ns + 500 * MS;
	(void)rig_run();
	CHECK(fake_log_has("cannot accept a connection yet"));
	CHECK_EQ(fake.log_lines, 1);
	fake.end_ns = 0;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(front_get(&front, VHOST_USER_GET_FEATURES) != 0);
}

CASE(a_connection_that_cannot_be_watched_is_closed)
{
	start();
	fake.fail_at[FAKE_WAIT_ADD] = fake.calls[FAKE_WAIT_ADD] + 1;
	front_connect(&front, "/s");
	expect_nothing_left();
	front_start(&front, "/s", 1, 0);
	expect_service(0);
}

/* ---- the ways to be reached ---- */

CASE(a_listening_descriptor)
{
	struct port_socket_id id;

	fake_reset(1);
	CHECK_EQ(port_listen("/inherited", &id), 100);
	CHECK_EQ(rig_stub_at(1, false, "--fd=100"), FAKE_IDLE);
	front_start(&front, "/inherited", 1, 0);
	expect_service(0);
	front_hang_up(&front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	front_start(&front, "/inherited", 1, 0);
	expect_service(0);
}

CASE(a_connected_descriptor_ends_the_process_with_it)
{
	int pair[2];

	fake_reset(1);
	fake_socketpair(pair);
	CHECK_EQ(pair[0], 100);
	CHECK_EQ(rig_stub_at(1, false, "--fd=100"), FAKE_IDLE);
	front.fd = pair[1];
	CHECK(front_get(&front, VHOST_USER_GET_FEATURES) != 0);
	fake_close(pair[1]);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 0);
}

CASE(a_client_connects_again_and_again)
{
	int listener;

	fake_reset(1);
	fake.end_ns = fake.now_ns + 5000 * MS;
	CHECK_EQ(rig_stub_at(1, false, "--socket-path=/c --client"), FAKE_TIME);
	CHECK_EQ(fake.log_lines, 1); /* one line for all these failures */
	CHECK(fake.calls[FAKE_CONNECT] > 5 && fake.calls[FAKE_CONNECT] < 12);
	listener = fake_listen("/c");
	for (unsigned round = 0; round < 3; round++) {
		fake.end_ns = 0;
		CHECK_EQ(rig_run(), FAKE_IDLE);
		front.fd = fake_accept(listener);
		CHECK(front.fd >= 0);
		CHECK(front_get(&front, VHOST_USER_GET_FEATURES) != 0);
		fake_close(front.fd);
	}
}

CASE(what_cannot_be_served_is_said)
{
	fake_reset(1);
	fake.fail_at[FAKE_LISTEN] = 1;
	CHECK_EQ(rig_stub_at(1, false, "--socket-path=/s"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("vubox: stub: /s: cannot serve: "));
}

CASE(a_descriptor_that_is_no_socket)
{
	fake_reset(1);
	CHECK_EQ(rig_stub_at(1, false, "--fd=100"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("--fd=100: no unix stream socket: "));
}

CASE(watches_that_fail_at_the_start)
{
	fake_reset(1);
	fake.fail_at[FAKE_WAIT_ADD] = 2;
	CHECK_EQ(rig_stub_at(1, false, "--socket-path=/s"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("cannot wait for events: "));
}

/* ---- changes of the configuration ---- */

static void change(void)
{
	stub.grown = true;
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

CASE(a_front_end_is_told_when_it_starts_a_ring)
{
	int pair[2];
	char byte[12];

	start();
	front_connect(&front, "/s");
	front_negotiate(&front, 0);
	fake_socketpair(pair);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]), 0);
	change();
	CHECK_EQ(fake_recv(pair[0], byte, 12, NULL), -EAGAIN);
	front_share(&front);
	front_ring(&front, 0, 16);
	CHECK_EQ(fake_recv(pair[0], byte, 12, NULL), 12);
	front_ring(&front, 1, 16);
	CHECK_EQ(fake_recv(pair[0], byte, 12, NULL), -EAGAIN);
}

CASE(looking_again_waits_for_io)
{
	start();
	stub.hold = true;
	front_start(&front, "/s", 1, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	change();
	CHECK_EQ(stub.looked, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	CHECK_EQ(stub.taken, 1);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(stub.looked, 1);
	CHECK_EQ(stub.taken, 2);
}

/* ---- the end ---- */

CASE(sigterm_ends_it)
{
	start();
	front_start(&front, "/s", 1, 0);
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 0);
}

static bool finish_when_idle(int64_t timeout_ns)
{
	(void)timeout_ns;
	if (stub.held_count == 0)
		return false;
	stub_finish();
	return true;
}

CASE(sigterm_waits_for_io_and_publishes_it)
{
	start();
	stub.hold = true;
	front_start(&front, "/s", 1, 0);
	for (unsigned i = 0; i < 2; i++)
		driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	fake_signal(PORT_SIGNAL_END);
	fake.on_idle = finish_when_idle;
	fake_notify_signal(front.kick[0]);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(driver_used_count(&front.rings[0]), 2);
	CHECK_EQ(stub.taken, 2);
}

CASE(sigterm_does_not_wait_for_ever)
{
	uint64_t before;

	start();
	stub.hold = true;
	front_start(&front, "/s", 1, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	before = fake.now_ns;
	fake_signal(PORT_SIGNAL_END);
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK(fake_log_has("ending without it"));
	CHECK(fake.now_ns - before < 2 * CONFIG_DRAIN_MS * MS);
}
