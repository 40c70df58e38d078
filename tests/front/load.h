/*
 * A verifying load on several queues: reads, writes, zeroes and flushes of blocks that belong to
 * one slot each, so that their order is no matter. Every request must come back exactly once, with
 * the data that the model has.
 */
#ifndef VUBOX_TESTS_LOAD_H
#define VUBOX_TESTS_LOAD_H

#include "rig.h"

struct load_request {
	bool out;
	uint32_t type, len;
	uint64_t sector;
};

struct load {
	struct rig *rig;
	unsigned queues, depth; /* requests of each queue at a time; queues * depth slots */
	struct load_request requests[RIG_SLOTS];
	unsigned char model[RIG_DISK_BYTES], pending[RIG_SLOTS][32768];
	uint64_t done;
};

void load_open(struct load *l, struct rig *r, unsigned queues, unsigned depth);
/* Makes as many new requests as there is room for, on one queue or (~0) all, and kicks. */
void load_fill(struct load *l, unsigned queue);
/* Takes what has come back, and checks it: how many. */
unsigned load_poll(struct load *l);
/* Goes on until so many more have come back. */
void load_run(struct load *l, unsigned count);
/* Takes all that is out; makes nothing new. */
void load_drain(struct load *l);
/* Nothing is out, nothing more comes, and the disk is as the model says. */
void load_check(struct load *l);
/* How many are out. */
unsigned load_out(const struct load *l);

#endif
