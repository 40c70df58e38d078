/* Loads, stores and cursors over guest memory: the only code that touches it, beside port's I/O. */
#include "span.h"

#include <string.h>

#include "le.h"
#include "panic.h"

uint16_t guest_load16(const struct guest *p)
{
	CONFIG_GUEST_HOOK("load", p, 2);
	return le16_get(
		(le16){ __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED) });
}

uint16_t guest_load16_acquire(const struct guest *p)
{
	CONFIG_GUEST_HOOK("load", p, 2);
	return le16_get(
		(le16){ __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE) });
}

void guest_store16(struct guest *p, uint16_t value)
{
	CONFIG_GUEST_HOOK("store", p, 2);
	__atomic_store_n((uint16_t *)(void *)p, le16_put(value).wire, __ATOMIC_RELAXED);
}

void guest_store16_release(struct guest *p, uint16_t value)
{
	CONFIG_GUEST_HOOK("store", p, 2);
	__atomic_store_n((uint16_t *)(void *)p, le16_put(value).wire, __ATOMIC_RELEASE);
}

void guest_store64_release(struct guest *p, uint64_t value)
{
	CONFIG_GUEST_HOOK("store", p, 8);
	__atomic_store_n((uint64_t *)(void *)p, le64_put(value).wire, __ATOMIC_RELEASE);
}

/*
 * The sizes of descriptors, headers, used elements and status bytes as single moves: a general copy
 * costs more to begin than these do as a whole.
 */
static inline void copy(void *dst, const void *src, size_t len)
{
	switch (len) {
	case 1: memcpy(dst, src, 1); break;
	case 8: memcpy(dst, src, 8); break;
	case 16: memcpy(dst, src, 16); break;
	default: memcpy(dst, src, len);
	}
	/* What was copied is what is judged: the compiler must not load a part of it again. */
	__asm__ volatile("" : : : "memory");
}

void guest_copy_in(void *dst, const struct guest *src, size_t len)
{
	CONFIG_GUEST_HOOK("load", src, len);
	copy(dst, (const void *)src, len);
}

void guest_copy_out(struct guest *dst, const void *src, size_t len)
{
	CONFIG_GUEST_HOOK("store in pieces", dst, len);
	copy((void *)dst, src, len);
}

/* Steps over spans that are used up or empty. Only called while bytes are left. */
static void cursor_settle(struct cursor *c)
{
	while (c->off == c->span->len) {
		c->span++;
		c->off = 0;
	}
}

static void cursor_step(struct cursor *c, uint32_t len)
{
	c->off += len;
	c->left -= len;
}

/* The bytes of this span that belong to the next `len`. */
static uint32_t cursor_part(struct cursor *c, uint32_t len)
{
	size_t part;

	cursor_settle(c);
	part = c->span->len - c->off;
	return part < len ? (uint32_t)part : len;
}

static bool cursor_reachable(struct cursor c, uint32_t len)
{
	if (len > c.left)
		return false;
	while (len > 0) {
		uint32_t part = cursor_part(&c, len);

		if (!c.span->base)
			return false;
		cursor_step(&c, part);
		len -= part;
	}
	return true;
}

bool reader_get(struct reader *from, void *dst, uint32_t len)
{
	struct cursor *c = &from->at;
	char *to = dst;

	if (!cursor_reachable(*c, len))
		return false;
	while (len > 0) {
		uint32_t part = cursor_part(c, len);

		guest_copy_in(to, guest_at(c->span->base, c->off), part);
		cursor_step(c, part);
		to += part;
		len -= part;
	}
	return true;
}

bool writer_put(struct writer *to, const void *src, uint32_t len)
{
	struct cursor *c = &to->at;
	const char *from = src;

	if (!cursor_reachable(*c, len))
		return false;
	while (len > 0) {
		uint32_t part = cursor_part(c, len);

		guest_copy_out(guest_at(c->span->base, c->off), from, part);
		cursor_step(c, part);
		from += part;
		len -= part;
	}
	return true;
}

bool writer_cut_last(struct writer *from, struct span *own, struct writer *last)
{
	struct cursor c = from->at;

	if (c.left == 0)
		return false;
	while (c.left > 1)
		cursor_step(&c, cursor_part(&c, c.left - 1));
	cursor_settle(&c);
	*own = (struct span){ c.span->base ? guest_at(c.span->base, c.off) : NULL, 1 };
	last->at = (struct cursor){ .span = own, .off = 0, .left = 1 };
	from->at.left--;
	return true;
}

static bool cursor_take(struct cursor *c, struct span **spans, uint32_t *count)
{
	struct span *first;

	ASSERT(c->left > 0);
	if (!cursor_reachable(*c, c->left))
		return false;
	cursor_settle(c);
	first = c->span;
	first->base = guest_at(first->base, c->off);
	first->len -= c->off;
	c->off = 0;
	while (c->left > 0)
		cursor_step(c, cursor_part(c, c->left));
	c->span->len = c->off;
	*spans = first;
	*count = (uint32_t)(c->span - first) + 1;
	return true;
}

bool reader_take(struct reader *from, struct source *source)
{
	return cursor_take(&from->at, &source->spans, &source->count);
}

bool writer_take(struct writer *from, struct sink *sink)
{
	return cursor_take(&from->at, &sink->spans, &sink->count);
}
