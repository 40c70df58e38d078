/* The life of a connection: who may connect, what its end releases, and what waits for I/O. */
#include <errno.h>

#include "device.h"
#include "loop.h"
#include "panic.h"
#include "spec/virtio.h"

enum { RETRY_FIRST_MS = 50, RETRY_MAX_MS = 1000 };
#define NS_PER_MS 1000000ull

static void session_readable(void *owner)
{
	message_read(owner);
}

void session_deafen(struct session *s)
{
	if (s->reading)
		loop_unwatch(s->watch);
	s->reading = false;
}

bool session_listen(struct session *s)
{
	if (!s->reading) {
		s->watch = loop_watch(s->fd, PORT_LEVEL, session_readable, s);
		s->reading = s->watch >= 0;
	}
	return s->reading;
}

static void session_open(struct session *s, int fd)
{
	ASSERT(s->state == SESSION_CLOSED);
	s->fd = fd;
	s->state = SESSION_OPEN;
	log_info(s->device->name, "a front-end has connected");
	if (!session_listen(s))
		session_close(s, "it cannot be watched");
}

static void endpoint_unwatch(struct session *s)
{
	loop_unwatch(s->endpoint.watch);
	s->endpoint.watched = false;
}

static void endpoint_rested(void *owner)
{
	(void)owner; /* the tick that this wakes watches the socket again */
}

/* Out of descriptors or memory: connections stay in the backlog, and we look again later. */
static void endpoint_rest(struct session *s, int error)
{
	if (log_allow(&s->limit, s->device->name))
		log_error(s->device->name, "cannot accept a connection yet: %s", log_errno(error));
	if (s->endpoint.watched)
		endpoint_unwatch(s);
	loop_timer_set(
		&s->endpoint.retry, out_now_ns() + RETRY_MAX_MS * NS_PER_MS, endpoint_rested, s);
}

/* Whether it cannot be told yet if the front-end we have is still there. */
static bool session_undecided(const struct session *s)
{
	return s->state == SESSION_CLOSING || s->pausing || s->replying;
}

static void endpoint_accept(void *owner)
{
	struct session *s = owner;
	int fd;

	/* A front-end that has gone makes room for its successor, even if both come in one tick. */
	message_read(s);
	if (session_undecided(s)) {
		endpoint_unwatch(s); /* the next one waits in the backlog */
		return;
	}
	fd = port_accept(s->endpoint.fd);
	if (fd < 0) {
		if (fd != -EAGAIN && fd != -ECONNABORTED)
			endpoint_rest(s, fd);
		return;
	}
	if (s->state == SESSION_OPEN || s->ending) {
		if (log_allow(&s->limit, s->device->name))
			log_error(s->device->name,
				"turned away a second front-end: one at a time is served");
		port_close(fd);
		return;
	}
	session_open(s, fd);
}

/* Watches a listening socket whenever someone may be accepted from it. */
static int endpoint_watch(struct session *s)
{
	struct endpoint *e = &s->endpoint;
	bool listens = e->kind == ENDPOINT_LISTEN || e->kind == ENDPOINT_LISTEN_FD;

	if (!listens || e->watched || e->retry.set || s->ending || session_undecided(s))
		return 0;
	e->watch = loop_watch(e->fd, PORT_LEVEL, endpoint_accept, s);
	e->watched = e->watch >= 0;
	return e->watched ? 0 : e->watch;
}

static void endpoint_connect(void *owner)
{
	struct session *s = owner;
	struct endpoint *e = &s->endpoint;
	uint64_t wait_ms = RETRY_FIRST_MS << (e->failures < 5 ? e->failures : 5);
	int fd = port_connect(e->path);

	if (fd >= 0) {
		e->failures = 0;
		session_open(s, fd);
		if (s->state == SESSION_OPEN)
			return;
	} else if (e->failures++ == 0) {
		log_error(s->device->name, "%s: cannot connect yet: %s", e->path, log_errno(fd));
	}
	if (wait_ms > RETRY_MAX_MS)
		wait_ms = RETRY_MAX_MS;
	loop_timer_set(&e->retry, out_now_ns() + wait_ms * NS_PER_MS, endpoint_connect, s);
}

int session_serve(struct session *s)
{
	struct endpoint *e = &s->endpoint;

	switch ((enum endpoint_kind)e->kind) {
	case ENDPOINT_LISTEN:
		e->fd = port_listen(e->path, &e->id);
		if (e->fd < 0)
			return e->fd;
		return endpoint_watch(s);
	case ENDPOINT_LISTEN_FD: return endpoint_watch(s);
	case ENDPOINT_CONNECTED_FD:
		session_open(s, e->fd);
		return s->state == SESSION_OPEN ? 0 : -ENOSPC;
	case ENDPOINT_CLIENT: endpoint_connect(s); return 0;
	case ENDPOINT_NONE: break;
	}
	return -EINVAL;
}

