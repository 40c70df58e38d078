/* Inside the socket device: what src/dev/vsock.c and its connections (vsock_*.c) share. */
#ifndef VUBOX_VSOCK_H
#define VUBOX_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "loop.h"
#include "spec/virtio_vsock.h"
#include "window.h"

struct vsock_conn;

/* ---- vsock_buffer.c: blocks for what a unix socket does not take now ---- */

/* Zero is one that is not open. */
struct vsock_buffer {
	uint32_t bytes;
	uint32_t whole;           /* messages that are complete */
	uint16_t first, last;     /* of its blocks */
	uint16_t blocks, granted; /* that it has, and that it may have */
	uint16_t at, end;         /* the next byte of the first; behind the last byte of the last */
	bool messages;
};

/* Before the first connection; false: there is no address space for the blocks. */
bool vsock_buffers_open(void);
void vsock_buffer_open(struct vsock_buffer *b, bool messages);
void vsock_buffer_close(struct vsock_buffer *b);
/* So many bytes have room in it, whatever others do. */
uint32_t vsock_buffer_size(const struct vsock_buffer *b);
/* Whether it has something that can be written. */
bool vsock_buffer_has_more(const struct vsock_buffer *b);
/* Puts so many bytes into it, for which it has room. False: they cannot be read. */
bool vsock_buffer_put(struct vsock_buffer *b, struct reader *from, uint32_t len, bool end);
/* Writes what it can. 0: all of it, but for a message without an end; or -EAGAIN, or -errno. */
int vsock_buffer_flush(struct vsock_buffer *b, int fd);

/* ---- */

/* A header of the guest, judged: its ports, and what it says. */
struct vsock_packet {
	uint64_t src_cid, dst_cid;
	uint32_t guest_port, peer_port, len, flags, buf_alloc, fwd_cnt;
	uint16_t type, op;
};

/* Where a connection is. */
enum vsock_stage {
	VSOCK_FREE,
	VSOCK_LINE,  /* the host is to say which port it wants */
	VSOCK_ASKED, /* the guest is */
	VSOCK_OPEN,
	VSOCK_DRAINS, /* the guest has done with it, and the host does not know all yet */
	VSOCK_RESET,  /* only the guest is to be told */
};

/* A connection. After OPEN it is found no more: its ports may be another's. */
struct vsock_conn {
	struct vsock *vsock;
	struct vsock_conn *same;        /* the next one of its hash, or the next free one */
	struct vsock_conn *next, *prev; /* that have something for the guest */
	bool listed;
	uint8_t stage; /* enum vsock_stage */
	uint8_t wants; /* packets without data that the guest is to get: 1 << VIRTIO_VSOCK_OP_… */
	uint8_t shut;  /* what the guest does no more: VIRTIO_VSOCK_SHUTDOWN_… */
	uint8_t is_shut; /* what the host does no more */
	bool readable;   /* the unix socket may have something for us */
	bool stalled;    /* it takes nothing from us: it is watched for that */
	bool asked;      /* the guest, for credit */
	uint16_t type;
	uint32_t guest_port, host_port;
	int fd, watch;     /* -1: none any more */
	uint64_t since_ns; /* that it waits for something that must come soon; 0: it does not */

	/* 5.10.6.3: what the guest may be sent, and what it may send. */
	uint32_t buf_alloc, fwd_cnt, sent;
	uint32_t received, forwarded, told;

	struct vsock_buffer held; /* what the unix socket did not take */
};

/* Replies to what belongs to no connection: how many wait for the guest's buffers at most. */
enum { VSOCK_REPLIES = 64 };

struct vsock_reply {
	uint64_t cid; /* of the guest's peer */
	uint32_t guest_port, peer_port;
	uint16_t type;
};

struct vsock {
	struct device *dev;
	uint32_t number; /* among these devices */
	uint64_t cid;
	const char *path; /* of our listener; PATH_PORT are those that the guest connects to */
	int listener, watch;
	bool listening;
	struct port_socket_id id;
	struct loop_timer rest;
	struct log_limit limit;
	uint32_t conns;

	/* From here on it belongs to the guest's present life (vsock_forget). */
	uint64_t features;
	bool began;     /* its queues were seen to work since they were started; … */
	bool known;     /* … since the front-end has connected */
	bool event_due; /* TRANSPORT_RESET */
	struct vsock_reply replies[VSOCK_REPLIES];
	uint32_t reply_first, reply_count;
	struct vsock *waits_for;         /* a guest that is to take packets of ours first */
	bool sibling_next;               /* whose turn it is */
	struct vsock_conn *first, *last; /* that have something for the guest */
};

