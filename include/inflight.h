/*
 * In-flight tracking: what the next life of this process must know about requests that were taken
 * and not given back (vhost-user: "Inflight I/O tracking"). The front-end shares the buffer,
 * so nothing in it is trusted: it decides which requests are done again, and no more.
 *
 * An entry is named by its index: of a split ring the head of a chain, of a packed one the place
 * in the region where the copies of the chain's descriptors begin.
 */
#ifndef VUBOX_INFLIGHT_H
#define VUBOX_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "span.h"
#include "spec/virtio_ring.h"

/* The tracking of one queue. Zero tracks nothing. */
struct inflight {
	struct guest *region; /* its QueueRegionSplit or QueueRegionPacked, or NULL */
	bool packed;
	bool resubmitted_any;
	uint16_t desc_num;      /* entries in it that are looked at */
	uint16_t resubmit_left; /* requests of an earlier life that are still to be done again */
	uint16_t batch_head;    /* the last one given back: head of the list in shared memory */
	uint16_t last_entry;    /* the one resubmitted before, with its counter */
	uint64_t last_counter, counter;

	/* Of packed rings. Places in the ring have the wrap counter in bit 15. */
	uint16_t batch_tail;     /* the last descriptor of the first chain of the batch */
	uint16_t free_head;      /* the first free entry */
	uint16_t add_at, add_to; /* while a chain is recorded: its next entry, its last one */
	uint16_t used, old_used; /* as they were found */
	uint16_t slots_left;     /* of the ring that what is to be done again may have */
};

/* Bytes of the region of one queue of `size` entries. */
uint64_t inflight_region_bytes(bool packed, uint16_t size);

/* Forgets all that a region of either format says: it is as good as new. */
void inflight_forget(struct guest *region);

/* The next entry to do again, oldest first; only while resubmit_left > 0. False: there is none. */
bool inflight_resubmit(struct inflight *in, uint16_t *entry);
/* It was taken again. */
void inflight_retake(struct inflight *in, uint16_t entry);

/* ---- inflight_split.c ---- */

/*
 * Attaches a region at the start of a ring of ring_size entries whose used index in memory is
 * used_idx, and repairs what the last crash left half done. Returns how many heads are in flight,
 * or -EINVAL if the region is not for such a ring.
 */
int inflight_split_attach(struct inflight *in, struct guest *region, uint16_t desc_num,
	uint16_t ring_size, uint16_t used_idx);
/* Marks a head as taken. */
void inflight_split_take(struct inflight *in, uint16_t head);
/* Before publishing: this head is in the used ring. */
void inflight_split_push(struct inflight *in, uint16_t head);
/* After publishing: the `batch` heads pushed last are back, the used index is used_idx. */
void inflight_split_publish(struct inflight *in, uint16_t batch, uint16_t used_idx);

/* ---- inflight_packed.c ---- */

/*
 * Attaches a region at the start of a packed ring. One that was never used, or settled, begins at
 * fresh_used.
 * Returns 1 if the last life may have died while it published: in->old_used is the place of the
 * first used descriptor of that batch, and tells whether the driver has seen it. Else 0, or
 * -EINVAL if the region is not for such a ring.
 */
int inflight_packed_attach(struct inflight *in, struct guest *region, uint16_t desc_num,
	uint16_t ring_size, uint16_t fresh_used);
/*
 * Then: finishes that publication if it was `committed`, or undoes it; in->used is where the used
 * index is now. Returns how many requests are in flight, and how many slots of the ring these
 * have, or -EINVAL if it cannot be true.
 */
int inflight_packed_recover(
	struct inflight *in, uint16_t ring_size, bool committed, uint16_t *slots);

/* The ring has stopped in order, nothing is in flight: its next start may be anywhere. */
void inflight_packed_settle(struct guest *region);

/* Records a chain while it is walked: begin, then each descriptor; nothing counts before take. */
void inflight_packed_begin(struct inflight *in);
void inflight_packed_add(struct inflight *in, const struct pvirtq_desc *desc);
/* The oldest chain recorded, of `slots` descriptors and up to add_to, is taken: its entry. */
uint16_t inflight_packed_take(struct inflight *in, uint16_t last, uint16_t slots);
/* Of a chain that is done again: how many descriptors it has; copies one, and steps *at on. */
uint16_t inflight_packed_slots(const struct inflight *in, uint16_t entry);
void inflight_packed_get(const struct inflight *in, uint16_t *at, struct pvirtq_desc *desc);

/* Given back, not yet visible; first: the first of its batch. */
void inflight_packed_push(struct inflight *in, uint16_t entry, bool first);
/* Before and after the store that makes a batch of `batch` chains visible, up to place `used`. */
void inflight_packed_publish(struct inflight *in, uint16_t used);
void inflight_packed_published(struct inflight *in, uint16_t batch, uint16_t used);

#endif
