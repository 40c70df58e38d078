/* The split virtqueue, VIRTIO 2.7, from the device's side. */
#include "vring.h"

#include <errno.h>

#include "num.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"

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

int vring_map(struct vring *ring, const struct mem *mem, const struct vring_addr *addr,
	uint16_t size, const char **why)
{
	uint64_t n = size;
	struct guest *desc = mem_at_user(mem, addr->desc, n * sizeof(struct virtq_desc));
	struct guest *avail =
		mem_at_user(mem, addr->avail, RING_OFF + n * sizeof(le16) + sizeof(le16));
	struct guest *used = mem_at_user(
		mem, addr->used, RING_OFF + n * sizeof(struct virtq_used_elem) + sizeof(le16));

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
	ring->size = size;
	return 0;
}

void vring_unmap(struct vring *ring)
{
	ring->desc = ring->avail = ring->used = NULL;
}

uint16_t vring_used_in_memory(const struct vring *ring)
{
	return guest_load16(guest_at(ring->used, IDX_OFF));
}

void vring_start(struct vring *ring, uint16_t last_avail, uint64_t features)
{
	ring->last_avail = ring->avail_idx = last_avail;
	ring->used_idx = ring->used_published = vring_used_in_memory(ring);
	ring->indirect = (features & VIRTIO_F_INDIRECT_DESC) != 0;
	ring->event_idx = (features & VIRTIO_F_EVENT_IDX) != 0;
	ring->called_before = false;
	/* Another back-end may have left it set. */
	ring->kicks_off = true;
}

bool vring_has_work(struct vring *ring)
{
	if (ring->avail_idx == ring->last_avail)
		ring->avail_idx = guest_load16_acquire(guest_at(ring->avail, IDX_OFF));
	return ring->avail_idx != ring->last_avail;
}

static struct virtq_desc desc_load(const struct vring *ring, uint16_t i)
{
	struct virtq_desc d;

	guest_copy_in(&d, guest_at(ring->desc, sizeof(d) * (size_t)i), sizeof(d));
	return d;
}

/* 2.7.5.3: a table of descriptors elsewhere in memory; it may lie across regions. */
static int walk_indirect(
	struct mem *mem, struct chain *chain, const struct virtq_desc *table, const char **why)
{
	uint64_t addr = le64_get(table->addr);
	uint32_t len = le32_get(table->len), count = len / sizeof(struct virtq_desc), i = 0;
	struct span whole;

	*why = "an indirect table of a wrong size";
	if (len == 0 || len % sizeof(struct virtq_desc) != 0 || count > CONFIG_RING_SIZE_MAX)
		return -EINVAL;
	*why = "an indirect table that is not in shared memory";
	if (addr + len - 1 < addr)
		return -EINVAL;
	whole = mem_at(mem, addr, len);
	for (uint32_t budget = count; budget > 0; budget--) {
		struct virtq_desc d;
		uint16_t flags;
		int error;

		if (whole.base && whole.len == len)
			guest_copy_in(&d, guest_at(whole.base, sizeof(d) * (size_t)i), sizeof(d));
		else if (!mem_read(mem, addr + sizeof(d) * (uint64_t)i, &d, sizeof(d)))
			return -EINVAL;
		flags = le16_get(d.flags);
		*why = "an indirect descriptor in an indirect table";
		if ((flags & VIRTQ_DESC_F_INDIRECT) != 0)
			return -EINVAL;
		error = chain_add(chain, mem, le64_get(d.addr), le32_get(d.len),
			(flags & VIRTQ_DESC_F_WRITE) != 0, why);
		if (error < 0)
			return error;
		if ((flags & VIRTQ_DESC_F_NEXT) == 0)
			return 1;
		i = le16_get(d.next);
		*why = "a descriptor behind the end of its indirect table";
		if (i >= count)
			return -EINVAL;
		*why = "an indirect table that is not in shared memory";
	}
	*why = "a loop of descriptors in an indirect table";
	return -EINVAL;
}

static int walk(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	uint16_t i = req->chain.head;

	for (uint32_t budget = ring->size; budget > 0; budget--) {
		struct virtq_desc d;
		uint16_t flags;
		int error;

		*why = "a descriptor behind the end of the table";
		if (i >= ring->size)
			return -EINVAL;
		d = desc_load(ring, i);
		flags = le16_get(d.flags);
		if ((flags & VIRTQ_DESC_F_INDIRECT) != 0) {
			/* 2.7.5.3.1: neither with NEXT nor without the feature. */
			*why = "an indirect descriptor where none may be";
			if (!ring->indirect || (flags & VIRTQ_DESC_F_NEXT) != 0)
				return -EINVAL;
			return walk_indirect(mem, &req->chain, &d, why);
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

int vring_walk(
	struct vring *ring, struct mem *mem, struct request *req, uint16_t head, const char **why)
{
	int found;

	chain_start(req, head);
	found = walk(ring, mem, req, why);
	if (found > 0)
		chain_finish(req);
	return found;
}

int vring_pop(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	int found;

	if (!vring_has_work(ring))
		return 0;
	*why = "an avail index that jumps";
	if ((uint16_t)(ring->avail_idx - ring->last_avail) > ring->size)
		return -EINVAL;
	found = vring_walk(ring, mem, req, guest_load16(avail_entry(ring, ring->last_avail)), why);
	if (found > 0)
		ring->last_avail++;
	return found;
}

void vring_push(struct vring *ring, uint16_t head, uint32_t written)
{
	struct virtq_used_elem e = { le32_put(head), le32_put(written) };

	guest_copy_out(guest_at(ring->used,
			       RING_OFF + sizeof(e) * (size_t)(ring->used_idx & (ring->size - 1))),
		&e, sizeof(e));
	ring->used_idx++;
}

bool vring_publish(struct vring *ring)
{
	uint16_t old = ring->used_called, now = ring->used_idx;
	bool first = !ring->called_before;

	if (ring->used_published == now)
		return false;
	guest_store16_release(guest_at(ring->used, IDX_OFF), now);
	ring->used_published = now;
	guest_fence();
	if (!ring->event_idx)
		return (guest_load16(guest_at(ring->avail, FLAGS_OFF)) &
			       VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
	/* 2.7.7.2: a call if used_event is among the entries since the last one. */
	ring->used_called = now;
	ring->called_before = true;
	return first ||
	       (uint16_t)(now - guest_load16(used_event(ring)) - 1) < (uint16_t)(now - old);
}

bool vring_arm(struct vring *ring)
{
	if (ring->event_idx) {
		guest_store16(avail_event(ring), ring->last_avail);
	} else if (ring->kicks_off) {
		guest_store16(guest_at(ring->used, FLAGS_OFF), 0);
		ring->kicks_off = false;
	}
	guest_fence();
	return vring_has_work(ring);
}

void vring_disarm(struct vring *ring)
{
	/* With EVENT_IDX an avail_event that has been passed asks for nothing. */
	if (ring->event_idx || ring->kicks_off)
		return;
	guest_store16(guest_at(ring->used, FLAGS_OFF), VIRTQ_USED_F_NO_NOTIFY);
	ring->kicks_off = true;
}
