/* src/dev/net_tap.c: frames from a tap. */
#include <errno.h>

#include "nic.h"

enum { SHARED_MAX = CONFIG_REQUESTS_MAX - CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX };
enum { LONG = 60000 };

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

/* Another driver, with other features. */
static void again(uint64_t features)
{
	front_hang_up(&nic.front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	connect(features);
}

static void arrives(unsigned number, uint32_t len)
{
	fake_tap_frame(tap, 0, NULL, nic_frame(BROADCAST, OUR_MAC, number, len), len);
}

static void run(void)
{
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

static void expect(unsigned number, uint32_t len)
{
	CHECK_EQ(nic_take(&nic, NULL, got), len);
	CHECK_BYTES(got, nic_frame(BROADCAST, OUR_MAC, number, len), len);
}

static void expect_nothing(void)
{
	CHECK_EQ(nic_take(&nic, NULL, got), -1);
}

/* ---- for the guest ---- */

CASE(frames_come_in)
{
	struct virtio_net_hdr hdr;

	start(0);
	nic_offer(&nic, 16);
	for (unsigned i = 0; i < 16; i++)
		arrives(i, 14 + i * 100);
	run();
	CHECK(fake_notify_take(nic.front.call[RX]) > 0);
	for (unsigned i = 0; i < 15; i++)
		expect(i, 14 + i * 100);
	CHECK_EQ(nic_take(&nic, &hdr, got), 14 + 15 * 100);
	CHECK_EQ(hdr.flags | hdr.gso_type, 0);
	CHECK_EQ(le16_get(hdr.num_buffers), 1);
	expect_nothing();
}

CASE(frames_wait_for_buffers)
{
	unsigned reads;

	start(0);
	for (unsigned i = 0; i < 10; i++)
		arrives(i, 100);
	run();
	reads = fake.calls[FAKE_TAP_RECV];
	CHECK(reads <= 2);
	expect_nothing();
	for (unsigned i = 0; i < 10; i++) {
		nic_offer(&nic, 1);
		expect(i, 100);
		expect_nothing();
	}
	nic_offer(&nic, 2);
	expect_nothing();
	CHECK_EQ(nic_errors(RX), 0);
	arrives(77, 100);
	run();
	expect(77, 100);
}

CASE(a_queue_that_is_disabled_gets_nothing)
{
	start(0);
	nic_offer(&nic, 4);
	CHECK_EQ(front_ack_state(&nic.front, VHOST_USER_SET_VRING_ENABLE, RX, 0), 0);
	arrives(1, 100);
	arrives(2, 100);
	run();
	expect_nothing();
	CHECK_EQ(front_ack_state(&nic.front, VHOST_USER_SET_VRING_ENABLE, RX, 1), 0);
	run();
	expect(1, 100);
	expect(2, 100);
}

CASE(a_frame_over_many_buffers)
{
	struct virtio_net_hdr hdr;

	start(VIRTIO_NET_F_MRG_RXBUF);
	nic.buffer = 200;
	nic_offer(&nic, 7);
	arrives(1, 1500);
	run();
	expect_nothing();
	nic_offer(&nic, 1);
	CHECK_EQ(nic_take(&nic, &hdr, got), 1500);
	CHECK_BYTES(got, nic_frame(BROADCAST, OUR_MAC, 1, 1500), 1500);
	CHECK_EQ(le16_get(hdr.num_buffers), 8);
}

CASE(a_frame_that_is_too_long_is_dropped)
{
	start(0);
	nic.buffer = 200;
	nic_offer(&nic, 8);
	arrives(1, 189);
	arrives(2, 188);
	arrives(3, 1500);
	arrives(4, 60);
	run();
	expect(2, 188);
	expect(4, 60);
	CHECK_EQ(nic_errors(RX), 2);
}

/* … and so is one that a whole ring of buffers cannot take. */
CASE(a_frame_that_is_longer_than_the_ring_is_dropped)
{
	start(VIRTIO_NET_F_MRG_RXBUF);
	nic.buffer = 64;
	nic_offer(&nic, 16);
	arrives(1, 64 * 16);
	arrives(2, 60);
	run();
	expect(2, 60);
	CHECK_EQ(nic_errors(RX), 1);
}

/* Longer than any frame: nobody knows what was cut off. */
CASE(a_frame_that_was_cut_is_dropped)
{
	start(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES);
	nic_offer(&nic, 16);
	for (unsigned i = 0; i < 4; i++) {
		arrives(i, 22 + 65535 + 100);
		arrives(i, 22 + 65535);
	}
	run();
	for (unsigned i = 0; i < 4; i++)
		expect(i, 22 + 65535);
	expect_nothing();
	CHECK_EQ(nic_errors(RX), 4);
}

/* Large frames are read into the guest's buffers. */
static void large_frames(uint64_t features, uint32_t buffer, unsigned rounds)
{
	start(features);
	nic.buffer = buffer;
	for (unsigned i = 0; i < rounds; i++) {
		arrives(2 * i, LONG);
		arrives(2 * i + 1, 100);
		run();
		for (unsigned k = 0; k < 20; k++)
			nic_offer(&nic, (unsigned)(16 - (uint16_t)(nic.front.rings[RX].avail_idx -
								   nic.front.rings[RX].used_seen)));
		expect(2 * i, LONG);
		nic_offer(&nic, (unsigned)(16 - (uint16_t)(nic.front.rings[RX].avail_idx -
							   nic.front.rings[RX].used_seen)));
		expect(2 * i + 1, 100);
	}
	CHECK_EQ(nic_errors(RX), 0);
}

CASE(large_frames_over_many_buffers)
{
	large_frames(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES, 0x1300, 30);
}

CASE(large_frames_that_fill_their_buffers)
{
	large_frames(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES, (HEADER + LONG) / 6, 30);
}

CASE(large_frames_over_few_buffers)
{
	large_frames(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES, SLOT, 30);
}

CASE(large_frames_wait_for_buffers)
{
	start(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES);
	for (unsigned i = 0; i < 8; i++)
		arrives(i, LONG);
	run();
	for (unsigned i = 0; i < 8; i++) {
		nic_offer(&nic, 1);
		expect_nothing();
		nic_offer(&nic, 1);
		expect(i, LONG);
	}
}

/* A hole in what the driver gave: its queue breaks, and nothing is written anywhere. */
CASE(buffers_that_are_nowhere)
{
	start(0);
	for (unsigned large = 0; large < 2; large++) {
		again(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES);
		nic_offer(&nic, 3);
		if (large) {
			arrives(1, LONG);
			run();
			expect(1, LONG);
			nic_offer(&nic, 2);
		}
		driver_add(&nic.front.rings[RX], &(struct buffer){ 1ull << 40, 0x10000, true }, 1);
		front_kick(&nic.front, RX);
		for (unsigned i = 0; i < 3; i++)
			arrives(i, LONG);
		run();
		CHECK(rig_device(0)->queues[RX].broken);
		nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, 0, 60), 60);
	}
}

