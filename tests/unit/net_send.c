/* src/dev/net.c and net_tap.c: frames to a tap, and what their headers ask for. */
#include <errno.h>

#include "nic.h"

static struct nic nic;
static struct fake_tap *tap;
static uint8_t got[1 << 17];

static void connect(uint64_t features)
{
	front_start(&nic.front, "/s", 3, features | VIRTIO_F_VERSION_1);
}

static void start(uint64_t features)
{
	fake_reset(1);
	tap = fake_tap_new("t0");
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0 --mac=52:54:00:00:00:01"), FAKE_IDLE);
	connect(features);
}

static void again(uint64_t features)
{
	front_hang_up(&nic.front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	connect(features);
}

CASE(frames_go_out)
{
	unsigned queue;
	struct virtio_net_hdr hdr;

	start(0);
	for (unsigned i = 0; i < 100; i++) {
		uint32_t len = 14 + i * 150;

		nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, i, len), len);
		CHECK_EQ(fake_tap_sent(tap, &queue, &hdr, got, sizeof(got)), len);
		CHECK_BYTES(got, nic_frame(BROADCAST, OUR_MAC, i, len), len);
		CHECK_EQ(queue, 0);
		CHECK_EQ(hdr.flags | hdr.gso_type, 0);
	}
	CHECK_EQ(nic_errors(TX), 0);
	CHECK_EQ(rig_device(0)->queues[TX].counts.requests, 100);
}

/* Sends a frame with this header: whether it went out. *out is its header there. */
static bool goes(const struct virtio_net_hdr *hdr, struct virtio_net_hdr *out)
{
	uint64_t errors = nic_errors(TX);
	int len;

	nic_send(&nic, hdr, nic_frame(BROADCAST, OUR_MAC, 1, 3000), 3000);
	len = fake_tap_sent(tap, NULL, out, got, sizeof(got));
	CHECK(len == 3000 || len == -EAGAIN);
	CHECK_EQ(nic_errors(TX) - errors, len < 0);
	return len > 0;
}

