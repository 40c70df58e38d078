/* src/dev/blk.c: options, configuration space, discards and zeroes, and the write cache. */
#include <errno.h>

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "unit.h"

enum { SECTORS = 2048, IMAGE = SECTORS * 512, ONE = 512 };
enum { HEADER = 0, IN = 0x100, STATUS = 0x8000 };

static struct front front;
static struct fake_image *image;

static enum fake_end serve(const char *options)
{
	char line[200] = "vubox blk -s /s --blk-file=/img ";

	fake_reset(1);
	image = fake_image_new("/img", IMAGE);
	memset(image->bytes, 7, IMAGE);
	memset(image->stable, 7, IMAGE);
	return rig_main(strcat(line, options));
}

static void start_with(const char *options, uint64_t features)
{
	CHECK_EQ(serve(options), FAKE_IDLE);
	front_start(&front, "/s", 1, features);
}

static struct virtio_blk_config config(void)
{
	struct vhost_user_config c = { 0, sizeof(struct virtio_blk_config), 0, { 0 } };
	struct virtio_blk_config disk;

	CHECK_EQ(front_call(&front, VHOST_USER_GET_CONFIG, &c, 12 + c.size, 12 + c.size, -1, NULL),
		12 + c.size);
	memcpy(&disk, c.bytes, sizeof(disk));
	return disk;
}

static int64_t set_config(uint32_t offset, const void *bytes, uint32_t len, uint32_t flags)
{
	struct vhost_user_config c = { offset, len, flags, { 0 } };

	memcpy(c.bytes, bytes, len);
	return front_ack(&front, VHOST_USER_SET_CONFIG, &c, 12 + len, -1);
}

/* ---- options ---- */

CASE(options_that_make_no_sense)
{
	static const char *const wrong[] = { "--serial=0123456789abcdefghijk", "--queue-size=100",
		"--logical-block-size=1000", "--logical-block-size=256", "--read-only --size=1M",
		"--direct --io=mmap", "--num-queues=0", "--num-queues=65", "--queue-size=2",
		"--queue-size=2048", "--io=fast", "--blk-file=" };

	for (unsigned i = 0; i < countof(wrong); i++) {
		CHECK_EQ(serve(wrong[i]), FAKE_EXITED);
		CHECK_EQ(fake.exit_status, 2);
		CHECK_EQ(fake.log_lines, 1);
	}
}

CASE(a_block_size_below_the_device_s_own)
{
	fake_reset(1);
	fake_image_new("/dev/x", IMAGE)->logical_block = 4096;
	CHECK_EQ(rig_main("vubox blk -s /s --blk-file=/dev/x --logical-block-size=512"),
		FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("--logical-block-size is too small"));
}

CASE(an_image_is_created_or_grown)
{
	fake_reset(1);
	CHECK_EQ(rig_main("vubox blk -s /s --blk-file=/new --size=1M"), FAKE_IDLE);
	CHECK_EQ(fake_image_find("/new")->size, 1 << 20);
}

CASE(an_image_that_is_in_use)
{
	fake_reset(1);
	fake_image_new("/img", IMAGE);
	CHECK_EQ(rig_main("vubox blk -s /a --blk-file=/img -- blk -s /b --blk-file=/img"),
		FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("blk2: /img: in use by another vubox"));
}

CASE(an_image_with_a_tail)
{
	fake_reset(1);
	fake_image_new("/img", 3 * ONE + 100);
	CHECK_EQ(rig_main("vubox blk -s /s --blk-file=/img"), FAKE_IDLE);
	CHECK(fake_log_has("the last 100 bytes are no whole block of 512: they are not served"));
	front_start(&front, "/s", 1, 0);
	CHECK_EQ(le64_get(config().capacity), 3);
}

/* ---- features and configuration space ---- */

