/* Requests and their spans: fixed tables, and the rules of a chain (VIRTIO 2.7.4, 2.7.5). */
#include "req.h"

#include <errno.h>

#include "num.h"
#include "panic.h"

/* Spans before they are merged: so that a chain cannot cost any time. */
enum { PIECES_MAX = 4 * CONFIG_SPANS_LONG };
enum { SHARED_MAX = CONFIG_REQUESTS_MAX - CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX };

static struct {
	struct request pool[CONFIG_REQUESTS_MAX];
	uint32_t touched; /* of the pool: the others were never used, and cost no memory */
	uint32_t shared_taken;
	struct request *free;
	struct span long_spans[CONFIG_LONG_MAX][CONFIG_SPANS_LONG];
	bool long_taken[CONFIG_LONG_MAX];
} state;

struct request *request_get(uint32_t in_flight)
{
	struct request *req = state.free;

	if (in_flight > 0) {
		if (state.shared_taken == SHARED_MAX)
			return NULL;
		state.shared_taken++;
	}
	if (req) {
		state.free = req->next;
		return req;
	}
	ASSERT(state.touched < CONFIG_REQUESTS_MAX);
	return &state.pool[state.touched++];
}

bool request_put(struct request *req, uint32_t in_flight)
{
	bool waited_for =
		req->chain.long_slot > 0 || (in_flight > 0 && state.shared_taken == SHARED_MAX);

	if (in_flight > 0) {
		ASSERT(state.shared_taken > 0);
		state.shared_taken--;
	}
	if (req->chain.long_slot > 0)
		state.long_taken[req->chain.long_slot - 1] = false;
	req->chain.long_slot = 0;
	req->queue = NULL;
	req->next = state.free;
	state.free = req;
	return waited_for;
}

void request_cancel_all(const struct queue *queue)
{
	for (uint32_t i = 0; i < state.touched; i++)
		if (state.pool[i].queue == queue)
			port_io_cancel(&state.pool[i].io);
}

void chain_start(struct request *req, uint16_t head)
{
	struct chain *chain = &req->chain;

	/* One by one: built for size, a literal is a loop of the processor, and slow. */
	chain->spans = req->spans;
	chain->span_max = CONFIG_SPANS_INLINE;
	chain->span_count = chain->readable_spans = 0;
	chain->readable = chain->writable = 0;
	chain->edge = NULL;
	chain->pieces = 0;
	chain->head = head;
	chain->slots = chain->entry = chain->last = chain->long_slot = 0;
}

/* Moves a chain that has filled its request's array to a long one. */
static int chain_lengthen(struct chain *chain, const char **why)
{
	*why = "a chain of too many pieces";
	if (chain->long_slot > 0)
		return -EINVAL;
	for (uint16_t i = 0; i < CONFIG_LONG_MAX; i++) {
		if (state.long_taken[i])
			continue;
		state.long_taken[i] = true;
		for (uint32_t k = 0; k < chain->span_count; k++)
			state.long_spans[i][k] = chain->spans[k];
		chain->spans = state.long_spans[i];
		chain->span_max = CONFIG_SPANS_LONG;
		chain->long_slot = i + 1;
		return 0;
	}
	return -EAGAIN;
}

static int chain_add_span(struct chain *chain, struct span span, bool writable, const char **why)
{
	/* What continues the span before it, in the same direction, makes it longer. */
	if (chain->span_count > (writable ? chain->readable_spans : 0)) {
		struct span *last = &chain->spans[chain->span_count - 1];

		if (span.base ? span.base == chain->edge : !last->base) {
			last->len += span.len;
			chain->edge = span.base ? guest_at(span.base, span.len) : NULL;
			return 0;
		}
	}
	if (chain->span_count == chain->span_max) {
		int error = chain_lengthen(chain, why);

		if (error < 0)
			return error;
	}
	chain->spans[chain->span_count++] = span;
	chain->edge = span.base ? guest_at(span.base, span.len) : NULL;
	if (!writable)
		chain->readable_spans++;
	return 0;
}

/* Over the edges of regions, and into holes between them. */
static int chain_add_pieces(struct chain *chain, struct mem *mem, uint64_t addr, uint32_t len,
	bool writable, const char **why)
{
	uint64_t end;

	if (!num_add(addr, len - 1, &end))
		return chain_add_span(chain, (struct span){ NULL, len }, writable, why);
	while (len > 0) {
		struct span span = mem_at(mem, addr, len);
		int error = chain_add_span(chain, span, writable, why);

		if (error < 0)
			return error;
		*why = "a chain over too many regions";
		if (++chain->pieces > PIECES_MAX)
			return -EINVAL;
		addr += span.len;
		len -= (uint32_t)span.len;
	}
	return 0;
}

int chain_add_any(struct chain *chain, struct mem *mem, uint64_t addr, uint32_t len, bool writable,
	const char **why)
{
	uint32_t *total = writable ? &chain->writable : &chain->readable;

	if (len == 0)
		return 0;
	*why = "a readable descriptor after a writable one";
	if (!writable && chain->writable > 0)
		return -EINVAL;
	*why = "a chain of 4 GiB or more";
	if ((uint64_t)chain->readable + chain->writable + len > UINT32_MAX)
		return -EINVAL;
	*total += len;
	return chain_add_pieces(chain, mem, addr, len, writable, why);
}

void chain_finish(struct request *req)
{
	struct chain *c = &req->chain;

	req->in.at = (struct cursor){ .span = c->spans, .left = c->readable };
	req->out.at = (struct cursor){ .span = c->spans + c->readable_spans, .left = c->writable };
}
