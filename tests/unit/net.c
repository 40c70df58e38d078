/* src/dev/net.c: options, features, configuration space, and what the front-end asks for. */
#include <errno.h>

#include "nic.h"

static struct nic nic;
static struct fake_tap *tap;

/* What it says, and how it ends, with these words behind "vubox net -s /s ". */
static void refused(const char *words, int status, const char *text)
{
	char line[256] = "vubox net -s /s ";

	strncat(line, words, sizeof(line) - strlen(line) - 1);
	CHECK_EQ(rig_main(line), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, status);
	if (!fake_log_has(text))
		FAIL("%s", fake.log);
}

#define REFUSED(name, words, status, text)    \
	CASE(name)                            \
	{                                     \
		fake_reset(1);                \
		refused(words, status, text); \
	}

#define LINKS "say what it is connected to: one of --tap=NAME, --tap-fd=N, --bridge=NAME, "

REFUSED(no_link, "", EXIT_USAGE, LINKS)
REFUSED(two_links, "--tap=t0 --tap-fd=7", EXIT_USAGE, LINKS)
REFUSED(two_uplinks, "--bridge=b --tap=t0 --tap-fd=7", EXIT_USAGE, LINKS)
REFUSED(three_links, "--bridge=b --tap=t0 --peer-unix=/p", EXIT_USAGE, LINKS)
REFUSED(bridge_and_peer, "--bridge=b --peer-unix=/p", EXIT_USAGE, LINKS)
REFUSED(two_other_links, "--tap-fd=7 --peer-unix=/p", EXIT_USAGE, LINKS)
REFUSED(local_without_peer, "--tap=t0 --peer-local=/p", EXIT_USAGE, "--peer-local needs")
REFUSED(queues_of_a_descriptor, "--tap-fd=7 --num-queues=2", EXIT_USAGE, "--tap-fd is one queue")
REFUSED(too_many_queues, "--tap=t0 --num-queues=9", EXIT_USAGE, "--num-queues")
REFUSED(no_queues, "--tap=t0 --num-queues=0", EXIT_USAGE, "--num-queues")
REFUSED(odd_ring, "--tap=t0 --queue-size=100", EXIT_USAGE, "--queue-size=100: not a power of two")
REFUSED(a_small_mtu, "--tap=t0 --mtu=67", EXIT_USAGE, "--mtu")
REFUSED(a_large_mtu, "--tap=t0 --mtu=65536", EXIT_USAGE, "--mtu")
REFUSED(mac_of_a_group, "--tap=t0 --mac=01:00:00:00:00:01", EXIT_USAGE, "no address of a station")
REFUSED(mac_too_short, "--tap=t0 --mac=52:54:00:00:00", EXIT_USAGE, "no address of a station")
REFUSED(mac_too_long, "--tap=t0 --mac=52:54:00:00:00:01:02", EXIT_USAGE, "no address of a station")
REFUSED(mac_of_one_digit, "--tap=t0 --mac=52:54:0:00:00:01", EXIT_USAGE, "no address of a station")
REFUSED(mac_with_other_letters, "--tap=t0 --mac=52:54:00:00:00:0g", EXIT_USAGE, "no address of")
REFUSED(mac_with_dashes, "--tap=t0 --mac=52-54-00-00-00-01", EXIT_USAGE, "no address of a station")
REFUSED(no_descriptor, "--tap-fd=99", EXIT_FAILED, "vubox: net: --tap-fd=99: cannot use it: ")
REFUSED(a_long_name, "--tap=a23456789012345678", EXIT_FAILED,
	"--tap=a23456789012345678: cannot open")

static void not_opened(int error, const char *text)
{
	fake_reset(1);
	fake.fail_at[FAKE_TAP_OPEN] = 1;
	fake.fail_error = error;
	refused("--tap=t0", EXIT_FAILED, "vubox: net: --tap=t0: cannot open: ");
	CHECK(fake_log_has(text));
}

CASE(a_tap_without_privileges)
{
	not_opened(-EPERM, " (make it before, for this user: ip tuntap add NAME mode tap user");
}

CASE(a_tap_that_is_taken)
{
	not_opened(-EBUSY, " (another program has it)");
}

CASE(a_kernel_without_taps)
{
	not_opened(-ENOENT, " (/dev/net/tun is not there");
}

CASE(a_tap_that_cannot_be_opened)
{
	not_opened(-EIO, "t0: cannot open: ");
}

CASE(a_tap_for_one_queue)
{
	fake_reset(1);
	fake_tap_new("t0")->single = true;
	refused("--tap=t0 --num-queues=2", EXIT_FAILED, "mode tap multi_queue)");
}

