/* Guest memory: regions near and far from each other, and who uses which bytes of them. */
#include "sim.h"

#include <string.h>

enum { FREE, BUSY, WALL };

static void wall(struct memory *m)
{
	m->busy[m->units++] = WALL;
}

/* Files: one for each region, or one with two regions in it. */
static void region_new(struct memory *m, struct region *r, const struct region *before)
{
	if (before && before->offset == 0 && fake_random(4) == 0) {
		r->fd = fake_dup(before->fd);
		r->offset = before->size;
		if (r->offset + r->size > fake_memory_len(r->fd)) {
			fake_close(r->fd);
			before = NULL;
		}
	} else {
		before = NULL;
	}
	if (!before) {
		r->offset = fake_random(3) * 4096;
		r->fd = fake_memory_new(r->offset + r->size + fake_random(2) * 16384);
	}
	r->host = fake_memory(r->fd) + r->offset;
	r->unit = m->units;
	m->units += (uint32_t)(r->size / UNIT);
	memset(m->busy + r->unit, FREE, m->units - r->unit);
	memset(r->host, FILL, r->size);
	r->shared = true;
}

void memory_new(struct memory *m)
{
	uint64_t sizes[REGIONS_MAX], gaps[REGIONS_MAX], sum = 0, gpa;

	m->units = 0;
	m->count = 1 + fake_random(REGIONS_MAX);
	for (unsigned i = 0; i < m->count; i++) {
		sizes[i] = 4096u * (m->count < 3 ? 4 : 1 + fake_random(4)) -
			   (fake_random(4) == 0 ? 1024 : 0);
		gaps[i] = i > 0 && fake_random(2) == 0 ? 512u * (1 + fake_random(64)) : 0;
		sum += sizes[i] + gaps[i];
	}
	/* From 0, across 4 GiB, or up to the last byte that has an address; or elsewhere. */
	switch (m->odd ? 4 : fake_random(4)) {
	case 0: gpa = 0; break;
	case 1: gpa = (1ull << 32) - sum / 2 / 1024 * 1024; break;
	case 2: gpa = 0 - sum; break;
	case 4: gpa = (3ull << 40) + 4096ull * fake_random(1 << 20); break;
	default: gpa = 4096ull * fake_random(1 << 20);
	}
	wall(m);
	for (unsigned i = 0; i < m->count; i++) {
		struct region *r = &m->regions[i];

		if (gaps[i] > 0)
			wall(m);
		gpa += gaps[i];
		*r = (struct region){ .gpa = gpa, .size = sizes[i] };
		/* User addresses have an order of their own. */
		r->user = 0x7f0000000000ull + ((i * 5 + 3) % REGIONS_MAX) * 0x100000ull;
		region_new(m, r, i > 0 && gaps[i] > 0 ? &m->regions[i - 1] : NULL);
		gpa += r->size;
	}
	wall(m);
}

void memory_delete(struct memory *m)
{
	for (unsigned i = 0; i < m->count; i++)
		fake_close(m->regions[i].fd);
	m->count = 0;
}

static struct region *find(const struct memory *m, uint64_t gpa)
{
	for (unsigned i = 0; i < m->count; i++)
		if (gpa - m->regions[i].gpa < m->regions[i].size)
			return (struct region *)&m->regions[i];
	return NULL;
}

static struct region *find_unit(const struct memory *m, uint32_t unit)
{
	for (unsigned i = 0; i < m->count; i++)
		if (unit - m->regions[i].unit < m->regions[i].size / UNIT)
			return (struct region *)&m->regions[i];
	fake_die("sim: no unit %u", unit);
}

static bool all_free(const struct memory *m, uint32_t unit, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (m->busy[unit + i] != FREE)
			return false;
	return true;
}

uint64_t memory_alloc(struct memory *m, uint32_t len, bool ring)
{
	uint32_t jitter = ring ? fake_random(2) * 16 : fake_random(UNIT);
	uint32_t count = (jitter + len + UNIT - 1) / UNIT, start;

	if (count > m->units)
		return 0;
	start = fake_random(m->units - count + 1);
	for (uint32_t tries = 0; tries < m->units; tries++) {
		uint32_t unit = (start + tries) % (m->units - count + 1);
		struct region *r;

		if (!all_free(m, unit, count))
			continue;
		r = find_unit(m, unit);
		if (ring && unit - r->unit + count > r->size / UNIT)
			continue;
		if (r->gpa + (uint64_t)(unit - r->unit) * UNIT + jitter == 0)
			continue; /* 0 is our word for nowhere */
		memset(m->busy + unit, BUSY, count);
		return r->gpa + (uint64_t)(unit - r->unit) * UNIT + jitter;
	}
	return 0;
}

