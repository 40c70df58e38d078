/*
 * A session in any state that its functions leave it in, and a port, a loop, queues and a device
 * that answer anything: for proofs about messages. What comes over the socket is anything, too.
 *
 * Included behind src/core/msg.c, whose timers it knows. Defines functions: for one file of a
 * program.
 */
#ifndef VUBOX_PROOFS_ANY_SESSION_H
#define VUBOX_PROOFS_ANY_SESSION_H

#include <errno.h>

#include "device.h"
#include "nondet.h"
#include "stubs.h"

/* Two queues have a first one and a last one; pieces are what the front-end writes in one tick. */
enum { QUEUES = 2, PIECES = 2, HEADER = sizeof(struct vhost_user_header) };
/* Descriptors of messages are told from others by their numbers. */
enum { FD_OF_MESSAGE = 1000 };

static struct queue queues[QUEUES];
static struct device device;
/* Descriptors of messages that are open and that no handler has taken; pieces that came. */
static unsigned held, pieces;

/* ---- the device ---- */

static uint64_t device_features(const struct device *dev)
{
	(void)dev;
	return nondet_u64();
}

static void device_accept(struct device *dev, uint64_t features)
{
	(void)dev;
	(void)features;
}

static void device_config_get(const struct device *dev, uint8_t bytes[VHOST_USER_CONFIG_MAX])
{
	(void)dev;
	claim(writable(bytes, VHOST_USER_CONFIG_MAX));
}

static bool device_config_set(
	struct device *dev, uint32_t offset, uint32_t len, const uint8_t *bytes, bool migrate)
{
	(void)dev;
	(void)migrate;
	claim(offset <= VHOST_USER_CONFIG_MAX && len <= VHOST_USER_CONFIG_MAX - offset);
	claim(readable(bytes, len));
	return nondet_bool();
}

static const struct device_class any_class = { .name = "any",
	.features = device_features,
	.accept = device_accept,
	.config_get = device_config_get,
	.config_set = device_config_set,
	.resumed = NULL };

void device_ready(struct device *dev)
{
	(void)dev;
}

uint32_t device_in_flight(const struct device *dev)
{
	(void)dev;
	return nondet_u32();
}

/* ---- the log and the loop ---- */

void log_error(const char *name, const char *format, ...)
{
	(void)name;
	(void)format;
}

void log_info(const char *name, const char *format, ...)
{
	(void)name;
	(void)format;
}

bool log_allow(struct log_limit *limit, const char *name)
{
	(void)limit;
	(void)name;
	return nondet_bool();
}

const char *log_errno(int error)
{
	(void)error;
	return "";
}

uint64_t out_now_ns(void)
{
	return nondet_upto(UINT64_MAX / 2); /* 292 years */
}

int loop_watch(int fd, enum port_trigger trigger, loop_fn *fn, void *owner)
{
	(void)fd;
	(void)trigger;
	(void)fn;
	(void)owner;
	return nondet_bool() ? 1 : -ENOSPC;
}

void loop_unwatch(int watch)
{
	(void)watch;
}

void loop_seen_in_rings(void)
{
}

void loop_news(void)
{
}

void loop_timer_set(struct loop_timer *timer, uint64_t at_ns, loop_fn *fn, void *owner)
{
	timer->at_ns = at_ns;
	timer->fn = fn;
	timer->owner = owner;
	timer->set = true;
}

void loop_timer_clear(struct loop_timer *timer)
{
	timer->set = false;
}

/* ---- the port ---- */

void port_close(int fd)
{
	if (fd < FD_OF_MESSAGE)
		return;
	claim(held > 0); /* or it is closed twice */
	held--;
}

/* One piece: where it may lie, and how long it is, is claimed; what is in it is anything. */
int port_recv(int fd, void *buf, size_t len, int *fds, unsigned *fd_count)
{
	struct session *s = &device.session;
	struct message *m = &s->message;
	size_t at = (size_t)((char *)buf - (char *)&m->header);
	unsigned first = (unsigned)(fds - m->fds), count;
	size_t n;

	(void)fd;
	claim(len > 0 && at < HEADER + CONFIG_PAYLOAD_MAX);
	claim(len <= (at < HEADER ? HEADER - at : HEADER + CONFIG_PAYLOAD_MAX - at));
	claim(first + *fd_count == MESSAGE_FDS_MAX);
	if (pieces == 0)
		return -EAGAIN;
	pieces--;
	switch (nondet_upto(FUZZING ? 30 : 3)) {
	case 0: return 0;
	case 1: return -EMSGSIZE;
	case 2: return -ECONNRESET;
	default: break;
	}
	n = FUZZING && nondet_bool() ? len : 1 + nondet_upto(len - 1);
	if (FUZZING) {
		nondet_bytes(buf, n);
	} else if (at < HEADER) {
		/* As if all of it came anew: it is looked at only when it is whole. */
		struct vhost_user_header any;

		m->header = any;
	} else {
		/* Behind these bytes, nobody but a handler looks at it. */
		m->payload.u64 = nondet_u64();
	}
	count = (unsigned)nondet_upto(*fd_count);
	for (unsigned i = 0; i < MESSAGE_FDS_MAX; i++)
		if (i < count)
			fds[i] = (int)(FD_OF_MESSAGE + nondet_u16());
	*fd_count = count;
	held += count;
	return (int)n;
}

