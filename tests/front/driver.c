/* The driver's side of a virtqueue: memory, bookkeeping, and the split format (VIRTIO 2.7). */
#include "driver.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are little-endian, and so are we");

/* ---- guest memory ---- */

/* What one region holds from a guest address on; *len is cut to it. */
static unsigned char *at_some(const struct driver_memory *mem, uint64_t guest, uint64_t *len)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct driver_region *r = &mem->regions[i];

		if (guest < r->guest || guest - r->guest >= r->size)
			continue;
		if (*len > r->size - (guest - r->guest))
			*len = r->size - (guest - r->guest);
		return r->host + (guest - r->guest);
	}
	return NULL;
}

void *driver_at(const struct driver_memory *mem, uint64_t guest, uint64_t len)
{
	uint64_t part = len;
	unsigned char *host = at_some(mem, guest, &part);

	return part == len ? host : NULL;
}

bool driver_read(const struct driver_memory *mem, uint64_t guest, void *dst, size_t len)
{
	unsigned char *to = dst;

	while (len > 0) {
		uint64_t part = len;
		const unsigned char *from = at_some(mem, guest, &part);

		if (!from)
			return false;
		memcpy(to, from, part);
		to += part;
		guest += part;
		len -= part;
	}
	return true;
}

bool driver_write(const struct driver_memory *mem, uint64_t guest, const void *src, size_t len)
{
	const unsigned char *from = src;

	while (len > 0) {
		uint64_t part = len;
		unsigned char *to = at_some(mem, guest, &part);

		if (!to)
			return false;
		memcpy(to, from, part);
		from += part;
		guest += part;
		len -= part;
	}
	return true;
}

/* ---- any format ---- */

uint64_t driver_place(
	const struct driver_format *format, struct driver_layout *at, uint16_t size, uint64_t guest)
{
	return format->place(at, size, guest);
}

bool driver_open(struct driver *d, const struct driver_format *format,
	const struct driver_memory *mem, const struct driver_layout *at,
	const struct driver_options *options)
{
	*d = (struct driver){ .format = format,
		.memory = mem,
		.at = *at,
		.size = options->size,
		.event_idx = options->event_idx };
	if (options->size == 0 || options->size > DRIVER_SIZE_MAX)
		return false;
	d->desc = driver_at(mem, at->desc, at->avail - at->desc);
	d->avail = driver_at(mem, at->avail, at->used - at->avail);
	d->used = driver_at(mem, at->used, at->end - at->used);
	if (!d->desc || !d->avail || !d->used)
		return false;
	for (uint16_t i = 0; i < d->size; i++)
		d->free_next[i] = (uint16_t)(i + 1);
	d->free_count = d->size;
	format->open(d, options->start);
	return true;
}

int driver_add(struct driver *d, const struct driver_chain *chain)
{
	return d->format->add(d, chain);
}

void driver_publish(struct driver *d)
{
	d->format->publish(d);
}

bool driver_needs_kick(struct driver *d)
{
	return d->format->needs_kick(d);
}

int driver_poll(struct driver *d, struct driver_used *used)
{
	return d->wrong ? -1 : d->format->poll(d, used);
}

void driver_want_calls(struct driver *d, bool on, uint16_t after)
{
	d->format->want_calls(d, on, after);
}

bool driver_put_desc(const struct driver_memory *mem, uint64_t table, uint16_t i, uint64_t guest,
	uint32_t len, uint16_t flags, uint16_t next)
{
	unsigned char desc[16];

	memcpy(desc, &guest, 8);
	memcpy(desc + 8, &len, 4);
	memcpy(desc + 12, &flags, 2);
	memcpy(desc + 14, &next, 2);
	return driver_write(mem, table + 16ull * i, desc, sizeof(desc));
}

/* ---- split ---- */

enum { FLAGS_AT = 0, IDX_AT = 2, RING_AT = 4, NO_INTERRUPT = 1, NO_NOTIFY = 1 };

/* Shared words are loaded and stored once, whole. */
static uint16_t load16(const unsigned char *at)
{
	return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static void store16(unsigned char *at, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)at, v, __ATOMIC_RELEASE);
}

static unsigned char *avail_entry(struct driver *d, uint16_t i)
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
	d->avail_idx = d->published = d->judged = d->used_idx = start;
	store16(d->avail + IDX_AT, start);
	store16(d->used + IDX_AT, start);
	store16(used_event(d), start);
	store16(avail_event(d), start);
}

