/* Waiting (epoll), and the notifications of vrings: kick, call and err. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

static struct {
	int epoll;
	bool coarse; /* the kernel has no epoll_pwait2 */
} state;

int port_wait_open(void)
{
	state.epoll = epoll_create1(EPOLL_CLOEXEC);
	return state.epoll < 0 ? -errno : 0;
}

int port_wait_add(int fd, uint64_t token, enum port_trigger trigger)
{
	struct epoll_event event = {
		.events = EPOLLIN | (trigger == PORT_EDGE ? (uint32_t)EPOLLET : 0),
		.data.u64 = token,
	};

	return epoll_ctl(state.epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void port_wait_remove(int fd)
{
	(void)epoll_ctl(state.epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* epoll_wait with a timeout in nanoseconds where the kernel can (5.11), else rounded up to 1 ms. */
static int wait_events(struct epoll_event *events, unsigned max, int64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2
	if (timeout_ns > 0 && !state.coarse) {
		/* The kernel's own layout of a 64-bit timespec, whatever libc's is. */
		struct {
			int64_t sec, nsec;
		} t = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
		long n = syscall(SYS_epoll_pwait2, state.epoll, events, max, &t, NULL, 0);

		if (n >= 0 || errno == EINTR)
			return (int)n;
		state.coarse = true;
	}
#endif
	return epoll_wait(state.epoll, events, (int)max,
		timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
}

unsigned port_wait(uint64_t *tokens, unsigned max, int64_t timeout_ns)
{
	struct epoll_event events[64];
	int n;

	if (timeout_ns != 0 && !uring_may_sleep())
		timeout_ns = 0;
	n = wait_events(events, max < 64 ? max : 64, timeout_ns);
	uring_awake();
	for (int i = 0; i < n; i++)
		tokens[i] = events[i].data.u64;
	return n < 0 ? 0 : (unsigned)n;
}

int port_notify_take(struct port_notify *notify, int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	*notify = (struct port_notify){ 0 };
	if (flags < 0 || fstat(fd, &st) < 0)
		goto refuse;
	if (S_ISSOCK(st.st_mode)) {
		notify->kind = PORT_NOTIFY_SOCKET;
	} else if (S_ISFIFO(st.st_mode)) {
		/* The two ends of a pipe have flags of their own, so this end's are ours to set. */
		if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
			goto refuse;
		notify->kind = PORT_NOTIFY_PIPE;
	} else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) ||
		   S_ISLNK(st.st_mode) || S_ISCHR(st.st_mode)) {
		goto refuse;
	} else {
		notify->kind = flags & O_NONBLOCK ? PORT_NOTIFY_EVENT : PORT_NOTIFY_EVENT_BLOCKING;
	}
	notify->fd = fd;
	return 0;
refuse:
	port_close(fd);
	return -EINVAL;
}

void port_notify_close(struct port_notify *notify)
{
	if (notify->kind != PORT_NOTIFY_NONE)
		port_close(notify->fd);
	*notify = (struct port_notify){ 0 };
}

void port_notify_send(const struct port_notify *notify)
{
	uint64_t one = 1;
	struct pollfd ready = { .fd = notify->fd, .events = POLLOUT };
	ssize_t ignored = 0;

	switch (notify->kind) {
	case PORT_NOTIFY_NONE: break;
	case PORT_NOTIFY_SOCKET:
		ignored = send(notify->fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case PORT_NOTIFY_EVENT_BLOCKING:
		/* Its flags are shared with the front-end, which may wait on it: ask first. */
		if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0)
			break;
		/* fall through */
	case PORT_NOTIFY_EVENT:
	case PORT_NOTIFY_PIPE: ignored = write(notify->fd, &one, sizeof(one)); break;
	}
	/* Full or closed: the other side has a signal that it has not taken, or wants none. */
	(void)ignored;
}

void port_notify_drain(const struct port_notify *notify)
{
	char junk[512];

	if (notify->kind == PORT_NOTIFY_PIPE) {
		ssize_t ignored = read(notify->fd, junk, sizeof(junk));

		(void)ignored;
	} else if (notify->kind == PORT_NOTIFY_SOCKET) {
		(void)recv(notify->fd, junk, sizeof(junk), MSG_DONTWAIT);
	}
}
