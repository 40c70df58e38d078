/*
 * The packed virtqueue, VIRTIO 2.8, from the device's side.
 *
 * A place in the ring is an index with the wrap counter in bit 15, as event suppression structures
 * and SET_VRING_BASE have it. Of a batch of used descriptors the first one is written last: the
 * driver looks for used descriptors in ring order, so it sees all of the batch or none (2.8.2).
 */
#include <errno.h>

#include "vring_format.h"

enum { INDEX = 0x7fff, WRAP = 0x8000 };
enum { EVENT_DESC_OFF = 0, EVENT_FLAGS_OFF = 2, FLAGS_OFF = 14, USED_OFF = 8 };

static struct guest *slot(const struct vring *r, uint16_t place, size_t field)
{
	return guest_at(r->desc, sizeof(struct pvirtq_desc) * (size_t)(place & INDEX) + field);
}

/* The place n slots further; n is at most the size of the ring. */
static uint16_t step(const struct vring *r, uint16_t place, uint32_t n)
{
	uint32_t i = (place & INDEX) + n;
	uint16_t wrap = place & WRAP;

	return i < r->size ? (uint16_t)(i | wrap) : (uint16_t)((i - r->size) | (wrap ^ WRAP));
}

/* How many slots `to` is ahead of `from`, modulo two rounds. */
static uint32_t distance(const struct vring *r, uint16_t from, uint16_t to)
{
	int32_t n = (to & INDEX) - (from & INDEX);

	if (((from ^ to) & WRAP) != 0)
		n += r->size;
	return (uint32_t)(n < 0 ? n + 2 * r->size : n);
}

int packed_map(
	struct vring *ring, const struct mem *mem, const struct vring_addr *addr, const char **why)
{
	size_t event = sizeof(struct pvirtq_event_suppress);
	struct guest *desc =
		mem_at_user(mem, addr->desc, (uint64_t)ring->size * sizeof(struct pvirtq_desc));
	struct guest *driver = mem_at_user(mem, addr->avail, event);
	struct guest *device = mem_at_user(mem, addr->used, event);

	*why = "its ring is not in shared memory";
	if (!desc || !driver || !device)
		return -EFAULT;
	/* 2.8.10.1: alignment. Ours is what single loads and stores need. */
	*why = "its ring is not aligned";
	if ((uintptr_t)desc % sizeof(le64) != 0 || (uintptr_t)driver % sizeof(le16) != 0 ||
		(uintptr_t)device % sizeof(le16) != 0)
		return -EINVAL;
	ring->desc = desc;
	ring->avail = driver;
	ring->used = device;
	return 0;
}

static void set_places(struct vring *ring, uint16_t avail, uint16_t used)
{
	ring->last_avail = ring->look = avail;
	ring->used_idx = ring->used_published = used;
}

/*
 * Whether no descriptor was ever used. After a round with a wrap counter of 1, as the first one
 * has, one at least has the flag: no chain is longer than a round.
 */
static bool is_unused(const struct vring *ring)
{
	for (uint16_t i = 0; i < ring->size; i++)
		if ((guest_load16(slot(ring, i, FLAGS_OFF)) & PVIRTQ_DESC_F_USED) != 0)
			return false;
	return true;
}

int packed_start(struct vring *ring, uint32_t base, const char **why)
{
	uint16_t avail = (uint16_t)base, used = (uint16_t)(base >> 16);

	*why = "an index behind the end of the ring";
	if ((avail & INDEX) >= ring->size || (used & INDEX) >= ring->size)
		return -EINVAL;
	/* Front-ends that only know split rings begin at 0; but that is after a first round. */
	if (base == 0 && is_unused(ring))
		avail = used = WRAP;
	/* Others give the avail half only; the used one can be no more than a round behind it. */
	if (distance(ring, used, avail) >= ring->size)
		used = avail;
	set_places(ring, avail, used);
	return 0;
}

/*
 * What the last life had pushed and not published lies, as used, behind the place where the driver
 * looks next: the next publication, of fewer perhaps, would show it. Makes it available again;
 * nobody reads more of it than the flags, for the region has the copies.
 */
