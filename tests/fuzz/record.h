/*
 * In-flight records of both formats (inflight.h), used as the rings use them, by a process that
 * dies before any store to them. A format is a table of functions; the rest is here.
 */
#ifndef VUBOX_FUZZ_RECORD_H
#define VUBOX_FUZZ_RECORD_H

#include "fuzz.h"
#include "inflight.h"

enum { RECORD_SIZE_MAX = 16 };

/* What has become of an entry: OWED was found in an earlier life's record. */
enum record_state { RECORD_FREE, RECORD_OWED, RECORD_TAKEN, RECORD_PUSHED };

struct record_entry {
	uint8_t state; /* enum record_state */
	uint16_t slots;
	uint64_t order; /* of all that were taken, this was the n-th */
};

struct record {
	struct inflight in;
	struct guest *region;
	size_t bytes;
	uint16_t desc_num, ring_size;
	bool honest;  /* nobody else writes into the region */
	bool stopped; /* it says what no ring can be, and vubox has noticed */
	struct record_entry entries[RECORD_SIZE_MAX];
	uint64_t orders;
	uint16_t batch;
	uint16_t used;  /* where the next used element goes */
	uint16_t shown; /* what the driver has been told of it */
	uint16_t fresh; /* what the front-end says of it: wrong after a death */
	uint16_t slots; /* of the ring, that a life found in flight */
};

struct record_format {
	bool packed;
	/* The size of a ring, and where it begins, from what the input says. */
	uint16_t (*size)(uint8_t choice);
	uint16_t (*place)(uint16_t choice);
	/* Where a used element of an entry leaves the next one's place. */
	uint16_t (*behind)(uint16_t used, uint16_t slots);
	/* Attaches the region: how many are found, or -errno; sets record.used and record.slots. */
	int (*attach)(void);
	/* The entry that comes next, and how many slots it is to have; negative: no room. */
	int (*choose)(uint8_t choice, uint16_t *slots);
	void (*take)(uint16_t entry);
	/* Looks at what is done again; false: it cannot be. */
	bool (*again)(uint16_t entry);
	void (*push)(uint16_t entry, bool first);
	void (*publish)(void);   /* before the driver sees it */
	void (*published)(void); /* after */
	void (*settle)(void);    /* the ring stops in order, and is empty */
};

extern struct record record;

/* The slots of the ring that all in flight has. */
unsigned record_slots(void);

/* The first bytes: sizes, places and how honest. Then, unless it is, the region, then steps. */
void record_run(const struct record_format *format, struct input *in);

#endif