CASE(a_descriptor_of_another_kind)
{
	char words[40] = "--tap-fd=";
	int fd;

	fake_reset(1);
	fd = fake_tap_fd(fake_tap_new("t0"), false);
	words[9] = (char)('0' + fd / 100);
	words[10] = (char)('0' + fd / 10 % 10);
	words[11] = (char)('0' + fd % 10);
	refused(words, EXIT_FAILED, "(it must be open with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR)");
}

CASE(no_room_for_its_watch)
{
	fake_reset(1);
	fake.fail_at[FAKE_WAIT_ADD] = 1;
	refused("--tap=t0", EXIT_FAILED, "t0: cannot wait for its frames: ");
}

CASE(no_address_can_be_drawn)
{
	fake_reset(1);
	fake.fail_at[FAKE_RANDOM] = 1;
	refused("--tap=t0", EXIT_FAILED, "cannot draw an address (say --mac): ");
}

/* ---- what it is like ---- */

static void serve(const char *line)
{
	fake_reset(1);
	tap = fake_tap_new("t0");
	CHECK_EQ(rig_main(line), FAKE_IDLE);
}

static void get_config(uint8_t bytes[12])
{
	struct vhost_user_config c = { 0, 12, 0, { 0 } };

	CHECK_EQ(front_call(&nic.front, VHOST_USER_GET_CONFIG, &c, 24, 24, -1, NULL), 24);
	memcpy(bytes, c.bytes, 12);
}

CASE(its_configuration_space)
{
	uint8_t is[12];

	serve("vubox net -s /s --tap=t0 --mac=52:54:00:aB:Cd:eF --mtu=9000 --num-queues=4");
	front_connect(&nic.front, "/s");
	front_negotiate(&nic.front, 0);
	get_config(is);
	CHECK_BYTES(is, "\x52\x54\x00\xab\xcd\xef\x01\x00\x04\x00\x28\x23", 12);
	CHECK_EQ(front_get(&nic.front, VHOST_USER_GET_QUEUE_NUM), 9);
}

CASE(an_address_of_its_own)
{
	uint8_t is[12];

	serve("vubox net -s /s --tap=t0");
	front_connect(&nic.front, "/s");
	front_negotiate(&nic.front, 0);
	get_config(is);
	CHECK_EQ(is[0] & 3, 2); /* local, of one station */
	CHECK_BYTES(is + 6, "\x01\x00\x01\x00\x00\x00", 6);
}

CASE(the_configuration_space_is_not_written)
{
	struct vhost_user_config c = { 0, 6, 0, { 2, 4, 6, 8, 10, 12 } };
	uint8_t is[12];

	serve("vubox net -s /s --tap=t0 --mac=52:54:00:00:00:01");
	front_start(&nic.front, "/s", 2, 0);
	CHECK_EQ(front_ack(&nic.front, VHOST_USER_SET_CONFIG, &c, 18, -1), 1);
	get_config(is);
	CHECK_BYTES(is, OUR_MAC, 6);
	/* But by one who brings a guest from elsewhere. */
	c.flags = VHOST_USER_CONFIG_MIGRATE;
	CHECK_EQ(front_ack(&nic.front, VHOST_USER_SET_CONFIG, &c, 18, -1), 0);
	get_config(is);
	CHECK_BYTES(is, "\x02\x04\x06\x08\x0a\x0c", 6);
	c.offset = 3;
	c.size = 9;
	CHECK_EQ(front_ack(&nic.front, VHOST_USER_SET_CONFIG, &c, 21, -1), 0);
	get_config(is);
	CHECK_BYTES(is, "\x02\x04\x06\x08\x0a\x0c", 6);
}

static uint64_t offered(void)
{
	front_connect(&nic.front, "/s");
	return front_get(&nic.front, VHOST_USER_GET_FEATURES);
}

CASE(features_are_what_the_options_say)
{
	uint64_t features;

	serve("vubox net -s /s --tap=t0");
	features = offered();
	CHECK((features & VIRTIO_NET_F_MAC) && (features & VIRTIO_NET_F_STATUS));
	CHECK((features & VIRTIO_NET_F_CTRL_VQ) && (features & VIRTIO_NET_F_MRG_RXBUF));
	CHECK(!(features & VIRTIO_NET_F_MQ) && !(features & VIRTIO_NET_F_MTU));
	CHECK_EQ(features & (1ull << 57 | 1ull << 60), 0); /* HASH_REPORT, RSS */
}

CASE(features_of_more_queues_and_an_mtu)
{
	uint64_t features;

	serve("vubox net -s /s --tap=t0 --num-queues=2 --mtu=1400");
	features = offered();
	CHECK((features & VIRTIO_NET_F_MQ) && (features & VIRTIO_NET_F_MTU));
}

CASE(without_offloads_there_are_none_to_turn_off)
{
	uint64_t features;

	fake_reset(1);
	fake_tap_new("t0")->has = 0;
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0"), FAKE_IDLE);
	features = offered();
	CHECK_EQ(features & VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, 0);
	CHECK_EQ(features & (VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM), 0);
}

