/*
 * The bad driver: it writes over descriptors, indices, tables and headers while the device reads
 * them. What it names is good just often enough to get deep.
 */
#include "sim.h"

#include <string.h>

#include "spec/virtio_blk.h"
#include "spec/virtio_ring.h"

enum { CALM_TICKS = 3 };

/*
 * A front-end with nothing but bad queues may harm its own memory and disk. One bad queue beside
 * good ones stays in its zone, and its disk is read-only.
 */
static bool restrained(const struct sim_queue *q)
{
	return !q->front->evil;
}

uint64_t evil_addr(const struct sim_queue *q)
{
	const struct memory *m = &q->front->memory;

	switch (fake_random(8)) {
	case 0: return restrained(q) ? 1ull << 50 : memory_nowhere(m);
	case 1: return restrained(q) ? q->zone : q->desc + fake_random(64);
	case 2: return restrained(q) ? q->zone : UINT64_MAX - fake_random(64);
	case 3:
		return restrained(q) ? q->zone
				     : m->regions[0].gpa + m->regions[0].size - fake_random(64);
	default: return q->zone + fake_random(q->zone_len / 2);
	}
}

uint32_t evil_len(const struct sim_queue *q)
{
	uint32_t half = q->zone_len / 2;

	switch (fake_random(10)) {
	case 0: return 0;
	case 1: return 1;
	case 2: return restrained(q) ? half : UINT32_MAX - fake_random(20);
	case 3: return restrained(q) ? half : 1u << fake_random(32);
	case 4: return 16 * fake_random(restrained(q) ? half / 16 : 80);
	case 5: return 16;
	default: return SECTOR * fake_random(half / SECTOR + 1);
	}
}

uint16_t evil_flags(void)
{
	return (uint16_t)(fake_random(16) == 0  ? fake_random(65536)
			  : fake_random(8) == 0 ? VIRTQ_DESC_F_INDIRECT
						: fake_random(4));
}

static struct virtq_desc evil_desc(const struct sim_queue *q)
{
	uint16_t next =
		(uint16_t)(fake_random(16) == 0 ? fake_random(65536) : fake_random(q->size));

	return (struct virtq_desc){ le64_put(evil_addr(q)), le32_put(evil_len(q)),
		le16_put(evil_flags()), le16_put(next) };
}

static struct virtio_blk_req evil_header(void)
{
	static const uint8_t types[] = { 0, 1, 4, 8, 11, 13, 0, 1 };
	uint64_t sector = fake_random(SECTORS_MAX);

	if (fake_random(6) == 0)
		sector |= 1ull << (8 + fake_random(56));
	return (struct virtio_blk_req){ le32_put(types[fake_random(8)]), le32_put(0),
		le64_put(sector) };
}

/* One range of a discard, mostly good. */
static struct virtio_blk_discard_write_zeroes evil_range(void)
{
	uint64_t sector = fake_random(16);

	if (fake_random(6) == 0)
		sector |= 1ull << (8 + fake_random(56));
	return (struct virtio_blk_discard_write_zeroes){ le64_put(sector),
		le32_put(fake_random(16) == 0 ? UINT32_MAX : fake_random(16)), le32_put(0) };
}

/* Makes head available, behind what is there. */
static void offer(struct sim_queue *q, uint16_t head)
{
	uint16_t idx;

	memcpy(&idx, q->avail_at + 2, 2);
	memcpy(q->avail_at + 4 + 2 * (idx & (q->size - 1)), &head, 2);
	idx++;
	memcpy(q->avail_at + 2, &idx, 2);
}

/* Three buffers that follow each other, or the same as an indirect table. */
static void split_offer(struct sim_queue *q, struct virtq_desc d[3], bool indirect)
{
	uint16_t at[3] = { (uint16_t)fake_random(q->size) };

	for (unsigned i = 0; i < 2; i++) {
		at[i + 1] = (uint16_t)((at[0] + i + 1) % q->size);
		d[i].flags = le16_put(le16_get(d[i].flags) | VIRTQ_DESC_F_NEXT);
		d[i].next = le16_put(indirect ? (uint16_t)(i + 1) : at[i + 1]);
	}
	if (indirect) {
		uint64_t table = q->zone + q->zone_len / 2;

		memory_put(&q->front->memory, table, d, 3 * sizeof(d[0]));
		d[0] = (struct virtq_desc){ le64_put(table), le32_put(3 * sizeof(d[0])),
			le16_put(VIRTQ_DESC_F_INDIRECT), le16_put(0) };
	}
	for (unsigned i = 0; i < (indirect ? 1 : 3); i++)
		memcpy(q->desc_at + at[i] * 16, &d[i], 16);
	offer(q, at[0]);
}

