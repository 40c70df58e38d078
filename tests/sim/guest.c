/*
 * Between any two accesses of the device to guest memory: judge the access, let drivers act, let
 * the process die.
 */
#include "sim.h"

#include <string.h>

#include "spec/virtio_blk.h"

/* One tick looks at no more than this, however bad the driver: budgets see to it. */
enum { TICK_ACCESSES_MAX = 100000 };

static bool in_zone(const struct sim_queue *q, uint64_t gpa, size_t len)
{
	return q->evil && gpa - q->zone < q->zone_len && len <= q->zone_len - (gpa - q->zone);
}

/* How many bytes from gpa on are writable buffers of requests that are out. */
static size_t in_buffers(const struct front *f, uint64_t gpa)
{
	for (const struct sim_request *r = w.requests; r < w.requests + REQS_MAX; r++) {
		if (!r->queue || r->queue->front != f || !r->queue->running)
			continue;
		for (unsigned i = 0; i < r->seg_count; i++)
			if (r->segs[i].writable && !r->segs[i].nowhere &&
				gpa - r->segs[i].gpa < r->segs[i].len)
				return (size_t)(r->segs[i].len - (gpa - r->segs[i].gpa));
	}
	return 0;
}

static void check_store(const struct front *f, uint64_t gpa, size_t len)
{
	if (f->evil || f->lawless)
		return;
	for (unsigned i = 0; i < f->queue_count; i++) {
		const struct sim_queue *q = &f->queues[i];

		if (!ring_has(q, gpa, len))
			continue;
		if (f->device->queues[i].broken)
			fake_die("queue %u.%u is broken, and its ring is written to", f->index, i);
		if (!q->evil)
			q->format->check_store(q, gpa, len);
		return;
	}
	for (unsigned i = 0; i < f->queue_count; i++)
		if (in_zone(&f->queues[i], gpa, len))
			return;
	while (len > 0) {
		size_t part = in_buffers(f, gpa);

		if (part == 0)
			fake_die("a store of %zu bytes at %llx, which is no buffer of a request",
				len, (unsigned long long)gpa);
		if (part >= len)
			return;
		gpa += part;
		len -= part;
	}
}

/*
 * The header of a request is what a device reads first of it: so they begin in the order in which
 * they were made available, in every life, and whatever its format says they were taken from.
 */
static void check_begin(struct front *f, uint64_t gpa)
{
	for (struct sim_request *r = w.requests; r < w.requests + REQS_MAX; r++) {
		struct sim_queue *q = r->queue;

		if (!q || q->front != f || !request_begins(r, gpa))
			continue;
		if ((int32_t)(r->place - q->begun_place) < 0)
			fake_die("queue %u.%u: head %u is begun out of order", f->index, q->index,
				r->head);
		q->begun_place = r->place;
		w.seen.again += r->begun && r->begun_in != w.deaths;
		r->begun = true;
		r->begun_in = w.deaths;
	}
}

static void check_load(struct front *f, uint64_t gpa, size_t len)
{
	for (unsigned i = 0; i < f->queue_count; i++)
		if (!f->queues[i].evil && f->queues[i].made)
			f->queues[i].format->check_load(&f->queues[i], gpa, len);
	if (f->blk && !f->lawless && len <= sizeof(struct virtio_blk_req))
		check_begin(f, gpa);
}

static void flip(struct front *f, char *at, size_t len)
{
	if (!f->evil) {
		for (unsigned i = 0; i < f->queue_count; i++)
			if (f->queues[i].evil)
				evil_flip(&f->queues[i], at, len);
	} else {
		evil_flip(&f->queues[fake_random(f->queue_count)], at, len);
	}
}

static struct front *front_of(const void *at, uint64_t *gpa)
{
	for (unsigned i = 0; i < w.front_count; i++) {
		const struct region *r = memory_region(&w.fronts[i].memory, at);

		if (!r)
			continue;
		*gpa = r->gpa + (uint64_t)((const char *)at - r->host);
		return &w.fronts[i];
	}
	return NULL;
}

static void judge(const char *what, const void *at, size_t len)
{
	uint64_t gpa;
	struct front *f = front_of(at, &gpa);

	if (life_owns(at)) /* a frame that the device has made itself */
		return;
	if (!fake_mapped(at, len))
		fake_die("a %s of %zu bytes that are not mapped", what, len);
	if (!f) /* in-flight memory */
		return;
	if (what[0] == 's') {
		check_store(f, gpa, len);
	} else {
		check_load(f, gpa, len);
		flip(f, (char *)at, len);
	}
}

void guest_turn(unsigned steps)
{
	while (steps-- > 0) {
		struct front *f = &w.fronts[fake_random(w.front_count)];
		struct sim_queue *q = &f->queues[fake_random(f->queue_count)];

		if (f->other && fake_random(3) == 0)
			other_acts(f);
		if (!q->made)
			continue;
		if (q->evil)
			evil_step(q);
		else
			driver_step(q);
	}
}

void sim_guest_hook(const char *what, const void *at, size_t len)
{
	cut_finish();
	w.accesses++;
	if (++w.tick_accesses > TICK_ACCESSES_MAX)
		fake_die("a tick that does not end");
	judge(what, at, len);
	if (w.kill_in > 0 && --w.kill_in == 0) {
		w.killed = true;
		fake_stop();
	}
	if (what[0] == 's')
		cut_event(what, (void *)at, strcmp(what, "store") == 0 ? 1 : len);
	if (fake_random(w.chattiness) == 0)
		guest_turn(1 + fake_random(4));
}

/* The host's half of an access: I/O into a buffer or out of it. */
static void io_hook(const struct port_io *io, const void *at, size_t len)
{
	uint64_t gpa;
	struct front *f = front_of(at, &gpa);

	if (f && fake_mapped(at, len) && io->op == PORT_IO_READ)
		check_store(f, gpa, len);
}

void guest_install(void)
{
	fake.on_io = io_hook;
}
