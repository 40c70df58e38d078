/* Virtqueues: what both formats share, and the choice between them (VIRTIO 2.7, 2.8). */
#include "vring.h"

#include <errno.h>

#include "spec/virtio.h"
#include "vring_format.h"

int vring_map(struct vring *ring, const struct mem *mem, const struct vring_addr *addr,
	uint16_t size, bool packed, const char **why)
{
	ring->packed = packed;
	ring->size = size;
	return packed ? packed_map(ring, mem, addr, why) : split_map(ring, mem, addr, why);
}

void vring_unmap(struct vring *ring)
{
	ring->desc = ring->avail = ring->used = NULL;
}

int vring_start(struct vring *ring, uint32_t base, uint64_t features, const char **why)
{
	ring->inflight = (struct inflight){ 0 };
	ring->unpublished = 0;
	ring->indirect = (features & VIRTIO_F_INDIRECT_DESC) != 0;
	ring->event_idx = (features & VIRTIO_F_EVENT_IDX) != 0;
	ring->called_before = false;
	/* Another back-end may have left it so. */
	ring->kicks_off = true;
	return ring->packed ? packed_start(ring, base, why) : split_start(ring, base, why);
}

int vring_track(struct vring *ring, struct guest *region, uint16_t desc_num, const char **why)
{
	int taken = ring->packed ? packed_track(ring, region, desc_num)
				 : split_track(ring, region, desc_num);

	*why = "the in-flight buffer is for another ring";
	if (taken < 0)
		ring->inflight = (struct inflight){ 0 };
	return taken;
}

uint32_t vring_base(const struct vring *ring)
{
	return ring->packed ? ring->last_avail | (uint32_t)ring->used_idx << 16 : ring->last_avail;
}

int vring_walk_indirect(struct mem *mem, struct chain *chain, uint64_t addr, uint32_t len,
	bool packed, const char **why)
{
	uint32_t count = len / sizeof(struct virtq_desc), i = 0;
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
		else if (!mem_read(mem, addr + sizeof(d) * (uint64_t)i, &d, sizeof(d))) {
			*why = "an indirect table that is not in shared memory";
			return -EINVAL;
		}
		/* A packed one has flags where a split one has next, and no order of its own. */
		flags = le16_get(packed ? d.next : d.flags);
		if (!packed && (flags & VIRTQ_DESC_F_INDIRECT) != 0) {
			*why = "an indirect descriptor in an indirect table";
			return -EINVAL;
		}
		error = chain_add(chain, mem, le64_get(d.addr), le32_get(d.len),
			(flags & VIRTQ_DESC_F_WRITE) != 0, why);
		if (error < 0)
			return error;
		if (packed ? budget == 1 : (flags & VIRTQ_DESC_F_NEXT) == 0)
			return 1;
		i = packed ? i + 1 : le16_get(d.next);
		if (i >= count) {
			*why = "a descriptor behind the end of its indirect table";
			return -EINVAL;
		}
	}
	*why = "a loop of descriptors in an indirect table";
	return -EINVAL;
}

int vring_pop(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	return ring->packed ? packed_pop(ring, mem, req, why) : split_pop(ring, mem, req, why);
}

int vring_look(struct vring *ring, struct mem *mem, struct request *req, const char **why)
{
	return ring->packed ? packed_look(ring, mem, req, why) : split_look(ring, mem, req, why);
}

void vring_take(struct vring *ring, struct chain *chain)
{
	if (ring->packed)
		packed_take(ring, chain);
	else
		split_take(ring, chain);
}

void vring_look_back(struct vring *ring)
{
	ring->look = ring->last_avail;
}

void vring_push(struct vring *ring, const struct chain *chain, uint32_t written)
{
	if (ring->packed)
		packed_push(ring, chain, written);
	else
		split_push(ring, chain, written);
	ring->unpublished++;
}

bool vring_publish(struct vring *ring)
{
	if (ring->unpublished == 0)
		return false;
	return ring->packed ? packed_publish(ring) : split_publish(ring);
}

bool vring_has_work(struct vring *ring)
{
	if (ring->inflight.resubmit_left > 0)
		return true;
	return ring->packed ? packed_has_work(ring) : split_has_work(ring);
}

void vring_prefetch(const struct vring *ring)
{
	if (!ring->packed)
		split_prefetch(ring);
}

bool vring_arm(struct vring *ring)
{
	if (ring->packed)
		packed_arm(ring);
	else
		split_arm(ring);
	guest_fence();
	return vring_has_work(ring);
}

void vring_disarm(struct vring *ring)
{
	if (ring->packed)
		packed_disarm(ring);
	else
		split_disarm(ring);
}
