/* The block device: every request and every status, by every I/O engine (VIRTIO 5.2.6). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../front/rig.h"

enum { SECTORS = RIG_DISK_BYTES / 512 };

static struct rig r;
static unsigned char whole[RIG_DISK_BYTES], now[RIG_DISK_BYTES];

/* A disk full of bytes that are not zero, and what it holds. */
static void open_full(const char *engine)
{
	rig_open(&r, RIG_DISK_BYTES, engine);
	harness_fill(whole, sizeof(whole));
	rig_disk_write(&r, 0, whole, sizeof(whole));
}

static void disk_is_as_it_was(void)
{
	rig_disk_read(&r, 0, now, sizeof(now));
	CHECK_BYTES(now, whole, sizeof(now));
}

static uint8_t ranges(uint32_t type, const struct blk_range *list, unsigned count)
{
	return rig_blk(&r, type, 0, (void *)list, (uint32_t)(count * sizeof(*list)));
}

static uint8_t range(uint32_t type, uint64_t sector, uint32_t count, uint32_t flags)
{
	return ranges(type, &(struct blk_range){ sector, count, flags }, 1);
}

/* ---- data ---- */

static void data_comes_back(const char *with)
{
	unsigned char data[65536];

	open_full(with);
	for (unsigned i = 0; i < 600; i++) {
		uint32_t len = (uint32_t)(harness_random() % 128 + 1) * 512;
		uint64_t sector = harness_random() % (SECTORS - len / 512 + 1);

		if (i % 2) {
			harness_fill(data, len);
			memcpy(whole + sector * 512, data, len);
			CHECK_EQ(rig_blk(&r, BLK_OUT, sector, data, len), BLK_OK);
		} else {
			memset(data, 0, len);
			CHECK_EQ(rig_blk(&r, BLK_IN, sector, data, len), BLK_OK);
			CHECK_BYTES(data, whole + sector * 512, len);
		}
	}
	CHECK_EQ(rig_blk(&r, BLK_FLUSH, 0, NULL, 0), BLK_OK);
	disk_is_as_it_was();
}

/* Many at once, over a few queues; each answer is its own request's. */
static void many_requests_at_once(const char *with)
{
	open_full(with);
	while (r.queue_count < 3)
		rig_start(&r, rig_queue(&r));
	for (unsigned round = 0; round < 60; round++) {
		for (unsigned slot = 0; slot < 60; slot++) {
			struct blk_request i = rig_request(&r, slot, BLK_IN,
				(slot * 131 + round * 17) % (SECTORS - 32), 16384);

			rig_add(&r, &r.queues[slot % 3], &i, slot);
		}
		for (unsigned k = 0; k < 3; k++)
			front_queue_offer(&r.queues[k]);
		for (unsigned n = 0; n < 60; n++) {
			uint32_t len;
			unsigned slot = rig_take(&r, &r.queues[n % 3], &len);
			uint64_t sector = (slot * 131 + round * 17) % (SECTORS - 32);
			struct blk_request i = rig_request(&r, slot, BLK_IN, sector, 16384);

			CHECK_EQ(len, 16385);
			CHECK_EQ(blk_status(&r.memory.driver, &i), BLK_OK);
			CHECK_BYTES(driver_at(&r.memory.driver, i.data, 16384),
				whole + sector * 512, 16384);
		}
	}
}

static void first_and_last_sector(const char *with)
{
	unsigned char data[1024];

	open_full(with);
	CHECK_EQ(rig_blk(&r, BLK_IN, 0, data, 512), BLK_OK);
	CHECK_BYTES(data, whole, 512);
	CHECK_EQ(rig_blk(&r, BLK_IN, SECTORS - 2, data, 1024), BLK_OK);
	CHECK_BYTES(data, whole + RIG_DISK_BYTES - 1024, 1024);
	memset(whole + RIG_DISK_BYTES - 512, 0x5a, 512);
	memset(data, 0x5a, 512);
	CHECK_EQ(rig_blk(&r, BLK_OUT, SECTORS - 1, data, 512), BLK_OK);
	disk_is_as_it_was();
}

/* ---- what must fail, and touch nothing ---- */

