/* What a device must make of a packed ring. */
#include "packed_model.h"

#include <string.h>

#include "config.h"

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 1 << 7, USED = 1 << 15 };
enum { SLOT = 16, INDEX = 0x7fff };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

/* What is known of the chain that is walked. */
struct walk {
	uint64_t readable, writable;
	bool breaks, may_break, too_long;
};

/* (vubox is not asked what a descriptor looks like: this is little-endian, as the machine.) */
static struct desc load(const char *at)
{
	struct desc d;

	memcpy(&d, at, sizeof(d));
	return d;
}
_Static_assert(sizeof(struct desc) == SLOT, "2.8.13");

uint16_t model_step(uint16_t size, uint16_t place, unsigned n)
{
	for (; n > 0; n--)
		place = (place & INDEX) + 1 < size ? (uint16_t)(place + 1)
						   : (uint16_t)((place & MODEL_WRAP) ^ MODEL_WRAP);
	return place;
}

unsigned model_ahead(uint16_t size, uint16_t from, uint16_t to)
{
	unsigned n = 0;

	for (; from != to && n < 2u * size; n++)
		from = model_step(size, from, 1);
	return n;
}

/* 2.7.4: readable buffers come first; 2.7.5: not 4 GiB or more, as lengths have 32 bits. */
static void add_buffer(struct walk *w, const struct desc *d)
{
	if (d->len == 0)
		return;
	if ((d->flags & WRITE) == 0 && w->writable > 0)
		w->breaks = true;
	*((d->flags & WRITE) != 0 ? &w->writable : &w->readable) += d->len;
	if (w->readable + w->writable > UINT32_MAX)
		w->breaks = true;
}

/* 2.8.7: every entry of the table, in its order. */
static void walk_table(struct walk *w, const struct model_ring *ring, const struct desc *table)
{
	uint64_t at = table->addr - ring->gpa;

	if (table->len == 0 || table->len % SLOT != 0 || table->len / SLOT > CONFIG_RING_SIZE_MAX ||
		table->addr < ring->gpa || at > ring->mem_bytes ||
		table->len > ring->mem_bytes - at) {
		w->breaks = true;
		return;
	}
	if (at < ring->tables || at + table->len > ring->tables_end) {
		w->may_break = true;
		return;
	}
	for (uint32_t i = 0; i < table->len && !w->breaks; i += SLOT) {
		struct desc d = load(ring->mem + at + i);

		add_buffer(w, &d);
	}
}

static bool is_available(const struct model_ring *ring, uint16_t place)
{
	uint16_t flags = load(ring->mem + SLOT * (size_t)(place & INDEX)).flags;
	bool wrap = (place & MODEL_WRAP) != 0;

	return ((flags & AVAIL) != 0) == wrap && ((flags & USED) != 0) != wrap;
}

/* Walks a chain of at most `limit` slots. */
static struct walk walk_chain(
	const struct model_ring *ring, uint16_t place, unsigned limit, struct model_chain *chain)
{
	struct walk w = { 0 };

	*chain = (struct model_chain){ 0 };
	while (!w.breaks && !w.too_long) {
		struct desc d = load(ring->mem + SLOT * (size_t)(place & INDEX));

		chain->slots++;
		chain->id = d.id;
		place = model_step(ring->size, place, 1);
		if ((d.flags & INDIRECT) != 0) {
			w.breaks = !ring->indirect || chain->slots > 1 || (d.flags & NEXT) != 0;
			if (!w.breaks)
				walk_table(&w, ring, &d);
			break;
		}
		add_buffer(&w, &d);
		if ((d.flags & NEXT) == 0)
			break;
		w.too_long = chain->slots == limit;
	}
	chain->writable = w.may_break ? UINT64_MAX : w.writable;
	return w;
}

void model_walk(struct model *m, const struct model_ring *ring)
{
	unsigned slots = 0;

	*m = (struct model){ .end = ring->start };
	while (is_available(ring, m->end)) {
		struct model_chain *chain = &m->chains[m->count];
		struct walk w;

		/* A second round: are the first used descriptors there by now? */
		if (slots == ring->size || m->count == MODEL_CHAINS_MAX) {
			m->unsure = true;
			return;
		}
		w = walk_chain(ring, m->end, ring->size - slots, chain);
		m->may_break |= w.may_break;
		m->breaks = w.breaks || (w.too_long && slots == 0);
		m->unsure = w.too_long && !m->breaks;
		if (m->breaks || m->unsure)
			return;
		slots += chain->slots;
		m->end = model_step(ring->size, m->end, chain->slots);
		m->count++;
	}
}
