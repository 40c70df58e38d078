/* port/io_cached.c: copies from and to what the page cache has, and what if it has not. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"
#include "unit.h"

enum { PAGE = 4096, PAGES = 1024, SIZE = PAGE * PAGES };

static struct port_file f;
static const char *path;
static struct port_io io;
static struct span span;
static unsigned char memory[PAGE * 64];

static unsigned char byte_of(unsigned page)
{
	return (unsigned char)(page % 251 + 1);
}

static void start(bool read_only)
{
	struct port_file_options options = { .engine = PORT_ENGINE_AUTO, .read_only = read_only };
	const char *what;
	int fd;

	path = unit_path(UNIT_DISK, "image");
	fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
	for (unsigned i = 0; i < PAGES; i++) {
		memset(memory, byte_of(i), PAGE);
		CHECK_EQ(write(fd, memory, PAGE), PAGE);
	}
	CHECK_OK(fsync(fd));
	(void)close(fd);
	options.path = path;
	CHECK_OK(port_wait_open());
	CHECK_OK(port_file_open(&f, &options, &what));
	if (!f.may_cache)
		unit_skip("a file system whose page cache is not used so, or a 32-bit machine");
}

static int result(void)
{
	do
		port_io_submit();
	while (!port_io_reap());
	return io.result;
}

static void start_read(unsigned page, unsigned count)
{
	memset(memory, 0, sizeof(memory));
	span = (struct span){ (struct guest *)memory, (size_t)count * PAGE };
	port_io_read(&io, &f, (struct sink){ &span, 1 }, (uint64_t)page * PAGE, count * PAGE);
}

static void expect_pages(unsigned page, unsigned count)
{
	for (unsigned i = 0; i < count * PAGE; i++)
		CHECK_EQ(memory[i], byte_of(page + i / PAGE));
}

static void start_write(unsigned page, unsigned char byte)
{
	memset(memory, byte, PAGE);
	span = (struct span){ (struct guest *)memory, PAGE };
	port_io_write(&io, &f, (struct source){ &span, 1 }, (uint64_t)page * PAGE, PAGE, false);
}

/* Has the kernel drop what it has of the file. */
static void drop_cache(void)
{
	CHECK_OK(fsync(f.fd));
	CHECK_EQ(posix_fadvise(f.fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

CASE(what_is_there_is_copied)
{
	start(false);
	for (unsigned page = 0; page + 33 < PAGES; page += 7) {
		start_read(page, 1 + page % 33);
		CHECK(engine_mmap_ready());
		CHECK_OK(result());
		expect_pages(page, 1 + page % 33);
	}
	CHECK(f.map_used);
}

CASE(what_is_not_there_is_for_the_engine)
{
	start(false);
	drop_cache();
	start_read(700, 1);
	CHECK(!engine_mmap_ready());
	CHECK_OK(result());
	expect_pages(700, 1);
	/* Now it is. */
	start_read(700, 1);
	CHECK(engine_mmap_ready());
	CHECK_OK(result());
	expect_pages(700, 1);
}

CASE(writes_reach_the_file)
{
	unsigned char now[PAGE];
	int fd;

	start(false);
	start_write(3, 'w');
	CHECK(engine_mmap_ready());
	CHECK_OK(result());
	/* One that must be on stable storage is not a copy. */
	span = (struct span){ (struct guest *)memory, PAGE };
	port_io_write(&io, &f, (struct source){ &span, 1 }, 5 * PAGE, PAGE, true);
	CHECK(!engine_mmap_ready());
	CHECK_OK(result());
	fd = open(path, O_RDONLY);
	for (unsigned page = 3; page <= 5; page += 2) {
		CHECK_EQ(pread(fd, now, PAGE, page * PAGE), PAGE);
		CHECK_BYTES(now, memory, PAGE);
	}
	(void)close(fd);
}

CASE(read_only_is_read_only)
{
	start(true);
	start_read(0, 8);
	CHECK_OK(result());
	expect_pages(0, 8);
	CHECK_EQ(mprotect(f.map.base, PAGE, PROT_READ | PROT_WRITE), -1);
}

/* As if the kernel had taken pages back since they were learnt. */
CASE(what_has_gone_meanwhile_is_read_all_the_same)
{
	start(false);
	start_read(10, 1);
	CHECK_OK(result());
	CHECK_OK(madvise(f.map.base, f.map.len, MADV_DONTNEED));
	drop_cache();
	start_read(10, 1);
	CHECK(engine_mmap_ready());
	CHECK_OK(result());
	expect_pages(10, 1);
}

CASE(a_file_that_shrinks_is_an_error_and_no_signal)
{
	start(false);
	start_read(1000, 1);
	CHECK_OK(result());
	CHECK_OK(truncate(path, 512 * PAGE));
	start_read(1000, 1);
	CHECK_EQ(result(), -EIO);
	start_read(500, 1);
	CHECK_OK(result());
	expect_pages(500, 1);
	/* … nor does a write make a file of it that nobody sees. */
	CHECK_OK(truncate(path, SIZE));
	start_write(1000, 'n');
	CHECK_OK(result());
	memset(memory, 0, PAGE);
	CHECK_EQ(pread(f.fd, memory, PAGE, 1000 * PAGE), PAGE);
	CHECK_EQ(memory[0], 'n');
}

static long resident_kib(void)
{
	unsigned long pages = 0, shared = 0;
	FILE *statm = fopen("/proc/self/statm", "re");

	CHECK(statm && fscanf(statm, "%*u %lu %lu", &pages, &shared) == 2);
	(void)fclose(statm);
	return (long)(shared * (unsigned long)getpagesize() / 1024);
}

CASE(idleness_gives_it_back)
{
	uint64_t token;
	long before;

	start(false);
	before = resident_kib();
	for (unsigned page = 0; page < PAGES; page += 64) {
		start_read(page, 64);
		CHECK_OK(result());
	}
	CHECK(engine_cached_used() && resident_kib() > before + 2048);
	/* A timeout that is longer than the rest begins: it ends in time all the same. */
	CHECK_EQ(port_wait(&token, 1, 1200000000), 0);
	CHECK(!engine_cached_used() && resident_kib() < before + 1024);
	start_read(77, 3);
	CHECK_OK(result());
	expect_pages(77, 3);
}

CASE(a_file_that_grows)
{
	start(false);
	start_read(PAGES - 1, 1);
	CHECK_OK(result());
	CHECK_OK(truncate(path, 2 * SIZE));
	CHECK_OK(port_file_resize(&f));
	start_write(PAGES + 5, 'g');
	CHECK_OK(result());
	start_read(PAGES - 1, 1);
	CHECK_OK(result());
	expect_pages(PAGES - 1, 1);
	start_read(PAGES + 5, 1);
	CHECK(engine_mmap_ready());
	CHECK_OK(result());
	CHECK_EQ(memory[0], 'g');
}
