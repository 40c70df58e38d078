/*
 * In-flight tracking of packed rings: vhost-user, "Inflight I/O tracking".
 *
 * Used descriptors overwrite the driver's, in the order of completion, so the descriptors of
 * what is in flight are copied into the region. Its entries are in a list of free ones, or in the
 * chain of a request, linked by `next` both times; the list ends with an index that is no entry.
 *
 * Theory of operation. As for split rings, the order of the stores is the whole proof, for a
 * process that dies by SIGKILL between any two of them. free_head and old_free_head lie in one
 * word, as do all that tell the used index; each word is stored at once.
 *
 *   take:      the copies go into free entries; counter, last, num, inflight = 1; then free_head =
 *              old_free_head = the entry behind them. Before this, they are still in the free list,
 *              whose flags the next life clears. The ring's next avail descriptor is computed as
 *              used index + slots of all that are in flight, not remembered.
 *   push:      chains of a batch are linked to each other, last to first. Nobody believes this yet.
 *   publish:   free_head = the batch and behind it the free list; used_idx; then the flags of the
 *              first used descriptor (in vring_packed.c), which makes all of the batch visible.
 *   published: inflight = 0 for the batch; old_free_head; old_used_idx.
 *
 * If used_idx and old_used_idx differ, death came while a batch was published, and the used
 * descriptor at old_used_idx tells on which side of the store that matters. The spec's text changes
 * free_head at push; then a chain taken before the publication could be written over one that is
 * not given back yet, so this does it at publication. What the next life reads is the same.
 *
 * Only this region knows the used index after a crash, and only the front-end knows it after a
 * stop, in which a driver may have started over. `settled` tells the two apart: the ring was
 * stopped by GET_VRING_BASE, with nothing in flight, and the front-end has gone on since, so it got
 * the answer. Zero, as others leave it, says no.
 *
 * Indices are stored little-endian as everything in shared memory is; only vubox reads them.
 */
#include <errno.h>
#include <string.h>

#include "inflight_entry.h"

#define REGION(field) offsetof(struct vhost_user_queue_region_packed, field)
#define DESC(field)   offsetof(struct vhost_user_desc_state_packed, field)

enum { PLACE = 0x7fff, WRAP_SHIFT = 15 };

/* The two words that must change at once. */
static void free_put(const struct inflight *in, uint16_t free_head, uint16_t old_free_head)
{
	guest_store64_release(guest_at(in->region, REGION(version)),
		INFLIGHT_VERSION | (uint64_t)in->desc_num << 16 | (uint64_t)free_head << 32 |
			(uint64_t)old_free_head << 48);
}
_Static_assert(REGION(version) == 8 && REGION(desc_num) == 10 && REGION(free_head) == 12 &&
		       REGION(old_free_head) == 14,
	"one word");

static void used_put(const struct inflight *in, uint16_t used, uint16_t old_used)
{
	guest_store64_release(guest_at(in->region, REGION(used_idx)),
		(uint64_t)(used & PLACE) | (uint64_t)(old_used & PLACE) << 16 |
			(uint64_t)(used >> WRAP_SHIFT) << 32 |
			(uint64_t)(old_used >> WRAP_SHIFT) << 40);
}
/* (settled lies in the same word: whatever changes the used index clears it.) */
_Static_assert(REGION(used_idx) == 16 && REGION(old_used_idx) == 18 &&
		       REGION(used_wrap_counter) == 20 && REGION(old_used_wrap_counter) == 21,
	"one word");

static uint16_t used_get(const struct inflight *in, size_t idx, size_t wrap)
{
	uint8_t counter;

	guest_copy_in(&counter, guest_at(in->region, wrap), sizeof(counter));
	return (uint16_t)((guest_load16(guest_at(in->region, idx)) & PLACE) |
			  (counter & 1) << WRAP_SHIFT);
}

static uint16_t load16(const struct inflight *in, uint16_t entry, size_t field)
{
	return guest_load16(entry_at(in, entry, field));
}

/* An index that was read from the region, for use as an entry: a wrong one hurts only its owner. */
static uint16_t an_entry(const struct inflight *in, uint16_t i)
{
	return i < in->desc_num ? i : 0;
}

static void format(const struct inflight *in, uint16_t used)
{
	for (uint16_t i = 0; i < in->desc_num; i++) {
		entry_flag_set(in, i, 0);
		guest_store16(entry_at(in, i, DESC(next)), (uint16_t)(i + 1));
	}
	used_put(in, used, used);
	free_put(in, 0, 0);
}

/* Whether the last life has stopped this ring in order, and nobody has put something in since. */
static bool was_settled(const struct inflight *in)
{
	uint8_t settled;
	bool any = false;

	guest_copy_in(&settled, guest_at(in->region, REGION(settled)), sizeof(settled));
	for (uint16_t i = 0; i < in->desc_num && !any; i++)
		any = entry_flag(in, i);
	return settled != 0 && !any;
}

void inflight_packed_settle(struct guest *region)
{
	uint8_t settled = 1;

	guest_copy_out(guest_at(region, REGION(settled)), &settled, sizeof(settled));
}

