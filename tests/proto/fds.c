/*
 * Descriptors of every kind where a kick, a call, an error or a channel is expected: full and
 * blocking, closed at the other end, always readable, files, and those that change later.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../front/odd.h"
#include "../front/yard.h"

enum { READS = 40 };

static struct yard y;

/* ---- calls and errors ---- */

/* Works on with this as call and error; that it is refused is fine, too. */
static void calls_through(int fd)
{
	struct driver_desc d[] = { desc(RIG_SLOTS_AT, 16, DRIVER_DESC_WRITE, 0) };

	yard_connect(&y, 2);
	(void)front_set_vring_call(&y.rig.front, 0, fd);
	(void)front_set_vring_err(&y.rig.front, 1, fd);
	for (unsigned i = 0; i < READS; i++)
		yard_reads(&y);
	driver_offer_raw(&y.rig.queues[1].driver, d, 1); /* it breaks, and says so */
	front_kick(&y.rig.queues[1]);
	CHECK_EQ(front_settle(&y.rig.front), 0);
	yard_is_idle(&y);
}

static void full_and_blocking(const char *with)
{
	int full[3] = { odd_pipe_end(true), eventfd(0, EFD_CLOEXEC), odd_socket_end() };

	(void)with;
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < 6; i++) {
		odd_fill_up(full[i / 2], i % 2 == 0);
		calls_through(full[i / 2]);
		yard_glance(&y);
	}
	yard_check(&y);
}

/* The flags of a descriptor are shared with whoever gave it: they change when it is in use. */
static void made_to_block_later(const char *with)
{
	int later[3] = { odd_pipe_end(true), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		odd_socket_end() };

	(void)with;
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < 3; i++) {
		yard_connect(&y, 1);
		CHECK_EQ(front_set_vring_call(&y.rig.front, 0, later[i]), 0);
		yard_reads(&y);
		for (unsigned k = 0; k < 3; k++) {
			odd_fill_up(later[i], true);
			yard_reads(&y);
			CHECK_EQ(front_settle(&y.other.front), 0);
		}
		yard_is_idle(&y);
		yard_glance(&y);
	}
	yard_check(&y);
}

/* Nobody is at the other end: EPIPE, and SIGPIPE for who does not expect it. */
static void nobody_at_the_other_end(const char *with)
{
	int pipes[2], pair[2], half[2];

	(void)with;
	yard_serve(&y, NULL);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, half), 0);
	close(pipes[0]);
	close(pair[0]);
	CHECK_EQ(shutdown(half[1], SHUT_WR), 0);
	calls_through(pipes[1]);
	yard_glance(&y);
	calls_through(pair[1]);
	yard_glance(&y);
	calls_through(half[1]);
	yard_check(&y);
}

static void odd_calls(const char *with)
{
	(void)with;
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < ODD_FDS; i++) {
		int fd = odd_fd(i);

		CHECK(fd >= 0);
		calls_through(fd);
		yard_glance(&y);
	}
	yard_check(&y);
}

/* ---- kicks ---- */

/* Works on with this as the kick, if it is taken; it may come by itself, or never. */
static void kicked_through(int fd, bool also_call)
{
	struct front_queue *q;
	struct blk_request id;
	struct driver_used used;
	bool done = false;

	rig_negotiate(&y.rig, ~0ull, ~0ull);
	rig_share(&y.rig);
	q = rig_queue(&y.rig);
	id = rig_request(&y.rig, 0, BLK_GET_ID, 0, BLK_ID_BYTES);
	rig_add(&y.rig, q, &id, 0);
	driver_publish(&q->driver);
	CHECK_EQ(front_queue_set(&y.rig.front, q, driver_base(&q->driver, 0)), 0);
	CHECK_EQ(front_set_vring_enable(&y.rig.front, 0, true), 0);
	if (also_call)
		(void)front_set_vring_call(&y.rig.front, 0, fd);
	if (front_set_vring_kick(&y.rig.front, 0, fd) == 0) {
		/* What is there at the start is done without a kick. */
		UNTIL(driver_poll(&q->driver, &used) == 1);
		done = true;
		CHECK_EQ(front_settle(&y.rig.front), 0);
	}
	yard_is_idle(&y);
	/* And a good one instead of it makes all well. */
	CHECK_EQ(front_set_vring_call(&y.rig.front, 0, q->call), 0);
	CHECK_EQ(front_set_vring_kick(&y.rig.front, 0, q->kick), 0);
	UNTIL(done || driver_poll(&q->driver, &used) == 1);
	yard_reads(&y);
}

static void odd_kicks(const char *with)
{
	(void)with;
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < ODD_FDS; i++) {
		int fd = odd_fd(i);

		CHECK(fd >= 0);
		kicked_through(fd, false);
		yard_glance(&y);
	}
	yard_check(&y);
}

static void kicks_that_are_always_readable(const char *with)
{
	int pair[2], pipes[2], event = eventfd(0, EFD_NONBLOCK);
	int semaphore = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK);

	(void)with;
	yard_serve(&y, NULL);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	odd_fill_up(pipes[1], false);
	odd_fill_up(pair[1], false);
	CHECK_EQ(eventfd_write(event, 1ull << 63), 0);
	CHECK_EQ(eventfd_write(semaphore, 1ull << 62), 0);
	kicked_through(pipes[0], false);
	yard_glance(&y);
	kicked_through(pair[0], false);
	yard_glance(&y);
	kicked_through(event, false);
	yard_glance(&y);
	kicked_through(semaphore, false);
	yard_check(&y);
}

static void kicks_whose_other_end_is_closed(const char *with)
{
	int pair[2], pipes[2];

	(void)with;
	yard_serve(&y, NULL);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pipes[1]);
	close(pair[1]);
	kicked_through(pipes[0], false);
	yard_glance(&y);
	kicked_through(pair[0], false);
	yard_check(&y);
}

