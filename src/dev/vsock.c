/*
 * Socket device (VIRTIO 5.10): streams and messages between programs of the guest and of the host,
 * which are at unix sockets there.
 *
 * The transmit queue is taken packet by packet. What is to be said in return goes into a connection
 * (vsock_conn.c) or, where there is none, into a short list of replies; the transmit queue waits
 * while that is full. The receive queue is looked at when there is something for the guest.
 */
#include <errno.h>
#include <string.h>

#include "num.h"
#include "panic.h"
#include "spec/virtio.h"
#include "vsock.h"

enum { QUEUES = 3, QUEUE_SIZE_MAX = CONFIG_RING_SIZE_MAX };
enum { HEADER = sizeof(struct virtio_vsock_hdr), UDS_PATH_MAX = 107 - 11 };
enum { OPT_GUEST_CID, OPT_UDS_PATH };

static const struct option options[] = {
	[OPT_GUEST_CID] = { "guest-cid", 0, OPTION_NUMBER, "N", NULL, VIRTIO_VSOCK_CID_FIRST,
		VIRTIO_VSOCK_CID_LAST, "the guest's address: 3 or more" },
	[OPT_UDS_PATH] = { "uds-path", 0, OPTION_TEXT, "PATH", NULL, 0, 0,
		"listen here for \"CONNECT port\"; the guest's port N is PATH_N" },
};

static struct {
	struct vsock vsocks[CONFIG_DEVICES_MAX];
	uint32_t count;
} state;

uint32_t vsock_quota(void)
{
	return CONFIG_VSOCK_CONNS / state.count;
}

/* ---- opening ---- */

static struct vsock *vsock_find(uint64_t cid)
{
	for (uint32_t i = 0; i < state.count; i++)
		if (state.vsocks[i].cid == cid)
			return &state.vsocks[i];
	return NULL;
}

static int vsock_open(struct device *dev, const struct option_value *values)
{
	struct vsock *v = &state.vsocks[state.count];

	ASSERT(state.count < CONFIG_DEVICES_MAX);
	if (!values[OPT_GUEST_CID].given || !values[OPT_UDS_PATH].given) {
		log_error(dev->name, "say whom to serve: --guest-cid=N --uds-path=PATH");
		return EXIT_USAGE;
	}
	if (!vsock_buffers_open()) {
		log_error(dev->name, "no address space for the bytes of %d connections",
			CONFIG_VSOCK_CONNS);
		return EXIT_FAILED;
	}
	v->dev = dev;
	v->number = state.count;
	v->path = values[OPT_UDS_PATH].text;
	if (strlen(v->path) > UDS_PATH_MAX) {
		log_error(dev->name, "--uds-path: longer than %d bytes", UDS_PATH_MAX);
		return EXIT_USAGE;
	}
	if (vsock_find(values[OPT_GUEST_CID].number)) {
		log_error(dev->name, "--guest-cid=%s: two devices have it",
			values[OPT_GUEST_CID].text);
		return EXIT_USAGE;
	}
	v->cid = values[OPT_GUEST_CID].number;
	state.count++;
	dev->state = v;
	dev->queue_count = QUEUES;
	dev->queue_size_max = QUEUE_SIZE_MAX;
	return EXIT_OK;
}

/*
 * The queues have been started. At their beginnings: so has the driver, and it knows of no
 * connection. Else it goes on, with us, or where an earlier life of ours was, of which no
 * connection is left (5.10.6.7).
 */
static bool vsock_begin(struct vsock *v)
{
	const struct queue *q = v->dev->queues;
	uint32_t fresh = (v->dev->session.features & VIRTIO_F_RING_PACKED) != 0 ? 0x80008000u : 0;

	if (!q[VIRTIO_VSOCK_RX].started || !q[VIRTIO_VSOCK_TX].started)
		return false;
	if (v->began)
		return true;
	v->began = true;
	if (q[VIRTIO_VSOCK_RX].base == fresh && q[VIRTIO_VSOCK_TX].base == fresh) {
		vsock_conn_forget(v);
		vsock_sibling_forget(v);
	} else if (!v->known) {
		v->event_due = true;
	}
	v->known = true;
	queue_ready(&v->dev->queues[VIRTIO_VSOCK_EVENT]);
	return true;
}

