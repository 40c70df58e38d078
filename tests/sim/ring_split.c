/* The driver's side of a split ring: VIRTIO 2.7. */
#include "sim.h"

#include <string.h>

#include "spec/virtio.h"
#include "spec/virtio_ring.h"

enum { USED_LOADS_MAX = 3 };

static uint16_t used_idx(const struct sim_queue *q)
{
	return ring_get16(q->used_at + 2);
}

static uint32_t bytes(const struct sim_queue *q, int part)
{
	return part == 0 ? q->size * 16u : part == 1 ? 6 + q->size * 2u : 6 + q->size * 8u;
}

static uint16_t next_size(uint16_t size)
{
	return size == 0 ? (uint16_t)(1u << fake_random(7)) : (uint16_t)(size / 2);
}

static uint32_t begin(struct sim_queue *q)
{
	uint16_t start = fake_random(2) == 0 ? 0 : (uint16_t)(65536 - fake_random(40));

	ring_put16(q->avail_at + 2, start);
	ring_put16(q->used_at + 2, start);
	q->avail_idx = q->published = q->kicked = q->last_used = q->event = start;
	return start;
}

/* ---- making available ---- */

static uint16_t desc_take(struct sim_queue *q)
{
	uint16_t i = (uint16_t)fake_random(q->size);

	while (q->desc_busy[i])
		i = (uint16_t)((i + 1) % q->size);
	q->desc_busy[i] = true;
	q->desc_free--;
	return i;
}

static void desc_link(struct virtq_desc *d, uint16_t next)
{
	d->flags = le16_put(le16_get(d->flags) | VIRTQ_DESC_F_NEXT);
	d->next = le16_put(next);
}

/* An indirect table for the segments from `first` on, its entries in any order behind the head. */
static bool table_put(struct sim_request *r, struct memory *m, unsigned first, struct virtq_desc *d)
{
	uint16_t order[RING_MAX] = { 0 }, n = (uint16_t)(r->seg_count - first);
	uint16_t count = (uint16_t)(n + fake_random(3));

	r->table_len = count * 16u;
	r->table = memory_alloc(m, r->table_len, false);
	if (r->table == 0)
		return false;
	for (uint16_t i = 0; i < count; i++)
		order[i] = i;
	for (uint16_t i = 1; i + 1 < count && fake_random(2) == 0; i++) {
		uint16_t k = (uint16_t)(i + fake_random(count - i)), t = order[i];

		order[i] = order[k];
		order[k] = t;
	}
	for (uint16_t i = 0; i < n; i++) {
		struct virtq_desc e = ring_desc(m, &r->segs[first + i]);

		if (i + 1 < n)
			desc_link(&e, order[i + 1]);
		memory_put(m, r->table + order[i] * 16u, &e, sizeof(e));
	}
	*d = (struct virtq_desc){ le64_put(r->table), le32_put(r->table_len),
		le16_put(VIRTQ_DESC_F_INDIRECT), le16_put(0) };
	return true;
}

/* Puts the chain into the descriptor table: some segments directly, the others indirectly. */
static bool chain_put(struct sim_queue *q, struct sim_request *r)
{
	struct memory *m = &q->front->memory;
	bool indirect = ring_feature(q, VIRTIO_F_INDIRECT_DESC) && r->seg_count > 0 &&
			(r->seg_count > q->desc_free || fake_random(2) == 0);
	unsigned direct =
		indirect ? fake_random(q->desc_free < 3 ? q->desc_free : 3) : r->seg_count;
	struct virtq_desc table = { 0 };

	if (direct >= r->seg_count) {
		direct = r->seg_count;
		indirect = false;
	}
	if (r->seg_count == 0 || direct + indirect > q->desc_free ||
		(indirect && !table_put(r, m, direct, &table)))
		return false;
	r->desc_count = (uint16_t)(direct + indirect);
	for (unsigned i = 0; i < r->desc_count; i++)
		r->descs[i] = desc_take(q);
	for (unsigned i = 0; i < r->desc_count; i++) {
		struct virtq_desc d = i < direct ? ring_desc(m, &r->segs[i]) : table;

		if (i + 1u < r->desc_count)
			desc_link(&d, r->descs[i + 1]);
		memcpy(q->desc_at + r->descs[i] * 16, &d, sizeof(d));
	}
	return true;
}

