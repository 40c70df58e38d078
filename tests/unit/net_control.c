/* src/dev/net_control.c: what the driver asks for, and what it gets then. */
#include "nic.h"

enum { OK = VIRTIO_NET_OK, ERR = VIRTIO_NET_ERR };

#define CONTROL                                                                     \
	(VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_RX_EXTRA | \
		VIRTIO_NET_F_CTRL_VLAN | VIRTIO_NET_F_CTRL_MAC_ADDR |               \
		VIRTIO_NET_F_GUEST_ANNOUNCE | VIRTIO_NET_F_CTRL_GUEST_OFFLOADS |    \
		VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4)

#define FRIEND  "\x52\x54\0\0\0\x02"
#define GROUP   "\x33\x33\0\0\0\x05"
#define GROUP_2 "\x33\x33\0\0\0\x06"

static struct nic nic;
static struct fake_tap *tap;

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

/* Whether a frame to this address comes; vlan -1: it has none. */
static bool comes(const char *to, int vlan)
{
	static uint8_t frame[60];
	int len;

	memcpy(frame, nic_frame(to, FRIEND, 1, sizeof(frame)), sizeof(frame));
	if (vlan >= 0) {
		frame[12] = 0x81;
		frame[13] = 0;
		frame[14] = (uint8_t)(0xa0 | vlan >> 8); /* with a priority */
		frame[15] = (uint8_t)vlan;
	}
	if (driver_used_idx(&nic.front.rings[RX]) == nic.front.rings[RX].avail_idx)
		nic_offer(&nic, 1);
	fake_tap_frame(tap, 0, NULL, frame, sizeof(frame));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_tap_waiting(tap, 0), 0);
	len = nic_take(&nic, NULL, NULL);
	CHECK(len == -1 || len == sizeof(frame));
	return len > 0;
}

static int rx(unsigned command, uint8_t on)
{
	return nic_command(&nic, VIRTIO_NET_CTRL_RX, command, &on, 1);
}

/* The two tables: n addresses each, the first of which is this one. */
static int tables(const char *unicast, unsigned n, const char *multicast, unsigned m)
{
	uint8_t bytes[1000] = { 0 };
	uint32_t at = 0;

	for (unsigned table = 0; table < 2; table++) {
		unsigned count = table ? m : n;

		memcpy(bytes + at, &(le32){ le32_put(count).wire }, sizeof(le32));
		at += 4;
		for (unsigned i = 0; i < count; i++, at += 6)
			memcpy(bytes + at,
				i       ? "\x52\x54\x77\0\0\0"
				: table ? multicast
					: unicast,
				6);
	}
	return nic_command(&nic, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, bytes, at);
}

static int vlan(unsigned command, uint16_t id)
{
	le16 wire = le16_put(id);

	return nic_command(&nic, VIRTIO_NET_CTRL_VLAN, command, &wire, sizeof(wire));
}

static int offloads(uint64_t takes)
{
	le64 wire = le64_put(takes);

	return nic_command(&nic, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &wire, sizeof(wire));
}

/* ---- filters ---- */

/* QEMU's vhost-user-net never sends a command: then all must come. */
CASE(without_commands_everything_comes)
{
	start(CONTROL);
	CHECK(comes(OUR_MAC, -1) && comes(FRIEND, -1) && comes(BROADCAST, -1) && comes(GROUP, -1));
	CHECK(comes(OUR_MAC, 0) && comes(OUR_MAC, 4095) && comes(FRIEND, 7));
}

CASE(its_own_address_and_broadcast_come_always)
{
	start(CONTROL);
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	CHECK(comes(OUR_MAC, -1) && comes(BROADCAST, -1));
	CHECK(!comes(FRIEND, -1) && !comes(GROUP, -1));
	CHECK_EQ(nic_errors(RX), 0);
}

CASE(modes_of_receiving)
{
	start(CONTROL);
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_ALLMULTI, 1), OK);
	CHECK(comes(GROUP, -1) && !comes(FRIEND, -1));
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_NOMULTI, 1), OK);
	CHECK(!comes(GROUP, -1));
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_ALLUNI, 1), OK);
	CHECK(comes(FRIEND, -1) && comes(OUR_MAC, -1));
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_NOUNI, 1), OK);
	CHECK(!comes(FRIEND, -1) && !comes(OUR_MAC, -1) && comes(BROADCAST, -1));
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_NOBCAST, 1), OK);
	CHECK(!comes(BROADCAST, -1));
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_PROMISC, 1), OK);
	CHECK(comes(BROADCAST, -1) && comes(FRIEND, -1) && comes(GROUP, -1));
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	CHECK(!comes(BROADCAST, -1));
}

