/*
 * Proofs about src/core/mem.c, the memory map.
 *
 * `sound` is what a map keeps: mem_add, mem_remove and mem_clear leave it so, from any that is so;
 * zero is. Lookups in any map that is so are right about each region and each hole: `some` below
 * is any region, so what is claimed of it holds for all.
 *
 * Bounds. Addresses have none. A region has 2^40 bytes at most, for CBMC has fewer addresses for
 * its objects than a process; no code looks at a size but by comparing and adding.
 *   READ_MAX: mem_read is for descriptors, of 16 bytes; twice as many go over three regions.
 *   CONFIG_REGIONS_MAX: 8, the smallest there may be. The binary search then takes up to 4 rounds,
 *     over halves that are even, odd, single and empty; a larger map adds rounds that begin as one
 *     of these does, with a low and a high end.
 *   COUNT: regions in the map, but where that matters (prove_place, prove_add_full). 2 for lookups:
 *     with the search put aside, these look at the region before an address and the one behind it,
 *     and a read goes from one to the next. 3 for changes: a first, a middle and a last one.
 */
/* The search is not seen from outside. */
#include "../../src/core/mem.c"

#include "nondet.h"
#include "stubs.h"

#ifndef COUNT
#define COUNT 3
#endif

enum { READ_MAX = 32 };

static struct mem map;

static bool in_region(uint32_t i, uint64_t addr)
{
	return addr >= map.regions[i].guest_addr &&
	       addr - map.regions[i].guest_addr < map.regions[i].size;
}

static uint64_t last_of(uint64_t addr, uint64_t size)
{
	return addr + (size - 1);
}

static bool region_sound(uint32_t i)
{
	uint64_t guest_last = last_of(map.regions[i].guest_addr, map.regions[i].size);
	uint64_t user_last = last_of(map.regions[i].user_addr, map.regions[i].size);

	return map.regions[i].size > 0 && guest_last >= map.regions[i].guest_addr &&
	       user_last >= map.regions[i].user_addr &&
	       (i == 0 || map.regions[i].guest_addr > last_of(map.regions[i - 1].guest_addr,
							      map.regions[i - 1].size)) &&
	       map.regions[i].base && map.regions[i].map < CONFIG_REGIONS_MAX &&
	       map.maps[map.regions[i].map].base;
}

static bool sound(void)
{
	uint32_t mapped = 0;
	bool near = map.near.size == 0;

	if (map.count > COUNT + 1)
		return false;
	for (uint32_t i = 0; i < CONFIG_REGIONS_MAX; i++)
		mapped += map.maps[i].base != NULL;
	for (uint32_t i = 0; i < COUNT + 1; i++) {
		if (i >= map.count)
			break;
		if (!region_sound(i))
			return false;
		near |= map.near.guest_addr == map.regions[i].guest_addr &&
			map.near.size == map.regions[i].size &&
			map.near.base == map.regions[i].base;
		for (uint32_t k = 0; k < i; k++)
			if (map.regions[k].map == map.regions[i].map)
				return false;
	}
	return near && mapped == map.count;
}

static uint64_t any_size(void)
{
	return nondet_upto(PROOF_SIZE(1ull << 40, 40));
}

static uint64_t any_address(void)
{
	return FUZZING && nondet_bool() ? nondet_u8() : nondet_u64();
}

/* (For lookups, which slots hold the mappings is nothing.) */
static void any_map(bool any_slots)
{
	static char mapped;

	map = (struct mem){ 0 };
	map.count = (uint32_t)nondet_upto(COUNT);
	for (uint32_t i = 0; i < map.count; i++) {
		map.regions[i].guest_addr = any_address();
		map.regions[i].size = any_size();
		map.regions[i].user_addr = any_address();
		map.regions[i].base = nondet_object(map.regions[i].size);
		map.regions[i].map = any_slots ? (uint32_t)nondet_upto(CONFIG_REGIONS_MAX - 1) : i;
		map.maps[map.regions[i].map].base = &mapped;
		map.maps[map.regions[i].map].hit = nondet_int();
	}
	if (map.count > 0 && nondet_bool()) {
		uint32_t i = (uint32_t)nondet_upto(map.count - 1);

		map.near.guest_addr = map.regions[i].guest_addr;
		map.near.size = map.regions[i].size;
		map.near.base = map.regions[i].base;
	}
	assume(sound());
}

/* ---- the port ---- */

int port_map(struct port_map *map, int fd, uint64_t offset, uint64_t len, bool may_write, char **at)
{
	(void)fd;
	(void)offset;
	claim(may_write && !map->base);
	if (nondet_bool())
		return nondet_bool() ? -EFAULT : -ENOMEM;
	assume(len <= PROOF_SIZE(1ull << 40, 256));
	map->base = nondet_object(len);
	*at = map->base;
	return 0;
}

void port_unmap(struct port_map *map)
{
	map->base = NULL;
}