CASE(buffers_that_are_too_small)
{
	static const uint32_t sizes[] = { 2, 5, 11 };

	start(0);
	for (unsigned i = 0; i < 3; i++) {
		again(VIRTIO_NET_F_MRG_RXBUF);
		nic.buffer = sizes[i];
		nic_offer(&nic, 16);
		arrives(1, 14);
		run();
		CHECK(rig_device(0)->queues[RX].broken);
	}
	again(VIRTIO_NET_F_MRG_RXBUF);
	nic.buffer = HEADER;
	nic_offer(&nic, 1);
	nic.buffer = 0;
	nic_offer(&nic, 1);
	arrives(1, 60);
	run();
	CHECK_EQ(driver_used_count(&nic.front.rings[RX]), 2);
}

/* Buffers that cannot be written: they come back, and the device goes on. */
CASE(readable_buffers_to_receive_into)
{
	start(VIRTIO_NET_F_MRG_RXBUF);
	for (unsigned i = 0; i < 4; i++)
		driver_add(&nic.front.rings[RX],
			&(struct buffer){ front_addr(RECEIVE_AT), 2000, false }, 1);
	nic_offer(&nic, 2);
	arrives(1, 60);
	run();
	CHECK(rig_device(0)->queues[RX].broken);
	nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, 0, 60), 60);
}

/* The header's flags are for a driver that knows them (5.1.6.4.1). */
CASE(what_the_guest_does_not_take_does_not_come)
{
	struct virtio_net_hdr hdr = { .flags = VIRTIO_NET_HDR_F_DATA_VALID }, was;

	start(VIRTIO_NET_F_MRG_RXBUF);
	nic_offer(&nic, 8);
	fake_tap_frame(tap, 0, &hdr, nic_frame(BROADCAST, OUR_MAC, 1, 60), 60);
	hdr = segments(1);
	/* It was in the tap's queue before the driver came. */
	fake_tap_frame(tap, 0, &hdr, nic_frame(BROADCAST, OUR_MAC, 2, 2000), 2000);
	hdr = segments(0);
	fake_tap_frame(tap, 0, &hdr, nic_frame(BROADCAST, OUR_MAC, 3, 2000), 2000);
	run();
	CHECK_EQ(nic_take(&nic, &was, got), 60);
	CHECK_EQ(was.flags | was.gso_type, 0);
	expect_nothing();
	CHECK_EQ(nic_errors(RX), 2);
}

