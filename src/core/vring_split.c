/* The split virtqueue, VIRTIO 2.7, from the device's side. */
#include <errno.h>

#include "num.h"
#include "spec/virtio_ring.h"
#include "vring_format.h"

enum { FLAGS_OFF = 0, IDX_OFF = 2, RING_OFF = 4 };

static struct guest *avail_entry(const struct vring *r, uint16_t i)
{
	return guest_at(r->avail, RING_OFF + sizeof(le16) * (size_t)(i & (r->size - 1)));
}

/* 2.7.7: the driver says here from which used entry on it wants a call. */
static struct guest *used_event(const struct vring *r)
{
	return guest_at(r->avail, RING_OFF + sizeof(le16) * (size_t)r->size);
}

/* 2.7.10: we say here from which avail entry on we want a kick. */
static struct guest *avail_event(const struct vring *r)
{
	return guest_at(r->used, RING_OFF + sizeof(struct virtq_used_elem) * (size_t)r->size);
}

int split_map(
	struct vring *ring, const struct mem *mem, const struct vring_addr *addr, const char **why)
{
	uint64_t n = ring->size;
	struct guest *desc = mem_at_user(mem, addr->desc, n * sizeof(struct virtq_desc));
	struct guest *avail =
		mem_at_user(mem, addr->avail, RING_OFF + n * sizeof(le16) + sizeof(le16));
	struct guest *used = mem_at_user(
		mem, addr->used, RING_OFF + n * sizeof(struct virtq_used_elem) + sizeof(le16));

	*why = "a split ring's size is a power of two";
	if (!num_is_power_of_2(n))
		return -EINVAL;
	*why = "its ring is not in shared memory";
	if (!desc || !avail || !used)
		return -EFAULT;
	/* 2.7: alignment. Ours is what single loads and stores need. */
	*why = "its ring is not aligned";
	if ((uintptr_t)avail % sizeof(le16) != 0 || (uintptr_t)used % sizeof(le32) != 0)
		return -EINVAL;
	ring->desc = desc;
	ring->avail = avail;
	ring->used = used;
	return 0;
}

static void set_indices(struct vring *ring, uint16_t last_avail, uint16_t used)
{
	ring->last_avail = ring->look = ring->avail_idx = last_avail;
	ring->used_idx = ring->used_published = used;
}

int split_start(struct vring *ring, uint32_t base, const char **why)
{
	*why = "a split ring's index has 16 bits";
	if (base > UINT16_MAX)
		return -EINVAL;
	/* Where the used ring is, is read from its memory: nobody else knows. */
	set_indices(ring, (uint16_t)base, guest_load16(guest_at(ring->used, IDX_OFF)));
	return 0;
}

int split_track(struct vring *ring, struct guest *region, uint16_t desc_num)
{
	int taken = inflight_split_attach(
		&ring->inflight, region, desc_num, ring->size, ring->used_idx);

	if (taken >= 0)
		set_indices(ring, (uint16_t)(ring->used_idx + taken), ring->used_idx);
	return taken;
}

bool split_has_work(struct vring *ring)
{
	if (ring->avail_idx == ring->look)
		ring->avail_idx = guest_load16_acquire(guest_at(ring->avail, IDX_OFF));
	return ring->avail_idx != ring->look;
}

static struct virtq_desc desc_load(const struct vring *ring, uint16_t i)
{
	struct virtq_desc d;

	guest_copy_in(&d, guest_at(ring->desc, sizeof(d) * (size_t)i), sizeof(d));
	return d;
}

