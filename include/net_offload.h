/*
 * Offloads done in software (VIRTIO 5.1.6.2): for a frame whose sender left checksum and
 * segmentation to the device, and whose receiver takes neither. Plain bytes: the frame is a copy.
 */
#ifndef VUBOX_NET_OFFLOAD_H
#define VUBOX_NET_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "spec/virtio_net.h"

enum {
	NET_HEADERS_MAX = 256, /* bytes before the payload of a frame that is cut */
	NET_SEGMENTS_MAX =
		256, /* that one becomes: it fills a ring, and no driver's MTU needs more */
};

/* A frame that is being cut. What is not cut is one piece. */
struct net_offload {
	const uint8_t *frame;
	uint32_t len;
	uint32_t l3, l4, headers; /* where they begin, and where all of them end */
	uint32_t size, at;        /* of payload: in a segment, and done */
	uint32_t segment;
	bool ipv6, udp;
};

/* A frame as it goes over the wire: headers, then payload. */
struct net_piece {
	uint8_t headers[NET_HEADERS_MAX];
	uint32_t header_len, payload_len;
	const uint8_t *payload;
};

/* Completes the checksum in place, or begins to cut. False: the header lies about the frame. */
bool net_offload_begin(
	struct net_offload *o, const struct virtio_net_hdr *hdr, uint8_t *frame, uint32_t len);
/* The next piece; false: there is none. */
bool net_offload_next(struct net_offload *o, struct net_piece *piece);

#endif
