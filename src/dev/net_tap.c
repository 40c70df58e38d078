/*
 * Taps: the kernel's end of a virtual cable.
 *
 * How long the next frame is, only reading it tells. Small ones are read into a buffer of ours and
 * copied; that costs less than to collect the 64 KiB of buffers that a frame may need. While frames
 * are large, they are read into the guest's buffers.
 */
#include <errno.h>
#include <string.h>

#include "loop.h"
#include "net.h"
#include "num.h"
#include "panic.h"
#include "window.h"

enum {
	LARGE = 4096,        /* bytes of a frame after which the next ones are taken for large */
	SMALL_IN_A_ROW = 16, /* … and so many smaller ones end that */
	FRAMES_PER_TURN = 64,
	SPANS_MAX = 512,
};

_Static_assert(PORT_TAP_HEADER == sizeof(struct virtio_net_hdr), "it is the same");

/* A queue of a tap; what is read and has no room yet stays here. */
struct tap_queue {
	struct tap *tap;
	unsigned pair;
	int watch;
	uint32_t staged; /* bytes, or 0 */
	uint32_t large;  /* direct reads left before it is small again */
	struct virtio_net_hdr hdr;
	uint8_t bytes[NET_FRAME_MAX + 1]; /* one that fills it was cut */
};

struct tap {
	struct net *net;
	struct bridge_port *uplink; /* NULL: it is this device's alone */
	struct port_tap port;
	struct tap_queue queues[CONFIG_NET_PAIRS_MAX];
	struct log_limit limit;
};

static struct {
	struct tap taps[CONFIG_DEVICES_MAX];
	uint32_t count;
	struct span list[SPANS_MAX];
} state;

static const struct {
	uint32_t offload;
	uint64_t guest, host; /* features */
} offloads[] = {
	{ PORT_TAP_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CSUM },
	{ PORT_TAP_TSO4, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4 },
	{ PORT_TAP_TSO6, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO6 },
	{ PORT_TAP_ECN, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_HOST_ECN },
	{ PORT_TAP_UFO, VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_HOST_UFO },
	{ PORT_TAP_USO4, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_HOST_USO },
	{ PORT_TAP_USO6, VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_USO },
};

static struct queue *rx_of(const struct tap_queue *q)
{
	return &q->tap->net->dev->queues[2 * (size_t)q->pair];
}

static void tap_readable(void *owner)
{
	struct tap_queue *q = owner;

	queue_ready(rx_of(q));
}

static void tap_complain(struct tap *tap, const char *what, int error)
{
	if (log_allow(&tap->limit, tap->net->dev->name))
		log_error(
			tap->net->dev->name, "%s: %s: %s", tap->port.name, what, log_errno(error));
}

/* Level-triggered: what is left is there in the next tick. */
static void uplink_readable(void *owner)
{
	struct tap_queue *q = owner;
	struct span span = { (struct guest *)(void *)q->bytes, sizeof(q->bytes) };

	/* As a guest's turn: what a frame costs is up to those who get it. */
	for (unsigned n = 0; n < CONFIG_BUDGET; n++) {
		int len = port_tap_recv(&q->tap->port, 0, &q->hdr, (struct sink){ &span, 1 });
		struct reader frame = { { &span, 0, (uint32_t)len } };

		if (len == -EAGAIN)
			return;
		if (len < 0) {
			/* It was deleted, say, and would be readable for ever. */
			tap_complain(q->tap, "cannot read, and does not try again", len);
			loop_unwatch(q->watch);
			q->watch = -1;
			return;
		}
		bridge_send(q->tap->uplink, 0, &q->hdr, &frame);
	}
}

static bool tap_watch(struct tap *tap)
{
	for (unsigned i = 0; i < tap->port.queues; i++) {
		struct tap_queue *q = &tap->queues[i];

		q->tap = tap;
		q->pair = i;
		q->watch = tap->uplink
				   ? loop_watch(tap->port.fds[i], PORT_LEVEL, uplink_readable, q)
				   : loop_watch(tap->port.fds[i], PORT_EDGE, tap_readable, q);
		if (q->watch < 0) {
			log_error(tap->net->dev->name, "%s: cannot wait for its frames: %s",
				tap->port.name, log_errno(q->watch));
			return false;
		}
	}
	return true;
}

static const char *tap_advice(int error)
{
	switch (error) {
	case -EPERM:
		return " (make it before, for this user: ip tuntap add NAME mode tap user USER)";
	case -EINVAL: return " (with several queues it must be made so: … mode tap multi_queue)";
	case -EBUSY: return " (another program has it)";
	case -ENOENT: return " (/dev/net/tun is not there: modprobe tun)";
	case -EPROTOTYPE: return " (it must be open with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR)";
	default: return "";
	}
}

