/* Unix sockets: streams that carry vhost-user messages and descriptors, or frames. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "port.h"
#include "process.h"
#include "text.h"

/* Front-ends that may wait to be accepted; each is turned away or served at once. */
enum { BACKLOG = 128 };

static int socket_open(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	return fd;
}

static int socket_address(struct sockaddr_un *address, const char *path)
{
	size_t len = strlen(path);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, len + 1);
	return 0;
}

/* calls of a client: socket(AF_UNIX) connect close */
int port_connect(const char *path)
{
	struct sockaddr_un address;
	int fd, error = socket_address(&address, path);

	if (error < 0)
		return error;
	fd = socket_open(SOCK_STREAM);
	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		error = -errno;
		(void)close(fd);
		return error;
	}
	return fd;
}

/* Whether path may be (re)placed by us: 0, or why not. */
static int path_is_unused(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = port_connect(path);
	if (fd == -ECONNREFUSED || fd == -ENOENT)
		return 0;
	if (fd >= 0)
		(void)close(fd);
	return fd >= 0 || fd == -EAGAIN ? -EADDRINUSE : fd;
}

/* Binds beside path and renames: whoever finds the file can connect to it at once. */
static int bind_by_rename(int fd, const char *path)
{
	struct sockaddr_un address;
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0;
	size_t n = text_format(address.sun_path, sizeof(address.sun_path), "%.*s.vubox-%x", dir_len,
		path, (unsigned)getpid());

	if (n == sizeof(address.sun_path) - 1) /* it was cut, or nearly */
		return -ENAMETOOLONG;
	address.sun_family = AF_UNIX;
	(void)unlink(address.sun_path); /* of a process long dead that had our pid */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (listen(fd, BACKLOG) < 0 || rename(address.sun_path, path) < 0) {
		int error = -errno;

		(void)unlink(address.sun_path);
		return error;
	}
	return 0;
}

/* A path so long that no other name fits beside it. */
static int bind_in_place(int fd, const char *path)
{
	struct sockaddr_un address;
	int error = socket_address(&address, path);

	if (error < 0)
		return error;
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

/* calls at the start: lstat stat socket(AF_UNIX) bind listen rename unlink getpid close */
int port_listen(const char *path, struct port_socket_id *id)
{
	struct sockaddr_un address;
	struct stat st;
	int fd, error = socket_address(&address, path);

	if (error == 0)
		error = path_is_unused(path);
	if (error < 0)
		return error;
	fd = socket_open(SOCK_STREAM);
	if (fd < 0)
		return fd;
	error = bind_by_rename(fd, path);
	if (error == -ENAMETOOLONG)
		error = bind_in_place(fd, path);
	if (error == 0 && stat(path, &st) < 0)
		error = -errno;
	if (error < 0) {
		(void)close(fd);
		return error;
	}
	*id = (struct port_socket_id){ (uint64_t)st.st_dev, (uint64_t)st.st_ino };
	return fd;
}

/* calls at the start: lstat stat socket(AF_UNIX) bind unlink close */
int port_datagrams_open(const char *path, struct port_socket_id *id)
{
	struct sockaddr_un address;
	struct stat st;
	int fd, error = socket_address(&address, path);

	if (error == 0)
		error = path_is_unused(path);
	if (error < 0)
		return error;
	fd = socket_open(SOCK_DGRAM);
	if (fd < 0)
		return fd;
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || stat(path, &st) < 0) {
		error = -errno;
		(void)close(fd);
		return error;
	}
	*id = (struct port_socket_id){ (uint64_t)st.st_dev, (uint64_t)st.st_ino };
	return fd;
}

/* calls of a client: connect */
int port_datagrams_connect(int fd, const char *path)
{
	struct sockaddr_un address;
	int error = socket_address(&address, path);

	if (error == 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		error = -errno;
	return error;
}

/* calls: lstat unlink */
void port_unlisten(const char *path, const struct port_socket_id *id)
{
	struct stat st;

	if (lstat(path, &st) == 0 && (uint64_t)st.st_dev == id->device &&
		(uint64_t)st.st_ino == id->inode)
		(void)unlink(path);
}

/* calls: getsockopt getpeername getpid */
bool port_is_own_connection(int fd)
{
	struct sockaddr_un peer = { .sun_family = AF_UNSPEC };
	struct ucred cred = { .pid = 0 };
	socklen_t len = sizeof(peer), cred_len = sizeof(cred);

	/* Its peer is named, as accepted ones are, and whoever listened for it is this process. */
	return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_family == AF_UNIX &&
	       len > offsetof(struct sockaddr_un, sun_path) &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == 0 &&
	       cred.pid == getpid();
}

/* calls: accept4 poll */
int port_accept(int listener)
{
	/* By number: libc's has another way for old kernels, which the cage would have to allow. */
	int fd = (int)syscall(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct pollfd listening = { .fd = listener, .events = POLLRDHUP };

	if (fd >= 0 || errno != EAGAIN)
		return fd < 0 ? -errno : fd;
	/* One that its owner has shut down says EAGAIN, too, but is readable for ever. */
	return poll(&listening, 1, 0) == 1 ? -ESHUTDOWN : -EAGAIN;
}

/* calls at the start: getsockopt fcntl(F_SETFD) */
int port_socket_kind(int fd)
{
	int listening = 0, type = 0;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -errno;
	if (type != SOCK_STREAM)
		return -EPROTOTYPE;
	len = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return -errno;
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	/* An inherited listener may block, and another process may take what we were told of. */
	if (listening)
		(void)process_nonblock(fd);
	return listening != 0;
}

/*
 * As many descriptors as the kernel passes on at once (SCM_MAX_FD): those for which there is no
 * room would be closed by the kernel, which waits for the peer of a socket that lingers.
 */
enum { FDS_MAX = 253 };

/* Hands the descriptors of a message to the caller: the number, or -EMSGSIZE if it has too many. */
static int take_fds(struct msghdr *msg, int *fds, unsigned max)
{
	unsigned count = 0;
	bool surplus = (msg->msg_flags & MSG_CTRUNC) != 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (count < max) {
				fds[count++] = fd;
			} else {
				port_close(fd);
				surplus = true;
			}
		}
	}
	if (surplus) {
		while (count > 0)
			port_close(fds[--count]);
		return -EMSGSIZE;
	}
	return (int)count;
}

/* calls: recvmsg */
int port_recv(int fd, void *buf, size_t len, int *fds, unsigned *fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { buf, len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	unsigned max = *fd_count;
	ssize_t n;
	int count;

	*fd_count = 0;
	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	count = take_fds(&msg, fds, max);
	if (count < 0)
		return count;
	*fd_count = (unsigned)count;
	return (int)n;
}

/* calls: sendmsg */
int port_send(int fd, const void *buf, size_t len, int send_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)buf, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (send_fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &send_fd, sizeof(int));
	}
	do
		n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EPIPE;
}

/* calls: sendmsg */
int port_send_some(int fd, const void *buf, size_t len)
{
	struct iovec iov = { (void *)buf, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	do
		n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}
