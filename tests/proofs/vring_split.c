/*
 * Proofs about split rings: vring.c, vring_split.c, inflight.c and inflight_split.c together.
 *
 * `sound` is what a ring keeps: map, start and track bring it about, and each other function, from
 * any ring that is so and with any guest, leaves it so, keeps to its objects and ends. So that is
 * true of every sequence of them.
 *
 * Bounds. Only loops are bounded; what has none is shown for every size of ring there is.
 *   SMALL: entries of a ring whose chains are walked (prove_pop) or that is tracked (prove_track),
 *     and of an indirect table. These loops count up to the size and carry nothing from one round
 *     to the next but an index, which is checked against the size in each: a round more is as the
 *     one before. CONFIG_RING_SIZE_MAX is SMALL, too: a table may be longer, and is refused.
 *   SMALL: chains of one batch on a tracked ring (prove_publish), for the same reason.
 * Buffers of a chain: chain_add is a stub here, and for the proofs of req.c.
 */
#include <errno.h>

#include "any_chain.h"
#include "any_guest.h"
#include "num.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "vring.h"

enum { SMALL = CONFIG_RING_SIZE_MAX, LARGE = 32768 };

static bool sound(const struct vring *r)
{
	const struct inflight *in = &r->inflight;

	if (r->packed || !num_is_power_of_2(r->size))
		return false;
	if (!in->region)
		return in->resubmit_left == 0;
	return !in->packed && in->desc_num == r->size && in->batch_head < r->size &&
	       in->resubmit_left <= r->size;
}

/* A ring that was just started. */
static struct vring a_fresh_ring(uint16_t size_max)
{
	struct vring_addr addr = { nondet_u64(), nondet_u64(), nondet_u64() };
	struct vring ring = { 0 };
	uint16_t size = (uint16_t)nondet_upto(size_max);
	const char *why = NULL;
	int error;

	/* Most often one that is allowed. */
	if (nondet_bool())
		size = (uint16_t)(size_max >> nondet_upto(15));
	error = vring_map(&ring, NULL, &addr, size, false, &why);
	claim(error == 0 || ((error == -EFAULT || error == -EINVAL) && why));
	assume(error == 0);
	error = vring_start(&ring, nondet_u32(), nondet_u64(), &why);
	claim(error == 0 || (error == -EINVAL && why));
	assume(error == 0);
	claim(sound(&ring));
	return ring;
}

static struct guest *a_region(uint16_t desc_num)
{
	/* Without the padding at its end: that is not for us. */
	return nondet_object(sizeof(struct vhost_user_queue_region_split) +
			     sizeof(struct vhost_user_desc_state_split) * (size_t)desc_num);
}

/* A ring at any time after that. */
static struct vring a_ring(uint16_t size_max)
{
	struct vring ring = a_fresh_ring(size_max);
	struct inflight *in = &ring.inflight;

	ring.last_avail = nondet_u16();
	ring.look = nondet_u16();
	ring.avail_idx = nondet_u16();
	ring.used_idx = nondet_u16();
	ring.used_published = nondet_u16();
	ring.unpublished = nondet_u16();
	ring.called_before = nondet_bool();
	ring.kicks_off = nondet_bool();
	ring.held_back = nondet_u64();
	if (nondet_bool()) {
		in->region = a_region(ring.size);
		in->desc_num = ring.size;
		in->resubmitted_any = nondet_bool();
		in->resubmit_left = likely_u16(ring.size);
		in->batch_head = likely_u16((uint16_t)(ring.size - 1));
		in->last_entry = nondet_u16();
		in->last_counter = nondet_u64();
		in->counter = nondet_u64();
	}
	assume(sound(&ring));
	return ring;
}

void prove_start(void)
{
	struct vring ring = a_fresh_ring(LARGE);

	vring_base(&ring);
	vring_unmap(&ring);
	claim(!ring.desc && !ring.avail && !ring.used);
}

void prove_track(void)
{
	struct vring ring = a_fresh_ring(SMALL);
	uint16_t desc_num = (uint16_t)nondet_upto(SMALL + 1);
	const char *why = NULL;
	int taken = vring_track(&ring, a_region(desc_num), desc_num, &why);

	claim(sound(&ring));
	claim(taken == -EINVAL || (taken >= 0 && taken == ring.inflight.resubmit_left));
	claim(taken >= 0 ? ring.inflight.region != NULL : why && !ring.inflight.region);
}

/* A map without memory: all is for chain_add_any, which any_chain.h has. */
static struct mem nothing;

void prove_pop(void)
{
	static struct request req;
	struct vring ring = a_ring(SMALL), before = ring;
	const char *why = NULL;
	int found = vring_pop(&ring, &nothing, &req, &why);

	claim(sound(&ring));
	claim(found == 1 || found == 0 || ((found == -EINVAL || found == -EAGAIN) && why));
	if (found == 1)
		claim(req.chain.head < ring.size && chain_sound(&req));
	else
		claim(ring.last_avail == before.last_avail);
}

void prove_look(void)
{
	static struct request req;
	struct vring ring = a_ring(SMALL), before = ring;
	const char *why = NULL;
	int found = vring_look(&ring, &nothing, &req, &why);

	claim(sound(&ring));
	claim(found == 1 || found == 0 || ((found == -EINVAL || found == -EAGAIN) && why));
	claim(ring.last_avail == before.last_avail);
	claim(ring.look == (uint16_t)(before.look + (found == 1)));
	if (found == 1) {
		claim(req.chain.head < ring.size && chain_sound(&req));
		vring_take(&ring, &req.chain);
		claim(sound(&ring));
		vring_look_back(&ring);
		claim(ring.look == (uint16_t)(before.last_avail + 1));
	}
}

void prove_push(void)
{
	struct vring ring = a_ring(LARGE);
	/* From prove_pop. */
	struct chain chain = { .head = (uint16_t)nondet_upto(ring.size - 1u) };
	uint16_t used = ring.used_idx;

	vring_push(&ring, &chain, nondet_u32());
	claim(sound(&ring));
	claim(ring.used_idx == (uint16_t)(used + 1));
}

void prove_publish(void)
{
	struct vring ring = a_ring(LARGE);

	if (ring.inflight.region)
		ring.unpublished = (uint16_t)nondet_upto(SMALL);
	vring_publish(&ring);
	claim(sound(&ring));
	claim(ring.unpublished == 0);
}

void prove_notify(void)
{
	struct vring ring = a_ring(LARGE);

	switch (nondet_upto(2)) {
	case 0: vring_has_work(&ring); break;
	case 1: vring_arm(&ring); break;
	default: vring_disarm(&ring);
	}
	claim(sound(&ring));
}

PROOFS(prove_start, prove_track, prove_pop, prove_push, prove_publish, prove_notify)
