/*
 * In-flight tracking of split rings: vhost-user, "Inflight I/O tracking".
 *
 * Theory of operation. A process that dies by SIGKILL has done all its stores up to some point and
 * none after it, so the order of the stores below is the whole proof:
 *
 *   take:    counter, then inflight = 1. Before it, the head is still in the avail ring (its place
 *            is computed as used_idx + heads in flight, not remembered).
 *   push:    next, then last_batch_head. Until the used index moves, nobody believes this list.
 *   publish: used->idx (in vring_split.c), then inflight = 0 for the batch, then used_idx =
 *            used->idx. If death comes between the first and the last, used_idx differs from
 *            used->idx by the size of the batch, and the list says which flags were still to be
 *            cleared.
 *
 * Indices are stored little-endian as everything in shared memory is; only vubox reads them.
 */
#include <errno.h>

#include "inflight_entry.h"

#define REGION(field) offsetof(struct vhost_user_queue_region_split, field)
#define DESC(field)   offsetof(struct vhost_user_desc_state_split, field)

static void format(struct inflight *in)
{
	for (uint16_t i = 0; i < in->desc_num; i++)
		entry_flag_set(in, i, 0);
	guest_store16(guest_at(in->region, REGION(desc_num)), in->desc_num);
	guest_store16_release(guest_at(in->region, REGION(version)), INFLIGHT_VERSION);
}

/* Clears the flags of the `batch` heads given back last. */
static void clear_batch(struct inflight *in, uint16_t head, uint16_t batch)
{
	while (batch-- > 0 && head < in->desc_num) {
		entry_flag_set(in, head, 0);
		head = guest_load16(entry_at(in, head, DESC(next)));
	}
}

/* Finishes the publication that the crash interrupted. */
static void repair(struct inflight *in, uint16_t used_idx)
{
	uint16_t head = guest_load16(guest_at(in->region, REGION(last_batch_head)));
	uint16_t batch =
		(uint16_t)(used_idx - guest_load16(guest_at(in->region, REGION(used_idx))));

	in->batch_head = head < in->desc_num ? head : 0;
	if (batch <= in->desc_num) /* else no crash did that: the ring was set up anew since */
		clear_batch(in, head, batch);
	guest_store16_release(guest_at(in->region, REGION(used_idx)), used_idx);
}

int inflight_split_attach(struct inflight *in, struct guest *region, uint16_t desc_num,
	uint16_t ring_size, uint16_t used_idx)
{
	uint16_t version = guest_load16(guest_at(region, REGION(version)));

	*in = (struct inflight){ 0 };
	if (desc_num < ring_size || version > INFLIGHT_VERSION)
		return -EINVAL;
	in->region = region;
	in->desc_num = desc_num;
	if (version == 0)
		format(in);
	in->desc_num = ring_size; /* there are no other heads */
	repair(in, used_idx);
	for (uint16_t i = 0; i < ring_size; i++)
		if (entry_flag(in, i))
			entry_found(in, i);
	return in->resubmit_left;
}

void inflight_split_take(struct inflight *in, uint16_t head)
{
	if (!in->region)
		return;
	entry_counter_set(in, head, in->counter++);
	entry_flag_set(in, head, 1);
}

void inflight_split_push(struct inflight *in, uint16_t head)
{
	if (!in->region)
		return;
	guest_store16(entry_at(in, head, DESC(next)), in->batch_head);
	guest_store16_release(guest_at(in->region, REGION(last_batch_head)), head);
	in->batch_head = head;
}

void inflight_split_publish(struct inflight *in, uint16_t batch, uint16_t used_idx)
{
	if (!in->region)
		return;
	clear_batch(in, in->batch_head, batch);
	guest_store16_release(guest_at(in->region, REGION(used_idx)), used_idx);
}
