/*
 * A load for any vhost-user-blk back-end: one queue, kept full, from this process.
 *
 *     load --socket=PATH [--depth=32] [--bytes=4096] [--seconds=2]
 *          [--mode=read|write|seqread|seqwrite] [--wait=poll|call]
 *
 * Prints one line: operations a second, and p50 and p99 latency in microseconds. wait=poll looks at
 * the used ring all the time and asks for no calls, as a polling driver does; wait=call sleeps
 * until it is called. EVENT_IDX is used where it is offered.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { RING = 256, DEPTH_MAX = RING / 3, BYTES_MAX = 1 << 20, LATENCIES_US = 100000 };
enum { DESC_AT = 0x1000, AVAIL_AT = 0x4000, USED_AT = 0x8000, SLOTS_AT = 0x100000 };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

static struct {
	int socket, kick, call;
	char *memory;
	size_t size;
	struct desc *desc;
	volatile uint16_t *avail, *used;
	uint16_t avail_idx, used_idx;
	bool event_idx;
	uint64_t capacity; /* bytes */
	unsigned depth, bytes;
	bool write, sequential, wait_call;
	uint64_t cursor, random, done;
	uint64_t started_ns[DEPTH_MAX];
	uint32_t latencies[LATENCIES_US];
} load = { .depth = 32, .bytes = 4096, .random = 88172645463325252u };

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the protocol, as little of it as a block device needs ---- */

static void request(uint32_t id, const void *payload, uint32_t size, int fd)
{
	uint32_t header[3] = { id, 1, size };
	struct iovec iov[2] = { { header, sizeof(header) }, { (void *)payload, size } };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	}
	if (sendmsg(load.socket, &msg, 0) != (ssize_t)(sizeof(header) + size))
		die("cannot send");
}

static void reply(void *payload, uint32_t size)
{
	uint32_t header[3];

	if (recv(load.socket, header, sizeof(header), MSG_WAITALL) != sizeof(header) ||
		header[2] != size || recv(load.socket, payload, size, MSG_WAITALL) != (ssize_t)size)
		die("no reply");
}

static uint64_t ask(uint32_t id)
{
	uint64_t value;

	request(id, NULL, 0, -1);
	reply(&value, sizeof(value));
	return value;
}

static void connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	load.socket = socket(AF_UNIX, SOCK_STREAM, 0);
	for (int i = 0; connect(load.socket, (struct sockaddr *)&address, sizeof(address)) < 0;
		i++) {
		if (i == 500)
			die(path);
		usleep(10000);
	}
}

static void negotiate(void)
{
	enum { REPLY_ACK = 3, CONFIG = 9 };
	struct {
		uint32_t offset, size, flags;
		uint8_t bytes[60];
	} config = { .size = sizeof(config.bytes) };
	uint64_t wanted = 1ull << 32 | 1ull << 30 | 1ull << 29 | 1ull << 28 | 1ull << 9;
	uint64_t features = ask(1) & wanted;
	uint64_t protocol = ask(15) & (1ull << REPLY_ACK | 1ull << CONFIG);

	load.event_idx = (features & 1ull << 29) != 0;
	request(16, &protocol, sizeof(protocol), -1);
	request(3, NULL, 0, -1);
	request(2, &features, sizeof(features), -1);
	request(24, &config, sizeof(config), -1);
	reply(&config, sizeof(config));
	memcpy(&load.capacity, config.bytes, sizeof(load.capacity));
	load.capacity *= 512;
}

static void share_memory(void)
{
	int fd = memfd_create("guest", 0);

	load.size = SLOTS_AT + load.depth * (size_t)(load.bytes + 8192);
	load.size = (load.size + 0x1fffff) & ~(size_t)0x1fffff;
	if (fd < 0 || ftruncate(fd, (off_t)load.size) < 0)
		die("no memory");
	load.memory =
		mmap(NULL, load.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (load.memory == MAP_FAILED)
		die("no memory");
	request(5, (uint64_t[]){ 1, 0, load.size, (uintptr_t)load.memory, 0 }, 40, fd);
	close(fd);
}

static void start_ring(void)
{
	uint64_t base = (uintptr_t)load.memory, index = 0;

	load.kick = eventfd(0, EFD_NONBLOCK);
	load.call = eventfd(0, EFD_NONBLOCK);
	load.desc = (void *)(load.memory + DESC_AT);
	load.avail = (void *)(load.memory + AVAIL_AT);
	load.used = (void *)(load.memory + USED_AT);
	request(8, (uint32_t[]){ 0, RING }, 8, -1);
	request(10, (uint32_t[]){ 0, 0 }, 8, -1);
	request(9, (uint64_t[]){ 0, base + DESC_AT, base + USED_AT, base + AVAIL_AT, 0 }, 40, -1);
	request(13, &index, sizeof(index), load.call);
	request(12, &index, sizeof(index), load.kick);
	request(18, (uint32_t[]){ 0, 1 }, 8, -1);
}

/* ---- the driver ---- */

static char *slot_at(unsigned i)
{
	return load.memory + SLOTS_AT + (size_t)i * (load.bytes + 8192);
}

static void prepare(unsigned i)
{
	uint64_t at = (uint64_t)(slot_at(i) - load.memory);
	struct desc *d = load.desc + i * 3;

	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): start_ring was here */
	d[0] = (struct desc){ at, sizeof(struct header), 1, (uint16_t)(i * 3 + 1) };
	d[1] = (struct desc){ at + 4096, load.bytes, load.write ? 1 : 3, (uint16_t)(i * 3 + 2) };
	d[2] = (struct desc){ at + 64, 1, 2, 0 };
}

