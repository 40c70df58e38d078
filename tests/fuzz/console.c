/*
 * A console and a port with a name: a driver whose buffers, bytes and messages are anything,
 * and clients of the host that come, read, write and go when they like, or a log that is full. What
 * the driver is told is well-formed, what a client writes comes in order, a log has its size; and
 * after all that, bytes pass for the next driver.
 */
#include <errno.h>

#include "fuzz.h"
#include "rig.h"
#include "spec/virtio.h"
#include "spec/virtio_console.h"

enum { RX, TX, CONTROL_RX, CONTROL_TX, RX1, TX1, QUEUES, PORTS = 2 };
enum { SLOT = 0x200, OPS_MAX = 60, RING = 8, LOG_BYTES = 64 };
enum { MESSAGE = sizeof(struct virtio_console_control), NAME = 4 };

static struct front front;
static struct host {
	const char *path;
	int fd;       /* of its client; -1: none */
	uint8_t next; /* that the client writes */
	bool known;   /* … that the guest gets is this: */
	uint8_t want;
} hosts[PORTS];
static bool log_is_kept; /* the port is a file, of which no call fails */
static bool is_terminal; /* the console is one, whose other side is always there */
static bool wild; /* buffers may lie on each other, or nowhere: what comes is not looked at */

/* Each ring's buffers are in a place of their own. */
static uint32_t place(unsigned ring)
{
	return ring * SLOT * RING;
}

static struct host *host_of(unsigned ring)
{
	return &hosts[ring == RX1 ? 1 : 0];
}

/* ---- what the driver gets ---- */

/* 5.3.6.2. */
static void judge_message(const uint8_t *bytes, uint32_t len)
{
	struct virtio_console_control c;
	uint32_t should = MESSAGE;

	memcpy(&c, bytes, MESSAGE);
	if (le16_get(c.event) == VIRTIO_CONSOLE_PORT_NAME)
		should += NAME;
	if (le16_get(c.event) == VIRTIO_CONSOLE_RESIZE)
		should += sizeof(struct virtio_console_resize);
	if (len != should || le32_get(c.id) >= PORTS || le16_get(c.value) > 1)
		fake_die("event %u of port %u: %u, with %u bytes", le16_get(c.event),
			le32_get(c.id), le16_get(c.value), len);
	if (le16_get(c.event) == VIRTIO_CONSOLE_PORT_NAME &&
		memcmp(bytes + MESSAGE, "data", NAME) != 0)
		fake_die("the port's name is not its own");
}

/* Bytes of a client come as it has written them, without a gap as long as it is there. */
static void judge_bytes(struct host *h, const uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		if (h->known && bytes[i] != h->want)
			fake_die("byte %u for %u", bytes[i], h->want);
		h->known = true;
		h->want = (uint8_t)(bytes[i] + 1);
	}
}

static void take_used(unsigned ring)
{
	struct driver *d = &front.rings[ring];
	uint32_t id, len;

	while (front.mem && driver_used(d, &id, &len)) {
		/* They come back in their order. */
		uint16_t number = (uint16_t)(d->used_seen - 1);
		const uint8_t *at =
			(uint8_t *)front_data(&front, place(ring) + number % RING * SLOT);

		if (wild || len == 0)
			continue;
		if (len > SLOT || ring % 2 != 0)
			fake_die("%u bytes in ring %u", len, ring);
		if (ring == CONTROL_RX)
			judge_message(at, len);
		else
			judge_bytes(host_of(ring), at, len);
	}
}

static void run(void)
{
	(void)rig_run();
	for (unsigned i = 0; i < QUEUES; i++)
		take_used(i);
	if (log_is_kept && fake_image_find("/log") && fake_image_find("/log")->size > LOG_BYTES)
		fake_die("the log has %llu bytes",
			(unsigned long long)fake_image_find("/log")->size);
}

/* ---- steps ---- */

/* What the guest has got is not known, or something is lost. */
static void forget_streams(void)
{
	for (unsigned i = 0; i < PORTS; i++)
		hosts[i].known = false;
}

static void connect(uint64_t features)
{
	if (front.mem)
		front_hang_up(&front);
	front.mem = NULL;
	run();
	fake.fail_mask &= ~(1ull << FAKE_ACCEPT); /* it has a backlog, and no more */
	wild = false;
	forget_streams();
	front_start(&front, "/s", QUEUES,
		VIRTIO_F_VERSION_1 |
			(features & (VIRTIO_CONSOLE_F_MULTIPORT | VIRTIO_CONSOLE_F_EMERG_WRITE |
					    (is_terminal ? VIRTIO_CONSOLE_F_SIZE : 0))));
}

