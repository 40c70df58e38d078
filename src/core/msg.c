/*
 * Messages: how they arrive, the table that knows them all, and how they are answered
 * (vhost-user: "Message Specification", "Communication", "REPLY_ACK").
 *
 * A message is read in two parts, header and payload, whatever the pieces are in which it comes, so
 * that descriptors belong to the message they were sent with. Then its row is checked: size,
 * number of descriptors, negotiated feature. Only then does its handler run.
 */
#include <errno.h>

#include "device.h"

/* Messages handled for one front-end in a tick, so that it cannot keep the loop to itself. */
enum { MESSAGES_PER_TICK = 64 };

enum message_flags {
	REPLY_U64 = 1,   /* the spec gives it a reply of its own: a u64 */
	REPLY_SAME = 2,  /* … the payload of the request, changed by the handler */
	REPLY_EMPTY = 4, /* … which cannot be made without the feature: an empty one then */
	REPLY_MASK = REPLY_U64 | REPLY_SAME | REPLY_EMPTY,
	DRAIN = 8,    /* waits until no I/O is in flight */
	FINISH = 16,  /* … and until its ring has done again what an earlier life began */
	SUSPEND = 32, /* waits until no I/O of its ring is in flight, and cancels what it can */
};

enum { ANY = 0xff }; /* feature: needs none; NEVER: we offer none of it */
enum { NEVER = 0xfe };

struct row {
	const char *name;
	uint16_t size_min, size_max;
	uint8_t fds_max;
	uint8_t feature; /* protocol feature that it needs, or ANY, or NEVER */
	uint8_t flags;
	vhost_fn *handler;
};

#define PAYLOAD(type) sizeof(struct vhost_user_##type), sizeof(struct vhost_user_##type)
#define U64           sizeof(uint64_t), sizeof(uint64_t)
#define U64_OR_MORE   sizeof(uint64_t), CONFIG_PAYLOAD_MAX
#define NOTHING       0, 0
#define ANYTHING      0, CONFIG_PAYLOAD_MAX

#define ROW(name, ...) [VHOST_USER_##name] = { #name, __VA_ARGS__ }

