/* port/map.c: shared memory, and what happens when someone takes it back. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port.h"
#include "unit.h"

static struct port_map map, other;
static char *at;

/* A memfd whose bytes count up, one for each 16. */
static int file(size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	CHECK_OK(ftruncate(fd, (off_t)len));
	for (size_t i = 0; i < len; i++)
		CHECK_EQ(pwrite(fd, &(char){ (char)(i / 16) }, 1, (off_t)i), 1);
	return fd;
}

CASE(memory_is_shared)
{
	int fd = file(8192);
	char byte;

	CHECK_OK(port_map(&map, fd, 0, 8192, true, &at));
	CHECK_EQ(at[160], 10);
	at[160] = 'x';
	CHECK_EQ(pread(fd, &byte, 1, 160), 1);
	CHECK_EQ(byte, 'x');
	CHECK_OK(close(fd));
	CHECK_EQ(at[161], 10);
	port_unmap(&map);
	CHECK(map.base == NULL);
	port_unmap(&map);
}

CASE(offsets_of_any_alignment)
{
	static const uint64_t offsets[] = { 0, 1, 100, 4095, 4096, 4097, 8191, 10000 };
	int fd = file(16384);

	for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		uint64_t o = offsets[i];

		CHECK_OK(port_map(&map, fd, o, 16384 - o, true, &at));
		CHECK_EQ((unsigned char)at[0], (unsigned char)(o / 16));
		CHECK_EQ((unsigned char)at[16383 - o], (unsigned char)(16383 / 16));
		port_unmap(&map);
	}
}

CASE(what_cannot_be_mapped)
{
	int fd = file(8192), ends[2];

	CHECK_EQ(port_map(&map, fd, 0, 0, true, &at), -EINVAL);
	CHECK_EQ(port_map(&map, fd, 0, 8193, true, &at), -EFAULT);
	CHECK_EQ(port_map(&map, fd, 8192, 1, true, &at), -EFAULT);
	CHECK_EQ(port_map(&map, fd, UINT64_MAX, 2, true, &at), -EINVAL);
	CHECK_EQ(port_map(&map, fd, 1, UINT64_MAX, true, &at), -EINVAL);
	CHECK_EQ(port_map(&map, fd, 0, UINT64_MAX, true, &at), -EFAULT);
	CHECK_EQ(port_map(&map, fd, INT64_MAX, 1, true, &at), -EFAULT);
	CHECK_EQ(port_map(&map, 9999, 0, 1, true, &at), -EBADF);
	CHECK_OK(pipe(ends));
	CHECK(port_map(&map, ends[0], 0, 1, true, &at) < 0);
	CHECK(port_map(&map, open("/", O_RDONLY), 0, 1, true, &at) < 0);
	CHECK(map.base == NULL);
}

CASE(a_file_that_is_open_for_reading_only)
{
	const char *path = unit_path(UNIT_DISK, "f");
	int fd = open(path, O_CREAT | O_RDWR, 0600), reading;

	CHECK_OK(ftruncate(fd, 4096));
	reading = open(path, O_RDONLY);
	CHECK_EQ(port_map(&map, reading, 0, 4096, true, &at), -EACCES);
	CHECK_OK(port_map(&map, reading, 0, 4096, false, &at));
	CHECK_EQ(at[0], 0);
}

CASE(memory_that_is_taken_back_becomes_zeroes)
{
	int fd = file(16384);

	CHECK_OK(port_map(&map, fd, 100, 16000, true, &at));
	CHECK_OK(ftruncate(fd, 4096));
	CHECK_EQ((unsigned char)at[0], 100 / 16);
	CHECK(!port_map_hits() && !map.hit);
	CHECK_EQ(at[5000], 0);
	CHECK(map.hit);
	CHECK(port_map_hits());
	CHECK(!port_map_hits());
	at[12000] = 'x'; /* a store faults just so */
	CHECK_EQ(at[12000], 'x');
	CHECK(port_map_hits());
	CHECK_EQ((unsigned char)at[0], 100 / 16);
	port_unmap(&map);
}

CASE(only_the_mapping_that_was_hit_is_marked)
{
	int a = file(8192), b = file(8192);

	CHECK_OK(port_map(&map, a, 0, 8192, true, &at));
	CHECK_OK(port_map(&other, b, 0, 8192, true, &at));
	CHECK_OK(ftruncate(b, 0));
	CHECK_EQ(at[0], 0);
	CHECK(other.hit && !map.hit);
	port_unmap(&other);
	CHECK_OK(port_map(&other, a, 0, 8192, true, &at));
	CHECK(!other.hit);
}