int inflight_packed_attach(struct inflight *in, struct guest *region, uint16_t desc_num,
	uint16_t ring_size, uint16_t fresh_used)
{
	uint16_t version = guest_load16(guest_at(region, REGION(version)));

	*in = (struct inflight){ 0 };
	if (desc_num < ring_size || version > INFLIGHT_VERSION)
		return -EINVAL;
	in->region = region;
	in->packed = true;
	in->desc_num = desc_num;
	if (version == 0)
		format(in, fresh_used);
	else if (was_settled(in))
		used_put(in, fresh_used, fresh_used);
	in->used = used_get(in, REGION(used_idx), REGION(used_wrap_counter));
	in->old_used = used_get(in, REGION(old_used_idx), REGION(old_used_wrap_counter));
	if ((in->used & PLACE) >= ring_size || (in->old_used & PLACE) >= ring_size)
		return -EINVAL;
	return in->used != in->old_used;
}

int inflight_packed_recover(
	struct inflight *in, uint16_t ring_size, bool committed, uint16_t *slots)
{
	uint16_t free_head = guest_load16(
		guest_at(in->region, committed ? REGION(free_head) : REGION(old_free_head)));
	uint16_t used = committed ? in->used : in->old_used;
	uint32_t sum = 0;

	in->used = in->old_used = used;
	in->free_head = free_head;
	/* The flags first, the word of the used index last: a death in here changes nothing. */
	for (uint16_t n = 0, i = free_head; n < in->desc_num && i < in->desc_num; n++) {
		entry_flag_set(in, i, 0);
		i = load16(in, i, DESC(next));
	}
	free_put(in, free_head, free_head);
	used_put(in, used, used);
	for (uint16_t i = 0; i < in->desc_num; i++) {
		if (!entry_flag(in, i))
			continue;
		entry_found(in, i);
		sum += load16(in, i, DESC(num));
	}
	if (sum > ring_size || in->resubmit_left > sum)
		return -EINVAL;
	*slots = in->slots_left = (uint16_t)sum;
	return in->resubmit_left;
}

void inflight_packed_begin(struct inflight *in)
{
	in->add_at = in->free_head;
}

void inflight_packed_add(struct inflight *in, const struct pvirtq_desc *desc)
{
	struct vhost_user_desc_state_packed e;

	in->add_to = an_entry(in, in->add_at);
	/* addr, and the word of id, flags and len, lie the other way round than in a descriptor. */
	guest_copy_out(entry_at(in, in->add_to, DESC(addr)), &desc->addr, sizeof(desc->addr));
	memcpy(&e.id, &desc->id, sizeof(e.id));
	memcpy(&e.flags, &desc->flags, sizeof(e.flags));
	memcpy(&e.len, &desc->len, sizeof(e.len));
	guest_copy_out(entry_at(in, in->add_to, DESC(id)), &e.id, DESC(addr) - DESC(id));
	in->add_at = load16(in, in->add_to, DESC(next));
}
_Static_assert(DESC(addr) - DESC(id) == 8, "one word");

uint16_t inflight_packed_take(struct inflight *in, uint16_t last, uint16_t slots)
{
	uint16_t entry = an_entry(in, in->free_head);

	entry_counter_set(in, entry, in->counter++);
	guest_store16(entry_at(in, entry, DESC(last)), last);
	guest_store16(entry_at(in, entry, DESC(num)), slots);
	entry_flag_set(in, entry, 1);
	in->free_head = load16(in, last, DESC(next));
	free_put(in, in->free_head, in->free_head);
	return entry;
}

uint16_t inflight_packed_slots(const struct inflight *in, uint16_t entry)
{
	return load16(in, entry, DESC(num));
}

void inflight_packed_get(const struct inflight *in, uint16_t *at, struct pvirtq_desc *desc)
{
	struct vhost_user_desc_state_packed e;

	*at = an_entry(in, *at);
	guest_copy_in(&e, entry_at(in, *at, 0), sizeof(e));
	memcpy(&desc->addr, &e.addr, sizeof(desc->addr));
	memcpy(&desc->len, &e.len, sizeof(desc->len));
	memcpy(&desc->id, &e.id, sizeof(desc->id));
	memcpy(&desc->flags, &e.flags, sizeof(desc->flags));
	*at = le16_get((le16){ e.next });
}

void inflight_packed_push(struct inflight *in, uint16_t entry, bool first)
{
	uint16_t last;

	if (!in->region)
		return;
	last = an_entry(in, load16(in, entry, DESC(last)));
	if (first)
		in->batch_tail = last;
	else
		guest_store16(entry_at(in, last, DESC(next)), in->batch_head);
	in->batch_head = entry;
}

void inflight_packed_publish(struct inflight *in, uint16_t used)
{
	if (!in->region)
		return;
	guest_store16(entry_at(in, in->batch_tail, DESC(next)), in->free_head);
	free_put(in, in->batch_head, in->free_head);
	used_put(in, used, in->used);
}

void inflight_packed_published(struct inflight *in, uint16_t batch, uint16_t used)
{
	uint16_t entry = in->batch_head;

	if (!in->region)
		return;
	while (batch-- > 0) {
		entry = an_entry(in, entry);
		entry_flag_set(in, entry, 0);
		entry = load16(in, an_entry(in, load16(in, entry, DESC(last))), DESC(next));
	}
	in->free_head = in->batch_head;
	free_put(in, in->free_head, in->free_head);
	used_put(in, used, used);
	in->used = used;
}
