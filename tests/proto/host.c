/*
 * A host that fails: out of descriptors and of memory, a full disk, one that breaks in the middle
 * of a request or goes away, a file-size limit. One request or one connection pays, and all is well
 * when the host is well again.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../front/refuse.h"
#include "../front/slowfs.h"
#include "../front/yard.h"

static struct yard y;

static void serve(const char *engine, const char *image)
{
	static char io[32] = "--io=";

	strcpy(io + 5, engine);
	y.rig.image = image;
	yard_serve(&y, (const char *const[]){ io, NULL });
}

static void limit(int what, rlim_t soft)
{
	struct rlimit old, new;

	CHECK_EQ(prlimit(y.rig.vubox.pid, what, NULL, &old), 0);
	new = (struct rlimit){ soft < old.rlim_max ? soft : old.rlim_max, old.rlim_max };
	CHECK_EQ(prlimit(y.rig.vubox.pid, what, &new, NULL), 0);
}

static uint8_t transfer(uint32_t type, uint64_t sector, uint32_t len)
{
	static unsigned char data[1 << 16];

	memset(data, 0x5a, len);
	return rig_blk(&y.rig, type, sector, data, len);
}

/* ---- out of descriptors ---- */

static void the_bystander_works(void)
{
	CHECK_EQ(front_settle(&y.other.front), 0);
}

/* Nobody can be accepted: they wait, nothing spins, and they are served when there is room. */
static void no_descriptor_for_a_connection(const char *with)
{
	struct front_message m;

	(void)with;
	yard_serve(&y, NULL);
	limit(RLIMIT_NOFILE, 3);
	rig_connect(&y.rig); /* the backlog takes it */
	CHECK_EQ(front_send(&y.rig.front, VU_GET_FEATURES, 0, NULL, 0, NULL, 0), 0);
	UNTIL(vubox_said(&y.rig.vubox, "cannot accept"));
	yard_is_idle(&y);
	the_bystander_works();
	limit(RLIMIT_NOFILE, 1024);
	CHECK_EQ(front_receive(&y.rig.front, &m), 0);
	CHECK_EQ(m.header.request, VU_GET_FEATURES);
	yard_check(&y);
}

/* Descriptors of messages do not arrive: the message fails, or its connection. */
static void no_descriptor_for_a_message(const char *with)
{
	(void)with;
	yard_serve(&y, NULL);
	for (unsigned room = 0; room < 8; room++) {
		struct front_queue *q;
		int error;

		rig_negotiate(&y.rig, ~0ull, ~0ull);
		CHECK_EQ(front_memory_add(&y.rig.memory, RIG_GUEST, RIG_USER, RIG_MEMORY, 0), 0);
		limit(RLIMIT_NOFILE, vubox_fds(&y.rig.vubox) + room);
		error = front_share(&y.rig.front, &y.rig.memory);
		q = rig_queue(&y.rig);
		if (error == 0)
			error = front_queue_start(&y.rig.front, q, driver_base(&q->driver, 0));
		CHECK(error != -ETIMEDOUT);
		CHECK(room > 0 || error != 0);
		the_bystander_works();
		limit(RLIMIT_NOFILE, 1024);
		yard_glance(&y);
	}
	yard_check(&y);
}

/* GET_INFLIGHT_FD makes a descriptor of its own. */
static void no_descriptor_for_the_in_flight_area(const char *with)
{
	struct front_inflight want = { .queues = 1, .queue_size = 128 };
	int fd;

	(void)with;
	yard_open(&y, "auto", 1);
	limit(RLIMIT_NOFILE, 3);
	CHECK_EQ(front_get_inflight_fd(&y.rig.front, &want, &fd), FRONT_REFUSED);
	yard_reads(&y);
	limit(RLIMIT_NOFILE, 1024);
	CHECK_EQ(front_get_inflight_fd(&y.rig.front, &want, &fd), 0);
	close(fd);
	yard_check(&y);
}

/* ---- out of memory ---- */

