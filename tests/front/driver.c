/* The driver's side of a virtqueue: memory, and what all formats have in common. */
#include "driver.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are little-endian, and so are we");

/* ---- guest memory ---- */

/* What one region holds from a guest address on; *len is cut to it. */
static unsigned char *at_some(const struct driver_memory *mem, uint64_t guest, uint64_t *len)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct driver_region *r = &mem->regions[i];

		if (guest < r->guest || guest - r->guest >= r->size)
			continue;
		if (*len > r->size - (guest - r->guest))
			*len = r->size - (guest - r->guest);
		return r->host + (guest - r->guest);
	}
	return NULL;
}

void *driver_at(const struct driver_memory *mem, uint64_t guest, uint64_t len)
{
	uint64_t part = len;
	unsigned char *host = at_some(mem, guest, &part);

	return part == len ? host : NULL;
}

bool driver_read(const struct driver_memory *mem, uint64_t guest, void *dst, size_t len)
{
	unsigned char *to = dst;

	while (len > 0) {
		uint64_t part = len;
		const unsigned char *from = at_some(mem, guest, &part);

		if (!from)
			return false;
		memcpy(to, from, part);
		to += part;
		guest += part;
		len -= part;
	}
	return true;
}

bool driver_write(const struct driver_memory *mem, uint64_t guest, const void *src, size_t len)
{
	const unsigned char *from = src;

	while (len > 0) {
		uint64_t part = len;
		unsigned char *to = at_some(mem, guest, &part);

		if (!to)
			return false;
		memcpy(to, from, part);
		from += part;
		guest += part;
		len -= part;
	}
	return true;
}

/* ---- any format ---- */

uint64_t driver_place(
	const struct driver_format *format, struct driver_layout *at, uint16_t size, uint64_t guest)
{
	return format->place(at, size, guest);
}

bool driver_open(struct driver *d, const struct driver_format *format,
	const struct driver_memory *mem, const struct driver_layout *at,
	const struct driver_options *options)
{
	*d = (struct driver){ .format = format,
		.memory = mem,
		.at = *at,
		.size = options->size,
		.event_idx = options->event_idx };
	if (options->size == 0 || options->size > DRIVER_SIZE_MAX)
		return false;
	d->desc = driver_at(mem, at->desc, at->avail - at->desc);
	d->avail = driver_at(mem, at->avail, at->used - at->avail);
	d->used = driver_at(mem, at->used, at->end - at->used);
	if (!d->desc || !d->avail || !d->used)
		return false;
	for (uint16_t i = 0; i < d->size; i++)
		d->free_next[i] = (uint16_t)(i + 1);
	d->free_count = d->size;
	format->open(d, options->start);
	return true;
}

int driver_add(struct driver *d, const struct driver_chain *chain)
{
	return d->format->add(d, chain);
}

void driver_publish(struct driver *d)
{
	d->format->publish(d);
}

bool driver_needs_kick(struct driver *d)
{
	return d->format->needs_kick(d);
}

int driver_poll(struct driver *d, struct driver_used *used)
{
	return d->wrong ? -1 : d->format->poll(d, used);
}

void driver_want_calls(struct driver *d, bool on, uint16_t after)
{
	d->format->want_calls(d, on, after);
}

uint32_t driver_base(const struct driver *d, unsigned skip)
{
	return d->format->base(d, skip);
}

uint32_t driver_base_in_memory(const struct driver *d)
{
	return d->format->base_in_memory(d);
}

bool driver_put_table(
	const struct driver *d, uint64_t table, const struct driver_desc *descs, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned char bytes[16];

		d->format->put_desc(bytes, &descs[i]);
		if (!driver_write(d->memory, table + 16ull * i, bytes, sizeof(bytes)))
			return false;
	}
	return true;
}

void driver_offer_raw(struct driver *d, const struct driver_desc *descs, unsigned count)
{
	d->format->offer_raw(d, descs, count);
}

bool driver_is_back(const struct driver *d)
{
	return d->format->is_back(d);
}

/* ---- for formats ---- */

uint32_t driver_writable(const struct driver_chain *chain)
{
	uint32_t writable = 0;

	for (unsigned i = 0; i < chain->count; i++)
		writable += chain->buffers[i].writable ? chain->buffers[i].len : 0;
	return writable;
}

int driver_is_wrong(struct driver *d, const char *what)
{
	d->wrong = what;
	return -1;
}
