/*
 * The simulator: the real core and devices on the fake port, with front-ends, drivers, death and
 * broken hosts that a seed decides.
 *
 *     sim.c     seeds, and workloads that are cut everywhere
 *     world.c   a world: what a seed makes of it, and a run of it
 *     life.c    the process: its birth, a tick, kill -9
 *     cut.c     … at a chosen store or call of the port (calls.c)
 *     front.c   front-ends: setting up a device, anew or after a death
 *     start.c   … and its rings
 *     wire.c    … their messages, and the answers that they must get
 *     action.c  … what they do while their drivers are at work
 *     guest.c   between two accesses to memory: may this one be? then drivers have a turn
 *     memory.c  guest memory: regions, and who uses what of them
 *     driver.c  the good driver: its steps
 *     ring.c    … its rings, and what the device may do with them: split and packed have files
 *     request.c … its requests, and what must come of them
 *     disk.c    what the disk must hold, now and after a loss of power
 *     evil.c    the bad driver, with evil_packed.c
 *     others.c  devices of other kinds, which have bad drivers only
 */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "fake_port.h"

enum { FRONTS_MAX = CONFIG_DEVICES_MAX, QUEUES_MAX = CONFIG_QUEUES_MAX, RING_MAX = 64 };

/* ---- memory.c: regions, and an allocator over them ---- */

enum { REGIONS_MAX = 7, UNIT = 32, UNITS_MAX = 4096, FILL = 0x5a };

struct region {
	uint64_t gpa, size, user, offset;
	int fd;
	char *host;
	uint32_t unit; /* the number of its first unit */
	bool shared;   /* the back-end knows of it */
};

/* Units that follow each other are neighbours in guest memory, over edges of regions, too. */
struct memory {
	struct region regions[REGIONS_MAX];
	unsigned count;
	bool odd; /* at addresses that no sector number or length looks like */
	uint32_t units;
	uint8_t busy[UNITS_MAX];
};

void memory_new(struct memory *m);
void memory_delete(struct memory *m);
/* Where to find len bytes; 0: nowhere. ring: aligned, and in one region. */
uint64_t memory_alloc(struct memory *m, uint32_t len, bool ring);
void memory_free(struct memory *m, uint64_t gpa, uint32_t len);
void memory_free_all(struct memory *m);
/* No byte that is nobody's was touched. */
void memory_check(const struct memory *m);
void memory_put(const struct memory *m, uint64_t gpa, const void *bytes, uint32_t len);
void memory_get(const struct memory *m, uint64_t gpa, void *bytes, uint32_t len);
char *memory_host(const struct memory *m, uint64_t gpa);
/* Which region has a pointer of ours, or NULL. */
const struct region *memory_region(const struct memory *m, const void *at);
uint64_t memory_user(const struct memory *m, uint64_t gpa);
/* An address where no region is. */
uint64_t memory_nowhere(const struct memory *m);
/* A region without a busy unit, or NULL; shares it or takes it back. */
struct region *memory_spare(struct memory *m, bool shared);
void memory_share(struct memory *m, struct region *r, bool shared);

/* ---- disk.c: what every sector may hold, now and after a loss of power ---- */

enum { SECTORS_MAX = 160, VERSIONS_MAX = 12, SECTOR = 512 };

struct disk {
	struct fake_image *image;
	uint32_t sectors, next_id;
	uint64_t clock;
	bool loose[SECTORS_MAX];
	uint8_t readers[SECTORS_MAX], count[SECTORS_MAX];
	bool writing[SECTORS_MAX];
	struct version {
		uint32_t id;
		uint64_t done; /* when; 0: it may or may not have happened */
	} versions[SECTORS_MAX][VERSIONS_MAX];
};
enum { ID_ZERO, ID_ANY, ID_FIRST };