CASE(the_configuration_space)
{
	struct virtio_blk_config c;

	start_with("--num-queues=3", 0);
	c = config();
	CHECK_EQ(le64_get(c.capacity), SECTORS);
	CHECK_EQ(le32_get(c.seg_max), 126);
	CHECK_EQ(le32_get(c.blk_size), 512);
	CHECK_EQ(le16_get(c.num_queues), 3);
	CHECK_EQ(c.writeback, 1);
	CHECK_EQ(c.physical_block_exp, 0);
	CHECK_EQ(le32_get(c.discard_sector_alignment), 1);
	CHECK(le32_get(c.max_discard_sectors) > 0 && le32_get(c.max_discard_seg) == 32);
	CHECK(le32_get(c.max_write_zeroes_sectors) > 0 && le32_get(c.max_write_zeroes_seg) == 32);
	CHECK_EQ(c.write_zeroes_may_unmap, 1);
}

CASE(the_topology_of_a_block_device)
{
	struct virtio_blk_config c;

	fake_reset(1);
	image = fake_image_new("/dev/x", IMAGE + 512);
	image->block_device = true;
	image->logical_block = 1024;
	image->physical_block = 4096;
	CHECK_EQ(rig_main("vubox blk -s /s --blk-file=/dev/x"), FAKE_IDLE);
	front_start(&front, "/s", 1, 0);
	c = config();
	CHECK_EQ(le64_get(c.capacity), SECTORS);
	CHECK_EQ(le32_get(c.blk_size), 1024);
	CHECK_EQ(c.physical_block_exp, 2);
	CHECK_EQ(le32_get(c.discard_sector_alignment), 2);
}

CASE(segments_fit_in_a_small_ring)
{
	start_with("--queue-size=16 --logical-block-size=4K", 0);
	CHECK_EQ(le32_get(config().seg_max), 14);
	CHECK_EQ(le32_get(config().blk_size), 4096);
}

CASE(a_read_only_disk)
{
	uint64_t features;

	start_with("--read-only --num-queues=1", 0);
	features = front_get(&front, VHOST_USER_GET_FEATURES);
	CHECK((features & VIRTIO_BLK_F_RO) != 0);
	CHECK_EQ(
		features & (VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_MQ), 0);
	CHECK_EQ(le32_get(config().max_discard_sectors), 0);
	CHECK_EQ(le32_get(config().max_write_zeroes_sectors), 0);
}

CASE(only_the_cache_mode_is_writable)
{
	static const uint8_t zero[64];
	uint8_t wrong = 2;
	struct virtio_blk_config c;

	start_with("", 0);
	CHECK_EQ(set_config(32, zero, 1, 0), 0);
	CHECK_EQ(config().writeback, 0);
	CHECK_EQ(set_config(32, &wrong, 1, 0), 1);
	CHECK_EQ(set_config(31, zero, 1, 0), 1);
	CHECK_EQ(set_config(32, zero, 2, 0), 1);
	CHECK_EQ(set_config(0, zero, 64, 0), 1);
	/* What was read elsewhere comes back as a whole, and only this byte of it is taken. */
	c = config();
	c.capacity = le64_put(1);
	c.writeback = 1;
	CHECK_EQ(set_config(0, &c, sizeof(c), VHOST_USER_CONFIG_MIGRATE), 0);
	CHECK_EQ(config().writeback, 1);
	CHECK_EQ(le64_get(config().capacity), SECTORS);
	CHECK_EQ(set_config(0, zero, 8, VHOST_USER_CONFIG_MIGRATE), 0);
}

CASE(a_file_that_cannot_tell_its_size)
{
	start_with("", 0);
	fake.fail_at[FAKE_FILE_RESIZE] = 1;
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake_log_has("cannot tell its size"));
	CHECK_EQ(le64_get(config().capacity), SECTORS);
}

/* ---- the write cache ---- */

static int request(uint32_t type, uint64_t sector, uint32_t in)
{
	struct virtio_blk_req header = { le32_put(type), le32_put(0), le64_put(sector) };
	struct buffer all[3] = { { front_addr(HEADER), 16, false }, { front_addr(IN), in, false },
		{ front_addr(STATUS), 1, true } };
	uint32_t id, len;

	memcpy(front_data(&front, HEADER), &header, sizeof(header));
	driver_add(&front.rings[0], all, 3);
	front_kick(&front, 0);
	if (!driver_used(&front.rings[0], &id, &len) || len != 1)
		return 99;
	return *front_data(&front, STATUS);
}