static void out_of_range(const char *with)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{ SECTORS, 512 },
		{ SECTORS - 1, 1024 },
		{ SECTORS - 127, 65536 },
		{ 1ull << 32, 512 },
		{ (1ull << 32) + 1, 512 },
		{ 1ull << 55, 512 },       /* times 512 it is 0 in 64 bits */
		{ (1ull << 55) + 8, 512 }, /* … and 4096 */
		{ 1ull << 63, 1024 },
		{ ~0ull, 512 }, /* its end wraps to 0 */
		{ ~0ull - 1, 1024 },
		{ ~0ull, 1024 },
	};
	unsigned char data[65536], same[65536];

	open_full(with);
	memset(same, 0x77, sizeof(same));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(data, 0x77, sizeof(data));
		CHECK_EQ(rig_blk(&r, BLK_OUT, bad[i].sector, data, bad[i].len), BLK_IOERR);
		CHECK_EQ(rig_blk(&r, BLK_IN, bad[i].sector, data, bad[i].len), BLK_IOERR);
		CHECK_BYTES(data, same, bad[i].len);
	}
	disk_is_as_it_was();
	rig_works(&r);
}

/* Data comes "in multiples of 512 bytes". */
static void unaligned_sizes(const char *with)
{
	static const uint32_t bad[] = { 1, 511, 513, 1000, 4095, 65535 };
	unsigned char data[65536] = { 0 };

	open_full(with);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_EQ(rig_blk(&r, BLK_OUT, 8, data, bad[i]), BLK_IOERR);
		CHECK_EQ(rig_blk(&r, BLK_IN, 8, data, bad[i]), BLK_IOERR);
	}
	disk_is_as_it_was();
	rig_works(&r);
}

static void unknown_types_are_unsupported(const char *with)
{
	static const uint32_t types[] = { 2, 3, 5, 6, 7, 9, BLK_GET_LIFETIME, 12, BLK_SECURE_ERASE,
		15, 16, 18, 20, 22, 24, 26, 27, 255, 256, 0x80000000, 0x80000001, ~0u };
	unsigned char data[512] = { 0 };

	open_full(with);
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		CHECK_EQ(rig_blk(&r, types[i], 0, data, 512), BLK_UNSUPP);
		CHECK_EQ(rig_blk(&r, types[i], 0, NULL, 0), BLK_UNSUPP);
	}
	disk_is_as_it_was();
	rig_works(&r);
}

static void a_read_only_disk(const char *with)
{
	unsigned char data[512] = { 0 }, id[BLK_ID_BYTES];
	char io[32] = "--io=";
	uint64_t features;

	r.image = harness_file("disk", RIG_DISK_BYTES);
	harness_fill(whole, sizeof(whole));
	rig_disk_write(&r, 0, whole, sizeof(whole));
	CHECK_EQ(chmod(r.image, 0400), 0);
	rig_serve(&r, 0, (const char *const[]){ strcat(io, with), "--read-only", NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_get_features(&r.front, &features), 0);
	CHECK((features & 1 << BLK_F_RO) != 0);
	CHECK((features & (1 << BLK_F_DISCARD | 1 << BLK_F_WRITE_ZEROES)) == 0);
	rig_run(&r);
	CHECK_EQ(rig_blk(&r, BLK_OUT, 0, data, 512), BLK_IOERR);
	CHECK(range(BLK_DISCARD, 0, 8, 0) != BLK_OK);
	CHECK(range(BLK_WRITE_ZEROES, 0, 8, 0) != BLK_OK);
	CHECK(range(BLK_WRITE_ZEROES, 0, 8, BLK_UNMAP) != BLK_OK);
	CHECK_EQ(rig_blk(&r, BLK_IN, 8, data, 512), BLK_OK);
	CHECK_BYTES(data, whole + 8 * 512, 512);
	CHECK_EQ(rig_blk(&r, BLK_FLUSH, 0, NULL, 0), BLK_OK);
	CHECK_EQ(rig_blk(&r, BLK_GET_ID, 0, id, sizeof(id)), BLK_OK);
	disk_is_as_it_was();
}

/* A driver that has not accepted a feature, but asks all the same, harms nothing. */
static void without_the_features(const char *with)
{
	unsigned char data[512];

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, VU_F(VERSION_1) | VU_F(PROTOCOL_FEATURES), ~0ull);
	rig_run(&r);
	harness_fill(data, sizeof(data));
	CHECK_EQ(rig_blk(&r, BLK_OUT, 1, data, 512), BLK_OK);
	rig_disk_read(&r, 512, now, 512);
	CHECK_BYTES(now, data, 512);
	CHECK(rig_blk(&r, BLK_FLUSH, 0, NULL, 0) != BLK_NO_STATUS);
	CHECK(range(BLK_DISCARD, 100, 8, 0) != BLK_NO_STATUS);
	rig_works(&r);
}

