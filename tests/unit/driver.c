/* The driver's side of a split virtqueue. */
#include "driver.h"

#include <string.h>

#include "spec/virtio_ring.h"

static uint16_t load(const struct driver *d, uint32_t at)
{
	le16 v;

	memcpy(&v, d->mem + at, sizeof(v));
	return le16_get(v);
}

static void store(struct driver *d, uint32_t at, uint16_t value)
{
	le16 v = le16_put(value);

	memcpy(d->mem + at, &v, sizeof(v));
}

static uint32_t up_to_4(uint32_t n)
{
	return (n + 3) & ~3u;
}

uint32_t driver_bytes(uint32_t size)
{
	return up_to_4(16 * size + 4 + 2 * size + 2) + 4 + 8 * size + 2;
}

void driver_init(struct driver *d, char *mem, uint64_t gpa, uint32_t at, uint32_t size)
{
	*d = (struct driver){ .mem = mem, .gpa = gpa, .size = size, .desc = at };
	d->avail = at + 16 * size;
	d->used = up_to_4(d->avail + 4 + 2 * size + 2);
	memset(mem + at, 0, driver_bytes(size));
}

void driver_start_at(struct driver *d, uint16_t idx)
{
	d->avail_idx = d->used_seen = idx;
	store(d, d->avail + 2, idx);
	store(d, d->used + 2, idx);
}

static void put_desc(struct driver *d, uint32_t at, const struct virtq_desc *desc)
{
	memcpy(d->mem + at, desc, sizeof(*desc));
}

void driver_desc(
	struct driver *d, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct virtq_desc desc = { le64_put(addr), le32_put(len), le16_put(flags), le16_put(next) };

	put_desc(d, d->desc + 16 * i, &desc);
}

static uint16_t flags_of(const struct buffer *b, bool last)
{
	return (uint16_t)((b->write ? VIRTQ_DESC_F_WRITE : 0) | (last ? 0 : VIRTQ_DESC_F_NEXT));
}

void driver_table(struct driver *d, uint32_t at, const struct buffer *buffers, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct virtq_desc desc = { le64_put(buffers[i].addr), le32_put(buffers[i].len),
			le16_put(flags_of(&buffers[i], i + 1 == n)), le16_put((uint16_t)(i + 1)) };

		put_desc(d, at + 16 * i, &desc);
	}
}

void driver_avail(struct driver *d, uint16_t head)
{
	store(d, d->avail + 4 + 2 * (d->avail_idx % d->size), head);
	store(d, d->avail + 2, ++d->avail_idx);
}

uint16_t driver_add(struct driver *d, const struct buffer *buffers, unsigned n)
{
	uint16_t head = d->next;

	for (unsigned i = 0; i < n; i++) {
		uint16_t at = d->next;

		d->next = (uint16_t)((at + 1) % d->size);
		driver_desc(d, at, buffers[i].addr, buffers[i].len,
			flags_of(&buffers[i], i + 1 == n), d->next);
	}
	driver_avail(d, head);
	return head;
}

uint16_t driver_add_indirect(
	struct driver *d, uint32_t at, const struct buffer *buffers, unsigned n)
{
	uint16_t head = d->next;

	driver_table(d, at, buffers, n);
	driver_desc(d, head, d->gpa + at, 16 * n, VIRTQ_DESC_F_INDIRECT, 0);
	d->next = (uint16_t)((head + 1) % d->size);
	driver_avail(d, head);
	return head;
}

unsigned driver_used_count(const struct driver *d)
{
	return (uint16_t)(driver_used_idx(d) - d->used_seen);
}

bool driver_used(struct driver *d, uint32_t *id, uint32_t *len)
{
	struct virtq_used_elem e;

	if (driver_used_count(d) == 0)
		return false;
	memcpy(&e, d->mem + d->used + 4 + 8 * (d->used_seen++ % d->size), sizeof(e));
	*id = le32_get(e.id);
	*len = le32_get(e.len);
	return true;
}

void driver_no_interrupt(struct driver *d, bool none)
{
	store(d, d->avail, none ? VIRTQ_AVAIL_F_NO_INTERRUPT : 0);
}

void driver_used_event(struct driver *d, uint16_t event)
{
	store(d, d->avail + 4 + 2 * d->size, event);
}

uint16_t driver_used_flags(const struct driver *d)
{
	return load(d, d->used);
}

uint16_t driver_avail_event(const struct driver *d)
{
	return load(d, d->used + 4 + 8 * d->size);
}

uint16_t driver_used_idx(const struct driver *d)
{
	return load(d, d->used + 2);
}

void driver_avail_idx(struct driver *d, uint16_t idx)
{
	store(d, d->avail + 2, idx);
}
