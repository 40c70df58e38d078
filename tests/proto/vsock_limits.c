/* The socket device: what has no room, nobody who reads it, or no sense. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../front/vsock.h"

static void data_after_shutdown(const char *with)
{
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	vsock_say(SHUTDOWN, 1, 80, SHUT_SEND);
	vsock_say_data(1, 80, "x", 1);
	vsock_expect(RST, 1, 80);
	vsock_get_end(fd);
}

/* The guest's room is never passed, whatever the host sends. */
static void the_guest_runs_out_of_room(const char *with)
{
	static unsigned char data[100000];
	int listener, fd;

	(void)with;
	vsock_guest_alloc = 10000;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	harness_fill(data, sizeof(data));
	vsock_put(fd, data, sizeof(data));
	for (uint32_t at = 0; at < sizeof(data); at += 10000) {
		vsock_expect_data(data + at, 10000);
		vsock_expect(CREDIT_REQUEST, 1, 80);
		vsock_expect_silence();
		vsock_guest_forwarded += 10000;
		vsock_say(CREDIT_UPDATE, 1, 80, 0);
	}
	vsock_expect_silence();
	/* A driver that counts nonsense gets nothing, and nobody else suffers. */
	vsock_guest_forwarded += 1;
	vsock_say(CREDIT_UPDATE, 1, 80, 0);
	vsock_put(fd, data, 100);
	vsock_expect(CREDIT_REQUEST, 1, 80);
	vsock_expect_silence();
	vsock_guest_forwarded -= 1;
	vsock_say(CREDIT_UPDATE, 1, 80, 0);
	vsock_expect_data(data, 100);
}

/* Waits for a credit update that says that so much was forwarded. */
static void until_forwarded(uint32_t count)
{
	do
		CHECK_EQ(vsock_hear_once(true), CREDIT_UPDATE);
	while (vsock_last.fwd_cnt != count);
}

/* A host that does not read stops its own connection, and loses nothing. */
static void the_host_does_not_read(const char *with)
{
	static unsigned char data[1 << 20];
	uint32_t sent = 0, room;
	int listener, slow, quick;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &slow, 1);
	room = vsock_last.buf_alloc;
	vsock_guest_connects(listener, &quick, 2);
	harness_fill(data, sizeof(data));
	/* As a driver does it: never more than there is room for. */
	for (;;) {
		struct driver_used used;

		while (driver_poll(&vsock_rig.queues[RX].driver, &used) == 1) {
			unsigned slot = (unsigned)(uintptr_t)used.owner;

			CHECK(driver_read(&vsock_rig.memory.driver,
				vsock_rig.slots + (uint64_t)slot * RIG_SLOT_BYTES, &vsock_last,
				HEADER));
			vsock_give(slot, BUFFER);
		}
		if (room - (sent - vsock_last.fwd_cnt) < 4096)
			break;
		CHECK(sent + 4096 <= sizeof(data));
		vsock_say_data(1, 80, data + sent, 4096);
		sent += 4096;
	}
	vsock_say_data(2, 80, "quick", 5);
	vsock_get(quick, "quick", 5);
	vsock_put(quick, "echo", 4);
	CHECK_EQ(vsock_hear_once(true), RW);
	CHECK_EQ(vsock_last.dst_port, 2);
	vsock_get(slow, data, sent);
	until_forwarded(sent);
	vsock_say_data(1, 80, data, 4096);
	vsock_get(slow, data, 4096);
	/* What it has not read yet it gets when the guest has closed. */
	for (unsigned i = 0; i < 100; i++)
		vsock_say_data(1, 80, data + i * 1024, 1024);
	vsock_say(SHUTDOWN, 1, 80, SHUT_RCV | SHUT_SEND);
	while (vsock_hear_once(true) == CREDIT_UPDATE)
		;
	CHECK_EQ(vsock_last.op, RST);
	vsock_get(slow, data, 100 * 1024);
	vsock_get_end(slow);
}

/* Sends more than it was told that there is room for. */
static void the_guest_sends_too_much(const char *with)
{
	static unsigned char data[65536];
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	for (unsigned i = 0; i < 40; i++) {
		struct driver_used used;

		vsock_say_data(1, 80, data, sizeof(data));
		if (driver_poll(&vsock_rig.queues[RX].driver, &used) != 1)
			continue;
		CHECK(driver_read(&vsock_rig.memory.driver,
			vsock_rig.slots + (uint64_t)(uintptr_t)used.owner * RIG_SLOT_BYTES,
			&vsock_last, HEADER));
		if (vsock_last.op == RST)
			break;
		CHECK_EQ(vsock_last.op, CREDIT_UPDATE);
	}
	if (vsock_last.op != RST)
		while (vsock_hear_once(false) != RST)
			;
}

