/*
 * Files that change under a mapping: guest memory, the in-flight area and the image truncated,
 * punched or sealed while requests are in flight. SIGBUS and failing kernel I/O both cost at most
 * the connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../front/slowfs.h"
#include "../front/track.h"
#include "../front/yard.h"

enum { COUNT = 24, BYTES = 32768, ROUNDS = 12 };

static struct yard y;

/* Where the data of slots lies when it has a region of its own, and in what file. */
#define DATA_GUEST (RIG_GUEST + (1ull << 32))
#define DATA_BYTES ((uint64_t)COUNT * BYTES)

static void serve(const char *engine, const char *image)
{
	static char io[32] = "--io=";

	strcpy(io + 5, engine);
	y.rig.image = image;
	yard_serve(&y, (const char *const[]){ io, NULL });
}

/* A connection with a running queue, and a second region for data if `apart`. */
static void connect_with(bool apart, int fd)
{
	struct front_place place = { DATA_GUEST, DATA_BYTES, RIG_USER + (1ull << 33), 0 };

	rig_negotiate(&y.rig, ~0ull, ~0ull);
	CHECK_EQ(front_memory_add(&y.rig.memory, RIG_GUEST, RIG_USER, RIG_MEMORY, 0), 0);
	if (apart && fd >= 0)
		CHECK_EQ(front_memory_add_fd(&y.rig.memory, &place, fd), 0);
	else if (apart)
		CHECK_EQ(
			front_memory_add(&y.rig.memory, place.guest, place.user, place.size, 0), 0);
	rig_share(&y.rig);
	rig_start(&y.rig, rig_queue(&y.rig));
}

/* Reads and writes of 32 KiB each; their data is in the region of its own, if there is one. */
static void add_requests(bool apart)
{
	struct front_queue *q = &y.rig.queues[0];

	for (unsigned slot = 0; slot < COUNT; slot++) {
		struct blk_request x = rig_request(
			&y.rig, slot, slot % 2 ? BLK_IN : BLK_OUT, 4096 + slot * 64, BYTES);

		if (apart)
			x.data = DATA_GUEST + slot * BYTES;
		rig_add(&y.rig, q, &x, slot);
	}
	front_queue_offer(q);
	front_kick(q);
}

/* It answers or it has closed; then all of it is given back. */
static void end_round(void)
{
	int error = front_settle(&y.rig.front);

	CHECK(error == 0 || error == -EPIPE || error == -ECONNRESET);
	CHECK_EQ(front_settle(&y.other.front), 0);
	yard_glance(&y);
}

/* ---- guest memory ---- */

static void truncated_under_load(const char *with)
{
	static const uint64_t sizes[] = { 0, 4096, RIG_MEMORY / 2, RIG_MEMORY - 4096,
		RIG_SLOTS_AT - RIG_GUEST };

	serve(with, NULL);
	for (unsigned round = 0; round < ROUNDS; round++) {
		int fd, error;

		connect_with(false, -1);
		fd = y.rig.memory.regions[0].fd;
		add_requests(false);
		usleep((useconds_t)(harness_random() % 500));
		CHECK_EQ(ftruncate(fd, (off_t)sizes[round % 5]), 0);
		front_kick(&y.rig.queues[0]);
		error = front_settle(&y.rig.front);
		CHECK(error == 0 || error == -EPIPE || error == -ECONNRESET);
		/* Without its ring it cannot go on. */
		if (sizes[round % 5] == 0)
			UNTIL(front_settle(&y.rig.front) != 0);
		yard_glance(&y);
	}
	CHECK(vubox_said(&y.rig.vubox, "shrunk"));
	yard_check(&y);
}

/* The rings stay, the data goes. */
static void only_the_data_is_truncated(const char *with)
{
	serve(with, NULL);
	for (unsigned round = 0; round < ROUNDS; round++) {
		connect_with(true, -1);
		add_requests(true);
		usleep((useconds_t)(harness_random() % 300));
		CHECK_EQ(ftruncate(y.rig.memory.regions[1].fd,
				 round % 2 ? 0 : (off_t)(harness_random() % DATA_BYTES)),
			0);
		end_round();
	}
	yard_check(&y);
}

static void truncated_and_grown_again(const char *with)
{
	serve(with, NULL);
	for (unsigned round = 0; round < ROUNDS; round++) {
		int fd;

		connect_with(false, -1);
		fd = y.rig.memory.regions[0].fd;
		add_requests(false);
		CHECK_EQ(ftruncate(fd, 0), 0);
		usleep((useconds_t)(harness_random() % 200));
		CHECK_EQ(ftruncate(fd, RIG_MEMORY), 0);
		front_kick(&y.rig.queues[0]);
		end_round();
	}
	yard_check(&y);
}