static void offer(struct input *in)
{
	static const uint32_t sizes[] = { SLOT, 1, 7, 8, 12, 100, 0 };
	static const unsigned rings[] = { RX, CONTROL_RX, RX1, RX };
	uint8_t how = take8(in), cut = take8(in);
	unsigned ring = rings[how % 4];
	uint32_t len = sizes[how / 4 % 7];
	struct driver *d = &front.rings[ring];
	uint32_t at = place(ring) + d->avail_idx % RING * SLOT;
	struct buffer b[] = { { front_addr(at), cut < len ? cut : len, true },
		{ front_addr(at + cut), cut < len ? len - cut : 0, true } };

	/* More than it has room for: then two have one place. */
	wild |= how >= 0xe0 || (uint16_t)(d->avail_idx - d->used_seen) >= RING;
	if (how >= 0xf8)
		b[1].addr = 1ull << 40;
	else if (how >= 0xf0)
		b[0].write = false;
	driver_add(d, b, 2);
	fake_notify_signal(front.kick[ring]);
}

static void send(struct input *in)
{
	uint8_t how = take8(in), cut = take8(in);
	unsigned ring = how & 1 ? TX1 : TX;
	uint32_t len = how & 2 ? take8(in) * 150u : take8(in);
	struct buffer b[] = { { front_addr(place(ring)), cut < len ? cut : len, false },
		{ front_addr(place(ring) + cut), cut < len ? len - cut : 0, how >= 0xf8 } };

	if (how >= 0xf0 && how < 0xf8)
		b[1].addr = 1ull << 40;
	if (how >= 0xf0)
		wild = true;
	driver_add(&front.rings[ring], b, 2);
	fake_notify_signal(front.kick[ring]);
}

static void control(struct input *in)
{
	uint8_t how = take8(in), what = take8(in);
	struct virtio_console_control c = { le32_put(how & 1), le16_put(what % 9),
		le16_put(how >> 1 & 1) };
	uint32_t len = how & 4 ? MESSAGE : how >> 4;

	if (how >= 0xe0)
		c.id = le32_put((uint32_t)take64(in));
	memcpy(front_data(&front, place(CONTROL_TX)), &c, MESSAGE);
	driver_add(&front.rings[CONTROL_TX],
		&(struct buffer){ front_addr(place(CONTROL_TX)), len, how >= 0xf8 }, 1);
	fake_notify_signal(front.kick[CONTROL_TX]);
}

/* SET_CONFIG of any place: the only one that is right is the emergency write (5.3.5.1). */
static void configure(struct input *in)
{
	uint8_t offset = take8(in) % 16, size = take8(in) % 9;
	struct vhost_user_config c = { offset, size, 0, { 'e', 'm', 'e', 'r', 'g' } };

	(void)front_ack(&front, VHOST_USER_SET_CONFIG, &c, 12u + size, -1);
}

static void client_goes(struct host *h)
{
	if (is_terminal && h == &hosts[0])
		return;
	if (h->fd >= 0)
		fake_close(h->fd);
	h->fd = -1;
	h->known = false;
}

static void client_comes(struct host *h)
{
	client_goes(h);
	if (h->fd < 0)
		h->fd = fake_connect(h->path);
}

static void client_acts(struct input *in)
{
	uint8_t how = take8(in), len = take8(in), bytes[256];
	struct host *h = &hosts[how & 1];

	switch (how / 2 % 8) {
	case 0: client_comes(h); break;
	case 1: client_goes(h); break;
	case 2:
	case 3:
	case 4:
		for (unsigned i = 0; i < len; i++)
			bytes[i] = (uint8_t)(h->next + i);
		if (h->fd >= 0 && len > 0 && fake_send(h->fd, bytes, len, NULL, 0) == 0)
			h->next = (uint8_t)(h->next + len);
		break;
	case 5:
		if (h->fd >= 0 && !is_terminal)
			fake_shut(h->fd);
		break;
	default:
		if (h->fd >= 0)
			(void)fake_recv(h->fd, bytes, len, NULL);
		break;
	}
}

