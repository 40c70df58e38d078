/*
 * Several devices of one process and one guest: disks first, then entropy, two networks and
 * sockets. Each has a connection of its own, and a queue and slots of its own in the memory that
 * they share.
 */
#ifndef VUBOX_TESTS_HERD_H
#define VUBOX_TESTS_HERD_H

#include "rig.h"

enum { HERD_MAX = 8, HERD_DISKS = 4, HERD_SLOTS = 8 };

struct herd {
	struct rig rigs[HERD_MAX]; /* the first one's vubox is that of all */
	const char *images[HERD_DISKS];
	int guest;            /* the file of its memory */
	uint64_t guest_bytes; /* 0: RIG_MEMORY */
};

/* A line of text that stays; it is formatted with these two. */
const char *herd_text(const char *format, const char *a, unsigned n);
/* Starts the first `count` devices, with these words behind the last one; a NULL ends them. */
void herd_serve(struct herd *h, unsigned count, const char *const *more);
const char *herd_socket(unsigned i);
/* A guest with new memory, from now on. */
void herd_guest(struct herd *h);
/* Device i connects: memory, and a running queue. */
void herd_come(struct herd *h, unsigned i);
/* Two requests to a disk, one for entropy; of the others, that they answer. */
void herd_works(struct herd *h, unsigned i);

#endif
