/*
 * Waiting (epoll), and the notifications of vrings: kick, call and err.
 *
 * Eventfds and pipes have no MSG_DONTWAIT, and whether they block is a flag that the front-end
 * shares and may change at any moment. So a timer watches over the calls that might block: the
 * descriptor of one that lasts over two of its ticks is given O_NONBLOCK, which the kernel looks at
 * when it restarts the call. The timer starts with such a call, and ends when there was none in
 * between two ticks.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

static struct {
	int epoll;
	bool coarse; /* the kernel has no epoll_pwait2 */

	/* The guard: whether a call that may block is made now, on what; how many there were. */
	volatile sig_atomic_t inside, fd;
	volatile unsigned calls, calls_seen;
	volatile bool ticking;
	bool guarded;
} state;

/* After so long a time without events, what makes I/O faster is given back. */
enum { REST_NS = 1000000000 };

enum { GUARD_US = 50000 };

static void guard_set(suseconds_t us)
{
	struct itimerval every = { { 0, us }, { 0, us } };

	state.ticking = us > 0;
	(void)setitimer(ITIMER_REAL, &every, NULL);
}

/* calls: fcntl(F_SETFL) setitimer */
static void guard_tick(int signal_number)
{
	int saved = errno;

	(void)signal_number;
	if (state.calls != state.calls_seen)
		state.calls_seen = state.calls;
	else if (state.inside)
		(void)fcntl(state.fd, F_SETFL, O_NONBLOCK);
	else
		guard_set(0);
	errno = saved;
}

static int guard_open(void)
{
	struct sigaction action = { .sa_handler = guard_tick, .sa_flags = SA_RESTART };
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGALRM);
	if (sigaction(SIGALRM, &action, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &set, NULL) < 0)
		return -errno;
	state.guarded = true;
	return 0;
}

static void guard_enter(int fd)
{
	state.fd = fd;
	state.calls++;
	state.inside = 1;
	if (state.guarded && !state.ticking)
		guard_set(GUARD_US);
}

static void guard_leave(void)
{
	state.inside = 0;
}

/* calls: setitimer */
void event_guard_rest(void)
{
	if (state.ticking)
		guard_set(0);
}

/* calls at the start: epoll_create1 sigaction sigprocmask */
int port_wait_open(void)
{
	int error = guard_open();

	if (error < 0)
		return error;
	state.epoll = epoll_create1(EPOLL_CLOEXEC);
	return state.epoll < 0 ? -errno : 0;
}

/* calls: epoll_ctl */
int port_wait_add(int fd, uint64_t token, enum port_trigger trigger)
{
	struct epoll_event event = {
		.events = EPOLLIN | (trigger != PORT_LEVEL ? (uint32_t)EPOLLET : 0) |
			  (trigger == PORT_EDGE_ANY ? (uint32_t)EPOLLOUT : 0),
		.data.u64 = token,
	};

	return epoll_ctl(state.epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* calls: epoll_ctl */
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

/* calls: epoll_wait epoll_pwait2 */
unsigned port_wait(uint64_t *tokens, unsigned max, int64_t timeout_ns)
{
	struct epoll_event events[64];
	int n = 0;

	if (timeout_ns != 0 && !uring_may_sleep())
		timeout_ns = 0;
	if (max > 64)
		max = 64;
	if (engine_cached_used() && (timeout_ns < 0 || timeout_ns > REST_NS)) {
		n = wait_events(events, max, REST_NS);
		if (timeout_ns > 0)
			timeout_ns -= REST_NS;
		if (n == 0)
			engine_cached_rest();
	}
	if (n == 0)
		n = wait_events(events, max, timeout_ns);
	if (timeout_ns != 0)
		engine_cached_woke();
	uring_awake();
	for (int i = 0; i < n; i++)
		tokens[i] = events[i].data.u64;
	return n < 0 ? 0 : (unsigned)n;
}

/* calls: fcntl(F_GETFL) fcntl(F_SETFL) fstat */
int port_notify_take(struct port_notify *notify, int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	*notify = (struct port_notify){ 0 };
	if (flags < 0 || fstat(fd, &st) < 0)
		goto refuse;
	if (S_ISSOCK(st.st_mode)) {
		if (port_is_own_connection(fd))
			goto refuse;
		notify->kind = PORT_NOTIFY_SOCKET;
	} else if (S_ISFIFO(st.st_mode)) {
		/* The two ends of a pipe have flags of their own, so this end's are ours to set. */
		if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
			goto refuse;
		notify->kind = PORT_NOTIFY_PIPE;
	} else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) ||
		   S_ISLNK(st.st_mode) || S_ISCHR(st.st_mode)) {
		goto refuse;
	} else if ((flags & O_NONBLOCK) != 0) {
		notify->kind = PORT_NOTIFY_EVENT;
	} else {
		notify->kind = PORT_NOTIFY_EVENT_BLOCKING;
	}
	notify->fd = fd;
	return 0;
refuse:
	port_close(fd);
	return -EINVAL;
}

/* calls: nothing */
void port_notify_close(struct port_notify *notify)
{
	if (notify->kind != PORT_NOTIFY_NONE)
		port_close(notify->fd);
	*notify = (struct port_notify){ 0 };
}

/* calls: send poll write setitimer */
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
		/* The front-end may wait on it, so it is to stay as it is: ask first. */
		if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0)
			break;
		/* fall through */
	case PORT_NOTIFY_EVENT:
	case PORT_NOTIFY_PIPE:
		guard_enter(notify->fd);
		ignored = write(notify->fd, &one, sizeof(one));
		guard_leave();
		break;
	}
	/* Full or closed: the other side has a signal that it has not taken, or wants none. */
	(void)ignored;
}

/* calls: read recv setitimer */
void port_notify_drain(const struct port_notify *notify)
{
	char junk[512];

	if (notify->kind == PORT_NOTIFY_PIPE) {
		ssize_t ignored;

		guard_enter(notify->fd);
		ignored = read(notify->fd, junk, sizeof(junk));
		guard_leave();

		(void)ignored;
	} else if (notify->kind == PORT_NOTIFY_SOCKET) {
		(void)recv(notify->fd, junk, sizeof(junk), MSG_DONTWAIT);
	}
}
