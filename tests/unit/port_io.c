/* port/io*.c: every engine does the same to a file. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"
#include "unit.h"

enum { SIZE = 4 << 20, IOS = 300, PIECES = 3000 };

static struct port_file f;
static const char *path, *what;
static struct port_io ios[IOS];
static struct span spans[PIECES];
static unsigned char memory[SIZE], model[SIZE];

/* ---- every case runs for every engine on each kind of file system ---- */

struct kind {
	enum port_engine engine;
	enum unit_place place;
	bool direct;
};
static const struct kind kinds[] = { { PORT_ENGINE_SYNC, UNIT_DISK, false },
	{ PORT_ENGINE_SYNC, UNIT_MEMORY, false }, { PORT_ENGINE_URING, UNIT_DISK, false },
	{ PORT_ENGINE_URING, UNIT_MEMORY, false }, { PORT_ENGINE_MMAP, UNIT_DISK, false },
	{ PORT_ENGINE_MMAP, UNIT_MEMORY, false }, { PORT_ENGINE_SYNC, UNIT_DISK, true },
	{ PORT_ENGINE_URING, UNIT_DISK, true }, { PORT_ENGINE_AUTO, UNIT_DISK, false } };

static unsigned numbers = 1;

static unsigned number_below(unsigned n)
{
	numbers = numbers * 1103515245 + 12345;
	return (numbers >> 8) % n;
}

static void make_file(const char *name, enum unit_place place)
{
	int fd;

	path = unit_path(place, name);
	for (unsigned i = 0; i < SIZE; i++)
		model[i] = (unsigned char)(1 + number_below(255));
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	CHECK_EQ(write(fd, model, SIZE), SIZE);
	CHECK_OK(close(fd));
}

/* Opens a fresh file for kind k; false if this machine has no such engine. */
static bool start(unsigned k)
{
	make_file("image", kinds[k].place);
	if (port_file_open(&f,
		    &(struct port_file_options){
			    .path = path, .direct = kinds[k].direct, .engine = kinds[k].engine },
		    &what) == 0)
		return true;
	fprintf(stderr, "kind %u: %s\n", k, what);
	return false;
}

#define FOR_EVERY_KIND                                \
	for (unsigned k = 0; k < countof(kinds); k++) \
		for (bool runs = start(k); runs; runs = false, port_file_close(&f))

/* The result of the only I/O there is, waited for as the loop does it. */
static int result(void)
{
	static int event = -1;
	struct port_io *io;

	if (event < 0 && port_io_event() >= 0) {
		event = port_io_event();
		CHECK_OK(port_wait_open());
		CHECK_OK(port_wait_add(event, 1, PORT_EDGE));
	}
	port_io_submit();
	while (!(io = port_io_reap())) {
		uint64_t token;

		if (!port_io_ready())
			(void)port_wait(&token, 1, -1);
		port_io_submit();
	}
	CHECK(io == &ios[0]);
	CHECK_EQ(port_io_pending(), 0);
	return io->result;
}

/* Spans over n pieces of memory of at most `piece` bytes: `len` bytes in all. */
static uint32_t cut(uint32_t len, uint32_t piece)
{
	uint32_t n = 0;

	for (uint32_t at = 0; at < len; at += piece, n++)
		spans[n] = (struct span){ (struct guest *)(memory + at),
			(size_t)num_min(piece, len - at) };
	return n;
}

static int read_in_pieces(uint64_t offset, uint32_t len, uint32_t piece)
{
	struct sink sink = { spans, cut(len, piece) };

	port_io_read(&ios[0], &f, sink, offset, len);
	return result();
}

static int write_in_pieces(uint64_t offset, uint32_t len, uint32_t piece, bool sync)
{
	struct source source = { spans, cut(len, piece) };

	port_io_write(&ios[0], &f, source, offset, len, sync);
	return result();
}

/* That the file has what the model has. */
static void expect_model(void)
{
	static unsigned char now[SIZE];
	int fd = open(path, O_RDONLY);

	CHECK_EQ(read(fd, now, SIZE), SIZE);
	CHECK_OK(close(fd));
	CHECK_BYTES(now, model, SIZE);
}

/* ---- reading and writing ---- */

