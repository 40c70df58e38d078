/*
 * The good driver: a split ring from its side (VIRTIO 2.7), in steps so small that the device can
 * act between any two: describe, publish, kick; ask for calls, look again, sleep; take what came
 * back.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "spec/virtio.h"
#include "spec/virtio_ring.h"

static uint16_t get16(const char *at)
{
	return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_SEQ_CST);
}

static void put16(char *at, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)at, v, __ATOMIC_SEQ_CST);
}

static bool has(const struct sim_queue *q, uint64_t feature)
{
	return (q->front->features & feature) != 0;
}

/* ---- the ring ---- */

uint32_t ring_bytes(const struct sim_queue *q, int part)
{
	return part == 0 ? q->size * 16u : part == 1 ? 6 + q->size * 2u : 6 + q->size * 8u;
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
	uint16_t start = fake_random(2) == 0 ? 0 : (uint16_t)(65536 - fake_random(40));
	uint16_t size = (uint16_t)(1u << fake_random(7));

	while (size > q->front->queue_size_max || !ring_alloc(q, size))
		if ((size /= 2) == 0)
			fake_die("sim: no room for a ring");
	q->desc_at = memory_host(m, q->desc);
	q->avail_at = memory_host(m, q->avail);
	q->used_at = memory_host(m, q->used);
	memset(q->desc_at, 0, ring_bytes(q, 0));
	memset(q->avail_at, 0, ring_bytes(q, 1));
	memset(q->used_at, 0, ring_bytes(q, 2));
	put16(q->avail_at + 2, start);
	put16(q->used_at + 2, start);
	q->base = q->avail_idx = q->published = q->kicked = q->last_used = start;
	q->desc_free = q->size;
	memset(q->desc_busy, 0, sizeof(q->desc_busy));
	q->state = AWAKE;
	q->kick_due = false;
	q->made = true;
	q->next_place = q->walked_place = 0;
}

void ring_drop(struct sim_queue *q)
{
	struct memory *m = &q->front->memory;

	if (!q->made)
		return;
	memory_free(m, q->desc, ring_bytes(q, 0));
	memory_free(m, q->avail, ring_bytes(q, 1));
	memory_free(m, q->used, ring_bytes(q, 2));
	q->made = false;
}

uint16_t ring_used_idx(const struct sim_queue *q)
{
	return get16(q->used_at + 2);
}

/* ---- describing a request ---- */

static uint16_t desc_take(struct sim_queue *q)
{
	uint16_t i = (uint16_t)fake_random(q->size);

	while (q->desc_busy[i])
		i = (uint16_t)((i + 1) % q->size);
	q->desc_busy[i] = true;
	q->desc_free--;
	return i;
}

static struct virtq_desc desc_of(const struct memory *m, const struct seg *s)
{
	return (struct virtq_desc){ le64_put(s->nowhere ? memory_nowhere(m) : s->gpa),
		le32_put(s->len), le16_put(s->writable ? VIRTQ_DESC_F_WRITE : 0), le16_put(0) };
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
		struct virtq_desc e = desc_of(m, &r->segs[first + i]);

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
	bool indirect = has(q, VIRTIO_F_INDIRECT_DESC) && r->seg_count > 0 &&
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
		struct virtq_desc d = i < direct ? desc_of(m, &r->segs[i]) : table;

		if (i + 1u < r->desc_count)
			desc_link(&d, r->descs[i + 1]);
		memcpy(q->desc_at + r->descs[i] * 16, &d, sizeof(d));
	}
	r->head = r->descs[0];
	return true;
}

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
	for (unsigned i = 0; i < r->desc_count; i++) {
		q->desc_busy[r->descs[i]] = false;
		q->desc_free++;
	}
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
	if (!request_make(q, r, bytes) || !chain_put(q, r)) {
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
	q->by_head[r->head] = r;
	r->place = q->next_place++;
	q->outstanding++;
	put16(q->avail_at + 4 + 2 * (q->avail_idx & (q->size - 1)), r->head);
	q->avail_idx++;
	if (fake_random(3) > 0)
		driver_publish(q);
	if (fake_random(2) == 0)
		(void)driver_kick(q);
	sim_note("%u.%u: posts head %u (type %u, sector %llu + %u, %u segments, %u direct)",
		q->front->index, q->index, r->head, r->type, (unsigned long long)r->sector,
		r->sectors, r->seg_count, r->desc_count);
}

