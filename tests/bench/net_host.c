/* The host's ends: taps, and bare loops that move the same packets without a guest. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "load.h"
#include "net.h"

enum { RAW_HEADER = 10, SPANS_MAX = 64 };

static struct {
	int fd;
	const struct net_options *o;
	unsigned char *packets; /* to be sent, in turns */
	size_t stride;
	uint64_t sent, done;
	uint64_t *read; /* shared with the reader: bytes, or packets */
	size_t rest;    /* of a block that went half */
} host;

static void *memory(size_t bytes)
{
	int fd = memfd_create("packets", MFD_CLOEXEC);
	void *p = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("memory: %s", strerror(errno));
	close(fd);
	memset(p, 0, bytes);
	return p;
}

/* As many as a guest has in flight. */
static void make_packets(const struct net_options *o)
{
	host.o = o;
	host.stride = o->bytes + NET_HEADER + 64;
	host.packets = memory(host.stride * o->depth);
	for (unsigned i = 0; i < o->depth; i++)
		net_make(host.packets + i * host.stride, o->bytes, false);
}

static unsigned char *next_packet(void)
{
	return host.packets + host.sent % host.o->depth * host.stride;
}

/* ---- taps ---- */

void net_raise(const char *name)
{
	struct ifreq r = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r) != 0)
		die("%s: %s", name, strerror(errno));
	r.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &r) != 0)
		die("%s: cannot set it up: %s", name, strerror(errno));
	close(fd);
}

static int tap_open(const char *name)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), header = NET_HEADER;

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r) != 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) != 0 ||
		ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0)
		die("%s: no tap: %s", name, strerror(errno));
	net_raise(name);
	return fd;
}

/* Frames that the host sends to a tap. */
void net_raw_to(const char *tap, const struct net_options *o)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(tap) };
	int on = 1, size = 16 << 20;

	make_packets(o);
	net_raise(tap);
	host.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (host.fd < 0 || setsockopt(host.fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0 ||
		setsockopt(host.fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) != 0 ||
		bind(host.fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		die("%s: cannot send frames there: %s", tap, strerror(errno));
	(void)setsockopt(host.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

bool net_raw_send(uint64_t number)
{
	unsigned char *p = next_packet();
	struct iovec v[2] = { { p, RAW_HEADER }, { p + NET_HEADER, host.o->bytes } };

	memcpy(p + NET_HEADER + NET_PAYLOAD_AT, &number, sizeof(number));
	if (writev(host.fd, v, 2) < 0) {
		if (errno == ENOBUFS || errno == EAGAIN)
			return false;
		die("a frame to the tap: %s", strerror(errno));
	}
	host.sent++;
	return true;
}

static bool tap_write(uint64_t number)
{
	unsigned char *p = next_packet();
	struct iovec v[2] = { { p, NET_HEADER }, { p + NET_HEADER, host.o->bytes } };

	(void)number;
	if (writev(host.fd, v, 2) < 0)
		die("a frame to the tap: %s", strerror(errno));
	host.sent++;
	return true;
}

static unsigned all_done(uint64_t number)
{
	unsigned n = (unsigned)(host.sent - host.done);

	(void)number;
	host.done = host.sent;
	return n;
}

static void no_flush(void)
{
}

void net_bare_out(const struct net_options *o, struct ends *ends)
{
	make_packets(o);
	host.fd = tap_open(o->from);
	*ends = (struct ends){ tap_write, no_flush, all_done, NULL, 0 };
}

/* ---- a reader, in a process of its own ---- */

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)core, &set);
	if (core >= 0 && sched_setaffinity(0, sizeof(set), &set) != 0)
		die("processor %d: %s", core, strerror(errno));
}

/*
 * Reads what a guest would get into buffers like a guest's, in turns: `header` bytes in front of
 * the frame, which is spread over several. Counts the frames that are as long, or all bytes.
 */
static _Noreturn void read_all(int fd, const struct net_options *o, size_t header)
{
	static unsigned char first[NET_HEADER];
	unsigned char *buffers = memory((size_t)CARD_RING * o->buffer);
	size_t need = header ? (o->bytes + o->buffer - 1) / o->buffer : 1, next = 0;

	if (need >= SPANS_MAX) /* which the ring has places for */
		die("buffers are too small");
	pin(o->core);
	for (;;) {
		struct iovec v[SPANS_MAX] = { { first, header } };
		ssize_t n;

		for (size_t i = 1; i <= need; i++)
			v[i] = (struct iovec){ buffers + next++ % CARD_RING * o->buffer,
				o->buffer };
		n = readv(fd, v, (int)need + 1);
		if (n <= 0)
			exit(n < 0);
		if (header == 0)
			__atomic_fetch_add(host.read, (uint64_t)n, __ATOMIC_RELEASE);
		else if ((size_t)n == header + o->bytes)
			__atomic_fetch_add(host.read, 1, __ATOMIC_RELEASE);
	}
}

static int start_reader(int fd, const struct net_options *o, size_t header)
{
	int pid;

	host.read = memory(sizeof(*host.read));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	read_all(fd, o, header);
}

static unsigned frames_read(uint64_t number)
{
	return (unsigned)(__atomic_load_n(host.read, __ATOMIC_ACQUIRE) - number);
}

static unsigned blocks_read(uint64_t number)
{
	return (unsigned)(__atomic_load_n(host.read, __ATOMIC_ACQUIRE) / host.o->bytes - number);
}

void net_bare_in(const struct net_options *o, struct ends *ends)
{
	int fd = tap_open(o->from);

	*ends = (struct ends){ net_raw_send, no_flush, frames_read, NULL,
		start_reader(fd, o, NET_HEADER) };
	net_raw_to(o->from, o);
}

/* ---- streams ---- */

void net_stream_to(int fd, const struct net_options *o)
{
	host.o = o;
	host.fd = fd;
	host.packets = memory(o->bytes);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		die("fcntl: %s", strerror(errno));
}

/* A block; what the socket does not take of it goes first at the next call. */
bool net_stream_send(uint64_t number)
{
	ssize_t n;

	if (host.rest == 0) {
		host.rest = host.o->bytes;
		for (uint64_t i = 0; host.o->verify && i < host.o->bytes; i++)
			host.packets[i] = net_stream_byte(number * host.o->bytes + i);
	}
	n = send(host.fd, host.packets + host.o->bytes - host.rest, host.rest, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		die("the stream: %s", strerror(errno));
	host.rest -= n > 0 ? (size_t)n : 0;
	return host.rest == 0;
}

void net_bare_stream(const struct net_options *o, struct ends *ends)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair: %s", strerror(errno));
	host.o = o;
	*ends = (struct ends){ net_stream_send, no_flush, blocks_read, NULL,
		start_reader(pair[1], o, 0) };
	net_stream_to(pair[0], o);
}
