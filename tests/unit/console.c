/* src/dev/console.c, console_port.c: a console's bytes. */
#include "console.h"

static uint8_t much[200000];

CASE(a_pseudo_terminal)
{
	fake_reset(1);
	start("vubox console -s /s", 2);
	CHECK_TEXT(fake.log, "vubox: console: console is at /dev/pts/0\n");
	say(TX, "login: ");
	expect(fake_pty(0), "login: ");
	CHECK_EQ(ask(RX, 0, 64), -1);
	type(fake_pty(0), "root\n");
	CHECK_EQ(late(RX), 5);
	CHECK_BYTES(front_data(&front, 0), "root\n", 5);
}

CASE(a_link_to_it)
{
	fake_reset(1);
	start("vubox console -s /s --pty-link=/run/console", 2);
	CHECK_TEXT(fake.link, "/run/console -> /dev/pts/0");
}

CASE(a_link_in_the_backend)
{
	fake_reset(1);
	start("vubox console -s /s --backend=pty:/run/other", 2);
	CHECK_TEXT(fake.link, "/run/other -> /dev/pts/0");
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
}

CASE(input_before_the_guest_wants_it)
{
	int fd;

	start_unix("");
	fd = client("/c");
	type(fd, "abcdefgh");
	CHECK_EQ(ask(RX, 0, 3), 3);
	CHECK_BYTES(front_data(&front, 0), "abc", 3);
	CHECK_EQ(ask(RX, 0, 3), 3);
	CHECK_BYTES(front_data(&front, 0), "def", 3);
	CHECK_EQ(ask(RX, 0, 64), 2);
	CHECK_EQ(ask(RX, 0, 64), -1);
}

/* More than the store has room for: all of it comes, and nothing spins meanwhile. */
CASE(much_input)
{
	uint32_t have = 0;
	int fd;

	start_unix("");
	fd = client("/c");
	for (uint32_t i = 0; i < sizeof(much); i++)
		much[i] = (uint8_t)(i * 7 + i / 251);
	CHECK_OK(fake_send(fd, much, 50000, NULL, 0));
	(void)rig_run();
	CHECK(fake.calls[FAKE_STREAM_READ] < 10);
	while (have < 50000) {
		int n = ask(RX, 0, 1500);

		CHECK(n > 0 && n <= 1500);
		CHECK_BYTES(front_data(&front, 0), much + have, n);
		have += (uint32_t)n;
	}
	CHECK_EQ(ask(RX, 0, 100), -1);
	CHECK(fake.calls[FAKE_STREAM_READ] < 100);
}

CASE(one_client_after_the_other)
{
	int first, second;

	start_unix("");
	first = client("/c");
	second = client("/c"); /* it waits */
	say(TX, "one");
	expect(first, "one");
	expect(second, "");
	type(first, "last words");
	fake_close(first);
	(void)rig_run();
	CHECK_EQ(ask(RX, 0, 64), 10);
	say(TX, "two");
	expect(second, "two");
	type(second, "hello");
	CHECK_EQ(ask(RX, 0, 64), 5);
	fake_close(second);
	(void)rig_run();
	say(TX, "nobody hears this yet");
	expect(client("/c"), "nobody hears this yet");
}

CASE(a_client_that_goes_while_it_is_written_to)
{
	int fd;

	start_unix("");
	fd = client("/c");
	fake.fail_at[FAKE_STREAM_WRITE] = 1;
	fake.fail_error = -EPIPE;
	say(TX, "abc");
	CHECK_EQ(fake_peek(fd), 0);
	expect(client("/c"), "abc"); /* what a console said last is for the next one */
}

CASE(a_slow_reader_loses_the_oldest)
{
	static char got[1 << 20];
	int fd, n;

	start_unix("");
	fd = client("/c");
	fake.socket_room = 100;
	for (uint32_t i = 0; i < 100000; i++)
		much[i] = (uint8_t)(i % 251);
	CHECK(tell(TX, much, 100));
	for (uint32_t at = 100; at < 100000; at += 900)
		CHECK(tell(TX, much + at, 900));
	CHECK(rig_device(0)->queues[TX].counts.errors > 0);
	fake.socket_room = 1 << 20;
	n = fake_recv(fd, got, sizeof(got), NULL);
	CHECK_EQ(n, 100);
	CHECK_BYTES(got, much, 100);
	(void)rig_run();
	n = fake_recv(fd, got, sizeof(got), NULL);
	CHECK_EQ(n, CONFIG_CONSOLE_OUTPUT);
	CHECK_BYTES(got, much + 100000 - n, n);
	say(TX, "and on");
	expect(fd, "and on");
}

