/*
 * The socket device: connections between its guest and the host.
 *
 * Each has a unix socket. What comes from it is read straight into the guest's buffer, when there
 * is one; what goes to it is in vsock_held.c. An event of the unix socket only marks the
 * connection, and puts it into the list of those that have something for the guest, who get a
 * packet each in turn.
 */
#include <errno.h>

#include "num.h"
#include "text.h"
#include "vsock.h"

enum { HASHES = 256, HEADER = sizeof(struct virtio_vsock_hdr), PATH_MAX_BYTES = 108 };
enum { READ_BYTES = 64 << 10 }; /* at once, of one connection */
/* What the other side must say so soon; how often we look. */
#define PATIENCE_NS 10000000000ull
#define LOOK_NS     1000000000ull

enum { SHUT_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND };

static struct {
	struct vsock_conn conns[CONFIG_VSOCK_CONNS], *free;
	uint32_t touched; /* of conns */
	struct vsock_conn *hashes[HASHES];
	struct loop_timer patience;
} state;

/* ---- the table ---- */

static struct vsock_conn **hash_of(uint32_t guest_port, uint32_t host_port)
{
	return &state.hashes[(guest_port * 0x9e3779b1u ^ host_port * 0x85ebca6bu) >> 24];
}

struct vsock_conn *vsock_conn_find(const struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_conn *c = *hash_of(guest_port, host_port);

	while (c && (c->vsock != v || c->guest_port != guest_port || c->host_port != host_port))
		c = c->same;
	return c;
}

static bool is_hashed(const struct vsock_conn *c)
{
	return c->stage == VSOCK_ASKED || c->stage == VSOCK_OPEN;
}

void vsock_conn_enter(struct vsock_conn *c)
{
	struct vsock_conn **hash = hash_of(c->guest_port, c->host_port);

	c->same = *hash;
	*hash = c;
}

static void hash_remove(struct vsock_conn *c)
{
	struct vsock_conn **at = hash_of(c->guest_port, c->host_port);

	while (*at != c)
		at = &(*at)->same;
	*at = c->same;
}

struct vsock_conn *vsock_conn_new(struct vsock *v)
{
	struct vsock_conn *c = state.free;

	/* No guest takes those of another. */
	if (v->conns >= vsock_quota())
		return NULL;
	if (c)
		state.free = c->same;
	else if (state.touched < CONFIG_VSOCK_CONNS)
		c = &state.conns[state.touched++];
	else
		return NULL;
	v->conns++;
	*c = (struct vsock_conn){ .vsock = v, .fd = -1, .type = VIRTIO_VSOCK_TYPE_STREAM };
	return c;
}

/* ---- who has something for the guest ---- */

static void list_add(struct vsock_conn *c)
{
	struct vsock *v = c->vsock;

	c->listed = true;
	c->next = NULL;
	c->prev = v->last;
	*(v->last ? &v->last->next : &v->first) = c;
	v->last = c;
}

static void list_remove(struct vsock_conn *c)
{
	struct vsock *v = c->vsock;

	if (!c->listed)
		return;
	*(c->prev ? &c->prev->next : &v->first) = c->next;
	*(c->next ? &c->next->prev : &v->last) = c->prev;
	c->listed = false;
}

void vsock_conn_want(struct vsock_conn *c, unsigned op)
{
	c->wants |= (uint8_t)(1u << op);
}

/* Bytes that the guest has room for; a driver that counts nonsense has none. */
static uint32_t conn_credit(const struct vsock_conn *c)
{
	uint32_t used = c->sent - c->fwd_cnt;

	return used < c->buf_alloc ? c->buf_alloc - used : 0;
}

