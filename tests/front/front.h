/*
 * A vhost-user front-end over a unix socket, for tests and benchmarks: it sends any message, right
 * or wrong, shares memory of its own, and has the well-formed messages as functions.
 *
 * Results are 0 or -errno (-ETIMEDOUT: no answer came; -EPIPE: the other side has closed; -EPROTO:
 * the answer is no answer). A well-formed message that sets something returns FRONT_REFUSED if it
 * was acked as failed; with `acks` and REPLY_ACK negotiated every one of them is acked.
 */
#ifndef VUBOX_TESTS_FRONT_H
#define VUBOX_TESTS_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"
#include "protocol.h"

enum { FRONT_PAYLOAD_MAX = 4096, FRONT_FDS_MAX = 16, FRONT_REGIONS_MAX = 520 };
enum { FRONT_REFUSED = 1 };

struct front_header {
	uint32_t request, flags, size;
};

/* What has been received. */
struct front_message {
	struct front_header header;
	unsigned char payload[FRONT_PAYLOAD_MAX];
	int fds[FRONT_FDS_MAX];
	unsigned fd_count;
};

struct front {
	int fd;
	int timeout_ms; /* for an answer */
	bool acks;      /* ask for an ack of everything, once REPLY_ACK is negotiated */
	uint64_t features, protocol;
};

/* ---- the connection (front.c) ---- */

/* Connects, and tries again until the socket is there. */
int front_connect(struct front *f, const char *path, int timeout_ms);
/* Takes a connected socket over. */
void front_adopt(struct front *f, int fd, int timeout_ms);
void front_close(struct front *f);

/* Sends bytes as they are; descriptors go with the first of them. */
int front_send_bytes(
	const struct front *f, const void *bytes, size_t len, const int *fds, unsigned fd_count);
/* Sends a message with its header; NEED_REPLY and others may be in flags. */
int front_send(const struct front *f, uint32_t request, uint32_t flags, const void *payload,
	uint32_t size, const int *fds, unsigned fd_count);
/* Receives one message; the caller closes its descriptors. */
int front_receive(const struct front *f, struct front_message *m);
/* The same from any socket, such as the back-end channel. */
int front_receive_from(int fd, int timeout_ms, struct front_message *m);
void front_close_fds(struct front_message *m);
/* Sends, and receives the answer to it. */
int front_ask(const struct front *f, uint32_t request, uint32_t flags, const void *payload,
	uint32_t size, const int *fds, unsigned fd_count, struct front_message *answer);
int front_ask_u64(const struct front *f, uint32_t request, uint64_t *value);
/* Sends with NEED_REPLY, receives the ack: 0, FRONT_REFUSED or -errno. */
int front_acked(const struct front *f, uint32_t request, const void *payload, uint32_t size,
	const int *fds, unsigned fd_count);
/* Waits until the other side has closed the connection. What it still sends is dropped. */
int front_wait_closed(const struct front *f);
/*
 * Waits until a single-threaded back-end has been through its loop: what was kicked before has
 * been seen. -errno if it does not answer.
 */
int front_settle(const struct front *f);

/* ---- well-formed messages (messages.c) ---- */

/* A region in a message. */
struct front_place {
	uint64_t guest, size, user, offset;
};

struct front_inflight {
	uint64_t size, offset;
	uint16_t queues, queue_size;
	uint32_t padding;
};

struct front_ring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

int front_get_features(struct front *f, uint64_t *features);
int front_set_features(struct front *f, uint64_t features);
int front_get_protocol_features(struct front *f, uint64_t *features);
int front_set_protocol_features(struct front *f, uint64_t features);
int front_set_owner(struct front *f);
int front_reset_owner(struct front *f);
int front_set_mem_table(
	struct front *f, const struct front_place *places, const int *fds, unsigned count);