/* What is not offered is refused by its row, with the reply that its sender waits for. */
static const struct row rows[VHOST_USER_MESSAGE_COUNT] = {
	ROW(GET_FEATURES, NOTHING, 0, ANY, REPLY_U64, vhost_get_features),
	ROW(SET_FEATURES, U64, 0, ANY, DRAIN, vhost_set_features),
	ROW(SET_OWNER, NOTHING, 0, ANY, 0, vhost_set_owner),
	ROW(RESET_OWNER, NOTHING, 0, ANY, 0, vhost_reset_owner),
	ROW(SET_MEM_TABLE, 8, sizeof(struct vhost_user_mem_table), 8, ANY, DRAIN,
		vhost_set_mem_table),
	ROW(SET_LOG_BASE, ANYTHING, 1, NEVER, 0, NULL),
	ROW(SET_LOG_FD, ANYTHING, 1, NEVER, 0, NULL),
	ROW(SET_VRING_NUM, PAYLOAD(vring_state), 0, ANY, DRAIN, vhost_set_vring_num),
	ROW(SET_VRING_ADDR, PAYLOAD(vring_addr), 0, ANY, DRAIN, vhost_set_vring_addr),
	ROW(SET_VRING_BASE, PAYLOAD(vring_state), 0, ANY, DRAIN, vhost_set_vring_base),
	ROW(GET_VRING_BASE, PAYLOAD(vring_state), 0, ANY, DRAIN | FINISH | REPLY_SAME,
		vhost_get_vring_base),
	ROW(SET_VRING_KICK, U64, 1, ANY, DRAIN, vhost_set_vring_kick),
	ROW(SET_VRING_CALL, U64, 1, ANY, 0, vhost_set_vring_call),
	ROW(SET_VRING_ERR, U64, 1, ANY, 0, vhost_set_vring_err),
	ROW(GET_PROTOCOL_FEATURES, NOTHING, 0, ANY, REPLY_U64, vhost_get_protocol_features),
	ROW(SET_PROTOCOL_FEATURES, U64, 0, ANY, 0, vhost_set_protocol_features),
	ROW(GET_QUEUE_NUM, NOTHING, 0, ANY, REPLY_U64, vhost_get_queue_num),
	ROW(SET_VRING_ENABLE, PAYLOAD(vring_state), 0, ANY, 0, vhost_set_vring_enable),
	ROW(SEND_RARP, U64_OR_MORE, 0, VHOST_USER_PROTOCOL_F_RARP, 0, vhost_send_rarp),
	ROW(NET_SET_MTU, U64_OR_MORE, 0, VHOST_USER_PROTOCOL_F_MTU, 0, vhost_net_set_mtu),
	ROW(SET_BACKEND_REQ_FD, NOTHING, 1, VHOST_USER_PROTOCOL_F_BACKEND_REQ, 0,
		vhost_set_backend_req_fd),
	ROW(IOTLB_MSG, ANYTHING, 0, NEVER, REPLY_U64, NULL),
	ROW(SET_VRING_ENDIAN, ANYTHING, 0, NEVER, 0, NULL),
	ROW(GET_CONFIG, 12, sizeof(struct vhost_user_config), 0, VHOST_USER_PROTOCOL_F_CONFIG,
		REPLY_SAME | REPLY_EMPTY, vhost_get_config),
	ROW(SET_CONFIG, 12, sizeof(struct vhost_user_config), 0, VHOST_USER_PROTOCOL_F_CONFIG, 0,
		vhost_set_config),
	ROW(CREATE_CRYPTO_SESSION, ANYTHING, 0, NEVER, REPLY_EMPTY, NULL),
	ROW(CLOSE_CRYPTO_SESSION, ANYTHING, 0, NEVER, 0, NULL),
	ROW(POSTCOPY_ADVISE, ANYTHING, 0, NEVER, REPLY_EMPTY, NULL),
	ROW(POSTCOPY_LISTEN, ANYTHING, 0, NEVER, 0, NULL),
	ROW(POSTCOPY_END, ANYTHING, 0, NEVER, REPLY_U64, NULL),
	ROW(GET_INFLIGHT_FD, 20, sizeof(struct vhost_user_inflight), 0,
		VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD, DRAIN | REPLY_SAME | REPLY_EMPTY,
		vhost_get_inflight_fd),
	ROW(SET_INFLIGHT_FD, 20, sizeof(struct vhost_user_inflight), 1,
		VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD, DRAIN, vhost_set_inflight_fd),
	ROW(GPU_SET_SOCKET, ANYTHING, 1, NEVER, 0, NULL),
	ROW(RESET_DEVICE, NOTHING, 0, VHOST_USER_PROTOCOL_F_RESET_DEVICE, DRAIN,
		vhost_reset_device),
	ROW(VRING_KICK, ANYTHING, 0, NEVER, 0, NULL),
	ROW(GET_MAX_MEM_SLOTS, NOTHING, 0, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS, REPLY_U64,
		vhost_get_max_mem_slots),
	ROW(ADD_MEM_REG, PAYLOAD(mem_reg), 1, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS, 0,
		vhost_add_mem_reg),
	ROW(REM_MEM_REG, PAYLOAD(mem_reg), 1, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS, DRAIN,
		vhost_rem_mem_reg),
	ROW(SET_STATUS, U64, 0, VHOST_USER_PROTOCOL_F_STATUS, DRAIN, vhost_set_status),
	ROW(GET_STATUS, NOTHING, 0, VHOST_USER_PROTOCOL_F_STATUS, REPLY_U64, vhost_get_status),
	ROW(GET_SHARED_OBJECT, ANYTHING, 0, NEVER, REPLY_EMPTY, NULL),
	ROW(SET_DEVICE_STATE_FD, ANYTHING, 1, NEVER, REPLY_U64, NULL),
	ROW(CHECK_DEVICE_STATE, ANYTHING, 0, NEVER, REPLY_U64, NULL),
	ROW(GET_SHMEM_CONFIG, ANYTHING, 0, NEVER, REPLY_EMPTY, NULL),
	ROW(GET_VRING_BASE_SKIP_DRAIN, PAYLOAD(vring_state), 0,
		VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN, SUSPEND | REPLY_SAME | REPLY_EMPTY,
		vhost_get_vring_base),
};

/* The u64 of a refusal: an error in bits 0-7, and no descriptor (SET_DEVICE_STATE_FD, bit 8). */
enum { REFUSED = 0x101, FAILED = 1 };

