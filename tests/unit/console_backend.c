/* src/dev/console.c, console_port.c: backends, and the command line. */
#include "console.h"

CASE(standard_input_and_output)
{
	fake_reset(1);
	fake.cols = 80;
	fake.rows = 25;
	start("vubox console -s /s --backend=stdio", 2);
	CHECK(fake.raw);
	say(TX, "hello");
	expect(fake_stdio(1), "hello");
	CHECK_OK(fake_send(fake_stdio(0), "typed", 5, NULL, 0));
	CHECK_EQ(ask(RX, 0, 64), 5);
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK(!fake.raw);
	CHECK_EQ(fake_peek(fake_stdio(1)), 0); /* ours is closed */
}

CASE(standard_input_ends)
{
	fake_reset(1);
	start("vubox console -s /s --backend=stdio", 2);
	CHECK(!fake.raw);
	fake_close(fake_stdio(0));
	CHECK_EQ(ask(RX, 0, 64), -1);
	CHECK(fake.calls[FAKE_STREAM_READ] < 4);
	say(TX, "still here");
	expect(fake_stdio(1), "still here");
	fake_close(fake_stdio(1));
	say(TX, "nobody is");
	say(TX, "nobody is");
}

/* --backpressure is for who may read yet: nobody does, when this fails. */
CASE(standard_output_fails_for_good)
{
	uint32_t id, len;

	fake_reset(1);
	start("vubox console -s /s --backend=stdio --backpressure", 2);
	fake_close(fake_stdio(1));
	for (unsigned i = 0; i < 5; i++) {
		driver_add(&front.rings[TX], &(struct buffer){ front_addr(0), 100000, false }, 1);
		front_kick(&front, TX);
		CHECK(driver_used(&front.rings[TX], &id, &len));
	}
}

CASE(one_port_has_standard_input)
{
	fake_reset(1);
	CHECK_EQ(rig_main("vubox console -s /s --backend=stdio -- console -s /t --backend=stdio"),
		FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 2);
	CHECK(fake_log_has("console2: console: standard input and output are another port's"));
}

CASE(the_size_of_the_window)
{
	struct vhost_user_config c = { 0, 12, 0, { 0 } };
	int channel[2];

	fake_reset(1);
	fake.cols = 80;
	fake.rows = 25;
	CHECK_EQ(rig_main("vubox console -s /s --backend=stdio"), FAKE_IDLE);
	front_connect(&front, "/s");
	CHECK_EQ(front_get(&front, VHOST_USER_GET_FEATURES) & 7,
		VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_EMERG_WRITE);
	front_negotiate(&front, VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_SIZE);
	front_share(&front);
	front_ring(&front, 0, 16);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_CONFIG, &c, 24, 24, -1, NULL), 24);
	CHECK_BYTES(c.bytes, "\x50\0\x19\0\1\0\0\0\0\0\0\0", 12);
	fake_socketpair(channel);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, channel[0]), 0);
	fake_signal(PORT_SIGNAL_RESIZE);
	(void)rig_run();
	CHECK_EQ(fake_peek(channel[1]), -EAGAIN); /* it is as it was */
	fake.cols = 132;
	fake_signal(PORT_SIGNAL_RESIZE);
	(void)rig_run();
	CHECK_EQ(fake_peek(channel[1]), 1);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_CONFIG, &c, 24, 24, -1, NULL), 24);
	CHECK_BYTES(c.bytes, "\x84\0\x19\0", 4);
}

CASE(emergency_writes)
{
	struct vhost_user_config c = { 8, 4, 0, { 'X', 1, 2, 3 } };
	int fd;

	fake_reset(1);
	CHECK_EQ(rig_main("vubox console -s /s --backend=unix:/c"), FAKE_IDLE);
	front_connect(&front, "/s");
	front_negotiate(&front, VIRTIO_F_VERSION_1);
	fd = client("/c");
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 16, -1), 0);
	expect(fd, "X");
	c.flags = VHOST_USER_CONFIG_MIGRATE;
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 16, -1), 0);
	expect(fd, "");
	c.flags = 0;
	for (c.offset = 0; c.offset < 12; c.offset++)
		if (c.offset != 8)
			CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 16, -1), 1);
	c.offset = 8;
	c.size = 5;
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 17, -1), 1);
	expect(fd, "");
}

static void expect_file(const char *path, const char *text)
{
	const struct fake_image *file = fake_image_find(path);

	CHECK((file != NULL) == (text != NULL));
	if (!text)
		return;
	CHECK_EQ(file->size, strlen(text));
	CHECK_BYTES(file->bytes, text, strlen(text));
}

CASE(a_log_file)
{
	fake_reset(1);
	fake_file_new("/log", "before\n");
	start("vubox console -s /s --backend=file --path=/log", 2);
	say(TX, "boot\n");
	say(TX, "login\n");
	expect_file("/log", "before\nboot\nlogin\n");
	CHECK_EQ(ask(RX, 0, 64), -1);
	CHECK_EQ(fake.calls[FAKE_STREAM_READ], 0);
}

CASE(logs_that_are_rotated)
{
	fake_reset(1);
	fake_file_new("/log", "old");
	start("vubox console -s /s --backend=file:/log --rotate=10 --rotate-count=2", 2);
	say(TX, "0123456");
	expect_file("/log", "old0123456");
	expect_file("/log.1", NULL);
	say(TX, "a");
	expect_file("/log", "a");
	expect_file("/log.1", "old0123456");
	say(TX, "bcdefghijklmnopqrstuvwxyz!");
	expect_file("/log", "uvwxyz!");
	expect_file("/log.1", "klmnopqrst");
	expect_file("/log.2", "abcdefghij");
	expect_file("/log.3", NULL);
}

