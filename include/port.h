/*
 * What vubox asks of an operating system. Everything below this line of the house is in port/; the
 * unit tests and the simulator have a port of their own. A function that returns int gives a value
 * >= 0, or -errno. Nothing here blocks, unless it says so.
 */
#ifndef VUBOX_PORT_H
#define VUBOX_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "out.h" /* time, stderr and abort: port implements them too */
#include "span.h"

/* ---- the process ---- */

/* Before anything is opened: the descriptors 0 to 2 are there; signals that end nobody. */
int port_process_open(void);

/* Writes all of it to stdout (may block: only before anything is served). */
void port_write_out(const char *text, size_t len);

_Noreturn void port_exit(int status);

/* Closes a descriptor, whosever it was; without waiting, even if it is a socket that lingers. */
void port_close(int fd);

/* Whether fd was inherited, for writing, so that nothing that we open can be it. 0, or -errno. */
int port_ready_check(int fd);
/* Tells whoever has started us that all is served: writes a newline, and closes it. */
void port_ready(int fd);

/* Reads a whole file of at most `size` bytes into buf: its length, or -EFBIG. */
int port_read_file(const char *path, char *buf, size_t size);

/*
 * Signals that ask something of us: TERM and INT end, HUP looks again at what may have changed,
 * USR1 wants to know what was done, WINCH looks at the size of a terminal.
 */
enum port_signal {
	PORT_SIGNAL_NONE,
	PORT_SIGNAL_END,
	PORT_SIGNAL_AGAIN,
	PORT_SIGNAL_TELL,
	PORT_SIGNAL_RESIZE
};

/* From now on these signals are events of the descriptor that is returned. */
int port_signals_open(void);
enum port_signal port_signals_next(int fd);

/* ---- the cage: what is given up before anything is served ---- */

/* Who and where the process is from now on, for the sockets that it makes and connects to. */
struct port_user {
	uint32_t ids[2]; /* of the user, and of the group */
};
/*
 * UID or the name of a user, and maybe a colon and GID or the name of a group. Without that, the
 * group is the user's own, or that of the UID's number. -ENOENT: there is no such user or group.
 */
int port_user_find(const char *text, struct port_user *user);
/* The root directory from now on, for paths. */
int port_chroot(const char *path);
/* Becomes that user, in that group only, for good. */
int port_user_become(const struct port_user *user);

/*
 * What is still done with a path later: its socket file is removed, or (client) connected to, or
 * (log) it is opened again, and renamed in its directory.
 */
struct port_cage_path {
	const char *path;
	bool client, log;
};
enum { PORT_CAGE_CLIENT = 1, PORT_CAGE_LOG = 2 };

/*
 * Each of these is for good. No privileges can be gained any more; capabilities are dropped but for
 * one that removes or connects to what others own (with_paths). There are no core dumps.
 */
int port_cage_privileges(bool with_paths);
/* Nothing can be done with paths but that, nothing with TCP: the version of landlock's ABI. */
int port_cage_landlock(const struct port_cage_path *paths, unsigned count);
/*
 * Only the system calls that serving makes (port/calls.sh): any other ends the process. `needs` is
 * of PORT_CAGE_…: what only those paths need.
 */
int port_cage_seccomp(unsigned needs);

/* ---- waiting ---- */

/* EDGE_ANY: whenever it becomes readable or writable, it was so before or not. */
enum port_trigger { PORT_LEVEL, PORT_EDGE, PORT_EDGE_ANY };

int port_wait_open(void);
int port_wait_add(int fd, uint64_t token, enum port_trigger trigger);
void port_wait_remove(int fd);

/*
 * Waits for events: the one call that blocks. timeout_ns < 0: for ever. Stores at most max tokens
 * and returns their number (0 after a timeout or a signal).
 */
unsigned port_wait(uint64_t *tokens, unsigned max, int64_t timeout_ns);

/* ---- notifications: kick, call and err ---- */

/*
 * A descriptor from the front-end that says "something happened": an eventfd, a pipe or a socket,
 * blocking or not. It is used as it is, for its flags are shared with the front-end. Zero is none.
 */
enum port_notify_kind {
	PORT_NOTIFY_NONE,
	PORT_NOTIFY_EVENT,
	PORT_NOTIFY_EVENT_BLOCKING,
	PORT_NOTIFY_PIPE,
	PORT_NOTIFY_SOCKET
};
struct port_notify {
	enum port_notify_kind kind;
	int fd;
};