static void no_address_space_for_a_region(const char *with)
{
	struct front_place place = { 1ull << 40, 1ull << 30, 1ull << 41, 0 };
	int fd;

	(void)with;
	if (vubox_is_sanitized())
		harness_skip("a sanitizer's shadow has no room under a limit");
	yard_open(&y, "auto", 1);
	CHECK_EQ(front_memory_add(&y.rig.memory, place.guest, place.user, place.size, 0), 0);
	fd = y.rig.memory.regions[1].fd;
	limit(RLIMIT_AS, 64 << 20);
	CHECK_EQ(front_add_mem_reg(&y.rig.front, &place, fd), FRONT_REFUSED);
	yard_reads(&y);
	the_bystander_works();
	limit(RLIMIT_AS, RLIM_INFINITY);
	CHECK_EQ(front_add_mem_reg(&y.rig.front, &place, fd), 0);
	yard_check(&y);
}

static void no_address_space_for_a_table(const char *with)
{
	(void)with;
	if (vubox_is_sanitized())
		harness_skip("a sanitizer's shadow has no room under a limit");
	yard_serve(&y, NULL);
	rig_negotiate(&y.rig, ~0ull, ~0ull);
	CHECK_EQ(front_memory_add(&y.rig.memory, RIG_GUEST, RIG_USER, RIG_MEMORY, 0), 0);
	CHECK_EQ(front_memory_add(&y.rig.memory, 1ull << 40, 1ull << 41, 1ull << 30, 0), 0);
	limit(RLIMIT_AS, 64 << 20);
	CHECK_EQ(front_share(&y.rig.front, &y.rig.memory), FRONT_REFUSED);
	CHECK(vubox_maps(&y.rig.vubox) <= y.maps); /* the first one is gone again, too */
	limit(RLIMIT_AS, RLIM_INFINITY);
	CHECK_EQ(front_share(&y.rig.front, &y.rig.memory), 0);
	yard_check(&y);
}

/* ---- a full disk ---- */

static void a_full_disk_fails_one_request(const char *with)
{
	const char *dir = harness_path("full");
	unsigned failed = 0;

	slowfs_own_mounts();
	CHECK_EQ(mkdir(dir, 0700), 0);
	CHECK_EQ(mount("none", dir, "tmpfs", 0, "size=1M"), 0);
	harness_file("full/disk", RIG_DISK_BYTES);
	serve(with, harness_path("full/disk"));
	yard_connect(&y, 1);
	for (unsigned i = 0; i < 60; i++)
		failed += transfer(BLK_OUT, 1024 + i * 128, 1 << 16) == BLK_IOERR;
	CHECK(failed > 0 && failed < 60);
	CHECK(vubox_said(&y.rig.vubox, "failed"));
	yard_reads(&y);
	/* There is room again. */
	for (unsigned i = 0; i < 60; i++) {
		struct blk_range range = { 1024 + i * 128, 128, 0 };

		CHECK_EQ(rig_blk(&y.rig, BLK_DISCARD, 0, &range, sizeof(range)), BLK_OK);
	}
	CHECK_EQ(transfer(BLK_OUT, 4096, 4096), BLK_OK);
	yard_check(&y);
}

static void a_file_size_limit_fails_one_request(const char *with)
{
	serve(with, NULL);
	yard_connect(&y, 1);
	limit(RLIMIT_FSIZE, 1 << 20);
	CHECK_EQ(transfer(BLK_OUT, 4096, 4096), BLK_IOERR); /* EFBIG, and SIGXFSZ */
	CHECK_EQ(transfer(BLK_OUT, 1024, 4096), BLK_OK);
	yard_reads(&y);
	limit(RLIMIT_FSIZE, RLIM_INFINITY);
	CHECK_EQ(transfer(BLK_OUT, 4096, 4096), BLK_OK);
	yard_check(&y);
}

/* ---- a disk that breaks ---- */

