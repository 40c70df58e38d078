/* Queues: how a front-end sets them up, starts and stops them. What they do meanwhile: turns.c. */
#include "queue.h"

#include <errno.h>

#include "device.h"
#include "loop.h"
#include "panic.h"
#include "spec/virtio.h"

static struct {
	struct queue queues[CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX];
	uint32_t created;
	uint32_t polled; /* started rings without a kick */
} state;

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

static void queue_kicked(void *owner)
{
	struct queue *q = owner;

	q->counts.kicks++;
	port_notify_drain(&q->kick);
	queue_ready(q);
	loop_seen_in_rings();
}

static void queue_changed(const struct queue *q)
{
	struct device *dev = q->device;

	if (dev->class->queue_changed)
		dev->class->queue_changed(dev, q);
}

void queue_enable(struct queue *q, bool enabled)
{
	q->enabled = enabled;
	queue_changed(q);
	queue_ready(q);
}

bool queue_is_polled(const struct queue *q)
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
	q->pulled = q->device->class->pulls && q->device->class->pulls(q->device, q->index);
	state.polled += queue_is_polled(q);
	queue_changed(q);
	/* It starts here, not at its first kick: there may be work already ("Ring states"). */
	queue_ready(q);
	return 0;
}

void queue_stop(struct queue *q)
{
	bool was_started = q->started;

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
	if (was_started)
		queue_changed(q);
}

bool queue_finish(struct queue *q)
{
	struct device *dev = q->device;

	/* With that feature it stays recorded, and is done where the ring goes on. */
	if (!q->started || q->broken || q->lost || q->ring.inflight.resubmit_left == 0 ||
		session_has(&dev->session, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT))
		return false;
	/* And if the device may not take it for long: better that than a front-end that hangs. */
	if (dev->class->can_take && !dev->class->can_take(dev, q))
		return false;
	if (!q->finishing) {
		q->finishing = true;
		queue_turn(q);
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
	q->counts.breaks++;
	if (log_allow(&q->device->session.limit, q->device->name))
		log_error(q->device->name,
			"queue %u is broken: the driver gave %s; it stops until reset", q->index,
			why);
	port_notify_send(&q->err);
	session_needs_reset(&q->device->session);
}

bool queues_polled(void)
{
	return state.polled > 0;
}
