/*
 * Virtqueues as the device sees them (VIRTIO 2.7). Only the split format yet; nothing in this
 * interface tells which it is.
 */
#ifndef VUBOX_VRING_H
#define VUBOX_VRING_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"
#include "req.h"

/* Where the ring's parts lie: user addresses, as SET_VRING_ADDR gives them. */
struct vring_addr {
	uint64_t desc, avail, used;
};

/*
 * A ring. The indices are ours: what the guest writes over the shared ones changes nothing here.
 * Zero is a ring that was never set up.
 */
struct vring {
	struct guest *desc, *avail, *used; /* NULL while it is not mapped */
	uint16_t size;                     /* entries */
	uint16_t last_avail;               /* the next entry of the avail ring that we take */
	uint16_t avail_idx;                /* how far the avail ring reached when we last looked */
	uint16_t used_idx;                 /* the next entry of the used ring that we fill */
	uint16_t used_published;           /* what the driver has been told of it */
	uint16_t used_called;              /* where the last call was decided */
	bool indirect, event_idx;          /* features of this run of the ring */
	bool called_before;                /* used_called means something */
	bool kicks_off;                    /* NO_NOTIFY is set */
};

/* Finds the parts of a ring of `size` entries in mem: 0, or -EFAULT / -EINVAL and *why. */
int vring_map(struct vring *ring, const struct mem *mem, const struct vring_addr *addr,
	uint16_t size, const char **why);
void vring_unmap(struct vring *ring);

/*
 * Begins to work at entry last_avail; where the used ring is, is read from its memory. resubmit
 * entries before last_avail are in flight from an earlier life and not in the used ring.
 */
void vring_start(struct vring *ring, uint16_t last_avail, uint64_t features);
/* The used index in memory, for the start after a crash. */
uint16_t vring_used_in_memory(const struct vring *ring);

/*
 * Takes the next chain that the driver made available: 1; 0: there is none; -EAGAIN: it must wait
 * for others to finish; -EINVAL: the driver broke a rule, and *why says which.
 */
int vring_pop(struct vring *ring, struct mem *mem, struct request *req, const char **why);
/* Walks the chain of a head again that was taken in an earlier life. Returns as above, never 0. */
int vring_walk(
	struct vring *ring, struct mem *mem, struct request *req, uint16_t head, const char **why);

/* Gives a chain back: `written` bytes were stored into its writable buffers. Not yet visible. */
void vring_push(struct vring *ring, uint16_t head, uint32_t written);
/* Makes what was pushed visible; true if the driver wants to be called for it. */
bool vring_publish(struct vring *ring);
/* How many are pushed and not published. */
static inline uint16_t vring_unpublished(const struct vring *ring)
{
	return (uint16_t)(ring->used_idx - ring->used_published);
}

/* Whether the avail ring has something for us. */
bool vring_has_work(struct vring *ring);
/* Asks for kicks, then looks again: true if there is work after all. */
bool vring_arm(struct vring *ring);
/* Asks for no kicks. */
void vring_disarm(struct vring *ring);

#endif
