/*
 * The driver's side of a packed ring: VIRTIO 2.8. A position counts descriptors from the ring's
 * birth; its wrap counter is 1 in the first round and in every second one after it (2.8.1).
 */
#include "sim.h"

#include <string.h>

#include "spec/virtio.h"
#include "spec/virtio_ring.h"

enum { SLOT = sizeof(struct pvirtq_desc), ROUNDS_MAX = 4 };
enum { FRESH = 0x8000 }; /* place 0, wrap counter 1 */

static bool wrap(const struct sim_queue *q, uint32_t pos)
{
	return pos / q->size % 2 == 0;
}

/* Offset and wrap counter, as events and bases have them. */
static uint16_t place(const struct sim_queue *q, uint32_t pos)
{
	return (uint16_t)(pos % q->size | (uint32_t)wrap(q, pos) << 15);
}

static char *slot(const struct sim_queue *q, uint32_t pos)
{
	return q->desc_at + pos % q->size * SLOT;
}

static char *flags_at(const struct sim_queue *q, uint32_t pos)
{
	return slot(q, pos) + offsetof(struct pvirtq_desc, flags);
}

static uint16_t available(const struct sim_queue *q, uint32_t pos)
{
	return wrap(q, pos) ? PVIRTQ_DESC_F_AVAIL : PVIRTQ_DESC_F_USED;
}

static uint16_t used(const struct sim_queue *q, uint32_t pos)
{
	return wrap(q, pos) ? PVIRTQ_DESC_F_AVAIL | PVIRTQ_DESC_F_USED : 0;
}

static bool is_used(const struct sim_queue *q, uint32_t pos)
{
	uint16_t mask = PVIRTQ_DESC_F_AVAIL | PVIRTQ_DESC_F_USED;

	return (ring_get16(flags_at(q, pos)) & mask) == used(q, pos);
}

static uint32_t bytes(const struct sim_queue *q, int part)
{
	return part == 0 ? q->size * (uint32_t)SLOT : sizeof(struct pvirtq_event_suppress);
}

static uint16_t next_size(uint16_t size)
{
	if (size == 0)
		return (uint16_t)(1 + fake_random(fake_random(2) == 0 ? 8 : RING_MAX));
	return (uint16_t)(size - 1);
}

/*
 * The rounds before `start`: of each buffer one descriptor was overwritten with the used one, the
 * others are there still, as they were made available.
 */
static void leave_history(struct sim_queue *q, uint32_t start)
{
	for (uint32_t pos = 0, n; pos < start; pos += n) {
		n = 1 + fake_random(fake_random(4) == 0 ? q->size : 3);
		if (n > start - pos || n > q->size)
			n = 1;
		for (uint32_t i = 0; i < n; i++) {
			uint16_t flags = i == 0 ? used(q, pos) : available(q, pos + i);

			if (i > 0 && i + 1 < n)
				flags |= VIRTQ_DESC_F_NEXT;
			if (fake_random(2) == 0)
				flags |= VIRTQ_DESC_F_WRITE;
			memset(slot(q, pos + i), 0xc5, SLOT);
			ring_put16(flags_at(q, pos + i), flags);
		}
	}
}

/* A fresh ring's base is what the specification says, or what DPDK or User Mode Linux says. */
static uint32_t begin(struct sim_queue *q)
{
	static const uint32_t both = (uint32_t)FRESH << 16 | FRESH;
	const uint32_t fresh[] = { both, both, FRESH, 0 };
	uint32_t start = fake_random(2) == 0 ? 0 : fake_random(ROUNDS_MAX * q->size + 1u);

	q->avail_idx = q->published = q->kicked = q->last_used = q->event = start;
	q->wild_ids = fake_random(2) == 0;
	leave_history(q, start);
	sim_note("%u.%u: a packed ring of %u, from %u on", q->front->index, q->index, q->size,
		start);
	if (start == 0)
		return fresh[fake_random(4)];
	return (uint32_t)place(q, start) << 16 | place(q, start);
}

/* ---- making available ---- */

static struct sim_request *by_id(const struct sim_queue *q, uint16_t id)
{
	for (struct sim_request *r = w.requests; r < w.requests + REQS_MAX; r++)
		if (r->queue == q && r->desc_count > 0 && r->head == id)
			return r;
	return NULL;
}