CASE(reads)
{
	FOR_EVERY_KIND
	{
		for (unsigned i = 0; i < 50; i++) {
			uint32_t offset = 512 * number_below(SIZE / 512);
			uint32_t len = 512 * (1 + number_below(64));

			if (offset + len > SIZE)
				continue;
			memset(memory, 0, len);
			CHECK_OK(read_in_pieces(offset, len, 12 + number_below(9000)));
			CHECK_BYTES(memory, model + offset, len);
		}
	}
}

CASE(writes)
{
	FOR_EVERY_KIND
	{
		for (unsigned i = 0; i < 50; i++) {
			uint32_t offset = 512 * number_below(SIZE / 512);
			uint32_t len = 512 * (1 + number_below(64));

			if (offset + len > SIZE)
				continue;
			for (uint32_t at = 0; at < len; at++)
				memory[at] = model[offset + at] = (unsigned char)number_below(256);
			CHECK_OK(write_in_pieces(offset, len, 12 + number_below(9000), i % 2 == 0));
		}
		expect_model();
	}
}

CASE(more_pieces_than_one_call_takes)
{
	FOR_EVERY_KIND
	{
		CHECK_OK(read_in_pieces(100 * 512, PIECES * 16, 16));
		CHECK_BYTES(memory, model + 100 * 512, PIECES * 16);
		memset(memory, 'x', PIECES * 16);
		memset(model + 512, 'x', PIECES * 16);
		CHECK_OK(write_in_pieces(512, PIECES * 16, 16, true));
		expect_model();
	}
}

CASE(the_whole_file)
{
	FOR_EVERY_KIND
	{
		CHECK_OK(read_in_pieces(0, SIZE, SIZE));
		CHECK_BYTES(memory, model, SIZE);
		memset(memory, 'y', SIZE);
		memset(model, 'y', SIZE);
		CHECK_OK(write_in_pieces(0, SIZE, 1 << 20, false));
		expect_model();
	}
}

CASE(aligned_and_not)
{
	FOR_EVERY_KIND
	{
		struct sink sink = { spans, 1 };

		for (unsigned i = 0; i < 8; i++) {
			unsigned char *at = memory + 4096 - (uintptr_t)memory % 4096 + i;

			spans[0] = (struct span){ (struct guest *)at, 8192 };
			port_io_read(&ios[0], &f, sink, 4096, 8192);
			CHECK_OK(result());
			CHECK_BYTES(at, model + 4096, 8192);
		}
	}
}

CASE(many_at_once)
{
	FOR_EVERY_KIND
	{
		bool seen[IOS] = { false };
		unsigned done = 0;

		memset(memory, 0, sizeof(memory));
		for (unsigned i = 0; i < IOS; i++) {
			struct sink sink = { &spans[i], 1 };

			spans[i] = (struct span){ (struct guest *)(memory + 4096 * i), 4096 };
			port_io_read(&ios[i], &f, sink, 4096 * i, 4096);
		}
		CHECK_EQ(port_io_pending(), IOS);
		while (done < IOS) {
			struct port_io *io;

			port_io_submit();
			while ((io = port_io_reap())) {
				CHECK_OK(io->result);
				CHECK(!seen[io - ios]);
				seen[io - ios] = true;
				done++;
			}
		}
		CHECK_EQ(port_io_pending(), 0);
		CHECK(!port_io_ready() && port_io_reap() == NULL);
		CHECK_BYTES(memory, model, 4096 * IOS);
	}
}

CASE(a_flush)
{
	FOR_EVERY_KIND
	{
		memset(memory, 'z', 4096);
		memset(model, 'z', 4096);
		CHECK_OK(write_in_pieces(0, 4096, 4096, false));
		port_io_flush(&ios[0], &f);
		CHECK_OK(result());
		expect_model();
	}
}

/* ---- discards and zeroes ---- */

CASE(discards)
{
	FOR_EVERY_KIND
	{
		for (unsigned sync = 0; sync < 2; sync++) {
			port_io_discard(&ios[0], &f, 1 << 20, 1 << 20, sync);
			CHECK_OK(result());
			port_io_discard(&ios[0], &f, 4096, 0, sync);
			CHECK_OK(result());
		}
		CHECK_OK(read_in_pieces(0, SIZE, SIZE));
		CHECK_BYTES(memory, model, 1 << 20);
		CHECK_BYTES(memory + (2 << 20), model + (2 << 20), 2 << 20);
	}
}

