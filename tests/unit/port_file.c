/* port/file.c: opening, locking, sizes, and the choice of an engine. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"
#include "unit.h"

static struct port_file f, other;
static const char *what;

static const char *file(enum unit_place place, off_t size)
{
	const char *path = unit_path(place, "image");
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	CHECK(fd >= 0 && ftruncate(fd, size) == 0 && close(fd) == 0);
	return path;
}

static int try(struct port_file *file, struct port_file_options options)
{
	return port_file_open(file, &options, &what);
}

#define OPEN(...) CHECK_OK(try(&f, (struct port_file_options){ __VA_ARGS__ }))

CASE(a_file)
{
	OPEN(.path = file(UNIT_DISK, 12345));
	CHECK(f.open && !f.block_device && !f.read_only);
	CHECK_EQ(f.size, 12345);
	CHECK_EQ(f.logical_block, 512);
	CHECK_EQ(f.physical_block, 512);
	CHECK_EQ(f.fd_direct, -1);
	CHECK_EQ(fcntl(f.fd, F_GETFL) & O_ACCMODE, O_RDWR);
	CHECK_EQ(fcntl(f.fd, F_GETFD), FD_CLOEXEC);
	port_file_close(&f);
	CHECK(!f.open);
	port_file_close(&f);
}

CASE(a_file_for_reading)
{
	OPEN(.path = file(UNIT_DISK, 4096), .read_only = true);
	CHECK(f.read_only);
	CHECK_EQ(fcntl(f.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
}

CASE(what_cannot_be_opened)
{
	const char *path = file(UNIT_DISK, 4096);

	CHECK_EQ(try(&f, (struct port_file_options){ .path = unit_path(UNIT_DISK, "none") }),
		-ENOENT);
	CHECK_TEXT(what, "cannot open");
	CHECK_EQ(try(&f, (struct port_file_options){ .path = "/", .read_only = true }), -EISDIR);
	CHECK_TEXT(what, "neither a file nor a block device");
	CHECK_EQ(try(&f, (struct port_file_options){ .path = "/dev/null" }), -EINVAL);
	CHECK_EQ(try(&f, (struct port_file_options){ .path = path, .create_size = UINT64_MAX }),
		-EFBIG);
	CHECK_TEXT(what, "cannot grow it");
	CHECK(!f.open);
}

CASE(a_file_is_made_or_grown_and_never_cut)
{
	const char *path = unit_path(UNIT_DISK, "new");

	OPEN(.path = path, .create_size = 1 << 20);
	CHECK_EQ(f.size, 1 << 20);
	port_file_close(&f);
	OPEN(.path = path, .create_size = 1000);
	CHECK_EQ(f.size, 1 << 20);
	port_file_close(&f);
	OPEN(.path = path, .create_size = 2 << 20);
	CHECK_EQ(f.size, 2 << 20);
}

CASE(a_locked_file_is_not_opened_again)
{
	const char *path = file(UNIT_DISK, 4096);

	OPEN(.path = path);
	CHECK_EQ(try(&other, (struct port_file_options){ .path = path }), -EAGAIN);
	CHECK_EQ(try(&other, (struct port_file_options){ .path = path, .read_only = true }),
		-EAGAIN);
	CHECK_OK(try(&other, (struct port_file_options){ .path = path, .no_lock = true }));
	port_file_close(&other);
	port_file_close(&f);
	CHECK_OK(try(&other, (struct port_file_options){ .path = path }));
}

CASE(readers_share)
{
	const char *path = file(UNIT_DISK, 4096);

	OPEN(.path = path, .read_only = true);
	CHECK_OK(try(&other, (struct port_file_options){ .path = path, .read_only = true }));
	port_file_close(&other);
	CHECK_EQ(try(&other, (struct port_file_options){ .path = path }), -EAGAIN);
}

CASE(a_lock_that_is_given_back_soon_is_waited_for)
{
	const char *path = file(UNIT_DISK, 4096);
	pid_t child;
	int ready[2];
	char byte;

	CHECK_OK(pipe(ready));
	child = fork();
	if (child == 0) {
		(void)try(&f, (struct port_file_options){ .path = path });
		(void)!write(ready[1], "x", 1);
		(void)usleep(200000);
		_exit(0);
	}
	CHECK_EQ(read(ready[0], &byte, 1), 1);
	OPEN(.path = path);
	CHECK_EQ(waitpid(child, NULL, 0), child);
}

/* ---- engines ---- */