struct tap *tap_open(struct net *net, const char *name, int fd, const char *bridge)
{
	struct tap *tap = &state.taps[state.count];
	int error;

	ASSERT(state.count < countof(state.taps));
	error = name ? port_tap_open(&tap->port, name, bridge ? 1 : net->pairs_max)
		     : port_tap_take(&tap->port, fd);
	if (error < 0 && name)
		log_error(net->dev->name, "--tap=%s: cannot open: %s%s", name, log_errno(error),
			tap_advice(error));
	else if (error < 0)
		log_error(net->dev->name, "--tap-fd=%d: cannot use it: %s%s", fd, log_errno(error),
			tap_advice(error));
	if (error < 0)
		return NULL;
	state.count++;
	tap->net = net;
	if (bridge) {
		tap->uplink = bridge_uplink(bridge, tap, tap_features(tap));
		(void)port_tap_offload(&tap->port, tap->port.offloads);
	}
	if (!tap_watch(tap))
		return NULL;
	log_info(net->dev->name, "connected to %s, offloads 0x%x", tap->port.name,
		tap->port.offloads);
	return tap;
}

void tap_close(struct tap *tap)
{
	for (unsigned i = 0; i < tap->port.queues; i++)
		if (tap->queues[i].watch >= 0)
			loop_unwatch(tap->queues[i].watch);
	port_tap_close(&tap->port);
}

uint64_t tap_features(const struct tap *tap)
{
	uint64_t features = 0;

	for (size_t i = 0; i < countof(offloads); i++)
		if ((tap->port.offloads & offloads[i].offload) != 0)
			features |= offloads[i].guest | offloads[i].host;
	return features;
}

bool tap_is_up(const struct tap *tap)
{
	return port_tap_is_up(&tap->port) != 0;
}

void tap_set(struct tap *tap)
{
	uint32_t takes = 0;
	int error;

	for (size_t i = 0; i < countof(offloads); i++)
		if ((tap->net->takes & offloads[i].guest) != 0)
			takes |= offloads[i].offload;
	error = port_tap_offload(&tap->port, takes);
	if (error < 0)
		tap_complain(tap, "cannot set its offloads", error);
	/* (The first one stays: a tap with no queue at all has no carrier.) */
	for (unsigned i = 1; i < tap->port.queues; i++) {
		bool attach = i < tap->net->pairs;

		if (tap->port.attached[i] == attach)
			continue;
		error = port_tap_attach(&tap->port, i, attach);
		if (error < 0)
			tap_complain(tap, "cannot attach or detach a queue", error);
	}
}

bool tap_send(
	struct tap *tap, unsigned pair, const struct virtio_net_hdr *hdr, struct reader *frame)
{
	struct source source;

	return reader_take(frame, &source) &&
	       port_tap_send(&tap->port, pair % tap->port.queues, hdr, source) == 0;
}

int tap_put(struct tap *tap, const struct virtio_net_hdr *hdr, const struct net_source *from)
{
	struct span spans[] = { { (struct guest *)(const void *)from->head, from->head_len },
		{ (struct guest *)(const void *)from->body, from->body_len } };
	int error = port_tap_send(&tap->port, 0, hdr, (struct source){ spans, 2 });

	return error < 0 ? error : 1;
}

/* ---- frames for the guest ---- */

/* Puts the staged frame into the guest's buffers: as net_put. */
static int give_staged(struct tap_queue *q, struct queue *rx)
{
	const struct net *net = q->tap->net;
	struct net_source from = { .head = q->bytes, .head_len = q->staged };
	struct virtio_net_hdr hdr;
	int put = -EMSGSIZE;

	/* (It may be from before this driver said what it takes.) */
	if (q->staged <= NET_FRAME_MAX && net_judge(net->takes, true, &q->hdr, &hdr))
		put = q->staged >= NET_FRAME_MIN && net_wants(net, q->bytes)
			      ? net_put(rx, net_is_mergeable(net), &hdr, &from)
			      : 1;
	if (put == -EMSGSIZE)
		rx->counts.errors++;
	if (put > 0 || put == -EMSGSIZE)
		q->staged = 0;
	return put == -EMSGSIZE ? 1 : put;
}

/* Its next frame. -EBUSY: there is none, and tap_readable is called when there is. */
static int tap_recv(struct tap_queue *q, struct sink to)
{
	int n = port_tap_recv(&q->tap->port, q->pair, &q->hdr, to);

	if (n > LARGE)
		q->large = SMALL_IN_A_ROW;
	else if (n > 0 && q->large > 0)
		q->large--;
	return n == -EAGAIN ? -EBUSY : n;
}

