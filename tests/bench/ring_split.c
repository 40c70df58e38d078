/* A split ring, driven quickly (VIRTIO 2.7). */
#include "ring.h"

enum { FLAGS_AT = 0, IDX_AT = 2, RING_AT = 4, NO_NOTIFY = 1, CALLS_OFF = 1 };
/* Without calls the event must stay behind us: once in a while is enough. */
enum { REARM = 16384 };

static uint16_t *used_event(const struct ring *r)
{
	return (uint16_t *)(void *)(r->d->avail + RING_AT + 2 * (size_t)r->d->size);
}

static void split_open(struct ring *r, unsigned requests)
{
	for (unsigned i = requests; i > 0; i--)
		r->free[r->free_count++] = (uint16_t)((i - 1) * r->descs);
}

/* A chain of neighbours, from an index of a table on. */
static inline void put(
	const struct ring *r, const struct slot *s, struct ring_desc *at, uint16_t index)
{
	uint16_t more = DRIVER_DESC_NEXT, data = s->read ? more | DRIVER_DESC_WRITE : more;
	uint64_t data_at = s->data_at;

	*at++ = (struct ring_desc){ s->shared_at, HEADER_BYTES, more, ++index };
	for (unsigned i = 0; i < r->segments; i++) {
		*at++ = (struct ring_desc){ data_at, r->segment_bytes, data, ++index };
		data_at += r->segment_bytes;
	}
	*at = (struct ring_desc){ s->shared_at + HEADER_BYTES, STATUS_BYTES, DRIVER_DESC_WRITE, 0 };
}

static void split_add(struct ring *r, struct slot *s)
{
	struct ring_desc *table = (void *)r->d->desc;
	uint16_t *avail = (void *)(r->d->avail + RING_AT);
	uint16_t head = r->free[--r->free_count];

	if (r->indirect) {
		put(r, s, s->table, 0);
		table[head] =
			(struct ring_desc){ s->table_at, r->table_bytes, DRIVER_DESC_INDIRECT, 0 };
	} else {
		put(r, s, table + head, head);
	}
	r->out[head] = s;
	avail[r->added++ & (r->d->size - 1)] = head;
}

static bool split_publish(struct ring *r)
{
	uint16_t old = r->published, event;

	r->published = r->added;
	driver_store16(r->d->avail + IDX_AT, r->added);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!r->d->event_idx)
		return (driver_load16(r->d->used + FLAGS_AT) & NO_NOTIFY) == 0;
	event = driver_load16(r->d->used + RING_AT + 8 * (size_t)r->d->size);
	return (uint16_t)(r->added - event - 1) < (uint16_t)(r->added - old);
}

static bool split_has_used(const struct ring *r)
{
	return driver_load16(r->d->used + IDX_AT) != r->taken;
}

static struct slot *split_take(struct ring *r)
{
	const unsigned char *elements = r->d->used + RING_AT;
	uint32_t head =
		*(const uint32_t *)(const void *)(elements +
						  8 * (size_t)(r->taken & (r->d->size - 1)));

	r->taken++;
	r->free[r->free_count++] = (uint16_t)head;
	return r->out[head];
}

static void split_want_calls(struct ring *r, bool on)
{
	if (!r->d->event_idx)
		driver_store16(r->d->avail + FLAGS_AT, on ? 0 : CALLS_OFF);
	else if (on || (uint16_t)(r->taken - 1 - *used_event(r)) > REARM)
		driver_store16(
			(unsigned char *)used_event(r), on ? r->taken : (uint16_t)(r->taken - 1));
}

const struct ring_format ring_split = {
	.open = split_open,
	.add = split_add,
	.publish = split_publish,
	.has_used = split_has_used,
	.take = split_take,
	.want_calls = split_want_calls,
};