/* Pages are taken out from under it: they are zero afterwards, and nothing fails. */
static void punched_under_load(const char *with)
{
	serve(with, NULL);
	for (unsigned round = 0; round < ROUNDS; round++) {
		int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		uint64_t from = round % 3 == 0 ? 0 : RIG_SLOTS_AT - RIG_GUEST;

		connect_with(false, -1);
		add_requests(false);
		for (unsigned i = 0; i < 8; i++) {
			CHECK_EQ(fallocate(y.rig.memory.regions[0].fd, mode, (off_t)from,
					 (off_t)(RIG_MEMORY - from)),
				0);
			usleep((useconds_t)(harness_random() % 100));
		}
		front_kick(&y.rig.queues[0]);
		CHECK_EQ(front_settle(&y.rig.front), 0);
		end_round();
	}
	yard_check(&y);
}

/* Sealed after it was shared: against shrinking, growing, and writing by new mappings. */
static void sealed_under_load(const char *with)
{
	struct driver_used used;

	serve(with, NULL);
	for (unsigned round = 0; round < 4; round++) {
		int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		unsigned back = 0;

		CHECK_EQ(ftruncate(fd, DATA_BYTES), 0);
		connect_with(true, fd);
		add_requests(true);
		CHECK_EQ(fcntl(fd, F_ADD_SEALS,
				 F_SEAL_SHRINK | F_SEAL_GROW | 16 /* F_SEAL_FUTURE_WRITE */),
			0);
		CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EBUSY);
		/* It is mapped already: all goes well. */
		UNTIL((back += driver_poll(&y.rig.queues[0].driver, &used) > 0, back == COUNT));
		for (unsigned slot = 0; slot < COUNT; slot++) {
			struct blk_request x = rig_request(&y.rig, slot, 0, 0, 0);

			CHECK_EQ(blk_status(&y.rig.memory.driver, &x), BLK_OK);
		}
		close(fd);
		yard_glance(&y);
	}
	yard_check(&y);
}

/* A file system without room for another page: touching memory fails, and so does I/O into it. */
static void memory_on_a_full_file_system(const char *with)
{
	const char *dir = harness_path("full"), *file = harness_path("full/memory");

	slowfs_own_mounts();
	CHECK_EQ(mkdir(dir, 0700), 0);
	CHECK_EQ(mount("none", dir, "tmpfs", 0, "size=64k"), 0);
	serve(with, NULL);
	for (unsigned round = 0; round < 4; round++) {
		int fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		struct front_place place = { DATA_GUEST, DATA_BYTES, RIG_USER + (1ull << 33), 0 };

		CHECK(fd >= 0 && ftruncate(fd, DATA_BYTES) == 0);
		connect_with(false, -1);
		/* Not mapped by us: the first page that is touched is touched by the program. */
		CHECK_EQ(front_add_mem_reg(&y.rig.front, &place, fd), 0);
		for (unsigned slot = 0; slot < COUNT; slot++) {
			struct blk_request i =
				rig_request(&y.rig, slot, BLK_IN, 4096 + slot * 64, BYTES);
			struct driver_buffer buffers[3];
			struct driver_chain chain = { .buffers = buffers };

			i.data = DATA_GUEST + slot * BYTES;
			chain.count = blk_build(&y.rig.memory.driver, &i, buffers);
			CHECK(driver_add(&y.rig.queues[0].driver, &chain) >= 0);
		}
		front_queue_offer(&y.rig.queues[0]);
		close(fd);
		end_round();
	}
	yard_check(&y);
}

/* On a disk that hangs, everything is in flight for sure when the memory goes. */
static void truncated_while_the_disk_hangs(const char *with)
{
	serve(with, slowfs_mount(RIG_DISK_BYTES, SLOWFS_ASYNC));
	for (unsigned round = 0; round < 4; round++) {
		connect_with(true, -1);
		slowfs_hold(SLOWFS_ALL, 4096 * 512, RIG_DISK_BYTES);
		add_requests(true);
		UNTIL(slowfs_held() > 0);
		CHECK_EQ(ftruncate(y.rig.memory.regions[1].fd, 0), 0);
		if (round % 2)
			CHECK_EQ(ftruncate(y.rig.memory.regions[0].fd, 0), 0);
		slowfs_release(round / 2 ? EIO : 0);
		end_round();
	}
	yard_check(&y);
}

static void memory_of_a_regular_file_truncated(const char *with)
{
	const char *path = harness_path("memory");

	serve(with, NULL);
	for (unsigned round = 0; round < 4; round++) {
		int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		CHECK(fd >= 0 && ftruncate(fd, DATA_BYTES) == 0);
		connect_with(true, fd);
		add_requests(true);
		CHECK_EQ(ftruncate(fd, 0), 0);
		close(fd);
		end_round();
	}
	yard_check(&y);
}