CASE(copies_over_the_edge_of_a_file)
{
	static char buf[16384];
	int fd = file(16384);

	CHECK_OK(port_map(&map, fd, 0, 16384, true, &at));
	CHECK_OK(ftruncate(fd, 6000));
	guest_copy_in(buf, (struct guest *)at, 16384);
	CHECK(map.hit);
	CHECK_EQ((unsigned char)buf[5999], (unsigned char)(5999 / 16));
	CHECK_EQ(buf[6000], 0);
	CHECK_EQ(buf[16383], 0);
	memset(buf, 'y', sizeof(buf));
	guest_copy_out((struct guest *)at, buf, 16384);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 6000);
}

CASE(mappings_go_in_any_order)
{
	static struct port_map maps[5];
	static const unsigned order[] = { 2, 0, 4, 3, 1 };
	int fd = file(4096);
	char *p[5];

	for (unsigned i = 0; i < 5; i++)
		CHECK_OK(port_map(&maps[i], fd, 0, 4096, true, &p[i]));
	CHECK_OK(ftruncate(fd, 0));
	for (unsigned i = 0; i < 5; i++) {
		port_unmap(&maps[order[i]]);
		for (unsigned k = i + 1; k < 5; k++) {
			CHECK_EQ(*(volatile char *)p[order[k]], 0);
			CHECK(maps[order[k]].hit);
		}
	}
}

CASE(a_bus_error_of_something_else_is_the_end)
{
	int fd = file(4096), status;
	pid_t child = fork();

	if (child == 0) {
		volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		(void)port_map(&map, fd, 0, 4096, true, &at);
		(void)ftruncate(fd, 0);
		(void)*p;
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

CASE(shared_files_cannot_shrink)
{
	int fd = port_shared_file("test", 10000);
	char byte = 1;

	CHECK(fd >= 0);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 10000);
	CHECK_EQ(pread(fd, &byte, 1, 9999), 1);
	CHECK_EQ(byte, 0);
	CHECK_EQ(ftruncate(fd, 9999), -1);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	CHECK_OK(port_map(&map, fd, 0, 10000, true, &at));
	CHECK_EQ(port_shared_file("test", UINT64_MAX), -EFBIG);
}

CASE(huge_pages)
{
	int fd = memfd_create("test", MFD_HUGETLB);

	if (fd < 0 || ftruncate(fd, 1 << 30) < 0)
		unit_skip("the kernel has no hugetlbfs");
	CHECK_OK(port_map(&map, fd, (1 << 30) - 8192, 8192, true, &at));
	CHECK(map.page > 4096 && map.len == map.page && !map.shared);
	/* If none are set aside, it is as if it were taken back at once. */
	at[0] = 'x';
	at[8191] = 'y';
	CHECK_EQ(at[0], 'x');
	port_unmap(&map);
}

/* ---- what several devices of one guest map ---- */

static struct port_map maps[4];
static char *p[4];

/* Without births (before Linux 5.18), nothing is shared. */
static void needs_births(void)
{
	int fd = file(1);

	CHECK_OK(port_map(&map, fd, 0, 1, true, &at));
	if (!map.shared)
		unit_skip("the kernel does not say when files in memory were made");
	port_unmap(&map);
}

/* Mappings of this process that are of the file. */
static unsigned mapped(int fd)
{
	char line[512], what[64];
	struct stat st;
	unsigned n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	CHECK(f && fstat(fd, &st) == 0);
	(void)snprintf(what, sizeof(what), " %llu ", (unsigned long long)st.st_ino);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, what) != NULL;
	(void)fclose(f);
	return n;
}

CASE(the_same_place_is_mapped_once)
{
	int fd = file(16384);

	needs_births();
	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(port_map(&maps[i], fd, 100, 8000, true, &p[i]));
	CHECK(p[0] == p[1] && p[1] == p[2] && p[2] == p[3]);
	CHECK_EQ(mapped(fd), 1);
	/* An offset in the same first page, and an end in the same last one. */
	CHECK_OK(port_map(&map, fd, 200, 7900, true, &at));
	CHECK(at == p[0] + 100);
	port_unmap(&map);
	for (unsigned i = 0; i < 4; i++) {
		CHECK_EQ(mapped(fd), 1);
		CHECK_EQ((unsigned char)p[3][60], (100 + 60) / 16);
		port_unmap(&maps[i]);
	}
	CHECK_EQ(mapped(fd), 0);
}