static void take_back(const struct vring *ring, uint16_t slots)
{
	for (uint16_t i = 0, at = ring->used_idx; i < slots; i++, at = step(ring, at, 1)) {
		uint16_t flags = guest_load16(slot(ring, at, FLAGS_OFF));

		if (((flags & PVIRTQ_DESC_F_USED) != 0) == ((at & WRAP) != 0))
			guest_store16(slot(ring, at, FLAGS_OFF), flags ^ PVIRTQ_DESC_F_USED);
	}
}

int packed_track(struct vring *ring, struct guest *region, uint16_t desc_num)
{
	struct inflight *in = &ring->inflight;
	uint16_t slots;
	bool committed = false;
	int taken = inflight_packed_attach(in, region, desc_num, ring->size, ring->used_idx);

	if (taken < 0)
		return taken;
	if (taken > 0) {
		/* Up to its publication the slot was the driver's, available in this round. */
		uint16_t flags = guest_load16(slot(ring, in->old_used, FLAGS_OFF));

		committed = ((flags & PVIRTQ_DESC_F_USED) != 0) == ((in->old_used & WRAP) != 0);
	}
	taken = inflight_packed_recover(in, ring->size, committed, &slots);
	if (taken < 0)
		return taken;
	set_places(ring, step(ring, in->used, slots), in->used);
	take_back(ring, slots);
	return taken;
}

bool packed_has_work(const struct vring *ring)
{
	uint16_t flags = guest_load16_acquire(slot(ring, ring->look, FLAGS_OFF));
	bool wrap = (ring->look & WRAP) != 0;

	return ((flags & PVIRTQ_DESC_F_AVAIL) != 0) == wrap &&
	       ((flags & PVIRTQ_DESC_F_USED) != 0) != wrap;
}

/* A walk over a chain's descriptors: those in the ring, or the copies that an earlier life made. */
struct walk {
	bool again;
	uint16_t at;    /* a place in the ring, or an entry of the in-flight region */
	uint16_t limit; /* slots that the chain may have */
};

static struct pvirtq_desc walk_next(struct vring *ring, struct walk *w)
{
	struct pvirtq_desc d;

	if (w->again) {
		inflight_packed_get(&ring->inflight, &w->at, &d);
		return d;
	}
	guest_copy_in(&d, slot(ring, w->at, 0), sizeof(d));
	w->at = step(ring, w->at, 1);
	if (ring->inflight.region)
		inflight_packed_add(&ring->inflight, &d);
	return d;
}

static int walk(
	struct vring *ring, struct mem *mem, struct chain *chain, struct walk *w, const char **why)
{
	for (uint16_t slots = 1; slots <= w->limit; slots++) {
		struct pvirtq_desc d = walk_next(ring, w);
		uint16_t flags = le16_get(d.flags);
		int error;

		chain->head = le16_get(d.id);
		chain->slots = slots;
		if ((flags & VIRTQ_DESC_F_INDIRECT) != 0) {
			/* 2.8.19: neither with NEXT nor without the feature; 2.8.5: alone. */
			*why = "an indirect descriptor where none may be";
			if (!ring->indirect || slots > 1 || (flags & VIRTQ_DESC_F_NEXT) != 0)
				return -EINVAL;
			return vring_walk_indirect(
				mem, chain, le64_get(d.addr), le32_get(d.len), true, why);
		}
		error = chain_add(chain, mem, le64_get(d.addr), le32_get(d.len),
			(flags & VIRTQ_DESC_F_WRITE) != 0, why);
		if (error < 0)
			return error;
		if ((flags & VIRTQ_DESC_F_NEXT) == 0)
			return 1;
	}
	*why = "more descriptors than the ring has";
	return -EINVAL;
}

/* Does the next one of an earlier life again. */
static int pop_again(
	struct vring *ring, struct mem *mem, struct request *req, uint16_t entry, const char **why)
{
	struct inflight *in = &ring->inflight;
	struct walk w = { .again = true, .at = entry, .limit = inflight_packed_slots(in, entry) };
	int found;

	chain_start(req, 0);
	/* More than were counted at the start would bring the used index past the avail one. */
	found = w.limit <= in->slots_left ? walk(ring, mem, &req->chain, &w, why) : -EINVAL;
	if (found > 0 && req->chain.slots != w.limit)
		found = -EINVAL;
	if (found == -EINVAL)
		*why = "descriptors that changed after they were taken";
	if (found <= 0)
		return found;
	chain_finish(req);
	req->chain.entry = entry;
	in->slots_left -= w.limit;
	inflight_retake(in, entry);
	return found;
}

