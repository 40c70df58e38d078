/* The load: what it was told to do, the guest that does it, and its loop. */
#ifndef VUBOX_BENCH_LOAD_H
#define VUBOX_BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "../front/blk.h"
#include "../front/front.h"
#include "figures.h"
#include "ring.h"

enum { DEPTH_MAX = 256, QUEUES_MAX = 64, REGIONS_MAX = 509, SLOTS_MAX = 1024 };
enum { BYTES_MAX = 1 << 20 };

struct options {
	const char *socket;
	unsigned depth, queues, bytes, segments, regions, buffers;
	unsigned write_percent;
	bool sequential, wait_call, packed, indirect, verify;
	double seconds, warm, idle;
	uint64_t count; /* requests; 0: as many as the seconds allow */
	int cpu_pid;    /* of the back-end; 0: not measured */
};

/* A guest with its connection, its memory and one ring for each queue. */
struct guest {
	struct options options;
	struct front front;
	struct front_memory memory;
	struct front_queue queues[QUEUES_MAX];
	struct ring rings[QUEUES_MAX];
	const struct ring_format *format;
	struct slot slots[SLOTS_MAX];
	struct slot *free[SLOTS_MAX]; /* a circle: what has rested longest is used next */
	unsigned slot_count, free_head, free_tail;
	uint64_t blocks; /* of the disk, as large as a request */
};

/* Connects, shares memory, starts the queues: guest.c. Ends the program if it cannot. */
void guest_open(struct guest *g);

/* Keeps the rings full until the time is over or the count reached, then drains them: loop.c. */
void loop_run(struct guest *g, struct figures *figures);

/* Says why, and ends the program. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
