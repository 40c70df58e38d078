/*
 * Proofs about in-flight tracking of split rings: inflight.c and inflight_split.c. What the region
 * holds is unknown at every load.
 *
 * `sound` is what attach brings about and each other function, from any state that is so, keeps.
 *
 * Bounds. Only loops are bounded; what has none is shown for every size of region.
 *   SMALL: entries of a region that is attached to, or searched for what is to be done again, and
 *     chains of a batch that is published. The loops over entries count up to a number that is
 *     fixed before; those along `next` count a batch down, and end at an index that is no entry. A
 *     round more is as the one before.
 */
#include <errno.h>

#include "any_guest.h"
#include "inflight.h"
#include "spec/vhost_user.h"

enum { SMALL = 4 };

static struct guest *a_region(uint16_t desc_num)
{
	/* Without the padding at its end: that is not for us. */
	return nondet_object(sizeof(struct vhost_user_queue_region_split) +
			     sizeof(struct vhost_user_desc_state_split) * (size_t)desc_num);
}

static bool sound(const struct inflight *in)
{
	return !in->packed && in->batch_head < in->desc_num && in->resubmit_left <= in->desc_num;
}

static struct inflight a_record(uint16_t desc_num_max)
{
	struct inflight in = {
		.resubmitted_any = nondet_bool(),
		.last_entry = nondet_u16(),
		.last_counter = nondet_u64(),
		.counter = nondet_u64(),
	};

	in.desc_num = (uint16_t)(1 + nondet_upto(desc_num_max - 1));
	in.batch_head = likely_u16((uint16_t)(in.desc_num - 1));
	in.resubmit_left = likely_u16(in.desc_num);
	in.region = a_region(in.desc_num);
	assume(sound(&in));
	return in;
}

void prove_attach(void)
{
	struct inflight in;
	uint16_t desc_num = (uint16_t)nondet_upto(SMALL);
	uint16_t ring_size = (uint16_t)(1 + nondet_upto(UINT16_MAX - 1));
	struct guest *region = a_region(desc_num);
	int taken = inflight_split_attach(&in, region, desc_num, ring_size, nondet_u16());

	if (taken < 0) {
		claim(taken == -EINVAL);
		return;
	}
	claim(sound(&in) && in.region == region && in.desc_num == ring_size);
	claim(taken == in.resubmit_left);
}

void prove_resubmit(void)
{
	struct inflight in = a_record(SMALL);
	uint16_t entry, before = in.resubmit_left;

	assume(in.resubmit_left > 0);
	if (inflight_resubmit(&in, &entry)) {
		claim(entry < in.desc_num && in.resubmit_left == before);
		/* If its chain is whole, else it stays. */
		if (nondet_bool())
			inflight_retake(&in, entry);
		claim(in.resubmit_left >= before - 1);
	} else {
		claim(in.resubmit_left == 0);
	}
	claim(sound(&in));
}

void prove_take(void)
{
	struct inflight in = a_record(UINT16_MAX), none = { 0 };
	uint16_t head = (uint16_t)nondet_upto(in.desc_num - 1u);

	inflight_split_take(&none, head);
	inflight_split_push(&none, head);
	if (nondet_bool())
		inflight_split_take(&in, head);
	else
		inflight_split_push(&in, head);
	claim(sound(&in));
}

void prove_publish(void)
{
	struct inflight in = a_record(UINT16_MAX), none = { 0 };

	inflight_split_publish(&none, nondet_u16(), nondet_u16());
	inflight_split_publish(&in, (uint16_t)nondet_upto(SMALL), nondet_u16());
	claim(sound(&in));
	inflight_forget(in.region);
}

PROOFS(prove_attach, prove_resubmit, prove_take, prove_publish)
