/* VIRTIO 1.4, 2.7: the split virtqueue. */
#ifndef VUBOX_SPEC_VIRTIO_RING_H
#define VUBOX_SPEC_VIRTIO_RING_H

#include <stddef.h>

#include "le.h"

/* 2.7.5: The Virtqueue Descriptor Table */
enum { VIRTQ_DESC_F_NEXT = 1, VIRTQ_DESC_F_WRITE = 2, VIRTQ_DESC_F_INDIRECT = 4 };

struct virtq_desc {
	le64 addr;
	le32 len;
	le16 flags;
	le16 next;
};
_Static_assert(sizeof(struct virtq_desc) == 16, "2.7.5");

/* 2.7.6: The Virtqueue Available Ring. Behind ring[size] lies used_event. */
enum { VIRTQ_AVAIL_F_NO_INTERRUPT = 1 };

struct virtq_avail {
	le16 flags;
	le16 idx;
	le16 ring[];
};
_Static_assert(sizeof(struct virtq_avail) == 4, "2.7.6");

/* 2.7.8: The Virtqueue Used Ring. Behind ring[size] lies avail_event. */
enum { VIRTQ_USED_F_NO_NOTIFY = 1 };

struct virtq_used_elem {
	le32 id;
	le32 len;
};
_Static_assert(sizeof(struct virtq_used_elem) == 8, "2.7.8");

struct virtq_used {
	le16 flags;
	le16 idx;
	struct virtq_used_elem ring[];
};
_Static_assert(sizeof(struct virtq_used) == 4, "2.7.8");

#endif