void session_end(struct session *s)
{
	s->ending = true;
	loop_timer_clear(&s->endpoint.retry);
}

void session_unlink(struct session *s)
{
	if (s->endpoint.kind == ENDPOINT_LISTEN)
		port_unlisten(s->endpoint.path, &s->endpoint.id);
}

/* Everything that the front-end gave us, given back. Nothing is in flight. */
static void session_release(struct session *s)
{
	struct endpoint *e = &s->endpoint;

	for (uint16_t i = 0; i < s->device->queue_count; i++)
		queue_release(&s->device->queues[i]);
	mem_clear(&s->mem);
	port_unmap(&s->inflight_map);
	if (s->has_backend)
		port_close(s->backend_fd);
	s->has_backend = s->has_inflight = s->made_inflight = false;
	s->pausing = s->config_stale = false;
	s->features = s->protocol_features = s->status = 0;
	s->device->class->accept(s->device, 0);
	s->state = SESSION_CLOSED;
	if (!s->ending && e->kind == ENDPOINT_CLIENT)
		loop_timer_set(
			&e->retry, out_now_ns() + RETRY_FIRST_MS * NS_PER_MS, endpoint_connect, s);
}

void session_close(struct session *s, const char *why)
{
	if (s->state != SESSION_OPEN)
		return;
	if (why && log_allow(&s->limit, s->device->name))
		log_error(s->device->name, "closed the connection to the front-end: %s", why);
	else if (!why)
		log_info(s->device->name, "the connection to the front-end is closed");
	message_drop(s);
	message_drop_reply(s);
	session_deafen(s);
	port_close(s->fd);
	s->pausing = false;
	s->state = SESSION_CLOSING;
	loop_news();
	if (device_in_flight(s->device) == 0)
		session_release(s);
}

static void session_resume(struct session *s)
{
	message_resume(s);
	if (s->state != SESSION_OPEN || s->pausing)
		return;
	if (!s->replying && !session_listen(s))
		session_close(s, "it cannot be watched");
	device_ready(s->device);
}

void session_progress(struct session *s)
{
	int error;

	if (s->state == SESSION_CLOSING && device_in_flight(s->device) == 0)
		session_release(s);
	else if (s->state == SESSION_OPEN && s->pausing && !s->ending && !message_waits(s))
		session_resume(s);
	error = endpoint_watch(s);
	if (error < 0)
		endpoint_rest(s, error);
}

void session_check_memory(struct session *s)
{
	if (s->state == SESSION_OPEN && (mem_is_broken(&s->mem) || s->inflight_map.hit))
		session_close(s, "it took back memory that it shares (its file has shrunk)");
}

bool session_waits(const struct session *s)
{
	return s->pausing || s->ending || s->looking || s->state == SESSION_CLOSING;
}

bool session_paused(const struct session *s)
{
	return s->pausing || s->ending || s->looking || s->state != SESSION_OPEN;
}

bool session_finishes(const struct session *s)
{
	return s->state == SESSION_OPEN && !s->ending && !s->looking;
}

bool session_has(const struct session *s, unsigned protocol_feature)
{
	return (s->protocol_features >> protocol_feature & 1) != 0;
}

int session_inflight_region(const struct session *s, uint16_t queue, struct guest **region)
{
	bool packed = (s->features & VIRTIO_F_RING_PACKED) != 0;
	uint64_t bytes = inflight_region_bytes(packed, s->inflight_queue_size);

	*region = NULL;
	if (!s->has_inflight || queue >= s->inflight_queues ||
		!session_has(s, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
		return 0;
	if (bytes * (queue + 1u) > s->inflight_bytes)
		return -EINVAL;
	*region = guest_at(s->inflight, (size_t)(bytes * queue));
	return 0;
}

void session_config_changed(struct session *s)
{
	s->config_stale = false;
	for (uint16_t i = 0; i < s->device->queue_count; i++) {
		if (!s->device->queues[i].started)
			continue;
		if (session_has(s, VHOST_USER_PROTOCOL_F_CONFIG))
			message_to_frontend(s, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
		return;
	}
	/* A suspended device sends nothing ("Suspended device state"). */
	s->config_stale = s->state == SESSION_OPEN;
}

void session_needs_reset(struct session *s)
{
	if (!session_has(s, VHOST_USER_PROTOCOL_F_STATUS))
		return;
	s->status |= VIRTIO_STATUS_DEVICE_NEEDS_RESET;
	session_config_changed(s);
}
