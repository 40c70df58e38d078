/*
 * Devices of other kinds, with bad drivers: consoles, sockets and networks, and what is at their
 * other ends. What comes of what such a driver says is not judged, but all that holds for any
 * device is: no bug is met, nothing is touched that is not mapped, every tick and every session
 * comes to its end, nothing is left of it, and the good device beside them never notices.
 */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "opts.h"
#include "spec/virtio_console.h"
#include "spec/virtio_net.h"
#include "spec/virtio_ring.h"
#include "spec/virtio_vsock.h"

enum { HOSTS_MAX = 6, CONTENT_MAX = 128 };

/* A device: its queues (into which it writes: their bits are set), and what is put into others. */
struct other {
	const char *name;
	uint16_t queues;
	unsigned writes;
	struct {
		const char *name, *value; /* %u: the number of its front-end */
		bool list;
	} options[4];
	uint64_t numbers;     /* of an option without a value */
	const char *paths[3]; /* for its clients */
	unsigned keeps;       /* of those, when they have gone and what they wrote is not read */
	uint32_t (*fill)(const struct sim_queue *q, uint8_t *bytes);
};

/* Clients of the host, and what the guests connect to. */
static struct {
	int clients[HOSTS_MAX];
	unsigned count;
	struct option_item items[FRONTS_MAX];
	char text[FRONTS_MAX][4][40];
} state;

static uint32_t any_bytes(uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)fake_random(256);
	return len;
}

/* ---- what their drivers say ---- */

static uint32_t console_fill(const struct sim_queue *q, uint8_t *bytes)
{
	struct virtio_console_control c = { le32_put(fake_random(q->front->queue_count / 2)),
		le16_put((uint16_t)fake_random(9)), le16_put((uint16_t)fake_random(3)) };

	if (q->index != VIRTIO_CONSOLE_CONTROL_TX || fake_random(6) == 0)
		return any_bytes(bytes, fake_random(CONTENT_MAX));
	memcpy(bytes, &c, sizeof(c));
	return sizeof(c);
}

static uint32_t vsock_fill(const struct sim_queue *q, uint8_t *bytes)
{
	uint32_t len = fake_random(CONTENT_MAX - sizeof(struct virtio_vsock_hdr));
	bool odd = fake_random(8) == 0;
	struct virtio_vsock_hdr h = {
		.src_cid = le64_put(odd ? fake_random(6) : 3 + q->front->index),
		.dst_cid = le64_put(fake_random(3) == 0 ? 4 - q->front->index : 2),
		.src_port = le32_put(fake_random(4)),
		.dst_port = le32_put(fake_random(2) == 0 ? 1u << 30 | fake_random(4) : 1),
		.len = le32_put(fake_random(8) == 0 ? fake_random(UINT32_MAX) : len),
		.type = le16_put((uint16_t)(fake_random(8) == 0 ? fake_random(4) : 1)),
		.op = le16_put((uint16_t)fake_random(9)),
		.flags = le32_put(fake_random(4)),
		.buf_alloc = le32_put(fake_random(4) == 0 ? fake_random(UINT32_MAX) : 1000),
		.fwd_cnt = le32_put(fake_random(2000)),
	};

	memcpy(bytes, &h, sizeof(h));
	return (uint32_t)sizeof(h) + any_bytes(bytes + sizeof(h), len);
}

static uint32_t net_fill(const struct sim_queue *q, uint8_t *bytes)
{
	static const uint8_t types[] = { 0, 1, 3, 4, 5, 0x81 };
	struct virtio_net_hdr h = { .flags = (uint8_t)fake_random(3),
		.gso_type = types[fake_random(6)],
		.hdr_len = le16_put((uint16_t)fake_random(60)),
		.gso_size = le16_put((uint16_t)fake_random(60)),
		.csum_start = le16_put((uint16_t)fake_random(60)),
		.csum_offset = le16_put((uint16_t)fake_random(20)) };
	uint32_t len = any_bytes(bytes, 14 + fake_random(CONTENT_MAX - 14));

	if (q->index == 2) { /* a command */
		bytes[0] = (uint8_t)fake_random(6);
		bytes[1] = (uint8_t)fake_random(6);
		return 2 + fake_random(20);
	}
	if (fake_random(3) > 0)
		memset(&h, 0, sizeof(h));
	memcpy(bytes, &h, sizeof(h));
	if (fake_random(2) == 0 && len >= sizeof(h) + 14)
		memset(bytes + sizeof(h), fake_random(2) == 0 ? 0xff : 2, 6);
	return len;
}