/* It is closed while it is in use: a hang-up is no kick, and nothing to spin on. */
static void kicks_that_hang_up(const char *with)
{
	int pair[2], pipes[2];

	(void)with;
	yard_serve(&y, NULL);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (unsigned i = 0; i < 2; i++) {
		yard_connect(&y, 1);
		CHECK_EQ(front_set_vring_kick(&y.rig.front, 0, i ? pair[0] : pipes[0]), 0);
		close(i ? pair[0] : pipes[0]);
		close(i ? pair[1] : pipes[1]);
		CHECK_EQ(front_settle(&y.rig.front), 0);
		yard_is_idle(&y);
		CHECK_EQ(front_set_vring_kick(&y.rig.front, 0, y.rig.queues[0].kick), 0);
		yard_reads(&y);
		yard_glance(&y);
	}
	yard_check(&y);
}

/* One eventfd is everything: each call is a kick. */
static void one_descriptor_for_all(const char *with)
{
	(void)with;
	yard_serve(&y, NULL);
	kicked_through(eventfd(0, EFD_NONBLOCK), true);
	yard_glance(&y);
	kicked_through(eventfd(0, 0), true);
	yard_glance(&y);
	kicked_through(odd_socket_end(), true);
	yard_check(&y);
}

/* The front-end's own end of the connection: what is called is the device itself. */
static void the_connection_itself(const char *with)
{
	(void)with;
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t request = VU_SET_VRING_KICK + i;
		uint64_t index = 0;

		yard_connect(&y, 1);
		(void)front_send(&y.rig.front, request, 0, &index, 8, &y.rig.front.fd, 1);
		for (unsigned k = 0; k < 20; k++) {
			struct blk_request id = rig_request(&y.rig, k, BLK_GET_ID, 0, BLK_ID_BYTES);

			rig_add(&y.rig, &y.rig.queues[0], &id, k);
			front_queue_offer(&y.rig.queues[0]);
			front_kick(&y.rig.queues[0]);
		}
		CHECK_EQ(front_settle(&y.other.front), 0);
		yard_is_idle(&y);
		yard_glance(&y);
	}
	yard_check(&y);
}

/* ---- sockets that linger ---- */

/* A socket whose last close waits for its peer for an hour; that one, in *peer, never reads. */
static int lingering_socket(int *peer)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger hour = { 1, 3600 };
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&a, &len) == 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	*peer = accept(listener, NULL, NULL);
	CHECK(*peer >= 0);
	close(listener);
	odd_fill_up(fd, true);
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hour, sizeof(hour)), 0);
	return fd;
}

/* Whoever closes the last descriptor of it must not wait: kept as a call, surplus, by the dozen. */
static void sockets_that_linger(const char *with)
{
	static const struct {
		uint32_t request, size;
		unsigned count;
	} ways[] = {
		{ VU_SET_VRING_CALL, 8, 1 },
		{ VU_SET_VRING_KICK, 8, 1 },
		{ VU_SET_BACKEND_REQ_FD, 0, 1 },
		{ VU_ADD_MEM_REG, 40, 1 },
		{ VU_GET_FEATURES, 0, 1 },
		{ VU_GET_FEATURES, 0, 60 },
	};
	static const unsigned char zeros[40];

	(void)with;
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		int fds[60], peer, fd = lingering_socket(&peer);

		for (unsigned k = 0; k < 60; k++)
			fds[k] = fd;
		yard_connect(&y, 1);
		CHECK_EQ(front_send(&y.rig.front, ways[i].request, 0, zeros, ways[i].size, fds,
				 ways[i].count),
			0);
		close(fd); /* the last one is not ours any more */
		(void)front_settle(&y.rig.front);
		CHECK_EQ(front_settle(&y.other.front), 0);
		yard_glance(&y);
		CHECK_EQ(front_settle(&y.other.front), 0);
		close(peer);
	}
	yard_check(&y);
}

/* ---- the back-end channel ---- */

static void odd_channels(const char *with)
{
	struct driver_desc d[] = { desc(RIG_SLOTS_AT, 16, DRIVER_DESC_WRITE, 0) };
	int full = odd_socket_end(), pair[2];

	(void)with;
	yard_serve(&y, NULL);
	odd_fill_up(full, true);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pair[0]);
	for (unsigned i = 0; i < ODD_FDS + 2; i++) {
		yard_connect(&y, 2);
		(void)front_set_backend_req_fd(&y.rig.front, i < ODD_FDS    ? odd_fd(i)
							     : i == ODD_FDS ? full
									    : pair[1]);
		/* A queue that breaks is news for the channel (NEEDS_RESET). */
		driver_offer_raw(&y.rig.queues[1].driver, d, 1);
		front_kick(&y.rig.queues[1]);
		yard_reads(&y);
		CHECK_EQ(kill(y.rig.vubox.pid, SIGHUP), 0);
		CHECK_EQ(front_settle(&y.rig.front), 0);
		yard_is_idle(&y);
		yard_glance(&y);
	}
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(full_and_blocking),
	CASE_OF_EACH_FORMAT(made_to_block_later),
	CASE_OF_EACH_FORMAT(nobody_at_the_other_end),
	CASE(odd_calls),
	CASE(odd_kicks),
	CASE_OF_EACH_FORMAT(kicks_that_are_always_readable),
	CASE(kicks_whose_other_end_is_closed),
	CASE_OF_EACH_FORMAT(kicks_that_hang_up),
	CASE_OF_EACH_FORMAT(one_descriptor_for_all),
	CASE(the_connection_itself),
	CASE(sockets_that_linger),
	CASE(odd_channels),
};
HARNESS_MAIN(cases)
