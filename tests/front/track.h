/*
 * The in-flight buffer as the spec lays it out ("Inflight I/O tracking"), for each format of rings:
 * looked into, and forged as a life that was cut at a given point leaves it.
 */
#ifndef VUBOX_TESTS_TRACK_H
#define VUBOX_TESTS_TRACK_H

#include "rig.h"

struct track_split_desc {
	uint8_t inflight, padding[5];
	uint16_t next;
	uint64_t counter;
};

struct track_split {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct track_split_desc desc[];
};

struct track_packed_desc {
	uint8_t inflight, padding;
	uint16_t next, last, num;
	uint64_t counter;
	uint16_t id, flags;
	uint32_t len;
	uint64_t addr;
};

struct track_packed {
	uint64_t features;
	uint16_t version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	uint8_t used_wrap_counter, old_used_wrap_counter, padding[7];
	struct track_packed_desc desc[];
};

struct track {
	struct front_inflight want;
	int fd;
	unsigned char *map;
};

/* GET_INFLIGHT_FD, and maps what comes. */
void track_get(struct track *t, struct front *f, uint16_t queues, uint16_t size);
void track_put(struct track *t);

/* A queue's region, as the format of the case has it. */
struct track_split *track_split(const struct track *t, unsigned queue);
struct track_packed *track_packed(const struct track *t, unsigned queue);

/* How many heads are marked in flight. */
unsigned track_in_flight(const struct track *t, unsigned queue);
uint16_t track_version(const struct track *t, unsigned queue);
/* Nothing is in flight, and the buffer is where the used ring is. */
void track_check_rest(const struct track *t, const struct front_queue *q);
/* The greatest counter in the region. */
uint64_t track_last_counter(const struct track *t, unsigned queue);

/* ---- forged: of a ring that is stopped, all of whose chains were added but none taken ---- */

/* A life that has nothing in flight, and was cut. */
void track_forge(const struct track *t, const struct front_queue *q);
/* It has taken this chain (its head or id); packed ones in the order of the ring. */
void track_forge_take(
	const struct track *t, const struct front_queue *q, uint16_t head, uint64_t counter);

/* How far it came with giving a batch back. */
enum track_stage {
	TRACK_PREPARED, /* all but the one store that lets the driver see it */
	TRACK_VISIBLE,  /* and that store */
	TRACK_CLEARING, /* and the first mark is cleared */
	TRACK_CLEARED,  /* all but the last stores */
	TRACK_STAGES
};
void track_forge_publish(const struct track *t, const struct front_queue *q, const uint16_t *heads,
	unsigned count, enum track_stage stage);

#endif