int packed_look(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	struct inflight *in = &ring->inflight;
	struct walk w = { .at = ring->look };
	uint16_t add_at = in->add_at;
	int found;

	if (!packed_has_work(ring))
		return 0;
	w.limit = (uint16_t)(ring->size - distance(ring, ring->used_published, ring->look));
	chain_start(req, 0);
	if (in->region && ring->look == ring->last_avail)
		inflight_packed_begin(in);
	found = walk(ring, mem, &req->chain, &w, why);
	if (found <= 0) {
		in->add_at = add_at;
		return found;
	}
	chain_finish(req);
	req->chain.last = in->add_to;
	ring->look = w.at;
	return found;
}

void packed_take(struct vring *ring, struct chain *chain)
{
	ring->last_avail = step(ring, ring->last_avail, chain->slots);
	if (ring->inflight.region)
		chain->entry = inflight_packed_take(&ring->inflight, chain->last, chain->slots);
}

int packed_pop(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	struct inflight *in = &ring->inflight;
	uint16_t entry;
	int found;

	if (in->resubmit_left > 0 && inflight_resubmit(in, &entry))
		return pop_again(ring, mem, req, entry, why);
	found = packed_look(ring, mem, req, why);
	if (found > 0)
		packed_take(ring, &req->chain);
	return found;
}

void packed_push(struct vring *ring, const struct chain *chain, uint32_t written)
{
	bool first = ring->unpublished == 0, wrap = (ring->used_idx & WRAP) != 0;
	uint64_t flags = (wrap ? PVIRTQ_DESC_F_AVAIL | PVIRTQ_DESC_F_USED : 0) |
			 (written > 0 ? VIRTQ_DESC_F_WRITE : 0);
	uint64_t element = written | (uint64_t)chain->head << 32 | flags << 48; /* len, id, flags */

	if (first)
		ring->held_back = element;
	else
		guest_store64_release(slot(ring, ring->used_idx, USED_OFF), element);
	inflight_packed_push(&ring->inflight, chain->entry, first);
	ring->used_idx = step(ring, ring->used_idx, chain->slots);
}

/* 2.8.10: whether the driver wants to know of the slots from `old` up to used_idx. */
static bool wants_call(const struct vring *ring, uint16_t old)
{
	uint16_t flags = guest_load16(guest_at(ring->avail, EVENT_FLAGS_OFF));
	uint16_t event;

	flags &= RING_EVENT_FLAGS_MASK;
	if (flags != RING_EVENT_FLAGS_DESC || !ring->event_idx)
		return flags != RING_EVENT_FLAGS_DISABLE;
	event = guest_load16(guest_at(ring->avail, EVENT_DESC_OFF));
	if ((event & INDEX) >= ring->size)
		return true; /* no such slot: better one call too many */
	return distance(ring, old, event) < distance(ring, old, ring->used_idx);
}

bool packed_publish(struct vring *ring)
{
	uint16_t old = ring->used_published, batch = ring->unpublished;

	inflight_packed_publish(&ring->inflight, ring->used_idx);
	guest_store64_release(slot(ring, old, USED_OFF), ring->held_back);
	inflight_packed_published(&ring->inflight, batch, ring->used_idx);
	ring->used_published = ring->used_idx;
	ring->unpublished = 0;
	guest_fence();
	return wants_call(ring, old);
}

static void event_set(struct vring *ring, uint16_t flags)
{
	guest_store16_release(guest_at(ring->used, EVENT_FLAGS_OFF), flags);
}

void packed_arm(struct vring *ring)
{
	if (ring->event_idx) {
		guest_store16(guest_at(ring->used, EVENT_DESC_OFF), ring->look);
		event_set(ring, RING_EVENT_FLAGS_DESC);
	} else if (ring->kicks_off) {
		event_set(ring, RING_EVENT_FLAGS_ENABLE);
	}
	ring->kicks_off = false;
}

void packed_disarm(struct vring *ring)
{
	if (!ring->kicks_off)
		event_set(ring, RING_EVENT_FLAGS_DISABLE);
	ring->kicks_off = true;
}
