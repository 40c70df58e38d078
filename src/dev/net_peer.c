/*
 * Peers over a unix socket: a stream with the length of each frame before it (32 bits, big-endian),
 * as passt and QEMU's -netdev stream have it, or datagrams (QEMU's -netdev dgram).
 *
 * A stream is a cable that loses nothing: while the peer does not read, the guest's frames wait in
 * its queue, and while the guest has no buffers, the peer's frames wait in the socket.
 */
#include "net_peer.h"

#include <errno.h>
#include <string.h>

#include "loop.h"
#include "num.h"

enum {
	PREFIX = 4,
	FRAMES_PER_TURN = 64,
	RECONNECT_MIN_MS = 50,
	RECONNECT_MAX_MS = 1000,
	AGAIN_MIN_NS =
		50000, /* a peer that does not read is tried again after so long, twice it … */
	AGAIN_MAX_NS = 5000000,
	STUCK_NS = 100000000, /* so long a frame waits for buffers that may never be enough */
};
#define NS_PER_MS 1000000ull

struct peer {
	struct device *dev;
	struct peer_options options;
	bool up;
	int fd, watch, bound;        /* bound: of datagrams, for good */
	struct port_socket_id local; /* what was bound */
	uint32_t failures;
	struct loop_timer reconnect, again, stuck;
	uint32_t again_ns;
	uint32_t in_at, in_end, out_at, out_end;
	uint8_t in[PREFIX + NET_FRAME_MAX];
	uint8_t out[2 * (PREFIX + NET_FRAME_MAX)];
	struct log_limit limit;
};

