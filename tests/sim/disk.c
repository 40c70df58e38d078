/*
 * What the disk must hold. Every sector has a list of versions, oldest first: the one that is known
 * to be stable, what was written since, and what may or may not have been. A read must show the
 * last one that is done, or one after it; a loss of power may show any.
 */
#include "sim.h"

#include <string.h>

void disk_new(struct disk *d, const char *path, uint32_t sectors)
{
	memset(d, 0, sizeof(*d));
	d->image = fake_image_new(path, (uint64_t)sectors * SECTOR);
	d->sectors = sectors;
	d->next_id = ID_FIRST;
	d->clock = 1;
	for (uint32_t s = 0; s < sectors; s++) {
		uint32_t id = fake_random(2) == 0 ? ID_ZERO : d->next_id;

		d->versions[s][0] = (struct version){ id, 1 };
		d->count[s] = 1;
		disk_fill(d->image->bytes + s * SECTOR, id, s);
		disk_fill(d->image->stable + s * SECTOR, id, s);
	}
	d->next_id++;
}

void disk_grown(struct disk *d, uint32_t sectors)
{
	for (; d->sectors < sectors; d->sectors++) {
		d->versions[d->sectors][0] = (struct version){ ID_ZERO, 1 };
		d->count[d->sectors] = 1;
	}
}

bool disk_lock(struct disk *d, uint64_t sector, uint32_t count, bool write)
{
	for (uint64_t s = sector; s < sector + count; s++)
		if (s < d->sectors && (d->writing[s] || (write && d->readers[s] > 0)))
			return false;
	for (uint64_t s = sector; s < sector + count && s < d->sectors; s++) {
		d->writing[s] = write;
		d->readers[s] += !write;
	}
	return true;
}

void disk_unlock(struct disk *d, uint64_t sector, uint32_t count, bool write)
{
	for (uint64_t s = sector; s < sector + count && s < d->sectors; s++) {
		if (write)
			d->writing[s] = false;
		d->readers[s] -= !write;
	}
}

/* The bytes of a sector in a version: every word is different, and tells which it is. */
void disk_fill(uint8_t *bytes, uint32_t id, uint64_t sector)
{
	if (id == ID_ZERO) {
		memset(bytes, 0, SECTOR);
		return;
	}
	for (uint32_t i = 0; i < SECTOR / 8; i++) {
		uint64_t word = (uint64_t)id << 40 | sector << 16 | i << 8 | 0xc3;

		memcpy(bytes + i * 8, &word, 8);
	}
}

static void forget(struct disk *d, uint64_t s, unsigned n)
{
	d->count[s] = (uint8_t)(d->count[s] - n);
	memmove(d->versions[s], d->versions[s] + n, d->count[s] * sizeof(d->versions[s][0]));
}

void disk_write_begins(struct disk *d, uint64_t sector, uint32_t count, uint32_t id)
{
	for (uint64_t s = sector; s < sector + count; s++) {
		if (d->count[s] == VERSIONS_MAX) {
			forget(d, s, 1);
			d->loose[s] = true; /* what is stable is not known until the next flush */
		}
		d->versions[s][d->count[s]++] = (struct version){ .id = id };
	}
}

void disk_write_done(struct disk *d, uint64_t sector, uint32_t count, bool stable)
{
	d->clock++;
	for (uint64_t s = sector; s < sector + count; s++) {
		d->versions[s][d->count[s] - 1].done = d->clock;
		if (stable) {
			forget(d, s, d->count[s] - 1u);
			d->loose[s] = false;
		}
	}
}

void disk_flushed(struct disk *d, uint64_t since)
{
	for (uint32_t s = 0; s < d->sectors; s++) {
		for (unsigned i = d->count[s]; i-- > 0;) {
			uint64_t done = d->versions[s][i].done;

			if (done == 0 || done > since)
				continue;
			forget(d, s, i);
			d->loose[s] = false;
			break;
		}
	}
}

static bool is(const uint8_t *bytes, uint32_t id, uint64_t sector)
{
	uint8_t want[SECTOR];

	disk_fill(want, id, sector);
	return id == ID_ANY || memcmp(bytes, want, SECTOR) == 0;
}

static void check(
	const struct disk *d, uint64_t s, const uint8_t *bytes, bool any, const char *what)
{
	for (unsigned i = d->count[s]; i-- > 0;) {
		if (is(bytes, d->versions[s][i].id, s))
			return;
		if (!any && d->versions[s][i].done > 0)
			break;
	}
	if (any && d->loose[s])
		return;
	fake_die("%s: sector %llu holds %02x%02x%02x..., not version %u", what,
		(unsigned long long)s, bytes[7], bytes[6], bytes[5],
		d->versions[s][d->count[s] - 1].id);
}

void disk_check_read(const struct disk *d, uint64_t sector, uint32_t count, const uint8_t *bytes)
{
	for (uint32_t i = 0; i < count; i++)
		check(d, sector + i, bytes + i * SECTOR, false, "a read");
}

void disk_check(const struct disk *d, bool after_power_loss)
{
	for (uint32_t s = 0; s < d->sectors; s++)
		check(d, s, d->image->bytes + s * SECTOR, after_power_loss,
			after_power_loss ? "the disk after a loss of power" : "the disk");
}