CASE(a_discard_gives_space_back)
{
	FOR_EVERY_KIND
	{
		struct stat before, after;

		CHECK_OK(fsync(f.fd));
		CHECK_OK(stat(path, &before));
		port_io_discard(&ios[0], &f, 0, 2 << 20, true);
		CHECK_OK(result());
		CHECK_OK(stat(path, &after));
		CHECK(!f.can_discard || after.st_blocks < before.st_blocks);
		CHECK_EQ(after.st_size, SIZE);
	}
}

CASE(zeroes)
{
	FOR_EVERY_KIND
	{
		for (unsigned how = 0; how < 4; how++) {
			uint64_t offset = (how << 20) + 512, len = (512 << 10) + 512;

			port_io_zero(&ios[0], &f, offset, len, how & 1, how >> 1);
			CHECK_OK(result());
			memset(model + offset, 0, len);
			port_io_zero(&ios[0], &f, 0, 0, how & 1, how >> 1);
			CHECK_OK(result());
		}
		expect_model();
	}
}

CASE(zeroes_that_the_file_system_cannot_make)
{
	FOR_EVERY_KIND
	{
		f.can_zero = f.can_discard = false;
		port_io_zero(&ios[0], &f, 512, (3 << 20) + 512, true, true);
		CHECK_OK(result());
		memset(model + 512, 0, (3 << 20) + 512);
		expect_model();
		port_io_discard(&ios[0], &f, 0, 4096, false);
		CHECK_OK(result());
		expect_model();
	}
}

/* ---- failures ---- */

CASE(a_file_that_is_shorter_than_it_was)
{
	FOR_EVERY_KIND
	{
		CHECK_OK(truncate(path, 1 << 20));
		CHECK_EQ(read_in_pieces((1 << 20) - 4096, 16384, 16384), -EIO);
		CHECK_EQ(read_in_pieces(2 << 20, 4096, 4096), -EIO);
		CHECK_OK(read_in_pieces(0, 4096, 512));
		CHECK_BYTES(memory, model, 4096);
	}
}

CASE(a_file_that_may_not_be_written)
{
	for (unsigned k = 0; k < 6; k++) {
		if (!start(k))
			continue;
		port_file_close(&f);
		if (kinds[k].engine == PORT_ENGINE_MMAP)
			continue; /* blk refuses before it asks; a mapping would fault */
		CHECK_OK(port_file_open(&f,
			&(struct port_file_options){
				.path = path, .read_only = true, .engine = kinds[k].engine },
			&what));
		CHECK_OK(read_in_pieces(0, 4096, 4096));
		CHECK_EQ(write_in_pieces(0, 4096, 4096, false), -EBADF);
		CHECK_EQ(write_in_pieces(0, 4096, 4096, true), -EBADF);
		port_io_zero(&ios[0], &f, 0, 4096, true, false);
		CHECK_EQ(result(), -EBADF);
		port_file_close(&f);
		expect_model();
	}
}

CASE(memory_that_is_nowhere)
{
	FOR_EVERY_KIND
	{
		struct sink sink = { spans, 2 };

		if (kinds[k].engine == PORT_ENGINE_MMAP || f.may_cache || f.fd_direct >= 0)
			continue; /* we copy, and are to die of this */
		spans[0] = (struct span){ (struct guest *)memory, 4096 };
		spans[1] = (struct span){ (struct guest *)4096, 4096 };
		port_io_read(&ios[0], &f, sink, 0, 8192);
		CHECK_EQ(result(), -EFAULT);
	}
}

