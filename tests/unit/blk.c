/* src/dev/blk.c: requests, their results, and what they leave on the disk. */
#include <errno.h>

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "unit.h"

enum { SECTORS = 2048, IMAGE = SECTORS * 512, ONE = 512 };

/* Where a request's parts lie behind the rings: header, what it reads, what it writes. */
enum { HEADER = 0, IN = 0x100, OUT = 0x20000, STATUS = 0xe0000 - FRONT_DATA };

static struct front front;
static struct fake_image *image;
static uint32_t used_len;

static void start_with(const char *options, uint64_t features)
{
	char line[200] = "vubox blk -s /s --blk-file=/img ";

	fake_reset(1);
	image = fake_image_new("/img", IMAGE);
	for (unsigned i = 0; i < IMAGE; i++)
		image->bytes[i] = image->stable[i] = (unsigned char)(i / ONE + i % 7);
	CHECK_EQ(rig_main(strcat(line, options)), FAKE_IDLE);
	front_start(&front, "/s", 2, features | VIRTIO_F_INDIRECT_DESC);
	front_ring(&front, 0, 256);
}

static void start(void)
{
	start_with("", VIRTIO_BLK_F_FLUSH);
}

static void put_header(uint32_t type, uint64_t sector)
{
	struct virtio_blk_req header = { le32_put(type), le32_put(0), le64_put(sector) };

	memcpy(front_data(&front, HEADER), &header, sizeof(header));
	*front_data(&front, STATUS) = 99;
}

/* Runs a request of these buffers: its status, or 99 if it did not come back. */
static int run(const struct buffer *buffers, unsigned n)
{
	uint32_t id;

	driver_add(&front.rings[0], buffers, n);
	front_kick(&front, 0);
	if (!driver_used(&front.rings[0], &id, &used_len))
		return 99;
	return *front_data(&front, STATUS);
}

/* A request that reads `in` bytes from IN and writes `out` bytes to OUT. */
static int request(uint32_t type, uint64_t sector, uint32_t in, uint32_t out)
{
	struct buffer all[4] = { { front_addr(HEADER), 16, false }, { front_addr(IN), in, false },
		{ front_addr(OUT), out, true }, { front_addr(STATUS), 1, true } };

	put_header(type, sector);
	return run(all, 4);
}

static void fill_in(uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		*front_data(&front, IN + i) = (char)(i * 13 + 1);
}

/* ---- reading and writing ---- */

CASE(a_read)
{
	start();
	CHECK_EQ(request(VIRTIO_BLK_T_IN, 5, 0, 4 * ONE), VIRTIO_BLK_S_OK);
	CHECK_BYTES(front_data(&front, OUT), image->bytes + 5 * ONE, 4 * ONE);
	CHECK_EQ(used_len, 4 * ONE + 1);
	CHECK_EQ(*front_data(&front, OUT + 4 * ONE), 0);
}

CASE(a_write)
{
	start();
	fill_in(4 * ONE);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 7, 4 * ONE, 0), VIRTIO_BLK_S_OK);
	CHECK_BYTES(image->bytes + 7 * ONE, front_data(&front, IN), 4 * ONE);
	CHECK_EQ(image->bytes[7 * ONE - 1], (unsigned char)(6 + (7 * ONE - 1) % 7));
	CHECK_EQ(used_len, 1);
}

CASE(the_last_sector)
{
	start();
	CHECK_EQ(request(VIRTIO_BLK_T_IN, SECTORS - 1, 0, ONE), VIRTIO_BLK_S_OK);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, SECTORS - 1, ONE, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(image->reads + image->writes, 2);
}

CASE(what_is_not_on_the_disk_is_an_error)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} wrong[] = { { SECTORS, ONE }, { SECTORS - 1, 2 * ONE }, { 0, ONE + 1 }, { 0, 1 },
		{ UINT64_MAX, ONE }, { UINT64_MAX / 512, ONE }, { 1ull << 55, ONE },
		{ (1ull << 55) + 1, 4 * ONE }, { SECTORS + 1, 0 } };

	start();
	for (unsigned i = 0; i < countof(wrong); i++) {
		CHECK_EQ(request(VIRTIO_BLK_T_IN, wrong[i].sector, 0, wrong[i].len),
			VIRTIO_BLK_S_IOERR);
		CHECK_EQ(used_len, 1);
		CHECK_EQ(request(VIRTIO_BLK_T_OUT, wrong[i].sector, wrong[i].len, 0),
			VIRTIO_BLK_S_IOERR);
	}
	CHECK_EQ(image->reads + image->writes, 0);
}