CASE(tables_of_addresses)
{
	start(CONTROL);
	CHECK_EQ(tables(FRIEND, 1, GROUP, 1), OK);
	CHECK(comes(OUR_MAC, -1) && comes(FRIEND, -1) && comes(GROUP, -1) && comes(BROADCAST, -1));
	CHECK(!comes(GROUP_2, -1) && !comes("\x52\x54\0\0\0\x03", -1));
	CHECK_EQ(tables(FRIEND, 0, GROUP_2, 1), OK);
	CHECK(!comes(FRIEND, -1) && !comes(GROUP, -1) && comes(GROUP_2, -1));
	CHECK_EQ(tables(FRIEND, 64, GROUP, 0), OK);
	CHECK(comes(FRIEND, -1) && !comes("\x52\x54\0\0\0\x03", -1));
	/* More than are kept: all of that kind. */
	CHECK_EQ(tables(FRIEND, 65, GROUP, 1), OK);
	CHECK(comes("\x52\x54\0\0\0\x03", -1) && !comes(GROUP_2, -1));
	CHECK_EQ(tables(FRIEND, 1, GROUP, 70), OK);
	CHECK(!comes("\x52\x54\0\0\0\x03", -1) && comes(GROUP_2, -1));
}

CASE(a_table_that_lies_changes_nothing)
{
	static const uint32_t counts[] = { 3, 64, 0x10000, 0x2aaaaaab, 0x80000000, 0xffffffff };
	uint8_t bytes[4 + 6 + 4 + 6] = { 0 };

	start(CONTROL);
	CHECK_EQ(tables(FRIEND, 1, GROUP, 1), OK);
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		for (unsigned table = 0; table < 2; table++) {
			le32 one = le32_put(1), count = le32_put(counts[i]);

			memcpy(bytes, table ? &one : &count, 4);
			memcpy(bytes + 10, table ? &count : &one, 4);
			CHECK_EQ(nic_command(&nic, VIRTIO_NET_CTRL_MAC, 0, bytes, sizeof(bytes)),
				ERR);
		}
	CHECK(comes(FRIEND, -1) && comes(GROUP, -1) && !comes(GROUP_2, -1));
}

CASE(virtual_networks)
{
	start(CONTROL);
	CHECK_EQ(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 7), OK);
	CHECK_EQ(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 4095), OK);
	CHECK(comes(OUR_MAC, 7) && comes(OUR_MAC, 4095) && comes(OUR_MAC, -1));
	CHECK(!comes(OUR_MAC, 8) && !comes(OUR_MAC, 0) && !comes(BROADCAST, 39));
	CHECK_EQ(vlan(VIRTIO_NET_CTRL_VLAN_DEL, 7), OK);
	CHECK(!comes(OUR_MAC, 7) && comes(OUR_MAC, 4095));
	CHECK_EQ(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 4096), ERR);
	CHECK_EQ(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 0xffff), ERR);
	CHECK_EQ(vlan(2, 1), ERR);
	/* The address counts, too. */
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	CHECK(!comes(FRIEND, 4095) && comes(OUR_MAC, 4095));
}

/* Large frames go to the guest before they are looked at, but not past a filter. */
CASE(a_filter_stops_large_frames_too)
{
	static uint8_t got[1 << 16];

	start(CONTROL | VIRTIO_NET_F_MRG_RXBUF);
	nic_offer(&nic, 15);
	for (unsigned i = 0; i < 2; i++) {
		fake_tap_frame(tap, 0, NULL, nic_frame(FRIEND, FRIEND, i, 20000), 20000);
		CHECK_EQ(rig_run(), FAKE_IDLE);
		CHECK_EQ(nic_take(&nic, NULL, got), i == 0 ? 20000 : -1);
		CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	}
}

/* ---- the other classes ---- */

static void expect_mac(const char *mac)
{
	struct vhost_user_config c = { 0, 12, 0, { 0 } };

	CHECK_EQ(front_call(&nic.front, VHOST_USER_GET_CONFIG, &c, 24, 24, -1, NULL), 24);
	CHECK_BYTES(c.bytes, mac, 6);
}

CASE(the_address_can_be_set)
{
	start(CONTROL);
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	CHECK_EQ(nic_command(&nic, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, FRIEND, 6),
		OK);
	CHECK(comes(FRIEND, -1) && !comes(OUR_MAC, -1));
	expect_mac(FRIEND);
	CHECK_EQ(nic_command(&nic, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, GROUP, 6),
		ERR);
	expect_mac(FRIEND);
}

