/*
 * Windows: the next chains of a queue, looked at and still the driver's. For a device that has data
 * before it knows how many buffers that needs, as a network card: it opens a window, fills it until
 * there is room enough, takes what it has used, and closes it. A window is open within one call of
 * the device only; there is one of a queue at a time.
 */
#ifndef VUBOX_WINDOW_H
#define VUBOX_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "queue.h"

/* Zero is a closed window. */
struct window {
	struct queue *queue;
	struct request *first, *last; /* linked by next, in the ring's order */
	uint32_t count;
	uint64_t room; /* bytes that may be written, in all of them */
};

/*
 * Opens one at the queue's next chain. False: the queue does not work now, or has work of an
 * earlier life to do (it gets a turn for that).
 */
bool window_open(struct window *w, struct queue *q);
/*
 * Looks at further chains until there is room for so many bytes: 1. Else 0: the ring has no more;
 * -EAGAIN: others hold what it needs; -EINVAL: the driver broke a rule, the queue is broken and the
 * window empty.
 */
int window_fill(struct window *w, uint64_t room);
/* Takes the first chain: it is a request from now on, for request_done. */
struct request *window_take(struct window *w);
/* The others stay the driver's. A queue that is idle now waits for chains behind those. */
void window_close(struct window *w);

#endif
