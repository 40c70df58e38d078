/*
 * Between any two accesses of the device to guest memory: judge the access, let drivers act, let
 * the process die.
 */
#include "sim.h"

#include <string.h>

/* One tick looks at no more than this, however bad the driver: budgets see to it. */
enum { TICK_ACCESSES_MAX = 100000, USED_LOADS_MAX = 3 };

/* Whether [gpa, gpa + len) is in the part of a ring that the device writes. */
static bool in_used_ring(const struct sim_queue *q, uint64_t gpa, size_t len)
{
	return q->made && q->running && gpa - q->used < ring_bytes(q, 2) &&
	       len <= ring_bytes(q, 2) - (gpa - q->used);
}

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
	for (unsigned i = 0; i < f->queue_count; i++)
		if (in_used_ring(&f->queues[i], gpa, len) && f->device->queues[i].broken)
			fake_die("queue %u.%u is broken, and its ring is written to", f->index, i);
	for (unsigned i = 0; i < f->queue_count; i++)
		if (in_used_ring(&f->queues[i], gpa, len) || in_zone(&f->queues[i], gpa, len))
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

static void check_head(struct sim_queue *q, const struct sim_request *r)
{
	if ((int32_t)(r->place - q->walked_place) < 0)
		fake_die("queue %u.%u: head %u is taken out of order", q->front->index, q->index,
			r->head);
	q->walked_place = r->place;
	if (++q->walks > CONFIG_BUDGET)
		fake_die("queue %u.%u: more than %d requests in one turn", q->front->index,
			q->index, CONFIG_BUDGET);
}

/*
 * Heads are looked at in the order in which they were made available, in every life, and not too
 * many in one turn. The used index is the device's own: it is only read where a ring starts.
 */
static void check_load(struct front *f, uint64_t gpa, size_t len)
{
	for (unsigned i = 0; i < f->queue_count; i++) {
		struct sim_queue *q = &f->queues[i];
		struct sim_request *r;

		if (q->evil || !q->made)
			continue;
		if (gpa == q->used + 2 && ++q->used_loads > USED_LOADS_MAX)
			fake_die("queue %u.%u: the used index is read back", f->index, i);
		if (len != 16 || gpa - q->desc >= ring_bytes(q, 0))
			continue;
		r = q->by_head[(gpa - q->desc) / 16];
		if (r)
			check_head(q, r);
	}
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
	w.accesses++;
	if (++w.tick_accesses > TICK_ACCESSES_MAX)
		fake_die("a tick that does not end");
	judge(what, at, len);
	if (w.kill_in > 0 && --w.kill_in == 0) {
		w.killed = true;
		fake_stop();
	}
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
