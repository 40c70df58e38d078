/*
 * How messages arrive: in pieces, in heaps, with a wrong header, with the wrong descriptors. What
 * is wrong costs at most its own connection, and never a descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../front/rig.h"

static struct rig r;

/* The connection is at its end, nothing of it is left, and the next one is served. */
static void next_one_is_served(unsigned fds)
{
	front_close(&r.front);
	UNTIL(vubox_fds(&r.vubox) == fds);
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
	rig_works(&r);
	rig_disconnect(&r);
	UNTIL(vubox_fds(&r.vubox) == fds);
}

/* ---- headers ---- */

static void wrong_header(uint32_t request, uint32_t flags, uint32_t size)
{
	struct front_header h = { request, flags, size };
	unsigned fds;

	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(front_settle(&r.front), 0);
	fds = vubox_fds(&r.vubox) - 1;
	CHECK_EQ(front_send_bytes(&r.front, &h, sizeof(h), NULL, 0), 0);
	CHECK_EQ(front_wait_closed(&r.front), 0);
	next_one_is_served(fds);
	CHECK_EQ(vubox_end(&r.vubox, 15), 0);
}

static void a_wrong_version_closes(const char *with)
{
	(void)with;
	for (uint32_t version = 0; version < 4; version++)
		if (version != VU_VERSION)
			wrong_header(VU_GET_FEATURES, version, 0);
}

static void a_reply_to_nothing_closes(const char *with)
{
	(void)with;
	wrong_header(VU_GET_FEATURES, VU_VERSION | VU_REPLY, 0);
	wrong_header(VU_SET_FEATURES, VU_VERSION | VU_REPLY | VU_NEED_REPLY, 8);
}

static void an_absurd_size_closes(const char *with)
{
	(void)with;
	wrong_header(VU_GET_FEATURES, VU_VERSION, ~0u);
	wrong_header(VU_SET_MEM_TABLE, VU_VERSION, 1u << 31);
	wrong_header(VU_SET_FEATURES, VU_VERSION, 1 << 20);
	wrong_header(12345, VU_VERSION, 0x7fffffff);
}

/* ---- sizes that no such message has ---- */

static void wrong_sizes_are_no_messages(const char *with)
{
	static const struct {
		uint32_t request, size;
	} wrong[] = {
		{ VU_GET_FEATURES, 8 },
		{ VU_SET_FEATURES, 0 },
		{ VU_SET_FEATURES, 7 },
		{ VU_SET_FEATURES, 9 },
		{ VU_SET_OWNER, 8 },
		{ VU_SET_MEM_TABLE, 0 },
		{ VU_SET_MEM_TABLE, 7 },
		{ VU_SET_VRING_NUM, 4 },
		{ VU_SET_VRING_ADDR, 39 },
		{ VU_SET_VRING_ADDR, 48 },
		{ VU_GET_VRING_BASE, 4 },
		{ VU_SET_VRING_CALL, 4 },
		{ VU_GET_CONFIG, 11 },
		{ VU_SET_CONFIG, 0 },
		{ VU_ADD_MEM_REG, 8 },
		{ VU_GET_INFLIGHT_FD, 19 },
		{ VU_SET_STATUS, 1 },
	};
	static const unsigned char zeros[64];
	unsigned fds;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(front_settle(&r.front), 0);
	fds = vubox_fds(&r.vubox) - 1;
	front_close(&r.front);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct front_message m;

		rig_negotiate(&r, ~0ull, ~0ull);
		/* Refused with an ack, or closed; but never waited for, and never done. */
		if (front_ask(&r.front, wrong[i].request, VU_NEED_REPLY, zeros, wrong[i].size, NULL,
			    0, &m) == 0)
			CHECK(m.header.size == 0 || m.payload[0] != 0);
		else
			CHECK_EQ(front_wait_closed(&r.front), 0);
		next_one_is_served(fds);
	}
}

/* ---- descriptors ---- */