void disk_new(struct disk *d, const char *path, uint32_t sectors);
/* The image has become larger, and the device knows. */
void disk_grown(struct disk *d, uint32_t sectors);
/* Takes a range for reading (shared) or writing, or false. */
bool disk_lock(struct disk *d, uint64_t sector, uint32_t count, bool write);
void disk_unlock(struct disk *d, uint64_t sector, uint32_t count, bool write);
void disk_fill(uint8_t *bytes, uint32_t id, uint64_t sector);
void disk_write_begins(struct disk *d, uint64_t sector, uint32_t count, uint32_t id);
void disk_write_done(struct disk *d, uint64_t sector, uint32_t count, bool stable);
void disk_flushed(struct disk *d, uint64_t since);
void disk_check_read(const struct disk *d, uint64_t sector, uint32_t count, const uint8_t *bytes);
void disk_check(const struct disk *d, bool after_power_loss);

/* ---- ring.c, ring_split.c, ring_packed.c ---- */

enum { SEGS_MAX = 40, BYTES_MAX = 8192, REQS_MAX = 96 };

struct seg {
	uint64_t gpa;
	uint32_t len;
	bool writable, nowhere;
};

struct sim_request {
	struct sim_queue *queue;   /* NULL: free */
	uint16_t head, desc_count; /* split: its first descriptor; packed: its buffer id */
	uint16_t descs[RING_MAX];  /* split: which they are */
	uint64_t table;            /* indirect: its table, and its bytes */
	uint32_t table_len;
	unsigned seg_count;
	uint32_t readable, writable; /* bytes */
	uint32_t place;              /* in the order in which requests are made available */
	bool shown;                  /* … and it is, as far as the driver has to do with it */
	bool begun;                  /* the device has looked at it */
	unsigned begun_in;           /* … last in this life */

	uint32_t type, id;
	uint64_t sector;
	uint32_t sectors;
	bool locked, write_lock, writes;
	bool stable;      /* must be on stable storage when it is done */
	uint32_t wce_age; /* and was asked for under this state of the cache */
	uint64_t began;
	uint8_t expect; /* status */
	struct seg segs[SEGS_MAX];
};

enum driver_state { AWAKE, ARMING, ASLEEP };

/*
 * A ring and its driver. Indices count from its birth and do not wrap: a format makes of them
 * what its memory holds. Of a split ring they count chains, of a packed one descriptors.
 */
struct sim_queue {
	struct front *front;
	const struct ring_format *format;
	uint16_t index, size;
	uint64_t desc, avail, used; /* guest addresses */
	char *desc_at, *avail_at, *used_at;
	bool made;    /* it has a ring */
	bool running; /* between SET_VRING_KICK and the end of GET_VRING_BASE */
	bool up;      /* it was started on this connection */
	bool enabled, polled, evil;
	uint32_t base;   /* what SET_VRING_BASE said last, or GET_VRING_BASE */
	bool base_known; /* it is where the ring goes on */
	uint32_t avail_idx, published, kicked, last_used;
	uint32_t event; /* a call is wanted when this one is used */
	bool kick_due;
	uint16_t held_flags; /* packed: of the first descriptor that is not published */
	bool wild_ids;       /* packed: buffer ids are any numbers */
	enum driver_state state;
	int kick, call, err;
	uint16_t desc_free, outstanding;
	struct sim_request *by_slot[RING_MAX]; /* of the descriptor that it begins with */
	bool desc_busy[RING_MAX];
	uint32_t next_place, walked_place, begun_place, back_place;
	unsigned walks;      /* of heads, in this tick */
	unsigned used_loads; /* of the used index, since it was started */
	uint64_t zone;       /* evil: where its buffers are */
	uint32_t zone_len;
};