CASE(what_was_negotiated_may_be_left_undone)
{
	static const uint8_t types[] = { 0, 1, 3, 4, 5, 0x81, 0x84 };
	struct virtio_net_hdr hdr, out;

	start(ALL_GIVES);
	for (size_t i = 0; i < sizeof(types); i++) {
		hdr = segments(types[i]);
		CHECK(goes(&hdr, &out));
		CHECK_EQ(out.gso_type, types[i]);
		CHECK_EQ(out.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		CHECK_EQ(le16_get(out.csum_start), 34);
		CHECK_EQ(le16_get(out.csum_offset), 16);
		CHECK_EQ(le16_get(out.gso_size), types[i] ? 1000 : 0);
		CHECK_EQ(le16_get(out.num_buffers), 0);
	}
}

CASE(what_was_not_negotiated_may_not)
{
	static const struct {
		uint8_t type;
		uint64_t feature;
	} rows[] = { { 0, VIRTIO_NET_F_CSUM }, { 1, VIRTIO_NET_F_HOST_TSO4 },
		{ 3, VIRTIO_NET_F_HOST_UFO }, { 4, VIRTIO_NET_F_HOST_TSO6 },
		{ 5, VIRTIO_NET_F_HOST_USO }, { 0x81, VIRTIO_NET_F_HOST_ECN } };
	struct virtio_net_hdr hdr;

	start(0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		hdr = segments(rows[i].type);
		again(ALL_GIVES & ~rows[i].feature);
		CHECK(!goes(&hdr, NULL));
		CHECK(goes(NULL, NULL));
	}
	again(ALL_GIVES);
	for (unsigned type = 0; type < 256; type++) {
		bool known = (type & 0x7f) == 0 || (type & 0x7f) == 1 || (type & 0x7f) == 3 ||
			     (type & 0x7f) == 4 || (type & 0x7f) == 5;

		hdr = segments(type);
		CHECK_EQ(goes(&hdr, NULL), known);
	}
}

CASE(flags_that_mean_nothing_here_are_not_passed_on)
{
	struct virtio_net_hdr hdr = { .flags = 0xfe, .csum_start = le16_put(9) }, out;

	start(ALL_GIVES);
	CHECK(goes(&hdr, &out));
	CHECK_EQ(out.flags, 0);
	CHECK_EQ(le16_get(out.csum_start), 0);
}

CASE(a_checksum_outside_of_the_frame)
{
	struct virtio_net_hdr hdr = segments(0);

	start(ALL_GIVES);
	hdr.csum_start = le16_put(2999);
	CHECK(!goes(&hdr, NULL));
	hdr.csum_start = hdr.csum_offset = le16_put(0xffff);
	CHECK(!goes(&hdr, NULL));
}

static void sends(const struct buffer *buffers, unsigned n)
{
	uint32_t id, used;

	driver_add(&nic.front.rings[TX], buffers, n);
	front_kick(&nic.front, TX);
	CHECK(driver_used(&nic.front.rings[TX], &id, &used));
	CHECK_EQ(used, 0);
}

CASE(frames_that_are_none)
{
	uint64_t at, nowhere = 1ull << 40;

	start(0);
	at = front_addr(SEND_AT);
	sends(&(struct buffer){ at, 5, false }, 1);
	sends(&(struct buffer){ at, HEADER, false }, 1);
	sends(&(struct buffer){ at, HEADER + 13, false }, 1);
	sends(&(struct buffer){ at, 100, true }, 1);
	sends(&(struct buffer){ nowhere, 100, false }, 1);
	sends((struct buffer[]){ { at, 100, false }, { nowhere, 100, false } }, 2);
	sends(&(struct buffer){ at, HEADER + 22 + 65536, false }, 1);
	CHECK_EQ(nic_errors(TX), 7);
	CHECK_EQ(fake_tap_sent(tap, NULL, NULL, NULL, 0), -EAGAIN);
	CHECK(!rig_device(0)->queues[TX].broken);
	sends(&(struct buffer){ at, HEADER + 14, false }, 1);
	CHECK_EQ(fake_tap_sent(tap, NULL, NULL, NULL, 0), 14);
	sends(&(struct buffer){ at, HEADER + 22 + 65535, false }, 1);
	CHECK_EQ(fake_tap_sent(tap, NULL, NULL, NULL, 0), 22 + 65535);
}

/* The header is a copy, and the frame is cut as the driver likes. */
CASE(a_frame_in_many_pieces)
{
	struct buffer pieces[12];
	uint64_t at;

	start(0);
	at = front_addr(SEND_AT);
	memset(front_data(&nic.front, SEND_AT), 0, HEADER);
	memcpy(front_data(&nic.front, SEND_AT + HEADER), nic_frame(BROADCAST, OUR_MAC, 5, 988),
		988);
	for (unsigned i = 0; i < 12; i++) {
		pieces[i] = (struct buffer){ at, i < 11 ? 5u : 945u, false };
		at += pieces[i].len;
	}
	sends(pieces, 12);
	CHECK_EQ(fake_tap_sent(tap, NULL, NULL, got, sizeof(got)), 988);
	CHECK_BYTES(got, nic_frame(BROADCAST, OUR_MAC, 5, 988), 988);
}

CASE(a_tap_that_takes_nothing_costs_the_frame)
{
	start(0);
	fake.fail_mask = 1ull << FAKE_TAP_SEND;
	fake.fail_one_in = 1;
	for (unsigned i = 0; i < 50; i++)
		nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, i, 60), 60);
	CHECK_EQ(nic_errors(TX), 50);
	CHECK_EQ(fake.calls[FAKE_TAP_SEND], 50);
	fake.fail_mask = 0;
	nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, 0, 60), 60);
	CHECK_EQ(nic_errors(TX), 50);
}