static void vsock_accept_one(void *owner);
static void vsock_rested(void *owner);

static void vsock_wait(struct vsock *v)
{
	enum { REST_NS = 1000000000 };

	loop_timer_set(&v->rest, out_now_ns() + REST_NS, vsock_rested, v);
}

static void vsock_rested(void *owner)
{
	struct vsock *v = owner;

	v->watch = loop_watch(v->listener, PORT_LEVEL, vsock_accept_one, v);
	if (v->watch < 0)
		vsock_wait(v);
}

/* Out of descriptors: who connects waits for a while. */
static void vsock_rest(struct vsock *v, int error)
{
	if (log_allow(&v->limit, v->dev->name))
		log_error(v->dev->name, "%s: cannot accept a connection yet: %s", v->path,
			log_errno(error));
	loop_unwatch(v->watch);
	v->watch = -1;
	vsock_wait(v);
}

static void vsock_accept_one(void *owner)
{
	struct vsock *v = owner;
	int fd = port_accept(v->listener);

	if (fd == -EAGAIN || fd == -ECONNABORTED)
		return;
	if (fd < 0)
		vsock_rest(v, fd);
	else if (vsock_begin(v))
		vsock_host_accept(v, fd);
	else
		port_close(fd); /* no guest is there */
}

static int vsock_listen(struct device *dev)
{
	struct vsock *v = dev->state;
	int error = v->listener = port_listen(v->path, &v->id);

	v->listening = error >= 0;
	if (v->listening) {
		vsock_rested(v);
		error = v->watch;
	}
	if (error < 0)
		log_error(dev->name, "%s: cannot listen: %s", v->path, log_errno(error));
	return error < 0 ? EXIT_FAILED : EXIT_OK;
}

static unsigned vsock_paths(const struct device *dev, struct port_cage_path *paths)
{
	const struct vsock *v = dev->state;

	paths[0] = (struct port_cage_path){ .path = v->path };
	paths[1] = (struct port_cage_path){ .path = v->path, .client = true };
	return 2;
}

/* What belonged to the guest's life that is over. */
static void vsock_forget(struct vsock *v)
{
	vsock_conn_forget(v);
	vsock_sibling_forget(v);
	v->features = 0;
	v->began = v->known = v->event_due = false;
	v->reply_first = v->reply_count = 0;
}

static void vsock_close(struct device *dev)
{
	struct vsock *v = dev->state;

	vsock_forget(v);
	loop_timer_clear(&v->rest);
	if (!v->listening)
		return;
	if (v->watch >= 0)
		loop_unwatch(v->watch);
	port_unlisten(v->path, &v->id);
	port_close(v->listener);
}

/* ---- what the guest is told ---- */

void vsock_ready(struct vsock *v)
{
	queue_ready(&v->dev->queues[VIRTIO_VSOCK_RX]);
}

void vsock_wake(const struct vsock *v)
{
	for (uint32_t i = 0; i < state.count; i++)
		if (state.vsocks[i].waits_for == v)
			queue_ready(&state.vsocks[i].dev->queues[VIRTIO_VSOCK_TX]);
}

struct virtio_vsock_hdr vsock_header(
	const struct vsock *v, uint64_t cid, uint32_t peer_port, uint32_t guest_port)
{
	return (struct virtio_vsock_hdr){
		.src_cid = le64_put(cid),
		.dst_cid = le64_put(v->cid),
		.src_port = le32_put(peer_port),
		.dst_port = le32_put(guest_port),
	};
}

/* RST, as 5.10.6.4 wants it for what belongs to no connection. There is room for it. */
static void vsock_reply(struct vsock *v, const struct vsock_packet *p)
{
	struct vsock_reply *r = &v->replies[(v->reply_first + v->reply_count++) % VSOCK_REPLIES];

	*r = (struct vsock_reply){ p->dst_cid, p->guest_port, p->peer_port, p->type };
	vsock_ready(v);
}