/* Takes over fd. -EINVAL (fd is closed) if it is nothing that can notify. */
int port_notify_take(struct port_notify *notify, int fd);
void port_notify_close(struct port_notify *notify);
/* Signals it; if it is full, the other side has not even seen the signals before this one. */
void port_notify_send(const struct port_notify *notify);
/* Empties what must be emptied (pipes and sockets; events are watched by edge and never read). */
void port_notify_drain(const struct port_notify *notify);

/* ---- unix sockets ---- */

/*
 * Listens on path: a socket file that nobody serves is replaced, atomically. -EADDRINUSE if it
 * is served, -EEXIST if it is no socket. *id tells the file again (for port_unlisten).
 */
struct port_socket_id {
	uint64_t device, inode;
};
int port_listen(const char *path, struct port_socket_id *id);
/* Removes the socket file if it is still the one that port_listen made. */
void port_unlisten(const char *path, const struct port_socket_id *id);
int port_connect(const char *path);
/*
 * Whether fd is the other end of a connection that we have accepted: held by us, it would never
 * seem to be hung up.
 */
bool port_is_own_connection(int fd);
/* -EAGAIN: nobody waits. -ESHUTDOWN: nobody ever will. */
int port_accept(int listener);
/* 1: fd is a listening stream socket, 0: a connected one; made non-blocking in our use of it. */
int port_socket_kind(int fd);

/*
 * Receives at most len bytes and at most *fd_count descriptors (their number on return; a surplus
 * is closed and makes it -EMSGSIZE). 0: the other side has hung up. -EAGAIN: nothing now.
 */
int port_recv(int fd, void *buf, size_t len, int *fds, unsigned *fd_count);
/*
 * Sends all, and send_fd if that is >= 0. -EAGAIN: nothing was sent, as the other side has not read
 * enough; -EPIPE: only a part was.
 */
int port_send(int fd, const void *buf, size_t len, int send_fd);
/* Sends what goes at once: so many bytes, or -EAGAIN. */
int port_send_some(int fd, const void *buf, size_t len);

/* A socket of datagrams on path, as port_listen makes one; and whom it talks to from now on. */
int port_datagrams_open(const char *path, struct port_socket_id *id);
int port_datagrams_connect(int fd, const char *path);

/* ---- unix sockets whose other end talks to a guest ---- */

/* Spans of one call at most: what is behind them is for the next one. */
enum { PORT_PEER_SPANS = 64 };

/* Connects, to a socket of messages (SOCK_SEQPACKET) or of bytes. */
int port_peer_connect(const char *path, bool messages);
/*
 * Takes a line, and nothing behind it: its length, without the newline. -EAGAIN: its end is not
 * there yet. -EPROTO: it is longer than size - 1, or ends without a newline.
 */
int port_peer_line(int fd, char *line, size_t size);
/* Reads at most len bytes (>= 1), to the spans behind their first `skip`. 0: there are no more. */
int port_peer_read(int fd, struct sink to, uint32_t skip, uint32_t len);
/* The same with messages, one of which may be read in parts; *whole: this was the last of it. */
int port_peer_read_message(int fd, struct sink to, uint32_t skip, uint32_t len, bool *whole);
/* Writes so many bytes, from the spans behind their first `skip`: how many were taken. */
int port_peer_write(int fd, struct source from, uint32_t skip, uint32_t len);
/* The same of our own, from PORT_PEER_SPANS places at most. */
struct port_bytes {
	const void *at;
	size_t len;
};
int port_peer_send(int fd, const struct port_bytes *bytes, unsigned count);
/* We read, or write, no more. */
enum port_peer_side { PORT_PEER_READS, PORT_PEER_WRITES };
void port_peer_shut(int fd, enum port_peer_side side);
/* 1: the other side writes no more. 2: nor does it read. */
int port_peer_ended(int fd);

/* ---- shared memory ---- */

/*
 * A mapping of someone's file, guarded: when a page of it is gone (the file was truncated: SIGBUS),
 * a page of zeroes takes its place, `hit` counts it and the process goes on. Zero is no mapping.
 */
struct port_map {
	char *base;                      /* page-aligned start of the mapping */
	size_t len;                      /* its bytes */
	size_t page;                     /* bytes of a page of this file */
	uint64_t offset;                 /* of its start in the file */
	uint64_t device, inode, born[2]; /* which file it is; born 0: not known */
	bool writable;
	bool shared; /* with all of the same file and place */
	volatile int hit;
	struct port_map *same; /* the next one in the ring of those that share it */
	struct port_map *next, **link;
};

