/*
 * Proofs about requests: the pool of req.c. And its chains, which are for the fuzzer alone
 * (tests/proofs/fuzz.sh): CBMC has not enough memory for spans that lie anywhere, of any length.
 * The proofs about rings have a stub in place of chains (any_chain.h).
 *
 * prove_pool: no request is given to two, and there is one as long as the pool has one.
 *
 * check_add: chain_start and chain_add keep the spans in their array; to these comes, for each
 * buffer, as much as is added to the totals, of its direction, and in memory or as a hole. So all
 * of them are as long as the totals say, and cursors find what they expect (span.c here).
 *
 * Bounds.
 *   STEPS: requests that are taken and given back, of a pool of four of which three are shared.
 *   CONFIG_SPANS_INLINE, CONFIG_SPANS_LONG, CONFIG_LONG_MAX: 3, 5 and 2, so that short arrays and
 *     long ones are filled soon. Any chain is where check_add begins.
 *   PIECES: what mem_at cuts one buffer into.
 */
#include "../../src/core/req.c"

#include "nondet.h"
#include "stubs.h"

enum { PIECES = 2, STEPS = 5, FUZZED_BYTES = 40 };

/* What lies behind the last span: as much of its region as it did not take. */
static struct {
	struct guest *at;
	uint64_t left;
	unsigned pieces;
} behind;

void port_io_cancel(struct port_io *io)
{
	(void)io;
	claim(!"no I/O is cancelled");
}

static uint64_t any_len(uint64_t max)
{
	return nondet_upto(FUZZING && max > FUZZED_BYTES ? FUZZED_BYTES : max);
}

/* A span of len bytes: a hole, or memory that goes on behind it. */
static struct span any_span(uint64_t len)
{
	struct span span = { NULL, (size_t)len };

	behind.at = NULL;
	if (nondet_bool())
		return span;
	behind.left = any_len(UINT32_MAX);
	span.base = nondet_object((size_t)(len + behind.left));
	behind.at = guest_at(span.base, (size_t)len);
	return span;
}

struct span mem_at(struct mem *mem, uint64_t guest_addr, uint64_t len)
{
	struct span span;

	(void)mem;
	claim(len > 0 && guest_addr + (len - 1) >= guest_addr);
	if (behind.pieces > 1) {
		behind.pieces--;
		len = 1 + any_len(len - 1);
	}
	/* What the driver names next may be next in memory. */
	if (!behind.at || behind.left < len || nondet_bool())
		return any_span(len);
	span = (struct span){ behind.at, (size_t)len };
	behind.left -= len;
	behind.at = guest_at(behind.at, (size_t)len);
	return span;
}

/* The region of the look-up before, if there was one. It may go on behind the last span. */
static struct mem any_mem(void)
{
	struct mem mem = { 0 };

	mem.near.guest_addr = FUZZING && nondet_bool() ? nondet_u8() : nondet_u64();
	if (behind.at && nondet_bool()) {
		mem.near.size = behind.left;
		mem.near.base = behind.at;
	} else {
		mem.near.size = any_len(UINT32_MAX);
		mem.near.base = nondet_object(mem.near.size);
	}
	assume(mem.near.size == 0 || mem.near.guest_addr <= UINT64_MAX - (mem.near.size - 1));
	return mem;
}

static struct guest *end_of_last(const struct chain *c)
{
	const struct span *last;

	if (c->span_count == 0)
		return NULL;
	last = &c->spans[c->span_count - 1];
	return last->base ? guest_at(last->base, last->len) : NULL;
}

static bool placed(const struct request *req)
{
	const struct chain *c = &req->chain;

	if (c->span_count > c->span_max || c->readable_spans > c->span_count)
		return false;
	if (c->long_slot == 0)
		return c->spans == req->spans && c->span_max == CONFIG_SPANS_INLINE;
	return c->long_slot <= CONFIG_LONG_MAX && state.long_taken[c->long_slot - 1] &&
	       c->spans == state.long_spans[c->long_slot - 1] && c->span_max == CONFIG_SPANS_LONG;
}

/*
 * Any chain that is as long as its totals say. Its spans before the last one are only moved, so it
 * does not matter whether they are memory.
 */
