/*
 * Requests whose chain gets any spans: what src/core/req.c does, for proofs about the rings.
 *
 * Defines functions: for one file of a program.
 */
#ifndef VUBOX_PROOFS_ANY_CHAIN_H
#define VUBOX_PROOFS_ANY_CHAIN_H

#include <errno.h>

#include "nondet.h"
#include "req.h"

/* What chain_start makes and chain_add_any keeps; of the long arrays, see req.c. */
static bool chain_sound(const struct request *req)
{
	const struct chain *c = &req->chain;

	return c->spans == req->spans && c->span_max == CONFIG_SPANS_INLINE &&
	       c->span_count <= c->span_max && c->readable_spans <= c->span_count;
}

void chain_start(struct request *req, uint16_t head)
{
	req->chain = (struct chain){
		.spans = req->spans, .span_max = CONFIG_SPANS_INLINE, .head = head
	};
}

int chain_add_any(struct chain *chain, struct mem *mem, uint64_t addr, uint32_t len, bool writable,
	const char **why)
{
	(void)mem;
	(void)addr;
	(void)len;
	(void)writable;
	chain->span_count = (uint32_t)nondet_upto(chain->span_max);
	chain->readable_spans = (uint32_t)nondet_upto(chain->span_count);
	chain->readable = nondet_u32();
	chain->writable = nondet_u32();
	if (nondet_bool())
		return 0;
	*why = "any reason";
	return nondet_bool() ? -EAGAIN : -EINVAL;
}

void chain_finish(struct request *req)
{
	claim(chain_sound(req));
}

#endif