static int walk(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	uint16_t i = req->chain.head;

	for (uint32_t budget = ring->size; budget > 0; budget--) {
		struct virtq_desc d;
		uint16_t flags;
		int error;

		if (i >= ring->size) {
			*why = "a descriptor behind the end of the table";
			return -EINVAL;
		}
		d = desc_load(ring, i);
		flags = le16_get(d.flags);
		if ((flags & VIRTQ_DESC_F_INDIRECT) != 0) {
			/* 2.7.5.3.1: neither with NEXT nor without the feature. */
			if (!ring->indirect || (flags & VIRTQ_DESC_F_NEXT) != 0) {
				*why = "an indirect descriptor where none may be";
				return -EINVAL;
			}
			return vring_walk_indirect(
				mem, &req->chain, le64_get(d.addr), le32_get(d.len), false, why);
		}
		error = chain_add(&req->chain, mem, le64_get(d.addr), le32_get(d.len),
			(flags & VIRTQ_DESC_F_WRITE) != 0, why);
		if (error < 0)
			return error;
		if ((flags & VIRTQ_DESC_F_NEXT) == 0)
			return 1;
		i = le16_get(d.next);
	}
	*why = "a loop of descriptors";
	return -EINVAL;
}

static int walk_head(
	struct vring *ring, struct mem *mem, struct request *req, uint16_t head, const char **why)
{
	int found;

	chain_start(req, head);
	found = walk(ring, mem, req, why);
	if (found > 0)
		chain_finish(req);
	return found;
}

int split_look(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	int found;

	if (!split_has_work(ring))
		return 0;
	if ((uint16_t)(ring->avail_idx - ring->last_avail) > ring->size) {
		*why = "an avail index that jumps";
		return -EINVAL;
	}
	found = walk_head(ring, mem, req, guest_load16(avail_entry(ring, ring->look)), why);
	if (found > 0)
		ring->look++;
	return found;
}

void split_take(struct vring *ring, const struct chain *chain)
{
	ring->last_avail++;
	inflight_split_take(&ring->inflight, chain->head);
}

int split_pop(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	struct inflight *in = &ring->inflight;
	uint16_t head;
	int found;

	if (in->resubmit_left > 0 && inflight_resubmit(in, &head)) {
		found = walk_head(ring, mem, req, head, why);
		if (found > 0)
			inflight_retake(in, head);
		return found;
	}
	found = split_look(ring, mem, req, why);
	if (found > 0)
		split_take(ring, &req->chain);
	return found;
}

void split_push(struct vring *ring, const struct chain *chain, uint32_t written)
{
	struct virtq_used_elem e = { le32_put(chain->head), le32_put(written) };

	guest_copy_out(guest_at(ring->used,
			       RING_OFF + sizeof(e) * (size_t)(ring->used_idx & (ring->size - 1))),
		&e, sizeof(e));
	ring->used_idx++;
	inflight_split_push(&ring->inflight, chain->head);
}

bool split_publish(struct vring *ring)
{
	uint16_t old = ring->used_published, now = ring->used_idx;
	bool first = !ring->called_before;

	guest_store16_release(guest_at(ring->used, IDX_OFF), now);
	inflight_split_publish(&ring->inflight, ring->unpublished, now);
	ring->used_published = now;
	ring->unpublished = 0;
	ring->called_before = true;
	guest_fence();
	if (!ring->event_idx)
		return (guest_load16(guest_at(ring->avail, FLAGS_OFF)) &
			       VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
	/* 2.7.7.2: a call if used_event is among the entries since the last one. */
	return first ||
	       (uint16_t)(now - guest_load16(used_event(ring)) - 1) < (uint16_t)(now - old);
}

void split_prefetch(const struct vring *ring)
{
	__builtin_prefetch(avail_entry(ring, ring->look));
}

void split_arm(struct vring *ring)
{
	if (ring->event_idx) {
		guest_store16(avail_event(ring), ring->look);
	} else if (ring->kicks_off) {
		guest_store16(guest_at(ring->used, FLAGS_OFF), 0);
		ring->kicks_off = false;
	}
}

void split_disarm(struct vring *ring)
{
	/* With EVENT_IDX an avail_event that has been passed asks for nothing. */
	if (ring->event_idx || ring->kicks_off)
		return;
	guest_store16(guest_at(ring->used, FLAGS_OFF), VIRTQ_USED_F_NO_NOTIFY);
	ring->kicks_off = true;
}
