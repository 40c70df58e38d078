/* The driver's side of a split virtqueue (VIRTIO 2.7), in plain memory. It trusts nobody's manners.
 */
#ifndef VUBOX_DRIVER_H
#define VUBOX_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

/* Offsets are from mem, which lies at guest address gpa. */
struct driver {
	char *mem;
	uint64_t gpa;
	uint32_t size; /* entries */
	uint32_t desc, avail, used;
	uint16_t avail_idx; /* what we have made available */
	uint16_t used_seen; /* what we have taken back */
	uint16_t next;      /* the descriptor that driver_add fills next; they go round */
};

struct buffer {
	uint64_t addr;
	uint32_t len;
	bool write;
};

/* Bytes of the three parts of a ring, which driver_init puts one behind the other. */
uint32_t driver_bytes(uint32_t size);
void driver_init(struct driver *d, char *mem, uint64_t gpa, uint32_t at, uint32_t size);
/* Starts both indices somewhere else. */
void driver_start_at(struct driver *d, uint16_t idx);

void driver_desc(
	struct driver *d, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
/* Writes n buffers as a table for an indirect descriptor at an offset of memory. */
void driver_table(struct driver *d, uint32_t at, const struct buffer *buffers, unsigned n);
/* Makes a head available. */
void driver_avail(struct driver *d, uint16_t head);
/* Makes a chain of n buffers available: its head. */
uint16_t driver_add(struct driver *d, const struct buffer *buffers, unsigned n);
/* The same through a table at an offset of memory. */
uint16_t driver_add_indirect(
	struct driver *d, uint32_t at, const struct buffer *buffers, unsigned n);
/* Takes the next used element. */
bool driver_used(struct driver *d, uint32_t *id, uint32_t *len);
/* How many used elements wait for us. */
unsigned driver_used_count(const struct driver *d);

/* Flags and events (VIRTIO 2.7.6 to 2.7.10). */
void driver_no_interrupt(struct driver *d, bool none);
void driver_used_event(struct driver *d, uint16_t event);
uint16_t driver_used_flags(const struct driver *d);
uint16_t driver_avail_event(const struct driver *d);
uint16_t driver_used_idx(const struct driver *d);
/* Overwrites the shared avail index. */
void driver_avail_idx(struct driver *d, uint16_t idx);

#endif