/* A chain that would be good if it stayed as it is: header, data, status. */
static void put_chain(struct sim_queue *q)
{
	struct memory *m = &q->front->memory;
	struct virtio_blk_req h = evil_header();
	bool out = le32_get(h.type) != VIRTIO_BLK_T_IN, indirect = fake_random(3) == 0;
	uint32_t half = q->zone_len / 2;
	struct virtq_desc d[3] = {
		/* entropy wants to be asked for nothing */
		{ le64_put(q->zone), le32_put(16), le16_put(q->front->blk ? 0 : VIRTQ_DESC_F_WRITE),
			le16_put(0) },
		{ le64_put(q->zone + 16), le32_put(SECTOR * fake_random(half / SECTOR + 1)),
			le16_put(out ? 0 : VIRTQ_DESC_F_WRITE), le16_put(0) },
		{ le64_put(q->zone + half - 1), le32_put(1), le16_put(VIRTQ_DESC_F_WRITE),
			le16_put(0) },
	};

	if (q->front->other) {
		other_chain(q, d);
	} else if (le32_get(h.type) >= VIRTIO_BLK_T_DISCARD) {
		uint32_t ranges = 1 + fake_random(3);

		d[1].len = le32_put(16 * ranges);
		for (uint32_t i = 0; i < ranges; i++) {
			struct virtio_blk_discard_write_zeroes range = evil_range();

			memory_put(m, q->zone + 16 + 16 * i, &range, sizeof(range));
		}
	}
	if (!q->front->other)
		memory_put(m, q->zone, &h, sizeof(h));
	if (q->format == &ring_packed)
		evil_packed_offer(q, d, indirect);
	else
		split_offer(q, d, indirect);
}

/*
 * A loop of descriptors that say nothing: it is there for good, unless somebody counts. A driver
 * that went on moving would break it.
 */
static void put_loop(struct sim_queue *q)
{
	struct virtq_desc d = { le64_put(q->zone), le32_put(0), le16_put(VIRTQ_DESC_F_NEXT),
		le16_put(0) };
	struct virtq_desc table = { le64_put(q->zone), le32_put(64),
		le16_put(VIRTQ_DESC_F_INDIRECT), le16_put(0) };

	memcpy(q->desc_at, fake_random(2) == 0 ? &d : &table, sizeof(d));
	memory_put(&q->front->memory, q->zone, &d, sizeof(d));
	offer(q, 0);
	w.calm = CALM_TICKS;
}

static void split_step(struct sim_queue *q)
{
	struct virtq_desc d = evil_desc(q);
	uint16_t junk = (uint16_t)fake_random(65536), idx;

	switch (fake_random(6)) {
	case 0: memcpy(q->desc_at + fake_random(q->size) * 16, &d, 16); break;
	case 1: memcpy(q->used_at + 2 * fake_random(ring_bytes(q, 2) / 2), &junk, 2); break;
	case 2:
		if (fake_random(20) == 0)
			memcpy(q->avail_at + 2, &junk, 2);
		else if (fake_random(8) == 0)
			put_loop(q);
		break;
	case 3:
		memcpy(&idx, q->avail_at + 2, 2);
		idx++;
		memcpy(q->avail_at + 2, &idx, 2);
		break;
	case 4: memcpy(q->avail_at + 4 + 2 * fake_random(q->size + 1u), &junk, 2); break;
	default: junk &= 1; memcpy(q->avail_at, &junk, 2);
	}
}

void evil_step(struct sim_queue *q)
{
	struct virtq_desc d = evil_desc(q);
	struct virtio_blk_req h = evil_header();

	if (w.posts_left == 0 || w.calm > 0)
		return;
	switch (fake_random(12)) {
	case 0: memory_put(&q->front->memory, q->zone, &h, sizeof(h)); break;
	case 1:
		memory_put(&q->front->memory, q->zone + 16 * fake_random(q->zone_len / 16 - 1), &d,
			16);
		break;
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
	case 7:
		if (q->format == &ring_packed)
			evil_packed_step(q);
		else
			split_step(q);
		break;
	default: put_chain(q);
	}
	w.quiet_ticks = 0;
	if (fake_random(8) == 0)
		w.posts_left--;
	if (!q->polled)
		fake_notify_signal(q->kick);
}

static void split_flip(struct sim_queue *q, uint64_t gpa, char *at, size_t len)
{
	uint16_t next;

	if (gpa - q->avail - 4 >= 2u * q->size || len != 2)
		return;
	next = (uint16_t)(fake_random(4) == 0 ? fake_random(65536) : fake_random(q->size));
	memcpy(at, &next, 2);
}

/* One field of a descriptor, or all: a part of the old with a part of the new is the trick. */
static void flip_desc(const struct sim_queue *q, char *at)
{
	struct virtio_blk_discard_write_zeroes range = evil_range();
	struct virtq_desc d;

	memcpy(&d, at, 16);
	switch (fake_random(6)) {
	case 5: memcpy(&d, &range, sizeof(d)); break;
	case 0: d.addr = le64_put(evil_addr(q)); break;
	case 1: d.len = le32_put(evil_len(q)); break;
	case 2: d.flags = evil_desc(q).flags; break;
	case 3: d.next = evil_desc(q).next; break;
	default: d = evil_desc(q);
	}
	memcpy(at, &d, 16);
}

void evil_flip(struct sim_queue *q, char *at, size_t len)
{
	struct memory *m = &q->front->memory;
	const struct region *r = memory_region(m, at);
	uint64_t gpa = r ? r->gpa + (uint64_t)(at - r->host) : 0;

	if (w.posts_left == 0 || w.calm > 0 || !r || !q->made || fake_random(8) > 0)
		return;
	if (q->format == &ring_packed && evil_packed_flip(q, gpa, at, len))
		return;
	if (gpa - q->desc < ring_bytes(q, 0) ||
		(gpa - q->zone < q->zone_len && len == 16 && fake_random(2) == 0)) {
		flip_desc(q, at);
	} else if (gpa - q->zone < q->zone_len) {
		struct virtio_blk_req h = evil_header();

		memcpy(at, &h, len < sizeof(h) ? len : sizeof(h));
	} else if (q->format == &ring_split) {
		split_flip(q, gpa, at, len);
	}
}
