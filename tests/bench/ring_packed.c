/* A packed ring, driven quickly (VIRTIO 2.8). */
#include "ring.h"

enum { AVAIL = 1 << 7, USED = 1 << 15, WRAP = 1 << 15 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 };

static struct ring_desc *entries(const struct ring *r)
{
	return (void *)r->d->desc;
}

static void packed_open(struct ring *r, unsigned requests)
{
	for (unsigned i = requests; i > 0; i--)
		r->free[r->free_count++] = (uint16_t)(i - 1);
	r->avail_flag = AVAIL;
	r->used_wrap = true;
}

/*
 * The next descriptor of the ring. The flags of the first one since the last publication wait for
 * the next: without it the device sees none of those behind.
 */
static inline void put_next(struct ring *r, struct ring_desc desc)
{
	struct ring_desc *at = &entries(r)[r->next];

	desc.b |= r->avail_flag;
	at->addr = desc.addr;
	at->len = desc.len;
	at->a = desc.a;
	if (r->dirty++ == 0) {
		r->first = r->next;
		r->first_flags = desc.b;
	} else {
		at->b = desc.b;
	}
	if (++r->next == r->d->size) {
		r->next = 0;
		r->avail_flag ^= AVAIL | USED;
	}
}

static void put_table(const struct ring *r, const struct slot *s)
{
	struct ring_desc *at = s->table;
	uint64_t data_at = s->data_at;

	*at++ = (struct ring_desc){ s->shared_at, HEADER_BYTES, 0, 0 };
	for (unsigned i = 0; i < r->segments; i++) {
		*at++ = (struct ring_desc){ data_at, r->segment_bytes, 0,
			s->read ? DRIVER_DESC_WRITE : 0 };
		data_at += r->segment_bytes;
	}
	*at = (struct ring_desc){ s->shared_at + HEADER_BYTES, STATUS_BYTES, 0, DRIVER_DESC_WRITE };
}

static void packed_add(struct ring *r, struct slot *s)
{
	uint16_t id = r->free[--r->free_count], more = DRIVER_DESC_NEXT;
	uint16_t data = s->read ? more | DRIVER_DESC_WRITE : more;
	uint64_t data_at = s->data_at;

	r->out[id] = s;
	if (r->indirect) {
		put_table(r, s);
		put_next(r, (struct ring_desc){
				    s->table_at, r->table_bytes, id, DRIVER_DESC_INDIRECT });
		return;
	}
	put_next(r, (struct ring_desc){ s->shared_at, HEADER_BYTES, id, more });
	for (unsigned i = 0; i < r->segments; i++) {
		put_next(r, (struct ring_desc){ data_at, r->segment_bytes, id, data });
		data_at += r->segment_bytes;
	}
	put_next(r, (struct ring_desc){
			    s->shared_at + HEADER_BYTES, STATUS_BYTES, id, DRIVER_DESC_WRITE });
}

/* 2.8.14: a kick if the descriptor that the device names is among the latest. */
static bool packed_publish(struct ring *r)
{
	uint16_t count = r->dirty, off, flags;
	uint32_t event;
	int behind; /* how far what it names lies behind where we are */

	if (count == 0)
		return false;
	driver_store16((unsigned char *)&entries(r)[r->first].b, r->first_flags);
	r->dirty = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = __atomic_load_n((const uint32_t *)(const void *)r->d->used, __ATOMIC_ACQUIRE);
	off = (uint16_t)event;
	flags = (uint16_t)(event >> 16) & 3;
	if (!r->d->event_idx || flags != EVENT_DESC)
		return flags != EVENT_DISABLE;
	behind = r->next - (off & ~WRAP);
	if (((off & WRAP) != 0) != (r->avail_flag == AVAIL))
		behind += r->d->size;
	return behind > 0 && behind <= count;
}

static bool packed_has_used(const struct ring *r)
{
	uint16_t flags = driver_load16((const unsigned char *)&entries(r)[r->used].b);

	return ((flags & AVAIL) != 0) == r->used_wrap && ((flags & USED) != 0) == r->used_wrap;
}

static struct slot *packed_take(struct ring *r)
{
	uint16_t id = entries(r)[r->used].a;

	r->used = (uint16_t)(r->used + r->descs);
	if (r->used >= r->d->size) {
		r->used = (uint16_t)(r->used - r->d->size);
		r->used_wrap = !r->used_wrap;
	}
	r->free[r->free_count++] = id;
	return r->out[id];
}

static void packed_want_calls(struct ring *r, bool on)
{
	uint16_t flags = EVENT_DISABLE;

	if (on) {
		flags = r->d->event_idx ? EVENT_DESC : EVENT_ENABLE;
		driver_store16(r->d->avail, (uint16_t)(r->used | (r->used_wrap ? WRAP : 0)));
	}
	if (driver_load16(r->d->avail + 2) != flags)
		driver_store16(r->d->avail + 2, flags);
}

const struct ring_format ring_packed = {
	.open = packed_open,
	.add = packed_add,
	.publish = packed_publish,
	.has_used = packed_has_used,
	.take = packed_take,
	.want_calls = packed_want_calls,
};
