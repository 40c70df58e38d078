/*
 * Proofs about in-flight tracking of packed rings: inflight.c and inflight_packed.c. What the
 * region holds is unknown at every load.
 *
 * `sound` is what attach and recover bring about and each other function, from any state that is
 * so, keeps.
 *
 * Bounds. Only loops are bounded; what has none is shown for every size of region.
 *   SMALL: entries of a region that is attached to, or searched for what is to be done again, and
 *     chains of a batch that is published. The loops over entries count up to a number that is
 *     fixed before; those along `next` count entries or a batch, whatever they find. A round more
 *     is as the one before.
 *   MEDIUM: entries of a region of which a batch was published; prove_publish of vring_packed.c has
 *     those of twice the largest ring.
 */
#include <errno.h>

#include "any_guest.h"
#include "inflight.h"
#include "spec/vhost_user.h"

enum { SMALL = 4, MEDIUM = 256, PLACE = 0x7fff, RING_MAX = 32768 };

static struct guest *a_region(uint16_t desc_num)
{
	/* Without the padding at its end: that is not for us. */
	return nondet_object(sizeof(struct vhost_user_queue_region_packed) +
			     sizeof(struct vhost_user_desc_state_packed) * (size_t)desc_num);
}

static bool sound(const struct inflight *in)
{
	return in->packed && in->batch_head < in->desc_num && in->batch_tail < in->desc_num;
}

static struct inflight a_record(uint16_t desc_num_max)
{
	struct inflight in = {
		.packed = true,
		.resubmitted_any = nondet_bool(),
		.resubmit_left = nondet_u16(),
		.last_entry = nondet_u16(),
		.last_counter = nondet_u64(),
		.counter = nondet_u64(),
		.free_head = nondet_u16(),
		.add_at = nondet_u16(),
		.add_to = nondet_u16(),
		.used = nondet_u16(),
		.old_used = nondet_u16(),
		.slots_left = nondet_u16(),
	};

	in.desc_num = (uint16_t)(1 + nondet_upto(desc_num_max - 1));
	in.batch_head = likely_u16((uint16_t)(in.desc_num - 1));
	in.batch_tail = likely_u16((uint16_t)(in.desc_num - 1));
	in.region = a_region(in.desc_num);
	assume(sound(&in));
	return in;
}

void prove_attach(void)
{
	struct inflight in;
	uint16_t desc_num = (uint16_t)nondet_upto(SMALL), slots;
	uint16_t ring_size = (uint16_t)(1 + nondet_upto(RING_MAX - 1));
	/* vring_packed.c: prove_start. */
	uint16_t fresh_used =
		(uint16_t)(nondet_upto(ring_size - 1u) | (nondet_bool() ? PLACE + 1 : 0));
	struct guest *region = a_region(desc_num);
	int found;

	found = inflight_packed_attach(&in, region, desc_num, ring_size, fresh_used);
	claim(found == -EINVAL || found == 0 || found == 1);
	if (found < 0)
		return;
	claim((in.used & PLACE) < ring_size && (in.old_used & PLACE) < ring_size);
	claim(in.region == region && in.desc_num == desc_num);
	found = inflight_packed_recover(&in, ring_size, found == 1 && nondet_bool(), &slots);
	claim(found == -EINVAL || found >= 0);
	if (found < 0)
		return;
	claim(sound(&in) && (in.used & PLACE) < ring_size && in.used == in.old_used);
	claim(found == in.resubmit_left && found <= slots && slots <= ring_size);
	claim(slots == in.slots_left);
}

void prove_resubmit(void)
{
	struct inflight in = a_record(SMALL);
	struct pvirtq_desc desc;
	uint16_t entry, at, before = in.resubmit_left;

	assume(in.resubmit_left > 0);
	if (inflight_resubmit(&in, &entry)) {
		claim(entry < in.desc_num && in.resubmit_left == before);
		inflight_packed_slots(&in, entry);
		at = entry;
		inflight_packed_get(&in, &at, &desc);
		inflight_packed_get(&in, &at, &desc); /* wherever it leads */
		if (nondet_bool())
			inflight_retake(&in, entry);
		claim(in.resubmit_left >= before - 1);
	} else {
		claim(in.resubmit_left == 0);
	}
	claim(sound(&in));
}

/* A chain of two descriptors: each is added from any state, so a third is as the second. */
void prove_take(void)
{
	struct inflight in = a_record(UINT16_MAX);
	struct pvirtq_desc desc;
	uint16_t entry;

	nondet_bytes(&desc, sizeof(desc));
	inflight_packed_begin(&in);
	inflight_packed_add(&in, &desc);
	if (nondet_bool())
		inflight_packed_add(&in, &desc);
	claim(sound(&in));
	entry = inflight_packed_take(&in, in.add_to, nondet_u16());
	claim(entry < in.desc_num);
	claim(sound(&in));
}

void prove_push(void)
{
	struct inflight in = a_record(UINT16_MAX), none = { 0 };
	uint16_t entry = (uint16_t)nondet_upto(in.desc_num - 1u);

	inflight_packed_push(&none, entry, nondet_bool());
	inflight_packed_push(&in, entry, nondet_bool());
	claim(sound(&in));
}

void prove_publish(void)
{
	struct inflight in = a_record(UINT16_MAX), none = { 0 };

	inflight_packed_publish(&none, nondet_u16());
	inflight_packed_publish(&in, nondet_u16());
	claim(sound(&in));
	inflight_packed_settle(in.region);
	inflight_forget(in.region);
}

void prove_published(void)
{
	struct inflight in = a_record(MEDIUM), none = { 0 };

	inflight_packed_published(&none, nondet_u16(), nondet_u16());
	inflight_packed_published(&in, (uint16_t)nondet_upto(SMALL), nondet_u16());
	claim(sound(&in));
}

PROOFS(prove_attach, prove_resubmit, prove_take, prove_push, prove_publish, prove_published)
