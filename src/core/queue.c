/* Queues at work: their turns in a tick, and the requests that go to a device and come back. */
#include "queue.h"

#include <errno.h>

#include "device.h"
#include "loop.h"
#include "panic.h"
#include "spec/virtio.h"

/* So many ticks without work, and a queue is no more looked at until it is kicked. */
enum { IDLE_TICKS = 64 };

/* First in, first out: turns are fair. */
struct list {
	struct queue *first, *last;
};

static struct {
	struct queue queues[CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX];
	uint32_t created;
	uint32_t polled; /* started rings without a kick */
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

struct queue *queue_create(struct device *device, uint16_t count)
{
	struct queue *queues = &state.queues[state.created];

	if (count > CONFIG_QUEUES_MAX ||
		state.created + count > CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX)
		return NULL;
	for (uint16_t i = 0; i < count; i++) {
		queues[i].device = device;
		queues[i].index = i;
	}
	state.created += count;
	return queues;
}

static bool queue_works(const struct queue *q)
{
	const struct session *s = &q->device->session;

	if (!q->started || q->broken || q->lost)
		return false;
	if (q->finishing)
		return session_finishes(s) && q->ring.inflight.resubmit_left > 0;
	return q->enabled && !session_paused(s);
}

void queue_ready(struct queue *q)
{
	if (queue_works(q))
		list_add(QUEUE_READY, q);
}

static void queue_kicked(void *owner)
{
	struct queue *q = owner;

	port_notify_drain(&q->kick);
	queue_ready(q);
}

static bool queue_is_polled(const struct queue *q)
{
	return q->started && !q->broken && q->kick.kind == PORT_NOTIFY_NONE;
}

static void queue_drop_kick(struct queue *q)
{
	if (q->kick.kind != PORT_NOTIFY_NONE)
		loop_unwatch(q->kick_watch);
	port_notify_close(&q->kick);
}

int queue_set_kick(struct queue *q, int fd)
{
	state.polled -= queue_is_polled(q);
	queue_drop_kick(q);
	if (fd >= 0) {
		int error = port_notify_take(&q->kick, fd);

		if (error == 0) {
			error = loop_watch(fd, PORT_EDGE, queue_kicked, q);
			q->kick_watch = error;
		}
		if (error < 0) {
			port_notify_close(&q->kick);
			state.polled += queue_is_polled(q);
			return error;
		}
	}
	state.polled += queue_is_polled(q);
	return 0;
}

/* Where the ring goes on: the base, or what in-flight tracking knows better after a crash. */
static int queue_resume(struct queue *q, const char **why)
{
	struct session *s = &q->device->session;
	struct guest *region;
	int taken = vring_start(&q->ring, q->base, s->features, why);

	if (taken < 0)
		return taken;
	*why = "the in-flight buffer is too small for its format of rings";
	if (session_inflight_region(s, q->index, &region) < 0)
		return -EINVAL;
	if (region)
		taken = vring_track(&q->ring, region, s->inflight_queue_size, why);
	if (taken > 0)
		log_info(q->device->name, "queue %u: %d requests of an earlier life are done again",
			q->index, taken);
	return taken < 0 ? taken : 0;
}

int queue_start(struct queue *q, const char **why)
{
	const struct session *s = &q->device->session;
	bool was_broken = q->broken, fresh = !q->started || q->base_set || was_broken;
	bool packed = (s->features & VIRTIO_F_RING_PACKED) != 0;
	uint32_t base = q->base;
	int error = 0;

	ASSERT(q->in_flight == 0);
	*why = "its size or its addresses were not set";
	if (!q->addr_set || q->size == 0)
		return -EINVAL;
	state.polled -= queue_is_polled(q);
	q->broken = false; /* from here on its memory is touched */
	if (fresh)
		error = vring_map(&q->ring, &s->mem, &q->addr, q->size, packed, why);
	if (fresh && error == 0)
		error = queue_resume(q, why);
	q->broken = error < 0 && was_broken;
	state.polled += queue_is_polled(q);
	if (error < 0) {
		queue_stop(q); /* its size may be new and its parts old */
		q->base = base;
		return error;
	}
	state.polled -= queue_is_polled(q);
	q->started = true;
	q->base_set = false;
	q->lost = !q->ring.desc;
	state.polled += queue_is_polled(q);
	/* It starts here, not at its first kick: there may be work already ("Ring states"). */
	queue_ready(q);
	return 0;
}

void queue_stop(struct queue *q)
{
	ASSERT(q->in_flight == 0);
	if (q->started)
		q->base = vring_base(&q->ring);
	if (q->broken && q->ring.inflight.region)
		/* The driver starts over: what was dropped is not to be done again. */
		inflight_forget(q->ring.inflight.region);
	state.polled -= queue_is_polled(q);
	q->started = q->lost = q->finishing = q->suspending = q->suspended = false;
	q->cancel_due = false;
	queue_drop_kick(q);
	vring_unmap(&q->ring);
	q->ring.inflight = (struct inflight){ 0 };
}

bool queue_finish(struct queue *q)
{
	struct device *dev = q->device;

	/* With that feature it stays recorded, and is done where the ring goes on. */
	if (!q->started || q->broken || q->lost || q->ring.inflight.resubmit_left == 0 ||
		session_has(&dev->session, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT))
		return false;
	/* And if the device may not take it for long: better that than a front-end that hangs. */
	if (dev->class->can_take && !dev->class->can_take(dev))
		return false;
	if (!q->finishing) {
		q->finishing = true;
		list_add(QUEUE_READY, q);
	}
	return true;
}

bool queue_suspend(struct queue *q)
{
	/* What no record keeps must be completed. */
	if ((!q->suspending || q->cancel_due) && q->in_flight > 0 && q->started && !q->broken &&
		q->ring.inflight.region) {
		q->suspending = true;
		q->cancel_due = false;
		request_cancel_all(q);
	}
	return q->in_flight > 0;
}

void queue_answer(struct queue *q)
{
	const struct inflight *in = &q->ring.inflight;

	q->answered = q->started && in->packed && in->resubmit_left == 0 && !q->suspended;
}

void queue_settle(struct queue *q)
{
	struct guest *region;

	if (!q->answered)
		return;
	q->answered = false;
	if (session_inflight_region(&q->device->session, q->index, &region) == 0 && region)
		inflight_packed_settle(region);
}

void queue_remap(struct queue *q)
{
	const char *why;

	if (!q->started)
		return;
	q->lost = vring_map(&q->ring, &q->device->session.mem, &q->addr, q->ring.size,
			  q->ring.packed, &why) < 0;
	if (!q->lost) {
		queue_ready(q);
		return;
	}
	/* Not its driver's fault, and maybe it comes back: what the ring knows is kept. */
	vring_unmap(&q->ring);
	if (log_allow(&q->device->session.limit, q->device->name))
		log_error(q->device->name, "queue %u waits: %s any more", q->index, why);
	port_notify_send(&q->err);
}

void queue_reset(struct queue *q)
{
	queue_stop(q);
	q->enabled = q->addr_set = q->base_set = q->broken = q->answered = false;
	q->size = 0;
	q->base = 0;
	q->ring = (struct vring){ 0 };
}

void queue_release(struct queue *q)
{
	queue_reset(q);
	port_notify_close(&q->call);
	port_notify_close(&q->err);
}

void queue_break(struct queue *q, const char *why)
{
	if (q->broken)
		return;
	state.polled -= queue_is_polled(q);
	q->broken = true;
	if (log_allow(&q->device->session.limit, q->device->name))
		log_error(q->device->name,
			"queue %u is broken: the driver gave %s; it stops until reset", q->index,
			why);
	port_notify_send(&q->err);
	session_needs_reset(&q->device->session);
}

static void queues_wake(void)
{
	struct queue *q;

	while ((q = list_take(QUEUE_WAITING)))
		queue_ready(q);
}

/* Gives a request back to the pool, and a turn to those who waited for its long array. */
static inline void queue_put(struct queue *q, struct request *req)
{
	bool was_long = req->chain.long_slot > 0;

	request_put(req, q->in_flight);
	if (was_long)
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
 */
static int queue_take(struct queue *q, struct request **taken, const char **why)
{
	struct device *dev = q->device;
	struct request *req;
	int found;

	if (!vring_has_work(&q->ring) || (q->finishing && !queue_works(q)))
		return 0;
	if (dev->class->can_take && !dev->class->can_take(dev))
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
 * Gives the device what there is, up to n requests. All are taken first: while their chains are
 * walked, the processor fetches their headers.
 */
static int queue_give(struct queue *q, unsigned n)
{
	struct request *taken[CONFIG_BUDGET];
	struct device *dev = q->device;
	const char *why;
	unsigned count = 0;
	int found = 1;

	while (count < n && (found = queue_take(q, &taken[count], &why)) > 0)
		__builtin_prefetch(taken[count++]->spans[0].base);
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

static void queue_run(struct queue *q)
{
	/* Whether a device takes another one may depend on the one before. */
	unsigned n = q->device->class->can_take ? 1 : CONFIG_BUDGET;
	int found = 1;

	if (!queue_works(q))
		return;
	q->starved = false;
	vring_disarm(&q->ring);
	for (unsigned given = 0; given < CONFIG_BUDGET && found > 0 && !q->broken; given += n)
		found = queue_give(q, n);
	if (q->broken)
		return;
	if (found == 0 && !q->listed[QUEUE_IDLE])
		q->idle_tick = state.ticks;
	if (found > 0)
		list_add(QUEUE_READY, q);
	else if (found == 0)
		list_add(QUEUE_IDLE, q);
	else if (found == -EAGAIN && q->in_flight == 0)
		list_add(QUEUE_WAITING, q); /* for a long array: nothing of its own will wake it */
	/* else starved: until one of its requests is done, or the device says so */
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

void queues_run(void)
{
	struct queue *last, *q = NULL;

	queues_rest();
	last = state.lists[QUEUE_READY].last;
	/* One turn for each that is ready now; who becomes ready meanwhile is for the next tick. */
	if (!state.lists[QUEUE_READY].first)
		return;
	while (q != last) {
		q = list_take(QUEUE_READY);
		queue_run(q);
	}
}

void queues_publish(void)
{
	struct queue *q;

	while ((q = list_take(QUEUE_DIRTY)))
		if (q->started && !q->broken && vring_publish(&q->ring))
			port_notify_send(&q->call);
}

/* (Here and in queues_peek: a starved queue has work, but looking at it would not help it.) */
bool queues_arm(void)
{
	if (state.polled > 0 && queues_peek())
		return true;
	for (struct queue *q = state.lists[QUEUE_IDLE].first; q; q = q->next[QUEUE_IDLE])
		if (queue_works(q) && !q->starved && vring_arm(&q->ring))
			queue_ready(q);
	/* Armed and empty: a kick brings it back. A polled one has to be looked at. */
	while (state.polled == 0 && list_take(QUEUE_IDLE))
		;
	return queues_have_work();
}

bool queues_peek(void)
{
	for (struct queue *q = state.lists[QUEUE_IDLE].first; q; q = q->next[QUEUE_IDLE])
		if (queue_works(q) && !q->starved && vring_has_work(&q->ring))
			queue_ready(q);
	return queues_have_work();
}

bool queues_have_work(void)
{
	return state.lists[QUEUE_READY].first || state.lists[QUEUE_DIRTY].first;
}

bool queues_polled(void)
{
	return state.polled > 0;
}

void request_done(struct request *req, uint32_t written)
{
	struct queue *q = req->queue;

	/* What a broken queue had in flight is dropped: its ring is not to be touched. */
	if (q->started && !q->broken) {
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
