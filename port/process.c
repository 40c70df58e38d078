/* The process: time, output, exit, signals, small files and streams of bytes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "num.h"
#include "port.h"
#include "process.h"

/* calls: clock_gettime */
uint64_t out_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

enum { KERNEL_LOG = 1 << 8 | 11 }; /* the device number of /dev/kmsg */

/* It takes a line whenever that comes, but cannot be waited for. */
static bool is_kernel_log(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == KERNEL_LOG;
}

/* calls: poll write fstat */
void out_error_text(const char *text, size_t len)
{
	/* stderr's flags are not ours: ask first, so that a full pipe costs a line, not us. */
	struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };

	if ((poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0) ||
		is_kernel_log(STDERR_FILENO)) {
		ssize_t ignored = write(STDERR_FILENO, text, len);

		(void)ignored;
	}
}

/* calls: sigaction */
int process_catch(int number, void (*fn)(int number, siginfo_t *info, void *context))
{
	struct sigaction action = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO };

	return sigaction(number, &action, NULL) < 0 ? -errno : 0;
}

/* SIG_DFL or SIG_IGN. */
static void dispose(int number, void (*how)(int number))
{
	struct sigaction action = { .sa_handler = how };

	(void)sigaction(number, &action, NULL);
}

/* calls: sigaction sigprocmask kill(self) getpid _exit */
_Noreturn void process_die(int number)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, number);
	dispose(number, SIG_DFL);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)kill(getpid(), number);
	_exit(1); /* one that ends nobody */
}

/* calls: nothing */
_Noreturn void out_abort(void)
{
	process_die(SIGABRT);
}

/* As many descriptors as all queues need, where the hard limit has so many: and no more. */
static void limit_descriptors(void)
{
	struct rlimit limit;

	if (prlimit(0, RLIMIT_NOFILE, NULL, &limit) < 0)
		return;
	if (limit.rlim_max > CONFIG_FDS_MAX)
		limit.rlim_max = CONFIG_FDS_MAX;
	limit.rlim_cur = limit.rlim_max;
	(void)prlimit(0, RLIMIT_NOFILE, &limit, NULL);
}

/* calls at the start: fcntl(F_GETFD) open prlimit sigaction */
int port_process_open(void)
{
	/* A reader that is gone, a file that may not grow: they fail a call, not us. */
	static const uint8_t ignored[] = { SIGPIPE, SIGXFSZ, SIGHUP, SIGUSR1 };

	/* The last two mean something to port_signals_open; before it they end nobody. */
	for (size_t i = 0; i < countof(ignored); i++)
		dispose(ignored[i], SIG_IGN);
	limit_descriptors();
	/* One that the parent has closed would be the next thing that we open: an image, say. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -errno;
	return 0;
}

/* calls at the start: fcntl(F_GETFL) fcntl(F_SETFL) */
int process_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* calls at the start: write */
void port_write_out(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			port_exit(1);
		text += n;
		len -= (size_t)n;
	}
}

/* calls: _exit */
_Noreturn void port_exit(int status)
{
	_exit(status);
}

/* calls: close setsockopt */
void port_close(int fd)
{
	static const struct linger at_once = { 0 };

	/* Of a front-end's socket this may be the last descriptor; it waits for no peer of it. */
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	(void)close(fd);
}

/* calls at the start: fcntl(F_GETFD) fcntl(F_GETFL) fcntl(F_SETFD) */
int port_ready_check(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0)
		return -errno;
	/* What we have opened ourselves is closed on exec. */
	if ((flags & FD_CLOEXEC) != 0 || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

/* calls: write close */
void port_ready(int fd)
{
	ssize_t ignored = write(fd, "\n", 1);

	(void)ignored; /* nobody waits for it any more */
	(void)close(fd);
}

/* calls at the start: open read close */
int port_read_file(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		char extra;
		ssize_t n = len < size ? read(fd, buf + len, size - len) : read(fd, &extra, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || len == size) {
			int result = n < 0 ? -errno : n > 0 ? -EFBIG : (int)len;

			(void)close(fd);
			return result;
		}
		len += (size_t)n;
	}
}

/* calls at the start: signalfd sigprocmask close */
int port_signals_open(void)
{
	sigset_t set;
	int fd;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGWINCH);
	(void)sigaddset(&set, SIGUSR1);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
		int error = errno;

		(void)close(fd);
		return -error;
	}
	return fd;
}

/* calls: read */
enum port_signal port_signals_next(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return PORT_SIGNAL_NONE;
	switch (info.ssi_signo) {
	case SIGHUP: return PORT_SIGNAL_AGAIN;
	case SIGWINCH: return PORT_SIGNAL_RESIZE;
	case SIGUSR1: return PORT_SIGNAL_TELL;
	default: return PORT_SIGNAL_END;
	}
}

enum { NONBLOCK = 1 }; /* GRND_NONBLOCK */

/* calls: getrandom */
int port_random(void *buf, size_t len)
{
	char *to = buf;

	while (len > 0) {
		/*
		 * Before the pool is ready (early boot) a guest waits rather than we. By number, as
		 * libc may make much else of it: newer ones allocate and map memory first.
		 */
		ssize_t n = syscall(SYS_getrandom, to, len, NONBLOCK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		to += n;
		len -= (size_t)n;
	}
	return 0;
}

/* calls at the start: open fstat close */
int port_stream_open(const char *path, bool *endless)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
		(void)close(fd);
		return -EISDIR;
	}
	*endless = !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	return fd;
}

/* calls: read */
int port_stream_read(int fd, void *buf, size_t len)
{
	ssize_t n = read(fd, buf, len);

	return n < 0 ? -errno : (int)n;
}

/* calls at the start: open */
int port_stream_create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd < 0)
		return -errno;
	return fd;
}

/* calls: write */
int port_stream_write(int fd, const void *buf, size_t len)
{
	ssize_t n = write(fd, buf, len);

	return n < 0 ? -errno : (int)n;
}

/* calls: clock_gettime */
uint64_t port_real_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