/* ---- GET_ID ---- */

static void serial_numbers(const char *with)
{
	static const char *const serials[] = { "", "a", "disk-0001", "12345678901234567890" };

	(void)with;
	for (unsigned i = 0; i < 4; i++) {
		unsigned char should[64] = { 0 }, id[64];
		char option[64] = "--serial=";

		rig_serve(&r, RIG_DISK_BYTES,
			(const char *const[]){ strcat(option, serials[i]), NULL });
		rig_negotiate(&r, ~0ull, ~0ull);
		rig_run(&r);
		memcpy(should, serials[i], strlen(serials[i]));
		for (uint32_t len = 1; len <= 32; len++) {
			uint32_t filled = len < BLK_ID_BYTES ? len : BLK_ID_BYTES;

			memset(id, 0x77, sizeof(id));
			memset(should + BLK_ID_BYTES, 0x77, sizeof(should) - BLK_ID_BYTES);
			CHECK_EQ(rig_blk(&r, BLK_GET_ID, 0, id, len), BLK_OK);
			CHECK_BYTES(id, should, filled);
			CHECK(len <= BLK_ID_BYTES || id[len - 1] == 0x77);
			CHECK_EQ(id[len], 0x77);
		}
		CHECK_EQ(vubox_end(&r.vubox, 15), 0);
		rig_disconnect(&r);
	}
}

/* ---- DISCARD, WRITE_ZEROES ---- */

static uint64_t blocks(void)
{
	struct stat st;

	CHECK_EQ(stat(r.image, &st), 0);
	return (uint64_t)st.st_blocks;
}

static void zeroed(uint64_t sector, uint32_t count)
{
	memset(whole + sector * 512, 0, (size_t)count * 512);
	disk_is_as_it_was();
}

static void write_zeroes_zeroes(const char *with)
{
	const struct blk_range list[] = { { 4000, 1, 0 }, { 4010, 100, BLK_UNMAP }, { 4009, 1, 0 },
		{ 8191, 1, 0 }, { 0, 0, 0 }, { 8192, 0, 0 } };
	uint64_t before;

	open_full(with);
	before = blocks();
	CHECK_EQ(range(BLK_WRITE_ZEROES, 0, 2048, 0), BLK_OK);
	zeroed(0, 2048);
	CHECK(blocks() >= before); /* without unmap the space stays allocated */
	CHECK_EQ(range(BLK_WRITE_ZEROES, 2048, 1024, BLK_UNMAP), BLK_OK);
	zeroed(2048, 1024);
	CHECK_EQ(range(BLK_WRITE_ZEROES, 3333, 1, BLK_UNMAP), BLK_OK);
	zeroed(3333, 1);
	CHECK_EQ(ranges(BLK_WRITE_ZEROES, list, 6), BLK_OK);
	for (unsigned i = 0; i < 6; i++)
		memset(whole + list[i].sector * 512, 0, list[i].count * 512);
	disk_is_as_it_was();
	CHECK_EQ(range(BLK_WRITE_ZEROES, SECTORS - 1, 1, 0), BLK_OK);
	zeroed(SECTORS - 1, 1);
}

