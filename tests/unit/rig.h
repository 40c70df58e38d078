/*
 * A whole vubox over the fake port, main.c included, and a front-end with its guest outside of it.
 * What goes wrong here ends in fake_die.
 */
#ifndef VUBOX_RIG_H
#define VUBOX_RIG_H

#include "device.h"
#include "driver.h"
#include "fake_port.h"

/* ---- inside: vubox ---- */

/* Runs main() with this command line, its words cut at spaces. FAKE_IDLE: it serves, and waits. */
enum fake_end rig_main(const char *command_line);
/* The same with words that are cut at another byte, in place. */
enum fake_end rig_words(char *text, char separator);
/* Goes on until it waits for ever (FAKE_IDLE), or ends. A rig_patience_ns > 0 ends it in time. */
enum fake_end rig_run(void);
extern uint64_t rig_patience_ns;
struct device *rig_device(unsigned i);

/* A device of the test's own, that answers with what it was told to. Served at "/s". */
struct stub {
	bool hold;  /* requests are held until stub_finish; else what is readable is copied */
	bool full;  /* it takes no requests (if it is shy) */
	bool grown; /* what look_again says */
	struct request *held[2048];
	unsigned held_count, taken, accepted_count, looked;
	uint64_t accepted;
	uint8_t config[VHOST_USER_CONFIG_MAX];
	uint32_t set_offset, set_len; /* of the last config_set */
	bool set_migrate;
	void (*on_request)(struct request *req); /* instead of all that */
	int (*on_turn)(struct queue *q);         /* queue 0 is pulled, by this */
};
extern struct stub stub;

/* Serves the stub with so many queues, in a fresh world; shy: it has a can_take. */
void rig_stub(unsigned queues, bool shy);
/* The same with common options of its own, in the world as it is. */
enum fake_end rig_stub_at(unsigned queues, bool shy, const char *options);
/* Answers the oldest request that is held; the next tick of rig_run makes that visible. */
void stub_finish(void);

/* ---- outside: a front-end ---- */

/* Guest memory: the rings, and data behind them. */
enum { FRONT_RINGS = 6, FRONT_RING_BYTES = 0x2000, FRONT_DATA = FRONT_RINGS * FRONT_RING_BYTES };
enum { FRONT_GPA = 0x100000 };
#define FRONT_UVA 0x7f0000000000ull
#ifndef FRONT_BYTES
#define FRONT_BYTES (1 << 20)
#endif

struct front {
	int fd; /* its end of the socket */
	int mem_fd;
	char *mem;
	struct driver rings[FRONT_RINGS];
	int kick[FRONT_RINGS], call[FRONT_RINGS], err[FRONT_RINGS];
};

void front_connect(struct front *f, const char *path);
/* The same as front_start does, on a connection that is there. */
void front_adopt(struct front *f, int fd, unsigned rings, uint64_t features);
void front_hang_up(struct front *f);

enum { FRONT_SILENT = -1, FRONT_GONE = -2 };
/* What fails is no reason to die. */
extern bool front_lenient;

/* Sends a message with a descriptor (or -1), which stays the caller's. */
void front_send(struct front *f, uint32_t request, uint32_t flags, const void *payload, size_t size,
	int fd);
/* The next reply: its payload (at most size bytes) and *fd_got, if not NULL. Its size, or above. */
int front_reply(struct front *f, uint32_t *request, void *payload, size_t size, int *fd_got);
/* Sends, runs, and takes the reply: the size of its payload, or above. */
int front_call(struct front *f, uint32_t request, void *payload, size_t size, size_t reply_max,
	int fd, int *fd_got);
/* Wants an acknowledgement: its u64, or above. */
int64_t front_ack(struct front *f, uint32_t request, const void *payload, size_t size, int fd);
int64_t front_ack_u64(struct front *f, uint32_t request, uint64_t value, int fd);
int64_t front_ack_state(struct front *f, uint32_t request, uint32_t index, uint32_t num);
/* A request with a reply of 8 bytes. */
uint64_t front_get(struct front *f, uint32_t request);

/* What a front-end does first: all protocol features, then these of the device. */
void front_negotiate(struct front *f, uint64_t features);
/* Shares FRONT_BYTES of memory: user and guest addresses as above. */
void front_share(struct front *f);
int64_t front_add_region(struct front *f, uint32_t request, uint64_t guest, uint64_t size,
	uint64_t user, uint64_t offset, int fd);
/* Sets a ring up and starts it: everything but enabling. */
void front_ring(struct front *f, unsigned i, uint32_t size);
void front_ring_addr(struct front *f, unsigned i);
/* All of the above with these features, and rings of 16 entries that are enabled. */
void front_start(struct front *f, const char *path, unsigned rings, uint64_t features);
void front_kick(struct front *f, unsigned i);

/* The guest address of byte `at` behind the rings, and where it lies. */
uint64_t front_addr(uint32_t at);
char *front_data(struct front *f, uint32_t at);

#endif