int front_get_max_mem_slots(struct front *f, uint64_t *slots);
int front_add_mem_reg(struct front *f, const struct front_place *place, int fd);
int front_rem_mem_reg(struct front *f, const struct front_place *place, int fd); /* -1: no fd */
int front_set_vring_num(struct front *f, uint32_t index, uint32_t num);
int front_set_vring_addr(struct front *f, const struct front_ring_addr *addr);
int front_set_vring_base(struct front *f, uint32_t index, uint32_t base);
int front_get_vring_base(struct front *f, uint32_t index, uint32_t *base);
int front_set_vring_kick(struct front *f, uint32_t index, int fd); /* -1: it is to poll */
int front_set_vring_call(struct front *f, uint32_t index, int fd);
int front_set_vring_err(struct front *f, uint32_t index, int fd);
int front_set_vring_enable(struct front *f, uint32_t index, bool on);
int front_get_queue_num(struct front *f, uint64_t *count);
/* The answer may be shorter: *got says how many bytes of the space it has. */
int front_get_config(struct front *f, uint32_t offset, uint32_t size, void *bytes, uint32_t *got);
int front_set_config(
	struct front *f, uint32_t offset, uint32_t size, uint32_t flags, const void *bytes);
int front_set_backend_req_fd(struct front *f, int fd);
int front_get_inflight_fd(struct front *f, struct front_inflight *i, int *fd);
int front_set_inflight_fd(struct front *f, const struct front_inflight *i, int fd);
int front_reset_device(struct front *f);
int front_set_status(struct front *f, uint64_t status);
int front_get_status(struct front *f, uint64_t *status);

/* Features, protocol features and owner as a modern front-end does it; ~0 takes what is offered. */
int front_negotiate(struct front *f, uint64_t features, uint64_t protocol);

/* ---- guest memory (memory.c) ---- */

struct front_region {
	struct front_place place;
	int fd;
	unsigned char *host; /* of place.guest */
	void *map;
	size_t map_len;
};

/* Must not move while drivers use it. */
struct front_memory {
	struct front_region regions[FRONT_REGIONS_MAX];
	struct driver_region views[FRONT_REGIONS_MAX];
	struct driver_memory driver; /* of views */
};

/* Adds a region on a memfd of its own: 0 or -errno. The offset may be any number. */
int front_memory_add(
	struct front_memory *m, uint64_t guest, uint64_t user, uint64_t size, uint64_t offset);
/* Adds one on a memfd that is there already, and stays the caller's. */
int front_memory_add_fd(struct front_memory *m, const struct front_place *place, int fd);
/* The region that begins at this guest address; another one may get its number. */
void front_memory_remove(struct front_memory *m, uint64_t guest);
void front_memory_clear(struct front_memory *m);
/* The user address of a guest address, or 0. */
uint64_t front_user_of(const struct front_memory *m, uint64_t guest);
/* SET_MEM_TABLE of all regions (8 at most). */
int front_share(struct front *f, const struct front_memory *m);

/* ---- a queue (memory.c): a driver and its notifications ---- */

struct front_queue {
	uint32_t index;
	int kick, call, err; /* eventfds; non-blocking */
	const struct front_memory *memory;
	struct driver driver;
};

int front_queue_open(struct front_queue *q, uint32_t index, const struct driver_format *format,
	const struct front_memory *m, const struct driver_layout *at,
	const struct driver_options *options);
void front_queue_close(struct front_queue *q);
/* Size, base, addresses, call and err. */
int front_queue_set(struct front *f, const struct front_queue *q, uint32_t base);
/* All that, and the kick; then it is enabled. */
int front_queue_start(struct front *f, const struct front_queue *q, uint32_t base);
/* Publishes what was added, and kicks if the device asked for it. */
void front_queue_offer(struct front_queue *q);
void front_kick(const struct front_queue *q);
/* Waits for a chain to come back: 0, -ETIMEDOUT, or -EPROTO (q->driver.wrong). */
int front_queue_wait(struct front_queue *q, struct driver_used *used, int timeout_ms);
/* How often an eventfd was signalled since the last look. */
uint64_t front_signals(int eventfd);
/* Waits for an eventfd to be signalled: 0 or -ETIMEDOUT. */
int front_wait_signal(int eventfd, int timeout_ms);

uint64_t front_now_us(void);

#endif