static void discard_frees_space(const char *with)
{
	const struct blk_range list[] = { { 8192, 2048, 0 }, { 0, 2048, 0 }, { 12288, 1024, 0 } };
	unsigned char data[512];
	uint64_t before;

	open_full(with);
	before = blocks();
	CHECK_EQ(ranges(BLK_DISCARD, list, 3), BLK_OK);
	CHECK_EQ(before - blocks(), 2048 + 2048 + 1024);
	for (unsigned i = 0; i < 3; i++) /* what was discarded may read as anything: here, zeroes */
		memset(whole + list[i].sector * 512, 0, list[i].count * 512);
	disk_is_as_it_was();
	CHECK_EQ(rig_blk(&r, BLK_IN, 100, data, 512), BLK_OK);
	CHECK_EQ(range(BLK_DISCARD, 100, 0, 0), BLK_OK);
	/* The size of the file is the guest's disk: it never changes. */
	CHECK_EQ(range(BLK_DISCARD, SECTORS - 8, 8, 0), BLK_OK);
	rig_disk_read(&r, RIG_DISK_BYTES - 4096, now, 4096);
	CHECK_EQ(rig_blk(&r, BLK_IN, SECTORS - 1, data, 512), BLK_OK);
}

/* "… MUST set … UNSUPP for discard … if any unknown flag is set", and unmap is unknown. */
static void flag_rules(const char *with)
{
	static const uint32_t unknown[] = { 2, 3, 4, 0x80, 1u << 31, ~0u, ~1u };

	open_full(with);
	for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		CHECK_EQ(range(BLK_DISCARD, 0, 8, unknown[i]), BLK_UNSUPP);
		CHECK_EQ(range(BLK_WRITE_ZEROES, 0, 8, unknown[i]), BLK_UNSUPP);
	}
	CHECK_EQ(range(BLK_DISCARD, 0, 8, BLK_UNMAP), BLK_UNSUPP);
	disk_is_as_it_was();
}

static void bad_ranges(const char *with)
{
	static const struct blk_range bad[] = { { SECTORS, 1, 0 }, { SECTORS - 1, 2, 0 },
		{ 0, SECTORS + 1, 0 }, { 1ull << 55, 8, 0 }, { ~0ull, 1, 0 }, { ~0ull, 2, 0 },
		{ ~0ull - 7, 16, 0 }, { 1, ~0u, 0 }, { 1ull << 32, 8, 0 } };
	struct blk_range two[2] = { { 16, 8, 0 } };
	static const uint32_t types[] = { BLK_DISCARD, BLK_WRITE_ZEROES };
	unsigned char data[64] = { 0 };

	open_full(with);
	for (unsigned t = 0; t < 2; t++) {
		for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			CHECK_EQ(ranges(types[t], &bad[i], 1), BLK_IOERR);
			two[1] = bad[i];
			CHECK_EQ(ranges(types[t], two, 2), BLK_IOERR);
		}
		for (uint32_t len = 0; len < 64; len++)
			if (len % 16 != 0 || len == 0)
				CHECK_EQ(rig_blk(&r, types[t], 0, data, len), BLK_IOERR);
	}
	/* A range before a bad one could have been done; here nothing has. */
	disk_is_as_it_was();
	rig_works(&r);
}

static void as_many_ranges_as_it_says(const char *with)
{
	struct blk_range list[1024];
	uint32_t max, got;

	open_full(with);
	CHECK_EQ(front_get_config(&r.front, BLK_CONFIG_MAX_DISCARD_SEG, 4, &max, &got), 0);
	CHECK(max >= 1 && max < 1024);
	for (unsigned i = 0; i < max; i++)
		list[i] = (struct blk_range){ i * 24, 8, 0 };
	list[max] = list[0];
	CHECK_EQ(ranges(BLK_WRITE_ZEROES, list, max + 1), BLK_IOERR);
	disk_is_as_it_was();
	CHECK_EQ(ranges(BLK_WRITE_ZEROES, list, max), BLK_OK);
	for (unsigned i = 0; i < max; i++)
		memset(whole + i * 24 * 512, 0, 8 * 512);
	disk_is_as_it_was();
	CHECK_EQ(ranges(BLK_DISCARD, list, max), BLK_OK);
	disk_is_as_it_was();
}

/* ---- the image ---- */