/* Packets that are wrong in one field; each is answered by RST, and hurts nobody else. */
static void packets_that_are_wrong(const char *with)
{
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	for (unsigned i = 0; i < 9; i++) {
		struct vsock_packet h = vsock_header(RW, 1, 80);
		bool of_connection = i >= 3;

		vsock_guest_connects(listener, &fd, 1);
		h.len = 4;
		switch (i) {
		case 0: h.src_cid = CID + 1; break;
		case 1: h.src_cid |= 1ull << 32; break;
		case 2: h.dst_cid = 99; break;
		case 3: h.type = 3; break;
		case 4: h.len = 5; break;
		case 5: h.op = 0; break;
		case 6: h.op = 8; break;
		case 7: h.op = 0xffff; break;
		case 8: h.op = RESPONSE; break;
		}
		vsock_send_cut(&h, "data", 4, 0);
		CHECK_EQ(vsock_hear_once(true), RST);
		CHECK_EQ(vsock_last.src_cid, h.dst_cid);
		if (of_connection) {
			vsock_get_end(fd);
		} else {
			vsock_say_data(1, 80, "good", 4);
			vsock_get(fd, "good", 4);
			vsock_say(RST, 1, 80, 0);
			vsock_get_end(fd);
		}
		close(fd);
		/* Nothing is ever the answer to RST. */
		h.op = RST;
		vsock_send_cut(&h, "data", 4, 0);
		vsock_expect_silence();
	}
}

static void packets_cut_anywhere(const char *with)
{
	unsigned char data[60];
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &fd, 1);
	harness_fill(data, sizeof(data));
	for (uint32_t cut = 1; cut <= HEADER + sizeof(data); cut++) {
		struct vsock_packet h = vsock_header(RW, 1, 80);

		h.len = sizeof(data);
		vsock_send_cut(&h, data, sizeof(data), cut);
		vsock_get(fd, data, sizeof(data));
	}
	/* A length that is less than what is there. */
	for (uint32_t len = 1; len < sizeof(data); len++) {
		struct vsock_packet h = vsock_header(RW, 1, 80);

		h.len = len;
		vsock_send_cut(&h, data, sizeof(data), 7);
		vsock_get(fd, data, len);
	}
}

static void buffers_cut_anywhere(const char *with)
{
	unsigned char data[60];
	int listener, fd;

	(void)with;
	vsock_serve(1);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_say(REQUEST, 1, 80, 0);
	fd = vsock_take(listener);
	CHECK_EQ(vsock_hear_once(false), RESPONSE);
	harness_fill(data, sizeof(data));
	for (uint32_t cut = 1; cut <= HEADER + sizeof(data); cut++) {
		struct driver_buffer b[120];
		struct driver_chain chain = { .buffers = b };

		for (uint32_t at = 0; at < HEADER + sizeof(data); at += cut)
			b[chain.count++] = (struct driver_buffer){ vsock_rig.slots + at,
				at + cut < HEADER + sizeof(data)
					? cut
					: HEADER + (uint32_t)sizeof(data) - at,
				true };
		CHECK(driver_add(&vsock_rig.queues[RX].driver, &chain) >= 0);
		front_queue_offer(&vsock_rig.queues[RX]);
		vsock_put(fd, data, sizeof(data));
		CHECK_EQ(vsock_hear_once(false), RW);
		CHECK_EQ(vsock_last.len, sizeof(data));
		CHECK_BYTES(vsock_got, data, sizeof(data));
	}
}

/* No buffers: nothing is read, nothing spins; the data comes when there are some. */
static void the_guest_has_no_buffers(const char *with)
{
	int listener, fd;
	uint64_t ns;

	(void)with;
	vsock_serve(1);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_say(REQUEST, 1, 80, 0);
	fd = vsock_take(listener);
	CHECK_EQ(vsock_hear_once(false), RESPONSE);
	vsock_put(fd, "late", 4);
	CHECK_EQ(front_settle(&vsock_rig.front), 0);
	ns = vubox_cpu_ns(&vsock_rig.vubox);
	usleep(100000);
	CHECK(vubox_is_sanitized() || vubox_cpu_ns(&vsock_rig.vubox) - ns < 20000000);
	vsock_give(0, BUFFER);
	CHECK_EQ(vsock_hear_once(false), RW);
	CHECK_BYTES(vsock_got, "late", 4);
	/* Replies are not lost either: the transmit queue waits for them. */
	for (unsigned i = 0; i < 60; i++)
		vsock_say_data(100 + i, 99, "x", 1);
	for (unsigned i = 0; i < 60; i++) {
		vsock_give(0, BUFFER);
		CHECK_EQ(vsock_hear_once(false), RST);
		CHECK_EQ(vsock_last.dst_port, 100 + i);
	}
}