/* Whether a write with these features is on stable storage when it is done. */
static bool writes_through(uint64_t features)
{
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_FEATURES,
			 features | VHOST_USER_F_PROTOCOL_FEATURES, -1),
		0);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 1, ONE), VIRTIO_BLK_S_OK);
	CHECK_EQ(image->last_sync, !image->dirty[1]);
	return image->last_sync;
}

CASE(who_cannot_flush_writes_through)
{
	start_with("", 0);
	CHECK(writes_through(0));
	CHECK(!writes_through(VIRTIO_BLK_F_FLUSH));
	CHECK(!writes_through(VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE));
}

CASE(the_driver_turns_the_cache_off_and_on)
{
	uint64_t both = VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE;
	uint8_t off = 0, on = 1;

	start_with("", both);
	CHECK_EQ(set_config(32, &off, 1, 0), 0);
	CHECK(writes_through(both));
	CHECK_EQ(set_config(32, &on, 1, 0), 0);
	CHECK(!writes_through(both));
}

CASE(who_toggles_a_cache_that_it_cannot_flush_starts_with_none)
{
	uint8_t on = 1;

	start_with("", VIRTIO_BLK_F_CONFIG_WCE);
	CHECK_EQ(config().writeback, 0);
	CHECK(writes_through(VIRTIO_BLK_F_CONFIG_WCE));
	CHECK_EQ(set_config(32, &on, 1, 0), 0);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 1, ONE), VIRTIO_BLK_S_OK);
	CHECK(!image->last_sync);
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1), 0);
	CHECK_EQ(config().writeback, 1);
}

/* A front-end goes on with what an earlier life has begun: the cache mode is not known. */
static void resume(bool made_by_us)
{
	uint64_t both = VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE;
	struct vhost_user_inflight i = { 4096, 0, 1, 16, 0 };
	int fd = fake_memory_new(4096), made;

	if (made_by_us)
		CHECK_EQ(front_call(&front, VHOST_USER_GET_INFLIGHT_FD, &i, sizeof(i), sizeof(i),
				 -1, &made),
			sizeof(i));
	CHECK_EQ(front_ack(
			 &front, VHOST_USER_SET_INFLIGHT_FD, &i, sizeof(i), made_by_us ? made : fd),
		0);
	CHECK_EQ(writes_through(both), !made_by_us);
}

CASE(after_a_reconnect_it_writes_through_until_the_mode_is_known)
{
	uint64_t both = VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE;
	uint8_t on = 1;

	start_with("", both);
	resume(false);
	CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	CHECK(!writes_through(both));
	resume(false);
	CHECK_EQ(set_config(32, &on, 1, 0), 0);
	CHECK(!writes_through(both));
	resume(false);
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1), 0);
	front_ring(&front, 0, 16);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	CHECK(!writes_through(both));
}

CASE(a_first_connection_knows_the_mode)
{
	start_with("", VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE);
	resume(true);
}

/* ---- discards and zeroes ---- */

struct range {
	uint64_t sector;
	uint32_t count, flags;
};

static int ranges(uint32_t type, const struct range *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct virtio_blk_discard_write_zeroes one = { le64_put(r[i].sector),
			le32_put(r[i].count), le32_put(r[i].flags) };

		memcpy(front_data(&front, IN + 16 * i), &one, sizeof(one));
	}
	return request(type, 0, 16 * n);
}

static int range(uint32_t type, uint64_t sector, uint32_t count, uint32_t flags)
{
	return ranges(type, &(struct range){ sector, count, flags }, 1);
}

static bool is_zero(uint64_t sector)
{
	for (unsigned i = 0; i < ONE; i++)
		if (image->bytes[sector * ONE + i] != 0)
			return false;
	return true;
}

