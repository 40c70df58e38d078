/*
 * A driver for a loop in which every nanosecond is the measurement's error. tests/front's drivers
 * judge the device and follow every rule of a chain; this one trusts the device, and all its chains
 * are of one shape. Like Linux's it writes each descriptor anew for each request.
 */
#ifndef VUBOX_BENCH_RING_H
#define VUBOX_BENCH_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "../front/driver.h"

enum { SEGMENTS_MAX = 126 };

/* What a device reads and writes of a request beside its data: one cache line, as Linux has it. */
struct slot_shared {
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	uint8_t status;
};
enum { HEADER_BYTES = 16, STATUS_BYTES = 1 };

struct ring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t a, b; /* split: flags, next; packed: id, flags */
};

/* A place for a request. */
struct slot {
	struct slot_shared *shared;
	unsigned char *data;
	struct ring_desc *table; /* for indirect descriptors */
	uint64_t shared_at, data_at, table_at;
	uint64_t started_ns, sector;
	bool read;
};

struct ring {
	struct driver *d; /* where the ring is, and how large */
	bool indirect;
	unsigned segments, segment_bytes; /* of a request's data */
	uint32_t table_bytes;
	uint16_t descs; /* of the ring's that a request takes */
	uint16_t free_count;
	uint16_t added, published, taken; /* split */
	uint16_t next, used, first,
		dirty;       /* packed: places; what is not published begins at first */
	uint16_t avail_flag; /* AVAIL or USED: which of them is set in a descriptor of this lap */
	bool used_wrap;
	uint16_t first_flags;
	uint16_t free[DRIVER_SIZE_MAX];    /* heads or ids */
	struct slot *out[DRIVER_SIZE_MAX]; /* by head or id */
};

struct ring_format {
	void (*open)(struct ring *r, unsigned requests);
	void (*add)(struct ring *r, struct slot *s);
	/* Shows the device what was added; true if it wants to be kicked. */
	bool (*publish)(struct ring *r);
	bool (*has_used)(const struct ring *r);
	/* What has come back. */
	struct slot *(*take)(struct ring *r);
	void (*want_calls)(struct ring *r, bool on);
};

extern const struct ring_format ring_split, ring_packed;

#endif
