/*
 * Proofs about src/base/span.c: cursors over any spans, which may be holes or empty.
 *
 * Shown: what is copied lies in the spans and in the caller's buffer, no arithmetic overflows, a
 * cursor does not leave its array of spans, all or nothing is copied, and each loop ends.
 *
 * Bounds. Sizes and offsets have none but their types': a chain has less than 4 GiB (req.c).
 *   SPANS: 3 for what is cut and taken, 2 for what is copied. No loop carries anything to its next
 *     round but a cursor; any cursor over the spans that are left is where these proofs begin. Two
 *     spans have every step: within a span, to its end, over the end to the next one; three have
 *     an empty one between others, and a middle one that is neither trimmed at its front nor its
 *     end.
 *   CONFIG_SHORT_COPY: the copy by words is proved by itself, for up to 24 bytes: one word to
 *     three, and every rest. No word knows of the one before. Elsewhere copies are general ones.
 */
#include "span.h"

#include "nondet.h"
#include "stubs.h"

#ifndef SPANS
#define SPANS 3
#endif

static struct span spans[SPANS];

static uint32_t any_len(void)
{
	return (uint32_t)nondet_upto(PROOF_SIZE(UINT32_MAX, 40));
}

/*
 * Any cursor over spans that have `covered` bytes at least, as a chain's have (req.c). (Not more is
 * asked of them: that they have `left` bytes matters only to who takes them all.)
 */
static struct cursor any_cursor(uint32_t left, uint32_t covered)
{
	struct cursor c = { .span = spans, .left = left };
	uint64_t uncovered = covered;

	for (unsigned i = 0; i < SPANS; i++) {
		spans[i].len = any_len();
		spans[i].base = nondet_bool() ? nondet_object(spans[i].len) : NULL;
	}
	c.off = (uint32_t)nondet_upto(spans[0].len);
	for (unsigned i = 0; i < SPANS; i++) {
		uint64_t here = spans[i].len - (i == 0 ? c.off : 0);

		uncovered = here < uncovered ? uncovered - here : 0;
	}
	assume(uncovered == 0);
	return c;
}

void prove_get(void)
{
	uint32_t len = any_len(), left = any_len();
	struct reader r = { any_cursor(left, len) };
	void *dst = nondet_object(len);
	bool done = reader_get(&r, dst, len);

	claim(!done || len <= left);
	claim(reader_left(&r) == (done ? left - len : left));
}

void prove_put(void)
{
	uint32_t len = any_len(), left = any_len();
	struct writer w = { any_cursor(left, len) };
	const void *src = nondet_object(len);
	bool done = writer_put(&w, src, len);

	claim(!done || len <= left);
	claim(writer_left(&w) == (done ? left - len : left));
}

/* A copy by words, out of a place and into one that have these bytes and no more. */
void prove_words(void)
{
	size_t len = (size_t)nondet_upto(PROOF_SIZE(CONFIG_SHORT_COPY, 40));
	void *from = nondet_object(len), *to = nondet_object(len);

	assume(len > 8);
	guest_copy_in(to, from, len);
	guest_copy_out(to, from, len);
	guest_copy(to, from, len);
}

void prove_cut_last(void)
{
	uint32_t left = any_len();
	struct writer w = { any_cursor(left, left) }, last;
	struct span own;
	bool done = writer_cut_last(&w, &own, &last);

	claim(done == (left > 0));
	claim(writer_left(&w) == (done ? left - 1 : left));
	if (!done)
		return;
	claim(own.len == 1 && writer_left(&last) == 1 && last.at.span == &own);
	claim(!own.base || writable(own.base, 1));
}

void prove_take(void)
{
	uint32_t left = any_len();
	struct reader r = { any_cursor(left, left) };
	struct source source;
	uint64_t sum = 0;

	assume(left > 0); /* or ASSERT says so */
	if (!reader_take(&r, &source))
		return;
	claim(reader_left(&r) == 0);
	claim(source.count > 0 && source.spans >= spans &&
		source.spans + source.count <= spans + SPANS);
	for (uint32_t i = 0; i < source.count; i++) {
		const struct span *s = &source.spans[i];

		claim(s->len == 0 || (s->base && readable(s->base, s->len)));
		sum += s->len;
	}
	claim(sum == left);
}

PROOFS(prove_get, prove_put, prove_words, prove_cut_last, prove_take)
