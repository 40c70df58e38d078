/*
 * The socket device: from guest to guest, within this process.
 *
 * The guests speak with each other: credit, resets and all. A packet is kept here until the other
 * guest has buffers for it, in a queue of bytes for each guest. Who has filled that up waits with
 * its transmit queue, but not for long: a guest that takes nothing for a while is refused packets
 * (the sender gets RST) until it takes something again.
 */
#include "num.h"
#include "vsock.h"

enum { HEADER = sizeof(struct virtio_vsock_hdr) };
enum { PACKET_MAX = CONFIG_VSOCK_PACKET };
/* Who fills it above this waits; each of the others may put one more packet into it before. */
enum { FULL = 3 * PACKET_MAX, QUEUE = FULL + (CONFIG_DEVICES_MAX + 1) * PACKET_MAX };
#define PATIENCE_NS 100000000ull

static struct {
	struct fifo {
		uint8_t bytes[QUEUE];
		uint32_t at, len;
		struct virtio_vsock_hdr front; /* of the first packet, with `left` */
		uint32_t left;                 /* bytes of its data that were not given yet */
		bool begun;
		uint64_t given, seen; /* packets; when the timer was set */
		bool blocked;
		struct loop_timer patience;
	} fifos[CONFIG_DEVICES_MAX];
} state;

static struct fifo *fifo_of(const struct vsock *v)
{
	return &state.fifos[v->number];
}

static void drop(struct fifo *f, uint32_t len)
{
	f->at = (f->at + len) % QUEUE;
	f->len -= len;
}

/* Gives the guest so many bytes. */
static void give(struct fifo *f, struct writer *to, uint32_t len)
{
	while (len > 0) {
		uint32_t part = (uint32_t)num_min(len, QUEUE - f->at);

		(void)writer_put(to, f->bytes + f->at, part);
		drop(f, part);
		len -= part;
	}
}

static void take_header(struct fifo *f)
{
	uint8_t *to = (uint8_t *)&f->front;

	for (uint32_t i = 0; i < HEADER; i++)
		to[i] = f->bytes[(f->at + i) % QUEUE];
	drop(f, HEADER);
	f->left = le32_get(f->front.len);
	f->begun = true;
}

/* Puts len bytes of the guest behind the others. */
static bool add(struct fifo *f, struct reader *from, uint32_t len)
{
	uint32_t at = (f->at + f->len) % QUEUE, part = (uint32_t)num_min(len, QUEUE - at);

	if ((part > 0 && !reader_get(from, f->bytes + at, part)) ||
		(len > part && !reader_get(from, f->bytes, len - part)))
		return false;
	f->len += len;
	return true;
}

static void add_header(struct fifo *f, const struct virtio_vsock_hdr *h)
{
	const uint8_t *from = (const uint8_t *)h;

	for (uint32_t i = 0; i < HEADER; i++)
		f->bytes[(f->at + f->len + i) % QUEUE] = from[i];
	f->len += HEADER;
}

static void look(void *owner)
{
	struct vsock *v = owner;
	struct fifo *f = fifo_of(v);

	f->blocked = f->given == f->seen;
	f->seen = f->given;
	if (f->blocked)
		vsock_wake(v);
	else if (f->len > FULL)
		loop_timer_set(&f->patience, out_now_ns() + PATIENCE_NS, look, v);
}

bool vsock_sibling_put(struct vsock *from, struct vsock *to, const struct vsock_packet *p,
	const struct virtio_vsock_hdr *h, struct reader *data)
{
	struct fifo *f = fifo_of(to);

	if (f->blocked || p->len > PACKET_MAX - HEADER || f->len > QUEUE - PACKET_MAX)
		return false;
	add_header(f, h);
	if (!add(f, data, p->len)) {
		f->len -= HEADER;
		return false;
	}
	if (f->len > FULL) {
		from->waits_for = to;
		f->seen = f->given;
		if (!f->patience.set)
			loop_timer_set(&f->patience, out_now_ns() + PATIENCE_NS, look, to);
	}
	vsock_ready(to);
	return true;
}

bool vsock_sibling_waits(struct vsock *v)
{
	const struct fifo *f = v->waits_for ? fifo_of(v->waits_for) : NULL;

	if (f && (f->blocked || f->len <= FULL))
		v->waits_for = NULL;
	return v->waits_for;
}

bool vsock_sibling_has(const struct vsock *v)
{
	const struct fifo *f = fifo_of(v);

	return f->begun || f->len > 0;
}

uint32_t vsock_sibling_next(struct vsock *v, struct writer *to)
{
	struct fifo *f = fifo_of(v);
	struct virtio_vsock_hdr h;
	uint32_t len;

	if (!f->begun)
		take_header(f);
	h = f->front;
	len = (uint32_t)num_min(f->left, writer_left(to) - HEADER);
	h.len = le32_put(len);
	/* A message that is cut ends with its last part (5.10.6.6.1). */
	if (len < f->left)
		h.flags = le32_put(0);
	(void)writer_put(to, &h, HEADER);
	f->left -= len;
	f->begun = f->left > 0;
	give(f, to, len);
	f->given++;
	f->blocked = false;
	if (f->len <= FULL)
		vsock_wake(v);
	return HEADER + len;
}

void vsock_sibling_forget(struct vsock *v)
{
	struct fifo *f = fifo_of(v);

	f->at = f->len = f->left = 0;
	f->begun = f->blocked = false;
	loop_timer_clear(&f->patience);
	v->waits_for = NULL;
	vsock_wake(v);
}
