/*
 * A network card on a tap: a driver whose headers, commands and buffers are anything, and a kernel
 * whose frames are anything. A frame that comes to the guest is whole and asks for nothing that its
 * driver did not take; and after all that, frames pass for the next driver.
 */
#include "fuzz.h"
#include "num.h"
#include "rig.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

enum { RX, TX, CTRL, QUEUES, HEADER = sizeof(struct virtio_net_hdr), RING = 16 };
enum { SLOT = 2048, RX_AT = 0, TX_AT = RING * SLOT, CTRL_AT = TX_AT + 0x4000 };
enum { ACK_AT = CTRL_AT + 0x1000, MARK = 14, FRAME_LONG = 22 + 65535 };

static struct front front;
static struct fake_tap *tap;
static uint64_t features;
static bool wild; /* buffers may lie on each other, or nowhere: what comes is not looked at */
static uint8_t frame[FRAME_LONG + 100], got[RING * SLOT];

static void run(void)
{
	(void)rig_run();
}

/* Bytes that tell their number and place. */
static void make(uint8_t number, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(number + i * 7);
	memset(frame, 0xff, 6);
	memset(frame + 6, 2, 6);
	frame[12] = 8;
	frame[13] = 0;
}

static bool is_made(const uint8_t *at, uint32_t len)
{
	for (uint32_t i = MARK; i < len; i++)
		if (at[i] != (uint8_t)(at[MARK] + (i - MARK) * 7))
			return false;
	return true;
}

/* 5.1.6.4.1. */
static void judge(const struct virtio_net_hdr *hdr, uint32_t len)
{
	static const struct {
		uint8_t type;
		uint64_t needs;
	} rows[] = { { 0, 0 }, { VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_GUEST_TSO4 },
		{ VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_GUEST_TSO6 },
		{ VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_GUEST_UFO },
		{ VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_F_GUEST_USO4 | VIRTIO_NET_F_GUEST_USO6 } };
	bool known = false;

	for (size_t i = 0; i < countof(rows); i++)
		if ((hdr->gso_type & 0x7f) == rows[i].type)
			known = rows[i].needs == 0 || (features & rows[i].needs) != 0;
	if (!known || (hdr->flags != 0 && (features & VIRTIO_NET_F_GUEST_CSUM) == 0) ||
		((hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN) != 0 &&
			(features & VIRTIO_NET_F_GUEST_ECN) == 0))
		fake_die("flags %u, type %u for features 0x%llx", hdr->flags, hdr->gso_type,
			(unsigned long long)features);
	if (!is_made(got, len))
		fake_die("a frame of %u bytes is not what was sent", len);
}

/* Takes what came, and looks at it. */
static void take_frames(void)
{
	struct driver *d = &front.rings[RX];
	struct virtio_net_hdr hdr = { 0 };
	uint32_t id, len, have;

	if (!front.mem)
		return;
	while (driver_used_count(d) > 0 && driver_used_count(d) <= RING) {
		uint16_t count = 1;

		have = 0;
		for (uint16_t i = 0; i < count && driver_used(d, &id, &len); i++) {
			const char *at = front_data(&front, RX_AT + id % RING * SLOT);

			if (wild || len > SLOT || (i == 0 && len < HEADER))
				continue;
			if (i == 0) {
				memcpy(&hdr, at, HEADER);
				count = le16_get(hdr.num_buffers);
			}
			memcpy(got + have, at + (i == 0 ? HEADER : 0), len - (i == 0 ? HEADER : 0));
			have += len - (i == 0 ? HEADER : 0);
		}
		if (!wild)
			judge(&hdr, have);
	}
}

/* ---- steps ---- */

static void connect(uint64_t wanted)
{
	static const uint8_t bits[] = { 0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20,
		21, 23, 54, 55, 56 };

	if (front.mem)
		front_hang_up(&front);
	front.mem = NULL;
	run();
	features = VIRTIO_F_VERSION_1;
	for (size_t i = 0; i < countof(bits); i++)
		features |= (wanted >> i & 1) << bits[i];
	wild = false;
	front_start(&front, "/s", QUEUES, features);
}