static uint64_t next_sector(void)
{
	uint64_t blocks = load.capacity / load.bytes, block;

	if (load.sequential) {
		block = load.cursor++ % blocks;
	} else {
		load.random ^= load.random << 13; /* xorshift64 */
		load.random ^= load.random >> 7;
		load.random ^= load.random << 17;
		block = load.random % blocks;
	}
	return block * (load.bytes / 512);
}

static void submit(unsigned i, uint64_t now)
{
	struct header *h = (void *)slot_at(i);

	*h = (struct header){ load.write, 0, next_sector() };
	load.started_ns[i] = now;
	load.avail[2 + load.avail_idx % RING] = (uint16_t)(i * 3);
	load.avail_idx++;
}

static void publish(void)
{
	uint16_t old = load.avail[1], event;
	bool kick;

	__atomic_store_n(&load.avail[1], load.avail_idx, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = load.used[2 + 4 * RING];
	kick = load.event_idx
		       ? (uint16_t)(load.avail_idx - event - 1) < (uint16_t)(load.avail_idx - old)
		       : (load.used[0] & 1) == 0;
	if (kick && write(load.kick, &(uint64_t){ 1 }, 8) != 8)
		die("cannot kick");
}

static bool used_some(void)
{
	return __atomic_load_n(&load.used[1], __ATOMIC_ACQUIRE) != load.used_idx;
}

/* Asks for a call at the next used entry, or for none. */
static void want_call(bool yes)
{
	load.avail[2 + RING] = yes ? load.used_idx : (uint16_t)(load.used_idx - 1);
	load.avail[0] = !yes;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void wait_used(void)
{
	struct pollfd p = { .fd = load.call, .events = POLLIN };
	uint64_t count;

	want_call(load.wait_call);
	if (!load.wait_call || used_some())
		return;
	if (poll(&p, 1, 5000) == 0) {
		fprintf(stderr, "load: not called for 5 s\n");
		exit(1);
	}
	(void)!read(load.call, &count, sizeof(count));
}

static void reap(uint64_t now)
{
	while (used_some()) {
		const uint32_t *e = (const void *)(load.used + 2 + 4 * (load.used_idx % RING));
		unsigned i = e[0] / 3;
		uint64_t us = (now - load.started_ns[i]) / 1000;

		if (slot_at(i)[64] != 0) {
			fprintf(stderr, "load: a request failed: status %d\n", slot_at(i)[64]);
			exit(1);
		}
		load.latencies[us < LATENCIES_US ? us : LATENCIES_US - 1]++;
		load.done++;
		load.used_idx++;
		submit(i, now);
	}
	publish();
}

static unsigned percentile(double part)
{
	uint64_t sum = 0;

	for (unsigned us = 0; us < LATENCIES_US; us++) {
		sum += load.latencies[us];
		if ((double)sum >= part * (double)load.done)
			return us;
	}
	return LATENCIES_US;
}

static void run(double seconds)
{
	uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), now = start;

	want_call(load.wait_call);
	for (unsigned i = 0; i < load.depth; i++) {
		prepare(i);
		submit(i, now);
	}
	publish();
	while (now < end) {
		if (!used_some())
			wait_used();
		now = now_ns();
		reap(now);
	}
	printf("%.0f %u %u\n", (double)load.done * 1e9 / (double)(now - start), percentile(0.5),
		percentile(0.99));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", 1, NULL, 's' },
		{ "depth", 1, NULL, 'd' },
		{ "bytes", 1, NULL, 'b' },
		{ "seconds", 1, NULL, 't' },
		{ "mode", 1, NULL, 'm' },
		{ "wait", 1, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	const char *path = NULL;
	double seconds = 2;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 's': path = optarg; break;
		case 'd': load.depth = (unsigned)atoi(optarg); break;
		case 'b': load.bytes = (unsigned)atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 'm':
			load.write = strstr(optarg, "write") != NULL;
			load.sequential = strncmp(optarg, "seq", 3) == 0;
			break;
		case 'w': load.wait_call = strcmp(optarg, "call") == 0; break;
		default: return 2;
		}
	}
	if (!path || load.depth < 1 || load.depth > DEPTH_MAX || load.bytes < 512 ||
		load.bytes > BYTES_MAX || load.bytes % 512 != 0) {
		fprintf(stderr, "load: see the head of tests/bench/load.c for its options\n");
		return 2;
	}
	connect_to(path);
	negotiate();
	share_memory();
	start_ring();
	run(seconds);
	return 0;
}
