/* The fake port: notifications, sockets with their messages and descriptors, and shared memory. */
#include "fake_object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

static struct {
	struct port_map *maps;
	bool hits;
} state;

/* ---- notifications ---- */

int fake_notify_new(enum port_notify_kind kind)
{
	struct object *o = fake_object_new(NOTIFY);

	o->notify = kind;
	return fake_fd_new(o, false);
}

void fake_notify_signal(int fd)
{
	struct object *o = fake_object(fd, NOTIFY);

	o->count++;
	o->signals++;
}

uint64_t fake_notify_take(int fd)
{
	struct object *o = fake_object(fd, NOTIFY);
	uint64_t count = o->count;

	o->count = 0;
	return count;
}

int port_notify_take(struct port_notify *notify, int fd)
{
	struct object *o = fake_fd(fd)->object;

	*notify = (struct port_notify){ 0 };
	if (fake_call(FAKE_NOTIFY_TAKE) < 0 || (o->kind != NOTIFY && o->kind != SOCKET)) {
		port_close(fd);
		return -EINVAL;
	}
	*notify = (struct port_notify){ o->kind == NOTIFY ? o->notify : PORT_NOTIFY_SOCKET, fd };
	return 0;
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
	struct object *o;

	if (notify->kind == PORT_NOTIFY_NONE)
		return;
	o = fake_fd(notify->fd)->object;
	if (o->kind == NOTIFY)
		fake_notify_signal(notify->fd);
	else if (o->peer && o->peer->queued + sizeof(one) <= fake.socket_room)
		fake_segment_put(o->peer, &one, sizeof(one), NULL, 0);
}

void port_notify_drain(const struct port_notify *notify)
{
	struct object *o;

	if (notify->kind != PORT_NOTIFY_PIPE && notify->kind != PORT_NOTIFY_SOCKET)
		return;
	o = fake_fd(notify->fd)->object;
	if (o->kind == NOTIFY)
		o->count = 0;
	else
		fake_segments_free(o);
}

/* ---- sockets ---- */

void fake_segment_put(struct object *o, const void *buf, size_t len, const int *fds, unsigned count)
{
	struct segment *s = fake_more(NULL, sizeof(*s) + len);

	*s = (struct segment){ .len = len, .count = count };
	memcpy(s->bytes, buf, len);
	for (unsigned i = 0; i < count; i++) {
		s->objects[i] = fake_fd(fds[i])->object;
		s->objects[i]->refs++;
	}
	*o->last = s;
	o->last = &s->next;
	o->queued += len;
	o->signals++;
}

void fake_segments_free(struct object *o)
{
	while (o->first) {
		struct segment *s = o->first;

		o->first = s->next;
		for (unsigned i = 0; i < s->count; i++)
			fake_object_put(s->objects[i]);
		free(s);
	}
	o->last = &o->first;
	o->queued = 0;
}

/* Two sockets that are each other's peer; each descriptor or backlog that holds one counts. */
static void make_pair(struct object *pair[2])
{
	pair[0] = fake_object_new(SOCKET);
	pair[1] = fake_object_new(SOCKET);
	pair[0]->peer = pair[1];
	pair[1]->peer = pair[0];
}

void fake_socketpair(int pair[2])
{
	struct object *o[2];

	make_pair(o);
	pair[0] = fake_fd_new(o[0], true);
	pair[1] = fake_fd_new(o[1], false);
}

static int listen_on(const char *path, bool inside)
{
	struct object *o = fake_object_new(LISTENER);

	strncpy(o->path, path, sizeof(o->path) - 1);
	return fake_fd_new(o, inside);
}

/* A connection to a listener of the other side: its descriptor on this side. */
static int connect_to(const char *path, bool inside)
{
	for (int fd = FAKE_FD_FIRST; fd < FAKE_FD_FIRST + FAKE_FDS_MAX; fd++) {
		struct object *pair[2], *o;

		if (!fake_fd_open(fd) || fake_fd_inside(fd) == inside)
			continue;
		o = fake_fd(fd)->object;
		if (o->kind != LISTENER || strcmp(o->path, path) != 0)
			continue;
		if (o->backlog_len == BACKLOG_MAX)
			return -EAGAIN;
		make_pair(pair);
		o->backlog[o->backlog_len++] = pair[0];
		pair[0]->refs++;
		o->signals++;
		return fake_fd_new(pair[1], inside);
	}
	return -ECONNREFUSED;
}

