/*
 * What the machine itself needs for the load's I/O, in a bare loop: no rings, no other process.
 *
 *     bare pread|pwrite|memcpy FILE [BYTES [SECONDS [WARM-UP]]]
 *
 * pread, pwrite: a system call for each block, from or to the page cache. memcpy: copies from a
 * mapping that has all its pages. Blocks of 4096 bytes are random, larger ones in order. Into 32
 * buffers in turns, as a load of depth 32 has them. Prints a line like the load's; its latencies
 * are means of 16 operations, as reading the clock takes its time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "figures.h"

enum { SLOTS = 32, PER_CLOCK = 16, BYTES_MAX = 1 << 20 };

static struct {
	int fd;
	const unsigned char *map; /* NULL: system calls */
	bool write;
	size_t bytes;
	uint64_t blocks, next, random;
} state = { .random = 88172645463325252u };

/* Pages like a guest's. */
_Alignas(4096) static unsigned char slots[SLOTS * BYTES_MAX];

static void die(const char *what)
{
	fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void some(void)
{
	for (unsigned i = 0; i < PER_CLOCK; i++) {
		static unsigned turn;
		uint64_t block = state.bytes > 4096 ? state.next++ % state.blocks
						    : figures_below(&state.random, state.blocks);
		uint64_t at = block * state.bytes;
		unsigned char *to = slots + turn++ % SLOTS * state.bytes;
		ssize_t n = (ssize_t)state.bytes;

		if (state.map)
			memcpy(to, state.map + at, state.bytes);
		else if (state.write)
			n = pwrite(state.fd, to, state.bytes, (off_t)at);
		else
			n = pread(state.fd, to, state.bytes, (off_t)at);
		if (n != (ssize_t)state.bytes)
			die("a read or write");
		__asm__ volatile("" ::"r"(to) : "memory"); /* the copy is wanted */
	}
}

static void open_file(const char *path, bool map)
{
	off_t size;

	state.fd = open(path, (state.write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	size = state.fd < 0 ? -1 : lseek(state.fd, 0, SEEK_END);
	if (size < (off_t)state.bytes)
		die(path);
	state.blocks = (uint64_t)size / state.bytes;
	memset(slots, 1, SLOTS * state.bytes);
	if (!map)
		return;
	state.map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED | MAP_POPULATE, state.fd, 0);
	if (state.map == MAP_FAILED)
		die("mmap");
}

int main(int argc, char **argv)
{
	static struct figures f;
	bool map = argc > 1 && strcmp(argv[1], "memcpy") == 0;
	double seconds = argc > 4 ? strtod(argv[4], NULL) : 1;
	uint64_t now;

	state.write = argc > 1 && strcmp(argv[1], "pwrite") == 0;
	state.bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : 4096;
	if (argc < 3 || (!map && !state.write && strcmp(argv[1], "pread") != 0) ||
		state.bytes == 0 || state.bytes > BYTES_MAX) {
		fprintf(stderr, "bare: see the head of tests/bench/bare.c for its options\n");
		return 2;
	}
	open_file(argv[2], map);
	f.begin_ns = figures_now_ns() + (uint64_t)((argc > 5 ? strtod(argv[5], NULL) : 0.05) * 1e9);
	do {
		some();
	} while (figures_now_ns() < f.begin_ns);
	f.cpu_begin_ns = figures_cpu_ns(0);
	f.begin_ns = f.end_ns = figures_now_ns();
	do {
		some();
		now = figures_now_ns();
		figures_late(&f, (now - f.end_ns) / PER_CLOCK, PER_CLOCK);
		f.end_ns = now;
	} while ((double)(now - f.begin_ns) < seconds * 1e9);
	f.cpu_end_ns = figures_cpu_ns(0);
	figures_print(&f, true, 0);
	return 0;
}
