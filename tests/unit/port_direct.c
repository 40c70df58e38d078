/*
 * port/io_direct.c: an image past the page cache takes requests of any alignment, and never mixes
 * the two: the kernel fails a flush, and may lose data, where they meet in a page.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "num.h"
#include "port.h"
#include "unit.h"

enum { PAGES = 8, PAGE = 4096, SECTOR = 512, BYTES = PAGES * PAGE, IOS = BYTES / SECTOR };

static struct port_file f;
static struct port_io ios[IOS];
static struct span spans[IOS + 2];
static _Alignas(PAGE) unsigned char memory[2 * BYTES];
static unsigned char model[BYTES];
static const char *path;

static void start(enum port_engine engine, uint64_t size)
{
	struct port_file_options options = { .direct = true, .engine = engine };
	const char *what;
	int fd;

	path = unit_path(UNIT_DISK, "image");
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	CHECK(fd >= 0);
	(void)close(fd);
	CHECK_OK(truncate(path, (off_t)size));
	options.path = path;
	if (port_file_open(&f, &options, &what) < 0)
		unit_skip("no such engine, or no O_DIRECT on this file system");
	CHECK(f.fd_direct >= 0);
}

/* Waits for all that is on its way; all of it must be good. */
static void finish(void)
{
	while (port_io_pending() > 0) {
		struct port_io *io;

		port_io_submit();
		while ((io = port_io_reap()))
			CHECK_OK(io->result);
	}
}

static void flush(void)
{
	static struct port_io io;

	port_io_flush(&io, &f);
	finish();
}

/* One sector from memory that is aligned, or not. */
static void write_sector(unsigned i, bool aligned, unsigned char value)
{
	unsigned char *at = memory + (size_t)i * 2 * SECTOR + (aligned ? 0 : 1);

	memset(at, value, SECTOR);
	memset(model + i * SECTOR, value, SECTOR);
	spans[i] = (struct span){ (struct guest *)at, SECTOR };
	port_io_write(&ios[i], &f, (struct source){ &spans[i], 1 }, i * SECTOR, SECTOR, false);
}

static void expect_model(size_t len)
{
	static unsigned char bytes[BYTES];
	int fd = open(path, O_RDONLY);

	CHECK_EQ(pread(fd, bytes, len, 0), (ssize_t)len);
	CHECK_OK(close(fd));
	CHECK_BYTES(bytes, model, len);
}

static void neighbours(enum port_engine engine)
{
	start(engine, BYTES);
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < IOS; i++)
			write_sector(i, (i + round) % 2 == 0, (unsigned char)(round + i));
		finish();
		flush();
	}
	port_file_close(&f);
	expect_model(BYTES);
}

CASE(neighbours_in_a_page_with_io_uring)
{
	neighbours(PORT_ENGINE_URING);
}

CASE(neighbours_in_a_page_with_plain_calls)
{
	neighbours(PORT_ENGINE_SYNC);
}

/* Reads what the model has: any range, any pieces. */
static void read_range(uint32_t offset, uint32_t len, unsigned skip, uint32_t piece)
{
	uint32_t n = 0;

	for (uint32_t at = 0; at < len; at += piece, n++)
		spans[n] = (struct span){ (struct guest *)(memory + skip + at),
			(size_t)num_min(piece, len - at) };
	memset(memory, 0, sizeof(memory));
	port_io_read(&ios[0], &f, (struct sink){ spans, n }, offset, len);
	finish();
	CHECK_BYTES(memory + skip, model + offset, len);
	for (unsigned i = 0; i < skip; i++)
		CHECK_EQ(memory[i], 0);
	CHECK_EQ(memory[skip + len], 0);
}

CASE(any_memory_and_any_pieces)
{
	static const uint32_t pieces[] = { 511, 512, 513, 1000, 4096, 5000, BYTES };

	start(PORT_ENGINE_SYNC, BYTES);
	for (unsigned i = 0; i < IOS; i++)
		write_sector(i, i % 3 == 0, (unsigned char)(1 + i));
	finish();
	for (unsigned p = 0; p < countof(pieces); p++)
		for (unsigned skip = 0; skip < 3; skip++) {
			read_range(0, BYTES, skip, pieces[p]);
			read_range(3 * SECTOR, 2 * PAGE, skip, pieces[p]);
		}
}

/* (No length of a virtio disk is like this, but a file's may be.) */
CASE(a_last_block_that_is_not_whole)
{
	enum { TAIL = BYTES - 1000 };

	start(PORT_ENGINE_SYNC, TAIL);
	memset(memory, 7, sizeof(memory));
	memset(model, 7, sizeof(model));
	spans[0] = (struct span){ (struct guest *)(memory + 1), TAIL };
	port_io_write(&ios[0], &f, (struct source){ spans, 1 }, 0, TAIL, true);
	finish();
	read_range(0, TAIL, 1, TAIL);
	read_range(TAIL - 10, 10, 0, 3);
	port_file_close(&f);
	expect_model(TAIL);
	CHECK_EQ(lseek(open(path, O_RDONLY), 0, SEEK_END), TAIL);
}

CASE(zeroes_and_holes_of_any_range)
{
	start(PORT_ENGINE_URING, BYTES);
	for (unsigned i = 0; i < IOS; i++)
		write_sector(i, true, (unsigned char)(1 + i));
	finish();
	port_io_zero(&ios[0], &f, 3 * SECTOR, 2 * PAGE, true, true);
	memset(model + 3 * SECTOR, 0, 2 * PAGE);
	finish();
	port_io_zero(&ios[0], &f, 4 * PAGE, PAGE, false, false);
	memset(model + 4 * PAGE, 0, PAGE);
	finish();
	/* Of what is discarded only whole pages may go. */
	port_io_discard(&ios[0], &f, 5 * PAGE + SECTOR, 2 * PAGE, true);
	memset(model + 6 * PAGE, 0, PAGE);
	finish();
	port_io_discard(&ios[0], &f, 7 * PAGE + SECTOR, SECTOR, false);
	finish();
	read_range(0, BYTES, 0, BYTES);
	port_file_close(&f);
	expect_model(BYTES);
}
