/* src/core/vring.c: where a ring lies, and who is called or asked to kick, and when. */
#include "vring.h"

#include <errno.h>

#include "driver.h"
#include "fake_port.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"
#include "unit.h"

enum { GPA = 0x100000, BYTES = 0x4000 };
#define UVA 0x7f0000000000ull

static struct mem mem;
static struct vring ring;
static struct driver drv;
static const char *why;

static void share(uint64_t mmap_offset, uint64_t len)
{
	int fd;

	mem_clear(&mem);
	fake_reset(1);
	fd = fake_memory_new(BYTES);
	CHECK_OK(mem_add(&mem, &(struct mem_region){ GPA, len, UVA, mmap_offset }, fd));
	driver_init(&drv, fake_memory(fd), GPA, 0, 16);
}

static int map(uint64_t desc, uint64_t avail, uint64_t used, uint16_t size)
{
	return vring_map(&ring, &mem, &(struct vring_addr){ desc, avail, used }, size, false,
		&why);
}

static void start(uint64_t features, uint16_t idx)
{
	share(0, BYTES);
	driver_start_at(&drv, idx);
	CHECK_OK(map(UVA + drv.desc, UVA + drv.avail, UVA + drv.used, 16));
	CHECK_OK(vring_start(&ring, idx, features, &why));
}

/* Gives n heads back and publishes them: whether the driver is called. */
static bool give(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vring_push(&ring, &(struct chain){ 0 }, 0);
	return vring_publish(&ring);
}

/* ---- where it lies ---- */

CASE(every_part_must_be_wholly_in_memory)
{
	uint64_t end = UVA + BYTES;

	share(0, BYTES);
	CHECK_OK(map(end - 256, UVA, UVA + 1024, 16));
	CHECK_OK(map(UVA, end - 38, UVA + 1024, 16));
	CHECK_OK(map(UVA, UVA + 1024, end - 136, 16));
	ring = (struct vring){ 0 };
	CHECK_EQ(map(end - 255, UVA, UVA + 1024, 16), -EFAULT);
	CHECK_EQ(map(UVA, end - 36, UVA + 1024, 16), -EFAULT);
	CHECK_EQ(map(UVA, UVA + 1024, end - 132, 16), -EFAULT);
	CHECK_EQ(map(GPA, UVA, UVA + 1024, 16), -EFAULT);
	CHECK_EQ(map(UVA, UINT64_MAX - 3, UVA + 1024, 16), -EFAULT);
	CHECK_TEXT(why, "its ring is not in shared memory");
	CHECK(ring.desc == NULL && ring.avail == NULL && ring.used == NULL);
}

CASE(indices_must_be_aligned)
{
	share(0, BYTES);
	CHECK_EQ(map(UVA, UVA + 1025, UVA + 2048, 16), -EINVAL);
	CHECK_EQ(map(UVA, UVA + 1024, UVA + 2050, 16), -EINVAL);
	CHECK_TEXT(why, "its ring is not aligned");
	CHECK_OK(map(UVA + 1, UVA + 1026, UVA + 2052, 16));
	/* An offset of the mapping can undo what the addresses promise. */
	share(1, BYTES - 1);
	CHECK_EQ(map(UVA, UVA + 1024, UVA + 2048, 16), -EINVAL);
	CHECK_OK(map(UVA, UVA + 1025, UVA + 2051, 16));
}

CASE(the_used_index_goes_on_where_memory_has_it)
{
	uint32_t id, len;

	share(0, BYTES);
	driver_start_at(&drv, 700);
	CHECK_OK(map(UVA + drv.desc, UVA + drv.avail, UVA + drv.used, 16));
	CHECK_OK(vring_start(&ring, 705, 0, &why));
	CHECK_EQ(ring.used_idx, 700);
	CHECK_EQ(ring.last_avail, 705);
	(void)give(1);
	CHECK_EQ(driver_used_idx(&drv), 701);
	CHECK(driver_used(&drv, &id, &len));
	vring_unmap(&ring);
	CHECK(ring.desc == NULL && ring.avail == NULL && ring.used == NULL);
}