int message_take_fd(struct message *m, unsigned i)
{
	int fd = m->fds[i];

	m->fds[i] = -1;
	return fd;
}

/* Closes the descriptors that nobody has taken. */
static void close_fds(struct message *m)
{
	for (unsigned i = 0; i < m->fd_count; i++)
		if (m->fds[i] >= 0)
			port_close(m->fds[i]);
	m->fd_count = 0;
}

void message_drop(struct session *s)
{
	if (!s->replying)
		loop_timer_clear(&s->again);
	close_fds(&s->message);
	s->received = 0;
}

void message_drop_reply(struct session *s)
{
	if (!s->replying)
		return;
	loop_timer_clear(&s->again);
	if (s->message.reply_fd >= 0)
		port_close(s->message.reply_fd);
	s->replying = false;
}

/* Sends the reply that is in the message, now or as soon as the front-end has read others. */
static void send_reply(void *owner)
{
	enum { AGAIN_NS = 5000000 };
	struct session *s = owner;
	struct message *m = &s->message;
	int error = port_send(s->fd, &m->header, sizeof(m->header) + s->reply_size, m->reply_fd);

	if (error == -EAGAIN) {
		loop_timer_set(&s->again, out_now_ns() + AGAIN_NS, send_reply, s);
		session_deafen(s);
		return;
	}
	message_drop_reply(s);
	if (error < 0)
		session_close(s, "it does not take our reply");
	else if (!s->pausing && !session_listen(s))
		session_close(s, "it cannot be watched");
}

static void reply(struct session *s, uint32_t size)
{
	s->message.header.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	s->message.header.size = size;
	s->reply_size = size;
	s->replying = true;
	send_reply(s);
}

static void reply_u64(struct session *s, uint64_t value)
{
	s->message.payload.u64 = value;
	reply(s, sizeof(value));
}

static bool wants_ack(const struct session *s)
{
	return (s->message.header.flags & VHOST_USER_NEED_REPLY) != 0 &&
	       session_has(s, VHOST_USER_PROTOCOL_F_REPLY_ACK);
}

/* A message of a feature that is not there: said so where the sender listens, else passed over. */
static void refuse(struct session *s, const char *name, uint8_t flags)
{
	if (log_allow(&s->limit, s->device->name))
		log_error(s->device->name, "refused %s (%u): its feature is not negotiated", name,
			s->message.header.request);
	close_fds(&s->message);
	if ((flags & REPLY_EMPTY) != 0)
		reply(s, 0);
	else if ((flags & REPLY_MASK) != 0 || wants_ack(s))
		reply_u64(s, REFUSED);
}

static void finish(struct session *s, const struct row *row, int error, const char *why)
{
	if (error < 0 && log_allow(&s->limit, s->device->name))
		log_error(s->device->name, "%s failed: %s: %s", row->name, why, log_errno(error));
	if ((row->flags & REPLY_EMPTY) != 0 && error < 0)
		reply(s, 0);
	else if ((row->flags & REPLY_MASK) != 0 && error == 0)
		reply(s, (row->flags & REPLY_U64) != 0 ? sizeof(uint64_t) : s->message.header.size);
	else if ((row->flags & REPLY_MASK) == 0 && wants_ack(s))
		reply_u64(s, error < 0 ? FAILED : 0);
	else if (error < 0) /* the front-end would never know, and go on as if it had worked */
		session_close(s, NULL);
}

static const struct row *find_row(const struct message *m)
{
	uint32_t id = m->header.request;

	return &rows[id < VHOST_USER_MESSAGE_COUNT ? id : 0];
}

static void cancel_again(void *owner)
{
	struct session *s = owner;

	s->device->queues[s->message.payload.state.index].cancel_due = true;
}

/* (A cancellation is lost if it finds an I/O at a bad moment, as between two calls.) */
static bool suspend_waits(struct session *s, struct queue *q)
{
	enum { AGAIN_NS = 10000000 };

	if (!queue_suspend(q))
		return false;
	if (!s->again.set)
		loop_timer_set(&s->again, out_now_ns() + AGAIN_NS, cancel_again, s);
	return true;
}

