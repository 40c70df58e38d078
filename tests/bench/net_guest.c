/* The guests' ends: network cards, and a socket device. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "load.h"
#include "net.h"

enum { RX, TX, PATIENCE_MS = 5000, ETHERNET_MAX = 1514, SEGMENT = 1448 };
enum { NEEDS_CSUM = 1, TCPV4 = 1, CSUM_OFFSET = 16, MERGED_AT = 10 };
enum { F_CSUM = 0, F_GUEST_CSUM = 1, F_GUEST_TSO4 = 7, F_HOST_TSO4 = 11, F_MRG_RXBUF = 15 };

static struct {
	const struct net_options *o;
	struct card cards[2];
	struct lane *in, *out; /* of the guest that sends, and of the one that receives */
	uint64_t bytes;        /* of a stream that have come */
} state;

/* ---- frames ---- */

static void put16(unsigned char *at, unsigned v)
{
	at[0] = (unsigned char)(v >> 8);
	at[1] = (unsigned char)v;
}

/* The header is little-endian (VIRTIO 5.1.6), or the host's, which is the same here. */
static void make_header(unsigned char *at, unsigned bytes)
{
	uint16_t words[5] = { 0, NET_PAYLOAD_AT, SEGMENT, NET_TCP_AT, CSUM_OFFSET };

	memset(at, 0, NET_HEADER);
	if (bytes <= ETHERNET_MAX)
		return;
	memcpy(at, words, sizeof(words));
	at[0] = NEEDS_CSUM;
	at[1] = TCPV4;
}

void net_make(unsigned char *at, unsigned bytes, bool back)
{
	static const unsigned char guests[2][6] = { { 0x52, 0x54, 0, 0, 0, 1 },
		{ 0x52, 0x54, 0, 0, 0, 2 } };
	static const unsigned char ip[20] = { 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1,
		10, 0, 0, 2 };
	unsigned char *frame = at + NET_HEADER;

	memset(at, 0x5a, NET_HEADER + bytes);
	make_header(at, bytes);
	memcpy(frame, guests[!back], 6);
	memcpy(frame + 6, guests[back], 6);
	put16(frame + 12, 0x0800);
	memcpy(frame + 14, ip, sizeof(ip));
	put16(frame + 16, bytes - 14);
	memset(frame + NET_TCP_AT, 0, NET_PAYLOAD_AT - NET_TCP_AT);
	frame[NET_TCP_AT + 12] = 5 << 4;
}

static uint64_t features(const struct net_options *o)
{
	uint64_t f = 1ull << F_MRG_RXBUF;

	if (o->bytes > ETHERNET_MAX)
		f |= 1ull << F_CSUM | 1ull << F_GUEST_CSUM | 1ull << F_GUEST_TSO4 |
		     1ull << F_HOST_TSO4;
	return f;
}

static void open_card(unsigned i, const char *socket, const struct net_options *o, bool receives)
{
	struct lane_kind kinds[] = { { true, receives ? o->buffer : 0 },
		{ false, NET_HEADER + o->bytes } };
	struct card *c = &state.cards[i];

	state.o = o;
	card_open(c, socket, features(o), kinds, 2);
	for (unsigned k = 0; k < CARD_RING; k++)
		net_make(c->lanes[TX].host + (size_t)k * c->lanes[TX].stride, o->bytes, receives);
}

static void reap(void)
{
	uint32_t len;

	if (!lane_has_used(state.in))
		return;
	while (lane_has_used(state.in))
		(void)lane_take(state.in, &len);
	lane_want_calls(state.in, false);
}

static bool guest_send(uint64_t number)
{
	unsigned char *p;

	if (state.in->free_count == 0)
		return false;
	p = lane_next(state.in);
	make_header(p, state.o->bytes);
	if (state.o->verify)
		memcpy(p + NET_HEADER + NET_PAYLOAD_AT, &number, sizeof(number));
	lane_add(state.in, NET_HEADER + state.o->bytes);
	return true;
}

static void guest_flush(void)
{
	lane_publish(state.in);
}

/* A frame that was taken; what the kernel itself says on a tap is none of ours. */
static bool is_ours(const unsigned char *first, uint32_t len, uint64_t number)
{
	uint64_t got = number;

	if (len != NET_HEADER + state.o->bytes)
		return false;
	if (state.o->verify)
		memcpy(&got, first + NET_HEADER + NET_PAYLOAD_AT, sizeof(got));
	if (got != number)
		die("frame %llu came when %llu was due", (unsigned long long)got,
			(unsigned long long)number);
	return true;
}

/* The frames that have come; their buffers are given back at once. */
static unsigned guest_arrived(uint64_t number)
{
	struct lane *l = state.out;
	unsigned frames = 0;

	if (state.in)
		reap();
	if (!lane_has_used(l))
		return 0;
	while (lane_has_used(l)) {
		uint32_t len, more;
		const unsigned char *first = lane_take(l, &len);
		uint16_t buffers;

		lane_add(l, l->bytes);
		memcpy(&buffers, first + MERGED_AT, sizeof(buffers));
		/* The buffers of one frame become visible together. */
		while (buffers-- > 1) {
			if (!lane_has_used(l))
				die("a frame without its end");
			(void)lane_take(l, &more);
			lane_add(l, l->bytes);
			len += more;
		}
		frames += is_ours(first, len, number + frames);
	}
	lane_want_calls(l, false);
	lane_publish(l);
	return frames;
}

