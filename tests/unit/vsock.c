/* src/dev/vsock*.c: sockets between guest and host. */
#include <errno.h>

#include "vsock_side.h"

/* A connection of the guest to the host's port 80: its unix socket. */
static int connect_guest(uint32_t port)
{
	static int listener = -1;
	int fd;

	if (listener < 0)
		listener = fake_listen("/u_80");
	say(&a, VIRTIO_VSOCK_OP_REQUEST, port, 0);
	fd = fake_accept(listener);
	CHECK(fd >= 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RESPONSE);
	return fd;
}

static void expect_bytes(int fd, const void *bytes, size_t len)
{
	static char have[1 << 18];
	size_t n = 0;

	while (n < len) {
		int part = fake_recv(fd, have + n, len - n, NULL);

		if (part < 0)
			(void)rig_run();
		else
			CHECK(part > 0);
		n += part > 0 ? (size_t)part : 0;
	}
	CHECK(memcmp(have, bytes, len) == 0);
}

CASE(bytes_of_a_guest_and_of_the_host)
{
	int fd;

	serve();
	fd = connect_guest(1);
	say_data(&a, 1, "hello", 5);
	expect_bytes(fd, "hello", 5);
	fake_send(fd, "world", 5, NULL, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RW);
	CHECK_EQ(a.len, 5);
	CHECK_BYTES(a.data, "world", 5);
	CHECK_EQ(hear(&a), -1);
}

CASE(a_host_that_connects)
{
	char ok[32];
	int fd, n;

	serve();
	fd = fake_connect("/u");
	fake_send(fd, "CONN", 4, NULL, 0);
	CHECK_EQ(hear(&a), -1);
	fake_send(fd, "ECT 5\nfirst", 11, NULL, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_REQUEST);
	CHECK_EQ(le32_get(a.last.dst_port), 5);
	CHECK(send(&a, header(&a, VIRTIO_VSOCK_OP_RESPONSE, 2, 5, le32_get(a.last.src_port)), NULL,
		0));
	n = fake_recv(fd, ok, sizeof(ok), NULL);
	CHECK(n > 4 && memcmp(ok, "OK ", 3) == 0 && ok[n - 1] == '\n');
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RW);
	CHECK_BYTES(a.data, "first", 5);
}

CASE(a_guest_that_does_not_answer)
{
	int fd;

	serve();
	fd = fake_connect("/u");
	fake_send(fd, "CONNECT 5\n", 10, NULL, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_REQUEST);
	CHECK_EQ(fake_peek(fd), -EAGAIN);
	run(20000000000);
	CHECK_EQ(fake_peek(fd), 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
}

CASE(a_host_that_says_nothing)
{
	int fd;

	serve();
	fd = fake_connect("/u");
	run(5000000000);
	CHECK_EQ(fake_peek(fd), -EAGAIN);
	run(20000000000);
	CHECK_EQ(fake_peek(fd), 0);
	CHECK_EQ(hear(&a), -1);
}

CASE(a_guest_that_does_not_close)
{
	int fd;

	serve();
	fd = connect_guest(1);
	fake_close(fd);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_SHUTDOWN);
	CHECK_EQ(le32_get(a.last.flags), 3);
	CHECK_EQ(hear(&a), -1);
	run(20000000000);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	run(20000000000);
	CHECK_EQ(hear(&a), -1);
}

/* Half-closed by the host, then closed. */
CASE(a_host_that_closes_by_halves)
{
	int fd;

	serve();
	fd = connect_guest(1);
	fake_shut(fd);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_SHUTDOWN);
	CHECK_EQ(le32_get(a.last.flags), VIRTIO_VSOCK_SHUTDOWN_SEND);
	say_data(&a, 1, "answer", 6);
	expect_bytes(fd, "answer", 6);
	fake_close(fd);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_SHUTDOWN);
	CHECK_EQ(le32_get(a.last.flags), 3);
	say(&a, VIRTIO_VSOCK_OP_RST, 1, 0);
	CHECK_EQ(hear(&a), -1);
}

CASE(a_host_that_reads_late)
{
	static char data[CONFIG_VSOCK_BUFFER];
	unsigned before;
	int fd;

	serve();
	fake.socket_room = 1000;
	fd = connect_guest(1);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 + i / 256);
	for (unsigned i = 0; i < sizeof(data); i += 8192)
		say_data(&a, 1, data + i, 8192);
	/* What waits is not asked for again and again. */
	before = fake.calls[FAKE_SEND];
	run(1000000000);
	CHECK(fake.calls[FAKE_SEND] - before < 5);
	expect_bytes(fd, data, sizeof(data));
	do
		CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	while (le32_get(a.last.fwd_cnt) != sizeof(data));
	say_data(&a, 1, data, 1);
	expect_bytes(fd, data, 1);
}

