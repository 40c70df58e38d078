/*
 * A port without an operating system: every function of port.h and out.h over virtual descriptors,
 * memory, images and time. Same seed, same run. Unit tests, fuzz targets and the simulator link
 * tests/unit/fake_*.c instead of port/.
 *
 * "Inside" is what the code under test owns, "outside" what the test owns: leaks are counted inside
 * only. A descriptor that is sent over a socket becomes a new one on the other side.
 * What no correct program does (a double close, I/O into memory that is not mapped, waiting for
 * ever with nobody to wake it) ends in fake_die.
 */
#ifndef VUBOX_FAKE_PORT_H
#define VUBOX_FAKE_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port.h"
#include "spec/virtio_net.h"

/* Calls that can be made to fail. FAKE_IO is the result of an I/O. */
enum fake_call {
	FAKE_READ_FILE,
	FAKE_SIGNALS_OPEN,
	FAKE_WAIT_OPEN,
	FAKE_WAIT_ADD,
	FAKE_NOTIFY_TAKE,
	FAKE_LISTEN,
	FAKE_CONNECT,
	FAKE_ACCEPT,
	FAKE_SOCKET_KIND,
	FAKE_RECV,
	FAKE_SEND,
	FAKE_MAP,
	FAKE_SHARED_FILE,
	FAKE_FILE_OPEN,
	FAKE_FILE_RESIZE,
	FAKE_IO,
	FAKE_RANDOM,
	FAKE_STREAM_OPEN,
	FAKE_STREAM_READ,
	FAKE_USER_FIND,
	FAKE_CHROOT,
	FAKE_USER_BECOME,
	FAKE_CAGE_PRIVILEGES,
	FAKE_CAGE_LANDLOCK,
	FAKE_CAGE_SECCOMP,
	FAKE_PTY_OPEN,
	FAKE_STDIO_OPEN,
	FAKE_LINK,
	FAKE_LOG_OPEN,
	FAKE_LOG_ROTATE,
	FAKE_STREAM_WRITE,
	FAKE_TAP_OPEN,
	FAKE_TAP_OFFLOAD,
	FAKE_TAP_ATTACH,
	FAKE_TAP_SEND,
	FAKE_TAP_RECV,
	FAKE_CALLS
};

enum { FAKE_FD_FIRST = 100, FAKE_FDS_MAX = 4096, FAKE_LOG_MAX = 1 << 16, FAKE_TRACE_MAX = 64 };

/* What becomes of I/O. FAKE_ANY: done, done in part, or not. */
enum fake_fate { FAKE_ANY, FAKE_DONE, FAKE_LOST };

/* What a test may set, and look at. fake_reset sets it back to what the comments say. */
struct fake {
	uint64_t now_ns;      /* the clock: 1 s; a look at it or a port_io_submit costs 100 ns */
	uint64_t wait_ns;     /* what a port_wait that does not wait costs: 1 us */
	uint64_t end_ns;      /* fake_run ends when the clock is there; 0: never */
	uint64_t io_delay_ns; /* an I/O takes 0 to so long: they overtake each other; 0 */
	bool no_io_event;     /* port_io_event gives -1 */
	bool strict_io;       /* I/O that the device should have refused dies, and does not fail */
	bool shuffle;         /* events of one wait come in random order */
	bool in_pieces;       /* port_recv gives a random part of what is there */
	enum fake_fate fate;  /* of I/O in flight when the process is killed: any */
	size_t socket_room;   /* bytes that a socket takes before it is full: 64 KiB */
	bool verbose;         /* log lines go to stderr, too */
	uint16_t cols, rows;  /* of every terminal; 0: there is none */

	/* Called by every port_wait, before it looks; and when there is nothing and no I/O is in
	 * flight (timeout_ns as port_wait has it): true if there may be something now. NULL: none.
	 */
	void (*on_wait)(int64_t timeout_ns);
	bool (*on_idle)(int64_t timeout_ns);
	/* Before an I/O reads or writes these bytes of memory. */
	void (*on_io)(const struct port_io *io, const void *at, size_t len);
	void (*on_die)(const char *text); /* before the process aborts; may longjmp */

	/* Failures: call n of a function, n counted from 1 (calls[] counts); or call n of them all;
	 * or one in so many of the calls in the mask (1ull << FAKE_…). 0: none. */
	unsigned fail_at[FAKE_CALLS];
	unsigned fail_any;
	unsigned fail_one_in;
	uint64_t fail_mask;
	int fail_error; /* 0: one that fits the call */
	unsigned calls[FAKE_CALLS], calls_all;
	unsigned failed;                      /* how many were made to fail */
	enum fake_call trace[FAKE_TRACE_MAX]; /* the first calls, in their order */

	struct port_user user; /* that it became */
	char root[64];         /* of port_chroot */
	bool raw;              /* the terminal */
	char link[128];        /* the last symlink: PATH -> TARGET */
	bool caged;            /* by seccomp: what is only done at the start dies from now on */

	char log[FAKE_LOG_MAX]; /* lines on stderr since fake_reset or fake_log_clear */
	size_t log_len;
	unsigned log_lines;
	char out[FAKE_LOG_MAX]; /* what went to stdout */
	size_t out_len;
	int exit_status; /* of port_exit, after FAKE_EXITED */
};
extern struct fake fake;

/* Everything is gone and fresh. */
void fake_reset(uint64_t seed);
/* kill -9: what is inside is gone (I/O in flight happens wholly, in part, or not), the rest stays.
 */
