/* port/socket.c: unix sockets, their files, and the descriptors that come through them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "port.h"
#include "unit.h"

static struct port_socket_id id;

static const char *place(const char *name)
{
	return unit_path(UNIT_DISK, name);
}

static void pair(int ends[2])
{
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
}

/* Sends a byte with n descriptors of one eventfd. */
static void send_fds(int fd, unsigned n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = { .bytes = { 0 } };
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	int event = eventfd(0, 0);

	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &event, sizeof(int));
	CHECK_EQ(sendmsg(fd, &msg, 0), 1);
	CHECK_OK(close(event));
}

/* The lowest descriptor that is free: it is lower if something was closed, and not if it leaked. */
static int lowest(void)
{
	int fd = dup(0);

	(void)close(fd);
	/* cppcheck-suppress deallocret ; the number is what is asked for */
	return fd;
}

/* ---- listening ---- */

CASE(a_front_end_connects)
{
	const char *path = place("s");
	int listener = port_listen(path, &id), inside, outside;
	char byte;
	unsigned none = 0;

	CHECK(listener >= 0);
	CHECK_EQ(port_accept(listener), -EAGAIN);
	outside = port_connect(path);
	CHECK(outside >= 0);
	inside = port_accept(listener);
	CHECK(inside >= 0);
	CHECK_EQ(port_send(outside, "x", 1, -1), 0);
	CHECK_EQ(port_recv(inside, &byte, 1, NULL, &none), 1);
	CHECK_EQ(fcntl(listener, F_GETFD) & fcntl(inside, F_GETFD) & fcntl(outside, F_GETFD),
		FD_CLOEXEC);
	CHECK((fcntl(inside, F_GETFL) & O_NONBLOCK) != 0);
}

CASE(nothing_else_is_left_beside_the_socket)
{
	const char *path = place("s");
	char command[200];

	CHECK(port_listen(path, &id) >= 0);
	(void)snprintf(command, sizeof(command), "test \"$(ls -A \"$(dirname %s)\")\" = s", path);
	CHECK_OK(system(command));
}

CASE(a_dead_socket_is_replaced)
{
	const char *path = place("s");
	int dead = port_listen(path, &id);

	CHECK(dead >= 0);
	port_close(dead);
	CHECK_EQ(port_connect(path), -ECONNREFUSED);
	CHECK(port_listen(path, &id) >= 0);
	CHECK(port_connect(path) >= 0);
}

CASE(a_live_socket_is_not)
{
	const char *path = place("s");
	struct port_socket_id second;
	int listener = port_listen(path, &id);

	CHECK_EQ(port_listen(path, &second), -EADDRINUSE);
	port_close(port_accept(listener)); /* that was the question whether it lives */
	CHECK(port_connect(path) >= 0);
	CHECK(port_accept(listener) >= 0);
}

CASE(what_is_no_socket_is_not_replaced)
{
	const char *path = place("file");
	struct stat st;

	CHECK_OK(close(open(path, O_CREAT | O_WRONLY, 0600)));
	CHECK_EQ(port_listen(path, &id), -EEXIST);
	CHECK_OK(stat(path, &st));
	CHECK(S_ISREG(st.st_mode));
	CHECK_OK(unlink(path));
	CHECK_OK(symlink("/nothing", path));
	CHECK_EQ(port_listen(path, &id), -EEXIST);
}

CASE(paths_that_cannot_be)
{
	char path[200];

	CHECK_EQ(port_listen("", &id), -EINVAL);
	CHECK_EQ(port_listen(place("none/s"), &id), -ENOENT);
	CHECK_EQ(port_connect(place("none")), -ENOENT);
	memset(path, 'a', sizeof(path));
	path[108] = 0;
	CHECK_EQ(port_listen(path, &id), -ENAMETOOLONG);
	CHECK_EQ(port_connect(path), -ENAMETOOLONG);
}