static int accept_from(struct object *o, bool inside)
{
	struct object *first = o->backlog[0];
	int fd;

	if (o->backlog_len == 0)
		return -EAGAIN;
	o->backlog_len--;
	for (unsigned i = 0; i < o->backlog_len; i++)
		o->backlog[i] = o->backlog[i + 1];
	fd = fake_fd_new(first, inside);
	fake_object_put(first);
	return fd;
}

int fake_listen(const char *path)
{
	return listen_on(path, false);
}

int fake_connect(const char *path)
{
	return connect_to(path, false);
}

int fake_accept(int listener)
{
	return accept_from(fake_object(listener, LISTENER), false);
}

int port_listen(const char *path, struct port_socket_id *id)
{
	int error = fake_call(FAKE_LISTEN);

	*id = (struct port_socket_id){ 1, 1 };
	return error < 0 ? error : listen_on(path, true);
}

void port_unlisten(const char *path, const struct port_socket_id *id)
{
	if (id->device != 1)
		fake_die("%s was never listened on", path);
	fake_path_check(path, false);
}

int port_connect(const char *path)
{
	int error = fake_call(FAKE_CONNECT);

	fake_path_check(path, true);
	return error < 0 ? error : connect_to(path, true);
}

int port_accept(int listener)
{
	struct object *o = fake_object(listener, LISTENER);
	int error = fake_call(FAKE_ACCEPT);

	return error < 0 ? error : accept_from(o, true);
}

int port_socket_kind(int fd)
{
	int error = fake_call(FAKE_SOCKET_KIND);

	if (error < 0 || !fake_fd_open(fd))
		return error < 0 ? error : -EBADF;
	switch (fake_fd(fd)->object->kind) {
	case LISTENER: return 1;
	case SOCKET: return 0;
	default: return -ENOTSOCK;
	}
}

/* As recvmsg does it: no further than the segment whose descriptors it takes. */
static int take(struct object *o, void *buf, size_t len, struct object **got, unsigned *count)
{
	size_t n = 0;

	*count = 0;
	if (!o->first)
		return o->peer && !o->peer->shut ? -EAGAIN : 0;
	while (o->first && n < len && *count == 0) {
		struct segment *s = o->first;
		size_t part = s->len - s->at < len - n ? s->len - s->at : len - n;

		memcpy((char *)buf + n, s->bytes + s->at, part);
		n += part;
		s->at += part;
		o->queued -= part;
		*count = s->count;
		if (o->peer)
			o->peer->signals++; /* there is room */
		for (unsigned i = 0; i < s->count; i++)
			got[i] = s->objects[i];
		s->count = 0;
		if (s->at < s->len)
			break;
		o->first = s->next;
		if (!o->first)
			o->last = &o->first;
		free(s);
	}
	return (int)n;
}

int port_recv(int fd, void *buf, size_t len, int *fds, unsigned *fd_count)
{
	struct object *o = fake_object(fd, SOCKET), *got[SEGMENT_FDS_MAX];
	unsigned max = *fd_count, count;
	int error = fake_call(FAKE_RECV), n;

	*fd_count = 0;
	if (error < 0)
		return error;
	n = take(o, buf, fake.in_pieces && len > 1 ? 1 + fake_random((uint32_t)len) : len, got,
		&count);
	for (unsigned i = 0; i < count; i++) {
		if (count <= max)
			fds[i] = fake_fd_new(got[i], true);
		fake_object_put(got[i]);
	}
	if (count > max)
		return -EMSGSIZE;
	*fd_count = count;
	return n;
}

int port_send(int fd, const void *buf, size_t len, int send_fd)
{
	struct object *o = fake_fd(fd)->object;
	int error = fake_call(FAKE_SEND);

	if (error < 0)
		return error;
	if (o->kind != SOCKET) /* a back-end channel may be anything */
		return -ENOTSOCK;
	if (!o->peer)
		return -EPIPE;
	if (o->peer->queued + len > fake.socket_room)
		return -EAGAIN;
	fake_segment_put(o->peer, buf, len, &send_fd, send_fd >= 0);
	return 0;
}

int fake_send(int fd, const void *buf, size_t len, const int *fds, unsigned count)
{
	struct object *o = fake_object(fd, SOCKET);

	if (!o->peer)
		return -EPIPE;
	if (count > SEGMENT_FDS_MAX)
		fake_die("a message with %u descriptors", count);
	fake_segment_put(o->peer, buf, len, fds, count);
	return 0;
}

