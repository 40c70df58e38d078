/*
 * The socket device: what goes from the guest to the host.
 *
 * It is written to the unix socket from where it lies in the guest. What the socket does not take
 * is kept in blocks (vsock_buffer.c), for which the guest has credit (5.10.6.3): so a host that
 * does not read stops its own connection only. A message (SEQPACKET) is written in one piece, so it
 * is kept until it is whole.
 */
#include <errno.h>

#include "num.h"
#include "vsock.h"

static bool has_messages(const struct vsock_conn *c)
{
	return c->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
}

uint32_t vsock_held_alloc(const struct vsock_conn *c)
{
	return vsock_buffer_size(&c->held);
}

int vsock_held_flush(struct vsock_conn *c)
{
	uint32_t before = c->held.bytes;
	int error = vsock_buffer_flush(&c->held, c->fd);

	c->forwarded += before - c->held.bytes;
	return error == 0 ? 1 : error == -EAGAIN ? 0 : error;
}

/* Writes what it can without a copy: how many bytes, all or some. */
static int write_through(struct vsock_conn *c, struct source all, uint32_t len, bool end)
{
	int n;

	if (c->held.bytes > 0 || len == 0 || all.count > PORT_PEER_SPANS ||
		(has_messages(c) && !end))
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
	if ((uint32_t)n < len || (end && n == 0)) {
		(void)reader_skip(data, (uint32_t)n);
		if (!vsock_buffer_put(&c->held, data, len - (uint32_t)n, end && has_messages(c)))
			return -EPROTO;
	}
	return c->stalled ? 0 : vsock_held_flush(c);
}
