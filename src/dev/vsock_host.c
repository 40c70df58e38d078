/* The socket device: a connection's unix socket, and those who connect to ours. */
#include <errno.h>
#include <string.h>

#include "vsock.h"

enum { SHUT_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND };
/* Ports of connections that the host has begun, as they seem to the guest. */
#define PORT_FIRST (1u << 30)

static struct {
	uint32_t next_port;
} state;

static void conn_event(void *owner);

bool vsock_host_watch(struct vsock_conn *c, enum port_trigger trigger)
{
	c->watch = loop_watch(c->fd, trigger, conn_event, c);
	return c->watch >= 0;
}

void vsock_host_close(struct vsock_conn *c)
{
	vsock_buffer_close(&c->held);
	if (c->fd < 0)
		return;
	if (c->watch >= 0)
		loop_unwatch(c->watch);
	port_close(c->fd);
	c->fd = c->watch = -1;
}

void vsock_host_written(struct vsock_conn *c, int result)
{
	bool stalled = result == 0;

	/* One that drains: the guest knows all that it is to know. */
	if (c->stage == VSOCK_DRAINS && !stalled) {
		vsock_host_close(c);
		c->stage = VSOCK_RESET;
		if (c->wants == 0)
			vsock_conn_drop(c);
		return;
	}
	if (result < 0) {
		vsock_conn_reset(c);
		return;
	}
	if (stalled != c->stalled) {
		/* Asked for only while it is of use: every read of the host would wake us. */
		loop_unwatch(c->watch);
		c->stalled = stalled;
		if (!vsock_host_watch(c, stalled ? PORT_EDGE_ANY : PORT_EDGE)) {
			vsock_conn_reset(c);
			return;
		}
	}
	if (c->held.bytes == 0 && (c->shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0)
		port_peer_shut(c->fd, PORT_PEER_WRITES);
	/* A quarter is soon enough that the guest need not wait, and not a packet for each. */
	if (c->forwarded != c->told && c->received - c->told > vsock_held_alloc(c) / 4)
		vsock_conn_want(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
}

void vsock_host_ended(struct vsock_conn *c)
{
	uint8_t before = c->is_shut;

	c->is_shut |= port_peer_ended(c->fd) == 2 ? SHUT_BOTH : VIRTIO_VSOCK_SHUTDOWN_SEND;
	if (c->is_shut == before)
		return;
	vsock_conn_want(c, VIRTIO_VSOCK_OP_SHUTDOWN);
	if (c->is_shut == SHUT_BOTH)
		vsock_conn_expect(c);
}

/* "CONNECT 1234": the port, or false. */
static bool parse_line(const char *line, uint32_t *port)
{
	static const char word[] = "CONNECT ";
	uint64_t n = 0;

	if (strncmp(line, word, sizeof(word) - 1) != 0)
		return false;
	line += sizeof(word) - 1;
	if (*line == 0)
		return false;
	for (; *line >= '0' && *line <= '9' && n <= UINT32_MAX; line++)
		n = n * 10 + (uint64_t)(*line - '0');
	*port = (uint32_t)n;
	return *line == 0 && n <= UINT32_MAX;
}

static void conn_line(struct vsock_conn *c)
{
	char line[32];
	uint32_t port;
	int n = port_peer_line(c->fd, line, sizeof(line));

	if (n == -EAGAIN)
		return;
	if (n < 0 || !parse_line(line, &port)) {
		vsock_conn_drop(c);
		return;
	}
	c->guest_port = port;
	do
		c->host_port = PORT_FIRST + state.next_port++ % PORT_FIRST;
	while (vsock_conn_find(c->vsock, c->guest_port, c->host_port));
	c->stage = VSOCK_ASKED;
	vsock_buffer_open(&c->held, false);
	vsock_conn_enter(c);
	vsock_conn_expect(c);
	vsock_conn_want(c, VIRTIO_VSOCK_OP_REQUEST);
	vsock_conn_offer(c);
}

static void conn_event(void *owner)
{
	struct vsock_conn *c = owner;

	if (c->stage == VSOCK_LINE) {
		conn_line(c);
		return;
	}
	c->readable = true;
	if (c->stalled)
		vsock_host_written(c, vsock_held_flush(c));
	if (c->stage != VSOCK_OPEN)
		return;
	/* Where nothing is read any more, its end is not met by reading. */
	if (c->is_shut == VIRTIO_VSOCK_SHUTDOWN_SEND ||
		((c->shut & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0 && port_peer_ended(c->fd) == 2))
		vsock_host_ended(c);
	vsock_conn_offer(c);
}

void vsock_host_accept(struct vsock *v, int fd)
{
	struct vsock_conn *c = vsock_conn_new(v);

	if (!c) {
		if (log_allow(&v->limit, v->dev->name))
			log_error(v->dev->name, "%s: turned away: there are %u connections already",
				v->path, v->conns);
		port_close(fd);
		return;
	}
	c->fd = fd;
	c->stage = VSOCK_LINE;
	vsock_conn_expect(c);
	if (!vsock_host_watch(c, PORT_EDGE))
		vsock_conn_drop(c);
}
