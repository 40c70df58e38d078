/* The fake port: tap devices, whose kernel keeps what the guest sends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fake_object.h"

enum { TAPS_MAX = 16, SENT_MAX = 256, HEADER = PORT_TAP_HEADER, FRAME_MAX = 1 << 17 };

struct sent {
	struct tap *tap;
	unsigned queue;
	size_t len;
	char *bytes;
};

struct tap {
	struct fake_tap tap; /* first: what tests see */
	struct object *queues[CONFIG_NET_PAIRS_MAX];
};

static struct {
	struct tap taps[TAPS_MAX];
	unsigned count;
	struct sent sent[SENT_MAX];
	unsigned first, end; /* of what was sent */
	char frame[FRAME_MAX];
} state;

static struct tap *find(const char *name)
{
	for (unsigned i = 0; i < state.count; i++)
		if (strcmp(state.taps[i].tap.name, name) == 0)
			return &state.taps[i];
	return NULL;
}

struct fake_tap *fake_tap_new(const char *name)
{
	struct tap *t = find(name);

	if (t)
		return &t->tap;
	if (state.count == TAPS_MAX)
		fake_die("more than %d taps", TAPS_MAX);
	t = &state.taps[state.count++];
	*t = (struct tap){ .tap = { .up = true, .has = PORT_TAP_ALL } };
	strncpy(t->tap.name, name, sizeof(t->tap.name) - 1);
	return &t->tap;
}

static int open_queue(struct tap *t)
{
	struct object *o = fake_object_new(TAP);

	t->queues[t->tap.queues] = o;
	t->tap.attached |= 1u << t->tap.queues++;
	return fake_fd_new(o, true);
}

static struct tap *tap_of(const struct port_tap *port)
{
	struct tap *t = find(port->name);

	if (!t)
		fake_die("tap %s is not open", port->name);
	return t;
}

int fake_tap_fd(struct fake_tap *tap, bool vnet)
{
	return vnet ? open_queue((struct tap *)tap) : fake_fd_new(fake_object_new(TAP), true);
}

static void describe(struct port_tap *port, const struct tap *t)
{
	memcpy(port->name, t->tap.name, sizeof(port->name));
	port->attached[0] = true;
	port->offloads = t->tap.has;
	port->flags_fd = -1;
}

int port_tap_open(struct port_tap *port, const char *name, unsigned queues)
{
	int error = fake_call(FAKE_TAP_OPEN);
	struct tap *t;

	*port = (struct port_tap){ .flags_fd = -1 };
	if (error < 0)
		return error;
	if (name[0] == 0 || strlen(name) >= sizeof(port->name))
		return -ENAMETOOLONG;
	t = (struct tap *)fake_tap_new(name);
	if (t->tap.queues > 0)
		return -EBUSY;
	if (t->tap.single && queues > 1)
		return -EINVAL;
	while (port->queues < queues)
		port->fds[port->queues++] = open_queue(t);
	t->tap.attached = 1;
	t->tap.offloads = 0;
	describe(port, t);
	return 0;
}

int port_tap_take(struct port_tap *port, int fd)
{
	int error = fake_call(FAKE_TAP_OPEN);

	*port = (struct port_tap){ .flags_fd = -1 };
	if (error < 0)
		return error;
	if (!fake_fd_open(fd) || fake_fd(fd)->object->kind != TAP)
		return -EBADF;
	for (unsigned i = 0; i < state.count; i++)
		if (state.taps[i].queues[0] == fake_fd(fd)->object) {
			port->fds[port->queues++] = fd;
			describe(port, &state.taps[i]);
			return 0;
		}
	return -EPROTOTYPE;
}

void port_tap_close(struct port_tap *port)
{
	struct tap *t = tap_of(port);

	while (port->queues > 0)
		port_close(port->fds[--port->queues]);
	t->tap.queues = t->tap.attached = 0;
	memset(t->queues, 0, sizeof(t->queues));
}

int port_tap_offload(struct port_tap *port, uint32_t offloads)
{
	struct tap *t = tap_of(port);
	int error = fake_call(FAKE_TAP_OFFLOAD);

	if (error == 0 && (offloads & ~t->tap.has) != 0)
		error = -EINVAL;
	/* The kernel wants checksums for all others. */
	if (error == 0 && offloads != 0 && (offloads & PORT_TAP_CSUM) == 0)
		error = -EINVAL;
	if (error == 0) {
		t->tap.offloads = offloads;
		t->tap.sets++;
	}
	return error;
}

int port_tap_attach(struct port_tap *port, unsigned queue, bool attach)
{
	struct tap *t = tap_of(port);
	int error = fake_call(FAKE_TAP_ATTACH);

	if (queue >= port->queues)
		fake_die("no queue %u", queue);
	if (error == 0 && (t->tap.attached >> queue & 1) == attach)
		error = -EINVAL;
	if (error < 0)
		return error;
	t->tap.attached ^= 1u << queue;
	if (!attach)
		fake_segments_free(t->queues[queue]);
	port->attached[queue] = attach;
	return 0;
}