static void fail_host(struct input *in)
{
	static const enum fake_call calls[] = { FAKE_STREAM_WRITE, FAKE_STREAM_READ, FAKE_ACCEPT,
		FAKE_LOG_OPEN, FAKE_LOG_ROTATE };
	uint8_t how = take8(in);

	fake.fail_one_in = how % 8;
	/* We keep the other side of a terminal, too: it does not fail. */
	fake.fail_mask = 1ull << calls[is_terminal ? 2 : how / 8 % 5];
	log_is_kept = false;
	forget_streams();
}

static void world_acts(struct input *in)
{
	uint8_t what = take8(in);

	switch (what % 4) {
	case 0: fake_signal(PORT_SIGNAL_AGAIN); break;
	case 1:
		fake.cols = is_terminal ? 1 + what : 0;
		fake_signal(PORT_SIGNAL_RESIZE);
		break;
	default:
		rig_patience_ns = (uint64_t)what * 10000000;
		(void)rig_run();
		rig_patience_ns = 1000000;
	}
}

static void step(struct input *in)
{
	switch (take8(in) % 12) {
	case 0: connect(take64(in)); break;
	case 1:
	case 2:
	case 3: offer(in); break;
	case 4:
	case 5: send(in); break;
	case 6: control(in); break;
	case 7: configure(in); break;
	case 8:
	case 9: client_acts(in); break;
	case 10: fail_host(in); break;
	default: world_acts(in); break;
	}
}

/* ---- and then ---- */

/* Nothing of what was is left; a new client and a new driver hear each other. */
static void expect_it_works(void)
{
	struct buffer in = { front_addr(place(RX)), 1, true };
	struct buffer out = { front_addr(place(TX)), 1, false };
	uint8_t last = 0, bytes[4096];
	uint32_t id, len;
	int n;

	fake.fail_one_in = fake.fail_mask = 0;
	rig_patience_ns = 3000000000;
	connect(0);
	client_goes(&hosts[0]);
	(void)rig_run();
	client_comes(&hosts[0]);
	(void)rig_run();
	*front_data(&front, place(TX)) = '!';
	driver_add(&front.rings[TX], &out, 1);
	front_kick(&front, TX);
	while ((n = fake_recv(hosts[0].fd, bytes, sizeof(bytes), NULL)) > 0) {
		last = bytes[n - 1];
		(void)rig_run();
	}
	if (last != '!' || !driver_used(&front.rings[TX], &id, &len))
		fake_die("a byte does not go out any more");
	if (fake_send(hosts[0].fd, "?", 1, NULL, 0) < 0)
		fake_die("the client is not served");
	/* What the one before had written comes first. */
	for (unsigned i = 0; i < 80000; i++) {
		driver_add(&front.rings[RX], &in, 1);
		front_kick(&front, RX);
		if (!driver_used(&front.rings[RX], &id, &len))
			fake_die("a byte does not come in any more");
		if (len == 1 && *front_data(&front, place(RX)) == '?' &&
			front.rings[RX].used_seen == front.rings[RX].avail_idx &&
			fake_peek(hosts[0].fd) == -EAGAIN)
			return;
	}
	fake_die("what was written does not come in any more");
}

static void begin(uint8_t how)
{
	static struct front none;
	static const char *const lines[] = {
		"vubox console -s /s --backend=unix:/c --port=data:unix:/d",
		"vubox console -s /s --backend=unix:/c --port=data:unix:/d --backpressure",
		"vubox console -s /s --backend=unix:/c --port=data:file:/log --rotate=64",
		"vubox console -s /s --backend=pty --port=data:unix:/d --backpressure",
	};

	fake_reset(1);
	life_fresh();
	front = none;
	rig_patience_ns = 1000000;
	hosts[0] = (struct host){ .path = "/c", .fd = -1 };
	hosts[1] = (struct host){ .path = "/d", .fd = -1 };
	log_is_kept = how % 4 == 2;
	is_terminal = how % 4 == 3;
	fake.cols = is_terminal ? 80 : 0;
	if (rig_main(lines[how % 4]) != FAKE_IDLE)
		fake_die("it does not serve: %s", fake.log);
	if (is_terminal)
		hosts[0].fd = fake_pty(0);
	fake.socket_room = 300;
	front_lenient = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct input in = { bytes, len };
	uint8_t how = take8(&in);

	begin(how);
	connect(~0ull);
	for (unsigned steps = 0; in.left > 0 && steps < OPS_MAX; steps++) {
		step(&in);
		if (take8(&in) % 4)
			run();
	}
	expect_it_works();
	return 0;
}
