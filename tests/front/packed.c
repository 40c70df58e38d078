/*
 * The driver's side of a packed virtqueue (VIRTIO 2.8).
 *
 * Descriptors are counted as they go by: number n lies at n % size, and belongs to lap n / size,
 * whose wrap counter is 1 in even laps. Buffer ids are slots, given out from the last one down, so
 * that they are never by chance what the place in the ring is.
 */
#include <string.h>

#include "driver.h"

enum { ADDR_AT = 0, LEN_AT = 8, ID_AT = 12, DESC_FLAGS_AT = 14 };
enum { AVAIL = 1 << 7, USED = 1 << 15 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 };
enum { OFF_AT = 0, EVENT_FLAGS_AT = 2, WRAP = 1 << 15, NOT_THE_LAST = 0xdead };

static unsigned char *entry(const struct driver *d, uint64_t n)
{
	return d->desc + 16 * (n % d->size);
}

static bool wrap_of(const struct driver *d, uint64_t n)
{
	return n / d->size % 2 == 0;
}

/* A place in the ring as event suppression and SET_VRING_BASE say it. */
static uint16_t off_wrap(const struct driver *d, uint64_t n)
{
	return (uint16_t)(n % d->size | (wrap_of(d, n) ? WRAP : 0));
}

static uint64_t packed_place(struct driver_layout *at, uint16_t size, uint64_t guest)
{
	at->desc = (guest + 15) / 16 * 16;
	at->avail = at->desc + 16ull * size;
	at->used = at->avail + 4;
	at->end = at->used + 4;
	return at->end;
}

/* As if `start` descriptors had been used already: each entry has the flags of its last lap. */
static void packed_open(struct driver *d, uint16_t start)
{
	memset(d->desc, 0, 16 * (size_t)d->size);
	memset(d->avail, 0, 4);
	memset(d->used, 0, 4);
	for (uint64_t n = start > d->size ? start - d->size : 0; n < start; n++)
		driver_store16(entry(d, n) + DESC_FLAGS_AT, wrap_of(d, n) ? AVAIL | USED : 0);
	for (uint16_t i = 0; i < d->size; i++)
		d->free_next[i] = (uint16_t)(i - 1);
	d->free_head = (uint16_t)(d->size - 1);
	d->added = d->published = d->judged = d->taken = start;
}

static void packed_put_desc(unsigned char bytes[16], const struct driver_desc *desc)
{
	memcpy(bytes + ADDR_AT, &desc->addr, 8);
	memcpy(bytes + LEN_AT, &desc->len, 4);
	memcpy(bytes + ID_AT, &desc->id, 2);
	memcpy(bytes + DESC_FLAGS_AT, &desc->flags, 2);
}

/*
 * Writes the next descriptor of the ring. The flags of the first one since the last publication
 * wait for the next: all that is behind it is invisible without it.
 */
static void put_next(struct driver *d, struct driver_desc desc)
{
	uint64_t n = d->added++;
	bool first = n == d->published;
	unsigned char bytes[16];
	uint16_t old = driver_load16(entry(d, n) + DESC_FLAGS_AT);

	desc.flags = (uint16_t)((desc.flags & ~(AVAIL | USED)) | (wrap_of(d, n) ? AVAIL : USED));
	packed_put_desc(bytes, &desc);
	memcpy(d->shadow[n % d->size], bytes, sizeof(bytes));
	if (first) {
		d->first_flags = desc.flags;
		memcpy(bytes + DESC_FLAGS_AT, &old, 2);
	}
	memcpy(entry(d, n), bytes, sizeof(bytes));
}

/* 2.8.7: order says what follows what, WRITE is the only flag, and there is no id. */
static bool put_table(struct driver *d, const struct driver_chain *chain, unsigned first)
{
	for (unsigned i = first; i < chain->count; i++) {
		const struct driver_buffer *b = &chain->buffers[i];
		struct driver_desc desc = { .addr = b->guest,
			.len = b->len,
			.flags = b->writable ? DRIVER_DESC_WRITE : 0 };

		if (!driver_put_table(d, chain->table + 16ull * (i - first), &desc, 1))
			return false;
	}
	return true;
}

static int packed_add(struct driver *d, const struct driver_chain *chain)
{
	/* 2.8.6: a list is direct, or it is one indirect descriptor. */
	unsigned descs = chain->table ? 1 : chain->count;
	uint16_t id = d->free_head;

	if (descs == 0 || descs > d->free_count || (chain->table && !put_table(d, chain, 0)))
		return -1;
	d->free_head = d->free_next[id];
	d->free_count = (uint16_t)(d->free_count - descs);
	d->out_count++;
	d->chain_descs = (uint16_t)descs;
	d->slots[id] = (struct driver_slot){ .owner = chain->owner,
		.writable = driver_writable(chain),
		.descs = (uint16_t)descs,
		.out = true,
		.at = d->added };
	for (unsigned k = 0; k < descs; k++) {
		const struct driver_buffer *b = &chain->buffers[k];
		struct driver_desc desc = { .addr = chain->table,
			.len = 16 * chain->count,
			.flags = DRIVER_DESC_INDIRECT,
			.id = id };

		if (!chain->table)
			desc = (struct driver_desc){ .addr = b->guest,
				.len = b->len,
				.flags = (uint16_t)((b->writable ? DRIVER_DESC_WRITE : 0) |
						    (k + 1 < descs ? DRIVER_DESC_NEXT : 0)),
				.id = k + 1 < descs ? NOT_THE_LAST : id };
		put_next(d, desc);
	}
	return id;
}