/* Of an open connection, too: what a good message brings replaces what was there. */
static void descriptors_are_replaced(const char *with)
{
	int pair[2], fd = eventfd(0, EFD_NONBLOCK);
	struct front_inflight want = { .queues = 1, .queue_size = 128 };
	unsigned fds = 0;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQ(front_get_vring_base(&r.front, 0, &(uint32_t){ 0 }), 0);
	for (unsigned i = 0; i < 20; i++) {
		int inflight;

		CHECK_EQ(front_set_vring_call(&r.front, 0, fd), 0);
		CHECK_EQ(front_set_vring_err(&r.front, 0, fd), 0);
		CHECK_EQ(front_set_vring_kick(&r.front, 0, r.queues[0].kick), 0);
		CHECK_EQ(front_set_backend_req_fd(&r.front, pair[1]), 0);
		CHECK_EQ(front_get_inflight_fd(&r.front, &want, &inflight), 0);
		CHECK_EQ(front_set_inflight_fd(&r.front, &want, inflight), 0);
		close(inflight);
		CHECK_EQ(front_share(&r.front, &r.memory), 0);
		if (i == 0)
			fds = vubox_fds(&r.vubox);
		CHECK_EQ(vubox_fds(&r.vubox), fds);
	}
}

/* ---- pieces and heaps ---- */

static void one_byte_at_a_time(const char *with)
{
	struct {
		struct front_header h;
		unsigned char payload[8];
	} message = { { VU_SET_VRING_CALL, VU_VERSION | VU_NEED_REPLY, 8 }, { 0 } };
	const unsigned char *bytes = (const unsigned char *)&message;
	int call = eventfd(0, EFD_NONBLOCK);
	struct front_message m;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < sizeof(message); i++) {
		CHECK_EQ(front_send_bytes(&r.front, bytes + i, 1, &call, i == 0 ? 1 : 0), 0);
		if (i % 5 == 0)
			usleep(1000);
	}
	CHECK_EQ(front_receive(&r.front, &m), 0);
	CHECK_EQ(m.header.size, 8);
	CHECK_EQ(m.payload[0], 0);
	CHECK_EQ(front_signals(call), 1);
	rig_works(&r);
}

/* Header and payload apart: descriptors come with the first byte, and are kept. */
static void cut_at_every_place(const char *with)
{
	uint64_t index = 0;
	unsigned char bytes[20];
	struct front_header h = { VU_SET_VRING_ERR, VU_VERSION | VU_NEED_REPLY, 8 };
	struct front_message m;
	int err = eventfd(0, EFD_NONBLOCK);

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	memcpy(bytes, &h, 12);
	memcpy(bytes + 12, &index, 8);
	for (unsigned at = 1; at < sizeof(bytes); at++) {
		CHECK_EQ(front_send_bytes(&r.front, bytes, at, &err, 1), 0);
		CHECK_EQ(front_send_bytes(&r.front, bytes + at, sizeof(bytes) - at, NULL, 0), 0);
		CHECK_EQ(front_receive(&r.front, &m), 0);
		CHECK_EQ(m.payload[0], 0);
	}
	rig_works(&r);
}

static void many_messages_in_one_write(const char *with)
{
	enum { MANY = 400 };
	static struct {
		struct front_header h;
		uint32_t state[2];
	} heap[MANY];
	struct front_message m;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < MANY; i++) {
		heap[i].h =
			(struct front_header){ VU_SET_VRING_ENABLE, VU_VERSION | VU_NEED_REPLY, 8 };
		heap[i].state[1] = i % 2; /* enabled at the end */
	}
	CHECK_EQ(front_send_bytes(&r.front, heap, sizeof(heap), NULL, 0), 0);
	for (unsigned i = 0; i < MANY; i++) {
		CHECK_EQ(front_receive(&r.front, &m), 0);
		CHECK_EQ(m.header.request, VU_SET_VRING_ENABLE);
		CHECK_EQ(m.payload[0], 0);
	}
	rig_works(&r);
}