static uint32_t unit_of(const struct memory *m, uint64_t gpa)
{
	const struct region *r = find(m, gpa);

	if (!r)
		fake_die("sim: no memory at %llx", (unsigned long long)gpa);
	return r->unit + (uint32_t)((gpa - r->gpa) / UNIT);
}

void memory_free(struct memory *m, uint64_t gpa, uint32_t len)
{
	uint32_t first = unit_of(m, gpa), last = unit_of(m, gpa + (len > 0 ? len - 1 : 0));

	for (uint32_t u = first; u <= last; u++) {
		struct region *r = find_unit(m, u);

		m->busy[u] = FREE;
		memset(r->host + (u - r->unit) * UNIT, FILL, UNIT);
	}
}

void memory_free_all(struct memory *m)
{
	for (uint32_t u = 0; u < m->units; u++)
		if (m->busy[u] == BUSY)
			m->busy[u] = FREE;
	for (unsigned i = 0; i < m->count; i++)
		memset(m->regions[i].host, FILL, m->regions[i].size);
}

void memory_check(const struct memory *m)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct region *r = &m->regions[i];

		for (uint64_t at = 0; at < r->size; at += UNIT) {
			static const char fill[UNIT] = { [0 ... UNIT - 1] = FILL };

			if (m->busy[r->unit + at / UNIT] == FREE &&
				memcmp(r->host + at, fill, UNIT) != 0)
				fake_die("memory that is nobody's was written to");
		}
	}
}

char *memory_host(const struct memory *m, uint64_t gpa)
{
	const struct region *r = find(m, gpa);

	return r ? r->host + (gpa - r->gpa) : NULL;
}

uint64_t memory_user(const struct memory *m, uint64_t gpa)
{
	const struct region *r = find(m, gpa);

	return r ? r->user + (gpa - r->gpa) : 0;
}

const struct region *memory_region(const struct memory *m, const void *at)
{
	for (unsigned i = 0; i < m->count; i++)
		if ((uintptr_t)at - (uintptr_t)m->regions[i].host < m->regions[i].size)
			return &m->regions[i];
	return NULL;
}

/* Bytes from gpa on that are in one region, at most len. */
static uint32_t part_of(const struct memory *m, uint64_t gpa, uint32_t len, char **host)
{
	const struct region *r = find(m, gpa);

	if (!r)
		fake_die("sim: no memory at %llx", (unsigned long long)gpa);
	*host = r->host + (gpa - r->gpa);
	return r->size - (gpa - r->gpa) < len ? (uint32_t)(r->size - (gpa - r->gpa)) : len;
}

void memory_put(const struct memory *m, uint64_t gpa, const void *bytes, uint32_t len)
{
	while (len > 0) {
		char *host;
		uint32_t part = part_of(m, gpa, len, &host);

		memcpy(host, bytes, part);
		bytes = (const char *)bytes + part;
		gpa += part;
		len -= part;
	}
}

void memory_get(const struct memory *m, uint64_t gpa, void *bytes, uint32_t len)
{
	while (len > 0) {
		char *host;
		uint32_t part = part_of(m, gpa, len, &host);

		memcpy(bytes, host, part);
		bytes = (char *)bytes + part;
		gpa += part;
		len -= part;
	}
}

uint64_t memory_nowhere(const struct memory *m)
{
	for (;;) {
		const struct region *r = &m->regions[fake_random(m->count)];
		uint64_t gpa = fake_random(2) == 0 ? r->gpa + r->size : r->gpa - 1;

		if (fake_random(4) == 0)
			gpa = 1ull << (40 + fake_random(20));
		if (!find(m, gpa))
			return gpa;
	}
}

struct region *memory_spare(struct memory *m, bool shared)
{
	unsigned start = fake_random(m->count);

	for (unsigned k = 0; k < m->count; k++) {
		struct region *r = &m->regions[(start + k) % m->count];
		uint32_t units = (uint32_t)(r->size / UNIT);

		if (r->shared == shared && (!shared || all_free(m, r->unit, units)))
			return r;
	}
	return NULL;
}

void memory_share(struct memory *m, struct region *r, bool shared)
{
	r->shared = shared;
	memset(m->busy + r->unit, shared ? FREE : WALL, (size_t)(r->size / UNIT));
}