CASE(memory_is_mapped)
{
	OPEN(.path = file(UNIT_MEMORY, 1 << 20));
	CHECK_EQ(f.engine, PORT_ENGINE_MMAP);
	CHECK_TEXT(f.engine_why, "tmpfs");
	CHECK(f.map.base && f.map_at);
	port_file_close(&f);
	OPEN(.path = file(UNIT_MEMORY, 0));
	CHECK(f.engine != PORT_ENGINE_MMAP); /* there is nothing to map */
}

CASE(other_files_have_io_uring)
{
	struct statfs fs;
	const char *path = file(UNIT_DISK, 1 << 20);

	CHECK_OK(statfs(path, &fs));
	if (fs.f_type == 0x01021994)
		unit_skip("TMPDIR is a tmpfs");
	OPEN(.path = path);
	if (f.engine == PORT_ENGINE_SYNC)
		unit_skip(f.engine_why);
	CHECK_EQ(f.engine, PORT_ENGINE_URING);
	CHECK_TEXT(f.engine_why, "a file or block device");
}

CASE(the_engine_can_be_named)
{
	static const enum port_engine engines[] = { PORT_ENGINE_MMAP, PORT_ENGINE_SYNC };

	for (unsigned i = 0; i < 2; i++) {
		OPEN(.path = file(UNIT_DISK, 1 << 20), .engine = engines[i]);
		CHECK_EQ(f.engine, engines[i]);
		CHECK_TEXT(f.engine_why, "as --io says");
		port_file_close(&f);
	}
}

CASE(past_the_page_cache)
{
	const char *path = file(UNIT_DISK, 1 << 20);

	if (try(&f, (struct port_file_options){ .path = path, .direct = true }) < 0)
		unit_skip("TMPDIR has no O_DIRECT");
	CHECK(f.fd_direct >= 0);
	CHECK((fcntl(f.fd_direct, F_GETFL) & O_DIRECT) != 0);
	CHECK(f.direct_memory > 0 && f.direct_offset > 0);
	CHECK(f.engine != PORT_ENGINE_MMAP);
}

/* ---- sizes that change ---- */

CASE(a_file_that_grows_is_mapped_anew)
{
	const char *path = file(UNIT_MEMORY, 4096);

	OPEN(.path = path);
	CHECK_OK(truncate(path, 1 << 20));
	CHECK_OK(port_file_resize(&f));
	CHECK_EQ(f.size, 1 << 20);
	CHECK_EQ(f.map.len, 1 << 20);
	f.map_at[(1 << 20) - 1] = 'x';
	CHECK_OK(truncate(path, 0));
	CHECK_OK(port_file_resize(&f));
	CHECK_EQ(f.size, 0);
	CHECK(f.map.base == NULL);
}

CASE(a_file_that_grows_without_a_mapping)
{
	const char *path = file(UNIT_DISK, 4096);

	OPEN(.path = path, .engine = PORT_ENGINE_SYNC);
	CHECK_OK(truncate(path, 10000));
	CHECK_OK(port_file_resize(&f));
	CHECK_EQ(f.size, 10000);
}

CASE(a_block_device)
{
	char command[300], device[100] = "";
	FILE *p;

	(void)snprintf(command, sizeof(command), "losetup -f --show %s 2>/dev/null",
		file(UNIT_DISK, 1 << 20));
	p = popen(command, "r");
	CHECK(p);
	if (!fgets(device, sizeof(device), p) || pclose(p) != 0)
		unit_skip("no loop devices");
	device[strcspn(device, "\n")] = 0;
	(void)snprintf(command, sizeof(command), "losetup -d %s", device);
	if (try(&f, (struct port_file_options){ .path = device }) < 0) {
		(void)!system(command);
		FAIL("%s: %s", device, what);
	}
	CHECK_OK(system(command)); /* it goes when f is closed */
	CHECK(f.block_device);
	CHECK_EQ(f.size, 1 << 20);
	CHECK(f.logical_block >= 512 && f.physical_block >= f.logical_block);
}
