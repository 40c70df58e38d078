/* Rings with anything in them, and a disk behind them: what the targets of both formats share. */
#ifndef VUBOX_FUZZ_RING_H
#define VUBOX_FUZZ_RING_H

#include "fuzz.h"
#include "rig.h"

/* Guest memory: the ring, indirect tables, headers and data. Random bytes reach up to RAW_END. */
enum {
	RING_SIZE = 32,
	RING_TABLE = 0x1000,
	RING_HEADERS = 0x2000,
	RING_DATA = 0x3000,
	RING_RAW_END = 0x10000
};

extern struct front ring_front;

/*
 * Each input meets the same vubox: a disk with one ring that runs, and memory of zeroes. Its ring
 * has these features; what is set up is done for the first input, and kept.
 */
void ring_begin(uint64_t features);
struct queue *ring_queue(void);

/* Addresses that are worth a try: in memory, at its edges, in tables and headers, nowhere. */
uint64_t ring_address(struct input *in);
uint32_t ring_length(struct input *in);
/* Requests of every type, to where there is something and where there is not. */
void ring_put_headers(struct input *in);
/* Random bytes over the ring and all behind it; false: there were none. */
bool ring_put_raw(struct input *in);
/*
 * A guest that writes while it is read: from now on, until the next call, a few bytes change, each
 * before the n-th access to guest memory. False: none will.
 */
bool ring_put_meddling(struct input *in);
/* If set: before the device stores len bytes at an offset of guest memory. */
extern void (*ring_on_store)(size_t at, size_t len);

/* Nothing is left in hand, whatever the ring has become. */
void ring_expect_rest(void);

#endif
