/* The memory map: vhost-user, "Memory region description" and "Memory access". */
#include "mem.h"

#include <errno.h>
#include <string.h>

#include "num.h"
#include "panic.h"

static bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b ? b - a < a_len : a - b < b_len;
}

/* Where a region of this guest address belongs: the number of regions that start before it. */
static uint32_t find_place(const struct mem *mem, uint64_t guest_addr)
{
	uint32_t low = 0, high = mem->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (mem->regions[mid].guest_addr <= guest_addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int check_region(const struct mem *mem, const struct mem_region *r)
{
	uint64_t end;

	if (r->size == 0 || !num_add(r->guest_addr, r->size - 1, &end) ||
		!num_add(r->user_addr, r->size - 1, &end))
		return -EINVAL;
	if (mem->count == CONFIG_REGIONS_MAX)
		return -ENOSPC;
	for (uint32_t i = 0; i < mem->count; i++)
		if (overlaps(r->guest_addr, r->size, mem->regions[i].guest_addr,
			    mem->regions[i].size) ||
			overlaps(r->user_addr, r->size, mem->regions[i].user_addr,
				mem->regions[i].size))
			return -EINVAL;
	return 0;
}

int mem_add(struct mem *mem, const struct mem_region *region, int fd)
{
	uint32_t place, slot = 0;
	char *at;
	int error = check_region(mem, region);

	if (error < 0)
		return error;
	while (mem->maps[slot].base)
		slot++;
	ASSERT(slot < CONFIG_REGIONS_MAX);
	error = port_map(&mem->maps[slot], fd, region->mmap_offset, region->size, true, &at);
	if (error < 0)
		return error;
	place = find_place(mem, region->guest_addr);
	memmove(&mem->regions[place + 1], &mem->regions[place],
		(mem->count - place) * sizeof(mem->regions[0]));
	mem->regions[place].guest_addr = region->guest_addr;
	mem->regions[place].user_addr = region->user_addr;
	mem->regions[place].size = region->size;
	mem->regions[place].base = (struct guest *)at;
	mem->regions[place].map = slot;
	mem->count++;
	return 0;
}

int mem_remove(struct mem *mem, const struct mem_region *region)
{
	for (uint32_t i = 0; i < mem->count; i++) {
		if (mem->regions[i].guest_addr != region->guest_addr ||
			mem->regions[i].user_addr != region->user_addr ||
			mem->regions[i].size != region->size)
			continue;
		port_unmap(&mem->maps[mem->regions[i].map]);
		mem->count--;
		memmove(&mem->regions[i], &mem->regions[i + 1],
			(mem->count - i) * sizeof(mem->regions[0]));
		mem->near.size = 0;
		return 0;
	}
	return -ENOENT;
}

void mem_clear(struct mem *mem)
{
	for (uint32_t i = 0; i < mem->count; i++)
		port_unmap(&mem->maps[mem->regions[i].map]);
	mem->count = 0;
	mem->near.size = 0;
}

bool mem_is_broken(const struct mem *mem)
{
	for (uint32_t i = 0; i < mem->count; i++)
		if (mem->maps[mem->regions[i].map].hit)
			return true;
	return false;
}

/* A hole from addr on ends where the next region starts. */
static uint64_t hole_len(const struct mem *mem, uint32_t next, uint64_t addr, uint64_t len)
{
	return next < mem->count ? num_min(len, mem->regions[next].guest_addr - addr) : len;
}

struct span mem_at(struct mem *mem, uint64_t guest_addr, uint64_t len)
{
	uint64_t off = guest_addr - mem->near.guest_addr;

	ASSERT(len > 0);
	if (off >= mem->near.size) {
		uint32_t next = find_place(mem, guest_addr);

		if (next == 0 || guest_addr - mem->regions[next - 1].guest_addr >=
					 mem->regions[next - 1].size)
			return (struct span){ NULL, (size_t)hole_len(mem, next, guest_addr, len) };
		mem->near.guest_addr = mem->regions[next - 1].guest_addr;
		mem->near.size = mem->regions[next - 1].size;
		mem->near.base = mem->regions[next - 1].base;
		off = guest_addr - mem->near.guest_addr;
	}
	return (struct span){ guest_at(mem->near.base, (size_t)off),
		(size_t)num_min(len, mem->near.size - off) };
}

bool mem_read(struct mem *mem, uint64_t guest_addr, void *dst, uint32_t len)
{
	uint64_t end;
	char *to = dst;

	if (len == 0)
		return true;
	if (!num_add(guest_addr, len - 1, &end))
		return false;
	while (len > 0) {
		struct span s = mem_at(mem, guest_addr, len);

		if (!s.base)
			return false;
		guest_copy_in(to, s.base, s.len);
		to += s.len;
		guest_addr += s.len;
		len -= (uint32_t)s.len;
	}
	return true;
}

struct guest *mem_at_user(const struct mem *mem, uint64_t user_addr, uint64_t len)
{
	for (uint32_t i = 0; i < mem->count; i++)
		if (num_within(user_addr, len, mem->regions[i].user_addr, mem->regions[i].size))
			return guest_at(mem->regions[i].base,
				(size_t)(user_addr - mem->regions[i].user_addr));
	return NULL;
}
