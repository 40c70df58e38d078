/* The fake port: sockets whose other end talks to a guest. A segment is a message. */
#include <errno.h>
#include <string.h>

#include "fake_object.h"

enum { BYTES_MAX = 1 << 18 };

static unsigned char bytes[BYTES_MAX];

int port_peer_connect(const char *path, bool messages)
{
	(void)messages;
	return port_connect(path);
}

int port_peer_line(int fd, char *line, size_t size)
{
	const struct object *o = fake_object(fd, SOCKET);
	size_t len = 0;
	unsigned none = 0;

	for (const struct segment *s = o->first; s && len < size; s = s->next)
		for (size_t i = s->at; i < s->len && len < size; i++) {
			line[len++] = s->bytes[i];
			if (s->bytes[i] != '\n')
				continue;
			if (port_recv(fd, line, len, NULL, &none) < 0)
				return -EIO;
			line[len - 1] = 0;
			return (int)len - 1;
		}
	return len == size || fake_peek(fd) == 0 || port_peer_ended(fd) != 0 ? -EPROTO : -EAGAIN;
}

/* Goes over at most len bytes behind the first skip of the spans: how many there are. */
static size_t walk(const struct span *spans, uint32_t count, size_t skip, size_t len, bool to_guest)
{
	size_t done = 0;

	if (count > PORT_PEER_SPANS)
		count = PORT_PEER_SPANS;
	for (uint32_t i = 0; i < count && done < len; i++) {
		char *at = (char *)spans[i].base;
		size_t part = spans[i].len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part = part - skip < len - done ? part - skip : len - done;
		if (!fake_mapped(at + skip, part))
			fake_die("a socket has bytes of memory that is not mapped");
		if (to_guest)
			memcpy(at + skip, bytes + done, part);
		else
			memcpy(bytes + done, at + skip, part);
		done += part;
		skip = 0;
	}
	return done;
}

static int receive(int fd, struct sink to, uint32_t skip, size_t len)
{
	unsigned none = 0;
	int n;

	if (len > BYTES_MAX)
		len = BYTES_MAX;
	n = port_recv(fd, bytes, len, NULL, &none);
	if (n > 0 && walk(to.spans, to.count, skip, (size_t)n, true) != (size_t)n)
		fake_die("more is read than there is room for");
	return n;
}

int port_peer_read(int fd, struct sink to, uint32_t skip, uint32_t len)
{
	return receive(fd, to, skip, len);
}

int port_peer_read_message(int fd, struct sink to, uint32_t skip, uint32_t len, bool *whole)
{
	const struct segment *s = fake_object(fd, SOCKET)->first;
	size_t left = s ? s->len - s->at : 0;

	*whole = left <= len;
	return receive(fd, to, skip, left > 0 && left < len ? left : len);
}

/* What a socket takes: of a message all or nothing. */
static int transmit(int fd, size_t len)
{
	struct object *o = fake_object(fd, SOCKET);
	int error = fake_call(FAKE_SEND);
	size_t room;

	if (error < 0)
		return error;
	if (!o->peer || o->shut)
		return -EPIPE;
	room = fake.socket_room > o->peer->queued ? fake.socket_room - o->peer->queued : 0;
	if (len > room)
		len = room;
	if (len == 0)
		return -EAGAIN;
	fake_segment_put(o->peer, bytes, len, NULL, 0);
	return (int)len;
}

int port_peer_write(int fd, struct source from, uint32_t skip, uint32_t len)
{
	return transmit(
		fd, walk(from.spans, from.count, skip, len < BYTES_MAX ? len : BYTES_MAX, false));
}

int port_peer_send(int fd, const struct port_bytes *from, unsigned count)
{
	size_t len = 0;

	for (unsigned i = 0; i < count; i++) {
		memcpy(bytes + len, from[i].at, from[i].len);
		len += from[i].len;
	}
	return transmit(fd, len);
}

void fake_shut(int fd)
{
	struct object *o = fake_object(fd, SOCKET);

	o->shut = true;
	if (o->peer)
		o->peer->signals++;
}

void port_peer_shut(int fd, enum port_peer_side side)
{
	if (side == PORT_PEER_WRITES)
		fake_shut(fd);
}

int port_peer_ended(int fd)
{
	const struct object *o = fake_object(fd, SOCKET);

	return !o->peer ? 2 : o->peer->shut;
}
