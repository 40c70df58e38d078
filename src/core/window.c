/* Windows: a queue's next chains, looked at before they are taken. */
#include "window.h"

#include <errno.h>

#include "device.h"
#include "panic.h"

bool window_open(struct window *w, struct queue *q)
{
	w->queue = q;
	w->first = NULL;
	w->count = 0;
	w->room = 0;
	if (!queue_works(q))
		return false;
	if (q->ring.inflight.resubmit_left > 0) {
		queue_ready(q);
		return false;
	}
	vring_look_back(&q->ring);
	return true;
}

/* Looks at one more chain. */
static int window_look(struct window *w)
{
	struct queue *q = w->queue;
	struct request *req = request_get(q->in_flight);
	const char *why;
	int found;

	if (!req)
		return -EAGAIN;
	found = vring_look(&q->ring, &q->device->session.mem, req, &why);
	if (found <= 0) {
		(void)request_put(req, q->in_flight);
		if (found == -EINVAL) {
			window_close(w);
			queue_break(q, why);
		}
		return found;
	}
	req->queue = q;
	req->next = NULL;
	q->in_flight++;
	*(w->first ? &w->last->next : &w->first) = req;
	w->last = req;
	w->count++;
	w->room += req->chain.writable;
	return 1;
}

int window_fill(struct window *w, uint64_t room)
{
	int found = 1;

	while (w->room < room && found > 0)
		found = window_look(w);
	return found;
}

struct request *window_take(struct window *w)
{
	struct request *req = w->first;

	ASSERT(req);
	w->first = req->next;
	w->count--;
	w->room -= req->chain.writable;
	vring_take(&w->queue->ring, &req->chain);
	return req;
}

void window_close(struct window *w)
{
	while (w->first) {
		struct request *req = w->first;

		w->first = req->next;
		(void)request_put(req, --w->queue->in_flight);
	}
	w->count = 0;
	w->room = 0;
}
