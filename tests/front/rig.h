/*
 * What most cases begin with: a vubox that serves an image, a front-end with memory and queues, and
 * a driver that sends it blk requests. What does not work here fails the case.
 */
#ifndef VUBOX_TESTS_RIG_H
#define VUBOX_TESTS_RIG_H

#include "blk.h"
#include "front.h"
#include "harness.h"

enum { RIG_QUEUES_MAX = 8, RIG_RING_SIZE = 128, RIG_SLOTS = 64, RIG_SLOT_BYTES = 1 << 17 };

/* The memory of a rig that has not said otherwise: one region, user addresses elsewhere. */
#define RIG_GUEST      0x40000000ull
#define RIG_USER       0x7a5500000000ull
#define RIG_MEMORY     (16ull << 20)
#define RIG_DISK_BYTES (8ull << 20)
/* Where its slots begin, behind the rings. */
#define RIG_SLOTS_AT (RIG_GUEST + 0x8000 * RIG_QUEUES_MAX)

struct rig {
	struct vubox vubox;
	struct front front;
	struct front_memory memory;
	struct front_queue queues[RIG_QUEUES_MAX];
	unsigned queue_count;
	uint16_t ring_size; /* of queues that are made; 0: RIG_RING_SIZE */
	uint16_t start;     /* where they start (struct driver_options) */
	uint64_t slots;     /* guest address of the slots */
	const char *image;
	const char *options[16]; /* with which vubox was started */
};

/* A slot's parts: its header, status, an indirect table, and data behind them. */
struct blk_request rig_request(
	const struct rig *r, unsigned slot, uint32_t type, uint64_t sector, uint32_t len);
uint64_t rig_table(const struct rig *r, unsigned slot);

/* Makes an image (unless there is one) and starts vubox on it with these options. */
void rig_serve(struct rig *r, uint64_t image_bytes, const char *const *options);
/* The same process again, after it has ended. */
void rig_serve_again(struct rig *r);
void rig_connect(struct rig *r);
/* The format of the case's rings. */
const struct driver_format *rig_format(void);
/* Connects, and negotiates: what is offered of these; RING_PACKED is as the case says. */
void rig_negotiate(struct rig *r, uint64_t features, uint64_t protocol);
/* Makes the usual memory unless there is some, and shares it. */
void rig_share(struct rig *r);
/* Lays a queue out in the memory, not known to the back-end yet. */
struct front_queue *rig_queue(struct rig *r);
/* Starts a queue that is open; a device that runs already goes on at its driver's place. */
void rig_start(struct rig *r, struct front_queue *q);
/* The driver begins anew with an empty queue, as after a reset. */
void rig_reopen(struct rig *r, struct front_queue *q);
/* rig_share, and one running queue. */
void rig_run(struct rig *r);
/* All of it: image, vubox, connection with everything offered, one running queue. */
void rig_open(struct rig *r, uint64_t image_bytes, const char *engine);
void rig_disconnect(struct rig *r);

/* Adds a request to a queue, whole, not yet visible. Its owner is its slot. */
void rig_add(
	struct rig *r, struct front_queue *q, const struct blk_request *request, unsigned slot);
/* Waits for one request to come back: its slot. */
unsigned rig_take(struct rig *r, struct front_queue *q, uint32_t *len);
/* Sends a request of slot 0 on queue 0 and waits: its status; data goes in or comes out. */
uint8_t rig_blk(struct rig *r, uint32_t type, uint64_t sector, void *data, uint32_t len);
/* The same for buffers that are cut, joined or in a table already. */
uint8_t rig_chain(
	struct rig *r, const struct blk_request *request, const struct driver_chain *chain);
/* A request that any good device answers: the connection and queue 0 work. */
void rig_works(struct rig *r);

void rig_disk_read(const struct rig *r, uint64_t offset, void *bytes, size_t len);
void rig_disk_write(const struct rig *r, uint64_t offset, const void *bytes, size_t len);

#endif