/* A slow sender stalls nobody: its ring goes on between two bytes. */
static void rings_go_on_while_a_message_is_half_here(const char *with)
{
	struct front_header h = { VU_GET_FEATURES, VU_VERSION, 0 };
	struct front_message m;
	unsigned char id[BLK_ID_BYTES];

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	CHECK_EQ(front_send_bytes(&r.front, &h, 7, NULL, 0), 0);
	for (unsigned i = 0; i < 50; i++)
		CHECK_EQ(rig_blk(&r, BLK_GET_ID, 0, id, sizeof(id)), BLK_OK);
	CHECK_EQ(front_send_bytes(&r.front, (char *)&h + 7, sizeof(h) - 7, NULL, 0), 0);
	CHECK_EQ(front_receive(&r.front, &m), 0);
	CHECK_EQ(m.header.request, VU_GET_FEATURES);
}

static void a_hang_up_in_every_place(const char *with)
{
	struct front_header h = { VU_SET_VRING_CALL, VU_VERSION, 8 };
	unsigned char bytes[20] = { 0 };
	int fd = eventfd(0, EFD_NONBLOCK);
	unsigned fds;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(front_settle(&r.front), 0);
	fds = vubox_fds(&r.vubox) - 1;
	front_close(&r.front);
	memcpy(bytes, &h, sizeof(h));
	for (unsigned len = 0; len <= sizeof(bytes); len++) {
		rig_connect(&r);
		CHECK_EQ(front_send_bytes(&r.front, bytes, len, &fd, len > 0 ? 1 : 0), 0);
		front_close(&r.front);
	}
	next_one_is_served(fds);
}

/* It never reads its answers: it waits for itself, and for nobody else. */
static void a_front_end_that_never_reads(const char *with)
{
	struct front_header h = { VU_GET_FEATURES, VU_VERSION, 0 };
	struct front_message m;
	unsigned sent = 0;
	uint64_t ns;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(fcntl(r.front.fd, F_SETFL, O_NONBLOCK), 0);
	/* Until both directions are full, and stay so. */
	for (unsigned tries = 0; tries < 50; tries++) {
		while (send(r.front.fd, &h, sizeof(h), MSG_NOSIGNAL) == sizeof(h)) {
			sent++;
			tries = 0;
		}
		usleep(1000);
	}
	CHECK_EQ(fcntl(r.front.fd, F_SETFL, 0), 0);
	ns = vubox_cpu_ns(&r.vubox);
	usleep(100000);
	CHECK(vubox_cpu_ns(&r.vubox) - ns < 20000000); /* a fifth: it only looks now and then */
	for (unsigned i = 0; i < sent; i++) {
		CHECK_EQ(front_receive(&r.front, &m), 0);
		CHECK_EQ(m.header.request, VU_GET_FEATURES);
	}
	CHECK_EQ(front_settle(&r.front), 0);
}

/* What it does wrong again and again is not said again and again. */
static void a_front_end_cannot_flood_the_log(const char *with)
{
	unsigned lines, fds;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(front_settle(&r.front), 0);
	fds = vubox_fds(&r.vubox) - 1;
	front_close(&r.front);
	for (unsigned i = 0; i < 80; i++) {
		rig_connect(&r);
		if (i % 2)
			CHECK_EQ(front_send(&r.front, VU_GET_FEATURES, 0, "1234", 4, NULL, 0), 0);
		else
			CHECK_EQ(front_send(&r.front, VU_GET_FEATURES, 0, NULL, 0, (int[]){ 2 }, 1),
				0);
		CHECK_EQ(front_wait_closed(&r.front), 0);
		front_close(&r.front);
	}
	lines = vubox_said_times(&r.vubox, "\n");
	CHECK(lines >= 2 && lines <= 30);
	next_one_is_served(fds);
}

static const struct harness_case cases[] = {
	CASE(a_wrong_version_closes),
	CASE(a_reply_to_nothing_closes),
	CASE(an_absurd_size_closes),
	CASE(wrong_sizes_are_no_messages),
	CASE(descriptors_are_replaced),
	CASE(one_byte_at_a_time),
	CASE(cut_at_every_place),
	CASE(many_messages_in_one_write),
	CASE(rings_go_on_while_a_message_is_half_here),
	CASE(a_hang_up_in_every_place),
	CASE(a_front_end_that_never_reads),
	CASE(a_front_end_cannot_flood_the_log),
};
HARNESS_MAIN(cases)
