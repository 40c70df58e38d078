/* Tap devices: the kernel's end of a virtual cable (Documentation/networking/tuntap.rst). */
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "num.h"
#include "port.h"
#include "process.h"

/* <linux/if_tun.h> */
enum {
	TAP_IFF_TAP = 0x0002,
	TAP_IFF_MULTI_QUEUE = 0x0100,
	TAP_IFF_ATTACH_QUEUE = 0x0200,
	TAP_IFF_DETACH_QUEUE = 0x0400,
	TAP_IFF_NO_PI = 0x1000,
	TAP_IFF_VNET_HDR = 0x4000,
};

_Static_assert(sizeof(((struct port_tap *)0)->name) == IFNAMSIZ, "as the kernel has it");

/* The kernel takes at most so many pieces (UIO_MAXIOV). */
enum { PIECES_MAX = 1024 };

static struct iovec pieces[PIECES_MAX];

static int set_name(struct ifreq *ifr, const char *name)
{
	size_t len = strlen(name);

	memset(ifr, 0, sizeof(*ifr));
	if (len == 0 || len >= sizeof(ifr->ifr_name))
		return -ENAMETOOLONG;
	memcpy(ifr->ifr_name, name, len);
	return 0;
}

/* What every queue has. */
static int set_up(int fd, struct port_tap *tap)
{
	int header = PORT_TAP_HEADER;

	if (ioctl(fd, TAP_TUNSETVNETHDRSZ, &header) < 0)
		return -errno;
	tap->fds[tap->queues++] = fd;
	return 0;
}

/* Of the kernel's offloads, those that this kernel has: USO since 6.2. */
static void probe(struct port_tap *tap)
{
	static const uint32_t sets[] = { PORT_TAP_ALL, PORT_TAP_ALL & ~PORT_TAP_USO,
		PORT_TAP_CSUM | PORT_TAP_TSO4 | PORT_TAP_TSO6 | PORT_TAP_ECN, PORT_TAP_CSUM, 0 };

	for (size_t i = 0; i < countof(sets); i++)
		if (ioctl(tap->fds[0], TAP_TUNSETOFFLOAD, (unsigned long)sets[i]) == 0) {
			tap->offloads = sets[i];
			break;
		}
	(void)port_tap_offload(tap, 0);
}

/* Whether its link is up is read from here, also where nothing can be opened any more. */
static void open_flags(struct port_tap *tap)
{
	static const char before[] = "/sys/class/net/", behind[] = "/flags";
	char path[sizeof(before) + sizeof(tap->name) + sizeof(behind)];
	size_t len = strlen(tap->name);

	memcpy(path, before, sizeof(before) - 1);
	memcpy(path + sizeof(before) - 1, tap->name, len);
	memcpy(path + sizeof(before) - 1 + len, behind, sizeof(behind));
	tap->flags_fd = open(path, O_RDONLY | O_CLOEXEC);
}

static int open_queue(struct port_tap *tap, int flags)
{
	struct ifreq ifr;
	int fd, error = set_name(&ifr, tap->name);

	if (error < 0)
		return error;
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	ifr.ifr_flags = (short)flags;
	error = ioctl(fd, TAP_TUNSETIFF, &ifr) < 0 ? -errno : set_up(fd, tap);
	if (error < 0)
		(void)close(fd);
	else
		memcpy(tap->name, ifr.ifr_name, sizeof(tap->name));
	return error;
}

/* calls at the start: open close ioctl(TAP_TUNSETIFF) ioctl(TAP_TUNSETVNETHDRSZ) */
/* calls at the start: ioctl(TAP_TUNSETOFFLOAD) */
int port_tap_open(struct port_tap *tap, const char *name, unsigned queues)
{
	int flags = TAP_IFF_TAP | TAP_IFF_NO_PI | TAP_IFF_VNET_HDR;
	struct ifreq ifr;
	int error = set_name(&ifr, name);

	*tap = (struct port_tap){ .flags_fd = -1 };
	if (error < 0)
		return error;
	memcpy(tap->name, ifr.ifr_name, sizeof(tap->name));
	if (queues == 1)
		error = open_queue(tap, flags);
	/* One that has several queues is one for a single queue, too. */
	if (queues > 1 || error == -EINVAL)
		error = open_queue(tap, flags | TAP_IFF_MULTI_QUEUE);
	for (unsigned i = 1; i < queues && error == 0; i++)
		error = open_queue(tap, flags | TAP_IFF_MULTI_QUEUE);
	for (unsigned i = 1; i < queues && error == 0; i++)
		error = port_tap_attach(tap, i, false);
	if (error < 0) {
		port_tap_close(tap);
		return error;
	}
	tap->attached[0] = true;
	probe(tap);
	open_flags(tap);
	return 0;
}

