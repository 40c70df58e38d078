/* VIRTIO 1.4, 2.7 and 2.8: the split and the packed virtqueue. */
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

/* 2.8.1: Driver and Device Ring Wrap Counters. The flags 1, 2 and 4 are those of 2.7.5. */
enum { PVIRTQ_DESC_F_AVAIL = 1 << 7, PVIRTQ_DESC_F_USED = 1 << 15 };

/* 2.8.13: The Virtqueue Descriptor Format */
struct pvirtq_desc {
	le64 addr;
	le32 len;
	le16 id;
	le16 flags;
};
_Static_assert(sizeof(struct pvirtq_desc) == 16, "2.8.13");

/* 2.8.10, 2.8.14: Driver and Device Event Suppression. A place has its wrap counter in bit 15. */
enum {
	RING_EVENT_FLAGS_ENABLE = 0,
	RING_EVENT_FLAGS_DISABLE = 1,
	RING_EVENT_FLAGS_DESC = 2,
	RING_EVENT_FLAGS_MASK = 3,
};

struct pvirtq_event_suppress {
	le16 desc;
	le16 flags;
};
_Static_assert(sizeof(struct pvirtq_event_suppress) == 4, "2.8.14");

#endif