/* Whether there is data that the guest would take. */
static bool conn_has_data(struct vsock_conn *c)
{
	if (c->stage != VSOCK_OPEN || !c->readable || (c->shut & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0 ||
		(c->is_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0)
		return false;
	if (conn_credit(c) > 0)
		return true;
	if (!c->asked)
		vsock_conn_want(c, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	c->asked = true;
	return false;
}

void vsock_conn_offer(struct vsock_conn *c)
{
	if (c->listed || (!conn_has_data(c) && c->wants == 0))
		return;
	list_add(c);
	vsock_ready(c->vsock);
}

/* ---- its end ---- */

void vsock_conn_drop(struct vsock_conn *c)
{
	vsock_host_close(c);
	if (is_hashed(c))
		hash_remove(c);
	list_remove(c);
	c->vsock->conns--;
	*c = (struct vsock_conn){ .same = state.free };
	state.free = c;
}

/* Ends it for the guest: its ports are free, and RST says so (5.10.6.5). */
static void conn_leave(struct vsock_conn *c)
{
	if (is_hashed(c))
		hash_remove(c);
	c->stage = VSOCK_DRAINS;
	c->since_ns = 0;
	c->wants = 0;
	vsock_conn_want(c, VIRTIO_VSOCK_OP_RST);
	vsock_conn_offer(c);
}

void vsock_conn_reset(struct vsock_conn *c)
{
	vsock_host_close(c);
	conn_leave(c);
	c->stage = VSOCK_RESET;
}

static void conn_look(void *owner)
{
	uint64_t now = out_now_ns();
	bool more = false;

	(void)owner;
	for (uint32_t i = 0; i < state.touched; i++) {
		struct vsock_conn *c = &state.conns[i];

		if (c->stage == VSOCK_FREE || c->since_ns == 0)
			continue;
		if (now - c->since_ns < PATIENCE_NS)
			more = true;
		else if (c->stage == VSOCK_LINE)
			vsock_conn_drop(c);
		else
			vsock_conn_reset(c);
	}
	if (more)
		loop_timer_set(&state.patience, now + LOOK_NS, conn_look, NULL);
}

void vsock_conn_expect(struct vsock_conn *c)
{
	c->since_ns = out_now_ns();
	if (!state.patience.set)
		loop_timer_set(&state.patience, c->since_ns + LOOK_NS, conn_look, NULL);
}

/* ---- packets from the guest ---- */

/* The guest wants PATH_PORT. */
static bool conn_connect(struct vsock *v, const struct vsock_packet *p)
{
	char path[PATH_MAX_BYTES];
	struct vsock_conn *c = vsock_conn_new(v);

	if (!c)
		return false;
	c->stage = VSOCK_LINE; /* not to be found yet */
	c->type = p->type;
	(void)text_format(path, sizeof(path), "%s_%u", v->path, p->peer_port);
	c->fd = port_peer_connect(path, p->type == VIRTIO_VSOCK_TYPE_SEQPACKET);
	if (c->fd < 0 || !vsock_host_watch(c, PORT_EDGE)) {
		if (log_allow(&v->limit, v->dev->name))
			log_info(v->dev->name, "%s: cannot connect: %s", path,
				log_errno(c->fd < 0 ? c->fd : c->watch));
		vsock_conn_drop(c);
		return false;
	}
	c->stage = VSOCK_OPEN;
	vsock_buffer_open(&c->held, p->type == VIRTIO_VSOCK_TYPE_SEQPACKET);
	c->guest_port = p->guest_port;
	c->host_port = p->peer_port;
	c->buf_alloc = p->buf_alloc;
	c->fwd_cnt = p->fwd_cnt;
	vsock_conn_enter(c);
	vsock_conn_want(c, VIRTIO_VSOCK_OP_RESPONSE);
	vsock_conn_offer(c);
	return true;
}

static void conn_accepted(struct vsock_conn *c)
{
	char line[24];
	size_t len = text_format(line, sizeof(line), "OK %u\n", c->host_port);

	c->stage = VSOCK_OPEN;
	c->since_ns = 0;
	c->readable = true;
	if (port_peer_send(c->fd, &(struct port_bytes){ line, len }, 1) != (int)len)
		vsock_conn_reset(c);
}

static void conn_shutdown(struct vsock_conn *c, uint32_t flags)
{
	uint8_t new = (uint8_t)(flags & SHUT_BOTH & ~c->shut);

	c->shut |= new;
	if ((new &VIRTIO_VSOCK_SHUTDOWN_RCV) != 0)
		port_peer_shut(c->fd, PORT_PEER_READS);
	if ((new &VIRTIO_VSOCK_SHUTDOWN_SEND) != 0 && c->held.bytes == 0)
		port_peer_shut(c->fd, PORT_PEER_WRITES);
	if (c->shut != SHUT_BOTH)
		return;
	/* What is kept for the host still goes to it. */
	if (vsock_buffer_has_more(&c->held))
		conn_leave(c);
	else
		vsock_conn_reset(c);
}

static void conn_data(
	struct vsock_conn *c, const struct vsock_packet *p, struct source all, struct reader *data)
{
	bool end = (p->flags & VIRTIO_VSOCK_SEQ_EOM) != 0;

	if (c->stage != VSOCK_OPEN || (c->shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0)
		vsock_conn_reset(c);
	else
		vsock_host_written(c, vsock_held_take(c, all, data, p->len, end));
}

static void conn_packet(
	struct vsock_conn *c, const struct vsock_packet *p, struct source all, struct reader *data)
{
	c->buf_alloc = p->buf_alloc;
	c->fwd_cnt = p->fwd_cnt;
	if (conn_credit(c) > 0)
		c->asked = false;
	switch (p->op) {
	case VIRTIO_VSOCK_OP_RW: conn_data(c, p, all, data); break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE: break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		vsock_conn_want(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN: conn_shutdown(c, p->flags); break;
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (c->stage == VSOCK_ASKED) {
			conn_accepted(c);
			break;
		}
		/* fall through */
	default: vsock_conn_reset(c);
	}
}

bool vsock_conn_packet(
	struct vsock *v, const struct vsock_packet *p, struct source all, struct reader *data)
{
	struct vsock_conn *c = vsock_conn_find(v, p->guest_port, p->peer_port);

	/* One that the guest knows nothing of any more is of an earlier life of it. */
	if (c && p->op == VIRTIO_VSOCK_OP_REQUEST) {
		vsock_conn_drop(c);
		c = NULL;
	}
	if (!c)
		return p->op == VIRTIO_VSOCK_OP_RST ||
		       (p->op == VIRTIO_VSOCK_OP_REQUEST && vsock_has_type(v, p->type) &&
			       conn_connect(v, p));
	if (p->op == VIRTIO_VSOCK_OP_RST) {
		vsock_conn_drop(c);
		return true;
	}
	if (c->type != p->type || p->len > reader_left(data))
		vsock_conn_reset(c); /* the host hears of it, too */
	else
		conn_packet(c, p, all, data);
	if (c->stage != VSOCK_FREE)
		vsock_conn_offer(c);
	return true;
}

/* ---- packets to the guest ---- */

static uint32_t conn_put(
	struct vsock_conn *c, struct writer *to, unsigned op, uint32_t flags, uint32_t len)
{
	struct virtio_vsock_hdr h =
		vsock_header(c->vsock, VIRTIO_VSOCK_CID_HOST, c->host_port, c->guest_port);

	h.type = le16_put(c->type);
	h.op = le16_put((uint16_t)op);
	h.flags = le32_put(flags);
	h.len = le32_put(len);
	h.buf_alloc = le32_put(vsock_held_alloc(c));
	h.fwd_cnt = le32_put(c->forwarded);
	c->told = c->forwarded;
	c->wants &= (uint8_t) ~(1u << VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	c->sent += len;
	(void)writer_put(to, &h, HEADER);
	return HEADER + len;
}

/* A packet without data; the answer to a request comes before what depends on it. */
static uint32_t conn_put_wanted(struct vsock_conn *c, struct writer *to)
{
	unsigned op = (unsigned)__builtin_ctz(c->wants);

	c->wants &= (uint8_t) ~(1u << op);
	return conn_put(c, to, op, op == VIRTIO_VSOCK_OP_SHUTDOWN ? c->is_shut : 0, 0);
}

/* Lists the room behind the headers of the window's buffers: how many spans. */
static uint32_t list_room(const struct window *w, struct span list[PORT_PEER_SPANS])
{
	uint32_t count = 0, n = 1;

	for (const struct request *r = w->first; r && n > 0 && count < PORT_PEER_SPANS;
		r = r->next) {
		/* One that is no use is for vsock_fill to judge, when it is the first. */
		n = r->chain.readable > 0
			    ? 0
			    : writer_list(&r->out, HEADER, list + count, PORT_PEER_SPANS - count);
		count += n;
	}
	return count;
}

/* So many bytes are in the window's buffers: a packet each. As vsock_conn_next. */
static uint32_t conn_put_packets(struct vsock_conn *c, struct window *w, uint32_t len, bool whole)
{
	for (;;) {
		struct writer *to = &w->first->out;
		uint32_t part = (uint32_t)num_min(len, writer_left(to) - HEADER), written;

		len -= part;
		written = conn_put(c, to, VIRTIO_VSOCK_OP_RW,
			whole && len == 0 ? VIRTIO_VSOCK_SEQ_EOM : 0, part);
		if (len == 0)
			return written;
		request_done(window_take(w), written);
	}
}

/*
 * Reads into as many buffers as there is data for, by one call: drivers have buffers of a page. As
 * vsock_conn_next.
 */
static uint32_t conn_put_data(struct vsock_conn *c, struct window *w)
{
	uint32_t len = (uint32_t)num_min(conn_credit(c), READ_BYTES);
	bool whole = false, messages = c->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
	struct span list[PORT_PEER_SPANS];
	struct sink room = { list, 0 };
	int n;

	if (window_fill(w, (uint64_t)len + HEADER) == -EINVAL)
		return 0;
	room.count = list_room(w, list);
	n = messages ? port_peer_read_message(c->fd, room, 0, len, &whole)
		     : port_peer_read(c->fd, room, 0, len);
	if (n > 0)
		return conn_put_packets(c, w, (uint32_t)n, whole);
	c->readable = n != -EAGAIN;
	if (n == 0)
		vsock_host_ended(c);
	else if (n != -EAGAIN)
		vsock_conn_reset(c);
	return 0;
}

uint32_t vsock_conn_next(struct vsock *v, struct window *w)
{
	struct vsock_conn *c = v->first;
	uint32_t written = 0;

	list_remove(c);
	if (conn_has_data(c) && c->wants == 0)
		written = conn_put_data(c, w);
	if (written == 0 && c->wants != 0 && w->first)
		written = conn_put_wanted(c, &w->first->out);
	if (c->stage == VSOCK_RESET && c->wants == 0)
		vsock_conn_drop(c);
	else
		vsock_conn_offer(c);
	return written;
}

void vsock_conn_forget(const struct vsock *v)
{
	for (uint32_t i = 0; i < state.touched; i++)
		if (state.conns[i].stage != VSOCK_FREE && state.conns[i].vsock == v)
			vsock_conn_drop(&state.conns[i]);
}