/* A buffer id that no other has: the lowest, or any number. */
static uint16_t id_new(const struct sim_queue *q)
{
	uint16_t id = (uint16_t)(q->wild_ids ? fake_random(65536) : 0);

	while (by_id(q, id))
		id++;
	return id;
}

/*
 * An indirect table: all its entries, one after the other. Of their flags only WRITE counts
 * (2.8.7); there are drivers that link them all the same (DPDK's), and ids are nothing.
 */
static bool table_put(struct sim_request *r, struct memory *m)
{
	bool linked = fake_random(2) == 0;

	r->table_len = r->seg_count * (uint32_t)SLOT;
	r->table = memory_alloc(m, r->table_len, false);
	if (r->table == 0)
		return false;
	for (unsigned i = 0; i < r->seg_count; i++) {
		struct virtq_desc s = ring_desc(m, &r->segs[i]);
		bool link = linked && i + 1 < r->seg_count;
		struct pvirtq_desc d = { s.addr, s.len, le16_put((uint16_t)fake_random(65536)),
			le16_put(le16_get(s.flags) | (link ? VIRTQ_DESC_F_NEXT : 0)) };

		memory_put(m, r->table + i * SLOT, &d, sizeof(d));
	}
	return true;
}

/* Of what is not published yet, the first descriptor's flags are held back, and only they. */
static void slot_put(struct sim_queue *q, uint32_t pos, struct pvirtq_desc d)
{
	memcpy(slot(q, pos), &d, offsetof(struct pvirtq_desc, flags));
	if (pos == q->published)
		q->held_flags = le16_get(d.flags);
	else
		ring_put16(flags_at(q, pos), le16_get(d.flags));
}

static bool describe(struct sim_queue *q, struct sim_request *r)
{
	struct memory *m = &q->front->memory;
	bool indirect = ring_feature(q, VIRTIO_F_INDIRECT_DESC) &&
			(r->seg_count > q->desc_free || fake_random(2) == 0);
	unsigned count = indirect ? 1 : r->seg_count;

	if (r->seg_count == 0 || count > q->desc_free || (indirect && !table_put(r, m)))
		return false;
	r->head = id_new(q);
	r->desc_count = (uint16_t)count;
	q->desc_free -= r->desc_count;
	for (unsigned i = count; i-- > 0;) {
		uint32_t pos = q->avail_idx + i;
		struct virtq_desc s = ring_desc(m, &r->segs[i]);
		uint16_t flags = le16_get(s.flags) | available(q, pos);
		/* The last one has the id; what the others have is nobody's business. */
		uint16_t id = i + 1 == count || fake_random(2) == 0 ? r->head
								    : (uint16_t)fake_random(65536);

		if (indirect) /* WRITE is ignored then */
			s = (struct virtq_desc){ .addr = le64_put(r->table),
				.len = le32_put(r->table_len) };
		flags |= indirect ? VIRTQ_DESC_F_INDIRECT : i + 1 < count ? VIRTQ_DESC_F_NEXT : 0;
		slot_put(q, pos,
			(struct pvirtq_desc){ s.addr, s.len, le16_put(id), le16_put(flags) });
		q->by_slot[pos % q->size] = i == 0 ? r : NULL;
	}
	q->avail_idx += count;
	return true;
}

static void release(struct sim_queue *q, const struct sim_request *r)
{
	q->desc_free += r->desc_count;
	for (unsigned i = 0; i < q->size; i++)
		if (q->by_slot[i] == r)
			q->by_slot[i] = NULL;
}

static void publish(struct sim_queue *q)
{
	ring_put16(flags_at(q, q->published), q->held_flags);
}

/* 2.8.10: "Event will only trigger when this descriptor is made available". */
static bool wants_kick(const struct sim_queue *q)
{
	uint16_t event = ring_get16(q->used_at), flags = ring_get16(q->used_at + 2);

	if (flags == RING_EVENT_FLAGS_ENABLE || flags == RING_EVENT_FLAGS_DISABLE)
		return flags == RING_EVENT_FLAGS_ENABLE;
	if (flags != RING_EVENT_FLAGS_DESC || !ring_feature(q, VIRTIO_F_EVENT_IDX) ||
		(event & 0x7fff) >= q->size)
		fake_die("queue %u.%u of %u: the device asks for kicks by %04x %04x",
			q->front->index, q->index, q->size, event, flags);
	for (uint32_t pos = q->kicked; pos != q->published; pos++)
		if (place(q, pos) == event)
			return true;
	return false;
}

