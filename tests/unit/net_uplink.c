/* src/dev/net_bridge.c and net_tap.c: a bridge with a tap to the host. */
#include <errno.h>

#include "nic.h"

#define OTHER_MAC "\x52\x54\0\0\0\x02"
#define HOST_MAC  "\x52\x54\0\0\0\x77"
#define FEATURES                                                                 \
	((ALL_GIVES | ALL_TAKES | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_VERSION_1) & \
		~(VIRTIO_NET_F_HOST_UFO | VIRTIO_NET_F_GUEST_UFO))

static struct nic nic, other;
static struct fake_tap *tap;
static uint8_t got[1 << 17];

static void start(uint32_t without)
{
	fake_reset(1);
	tap = fake_tap_new("t0");
	tap->has &= ~without;
	CHECK_EQ(rig_main("vubox net -s /s --bridge=b --tap=t0 --mac=52:54:00:00:00:01 -- "
			  "net -s /o --bridge=b --mac=52:54:00:00:00:02"),
		FAKE_IDLE);
	front_start(&nic.front, "/s", 3, FEATURES);
	front_start(&other.front, "/o", 3, FEATURES);
	nic_offer(&nic, 8);
	nic_offer(&other, 8);
}

static void from_host(const char *to, unsigned number, uint32_t len)
{
	fake_tap_frame(tap, 0, NULL, nic_frame(to, HOST_MAC, number, len), len);
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

static void host_gets(const char *to, const char *from, unsigned number, uint32_t len)
{
	struct virtio_net_hdr hdr;

	CHECK_EQ(fake_tap_sent(tap, NULL, &hdr, got, sizeof(got)), len);
	CHECK_BYTES(got, nic_frame(to, from, number, len), len);
	CHECK_EQ(hdr.flags | hdr.gso_type, 0);
}

static void host_gets_nothing(void)
{
	CHECK_EQ(fake_tap_sent(tap, NULL, NULL, got, sizeof(got)), -EAGAIN);
}

CASE(frames_to_the_host_and_back)
{
	start(0);
	nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, 1, 100), 100);
	host_gets(BROADCAST, OUR_MAC, 1, 100);
	CHECK_EQ(nic_take(&other, NULL, got), 100);
	from_host(BROADCAST, 2, 1500);
	CHECK_EQ(nic_take(&nic, NULL, got), 1500);
	CHECK_BYTES(got, nic_frame(BROADCAST, HOST_MAC, 2, 1500), 1500);
	CHECK_EQ(nic_take(&other, NULL, got), 1500);
	CHECK_BYTES(got, nic_frame(BROADCAST, HOST_MAC, 2, 1500), 1500);
	host_gets_nothing();
}

CASE(each_frame_goes_where_its_address_is)
{
	start(0);
	from_host(BROADCAST, 1, 60);
	nic_send(&other, NULL, nic_frame(BROADCAST, OTHER_MAC, 2, 60), 60);
	CHECK_EQ(nic_take(&nic, NULL, got), 60);
	CHECK_EQ(nic_take(&nic, NULL, got), 60);
	CHECK_EQ(nic_take(&other, NULL, got), 60);
	host_gets(BROADCAST, OTHER_MAC, 2, 60);
	/* To the host alone, to the other guest alone, and from the host to that one alone. */
	nic_send(&nic, NULL, nic_frame(HOST_MAC, OUR_MAC, 3, 200), 200);
	host_gets(HOST_MAC, OUR_MAC, 3, 200);
	CHECK_EQ(nic_take(&other, NULL, got), -1);
	nic_send(&nic, NULL, nic_frame(OTHER_MAC, OUR_MAC, 4, 200), 200);
	CHECK_EQ(nic_take(&other, NULL, got), 200);
	host_gets_nothing();
	from_host(OTHER_MAC, 5, 300);
	CHECK_EQ(nic_take(&other, NULL, got), 300);
	CHECK_EQ(nic_take(&nic, NULL, got), -1);
}

/* IPv4 and TCP, and 3,000 bytes. */
static const uint8_t *segmented(void)
{
	uint8_t *frame = (uint8_t *)(uintptr_t)nic_frame(BROADCAST, OUR_MAC, 1, 3054);
	static const uint8_t headers[] = { 0x08, 0, 0x45, 0, 0x0b, 0xe0, 0, 1, 0, 0, 64, 6, 0, 0,
		10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0,
		0, 0, 0 };

	memcpy(frame + 12, headers, sizeof(headers));
	return frame;
}

