/* port/event.c: epoll, and notifications that never block. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "port.h"
#include "unit.h"

#define MS 1000000ll

static int event(int flags)
{
	return eventfd(0, flags);
}

/* Whether a read of fd would give something now. */
static bool readable(int fd)
{
	uint64_t token;

	CHECK_OK(port_wait_open());
	CHECK_OK(port_wait_add(fd, 0, PORT_LEVEL));
	return port_wait(&token, 1, 0) == 1;
}

static struct port_notify taken(int fd, enum port_notify_kind kind)
{
	struct port_notify n;

	CHECK_OK(port_notify_take(&n, fd));
	CHECK_EQ(n.kind, kind);
	CHECK_EQ(n.fd, fd);
	return n;
}

/* ---- notifications ---- */

CASE(an_eventfd)
{
	int fd = event(EFD_NONBLOCK);
	struct port_notify n = taken(fd, PORT_NOTIFY_EVENT);
	uint64_t count;

	CHECK(!readable(fd));
	port_notify_send(&n);
	port_notify_send(&n);
	CHECK(readable(fd));
	CHECK_EQ(read(fd, &count, 8), 8);
	CHECK_EQ(count, 2);
	port_notify_close(&n);
	CHECK_EQ(n.kind, PORT_NOTIFY_NONE);
	CHECK_EQ(fcntl(fd, F_GETFD), -1);
}

CASE(a_blocking_eventfd_stays_so)
{
	int fd = event(0);
	struct port_notify n = taken(fd, PORT_NOTIFY_EVENT_BLOCKING);
	uint64_t count;

	port_notify_send(&n);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	CHECK_EQ(read(fd, &count, 8), 8);
	CHECK_EQ(count, 1);
}

CASE(a_full_eventfd_blocks_nobody)
{
	for (int flags = 0; flags <= EFD_NONBLOCK; flags += EFD_NONBLOCK) {
		int fd = event(flags);
		struct port_notify n;
		uint64_t count = UINT64_MAX - 1;

		CHECK_EQ(write(fd, &count, 8), 8);
		CHECK_OK(port_notify_take(&n, fd));
		port_notify_send(&n);
		CHECK_EQ(read(fd, &count, 8), 8);
		CHECK_EQ(count, UINT64_MAX - 1);
	}
}

/* Whoever shares the descriptor may make it block, after we have looked at it. */
CASE(what_is_made_to_block_later_blocks_for_a_moment_only)
{
	int fd = event(EFD_NONBLOCK), ends[2];
	struct port_notify n = taken(fd, PORT_NOTIFY_EVENT), in;
	uint64_t count = UINT64_MAX - 1;

	CHECK_OK(port_wait_open());
	CHECK_EQ(write(fd, &count, 8), 8);
	CHECK_OK(fcntl(fd, F_SETFL, 0));
	port_notify_send(&n);
	CHECK_EQ(read(fd, &count, 8), 8);
	CHECK_EQ(count, UINT64_MAX - 1);
	CHECK_OK(pipe(ends));
	in = taken(ends[0], PORT_NOTIFY_PIPE);
	CHECK_OK(fcntl(ends[0], F_SETFL, 0));
	port_notify_drain(&in);
}

CASE(the_timer_that_watches_over_this_does_not_run_for_ever)
{
	int fd = event(EFD_NONBLOCK);
	struct port_notify n = taken(fd, PORT_NOTIFY_EVENT);
	struct itimerval left;

	CHECK_OK(port_wait_open());
	port_notify_send(&n);
	for (unsigned ticks = 0; ticks < 100; ticks++) {
		CHECK_OK(getitimer(ITIMER_REAL, &left));
		if (left.it_value.tv_sec == 0 && left.it_value.tv_usec == 0)
			return;
		(void)usleep(50000);
	}
	FAIL("it still runs");
}

CASE(a_pipe)
{
	int ends[2];
	struct port_notify in, out;

	CHECK_OK(pipe(ends));
	in = taken(ends[0], PORT_NOTIFY_PIPE);
	out = taken(ends[1], PORT_NOTIFY_PIPE);
	port_notify_drain(&in);
	for (unsigned i = 0; i < 10; i++)
		port_notify_send(&out);
	CHECK(readable(ends[0]));
	port_notify_drain(&in);
	CHECK(!readable(ends[0]));
}

CASE(a_full_pipe_blocks_nobody)
{
	static char bytes[1 << 20];
	struct port_notify out;
	int ends[2];

	CHECK_OK(pipe2(ends, O_NONBLOCK));
	CHECK(write(ends[1], bytes, sizeof(bytes)) > 0);
	CHECK_OK(fcntl(ends[1], F_SETFL, fcntl(ends[1], F_GETFL) & ~O_NONBLOCK));
	out = taken(ends[1], PORT_NOTIFY_PIPE);
	port_notify_send(&out);
	port_notify_send(&out);
}

CASE(a_pipe_that_nobody_reads)
{
	struct port_notify out;
	int ends[2];

	CHECK_OK(port_process_open()); /* ignores SIGPIPE */
	CHECK_OK(pipe(ends));
	out = taken(ends[1], PORT_NOTIFY_PIPE);
	CHECK_OK(close(ends[0]));
	port_notify_send(&out);
}

CASE(a_socket)
{
	int ends[2];
	struct port_notify a, b;
	uint64_t one = 0;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	a = taken(ends[0], PORT_NOTIFY_SOCKET);
	b = taken(ends[1], PORT_NOTIFY_SOCKET);
	port_notify_send(&a);
	CHECK_EQ(recv(ends[1], &one, sizeof(one), MSG_PEEK), 8);
	CHECK_EQ(one, 1);
	port_notify_drain(&b);
	CHECK(!readable(ends[1]));
	port_notify_drain(&b);
}