CASE(more_than_there_is_room_for)
{
	static char data[65536];
	int fd, op;

	serve();
	fake.socket_room = 1000;
	fd = connect_guest(1);
	for (unsigned i = 0; i <= CONFIG_VSOCK_BUFFER / sizeof(data); i++)
		say_data(&a, 1, data, sizeof(data));
	while ((op = hear(&a)) == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
		;
	CHECK_EQ(op, VIRTIO_VSOCK_OP_RST);
	(void)fd;
}

/* What the guest has sent still goes to a host that reads late; an error then is nobody's. */
CASE(a_guest_that_leaves_before_its_bytes_do)
{
	static char data[5000];
	int fd;

	serve();
	fake.socket_room = 1000;
	fd = connect_guest(1);
	data[4999] = 1;
	say_data(&a, 1, data, sizeof(data));
	say(&a, VIRTIO_VSOCK_OP_SHUTDOWN, 1, 3);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	expect_bytes(fd, data, sizeof(data));
	(void)rig_run();
	CHECK_EQ(fake_peek(fd), 0);
	fd = connect_guest(1);
	say_data(&a, 1, data, sizeof(data));
	say(&a, VIRTIO_VSOCK_OP_SHUTDOWN, 1, 3);
	fake_close(fd);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	CHECK_EQ(hear(&a), -1);
}

CASE(credit_is_modulo_and_never_passed)
{
	static char data[3000];
	int fd;

	serve();
	a.buf_alloc = 1000;
	fd = connect_guest(1);
	fake_send(fd, data, sizeof(data), NULL, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RW);
	CHECK_EQ(a.len, 1000);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	CHECK_EQ(hear(&a), -1);
	a.fwd_cnt = 0x80000000; /* nonsense */
	say(&a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1, 0);
	CHECK_EQ(hear(&a), -1);
	a.fwd_cnt = 999;
	say(&a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RW);
	CHECK_EQ(a.len, 999);
}

CASE(a_write_that_fails)
{
	int fd;

	serve();
	fd = connect_guest(1);
	fake_close(fd);
	say_data(&a, 1, "x", 1);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	say_data(&a, 1, "x", 1);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
}

CASE(a_read_that_fails)
{
	int fd;

	serve();
	fd = connect_guest(1);
	fake.fail_at[FAKE_RECV] = fake.calls[FAKE_RECV] + 1;
	fake_send(fd, "x", 1, NULL, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	CHECK_EQ(fake_peek(fd), 0);
}

CASE(a_connection_that_cannot_be_made)
{
	serve();
	say(&a, VIRTIO_VSOCK_OP_REQUEST, 1, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	(void)fake_listen("/u_80");
	fake.fail_at[FAKE_WAIT_ADD] = fake.calls[FAKE_WAIT_ADD] + 1;
	say(&a, VIRTIO_VSOCK_OP_REQUEST, 1, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	say(&a, VIRTIO_VSOCK_OP_REQUEST, 1, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RESPONSE);
}

CASE(out_of_descriptors_for_a_while)
{
	int fd;

	serve();
	fake.fail_at[FAKE_ACCEPT] = fake.calls[FAKE_ACCEPT] + 1;
	fd = fake_connect("/u");
	fake_send(fd, "CONNECT 5\n", 10, NULL, 0);
	CHECK_EQ(hear(&a), -1);
	CHECK(fake_log_has("/u: cannot accept a connection yet: "));
	run(2000000000);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_REQUEST);
}

CASE(out_of_watches_for_a_while)
{
	int fd;

	serve();
	fake.fail_at[FAKE_ACCEPT] = fake.calls[FAKE_ACCEPT] + 1;
	fake.fail_at[FAKE_WAIT_ADD] = fake.calls[FAKE_WAIT_ADD] + 1;
	fd = fake_connect("/u");
	fake_send(fd, "CONNECT 5\n", 10, NULL, 0);
	run(1500000000);
	CHECK_EQ(hear(&a), -1);
	run(1500000000);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_REQUEST);
}

CASE(a_guest_that_is_not_there)
{
	int fd;

	serve();
	fd = connect_guest(1);
	front_hang_up(&a.front);
	(void)rig_run();
	CHECK_EQ(fake_peek(fd), 0);
	fd = fake_connect("/u");
	fake_send(fd, "CONNECT 5\n", 10, NULL, 0);
	(void)rig_run();
	CHECK_EQ(fake_peek(fd), 0);
}

CASE(a_packet_that_is_none)
{
	serve();
	driver_add(&a.front.rings[TX], &(struct buffer){ front_addr(0), HEADER - 1, false }, 1);
	front_kick(&a.front, TX);
	CHECK(fake_log_has("a packet that is no packet"));
	CHECK(rig_device(0)->queues[TX].broken);
}

CASE(a_buffer_that_is_none)
{
	serve();
	driver_add(&a.front.rings[RX], &(struct buffer){ 1ull << 40, BUFFER, true }, 1);
	say(&a, VIRTIO_VSOCK_OP_REQUEST, 1, 0);
	CHECK(fake_log_has("a receive buffer that no packet can be in"));
	CHECK(rig_device(0)->queues[RX].broken);
}

CASE(messages_keep_their_ends)
{
	static const struct {
		uint32_t len, flags;
	} parts[] = { { 3, 0 }, { 4, VIRTIO_VSOCK_SEQ_EOM }, { 5, VIRTIO_VSOCK_SEQ_EOM }, { 2, 0 },
		{ 0, VIRTIO_VSOCK_SEQ_EOM } };
	struct virtio_vsock_hdr h = header(&a, VIRTIO_VSOCK_OP_REQUEST, 2, 1, HOST_PORT);
	char data[16];
	int listener, fd;

	serve();
	listener = fake_listen("/u_80");
	h.type = le16_put(VIRTIO_VSOCK_TYPE_SEQPACKET);
	CHECK(send(&a, h, NULL, 0));
	fd = fake_accept(listener);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RESPONSE);
	h.op = le16_put(VIRTIO_VSOCK_OP_RW);
	for (unsigned i = 0; i < countof(parts); i++) {
		h.len = le32_put(parts[i].len);
		h.flags = le32_put(parts[i].flags);
		CHECK(send(&a, h, "abcdefgh", parts[i].len));
	}
	CHECK_EQ(fake_recv(fd, data, 7, NULL), 7);
	CHECK_BYTES(data, "abcabcd", 7);
	CHECK_EQ(fake_recv(fd, data, 5, NULL), 5);
	CHECK_EQ(fake_recv(fd, data, 16, NULL), 2);
	fake_send(fd, "12345", 5, NULL, 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RW);
	CHECK_EQ(le32_get(a.last.flags), VIRTIO_VSOCK_SEQ_EOM);
	CHECK_EQ(a.len, 5);
}

CASE(messages_that_were_not_agreed_on)
{
	struct virtio_vsock_hdr h = header(&a, VIRTIO_VSOCK_OP_REQUEST, 2, 1, HOST_PORT);

	fake_reset(1);
	rig_patience_ns = 1000000;
	CHECK_EQ(rig_main("vubox vsock -s /s --guest-cid=3 --uds-path=/u"), FAKE_IDLE);
	front_start(&a.front, "/s", 3, features_of(false));
	h.type = le16_put(VIRTIO_VSOCK_TYPE_SEQPACKET);
	CHECK(send(&a, h, NULL, 0));
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
}

/* ---- the rest of it ---- */

CASE(what_it_is_not_given)
{
	static const char *const wrong[] = { "vubox vsock -s /s --guest-cid=3",
		"vubox vsock -s /s --uds-path=/u", "vubox vsock -s /s --uds-path=/u --guest-cid=2",
		"vubox vsock -s /s --guest-cid=3 --uds-path=/u -- vsock -s /t --guest-cid=3 "
		"--uds-path=/v",
		"vubox vsock -s /s --guest-cid=3 --uds-path=/12345678901234567890123456789012345678"
		"901234567890123456789012345678901234567890123456789012345678" };

	for (unsigned i = 0; i < countof(wrong); i++) {
		fake_reset(1);
		CHECK_EQ(rig_main(wrong[i]), FAKE_EXITED);
		CHECK_EQ(fake.exit_status, 2);
		CHECK_EQ(fake.log_lines, 1);
	}
}

CASE(where_it_cannot_listen)
{
	fake_reset(1);
	fake.fail_at[FAKE_LISTEN] = 2;
	CHECK_EQ(rig_main("vubox vsock -s /s --guest-cid=3 --uds-path=/u"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("vubox: vsock: /u: cannot listen: "));
}

CASE(it_ends_with_connections)
{
	unsigned before;

	fake_reset(1);
	before = fake_open_fds();
	serve();
	(void)connect_guest(1);
	(void)connect_guest(2);
	fake_signal(PORT_SIGNAL_END);
	rig_patience_ns = 0;
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 0);
	CHECK(fake_open_fds() < before + 16);
}

static void io_done(void *arg)
{
	(void)arg;
	device_find("vsock")->io_done(NULL, NULL);
}

CASE(it_starts_no_io)
{
	fake_reset(1);
	CHECK_EQ(fake_run(io_done, NULL), FAKE_ABORTED);
}