static void packed_publish(struct driver *d)
{
	if (d->added == d->published)
		return;
	driver_store16(entry(d, d->published) + DESC_FLAGS_AT, d->first_flags);
	d->published = d->added;
}

static bool packed_needs_kick(struct driver *d)
{
	uint64_t old = d->judged, now = d->published;
	uint32_t event;
	uint16_t off, flags;

	d->judged = now;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = __atomic_load_n((const uint32_t *)(const void *)d->used, __ATOMIC_ACQUIRE);
	off = (uint16_t)event;
	flags = (uint16_t)(event >> 16) & 3;
	if (!d->event_idx || flags != EVENT_DESC)
		return now != old && flags != EVENT_DISABLE;
	/* 2.8.14: a kick if the descriptor that it names is among those made available. */
	for (uint64_t n = old; n < now; n++)
		if (off_wrap(d, n) == off)
			return true;
	return false;
}

/* What lies at a descriptor that the device has used: its id, or -1. */
static int used_id(const struct driver *d, uint64_t n)
{
	uint16_t flags = driver_load16(entry(d, n) + DESC_FLAGS_AT), id;
	bool avail = (flags & AVAIL) != 0, used = (flags & USED) != 0;

	if (avail != wrap_of(d, n) || used != wrap_of(d, n))
		return -1;
	memcpy(&id, entry(d, n) + ID_AT, 2);
	return id;
}

/*
 * Whether the descriptors that the device passed over are as we wrote them. One that died may have
 * written a used element there, which then was not to be seen: it must not look used now.
 */
static bool rest_is_untouched(const struct driver *d, uint16_t descs)
{
	for (uint64_t n = d->taken + 1; n < d->taken + descs; n++)
		if (memcmp(entry(d, n), d->shadow[n % d->size], 16) != 0 &&
			!(d->scarred && used_id(d, n) < 0))
			return false;
	return true;
}

static int packed_poll(struct driver *d, struct driver_used *used)
{
	int id = used_id(d, d->taken);
	struct driver_slot *slot = &d->slots[id >= 0 && id < d->size ? id : 0];
	uint16_t flags;
	uint32_t len;

	if (id < 0)
		return 0;
	if (id >= d->size)
		return driver_is_wrong(d, "a used id that no buffer has");
	if (!slot->out)
		return driver_is_wrong(d, "a used id that is not out");
	memcpy(&len, entry(d, d->taken) + LEN_AT, 4);
	flags = driver_load16(entry(d, d->taken) + DESC_FLAGS_AT);
	/* 2.8.4: WRITE says that something was written, and only then len means something. */
	if ((flags & DRIVER_DESC_WRITE) == 0)
		len = 0;
	else if (len == 0)
		return driver_is_wrong(d, "a used element with WRITE, and nothing written");
	if (len > slot->writable)
		return driver_is_wrong(d, "more bytes used than the chain has to write");
	if (!rest_is_untouched(d, slot->descs))
		return driver_is_wrong(d, "it wrote where no used element belongs");
	*used = (struct driver_used){ (uint16_t)id, len, slot->owner };
	slot->out = false;
	d->taken += slot->descs;
	d->free_next[id] = d->free_head;
	d->free_head = (uint16_t)id;
	d->free_count = (uint16_t)(d->free_count + slot->descs);
	d->out_count--;
	return 1;
}

static void packed_want_calls(struct driver *d, bool on, uint16_t after)
{
	uint16_t flags = on ? EVENT_ENABLE : EVENT_DISABLE;

	if (on && d->event_idx) {
		uint64_t n = d->taken + (uint64_t)(after - 1) * d->chain_descs;

		driver_store16(d->avail + OFF_AT, off_wrap(d, n));
		flags = EVENT_DESC;
	}
	driver_store16(d->avail + EVENT_FLAGS_AT, flags);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint32_t packed_base(const struct driver *d, unsigned skip)
{
	uint64_t avail = d->taken + (uint64_t)skip * d->chain_descs;

	return off_wrap(d, avail) | (uint32_t)off_wrap(d, d->taken) << 16;
}

static uint32_t packed_base_in_memory(const struct driver *d)
{
	uint64_t n = d->taken;

	for (unsigned chains = 0; chains < d->out_count; chains++) {
		int id = used_id(d, n);

		if (id < 0 || id >= d->size || !d->slots[id].out)
			break;
		n += d->slots[id].descs;
	}
	return off_wrap(d, n) | (uint32_t)off_wrap(d, n) << 16;
}

static void packed_offer_raw(struct driver *d, const struct driver_desc *descs, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		put_next(d, descs[i]);
	packed_publish(d);
}

static bool packed_is_back(const struct driver *d)
{
	return used_id(d, d->taken) >= 0;
}

const struct driver_format driver_packed = {
	.name = "packed",
	.place = packed_place,
	.open = packed_open,
	.add = packed_add,
	.publish = packed_publish,
	.needs_kick = packed_needs_kick,
	.poll = packed_poll,
	.want_calls = packed_want_calls,
	.base = packed_base,
	.base_in_memory = packed_base_in_memory,
	.put_desc = packed_put_desc,
	.offer_raw = packed_offer_raw,
	.is_back = packed_is_back,
};
