/* Terminals, pseudo-terminals and logs: what a console is on the host's side. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "port.h"
#include "process.h"
#include "text.h"

static struct {
	struct termios saved; /* of the one terminal that is in raw mode */
	int fd;
	bool raw;
} state;

/* ---- terminals ---- */

static void make_raw(struct termios *t)
{
	t->c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | IGNCR | INLCR | INPCK | ISTRIP | IXON);
	t->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
	t->c_cc[VMIN] = 1;
	t->c_cc[VTIME] = 0;
}

/* The other end of a new pseudo-terminal: without echo, which the guest would take for input. */
static int open_slave(int master, char *name, size_t size)
{
	struct termios t;
	int number, unlocked = 0, fd;

	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		return -errno;
	(void)text_format(name, size, "/dev/pts/%d", number);
	fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (tcgetattr(fd, &t) == 0) {
		make_raw(&t);
		t.c_oflag &= ~(tcflag_t)OPOST;
		(void)tcsetattr(fd, TCSANOW, &t);
	}
	return fd;
}

/* calls at the start: open close ioctl(TIOCSPTLCK) ioctl(TIOCGPTN) tcgetattr tcsetattr */
int port_pty_open(char *name, size_t size, int *slave)
{
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* As long as it is open, nobody's leaving hangs the terminal up. */
	*slave = open_slave(fd, name, size);
	if (*slave < 0) {
		(void)close(fd);
		return *slave;
	}
	return fd;
}

/* calls at the start: fstat open */
int port_stdio_open(int fd)
{
	char path[32];
	struct stat st;
	int own = -1, error;

	if (fstat(fd, &st) < 0)
		return -errno;
	/* Whoever started us has the same description, and wants it as it is. */
	(void)text_format(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))
		own = open(path, (fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) | O_NOCTTY |
					 O_NONBLOCK | O_CLOEXEC);
	if (own >= 0)
		return own;
	error = process_nonblock(fd);
	return error < 0 ? error : fd;
}

/* calls at the start: tcgetattr tcsetattr */
int port_terminal_raw(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return -errno;
	state.saved = t;
	make_raw(&t);
	if (tcsetattr(fd, TCSANOW, &t) < 0)
		return -errno;
	state.fd = fd;
	state.raw = true;
	return 0;
}

/* calls: tcsetattr */
void port_terminal_restore(void)
{
	if (state.raw)
		(void)tcsetattr(state.fd, TCSANOW, &state.saved);
	state.raw = false;
}

/* calls: ioctl(TIOCGWINSZ) */
int port_terminal_size(int fd, uint16_t *cols, uint16_t *rows)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0)
		return -errno;
	*cols = size.ws_col;
	*rows = size.ws_row;
	return 0;
}

/* ---- paths ---- */

/* calls at the start: symlink lstat unlink */
int port_link(const char *path, const char *target, struct port_socket_id *id)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		(void)unlink(path);
	if (symlink(target, path) < 0 || lstat(path, &st) < 0)
		return -errno;
	*id = (struct port_socket_id){ (uint64_t)st.st_dev, (uint64_t)st.st_ino };
	return 0;
}

/* calls: fstat close */
/* calls of a log: open */
int port_log_open(const char *path, uint64_t *size)
{
	struct stat st;
	int fd =
		open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0640);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		int error = -errno;

		(void)close(fd);
		return error;
	}
	*size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	return fd;
}

/* calls of a log: rename */
int port_log_rotate(const char *path, unsigned count)
{
	char from[4096], to[4096];

	for (unsigned i = count; i > 0; i--) {
		size_t n = text_format(to, sizeof(to), "%s.%u", path, i);

		if (n == sizeof(to) - 1)
			return -ENAMETOOLONG;
		n = text_format(from, sizeof(from), "%s.%u", path, i - 1);
		if (i == 1)
			from[n - 2] = 0; /* the one that is written has no number */
		/* One that is not there has never been written. */
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}
