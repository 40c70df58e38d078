/* The in-flight buffer: its layout, and what a cut life leaves in it. */
#include "track.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct track_split) == 16 && sizeof(struct track_split_desc) == 16, "split");
_Static_assert(
	sizeof(struct track_packed) == 32 && sizeof(struct track_packed_desc) == 32, "packed");

enum { AVAIL = 1 << 7, USED = 1 << 15 };

void track_get(struct track *t, struct front *f, uint16_t queues, uint16_t size)
{
	uint64_t region = harness_packed() ? 32 + 32ull * size : 16 + 16ull * size;
	struct stat st;

	t->want = (struct front_inflight){ .queues = queues, .queue_size = size };
	CHECK_EQ(front_get_inflight_fd(f, &t->want, &t->fd), 0);
	CHECK_EQ(t->want.queues, queues);
	CHECK_EQ(t->want.queue_size, size);
	CHECK(t->want.size >= queues * region);
	CHECK(fstat(t->fd, &st) == 0);
	CHECK((uint64_t)st.st_size >= t->want.offset + t->want.size);
	t->map = mmap(NULL, t->want.size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd,
		(off_t)t->want.offset);
	CHECK(t->map != MAP_FAILED);
}

void track_put(struct track *t)
{
	munmap(t->map, t->want.size);
	close(t->fd);
}

static unsigned char *region(const struct track *t, unsigned queue)
{
	return t->map + t->want.size / t->want.queues * queue;
}

struct track_split *track_split(const struct track *t, unsigned queue)
{
	return (struct track_split *)(void *)region(t, queue);
}

struct track_packed *track_packed(const struct track *t, unsigned queue)
{
	return (struct track_packed *)(void *)region(t, queue);
}

unsigned track_in_flight(const struct track *t, unsigned queue)
{
	unsigned count = 0;

	for (unsigned i = 0; i < t->want.queue_size; i++)
		count += harness_packed() ? track_packed(t, queue)->desc[i].inflight != 0
					  : track_split(t, queue)->desc[i].inflight != 0;
	return count;
}

uint16_t track_version(const struct track *t, unsigned queue)
{
	return track_split(t, queue)->version; /* it lies at the same place in both */
}

void track_check_rest(const struct track *t, const struct front_queue *q)
{
	const struct track_packed *p = track_packed(t, q->index);
	uint32_t place = driver_base_in_memory(&q->driver);

	CHECK_EQ(track_in_flight(t, q->index), 0);
	if (track_version(t, q->index) == 0) /* never used, or clean: it says nothing else */
		return;
	if (!harness_packed()) {
		CHECK_EQ(track_split(t, q->index)->used_idx, place);
		return;
	}
	CHECK_EQ(p->used_idx | p->used_wrap_counter << 15, place & 0xffff);
	CHECK_EQ(p->old_used_idx | p->old_used_wrap_counter << 15, place & 0xffff);
	CHECK_EQ(p->free_head, p->old_free_head);
}

uint64_t track_last_counter(const struct track *t, unsigned queue)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < t->want.queue_size; i++) {
		uint64_t counter = harness_packed() ? track_packed(t, queue)->desc[i].counter
						    : track_split(t, queue)->desc[i].counter;

		last = counter > last ? counter : last;
	}
	return last;
}

/* ---- forged ---- */

void track_forge(const struct track *t, const struct front_queue *q)
{
	struct track_packed *p = track_packed(t, q->index);
	struct track_split *s = track_split(t, q->index);
	const struct driver *d = &q->driver;
	uint32_t place = driver_base_in_memory(d);

	memset(region(t, q->index), 0, t->want.size / t->want.queues);
	s->version = 1;
	s->desc_num = d->size;
	if (!harness_packed()) {
		s->used_idx = (uint16_t)place;
		return;
	}
	p->used_idx = p->old_used_idx = (uint16_t)(place & 0x7fff);
	p->used_wrap_counter = p->old_used_wrap_counter = place >> 15 & 1;
	for (unsigned i = 0; i < d->size; i++)
		p->desc[i].next = (uint16_t)(i + 1);
}