/* Writes what goes into an indirect table: the buffers from `first` on. */
static bool put_table(struct driver *d, const struct driver_chain *chain, unsigned first)
{
	unsigned count = chain->count - first;

	for (unsigned i = 0; i < count; i++) {
		const struct driver_buffer *b = &chain->buffers[first + i];
		unsigned flags = (b->writable ? DRIVER_DESC_WRITE : 0) |
				 (i + 1 < count ? DRIVER_DESC_NEXT : 0);

		if (!driver_put_desc(d->memory, chain->table, (uint16_t)i, b->guest, b->len,
			    (uint16_t)flags, (uint16_t)(i + 1 < count ? i + 1 : 0)))
			return false;
	}
	return true;
}

static int split_add(struct driver *d, const struct driver_chain *chain)
{
	unsigned direct = chain->table ? chain->direct : chain->count;
	unsigned descs = direct + (chain->table ? 1 : 0);
	uint16_t head = d->free_head, i = head;
	uint32_t writable = 0;

	if (descs == 0 || descs > d->free_count || direct > chain->count ||
		(chain->table && !put_table(d, chain, direct)))
		return -1;
	for (unsigned k = 0; k < chain->count; k++)
		writable += chain->buffers[k].writable ? chain->buffers[k].len : 0;
	for (unsigned k = 0; k < descs; k++) {
		uint16_t next = d->free_next[i];
		uint16_t more = k + 1 < descs ? DRIVER_DESC_NEXT : 0;
		const struct driver_buffer *b = &chain->buffers[k];

		if (k == direct)
			driver_put_desc(d->memory, d->at.desc, i, chain->table,
				16 * (chain->count - direct), DRIVER_DESC_INDIRECT, 0);
		else
			driver_put_desc(d->memory, d->at.desc, i, b->guest, b->len,
				(uint16_t)((b->writable ? DRIVER_DESC_WRITE : 0) | more), next);
		i = next;
	}
	d->free_head = i;
	d->free_count = (uint16_t)(d->free_count - descs);
	d->out_count++;
	d->slots[head] = (struct driver_slot){ chain->owner, writable, (uint16_t)descs, true };
	store16(avail_entry(d, d->avail_idx++), head);
	return head;
}

static void split_publish(struct driver *d)
{
	store16(d->avail + IDX_AT, d->avail_idx);
	d->published = d->avail_idx;
}

static bool split_needs_kick(struct driver *d)
{
	uint16_t old = d->judged, now = d->published;

	d->judged = now;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!d->event_idx)
		return now != old && (load16(d->used + FLAGS_AT) & NO_NOTIFY) == 0;
	/* 2.7.10: a kick if avail_event is among the entries published since the last one. */
	return (uint16_t)(now - load16(avail_event(d)) - 1) < (uint16_t)(now - old);
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

static int split_wrong(struct driver *d, const char *what)
{
	d->wrong = what;
	return -1;
}

static int split_poll(struct driver *d, struct driver_used *used)
{
	uint16_t idx = load16(d->used + IDX_AT);
	uint32_t elem[2];

	if (idx == d->used_idx)
		return 0;
	if ((uint16_t)(idx - d->used_idx) > d->out_count)
		return split_wrong(d, "the used index is ahead of what was offered");
	memcpy(elem, d->used + RING_AT + 8 * (size_t)(d->used_idx & (d->size - 1)), sizeof(elem));
	if (elem[0] >= d->size)
		return split_wrong(d, "a used id behind the end of the table");
	if (!d->slots[elem[0]].out)
		return split_wrong(d, "a used id that is not out: it came twice, or is no head");
	if (elem[1] > d->slots[elem[0]].writable)
		return split_wrong(d, "more bytes used than the chain has to write");
	*used = (struct driver_used){ (uint16_t)elem[0], elem[1], d->slots[elem[0]].owner };
	d->used_idx++;
	d->slots[elem[0]].out = false;
	split_free(d, (uint16_t)elem[0]);
	return 1;
}

static void split_want_calls(struct driver *d, bool on, uint16_t after)
{
	/* used_event is passed when used_idx gets from it to it + 1. One just behind us is far. */
	if (d->event_idx)
		store16(used_event(d), (uint16_t)(on ? d->used_idx + after - 1 : d->used_idx - 1));
	else
		store16(d->avail + FLAGS_AT, on ? 0 : NO_INTERRUPT);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void driver_offer_raw(struct driver *d, uint16_t head)
{
	store16(avail_entry(d, d->avail_idx++), head);
	split_publish(d);
}

const struct driver_format driver_split = {
	.place = split_place,
	.open = split_open,
	.add = split_add,
	.publish = split_publish,
	.needs_kick = split_needs_kick,
	.poll = split_poll,
	.want_calls = split_want_calls,
};
