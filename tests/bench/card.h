/*
 * The quick driver of a device that moves packets: rings whose chains are one buffer each. It
 * trusts the device; tests/front's drivers are those that judge it.
 */
#ifndef VUBOX_BENCH_CARD_H
#define VUBOX_BENCH_CARD_H

#include <stdbool.h>
#include <stdint.h>

#include "../front/front.h"

enum { CARD_LANES_MAX = 3, CARD_RING = 256 };

/* A ring. Its buffers are its own, one for each descriptor. */
struct lane {
	struct front_queue queue;
	bool from_device;
	uint32_t bytes, stride; /* of a buffer */
	uint64_t at;            /* of the first one */
	unsigned char *host;
	uint16_t added, published, taken, free_count;
	uint16_t free[CARD_RING];
};

struct card {
	struct front front;
	struct front_memory memory;
	struct lane lanes[CARD_LANES_MAX];
	unsigned count;
};

/* What a ring is for. */
struct lane_kind {
	bool from_device;
	uint32_t bytes;
};

/* Connects, shares memory, starts the rings, gives the device all buffers that it may write. */
void card_open(struct card *c, const char *socket, uint64_t features, const struct lane_kind *kinds,
	unsigned count);

/* The buffer that lane_add makes available next; there must be one (free_count). */
static inline unsigned char *lane_next(const struct lane *l)
{
	return l->host + (size_t)l->free[l->free_count - 1] * l->stride;
}

void lane_add(struct lane *l, uint32_t len);
/* Shows the device what was added, and kicks it if it wants that. */
void lane_publish(struct lane *l);

static inline bool lane_has_used(const struct lane *l)
{
	return driver_load16(l->queue.driver.used + 2) != l->taken;
}

/* What has come back: its buffer, which is lane_next now, and how much was written. */
unsigned char *lane_take(struct lane *l, uint32_t *len);
void lane_want_calls(struct lane *l, bool on);

#endif
