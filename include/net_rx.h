/* Frames for a guest: into the chains of a receive queue (VIRTIO 5.1.6.4). */
#ifndef VUBOX_NET_RX_H
#define VUBOX_NET_RX_H

#include "queue.h"
#include "spec/virtio_net.h"

/* Ethernet, two VLANs, and the longest IP packet. */
enum { NET_FRAME_MIN = 14, NET_FRAME_MAX = 22 + 65535 };

/* The bytes of a frame: some of ours, then some of a guest's or ours. It is used up on the way. */
struct net_source {
	const uint8_t *head;
	uint32_t head_len;
	const uint8_t *body; /* NULL: from the reader */
	uint32_t body_len;
	struct reader reader;
};

/*
 * Gives a guest one frame: 1. 0: it has not buffers enough now, and nothing is taken of them;
 * -EMSGSIZE: it never will have, or too many were looked at in vain in this tick; -EAGAIN: others
 * hold what that needs; -ENOTCONN: its queue does not work now; -EINVAL: its driver broke a rule,
 * and the queue is broken. The source's reader must have no holes.
 */
int net_put(struct queue *rx, bool mergeable, const struct virtio_net_hdr *hdr,
	struct net_source *from);

#endif
