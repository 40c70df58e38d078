/* src/core/session.c: successors that wait their turn, and ends in the middle of something. */
#include <errno.h>

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "unit.h"

#define MS 1000000ull

static struct front front, second;

/* One ring, with one request that the device holds. */
static void start_held(void)
{
	rig_stub(1, false);
	stub.hold = true;
	front_start(&front, "/s", 1, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	CHECK_EQ(stub.held_count, 1);
}

static void ask_base(void)
{
	struct vhost_user_vring_state state = { 0, 0 };

	front_send(&front, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), -1);
}

/* A second front-end connects and asks. */
static void succeed(void)
{
	front_connect(&second, "/s");
	front_send(&second, VHOST_USER_GET_FEATURES, 0, NULL, 0, -1);
}

static int answer_of(struct front *f)
{
	uint64_t value;
	uint32_t request;

	return front_reply(f, &request, &value, sizeof(value), NULL);
}

static void expect_successor_waits(void)
{
	CHECK_EQ(answer_of(&second), FRONT_SILENT);
	CHECK(!rig_device(0)->session.endpoint.watched);
	CHECK(!fake_log_has("turned away"));
}

/* Runs for a while: a reply that waits is tried again and again. */
static void run_a_while(void)
{
	fake.end_ns = fake.now_ns + 20 * MS;
	CHECK_EQ(rig_run(), FAKE_TIME);
	fake.end_ns = 0;
}

/* ---- a successor while it cannot be told if the front-end is still there ---- */

CASE(the_next_one_waits_while_a_message_does)
{
	start_held();
	ask_base();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(rig_device(0)->session.pausing);
	succeed();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect_successor_waits();
	front_hang_up(&front);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(answer_of(&second), 8);
}

CASE(the_next_one_waits_while_a_reply_does)
{
	rig_stub(1, false);
	front_connect(&front, "/s");
	fake.socket_room = 10;
	front_send(&front, VHOST_USER_GET_FEATURES, 0, NULL, 0, -1);
	run_a_while();
	CHECK(rig_device(0)->session.replying);
	succeed();
	run_a_while();
	expect_successor_waits();
	front_hang_up(&front);
	fake.socket_room = 100;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(answer_of(&second), 8);
}

CASE(the_next_one_is_turned_away_once_the_first_is_known_to_be_there)
{
	start_held();
	ask_base();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	succeed();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect_successor_waits();
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(answer_of(&second), FRONT_GONE);
	CHECK(fake_log_has("turned away a second front-end"));
	CHECK_EQ(answer_of(&front), 8);
}

/* ---- connections that go before they are accepted ---- */

CASE(a_connection_that_was_not_there_after_all)
{
	static const int errors[] = { -EAGAIN, -ECONNABORTED };

	rig_stub(1, false);
	fake_log_clear();
	for (unsigned i = 0; i < countof(errors); i++) {
		fake.fail_error = errors[i];
		fake.fail_at[FAKE_ACCEPT] = fake.calls[FAKE_ACCEPT] + 1;
		front_connect(&front, "/s");
		CHECK(front_get(&front, VHOST_USER_GET_FEATURES) != 0);
		CHECK(fake.failed == i + 1 && fake.log_lines == 0);
		CHECK(!rig_device(0)->session.endpoint.retry.set);
		front_hang_up(&front);
		CHECK_EQ(rig_run(), FAKE_IDLE);
	}
}

/* ---- messages that waited ---- */

CASE(a_reply_to_a_message_that_waited_may_wait_itself)
{
	start_held();
	ask_base();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	fake.socket_room = 10;
	stub_finish();
	run_a_while();
	CHECK(rig_device(0)->session.replying && !rig_device(0)->session.reading);
	fake.socket_room = 100;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(answer_of(&front), 8);
	CHECK(front_get(&front, VHOST_USER_GET_FEATURES) != 0);
}

