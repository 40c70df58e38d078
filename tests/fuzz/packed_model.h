/*
 * What a device must make of a packed ring (VIRTIO 2.8), worked out once more from a copy of guest
 * memory: the chains that it has to take, and whether it has to stop at a broken rule.
 */
#ifndef VUBOX_FUZZ_PACKED_MODEL_H
#define VUBOX_FUZZ_PACKED_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_CHAINS_MAX = 64, MODEL_WRAP = 0x8000 };

struct model_chain {
	uint16_t id, slots;
	uint64_t writable;
	bool back; /* for whoever compares */
};

/* Guest memory, and the ring at its start. */
struct model_ring {
	const char *mem;
	uint64_t gpa;
	size_t mem_bytes;
	size_t tables, tables_end; /* tables outside of this may change before they are read */
	uint16_t size, start;      /* a place: index, and the wrap counter in bit 15 */
	bool indirect;
};

struct model {
	struct model_chain chains[MODEL_CHAINS_MAX];
	unsigned count;
	uint16_t end;   /* the place behind them */
	bool breaks;    /* the next one breaks a rule */
	bool may_break; /* something that is not looked at may break one */
	bool unsure;    /* what comes behind depends on when used descriptors are written */
};

void model_walk(struct model *m, const struct model_ring *ring);

/* The place n slots behind another. */
uint16_t model_step(uint16_t size, uint16_t place, unsigned n);
/* How many slots `to` is behind `from`, which is less than a round. */
unsigned model_ahead(uint16_t size, uint16_t from, uint16_t to);

#endif
