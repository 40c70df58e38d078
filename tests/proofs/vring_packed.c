/*
 * Proofs about packed rings: vring.c, vring_packed.c, inflight.c and inflight_packed.c together.
 *
 * `sound` is what a ring keeps: map, start and track bring it about, and each other function, from
 * any ring that is so and with any guest, leaves it so, keeps to its objects and ends. So that is
 * true of every sequence of them.
 *
 * Bounds. Only loops are bounded; what has none is shown for every size of ring there is.
 *   SMALL: entries of a ring that is started (prove_start), tracked (prove_track) or whose chains
 *     are walked (prove_pop), and of an indirect table. These loops count up to the size, and carry
 *     nothing from one round to the next but a place, which is stepped within the size, or an index
 *     that is checked against it: a round more is as the one before. CONFIG_RING_SIZE_MAX is SMALL,
 *     too: a table may be longer, and is refused.
 *   SMALL + 1: entries of an in-flight region: more than the ring has.
 *   SMALL: chains of one batch on a tracked ring (prove_publish), for the same reason.
 * Buffers of a chain: chain_add is a stub here, and for the proofs of req.c.
 */
#include <errno.h>

#include "any_chain.h"
#include "any_guest.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "vring.h"

enum { SMALL = CONFIG_RING_SIZE_MAX, LARGE = 32768, INDEX = 0x7fff };

/*
 * Ghosts, which no code sees: how many slots the ring's indices have passed, in two rounds and up
 * to one more; and the slots of the chains that the device has.
 */
static struct {
	uint32_t published, used, avail, look, taken;
} at;

static uint16_t place(const struct vring *r, uint32_t slots)
{
	if (slots >= 2u * r->size)
		slots -= 2u * r->size;
	/* The first round has a wrap counter of 1. */
	return (uint16_t)(slots < r->size ? slots | (INDEX + 1) : slots - r->size);
}

static bool sound(const struct vring *r)
{
	const struct inflight *in = &r->inflight;

	if (!r->packed || r->size == 0 || r->size > LARGE)
		return false;
	if (at.published >= 2u * r->size || r->used_published != place(r, at.published) ||
		r->used_idx != place(r, at.used) || r->last_avail != place(r, at.avail) ||
		r->look != place(r, at.look))
		return false;
	/* What is not published may not be used again. */
	if (at.published > at.used || at.used > at.avail || at.avail > at.look ||
		at.look > at.published + r->size)
		return false;
	/* A chain has a slot at least. */
	if (r->unpublished > at.used - at.published ||
		(r->unpublished == 0 && at.used > at.published))
		return false;
	if (at.taken > at.avail - at.used || in->slots_left > at.avail - at.used - at.taken)
		return false;
	if (!in->region)
		return in->resubmit_left == 0;
	return in->packed && in->desc_num >= r->size && in->batch_head < in->desc_num &&
	       in->batch_tail < in->desc_num;
}

/* The ghosts of a ring that has nothing pushed, and nothing taken in this life. */
static void begin(const struct vring *r)
{
	at.taken = 0;
	at.published = (r->used_idx & INDEX) + (r->used_idx > INDEX ? 0u : r->size);
	at.avail = (r->last_avail & INDEX) + (r->last_avail > INDEX ? 0u : r->size);
	at.used = at.published;
	if (at.avail < at.used)
		at.avail += 2u * r->size;
	at.look = at.avail;
}

/* A ring that was just started. */
static struct vring a_fresh_ring(uint16_t size_max, uint32_t base)
{
	struct vring_addr addr = { nondet_u64(), nondet_u64(), nondet_u64() };
	struct vring ring = { 0 };
	/* 0 is refused before it is mapped: queue_start. */
	uint16_t size = (uint16_t)(1 + nondet_upto(size_max - 1));
	const char *why = NULL;
	int error = vring_map(&ring, NULL, &addr, size, true, &why);

	claim(error == 0 || ((error == -EFAULT || error == -EINVAL) && why));
	assume(error == 0);
	error = vring_start(&ring, base, nondet_u64(), &why);
	claim(error == 0 || (error == -EINVAL && why));
	assume(error == 0);
	begin(&ring);
	claim(sound(&ring));
	return ring;
}

static struct guest *a_region(uint16_t desc_num)
{
	/* Without the padding at its end: that is not for us. */
	return nondet_object(sizeof(struct vhost_user_queue_region_packed) +
			     sizeof(struct vhost_user_desc_state_packed) * (size_t)desc_num);
}

static void track_anyhow(struct vring *ring, uint16_t more_entries)
{
	struct inflight *in = &ring->inflight;

	in->packed = true;
	in->desc_num = (uint16_t)(ring->size + nondet_upto(more_entries));
	in->region = a_region(in->desc_num);
	in->resubmitted_any = nondet_bool();
	in->resubmit_left = nondet_u16();
	in->batch_head = likely_u16((uint16_t)(in->desc_num - 1));
	in->batch_tail = likely_u16((uint16_t)(in->desc_num - 1));
	in->last_entry = nondet_u16();
	in->last_counter = nondet_u64();
	in->counter = nondet_u64();
	in->free_head = nondet_u16();
	in->add_at = nondet_u16();
	in->add_to = nondet_u16();
	in->used = nondet_u16();
	in->old_used = nondet_u16();
	in->slots_left = likely_u16((uint16_t)(at.avail - at.used - at.taken));
}

/* A ring at any time after its start. */
static struct vring a_ring(uint16_t size_max, uint16_t more_entries)
{
	/* (Base 0 makes a start look through the ring: prove_start.) */
	struct vring ring = a_fresh_ring(size_max, 0x80008000);

