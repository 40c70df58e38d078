/* The driver's side of a split virtqueue (VIRTIO 2.7). */
#include <string.h>

#include "driver.h"

enum { FLAGS_AT = 0, IDX_AT = 2, RING_AT = 4, NO_INTERRUPT = 1, NO_NOTIFY = 1 };

static unsigned char *avail_entry(struct driver *d, uint64_t i)
{
	return d->avail + RING_AT + 2 * (size_t)(i & (d->size - 1));
}

static unsigned char *used_event(struct driver *d)
{
	return d->avail + RING_AT + 2 * (size_t)d->size;
}

static unsigned char *avail_event(struct driver *d)
{
	return d->used + RING_AT + 8 * (size_t)d->size;
}

static uint64_t split_place(struct driver_layout *at, uint16_t size, uint64_t guest)
{
	at->desc = (guest + 15) / 16 * 16;
	at->avail = at->desc + 16ull * size;
	at->used = (at->avail + RING_AT + 2ull * size + 2 + 3) / 4 * 4;
	at->end = at->used + RING_AT + 8ull * size + 2;
	return at->end;
}

static void split_open(struct driver *d, uint16_t start)
{
	memset(d->desc, 0, 16 * (size_t)d->size);
	memset(d->avail, 0, RING_AT + 2 * (size_t)d->size + 2);
	memset(d->used, 0, RING_AT + 8 * (size_t)d->size + 2);
	d->added = d->published = d->judged = d->taken = start;
	driver_store16(d->avail + IDX_AT, start);
	driver_store16(d->used + IDX_AT, start);
	driver_store16(used_event(d), start);
	driver_store16(avail_event(d), start);
}

static void split_put_desc(unsigned char bytes[16], const struct driver_desc *desc)
{
	memcpy(bytes, &desc->addr, 8);
	memcpy(bytes + 8, &desc->len, 4);
	memcpy(bytes + 12, &desc->flags, 2);
	memcpy(bytes + 14, &desc->next, 2);
}

static struct driver_desc desc_of(const struct driver_buffer *b, bool more, uint16_t next)
{
	return (struct driver_desc){ .addr = b->guest,
		.len = b->len,
		.flags = (uint16_t)((b->writable ? DRIVER_DESC_WRITE : 0) |
				    (more ? DRIVER_DESC_NEXT : 0)),
		.next = more ? next : 0 };
}

/* Writes what goes into an indirect table: the buffers from `first` on. */
static bool put_table(struct driver *d, const struct driver_chain *chain, unsigned first)
{
	unsigned count = chain->count - first;

	for (unsigned i = 0; i < count; i++) {
		struct driver_desc desc =
			desc_of(&chain->buffers[first + i], i + 1 < count, (uint16_t)(i + 1));

		if (!driver_put_table(d, chain->table + 16ull * i, &desc, 1))
			return false;
	}
	return true;
}

static int split_add(struct driver *d, const struct driver_chain *chain)
{
	unsigned direct = chain->table ? chain->direct : chain->count;
	unsigned descs = direct + (chain->table ? 1 : 0);
	uint16_t head = d->free_head, i = head;

	if (descs == 0 || descs > d->free_count || direct > chain->count ||
		(chain->table && !put_table(d, chain, direct)))
		return -1;
	for (unsigned k = 0; k < descs; k++) {
		uint16_t next = d->free_next[i];
		struct driver_desc desc = { .addr = chain->table,
			.len = 16 * (chain->count - direct),
			.flags = DRIVER_DESC_INDIRECT };

		if (k < direct)
			desc = desc_of(&chain->buffers[k], k + 1 < descs, next);
		split_put_desc(d->desc + 16 * (size_t)i, &desc);
		i = next;
	}
	d->free_head = i;
	d->free_count = (uint16_t)(d->free_count - descs);
	d->out_count++;
	d->chain_descs = (uint16_t)descs;
	d->slots[head] = (struct driver_slot){ .owner = chain->owner,
		.writable = driver_writable(chain),
		.descs = (uint16_t)descs,
		.out = true,
		.at = 0 };
	driver_store16(avail_entry(d, d->added++), head);
	return head;
}