CASE(what_the_guest_takes_comes_as_it_is)
{
	static const uint8_t types[] = { 0, 1, 3, 4, 5, 0x81, 0x84 };
	struct virtio_net_hdr hdr, was;

	start(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES);
	for (size_t i = 0; i < sizeof(types); i++) {
		uint32_t len = i % 2 ? LONG : 2000;

		nic_offer(&nic, 3);
		hdr = segments(types[i]);
		fake_tap_frame(tap, 0, &hdr, nic_frame(BROADCAST, OUR_MAC, 2, len), len);
		run();
		CHECK_EQ(nic_take(&nic, &was, got), len);
		hdr.num_buffers = was.num_buffers;
		if (types[i] == 0)
			hdr.hdr_len = hdr.gso_size = le16_put(0);
		CHECK_BYTES(&was, &hdr, HEADER);
		while (driver_used_count(&nic.front.rings[RX]) > 0)
			(void)nic_take(&nic, NULL, got);
	}
	hdr = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	nic_offer(&nic, 1);
	fake_tap_frame(tap, 0, &hdr, nic_frame(BROADCAST, OUR_MAC, 2, 60), 60);
	run();
	CHECK_EQ(nic_take(&nic, &was, got), 60);
	CHECK_EQ(was.flags, VIRTIO_NET_HDR_F_DATA_VALID);
}

/* A frame that came before the driver did, with its offloads, after one that took large ones. */
CASE(large_frames_of_an_earlier_driver)
{
	struct virtio_net_hdr hdr = segments(1);

	start(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES);
	nic_offer(&nic, 4);
	arrives(1, LONG);
	run();
	expect(1, LONG);
	front_hang_up(&nic.front);
	run();
	for (unsigned i = 0; i < 3; i++)
		fake_tap_frame(tap, 0, &hdr, nic_frame(BROADCAST, OUR_MAC, 2, LONG), LONG);
	arrives(3, 60);
	connect(VIRTIO_NET_F_MRG_RXBUF);
	nic_offer(&nic, 8);
	run();
	expect(3, 60);
	CHECK_EQ(nic_errors(RX), 3);
}

/* ---- what goes wrong ---- */

/* Three requests at once, of which two are not the queue's own, and come back. */
static void disk_works(struct front *disk)
{
	uint32_t id, len;

	for (unsigned i = 0; i < 3; i++)
		driver_add(&disk->rings[0],
			(struct buffer[]){
				{ front_addr(0), 16, false }, { front_addr(0x100), 1, true } },
			2);
	front_kick(disk, 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK(driver_used(&disk->rings[0], &id, &len));
}

/* Others have all requests: the queue waits for those, not for the next frame. */
static void lacks_requests(bool large)
{
	static struct request *others[SHARED_MAX];
	static struct front disk;
	unsigned n = 0;

	fake_reset(1);
	tap = fake_tap_new("t0");
	fake_image_new("/img", 1 << 20);
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0 -- blk -s /b --blk-file=/img"), FAKE_IDLE);
	connect(VIRTIO_NET_F_MRG_RXBUF | ALL_TAKES);
	front_start(&disk, "/b", 1, 0);
	if (large) {
		nic_offer(&nic, 4);
		arrives(1, LONG);
		run();
		expect(1, LONG);
	}
	nic_offer(&nic, 4);
	while (n < SHARED_MAX && (others[n] = request_get(1)))
		n++;
	arrives(2, LONG);
	fake.end_ns = fake.now_ns + 1000000;
	CHECK(rig_run() != FAKE_EXITED);
	fake.end_ns = 0;
	expect_nothing();
	(void)request_put(others[0], 1);
	(void)request_put(others[1], 1);
	disk_works(&disk);
	run();
	expect(2, LONG);
}

CASE(a_queue_that_lacks_requests_waits_for_those_of_others)
{
	lacks_requests(false);
}

CASE(a_queue_that_lacks_requests_for_large_frames)
{
	lacks_requests(true);
}

CASE(a_tap_that_cannot_be_read)
{
	start(0);
	nic_offer(&nic, 4);
	fake.fail_mask = 1ull << FAKE_TAP_RECV;
	fake.fail_one_in = 1;
	fake.fail_error = -EBADFD;
	arrives(1, 100);
	run();
	CHECK(fake_log_has("net: t0: cannot read: "));
	CHECK(fake.calls[FAKE_TAP_RECV] < 5);
	fake.fail_mask = 0;
	arrives(2, 100);
	run();
	expect(1, 100);
	expect(2, 100);
}

CASE(frames_wait_for_the_next_front_end)
{
	start(0);
	arrives(1, 100);
	arrives(2, 100);
	run();
	front_hang_up(&nic.front);
	run();
	arrives(3, 100);
	run();
	connect(0);
	nic_offer(&nic, 4);
	for (unsigned i = 1; i <= 3; i++)
		expect(i, 100);
}

CASE(many_frames_leave_others_their_turn)
{
	start(0);
	nic_offer(&nic, 16);
	for (unsigned i = 0; i < 300; i++)
		arrives(i, 60);
	for (unsigned i = 0; i < 300; i += 16) {
		run();
		for (unsigned k = i; k < i + 16 && k < 300; k++)
			expect(k, 60);
		nic_offer(&nic, 16);
	}
	expect_nothing();
}
