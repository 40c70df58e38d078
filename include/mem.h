/*
 * The memory map of one connection: regions of guest memory that the front-end shares
 * (vhost-user: "Memory access"). Ring addresses are user addresses, buffers are guest addresses.
 */
#ifndef VUBOX_MEM_H
#define VUBOX_MEM_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "port.h"
#include "span.h"

/* A region as the front-end describes it: addresses, size and offset in bytes. */
struct mem_region {
	uint64_t guest_addr, size, user_addr, mmap_offset;
};

/* Zero is an empty map. */
struct mem {
	uint32_t count;
	struct {
		uint64_t guest_addr, size;
		struct guest *base;
	} near; /* the region of the lookup before, mostly of the next one, too; or of no size */
	struct {
		uint64_t guest_addr, size, user_addr;
		struct guest *base;
		uint32_t map;                     /* which of maps holds it */
	} regions[CONFIG_REGIONS_MAX];            /* sorted by guest address */
	struct port_map maps[CONFIG_REGIONS_MAX]; /* never move: a fault finds them */
};

/*
 * Maps a region from fd, which stays the caller's. -EINVAL: empty, wrapping or overlapping;
 * -ENOSPC: no slot; -EFAULT: larger than its file; else what mmap said.
 */
int mem_add(struct mem *mem, const struct mem_region *region, int fd);

/* Unmaps the region of this guest address, user address and size, or -ENOENT. */
int mem_remove(struct mem *mem, const struct mem_region *region);

void mem_clear(struct mem *mem);

/* True if a page of a region was found missing, because the front-end shrank its file. */
bool mem_is_broken(const struct mem *mem);

/*
 * The memory at a guest address: at most len bytes (>= 1), as many as are contiguous with it. If
 * the address is in no region: a hole (base NULL), at most up to the next region. The caller has
 * checked that guest_addr + len - 1 does not wrap.
 */
struct span mem_at(struct mem *mem, uint64_t guest_addr, uint64_t len);

/*
 * The same where the look-up before was: all len bytes, or a base of NULL, which means nothing but
 * that mem_at must be asked (it is what an empty buffer gets, too).
 */
static inline struct span mem_near(const struct mem *mem, uint64_t guest_addr, uint32_t len)
{
	uint64_t off = guest_addr - mem->near.guest_addr;

	if (off < mem->near.size && (uint64_t)len - 1 < mem->near.size - off)
		return (struct span){ guest_at(mem->near.base, (size_t)off), len };
	return (struct span){ NULL, len };
}

/* Copies len bytes from a guest address, over the edges of regions; false if some are nowhere. */
bool mem_read(struct mem *mem, uint64_t guest_addr, void *dst, uint32_t len);

/* len contiguous bytes at a user address, or NULL. */
struct guest *mem_at_user(const struct mem *mem, uint64_t user_addr, uint64_t len);

#endif