CASE(a_log_that_cannot_be_rotated_is_written_on)
{
	fake_reset(1);
	fake.fail_at[FAKE_LOG_ROTATE] = 1;
	start("vubox console -s /s --backend=file:/log --rotate=4", 2);
	say(TX, "012345");
	expect_file("/log", "012345");
	CHECK(fake_log_has("console: /log: cannot rotate: "));
	fake.fail_at[FAKE_LOG_OPEN] = 2;
	say(TX, "678");
	expect_file("/log.1", "012345678");
	CHECK(fake_log_has("console: /log: cannot open it again: "));
}

CASE(a_log_that_cannot_be_written)
{
	fake_reset(1);
	start("vubox console -s /s --backend=file:/log", 2);
	fake.fail_at[FAKE_STREAM_WRITE] = 1;
	say(TX, "lost");
	CHECK(fake_log_has("console: /log: cannot write: "));
	CHECK_EQ(rig_device(0)->queues[TX].counts.errors, 1);
	say(TX, "kept");
	expect_file("/log", "kept");
}

/* After logrotate(8) has renamed it. */
CASE(a_log_is_opened_again)
{
	unsigned watched;

	fake_reset(1);
	start("vubox console -s /s --backend=file:/log", 2);
	say(TX, "one");
	strcpy(fake_image_find("/log")->path, "/moved");
	say(TX, "two");
	watched = fake.calls[FAKE_WAIT_ADD];
	fake_signal(PORT_SIGNAL_AGAIN);
	(void)rig_run();
	CHECK_EQ(fake.calls[FAKE_WAIT_ADD], watched + 1); /* it may be a named pipe now */
	say(TX, "three");
	expect_file("/moved", "onetwo");
	expect_file("/log", "three");
}

static void fails(enum fake_call call, unsigned at, const char *line, const char *text)
{
	fake_reset(1);
	fake.fail_at[call] = at;
	CHECK_EQ(rig_main(line), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has(text));
	CHECK(!fake.raw);
}

#define FAILS(id, call, at, line, text)                             \
	CASE(id)                                                    \
	{                                                           \
		fails(call, at, "vubox console -s /s " line, text); \
	}

FAILS(no_pseudo_terminal, FAKE_PTY_OPEN, 1, "", "console: cannot open a pseudo-terminal: ")
FAILS(no_standard_input, FAKE_STDIO_OPEN, 1, "--backend=stdio",
	"console: cannot use standard input and output: ")
FAILS(no_log, FAKE_LOG_OPEN, 1, "--backend=file:/l", "console: /l: cannot open: ")
FAILS(no_link, FAKE_LINK, 1, "--backend=pty:/l",
	"console: /l: cannot link it to the pseudo-terminal: ")
FAILS(no_watch, FAKE_WAIT_ADD, 4, "", "console: cannot wait for events: ")
FAILS(no_watch_for_clients, FAKE_WAIT_ADD, 4, "--backend=unix:/c",
	"console: /c: cannot wait for clients: ")
FAILS(no_socket, FAKE_LISTEN, 2, "--backend=unix:/c", "console: /c: cannot listen: ")

/* What was opened before is given back. */
FAILS(no_cage, FAKE_CAGE_SECCOMP, 1, "--sandbox=full --backend=stdio", "no seccomp here")

CASE(a_client_that_cannot_be_accepted_yet)
{
	int fd;

	start_unix("");
	fake.fail_at[FAKE_ACCEPT] = fake.calls[FAKE_ACCEPT] + 1;
	fd = client("/c");
	CHECK(fake_log_has("console: /c: cannot accept: "));
	say(TX, "later");
	expect(fd, "later"); /* rig_run has let the timer come */
}

CASE(a_client_that_cannot_be_watched)
{
	int fd;

	start_unix("");
	fake.fail_at[FAKE_WAIT_ADD] = fake.calls[FAKE_WAIT_ADD] + 1;
	fd = client("/c");
	CHECK(fake_log_has("console: /c: cannot watch a client: "));
	CHECK_EQ(fake_peek(fd), 0);
	say(TX, "next");
	expect(client("/c"), "next");
}

static void wrong(const char *line, const char *text)
{
	fake_reset(1);
	CHECK_EQ(rig_main(line), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 2);
	CHECK_TEXT(fake.log, text);
}

#define WRONG(id, line, text)                             \
	CASE(id)                                          \
	{                                                 \
		wrong("vubox console -s /s " line, text); \
	}

WRONG(no_such_backend, "--backend=tcp:1",
	"vubox: console: --backend: tcp:1: not one of pty[:LINK], stdio, unix:PATH, file:PATH\n")
WRONG(a_file_without_a_path, "--backend=file", "vubox: console: console: it needs a path\n")
WRONG(a_socket_with_an_empty_path, "--backend=unix:", "vubox: console: console: it needs a path\n")
WRONG(stdio_with_a_path, "--backend=stdio:/x", "vubox: console: console: stdio has no path\n")
WRONG(a_path_for_a_pseudo_terminal, "--path=/x",
	"vubox: console: --path is for unix and file, --pty-link for pty\n")
WRONG(a_link_to_a_file, "--backend=file:/x --pty-link=/l",
	"vubox: console: --path is for unix and file, --pty-link for pty\n")
WRONG(two_paths, "--backend=file:/x --path=/y", "vubox: console: the backend has two paths\n")
WRONG(a_port_without_a_backend, "--port=a",
	"vubox: console: --port=a: not NAME:BACKEND[:ARG], NAME of 1 to 34 bytes\n")
WRONG(a_port_without_a_name, "--port=:stdio",
	"vubox: console: --port=:stdio: not NAME:BACKEND[:ARG], NAME of 1 to 34 bytes\n")
WRONG(a_port_without_a_path, "--port=a:unix", "vubox: console: port a: it needs a path\n")