/* ---- vsock.c ---- */

/* Whether the driver has agreed on this type of sockets. */
bool vsock_has_type(const struct vsock *v, uint16_t type);
/* Connections that each guest may have. */
uint32_t vsock_quota(void);
/* The receive queue has work, or may have. */
void vsock_ready(struct vsock *v);
/* Transmit queues that wait for this guest go on. */
void vsock_wake(const struct vsock *v);
/* A packet from cid:peer_port to the guest, as it is written. */
struct virtio_vsock_hdr vsock_header(
	const struct vsock *v, uint64_t cid, uint32_t peer_port, uint32_t guest_port);

/* ---- vsock_held.c: from the guest to the host ---- */

/* What a connection tells the guest that it may send. */
uint32_t vsock_held_alloc(const struct vsock_conn *c);
/*
 * Takes len bytes of the guest for the host. `all` is the chain with its header, data is what is
 * behind it. -EPROTO: it was not allowed to send them; else why the unix socket cannot be used.
 */
int vsock_held_take(
	struct vsock_conn *c, struct source all, struct reader *data, uint32_t len, bool end);
/* Gives the unix socket what it takes now: 1 if it has all of it, 0 if not, -errno. */
int vsock_held_flush(struct vsock_conn *c);

/* ---- vsock_host.c: unix sockets ---- */

/* Someone has connected to our listener. Takes over fd. */
void vsock_host_accept(struct vsock *v, int fd);
/* Closes the unix socket, if it is there. */
void vsock_host_close(struct vsock_conn *c);
bool vsock_host_watch(struct vsock_conn *c, enum port_trigger trigger);
/* What is known after a write: 1: the host has all; 0: it takes no more now; -errno. */
void vsock_host_written(struct vsock_conn *c, int result);
/* The host writes no more, or is gone. */
void vsock_host_ended(struct vsock_conn *c);

/* ---- vsock_conn.c: connections between the guest and the host ---- */

/* One that is nobody's yet: its stage is to be set. NULL: there are too many. */
struct vsock_conn *vsock_conn_new(struct vsock *v);
struct vsock_conn *vsock_conn_find(const struct vsock *v, uint32_t guest_port, uint32_t host_port);
/* Its ports are known: it is found from now on. */
void vsock_conn_enter(struct vsock_conn *c);
/* From now on it has so long for what it waits for. */
void vsock_conn_expect(struct vsock_conn *c);
/* The guest is to get a packet without data. */
void vsock_conn_want(struct vsock_conn *c, unsigned op);
/* Puts it into the list if it has something for the guest. */
void vsock_conn_offer(struct vsock_conn *c);
/* Ends it without a word to the guest; with RST. */
void vsock_conn_drop(struct vsock_conn *c);
void vsock_conn_reset(struct vsock_conn *c);
/*
 * A packet of the guest to the host: `all` is the chain with its header, data what is behind it.
 * False: it belongs to no connection.
 */
bool vsock_conn_packet(
	struct vsock *v, const struct vsock_packet *p, struct source all, struct reader *data);
/*
 * Writes the next packet for the guest into the window's first buffer, which has room for a header
 * and is all there: how many bytes, or 0 if there is none after all. If there is data for more than
 * one buffer, those before the last one are given back already, and that is the first then.
 */
uint32_t vsock_conn_next(struct vsock *v, struct window *w);
/* The guest is gone: so are its connections. */
void vsock_conn_forget(const struct vsock *v);

/* ---- vsock_sibling.c: from guest to guest ---- */

/* Keeps a packet for another guest; false: it is refused. */
bool vsock_sibling_put(struct vsock *from, struct vsock *to, const struct vsock_packet *p,
	const struct virtio_vsock_hdr *h, struct reader *data);
/* Whether it must not send anything now; vsock_wake says when it may. */
bool vsock_sibling_waits(struct vsock *v);
bool vsock_sibling_has(const struct vsock *v);
/* As vsock_conn_next. */
uint32_t vsock_sibling_next(struct vsock *v, struct writer *to);
void vsock_sibling_forget(struct vsock *v);

#endif