static bool describe(struct sim_queue *q, struct sim_request *r)
{
	if (!chain_put(q, r))
		return false;
	r->head = r->descs[0];
	q->by_slot[r->head] = r;
	ring_put16(q->avail_at + 4 + 2 * (q->avail_idx & (q->size - 1u)), r->head);
	q->avail_idx++;
	return true;
}

static void release(struct sim_queue *q, const struct sim_request *r)
{
	for (unsigned i = 0; i < r->desc_count; i++) {
		q->desc_busy[r->descs[i]] = false;
		q->desc_free++;
	}
	if (r->desc_count > 0 && q->by_slot[r->head] == r)
		q->by_slot[r->head] = NULL;
}

static void publish(struct sim_queue *q)
{
	ring_put16(q->avail_at + 2, (uint16_t)q->avail_idx);
}

/* 2.7.10.1 */
static bool wants_kick(const struct sim_queue *q)
{
	uint16_t event;

	if (!ring_feature(q, VIRTIO_F_EVENT_IDX))
		return (ring_get16(q->used_at) & VIRTQ_USED_F_NO_NOTIFY) == 0;
	event = ring_get16(q->used_at + 4 + 8 * q->size);
	return (uint16_t)(q->published - event - 1) < (uint16_t)(q->published - q->kicked);
}

/* ---- taking back ---- */

static void ask(struct sim_queue *q, uint32_t event)
{
	if (ring_feature(q, VIRTIO_F_EVENT_IDX))
		ring_put16(q->avail_at + 4 + 2 * q->size, (uint16_t)event);
	else
		ring_put16(q->avail_at, 0);
}

static void refuse(struct sim_queue *q)
{
	if (ring_feature(q, VIRTIO_F_EVENT_IDX))
		ring_put16(q->avail_at + 4 + 2 * q->size, (uint16_t)(q->last_used + 0x8000));
	else
		ring_put16(q->avail_at, VIRTQ_AVAIL_F_NO_INTERRUPT);
}

static uint32_t end(const struct sim_queue *q)
{
	uint16_t back = (uint16_t)(used_idx(q) - q->last_used);

	if (back > q->outstanding)
		fake_die("queue %u.%u: the used index is at %u, %u of us and %u out",
			q->front->index, q->index, used_idx(q), (uint16_t)q->last_used,
			q->outstanding);
	return q->last_used + back;
}

static struct sim_request *take(struct sim_queue *q, uint32_t *written)
{
	struct virtq_used_elem e;
	struct sim_request *r;

	memcpy(&e, q->used_at + 4 + 8 * (q->last_used & (q->size - 1u)), sizeof(e));
	r = le32_get(e.id) < q->size ? q->by_slot[le32_get(e.id)] : NULL;
	if (!r || !r->shown)
		fake_die("queue %u.%u: head %u came back and was not out", q->front->index,
			q->index, le32_get(e.id));
	q->last_used++;
	*written = le32_get(e.len);
	return r;
}

static uint32_t base(const struct sim_queue *q)
{
	return used_idx(q);
}

static bool base_fits(const struct sim_queue *q, uint32_t base, bool all)
{
	uint16_t taken = (uint16_t)(base - used_idx(q));

	return base <= UINT16_MAX && taken <= (uint16_t)(q->published - used_idx(q)) &&
	       (!all || taken == 0);
}

/* As QEMU does it: what was in flight is nobody's. */
static uint32_t base_guessed(const struct sim_queue *q)
{
	return used_idx(q);
}

/* ---- judging ---- */

static void check_store(const struct sim_queue *q, uint64_t gpa, size_t len)
{
	if (gpa == q->used + 2 && len == 2)
		ring_publishes(q);
}

/*
 * Heads are looked at in the order in which they were made available, in every life, and not too
 * many in one turn. The used index is the device's own: it is only read where a ring starts.
 */
static void check_load(struct sim_queue *q, uint64_t gpa, size_t len)
{
	const struct sim_request *r;

	if (gpa == q->used + 2 && ++q->used_loads > USED_LOADS_MAX)
		fake_die("queue %u.%u: the used index is read back", q->front->index, q->index);
	if (len != 16 || gpa - q->desc >= bytes(q, 0))
		return;
	r = q->by_slot[(gpa - q->desc) / 16];
	if (r)
		ring_walks(q, r);
}

const struct ring_format ring_split = { bytes, next_size, begin, describe, release, publish,
	wants_kick, ask, refuse, end, take, base, base_fits, base_guessed, check_store,
	check_load };