CASE(a_full_socket_blocks_nobody_and_a_closed_one_kills_nobody)
{
	static const char bytes[4096];
	struct port_notify n;
	int ends[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	while (send(ends[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	n = taken(ends[0], PORT_NOTIFY_SOCKET);
	port_notify_send(&n);
	CHECK_OK(close(ends[1]));
	port_notify_send(&n);
}

CASE(nothing_is_none)
{
	struct port_notify none = { 0 };

	port_notify_send(&none);
	port_notify_drain(&none);
	port_notify_close(&none);
}

CASE(what_cannot_notify_is_refused_and_closed)
{
	struct port_notify n = { PORT_NOTIFY_EVENT, 5 };
	int fds[3];

	fds[0] = open("/dev/null", O_RDWR);
	fds[1] = open("/", O_RDONLY | O_DIRECTORY);
	fds[2] = port_shared_file("test", 4096);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(fds[i] >= 0);
		CHECK_EQ(port_notify_take(&n, fds[i]), -EINVAL);
		CHECK_EQ(n.kind, PORT_NOTIFY_NONE);
		CHECK_EQ(fcntl(fds[i], F_GETFD), -1);
	}
	CHECK_EQ(port_notify_take(&n, 9999), -EINVAL);
}

/* ---- waiting ---- */

CASE(levels_stay_and_edges_do_not)
{
	int level = event(EFD_NONBLOCK), edge = event(EFD_NONBLOCK);
	struct port_notify a = taken(level, PORT_NOTIFY_EVENT);
	struct port_notify b = taken(edge, PORT_NOTIFY_EVENT);
	uint64_t tokens[4];

	CHECK_OK(port_wait_open());
	CHECK_OK(port_wait_add(level, 0x100000001ull, PORT_LEVEL));
	CHECK_OK(port_wait_add(edge, 0x200000002ull, PORT_EDGE));
	port_notify_send(&a);
	port_notify_send(&b);
	CHECK_EQ(port_wait(tokens, 4, -1), 2);
	CHECK_EQ(tokens[0] + tokens[1], 0x300000003ull);
	CHECK_EQ(port_wait(tokens, 4, -1), 1);
	CHECK_EQ(tokens[0], 0x100000001ull);
	port_notify_send(&b); /* a second edge, though nobody has read the first */
	CHECK_EQ(port_wait(tokens, 4, 0), 2);
	port_wait_remove(level);
	CHECK_EQ(port_wait(tokens, 4, 0), 0);
	CHECK_OK(port_wait_add(level, 7, PORT_LEVEL));
	CHECK_EQ(port_wait(tokens, 1, 0), 1);
	CHECK_EQ(tokens[0], 7);
}

CASE(an_edge_that_came_before_is_seen)
{
	int fd = event(EFD_NONBLOCK);
	struct port_notify n = taken(fd, PORT_NOTIFY_EVENT);
	uint64_t token;

	port_notify_send(&n);
	CHECK_OK(port_wait_open());
	CHECK_OK(port_wait_add(fd, 3, PORT_EDGE));
	CHECK_EQ(port_wait(&token, 1, -1), 1);
	CHECK_EQ(port_wait(&token, 1, 0), 0);
}

CASE(a_drained_pipe_has_an_edge_again)
{
	struct port_notify in, out;
	uint64_t token;
	int ends[2];

	CHECK_OK(pipe(ends));
	in = taken(ends[0], PORT_NOTIFY_PIPE);
	out = taken(ends[1], PORT_NOTIFY_PIPE);
	CHECK_OK(port_wait_open());
	CHECK_OK(port_wait_add(ends[0], 1, PORT_EDGE));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 200; i++) /* more than one drain takes */
			port_notify_send(&out);
		CHECK_EQ(port_wait(&token, 1, -1), 1);
		port_notify_drain(&in);
	}
}

CASE(what_cannot_be_waited_for)
{
	int fd = event(0);

	CHECK_OK(port_wait_open());
	CHECK_EQ(port_wait_add(9999, 0, PORT_LEVEL), -EBADF);
	CHECK_EQ(port_wait_add(port_shared_file("test", 1), 0, PORT_LEVEL), -EPERM);
	CHECK_OK(port_wait_add(fd, 0, PORT_LEVEL));
	CHECK_EQ(port_wait_add(fd, 0, PORT_LEVEL), -EEXIST);
	port_wait_remove(9999);
}

CASE(timeouts)
{
	static const int64_t timeouts[] = { 0, 1, 999, 100000, 3 * MS, 20 * MS };
	uint64_t token, before;

	CHECK_OK(port_wait_open());
	for (unsigned i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		before = out_now_ns();
		CHECK_EQ(port_wait(&token, 1, timeouts[i]), 0);
		CHECK(out_now_ns() - before >= (uint64_t)timeouts[i]);
	}
}

static void nothing(int signal)
{
	(void)signal;
}

CASE(a_signal_ends_the_wait)
{
	struct sigaction action = { .sa_handler = nothing };
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
	uint64_t token;

	CHECK_OK(port_wait_open());
	CHECK_OK(sigaction(SIGALRM, &action, NULL));
	CHECK_OK(setitimer(ITIMER_REAL, &soon, NULL));
	CHECK_EQ(port_wait(&token, 1, -1), 0);
}
