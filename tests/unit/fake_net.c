/* The fake port: it has no taps and no captures. tests/guest meets real ones. */
#include <errno.h>

#include "fake_object.h"

int port_tap_open(struct port_tap *tap, const char *name, unsigned queues)
{
	(void)tap;
	(void)name;
	(void)queues;
	return -ENOENT;
}

int port_tap_take(struct port_tap *tap, int fd)
{
	(void)tap;
	(void)fd;
	return -EPROTOTYPE;
}

void port_tap_close(struct port_tap *tap)
{
	(void)tap;
}

int port_tap_offload(struct port_tap *tap, uint32_t offloads)
{
	(void)tap;
	(void)offloads;
	return -EBADF;
}

int port_tap_attach(struct port_tap *tap, unsigned queue, bool attach)
{
	(void)tap;
	(void)queue;
	(void)attach;
	return -EBADF;
}

int port_tap_is_up(const struct port_tap *tap)
{
	(void)tap;
	return -EBADF;
}

int port_tap_send(struct port_tap *tap, unsigned queue, const void *header, struct source frame)
{
	(void)tap;
	(void)queue;
	(void)header;
	(void)frame;
	return -EBADF;
}

int port_tap_recv(struct port_tap *tap, unsigned queue, void *header, struct sink to)
{
	(void)tap;
	(void)queue;
	(void)header;
	(void)to;
	return -EBADF;
}

int port_stream_create(const char *path)
{
	(void)path;
	return -EROFS;
}

uint64_t port_real_ns(void)
{
	return fake.now_ns;
}