static struct {
	struct peer peers[CONFIG_PEERS_MAX];
	uint32_t count;
} state;

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put32(uint8_t *at, uint32_t value)
{
	for (unsigned i = 0; i < PREFIX; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static struct queue *rx_of(const struct peer *peer)
{
	return &peer->dev->queues[0];
}

static void wake_transmitters(struct peer *peer)
{
	for (uint16_t i = 1; i < peer->dev->queue_count; i += 2)
		queue_ready(&peer->dev->queues[i]);
}

/* ---- the connection ---- */

static void peer_readable(void *owner)
{
	struct peer *peer = owner;

	queue_ready(rx_of(peer));
}

static void peer_connect(void *owner);

static void try_later(struct peer *peer)
{
	uint64_t ms = RECONNECT_MIN_MS << num_min(peer->failures++, 5);

	loop_timer_set(&peer->reconnect, out_now_ns() + num_min(ms, RECONNECT_MAX_MS) * NS_PER_MS,
		peer_connect, peer);
}

static void peer_connect(void *owner)
{
	struct peer *peer = owner;
	bool datagrams = peer->options.local != NULL;
	int fd = datagrams ? port_datagrams_connect(peer->bound, peer->options.path)
			   : port_connect(peer->options.path);

	if (fd >= 0 && datagrams)
		fd = peer->bound;
	peer->watch = fd >= 0 ? loop_watch(fd, PORT_EDGE, peer_readable, peer) : fd;
	if (peer->watch < 0) {
		if (fd >= 0 && !datagrams)
			port_close(fd);
		if (peer->failures == 0)
			log_error(peer->dev->name, "%s: cannot connect yet: %s", peer->options.path,
				log_errno(peer->watch));
		try_later(peer);
		return;
	}
	peer->fd = fd;
	peer->up = true;
	log_info(peer->dev->name, "%s: connected", peer->options.path);
	peer->options.changed(peer->dev);
	queue_ready(rx_of(peer));
}

/* What is half here or half there is lost: the next connection begins with a frame. */
static void peer_down(struct peer *peer, const char *why)
{
	if (log_allow(&peer->limit, peer->dev->name))
		log_error(peer->dev->name, "%s: %s", peer->options.path, why);
	loop_unwatch(peer->watch);
	if (!peer->options.local)
		port_close(peer->fd);
	peer->up = false;
	peer->in_at = peer->in_end = peer->out_at = peer->out_end = 0;
	loop_timer_clear(&peer->again);
	loop_timer_clear(&peer->stuck);
	peer->failures = 1;
	try_later(peer);
	peer->options.changed(peer->dev);
	wake_transmitters(peer);
}

struct peer *peer_open(struct device *dev, const struct peer_options *options)
{
	struct peer *peer = &state.peers[state.count];

	if (state.count == CONFIG_PEERS_MAX) {
		log_error(dev->name, "more than %d peers in one process", CONFIG_PEERS_MAX);
		return NULL;
	}
	peer->dev = dev;
	peer->options = *options;
	if (options->local) {
		peer->bound = port_datagrams_open(options->local, &peer->local);
		if (peer->bound < 0) {
			log_error(dev->name, "%s: cannot make the socket: %s", options->local,
				log_errno(peer->bound));
			return NULL;
		}
	}
	state.count++;
	loop_timer_set(&peer->reconnect, 0, peer_connect, peer);
	return peer;
}

void peer_close(struct peer *peer)
{
	if (peer->options.local) {
		port_unlisten(peer->options.local, &peer->local);
		port_close(peer->bound);
	} else if (peer->up) {
		port_close(peer->fd);
	}
}

bool peer_is_up(const struct peer *peer)
{
	return peer->up;
}

unsigned peer_paths(const struct peer *peer, struct port_cage_path *paths)
{
	paths[0] = (struct port_cage_path){ .path = peer->options.path, .client = true };
	if (!peer->options.local)
		return 1;
	paths[1] = (struct port_cage_path){ .path = peer->options.local };
	return 2;
}

/* ---- to the peer ---- */

bool peer_takes(const struct peer *peer)
{
	return !peer->up || peer->out_end <= sizeof(peer->out) / 2;
}

/* What the socket takes of the bytes that wait: a stream all, datagrams one of them. */
static int send_some(struct peer *peer)
{
	const uint8_t *at = peer->out + peer->out_at;
	uint32_t len = peer->out_end - peer->out_at;
	int n;

	if (!peer->options.local)
		return port_send_some(peer->fd, at, len);
	len = get32(at);
	n = port_send_some(peer->fd, at + PREFIX, len);
	/* One that is too long for the socket is lost. */
	return n >= 0 || n == -EMSGSIZE ? (int)(PREFIX + len) : n;
}

static void peer_flush(void *owner)
{
	struct peer *peer = owner;
	bool full = !peer_takes(peer);
	int n = 1;

	while (n > 0 && peer->out_at < peer->out_end) {
		n = send_some(peer);
		if (n > 0)
			peer->out_at += (uint32_t)n;
	}
	if (peer->out_at == peer->out_end) {
		peer->out_at = peer->out_end = 0;
		peer->again_ns = 0;
		if (full)
			wake_transmitters(peer);
	} else if (n == -EAGAIN || n == -ENOBUFS) {
		peer->again_ns = (uint32_t)num_min(2 * peer->again_ns + AGAIN_MIN_NS, AGAIN_MAX_NS);
		loop_timer_set(&peer->again, out_now_ns() + peer->again_ns, peer_flush, peer);
	} else {
		peer_down(peer, log_errno(n));
	}
}

/*
 * Frames are sent in the next turn of the receive queue, many by one system call, or now if it has
 * none.
 */
void peer_send(struct peer *peer, struct reader *frame)
{
	uint32_t len = reader_left(frame);
	uint8_t *at = peer->out + peer->out_end;

	if (!peer->up || !peer_takes(peer) || len < NET_FRAME_MIN || len > NET_FRAME_MAX ||
		!reader_get(frame, at + PREFIX, len))
		return;
	put32(at, len);
	peer->out_end += PREFIX + len;
	if (peer->again.set)
		return;
	if (peer_takes(peer) && queue_works(rx_of(peer)))
		queue_ready(rx_of(peer));
	else
		peer_flush(peer);
}

/* ---- from the peer ---- */

/* Makes the next frame whole: its length. 0: the rest is not here; -errno: the peer has gone. */
static int next_frame(struct peer *peer)
{
	uint32_t have = peer->in_end - peer->in_at, len;

	if (have < PREFIX)
		return 0;
	len = get32(peer->in + peer->in_at);
	if (len == 0 || len > NET_FRAME_MAX)
		return -EPROTO;
	return have >= PREFIX + len ? (int)len : 0;
}

/* Receives more: 1, or -errno. */
static int receive(struct peer *peer)
{
	uint32_t have = peer->in_end - peer->in_at, before = peer->options.local ? PREFIX : 0;
	unsigned no_fds = 0;
	int n;

	memmove(peer->in, peer->in + peer->in_at, have);
	peer->in_at = 0;
	peer->in_end = have;
	n = port_recv(peer->fd, peer->in + have + before, sizeof(peer->in) - have - before, NULL,
		&no_fds);
	if (n < 0)
		return n;
	if (n == 0)
		return peer->options.local ? 1 : -ECONNRESET;
	if (peer->options.local)
		put32(peer->in, (uint32_t)n);
	peer->in_end += before + (uint32_t)n;
	return 1;
}

static void drop_frame(struct peer *peer)
{
	peer->in_at += PREFIX + get32(peer->in + peer->in_at);
	loop_timer_clear(&peer->stuck);
}

static void peer_stuck(void *owner)
{
	struct peer *peer = owner;

	rx_of(peer)->counts.errors++;
	drop_frame(peer);
	queue_ready(rx_of(peer));
}

/* Gives the guest the frame that is whole: as net_put. */
static int give(struct peer *peer, struct queue *rx, bool mergeable, uint32_t len)
{
	static const struct virtio_net_hdr none;
	struct net_source from = { .head = peer->in + peer->in_at + PREFIX, .head_len = len };
	int put = len < NET_FRAME_MIN ? 1 : net_put(rx, mergeable, &none, &from);

	if (put == -EMSGSIZE) {
		rx->counts.errors++;
		put = 1;
	}
	if (put > 0)
		drop_frame(peer);
	else if (put == 0 && !peer->stuck.set)
		loop_timer_set(&peer->stuck, out_now_ns() + STUCK_NS, peer_stuck, peer);
	return put == -ENOTCONN ? -EBUSY : put;
}

int peer_turn(struct peer *peer, struct queue *rx, bool mergeable)
{
	int found = 1;

	if (peer->up && peer->out_end > 0 && !peer->again.set)
		peer_flush(peer);
	for (unsigned n = 0; peer->up && n < FRAMES_PER_TURN && found > 0; n++) {
		int len = next_frame(peer);

		if (len > 0) {
			found = give(peer, rx, mergeable, (uint32_t)len);
			if (found <= 0)
				return found;
			continue;
		}
		found = len == 0 ? receive(peer) : len;
		if (found < 0 && found != -EAGAIN)
			peer_down(peer, log_errno(found));
	}
	return found > 0 && peer->up ? 1 : -EBUSY;
}
