/*
 * The driver's side of a virtqueue (VIRTIO 2.7) over plain memory: no system call and no socket in
 * it, so that tests, benchmarks and simulators can all link it. It also judges the device: each
 * chain must come back exactly once, and no more bytes may be written than were offered.
 *
 * Only the split format yet. Nothing in this interface tells which it is: another format is one
 * more const struct driver_format.
 */
#ifndef VUBOX_TESTS_DRIVER_H
#define VUBOX_TESTS_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- guest memory ---- */

struct driver_region {
	uint64_t guest, size;
	unsigned char *host;
};

struct driver_memory {
	const struct driver_region *regions;
	unsigned count;
};

/* len bytes at a guest address if one region holds them all, else NULL. */
void *driver_at(const struct driver_memory *mem, uint64_t guest, uint64_t len);
/* Copies over the edges of regions; false (and half done) if some bytes are in no region. */
bool driver_read(const struct driver_memory *mem, uint64_t guest, void *dst, size_t len);
bool driver_write(const struct driver_memory *mem, uint64_t guest, const void *src, size_t len);

/* ---- the queue ---- */

enum { DRIVER_SIZE_MAX = 1024 };
enum { DRIVER_DESC_NEXT = 1, DRIVER_DESC_WRITE = 2, DRIVER_DESC_INDIRECT = 4 };

/* Guest addresses of the three parts: descriptors, what the driver writes, what the device does. */
struct driver_layout {
	uint64_t desc, avail, used;
	uint64_t end; /* behind the last of them */
};

struct driver_options {
	uint16_t size;  /* entries */
	uint16_t start; /* both indices begin here */
	bool event_idx;
};

struct driver_buffer {
	uint64_t guest;
	uint32_t len;
	bool writable;
};

struct driver_chain {
	const struct driver_buffer *buffers;
	unsigned count;
	uint64_t table;  /* guest address of an indirect table for what is not direct; 0: none */
	unsigned direct; /* with a table: so many buffers come before it */
	void *owner;     /* handed back by driver_poll */
};

struct driver_used {
	uint16_t head;
	uint32_t len;
	void *owner;
};

struct driver;

struct driver_format {
	uint64_t (*place)(struct driver_layout *at, uint16_t size, uint64_t guest);
	void (*open)(struct driver *d, uint16_t start);
	int (*add)(struct driver *d, const struct driver_chain *chain);
	void (*publish)(struct driver *d);
	bool (*needs_kick)(struct driver *d);
	int (*poll)(struct driver *d, struct driver_used *used);
	void (*want_calls)(struct driver *d, bool on, uint16_t after);
};

extern const struct driver_format driver_split;

/* What a head is out with. */
struct driver_slot {
	void *owner;
	uint32_t writable; /* bytes that the device may write */
	uint16_t descs;    /* descriptors of the table that it holds */
	bool out;
};

struct driver {
	const struct driver_format *format;
	const struct driver_memory *memory;
	struct driver_layout at;
	unsigned char *desc, *avail, *used;
	uint16_t size;
	bool event_idx;

	uint16_t avail_idx; /* next entry of the avail ring that we fill */
	uint16_t published; /* what the device has been told of it */
	uint16_t judged;    /* where the last kick was decided */
	uint16_t used_idx;  /* next entry of the used ring that we look at */
	uint16_t free_head, free_count;
	uint16_t out_count; /* chains that the device has */
	const char *wrong;  /* what the device did wrong, once driver_poll has said -1 */

	uint16_t free_next[DRIVER_SIZE_MAX];
	struct driver_slot slots[DRIVER_SIZE_MAX];
};

/* Lays a queue out from a guest address on, aligned as VIRTIO wants. Returns where it ends. */
uint64_t driver_place(const struct driver_format *format, struct driver_layout *at, uint16_t size,
	uint64_t guest);

/* Begins with an empty queue; false if its parts are not in memory. */
bool driver_open(struct driver *d, const struct driver_format *format,
	const struct driver_memory *mem, const struct driver_layout *at,
	const struct driver_options *options);

/* Makes a chain ready, not yet visible: its head, or -1 if there is no room. */
int driver_add(struct driver *d, const struct driver_chain *chain);
/* Shows the device what was added. */
void driver_publish(struct driver *d);
/* Whether the device asked to be kicked for what was published since the last question. */
bool driver_needs_kick(struct driver *d);
/* 1: a chain has come back; 0: none has; -1: the device did wrong (d->wrong). */
int driver_poll(struct driver *d, struct driver_used *used);
/*
 * Asks for no calls, or for one when `after` chains more (1: the next) have come back. Without
 * EVENT_IDX there is no "after". Poll once more afterwards: one may have come meanwhile.
 */
void driver_want_calls(struct driver *d, bool on, uint16_t after);

/* ---- raw: for drivers that misbehave ---- */

/* Writes a descriptor into a table at a guest address. */
bool driver_put_desc(const struct driver_memory *mem, uint64_t table, uint16_t i, uint64_t guest,
	uint32_t len, uint16_t flags, uint16_t next);
/* Makes any number the next head, and publishes it. */
void driver_offer_raw(struct driver *d, uint16_t head);

#endif
