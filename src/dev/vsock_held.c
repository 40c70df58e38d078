/*
 * The socket device: what goes from the guest to the host.
 *
 * It is written to the unix socket from where it lies in the guest. What the socket does not take
 * is kept, in a ring of bytes for each connection that is as large as the guest is told (5.10.6.3):
 * so a host that does not read stops its own connection only. A message (SEQPACKET) is written in
 * one piece, so it is kept until it is whole; in the ring it has its length before it, and what the
 * guest is told is the half, so that lengths have room, too.
 */
#include <errno.h>

#include "num.h"
#include "vsock.h"

enum { RING = CONFIG_VSOCK_BUFFER, PREFIX = sizeof(uint32_t) };

static struct {
	uint8_t (*rings)[RING]; /* of each connection */
} state;

/* Not a table of this file: a process without such a device shall not even seem to need them. */
bool vsock_held_open(void)
{
	if (!state.rings)
		state.rings = port_reserve(sizeof(*state.rings) * CONFIG_VSOCK_CONNS);
	return state.rings;
}

static uint8_t *ring(const struct vsock_conn *c)
{
	return state.rings[vsock_conn_index(c)];
}

static bool has_messages(const struct vsock_conn *c)
{
	return c->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
}

uint32_t vsock_held_alloc(const struct vsock_conn *c)
{
	return has_messages(c) ? RING / 2 : RING;
}

/* The bytes of the ring from `at` on, which it may have in two places. */
static unsigned places(
	const struct vsock_conn *c, uint32_t at, uint32_t len, struct port_bytes bytes[2])
{
	uint32_t from = (c->held_at + at) % RING, part = (uint32_t)num_min(len, RING - from);

	bytes[0] = (struct port_bytes){ ring(c) + from, part };
	bytes[1] = (struct port_bytes){ ring(c), len - part };
	return len > part ? 2 : 1;
}

static void put_length(struct vsock_conn *c, uint32_t at, uint32_t len)
{
	for (unsigned i = 0; i < PREFIX; i++)
		ring(c)[(c->held_at + at + i) % RING] = (uint8_t)(len >> 8 * i);
}

static uint32_t get_length(const struct vsock_conn *c)
{
	uint32_t len = 0;

	for (unsigned i = 0; i < PREFIX; i++)
		len |= (uint32_t)ring(c)[(c->held_at + i) % RING] << 8 * i;
	return len;
}

/* Copies to the end of the ring. */
static bool hold(struct vsock_conn *c, struct reader *data, uint32_t len)
{
	struct port_bytes bytes[2];
	unsigned count = places(c, c->held, len, bytes);

	for (unsigned i = 0; i < count; i++)
		if (!reader_get(data, (void *)bytes[i].at, (uint32_t)bytes[i].len))
			return false;
	c->held += len;
	return true;
}

/* A part of a message; with its end the message can be written. */
static bool hold_message(struct vsock_conn *c, struct reader *data, uint32_t len, bool end)
{
	if ((uint64_t)c->held + len + PREFIX > RING)
		return false;
	if (c->part == 0) {
		c->part = PREFIX;
		c->held += PREFIX;
	}
	if (len > 0 && !hold(c, data, len))
		return false;
	c->part += len;
	if (end) {
		put_length(c, c->held - c->part, c->part - PREFIX);
		c->part = 0;
	}
	return true;
}

static void drop(struct vsock_conn *c, uint32_t len)
{
	c->held -= len;
	c->held_at = c->held > 0 ? (c->held_at + len) % RING : 0;
}

/* Writes some of a stream, or a message: 1, or why not. */
static int flush_some(struct vsock_conn *c)
{
	struct port_bytes bytes[2];
	bool messages = has_messages(c);
	uint32_t prefix = messages ? PREFIX : 0, len = messages ? get_length(c) : c->held;
	int n = port_peer_send(c->fd, bytes, places(c, prefix, len, bytes));

	if (n < 0)
		return n;
	drop(c, messages ? PREFIX + len : (uint32_t)n);
	c->forwarded += messages ? len : (uint32_t)n;
	return 1;
}

int vsock_held_flush(struct vsock_conn *c)
{
	int n = 1;

	while (n > 0 && c->held > c->part)
		n = flush_some(c);
	return n == -EAGAIN ? 0 : n;
}

/* Writes what it can without a copy: how many bytes, all or some. */
static int write_through(struct vsock_conn *c, struct source all, uint32_t len, bool end)
{
	int n;

	if (c->held > 0 || len == 0 || all.count > PORT_PEER_SPANS || (has_messages(c) && !end))
		return 0;
	n = port_peer_write(c->fd, all, sizeof(struct virtio_vsock_hdr), len);
	return n == -EAGAIN ? 0 : n;
}

int vsock_held_take(
	struct vsock_conn *c, struct source all, struct reader *data, uint32_t len, bool end)
{
	int n;

	if (len > vsock_held_alloc(c) - (c->received - c->forwarded))
		return -EPROTO;
	c->received += len;
	n = write_through(c, all, len, end);
	if (n < 0)
		return n;
	c->forwarded += (uint32_t)n;
	if (has_messages(c)) {
		if (n == 0 && (len > 0 || c->part > 0) && !hold_message(c, data, len, end))
			return -EPROTO;
	} else if ((uint32_t)n < len) {
		(void)reader_skip(data, (uint32_t)n);
		if (!hold(c, data, len - (uint32_t)n))
			return -EPROTO;
	}
	return c->stalled ? 0 : vsock_held_flush(c);
}
