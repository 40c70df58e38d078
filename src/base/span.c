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

/* What has no alignment of its own. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word;
typedef uint32_t __attribute__((may_alias, aligned(1))) half;

static FAST bool is_short(size_t len)
{
	return CONFIG_SHORT_COPY > 8 && len > 8 && len <= CONFIG_SHORT_COPY;
}

/* Loads each byte once; the middle of a header as one word, to be read as one. */
static void words_copy(void *dst, const volatile void *src, size_t len)
{
	const volatile word *from = src;
	word *to = dst;
	size_t at = 0;

	for (; at + 8 <= len; at += 8)
		*to++ = *from++;
	if (len & 4) {
		*(half *)to = *(const volatile half *)from;
		at += 4;
	}
	for (; at < len; at++)
		((char *)dst)[at] = ((const volatile char *)src)[at];
}

/*
 * The sizes of descriptors, headers, used elements and status bytes as single moves: a general copy
 * costs more to begin than these do as a whole. What was copied is what is judged: the compiler
 * must not load a part of it again, so each load is volatile, or followed by a barrier.
 */
void guest_copy_in(void *dst, const struct guest *src, size_t len)
{
	const volatile word *from = (const volatile void *)src;
	word *to = dst;

	CONFIG_GUEST_HOOK("load", src, len);
	if (len == 16) {
		to[0] = from[0];
		to[1] = from[1];
	} else if (len == 8) {
		to[0] = from[0];
	} else if (is_short(len)) {
		words_copy(to, from, len);
	} else {
		memcpy(dst, (const void *)src, len);
		__asm__ volatile("" : : : "memory");
	}
}

void guest_copy_out(struct guest *dst, const void *src, size_t len)
{
	const word *from = src;
	word *to = (void *)dst;

	CONFIG_GUEST_HOOK("store in pieces", dst, len);
	if (len == 1)
		*(char *)to = *(const char *)src;
	else if (len == 8)
		to[0] = from[0];
	else if (is_short(len))
		words_copy(to, from, len);
	else
		memcpy((void *)dst, src, len);
}

void guest_copy(struct guest *dst, const struct guest *src, size_t len)
{
	CONFIG_GUEST_HOOK("load", src, len);
	CONFIG_GUEST_HOOK("store in pieces", dst, len);
	if (is_short(len))
		words_copy((void *)dst, (const volatile void *)src, len);
	else
		memmove((void *)dst, (const void *)src, len);
}

/* Steps over spans that are used up or empty. Only called while bytes are left. */
static void cursor_settle(struct cursor *c)
{
	while (c->off == c->span->len) {
		c->span++;
		c->off = 0;
	}
}

static FAST void cursor_step(struct cursor *c, uint32_t len)
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

/* The usual case: the next len bytes (at least 1) are in one piece. */
static FAST bool cursor_is_here(const struct cursor *c, uint32_t len)
{
	return len > 0 && len <= c->left && c->span->base && len <= c->span->len - c->off;
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

static inline bool cursor_reaches(const struct cursor *c, uint32_t len)
{
	return cursor_is_here(c, len) || cursor_reachable(*c, len);
}

RARE static bool get_pieces(struct cursor *c, char *to, uint32_t len)
{
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

bool reader_get(struct reader *from, void *dst, uint32_t len)
{
	struct cursor *c = &from->at;

	if (!cursor_is_here(c, len))
		return get_pieces(c, dst, len);
	guest_copy_in(dst, guest_at(c->span->base, c->off), len);
	cursor_step(c, len);
	return true;
}

bool reader_skip(struct reader *from, uint32_t len)
{
	struct cursor *c = &from->at;

	if (len > c->left)
		return false;
	while (len > 0) {
		uint32_t part = cursor_part(c, len);

		cursor_step(c, part);
		len -= part;
	}
	return true;
}

RARE static bool put_pieces(struct cursor *c, const char *from, uint32_t len)
{
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

bool writer_put(struct writer *to, const void *src, uint32_t len)
{
	struct cursor *c = &to->at;

	if (!cursor_is_here(c, len))
		return put_pieces(c, src, len);
	guest_copy_out(guest_at(c->span->base, c->off), src, len);
	cursor_step(c, len);
	return true;
}

bool reader_is_whole(const struct reader *r)
{
	return cursor_reaches(&r->at, r->at.left);
}

bool writer_copy(struct writer *to, struct reader *from, uint32_t len)
{
	struct cursor *t = &to->at, *f = &from->at;

	if (!cursor_reaches(t, len) || !cursor_reaches(f, len))
		return false;
	while (len > 0) {
		uint32_t part = cursor_part(t, cursor_part(f, len));

		guest_copy(guest_at(t->span->base, t->off), guest_at(f->span->base, f->off), part);
		cursor_step(t, part);
		cursor_step(f, part);
		len -= part;
	}
	return true;
}

uint32_t writer_list(const struct writer *w, uint32_t skip, struct span *list, uint32_t max)
{
	struct cursor c = w->at;
	uint32_t count = 0;

	while (c.left > 0 && count < max) {
		uint32_t part = cursor_part(&c, skip > 0 ? skip : c.left);

		if (!c.span->base)
			return 0;
		if (skip > 0)
			skip -= part;
		else
			list[count++] = (struct span){ guest_at(c.span->base, c.off), part };
		cursor_step(&c, part);
	}
	return count;
}

bool writer_cut_last(struct writer *from, struct span *own, struct writer *last)
{
	struct cursor c = from->at;

	if (c.left == 0)
		return false;
	/* Whole spans first: the last one is where no more than its bytes are left. */
	while (c.left > c.span->len - c.off) {
		c.left -= (uint32_t)(c.span->len - c.off);
		c.span++;
		c.off = 0;
	}
	c.off += c.left - 1;
	*own = (struct span){ c.span->base ? guest_at(c.span->base, c.off) : NULL, 1 };
	last->at = (struct cursor){ .span = own, .off = 0, .left = 1 };
	from->at.left--;
	return true;
}

RARE static bool take_pieces(struct cursor *c, struct span **spans, uint32_t *count)
{
	struct span *first;

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

static inline bool cursor_take(struct cursor *c, struct span **spans, uint32_t *count)
{
	struct span *s = c->span;

	ASSERT(c->left > 0);
	if (!cursor_is_here(c, c->left))
		return take_pieces(c, spans, count);
	s->base = guest_at(s->base, c->off);
	s->len = c->left;
	*c = (struct cursor){ .span = s, .off = c->left };
	*spans = s;
	*count = 1;
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