void fake_kill(void);
/* A random number below n, of the same sequence as everything here. */
uint32_t fake_random(uint32_t n);
/* Ends the test: it has found a bug. */
_Noreturn __attribute__((format(printf, 1, 2))) void fake_die(const char *format, ...);

/* Runs fn(arg) until it returns or one of these happens; loop_run may be run again after FAKE_IDLE.
 */
enum fake_end { FAKE_RETURNED, FAKE_IDLE, FAKE_TIME, FAKE_EXITED, FAKE_ABORTED };
enum fake_end fake_run(void (*fn)(void *arg), void *arg);
/* From a hook: ends fake_run with FAKE_TIME. */
_Noreturn void fake_stop(void);

void fake_log_clear(void);
bool fake_log_has(const char *text);

/* ---- descriptors. All made here are outside, but for pair[0] ---- */

int fake_notify_new(enum port_notify_kind kind);
void fake_notify_signal(int fd);
/* How many signals came since the last look. */
uint64_t fake_notify_take(int fd);

void fake_socketpair(int pair[2]);
/* Connects to what port_listen listens on, or -ECONNREFUSED. */
int fake_connect(const char *path);
/* Listens for port_connect; accepts, or -EAGAIN. */
int fake_listen(const char *path);
int fake_accept(int listener);
/* One message with descriptors, which stay the caller's. -EPIPE: the other side has closed. */
int fake_send(int fd, const void *buf, size_t len, const int *fds, unsigned count);
/* What is there, at most len bytes; a descriptor with them in *fd_got, else -1 (NULL: closed).
 * 0: hung up. -EAGAIN: nothing. */
int fake_recv(int fd, void *buf, size_t len, int *fd_got);
/* What fake_recv would say, without taking it: 0, -EAGAIN, or 1 for something. */
int fake_peek(int fd);

/* Sends no more; the other side sees the end behind what was sent. */
void fake_shut(int fd);

/* A shared memory file of zeroes; its bytes, for as long as the file lives. */
int fake_memory_new(uint64_t len);
char *fake_memory(int fd);
uint64_t fake_memory_len(int fd);
/* Shrinks it under its mappings: their pages are gone, and read as zeroes. */
void fake_truncate(int fd, uint64_t len);

/* Something that cannot be waited for or mapped. */
int fake_other_new(void);
void fake_close(int fd);
/* Another outside descriptor for the same thing. */
int fake_dup(int fd);

/* Inside: for leak checks. */
unsigned fake_open_fds(void);
unsigned fake_open_maps(void);
unsigned fake_watches(void);
/* Whether all of these bytes are mapped inside right now. */
bool fake_mapped(const void *at, size_t len);

void fake_signal(enum port_signal signal);

/* A path that landlock took away, if it did: the fake dies. */
void fake_path_check(const char *path, bool client);
/* The same for a log. */
void fake_log_check(const char *path);

/* The other side of a pseudo-terminal, and of what standard input and output are: sockets. */
int fake_pty(unsigned number);
int fake_stdio(int fd);

/* ---- files ---- */

/* An image (or any file). bytes is what reads see, stable what survives the loss of power. */
struct fake_image {
	char path[64];
	uint64_t size;
	unsigned char *bytes, *stable;
	bool *dirty; /* by sector of 512 bytes: bytes may differ from stable */
	bool directory, block_device, locked;
	uint32_t logical_block, physical_block; /* 512 */
	unsigned opens;
	unsigned reads, writes, flushes, discards, zeroes; /* I/Os done */
	bool last_keep, last_sync;                         /* of the last zero or write */
	struct fake_image *next;
};

struct fake_image *fake_image_new(const char *path, uint64_t size);
struct fake_image *fake_image_find(const char *path);
void fake_image_resize(struct fake_image *image, uint64_t size);
/* Each sector that was not flushed is lost or not. */
void fake_power_loss(struct fake_image *image);
/* A file of text for port_read_file; a stream gets more by fake_stream_feed. */
void fake_file_new(const char *path, const char *text);
void fake_stream_new(const char *path, bool endless);
void fake_stream_feed(const char *path, const void *bytes, size_t len);

/* What port_stream_write has written to a file (at most size bytes): its length. */
size_t fake_stream_written(const char *path, void *bytes, size_t size);

/* ---- taps ---- */

/* One that is there, or is made when it is opened. Its kernel judges headers as Linux does. */
struct fake_tap {
	char name[16];
	bool up;           /* true */
	bool single;       /* it was made for one queue */
	uint32_t has;      /* offloads of the kernel: all */
	uint32_t offloads; /* as they were set last */
	unsigned queues;   /* open ones */
	unsigned attached; /* one bit each */
	unsigned sets;     /* how often offloads were set */
};
struct fake_tap *fake_tap_new(const char *name);
/* An inside descriptor of it, as one that was inherited; `vnet`: with the right flags. */
int fake_tap_fd(struct fake_tap *tap, bool vnet);
/* A frame for the guest, in a queue; hdr NULL: nothing left to do. */
void fake_tap_frame(struct fake_tap *tap, unsigned queue, const struct virtio_net_hdr *hdr,
	const void *bytes, size_t len);
/* How many frames wait in a queue. */
unsigned fake_tap_waiting(struct fake_tap *tap, unsigned queue);
/* The next frame from the guest: its length, or -EAGAIN. What is not NULL is filled in. */
int fake_tap_sent(struct fake_tap *tap, unsigned *queue, struct virtio_net_hdr *hdr, void *to,
	size_t size);

#endif