CASE(a_reset_forgets_it_all)
{
	start(CONTROL);
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_NOBCAST, 1), OK);
	CHECK_EQ(vlan(VIRTIO_NET_CTRL_VLAN_ADD, 7), OK);
	CHECK_EQ(nic_command(&nic, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, FRIEND, 6),
		OK);
	CHECK_EQ(offloads(0), OK);
	CHECK_EQ(tap->offloads, 0);
	again(CONTROL);
	expect_mac(OUR_MAC);
	CHECK(comes(BROADCAST, 8) && comes(GROUP, -1) && comes(FRIEND, 1));
	CHECK_EQ(tap->offloads, PORT_TAP_CSUM | PORT_TAP_TSO4);
}

CASE(offloads_are_turned_off_and_on)
{
	start(CONTROL);
	CHECK_EQ(tap->offloads, PORT_TAP_CSUM | PORT_TAP_TSO4);
	CHECK_EQ(offloads(VIRTIO_NET_F_GUEST_CSUM), OK);
	CHECK_EQ(tap->offloads, PORT_TAP_CSUM);
	CHECK_EQ(offloads(0), OK);
	CHECK_EQ(tap->offloads, 0);
	CHECK_EQ(offloads(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4), OK);
	CHECK_EQ(tap->offloads, PORT_TAP_CSUM | PORT_TAP_TSO4);
	/* Not negotiated, or none. */
	CHECK_EQ(offloads(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO6), ERR);
	CHECK_EQ(offloads(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_CSUM), ERR);
	CHECK_EQ(offloads(UINT64_MAX), ERR);
	CHECK_EQ(tap->offloads, PORT_TAP_CSUM | PORT_TAP_TSO4);
}

CASE(pairs_without_mq)
{
	le16 one = le16_put(1);

	start(CONTROL);
	CHECK_EQ(nic_command(&nic, VIRTIO_NET_CTRL_MQ, 0, &one, 2), ERR);
}

static unsigned status(void)
{
	struct vhost_user_config c = { 0, 12, 0, { 0 } };

	CHECK_EQ(front_call(&nic.front, VHOST_USER_GET_CONFIG, &c, 24, 24, -1, NULL), 24);
	return c.bytes[6];
}