/* With an error in the middle of a request, at its first block, and at its last. */
static void errors_of_every_kind(const char *with)
{
	static const int errors[] = { EIO, ENOSPC, ENOMEM, ENXIO, ENODEV, EINTR, EAGAIN, EINVAL,
		EOPNOTSUPP, ETIMEDOUT, EPERM, ENOENT, EBADF };

	serve(with, slowfs_mount(RIG_DISK_BYTES, SLOWFS_PLAIN));
	yard_connect(&y, 1);
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (uint64_t at = 0; at < 65536; at += 32768 - 512) {
			slowfs_fail(SLOWFS_ALL, 1024 * 512 + at, 512, errors[i]);
			if (errors[i] == EINTR || errors[i] == EAGAIN) {
				/* They are tried again: let it be once. */
				slowfs_fail(SLOWFS_ALL, 0, 0, 0);
				continue;
			}
			CHECK_EQ(transfer(BLK_IN, 1024, 65536), BLK_IOERR);
			CHECK_EQ(transfer(BLK_OUT, 1024, 65536), BLK_IOERR);
			yard_reads(&y);
			slowfs_fail(SLOWFS_ALL, 0, 0, 0);
			CHECK_EQ(transfer(BLK_OUT, 1024, 65536), BLK_OK);
			CHECK_EQ(transfer(BLK_IN, 1024, 65536), BLK_OK);
		}
	yard_check(&y);
}

/* A flush that fails is said to have failed. */
static void a_flush_that_fails(const char *with)
{
	serve(with, slowfs_mount(RIG_DISK_BYTES, SLOWFS_PLAIN));
	yard_connect(&y, 1);
	CHECK_EQ(transfer(BLK_OUT, 1024, 4096), BLK_OK);
	slowfs_fail(SLOWFS_SYNCS, 0, RIG_DISK_BYTES, EIO);
	CHECK_EQ(rig_blk(&y.rig, BLK_FLUSH, 0, NULL, 0), BLK_IOERR);
	slowfs_fail(SLOWFS_ALL, 0, 0, 0);
	CHECK_EQ(rig_blk(&y.rig, BLK_FLUSH, 0, NULL, 0), BLK_OK);
	yard_check(&y);
}

/* Without a cache a write is done when it is on stable storage: an error there is its error. */
static void a_sync_that_fails_fails_its_write(const char *with)
{
	/* A mapped file needs the kernel's pages of it. */
	serve(with, slowfs_mount(RIG_DISK_BYTES,
			    strcmp(with, "mmap") == 0 ? SLOWFS_CACHED : SLOWFS_PLAIN));
	yard_connect(&y, 1);
	CHECK_EQ(front_set_config(&y.rig.front, BLK_CONFIG_WRITEBACK, 1, 0, "\0"), 0);
	CHECK_EQ(transfer(BLK_OUT, 1024, 4096), BLK_OK);
	slowfs_fail(SLOWFS_SYNCS, 0, RIG_DISK_BYTES, EIO);
	CHECK_EQ(transfer(BLK_OUT, 1024, 4096), BLK_IOERR);
	slowfs_fail(SLOWFS_ALL, 0, 0, 0);
	CHECK_EQ(transfer(BLK_OUT, 1024, 4096), BLK_OK);
	yard_check(&y);
}

/* Whether a write is on stable storage when it is done: if not, a failing sync is no matter. */
static bool writes_through(void)
{
	bool through;

	slowfs_fail(SLOWFS_SYNCS, 0, RIG_DISK_BYTES, EIO);
	through = transfer(BLK_OUT, 1024, 4096) == BLK_IOERR;
	slowfs_fail(SLOWFS_ALL, 0, 0, 0);
	return through;
}

/*
 * writeback is not told again after a reconnect: a driver that has set it to 0 never flushes. So
 * all writes are safe until it shows what it believes.
 */
static void after_a_restart_writes_are_safe_until_the_cache_mode_is_known(const char *with)
{
	struct front_inflight want = { .queues = 1, .queue_size = RIG_RING_SIZE };
	int fd;

	serve(with, slowfs_mount(RIG_DISK_BYTES, SLOWFS_PLAIN));
	rig_negotiate(&y.rig, ~0ull, ~0ull);
	CHECK_EQ(front_get_inflight_fd(&y.rig.front, &want, &fd), 0);
	rig_share(&y.rig);
	rig_start(&y.rig, rig_queue(&y.rig));
	CHECK(!writes_through());
	for (unsigned how = 0; how < 2; how++) {
		rig_disconnect(&y.rig);
		rig_negotiate(&y.rig, ~0ull, ~0ull);
		CHECK_EQ(front_set_inflight_fd(&y.rig.front, &want, fd), 0);
		rig_share(&y.rig);
		rig_start(&y.rig, rig_queue(&y.rig));
		CHECK(writes_through());
		CHECK(writes_through());
		if (how == 0)
			CHECK_EQ(rig_blk(&y.rig, BLK_FLUSH, 0, NULL, 0), BLK_OK);
		else
			CHECK_EQ(front_set_config(&y.rig.front, BLK_CONFIG_WRITEBACK, 1, 0, "\1"),
				0);
		CHECK(!writes_through());
	}
	close(fd);
	yard_check(&y);
}