CASE(guest_memory_that_was_taken_back)
{
	FOR_EVERY_KIND
	{
		struct port_map map = { 0 };
		struct source source = { spans, 1 };
		struct sink sink = { spans, 1 };
		int fd = memfd_create("guest", MFD_CLOEXEC);
		char *at;

		CHECK_OK(ftruncate(fd, 8192));
		CHECK_OK(port_map(&map, fd, 0, 8192, true, &at));
		CHECK_OK(ftruncate(fd, 0));
		spans[0] = (struct span){ (struct guest *)at, 8192 };
		port_io_read(&ios[0], &f, sink, 0, 8192);
		(void)result(); /* it may fail or not, but we live */
		spans[0] = (struct span){ (struct guest *)at, 8192 };
		port_io_write(&ios[0], &f, source, 0, 8192, false);
		(void)result();
		port_unmap(&map);
		CHECK_OK(close(fd));
	}
}

CASE(a_file_that_may_not_grow)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };

	CHECK_OK(port_process_open());
	CHECK(start(0));
	CHECK_OK(truncate(path, 1 << 20));
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
	CHECK_EQ(write_in_pieces(1 << 20, 4096, 4096, false), -EFBIG);
	CHECK_OK(write_in_pieces(0, 4096, 4096, false));
}

/* A tmpfs of 1 MiB with a sparse file of 4 MiB on it, in a mount namespace of our own. */
static void mount_small(void)
{
	static char dir[200];

	(void)snprintf(dir, sizeof(dir), "%s", unit_path(UNIT_DISK, "small"));
	CHECK_OK(mkdir(dir, 0700));
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", dir, "tmpfs", 0, "size=1m") < 0)
		unit_skip("it takes root to mount a small file system");
	path = unit_path(UNIT_DISK, "small/image");
}

CASE(a_full_file_system)
{
	static const enum port_engine engines[] = { PORT_ENGINE_SYNC, PORT_ENGINE_MMAP,
		PORT_ENGINE_URING };

	mount_small();
	for (unsigned i = 0; i < countof(engines); i++) {
		(void)unlink(path);
		if (port_file_open(&f,
			    &(struct port_file_options){
				    .path = path, .create_size = SIZE, .engine = engines[i] },
			    &what) < 0)
			continue;
		memset(memory, 'f', SIZE);
		CHECK_OK(write_in_pieces(0, 512 << 10, 4096, false));
		CHECK(write_in_pieces(1 << 20, 2 << 20, 4096, false) < 0);
		memset(memory, 0, 4096);
		CHECK_OK(read_in_pieces(4096, 4096, 4096));
		CHECK_EQ(memory[0], 'f');
		port_io_discard(&ios[0], &f, 1 << 20, 3 << 20, false);
		CHECK_OK(result());
		memset(memory, 'g', 4096);
		CHECK_OK(write_in_pieces(3 << 20, 4096, 4096, false));
		CHECK_OK(read_in_pieces(3 << 20, 4096, 4096));
		CHECK_EQ(memory[0], 'g');
		port_file_close(&f);
	}
}

/* ---- block devices ---- */

CASE(a_block_device)
{
	char command[300], device[100] = "";
	FILE *p;

	make_file("image", UNIT_DISK);
	(void)snprintf(command, sizeof(command), "losetup -f --show %s 2>/dev/null", path);
	p = popen(command, "r");
	CHECK(p);
	if (!fgets(device, sizeof(device), p) || pclose(p) != 0)
		unit_skip("no loop devices");
	device[strcspn(device, "\n")] = 0;
	(void)snprintf(command, sizeof(command), "losetup -d %s", device);
	for (unsigned i = 0; i < 2; i++) {
		bool open =
			port_file_open(&f,
				&(struct port_file_options){ .path = device,
					.engine = i == 0 ? PORT_ENGINE_SYNC : PORT_ENGINE_AUTO },
				&what) == 0;

		if (i == 1 || !open)
			CHECK_OK(system(command)); /* it goes when f is closed */
		CHECK(open);
		CHECK_OK(read_in_pieces(512, 1 << 20, 10000));
		CHECK_BYTES(memory, model + 512, 1 << 20);
		port_io_zero(&ios[0], &f, 4096, 1 << 20, i == 0, true);
		CHECK_OK(result());
		memset(model + 4096, 0, 1 << 20);
		port_io_discard(&ios[0], &f, 3 << 20, 4096, true);
		CHECK_OK(result());
		CHECK_OK(read_in_pieces(0, 3 << 20, 3 << 20));
		CHECK_BYTES(memory, model, 3 << 20);
		port_file_close(&f);
	}
}