/* ---- calls ---- */

CASE(nothing_given_back_calls_nobody)
{
	start(0, 0);
	CHECK(!give(0));
	start(VIRTIO_F_EVENT_IDX, 0);
	CHECK(!give(0));
}

CASE(without_event_idx_a_flag_decides)
{
	start(0, 0);
	CHECK(give(3));
	driver_no_interrupt(&drv, true);
	CHECK(!give(1));
	CHECK_EQ(driver_used_idx(&drv), 4);
	driver_no_interrupt(&drv, false);
	CHECK(give(1));
}

CASE(with_event_idx_the_flag_means_nothing)
{
	start(VIRTIO_F_EVENT_IDX, 0);
	driver_no_interrupt(&drv, true);
	CHECK(give(1));
	driver_used_event(&drv, 1);
	CHECK(give(1));
}

CASE(a_call_when_used_event_is_passed)
{
	start(VIRTIO_F_EVENT_IDX, 0);
	driver_used_event(&drv, 3);
	CHECK(give(1)); /* the first one always: what was before is not known */
	CHECK(!give(1));
	CHECK(!give(1));
	CHECK(give(1)); /* entry 3 is among it */
	CHECK(!give(1));
	driver_used_event(&drv, 7);
	CHECK(give(5));
	CHECK(!give(5));
}

CASE(used_event_wraps)
{
	start(VIRTIO_F_EVENT_IDX, 65530);
	CHECK(give(1));
	driver_used_event(&drv, 1);
	for (unsigned idx = 65531; idx < 65536 + 1; idx++)
		CHECK(!give(1));
	CHECK(give(1));
	driver_used_event(&drv, 65535);
	CHECK(!give(8));
}

CASE(a_restart_calls_for_the_first_one_again)
{
	start(VIRTIO_F_EVENT_IDX, 0);
	CHECK(give(1));
	CHECK(!give(1));
	CHECK_OK(vring_start(&ring, 0, VIRTIO_F_EVENT_IDX, &why));
	CHECK(give(1));
}

/* ---- kicks ---- */

CASE(kicks_are_turned_off_and_on_by_a_flag)
{
	start(0, 0);
	CHECK(!vring_arm(&ring));
	CHECK_EQ(driver_used_flags(&drv), 0);
	vring_disarm(&ring);
	CHECK_EQ(driver_used_flags(&drv), VIRTQ_USED_F_NO_NOTIFY);
	CHECK(!vring_arm(&ring));
	CHECK_EQ(driver_used_flags(&drv), 0);
}

CASE(a_flag_that_another_life_left_is_cleared)
{
	start(0, 0);
	drv.mem[drv.used] = VIRTQ_USED_F_NO_NOTIFY;
	CHECK(!vring_arm(&ring));
	CHECK_EQ(driver_used_flags(&drv), 0);
}

CASE(kicks_are_asked_for_by_avail_event)
{
	static struct request *req;

	start(VIRTIO_F_EVENT_IDX, 65535);
	req = request_get(0);
	CHECK(!vring_arm(&ring));
	CHECK_EQ(driver_avail_event(&drv), 65535);
	driver_add(&drv, &(struct buffer){ GPA + 0x2000, 8, true }, 1);
	CHECK_EQ(vring_pop(&ring, &mem, req, &why), 1);
	vring_disarm(&ring);
	CHECK_EQ(driver_avail_event(&drv), 65535);
	CHECK_EQ(driver_used_flags(&drv), 0);
	CHECK(!vring_arm(&ring));
	CHECK_EQ(driver_avail_event(&drv), 0);
}

CASE(arming_looks_once_more)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		start(event_idx ? VIRTIO_F_EVENT_IDX : 0, 0);
		CHECK(!vring_arm(&ring));
		driver_add(&drv, &(struct buffer){ GPA + 0x2000, 8, true }, 1);
		CHECK(vring_arm(&ring));
		CHECK(vring_has_work(&ring));
	}
}