/* A few bytes at a time: what is short is not the end. */
static void short_reads_and_writes(const char *with)
{
	static const uint32_t cuts[] = { 1, 511, 512, 513, 4095, 5000 };
	static unsigned char data[4096], back[4096];

	serve(with, slowfs_mount(RIG_DISK_BYTES, SLOWFS_PLAIN));
	yard_connect(&y, 1);
	for (unsigned i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		slowfs_cut_short(cuts[i]);
		harness_fill(data, sizeof(data));
		CHECK_EQ(rig_blk(&y.rig, BLK_OUT, 1024, data, sizeof(data)), BLK_OK);
		CHECK_BYTES(slowfs_bytes() + 1024 * 512, data, sizeof(data));
		/* The kernel's io_uring loses its place after a short read of FUSE (6.18). */
		if (strcmp(with, "uring") == 0)
			continue;
		CHECK_EQ(rig_blk(&y.rig, BLK_IN, 1024, back, sizeof(back)), BLK_OK);
		CHECK_BYTES(back, data, sizeof(back));
		yard_reads(&y);
	}
	slowfs_cut_short(0);
	yard_check(&y);
}

/* The device is taken out, with requests in flight and for good: each request says so. */
static void the_device_is_removed(const char *with)
{
	struct front_queue *q = &y.rig.queues[0];
	bool sync = strcmp(with, "sync") == 0;
	unsigned char id[BLK_ID_BYTES];

	serve(with, slowfs_mount(RIG_DISK_BYTES, SLOWFS_ASYNC));
	yard_connect(&y, 1);
	slowfs_hold(SLOWFS_ALL, 0, RIG_DISK_BYTES);
	for (unsigned slot = 0; slot < 10; slot++) {
		struct blk_request w = rig_request(&y.rig, slot, BLK_OUT, slot * 8, 4096);

		rig_add(&y.rig, q, &w, slot);
	}
	front_queue_offer(q);
	UNTIL(slowfs_held() == (sync ? 1 : 10));
	slowfs_abort();
	for (unsigned i = 0; i < 10; i++) {
		struct blk_request w = rig_request(&y.rig, rig_take(&y.rig, q, NULL), 0, 0, 0);

		CHECK_EQ(blk_status(&y.rig.memory.driver, &w), BLK_IOERR);
	}
	CHECK_EQ(transfer(BLK_IN, 24, 4096), BLK_IOERR);
	CHECK_EQ(transfer(BLK_OUT, 24, 4096), BLK_IOERR);
	CHECK_EQ(rig_blk(&y.rig, BLK_GET_ID, 0, id, sizeof(id)), BLK_OK);
	yard_is_idle(&y);
	the_bystander_works();
	/* The next front-end finds the device there, and every read fails: that is the truth. */
	rig_disconnect(&y.rig);
	yard_connect(&y, 1);
	CHECK_EQ(transfer(BLK_IN, 24, 4096), BLK_IOERR);
	yard_is_idle(&y);
}

/* ---- io_uring forbidden after the start ---- */