/* ---- taking back ---- */

static void ask(struct sim_queue *q, uint32_t event)
{
	bool any = event == q->last_used && fake_random(2) == 0;

	if (!ring_feature(q, VIRTIO_F_EVENT_IDX) || any) {
		ring_put16(q->avail_at + 2, RING_EVENT_FLAGS_ENABLE);
		return;
	}
	ring_put16(q->avail_at, place(q, event));
	ring_put16(q->avail_at + 2, RING_EVENT_FLAGS_DESC);
}

static void refuse(struct sim_queue *q)
{
	ring_put16(q->avail_at + 2, RING_EVENT_FLAGS_DISABLE);
}

/* The request that the used descriptor at pos gives back. */
static struct sim_request *request_at(const struct sim_queue *q, uint32_t pos)
{
	uint16_t id = ring_get16(slot(q, pos) + offsetof(struct pvirtq_desc, id));
	struct sim_request *r = by_id(q, id);

	if (!r || !r->shown)
		fake_die("queue %u.%u: buffer %u came back (at %04x) and was not out",
			q->front->index, q->index, id, place(q, pos));
	return r;
}

/* Buffers skip as many descriptors as they had (2.8.6). */
static uint32_t end(const struct sim_queue *q)
{
	uint32_t pos = q->last_used;

	while (pos != q->published && is_used(q, pos)) {
		pos += request_at(q, pos)->desc_count;
		if ((int32_t)(q->published - pos) < 0)
			fake_die("queue %u.%u: more came back than was out", q->front->index,
				q->index);
	}
	return pos;
}

static struct sim_request *take(struct sim_queue *q, uint32_t *written)
{
	struct sim_request *r = request_at(q, q->last_used);
	struct pvirtq_desc d;

	memcpy(&d, slot(q, q->last_used), sizeof(d));
	q->last_used += r->desc_count;
	/* Length is reserved if nothing was written (2.8.4). */
	*written = (le16_get(d.flags) & VIRTQ_DESC_F_WRITE) != 0 ? le32_get(d.len) : 0;
	return r;
}

static uint32_t base(const struct sim_queue *q)
{
	return (uint32_t)place(q, end(q)) << 16 | place(q, end(q));
}

static bool base_fits(const struct sim_queue *q, uint32_t base, bool all)
{
	uint32_t from = end(q);

	if (base >> 16 != place(q, from))
		return false;
	for (uint32_t pos = from; pos != q->published + 1; pos++)
		if (place(q, pos) == (base & 0xffff))
			return !all || pos == from;
	return false;
}

/* No front-end can tell: it gives what it gave before, in one form or another. */
static uint32_t base_guessed(const struct sim_queue *q)
{
	uint32_t fresh = (uint32_t)FRESH << 16 | FRESH;

	if (q->base != fresh && q->base != FRESH)
		return q->base;
	return fake_random(2) == 0 ? fresh : FRESH;
}

/* ---- judging ---- */

/*
 * A used descriptor goes where the driver will look for one, over descriptors that are made
 * available and not given back; and one that the driver may have seen does not change any more.
 */
static void check_store(const struct sim_queue *q, uint64_t gpa, size_t len)
{
	uint32_t from, room, off;

	if (gpa - q->desc >= bytes(q, 0))
		return;
	off = (uint32_t)(gpa - q->desc);
	if (off % SLOT + len > SLOT)
		fake_die("queue %u.%u: a store over two descriptors", q->front->index, q->index);
	from = end(q);
	if (off / SLOT == from % q->size)
		ring_publishes(q);
	room = q->published - from;
	if ((off / SLOT + q->size - from % q->size) % q->size >= room)
		fake_die("queue %u.%u of %u: a store to descriptor %u: its %u begin at %u",
			q->front->index, q->index, q->size, off / SLOT, room, from % q->size);
}

/* As of a split ring, for what is read in the ring itself. */
static void check_load(struct sim_queue *q, uint64_t gpa, size_t len)
{
	const struct sim_request *r;

	if (len != SLOT || gpa - q->desc >= bytes(q, 0))
		return;
	r = q->by_slot[(gpa - q->desc) / SLOT];
	if (r && r->shown)
		ring_walks(q, r);
}

const struct ring_format ring_packed = { bytes, next_size, begin, describe, release, publish,
	wants_kick, ask, refuse, end, take, base, base_fits, base_guessed, check_store,
	check_load };
