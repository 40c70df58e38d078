/*
 * In-flight tracking of split rings: vhost-user, "Inflight I/O tracking".
 *
 * Theory of operation. A process that dies by SIGKILL has done all its stores up to some point and
 * none after it, so the order of the stores below is the whole proof:
 *
 *   take:    counter, then inflight = 1. Before it, the head is still in the avail ring (its place
 *            is computed as used_idx + heads in flight, not remembered).
 *   push:    next, then last_batch_head. Until the used index moves, nobody believes this list.
 *   publish: used->idx (in vring.c), then inflight = 0 for the batch, then used_idx = used->idx.
 *            If death comes between the first and the last, used_idx differs from used->idx by the
 *            size of the batch, and the list says which flags were still to be cleared.
 *
 * Indices are stored little-endian as everything in shared memory is; only vubox reads them.
 */
#include "inflight.h"

#include <errno.h>
#include <stddef.h>

#include "le.h"
#include "panic.h"
#include "spec/vhost_user.h"

enum { VERSION = 1, REGION_ALIGN = 64 };

#define REGION(field) offsetof(struct vhost_user_queue_region_split, field)
#define DESC(field)   offsetof(struct vhost_user_desc_state_split, field)

static struct guest *desc_at(const struct inflight *in, uint16_t head, size_t field)
{
	ASSERT(head < in->desc_num);
	return guest_at(in->region,
		sizeof(struct vhost_user_queue_region_split) +
			sizeof(struct vhost_user_desc_state_split) * (size_t)head + field);
}

static bool flag_get(const struct inflight *in, uint16_t head)
{
	uint8_t flag;

	guest_copy_in(&flag, desc_at(in, head, DESC(inflight)), sizeof(flag));
	return flag != 0;
}

static void flag_set(const struct inflight *in, uint16_t head, uint8_t flag)
{
	guest_copy_out(desc_at(in, head, DESC(inflight)), &flag, sizeof(flag));
}

static uint64_t counter_get(const struct inflight *in, uint16_t head)
{
	le64 counter;

	guest_copy_in(&counter, desc_at(in, head, DESC(counter)), sizeof(counter));
	return le64_get(counter);
}

uint64_t inflight_region_bytes(uint16_t size)
{
	uint64_t bytes = sizeof(struct vhost_user_queue_region_split) +
			 sizeof(struct vhost_user_desc_state_split) * (uint64_t)size;

	return (bytes + REGION_ALIGN - 1) / REGION_ALIGN * REGION_ALIGN;
}

void inflight_format(struct guest *region, uint16_t size)
{
	guest_store16(guest_at(region, REGION(version)), VERSION);
	guest_store16(guest_at(region, REGION(desc_num)), size);
}

/* Finishes the publication that the crash interrupted: clears the flags of the last batch. */
static void repair(struct inflight *in, uint16_t used_idx)
{
	uint16_t head = guest_load16(guest_at(in->region, REGION(last_batch_head)));
	uint16_t batch =
		(uint16_t)(used_idx - guest_load16(guest_at(in->region, REGION(used_idx))));

	in->batch_head = head < in->desc_num ? head : 0;
	if (batch > in->desc_num) /* no crash does that: the ring was set up anew since */
		batch = 0;
	while (batch-- > 0 && head < in->desc_num) {
		flag_set(in, head, 0);
		head = guest_load16(desc_at(in, head, DESC(next)));
	}
	guest_store16_release(guest_at(in->region, REGION(used_idx)), used_idx);
}

int inflight_attach(struct inflight *in, struct guest *region, uint16_t desc_num,
	uint16_t ring_size, uint16_t used_idx)
{
	uint16_t version = guest_load16(guest_at(region, REGION(version)));

	*in = (struct inflight){ 0 };
	if (desc_num < ring_size || version > VERSION)
		return -EINVAL;
	if (version == 0)
		inflight_format(region, desc_num);
	in->region = region;
	in->desc_num = ring_size;
	repair(in, used_idx);
	for (uint16_t head = 0; head < ring_size; head++) {
		uint64_t counter;

		if (!flag_get(in, head))
			continue;
		in->resubmit_left++;
		counter = counter_get(in, head);
		if (counter >= in->counter)
			in->counter = counter + 1;
	}
	return in->resubmit_left;
}

bool inflight_resubmit(struct inflight *in, uint16_t *head)
{
	uint64_t best = 0;
	bool found = false;

	ASSERT(in->resubmit_left > 0);
	/* The smallest counter after the last one; equal ones (a lie) in order of heads. */
	for (uint16_t i = 0; i < in->desc_num; i++) {
		uint64_t counter;

		if (!flag_get(in, i))
			continue;
		counter = counter_get(in, i);
		if (in->resubmitted_any &&
			(counter < in->last_counter ||
				(counter == in->last_counter && i <= in->last_head)))
			continue;
		if (found && counter >= best)
			continue;
		found = true;
		best = counter;
		*head = i;
	}
	if (!found) { /* someone else has changed the buffer: take what the avail ring has */
		in->resubmit_left = 0;
		return false;
	}
	return true;
}

void inflight_take(struct inflight *in, uint16_t head)
{
	le64 counter = le64_put(in->counter);

	if (!in->region)
		return;
	if (in->resubmit_left > 0) { /* it is marked already; its counter stays */
		in->resubmit_left--;
		in->resubmitted_any = true;
		in->last_head = head;
		in->last_counter = counter_get(in, head);
		return;
	}
	in->counter++;
	guest_copy_out(desc_at(in, head, DESC(counter)), &counter, sizeof(counter));
	flag_set(in, head, 1);
}

void inflight_push(struct inflight *in, uint16_t head)
{
	if (!in->region)
		return;
	guest_store16(desc_at(in, head, DESC(next)), in->batch_head);
	guest_store16_release(guest_at(in->region, REGION(last_batch_head)), head);
	in->batch_head = head;
}

void inflight_publish(struct inflight *in, uint16_t batch, uint16_t used_idx)
{
	uint16_t head = in->batch_head;

	if (!in->region)
		return;
	while (batch-- > 0 && head < in->desc_num) {
		flag_set(in, head, 0);
		head = guest_load16(desc_at(in, head, DESC(next)));
	}
	guest_store16_release(guest_at(in->region, REGION(used_idx)), used_idx);
}

void inflight_forget(struct inflight *in)
{
	if (!in->region)
		return;
	for (uint16_t head = 0; head < in->desc_num; head++)
		flag_set(in, head, 0);
	in->resubmit_left = 0;
}
