/* The socket device (VIRTIO 5.10): a driver on one side, unix sockets on the other. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../front/vsock.h"

static void the_configuration_is_the_cid(const char *with)
{
	unsigned char bytes[8], should[8] = { CID };
	uint64_t count;
	uint32_t len;

	(void)with;
	vsock_serve(0);
	CHECK_EQ(front_get_queue_num(&vsock_rig.front, &count), 0);
	CHECK_EQ(count, 3);
	CHECK_EQ(front_get_config(&vsock_rig.front, 0, 8, bytes, &len), 0);
	CHECK_EQ(len, 8);
	CHECK_BYTES(bytes, should, 8);
	CHECK_EQ(front_set_config(&vsock_rig.front, 0, 1, 0, "\1"), FRONT_REFUSED);
	CHECK_EQ(vsock_rig.front.features & 3, 3);
}

static void the_host_connects(const char *with)
{
	unsigned char data[10000];
	uint32_t port;
	int fd;

	(void)with;
	vsock_serve(BUFFERS);
	port = vsock_host_connects(&fd, PORT);
	harness_fill(data, sizeof(data));
	vsock_put(fd, data, sizeof(data));
	vsock_expect_data(data, sizeof(data));
	vsock_say_data(PORT, port, data, sizeof(data));
	vsock_get(fd, data, sizeof(data));
	/* The guest closes: what it is told is that it is closed. */
	vsock_say(SHUTDOWN, PORT, port, SHUT_RCV | SHUT_SEND);
	vsock_expect(RST, PORT, port);
	vsock_get_end(fd);
	vsock_say_data(PORT, port, data, 10);
	vsock_expect(RST, PORT, port);
}

static void the_guest_connects(const char *with)
{
	unsigned char data[10000];
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 5555);
	harness_fill(data, sizeof(data));
	vsock_say_data(5555, 80, data, sizeof(data));
	vsock_get(fd, data, sizeof(data));
	vsock_put(fd, data, sizeof(data));
	vsock_expect_data(data, sizeof(data));
	/* The host closes: the guest is told, and answers. */
	close(fd);
	vsock_expect(SHUTDOWN, 5555, 80);
	CHECK_EQ(vsock_last.flags, SHUT_RCV | SHUT_SEND);
	vsock_say(RST, 5555, 80, 0);
	vsock_expect_silence();
	/* Nobody listens. */
	vsock_say(REQUEST, 5555, 81, 0);
	vsock_expect(RST, 5555, 81);
}

static void lines_that_are_no_lines(const char *with)
{
	static const char *const wrong[] = { "CONNECT\n", "CONNECT \n", "CONNECT x\n",
		"connect 1\n", "CONNECT 4294967296\n", "CONNECT 1 \n",
		"CONNECT 11111111111111111111111111111111", "CONNECT -1\n", "\n",
		"CONNECT 99999999999999999999\n" };

	(void)with;
	vsock_serve(BUFFERS);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int fd = vsock_unix_socket(SOCK_STREAM, vsock_uds, false);
		char byte;

		vsock_put(fd, wrong[i], strlen(wrong[i]));
		CHECK(recv(fd, &byte, 1, 0) <= 0);
		close(fd);
	}
	vsock_expect_silence();
}

/* The line comes byte by byte, and data right behind it. */
static void a_line_in_pieces(const char *with)
{
	static const char line[] = "CONNECT 1234\nhello";
	int fd;

	(void)with;
	vsock_serve(BUFFERS);
	fd = vsock_unix_socket(SOCK_STREAM, vsock_uds, false);
	for (unsigned i = 0; i < sizeof(line) - 1; i++) {
		vsock_put(fd, line + i, 1);
		usleep(500);
	}
	CHECK_EQ(vsock_hear_once(true), REQUEST);
	vsock_expect_silence();
	vsock_say(RESPONSE, PORT, vsock_last.src_port, 0);
	vsock_expect_data("hello", 5);
}

/* The guest has nobody at that port. */
static void a_refused_connection(const char *with)
{
	int fd;

	(void)with;
	vsock_serve(BUFFERS);
	fd = vsock_unix_socket(SOCK_STREAM, vsock_uds, false);
	vsock_put(fd, "CONNECT 9\n", 10);
	CHECK_EQ(vsock_hear_once(true), REQUEST);
	vsock_say(RST, 9, vsock_last.src_port, 0);
	vsock_get_end(fd);
	vsock_expect_silence();
}

static void half_close_by_the_guest(const char *with)
{
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	vsock_say_data(1, 80, "question", 8);
	vsock_say(SHUTDOWN, 1, 80, SHUT_SEND);
	vsock_get(fd, "question", 8);
	vsock_get_end(fd);
	vsock_put(fd, "answer", 6);
	vsock_expect_data("answer", 6);
	close(fd);
	vsock_expect(SHUTDOWN, 1, 80);
	vsock_say(SHUTDOWN, 1, 80, SHUT_RCV | SHUT_SEND);
	vsock_expect(RST, 1, 80);
}

