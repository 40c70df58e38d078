/* A good guest with a disk: its front-end, memory and requests, and how its lives go. */
#ifndef VUBOX_SOAK_GUEST_H
#define VUBOX_SOAK_GUEST_H

#include "../front/blk.h"
#include "../front/front.h"
#include "soak.h"

enum { QUEUES_MAX = 4, REQUESTS_MAX = 48, RING_BYTES = 0x8000, HOT_MAX = 6 };
/* Of the base region: rings, a page for each request, its data; and a tail that hot data overlap.
 */
enum {
	PAGES_AT = QUEUES_MAX * RING_BYTES,
	PAGE_BYTES = 4096,
	DATA_AT = PAGES_AT + REQUESTS_MAX * PAGE_BYTES,
	DATA_BYTES = 64 << 10,
	TAIL_AT = DATA_AT + REQUESTS_MAX * DATA_BYTES,
	HOT_BYTES = 256 << 10,
	HOT_DATA_BYTES = 32 << 10,
	HOT_DATA_MAX = HOT_MAX * (HOT_BYTES / HOT_DATA_BYTES),
	BASE_BYTES = TAIL_AT + HOT_DATA_BYTES / 2
};

/* One that is on its way. Its data is at DATA_AT, or (hot > 0) in data place hot - 1. */
struct request {
	bool out, scattered; /* its data lies about in pieces */
	unsigned queue, hot;
	uint32_t sector, count, generation; /* of a write; 0: zeroes */
	struct blk_request blk;
};

struct guest {
	const struct seat *seat;
	struct soak_peace peace;
	struct front front;
	bool gone; /* the connection is closed, or does not work any more */
	uint64_t want_features, want_protocol;
	struct front_memory memory;
	uint64_t base, user; /* guest and user address of the base region */
	bool plugged[HOT_MAX];
	bool hot_taken[HOT_DATA_MAX];
	struct front_queue queues[QUEUES_MAX];
	unsigned queue_count, polled; /* polled: bits of queues without a kick */
	unsigned out[QUEUES_MAX];     /* requests on their way */
	struct request requests[REQUESTS_MAX];
	int inflight_fd;
	struct front_inflight inflight;
	uint32_t capacity; /* sectors; known from the life before, too */
};

extern struct guest guest;

/* What a call of the front-end gave: true if it is 0. Else this life is over, or it is a bug. */
bool guest_did(int result, const char *what);

/* ---- guest_memory.c ---- */

bool memory_open(void);
void memory_close(void);
/* Tells vubox of all of it. */
bool memory_share(void);
/* Adds or removes a region while rings run. */
void memory_plug(void);
void memory_unplug(void);
/* A place for hot data whose regions are there: its number + 1, or 0. */
unsigned memory_take_hot(void);
uint64_t memory_hot(unsigned hot);

/* ---- guest_io.c ---- */

/* Makes some requests on a queue, and shows them. */
void io_submit(unsigned queue, unsigned count);
/* Takes what has come back, and looks at it. */
void io_reap(unsigned queue);
/* Waits until something has come back, by its call or by looking. */
void io_wait(unsigned queue);
/* Waits for all of it. */
void io_drain(void);
/* What is still out will never come back; torn: and it may be half done. */
void io_lose(bool torn);
/* Reads all of the disk. */
void io_verify(void);

#endif