static void o_direct_takes_aligned_and_unaligned(const char *with)
{
	static unsigned char data[65536], back[65536];
	static struct driver_buffer pieces[64];
	struct blk_request w;
	struct driver_buffer parts[3];
	struct driver_chain chain = { .buffers = pieces };

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ "--direct", NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
	harness_fill(data, sizeof(data));
	CHECK_EQ(rig_blk(&r, BLK_OUT, 0, data, sizeof(data)), BLK_OK);
	CHECK_EQ(rig_blk(&r, BLK_IN, 0, back, sizeof(back)), BLK_OK);
	CHECK_BYTES(back, data, sizeof(back));
	/* A sector that is no page, and pieces of memory that no disk takes. */
	CHECK_EQ(rig_blk(&r, BLK_OUT, 129, data, 512), BLK_OK);
	CHECK_EQ(rig_blk(&r, BLK_IN, 129, back, 512), BLK_OK);
	CHECK_BYTES(back, data, 512);
	w = rig_request(&r, 0, BLK_OUT, 256, 4096);
	CHECK(driver_write(&r.memory.driver, w.data, data, 4096));
	chain.count = blk_cut(parts, blk_build(&r.memory.driver, &w, parts),
		(const uint32_t[]){ 1, 100, 1000 }, 3, pieces, 64);
	CHECK_EQ(rig_chain(&r, &w, &chain), BLK_OK);
	CHECK_EQ(rig_blk(&r, BLK_IN, 256, back, 4096), BLK_OK);
	CHECK_BYTES(back, data, 4096);
}

/* What -v says of the engine that was chosen. */
static void auto_knows_tmpfs_from_files(const char *with)
{
	char *shm;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ "-v", NULL });
	rig_connect(&r);
	CHECK(vubox_said(&r.vubox, "I/O by uring") || vubox_said(&r.vubox, "no io_uring"));
	CHECK_EQ(vubox_end(&r.vubox, 15), 0);
	front_close(&r.front);
	CHECK(asprintf(&shm, "/dev/shm/vubox-proto-%d", (int)getpid()) > 0);
	r.image = shm;
	close(open(shm, O_CREAT | O_RDWR, 0600));
	CHECK_EQ(truncate(shm, RIG_DISK_BYTES), 0);
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ "-v", NULL });
	rig_connect(&r);
	CHECK_EQ(unlink(shm), 0);
	CHECK(vubox_said(&r.vubox, "I/O by mmap: tmpfs"));
}

/* Capacity is in whole blocks of 512; the tail is not served. */
static void sizes_that_are_no_multiple(const char *with)
{
	static const uint64_t sizes[] = { 512, 513, 1023, 4096, 100000, (5ull << 30) + 1 };
	unsigned char data[512] = { 0 };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t capacity = 0;
		uint32_t got;

		r.image = NULL;
		rig_open(&r, sizes[i], with);
		CHECK_EQ(front_get_config(&r.front, 0, 8, &capacity, &got), 0);
		CHECK_EQ(capacity, sizes[i] / 512);
		if (sizes[i] % 512 != 0)
			CHECK(vubox_said(&r.vubox, "are no whole block"));
		CHECK_EQ(rig_blk(&r, BLK_OUT, capacity - 1, data, 512), BLK_OK);
		CHECK_EQ(rig_blk(&r, BLK_OUT, capacity, data, 512), BLK_IOERR);
		CHECK_EQ(rig_blk(&r, BLK_IN, capacity, data, 512), BLK_IOERR);
		CHECK_EQ(vubox_end(&r.vubox, 15), 0);
		rig_disconnect(&r);
	}
}

static const struct harness_case cases[] = {
	CASE_OF_EACH(data_comes_back),
	CASE_OF_EACH(many_requests_at_once),
	CASE_OF_EACH_ENGINE(first_and_last_sector),
	CASE_OF_EACH_ENGINE(out_of_range),
	CASE_OF_EACH_ENGINE(unaligned_sizes),
	CASE_OF_EACH_ENGINE(unknown_types_are_unsupported),
	CASE_OF_EACH_ENGINE(a_read_only_disk),
	CASE(without_the_features),
	CASE(serial_numbers),
	CASE_OF_EACH_ENGINE(write_zeroes_zeroes),
	CASE_OF_EACH_ENGINE(discard_frees_space),
	CASE_OF_EACH_ENGINE(flag_rules),
	CASE_OF_EACH_ENGINE(bad_ranges),
	CASE_OF_EACH_ENGINE(as_many_ranges_as_it_says),
	CASE_OF_EACH_ENGINE(sizes_that_are_no_multiple),
	CASE(o_direct_takes_aligned_and_unaligned),
	CASE(auto_knows_tmpfs_from_files),
};
HARNESS_MAIN(cases)
