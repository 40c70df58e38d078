/* Devices of every kind, and what is at their other ends. */
#include "kinds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vsock.h"

/* The slots of this file: a half of them, behind those of the cases. */
static uint64_t place(const struct rig *r, unsigned queue)
{
	return r->slots + (uint64_t)(RIG_SLOTS / 2 + queue) * RIG_SLOT_BYTES;
}

/* Gives a buffer, and waits for it: how many bytes were written. */
static uint32_t exchange(struct rig *r, unsigned queue, uint32_t len, bool writes)
{
	struct driver_buffer b = { place(r, queue), len, writes };
	struct driver_chain chain = { .buffers = &b, .count = 1 };
	uint32_t written;

	CHECK(driver_add(&r->queues[queue].driver, &chain) >= 0);
	front_queue_offer(&r->queues[queue]);
	rig_take(r, &r->queues[queue], &written);
	return written;
}

static void put(const struct rig *r, unsigned queue, const void *bytes, size_t len)
{
	CHECK(driver_write(&r->memory.driver, place(r, queue), bytes, len));
}

static void get(const struct rig *r, unsigned queue, void *bytes, size_t len)
{
	CHECK(driver_read(&r->memory.driver, place(r, queue), bytes, len));
}

static struct sockaddr_un address_of(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", harness_path(name));
	return a;
}