/* Behind a message that has waited. */
static void expect_closed_unwatched(uint32_t request)
{
	struct vhost_user_vring_state state = { 0, 0 };

	start_held();
	front_send(&front, request, 0, &state, sizeof(state), -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(rig_device(0)->session.pausing);
	fake.fail_at[FAKE_WAIT_ADD] = fake.calls[FAKE_WAIT_ADD] + 1;
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake_log_has("it cannot be watched"));
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSED);
}

CASE(a_connection_that_cannot_be_watched_again_is_closed)
{
	expect_closed_unwatched(VHOST_USER_SET_VRING_BASE);
}

CASE(a_connection_that_cannot_be_watched_behind_a_reply_is_closed)
{
	expect_closed_unwatched(VHOST_USER_GET_VRING_BASE);
}

/* ---- the end of the process ---- */

static enum session_state state_then;

/* The request that is held is done when all else is. */
static bool finish_when_idle(int64_t timeout_ns)
{
	(void)timeout_ns;
	if (stub.held_count == 0)
		return false;
	state_then = rig_device(0)->session.state;
	CHECK(!rig_device(0)->session.endpoint.watched);
	stub_finish();
	return true;
}

static void expect_end(void)
{
	fake_signal(PORT_SIGNAL_END);
	fake.on_idle = finish_when_idle;
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 0);
	CHECK(stub.held_count == 0 && !fake_log_has("ending without it"));
}

CASE(sigterm_behind_a_message_that_waits)
{
	start_held();
	ask_base();
	succeed(); /* so that nobody listens to the end */
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect_end();
	CHECK_EQ(driver_used_count(&front.rings[0]), 1);
	CHECK_EQ(answer_of(&front), FRONT_SILENT); /* its ring has not stopped: the process has */
}

CASE(sigterm_with_a_successor_in_the_backlog)
{
	start_held();
	front_hang_up(&front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	succeed();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect_successor_waits();
	expect_end();
	CHECK_EQ(answer_of(&second), FRONT_SILENT);
}

CASE(who_comes_with_the_end_is_not_served)
{
	rig_stub(1, false);
	fake_signal(PORT_SIGNAL_END);
	succeed();
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(answer_of(&second), FRONT_GONE);
}

CASE(a_client_does_not_connect_again_at_the_end)
{
	int listener;

	fake_reset(1);
	listener = fake_listen("/c");
	CHECK_EQ(rig_stub_at(1, false, "--socket-path=/c --client"), FAKE_IDLE);
	stub.hold = true;
	front_adopt(&front, fake_accept(listener), 1, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	front_hang_up(&front);
	expect_end();
	CHECK_EQ(state_then, SESSION_CLOSING);
	CHECK(!rig_device(0)->session.endpoint.retry.set);
	CHECK_EQ(fake.calls[FAKE_CONNECT], 1);
}

/* ---- what nobody asks for ---- */

CASE(an_end_that_came_before_says_nothing)
{
	rig_stub(1, false);
	front_connect(&front, "/s");
	CHECK_EQ(rig_run(), FAKE_IDLE);
	fake_log_clear();
	session_close(&rig_device(0)->session, "once");
	session_close(&rig_device(0)->session, "twice");
	CHECK_EQ(fake.log_lines, 1);
	CHECK(fake_log_has("once"));
}

CASE(an_endpoint_of_no_kind)
{
	struct session s = { .endpoint = { .kind = ENDPOINT_NONE } };

	fake_reset(1);
	CHECK_EQ(session_serve(&s), -EINVAL);
	s.endpoint.kind = ENDPOINT_CLIENT + 1;
	CHECK_EQ(session_serve(&s), -EINVAL);
}

CASE(a_connected_descriptor_that_cannot_be_watched)
{
	int pair[2];

	fake_reset(1);
	fake_socketpair(pair);
	fake.fail_at[FAKE_WAIT_ADD] = 3; /* behind signals and I/O */
	CHECK_EQ(rig_stub_at(1, false, "--fd=100"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("it cannot be watched"));
}
