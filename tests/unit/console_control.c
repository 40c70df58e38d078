/* src/dev/console_control.c: named ports, and what driver and device tell each other of them. */
#include "console.h"

static const char line[] = "vubox console -s /s --backend=unix:/c --port=a:unix:/a "
			   "--port=org.b:unix:/b";

/* With the queues of the console, control, and port a. */
static void serve(void)
{
	fake_reset(1);
	CHECK_EQ(rig_main(line), FAKE_IDLE);
	front_start(&front, "/s", 6, VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_MULTIPORT);
}

static void quiet(void)
{
	struct virtio_console_control c;
	char more[256];

	CHECK_EQ(told(&c, more), -1);
}

/* All that a driver hears at first, and port a is open to it. */
static void begin(void)
{
	serve();
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (uint32_t i = 0; i < 3; i++)
		expect_told(i, VIRTIO_CONSOLE_DEVICE_ADD, 1, "");
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_told(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_told(1, VIRTIO_CONSOLE_PORT_NAME, 1, "a");
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	control(2, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_told(2, VIRTIO_CONSOLE_PORT_NAME, 1, "org.b");
	expect_told(2, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

CASE(what_it_offers)
{
	struct vhost_user_config c = { 0, 12, 0, { 0 } };

	serve();
	CHECK_EQ(front_get(&front, VHOST_USER_GET_FEATURES) & 7,
		VIRTIO_CONSOLE_F_MULTIPORT | VIRTIO_CONSOLE_F_EMERG_WRITE);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_QUEUE_NUM), 8);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_CONFIG, &c, 24, 24, -1, NULL), 24);
	CHECK_BYTES(c.bytes, "\0\0\0\0\3\0\0\0\0\0\0\0", 12);
}

CASE(the_beginning)
{
	begin();
	quiet();
}

CASE(the_size_of_a_console_with_ports)
{
	fake_reset(1);
	fake.cols = 80;
	fake.rows = 25;
	CHECK_EQ(rig_main("vubox console -s /s --port=a:unix:/a"), FAKE_IDLE);
	front_start(&front, "/s", 6, VIRTIO_F_VERSION_1);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_told(0, VIRTIO_CONSOLE_DEVICE_ADD, 1, "");
	expect_told(1, VIRTIO_CONSOLE_DEVICE_ADD, 1, "");
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_told(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
	CHECK_EQ(ask(CONTROL_RX, 0, 64), 12);
	CHECK_BYTES(front_data(&front, 0), "\0\0\0\0\5\0\1\0\x50\0\x19\0", 12);
	fake.cols = 100;
	fake_signal(PORT_SIGNAL_AGAIN);
	(void)rig_run();
	CHECK_EQ(ask(CONTROL_RX, 0, 64), 12);
	CHECK_BYTES(front_data(&front, 0), "\0\0\0\0\5\0\1\0\x64\0\x19\0", 12);
	quiet();
}

CASE(bytes_of_a_named_port)
{
	int fd;

	begin();
	fd = client("/a");
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	say(TX1, "to the host");
	expect(fd, "to the host");
	type(fd, "to the guest");
	CHECK_EQ(ask(RX1, 0, 64), 12);
	CHECK_BYTES(front_data(&front, 0), "to the guest", 12);
	CHECK_EQ(ask(RX, 0, 64), -1);
}

CASE(the_host_opens_and_closes)
{
	int fd;

	begin();
	fd = client("/a");
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	fake_close(fd);
	(void)rig_run();
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	/* What is not its is not for the next one. */
	say(TX1, "to nobody");
	fd = client("/a");
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	/* As it is, not as it was. */
	fake_close(fd);
	(void)rig_run();
	(void)client("/a");
	(void)client("/c");
	(void)client("/b");
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	expect_told(2, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	quiet();
}

CASE(a_named_port_gives_nothing_of_one_client_to_the_next)
{
	int fd;

	begin();
	fd = client("/a");
	fake.socket_room = 4;
	say(TX1, "secret");
	fake_close(fd);
	(void)rig_run();
	fake.socket_room = 100;
	expect(client("/a"), "");
}

/* As long as the driver has not opened it, its input waits. */
CASE(the_guest_opens_and_closes)
{
	int fd;

	begin();
	fd = client("/a");
	type(fd, "one");
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	CHECK_EQ(ask(RX1, 0, 64), -1);
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	CHECK_EQ(late(RX1), 3);
}

CASE(ready_again)
{
	begin();
	for (unsigned i = 0; i < 100; i++)
		control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	quiet();
	for (unsigned i = 0; i < 100; i++)
		control(1, VIRTIO_CONSOLE_PORT_READY, 1);
	CHECK_EQ(late(CONTROL_RX), 9); /* in the buffer of before */
	expect_told(1, VIRTIO_CONSOLE_PORT_NAME, 1, "a");
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	quiet();
}

CASE(messages_that_say_nothing)
{
	static const struct {
		uint32_t port;
		uint16_t event, value;
	} rows[] = {
		{ 0, VIRTIO_CONSOLE_DEVICE_READY, 0 },
		{ 3, VIRTIO_CONSOLE_PORT_READY, 1 },
		{ UINT32_MAX, VIRTIO_CONSOLE_PORT_READY, 1 },
		{ 3, VIRTIO_CONSOLE_PORT_OPEN, 1 },
		{ 0x80000000, VIRTIO_CONSOLE_PORT_OPEN, 0 },
		{ 1, VIRTIO_CONSOLE_PORT_READY, 0 },
		{ 1, VIRTIO_CONSOLE_DEVICE_ADD, 1 },
		{ 1, VIRTIO_CONSOLE_DEVICE_REMOVE, 1 },
		{ 1, VIRTIO_CONSOLE_CONSOLE_PORT, 1 },
		{ 1, VIRTIO_CONSOLE_RESIZE, 1 },
		{ 1, VIRTIO_CONSOLE_PORT_NAME, 1 },
		{ 1, 8, 1 },
		{ 1, 65535, 65535 },
	};

	begin();
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		control(rows[i].port, rows[i].event, rows[i].value);
	CHECK(tell(CONTROL_TX, "", 0));
	CHECK(tell(CONTROL_TX, "\1\0\0\0\6\0\0", 7)); /* too short to close port a */
	CHECK(tell(CONTROL_TX, "\1\0\0\0\6\0\1\0 and more", 17));
	type(client("/a"), "works");
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	quiet();
	CHECK_EQ(ask(RX1, 0, 64), 5);
}

CASE(buffers_that_are_too_short_for_a_message)
{
	serve();
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	CHECK_EQ(ask(CONTROL_RX, 0, 7), 0);
	CHECK_EQ(ask(CONTROL_RX, 0, 0), 0);
	expect_told(0, VIRTIO_CONSOLE_DEVICE_ADD, 1, "");
	expect_told(1, VIRTIO_CONSOLE_DEVICE_ADD, 1, "");
	expect_told(2, VIRTIO_CONSOLE_DEVICE_ADD, 1, "");
	control(2, VIRTIO_CONSOLE_PORT_READY, 1);
	CHECK_EQ(ask(CONTROL_RX, 0, 12), 0); /* for its name */
	expect_told(2, VIRTIO_CONSOLE_PORT_NAME, 1, "org.b");
}

CASE(buffers_of_the_wrong_direction)
{
	begin();
	(void)client("/a");
	driver_add(&front.rings[CONTROL_RX], &(struct buffer){ front_addr(0), 16, false }, 1);
	front_kick(&front, CONTROL_RX);
	CHECK(fake_log_has("a readable buffer to a console's control receive queue"));
	driver_add(&front.rings[CONTROL_TX], &(struct buffer){ front_addr(0), 16, true }, 1);
	front_kick(&front, CONTROL_TX);
	CHECK(fake_log_has("a writable buffer to a console's control transmit queue"));
}

/* A driver that goes on after the front-end has come again says nothing anew: what was open is. */
CASE(a_driver_that_goes_on)
{
	int fd;

	begin();
	fd = client("/a");
	front_hang_up(&front);
	(void)rig_run();
	front_start(&front, "/s", 6, VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_MULTIPORT);
	type(fd, "on");
	CHECK_EQ(ask(RX1, 0, 64), 2);
	say(TX1, "and on");
	expect(fd, "and on");
	quiet();
}

/* A front-end comes with what an earlier process was doing. */
static void resume(void)
{
	struct vhost_user_inflight inflight = { .num_queues = rig_device(0)->queue_count,
		.queue_size = 16 };
	int fd;

	CHECK(front_call(&front, VHOST_USER_GET_INFLIGHT_FD, &inflight, sizeof(inflight),
		      sizeof(inflight), -1, &fd) > 0);
	front_hang_up(&front);
	(void)rig_run();
	front_start(&front, "/s", 6, VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_MULTIPORT);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof(inflight), fd), 0);
}

