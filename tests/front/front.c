/* The connection of the front-end: raw messages, and answers with a deadline. */
#include "front.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

uint64_t front_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int front_connect(struct front *f, const char *path, int timeout_ms)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	uint64_t end_us = front_now_us() + (uint64_t)timeout_ms * 1000;
	int fd;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		int error = errno;

		if ((error != ENOENT && error != ECONNREFUSED && error != EAGAIN) ||
			front_now_us() > end_us) {
			close(fd);
			return -error;
		}
		usleep(200);
	}
	front_adopt(f, fd, timeout_ms);
	return 0;
}

void front_adopt(struct front *f, int fd, int timeout_ms)
{
	*f = (struct front){ .fd = fd, .timeout_ms = timeout_ms };
}

void front_close(struct front *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

/* ---- sending ---- */

int front_send_bytes(
	const struct front *f, const void *bytes, size_t len, const int *fds, unsigned fd_count)
{
	enum { MANY = 254 }; /* one more than the kernel takes */
	_Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(sizeof(int) * MANY)] = { 0 };
	const unsigned char *at = bytes;

	if (fd_count > MANY)
		return -EINVAL;
	while (len > 0) {
		struct iovec v = { (void *)at, len };
		struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1 };
		ssize_t n;

		if (fd_count > 0) {
			h.msg_control = control;
			h.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
			CMSG_FIRSTHDR(&h)->cmsg_level = SOL_SOCKET;
			CMSG_FIRSTHDR(&h)->cmsg_type = SCM_RIGHTS;
			CMSG_FIRSTHDR(&h)->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
			memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), fds, sizeof(int) * fd_count);
		}
		n = sendmsg(f->fd, &h, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
		fd_count = 0;
	}
	return 0;
}

int front_send(const struct front *f, uint32_t request, uint32_t flags, const void *payload,
	uint32_t size, const int *fds, unsigned fd_count)
{
	unsigned char bytes[sizeof(struct front_header) + FRONT_PAYLOAD_MAX];
	struct front_header h = { request, VU_VERSION | flags, size };

	if (size > FRONT_PAYLOAD_MAX)
		return -EMSGSIZE;
	memcpy(bytes, &h, sizeof(h));
	if (size > 0)
		memcpy(bytes + sizeof(h), payload, size);
	return front_send_bytes(f, bytes, sizeof(h) + size, fds, fd_count);
}

/* ---- receiving ---- */

static int wait_readable(int fd, uint64_t end_us)
{
	for (;;) {
		uint64_t now_us = front_now_us();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int n = poll(&p, 1, now_us >= end_us ? 0 : (int)((end_us - now_us) / 1000 + 1));

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* Receives exactly len bytes, and what descriptors come with them. */
static int receive_some(int fd, void *to, size_t len, struct front_message *m, uint64_t end_us)
{
	unsigned char *at = to;

	while (len > 0) {
		_Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(sizeof(m->fds))];
		struct iovec v = { at, len };
		struct msghdr h = { .msg_iov = &v,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control) };
		int error = wait_readable(fd, end_us);
		ssize_t n = error < 0 ? 0 : recvmsg(fd, &h, MSG_CMSG_CLOEXEC);

		if (error < 0)
			return error;
		if (n <= 0)
			return n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
			size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			if (c->cmsg_type != SCM_RIGHTS || m->fd_count + count > FRONT_FDS_MAX)
				return -EPROTO;
			memcpy(m->fds + m->fd_count, CMSG_DATA(c), count * sizeof(int));
			m->fd_count += (unsigned)count;
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int front_receive_from(int fd, int timeout_ms, struct front_message *m)
{
	uint64_t end_us = front_now_us() + (uint64_t)timeout_ms * 1000;
	int error;

	m->fd_count = 0;
	error = receive_some(fd, &m->header, sizeof(m->header), m, end_us);
	if (error < 0)
		return error;
	if (m->header.size > FRONT_PAYLOAD_MAX)
		return -EPROTO;
	return receive_some(fd, m->payload, m->header.size, m, end_us);
}

int front_receive(const struct front *f, struct front_message *m)
{
	return front_receive_from(f->fd, f->timeout_ms, m);
}

void front_close_fds(struct front_message *m)
{
	while (m->fd_count > 0)
		close(m->fds[--m->fd_count]);
}

int front_ask(const struct front *f, uint32_t request, uint32_t flags, const void *payload,
	uint32_t size, const int *fds, unsigned fd_count, struct front_message *answer)
{
	int error = front_send(f, request, flags, payload, size, fds, fd_count);

	memset(&answer->header, 0, sizeof(answer->header));
	answer->fd_count = 0;
	if (error == 0)
		error = front_receive(f, answer);
	if (error < 0)
		return error;
	return answer->header.request == request && answer->header.flags == (VU_VERSION | VU_REPLY)
		       ? 0
		       : -EPROTO;
}

/* The u64 in an answer that is nothing else. */
static int take_u64(struct front_message *m, uint64_t *value)
{
	unsigned fds = m->fd_count;

	front_close_fds(m);
	if (m->header.size != sizeof(*value) || fds > 0)
		return -EPROTO;
	memcpy(value, m->payload, sizeof(*value));
	return 0;
}

int front_ask_u64(const struct front *f, uint32_t request, uint64_t *value)
{
	struct front_message m;
	int error = front_ask(f, request, 0, NULL, 0, NULL, 0, &m);

	return error < 0 ? error : take_u64(&m, value);
}

int front_acked(const struct front *f, uint32_t request, const void *payload, uint32_t size,
	const int *fds, unsigned fd_count)
{
	struct front_message m;
	uint64_t ack = 0;
	int error = front_ask(f, request, VU_NEED_REPLY, payload, size, fds, fd_count, &m);

	if (error == 0)
		error = take_u64(&m, &ack);
	if (error < 0)
		return error;
	return ack == 0 ? 0 : FRONT_REFUSED;
}

int front_wait_closed(const struct front *f)
{
	uint64_t end_us = front_now_us() + (uint64_t)f->timeout_ms * 1000;

	for (;;) {
		unsigned char drop[256];
		int error = wait_readable(f->fd, end_us);
		ssize_t n = error < 0 ? 0 : recv(f->fd, drop, sizeof(drop), 0);

		if (error < 0)
			return error;
		if (n <= 0)
			return 0;
	}
}

int front_settle(const struct front *f)
{
	uint64_t features;
	int error = 0;

	/* It reads messages before it works on rings, so the first answer alone proves nothing. */
	for (unsigned i = 0; i < 3 && error == 0; i++)
		error = front_ask_u64(f, VU_GET_FEATURES, &features);
	return error;
}
