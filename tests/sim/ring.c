/* What rings of both formats have in common: their place in memory, and what is judged of them. */
#include "sim.h"

#include <string.h>

#include "spec/virtio.h"
#include "spec/virtio_ring.h"

uint16_t ring_get16(const char *at)
{
	return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_SEQ_CST);
}

void ring_put16(char *at, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)at, v, __ATOMIC_SEQ_CST);
}

bool ring_feature(const struct sim_queue *q, uint64_t feature)
{
	return (q->front->features & feature) != 0;
}

uint32_t ring_bytes(const struct sim_queue *q, int part)
{
	return q->format->bytes(q, part);
}

/* Room for the three parts of a ring of this size, or nothing. */
static bool ring_alloc(struct sim_queue *q, uint16_t size)
{
	struct memory *m = &q->front->memory;
	uint64_t *parts[] = { &q->desc, &q->avail, &q->used };

	q->size = size;
	for (int i = 0; i < 3; i++) {
		*parts[i] = memory_alloc(m, ring_bytes(q, i), true);
		if (*parts[i] != 0)
			continue;
		while (i-- > 0)
			memory_free(m, *parts[i], ring_bytes(q, i));
		return false;
	}
	return true;
}

void ring_make(struct sim_queue *q)
{
	struct memory *m = &q->front->memory;
	bool packed = ring_feature(q, VIRTIO_F_RING_PACKED);
	uint16_t size;

	q->format = packed ? &ring_packed : &ring_split;
	size = q->format->next_size(0);
	while (size > q->front->queue_size_max || !ring_alloc(q, size))
		if ((size = q->format->next_size(size)) == 0)
			fake_die("sim: no room for a ring");
	q->desc_at = memory_host(m, q->desc);
	q->avail_at = memory_host(m, q->avail);
	q->used_at = memory_host(m, q->used);
	memset(q->desc_at, 0, ring_bytes(q, 0));
	memset(q->avail_at, 0, ring_bytes(q, 1));
	memset(q->used_at, 0, ring_bytes(q, 2));
	q->base = q->format->begin(q);
	q->base_known = true;
	q->desc_free = q->size;
	memset(q->desc_busy, 0, sizeof(q->desc_busy));
	memset(q->by_slot, 0, sizeof(q->by_slot));
	q->state = AWAKE;
	q->kick_due = false;
	q->made = true;
	q->next_place = q->walked_place = q->begun_place = q->back_place = 0;
}

void ring_drop(struct sim_queue *q)
{
	struct memory *m = &q->front->memory;

	if (!q->made)
		return;
	for (int i = 0; i < 3; i++)
		memory_free(m, i == 0 ? q->desc : i == 1 ? q->avail : q->used, ring_bytes(q, i));
	q->made = false;
}

void ring_clear(struct sim_queue *q)
{
	memset(q->avail_at, 0, ring_bytes(q, 1));
	memset(q->used_at, 0, ring_bytes(q, 2));
	if (q->format == &ring_packed)
		memset(q->desc_at, 0, ring_bytes(q, 0));
	q->base = q->format == &ring_packed ? 0x80008000u : 0;
	q->base_known = true;
}

static bool in_part(const struct sim_queue *q, uint64_t start, int part, uint64_t gpa, size_t len)
{
	uint32_t bytes = ring_bytes(q, part);

	return gpa - start < bytes && len <= bytes - (gpa - start);
}

bool ring_has(const struct sim_queue *q, uint64_t gpa, size_t len)
{
	if (!q->made || !q->running)
		return false;
	return in_part(q, q->used, 2, gpa, len) ||
	       (q->format == &ring_packed && in_part(q, q->desc, 0, gpa, len));
}

bool ring_owes_call(const struct sim_queue *q)
{
	return (int32_t)(q->format->end(q) - q->event) > 0;
}

void ring_publishes(const struct sim_queue *q)
{
	const struct vring *ring = &q->front->device->queues[q->index].ring;
	uint16_t from = ring->used_published, to = ring->used_idx;

	if (ring->unpublished < 2)
		return;
	w.seen.batches++;
	w.seen.wrapped += ring->packed ? (from & 0x8000) != (to & 0x8000)
				       : (to - 1) % q->size < from % q->size;
	w.seen.whole += q->desc_free == 0 && ring->unpublished == q->outstanding;
}

void ring_walks(struct sim_queue *q, const struct sim_request *r)
{
	if ((int32_t)(r->place - q->walked_place) < 0)
		fake_die("queue %u.%u: head %u is taken out of order", q->front->index, q->index,
			r->head);
	q->walked_place = r->place;
	if (++q->walks > CONFIG_BUDGET)
		fake_die("queue %u.%u: more than %d requests in one turn", q->front->index,
			q->index, CONFIG_BUDGET);
}

struct virtq_desc ring_desc(const struct memory *m, const struct seg *s)
{
	return (struct virtq_desc){ le64_put(s->nowhere ? memory_nowhere(m) : s->gpa),
		le32_put(s->len), le16_put(s->writable ? VIRTQ_DESC_F_WRITE : 0), le16_put(0) };
}
