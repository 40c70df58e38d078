/* The host's end of a tap. */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* In packet sockets it is without num_buffers. */
enum { HEADER = 10 };

static int wire = -1;

static void no_ipv6(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		CHECK_EQ(write(fd, "1", 1), 1);
		close(fd);
	}
}

void wire_network(void)
{
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		harness_skip("there is no /dev/net/tun for us");
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		harness_skip("needs root, to make a network of its own");
	/* It shows the network of whoever mounts it. */
	CHECK_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	CHECK_EQ(mount("sysfs", "/sys", "sysfs", 0, NULL), 0);
	no_ipv6("/proc/sys/net/ipv6/conf/default/disable_ipv6");
	no_ipv6("/proc/sys/net/ipv6/conf/all/disable_ipv6");
}

static struct ifreq named(const char *name)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
	return ifr;
}

int wire_tap_open(const char *name, int flags)
{
	struct ifreq ifr = named(name);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	ifr.ifr_flags = (short)(IFF_TAP | flags);
	CHECK_EQ(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

void wire_tap(const char *name, bool multi_queue)
{
	int fd =
		wire_tap_open(name, IFF_NO_PI | IFF_VNET_HDR | (multi_queue ? IFF_MULTI_QUEUE : 0));

	CHECK_EQ(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
}

static void ask(int request, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_EQ(ioctl(fd, (unsigned long)request, ifr), 0);
	close(fd);
}

void wire_set_up(const char *name, bool up)
{
	struct ifreq ifr = named(name);

	ask(SIOCGIFFLAGS, &ifr);
	ifr.ifr_flags = (short)(up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
	ask(SIOCSIFFLAGS, &ifr);
}

static void set_option(int option, int value)
{
	CHECK_EQ(setsockopt(wire, SOL_PACKET, option, &value, sizeof(value)), 0);
}

void wire_open(const char *name, unsigned mtu)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = 0x0300 };
	struct ifreq ifr = named(name);
	int bytes = 16 << 20;

	UNTIL((at.sll_ifindex = (int)if_nametoindex(name)) > 0);
	ifr.ifr_mtu = (int)mtu;
	ask(SIOCSIFMTU, &ifr);
	wire_set_up(name, true);
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK(wire >= 0);
	set_option(PACKET_VNET_HDR, 1);
	set_option(PACKET_QDISC_BYPASS, 1); /* nothing between us and the tap's own queue */
	CHECK_EQ(setsockopt(wire, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)), 0);
	CHECK_EQ(setsockopt(wire, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)), 0);
	CHECK_EQ(bind(wire, (struct sockaddr *)&at, sizeof(at)), 0);
}

void wire_segment(void)
{
	set_option(PACKET_QDISC_BYPASS, 0);
}

bool wire_send(const struct nic_header *hdr, const void *frame, uint32_t len)
{
	static const struct nic_header none;
	struct iovec iov[2] = { { (void *)(hdr ? hdr : &none), HEADER }, { (void *)frame, len } };
	ssize_t n = writev(wire, iov, 2);

	if (n < 0 && errno != ENOBUFS && errno != EAGAIN)
		harness_fail(HERE, "a frame of %u bytes: %s", len, strerror(errno));
	return n == (ssize_t)HEADER + (ssize_t)len;
}

int wire_poll(struct nic_header *hdr, void *frame)
{
	struct sockaddr_ll from;
	struct nic_header own = { 0 };
	struct iovec iov[2] = { { &own, HEADER }, { frame, NIC_FRAME_MAX } };
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = iov, .msg_iovlen = 2
	};
	ssize_t n;

	do {
		msg.msg_namelen = sizeof(from);
		n = recvmsg(wire, &msg, 0);
	} while (n >= 0 && from.sll_pkttype == PACKET_OUTGOING);
	/* ENETDOWN is said once when it was set down. */
	CHECK(n >= HEADER || errno == EAGAIN || errno == ENETDOWN);
	if (hdr)
		*hdr = own;
	return n < 0 ? -1 : (int)n - HEADER;
}

uint32_t wire_receive(struct nic_header *hdr, void *frame)
{
	int len = -1;

	UNTIL((len = wire_poll(hdr, frame)) >= 0);
	return (uint32_t)len;
}

/* ---- TCP ---- */

static uint32_t sum_of(const unsigned char *at, uint32_t len, uint32_t sum)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	while (sum > 0xffff)
		sum = (sum >> 16) + (sum & 0xffff);
	return sum;
}

static void put16(unsigned char *at, uint32_t value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

struct nic_header wire_tcp(void *frame, uint32_t len, uint16_t gso_size)
{
	static const unsigned char ip[20] = { 0x45, 0, 0, 0, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 0,
		1, 10, 0, 0, 2 };
	unsigned char *f = frame;

	harness_fill(f, len);
	nic_address(f, 2, 1);
	memcpy(f + 12, "\x08", 2);
	memcpy(f + 14, ip, 20);
	put16(f + 16, len - 14);
	put16(f + 24, 0xffff - sum_of(f + 14, 20, 0));
	f[46] = 0x50; /* 20 bytes */
	f[47] = 0x18; /* ACK and PUSH */
	put16(f + 50, sum_of(f + 26, 8, 6 + len - 34));
	return (struct nic_header){ .flags = 1,
		.gso_type = gso_size ? 1 : 0,
		.hdr_len = 54,
		.gso_size = gso_size,
		.csum_start = 34,
		.csum_offset = 16 };
}

bool wire_tcp_is_right(const void *frame, uint32_t len)
{
	const unsigned char *f = frame;

	return sum_of(f + 14, 20, 0) == 0xffff &&
	       sum_of(f + 34, len - 34, sum_of(f + 26, 8, 6 + len - 34)) == 0xffff;
}
