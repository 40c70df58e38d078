/* A network card's driver over a rig, for suites whose vubox has net devices. */
#ifndef VUBOX_TESTS_NIC_H
#define VUBOX_TESTS_NIC_H

#include "rig.h"

enum { NIC_FRAME_MAX = 65536 + 14, NIC_SENDS = 32 };

/* VIRTIO 5.1.6, little-endian. */
struct nic_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

#define NIC_F(name) (1ull << NIC_F_##name)
enum {
	NIC_F_CSUM = 0,
	NIC_F_GUEST_CSUM = 1,
	NIC_F_GUEST_TSO4 = 7,
	NIC_F_GUEST_TSO6 = 8,
	NIC_F_GUEST_ECN = 9,
	NIC_F_HOST_TSO4 = 11,
	NIC_F_HOST_TSO6 = 12,
	NIC_F_HOST_ECN = 13,
	NIC_F_MRG_RXBUF = 15,
};
#define NIC_OFFLOADS                                                               \
	(NIC_F(CSUM) | NIC_F(GUEST_CSUM) | NIC_F(GUEST_TSO4) | NIC_F(GUEST_TSO6) | \
		NIC_F(GUEST_ECN) | NIC_F(HOST_TSO4) | NIC_F(HOST_TSO6) | NIC_F(HOST_ECN))
/* Ring and transport: whatever is offered. */
#define NIC_TRANSPORT (~0ull << 28 & ~(3ull << 54))

struct nic {
	struct rig r;
	uint32_t buffer; /* bytes of a receive buffer */
	unsigned given;  /* … that the device has */
	unsigned sent;   /* … slots of frames that it has, in their order */
	unsigned next, posted;
};

/* Connects to a socket of this name in the case's directory, and starts one pair of queues. */
void nic_open(struct nic *n, const char *socket, uint64_t features, uint32_t buffer);
/* What a front-end that dies leaves; nic_open may follow. */
void nic_close(struct nic *n);

/* Gives all receive buffers that the device has not. */
void nic_offer(struct nic *n);
/* Hands a frame to the device, in pieces of any length; false: its slots are all in use. */
bool nic_post(struct nic *n, const struct nic_header *hdr, const void *frame, uint32_t len);
/* Takes back what was sent. */
void nic_reap(struct nic *n);
/* Posts, and waits until it comes back. */
void nic_send(struct nic *n, const struct nic_header *hdr, const void *frame, uint32_t len);
/* The next frame that has come, whole: its length, or -1 if none is there now. */
int nic_poll(struct nic *n, struct nic_header *hdr, void *frame);
/* Waits for it. */
uint32_t nic_receive(struct nic *n, struct nic_header *hdr, void *frame);

/* Puts broadcast or an address with this number, and that of the sender. */
void nic_address(void *frame, unsigned to, unsigned from);
enum { NIC_BROADCAST = 0xffff };

#endif