CASE(segments_for_a_tap_that_makes_them)
{
	struct virtio_net_hdr hdr = segments(VIRTIO_NET_HDR_GSO_TCPV4), seen;

	start(0);
	nic_send(&nic, &hdr, segmented(), 3054);
	CHECK_EQ(fake_tap_sent(tap, NULL, &seen, got, sizeof(got)), 3054);
	CHECK_EQ(seen.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	CHECK_BYTES(got, segmented(), 3054);
}

CASE(segments_for_a_tap_that_cannot)
{
	struct virtio_net_hdr hdr = segments(VIRTIO_NET_HDR_GSO_TCPV4), seen;

	start(PORT_TAP_TSO4);
	nic_send(&nic, &hdr, segmented(), 3054);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(fake_tap_sent(tap, NULL, &seen, got, sizeof(got)), 1054);
		CHECK_EQ(seen.flags | seen.gso_type, 0);
		CHECK_BYTES(got + 54, segmented() + 54 + i * 1000, 1000);
	}
	host_gets_nothing();
	/* The other guest takes it whole. */
	CHECK_EQ(nic_take(&other, &seen, got), 3054);
	CHECK_EQ(seen.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
}

CASE(a_checksum_is_completed_once)
{
	struct virtio_net_hdr hdr = segments(VIRTIO_NET_HDR_GSO_NONE), seen;
	static uint8_t guest[4096];

	start(0);
	front_hang_up(&other.front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	front_start(&other.front, "/o", 3, FEATURES & ~ALL_TAKES);
	nic_offer(&other, 8);
	hdr.gso_size = hdr.hdr_len = le16_put(0);
	nic_send(&nic, &hdr, segmented(), 1000);
	CHECK_EQ(nic_take(&other, &seen, guest), 1000);
	CHECK(seen.flags == 0 && memcmp(guest + 50, segmented() + 50, 2) != 0);
	CHECK_EQ(fake_tap_sent(tap, NULL, &seen, got, sizeof(got)), 1000);
	CHECK_EQ(seen.flags, 0);
	CHECK_BYTES(got, guest, 1000);
}

CASE(a_flood_from_the_host_costs_frames_alone)
{
	start(0);
	for (unsigned i = 0; i < 60; i++)
		fake_tap_frame(tap, 0, NULL, nic_frame(OUR_MAC, HOST_MAC, i, 100), 100);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_tap_waiting(tap, 0), 0);
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(nic_take(&nic, NULL, got), 100);
	CHECK_EQ(nic_take(&nic, NULL, got), -1);
	CHECK(nic_errors(RX) > 0);
	nic_offer(&nic, 1);
	from_host(OUR_MAC, 1, 70);
	CHECK_EQ(nic_take(&nic, NULL, got), 70);
}

CASE(nobody_is_there)
{
	start(0);
	front_hang_up(&nic.front);
	front_hang_up(&other.front);
	from_host(BROADCAST, 1, 70);
	CHECK_EQ(fake_tap_waiting(tap, 0), 0);
	/* The tap stays, though the guest of its line in the configuration has gone. */
	front_start(&other.front, "/o", 3, FEATURES);
	nic_send(&other, NULL, nic_frame(BROADCAST, OTHER_MAC, 2, 60), 60);
	host_gets(BROADCAST, OTHER_MAC, 2, 60);
}

CASE(frames_that_are_none)
{
	start(0);
	from_host(BROADCAST, 1, 13);
	fake_tap_frame(tap, 0, NULL, nic_frame(BROADCAST, HOST_MAC, 2, 65558), 65558);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(nic_take(&nic, NULL, got), -1);
	from_host(BROADCAST, 3, 14);
	CHECK_EQ(nic_take(&nic, NULL, got), 14);
}

CASE(a_tap_that_is_deleted)
{
	start(0);
	fake.fail_mask = 1ull << FAKE_TAP_RECV;
	fake.fail_one_in = 1;
	fake.fail_error = -EBADFD;
	from_host(BROADCAST, 1, 100);
	CHECK(fake_log_has("net: t0: cannot read, and does not try again: "));
	CHECK_EQ(fake.calls[FAKE_TAP_RECV], 1);
	fake.fail_mask = 0;
	nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, 1, 100), 100);
	CHECK_EQ(nic_take(&other, NULL, got), 100);
}

CASE(it_is_one_queue)
{
	fake_reset(1);
	tap = fake_tap_new("t0");
	CHECK_EQ(rig_main("vubox net -s /s --bridge=b --tap=t0 --num-queues=2"), FAKE_IDLE);
	CHECK_EQ(tap->queues, 1);
}
