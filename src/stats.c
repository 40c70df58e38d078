/*
 * Counters of devices and queues, as lines and as JSON.
 *
 * Theory of operation. A client of the socket is a place in the tables of devices and queues. What
 * comes next is formatted into the one buffer and sent in whole or not at all; its place moves when
 * it was sent. So a client that does not read costs a few words and a look now and then, until its
 * time is over. More clients than there are places for wait in the backlog of the socket.
 */
#include "stats.h"

#include <errno.h>
#include <string.h>

#include "device.h"
#include "loop.h"
#include "text.h"

enum {
	PIECE_MAX = 1536, /* bytes of a device's or a queue's part */
	TEXT_MAX = 4096,  /* bytes sent at once: the kernel takes all of it, or nothing */
	STRING_MAX = 108, /* bytes of a name or path, each of which may become 6 */
};
#define AGAIN_NS    20000000ull   /* a client that was full is looked at again */
#define REST_NS     1000000000ull /* … and a socket that could not be accepted from */
#define PATIENCE_NS 5000000000ull /* in which a client must have read it all */

struct client {
	bool open, begun;
	int fd;
	uint32_t device;
	uint32_t queue;  /* 0: the device's own part, then its queues, counted from 1 */
	bool more;       /* a queue was before this one */
	uint64_t end_ns; /* of our patience */
};

static struct {
	const struct device *devices;
	uint32_t count;
	const char *path; /* NULL: there is no socket */
	int listener, watch;
	bool watched;
	struct port_socket_id id;
	struct loop_timer again;
	struct client clients[CONFIG_STATS_CLIENTS];
	char text[TEXT_MAX];
} state;

void stats_of(const struct device *devices, uint32_t count)
{
	state.devices = devices;
	state.count = count;
}

static const char *state_name(const struct session *s)
{
	if (s->state != SESSION_CLOSED)
		return s->state == SESSION_OPEN ? "connected" : "closing";
	switch ((enum endpoint_kind)s->endpoint.kind) {
	case ENDPOINT_LISTEN:
	case ENDPOINT_LISTEN_FD: return "listening";
	case ENDPOINT_CLIENT: return "connecting";
	default: return "closed";
	}
}

static bool was_used(const struct queue *q)
{
	return q->started || q->counts.requests > 0 || q->counts.breaks > 0;
}

struct hex {
	char text[20];
};

static struct hex hex_of(uint64_t n)
{
	struct hex hex = { "0x" };
	unsigned at = 2;

	for (unsigned shift = 60;; shift -= 4) {
		if (n >> shift > 0 || shift == 0)
			hex.text[at++] = "0123456789abcdef"[n >> shift & 15];
		if (shift == 0)
			return hex;
	}
}

/* The fields of a queue, each with what stands around its name. */
#define FIELDS(before, behind)                                                               \
	before "requests" behind "%llu" before "bytes" behind "%llu" before "errors" behind  \
	       "%llu" before "kicks" behind "%llu" before "calls" behind "%llu" before       \
	       "breaks" behind "%llu" before "in_flight" behind "%u" before "started" behind \
	       "%s" before "broken" behind "%s"
#define VALUES(q, yes, no)                                                                     \
	(unsigned long long)(q)->counts.requests, (unsigned long long)(q)->counts.bytes,       \
		(unsigned long long)(q)->counts.errors, (unsigned long long)(q)->counts.kicks, \
		(unsigned long long)(q)->counts.calls, (unsigned long long)(q)->counts.breaks, \
		(q)->in_flight, (q)->started ? (yes) : (no), (q)->broken ? (yes) : (no)

void stats_log(void)
{
	for (uint32_t i = 0; i < state.count; i++) {
		const struct device *dev = &state.devices[i];

		log_error(dev->name, "state=%s features=%s%s%s", state_name(&dev->session),
			hex_of(dev->session.features).text,
			dev->session.endpoint.path ? " socket=" : "", dev->session.endpoint.path);
		for (uint16_t k = 0; k < dev->queue_count; k++) {
			const struct queue *q = &dev->queues[k];

			if (was_used(q))
				log_error(dev->name, "queue=%u" FIELDS(" ", "="), k,
					VALUES(q, "1", "0"));
		}
	}
}

/* ---- JSON ---- */