static void offer(struct input *in)
{
	static const uint32_t sizes[] = { SLOT, SLOT, 1526, 200, 64, HEADER, 1 };
	uint8_t how = take8(in), n = take8(in) % 20;
	struct driver *d = &front.rings[RX];

	for (unsigned i = 0; i < n; i++) {
		struct buffer b = { front_addr(RX_AT + d->avail_idx % RING * SLOT),
			sizes[how % countof(sizes)], true };

		/* More than it has room for: then two have one place. */
		wild |= how >= 0xe0 || (uint16_t)(d->avail_idx - d->used_seen) >= RING;
		if (how >= 0xf8)
			b.addr = 1ull << 40;
		else if (how >= 0xf0)
			b.write = false;
		else if (how >= 0xe0)
			b.addr += take8(in);
		driver_add(d, &b, 1);
	}
	fake_notify_signal(front.kick[RX]);
}

static struct virtio_net_hdr any_header(struct input *in)
{
	static const uint8_t types[] = { 0, 0, 1, 3, 4, 5, 0x81, 0x84 };
	struct virtio_net_hdr hdr = { 0 };
	uint8_t how = take8(in);

	if (how >= 0xc0) {
		(void)take_bytes(in, &hdr, sizeof(hdr));
	} else if (how >= 0x20) {
		hdr = (struct virtio_net_hdr){ how & 3, types[how >> 2 & 7], le16_put(54),
			le16_put(take8(in)), le16_put(34), le16_put(16), le16_put(take8(in)) };
	}
	return hdr;
}

static uint32_t any_length(struct input *in)
{
	uint8_t how = take8(in);

	return how < 0xc0   ? how * 8u
	       : how < 0xe0 ? (how - 0xbfu) * 2000
			    : FRAME_LONG - 2u + (how & 31) % 8;
}

static void arrive(struct input *in)
{
	struct virtio_net_hdr hdr = any_header(in);
	uint32_t len = any_length(in);
	uint8_t kind = take8(in);

	make(take8(in), len < MARK ? MARK : len);
	if (kind >= 0x80)
		memcpy(frame, "\x02\x02\x02\x02\x02", 5);
	if (kind % 4 == 0)
		frame[12] = 0x81;
	fake_tap_frame(tap, 0, &hdr, frame, len);
}

static void send(struct input *in)
{
	struct virtio_net_hdr hdr = any_header(in);
	uint32_t len = any_length(in) % 0x3000, at = 0, end = HEADER + len;
	uint8_t how = take8(in);
	struct buffer b[4];
	unsigned n = 0;

	make(take8(in), len < MARK ? MARK : len);
	memcpy(front_data(&front, TX_AT), &hdr, HEADER);
	memcpy(front_data(&front, TX_AT + HEADER), frame, len);
	while (n < 3 && at < end) {
		uint32_t part = (uint32_t)num_min(n == 2 ? end : take8(in), end - at);

		b[n++] = (struct buffer){ front_addr(TX_AT + at), part, false };
		at += part;
	}
	if (how >= 0xf0)
		b[n++] = (struct buffer){ how & 1 ? 1ull << 40 : front_addr(TX_AT), take8(in),
			how >= 0xf8 };
	driver_add(&front.rings[TX], b, n);
	fake_notify_signal(front.kick[TX]);
}

static void ask(struct input *in)
{
	uint8_t how = take8(in), cut = take8(in), bytes[64] = { how % 6, take8(in) % 6 };
	uint32_t len = 2 + (uint32_t)take_bytes(in, bytes + 2, take8(in) % 62);

	memcpy(front_data(&front, CTRL_AT), bytes, sizeof(bytes));
	cut = (uint8_t)num_min(cut % 8, len);
	driver_add(&front.rings[CTRL],
		(struct buffer[]){ { front_addr(CTRL_AT), cut, false },
			{ front_addr(CTRL_AT + cut), len - cut, false },
			{ front_addr(ACK_AT), how < 0xf0, how < 0xf8 } },
		3);
	fake_notify_signal(front.kick[CTRL]);
}