CASE(nothing_to_read_or_write)
{
	start();
	CHECK_EQ(request(VIRTIO_BLK_T_IN, 3, 0, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 3, 0, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(image->reads + image->writes, 0);
}

/* Buffers of at most `piece` bytes, in an indirect table. */
static int request_in_pieces(uint32_t type, uint32_t in, uint32_t out, uint32_t piece)
{
	static struct buffer all[CONFIG_RING_SIZE_MAX];
	const struct buffer whole[4] = { { front_addr(HEADER), 16, false },
		{ front_addr(IN), in, false }, { front_addr(OUT), out, true },
		{ front_addr(STATUS), 1, true } };
	unsigned n = 0;
	uint32_t id;

	put_header(type, 1);
	for (unsigned i = 0; i < 4; i++)
		for (uint32_t at = 0; at < whole[i].len; at += piece)
			all[n++] = (struct buffer){ whole[i].addr + at,
				(uint32_t)num_min(piece, whole[i].len - at), whole[i].write };
	driver_add_indirect(&front.rings[0], FRONT_RING_BYTES * 2, all, n);
	front_kick(&front, 0);
	CHECK(driver_used(&front.rings[0], &id, &used_len));
	return *front_data(&front, STATUS);
}

CASE(any_layout)
{
	static const uint32_t pieces[] = { 1, 3, 5, 16, 17, 511, 512, 513 };

	start();
	for (unsigned i = 0; i < countof(pieces); i++) {
		fill_in(ONE);
		memset(image->bytes, 0, IMAGE);
		CHECK_EQ(request_in_pieces(VIRTIO_BLK_T_OUT, ONE, 0, pieces[i]), VIRTIO_BLK_S_OK);
		CHECK_BYTES(image->bytes + ONE, front_data(&front, IN), ONE);
		memset(front_data(&front, OUT), 0, ONE);
		CHECK_EQ(request_in_pieces(VIRTIO_BLK_T_IN, 0, ONE, pieces[i]), VIRTIO_BLK_S_OK);
		CHECK_BYTES(front_data(&front, OUT), front_data(&front, IN), ONE);
		CHECK_EQ(used_len, ONE + 1);
	}
}

CASE(data_and_status_in_one_buffer)
{
	struct buffer two[2] = { { front_addr(HEADER), 16, false },
		{ front_addr(STATUS) - ONE, ONE + 1, true } };

	start();
	put_header(VIRTIO_BLK_T_IN, 9);
	CHECK_EQ(run(two, 2), VIRTIO_BLK_S_OK);
	CHECK_BYTES(front_data(&front, STATUS - ONE), image->bytes + 9 * ONE, ONE);
}

CASE(header_and_data_in_one_buffer)
{
	struct buffer two[2] = { { front_addr(IN) - 16, 16 + ONE, false },
		{ front_addr(STATUS), 1, true } };

	start();
	fill_in(ONE);
	put_header(VIRTIO_BLK_T_OUT, 9);
	memcpy(front_data(&front, IN - 16), front_data(&front, HEADER), 16);
	CHECK_EQ(run(two, 2), VIRTIO_BLK_S_OK);
	CHECK_BYTES(image->bytes + 9 * ONE, front_data(&front, IN), ONE);
}

/* ---- addresses that are nowhere ---- */

#define NOWHERE (1ull << 40)

CASE(data_that_is_nowhere_fails_its_request)
{
	struct buffer all[4] = { { front_addr(HEADER), 16, false }, { front_addr(OUT), 100, true },
		{ NOWHERE, ONE - 100, true }, { front_addr(STATUS), 1, true } };

	start();
	put_header(VIRTIO_BLK_T_IN, 0);
	CHECK_EQ(run(all, 4), VIRTIO_BLK_S_IOERR);
	all[1].write = all[2].write = false;
	put_header(VIRTIO_BLK_T_OUT, 0);
	CHECK_EQ(run(all, 4), VIRTIO_BLK_S_IOERR);
	all[1] = (struct buffer){ NOWHERE, 20, true };
	put_header(VIRTIO_BLK_T_GET_ID, 0);
	CHECK_EQ(run((struct buffer[]){ all[0], all[1], all[3] }, 3), VIRTIO_BLK_S_IOERR);
	all[1] = (struct buffer){ NOWHERE, 16, false };
	put_header(VIRTIO_BLK_T_DISCARD, 0);
	CHECK_EQ(run((struct buffer[]){ all[0], all[1], all[3] }, 3), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(image->reads + image->writes + image->discards, 0);
}

CASE(a_header_that_is_nowhere_fails_its_request)
{
	struct buffer two[2] = { { NOWHERE, 16, false }, { front_addr(STATUS), 1, true } };

	start();
	put_header(VIRTIO_BLK_T_IN, 0);
	CHECK_EQ(run(two, 2), VIRTIO_BLK_S_IOERR);
}

static void expect_broken(const struct buffer *buffers, unsigned n, const char *why)
{
	start();
	put_header(VIRTIO_BLK_T_IN, 0);
	CHECK_EQ(run(buffers, n), 99);
	CHECK(fake_log_has(why));
	CHECK(rig_device(0)->queues[0].broken);
	CHECK_EQ(fake_notify_take(front.err[0]), 1);
}

CASE(a_status_that_is_nowhere_breaks_the_queue)
{
	expect_broken((struct buffer[]){ { front_addr(HEADER), 16, false },
			      { front_addr(OUT), ONE, true }, { NOWHERE, 1, true } },
		3, "a status byte that is not in shared memory");
}

CASE(no_status_breaks_the_queue)
{
	expect_broken((struct buffer[]){ { front_addr(HEADER), 16, false } }, 1,
		"a request without a status byte");
}

CASE(no_header_breaks_the_queue)
{
	expect_broken((struct buffer[]){ { front_addr(HEADER), 15, false },
			      { front_addr(STATUS), 1, true } },
		2, "a request without a whole header");
}

/* ---- other requests ---- */

CASE(types_that_it_does_not_know)
{
	static const uint32_t types[] = { 2, 3, 5, 6, 7, 9, 10, 12, 14, 16, 18, 24, 0x80000000,
		UINT32_MAX };

	start();
	for (unsigned i = 0; i < countof(types); i++)
		CHECK_EQ(request(types[i], 0, ONE, ONE), VIRTIO_BLK_S_UNSUPP);
	CHECK_EQ(image->reads + image->writes, 0);
}

CASE(the_serial_number)
{
	start_with("--serial=0123456789abcdefghij", 0);
	CHECK_EQ(request(VIRTIO_BLK_T_GET_ID, 0, 0, 20), VIRTIO_BLK_S_OK);
	CHECK_BYTES(front_data(&front, OUT), "0123456789abcdefghij\0", 21);
	CHECK_EQ(used_len, 21);
	memset(front_data(&front, OUT), 0, 32);
	CHECK_EQ(request(VIRTIO_BLK_T_GET_ID, 0, 0, 5), VIRTIO_BLK_S_OK);
	CHECK_BYTES(front_data(&front, OUT), "01234\0", 6);
	CHECK_EQ(request(VIRTIO_BLK_T_GET_ID, 0, 0, 64), VIRTIO_BLK_S_OK);
	CHECK_EQ(used_len, 21);
	CHECK_EQ(request(VIRTIO_BLK_T_GET_ID, 0, 0, 0), VIRTIO_BLK_S_OK);
}

CASE(a_short_serial_number_is_padded)
{
	start_with("--serial=abc", 0);
	memset(front_data(&front, OUT), 'x', 32);
	CHECK_EQ(request(VIRTIO_BLK_T_GET_ID, 0, 0, 20), VIRTIO_BLK_S_OK);
	CHECK_BYTES(front_data(&front, OUT), "abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0xx", 22);
}

CASE(a_flush_makes_writes_stable)
{
	start();
	fill_in(ONE);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 3, ONE, 0), VIRTIO_BLK_S_OK);
	CHECK(!image->last_sync && image->dirty[3]);
	CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(image->flushes, 1);
	CHECK_BYTES(image->stable + 3 * ONE, front_data(&front, IN), ONE);
}

/* ---- failures of the host ---- */

CASE(an_io_error_fails_its_request_and_no_other)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_FLUSH };

	start();
	for (unsigned i = 0; i < countof(types); i++) {
		fake.fail_at[FAKE_IO] = fake.calls[FAKE_IO] + 1;
		fake.fail_error = -ENOSPC;
		CHECK_EQ(request(types[i], 0, 0, types[i] == VIRTIO_BLK_T_IN ? ONE : 0),
			VIRTIO_BLK_S_IOERR);
		CHECK_EQ(used_len, 1);
		CHECK(fake_log_has("No space left on device"));
		CHECK_EQ(request(VIRTIO_BLK_T_IN, 0, 0, ONE), VIRTIO_BLK_S_OK);
	}
}

CASE(many_at_once_come_back_each_once)
{
	bool seen[256] = { false };
	uint32_t id, len;

	start();
	fake.io_delay_ns = 1000000;
	fake.fail_mask = 1ull << FAKE_IO;
	fake.fail_one_in = 4;
	put_header(VIRTIO_BLK_T_IN, 2);
	for (unsigned i = 0; i < 80; i++)
		driver_add(&front.rings[0],
			(struct buffer[]){ { front_addr(HEADER), 16, false },
				{ front_addr(OUT + ONE * i), ONE, true },
				{ front_addr(STATUS + i), 1, true } },
			3);
	front_kick(&front, 0);
	for (unsigned i = 0; i < 80; i++) {
		CHECK(driver_used(&front.rings[0], &id, &len));
		CHECK(id % 3 == 0 && !seen[id]);
		seen[id] = true;
		CHECK_EQ(len == 1, *front_data(&front, STATUS + id / 3) == VIRTIO_BLK_S_IOERR);
	}
	CHECK(!driver_used(&front.rings[0], &id, &len));
	CHECK(fake.failed > 5);
}