int port_send(int fd, const void *buf, size_t len, int send_fd)
{
	const struct message *m = &device.session.message;

	(void)fd;
	(void)send_fd;
	claim(readable(buf, len));
	claim(buf != &m->header || len <= HEADER + CONFIG_PAYLOAD_MAX);
	switch (nondet_upto(2)) {
	case 0: return -EAGAIN;
	case 1: return -EPIPE;
	default: return 0;
	}
}

/* Not called: who listens and connects is not proved here. */
int port_listen(const char *path, struct port_socket_id *id)
{
	(void)path;
	(void)id;
	return -EADDRINUSE;
}

void port_unlisten(const char *path, const struct port_socket_id *id)
{
	(void)path;
	(void)id;
}

int port_connect(const char *path)
{
	(void)path;
	return -ECONNREFUSED;
}

int port_accept(int listener)
{
	(void)listener;
	return -EAGAIN;
}

void port_unmap(struct port_map *map)
{
	map->base = NULL;
}

/* ---- memory and queues, as far as sessions call them ---- */

void mem_clear(struct mem *mem)
{
	mem->count = 0;
}

bool mem_is_broken(const struct mem *mem)
{
	(void)mem;
	return nondet_bool();
}

static void claim_queue(const struct queue *q)
{
	claim(q >= queues && q < queues + device.queue_count);
}

void queue_release(struct queue *q)
{
	claim_queue(q);
}

void queue_settle(struct queue *q)
{
	claim_queue(q);
}

bool queue_suspend(struct queue *q)
{
	claim_queue(q);
	return nondet_bool();
}

bool queue_finish(struct queue *q)
{
	claim_queue(q);
	return nondet_bool();
}

/* ---- the session ---- */

/* Descriptors that the message holds. */
static unsigned fds_of(const struct message *m)
{
	unsigned count = 0;

	for (unsigned i = 0; i < MESSAGE_FDS_MAX; i++)
		count += i < m->fd_count && m->fds[i] >= 0;
	return count;
}

static bool timer_sound(const struct session *s)
{
	const struct message *m = &s->message;

	if (!s->again.set)
		return !s->replying;
	if (s->again.fn == send_reply)
		return s->replying;
	return s->again.fn == cancel_again && s->pausing && (find_row(m)->flags & SUSPEND) != 0 &&
	       m->payload.state.index < s->device->queue_count;
}

/* What every function of messages keeps. */
static bool sound(const struct session *s)
{
	const struct message *m = &s->message;

	if (s->state != SESSION_OPEN)
		return s->state <= SESSION_CLOSING && !s->pausing && !s->replying &&
		       !s->again.set && s->received == 0 && m->fd_count == 0 && held == 0;
	if (m->fd_count > MESSAGE_FDS_MAX || held != fds_of(m) || !timer_sound(s))
		return false;
	if (s->pausing && s->replying)
		return false;
	if (s->replying)
		return s->reply_size <= CONFIG_PAYLOAD_MAX && s->received == 0 && m->fd_count == 0;
	if (s->received < HEADER)
		return !s->pausing;
	if (m->header.size > CONFIG_PAYLOAD_MAX)
		return false;
	if (s->pausing)
		return s->received - HEADER == m->header.size;
	return s->received - HEADER < m->header.size;
}

/* Any session that is so and OPEN. */
static struct session *any_session(void)
{
	struct session *s = &device.session;
	struct message *m = &s->message;

	device.class = &any_class;
	device.name = "any";
	device.queues = queues;
	device.queue_count = (uint16_t)nondet_upto(QUEUES);
	device.queue_size_max = nondet_u16();
	memset(s, 0, sizeof(*s));
	s->device = &device;
	s->state = SESSION_OPEN;
	s->pausing = nondet_bool();
	s->replying = nondet_bool();
	s->ending = nondet_bool();
	s->reading = nondet_bool();
	s->config_stale = nondet_bool();
	s->has_backend = nondet_bool();
	s->backend_fd = 7;
	s->endpoint.kind = (uint8_t)nondet_upto(ENDPOINT_CLIENT);
	s->features = nondet_u64();
	s->protocol_features = nondet_u64();
	s->received = (uint32_t)nondet_upto(FUZZING ? 20 : UINT32_MAX);
	s->reply_size = (uint32_t)nondet_upto(CONFIG_PAYLOAD_MAX);
	m->header.request = (uint32_t)nondet_upto(FUZZING ? 50 : UINT32_MAX);
	m->header.flags = nondet_u32();
	m->header.size = FUZZING && s->pausing ? s->received - HEADER : nondet_u32();
	m->payload.u64 = nondet_u64();
	m->reply_fd = nondet_bool() ? 8 : -1;
	m->fd_count = (unsigned)nondet_upto(MESSAGE_FDS_MAX);
	for (unsigned i = 0; i < MESSAGE_FDS_MAX; i++)
		m->fds[i] = FD_OF_MESSAGE + nondet_u16();
	held = m->fd_count;
	pieces = PIECES;
	s->again.set = nondet_bool();
	s->again.fn = nondet_bool() ? send_reply : cancel_again;
	s->again.owner = s;
	assume(sound(s));
	return s;
}

#endif