static uint32_t vsock_put_reply(struct vsock *v, struct writer *to)
{
	const struct vsock_reply *r = &v->replies[v->reply_first];
	struct virtio_vsock_hdr h = vsock_header(v, r->cid, r->peer_port, r->guest_port);

	h.type = le16_put(r->type);
	h.op = le16_put(VIRTIO_VSOCK_OP_RST);
	v->reply_first = (v->reply_first + 1) % VSOCK_REPLIES;
	if (v->reply_count-- == VSOCK_REPLIES)
		queue_ready(&v->dev->queues[VIRTIO_VSOCK_TX]);
	(void)writer_put(to, &h, HEADER);
	return HEADER;
}

static bool vsock_has_more(const struct vsock *v)
{
	return v->reply_count > 0 || v->first || vsock_sibling_has(v);
}

/* The next packet, whoever has one: as vsock_conn_next. */
static uint32_t vsock_next(struct vsock *v, struct window *w)
{
	if (v->reply_count > 0)
		return vsock_put_reply(v, &w->first->out);
	v->sibling_next = vsock_sibling_has(v) && (!v->sibling_next || !v->first);
	return v->sibling_next ? vsock_sibling_next(v, &w->first->out) : vsock_conn_next(v, w);
}

/* Fills the window's chain: 1, or (it has broken the queue) 0. */
static int vsock_fill(struct vsock *v, struct window *w)
{
	struct request *req = w->first;
	struct writer out = req->out;
	struct sink all;
	uint32_t written = 0;

	if (req->chain.readable > 0 || req->chain.writable <= HEADER || !writer_take(&out, &all)) {
		req = window_take(w);
		window_close(w);
		request_break(req, "a receive buffer that no packet can be in");
		return 0;
	}
	while (written == 0 && w->first && vsock_has_more(v))
		written = vsock_next(v, w);
	if (written > 0)
		request_done(window_take(w), written);
	window_close(w);
	return 1;
}

static int vsock_turn(struct device *dev, struct queue *q)
{
	struct vsock *v = dev->state;
	uint64_t start = q->counts.bytes;
	int found = 1;

	(void)vsock_begin(v);
	for (unsigned n = 0;
		n < CONFIG_BUDGET && q->counts.bytes - start < CONFIG_BUDGET_BYTES && found > 0;
		n++) {
		struct window w;

		if (!vsock_has_more(v))
			return -EBUSY;
		if (!window_open(&w, q))
			return 0;
		found = window_fill(&w, 1);
		if (w.first)
			found = vsock_fill(v, &w);
		else
			window_close(&w);
	}
	return found;
}

/* ---- what the guest says ---- */

static struct vsock_packet vsock_packet(const struct virtio_vsock_hdr *h)
{
	return (struct vsock_packet){
		.src_cid = le64_get(h->src_cid),
		.dst_cid = le64_get(h->dst_cid),
		.guest_port = le32_get(h->src_port),
		.peer_port = le32_get(h->dst_port),
		.len = le32_get(h->len),
		.flags = le32_get(h->flags),
		.buf_alloc = le32_get(h->buf_alloc),
		.fwd_cnt = le32_get(h->fwd_cnt),
		.type = le16_get(h->type),
		.op = le16_get(h->op),
	};
}

bool vsock_has_type(const struct vsock *v, uint16_t type)
{
	return type == VIRTIO_VSOCK_TYPE_STREAM ||
	       (type == VIRTIO_VSOCK_TYPE_SEQPACKET &&
		       (v->features & VIRTIO_VSOCK_F_SEQPACKET) != 0);
}

/* A packet of the guest; false: it is to be told that there is no such connection. */
static bool vsock_judge(struct vsock *v, const struct virtio_vsock_hdr *h,
	const struct vsock_packet *p, struct source all, struct reader *data)
{
	struct vsock *sibling;

	if (p->src_cid != v->cid)
		return false;
	if (p->dst_cid == VIRTIO_VSOCK_CID_HOST)
		return vsock_conn_packet(v, p, all, data);
	sibling = vsock_find(p->dst_cid);
	return sibling && sibling != v && vsock_begin(sibling) && p->len <= reader_left(data) &&
	       vsock_has_type(v, p->type) && vsock_has_type(sibling, p->type) &&
	       vsock_sibling_put(v, sibling, p, h, data);
}