CASE(zeroes_are_written)
{
	start_with("", VIRTIO_BLK_F_FLUSH);
	CHECK_EQ(range(VIRTIO_BLK_T_WRITE_ZEROES, 10, 3, 0), VIRTIO_BLK_S_OK);
	CHECK(!is_zero(9) && is_zero(10) && is_zero(12) && !is_zero(13));
	CHECK(image->last_keep && !image->last_sync);
	CHECK_EQ(range(VIRTIO_BLK_T_WRITE_ZEROES, 20, 1, VIRTIO_BLK_WZ_UNMAP), VIRTIO_BLK_S_OK);
	CHECK(is_zero(20) && !image->last_keep);
}

CASE(zeroes_are_written_through)
{
	start_with("", 0);
	CHECK_EQ(range(VIRTIO_BLK_T_WRITE_ZEROES, 10, 3, 0), VIRTIO_BLK_S_OK);
	CHECK(image->last_sync && image->stable[10 * ONE] == 0);
	CHECK_EQ(range(VIRTIO_BLK_T_DISCARD, 10, 3, 0), VIRTIO_BLK_S_OK);
	CHECK(image->last_sync);
}

CASE(several_ranges_one_after_the_other)
{
	static const struct range three[] = { { 1, 1, 0 }, { 100, 2, 0 }, { SECTORS - 1, 1, 0 } };
	struct range many[33];

	start_with("", VIRTIO_BLK_F_FLUSH);
	CHECK_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, three, 3), VIRTIO_BLK_S_OK);
	CHECK(is_zero(1) && !is_zero(2) && is_zero(100) && is_zero(101) && is_zero(SECTORS - 1));
	CHECK_EQ(image->zeroes, 3);
	for (unsigned i = 0; i < 33; i++)
		many[i] = (struct range){ 2 * i, 1, 0 };
	CHECK_EQ(ranges(VIRTIO_BLK_T_DISCARD, many, 32), VIRTIO_BLK_S_OK);
	CHECK_EQ(image->discards, 32);
	CHECK_EQ(ranges(VIRTIO_BLK_T_DISCARD, many, 33), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(image->discards, 32);
}

CASE(one_bad_range_and_nothing_is_touched)
{
	static const struct range bad[] = { { SECTORS, 1, 0 }, { SECTORS - 1, 2, 0 },
		{ UINT64_MAX, 1, 0 }, { 1ull << 55, 1, 0 }, { 0, UINT32_MAX, 0 } };

	start_with("", VIRTIO_BLK_F_FLUSH);
	for (unsigned i = 0; i < countof(bad); i++) {
		struct range two[2] = { { 0, 1, 0 }, bad[i] };

		CHECK_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, two, 2), VIRTIO_BLK_S_IOERR);
		CHECK_EQ(ranges(VIRTIO_BLK_T_DISCARD, two, 2), VIRTIO_BLK_S_IOERR);
	}
	CHECK_EQ(range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 2), VIRTIO_BLK_S_UNSUPP);
	CHECK_EQ(range(VIRTIO_BLK_T_DISCARD, 0, 1, VIRTIO_BLK_WZ_UNMAP), VIRTIO_BLK_S_UNSUPP);
	CHECK_EQ(image->zeroes + image->discards, 0);
}

CASE(ranges_of_a_wrong_size)
{
	start_with("", VIRTIO_BLK_F_FLUSH);
	CHECK_EQ(request(VIRTIO_BLK_T_DISCARD, 0, 0), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_DISCARD, 0, 15), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 17), VIRTIO_BLK_S_IOERR);
}

CASE(an_error_in_the_middle_of_ranges)
{
	static const struct range three[] = { { 1, 1, 0 }, { 100, 2, 0 }, { 200, 1, 0 } };

	start_with("", VIRTIO_BLK_F_FLUSH);
	fake.fail_at[FAKE_IO] = 2;
	CHECK_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, three, 3), VIRTIO_BLK_S_IOERR);
	CHECK(is_zero(1) && !is_zero(200));
}

CASE(a_read_only_disk_is_not_changed)
{
	start_with("--read-only", 0);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 0, ONE), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(range(VIRTIO_BLK_T_DISCARD, 0, 1, 0), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(fake.calls[FAKE_IO], 1); /* the flush: nothing else was even tried */
}