/* A format of rings: what its driver does, and what it knows of the device. */
struct ring_format {
	uint32_t (*bytes)(const struct sim_queue *q, int part); /* 0 desc, 1 avail, 2 used */
	uint16_t (*next_size)(uint16_t size);                   /* the next smaller one */
	/* Memory as its history would have left it; the base that a front-end gives. */
	uint32_t (*begin)(struct sim_queue *q);
	/* Puts a request into the ring, where the device does not see it yet. False: no room. */
	bool (*describe)(struct sim_queue *q, struct sim_request *r);
	void (*release)(struct sim_queue *q, const struct sim_request *r);
	void (*publish)(struct sim_queue *q);
	bool (*wants_kick)(const struct sim_queue *q);
	/* Asks for a call when `event` is used; asks for none. */
	void (*ask)(struct sim_queue *q, uint32_t event);
	void (*refuse)(struct sim_queue *q);
	/* How far the device has come, as the driver sees it; the next that came back. */
	uint32_t (*end)(const struct sim_queue *q);
	struct sim_request *(*take)(struct sim_queue *q, uint32_t *written);
	/* What GET_VRING_BASE says when all that was taken is given back; or some of it may be. */
	uint32_t (*base)(const struct sim_queue *q);
	bool (*base_fits)(const struct sim_queue *q, uint32_t base, bool all);
	/* What a front-end gives after its back-end has died: one way of several. */
	uint32_t (*base_guessed)(const struct sim_queue *q);
	/* Judges a store into a part that the device writes, and a load at gpa. */
	void (*check_store)(const struct sim_queue *q, uint64_t gpa, size_t len);
	void (*check_load)(struct sim_queue *q, uint64_t gpa, size_t len);
};
extern const struct ring_format ring_split, ring_packed;

void ring_make(struct sim_queue *q);
void ring_drop(struct sim_queue *q);
/* An evil driver starts over. */
void ring_clear(struct sim_queue *q);
uint32_t ring_bytes(const struct sim_queue *q, int part);
/* Whether [gpa, gpa + len) is in a part of a ring that the device writes. */
bool ring_has(const struct sim_queue *q, uint64_t gpa, size_t len);
/* Whether something came back that the driver is to be called for. */
bool ring_owes_call(const struct sim_queue *q);
/* Before the device makes visible what it has pushed. */
void ring_publishes(const struct sim_queue *q);
/* The device looks at the first descriptor of a request. */
void ring_walks(struct sim_queue *q, const struct sim_request *r);
uint16_t ring_get16(const char *at);
void ring_put16(char *at, uint16_t v);
struct virtq_desc ring_desc(const struct memory *m, const struct seg *s);

bool ring_feature(const struct sim_queue *q, uint64_t feature);

/* ---- driver.c, request.c ---- */

void driver_step(struct sim_queue *q);
/* Before everything sleeps: does what is due; true if the device was kicked. */
bool driver_settle(struct sim_queue *q);
/* Nothing may be left to do, for nobody is going to do it. */
void driver_check_idle(const struct sim_queue *q);
/* Forgets all requests: the device was reset, or has died without a trace. */
void driver_abandon(struct sim_queue *q);
void driver_publish(struct sim_queue *q);
bool driver_kick(struct sim_queue *q);

/* Makes a request of any kind and fills bytes (readable); false: not now. */
bool request_make(struct sim_queue *q, struct sim_request *r, uint8_t *bytes);
/* It came back: status, data and disk are as they must be. */
void request_check(struct sim_request *r, uint32_t written);
/* Gives back what it holds of the disk. */
void request_release(struct sim_request *r);
/* Whether the device reads its header at this address. */
bool request_begins(const struct sim_request *r, uint64_t gpa);

/* ---- evil.c, evil_packed.c ---- */

void evil_step(struct sim_queue *q);
/* Before a load of what an evil driver can write. */
void evil_flip(struct sim_queue *q, char *at, size_t len);

