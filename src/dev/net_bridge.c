/*
 * Bridges: an Ethernet switch in this process, between all net devices with the same --bridge.
 *
 * A frame is copied once, from the sender's buffers to the receiver's, with its offloads if the
 * receiver takes them; else it is completed in a buffer of ours.
 *
 * A receiver without buffers loses the frame, as at any switch whose port is busy: its ring is the
 * port's buffer. If senders waited instead, a guest that gives no buffers would stop those who send
 * to others too, as their frames stand behind those for it in one queue. So nobody ever waits here:
 * nothing is held over a turn, and a session that drains does not wait for another one.
 *
 * An uplink is a port too: of a tap, to the host and what is behind it.
 *
 * Each port knows the addresses behind it in a table of its own: a guest that makes up addresses
 * pushes out none but its own.
 */
#include "net_bridge.h"

#include <errno.h>
#include <string.h>

#include "loop.h"
#include "net.h"
#include "net_offload.h"
#include "num.h"
#include "panic.h"

enum { WAYS = 4, SETS = CONFIG_BRIDGE_MACS / CONFIG_DEVICES_MAX / WAYS };
/* The clock is read for so many frames from one address. */
enum { FRAMES_PER_CLOCK = 8 };
enum { NS_PER_S = 1000000000 };

struct mac {
	uint64_t address; /* 0: free */
	uint64_t seen_ns;
};
_Static_assert(SETS > 0, "some addresses for each port");

struct bridge_port {
	struct bridge_port *next; /* of this bridge; the last one has the first one again */
	const char *name;
	struct device *dev; /* NULL: it is the uplink, by this tap */
	struct tap *tap;
	bridge_wants *wants;
	uint64_t features;
	unsigned pairs;
	uint64_t last; /* the address that was heard of last, and in how many frames on end */
	uint32_t repeated;
	struct mac macs[SETS][WAYS];
};

/* A frame on its way. */
struct passing {
	struct virtio_net_hdr hdr;
	struct reader frame;
	uint64_t needs; /* features of who gets it as it is */
	unsigned pair;
	bool copied, completed; /* to state.bytes; its checksum */
	uint8_t head[BRIDGE_HEAD];
};

static struct {
	struct bridge_port ports[2 * CONFIG_DEVICES_MAX];
	uint32_t count;
	uint8_t bytes[NET_FRAME_MAX];
} state;

static struct bridge_port *join(const char *name)
{
	struct bridge_port *port = &state.ports[state.count];

	ASSERT(state.count < countof(state.ports));
	*port = (struct bridge_port){ .next = port, .name = name };
	for (uint32_t i = 0; i < state.count; i++)
		if (strcmp(state.ports[i].name, name) == 0) {
			port->next = state.ports[i].next;
			state.ports[i].next = port;
			break;
		}
	state.count++;
	return port;
}

struct bridge_port *bridge_join(const char *name, struct device *dev, bridge_wants *wants)
{
	struct bridge_port *port = join(name);

	port->dev = dev;
	port->wants = wants;
	return port;
}

struct bridge_port *bridge_uplink(const char *name, struct tap *tap, uint64_t features)
{
	struct bridge_port *port = join(name);

	port->tap = tap;
	bridge_set(port, 1, features);
	return port;
}

void bridge_set(struct bridge_port *port, unsigned pairs, uint64_t features)
{
	port->pairs = pairs;
	port->features = features;
	if (pairs > 0)
		return;
	port->last = 0;
	memset(port->macs, 0, sizeof(port->macs));
}

/* ---- addresses ---- */

/* Two bytes at a time: larger loads cross what has just been stored, and would wait for it. */
static uint64_t mac_at(const uint8_t *bytes)
{
	uint16_t part[3];

	memcpy(&part[0], bytes, 2);
	memcpy(&part[1], bytes + 2, 2);
	memcpy(&part[2], bytes + 4, 2);
	return (uint64_t)part[2] << 32 | (uint32_t)part[1] << 16 | part[0];
}

static bool is_multicast(const uint8_t *bytes)
{
	return (bytes[0] & 1) != 0;
}

/* The address in a port's table, or NULL; then *oldest is where it would go. */
static struct mac *mac_find(struct bridge_port *port, uint64_t address, struct mac **oldest)
{
	struct mac *set = port->macs[((address * 0x9e3779b97f4a7c15) >> 32) % SETS];

	*oldest = set;
	for (struct mac *m = set; m < set + WAYS; m++) {
		if (m->address == address)
			return m;
		if (m->seen_ns < (*oldest)->seen_ns)
			*oldest = m;
	}
	return NULL;
}

/* It is behind one port at a time. */
static void mac_forget(struct bridge_port *port, uint64_t address)
{
	struct mac *oldest, *m = mac_find(port, address, &oldest);

	if (m)
		*m = (struct mac){ 0 };
	if (port->last == address)
		port->last = 0;
}

static void mac_learn(struct bridge_port *port, const uint8_t *bytes)
{
	uint64_t address = mac_at(bytes);
	struct mac *oldest, *m;

	if (address == port->last && ++port->repeated % FRAMES_PER_CLOCK != 0)
		return;
	if (address == 0 || is_multicast(bytes))
		return;
	m = mac_find(port, address, &oldest);
	if (!m) {
		for (struct bridge_port *p = port->next; p != port; p = p->next)
			mac_forget(p, address);
		m = oldest;
	}
	*m = (struct mac){ address, loop_now_ns() };
	port->last = address;
	port->repeated = 0;
}

/* The port that an address is behind, or NULL. */
static struct bridge_port *mac_where(struct bridge_port *from, uint64_t address)
{
	struct bridge_port *p = from;