CASE(a_guest_that_waits_for_a_slow_reader)
{
	static uint8_t got[70000];
	uint32_t have = 0;
	unsigned rounds = 0;
	int fd;

	start_unix("--backpressure");
	fd = client("/c");
	fake.socket_room = 1000;
	for (uint32_t i = 0; i < sizeof(got); i++)
		much[i] = (uint8_t)(i % 253);
	for (uint32_t at = 0; at < 70000; at += 10000) {
		memcpy(front_data(&front, 0x8000 + at), much + at, 10000);
		driver_add(&front.rings[TX],
			&(struct buffer){ front_addr(0x8000 + at), 10000, false }, 1);
	}
	front_kick(&front, TX);
	CHECK(driver_used_count(&front.rings[TX]) < 3);
	while (have < sizeof(got) && rounds++ < 1000) {
		int n = fake_recv(fd, got + have, sizeof(got) - have, NULL);

		have += n > 0 ? (uint32_t)n : 0;
		(void)rig_run();
	}
	CHECK_EQ(have, sizeof(got));
	CHECK_BYTES(got, much, sizeof(got));
	CHECK_EQ(driver_used_count(&front.rings[TX]), 7);
	CHECK_EQ(rig_device(0)->queues[TX].counts.errors, 0);
}

/* A request of more than one turn, to a reader that is fast, and to one that is not. */
CASE(a_long_request)
{
	static uint8_t got[300000];
	uint32_t id, len;
	int fd;

	start_unix("");
	fd = client("/c");
	fake.socket_room = 1 << 20;
	for (uint32_t i = 0; i < 200000; i++)
		front_data(&front, 0)[i] = (char)(i % 241);
	driver_add(&front.rings[TX], &(struct buffer){ front_addr(0), 200000, false }, 1);
	front_kick(&front, TX);
	CHECK(driver_used(&front.rings[TX], &id, &len));
	CHECK_EQ(fake_recv(fd, got, sizeof(got), NULL), 200000);
	CHECK_BYTES(got, front_data(&front, 0), 200000);
	CHECK_EQ(rig_device(0)->queues[TX].counts.errors, 0);
	fake.socket_room = 10;
	driver_add(&front.rings[TX], &(struct buffer){ front_addr(0), 200000, false }, 1);
	front_kick(&front, TX);
	CHECK(driver_used(&front.rings[TX], &id, &len));
	CHECK(rig_device(0)->queues[TX].counts.errors > 0);
}

/* Stopping its queue does not wait for the reader. */
CASE(a_held_request_does_not_hold_the_front_end)
{
	struct vhost_user_vring_state vring = { TX, 0 };
	int fd;

	start_unix("--backpressure");
	rig_patience_ns = 100000000;
	fd = client("/c");
	fake.socket_room = 100;
	driver_add(&front.rings[TX], &(struct buffer){ front_addr(0), 200000, false }, 1);
	front_kick(&front, TX);
	CHECK_EQ(driver_used_count(&front.rings[TX]), 0);
	CHECK_EQ(device_in_flight(rig_device(0)), 1);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_VRING_BASE, &vring, sizeof(vring), sizeof(vring),
			 -1, NULL),
		sizeof(vring));
	CHECK_EQ(vring.num, 1);
	CHECK_EQ(driver_used_count(&front.rings[TX]), 1);
	fake_close(fd);
}

/* And with nobody there at all, it waits in the ring. */
CASE(a_guest_that_waits_for_a_reader_to_come)
{
	start_unix("--backpressure");
	CHECK(tell(TX, "first", 5));
	CHECK(!tell(TX, "second", 6));
	expect(client("/c"), "firstsecond");
	CHECK_EQ(late(TX), 0);
}

CASE(buffers_of_the_wrong_direction)
{
	start_unix("");
	driver_add(&front.rings[TX], &(struct buffer){ front_addr(0), 16, true }, 1);
	front_kick(&front, TX);
	CHECK(fake_log_has("a writable buffer to a console's transmit queue"));
	(void)client("/c");
	type(fake_connect("/c"), "unread");
	driver_add(&front.rings[RX], &(struct buffer){ front_addr(0), 16, false }, 1);
	front_kick(&front, RX);
	CHECK(!fake_log_has("receive queue")); /* it is not looked at before there is input */
}

CASE(a_readable_buffer_for_input)
{
	start_unix("");
	type(client("/c"), "input");
	driver_add(&front.rings[RX], &(struct buffer){ front_addr(0), 16, false }, 1);
	front_kick(&front, RX);
	CHECK(fake_log_has("a readable buffer to a console's receive queue"));
}

CASE(buffers_that_are_nowhere)
{
	int fd;

	start_unix("");
	fd = client("/c");
	type(fd, "input");
	driver_add(&front.rings[RX], &(struct buffer){ 1ull << 40, 16, true }, 1);
	front_kick(&front, RX);
	CHECK_EQ(late(RX), 0);
	CHECK_EQ(ask(RX, 0, 0), 0);
	CHECK_EQ(ask(RX, 0, 16), 5);
	driver_add(&front.rings[TX], &(struct buffer){ 1ull << 40, 16, false }, 1);
	front_kick(&front, TX);
	CHECK_EQ(late(TX), 0);
	expect(fd, "");
	CHECK_EQ(rig_device(0)->queues[TX].counts.errors, 1);
}