/* ---- the in-flight area ---- */

/* One that it has made itself cannot shrink; another one can. */
static void the_in_flight_area_is_truncated(const char *with)
{
	struct front_inflight want = { 1 << 16, 0, 1, RIG_RING_SIZE, 0 };
	struct track t;

	serve(with, NULL);
	for (unsigned round = 0; round < 6; round++) {
		int fd = memfd_create("inflight", MFD_CLOEXEC);

		rig_negotiate(&y.rig, ~0ull, ~0ull);
		track_get(&t, &y.rig.front, 1, RIG_RING_SIZE);
		CHECK(ftruncate(t.fd, 0) < 0 && errno == EPERM);
		track_put(&t);
		CHECK_EQ(ftruncate(fd, (off_t)want.size), 0);
		CHECK_EQ(front_set_inflight_fd(&y.rig.front, &want, fd), 0);
		rig_share(&y.rig);
		(void)rig_queue(&y.rig);
		if (round % 2 == 0) {
			rig_start(&y.rig, &y.rig.queues[0]);
			add_requests(false);
		}
		CHECK_EQ(ftruncate(fd, 0), 0);
		close(fd);
		if (round % 2 == 1) /* it is looked into when the ring starts */
			(void)front_queue_start(&y.rig.front, &y.rig.queues[0],
				driver_base(&y.rig.queues[0].driver, 0));
		front_kick(&y.rig.queues[0]);
		end_round();
	}
	yard_check(&y);
}

/* What a guest gave to be written is gone: then nothing is written, no zeroes in its place. */
static void a_write_of_what_is_gone(const char *with)
{
	unsigned char data[4096], got[4096];
	struct blk_request write;

	serve(with, NULL);
	connect_with(false, -1);
	memset(data, 0x55, sizeof(data));
	CHECK_EQ(rig_blk(&y.rig, BLK_OUT, 80, data, sizeof(data)), BLK_OK);
	CHECK_EQ(rig_blk(&y.rig, BLK_IN, 80, data, sizeof(data)), BLK_OK);
	write = rig_request(&y.rig, 0, BLK_OUT, 80, sizeof(data));
	write.data = rig_request(&y.rig, RIG_SLOTS - 1, BLK_OUT, 80, sizeof(data)).data & ~4095ull;
	CHECK_EQ(ftruncate(y.rig.memory.regions[0].fd, (off_t)(write.data - RIG_GUEST)), 0);
	rig_add(&y.rig, &y.rig.queues[0], &write, 0);
	front_queue_offer(&y.rig.queues[0]);
	front_kick(&y.rig.queues[0]);
	(void)front_settle(&y.rig.front);
	rig_disk_read(&y.rig, 80 * 512, got, sizeof(got));
	CHECK(memcmp(got, data, sizeof(got)) == 0);
	rig_disconnect(&y.rig);
	yard_check(&y);
}

/* ---- the image ---- */

static void the_image_is_truncated(const char *with)
{
	unsigned char data[4096];

	serve(with, NULL);
	yard_connect(&y, 1);
	yard_reads(&y);
	for (unsigned round = 0; round < 4; round++) {
		CHECK_EQ(truncate(y.rig.image, 512 * 2048), 0);
		CHECK_EQ(rig_blk(&y.rig, BLK_IN, 4096, data, sizeof(data)), BLK_IOERR);
		yard_reads(&y);
		CHECK_EQ(truncate(y.rig.image, 0), 0);
		CHECK_EQ(rig_blk(&y.rig, BLK_IN, 24, data, sizeof(data)), BLK_IOERR);
		CHECK_EQ(truncate(y.rig.image, RIG_DISK_BYTES), 0);
		yard_repair(&y);
		yard_reads(&y);
		CHECK_EQ(rig_blk(&y.rig, BLK_IN, 4096, data, sizeof(data)), BLK_OK);
	}
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH(truncated_under_load),
	CASE_OF_EACH(only_the_data_is_truncated),
	CASE_OF_EACH(truncated_and_grown_again),
	CASE_OF_EACH(punched_under_load),
	CASE_OF_EACH_ENGINE(sealed_under_load),
	CASE_OF_EACH_ENGINE(memory_on_a_full_file_system),
	CASE_WITH_EACH_FORMAT(truncated_while_the_disk_hangs, "uring"),
	CASE_OF_EACH_ENGINE(memory_of_a_regular_file_truncated),
	CASE_OF_EACH(the_in_flight_area_is_truncated),
	CASE_OF_EACH_ENGINE(a_write_of_what_is_gone),
	CASE_OF_EACH_ENGINE(the_image_is_truncated),
};
HARNESS_MAIN(cases)