static void any_chain(struct request *req)
{
	struct chain *c = &req->chain;

	chain_start(req, nondet_u16());
	for (unsigned i = 0; i < CONFIG_LONG_MAX; i++)
		state.long_taken[i] = nondet_bool();
	c->long_slot = (uint16_t)nondet_upto(CONFIG_LONG_MAX);
	if (c->long_slot > 0) {
		state.long_taken[c->long_slot - 1] = true;
		c->spans = state.long_spans[c->long_slot - 1];
		c->span_max = CONFIG_SPANS_LONG;
	}
	c->span_count = (uint32_t)nondet_upto(c->span_max);
	c->readable_spans = (uint32_t)nondet_upto(c->span_count);
	/* A span has a byte at least. */
	c->readable = c->readable_spans > 0 ? nondet_u32() : 0;
	c->writable = c->span_count > c->readable_spans ? nondet_u32() : 0;
	assume(c->readable >= c->readable_spans);
	assume(c->writable >= c->span_count - c->readable_spans);
	assume(c->readable <= UINT32_MAX - c->writable);
	behind.at = NULL;
	for (uint32_t i = 0; i < c->span_count; i++) {
		uint64_t len = 1 + any_len(UINT32_MAX - 1);

		c->spans[i] = i + 1 < c->span_count ? (struct span){ NULL, len } : any_span(len);
	}
	c->edge = end_of_last(c);
	claim(placed(req));
}

/* Of the spans `before`, only the last one may have grown; what came to them, and where it lies. */
static uint64_t grown(const struct chain *c, const struct span *before, uint32_t count)
{
	uint64_t sum = 0;

	claim(c->span_count >= count);
	for (uint32_t i = 0; i < c->span_count; i++) {
		const struct span *span = &c->spans[i];

		if (i + 1 < count) {
			claim(span->base == before[i].base && span->len == before[i].len);
			continue;
		}
		claim(span->len > 0 && (!span->base || writable((void *)span->base, span->len)));
		if (i + 1 == count)
			claim(span->base == before[i].base && span->len >= before[i].len);
		sum += span->len - (i + 1 == count ? before[i].len : 0);
	}
	return sum;
}

void check_add(void)
{
	static struct request req;
	struct mem mem;
	struct chain *c = &req.chain, was;
	struct span before[CONFIG_SPANS_LONG];
	uint32_t len = (uint32_t)any_len(UINT32_MAX);
	bool out = nondet_bool();
	const char *why = NULL;
	int error;

	any_chain(&req);
	mem = any_mem();
	was = *c;
	for (uint32_t i = 0; i < was.span_count; i++)
		before[i] = was.spans[i];
	behind.pieces = PIECES;
	error = chain_add(
		c, &mem, FUZZING && nondet_bool() ? nondet_u8() : nondet_u64(), len, out, &why);
	claim(placed(&req));
	if (error < 0) {
		claim((error == -EINVAL || error == -EAGAIN) && why);
		return;
	}
	claim(error == 0 && grown(c, before, was.span_count) == len);
	claim(c->edge == end_of_last(c));
	/* What is writable comes last, and what grew or came is of this direction. */
	claim(c->readable == was.readable + (out ? 0 : len));
	claim(c->writable == was.writable + (out ? len : 0));
	claim(out ? c->readable_spans == was.readable_spans
		  : c->readable_spans == c->span_count || len == 0);
	claim(!out || len == 0 || c->span_count > c->readable_spans);
	chain_finish(&req);
	claim(reader_left(&req.in) == c->readable && req.in.at.span == c->spans);
	claim(writer_left(&req.out) == c->writable);
	claim(req.out.at.span == &c->spans[c->readable_spans]);
}

void prove_pool(void)
{
	struct request *held[STEPS];
	uint32_t count = 0;

	memset(&state, 0, sizeof(state));
	for (unsigned i = 0; i < STEPS; i++) {
		struct request *req;

		if (count > 0 && nondet_bool()) {
			req = held[--count];
			req->chain.long_slot = (uint16_t)nondet_upto(CONFIG_LONG_MAX);
			request_put(req, count);
			continue;
		}
		/* One queue of one device: the first is its own, the others are shared. */
		req = request_get(count);
		claim((req == NULL) == (count == CONFIG_REQUESTS_MAX));
		if (!req)
			continue;
		claim(req >= state.pool && req < state.pool + CONFIG_REQUESTS_MAX);
		for (uint32_t k = 0; k < count; k++)
			claim(held[k] != req);
		held[count++] = req;
	}
}

PROOFS(prove_pool, check_add)