void driver_publish(struct sim_queue *q)
{
	if (q->published == q->avail_idx)
		return;
	put16(q->avail_at + 2, q->avail_idx);
	q->published = q->avail_idx;
	q->kick_due = true;
	w.quiet_ticks = 0;
}

bool driver_kick(struct sim_queue *q)
{
	uint16_t old = q->kicked, now = q->published;
	bool wanted;

	if (!q->kick_due)
		return false;
	q->kick_due = false;
	q->kicked = now;
	if (has(q, VIRTIO_F_EVENT_IDX))
		wanted = (uint16_t)(now - get16(q->used_at + 4 + 8 * q->size) - 1) <
			 (uint16_t)(now - old);
	else
		wanted = (get16(q->used_at) & VIRTQ_USED_F_NO_NOTIFY) == 0;
	sim_note("%u.%u: %s a kick for %u", q->front->index, q->index,
		wanted ? "wants" : "needs no", now);
	if (wanted && !q->polled)
		fake_notify_signal(q->kick);
	return wanted || q->polled;
}

/* ---- taking back ---- */

static void take_used(struct sim_queue *q)
{
	struct virtq_used_elem e;
	struct sim_request *r;

	memcpy(&e, q->used_at + 4 + 8 * (q->last_used & (q->size - 1)), sizeof(e));
	r = le32_get(e.id) < q->size ? q->by_head[le32_get(e.id)] : NULL;
	if (!r)
		fake_die("queue %u.%u: head %u came back and was not out", q->front->index,
			q->index, le32_get(e.id));
	sim_note("%u.%u: head %u is back with %u bytes", q->front->index, q->index, r->head,
		le32_get(e.len));
	q->by_head[r->head] = NULL;
	q->outstanding--;
	q->last_used++;
	request_check(r, le32_get(e.len));
	request_free(r);
}

static void collect(struct sim_queue *q)
{
	uint16_t used = ring_used_idx(q);

	if ((uint16_t)(used - q->last_used) > q->outstanding)
		fake_die("queue %u.%u: the used index is at %u, %u of us and %u out",
			q->front->index, q->index, used, q->last_used, q->outstanding);
	while (q->last_used != used)
		take_used(q);
}

/* From here on a call is wanted when something comes back. */
static void ask_for_calls(struct sim_queue *q)
{
	if (has(q, VIRTIO_F_EVENT_IDX))
		put16(q->avail_at + 4 + 2 * q->size, q->last_used);
	else
		put16(q->avail_at, 0);
	q->state = ARMING;
}

static void wake(struct sim_queue *q)
{
	q->state = AWAKE;
	if (fake_random(2) == 0)
		return;
	if (has(q, VIRTIO_F_EVENT_IDX))
		put16(q->avail_at + 4 + 2 * q->size, (uint16_t)(q->last_used + 0x8000));
	else
		put16(q->avail_at, VIRTQ_AVAIL_F_NO_INTERRUPT);
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
		if (ring_used_idx(q) != q->last_used)
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
	case 3: driver_publish(q); break;
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
	if (ring_used_idx(q) != q->last_used)
		fake_die("queue %u.%u: %u came back, and the sleeping driver was not called",
			q->front->index, q->index, (uint16_t)(ring_used_idx(q) - q->last_used));
	if (q->outstanding > 0)
		fake_die("queue %u.%u: all sleep, and %u requests wait (%s)", q->front->index,
			q->index, q->outstanding,
			has(q, VIRTIO_F_EVENT_IDX) ? "EVENT_IDX" : "flags");
}

void driver_abandon(struct sim_queue *q)
{
	for (struct sim_request *r = w.requests; r < w.requests + REQS_MAX; r++)
		if (r->queue == q)
			request_free(r);
	memset(q->by_head, 0, sizeof(q->by_head));
	q->outstanding = 0;
}