	at.published = likely_u32(2u * ring.size - 1);
	at.used = at.published + likely_u32(ring.size);
	at.avail = at.used + likely_u32(at.published + ring.size - at.used);
	at.look = at.avail + likely_u32(at.published + ring.size - at.avail);
	at.taken = likely_u32(at.avail - at.used);
	ring.used_published = FUZZING ? place(&ring, at.published) : nondet_u16();
	ring.used_idx = FUZZING ? place(&ring, at.used) : nondet_u16();
	ring.last_avail = FUZZING ? place(&ring, at.avail) : nondet_u16();
	ring.look = FUZZING ? place(&ring, at.look) : nondet_u16();
	ring.unpublished = likely_u16((uint16_t)(at.used - at.published));
	ring.kicks_off = nondet_bool();
	ring.held_back = nondet_u64();
	if (nondet_bool())
		track_anyhow(&ring, more_entries);
	assume(sound(&ring));
	return ring;
}

void prove_start(void)
{
	uint32_t base = nondet_u32();
	struct vring ring = a_fresh_ring(SMALL, base);

	claim(vring_base(&ring) == base || base == 0 || ring.used_idx == ring.last_avail);
	vring_unmap(&ring);
	claim(!ring.desc && !ring.avail && !ring.used);
}

void prove_track(void)
{
	struct vring ring = a_fresh_ring(SMALL, nondet_u32());
	uint16_t desc_num = (uint16_t)nondet_upto(SMALL + 1);
	const char *why = NULL;
	int again = vring_track(&ring, a_region(desc_num), desc_num, &why);

	if (again >= 0)
		begin(&ring);
	claim(sound(&ring));
	claim(again == -EINVAL || (again >= 0 && again == ring.inflight.resubmit_left));
	claim(again >= 0 ? ring.inflight.region != NULL : why && !ring.inflight.region);
}

/* A map without memory: all is for chain_add_any, which any_chain.h has. */
static struct mem nothing;

void prove_pop(void)
{
	static struct request req;
	struct vring ring = a_ring(SMALL, 1), before;
	const char *why = NULL;
	int found;

	at.look = at.avail;
	vring_look_back(&ring);
	before = ring;
	found = vring_pop(&ring, &nothing, &req, &why);
	if (found == 1)
		at.taken += req.chain.slots;
	if (ring.last_avail != before.last_avail) { /* else it is of an earlier life, or none */
		at.avail += req.chain.slots;
		at.look = at.avail;
	}
	claim(sound(&ring));
	claim(found == 1 || found == 0 || ((found == -EINVAL || found == -EAGAIN) && why));
	if (found == 1) {
		claim(chain_sound(&req) && req.chain.slots > 0);
		claim(!ring.inflight.region || req.chain.entry < ring.inflight.desc_num);
	} else {
		claim(ring.last_avail == before.last_avail);
	}
}

void prove_look(void)
{
	static struct request req;
	struct vring ring = a_ring(SMALL, 1), before = ring;
	const char *why = NULL;
	int found = vring_look(&ring, &nothing, &req, &why);

	if (found == 1)
		at.look += req.chain.slots;
	claim(sound(&ring));
	claim(found == 1 || found == 0 || ((found == -EINVAL || found == -EAGAIN) && why));
	claim(ring.last_avail == before.last_avail);
	if (found == 1)
		claim(chain_sound(&req) && req.chain.slots > 0 &&
			(!ring.inflight.region || req.chain.last < ring.inflight.desc_num));
}

void prove_take(void)
{
	struct vring ring = a_ring(LARGE, LARGE - 1);
	struct chain chain = { .head = nondet_u16(), .slots = nondet_u16(), .last = nondet_u16() };

	/* From prove_look: it is the first of those that were looked at. */
	assume(ring.inflight.resubmit_left == 0);
	assume(chain.slots > 0 && chain.slots <= at.look - at.avail);
	assume(!ring.inflight.region || chain.last < ring.inflight.desc_num);
	vring_take(&ring, &chain);
	at.avail += chain.slots;
	at.taken += chain.slots;
	claim(sound(&ring));
	claim(!ring.inflight.region || chain.entry < ring.inflight.desc_num);
}

void prove_push(void)
{
	struct vring ring = a_ring(LARGE, LARGE - 1);
	struct chain chain = { .head = nondet_u16(), .slots = nondet_u16(), .entry = nondet_u16() };

	/* From prove_pop. */
	assume(chain.slots > 0 && chain.slots <= at.taken);
	assume(!ring.inflight.region || chain.entry < ring.inflight.desc_num);
	vring_push(&ring, &chain, nondet_u32());
	at.taken -= chain.slots;
	at.used += chain.slots;
	claim(sound(&ring));
}

void prove_publish(void)
{
	struct vring ring = a_ring(LARGE, LARGE - 1);

	/* (No more than were pushed: sound.) */
	if (ring.inflight.region && ring.unpublished > SMALL)
		ring.unpublished = SMALL;
	vring_publish(&ring);
	at.published = at.used;
	if (at.published >= 2u * ring.size) {
		at.published = at.used -= 2u * ring.size;
		at.avail -= 2u * ring.size;
		at.look -= 2u * ring.size;
	}
	claim(sound(&ring));
	claim(ring.unpublished == 0 && ring.used_published == ring.used_idx);
}

void prove_notify(void)
{
	struct vring ring = a_ring(LARGE, 0);

	switch (nondet_upto(2)) {
	case 0: vring_has_work(&ring); break;
	case 1: vring_arm(&ring); break;
	default: vring_disarm(&ring);
	}
	claim(sound(&ring));
}

PROOFS(prove_start, prove_track, prove_pop, prove_push, prove_publish, prove_notify)
