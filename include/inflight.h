/*
 * In-flight tracking: what the next life of this process must know about requests that were taken
 * and not given back (vhost-user: "Inflight I/O tracking"). The front-end shares the buffer,
 * so nothing in it is trusted: it decides which heads are walked again, and no more.
 */
#ifndef VUBOX_INFLIGHT_H
#define VUBOX_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "span.h"

/* The tracking of one queue. Zero tracks nothing. */
struct inflight {
	struct guest *region;   /* its QueueRegionSplit, or NULL */
	uint16_t desc_num;      /* entries in it */
	uint16_t resubmit_left; /* heads of an earlier life that are still to be done again */
	uint16_t batch_head;    /* the last one given back: head of the list in shared memory */
	uint16_t last_head;     /* the one resubmitted before, with its counter */
	bool resubmitted_any;
	uint64_t last_counter, counter;
};

/* Bytes of the region of one queue of `size` entries, and of the whole buffer. */
uint64_t inflight_region_bytes(uint16_t size);

/* Makes a fresh, zeroed region ready for `size` entries. */
void inflight_format(struct guest *region, uint16_t size);

/*
 * Attaches a region at the start of a ring of ring_size entries whose used index in memory is
 * used_idx, and repairs what the last crash left half done. Returns how many heads are in flight,
 * or -EINVAL if the region is not for such a ring.
 */
int inflight_attach(struct inflight *in, struct guest *region, uint16_t desc_num,
	uint16_t ring_size, uint16_t used_idx);

/* The next head to do again, oldest first; only while resubmit_left > 0. False: there is none. */
bool inflight_resubmit(struct inflight *in, uint16_t *head);

/* Marks a head as taken. */
void inflight_take(struct inflight *in, uint16_t head);
/* Before publishing: this head is in the used ring. */
void inflight_push(struct inflight *in, uint16_t head);
/* After publishing: the `batch` heads pushed last are back, the used index is used_idx. */
void inflight_publish(struct inflight *in, uint16_t batch, uint16_t used_idx);

/* Nothing is in flight any more: clears every flag. */
void inflight_forget(struct inflight *in);

#endif