/*
 * Maps [offset, offset + len) of fd, readable and writable (or not), shared; fd may be closed after
 * it. *at is where offset lies. -EFAULT if the file is shorter than that. What is mapped already is
 * not mapped again: a hit is of all that have it, and the last one unmaps it.
 */
int port_map(struct port_map *map, int fd, uint64_t offset, uint64_t len, bool writable, char **at);
void port_unmap(struct port_map *map);
/*
 * Maps the same place of the file anew, at the same address: its pages are given back, and those
 * that a fault has replaced. -errno: it is unmapped.
 */
int port_map_renew(struct port_map *map, int fd);
/* True once after any mapping was hit; then look at the `hit` of each. */
bool port_map_hits(void);

/* Address space for len bytes of zeroes, which cost memory when they are touched. NULL: none. */
void *port_reserve(size_t len);

/* A new shared memory file of len bytes, zeroed, that cannot shrink. */
int port_shared_file(const char *name, uint64_t len);

/* ---- files, and I/O between them and guest memory ---- */

enum port_engine { PORT_ENGINE_AUTO, PORT_ENGINE_URING, PORT_ENGINE_MMAP, PORT_ENGINE_SYNC };

struct port_file_options {
	const char *path;
	bool read_only;
	bool direct; /* O_DIRECT; requests that are not aligned for it are slower */
	bool no_lock;
	uint64_t create_size; /* create or grow to so many bytes; 0: don't */
	enum port_engine engine;
};

/* What a file or block device is like. Zero is a closed file. */
struct port_file {
	bool open, block_device, read_only;
	int fd, fd_direct;                       /* fd_direct: -1 if none */
	uint64_t size;                           /* bytes */
	uint32_t logical_block;                  /* bytes; 512 for files */
	uint32_t physical_block, io_min, io_opt; /* bytes */
	uint32_t direct_memory, direct_offset;   /* alignment in bytes that fd_direct wants */
	bool can_discard, can_zero; /* learnt: false after the file system refused once */
	enum port_engine engine;    /* the one that serves it */
	const char *engine_why;
	bool may_cache;      /* what the page cache has is copied from or to map, too */
	bool map_used;       /* … and was: pages of it are mapped */
	struct port_map map; /* of PORT_ENGINE_MMAP, or for that */
	char *map_at;
};

/*
 * Opens, locks, sizes, and chooses the engine. -EAGAIN: someone else has it
 * locked for longer than a killed process needs to go (this waits for it). On another
 * failure *what is what could not be done.
 */
int port_file_open(
	struct port_file *file, const struct port_file_options *options, const char **what);
void port_file_close(struct port_file *file);
/* Looks at the size again, and remaps. Only while no I/O on it is in flight. */
int port_file_resize(struct port_file *file);

enum port_io_op { PORT_IO_READ, PORT_IO_WRITE, PORT_IO_FLUSH, PORT_IO_DISCARD, PORT_IO_ZERO };

/*
 * One I/O. It belongs to the port from port_io_start until port_io_reap gives it back; the spans
 * are used up on the way. A read or write is either complete or failed.
 */
struct port_io {
	struct port_file *file;
	struct port_io *next;
	struct span *spans;
	uint64_t offset; /* bytes from the start of the file */
	uint64_t left;   /* bytes still to do */
	uint32_t span_count;
	int result; /* 0 or -errno, when it is done */
	uint8_t op; /* enum port_io_op */
	bool sync;  /* on stable storage before it is done (WRITE, DISCARD, ZERO) */
	bool keep;  /* ZERO: the space must stay allocated */
	bool cancelled;
	uint8_t stage; /* of the engine */
};

/* Reads len bytes of the file at offset into guest memory, or the other way round. */
void port_io_read(
	struct port_io *io, struct port_file *file, struct sink to, uint64_t offset, uint32_t len);
void port_io_write(struct port_io *io, struct port_file *file, struct source from, uint64_t offset,
	uint32_t len, bool sync);
/* What was written and done before this goes to stable storage. */
void port_io_flush(struct port_io *io, struct port_file *file);
/* Frees a range (reads of it give anything), or makes it read as zeroes. len may be 0. */
void port_io_discard(
	struct port_io *io, struct port_file *file, uint64_t offset, uint64_t len, bool sync);
void port_io_zero(struct port_io *io, struct port_file *file, uint64_t offset, uint64_t len,
	bool keep, bool sync);

/*
 * Asks for an early end of an I/O: it is done as ever, with -ECANCELED if that came in time.
 * Any part of it may have happened then. Nothing if it is done already, or was never started.
 */
void port_io_cancel(struct port_io *io);