	do {
		struct mac *oldest, *m = mac_find(p, address, &oldest);

		if (m && loop_now_ns() - m->seen_ns < (uint64_t)CONFIG_BRIDGE_AGE * NS_PER_S)
			return p;
		p = p->next;
	} while (p != from);
	return NULL;
}

/* ---- frames ---- */

static uint64_t features_for(const struct virtio_net_hdr *hdr)
{
	uint64_t needs = hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN ? VIRTIO_NET_F_GUEST_ECN : 0;

	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		needs |= VIRTIO_NET_F_GUEST_CSUM;
	switch (hdr->gso_type & ~(unsigned)VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE: return needs;
	case VIRTIO_NET_HDR_GSO_TCPV4: return needs | VIRTIO_NET_F_GUEST_TSO4;
	case VIRTIO_NET_HDR_GSO_TCPV6: return needs | VIRTIO_NET_F_GUEST_TSO6;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return needs | VIRTIO_NET_F_GUEST_USO4 | VIRTIO_NET_F_GUEST_USO6;
	default: return ~0ull; /* none that was offered */
	}
}

/* What a guest says of its frame, for another guest to trust: false if it lies. */
static bool take_header(struct passing *p, const struct virtio_net_hdr *hdr)
{
	uint32_t len = reader_left(&p->frame);

	p->hdr = (struct virtio_net_hdr){ 0 };
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		uint32_t end = le16_get(hdr->csum_start) + le16_get(hdr->csum_offset) + 2u;

		if (end > len)
			return false;
		p->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		p->hdr.csum_start = hdr->csum_start;
		p->hdr.csum_offset = hdr->csum_offset;
	}
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		/* 5.1.6.2: the checksum is part of it. */
		if (p->hdr.flags == 0 || le16_get(hdr->gso_size) == 0)
			return false;
		p->hdr.gso_type = hdr->gso_type;
		p->hdr.gso_size = hdr->gso_size;
		p->hdr.hdr_len = le16_put((uint16_t)num_min(le16_get(hdr->hdr_len), len));
	}
	p->needs = features_for(&p->hdr);
	return true;
}

static int put(struct bridge_port *to, struct queue *rx, const struct virtio_net_hdr *hdr,
	struct net_source *from)
{
	return to->tap ? tap_put(to->tap, hdr, from)
		       : net_put(rx, (to->features & VIRTIO_NET_F_MRG_RXBUF) != 0, hdr, from);
}

/* To state.bytes; its header there. */
static const struct virtio_net_hdr *copy(struct passing *p)
{
	static const struct virtio_net_hdr none;
	struct reader frame = p->frame;

	if (!p->copied && !reader_get(&frame, state.bytes, reader_left(&frame)))
		return NULL;
	p->copied = true;
	return p->completed ? &none : &p->hdr;
}

/* For a receiver that does not take the frame as it is. */
static int complete(struct bridge_port *to, struct queue *rx, struct passing *p)
{
	static const struct virtio_net_hdr none;
	const struct virtio_net_hdr *hdr = copy(p);
	struct net_offload cut;
	struct net_piece piece;
	int done = 1;

	if (!hdr || !net_offload_begin(&cut, hdr, state.bytes, reader_left(&p->frame)))
		return -EINVAL;
	p->completed = p->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE;
	while (done > 0 && net_offload_next(&cut, &piece)) {
		struct net_source from = { piece.headers, piece.header_len, piece.payload,
			piece.payload_len, { { 0 } } };

		done = put(to, rx, &none, &from);
	}
	return done;
}

/* As it is. */
static int pass(struct bridge_port *to, struct queue *rx, struct passing *p)
{
	const struct virtio_net_hdr *hdr = &p->hdr;
	struct net_source from;

	from.head = state.bytes;
	from.head_len = from.body_len = 0;
	from.body = NULL;
	from.reader = p->frame;
	if (to->tap) {
		hdr = copy(p);
		if (!hdr)
			return -EINVAL;
		from.head_len = reader_left(&p->frame);
		from.reader.at.left = 0;
	}
	return put(to, rx, hdr, &from);
}

static void deliver(struct bridge_port *to, struct passing *p)
{
	unsigned pair = p->pair;
	struct queue *rx = NULL;
	int done;

	if (to->pairs == 0 || (to->dev && !to->wants(to->dev, p->head)))
		return;
	if (pair >= to->pairs)
		pair %= to->pairs;
	if (to->dev)
		rx = &to->dev->queues[2 * (size_t)pair];
	done = (p->needs & ~to->features) != 0 ? complete(to, rx, p) : pass(to, rx, p);
	if (rx)
		rx->counts.errors += done <= 0;
}

void bridge_send(struct bridge_port *from, unsigned pair, const struct virtio_net_hdr *hdr,
	struct reader *frame)
{
	struct reader head = *frame;
	struct passing p;
	struct bridge_port *to = NULL;
	uint32_t len = reader_left(frame);

	/* One by one: built for size, a literal is a loop of the processor, and slow. */
	p.frame = *frame;
	p.pair = pair;
	p.copied = p.completed = false;
	if (len < sizeof(p.head))
		memset(p.head, 0, sizeof(p.head));
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX ||
		!reader_get(&head, p.head, (uint32_t)num_min(len, sizeof(p.head))) ||
		!take_header(&p, hdr))
		return;
	mac_learn(from, p.head + 6);
	if (!is_multicast(p.head))
		to = mac_where(from, mac_at(p.head));
	if (to && to != from)
		deliver(to, &p);
	else if (!to)
		for (struct bridge_port *other = from->next; other != from; other = other->next) {
			ASSERT(other); /* it is a circle */
			deliver(other, &p);
		}
}