static const struct other kinds[] = {
	{ .name = "console",
		.queues = 6,
		.writes = 1u << 0 | 1u << 2 | 1u << 4,
		.options = { { "backend", "unix:c%u", false }, { "port", "data:unix:p%u", true } },
		.paths = { "c%u", "p%u", "c%u" },
		.keeps = 2,
		.fill = console_fill },
	{ .name = "console",
		.queues = 6,
		.writes = 1u << 0 | 1u << 2 | 1u << 4,
		.options = { { "backend", "file:l%u", false }, { "rotate", NULL, false },
			{ "backpressure", "", false }, { "port", "data:unix:p%u", true } },
		.numbers = 64,
		.paths = { "p%u", "p%u", "p%u" },
		.keeps = 1,
		.fill = console_fill },
	{ .name = "vsock",
		.queues = 3,
		.writes = 1u << 0 | 1u << 2,
		.options = { { "guest-cid", NULL, false }, { "uds-path", "u%u", false } },
		.numbers = 3,
		.paths = { "u%u", "u%u", "u%u" },
		.fill = vsock_fill },
	{ .name = "net",
		.queues = 3,
		.writes = 1u << 0,
		.options = { { "bridge", "lan", false } },
		.fill = net_fill },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

void other_make(struct front *f)
{
	f->other = &kinds[fake_random(KINDS)];
	f->blk = f->read_only = f->growing = false;
	f->image[0] = 0;
	f->queue_count = f->other->queues;
	f->queue_size_max = RING_MAX;
	f->evil = true;
	for (unsigned i = 0; i < f->queue_count; i++)
		f->queues[i].evil = true;
}

const char *other_name(const struct front *f)
{
	return f->other->name;
}

/* A path or another text with the number of a front-end in it. */
static const char *numbered(char *text, size_t size, const char *format, unsigned n)
{
	size_t before = strcspn(format, "%");

	(void)snprintf(text, size, "%.*s", (int)before, format);
	if (format[before] != 0)
		(void)snprintf(text + before, size - before, "%u", n);
	return text;
}

void other_options(
	const struct front *f, const struct device_class *class, struct option_value *values)
{
	for (unsigned i = 0; i < 4 && f->other->options[i].name; i++) {
		const char *value = f->other->options[i].value;
		char *text = state.text[f->index][i];
		uint16_t k = 0;

		while (strcmp(class->options[k].name, f->other->options[i].name) != 0)
			if (++k == class->option_count)
				fake_die("sim: there is no option --%s", f->other->options[i].name);
		values[k].given = true;
		values[k].number =
			f->other->numbers + (strcmp(f->other->name, "vsock") == 0 ? f->index : 0);
		if (value)
			values[k].text = numbered(text, sizeof(state.text[0][0]), value, f->index);
		if (f->other->options[i].list) {
			state.items[f->index] = (struct option_item){ .text = text };
			values[k].list = &state.items[f->index];
		}
	}
}

unsigned other_keeps(const struct front *f)
{
	return f->other ? f->other->keeps : 0;
}

/* ---- chains ---- */

void other_chain(struct sim_queue *q, struct virtq_desc d[3])
{
	bool writes = (q->front->other->writes >> q->index & 1) != 0;
	bool command = strcmp(q->front->other->name, "net") == 0 && q->index == 2;
	uint8_t bytes[CONTENT_MAX];
	uint32_t len = writes ? fake_random(q->zone_len / 2) : q->front->other->fill(q, bytes);
	uint32_t cuts[] = { 0, fake_random(len + 1), fake_random(len + 1), len };

	if (cuts[1] > cuts[2]) {
		uint32_t later = cuts[1];

		cuts[1] = cuts[2];
		cuts[2] = later;
	}
	if (!writes)
		memory_put(&q->front->memory, q->zone, bytes,
			len < q->zone_len / 2 ? len : q->zone_len / 2);
	for (unsigned i = 0; i < 3; i++)
		d[i] = (struct virtq_desc){ le64_put(q->zone + cuts[i]),
			le32_put(cuts[i + 1] - cuts[i]), le16_put(writes ? VIRTQ_DESC_F_WRITE : 0),
			le16_put(0) };
	if (command)
		d[2] = (struct virtq_desc){ le64_put(q->zone + q->zone_len / 2 - 1), le32_put(1),
			le16_put(VIRTQ_DESC_F_WRITE), le16_put(0) };
}

/* ---- the other ends ---- */

static void client_goes(unsigned i)
{
	fake_close(state.clients[i]);
	state.clients[i] = state.clients[--state.count];
}

static void client_comes(const struct front *f)
{
	const char *format = f->other->paths[fake_random(3)];
	char path[40];
	int fd;

	if (!format || state.count == HOSTS_MAX)
		return;
	fd = fake_connect(numbered(path, sizeof(path), format, f->index));
	if (fd >= 0)
		state.clients[state.count++] = fd;
}

void other_acts(const struct front *f)
{
	static const char *const lines[] = { "CONNECT 1\n", "CONNECT 3\nabc", "CONN", "\n" };
	unsigned i = fake_random(HOSTS_MAX);
	uint8_t bytes[CONTENT_MAX];
	const char *line = lines[fake_random(4)];

	if (w.posts_left == 0)
		return;
	if (fake_random(8) == 0)
		w.posts_left--;
	w.quiet_ticks = 0;
	if (i >= state.count) {
		client_comes(f);
		return;
	}
	switch (fake_random(12)) {
	case 0: client_goes(i); break;
	case 1: fake_shut(state.clients[i]); break;
	case 2:
	case 3:
	case 4: (void)fake_send(state.clients[i], line, strlen(line), NULL, 0); break;
	case 5:
	case 6:
		(void)fake_send(state.clients[i], bytes,
			any_bytes(bytes, 1 + fake_random(CONTENT_MAX - 1)), NULL, 0);
		break;
	case 7: fake_signal(PORT_SIGNAL_RESIZE); break;
	case 8: fake_signal(PORT_SIGNAL_AGAIN); break;
	default: (void)fake_recv(state.clients[i], bytes, sizeof(bytes), NULL);
	}
}

void others_go(void)
{
	while (state.count > 0)
		client_goes(0);
}

void others_forget(void)
{
	memset(&state, 0, sizeof(state));
}