CASE(a_descriptor_that_was_inherited)
{
	char line[] = "vubox net -s /s --tap-fd=000";
	int fd;

	fake_reset(1);
	tap = fake_tap_new("t0");
	fd = fake_tap_fd(tap, true);
	line[25] = (char)('0' + fd / 100);
	line[26] = (char)('0' + fd / 10 % 10);
	line[27] = (char)('0' + fd % 10);
	CHECK_EQ(rig_main(line), FAKE_IDLE);
	front_start(&nic.front, "/s", 2, VIRTIO_F_VERSION_1);
	nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, 1, 60), 60);
	CHECK_EQ(fake_tap_sent(tap, NULL, NULL, NULL, 0), 60);
}

/* ---- what the front-end asks for ---- */

CASE(an_mtu_from_the_front_end)
{
	uint8_t is[12];

	serve("vubox net -s /s --tap=t0 --mtu=1500");
	front_start(&nic.front, "/s", 2, 0);
	CHECK_EQ(front_ack_u64(&nic.front, VHOST_USER_NET_SET_MTU, 9000, -1), 0);
	get_config(is);
	CHECK_BYTES(is + 10, "\x28\x23", 2);
	CHECK_EQ(front_ack_u64(&nic.front, VHOST_USER_NET_SET_MTU, 67, -1), 1);
	CHECK_EQ(front_ack_u64(&nic.front, VHOST_USER_NET_SET_MTU, 65536, -1), 1);
	CHECK_EQ(front_ack_u64(&nic.front, VHOST_USER_NET_SET_MTU, UINT64_MAX, -1), 1);
	get_config(is);
	CHECK_BYTES(is + 10, "\x28\x23", 2);
}

CASE(an_announcement_for_the_guest)
{
	uint8_t payload[8] = { 0x52, 0x54, 0, 0, 0, 9, 0xee, 0xee }, got[100];
	static const uint8_t arp[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };

	serve("vubox net -s /s --tap=t0");
	front_start(&nic.front, "/s", 2, 0);
	CHECK_EQ(front_ack(&nic.front, VHOST_USER_SEND_RARP, payload, 8, -1), 0);
	CHECK_EQ(fake_tap_sent(tap, NULL, NULL, got, sizeof(got)), 60);
	CHECK_BYTES(got, BROADCAST, 6);
	CHECK_BYTES(got + 6, payload, 6);
	CHECK_BYTES(got + 12, arp, sizeof(arp));
	CHECK_BYTES(got + 22, payload, 6);
	CHECK_BYTES(got + 32, payload, 6);
}

CASE(other_devices_know_nothing_of_networks)
{
	uint64_t value = 1500;

	fake_reset(1);
	CHECK_EQ(rig_main("vubox rng -s /s"), FAKE_IDLE);
	front_connect(&nic.front, "/s");
	CHECK_EQ(front_get(&nic.front, VHOST_USER_GET_PROTOCOL_FEATURES) & 0x14, 0);
	front_negotiate(&nic.front, 0);
	CHECK_EQ(front_ack(&nic.front, VHOST_USER_NET_SET_MTU, &value, 8, -1), 0x101);
	CHECK_EQ(front_ack(&nic.front, VHOST_USER_SEND_RARP, &value, 8, -1), 0x101);
}

CASE(the_driver_is_told_of_the_link)
{
	struct vhost_user_header h;
	int pair[2];
	uint8_t is[12];

	serve("vubox net -v -s /s --tap=t0");
	front_start(&nic.front, "/s", 2, VIRTIO_NET_F_STATUS);
	fake_socketpair(pair);
	CHECK_EQ(front_ack(&nic.front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]), 0);
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_recv(pair[0], &h, sizeof(h), NULL), -EAGAIN);
	tap->up = false;
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_recv(pair[0], &h, sizeof(h), NULL), sizeof(h));
	CHECK_EQ(h.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	CHECK(fake_log_has("net: the link is down"));
	get_config(is);
	CHECK_EQ(is[6], 0);
	tap->up = true;
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_recv(pair[0], &h, sizeof(h), NULL), sizeof(h));
	get_config(is);
	CHECK_EQ(is[6], VIRTIO_NET_S_LINK_UP); /* it did not want to announce itself */
}

CASE(it_ends_and_closes_its_tap)
{
	unsigned before;

	serve("vubox net -s /s --tap=t0 --num-queues=4 --pcap=/p");
	before = fake_open_fds();
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, EXIT_OK);
	CHECK_EQ(fake_open_fds(), before - 5);
	CHECK_EQ(tap->queues, 0);
}

static void io_done(void *arg)
{
	(void)arg;
	device_find("net")->io_done(NULL, NULL);
}

CASE(it_starts_no_io)
{
	fake_reset(1);
	CHECK_EQ(fake_run(io_done, NULL), FAKE_ABORTED);
}