static void more_replies_than_are_kept(const char *with)
{
	struct vsock_packet h = vsock_header(RW, 0, 99);
	uint64_t at;

	(void)with;
	vsock_serve(0);
	at = vsock_rig.slots + (uint64_t)TX_SLOT * RIG_SLOT_BYTES;
	for (unsigned i = 0; i < 100; i++) {
		struct driver_buffer b = { at + i * HEADER, HEADER, false };
		struct driver_chain chain = { .buffers = &b, .count = 1 };

		h.src_port = i;
		CHECK(driver_write(&vsock_rig.memory.driver, at + i * HEADER, &h, HEADER));
		CHECK(driver_add(&vsock_rig.queues[TX].driver, &chain) >= 0);
	}
	front_queue_offer(&vsock_rig.queues[TX]);
	CHECK_EQ(front_settle(&vsock_rig.front), 0);
	for (unsigned i = 0; i < 100; i++) {
		vsock_give(i % BUFFERS, BUFFER);
		CHECK_EQ(vsock_hear_once(false), RST);
		CHECK_EQ(vsock_last.dst_port, i);
	}
	for (unsigned i = 0; i < 100; i++)
		rig_take(&vsock_rig, &vsock_rig.queues[TX], NULL);
}

static void receive_buffers_of_no_use(const char *with)
{
	int fd;

	(void)with;
	vsock_serve(0);
	vsock_give(0, HEADER - 1);
	fd = vsock_unix_socket(SOCK_STREAM, vsock_uds, false);
	vsock_put(fd, "CONNECT 1\n", 10);
	UNTIL(vubox_said(&vsock_rig.vubox, "a receive buffer that no packet can be in"));
	rig_disconnect(&vsock_rig);
	vsock_connect_guest(BUFFERS);
	vsock_host_connects(&fd, PORT);
}

/* Every connection has its turn, however much one of them sends. */
static void turns_are_fair(const char *with)
{
	static unsigned char data[50000];
	int listener, loud, quiet;

	(void)with;
	vsock_serve(1);
	listener = vsock_listen_for_guest(SOCK_STREAM, 80);
	vsock_guest_connects(listener, &loud, 1);
	vsock_guest_connects(listener, &quiet, 2);
	vsock_put(loud, data, sizeof(data));
	vsock_put(quiet, "me", 2);
	for (unsigned i = 0; i < 4; i++) {
		CHECK_EQ(vsock_hear_once(true), RW);
		if (vsock_last.dst_port == 2)
			return;
	}
	harness_fail(HERE, "it had no turn");
}

/* A host that does not read them: none is lost, and each stays as it is. */
static void messages_that_wait(const char *with)
{
	static unsigned char data[4000], bytes[8192];
	struct vsock_packet h = vsock_header(REQUEST, 1, 80);
	uint32_t sent = 0, room, count = 0;
	int listener, fd;

	(void)with;
	vsock_serve(BUFFERS);
	listener = vsock_listen_for_guest(SOCK_SEQPACKET, 80);
	h.type = SEQPACKET;
	vsock_send_cut(&h, NULL, 0, 0);
	fd = vsock_take(listener);
	vsock_expect(RESPONSE, 1, 80);
	room = vsock_last.buf_alloc;
	harness_fill(data, sizeof(data));
	for (;; count++) {
		uint32_t len = 1 + count * 37 % 4000;
		struct driver_used used;

		while (driver_poll(&vsock_rig.queues[RX].driver, &used) == 1) {
			unsigned slot = (unsigned)(uintptr_t)used.owner;

			CHECK(driver_read(&vsock_rig.memory.driver,
				vsock_rig.slots + (uint64_t)slot * RIG_SLOT_BYTES, &vsock_last,
				HEADER));
			vsock_give(slot, BUFFER);
		}
		if (room - (sent - vsock_last.fwd_cnt) < len)
			break;
		vsock_say_message(1, data, len / 2, 0);
		vsock_say_message(1, data + len / 2, len - len / 2, EOM);
		sent += len;
	}
	for (uint32_t i = 0; i < count; i++) {
		uint32_t len = 1 + i * 37 % 4000;

		CHECK_EQ(recv(fd, bytes, sizeof(bytes), 0), len);
		CHECK_BYTES(bytes, data, len);
	}
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(data_after_shutdown),
	CASE_OF_EACH_FORMAT(the_guest_runs_out_of_room),
	CASE_OF_EACH_FORMAT(the_host_does_not_read),
	CASE_OF_EACH_FORMAT(the_guest_sends_too_much),
	CASE_OF_EACH_FORMAT(packets_that_are_wrong),
	CASE_OF_EACH_FORMAT(packets_cut_anywhere),
	CASE_OF_EACH_FORMAT(buffers_cut_anywhere),
	CASE_OF_EACH_FORMAT(the_guest_has_no_buffers),
	CASE_OF_EACH_FORMAT(more_replies_than_are_kept),
	CASE_OF_EACH_FORMAT(receive_buffers_of_no_use),
	CASE_OF_EACH_FORMAT(turns_are_fair),
	CASE_OF_EACH_FORMAT(messages_that_wait),
};
HARNESS_MAIN(cases)
