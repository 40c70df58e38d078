/* Queues at work: their turns in a tick, and the requests that go to a device and come back. */
#include <errno.h>

#include "device.h"
#include "panic.h"
#include "queue.h"

/* So many ticks without work, and a queue is no more looked at until it is kicked. */
enum { IDLE_TICKS = 64 };

/* First in, first out: turns are fair. */
struct list {
	struct queue *first, *last;
};

static struct {
	uint32_t ticks;
	struct list lists[QUEUE_LISTS];
} state;

static void list_add(enum queue_list which, struct queue *q)
{
	struct list *list = &state.lists[which];

	if (q->listed[which])
		return;
	q->listed[which] = true;
	q->next[which] = NULL;
	if (list->first)
		list->last->next[which] = q;
	else
		list->first = q;
	list->last = q;
}

static struct queue *list_take(enum queue_list which)
{
	struct list *list = &state.lists[which];
	struct queue *q = list->first;

	if (q) {
		list->first = q->next[which];
		q->listed[which] = false;
	}
	return q;
}

bool queue_works(const struct queue *q)
{
	const struct session *s = &q->device->session;

	if (!q->started || q->broken || q->lost)
		return false;
	if (q->finishing)
		return session_finishes(s) && q->ring.inflight.resubmit_left > 0;
	return q->enabled && !session_paused(s);
}

void queue_turn(struct queue *q)
{
	list_add(QUEUE_READY, q);
}

void queue_ready(struct queue *q)
{
	if (queue_works(q))
		list_add(QUEUE_READY, q);
}

static void queues_wake(void)
{
	struct queue *q;

	while ((q = list_take(QUEUE_WAITING)))
		queue_ready(q);
}

/* Gives a request back to the pool, and a turn to those who waited for it or its long array. */
static FAST void queue_put(struct queue *q, struct request *req)
{
	if (request_put(req, q->in_flight))
		queues_wake();
}

static inline void request_end(struct request *req)
{
	struct queue *q = req->queue;

	ASSERT(q->in_flight > 0);
	q->in_flight--;
	queue_put(q, req);
	if (q->starved)
		queue_ready(q);
}

/*
 * Takes the next request: 1. 0: there is none. -EAGAIN: others hold what it needs. -EBUSY: the
 * device does not take one now, and will say when. -EINVAL, and *why: the driver broke a rule.
 * *room: how many the device takes; it is asked if that is 0.
 */
static FAST int queue_take(
	struct queue *q, unsigned *room, struct request **taken, const char **why)
{
	struct device *dev = q->device;
	struct request *req;
	int found;

	if (!vring_has_work(&q->ring) || (q->finishing && !queue_works(q)))
		return 0;
	if (*room == 0)
		*room = dev->class->can_take ? dev->class->can_take(dev, q) : UINT32_MAX;
	if (*room == 0)
		return -EBUSY;
	req = request_get(q->in_flight);
	if (!req)
		return -EAGAIN;
	found = vring_pop(&q->ring, &dev->session.mem, req, why);
	if (found <= 0) {
		queue_put(q, req);
		return found;
	}
	req->queue = q;
	q->in_flight++;
	*taken = req;
	return 1;
}

/*
 * Gives the device what there is and what it takes at once, up to *n requests, and until *bytes
 * reaches its limit. All are taken first: while their chains are walked, the processor fetches
 * their headers.
 */
static int queue_give(struct queue *q, unsigned *n, uint64_t *bytes)
{
	struct request *taken[CONFIG_BUDGET];
	struct device *dev = q->device;
	const char *why;
	unsigned count = 0, room = 0;
	int found = 1;

	while (count < CONFIG_BUDGET && count < *n && *bytes < CONFIG_BUDGET_BYTES &&
		(found = queue_take(q, &room, &taken[count], &why)) > 0) {
		__builtin_prefetch(taken[count]->spans[0].base);
		*bytes += (uint64_t)taken[count]->chain.readable + taken[count]->chain.writable;
		count++;
		if (--room == 0)
			break;
	}
	*n -= count;
	/* Those that end at once are what it waits for. */
	q->starved = found == -EAGAIN || found == -EBUSY;
	for (unsigned i = 0; i < count; i++) {
		if (q->broken)
			request_end(taken[i]);
		else
			dev->class->request(dev, taken[i]);
	}
	if (found == -EINVAL)
		queue_break(q, why);
	return found;
}

/*
 * The turn of a queue whose buffers the device takes itself. Those that an earlier life had taken
 * come back empty, as it is not known what they would have got.
 */
