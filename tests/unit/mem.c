/* src/core/mem.c: the map of guest memory. */
#include "mem.h"

#include <errno.h>

#include "fake_port.h"
#include "unit.h"

static struct mem mem;

/* A file of len bytes whose byte at off is off / 16. */
static int file(uint64_t len)
{
	int fd = fake_memory_new(len);

	for (uint64_t i = 0; i < len; i++)
		fake_memory(fd)[i] = (char)(i / 16);
	return fd;
}

static int add(uint64_t guest, uint64_t size, uint64_t user, uint64_t offset, int fd)
{
	return mem_add(&mem, &(struct mem_region){ guest, size, user, offset }, fd);
}

static int remove_region(uint64_t guest, uint64_t size, uint64_t user)
{
	return mem_remove(&mem, &(struct mem_region){ guest, size, user, 0 });
}

CASE(an_empty_map_has_nothing)
{
	char byte;

	fake_reset(1);
	CHECK(mem_at(&mem, 0, 1).base == NULL);
	CHECK(mem_near(&mem, 0, 1).base == NULL);
	CHECK_EQ(mem_at(&mem, 5, 100).len, 100);
	CHECK(!mem_read(&mem, 0, &byte, 1));
	CHECK(mem_read(&mem, 0, &byte, 0));
	CHECK(mem_at_user(&mem, 0, 1) == NULL);
	CHECK(!mem_is_broken(&mem));
	mem_clear(&mem);
}

CASE(an_address_is_found_in_its_region)
{
	int fd;

	fake_reset(1);
	fd = file(0x3000);
	CHECK_OK(add(0x10000, 0x2000, 0x700000, 0x1000, fd));
	CHECK((char *)mem_at(&mem, 0x10000, 1).base == fake_memory(fd) + 0x1000);
	CHECK((char *)mem_at(&mem, 0x11fff, 1).base == fake_memory(fd) + 0x2fff);
	CHECK_EQ(mem_at(&mem, 0x10010, 0x100).len, 0x100);
	CHECK_EQ(mem_at(&mem, 0x11f80, 0x100).len, 0x80);
	CHECK((char *)mem_near(&mem, 0x11ff0, 16).base == fake_memory(fd) + 0x2ff0);
	CHECK(mem_near(&mem, 0x11ff0, 17).base == NULL && mem_near(&mem, 0x11ff0, 0).base == NULL);
	CHECK(mem_at(&mem, 0xffff, 1).base == NULL);
	CHECK(mem_at(&mem, 0x12000, 1).base == NULL);
	CHECK((char *)mem_at_user(&mem, 0x700010, 0x1ff0) == fake_memory(fd) + 0x1010);
	CHECK(mem_at_user(&mem, 0x700010, 0x1ff1) == NULL);
	CHECK(mem_at_user(&mem, 0x6fffff, 2) == NULL);
}

CASE(regions_come_in_any_order)
{
	static const unsigned order[] = { 3, 0, 4, 1, 2 };
	int fd;

	fake_reset(1);
	fd = file(0x5000);
	for (unsigned i = 0; i < 5; i++) {
		unsigned k = order[i];

		CHECK_OK(add(0x10000 * (k + 1), 0x1000, 0x700000 + 0x1000 * k, 0x1000 * k, fd));
	}
	for (unsigned k = 0; k < 5; k++) {
		struct span s = mem_at(&mem, 0x10000 * (k + 1) + 8, 0x5000);

		CHECK((char *)s.base == fake_memory(fd) + 0x1000 * k + 8);
		CHECK_EQ(s.len, 0xff8);
	}
}

CASE(a_hole_ends_where_a_region_starts)
{
	int fd;

	fake_reset(1);
	fd = file(0x1000);
	CHECK_OK(add(0x10000, 0x1000, 0x700000, 0, fd));
	CHECK_OK(add(0x20000, 0x1000, 0x800000, 0, fd));
	CHECK_EQ(mem_at(&mem, 0x8000, 0x10000).len, 0x8000);
	CHECK_EQ(mem_at(&mem, 0x8000, 0x100).len, 0x100);
	CHECK_EQ(mem_at(&mem, 0x11000, 0x100000).len, 0xf000);
	CHECK_EQ(mem_at(&mem, 0x21000, 0x100000).len, 0x100000);
	CHECK(mem_at(&mem, 0x11000, 0x100000).base == NULL);
}

CASE(reading_goes_over_edges_but_not_over_holes)
{
	unsigned char got[0x20];
	int fd;

	fake_reset(1);
	fd = file(0x3000);
	CHECK_OK(add(0x10000, 0x1000, 0x700000, 0x10, fd));
	CHECK_OK(add(0x11000, 0x1000, 0x800000, 0x800, fd));
	CHECK(mem_read(&mem, 0x10ff0, got, 0x20));
	CHECK_EQ(got[0x0f], (unsigned char)(0x100f / 16));
	CHECK_EQ(got[0x10], 0x80);
	CHECK(mem_read(&mem, 0x11ff0, got, 0x10));
	CHECK(!mem_read(&mem, 0x11ff0, got, 0x11));
	CHECK(!mem_read(&mem, 0xffff, got, 2));
	CHECK(!mem_read(&mem, UINT64_MAX, got, 2));
}

