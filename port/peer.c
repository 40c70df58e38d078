/* Unix sockets whose other end talks to a guest: their bytes are the guest's (src/dev/vsock.c). */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "port.h"

/* calls of a client: socket(AF_UNIX) connect setsockopt close */
int port_peer_connect(const char *path, bool messages)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int type = messages ? SOCK_SEQPACKET : SOCK_STREAM, from_start = 0, error, fd;
	size_t len = strlen(path);

	if (len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, len + 1);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* A message may be read in parts: each look at it goes on behind the one before. */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
		(!messages || setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &from_start,
				      sizeof(from_start)) == 0))
		return fd;
	error = -errno;
	(void)close(fd);
	return error;
}

/* calls: recv */
int port_peer_line(int fd, char *line, size_t size)
{
	ssize_t n = recv(fd, line, size, MSG_PEEK | MSG_DONTWAIT);
	ssize_t len = 0;

	if (n < 0)
		return -errno;
	while (len < n && line[len] != '\n')
		len++;
	if (len == n)
		return n == 0 || (size_t)n == size ? -EPROTO : -EAGAIN;
	n = recv(fd, line, (size_t)len + 1, MSG_DONTWAIT);
	line[len] = 0;
	return n < 0 ? -errno : (int)len;
}

/* At most `len` bytes of the spans behind the first `skip`, as pieces: their number. */
static unsigned pieces_of(
	struct iovec *pieces, const struct span *spans, uint32_t count, uint32_t skip, uint32_t len)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < count && n < PORT_PEER_SPANS && len > 0; i++) {
		size_t part = spans[i].len;

		if (skip >= part) {
			skip -= (uint32_t)part;
			continue;
		}
		part = part - skip < len ? part - skip : len;
		pieces[n++] = (struct iovec){ guest_at(spans[i].base, skip), part };
		len -= (uint32_t)part;
		skip = 0;
	}
	return n;
}

static int receive(int fd, struct iovec *pieces, unsigned count, int flags)
{
	struct msghdr msg = { .msg_iov = pieces, .msg_iovlen = count };
	ssize_t n;

	do
		n = recvmsg(fd, &msg, flags | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

static int transmit(int fd, struct iovec *pieces, unsigned count)
{
	struct msghdr msg = { .msg_iov = pieces, .msg_iovlen = count };
	ssize_t n;

	do
		n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* calls: recvmsg */
int port_peer_read(int fd, struct sink to, uint32_t skip, uint32_t len)
{
	struct iovec pieces[PORT_PEER_SPANS];

	return receive(fd, pieces, pieces_of(pieces, to.spans, to.count, skip, len), 0);
}

/* calls: recvmsg */
int port_peer_read_message(int fd, struct sink to, uint32_t skip, uint32_t len, bool *whole)
{
	struct iovec pieces[PORT_PEER_SPANS];
	unsigned count = pieces_of(pieces, to.spans, to.count, skip, len);
	size_t room = 0;
	int n;

	for (unsigned i = 0; i < count; i++)
		room += pieces[i].iov_len;
	do {
		n = receive(fd, pieces, count, MSG_PEEK | MSG_TRUNC);
		*whole = n >= 0 && (size_t)n <= room;
		if (n < 0 || (n == 0 && port_peer_ended(fd) != 0))
			return n;
		if (*whole && receive(fd, NULL, 0, 0) < 0)
			return -EIO;
	} while (n == 0); /* an empty message, which is passed by */
	return *whole ? n : (int)room;
}

/* calls: sendmsg */
int port_peer_write(int fd, struct source from, uint32_t skip, uint32_t len)
{
	struct iovec pieces[PORT_PEER_SPANS];

	return transmit(fd, pieces, pieces_of(pieces, from.spans, from.count, skip, len));
}

/* calls: sendmsg */
int port_peer_send(int fd, const struct port_bytes *bytes, unsigned count)
{
	struct iovec pieces[PORT_PEER_SPANS];

	for (unsigned i = 0; i < count; i++)
		pieces[i] = (struct iovec){ (void *)bytes[i].at, bytes[i].len };
	return transmit(fd, pieces, count);
}

/* calls: shutdown */
void port_peer_shut(int fd, enum port_peer_side side)
{
	(void)shutdown(fd, side == PORT_PEER_READS ? SHUT_RD : SHUT_WR);
}

/* calls: poll */
int port_peer_ended(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (poll(&p, 1, 0) != 1)
		return 0;
	return (p.revents & (POLLHUP | POLLERR)) != 0 ? 2 : (p.revents & POLLRDHUP) != 0;
}
