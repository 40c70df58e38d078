/* VIRTIO 1.4, 5.10: socket device. */
#ifndef VUBOX_SPEC_VIRTIO_VSOCK_H
#define VUBOX_SPEC_VIRTIO_VSOCK_H

#include "le.h"

/* 5.10.3: Feature bits */
#define VIRTIO_VSOCK_F_STREAM    (1ull << 0)
#define VIRTIO_VSOCK_F_SEQPACKET (1ull << 1)

/* 5.10.2: Virtqueues */
enum { VIRTIO_VSOCK_RX = 0, VIRTIO_VSOCK_TX = 1, VIRTIO_VSOCK_EVENT = 2 };

/* 5.10.4: the host's CID, and those that are no guest's */
enum { VIRTIO_VSOCK_CID_HOST = 2, VIRTIO_VSOCK_CID_FIRST = 3 };
#define VIRTIO_VSOCK_CID_LAST 0xfffffffeu

struct virtio_vsock_config {
	le64 guest_cid;
};
_Static_assert(sizeof(struct virtio_vsock_config) == 8, "5.10.4");

/* 5.10.6: Device Operation */
struct virtio_vsock_hdr {
	le64 src_cid, dst_cid;
	le32 src_port, dst_port;
	le32 len;
	le16 type, op;
	le32 flags;
	le32 buf_alloc, fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_vsock_hdr) == 44, "5.10.6");

enum {
	VIRTIO_VSOCK_OP_INVALID = 0,
	VIRTIO_VSOCK_OP_REQUEST = 1,
	VIRTIO_VSOCK_OP_RESPONSE = 2,
	VIRTIO_VSOCK_OP_RST = 3,
	VIRTIO_VSOCK_OP_SHUTDOWN = 4,
	VIRTIO_VSOCK_OP_RW = 5,
	VIRTIO_VSOCK_OP_CREDIT_UPDATE = 6,
	VIRTIO_VSOCK_OP_CREDIT_REQUEST = 7,
};

enum { VIRTIO_VSOCK_TYPE_STREAM = 1, VIRTIO_VSOCK_TYPE_SEQPACKET = 2 };

/* 5.10.6.5: of SHUTDOWN */
enum { VIRTIO_VSOCK_SHUTDOWN_RCV = 1, VIRTIO_VSOCK_SHUTDOWN_SEND = 2 };
/* 5.10.6.6.1: of a seqpacket's RW */
enum { VIRTIO_VSOCK_SEQ_EOM = 1, VIRTIO_VSOCK_SEQ_EOR = 2 };

/* 5.10.6.7: Device Events */
struct virtio_vsock_event {
	le32 id;
};
enum { VIRTIO_VSOCK_EVENT_TRANSPORT_RESET = 0 };

#endif