CASE(the_end_of_the_address_space)
{
	unsigned char got[2];
	int fd;

	fake_reset(1);
	fd = file(0x1000);
	CHECK_OK(add(UINT64_MAX - 0xfff, 0x1000, UINT64_MAX - 0xfff, 0, fd));
	CHECK(mem_read(&mem, UINT64_MAX, got, 1));
	CHECK_EQ(got[0], 0xff);
	CHECK(!mem_read(&mem, UINT64_MAX, got, 2));
	CHECK(mem_at_user(&mem, UINT64_MAX, 1) != NULL);
	CHECK(mem_at_user(&mem, UINT64_MAX, 2) == NULL);
	CHECK_EQ(add(UINT64_MAX - 0x1ffe, 0x2000, 0, 0, fd), -EINVAL);
	CHECK_EQ(add(0, 0x2000, UINT64_MAX - 0x1ffe, 0, fd), -EINVAL);
}

CASE(what_makes_no_sense_is_refused)
{
	int fd;

	fake_reset(1);
	fd = file(0x2000);
	CHECK_EQ(add(0x10000, 0, 0x700000, 0, fd), -EINVAL);
	CHECK_EQ(add(0x10000, 0x2001, 0x700000, 0, fd), -EFAULT);
	CHECK_EQ(add(0x10000, 0x1000, 0x700000, 0x1001, fd), -EFAULT);
	CHECK_EQ(add(0x10000, 0x1000, 0x700000, UINT64_MAX, fd), -EFAULT);
	CHECK_EQ(mem.count, 0);
	CHECK_EQ(fake_open_maps(), 0);
}

CASE(overlaps_are_refused)
{
	static const struct {
		uint64_t guest, user;
	} other[] = { { 0x10000, 0x900000 }, { 0xf001, 0x900000 }, { 0x11fff, 0x900000 },
		{ 0x90000, 0x700000 }, { 0x90000, 0x6ff001 }, { 0x90000, 0x701fff } };
	int fd;

	fake_reset(1);
	fd = file(0x2000);
	CHECK_OK(add(0x10000, 0x2000, 0x700000, 0, fd));
	for (unsigned i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		CHECK_EQ(add(other[i].guest, 0x1000, other[i].user, 0, fd), -EINVAL);
	CHECK_EQ(mem.count, 1);
	CHECK_OK(add(0xf000, 0x1000, 0x6ff000, 0, fd));
	CHECK_OK(add(0x12000, 0x1000, 0x702000, 0, fd));
	CHECK_EQ(fake_open_maps(), 3);
}

CASE(every_slot_can_be_used_and_used_again)
{
	int fd;

	fake_reset(1);
	fd = file(0x1000);
	for (uint64_t i = 0; i < CONFIG_REGIONS_MAX; i++)
		CHECK_OK(add(i << 16, 0x1000, i << 16, 0, fd));
	CHECK_EQ(add(1ull << 40, 0x1000, 1ull << 40, 0, fd), -ENOSPC);
	CHECK_OK(remove_region(7 << 16, 0x1000, 7 << 16));
	CHECK(mem_at(&mem, 7 << 16, 1).base == NULL);
	CHECK(mem_at(&mem, 8 << 16, 1).base != NULL);
	CHECK_OK(add(1ull << 40, 0x1000, 1ull << 40, 0, fd));
	CHECK_EQ(add(7 << 16, 0x1000, 7 << 16, 0, fd), -ENOSPC);
	for (uint64_t i = 0; i < CONFIG_REGIONS_MAX; i++)
		CHECK(i == 7 || mem_at(&mem, (i << 16) + 5, 1).base != NULL);
	mem_clear(&mem);
	CHECK_EQ(fake_open_maps(), 0);
}

CASE(only_the_very_same_region_is_removed)
{
	int fd;

	fake_reset(1);
	fd = file(0x1000);
	CHECK_OK(add(0x10000, 0x1000, 0x700000, 0, fd));
	CHECK_EQ(remove_region(0x10001, 0x1000, 0x700000), -ENOENT);
	CHECK_EQ(remove_region(0x10000, 0x1001, 0x700000), -ENOENT);
	CHECK_EQ(remove_region(0x10000, 0x1000, 0x700001), -ENOENT);
	CHECK_OK(remove_region(0x10000, 0x1000, 0x700000));
	CHECK_EQ(remove_region(0x10000, 0x1000, 0x700000), -ENOENT);
	CHECK(mem_at(&mem, 0x10000, 1).base == NULL);
	CHECK_EQ(fake_open_maps(), 0);
}

CASE(a_region_that_cannot_be_mapped_changes_nothing)
{
	int fd;

	fake_reset(1);
	fd = file(0x1000);
	fake.fail_at[FAKE_MAP] = 1;
	CHECK_EQ(add(0x10000, 0x1000, 0x700000, 0, fd), -ENOMEM);
	CHECK_EQ(mem.count, 0);
	CHECK_EQ(add(0x10000, 0x1000, 0x700000, 0, fake_other_new()), -ENODEV);
	CHECK_OK(add(0x10000, 0x1000, 0x700000, 0, fd));
}

CASE(memory_that_was_taken_back_is_noticed)
{
	int a, b;

	fake_reset(1);
	a = file(0x1000);
	b = file(0x2000);
	CHECK_OK(add(0x10000, 0x1000, 0x700000, 0, a));
	CHECK_OK(add(0x20000, 0x2000, 0x800000, 0, b));
	CHECK(!mem_is_broken(&mem));
	fake_truncate(b, 0x1000);
	CHECK(mem_is_broken(&mem));
	CHECK_OK(remove_region(0x20000, 0x2000, 0x800000));
	CHECK(!mem_is_broken(&mem));
}

static void look_for_nothing(void *arg)
{
	(void)arg;
	(void)mem_at(&mem, 0x10000, 0);
}

CASE(looking_for_no_bytes_is_a_bug)
{
	fake_reset(1);
	CHECK_EQ(fake_run(look_for_nothing, NULL), FAKE_ABORTED);
}
