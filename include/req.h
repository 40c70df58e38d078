/* Chains and requests: a driver's buffers, copied and translated once, and what becomes of them */
#ifndef VUBOX_REQ_H
#define VUBOX_REQ_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "mem.h"
#include "port.h"
#include "span.h"

struct queue;

/* A descriptor chain (VIRTIO 2.7.4, 2.8.6) while it is walked: readable buffers, then writable. */
struct chain {
	struct span *spans; /* of the request, or a long array */
	uint32_t span_max, span_count, readable_spans;
	uint32_t readable, writable; /* bytes */
	struct guest *edge;          /* where the last span ends; NULL: it is none, or a hole */
	uint32_t pieces;             /* looked up in the memory map */
	uint16_t head;               /* what the used ring wants back: head or buffer id */
	uint16_t slots;              /* packed: of the ring */
	uint16_t entry, last;        /* packed: of the in-flight region, its first and its last */
	uint16_t long_slot;          /* 0, or the number + 1 of the long array that it holds */
};

/* A request. It is the device's from its `request` call until request_done. */
struct request {
	struct reader in;     /* what the driver lets us read, in its order */
	struct writer out;    /* what the driver lets us write */
	struct queue *queue;  /* NULL while it is free */
	struct request *next; /* … of the free ones */
	struct chain chain;
	struct port_io io; /* for the device's use */
	struct span own;   /* for the device: the span of a byte that it cut off */
	struct writer status;
	uint32_t kind, bytes;
	struct span spans[CONFIG_SPANS_INLINE];
};

/* Starts a chain in req's own array. */
void chain_start(struct request *req, uint16_t head);

/* The rules, and every case: see chain_add. */
RARE int chain_add_any(struct chain *chain, struct mem *mem, uint64_t addr, uint32_t len,
	bool writable, const char **why);

/*
 * Adds a buffer. 0; -EAGAIN: a long array is needed and none is free now; -EINVAL: it breaks a rule
 * of VIRTIO, and *why says which. An address that is in no region becomes a hole: that fails the
 * request, not the queue.
 *
 * Here is only the usual case, of which there are three or more a request: in the region of the one
 * before, in the right order, not its continuation.
 */
static inline int chain_add(struct chain *chain, struct mem *mem, uint64_t addr, uint32_t len,
	bool writable, const char **why)
{
	struct span span = mem_near(mem, addr, len);
	uint32_t total = chain->readable + chain->writable + len;

	if (!span.base || span.base == chain->edge || chain->span_count == chain->span_max ||
		total < len || (!writable && chain->writable > 0))
		return chain_add_any(chain, mem, addr, len, writable, why);
	if (writable) {
		chain->writable += len;
	} else {
		chain->readable = total;
		chain->readable_spans++;
	}
	chain->spans[chain->span_count++] = span;
	chain->edge = guest_at(span.base, len);
	return 0;
}

/* Sets up req->in and req->out when the chain is whole. */
void chain_finish(struct request *req);

/*
 * A free request for a queue that has in_flight of them, or NULL. The first one of every queue is
 * its own, the others are taken from what all share: no queue can starve another.
 */
struct request *request_get(uint32_t in_flight);
/* Gives one back; in_flight counts it no more. True: others may have waited for it. */
bool request_put(struct request *req, uint32_t in_flight);
/* Calls port_io_cancel for the I/O of every request of a queue. */
void request_cancel_all(const struct queue *queue);

#endif