/* What both formats use: an address, a length, flags, a descriptor; good just often enough. */
uint64_t evil_addr(const struct sim_queue *q);
uint32_t evil_len(const struct sim_queue *q);
uint16_t evil_flags(void);
/* Of a packed ring: a step of its own; a chain of three; flips what is at a load. */
void evil_packed_step(struct sim_queue *q);
void evil_packed_offer(struct sim_queue *q, const struct virtq_desc *d, bool indirect);
bool evil_packed_flip(struct sim_queue *q, uint64_t gpa, char *at, size_t len);

/* ---- front.c ---- */

struct front {
	unsigned index;
	struct device *device;
	bool blk, evil, connected;
	const struct other *other; /* neither a disk nor entropy, and evil */
	/* On this connection: REPLY_ACK is in force, memory is shared, features are agreed on. */
	bool acks, shares, negotiated;
	bool stopped; /* in order: whoever serves it next is told where it goes on */
	bool keeps;   /* … and what is on record says so: it can be used again */
	bool fresh;   /* the driver starts over at the next connection */
	bool lawless; /* until then nothing is promised */
	bool client;  /* the device connects to us */
	bool growing; /* its disk may become larger at any time */
	/* Features that it insists on, or has not; of the device and of the protocol. */
	uint64_t must, never, protocol_must;
	int listener, fd, backend_fd, inflight_fd;
	uint64_t features, protocol;
	uint16_t queue_count, queue_size_max, queues_used;
	bool read_only, writeback;
	uint32_t wce_age;
	struct disk disk;
	struct memory memory;
	struct sim_queue queues[QUEUES_MAX];
	char path[8], image[8], serial[8];
};

/* Connects if need be, and sets up everything anew or again. */
void front_up(struct front *f);
void front_hang_up(struct front *f);
bool front_has(const struct front *f, unsigned protocol_feature);
bool front_writes_through(const struct front *f);
bool front_share_memory(struct front *f);
bool front_region(struct front *f, uint32_t id, const struct region *r);
/* Fresh descriptors for its notifications. */
void front_notify_again(struct sim_queue *q);
bool front_start_queue(struct front *f, struct sim_queue *q);
bool front_stop_queue(struct front *f, struct sim_queue *q);
void front_enable(struct front *f, struct sim_queue *q, bool on);
/* What the device says of its disk's size, in sectors; 0: connection lost. */
uint64_t front_capacity(struct front *f);
bool front_set_writeback(struct front *f, bool on);
void front_forget(struct front *f);
/* All is done: nothing is on record as in flight. */
void front_check_inflight(const struct front *f);

/* ---- wire.c ---- */

/* A message with its answer in *reply (8 bytes at least), if it has one. False: connection lost. */
bool wire_ask(struct front *f, uint32_t id, const void *payload, uint32_t len, void *reply,
	uint32_t reply_len);
/* A message without an answer of its own; descriptor or -1. */
bool wire_tell(struct front *f, uint32_t id, const void *payload, uint32_t len, int fd);
/* The same with descriptors: one that comes with the answer, some that go with the message. */
bool wire_ask_fd(struct front *f, uint32_t id, const void *payload, uint32_t len, void *reply,
	uint32_t reply_len, int *fd);
bool wire_tell_fds(struct front *f, uint32_t id, const void *payload, uint32_t len, const int *fds,
	unsigned count);
/* Waits until all that was said is done. */
bool wire_sync(struct front *f);
/* life_run, but where calls of the port fail it may take some time. */
bool wire_wait(bool (*done)(void *arg), struct front *f);

/* ---- action.c ---- */

void action_any(struct front *f);

/* ---- guest.c ---- */

void guest_install(void);
/* Some steps of some drivers. */
void guest_turn(unsigned steps);

/* ---- others.c ---- */

/* Makes it a device of another kind, all of whose drivers are bad. */
void other_make(struct front *f);
const char *other_name(const struct front *f);
/* How many descriptors of clients it may keep that have gone. */
unsigned other_keeps(const struct front *f);
/* Its command line. */
void other_options(
	const struct front *f, const struct device_class *class, struct option_value *values);
