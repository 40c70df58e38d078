/*
 * The bad driver of a packed ring. It knows where the device is going to look next, so that what it
 * does is seen; wrap counters, ids and events are what it has besides descriptors.
 */
#include "sim.h"

#include <string.h>

#include "spec/virtio_ring.h"

enum { SLOT = sizeof(struct pvirtq_desc), CALM_TICKS = 3 };
enum { BOTH = PVIRTQ_DESC_F_AVAIL | PVIRTQ_DESC_F_USED };

/* Where the device goes on. */
static uint16_t next_place(const struct sim_queue *q)
{
	return q->front->device->queues[q->index].ring.last_avail;
}

/* The descriptor that is `n` behind it, and the flags that make it available. */
static uint32_t slot_of(const struct sim_queue *q, unsigned n, uint16_t *available)
{
	uint16_t at = next_place(q);
	uint32_t sum = (at & 0x7fffu) + n;
	bool wrap = (at >> 15 != 0) ^ (sum / q->size % 2 != 0);

	*available = wrap ? PVIRTQ_DESC_F_AVAIL : PVIRTQ_DESC_F_USED;
	return sum % q->size;
}

static void put(struct sim_queue *q, uint32_t slot, const struct pvirtq_desc *d)
{
	memcpy(q->desc_at + slot * SLOT, d, SLOT);
}

static struct pvirtq_desc evil_desc(const struct sim_queue *q, uint16_t available)
{
	uint16_t flags = evil_flags() & ~BOTH;

	/* Sometimes not available, used, of another round, or INDIRECT in a chain. */
	if (fake_random(8) == 0)
		available = (uint16_t)fake_random(65536) & BOTH;
	if (fake_random(8) == 0)
		flags |= VIRTQ_DESC_F_INDIRECT;
	return (struct pvirtq_desc){ le64_put(evil_addr(q)), le32_put(evil_len(q)),
		le16_put((uint16_t)fake_random(65536)), le16_put(flags | available) };
}

void evil_packed_offer(struct sim_queue *q, const struct virtq_desc d[3], bool indirect)
{
	uint16_t id = (uint16_t)fake_random(fake_random(2) == 0 ? 65536 : q->size), available;
	struct pvirtq_desc p[3];

	for (unsigned i = 0; i < 3; i++)
		p[i] = (struct pvirtq_desc){ d[i].addr, d[i].len, le16_put(id), d[i].flags };
	if (indirect) {
		uint64_t table = q->zone + q->zone_len / 2;

		memory_put(&q->front->memory, table, p, sizeof(p));
		p[0] = (struct pvirtq_desc){ le64_put(table), le32_put(sizeof(p)), le16_put(id),
			le16_put(VIRTQ_DESC_F_INDIRECT) };
	}
	for (unsigned i = indirect ? 1 : 3; i-- > 0;) {
		uint32_t slot = slot_of(q, i, &available);
		bool more = !indirect && i < 2;

		p[i].flags =
			le16_put(le16_get(p[i].flags) | available | (more ? VIRTQ_DESC_F_NEXT : 0));
		put(q, slot, &p[i]);
	}
}

/* A chain that goes round and round, or the whole ring full of small ones, taken back never. */
static void put_round(struct sim_queue *q)
{
	uint16_t next = fake_random(2) == 0 ? VIRTQ_DESC_F_NEXT : 0, available;
	uint32_t len = fake_random(2) == 0 ? 0 : 16;

	for (unsigned i = 0; i < q->size; i++) {
		uint32_t slot = slot_of(q, i, &available);
		struct pvirtq_desc d = { le64_put(q->zone), le32_put(len), le16_put(1),
			le16_put(next | available) };

		put(q, slot, &d);
	}
	w.calm = CALM_TICKS;
}

static void put_event(struct sim_queue *q)
{
	uint16_t off = (uint16_t)(fake_random(2) == 0
					  ? fake_random(65536)
					  : (q->size & fake_random(0x8000)) | fake_random(2) << 15);
	uint16_t flags = (uint16_t)(fake_random(4) == 0 ? fake_random(65536) : fake_random(4));
	/* The device's own, too. */
	char *at = fake_random(4) == 0 ? q->used_at : q->avail_at;

	memcpy(at, &off, 2);
	memcpy(at + 2, &flags, 2);
}

void evil_packed_step(struct sim_queue *q)
{
	uint16_t available, flags;
	uint32_t slot = slot_of(q, fake_random(4), &available);
	struct pvirtq_desc d = evil_desc(q, available);

	switch (fake_random(6)) {
	case 0:
	case 1: put(q, slot, &d); break;
	case 2: put(q, fake_random(q->size), &d); break;
	case 3: put_event(q); break;
	case 4: /* only the flags: another round, or back */
		flags = (uint16_t)fake_random(65536);
		memcpy(q->desc_at + slot * SLOT + 14, &flags, 2);
		break;
	default:
		if (fake_random(8) == 0)
			put_round(q);
	}
}

bool evil_packed_flip(struct sim_queue *q, uint64_t gpa, char *at, size_t len)
{
	uint64_t off = gpa - q->desc;
	uint16_t available, flags;
	struct pvirtq_desc d;

	if (gpa - q->avail < 4) {
		put_event(q);
		return true;
	}
	if (off >= ring_bytes(q, 0))
		return false;
	(void)slot_of(q, 0, &available);
	d = evil_desc(q, available);
	if (len == 2 && off % SLOT == 14) { /* is it available? */
		flags = le16_get(d.flags);
		memcpy(at, &flags, 2);
	} else {
		put(q, (uint32_t)(off / SLOT), &d);
	}
	return true;
}