static void split_publish(struct driver *d)
{
	driver_store16(d->avail + IDX_AT, (uint16_t)d->added);
	d->published = d->added;
}

static bool split_needs_kick(struct driver *d)
{
	uint16_t old = (uint16_t)d->judged, now = (uint16_t)d->published;

	d->judged = d->published;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!d->event_idx)
		return now != old && (driver_load16(d->used + FLAGS_AT) & NO_NOTIFY) == 0;
	/* 2.7.10: a kick if avail_event is among the entries published since the last one. */
	return (uint16_t)(now - driver_load16(avail_event(d)) - 1) < (uint16_t)(now - old);
}

/* Gives the descriptors of a head back to the free list. */
static void split_free(struct driver *d, uint16_t head)
{
	uint16_t last = head;

	/* Free or not, free_next still says in which order the chain took them. */
	for (unsigned k = 1; k < d->slots[head].descs; k++)
		last = d->free_next[last];
	d->free_next[last] = d->free_head;
	d->free_head = head;
	d->free_count = (uint16_t)(d->free_count + d->slots[head].descs);
	d->out_count--;
}

static int split_poll(struct driver *d, struct driver_used *used)
{
	uint16_t idx = driver_load16(d->used + IDX_AT);
	uint32_t elem[2];

	if (idx == (uint16_t)d->taken)
		return 0;
	if ((uint16_t)(idx - d->taken) > d->out_count)
		return driver_is_wrong(d, "the used index is ahead of what was offered");
	memcpy(elem, d->used + RING_AT + 8 * (size_t)(d->taken & (d->size - 1)), sizeof(elem));
	if (elem[0] >= d->size)
		return driver_is_wrong(d, "a used id behind the end of the table");
	if (!d->slots[elem[0]].out)
		return driver_is_wrong(d, "a used id that is not out");
	if (elem[1] > d->slots[elem[0]].writable)
		return driver_is_wrong(d, "more bytes used than the chain has to write");
	*used = (struct driver_used){ (uint16_t)elem[0], elem[1], d->slots[elem[0]].owner };
	d->taken++;
	d->slots[elem[0]].out = false;
	split_free(d, (uint16_t)elem[0]);
	return 1;
}

static void split_want_calls(struct driver *d, bool on, uint16_t after)
{
	/* used_event is passed when the index gets from it to it + 1. One just behind us is far. */
	if (d->event_idx)
		driver_store16(used_event(d), (uint16_t)(on ? d->taken + after - 1 : d->taken - 1));
	else
		driver_store16(d->avail + FLAGS_AT, on ? 0 : NO_INTERRUPT);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint32_t split_base(const struct driver *d, unsigned skip)
{
	return (uint16_t)(d->taken + skip);
}

static uint32_t split_base_in_memory(const struct driver *d)
{
	return driver_load16(d->used + IDX_AT);
}

static void split_offer_raw(struct driver *d, const struct driver_desc *descs, unsigned count)
{
	for (unsigned i = 0; i < count && i < d->size; i++)
		split_put_desc(d->desc + 16 * (size_t)i, &descs[i]);
	driver_offer_head(d, 0);
}

void driver_offer_head(struct driver *d, uint16_t head)
{
	driver_store16(avail_entry(d, d->added++), head);
	split_publish(d);
}

static bool split_is_back(const struct driver *d)
{
	return driver_load16(d->used + IDX_AT) != (uint16_t)d->taken;
}

const struct driver_format driver_split = {
	.name = "split",
	.place = split_place,
	.open = split_open,
	.add = split_add,
	.publish = split_publish,
	.needs_kick = split_needs_kick,
	.poll = split_poll,
	.want_calls = split_want_calls,
	.base = split_base,
	.base_in_memory = split_base_in_memory,
	.put_desc = split_put_desc,
	.offer_raw = split_offer_raw,
	.is_back = split_is_back,
};
