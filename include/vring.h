/*
 * Virtqueues as the device sees them, split (VIRTIO 2.7) or packed (2.8): nothing in this
 * interface tells which it is. A ring keeps its own record of what is in flight (inflight.h).
 */
#ifndef VUBOX_VRING_H
#define VUBOX_VRING_H

#include <stdbool.h>
#include <stdint.h>

#include "inflight.h"
#include "mem.h"
#include "req.h"

/*
 * Where the ring's parts lie: user addresses, as SET_VRING_ADDR gives them. Of a packed ring, avail
 * is the driver's event suppression structure, and used is the device's.
 */
struct vring_addr {
	uint64_t desc, avail, used;
};

/*
 * A ring. The indices are ours: what the guest writes over the shared ones changes nothing here.
 * Those of a packed ring are places, with the wrap counter in bit 15. Zero is a ring that was never
 * set up.
 */
struct vring {
	struct guest *desc, *avail, *used; /* NULL while it is not mapped */
	uint16_t size;                     /* entries */
	uint16_t last_avail;               /* the next entry that the driver makes available */
	uint16_t look;                    /* … after those that were looked at: see vring_look */
	uint16_t avail_idx;               /* split: how far the avail ring reached when we looked */
	uint16_t used_idx;                /* the next used entry that we fill */
	uint16_t used_published;          /* what the driver has been told of it */
	uint16_t unpublished;             /* requests given back since */
	bool packed, indirect, event_idx; /* features of this run of the ring */
	bool called_before;               /* split: a call was decided before */
	bool kicks_off;                   /* the driver was told not to kick */
	uint64_t held_back;               /* packed: the first used element of the batch */
	struct inflight inflight;
};

/* Finds the parts of a ring of `size` entries in mem: 0, or -EFAULT / -EINVAL and *why. */
COLD int vring_map(struct vring *ring, const struct mem *mem, const struct vring_addr *addr,
	uint16_t size, bool packed, const char **why);
void vring_unmap(struct vring *ring);

/*
 * Begins to work where `base` says: what SET_VRING_BASE and GET_VRING_BASE carry ("A vring
 * descriptor index for split virtqueues", "Vring descriptor indices for packed virtqueues").
 * 0, or -EINVAL and *why.
 */
COLD int vring_start(struct vring *ring, uint32_t base, uint64_t features, const char **why);
/*
 * Then: keeps record in a region of desc_num entries. What it says of an earlier life counts, not
 * the base. Returns how many requests are to be done again, or -EINVAL and *why.
 */
COLD int vring_track(struct vring *ring, struct guest *region, uint16_t desc_num, const char **why);
/* Where it would go on. */
uint32_t vring_base(const struct vring *ring);

/*
 * Takes the next chain, of an earlier life or that the driver made available: 1; 0: there is none;
 * -EAGAIN: it must wait for others to finish; -EINVAL: the driver broke a rule, and *why says
 * which.
 */
int vring_pop(struct vring *ring, struct mem *mem, struct request *req, const char **why);

/*
 * For devices that must know how much room there is before they take any: as vring_pop, but the
 * chain stays the driver's. The next look is at the chain behind it. Only while nothing of an
 * earlier life is to be done again.
 */
int vring_look(struct vring *ring, struct mem *mem, struct request *req, const char **why);
/* Takes the first chain of those that were looked at and not taken. */
void vring_take(struct vring *ring, struct chain *chain);
/* The next look is at the next chain to be taken, again. */
void vring_look_back(struct vring *ring);

/* Gives a chain back: `written` bytes were stored into its writable buffers. Not yet visible. */
void vring_push(struct vring *ring, const struct chain *chain, uint32_t written);
/* Makes what was pushed visible; true if the driver wants to be called for it. */
bool vring_publish(struct vring *ring);

/* Whether there is something for vring_pop, or vring_look. */
bool vring_has_work(struct vring *ring);
/* Has the processor fetch what the next vring_pop will read first. */
void vring_prefetch(const struct vring *ring);
/* Asks for kicks for that, then looks again: true if there is work after all. */
bool vring_arm(struct vring *ring);
/* Asks for no kicks. */
void vring_disarm(struct vring *ring);

#endif