/* The one who receives says where he is. */
static void say_hello(struct lane *tx)
{
	lane_add(tx, NET_HEADER + state.o->bytes);
	lane_publish(tx);
}

void net_guest_pass(const struct net_options *o, struct ends *ends)
{
	open_card(1, o->to, o, true);
	open_card(0, o->from, o, false);
	say_hello(&state.cards[1].lanes[TX]);
	state.in = &state.cards[0].lanes[TX];
	state.out = &state.cards[1].lanes[RX];
	*ends = (struct ends){ guest_send, guest_flush, guest_arrived, state.out, o->cpu_pid };
}

static unsigned frames_taken(uint64_t number)
{
	uint16_t before = state.in->taken;

	(void)number;
	reap();
	return (uint16_t)(state.in->taken - before);
}

void net_guest_out(const struct net_options *o, struct ends *ends)
{
	net_raise(o->to);
	open_card(0, o->from, o, false);
	state.in = &state.cards[0].lanes[TX];
	*ends = (struct ends){ guest_send, guest_flush, frames_taken, state.in, o->cpu_pid };
}

static void no_flush(void)
{
}

void net_guest_in(const struct net_options *o, struct ends *ends)
{
	open_card(0, o->from, o, true);
	state.out = &state.cards[0].lanes[RX];
	net_raw_to(o->to, o);
	*ends = (struct ends){ net_raw_send, no_flush, guest_arrived, state.out, o->cpu_pid };
}

/* ---- a socket device (VIRTIO 5.10) ---- */

enum { CREDIT = 1 << 30, REQUEST = 1, RESPONSE = 2, RW = 5, CREDIT_UPDATE = 6, PORT = 1234 };

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));
enum { PACKET_HEADER = sizeof(struct packet) };

static struct packet request; /* of the host, which began it */

static void say(uint16_t op)
{
	struct packet p = request;
	uint64_t cid = p.src_cid;
	uint32_t port = p.src_port;

	p.src_cid = p.dst_cid;
	p.dst_cid = cid;
	p.src_port = p.dst_port;
	p.dst_port = port;
	p.op = op;
	p.buf_alloc = CREDIT;
	p.fwd_cnt = (uint32_t)state.bytes;
	reap();
	if (state.in->free_count == 0)
		die("it takes no packets");
	memcpy(lane_next(state.in), &p, PACKET_HEADER);
	lane_add(state.in, PACKET_HEADER);
	lane_publish(state.in);
}

static void check_bytes(const unsigned char *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (data[i] != net_stream_byte(state.bytes + i))
			die("wrong byte at %llu", (unsigned long long)state.bytes + i);
}

/* The packets that have come. */
static void take_packets(void)
{
	struct lane *l = state.out;
	uint64_t before = state.bytes;

	if (!lane_has_used(l))
		return;
	while (lane_has_used(l)) {
		struct packet p;
		uint32_t len;
		const unsigned char *at = lane_take(l, &len);

		memcpy(&p, at, PACKET_HEADER);
		if (p.op == REQUEST)
			request = p;
		if (p.op == RW && state.o->verify)
			check_bytes(at + PACKET_HEADER, p.len);
		if (p.op == RW)
			state.bytes += p.len;
		lane_add(l, l->bytes);
	}
	lane_want_calls(l, false);
	lane_publish(l);
	if (before / (CREDIT / 8) != state.bytes / (CREDIT / 8))
		say(CREDIT_UPDATE);
}

static unsigned blocks_arrived(uint64_t number)
{
	take_packets();
	return (unsigned)(state.bytes / state.o->bytes - number);
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char line[32];

	if (strlen(path) >= sizeof(a.sun_path))
		die("%s: too long", path);
	memcpy(a.sun_path, path, strlen(path));
	snprintf(line, sizeof(line), "CONNECT %d\n", PORT);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
		send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

void net_guest_stream(const struct net_options *o, struct ends *ends)
{
	struct lane_kind kinds[] = { { true, PACKET_HEADER + o->buffer }, { false, PACKET_HEADER },
		{ true, 8 } };
	uint64_t end_us = front_now_us() + PATIENCE_MS * 1000ull;
	char line[32];
	int fd;

	state.o = o;
	card_open(&state.cards[0], o->from, 0, kinds, 3);
	state.in = &state.cards[0].lanes[TX];
	state.out = &state.cards[0].lanes[RX];
	fd = connect_to(o->to);
	while (request.op != REQUEST && front_now_us() < end_us)
		take_packets();
	if (request.op != REQUEST)
		die("no connection came");
	say(RESPONSE);
	if (recv(fd, line, sizeof(line), 0) < 3 || memcmp(line, "OK ", 3) != 0)
		die("the connection was refused");
	net_stream_to(fd, o);
	*ends = (struct ends){ net_stream_send, no_flush, blocks_arrived, state.out, o->cpu_pid };
}
