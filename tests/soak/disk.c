/* What a disk must hold. */
#include "disk.h"

#include <string.h>

#include "soak.h"

struct content {
	uint32_t was, is; /* generations; they differ while it may be either */
	bool any, taken;
};

static struct {
	struct content sectors[DISK_SECTORS_MAX];
	uint32_t generation;
} state;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ull;
	x ^= x >> 27;
	return x;
}

void disk_fill(uint64_t sector, uint32_t generation, void *bytes)
{
	uint64_t words[SECTOR / 8] = { sector, generation };

	if (generation == 0)
		memset(words, 0, sizeof(words));
	for (unsigned i = 2; i < SECTOR / 8 && generation > 0; i++)
		words[i] = mix(sector << 40 ^ (uint64_t)generation << 8 ^ i);
	memcpy(bytes, words, SECTOR);
}

uint32_t disk_next_generation(void)
{
	return ++state.generation;
}

bool disk_take(uint32_t sector, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (state.sectors[sector + i].taken)
			return false;
	for (uint32_t i = 0; i < count; i++)
		state.sectors[sector + i].taken = true;
	return true;
}

void disk_free(uint32_t sector, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		state.sectors[sector + i].taken = false;
}

void disk_writing(uint32_t sector, uint32_t count, uint32_t generation)
{
	for (uint32_t i = 0; i < count; i++) {
		struct content *c = &state.sectors[sector + i];

		if (c->was != c->is) /* there are three now */
			c->any = true;
		c->is = generation;
	}
}

void disk_written(uint32_t sector, uint32_t count, uint32_t generation)
{
	for (uint32_t i = 0; i < count; i++)
		state.sectors[sector + i] = (struct content){ generation, generation, false,
			state.sectors[sector + i].taken };
}

void disk_unknown(uint32_t sector, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		state.sectors[sector + i].any = true;
}

static bool is(uint64_t sector, uint32_t generation, const unsigned char *bytes)
{
	unsigned char expected[SECTOR];

	disk_fill(sector, generation, expected);
	return memcmp(bytes, expected, SECTOR) == 0;
}

void disk_check(uint32_t sector, uint32_t count, const void *bytes, const char *where)
{
	const unsigned char *at = bytes;

	for (uint32_t i = 0; i < count; i++, at += SECTOR) {
		const struct content *c = &state.sectors[sector + i];
		uint64_t head[2];

		if (c->any || is(sector + i, c->is, at) || is(sector + i, c->was, at))
			continue;
		memcpy(head, at, sizeof(head));
		soak_fail("%s: sector %u (%u of %u) has %llu/%llu, not generation %u or %u", where,
			sector + i, i, count, (unsigned long long)head[0],
			(unsigned long long)head[1], c->was, c->is);
	}
}