static int client_of(int type, const char *name)
{
	struct sockaddr_un a = address_of(name);
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	UNTIL(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

/* ---- rng ---- */

static void rng_works(struct rig *r, bool fresh)
{
	(void)fresh;
	CHECK_EQ(exchange(r, 0, 64, true), 64);
}

/* ---- net, with a peer that sends datagrams ---- */

enum { NET_RX, NET_TX, NET_CONTROL, NET_HEADER = 12, NET_FRAME = 60, NET_BUFFER = 4096 };

static int peer = -1;
static unsigned char frame[NET_FRAME];

static void net_prepare(void)
{
	struct sockaddr_un a = address_of("peer");

	peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK_EQ(bind(peer, (struct sockaddr *)&a, sizeof(a)), 0);
}

static void net_reach(struct rig *r)
{
	struct sockaddr_un a = address_of("local");

	(void)r;
	UNTIL(connect(peer, (struct sockaddr *)&a, sizeof(a)) == 0);
}

/* False: it has not taken those before it. */
static bool net_comes(void)
{
	ssize_t n;

	harness_fill(frame, sizeof(frame));
	memset(frame, 0xff, 6);
	frame[6] = 2;
	n = send(peer, frame, sizeof(frame), MSG_NOSIGNAL);
	CHECK(n == NET_FRAME || errno == EAGAIN);
	return n > 0;
}

static void net_poke(struct rig *r)
{
	(void)r;
	(void)net_comes();
}

static void net_sends(struct rig *r)
{
	unsigned char bytes[NET_HEADER + NET_FRAME] = { 0 }, got[1 << 16];

	harness_fill(bytes + NET_HEADER, NET_FRAME);
	memset(bytes + NET_HEADER, 0xff, 6);
	put(r, NET_TX, bytes, sizeof(bytes));
	/* Those before it may be as many as the socket holds. */
	while (recv(peer, got, sizeof(got), 0) >= 0)
		continue;
	CHECK_EQ(exchange(r, NET_TX, sizeof(bytes), false), 0);
	UNTIL(recv(peer, got, sizeof(got), 0) == NET_FRAME &&
		memcmp(got, bytes + NET_HEADER, NET_FRAME) == 0);
}

static void net_receives(struct rig *r)
{
	unsigned char bytes[NET_HEADER + NET_FRAME] = { 0 };
	bool sent = false;

	do {
		sent = sent || net_comes();
		if (exchange(r, NET_RX, NET_BUFFER, true) == sizeof(bytes))
			get(r, NET_RX, bytes, sizeof(bytes));
	} while (memcmp(bytes + NET_HEADER, frame, NET_FRAME) != 0);
}

/* Be promiscuous (5.1.6.5.1): OK. */
static void net_obeys(struct rig *r)
{
	struct driver_buffer b[] = { { place(r, NET_CONTROL), 3, false },
		{ place(r, NET_CONTROL) + 8, 1, true } };
	struct driver_chain chain = { .buffers = b, .count = 2 };
	unsigned char bytes[9] = { 0, 0, 1, [8] = 0xee };

	put(r, NET_CONTROL, bytes, sizeof(bytes));
	CHECK(driver_add(&r->queues[NET_CONTROL].driver, &chain) >= 0);
	front_queue_offer(&r->queues[NET_CONTROL]);
	rig_take(r, &r->queues[NET_CONTROL], NULL);
	get(r, NET_CONTROL, bytes, sizeof(bytes));
	CHECK_EQ(bytes[8], 0);
}

static void net_works(struct rig *r, bool fresh)
{
	(void)fresh;
	net_sends(r);
	net_receives(r);
	net_obeys(r);
}

/* ---- console, with a client at itself and one at its port ---- */

enum { CON_RX, CON_TX, CON_CONTROL_RX, CON_CONTROL_TX, CON_RX1, CON_TX1, CON_TOKEN = 8 };
enum { CON_PORT_READY = 3 };

static int clients[2] = { -1, -1 };

static void console_reach(struct rig *r)
{
	(void)r;
	clients[0] = client_of(SOCK_STREAM, "console");
	clients[1] = client_of(SOCK_STREAM, "port");
}

static void console_poke(struct rig *r)
{
	(void)r;
	CHECK(send(clients[0], "x", 1, MSG_NOSIGNAL) == 1 || errno == EAGAIN);
}

static void port_poke(struct rig *r)
{
	(void)r;
	CHECK(send(clients[1], "x", 1, MSG_NOSIGNAL) == 1 || errno == EAGAIN);
}

/* PORT_READY of the console, which is told then that it is one. */
static void control_poke(struct rig *r)
{
	const unsigned char ready[8] = { [4] = CON_PORT_READY, [6] = 1 };

	put(r, CON_CONTROL_TX, ready, sizeof(ready));
	CHECK_EQ(exchange(r, CON_CONTROL_TX, sizeof(ready), false), 0);
}

/* Bytes that nobody has said before, at the end of what comes. */
struct ending {
	unsigned char should[CON_TOKEN], is[CON_TOKEN];
};

static void ending_adds(struct ending *e, unsigned char byte)
{
	memmove(e->is, e->is + 1, CON_TOKEN - 1);
	e->is[CON_TOKEN - 1] = byte;
}

static bool has_ended(const struct ending *e)
{
	return memcmp(e->is, e->should, CON_TOKEN) == 0;
}

/* Reads all that is there. */
static bool is_heard(struct ending *e, int client)
{
	unsigned char got[4096];
	ssize_t n;

	while ((n = recv(client, got, sizeof(got), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			ending_adds(e, got[i]);
	return has_ended(e);
}

static void says(struct rig *r, unsigned queue, int client)
{
	struct ending e = { .is = { 0 } };

	harness_fill(e.should, CON_TOKEN);
	put(r, queue, e.should, CON_TOKEN);
	CHECK_EQ(exchange(r, queue, CON_TOKEN, false), 0);
	UNTIL(is_heard(&e, client));
}

static void hears(struct rig *r, unsigned queue, int client)
{
	unsigned char got[CON_TOKEN];
	struct ending e = { .is = { 0 } };
	size_t sent = 0;

	harness_fill(e.should, CON_TOKEN);
	while (!has_ended(&e)) {
		ssize_t n = send(client, e.should + sent, CON_TOKEN - sent, MSG_NOSIGNAL);
		uint32_t len;

		sent += n > 0 ? (size_t)n : 0;
		len = exchange(r, queue, CON_TOKEN, true);
		get(r, queue, got, len);
		for (uint32_t i = 0; i < len; i++)
			ending_adds(&e, got[i]);
	}
}

static void console_works(struct rig *r, bool fresh)
{
	(void)fresh;
	says(r, CON_TX, clients[0]);
	hears(r, CON_RX, clients[0]);
	control_poke(r);
	CHECK_EQ(exchange(r, CON_CONTROL_RX, 64, true), 8);
	says(r, CON_TX1, clients[1]);
	hears(r, CON_RX1, clients[1]);
}

/* ---- vsock, with a client of its socket ---- */

enum { SOCK_BUFFER = 4096 };

static int caller = -1;

/* A client wants to be connected to a port of the guest. */
static void vsock_poke(struct rig *r)
{
	static const char line[] = "CONNECT 1234\n";

	(void)r;
	if (caller >= 0)
		close(caller);
	caller = client_of(SOCK_STREAM, "guest");
	(void)send(caller, line, sizeof(line) - 1, MSG_NOSIGNAL);
}

/* The guest is asked, and refuses: the client is told so. */
static void vsock_works(struct rig *r, bool fresh)
{
	struct vsock_packet h = { .op = 0 };
	unsigned char byte;
	ssize_t n;

	vsock_poke(r);
	while (h.op != REQUEST) {
		CHECK(exchange(r, RX, SOCK_BUFFER, true) >= sizeof(h));
		get(r, RX, &h, sizeof(h));
		CHECK_EQ(h.dst_cid, CID);
	}
	CHECK_EQ(h.dst_port, PORT);
	h = (struct vsock_packet){ .src_cid = CID,
		.dst_cid = h.src_cid,
		.src_port = PORT,
		.dst_port = h.src_port,
		.type = STREAM,
		.op = RST };
	put(r, TX, &h, sizeof(h));
	CHECK_EQ(exchange(r, TX, sizeof(h), false), 0);
	UNTIL((n = recv(caller, &byte, 1, 0)) == 0 || (n < 0 && errno != EAGAIN));
	/* Its rings go on where an earlier life was: it says that this has ended. */
	if (fresh)
		CHECK_EQ(exchange(r, EVENT, 4, true), 4);
}

/* ---- the table ---- */

static const struct kind kinds[] = {
	{ .name = "rng",
		.queue_count = 1,
		.queues = { { "requests", true, NULL, false } },
		.works = rng_works },
	{ .name = "net",
		.words = { "--peer-unix=@peer", "--peer-local=@local" },
		.queue_count = 3,
		.queues = { { "receive", true, net_poke, false },
			{ "transmit", false, NULL, false }, { "control", false, NULL, false } },
		.prepare = net_prepare,
		.reach = net_reach,
		.works = net_works },
	{ .name = "console",
		.words = { "--backend=unix:@console", "--port=data:unix:@port" },
		.queue_count = 6,
		.queues = { { "receive", true, console_poke, false },
			{ "transmit", false, NULL, false },
			{ "control receive", true, control_poke, true },
			{ "control transmit", false, NULL, false },
			{ "port receive", true, port_poke, false },
			{ "port transmit", false, NULL, false } },
		.reach = console_reach,
		.works = console_works },
	{ .name = "vsock",
		.words = { "--guest-cid=7", "--uds-path=@guest" },
		.start = 4,
		.queue_count = 3,
		.queues = { { "receive", true, vsock_poke, false },
			{ "transmit", false, NULL, false }, { "event", true, NULL, false } },
		.works = vsock_works },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

const struct kind *kind_find(const char *name)
{
	for (unsigned i = 0; i < KINDS; i++)
		if (name && strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

void kind_serve(const struct kind *kind, struct rig *r, const char *const *more)
{
	char text[KIND_WORDS_MAX][160];
	const char *words[KIND_WORDS_MAX + 12];
	unsigned n = 0;

	for (; n < KIND_WORDS_MAX && kind->words[n]; n++) {
		const char *word = kind->words[n], *at = strchr(word, '@');

		snprintf(text[n], sizeof(text[n]), "%.*s%s", (int)strcspn(word, "@"), word,
			at ? harness_path(at + 1) : "");
		words[n] = text[n];
	}
	for (; more && *more; more++)
		words[n++] = *more;
	words[n] = NULL;
	r->front.fd = -1;
	r->start = kind->start;
	if (kind->prepare)
		kind->prepare();
	vubox_start(&r->vubox, kind->name, words);
	if (kind->reach)
		kind->reach(r);
}

int kind_main(int argc, char **argv, const struct harness_case *cases, unsigned count)
{
	enum { CASES_MAX = 256 };
	static struct harness_case all[CASES_MAX];
	unsigned n = 0;

	for (unsigned k = 0; k < KINDS; k++)
		for (unsigned i = 0; i < count && n < CASES_MAX; i++) {
			all[n] = cases[i];
			all[n].with = kinds[k].name;
			if (!all[n].format)
				all[n].format = (k + i) % 2 ? "packed" : "split";
			n++;
		}
	return harness_main(argc, argv, all, n);
}