/* calls at the start: ioctl(TAP_TUNGETIFF) ioctl(TAP_TUNSETVNETHDRSZ) ioctl(TAP_TUNSETOFFLOAD) */
/* calls at the start: fcntl(F_SETFD) open */
int port_tap_take(struct port_tap *tap, int fd)
{
	struct ifreq ifr;
	int error;

	*tap = (struct port_tap){ .flags_fd = -1 };
	memset(&ifr, 0, sizeof(ifr));
	if (ioctl(fd, TAP_TUNGETIFF, &ifr) < 0)
		return -errno;
	if ((ifr.ifr_flags & (TAP_IFF_TAP | TAP_IFF_NO_PI | TAP_IFF_VNET_HDR)) !=
		(TAP_IFF_TAP | TAP_IFF_NO_PI | TAP_IFF_VNET_HDR))
		return -EPROTOTYPE;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	error = process_nonblock(fd);
	if (error == 0)
		error = set_up(fd, tap);
	if (error < 0)
		return error;
	memcpy(tap->name, ifr.ifr_name, sizeof(tap->name));
	tap->attached[0] = true;
	probe(tap);
	open_flags(tap);
	return 0;
}

/* calls: close */
void port_tap_close(struct port_tap *tap)
{
	while (tap->queues > 0)
		(void)close(tap->fds[--tap->queues]);
	if (tap->flags_fd >= 0)
		(void)close(tap->flags_fd);
	tap->flags_fd = -1;
}

/* calls: ioctl(TAP_TUNSETOFFLOAD) */
int port_tap_offload(struct port_tap *tap, uint32_t offloads)
{
	return ioctl(tap->fds[0], TAP_TUNSETOFFLOAD, (unsigned long)offloads) < 0 ? -errno : 0;
}

/* calls: ioctl(TAP_TUNSETQUEUE) */
int port_tap_attach(struct port_tap *tap, unsigned queue, bool attach)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	ifr.ifr_flags = attach ? TAP_IFF_ATTACH_QUEUE : TAP_IFF_DETACH_QUEUE;
	if (ioctl(tap->fds[queue], TAP_TUNSETQUEUE, &ifr) < 0)
		return -errno;
	tap->attached[queue] = attach;
	return 0;
}

/* calls: pread */
int port_tap_is_up(const struct port_tap *tap)
{
	char text[16] = { 0 };
	ssize_t n = tap->flags_fd < 0 ? -1 : pread(tap->flags_fd, text, sizeof(text) - 1, 0);
	int last;

	if (n < 1)
		return -ENOENT;
	/* "0x1003": its last digit has IFF_UP as bit 0. */
	last = text[n - 1] == '\n' && n > 1 ? text[n - 2] : text[n - 1];
	return (last >= 'a' ? last - 'a' + 10 : last - '0') & IFF_UP;
}

/* calls: writev */
int port_tap_send(struct port_tap *tap, unsigned queue, const void *header, struct source frame)
{
	ssize_t n;

	if (frame.count > PIECES_MAX - 1)
		return -EMSGSIZE;
	pieces[0] = (struct iovec){ (void *)header, PORT_TAP_HEADER };
	memcpy(pieces + 1, frame.spans, frame.count * sizeof(struct iovec));
	do
		n = writev(tap->fds[queue], pieces, (int)frame.count + 1);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* calls: readv */
int port_tap_recv(struct port_tap *tap, unsigned queue, void *header, struct sink to)
{
	ssize_t n;

	pieces[0] = (struct iovec){ header, PORT_TAP_HEADER };
	to.count = (uint32_t)num_min(to.count, PIECES_MAX - 1);
	memcpy(pieces + 1, to.spans, to.count * sizeof(struct iovec));
	do
		n = readv(tap->fds[queue], pieces, (int)to.count + 1);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n < PORT_TAP_HEADER ? 0 : (int)n - PORT_TAP_HEADER;
}