CASE(a_path_as_long_as_can_be)
{
	char path[108];
	size_t len;

	(void)snprintf(path, sizeof(path), "%s", place(""));
	len = strlen(path);
	memset(path + len, 'a', sizeof(path) - 1 - len);
	path[sizeof(path) - 1] = 0;
	for (unsigned round = 0; round < 2; round++) {
		int listener = port_listen(path, &id);

		CHECK(listener >= 0);
		CHECK(port_connect(path) >= 0);
		port_close(listener);
	}
	port_unlisten(path, &id);
	CHECK(access(path, F_OK) != 0);
}

CASE(only_its_own_socket_file_is_removed)
{
	const char *path = place("s");
	struct port_socket_id first;

	port_close(port_listen(path, &first));
	CHECK(port_listen(path, &id) >= 0);
	port_unlisten(path, &first);
	CHECK_OK(access(path, F_OK));
	port_unlisten(path, &id);
	CHECK(access(path, F_OK) != 0);
	port_unlisten(path, &id);
}

CASE(kinds)
{
	int ends[2], listener = port_listen(place("s"), &id);
	int datagram = socket(AF_UNIX, SOCK_DGRAM, 0);

	pair(ends);
	CHECK_OK(fcntl(listener, F_SETFL, 0)); /* as another process might hand it over */
	CHECK_OK(fcntl(listener, F_SETFD, 0));
	CHECK_EQ(port_socket_kind(listener), 1);
	CHECK_EQ(port_accept(listener), -EAGAIN);
	CHECK_EQ(fcntl(listener, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(port_socket_kind(ends[0]), 0);
	CHECK_EQ(port_socket_kind(datagram), -EPROTOTYPE);
	CHECK_EQ(port_socket_kind(0), -ENOTSOCK);
	CHECK_EQ(port_socket_kind(9999), -EBADF);
}

/* ---- messages ---- */

/* As a front-end may do that passed it by --fd: such a socket is readable, but gives nobody. */
CASE(a_listener_that_was_shut_down)
{
	static const int how[] = { SHUT_RD, SHUT_RDWR };

	for (unsigned i = 0; i < 2; i++) {
		int fd = port_listen(place("s"), &id);

		CHECK(fd >= 0);
		CHECK_EQ(port_accept(fd), -EAGAIN);
		CHECK_OK(shutdown(fd, how[i]));
		CHECK_EQ(port_accept(fd), -ESHUTDOWN);
		port_unlisten(place("s"), &id);
		port_close(fd);
	}
}

CASE(receiving_does_not_block_and_sees_the_end)
{
	char buf[8];
	unsigned none = 0;
	int ends[2];

	pair(ends);
	CHECK_EQ(port_recv(ends[0], buf, 8, NULL, &none), -EAGAIN);
	CHECK_EQ(write(ends[1], "abc", 3), 3);
	CHECK_EQ(port_recv(ends[0], buf, 2, NULL, &none), 2);
	CHECK_EQ(port_recv(ends[0], buf, 8, NULL, &none), 1);
	CHECK_OK(close(ends[1]));
	CHECK_EQ(port_recv(ends[0], buf, 8, NULL, &none), 0);
}

CASE(descriptors_come_with_their_bytes)
{
	int fds[8], ends[2], before = lowest();
	unsigned count;
	char byte;

	pair(ends);
	for (unsigned n = 1; n <= 8; n++) {
		send_fds(ends[1], n);
		count = 8;
		CHECK_EQ(port_recv(ends[0], &byte, 1, fds, &count), 1);
		CHECK_EQ(count, n);
		for (unsigned i = 0; i < n; i++) {
			CHECK_EQ(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
			port_close(fds[i]);
		}
	}
	CHECK_EQ(lowest(), before + 2);
}

CASE(descriptors_that_nobody_asked_for_are_closed)
{
	int fds[8], ends[2], before = lowest();
	unsigned count;
	char byte;

	pair(ends);
	for (unsigned n = 1; n <= 40; n++)
		for (unsigned max = 0; max < n && max <= 8; max++) {
			send_fds(ends[1], n);
			count = max;
			CHECK_EQ(port_recv(ends[0], &byte, 1, fds, &count), -EMSGSIZE);
			CHECK_EQ(count, 0);
			CHECK_EQ(lowest(), before + 2);
		}
}

CASE(a_descriptor_is_sent)
{
	int fds[1], ends[2], event = eventfd(0, EFD_NONBLOCK);
	uint64_t value = 1;
	unsigned count = 1;
	char buf[8];

	pair(ends);
	CHECK_EQ(port_send(ends[0], "reply", 5, event), 0);
	CHECK_EQ(port_recv(ends[1], buf, 8, fds, &count), 5);
	CHECK_EQ(count, 1);
	CHECK_EQ(write(fds[0], &value, 8), 8);
	CHECK_EQ(read(event, &value, 8), 8);
}

CASE(sending_does_not_block)
{
	static char big[1 << 20];
	int ends[2];
	unsigned sent = 0;

	pair(ends);
	while (port_send(ends[0], big, 1000, -1) == 0)
		sent++;
	CHECK(sent > 10);
	CHECK_EQ(port_send(ends[0], big, 1000, -1), -EAGAIN);
	pair(ends);
	CHECK_EQ(port_send(ends[0], big, sizeof(big), -1), -EPIPE); /* a part of it went */
}

CASE(sending_to_nobody_is_an_error_and_no_signal)
{
	int ends[2];

	pair(ends);
	CHECK_OK(close(ends[1]));
	CHECK_EQ(port_send(ends[0], "x", 1, -1), -EPIPE);
	CHECK_EQ(port_send(9999, "x", 1, -1), -EBADF);
}

/* ---- streams that take a part, and datagrams ---- */

CASE(a_part_is_sent_and_the_rest_is_not)
{
	static char bytes[1 << 20];
	int ends[2], n, total = 0;

	pair(ends);
	while ((n = port_send_some(ends[0], bytes, sizeof(bytes))) > 0)
		total += n;
	CHECK_EQ(n, -EAGAIN);
	CHECK(total > 0 && total < (int)sizeof(bytes));
	CHECK_OK(close(ends[1]));
	CHECK_EQ(port_send_some(ends[0], bytes, 1), -EPIPE);
}

CASE(datagrams_go_both_ways)
{
	const char *here = place("here"), *there = place("there");
	struct port_socket_id other_id;
	unsigned no_fds = 0;
	int fd = port_datagrams_open(here, &id), other;
	char byte;

	CHECK(fd >= 0);
	CHECK_EQ(port_datagrams_open(here, &other_id), -EPROTOTYPE); /* it is taken */
	CHECK_EQ(port_datagrams_connect(fd, there), -ENOENT);
	other = port_datagrams_open(there, &other_id);
	CHECK_OK(port_datagrams_connect(fd, there));
	CHECK_OK(port_datagrams_connect(other, here));
	CHECK_EQ(port_send_some(fd, "x", 1), 1);
	CHECK_EQ(port_recv(other, &byte, 1, NULL, &no_fds), 1);
	CHECK_EQ(port_recv(fd, &byte, 1, NULL, &no_fds), -EAGAIN);
	/* Its owner dies: the next one takes its place. */
	CHECK_OK(close(other));
	CHECK_EQ(port_send_some(fd, "x", 1), -ECONNREFUSED);
	CHECK_EQ(port_datagrams_connect(fd, there), -ECONNREFUSED);
	CHECK(port_datagrams_open(there, &other_id) >= 0);
	CHECK_OK(port_datagrams_connect(fd, there));
	CHECK_EQ(port_send_some(fd, "y", 1), 1);
	port_unlisten(here, &other_id); /* not its own */
	CHECK_EQ(access(here, F_OK), 0);
	port_unlisten(here, &id);
	CHECK(access(here, F_OK) < 0);
}

CASE(a_path_for_datagrams_that_cannot_be)
{
	int fd = open(place("file"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_EQ(port_datagrams_open(place("file"), &id), -EEXIST);
	CHECK_EQ(port_datagrams_open("", &id), -EINVAL);
	CHECK_EQ(port_datagrams_open(place("nowhere/socket"), &id), -ENOENT);
}