int fake_recv(int fd, void *buf, size_t len, int *fd_got)
{
	struct object *got[SEGMENT_FDS_MAX];
	unsigned count;
	int n = take(fake_object(fd, SOCKET), buf, len, got, &count);

	if (fd_got)
		*fd_got = -1;
	for (unsigned i = 0; i < count; i++) {
		if (fd_got && i == 0)
			*fd_got = fake_fd_new(got[i], false);
		fake_object_put(got[i]);
	}
	return n;
}

int fake_peek(int fd)
{
	const struct object *o = fake_object(fd, SOCKET);

	return o->first ? 1 : o->peer && !o->peer->shut ? -EAGAIN : 0;
}

/* ---- shared memory ---- */

static int memory_new(uint64_t len, bool inside)
{
	struct object *o = fake_object_new(MEMORY);
	void *bytes;

	/* No more than was asked for: a step over the end is the sanitizer's to see. */
	if (posix_memalign(&bytes, PAGE, len > 0 ? (size_t)len : 1) != 0)
		fake_die("no memory for a file");
	memset(bytes, 0, (size_t)len);
	o->bytes = bytes;
	o->len = len;
	return fake_fd_new(o, inside);
}

int fake_memory_new(uint64_t len)
{
	return memory_new(len, false);
}

char *fake_memory(int fd)
{
	return fake_object(fd, MEMORY)->bytes;
}

uint64_t fake_memory_len(int fd)
{
	return fake_object(fd, MEMORY)->len;
}

int port_shared_file(const char *name, uint64_t len)
{
	int error = fake_call(FAKE_SHARED_FILE);

	(void)name;
	if (error < 0)
		return error;
	return len > (1u << 28) ? -ENOMEM : memory_new(len, true);
}

/* The file that a mapping is of keeps its bytes while it is mapped. */
static struct object *map_object(const struct port_map *map)
{
	return (struct object *)(void *)map->link;
}

int port_map(struct port_map *map, int fd, uint64_t offset, uint64_t len, bool writable, char **at)
{
	struct object *o = fake_fd(fd)->object;
	int error = fake_call(FAKE_MAP);

	(void)writable;
	if (map->base)
		fake_die("a mapping is used twice");
	if (error < 0)
		return error;
	if (o->kind != MEMORY)
		return -ENODEV;
	if (offset > o->len || len > o->len - offset)
		return -EFAULT;
	o->refs++;
	*map = (struct port_map){ .base = o->bytes + offset,
		.len = (size_t)len,
		.page = PAGE,
		.next = state.maps,
		.link = (struct port_map **)(void *)o };
	state.maps = map;
	*at = map->base;
	return 0;
}

void port_unmap(struct port_map *map)
{
	struct port_map **m = &state.maps;

	if (!map->base)
		return;
	while (*m && *m != map)
		m = &(*m)->next;
	if (!*m)
		fake_die("a mapping that is not mapped is unmapped");
	*m = map->next;
	fake_object_put(map_object(map));
	*map = (struct port_map){ 0 };
}

bool port_map_hits(void)
{
	bool hits = state.hits;

	state.hits = false;
	return hits;
}

void fake_truncate(int fd, uint64_t len)
{
	struct object *o = fake_object(fd, MEMORY);

	for (struct port_map *m = state.maps; m; m = m->next) {
		if (map_object(m) != o || (uint64_t)(m->base - o->bytes) + m->len <= len)
			continue;
		m->hit = 1;
		state.hits = true;
	}
	if (len < o->len) {
		memset(o->bytes + len, 0, (size_t)(o->len - len));
		o->len = len;
	}
}

unsigned fake_open_maps(void)
{
	unsigned n = 0;

	for (struct port_map *m = state.maps; m; m = m->next)
		n++;
	return n;
}

bool fake_mapped(const void *at, size_t len)
{
	const char *p = at;

	while (len > 0) {
		const struct port_map *m = state.maps;
		size_t part;

		while (m && (p < m->base || p >= m->base + m->len))
			m = m->next;
		if (!m)
			return false;
		part = (size_t)(m->base + m->len - p);
		if (part >= len)
			return true;
		p += part;
		len -= part;
	}
	return true;
}

/* The structs are in memory that is going to be another life's: they are forgotten as they are. */
void fake_maps_kill(void)
{
	while (state.maps) {
		struct port_map *m = state.maps;

		state.maps = m->next;
		fake_object_put(map_object(m));
	}
	state.hits = false;
}