/* After kill -9 nobody is there any more, and the driver is told so. */
CASE(an_earlier_life)
{
	serve();
	resume();
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	expect_told(2, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	quiet();
}

/* Nor has the window the size that it had; and it may change again. */
CASE(the_size_after_an_earlier_life)
{
	fake_reset(1);
	fake.cols = 80;
	fake.rows = 25;
	CHECK_EQ(rig_main("vubox console -s /s --port=a:unix:/a"), FAKE_IDLE);
	front_start(&front, "/s", 6, VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_MULTIPORT);
	resume();
	CHECK_EQ(ask(CONTROL_RX, 0, 64), 12);
	CHECK_BYTES(front_data(&front, 0), "\0\0\0\0\5\0\1\0\x50\0\x19\0", 12);
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	fake.cols = 100;
	fake_signal(PORT_SIGNAL_RESIZE);
	(void)rig_run();
	CHECK_EQ(ask(CONTROL_RX, 0, 64), 12);
	CHECK_BYTES(front_data(&front, 0), "\0\0\0\0\5\0\1\0\x64\0\x19\0", 12);
	quiet();
}

CASE(a_reset)
{
	begin();
	(void)client("/a"); /* not told any more */
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1), 0);
	front_hang_up(&front);
	(void)rig_run();
	front_start(&front, "/s", 6, VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_MULTIPORT);
	quiet();
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	CHECK_EQ(late(CONTROL_RX), 8);
}

/* What an earlier driver has closed is open, as long as its successor has said nothing. */
CASE(a_reset_opens_ports)
{
	int fd;

	begin();
	fd = client("/a");
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1), 0);
	front_hang_up(&front);
	(void)rig_run();
	front_start(&front, "/s", 6, VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_MULTIPORT);
	type(fd, "one");
	CHECK_EQ(ask(RX1, 0, 64), 3);
}

CASE(more_ports_than_there_is_room_for)
{
	char text[1024] = "vubox console -s /s";

	fake_reset(1);
	for (unsigned i = 0; i <= CONFIG_CONSOLE_NAMED; i++)
		strcat(text, " --port=a:file:/f");
	CHECK_EQ(rig_main(text), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 2);
	CHECK_TEXT(fake.log,
		"vubox: console: --port: more ports than there is room for (16, 32 in all)\n");
}