static void vsock_take(struct vsock *v, struct request *req)
{
	struct reader whole = req->in;
	struct source all;
	struct virtio_vsock_hdr h;
	struct vsock_packet p;

	if (req->chain.readable < HEADER || !reader_take(&whole, &all) ||
		!reader_get(&req->in, &h, HEADER)) {
		request_break(req, "a packet that is no packet");
		return;
	}
	p = vsock_packet(&h);
	/* RST is never the answer to RST. */
	if (!vsock_judge(v, &h, &p, all, &req->in) && p.op != VIRTIO_VSOCK_OP_RST)
		vsock_reply(v, &p);
	request_done(req, 0);
}

static void vsock_tell(struct vsock *v, struct request *req)
{
	struct virtio_vsock_event event = { le32_put(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET) };
	bool told = writer_put(&req->out, &event, sizeof(event));

	v->event_due &= !told;
	request_done(req, told ? sizeof(event) : 0);
}

static void vsock_request(struct device *dev, struct request *req)
{
	if (req->queue->index == VIRTIO_VSOCK_TX)
		vsock_take(dev->state, req);
	else
		vsock_tell(dev->state, req);
}

static unsigned vsock_can_take(struct device *dev, const struct queue *q)
{
	struct vsock *v = dev->state;

	(void)vsock_begin(v);
	switch (q->index) {
	case VIRTIO_VSOCK_TX: return v->reply_count < VSOCK_REPLIES && !vsock_sibling_waits(v);
	case VIRTIO_VSOCK_EVENT: return v->event_due;
	default: return true;
	}
}

static bool vsock_pulls(const struct device *dev, uint16_t queue_index)
{
	(void)dev;
	return queue_index == VIRTIO_VSOCK_RX;
}

/* ---- the rest of a device ---- */

static uint64_t vsock_features(const struct device *dev)
{
	(void)dev;
	return VIRTIO_VSOCK_F_STREAM | VIRTIO_VSOCK_F_SEQPACKET | VIRTIO_F_IN_ORDER;
}

static void vsock_accept(struct device *dev, uint64_t features)
{
	struct vsock *v = dev->state;

	if (features == 0)
		vsock_forget(v);
	else if (!dev->queues[VIRTIO_VSOCK_RX].started)
		v->began = false;
	v->features = features;
}

static void vsock_config_get(const struct device *dev, uint8_t bytes[VHOST_USER_CONFIG_MAX])
{
	const struct vsock *v = dev->state;
	struct virtio_vsock_config config = { le64_put(v->cid) };

	memcpy(bytes, &config, sizeof(config));
}

static bool vsock_config_set(
	struct device *dev, uint32_t offset, uint32_t len, const uint8_t *bytes, bool migrate)
{
	(void)dev;
	(void)offset;
	(void)len;
	(void)bytes;
	return migrate;
}

static void vsock_io_done(struct device *dev, struct request *req)
{
	(void)dev;
	(void)req;
	ASSERT(!"the socket device starts no I/O");
}

const struct device_class vsock_class = {
	.name = "vsock",
	.summary = "sockets between guest and host",
	.json_type = "vsock",
	.virtio_id = VIRTIO_ID_VSOCK,
	.options = options,
	.option_count = countof(options),
	.open = vsock_open,
	.close = vsock_close,
	.listen = vsock_listen,
	.paths = vsock_paths,
	.features = vsock_features,
	.accept = vsock_accept,
	.config_get = vsock_config_get,
	.config_set = vsock_config_set,
	.request = vsock_request,
	.io_done = vsock_io_done,
	.can_take = vsock_can_take,
	.pulls = vsock_pulls,
	.turn = vsock_turn,
};