static void half_close_by_the_host(const char *with)
{
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	vsock_put(fd, "question", 8);
	shutdown(fd, SHUT_WR);
	vsock_expect_data("question", 8);
	vsock_expect(SHUTDOWN, 1, 80);
	CHECK_EQ(vsock_last.flags, SHUT_SEND);
	vsock_say_data(1, 80, "answer", 6);
	vsock_get(fd, "answer", 6);
	vsock_say(SHUTDOWN, 1, 80, SHUT_RCV | SHUT_SEND);
	vsock_expect(RST, 1, 80);
	vsock_get_end(fd);
}

/* The guest reads no more: nor is it sent anything. */
static void the_guest_stops_reading(const char *with)
{
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	vsock_say(SHUTDOWN, 1, 80, SHUT_RCV);
	vsock_expect_silence();
	CHECK_EQ(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	vsock_say_data(1, 80, "more", 4);
	vsock_get(fd, "more", 4);
	close(fd);
	vsock_expect(SHUTDOWN, 1, 80);
	CHECK_EQ(vsock_last.flags, SHUT_RCV | SHUT_SEND);
	vsock_say(RST, 1, 80, 0);
	vsock_expect_silence();
}

static void a_request_for_credit(const char *with)
{
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	vsock_say_data(1, 80, "12345", 5);
	vsock_say(CREDIT_REQUEST, 1, 80, 0);
	vsock_expect(CREDIT_UPDATE, 1, 80);
	CHECK_EQ(vsock_last.fwd_cnt, 5);
	CHECK(vsock_last.buf_alloc >= 65536);
}

static void a_thousand_connections(const char *with)
{
	static int fds[1024];
	int listener, one_more;
	char byte;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	for (unsigned i = 0; i < 1024; i++)
		if (i % 2)
			vsock_host_connects(&fds[i], PORT);
		else
			vsock_guest_connects(listener, &fds[i], 10000 + i);
	vsock_say(REQUEST, 1, 80, 0);
	vsock_expect(RST, 1, 80);
	one_more = vsock_unix_socket(SOCK_STREAM, vsock_uds, false);
	CHECK_EQ(recv(one_more, &byte, 1, 0), 0);
	close(one_more);
	for (unsigned i = 0; i < 1024; i += 2) {
		vsock_put(fds[i], &i, sizeof(i));
		vsock_expect_data(&i, sizeof(i));
		CHECK_EQ(vsock_last.dst_port, 10000 + i);
		vsock_say_data(10000 + i, 80, &i, sizeof(i));
		vsock_get(fds[i], &i, sizeof(i));
	}
	/* One goes, and another one comes. */
	vsock_say(RST, 10000, 80, 0);
	vsock_get_end(fds[0]);
	vsock_guest_connects(listener, &fds[0], 1);
	rig_disconnect(&vsock_rig);
	for (unsigned i = 0; i < 1024; i++)
		vsock_get_end(fds[i]);
	CHECK(vubox_fds(&vsock_rig.vubox) < 20);
}

static void messages(const char *with)
{
	static unsigned char data[20000], bytes[30000];
	struct vsock_packet h = vsock_header(REQUEST, 1, 80);
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_SEQPACKET, 80);
	h.type = SEQPACKET;
	vsock_send_cut(&h, NULL, 0, 0);
	fd = vsock_take(listener);
	vsock_expect(RESPONSE, 1, 80);
	CHECK_EQ(vsock_last.type, SEQPACKET);
	harness_fill(data, sizeof(data));
	/* In one packet, and in three. */
	vsock_say_message(1, data, 5, EOM);
	vsock_say_message(1, data, 10000, 0);
	vsock_say_message(1, data + 10000, 10000, 0);
	vsock_say_message(1, NULL, 0, EOM);
	vsock_say_message(1, data, 7, EOM);
	CHECK_EQ(recv(fd, bytes, sizeof(bytes), 0), 5);
	CHECK_EQ(recv(fd, bytes, sizeof(bytes), 0), 20000);
	CHECK_BYTES(bytes, data, 20000);
	CHECK_EQ(recv(fd, bytes, sizeof(bytes), 0), 7);
	/* And to the guest: one that fits, one that does not, one that just does. */
	vsock_put(fd, data, 3);
	vsock_put(fd, data, 20000);
	vsock_put(fd, data, BUFFER - HEADER);
	vsock_put(fd, data, 1);
	for (unsigned i = 0, at = 0; i < 4; at += vsock_last.len) {
		while (vsock_hear_once(true) == CREDIT_UPDATE)
			;
		CHECK_EQ(vsock_last.op, RW);
		CHECK_BYTES(vsock_got, data + at, vsock_last.len);
		if (!(vsock_last.flags & EOM))
			continue;
		CHECK_EQ(at + vsock_last.len, i == 0   ? 3
					      : i == 1 ? 20000
					      : i == 2 ? BUFFER - HEADER
						       : 1);
		at = -vsock_last.len;
		i++;
	}
	vsock_expect_silence();
	close(fd);
	vsock_expect(SHUTDOWN, 1, 80);
}

