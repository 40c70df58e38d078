/* Descriptors of every kind. */
#include "odd.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "harness.h"

void odd_fill_up(int fd, bool blocking)
{
	static const unsigned char zeros[4096];
	uint64_t most = ~0ull - 1;

	CHECK_EQ(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		continue;
	while (write(fd, zeros, 1) > 0)
		continue;
	(void)!write(fd, &most, sizeof(most)); /* an eventfd */
	CHECK_EQ(fcntl(fd, F_SETFL,
			 blocking ? fcntl(fd, F_GETFL) & ~O_NONBLOCK : fcntl(fd, F_GETFL)),
		0);
}

int odd_pipe_end(bool writing)
{
	int pipes[2];

	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	return pipes[writing ? 1 : 0]; /* the other end stays open, and is never read */
}

int odd_socket_end(void)
{
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	return pair[1];
}

static int timer_every_ms(void)
{
	struct itimerspec every = { { 0, 1000000 }, { 0, 1000000 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	CHECK(fd >= 0 && timerfd_settime(fd, 0, &every, NULL) == 0);
	return fd;
}

int odd_fd(unsigned i)
{
	sigset_t none;

	sigemptyset(&none);
	switch (i) {
	case 0: return open(harness_file("file", 4096), O_RDWR);
	case 1: return open("/etc/passwd", O_RDONLY);
	case 2: return open("/", O_RDONLY | O_DIRECTORY);
	case 3: return open("/dev/null", O_RDWR);
	case 4: return open("/dev/zero", O_RDWR);
	case 5: return open("/dev/full", O_RDWR);
	case 6: return memfd_create("odd", 0);
	case 7: return epoll_create1(0);
	case 8: return timer_every_ms();
	case 9: return signalfd(-1, &none, 0);
	case 10: return inotify_init();
	case 11: return odd_pipe_end(false); /* the end that is read */
	case 12: return open("/", O_PATH);
	case 13: return socket(AF_UNIX, SOCK_STREAM, 0); /* not connected */
	case 14: return socket(AF_UNIX, SOCK_DGRAM, 0);
	case 15: return open("/proc/self/mem", O_RDWR);
	default: return -1;
	}
}