static void io_uring_is_forbidden_after_the_start(const char *with)
{
	static const int errors[] = { EPERM, ENOSYS, EACCES, EBADF, EINVAL };

	(void)with;
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		refuse_watch(SYS_io_uring_enter);
		refuse_with(0);
		serve("uring", y.rig.image);
		yard_connect(&y, 1);
		CHECK_EQ(transfer(BLK_OUT, 1024, 65536), BLK_OK);
		refuse_with(errors[i]);
		/* Others do the work from now on. */
		CHECK_EQ(transfer(BLK_OUT, 1024, 65536), BLK_OK);
		CHECK_EQ(transfer(BLK_IN, 1024, 65536), BLK_OK);
		CHECK_EQ(rig_blk(&y.rig, BLK_FLUSH, 0, NULL, 0), BLK_OK);
		CHECK(refuse_count() > 0);
		yard_check(&y);
		refuse_with(0);
		CHECK_EQ(vubox_end(&y.rig.vubox, SIGTERM), 0);
		rig_disconnect(&y.other);
	}
}

/* With an I/O in the kernel of which nobody can hear any more: the others go on, nothing spins. */
static void io_uring_is_forbidden_with_a_read_in_flight(const char *with)
{
	struct blk_request i;

	(void)with;
	refuse_watch(SYS_io_uring_enter);
	serve("uring", slowfs_mount(RIG_DISK_BYTES, SLOWFS_ASYNC));
	yard_connect(&y, 2);
	slowfs_hold(SLOWFS_READS, 4096 * 512, 4096);
	i = rig_request(&y.rig, 1, BLK_IN, 4096, 4096);
	rig_add(&y.rig, &y.rig.queues[1], &i, 1);
	front_queue_offer(&y.rig.queues[1]);
	UNTIL(slowfs_held() == 1);
	refuse_with(EPERM);
	CHECK_EQ(transfer(BLK_OUT, 1024, 65536), BLK_OK);
	CHECK_EQ(transfer(BLK_IN, 1024, 65536), BLK_OK);
	slowfs_release(0);
	CHECK_EQ(transfer(BLK_IN, 1024, 65536), BLK_OK);
	yard_is_idle(&y);
	the_bystander_works();
	CHECK_EQ(front_settle(&y.rig.front), 0);
}

/* And before: it says so, and serves by plain calls. */
static void io_uring_is_forbidden_at_the_start(const char *with)
{
	(void)with;
	refuse_watch(SYS_io_uring_setup);
	refuse_with(EPERM);
	y.rig.image = NULL;
	yard_serve(&y, (const char *const[]){ "--io=auto", NULL });
	yard_connect(&y, 1);
	CHECK_EQ(transfer(BLK_OUT, 1024, 65536), BLK_OK);
	CHECK_EQ(transfer(BLK_IN, 1024, 65536), BLK_OK);
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE(no_descriptor_for_a_connection),
	CASE(no_descriptor_for_a_message),
	CASE(no_descriptor_for_the_in_flight_area),
	CASE(no_address_space_for_a_region),
	CASE(no_address_space_for_a_table),
	CASE_OF_EACH_ENGINE(a_full_disk_fails_one_request),
	CASE_WITH(a_file_size_limit_fails_one_request, "uring"),
	CASE_WITH(a_file_size_limit_fails_one_request, "sync"),
	CASE_WITH(errors_of_every_kind, "uring"),
	CASE_WITH(errors_of_every_kind, "sync"),
	CASE_WITH(a_flush_that_fails, "uring"),
	CASE_WITH(a_flush_that_fails, "sync"),
	CASE_WITH(a_sync_that_fails_fails_its_write, "uring"),
	CASE_WITH(a_sync_that_fails_fails_its_write, "sync"),
	CASE_WITH(a_sync_that_fails_fails_its_write, "mmap"),
	CASE_WITH(after_a_restart_writes_are_safe_until_the_cache_mode_is_known, "uring"),
	CASE_WITH(after_a_restart_writes_are_safe_until_the_cache_mode_is_known, "sync"),
	CASE_WITH(short_reads_and_writes, "uring"),
	CASE_WITH(short_reads_and_writes, "sync"),
	CASE_WITH_EACH_FORMAT(the_device_is_removed, "uring"),
	CASE_WITH_EACH_FORMAT(the_device_is_removed, "sync"),
	CASE(io_uring_is_forbidden_after_the_start),
	CASE(io_uring_is_forbidden_with_a_read_in_flight),
	CASE(io_uring_is_forbidden_at_the_start),
};
HARNESS_MAIN(cases)
