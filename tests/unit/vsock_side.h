/* For the suites of the socket device: a guest that sends and gets one packet at a time. */
#ifndef VUBOX_VSOCK_SIDE_H
#define VUBOX_VSOCK_SIDE_H

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_vsock.h"
#include "unit.h"

enum { RX = VIRTIO_VSOCK_RX, TX = VIRTIO_VSOCK_TX, EVENT = VIRTIO_VSOCK_EVENT };
enum { HEADER = sizeof(struct virtio_vsock_hdr), BUFFER = 4096, TX_AT = 0x8000, TX_MAX = 0x20000 };
enum { HOST_PORT = 80 };

/* A guest, and what it has got last. */
struct guest_side {
	struct front front;
	uint64_t cid;
	bool waits; /* a receive buffer is out */
	struct virtio_vsock_hdr last;
	char data[BUFFER];
	uint32_t len;
	uint32_t buf_alloc, fwd_cnt;
};

static struct guest_side a = { .cid = 3, .buf_alloc = 1 << 18 };

static inline uint16_t features_of(bool messages)
{
	return VIRTIO_VSOCK_F_STREAM | (messages ? VIRTIO_VSOCK_F_SEQPACKET : 0);
}

static inline void serve(void)
{
	fake_reset(1);
	rig_patience_ns = 1000000;
	CHECK_EQ(rig_main("vubox vsock -s /s --guest-cid=3 --uds-path=/u"), FAKE_IDLE);
	front_start(&a.front, "/s", 3, features_of(true));
}

static inline void run(uint64_t ns)
{
	rig_patience_ns = ns;
	(void)rig_run();
	rig_patience_ns = 1000000;
}

/* The op of the next packet, or -1 if there is none. */
static inline int hear(struct guest_side *g)
{
	uint32_t id, len;

	if (!g->waits) {
		driver_add(&g->front.rings[RX], &(struct buffer){ front_addr(0), BUFFER, true }, 1);
		g->waits = true;
	}
	front_kick(&g->front, RX);
	if (!driver_used(&g->front.rings[RX], &id, &len))
		return -1;
	g->waits = false;
	CHECK(len >= HEADER && len <= BUFFER);
	memcpy(&g->last, front_data(&g->front, 0), HEADER);
	g->len = len - HEADER;
	memcpy(g->data, front_data(&g->front, HEADER), g->len);
	CHECK_EQ(le32_get(g->last.len), g->len);
	CHECK_EQ(le64_get(g->last.dst_cid), g->cid);
	return le16_get(g->last.op);
}

static inline struct virtio_vsock_hdr header(
	const struct guest_side *g, unsigned op, uint64_t cid, uint32_t port, uint32_t peer_port)
{
	return (struct virtio_vsock_hdr){ .src_cid = le64_put(g->cid),
		.dst_cid = le64_put(cid),
		.src_port = le32_put(port),
		.dst_port = le32_put(peer_port),
		.type = le16_put(VIRTIO_VSOCK_TYPE_STREAM),
		.op = le16_put((uint16_t)op),
		.buf_alloc = le32_put(g->buf_alloc),
		.fwd_cnt = le32_put(g->fwd_cnt) };
}

/* Makes a packet available; true if it is taken. */
static inline bool send(
	struct guest_side *g, struct virtio_vsock_hdr h, const void *data, uint32_t len)
{
	uint32_t id, used;

	CHECK(len <= TX_MAX);
	memcpy(front_data(&g->front, TX_AT), &h, HEADER);
	if (len > 0)
		memcpy(front_data(&g->front, TX_AT + HEADER), data, len);
	driver_add(
		&g->front.rings[TX], &(struct buffer){ front_addr(TX_AT), HEADER + len, false }, 1);
	front_kick(&g->front, TX);
	return driver_used(&g->front.rings[TX], &id, &used);
}

static inline void say(struct guest_side *g, unsigned op, uint32_t port, uint32_t flags)
{
	struct virtio_vsock_hdr h = header(g, op, VIRTIO_VSOCK_CID_HOST, port, HOST_PORT);

	h.flags = le32_put(flags);
	CHECK(send(g, h, NULL, 0));
}

static inline void say_data(struct guest_side *g, uint32_t port, const void *data, uint32_t len)
{
	struct virtio_vsock_hdr h =
		header(g, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_CID_HOST, port, HOST_PORT);

	h.len = le32_put(len);
	CHECK(send(g, h, data, len));
}

#endif