int port_tap_is_up(const struct port_tap *port)
{
	return tap_of(port)->tap.up;
}

static size_t gather(const struct source *frame)
{
	size_t len = HEADER;

	for (uint32_t i = 0; i < frame->count; i++) {
		const struct span *s = &frame->spans[i];

		if (len + s->len > FRAME_MAX)
			fake_die("a frame of more than %d bytes", FRAME_MAX);
		if (s->len > 0)
			memcpy(state.frame + len, (const void *)s->base, s->len);
		len += s->len;
	}
	return len;
}

int port_tap_send(struct port_tap *port, unsigned queue, const void *header, struct source frame)
{
	struct tap *t = tap_of(port);
	int error = fake_call(FAKE_TAP_SEND);
	size_t len = gather(&frame);
	struct virtio_net_hdr hdr;
	struct sent *s = &state.sent[state.end % SENT_MAX];

	(void)fake_object(port->fds[queue], TAP);
	if (error < 0)
		return error;
	memcpy(&hdr, header, sizeof(hdr));
	if ((hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0 &&
		le16_get(hdr.csum_start) + le16_get(hdr.csum_offset) + 2u > len - HEADER)
		return -EINVAL;
	if (!t->tap.up)
		return -EIO;
	if (state.end - state.first == SENT_MAX)
		return -EAGAIN;
	memcpy(state.frame, header, HEADER);
	free(s->bytes);
	*s = (struct sent){ t, queue, len, fake_new(len) };
	memcpy(s->bytes, state.frame, len);
	state.end++;
	return 0;
}

int port_tap_recv(struct port_tap *port, unsigned queue, void *header, struct sink to)
{
	struct object *o = fake_object(port->fds[queue], TAP);
	int error = fake_call(FAKE_TAP_RECV);
	struct segment *s = o->first;
	size_t len = HEADER;

	if (error < 0)
		return error;
	if (!s)
		return -EAGAIN;
	memcpy(header, s->bytes, HEADER);
	/* What has no room is lost, and nobody is told. */
	for (uint32_t i = 0; i < to.count && len < s->len; i++) {
		size_t n = to.spans[i].len < s->len - len ? to.spans[i].len : s->len - len;

		if (to.count > 1 && !fake_mapped(to.spans[i].base, to.spans[i].len))
			fake_die("a frame is read to where no memory is");
		memcpy((void *)to.spans[i].base, s->bytes + len, n);
		len += n;
	}
	o->first = s->next;
	if (!o->first)
		o->last = &o->first;
	o->queued -= s->len;
	free(s);
	return (int)(len - HEADER);
}

/* ---- outside ---- */

void fake_tap_frame(struct fake_tap *tap, unsigned queue, const struct virtio_net_hdr *hdr,
	const void *bytes, size_t len)
{
	static const struct virtio_net_hdr none;
	struct tap *t = (struct tap *)tap;

	if (queue >= t->tap.queues || HEADER + len > FRAME_MAX)
		fake_die("no queue %u, or a long frame", queue);
	memcpy(state.frame, hdr ? hdr : &none, HEADER);
	memcpy(state.frame + HEADER, bytes, len);
	fake_segment_put(t->queues[queue], state.frame, HEADER + len, NULL, 0);
}

unsigned fake_tap_waiting(struct fake_tap *tap, unsigned queue)
{
	unsigned n = 0;

	for (struct segment *s = ((struct tap *)tap)->queues[queue]->first; s; s = s->next)
		n++;
	return n;
}

int fake_tap_sent(
	struct fake_tap *tap, unsigned *queue, struct virtio_net_hdr *hdr, void *bytes, size_t size)
{
	struct sent *s = &state.sent[state.first % SENT_MAX];
	size_t len;

	if (state.first == state.end || &s->tap->tap != tap)
		return -EAGAIN;
	len = s->len - HEADER;
	if (len > size && bytes)
		fake_die("a frame of %zu bytes is more than was expected", len);
	if (queue)
		*queue = s->queue;
	if (hdr)
		memcpy(hdr, s->bytes, HEADER);
	if (bytes)
		memcpy(bytes, s->bytes + HEADER, len);
	state.first++;
	return (int)len;
}

/* A tap that was made stays, for the test to look at; its queues are gone. */
void fake_net_kill(void)
{
	for (unsigned i = 0; i < state.count; i++) {
		state.taps[i].tap.queues = state.taps[i].tap.attached = 0;
		memset(state.taps[i].queues, 0, sizeof(state.taps[i].queues));
	}
}

void fake_net_reset(void)
{
	for (unsigned i = 0; i < SENT_MAX; i++) {
		free(state.sent[i].bytes);
		state.sent[i] = (struct sent){ 0 };
	}
	state.count = state.first = state.end = 0;
}

uint64_t port_real_ns(void)
{
	return 1700000000000000000ull + fake.now_ns;
}
