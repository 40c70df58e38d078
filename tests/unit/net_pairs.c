/* src/dev/net.c and net_tap.c: what a tap is told, and its pairs of queues. */
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

CASE(the_tap_is_told_what_the_guest_takes)
{
	start(ALL_TAKES);
	CHECK_EQ(tap->offloads, PORT_TAP_ALL);
	front_hang_up(&nic.front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(tap->offloads, 0);
	connect(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO6);
	CHECK_EQ(tap->offloads, PORT_TAP_CSUM | PORT_TAP_TSO6);
}

CASE(a_tap_that_refuses_offloads)
{
	fake_reset(1);
	tap = fake_tap_new("t0");
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0"), FAKE_IDLE);
	fake.fail_mask = 1ull << FAKE_TAP_OFFLOAD | 1ull << FAKE_TAP_ATTACH;
	fake.fail_one_in = 1;
	connect(ALL_TAKES);
	CHECK(fake_log_has("net: t0: cannot set its offloads: "));
}

CASE(offloads_that_the_kernel_lacks_are_not_offered)
{
	uint64_t features;

	fake_reset(1);
	fake_tap_new("t0")->has = PORT_TAP_CSUM | PORT_TAP_TSO4;
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0"), FAKE_IDLE);
	front_connect(&nic.front, "/s");
	features = front_get(&nic.front, VHOST_USER_GET_FEATURES);
	CHECK_EQ(features & ALL_TAKES, VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4);
	CHECK_EQ(features & ALL_GIVES, VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4);
}

/* With two pairs: its memory is a table (QEMU, see vhost.c). */
static void connect_pairs(void)
{
	struct vhost_user_mem_table t = { 1, 0, { { FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0 } } };
	struct front *f = &nic.front;

	front_connect(f, "/s");
	front_negotiate(f, VIRTIO_NET_F_MQ | VIRTIO_F_VERSION_1);
	f->mem_fd = fake_memory_new(FRONT_BYTES);
	f->mem = fake_memory(f->mem_fd);
	CHECK_EQ(front_ack(f, VHOST_USER_SET_MEM_TABLE, &t, 8 + 32, f->mem_fd), 0);
	for (unsigned i = 0; i < 4; i++) {
		front_ring(f, i, 16);
		CHECK_EQ(front_ack_state(f, VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
	}
}

CASE(pairs_of_queues_come_and_go)
{
	unsigned queue;

	fake_reset(1);
	tap = fake_tap_new("t0");
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0 --num-queues=2"), FAKE_IDLE);
	CHECK_EQ(tap->queues, 2);
	CHECK_EQ(tap->attached, 1);
	connect_pairs();
	CHECK_EQ(tap->attached, 3);
	nic_offer_to(&nic, 0, 4);
	nic_offer_to(&nic, 2, 4);
	fake_tap_frame(tap, 0, NULL, nic_frame(BROADCAST, OUR_MAC, 1, 60), 60);
	fake_tap_frame(tap, 1, NULL, nic_frame(BROADCAST, OUR_MAC, 2, 70), 70);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(nic_take_from(&nic, 0, NULL, got), 60);
	CHECK_EQ(nic_take_from(&nic, 2, NULL, got), 70);
	memset(front_data(&nic.front, SEND_AT), 0, 100);
	driver_add(&nic.front.rings[3], &(struct buffer){ front_addr(SEND_AT), HEADER + 60, false },
		1);
	front_kick(&nic.front, 3);
	CHECK_EQ(fake_tap_sent(tap, &queue, NULL, got, sizeof(got)), 60);
	CHECK_EQ(queue, 1);
	CHECK_EQ(front_ack_state(&nic.front, VHOST_USER_SET_VRING_ENABLE, 2, 0), 0);
	CHECK_EQ(tap->attached, 1);
	CHECK_EQ(front_ack_state(&nic.front, VHOST_USER_SET_VRING_ENABLE, 2, 1), 0);
	CHECK_EQ(tap->attached, 3);
	front_hang_up(&nic.front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(tap->attached, 1);
}

CASE(a_queue_that_cannot_be_attached)
{
	fake_reset(1);
	tap = fake_tap_new("t0");
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0 --num-queues=2"), FAKE_IDLE);
	fake.fail_mask = 1ull << FAKE_TAP_OFFLOAD | 1ull << FAKE_TAP_ATTACH;
	fake.fail_one_in = 1;
	connect_pairs();
	CHECK(fake_log_has("net: t0: cannot "));
	nic_offer_to(&nic, 0, 4);
	fake_tap_frame(tap, 0, NULL, nic_frame(BROADCAST, OUR_MAC, 1, 60), 60);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(nic_take_from(&nic, 0, NULL, got), 60);
}