CASE(another_descriptor_of_the_same_file)
{
	const char *path = unit_path(UNIT_MEMORY, "f");
	int a = open(path, O_CREAT | O_RDWR, 0600), b;

	needs_births();
	CHECK_OK(ftruncate(a, 8192));
	b = open(path, O_RDWR);
	CHECK_OK(port_map(&maps[0], a, 0, 8192, true, &p[0]));
	CHECK_OK(port_map(&maps[1], b, 0, 8192, true, &p[1]));
	CHECK(p[0] == p[1]);
	CHECK_OK(close(a));
	CHECK_OK(close(b));
}

/* A descriptor that cannot be mapped is no way to what others have mapped. */
CASE(a_descriptor_without_the_right_to_it)
{
	const char *path = unit_path(UNIT_MEMORY, "f");
	int a = open(path, O_CREAT | O_RDWR, 0600);

	CHECK_OK(ftruncate(a, 8192));
	CHECK_OK(port_map(&maps[0], a, 0, 8192, true, &p[0]));
	CHECK_EQ(port_map(&maps[1], open(path, O_RDONLY), 0, 8192, true, &p[1]), -EACCES);
	CHECK_EQ(port_map(&maps[1], open(path, O_PATH), 0, 8192, true, &p[1]), -EBADF);
	CHECK(!maps[1].base && maps[0].same == &maps[0]);
	*p[0] = 'x';
	CHECK_OK(close(a));
}

CASE(other_places_are_other_mappings)
{
	int fd = file(16384), same_bytes = file(16384);

	CHECK_OK(port_map(&maps[0], fd, 0, 8192, true, &p[0]));
	CHECK_OK(port_map(&maps[1], fd, 4096, 8192, true, &p[1]));
	CHECK_OK(port_map(&maps[2], fd, 0, 4096, true, &p[2]));
	CHECK_OK(port_map(&maps[3], same_bytes, 0, 8192, true, &p[3]));
	CHECK_OK(port_map(&map, fd, 0, 8192, false, &at));
	CHECK(p[0] != p[1] && p[0] != p[2] && p[0] != p[3] && p[0] != at);
	*p[0] = 'x';
	CHECK(*p[2] == 'x' && *p[3] == 0 && *at == 'x');
}

/* It grows, and is written to, as guests' memory is. */
CASE(a_file_that_has_changed_since_is_the_same)
{
	int fd = file(8192);

	needs_births();
	CHECK_OK(port_map(&maps[0], fd, 0, 4096, true, &p[0]));
	usleep(20000);
	*p[0] = 'x';
	CHECK_OK(ftruncate(fd, 12288));
	CHECK_OK(port_map(&maps[1], fd, 0, 4096, true, &p[1]));
	CHECK(p[0] == p[1]);
}

/* As if its inode had been given out anew. */
CASE(a_file_of_another_birth_is_another)
{
	int fd = file(4096);

	needs_births();
	CHECK_OK(port_map(&maps[0], fd, 0, 4096, true, &p[0]));
	maps[0].born[0] ^= 1;
	CHECK_OK(port_map(&maps[1], fd, 0, 4096, true, &p[1]));
	CHECK(p[0] != p[1]);
	maps[0].born[0] ^= 1;
	maps[1].inode++;
	CHECK_OK(port_map(&maps[2], fd, 0, 4096, true, &p[2]));
	CHECK(p[2] == p[0]);
}

CASE(a_hit_is_of_all_that_share_the_mapping)
{
	int fd = file(8192);

	needs_births();
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(port_map(&maps[i], fd, 0, 8192, true, &p[i]));
	CHECK_OK(ftruncate(fd, 0));
	CHECK_EQ(p[1][5000], 0);
	CHECK(maps[0].hit && maps[1].hit && maps[2].hit && port_map_hits());
	/* What was hit has pages that are nobody's: who comes now gets none of them. */
	CHECK_OK(ftruncate(fd, 8192));
	CHECK_OK(port_map(&maps[3], fd, 0, 8192, true, &p[3]));
	CHECK(p[3] != p[0] && !maps[3].hit);
	port_unmap(&maps[1]);
	port_unmap(&maps[0]);
	CHECK_EQ(p[2][5000], 0);
	port_unmap(&maps[2]);
	CHECK_EQ(mapped(fd), 1);
}