static int queue_pull(struct queue *q)
{
	struct device *dev = q->device;
	struct request *req;
	const char *why;
	unsigned room = UINT32_MAX;
	int found = 1;

	for (unsigned n = 0; n < CONFIG_BUDGET && q->ring.inflight.resubmit_left > 0; n++) {
		found = queue_take(q, &room, &req, &why);
		if (found <= 0)
			break;
		request_done(req, 0);
	}
	if (found == -EINVAL)
		queue_break(q, why);
	else if (found > 0 && q->ring.inflight.resubmit_left == 0 && queue_works(q))
		found = dev->class->turn(dev, q);
	q->starved = found == -EAGAIN || found == -EBUSY;
	return found;
}

/* Returns the bytes of what it has taken. */
static uint64_t queue_run(struct queue *q)
{
	unsigned n = q->device->class->light ? 2 * CONFIG_BUDGET : CONFIG_BUDGET;
	uint64_t bytes = 0;
	int found = 1;

	if (!queue_works(q))
		return 0;
	q->starved = false;
	vring_disarm(&q->ring);
	if (q->pulled) {
		bytes = q->counts.bytes;
		found = queue_pull(q);
		bytes = q->counts.bytes - bytes;
	} else {
		while (n > 0 && bytes < CONFIG_BUDGET_BYTES && found > 0 && !q->broken)
			found = queue_give(q, &n, &bytes);
	}
	if (q->broken)
		return bytes;
	if (found == 0 && !q->listed[QUEUE_IDLE])
		q->idle_tick = state.ticks;
	if (found > 0)
		list_add(QUEUE_READY, q);
	else if (found == 0)
		list_add(QUEUE_IDLE, q);
	else if (found == -EAGAIN && q->in_flight == 0)
		list_add(QUEUE_WAITING, q); /* nothing of its own will wake it */
	/* else starved: until one of its requests is done, or the device says so */
	return bytes;
}

/*
 * While some are busy, nobody sleeps, and idle queues would be looked at in each tick. The one that
 * has been so for long is asked for a kick instead.
 */
static void queues_rest(void)
{
	struct queue *q = state.lists[QUEUE_IDLE].first;

	if (!q || ++state.ticks - q->idle_tick < IDLE_TICKS || queue_is_polled(q))
		return;
	(void)list_take(QUEUE_IDLE);
	if (queue_works(q) && !q->starved && vring_arm(&q->ring))
		queue_ready(q);
}

uint64_t queues_run(void)
{
	struct queue *last, *q = NULL;
	uint64_t bytes = 0;

	queues_rest();
	last = state.lists[QUEUE_READY].last;
	/* One turn for each that is ready now; who becomes ready meanwhile is for the next tick. */
	if (!state.lists[QUEUE_READY].first)
		return 0;
	while (q != last) {
		q = list_take(QUEUE_READY);
		bytes += queue_run(q);
	}
	return bytes;
}

void queues_publish(void)
{
	struct queue *q;

	while ((q = list_take(QUEUE_DIRTY)))
		if (q->started && !q->broken && vring_publish(&q->ring)) {
			q->counts.calls++;
			port_notify_send(&q->call);
		}
}

/* (Here and in queues_peek: a starved queue has work, but looking at it would not help it.) */
bool queues_arm(void)
{
	if (queues_polled() && queues_peek())
		return true;
	for (struct queue *q = state.lists[QUEUE_IDLE].first; q; q = q->next[QUEUE_IDLE])
		if (queue_works(q) && !q->starved && vring_arm(&q->ring))
			queue_ready(q);
	/* Armed and empty: a kick brings it back. A polled one has to be looked at. */
	while (!queues_polled() && list_take(QUEUE_IDLE))
		;
	return queues_have_work();
}

bool queues_peek(void)
{
	for (struct queue *q = state.lists[QUEUE_IDLE].first; q; q = q->next[QUEUE_IDLE])
		if (queue_works(q) && !q->starved && vring_has_work(&q->ring)) {
			vring_prefetch(&q->ring);
			queue_ready(q);
		}
	return queues_have_work();
}

bool queues_have_work(void)
{
	return state.lists[QUEUE_READY].first || state.lists[QUEUE_DIRTY].first;
}

void request_done(struct request *req, uint32_t written)
{
	struct queue *q = req->queue;

	/* What a broken queue had in flight is dropped: its ring is not to be touched. */
	if (q->started && !q->broken) {
		q->counts.requests++;
		q->counts.bytes += (uint64_t)req->chain.readable + written;
		vring_push(&q->ring, &req->chain, written);
		list_add(QUEUE_DIRTY, q);
	}
	request_end(req);
}

void request_suspended(struct request *req)
{
	req->queue->suspended = true;
	request_end(req);
}

void request_break(struct request *req, const char *why)
{
	queue_break(req->queue, why);
	request_end(req);
}