CASE(an_announcement_is_acknowledged)
{
	start(CONTROL);
	CHECK_EQ(status(), VIRTIO_NET_S_LINK_UP);
	tap->up = false;
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(status(), 0);
	tap->up = true;
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	CHECK_EQ(nic_command(&nic, VIRTIO_NET_CTRL_ANNOUNCE, 1, "", 0), ERR);
	CHECK_EQ(status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	CHECK_EQ(nic_command(&nic, VIRTIO_NET_CTRL_ANNOUNCE, 0, "", 0), OK);
	CHECK_EQ(status(), VIRTIO_NET_S_LINK_UP);
}

/* ---- commands that are no good ---- */

static const struct command {
	uint64_t feature;
	uint32_t len;
	uint8_t bytes[24];
} commands[] = {
	{ VIRTIO_NET_F_CTRL_RX, 3, { 0, 0, 1 } },
	{ VIRTIO_NET_F_CTRL_RX, 3, { 0, 1, 1 } },
	{ VIRTIO_NET_F_CTRL_RX_EXTRA, 3, { 0, 2, 1 } },
	{ VIRTIO_NET_F_CTRL_RX_EXTRA, 3, { 0, 5, 1 } },
	{ VIRTIO_NET_F_CTRL_RX, 22,
		{ 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 3, 0, 0, 0, 0, 1 } },
	{ VIRTIO_NET_F_CTRL_RX, 10, { 1, 0 } },
	{ VIRTIO_NET_F_CTRL_MAC_ADDR, 8, { 1, 1, 2, 0, 0, 0, 0, 9 } },
	{ VIRTIO_NET_F_CTRL_VLAN, 4, { 2, 0, 1, 2 } },
	{ VIRTIO_NET_F_CTRL_VLAN, 4, { 2, 1, 1, 2 } },
	{ VIRTIO_NET_F_GUEST_ANNOUNCE, 2, { 3, 0 } },
	{ VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, 10, { 5, 0, 2 } },
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

CASE(each_command_cut_anywhere)
{
	start(CONTROL);
	for (unsigned i = 0; i < COMMANDS; i++) {
		for (uint32_t len = 0; len < commands[i].len; len++)
			CHECK_EQ(nic_command_bytes(&nic, commands[i].bytes, len), ERR);
		CHECK_EQ(nic_command_bytes(&nic, commands[i].bytes, commands[i].len), OK);
		/* More than it needs. */
		CHECK_EQ(nic_command_bytes(&nic, commands[i].bytes, commands[i].len + 2), OK);
	}
}

CASE(each_command_without_its_feature)
{
	start(0);
	for (unsigned i = 0; i < COMMANDS; i++) {
		again(CONTROL & ~commands[i].feature);
		CHECK_EQ(nic_command_bytes(&nic, commands[i].bytes, commands[i].len), ERR);
	}
	again(CONTROL & ~VIRTIO_NET_F_CTRL_RX_EXTRA);
	CHECK_EQ(rx(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
}

/* In as many buffers as it has bytes. */
CASE(each_command_in_pieces)
{
	uint8_t *at;
	uint32_t id, used;

	start(CONTROL);
	at = (uint8_t *)front_data(&nic.front, CTRL_AT);
	for (unsigned i = 0; i < COMMANDS; i++) {
		struct buffer b[16];
		unsigned n = 0;

		memcpy(at, commands[i].bytes, commands[i].len);
		for (uint32_t k = 0; k < commands[i].len; n++) {
			uint32_t part = n < 13 ? 1 : commands[i].len - k;

			b[n] = (struct buffer){ front_addr(CTRL_AT + k), part, false };
			k += part;
		}
		b[n++] = (struct buffer){ front_addr(ACK_AT), 1, true };
		*front_data(&nic.front, ACK_AT) = 7;
		driver_add(&nic.front.rings[CTRL], b, n);
		front_kick(&nic.front, CTRL);
		CHECK(driver_used(&nic.front.rings[CTRL], &id, &used));
		CHECK_EQ(used, 1);
		CHECK_EQ(*front_data(&nic.front, ACK_AT), OK);
	}
}

CASE(classes_and_commands_that_there_are_not)
{
	start(CONTROL);
	for (unsigned class = 0; class < 256; class ++)
		for (unsigned command = 0; command < 256; command += class < 8 ? 1 : 51) {
			uint8_t bytes[24] = { (uint8_t) class, (uint8_t)command };
			bool known = (class == 0 && command < 6) || (class == 1 && command < 2) ||
				     (class == 2 && command < 2) || (class == 3 && command == 0) ||
				     (class == 5 && command == 0);

			CHECK_EQ(nic_command_bytes(&nic, bytes, sizeof(bytes)), known ? OK : ERR);
		}
}

/* Its answer has no place, or a place that is nowhere. */
CASE(commands_that_cannot_be_answered)
{
	struct buffer in, out[] = { { 0, 1, false }, { 1ull << 40, 1, true } };

	start(0);
	for (unsigned i = 0; i < 2; i++) {
		again(CONTROL);
		in = (struct buffer){ front_addr(CTRL_AT), 2, false };
		out[0].addr = front_addr(ACK_AT);
		driver_add(&nic.front.rings[CTRL], (struct buffer[]){ in, out[i] }, 2);
		front_kick(&nic.front, CTRL);
		CHECK(rig_device(0)->queues[CTRL].broken);
		CHECK(comes(OUR_MAC, -1));
	}
}

CASE(commands_that_are_nowhere)
{
	uint32_t id, used;

	start(CONTROL);
	driver_add(&nic.front.rings[CTRL],
		(struct buffer[]){ { 1ull << 40, 8, false }, { front_addr(ACK_AT), 1, true } }, 2);
	front_kick(&nic.front, CTRL);
	CHECK(driver_used(&nic.front.rings[CTRL], &id, &used));
	CHECK_EQ(*front_data(&nic.front, ACK_AT), ERR);
	CHECK(!rig_device(0)->queues[CTRL].broken);
}

CASE(any_commands)
{
	uint8_t bytes[600] = { 0 };

	start(CONTROL | VIRTIO_NET_F_MRG_RXBUF);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t len = fake_random(fake_random(8) ? 30 : sizeof(bytes));

		for (uint32_t k = 0; k < len; k++)
			bytes[k] = (uint8_t)fake_random(fake_random(2) ? 256 : 3);
		bytes[0] %= fake_random(8) ? 6 : 255;
		bytes[1] %= fake_random(8) ? 6 : 255;
		CHECK(nic_command_bytes(&nic, bytes, len) >= 0);
		if (i % 16 == 0)
			(void)comes(fake_random(2) ? OUR_MAC : GROUP, (int)fake_random(4097) - 1);
	}
	again(CONTROL);
	CHECK(comes(FRIEND, 9));
}