/* Bytes of the UTF-8 sequence at `at` (which a NUL ends), or 0: what is there is none. */
static unsigned utf8_len(const unsigned char *at)
{
	unsigned first = at[0], second = at[first >= 0x80];
	unsigned len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	/* Never first; longer than it need be; a surrogate; no character any more. */
	if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || (first == 0xe0 && second < 0xa0) ||
		(first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
		(first == 0xf4 && second > 0x8f))
		return 0;
	for (unsigned i = 1; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

struct quoted {
	char text[STRING_MAX * 6 + 1];
};

/* A name or path as what stands between the quotes of a JSON string. */
static struct quoted quote(const char *name)
{
	struct quoted quoted;
	size_t len = 0;
	const unsigned char *at = (const unsigned char *)(name ? name : "");

	for (unsigned done = 0; *at && done < STRING_MAX; at++, done++) {
		unsigned char c = *at;
		unsigned same = c == '"' || c == '\\' || c < ' ' ? 0 : utf8_len(at);

		if (same > 0) {
			memcpy(quoted.text + len, at, same);
			len += same;
			at += same - 1;
		} else if (c < 0x80) {
			len += text_format(quoted.text + len, 7, "\\u00%c%c", '0' + c / 16,
				"0123456789abcdef"[c % 16]);
		} else {
			len += text_format(quoted.text + len, 7, "\\ufffd");
		}
	}
	quoted.text[len] = 0;
	return quoted;
}

/* The next part of what a client gets, into text (PIECE_MAX bytes): its length, 0 at the end. */
static size_t next_piece(struct client *c, char *text)
{
	const struct device *dev = &state.devices[c->device];

	if (!c->begun) {
		c->begun = true;
		return text_format(
			text, PIECE_MAX, "{\"version\":\"%s\",\"devices\":[", CONFIG_VERSION);
	}
	if (c->device > state.count)
		return 0;
	if (c->device == state.count) {
		c->device++;
		return text_format(text, PIECE_MAX, "]}\n");
	}
	if (c->queue == 0) {
		c->queue++;
		c->more = false;
		return text_format(text, PIECE_MAX,
			"%s{\"name\":\"%s\",\"device\":\"%s\",\"socket\":\"%s\",\"state\":\"%s\","
			"\"features\":\"%s\",\"queues\":[",
			c->device > 0 ? "," : "", quote(dev->name).text, dev->class->name,
			quote(dev->session.endpoint.path).text, state_name(&dev->session),
			hex_of(dev->session.features).text);
	}
	while (c->queue <= dev->queue_count) {
		const struct queue *q = &dev->queues[c->queue++ - 1];
		bool more = c->more;

		if (!was_used(q))
			continue;
		c->more = true;
		return text_format(text, PIECE_MAX, "%s{\"queue\":%u" FIELDS(",\"", "\":") "}",
			more ? "," : "", q->index, VALUES(q, "true", "false"));
	}
	c->device++;
	c->queue = 0;
	return text_format(text, PIECE_MAX, "]}");
}

/* ---- the socket ---- */

static void stats_again(void *owner);

static void again_in(uint64_t ns)
{
	if (!state.again.set)
		loop_timer_set(&state.again, out_now_ns() + ns, stats_again, NULL);
}

/* Sends what the client takes now; false: it has it all, or is gone. */
static bool client_goes_on(struct client *client)
{
	for (;;) {
		struct client next = *client;
		size_t len = 0, n;
		int error;

		do {
			n = next_piece(&next, state.text + len);
			len += n;
		} while (n > 0 && len <= TEXT_MAX - PIECE_MAX);
		if (len == 0)
			return false;
		error = port_send(client->fd, state.text, len, -1);
		if (error == -EAGAIN)
			return out_now_ns() < client->end_ns;
		if (error < 0)
			return false;
		*client = next;
	}
}

static void client_run(struct client *client)
{
	if (client_goes_on(client)) {
		again_in(AGAIN_NS);
		return;
	}
	port_close(client->fd);
	client->open = false;
}

static struct client *client_unused(void)
{
	for (unsigned i = 0; i < CONFIG_STATS_CLIENTS; i++)
		if (!state.clients[i].open)
			return &state.clients[i];
	return NULL;
}

/* No place, or no descriptor: who waits is in the backlog. */
static void stats_rest(uint64_t ns)
{
	loop_unwatch(state.watch);
	state.watched = false;
	again_in(ns);
}

static void stats_accept(void *owner)
{
	struct client *client = client_unused();
	int fd;

	(void)owner;
	if (!client) {
		stats_rest(AGAIN_NS);
		return;
	}
	fd = port_accept(state.listener);
	if (fd < 0) {
		if (fd != -EAGAIN && fd != -ECONNABORTED)
			stats_rest(REST_NS);
		return;
	}
	*client = (struct client){ .open = true, .fd = fd, .end_ns = out_now_ns() + PATIENCE_NS };
	client_run(client);
}

static int stats_watch(void)
{
	state.watch = loop_watch(state.listener, PORT_LEVEL, stats_accept, NULL);
	state.watched = state.watch >= 0;
	return state.watched ? 0 : state.watch;
}

static void stats_again(void *owner)
{
	(void)owner;
	for (unsigned i = 0; i < CONFIG_STATS_CLIENTS; i++)
		if (state.clients[i].open)
			client_run(&state.clients[i]);
	if (!state.watched && (!client_unused() || stats_watch() < 0))
		again_in(REST_NS);
}

int stats_serve(const char *path)
{
	state.listener = port_listen(path, &state.id);
	if (state.listener < 0)
		return state.listener;
	state.path = path;
	return stats_watch();
}

void stats_unlink(void)
{
	if (state.path)
		port_unlisten(state.path, &state.id);
	state.path = NULL;
}
