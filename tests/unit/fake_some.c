/* The fake port: sockets that take a part. It has no datagrams: tests/proto meets real ones. */
#include <errno.h>

#include "fake_object.h"

int port_send_some(int fd, const void *buf, size_t len)
{
	struct object *o = fake_object(fd, SOCKET);
	int error = fake_call(FAKE_SEND);
	size_t room;

	if (error < 0)
		return error;
	if (!o->peer)
		return -EPIPE;
	room = o->peer->queued < fake.socket_room ? fake.socket_room - o->peer->queued : 0;
	if (room == 0)
		return -EAGAIN;
	if (fake.in_pieces && len > 1)
		len = 1 + fake_random((uint32_t)len);
	len = len < room ? len : room;
	fake_segment_put(o->peer, buf, len, NULL, 0);
	return (int)len;
}

int port_datagrams_open(const char *path, struct port_socket_id *id)
{
	(void)path;
	(void)id;
	return -EOPNOTSUPP;
}

int port_datagrams_connect(int fd, const char *path)
{
	(void)fd;
	(void)path;
	return -EOPNOTSUPP;
}

void *port_reserve(size_t len)
{
	/* A block of connections and its bits. */
	static _Alignas(16) char all[(size_t)CONFIG_VSOCK_BLOCKS * (4096 + 4096 / 8)];

	return len <= sizeof(all) ? all : NULL;
}

int port_random(void *buf, size_t len)
{
	int error = fake_call(FAKE_RANDOM);

	for (size_t i = 0; i < len && error == 0; i++)
		((unsigned char *)buf)[i] = (unsigned char)(1 + fake_random(255)); /* never 0 */
	return error;
}
