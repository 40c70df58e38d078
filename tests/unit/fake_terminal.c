/* The fake port: pseudo-terminals, standard input and output, logs and links. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fake_object.h"

enum { PTYS_MAX = 40, LOGS_MAX = 8 };

static struct {
	int ptys[PTYS_MAX]; /* outside */
	unsigned pty_count;
	int stdio[2]; /* outside; 0: not open */
	struct log {
		int fd; /* 0: none */
		uint64_t
			mark; /* of the object that this descriptor is as long as it is the log's */
		struct fake_image *file;
	} logs[LOGS_MAX];
	uint64_t marks;
} state;

static int pair_open(int *outside)
{
	int pair[2];

	fake_socketpair(pair);
	*outside = pair[1];
	return pair[0];
}

int port_pty_open(char *name, size_t size, int *slave)
{
	int error = fake_call(FAKE_PTY_OPEN);

	if (error < 0)
		return error;
	if (state.pty_count == PTYS_MAX)
		fake_die("more than %d pseudo-terminals", PTYS_MAX);
	(void)snprintf(name, size, "/dev/pts/%u", state.pty_count);
	*slave = fake_fd_of_file();
	return pair_open(&state.ptys[state.pty_count++]);
}

int fake_pty(unsigned number)
{
	return state.ptys[number];
}

int port_stdio_open(int fd)
{
	int error = fake_call(FAKE_STDIO_OPEN);

	return error < 0 ? error : pair_open(&state.stdio[fd]);
}

int fake_stdio(int fd)
{
	return state.stdio[fd];
}

int port_terminal_raw(int fd)
{
	(void)fake_fd(fd);
	if (fake.caged)
		fake_die("a terminal is made raw too late");
	if (fake.cols == 0)
		return -ENOTTY;
	fake.raw = true;
	return 0;
}

void port_terminal_restore(void)
{
	fake.raw = false;
}

int port_terminal_size(int fd, uint16_t *cols, uint16_t *rows)
{
	(void)fake_fd(fd);
	if (fake.cols == 0)
		return -ENOTTY;
	*cols = fake.cols;
	*rows = fake.rows;
	return 0;
}

int port_link(const char *path, const char *target, struct port_socket_id *id)
{
	int error = fake_call(FAKE_LINK);

	if (error < 0)
		return error;
	(void)snprintf(fake.link, sizeof(fake.link), "%s -> %s", path, target);
	*id = (struct port_socket_id){ 1, 1 };
	return 0;
}

/* Its number may be another one's by now. */
static bool log_is_open(const struct log *log)
{
	return log->fd != 0 && fake_fd_open(log->fd) && fake_fd(log->fd)->object->kind == OTHER &&
	       fake_fd(log->fd)->object->len == log->mark;
}

int port_log_open(const char *path, uint64_t *size)
{
	struct fake_image *file = fake_image_find(path);
	int error = fake_call(FAKE_LOG_OPEN);
	unsigned i = 0;

	fake_log_check(path);
	if (error < 0)
		return error;
	if (!file)
		file = fake_image_new(path, 0);
	while (log_is_open(&state.logs[i]))
		if (++i == LOGS_MAX)
			fake_die("more than %d logs", LOGS_MAX);
	state.logs[i].file = file;
	state.logs[i].fd = fake_fd_of_file();
	state.logs[i].mark = fake_fd(state.logs[i].fd)->object->len = ++state.marks;
	*size = file->size;
	return state.logs[i].fd;
}

int port_log_rotate(const char *path, unsigned count)
{
	int error = fake_call(FAKE_LOG_ROTATE);

	fake_log_check(path);
	if (error < 0)
		return error;
	for (unsigned i = count; i > 0; i--) {
		char from[64], to[64];
		struct fake_image *file, *old;

		(void)snprintf(from, sizeof(from), i > 1 ? "%s.%u" : "%s", path, i - 1);
		(void)snprintf(to, sizeof(to), "%s.%u", path, i);
		file = fake_image_find(from);
		old = fake_image_find(to);
		if (!file)
			continue;
		if (old)
			old->path[0] = 0;
		memcpy(file->path, to, sizeof(to));
	}
	return 0;
}

static int log_write(struct fake_image *file, const void *buf, size_t len)
{
	uint64_t size = file->size;

	fake_image_resize(file, size + len);
	memcpy(file->bytes + size, buf, len);
	return (int)len;
}

int fake_terminal_write(int fd, const void *buf, size_t len)
{
	struct object *o = fake_fd(fd)->object;
	size_t room;

	for (unsigned i = 0; i < LOGS_MAX; i++)
		if (state.logs[i].fd == fd && log_is_open(&state.logs[i]))
			return log_write(state.logs[i].file, buf, len);
	if (o->kind != SOCKET)
		fake_die("descriptor %d cannot be written", fd);
	if (!o->peer)
		return -EPIPE;
	room = o->peer->queued < fake.socket_room ? fake.socket_room - o->peer->queued : 0;
	if (room == 0)
		return -EAGAIN;
	len = len < room ? len : room;
	fake_segment_put(o->peer, buf, len, NULL, 0);
	return (int)len;
}

void fake_terminal_kill(void)
{
	memset(&state, 0, sizeof(state));
}