/* RESET_DEVICE and a new connection: connections are gone on the host's side, too. */
static void the_guest_begins_anew(const char *with)
{
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	rig_disconnect(&vsock_rig);
	vsock_get_end(fd);
	/* Nobody is there. */
	fd = vsock_unix_socket(SOCK_STREAM, vsock_uds, false);
	vsock_get_end(fd);
	vsock_connect_guest(BUFFERS);
	vsock_guest_connects(listener, &fd, 1);
	/* A guest that has restarted without a word uses the same port again. */
	vsock_say(REQUEST, 1, 80, 0);
	vsock_get_end(fd);
	fd = vsock_take(listener);
	vsock_expect(RESPONSE, 1, 80);
}

/* The device was restarted, the driver goes on: it is told that its connections are gone. */
static void the_device_begins_anew(const char *with)
{
	struct driver_buffer b;
	struct driver_chain chain = { .buffers = &b, .count = 1 };
	struct driver_used used;
	uint32_t id = 77;

	(void)with;
	vsock_serve(BUFFERS);
	vsock_say(CREDIT_REQUEST, 1, 1, 0);
	vsock_expect(RST, 1, 1);
	b = (struct driver_buffer){ vsock_rig.slots + 31ull * RIG_SLOT_BYTES, 4, true };
	CHECK(driver_write(&vsock_rig.memory.driver, b.guest, &id, 4));
	CHECK(driver_add(&vsock_rig.queues[EVENT].driver, &chain) >= 0);
	front_queue_offer(&vsock_rig.queues[EVENT]);
	CHECK_EQ(front_settle(&vsock_rig.front), 0);
	CHECK_EQ(driver_poll(&vsock_rig.queues[EVENT].driver, &used), 0);
	front_close(&vsock_rig.front);
	rig_connect(&vsock_rig);
	CHECK_EQ(front_negotiate(
			 &vsock_rig.front, harness_packed() ? ~0ull : ~VU_F(RING_PACKED), ~0ull),
		0);
	vsock_rig.front.acks = true;
	rig_share(&vsock_rig);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(front_queue_start(&vsock_rig.front, &vsock_rig.queues[i],
				 driver_base_in_memory(&vsock_rig.queues[i].driver)),
			0);
	CHECK_EQ(front_queue_wait(&vsock_rig.queues[EVENT], &used, harness_wait_ms()), 0);
	CHECK_EQ(used.len, 4);
	CHECK(driver_read(&vsock_rig.memory.driver, b.guest, &id, 4));
	CHECK_EQ(id, 0);
	vsock_say(CREDIT_REQUEST, 1, 1, 0);
	vsock_expect(RST, 1, 1);
}

static void wrong_options(const char *with)
{
	static const char *const wrong[][3] = { { "--guest-cid=3" }, { "--uds-path=/tmp/x" },
		{ "--guest-cid=2", "--uds-path=/tmp/x" },
		{ "--guest-cid=4294967295", "--uds-path=/tmp/x" } };

	(void)with;
	for (unsigned i = 0; i < 4; i++) {
		vubox_start(&vsock_rig.vubox, "vsock", wrong[i]);
		CHECK_EQ(vubox_wait(&vsock_rig.vubox), 2);
	}
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(the_configuration_is_the_cid),
	CASE_OF_EACH_FORMAT(the_host_connects),
	CASE_OF_EACH_FORMAT(the_guest_connects),
	CASE(lines_that_are_no_lines),
	CASE(a_line_in_pieces),
	CASE_OF_EACH_FORMAT(a_refused_connection),
	CASE_OF_EACH_FORMAT(half_close_by_the_guest),
	CASE_OF_EACH_FORMAT(half_close_by_the_host),
	CASE_OF_EACH_FORMAT(the_guest_stops_reading),
	CASE_OF_EACH_FORMAT(a_request_for_credit),
	CASE_OF_EACH_FORMAT(a_thousand_connections),
	CASE_OF_EACH_FORMAT(messages),
	CASE_OF_EACH_FORMAT(the_guest_begins_anew),
	CASE_OF_EACH_FORMAT(the_device_begins_anew),
	CASE(wrong_options),
};
HARNESS_MAIN(cases)