#ifdef __CPROVER__
/* Of regions only, and exactly: what is moved does matter. */
void *memmove(void *dst, const void *src, size_t n)
{
	enum { REGION = sizeof(map.regions[0]) };
	size_t to = (size_t)((char *)dst - (char *)map.regions) / REGION;
	size_t from = (size_t)((const char *)src - (char *)map.regions) / REGION;
	size_t count = n / REGION;

	claim(n == 0 || (readable(src, n) && writable(dst, n)));
	claim(n == 0 || (to + count <= CONFIG_REGIONS_MAX && from + count <= CONFIG_REGIONS_MAX));
	claim(dst == &map.regions[to] && src == &map.regions[from] && n % REGION == 0);
	for (size_t i = 0; i < CONFIG_REGIONS_MAX; i++)
		if (i < count && to < from)
			map.regions[to + i] = map.regions[from + i];
	for (size_t i = CONFIG_REGIONS_MAX; i-- > 0;)
		if (i < count && to > from)
			map.regions[to + i] = map.regions[from + i];
	return dst;
}
#endif

/* ---- the proofs ---- */

static void claim_found(struct span s, uint64_t addr, uint64_t len)
{
	uint32_t some = (uint32_t)nondet_upto(COUNT - 1);

	claim(s.len >= 1 && s.len <= len);
	if (some >= map.count)
		return;
	if (in_region(some, addr)) {
		uint64_t off = addr - map.regions[some].guest_addr;

		claim(s.base == guest_at(map.regions[some].base, off));
		claim(s.len == len || s.len == map.regions[some].size - off);
		claim(readable(s.base, s.len));
	} else if (!s.base) {
		/* Nothing of a hole is in it. */
		claim(addr > map.regions[some].guest_addr ||
			addr + (s.len - 1) < map.regions[some].guest_addr);
	}
}

void prove_place(void)
{
	uint64_t addr = any_address();
	uint32_t some = (uint32_t)nondet_upto(CONFIG_REGIONS_MAX - 1), place;

	map.count = (uint32_t)nondet_upto(CONFIG_REGIONS_MAX);
	for (uint32_t i = 0; i < map.count; i++) {
		map.regions[i].guest_addr = any_address();
		assume(i == 0 || map.regions[i].guest_addr > map.regions[i - 1].guest_addr);
	}
	place = find_place(&map, addr);
	claim(place <= map.count);
	if (some < map.count)
		claim((some < place) == (map.regions[some].guest_addr <= addr));
}

void prove_at(void)
{
	uint64_t addr = any_address(), len = nondet_u64();
	bool anywhere = false;
	struct span s;

	any_map(false);
	assume(len > 0 && last_of(addr, len) >= addr);
	s = mem_at(&map, addr, len);
	claim_found(s, addr, len);
	for (uint32_t i = 0; i < map.count; i++)
		anywhere |= in_region(i, addr);
	claim(anywhere == (s.base != NULL));
	/* What it has learnt misleads no more than anything: any `last` is where this began. */
}

void prove_read(void)
{
	uint64_t addr = any_address();
	uint32_t len = (uint32_t)nondet_upto(READ_MAX);
	void *dst = nondet_object(len);
	uint32_t some = (uint32_t)nondet_upto(COUNT - 1);

	any_map(false);
	if (mem_read(&map, addr, dst, len))
		claim(len == 0 || last_of(addr, len) >= addr);
	else if (some < map.count)
		claim(!in_region(some, addr) || !in_region(some, last_of(addr, len)));
}

void prove_at_user(void)
{
	uint64_t addr = any_address(), len = nondet_u64();
	struct guest *p;

	any_map(false);
	p = mem_at_user(&map, addr, len);
	claim(!p || readable(p, len));
}

static struct mem_region any_region(void)
{
	return (struct mem_region){ any_address(), nondet_u64(), any_address(), nondet_u64() };
}

void prove_add(void)
{
	struct mem_region r = any_region();
	bool there = false;
	uint32_t count;
	int error;

	any_map(true);
	count = map.count;
	error = mem_add(&map, &r, nondet_int());
	claim(error == 0 || error == -EINVAL || error == -ENOSPC || error == -EFAULT ||
		error == -ENOMEM);
	claim(map.count == count + (error == 0));
	claim(sound());
	for (uint32_t i = 0; i < map.count; i++)
		there |= map.regions[i].guest_addr == r.guest_addr;
	claim(error < 0 || there);
}

void prove_add_full(void)
{
	struct mem_region r = any_region();
	int error;

	map.count = CONFIG_REGIONS_MAX;
	error = mem_add(&map, &r, nondet_int());
	claim(error == -EINVAL || error == -ENOSPC);
	claim(map.count == CONFIG_REGIONS_MAX);
}

void prove_remove(void)
{
	struct mem_region r = any_region();
	uint32_t count;
	int error;

	any_map(true);
	count = map.count;
	error = mem_remove(&map, &r);
	claim(error == 0 || error == -ENOENT);
	claim(map.count == count - (error == 0));
	claim(sound());
	(void)mem_is_broken(&map);
}

void prove_clear(void)
{
	any_map(true);
	mem_clear(&map);
	claim(map.count == 0 && sound());
}

PROOFS(prove_place, prove_at, prove_read, prove_at_user, prove_add, prove_add_full, prove_remove,
	prove_clear)