static int read_staged(struct tap_queue *q)
{
	struct span span = { (struct guest *)(void *)q->bytes, sizeof(q->bytes) };
	int n = tap_recv(q, (struct sink){ &span, 1 });

	if (n < 0)
		return n;
	net_set_link(q->tap->net, true); /* where frames come from */
	q->staged = (uint32_t)n;
	return 1;
}

/* The buffers of a window, behind the header in the first one. 0: a hole, or too many. */
static uint32_t list_window(const struct window *w)
{
	uint32_t count = 0, skip = sizeof(struct virtio_net_hdr);

	for (const struct request *req = w->first; req; req = req->next) {
		uint32_t n = writer_list(&req->out, skip, state.list + count, SPANS_MAX - count);

		if (n == 0)
			return 0;
		count += n;
		skip = 0;
	}
	return count < SPANS_MAX ? count : 0; /* else the last ones may be missing */
}

/* How many chains so many bytes are in. */
static uint16_t count_chains(const struct window *w, uint32_t len)
{
	uint64_t room = 0;
	uint16_t n = 0;

	for (const struct request *req = w->first; req && room < len; req = req->next, n++)
		room += req->chain.writable;
	return n;
}

/* The frame is in the guest's buffers: now they are taken, and the header is written. */
static int take_direct(struct window *w, uint32_t len, struct virtio_net_hdr *hdr)
{
	bool first = true;

	len += (uint32_t)sizeof(*hdr);
	hdr->num_buffers = le16_put(count_chains(w, len));
	while (len > 0) {
		struct request *req = window_take(w);
		uint32_t n = (uint32_t)num_min(len, req->chain.writable);

		if (first && !writer_put(&req->out, hdr, sizeof(*hdr))) {
			window_close(w);
			request_break(req, "a receive buffer that is too small");
			return -EINVAL;
		}
		request_done(req, n);
		len -= n;
		first = false;
	}
	return 1;
}

/* Reads a frame into the buffers of a window, and takes those that it needs: 1 or -errno. */
static int fill_direct(struct tap_queue *q, struct window *w, uint32_t spans)
{
	int n = tap_recv(q, (struct sink){ state.list, spans });
	struct virtio_net_hdr hdr;

	if (n <= 0)
		return n < 0 ? n : 1;
	if (n <= NET_FRAME_MAX && net_judge(q->tap->net->takes, true, &q->hdr, &hdr))
		return take_direct(w, (uint32_t)n, &hdr);
	w->queue->counts.errors++;
	return 1;
}

/* The next frame, into the guest's buffers: 1; 0: it has none; -errno. */
static int read_direct(struct tap_queue *q, struct queue *rx)
{
	struct window w;
	uint32_t spans;
	int found;

	if (!window_open(&w, rx))
		return -EBUSY;
	found = window_fill(&w, sizeof(struct virtio_net_hdr) + NET_FRAME_MAX + 1);
	spans = found > 0 ? list_window(&w) : 0;
	if (spans > 0)
		found = fill_direct(q, &w, spans);
	else if (found > 0 || (found == 0 && w.count > 0))
		found = read_staged(q); /* a hole, or not so much: the next one may be short */
	window_close(&w);
	return found;
}

/* Whether a frame may be read before it is looked at. */
static bool may_read_direct(const struct net *net)
{
	return net_is_mergeable(net) && !net->pcap && !net->filter.modes && !net->filter.vlans;
}

int tap_turn(struct tap *tap, struct queue *rx)
{
	struct tap_queue *q = &tap->queues[rx->index / 2];
	struct queue_counts before = rx->counts;
	int found = 1;

	if (rx->index / 2 >= tap->port.queues)
		return -EBUSY;
	/* (For a frame that is dropped the whole ring may have been looked at: enough for now.) */
	for (unsigned n = 0;
		n < FRAMES_PER_TURN && found > 0 && rx->counts.errors == before.errors &&
		rx->counts.bytes - before.bytes < CONFIG_BUDGET_BYTES;
		n++) {
		if (q->staged > 0)
			found = give_staged(q, rx);
		else if (q->large > 0 && may_read_direct(tap->net))
			found = read_direct(q, rx);
		else
			found = read_staged(q);
	}
	if (found == -ENOTCONN)
		return -EBUSY;
	if (found < 0 && found != -EINVAL && found != -EBUSY && found != -EAGAIN) {
		tap_complain(tap, "cannot read", found);
		return -EBUSY;
	}
	return found;
}