/* Hands what was started since to the kernel, in one call. */
void port_io_submit(void);
/* The next I/O that is done, or NULL. */
struct port_io *port_io_reap(void);
/* Whether port_io_submit or port_io_reap has something to do right now. */
bool port_io_ready(void);
/* I/Os that were started and not reaped. */
unsigned port_io_pending(void);
/* A descriptor that has an edge when port_io_reap gets something while port_wait sleeps, or -1. */
int port_io_event(void);

/* ---- tap devices ---- */

/* Offloads of a tap: what the frames that come from it may still need done (TUNSETOFFLOAD). */
enum {
	PORT_TAP_CSUM = 0x01,
	PORT_TAP_TSO4 = 0x02,
	PORT_TAP_TSO6 = 0x04,
	PORT_TAP_ECN = 0x08,
	PORT_TAP_UFO = 0x10,
	PORT_TAP_USO4 = 0x20,
	PORT_TAP_USO6 = 0x40,
	PORT_TAP_USO = PORT_TAP_USO4 | PORT_TAP_USO6,
	PORT_TAP_ALL = 0x7f
};

/* Bytes before each frame: a struct virtio_net_hdr. */
enum { PORT_TAP_HEADER = 12 };

struct port_tap {
	char name[16];
	int fds[CONFIG_NET_PAIRS_MAX];
	bool attached[CONFIG_NET_PAIRS_MAX]; /* the kernel sends frames to this queue */
	unsigned queues;
	int flags_fd;      /* tells whether it is up; -1: nobody knows */
	uint32_t offloads; /* that the kernel has */
};

/*
 * Opens the tap of this name, or makes it, with so many queues, of which the first one is attached.
 * -EPERM: who may not make one. -EINVAL: it has other queues, or is no tap.
 */
int port_tap_open(struct port_tap *tap, const char *name, unsigned queues);
/* Takes over an open one. -EPROTOTYPE: it is no tap, or without VNET_HDR or NO_PI. */
int port_tap_take(struct port_tap *tap, int fd);
void port_tap_close(struct port_tap *tap);
/* What the guest takes of offloads; what it sends may have them all. */
int port_tap_offload(struct port_tap *tap, uint32_t offloads);
int port_tap_attach(struct port_tap *tap, unsigned queue, bool attach);
/* Whether its administrator has set it up; -errno: nobody knows. */
int port_tap_is_up(const struct port_tap *tap);
/* Sends a frame behind a header of PORT_TAP_HEADER bytes. */
int port_tap_send(struct port_tap *tap, unsigned queue, const void *header, struct source frame);
/*
 * The next frame: its bytes that fit, or -EAGAIN. What has no room in `to` is lost.
 */
int port_tap_recv(struct port_tap *tap, unsigned queue, void *header, struct sink to);

/* ---- bytes from elsewhere ---- */

/* Random bytes of the kernel: all of them, or -errno. */
int port_random(void *buf, size_t len);
/* Opens a file, pipe or character device for reading bytes; *endless: it is no regular file. */
int port_stream_open(const char *path, bool *endless);
/* What is there now, at most len: 0 at the end, -EAGAIN if nothing. */
int port_stream_read(int fd, void *buf, size_t len);
/* Makes an empty file (or opens a pipe) for writing. */
int port_stream_create(const char *path);
/* Writes what can be written now, at most len: -EAGAIN if nothing. */
int port_stream_write(int fd, const void *buf, size_t len);

/* Nanoseconds since 1970. */
uint64_t port_real_ns(void);

/* ---- terminals and logs ---- */

/* A new pseudo-terminal that is in raw mode, and its name. *slave is to be kept open as long. */
int port_pty_open(char *name, size_t size, int *slave);
/* A descriptor for the same as fd (0 or 1), which has a flag of its own that it does not block. */
int port_stdio_open(int fd);
/*
 * Puts a terminal into raw mode, but for its output, where our own lines may go. There is one such
 * terminal; port_terminal_restore makes it what it was. -ENOTTY: it is none.
 */
int port_terminal_raw(int fd);
void port_terminal_restore(void);
int port_terminal_size(int fd, uint16_t *cols, uint16_t *rows);

/* A symlink at path; one that was left there is replaced. port_unlisten removes it. */
int port_link(const char *path, const char *target, struct port_socket_id *id);

/* Opens a file to append to it, makes it if it is not there; *size is what it has. */
int port_log_open(const char *path, uint64_t *size);
/* Renames path to path.1, path.1 to path.2, and so on; the one behind path.COUNT is gone. */
int port_log_rotate(const char *path, unsigned count);

#endif