static void fail_host(struct input *in)
{
	uint8_t how = take8(in);

	fake.fail_one_in = how % 8;
	fake.fail_mask = 1ull << (how & 0x80    ? FAKE_TAP_RECV
				 : how & 0x40 ? FAKE_TAP_SEND
				 : how & 0x20 ? FAKE_TAP_OFFLOAD
					      : FAKE_STREAM_WRITE);
}

static void step(struct input *in)
{
	switch (take8(in) % 12) {
	case 0: connect(take64(in)); break;
	case 1:
	case 2: offer(in); break;
	case 3:
	case 4:
	case 5: arrive(in); break;
	case 6:
	case 7: send(in); break;
	case 8: ask(in); break;
	case 9: fail_host(in); break;
	case 10:
		tap->up = take8(in) % 2;
		fake_signal(PORT_SIGNAL_AGAIN);
		break;
	default:
		(void)front_ack_state(
			&front, VHOST_USER_SET_VRING_ENABLE, take8(in) % QUEUES, take8(in) % 2);
		break;
	}
}

/* ---- and then ---- */

static void settle(void)
{
	fake.fail_one_in = fake.fail_mask = 0;
	tap->up = true;
	if (rig_run() != FAKE_IDLE)
		fake_die("it does not rest");
	take_frames();
}

static void expect_it_works(void)
{
	struct virtio_net_hdr hdr = { 0 };
	struct buffer b;
	uint32_t id, len;

	settle();
	connect(UINT64_MAX & ~(1ull << 13 | 1ull << 14)); /* no filters … */
	/* What lies in the tap comes first, and few requests must do for the longest. */
	wild = true;
	for (unsigned i = 0; i < 4000 && (i == 0 || fake_tap_waiting(tap, 0) > 0); i++) {
		b = (struct buffer){ front_addr(RX_AT), 0x8000, true };
		while ((uint16_t)(front.rings[RX].avail_idx - front.rings[RX].used_seen) < RING)
			driver_add(&front.rings[RX], &b, 1);
		front_kick(&front, RX);
		settle();
	}
	if (fake_tap_waiting(tap, 0) > 0)
		fake_die("%u frames are left in the tap", fake_tap_waiting(tap, 0));
	while (fake_tap_sent(tap, NULL, NULL, NULL, 0) >= 0)
		;
	make(1, 100);
	memcpy(front_data(&front, TX_AT), &hdr, HEADER);
	memcpy(front_data(&front, TX_AT + HEADER), frame, 100);
	driver_add(&front.rings[TX], &(struct buffer){ front_addr(TX_AT), HEADER + 100, false }, 1);
	front_kick(&front, TX);
	if (!driver_used(&front.rings[TX], &id, &len) ||
		fake_tap_sent(tap, NULL, NULL, got, sizeof(got)) != 100)
		fake_die("a frame does not go out any more");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct front none;
	struct input in = { bytes, len };

	fake_reset(1);
	life_fresh();
	front = none;
	tap = fake_tap_new("t0");
	if (rig_main(take8(&in) % 4
			     ? "vubox net -s /s --tap=t0 --poll-us=0"
			     : "vubox net -s /s --tap=t0 --pcap=/p --poll-us=0") != FAKE_IDLE)
		fake_die("it does not serve: %s", fake.log);
	front_lenient = true;
	connect(take64(&in));
	for (unsigned steps = 0; in.left > 0 && steps < 60; steps++) {
		step(&in);
		if (take8(&in) % 4)
			run();
		take_frames();
	}
	expect_it_works();
	return 0;
}
