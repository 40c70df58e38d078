/* src/dev/vsock_sibling.c: sockets between guests of one process. */
#include <errno.h>

#include "vsock_side.h"

static struct guest_side b = { .cid = 4, .buf_alloc = 1 << 18 };

static void serve_two(void)
{
	fake_reset(1);
	rig_patience_ns = 1000000;
	CHECK_EQ(rig_main("vubox vsock -s /s --guest-cid=3 --uds-path=/u "
			  "-- vsock -s /t --guest-cid=4 --uds-path=/w"),
		FAKE_IDLE);
	front_start(&a.front, "/s", 3, features_of(true));
	front_start(&b.front, "/t", 3, features_of(true));
}

static bool say_to_b(unsigned op, const void *data, uint32_t len)
{
	struct virtio_vsock_hdr h = header(&a, op, b.cid, 1, 2);

	h.len = le32_put(len);
	return send(&a, h, data, len);
}

CASE(from_guest_to_guest)
{
	static char data[10000];
	uint32_t have = 0;

	serve_two();
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 3 + i / 256);
	CHECK(say_to_b(VIRTIO_VSOCK_OP_REQUEST, NULL, 0));
	CHECK_EQ(hear(&b), VIRTIO_VSOCK_OP_REQUEST);
	CHECK_EQ(le64_get(b.last.src_cid), a.cid);
	CHECK(send(&b, header(&b, VIRTIO_VSOCK_OP_RESPONSE, a.cid, 2, 1), NULL, 0));
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RESPONSE);
	CHECK(say_to_b(VIRTIO_VSOCK_OP_RW, data, sizeof(data)));
	for (; have < sizeof(data); have += b.len) {
		CHECK_EQ(hear(&b), VIRTIO_VSOCK_OP_RW);
		CHECK_BYTES(b.data, data + have, b.len);
	}
	CHECK_EQ(hear(&b), -1);
	CHECK_EQ(le32_get(b.last.src_port), 1);
}

/* However many connections there are to one guest, there is room for those to another. */
CASE(each_guest_has_its_share_of_connections)
{
	enum { SHARE = CONFIG_VSOCK_CONNS / 2 };
	int fd;

	serve_two();
	for (unsigned i = 0; i < SHARE; i++) {
		fd = fake_connect("/u");
		CHECK(fd >= 0);
		run(100000);
		CHECK_EQ(fake_peek(fd), -EAGAIN);
	}
	fd = fake_connect("/u");
	run(100000);
	CHECK_EQ(fake_peek(fd), 0);
	CHECK(fake_log_has("turned away: there are 512 connections already"));
	fd = fake_connect("/w");
	run(100000);
	CHECK_EQ(fake_peek(fd), -EAGAIN);
}

CASE(a_guest_that_takes_nothing)
{
	static char data[65536];
	unsigned sent = 0;
	uint32_t id, len;
	int listener;

	serve_two();
	listener = fake_listen("/u_80");
	while (say_to_b(VIRTIO_VSOCK_OP_RW, data, sizeof(data)))
		CHECK(++sent < 20);
	/* One waits, but not for long: others have their turn, and it gets RST. */
	run(300000000);
	CHECK(driver_used(&a.front.rings[TX], &id, &len));
	say(&a, VIRTIO_VSOCK_OP_REQUEST, 7, 0);
	CHECK(fake_accept(listener) >= 0);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	CHECK_EQ(le64_get(a.last.src_cid), b.cid);
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RESPONSE);
	CHECK(say_to_b(VIRTIO_VSOCK_OP_RW, data, 1));
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	/* It takes something again. */
	CHECK_EQ(hear(&b), VIRTIO_VSOCK_OP_RW);
	while (hear(&b) >= 0)
		;
	CHECK(say_to_b(VIRTIO_VSOCK_OP_RW, data, 10));
	CHECK_EQ(hear(&b), VIRTIO_VSOCK_OP_RW);
	CHECK_EQ(b.len, 10);
}

/* As long as it takes some of it, the sender waits for it, and nothing is lost. */
CASE(a_guest_that_is_slow)
{
	static char data[60000];
	uint32_t id, len, total = 0, sent = 0;

	serve_two();
	do
		sent += sizeof(data);
	while (say_to_b(VIRTIO_VSOCK_OP_RW, data, sizeof(data)));
	while (total < sent) {
		CHECK_EQ(hear(&b), VIRTIO_VSOCK_OP_RW);
		total += b.len;
		run(50000000);
	}
	CHECK(driver_used(&a.front.rings[TX], &id, &len));
	CHECK_EQ(hear(&a), -1);
}

CASE(a_guest_that_goes_with_packets_for_it)
{
	static char data[65536];
	uint32_t id, len;

	serve_two();
	while (say_to_b(VIRTIO_VSOCK_OP_RW, data, sizeof(data)))
		;
	front_hang_up(&b.front);
	(void)rig_run();
	CHECK(driver_used(&a.front.rings[TX], &id, &len));
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
	CHECK(say_to_b(VIRTIO_VSOCK_OP_REQUEST, NULL, 0));
	CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RST);
}