/* A chain that would be good for its device, and what is in it. */
void other_chain(struct sim_queue *q, struct virtq_desc d[3]);
/* The host does something at the other end of a device. */
void other_acts(const struct front *f);
/* The host closes all that it has; or knows of nothing, before the first life. */
void others_go(void);
void others_forget(void);

/* ---- life.c ---- */

void life_remember(void); /* once, before the first life */
void life_begin(void);
void life_end(void);
/* Whether this is a variable of the real code, or on the stack. */
bool life_owns(const void *at);
/* Runs it until done(arg), or all is idle: then false. Ends the seed's try if it was killed. */
bool life_run(bool (*done)(void *arg), void *arg);
/* Runs it for so many ticks, or until all is idle. */
void life_ticks(unsigned ticks);
/* Of what does not belong to a connection, nothing is left. */
void life_check_leaks(void);
/* SIGTERM. */
void life_terminate(void);

/* ---- cut.c ---- */

/* Before a store of the real code to shared memory (at, len: what may be torn) or a call. */
void cut_event(const char *what, void *at, size_t len);
/* Before anything else: the end of a store that is torn. */
void cut_finish(void);
void cut_reset(void);

/* ---- world.c: the world of one seed ---- */

enum { DEATHS_MAX = 2 };

/* A run: of a seed's world; or of its workload, with deaths before these events, counted from 1. */
struct run {
	uint64_t seed;
	bool cuts;
	bool others;             /* its world has devices of other kinds */
	uint64_t at[DEATHS_MAX]; /* of the first life, of the second; 0: never */
	enum fake_fate fate[DEATHS_MAX];
	bool torn;   /* the first of them is in the middle of the store */
	bool stores; /* for the second, only stores count */
	bool verbose;
};

/* How often what must be tried was there. */
struct seen {
	uint64_t batches;   /* of several requests, made visible at once */
	uint64_t wrapped;   /* … over the end of the ring */
	uint64_t whole;     /* … of all of its requests, and it was full */
	uint64_t overtaken; /* requests that came back before an older one */
	uint64_t chains;    /* … of several descriptors in the ring */
	uint64_t again;     /* requests that a second life began again */
};

struct world {
	struct seen seen;
	struct front fronts[FRONTS_MAX];
	unsigned front_count;
	struct sim_request requests[REQS_MAX];
	unsigned posts_left, actions_left;
	unsigned chattiness; /* one driver step in so many accesses */
	bool lazy;           /* drivers publish many requests at once, and kick late */
	unsigned calm;       /* ticks that bad drivers keep still */
	bool finishing;      /* all that waits has to be done */
	bool faults;         /* calls of the port fail, so connections may be lost */
	bool io_fails;
	bool idle;        /* the run ended because nothing happens any more */
	uint64_t kill_in; /* accesses until the process dies; 0: never */
	uint64_t cut_in;  /* or stores and calls */
	bool tearing;     /* and then, the store happens in part */
	bool cut_stores;  /* only these count */
	uint64_t stores;  /* of this life */
	const struct run *run;
	unsigned kills, deaths;
	uint64_t events[DEATHS_MAX + 1]; /* stores and calls of each life */
	bool pieces;                     /* the first death was before a store that can be torn */
	bool counting;                   /* … are they counted */
	bool running;                    /* the process is at work */
	bool power_loss;                 /* the death is that of the host */
	bool killed, has_died;
	bool moving; /* … in order: another one takes over */
	jmp_buf killed_jump;
	uint64_t poll_ns;
	uint64_t accesses, tick_accesses;
	unsigned quiet_ticks; /* ticks since anybody did anything */
	bool verbose;
};
extern struct world w;

void world_run(const struct run *run);

/* The end of what the device has logged. */
const char *sim_log(void);
_Noreturn void sim_died(const char *text);
__attribute__((format(printf, 1, 2))) void sim_note(const char *format, ...);

#endif
