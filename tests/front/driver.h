/*
 * The driver's side of a virtqueue (VIRTIO 2.7 and 2.8) over plain memory: no system call and no
 * socket in it, so that tests, benchmarks and simulators can all link it. It also judges the
 * device: each chain must come back exactly once, and no more bytes may be written than were
 * offered.
 *
 * Nothing in this interface tells which format it is; that is a const struct driver_format.
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

/*
 * Guest addresses of the three parts: descriptors, what the driver writes, what the device does.
 * Packed: the descriptor ring, driver and device event suppression.
 */
struct driver_layout {
	uint64_t desc, avail, used;
	uint64_t end; /* behind the last of them */
};

struct driver_options {
	uint16_t size;  /* entries */
	uint16_t start; /* both indices begin here; packed: so many descriptors have gone by */
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
	uint16_t head; /* packed: the buffer id */
	uint32_t len;
	void *owner;
};

/* A descriptor as it is written: `next` is of split rings, `id` of packed ones. */
struct driver_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next, id;
};

struct driver;

struct driver_format {
	const char *name;
	uint64_t (*place)(struct driver_layout *at, uint16_t size, uint64_t guest);
	void (*open)(struct driver *d, uint16_t start);
	int (*add)(struct driver *d, const struct driver_chain *chain);
	void (*publish)(struct driver *d);
	bool (*needs_kick)(struct driver *d);
	int (*poll)(struct driver *d, struct driver_used *used);
	void (*want_calls)(struct driver *d, bool on, uint16_t after);
	uint32_t (*base)(const struct driver *d, unsigned skip);
	uint32_t (*base_in_memory)(const struct driver *d);
	void (*put_desc)(unsigned char bytes[16], const struct driver_desc *desc);
	void (*offer_raw)(struct driver *d, const struct driver_desc *descs, unsigned count);
	bool (*is_back)(const struct driver *d);
};

extern const struct driver_format driver_split, driver_packed;

/* What a head is out with. */
struct driver_slot {
	void *owner;
	uint32_t writable; /* bytes that the device may write */
	uint16_t descs;    /* descriptors of the table that it holds */
	bool out;
	uint64_t at; /* packed: number of its first descriptor */
};

struct driver {
	const struct driver_format *format;
	const struct driver_memory *memory;
	struct driver_layout at;
	unsigned char *desc, *avail, *used;
	uint16_t size;
	bool event_idx;

	/* Counted on and on: entries of the rings, or (packed) descriptors that have gone by. */
	uint64_t added;     /* what we have filled in */
	uint64_t published; /* what the device has been told of it */
	uint64_t judged;    /* where the last kick was decided */
	uint64_t taken;     /* what has come back */
	uint16_t free_head, free_count;
	uint16_t out_count;   /* chains that the device has */
	uint16_t chain_descs; /* of the latest one */
	uint16_t first_flags; /* packed: of the first unpublished descriptor, not in memory yet */
	bool scarred; /* the device died, so what it had written and not published may be there */
	const char *wrong; /* what the device did wrong, once driver_poll has said -1 */

	uint16_t free_next[DRIVER_SIZE_MAX];
	struct driver_slot slots[DRIVER_SIZE_MAX];
	/* Packed: what the ring holds of ours, to see that the device leaves it alone. */
	unsigned char shadow[DRIVER_SIZE_MAX][16];
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
 * EVENT_IDX there is no "after"; packed, it takes all chains to be as long as the latest one. Poll
 * once more afterwards: one may have come meanwhile.
 */
void driver_want_calls(struct driver *d, bool on, uint16_t after);

/*
 * What SET_VRING_BASE says for a device that goes on behind what has come back and `skip` chains
 * more (as long as the latest one), and GET_VRING_BASE if it has taken so many.
 */
uint32_t driver_base(const struct driver *d, unsigned skip);
/* The same behind what the device has given back, whether it was polled yet or not. */
uint32_t driver_base_in_memory(const struct driver *d);

/* ---- raw: for drivers that misbehave ---- */

/* Writes descriptors of the queue's format into a table at a guest address. */
bool driver_put_table(
	const struct driver *d, uint64_t table, const struct driver_desc *descs, unsigned count);
/*
 * Makes descriptors available as they are, whatever they say. Split: from 0 of the table on, and
 * 0 is the head. Packed: the next ones of the ring; AVAIL and USED are added to their flags.
 */
void driver_offer_raw(struct driver *d, const struct driver_desc *descs, unsigned count);
/* Whether anything has come back that was not polled; it may be what was offered raw. */
bool driver_is_back(const struct driver *d);
/* Split: makes any number the next head, and publishes it. */
void driver_offer_head(struct driver *d, uint16_t head);

/* ---- for formats ---- */

/* Shared words are loaded and stored once, whole. */
static inline uint16_t driver_load16(const unsigned char *at)
{
	return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static inline void driver_store16(unsigned char *at, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)at, v, __ATOMIC_RELEASE);
}

/* The bytes that a device may write into a chain. */
uint32_t driver_writable(const struct driver_chain *chain);
/* Says what the device did wrong: -1. */
int driver_is_wrong(struct driver *d, const char *what);

#endif
