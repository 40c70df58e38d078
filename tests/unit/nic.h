/* A driver of a net device with one pair of queues and a control queue, for the suites net*.c. */
#ifndef VUBOX_NIC_H
#define VUBOX_NIC_H

#include "rig.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"
#include "unit.h"

enum { RX = 0, TX = 1, CTRL = 2, HEADER = sizeof(struct virtio_net_hdr) };
/* Places in the guest's data: a frame that it sends, a command, and receive buffers. */
enum { SEND_AT = 0, CTRL_AT = 0x18000, ACK_AT = 0x1f000, RECEIVE_AT = 0x20000, SLOT = 0x8000 };
#define BROADCAST "\xff\xff\xff\xff\xff\xff"
#define OUR_MAC   "\x52\x54\0\0\0\x01"

#define ALL_TAKES                                                                           \
	(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 |      \
		VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_UFO | VIRTIO_NET_F_GUEST_USO4 | \
		VIRTIO_NET_F_GUEST_USO6)
#define ALL_GIVES                                                              \
	(VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 | \
		VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_UFO | VIRTIO_NET_F_HOST_USO)

struct nic {
	struct front front;
	uint32_t buffer; /* bytes of a receive buffer; 0: all of its slot */
};

/* Gives a queue of receiving n buffers. */
static inline void nic_offer_to(struct nic *nic, unsigned rx, unsigned n)
{
	struct driver *d = &nic->front.rings[rx];

	for (unsigned i = 0; i < n; i++) {
		uint32_t at = RECEIVE_AT + d->avail_idx % 16 * SLOT;
		struct buffer b = { front_addr(at), nic->buffer ? nic->buffer : SLOT, true };

		driver_add(d, &b, 1);
	}
	front_kick(&nic->front, rx);
}

static inline void nic_offer(struct nic *nic, unsigned n)
{
	nic_offer_to(nic, RX, n);
}

/* The next frame that came, over any buffers: its length behind the header, or -1. */
static inline int nic_take_from(
	struct nic *nic, unsigned rx, struct virtio_net_hdr *hdr, uint8_t *frame)
{
	struct virtio_net_hdr own = { 0 };
	uint32_t id, len, have = 0, count = 1;

	if (hdr)
		*hdr = own;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *at;

		if (!driver_used(&nic->front.rings[rx], &id, &len))
			return i == 0 ? -1 : (FAIL("a frame without its end"), -1);
		at = (const uint8_t *)front_data(&nic->front, RECEIVE_AT + id % 16 * SLOT);
		if (i == 0) {
			CHECK(len >= HEADER);
			memcpy(&own, at, HEADER);
			count = le16_get(own.num_buffers);
			CHECK(count > 0);
			at += HEADER;
			len -= HEADER;
		}
		if (frame)
			memcpy(frame + have, at, len);
		have += len;
	}
	if (hdr)
		*hdr = own;
	return (int)have;
}

static inline int nic_take(struct nic *nic, struct virtio_net_hdr *hdr, uint8_t *frame)
{
	return nic_take_from(nic, RX, hdr, frame);
}

/* Sends header and frame in two buffers; dies if they do not come back. */
static inline void nic_send(
	struct nic *nic, const struct virtio_net_hdr *hdr, const void *frame, uint32_t len)
{
	static const struct virtio_net_hdr none;
	uint32_t id, used;

	memcpy(front_data(&nic->front, SEND_AT), hdr ? hdr : &none, HEADER);
	memcpy(front_data(&nic->front, SEND_AT + HEADER), frame, len);
	driver_add(&nic->front.rings[TX],
		(struct buffer[]){ { front_addr(SEND_AT), HEADER, false },
			{ front_addr(SEND_AT + HEADER), len, false } },
		2);
	front_kick(&nic->front, TX);
	CHECK(driver_used(&nic->front.rings[TX], &id, &used));
	CHECK_EQ(used, 0);
}

/* Sends a command of so many bytes: its answer, or -1. */
static inline int nic_command_bytes(struct nic *nic, const void *bytes, uint32_t len)
{
	uint8_t *ack = (uint8_t *)front_data(&nic->front, ACK_AT);
	uint32_t id, used;

	*ack = 0xaa;
	memcpy(front_data(&nic->front, CTRL_AT), bytes, len);
	driver_add(&nic->front.rings[CTRL],
		(struct buffer[]){
			{ front_addr(CTRL_AT), len, false }, { front_addr(ACK_AT), 1, true } },
		2);
	front_kick(&nic->front, CTRL);
	if (!driver_used(&nic->front.rings[CTRL], &id, &used))
		return -1;
	CHECK_EQ(used, 1);
	return *ack;
}

static inline int nic_command(
	struct nic *nic, unsigned class, unsigned command, const void *data, uint32_t len)
{
	uint8_t bytes[1024] = { (uint8_t) class, (uint8_t)command };

	CHECK(len <= sizeof(bytes) - 2);
	memcpy(bytes + 2, data, len);
	return nic_command_bytes(nic, bytes, 2 + len);
}

/* The header of a frame of TCP or UDP with its checksum left to do. */
static inline struct virtio_net_hdr segments(unsigned type)
{
	return (struct virtio_net_hdr){ VIRTIO_NET_HDR_F_NEEDS_CSUM, (uint8_t)type, le16_put(54),
		le16_put(1000), le16_put(34), le16_put(16), le16_put(7) };
}

/* A frame with these addresses, and bytes that tell its number. */
static inline const uint8_t *nic_frame(
	const void *to, const void *from, unsigned number, uint32_t len)
{
	static uint8_t frame[1 << 17];

	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	memcpy(frame + 12, "\x08", 2);
	return frame;
}

static inline uint64_t nic_errors(unsigned queue)
{
	return rig_device(0)->queues[queue].counts.errors;
}

#endif