bool message_waits(struct session *s)
{
	uint8_t flags = find_row(&s->message)->flags;
	uint32_t index = s->message.payload.state.index;
	struct queue *q = index < s->device->queue_count ? &s->device->queues[index] : NULL;

	if ((flags & SUSPEND) != 0)
		return q && suspend_waits(s, q);
	if ((flags & DRAIN) != 0 && device_in_flight(s->device) > 0)
		return true;
	return (flags & FINISH) != 0 && q && queue_finish(q);
}

static void dispatch(struct session *s)
{
	struct message *m = &s->message;
	const struct row *row = find_row(m);
	const char *why = "";
	int error;

	m->reply_fd = -1;
	if (!row->name) {
		refuse(s, "a message that the protocol does not have", 0);
	} else if (m->header.size < row->size_min || m->header.size > row->size_max) {
		if (log_allow(&s->limit, s->device->name))
			log_error(s->device->name, "%s has %u bytes", row->name, m->header.size);
		session_close(s, "its message has a wrong size");
	} else if (m->fd_count > row->fds_max) {
		if (log_allow(&s->limit, s->device->name))
			log_error(s->device->name, "%s has %u descriptors", row->name, m->fd_count);
		session_close(s, "its message has too many descriptors");
	} else if (row->feature == NEVER ||
		   (row->feature != ANY && !session_has(s, row->feature))) {
		refuse(s, row->name, row->flags);
	} else if (message_waits(s)) {
		s->pausing = true;
		session_deafen(s); /* the next ones wait in the socket: do not be woken */
		return;
	} else {
		error = row->handler(s, m, &why);
		close_fds(m); /* before the front-end hears that it is done */
		finish(s, row, error, why);
	}
	message_drop(s);
}

void message_resume(struct session *s)
{
	s->pausing = false;
	loop_timer_clear(&s->again);
	dispatch(s);
}

static bool header_is_sane(struct session *s)
{
	const struct vhost_user_header *h = &s->message.header;

	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		session_close(s, "its message has a wrong version");
	else if ((h->flags & VHOST_USER_REPLY) != 0)
		session_close(s, "it sent a reply to nothing");
	else if (h->size > CONFIG_PAYLOAD_MAX)
		session_close(s, "its message is too long");
	else
		return true;
	return false;
}

/* Why a connection ends that gave n instead of bytes; NULL: it was closed between two messages. */
static const char *why_ended(int n, bool in_message)
{
	if (n == 0)
		return in_message ? "it hung up in the middle of a message" : NULL;
	return n == -EMSGSIZE ? "it sent too many descriptors" : log_errno(n);
}

/* Receives the rest of the header, or of the payload behind it. False: no more for now. */
static bool receive(struct session *s)
{
	struct message *m = &s->message;
	bool in_header = s->received < sizeof(m->header);
	uint32_t end = (uint32_t)sizeof(m->header) + (in_header ? 0 : m->header.size);
	unsigned fds = MESSAGE_FDS_MAX - m->fd_count;
	int n = port_recv(s->fd, (char *)&m->header + s->received, end - s->received,
		m->fds + m->fd_count, &fds);

	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		session_close(s, why_ended(n, s->received > 0));
		return false;
	}
	m->fd_count += fds;
	s->received += (uint32_t)n;
	return !in_header || s->received < sizeof(m->header) || header_is_sane(s);
}

void message_read(struct session *s)
{
	struct message *m = &s->message;

	if (s->state != SESSION_OPEN || s->pausing || s->replying)
		return;
	for (unsigned count = 0; count < MESSAGES_PER_TICK;) {
		if (!receive(s))
			return;
		if (s->received < sizeof(m->header) ||
			s->received - sizeof(m->header) < m->header.size)
			continue;
		for (uint16_t i = 0; i < s->device->queue_count; i++)
			queue_settle(&s->device->queues[i]);
		dispatch(s);
		if (s->state != SESSION_OPEN || s->pausing || s->replying)
			return;
		count++;
	}
}

void message_to_frontend(struct session *s, uint32_t request)
{
	struct vhost_user_header h = { .request = request, .flags = VHOST_USER_VERSION };
	int error;

	if (!s->has_backend)
		return;
	error = port_send(s->backend_fd, &h, sizeof(h), -1);
	if (error < 0 && log_allow(&s->limit, s->device->name))
		log_error(s->device->name, "cannot tell the front-end: %s", log_errno(error));
}