/* An entry for each descriptor of a chain, from the free list. */
static void packed_take(
	struct track_packed *p, const struct driver *d, uint16_t id, uint64_t counter)
{
	const struct driver_slot *slot = &d->slots[id];
	struct track_packed_desc *head = &p->desc[p->old_free_head];

	head->num = 0;
	head->counter = counter;
	head->inflight = 1;
	for (unsigned k = 0; k < slot->descs; k++) {
		struct track_packed_desc *e = &p->desc[p->free_head];
		const unsigned char *desc = d->desc + 16 * ((slot->at + k) % d->size);

		head->last = p->free_head;
		head->num++;
		memcpy(&e->addr, desc, 8);
		memcpy(&e->len, desc + 8, 4);
		memcpy(&e->id, desc + 12, 2);
		memcpy(&e->flags, desc + 14, 2);
		p->free_head = e->next;
	}
	p->old_free_head = p->free_head;
}

void track_forge_take(
	const struct track *t, const struct front_queue *q, uint16_t head, uint64_t counter)
{
	struct track_split_desc *desc = &track_split(t, q->index)->desc[head];

	if (harness_packed()) {
		packed_take(track_packed(t, q->index), &q->driver, head, counter);
		return;
	}
	desc->counter = counter;
	desc->inflight = 1;
}

static void split_publish(struct track_split *s, const struct driver *d, const uint16_t *heads,
	unsigned count, enum track_stage stage)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t elem[2] = { heads[i], 1 };

		s->desc[heads[i]].next = s->last_batch_head;
		s->last_batch_head = heads[i];
		memcpy(d->used + 4 + 8 * ((d->taken + i) & (d->size - 1)), elem, sizeof(elem));
	}
	if (stage >= TRACK_VISIBLE)
		driver_store16(d->used + 2, (uint16_t)(d->taken + count));
	for (unsigned i = count; i-- > 0;)
		if (stage == TRACK_CLEARED || (stage == TRACK_CLEARING && i == count - 1))
			s->desc[heads[i]].inflight = 0;
}

/* The entry of a chain: that with its id at the end of the list. */
static uint16_t packed_entry(const struct track_packed *p, uint16_t id)
{
	for (uint16_t i = 0; i < p->desc_num; i++)
		if (p->desc[i].inflight && p->desc[p->desc[i].last].id == id)
			return i;
	harness_fail(HERE, "buffer %u was not taken", id);
}

static void packed_publish(struct track_packed *p, const struct driver *d, const uint16_t *heads,
	unsigned count, enum track_stage stage)
{
	uint64_t n = d->taken;
	uint16_t entries[DRIVER_SIZE_MAX];

	for (unsigned i = 0; i < count; i++) {
		unsigned char *desc = d->desc + 16 * (n % d->size);
		uint16_t e = packed_entry(p, heads[i]);
		uint16_t wrap = n / d->size % 2 == 0 ? AVAIL | USED : 0;
		uint32_t one = 1;

		entries[i] = e;
		p->desc[p->desc[e].last].next = p->free_head;
		p->free_head = e;
		if (i > 0 || stage >= TRACK_VISIBLE) {
			memcpy(desc + 8, &one, 4);
			memcpy(desc + 12, &heads[i], 2);
			driver_store16(desc + 14, wrap | DRIVER_DESC_WRITE);
		}
		n += d->slots[heads[i]].descs;
	}
	p->used_idx = (uint16_t)(n % d->size);
	p->used_wrap_counter = n / d->size % 2 == 0;
	for (unsigned i = 0; i < count; i++)
		if (stage == TRACK_CLEARED || (stage == TRACK_CLEARING && i == 0))
			p->desc[entries[i]].inflight = 0;
}

void track_forge_publish(const struct track *t, const struct front_queue *q, const uint16_t *heads,
	unsigned count, enum track_stage stage)
{
	if (harness_packed())
		packed_publish(track_packed(t, q->index), &q->driver, heads, count, stage);
	else
		split_publish(track_split(t, q->index), &q->driver, heads, count, stage);
}
