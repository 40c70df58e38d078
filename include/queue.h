/*
 * Queues at work: a vring with its notifications, its place in the turns of the loop, and the
 * requests that its device has in hand.
 */
#ifndef VUBOX_QUEUE_H
#define VUBOX_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "log.h"
#include "port.h"
#include "req.h"
#include "vring.h"

struct device;

/* Lists of queues; a queue is at most once in each. */
enum queue_list { QUEUE_READY, QUEUE_DIRTY, QUEUE_IDLE, QUEUE_WAITING, QUEUE_LISTS };

/* Zero is a queue that was never set up. */
struct queue {
	struct device *device;
	struct queue *next[QUEUE_LISTS];
	bool listed[QUEUE_LISTS];

	/* What the front-end said. "Ring states": started and enabled are independent. */
	bool started, enabled;
	bool addr_set, base_set;
	bool broken;     /* by its guest, until it is started again */
	bool starved;    /* it has work that had to wait */
	bool lost;       /* the memory of its ring went away; it waits for it */
	bool finishing;  /* it stops, but first does again what an earlier life has begun */
	bool suspending; /* it stops, and what is in flight is cancelled */
	bool cancel_due; /* … again: it may have been missed */
	bool suspended;  /* … and was: it is on record */
	bool answered;   /* GET_VRING_BASE told where, and nothing is in flight */
	uint16_t index;
	uint16_t size; /* for the next start */
	uint32_t base;
	struct vring_addr addr;
	struct port_notify kick, call, err;
	int kick_watch; /* of the loop; valid while kick is there */

	struct vring ring;
	bool pulled;        /* the device takes its chains itself: struct device_class */
	uint32_t in_flight; /* requests that the device has */
	uint32_t idle_tick; /* when it was listed as idle */

	/* Since the process began. `errors` is for the device to count. */
	struct queue_counts {
		uint64_t requests, bytes, errors, kicks, calls, breaks;
	} counts;
};

/* Hands out `count` queues for a device, for good. NULL if there are not so many left. */
struct queue *queue_create(struct device *device, uint16_t count);

/*
 * Starts a ring whose size, addresses and base are set (SET_VRING_KICK); a started one goes on,
 * with a new base if one was set since. -EINVAL / -EFAULT and *why if it cannot work.
 */
COLD int queue_start(struct queue *q, const char **why);
/* Stops a ring. Nothing may be in flight. base is where it would go on. */
COLD void queue_stop(struct queue *q);
/* SET_VRING_ENABLE. */
COLD void queue_enable(struct queue *q, bool enabled);
/*
 * Before a ring is stopped by the front-end: has it do again what an earlier life took, even if it
 * is disabled. True while it owes that.
 */
COLD bool queue_finish(struct queue *q);
/*
 * Instead: cancels what is in flight, to leave it recorded for the next start. True while some of
 * it is still in the kernel's hands. (It cancels once, and again when `cancel_due` is set.)
 */
COLD bool queue_suspend(struct queue *q);
/*
 * The front-end is told where the ring stops; with its next message (it may not have heard it if
 * this process dies) it is up to it where the ring goes on.
 */
COLD void queue_answer(struct queue *q);
COLD void queue_settle(struct queue *q);
/* Takes over the kick descriptor: the ring is kicked by it, or polled if fd < 0. */
COLD int queue_set_kick(struct queue *q, int fd);
/* Finds the ring again after the memory map has changed; the queue waits while it is gone. */
COLD void queue_remap(struct queue *q);
/* Stops it and forgets its set-up, but for its call and err notifications (RESET_DEVICE). */
COLD void queue_reset(struct queue *q);
/* Back to zero, but for what belongs to the device. Nothing may be in flight. */
COLD void queue_release(struct queue *q);
/* The guest's fault: one line, the err notification, and no more work until it is started again. */
COLD void queue_break(struct queue *q, const char *why);

/* ---- turns.c ---- */

/* Whether it may be worked on: started, enabled, not broken, its front-end not waiting for us. */
bool queue_works(const struct queue *q);
/* This queue may have work (again): it gets a turn in this tick. */
void queue_ready(struct queue *q);
/* It gets a turn even if it does not look so yet. */
void queue_turn(struct queue *q);

/* The steps of a tick, in this order (see loop.c). */
uint64_t queues_run(void); /* bytes of the requests that were taken */
void queues_publish(void);
/*
 * Before sleeping: asks every idle queue for kicks. True if one of them has work after all (it is
 * ready now), so that there is no sleep.
 */
bool queues_arm(void);
/* While spinning: true if an idle queue has got work (it is ready now). */
bool queues_peek(void);
bool queues_have_work(void);
/* Whether a started ring has no kick and must be polled. */
bool queues_polled(void);
bool queue_is_polled(const struct queue *q);

/* For devices: gives a request back with `written` bytes stored in its writable buffers. */
void request_done(struct request *req, uint32_t written);
/* The loop drops a request that queue_suspend has cancelled. */
void request_suspended(struct request *req);
/* For devices: the chain breaks the device's rules so badly that it cannot be answered. */
void request_break(struct request *req, const char *why);

#endif
