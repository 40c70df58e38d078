/*
 * The good driver, in steps so small that the device can act between any two: describe, publish,
 * kick; ask for calls, look again, sleep; take what came back.
 */
#include "sim.h"

#include <string.h>

#include "spec/virtio.h"

static void request_free(struct sim_request *r)
{
	struct sim_queue *q = r->queue;
	struct memory *m = &q->front->memory;

	request_release(r);
	for (unsigned i = 0; i < r->seg_count; i++)
		if (!r->segs[i].nowhere && r->segs[i].len > 0)
			memory_free(m, r->segs[i].gpa, r->segs[i].len);
	if (r->table != 0)
		memory_free(m, r->table, r->table_len);
	q->format->release(q, r);
	r->queue = NULL;
}

static void driver_post(struct sim_queue *q)
{
	static uint8_t bytes[BYTES_MAX];
	struct sim_request *r = w.requests;
	uint32_t done = 0;

	if (w.posts_left == 0 || q->desc_free == 0)
		return;
	while (r < w.requests + REQS_MAX && r->queue)
		r++;
	if (r == w.requests + REQS_MAX)
		return;
	memset(r, 0, offsetof(struct sim_request, segs));
	r->queue = q;
	if (!request_make(q, r, bytes) || !q->format->describe(q, r)) {
		request_free(r);
		return;
	}
	for (unsigned i = 0; i < r->seg_count && !r->segs[i].writable; i++) {
		if (!r->segs[i].nowhere)
			memory_put(&q->front->memory, r->segs[i].gpa, bytes + done, r->segs[i].len);
		done += r->segs[i].len;
	}
	if (r->writes)
		disk_write_begins(&q->front->disk, r->sector, r->sectors, r->id);
	w.posts_left--;
	r->place = q->next_place++;
	q->outstanding++;
	if (fake_random(w.lazy ? 12 : 3) > (w.lazy ? 10 : 0))
		driver_publish(q);
	if (!w.lazy && fake_random(2) == 0)
		(void)driver_kick(q);
	sim_note("%u.%u: posts head %u (type %u, sector %llu + %u, %u segments, %u direct)",
		q->front->index, q->index, r->head, r->type, (unsigned long long)r->sector,
		r->sectors, r->seg_count, r->desc_count);
}

void driver_publish(struct sim_queue *q)
{
	if (q->published == q->avail_idx)
		return;
	for (struct sim_request *r = w.requests; r < w.requests + REQS_MAX; r++)
		r->shown |= r->queue == q;
	q->format->publish(q);
	q->published = q->avail_idx;
	q->kick_due = true;
	w.quiet_ticks = 0;
}

bool driver_kick(struct sim_queue *q)
{
	bool wanted;

	if (!q->kick_due)
		return false;
	wanted = q->format->wants_kick(q);
	q->kick_due = false;
	q->kicked = q->published;
	sim_note("%u.%u: %s a kick for %u", q->front->index, q->index,
		wanted ? "wants" : "needs no", q->published);
	if (wanted && !q->polled)
		fake_notify_signal(q->kick);
	return wanted || q->polled;
}

/* ---- taking back ---- */

static void take_used(struct sim_queue *q)
{
	uint32_t written;
	struct sim_request *r = q->format->take(q, &written);

	sim_note("%u.%u: head %u is back with %u bytes", q->front->index, q->index, r->head,
		written);
	q->outstanding--;
	w.seen.overtaken += (int32_t)(r->place - q->back_place) < 0;
	w.seen.chains += r->desc_count > 1;
	if ((int32_t)(r->place - q->back_place) > 0)
		q->back_place = r->place;
	request_check(r, written);
	request_free(r);
}

static void collect(struct sim_queue *q)
{
	uint32_t end = q->format->end(q);

	while (q->last_used != end)
		take_used(q);
}

/* From here on a call is wanted when something comes back; or a few more are waited for. */
static void ask_for_calls(struct sim_queue *q)
{
	uint32_t out = q->published - q->last_used;

	q->event = q->last_used;
	if (ring_feature(q, VIRTIO_F_EVENT_IDX) && out > 0 && fake_random(4) == 0)
		q->event += fake_random(out);
	q->format->ask(q, q->event);
	q->state = ARMING;
}

static void wake(struct sim_queue *q)
{
	q->state = AWAKE;
	if (fake_random(2) == 0)
		q->format->refuse(q);
}

static void look(struct sim_queue *q)
{
	switch (q->state) {
	case ASLEEP:
		if (fake_notify_take(q->call) > 0)
			wake(q);
		break;
	case ARMING:
		q->state = ASLEEP;
		if (ring_owes_call(q))
			wake(q);
		break;
	case AWAKE: (void)fake_notify_take(q->call); collect(q);
	}
}

void driver_step(struct sim_queue *q)
{
	if (!q->made)
		return;
	switch (fake_random(8)) {
	case 0:
	case 1:
	case 2: driver_post(q); break;
	case 3:
		if (!w.lazy || fake_random(8) == 0)
			driver_publish(q);
		break;
	case 4: (void)driver_kick(q); break;
	case 5:
	case 6: look(q); break;
	case 7:
		if (q->state == AWAKE)
			ask_for_calls(q);
	}
}

bool driver_settle(struct sim_queue *q)
{
	bool kicked;

	if (!q->made)
		return false;
	driver_publish(q);
	kicked = driver_kick(q);
	for (;;) {
		if (q->state == AWAKE) {
			look(q);
			ask_for_calls(q);
		}
		look(q);
		if (q->state != ASLEEP)
			continue;
		look(q);
		if (q->state == ASLEEP)
			return kicked;
	}
}

void driver_check_idle(const struct sim_queue *q)
{
	const struct front *f = q->front;

	if (!q->made || !q->running || !q->up || !q->enabled || !f->connected || f->lawless ||
		(w.faults && fake_peek(f->fd) == 0))
		return;
	/* An entropy device without bytes makes its driver wait. */
	if (!f->blk && !w.finishing && (f->image[0] != 0 || w.io_fails))
		return;
	if (ring_owes_call(q))
		fake_die("queue %u.%u: %u came back, and the sleeping driver was not called",
			q->front->index, q->index, q->format->end(q) - q->last_used);
	if (q->outstanding > 0)
		fake_die("queue %u.%u: all sleep, and %u requests wait (%s)", q->front->index,
			q->index, q->outstanding,
			ring_feature(q, VIRTIO_F_EVENT_IDX) ? "EVENT_IDX" : "flags");
}

void driver_abandon(struct sim_queue *q)
{
	for (struct sim_request *r = w.requests; r < w.requests + REQS_MAX; r++)
		if (r->queue == q)
			request_free(r);
	q->outstanding = 0;
}
