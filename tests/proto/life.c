/* Processes, sockets and connections: how they begin and end, what is left, and the budgets. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../front/rig.h"

static struct rig r;

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void listen_at(int *fd, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strcpy(a.sun_path, path);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(*fd >= 0 && bind(*fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(*fd, 5) == 0);
}

/* Comes up on a connection that there is already. */
static void run_on(int fd)
{
	front_adopt(&r.front, fd, harness_wait_ms());
	CHECK_EQ(front_negotiate(&r.front, ~VU_F(RING_PACKED), ~0ull), 0);
	r.front.acks = true;
	rig_run(&r);
	rig_works(&r);
}

static const char *option(const char *name, const char *value)
{
	char *text;

	CHECK(asprintf(&text, "--%s=%s", name, value) > 0);
	return text;
}

/* ---- connections ---- */

static void once(void)
{
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
	rig_works(&r);
	rig_disconnect(&r);
}

static void a_thousand_connections_leave_nothing(const char *with)
{
	enum { RSS_KIB_MAX = 400, SLACK_KIB = 8 };
	unsigned fds, maps, rss, rss_end;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < 10; i++)
		once();
	usleep(20000);
	fds = vubox_fds(&r.vubox);
	maps = vubox_maps(&r.vubox);
	rss = vubox_rss_kib(&r.vubox);
	for (unsigned i = 0; i < 1000; i++)
		once();
	UNTIL(vubox_fds(&r.vubox) == fds);
	UNTIL(vubox_maps(&r.vubox) == maps);
	rss_end = vubox_rss_kib(&r.vubox);
	harness_say("idle: %u KiB resident and %u descriptors; after 1000 connections: %u and %u",
		rss, fds, rss_end, vubox_fds(&r.vubox));
	if (vubox_is_sanitized())
		return;
	CHECK(rss <= RSS_KIB_MAX);
	CHECK(rss_end <= rss + SLACK_KIB);
}

/* Of which nothing was ever negotiated. */
static void a_thousand_empty_connections(const char *with)
{
	unsigned fds;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	once();
	rig_connect(&r);
	CHECK_EQ(front_settle(&r.front), 0);
	fds = vubox_fds(&r.vubox) - 1;
	front_close(&r.front);
	for (unsigned i = 0; i < 1000; i++) {
		rig_connect(&r);
		front_close(&r.front);
	}
	once();
	UNTIL(vubox_fds(&r.vubox) == fds);
}

static void a_second_front_end_is_turned_away(const char *with)
{
	struct front second;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < 10; i++) {
		CHECK_EQ(front_connect(&second, r.vubox.socket, harness_wait_ms()), 0);
		CHECK_EQ(front_wait_closed(&second), 0);
		front_close(&second);
		rig_works(&r);
	}
	rig_disconnect(&r);
	once();
}

/* What is in flight when the front-end goes is drained; the next one begins afresh. */
static void disconnecting_under_load(const char *with)
{
	static unsigned char data[16384], back[16384];

	rig_open(&r, RIG_DISK_BYTES, with);
	for (unsigned round = 0; round < 40; round++) {
		memset(data, (int)round, sizeof(data));
		for (unsigned slot = 0; slot < 32; slot++) {
			struct blk_request w = rig_request(&r, slot, BLK_OUT, slot * 32, 16384);

			CHECK(driver_write(&r.memory.driver, w.data, data, sizeof(data)));
			rig_add(&r, &r.queues[0], &w, slot);
		}
		front_queue_offer(&r.queues[0]);
		rig_disconnect(&r);
		rig_negotiate(&r, ~0ull, ~0ull);
		rig_run(&r);
		memset(data, 0xa5, sizeof(data));
		CHECK_EQ(rig_blk(&r, BLK_OUT, 1024, data, sizeof(data)), BLK_OK);
		CHECK_EQ(rig_blk(&r, BLK_IN, 1024, back, sizeof(back)), BLK_OK);
		CHECK_BYTES(back, data, sizeof(back));
	}
}

/* Features, cache mode and status are the connection's: the next one finds them fresh. */
static void a_new_connection_begins_afresh(const char *with)
{
	unsigned char writeback;
	uint64_t status;
	uint32_t got;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	CHECK_EQ(front_set_config(&r.front, BLK_CONFIG_WRITEBACK, 1, 0, "\0"), 0);
	CHECK_EQ(front_set_status(&r.front, VIRTIO_DRIVER_OK), 0);
	rig_disconnect(&r);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_get_status(&r.front, &status), 0);
	CHECK_EQ(status, 0);
	CHECK_EQ(front_get_config(&r.front, BLK_CONFIG_WRITEBACK, 1, &writeback, &got), 0);
	CHECK_EQ(writeback, 1);
}

/* ---- the process ---- */

static int by_value(const void *a, const void *b)
{
	return (*(const uint64_t *)a > *(const uint64_t *)b) -
	       (*(const uint64_t *)a < *(const uint64_t *)b);
}

static void from_exec_to_listening(const char *with)
{
	enum { RUNS = 20, GENEROUS_US = 200000 };
	uint64_t us[RUNS], median_us;

	(void)with;
	for (unsigned i = 0; i < RUNS; i++) {
		uint64_t start_us = front_now_us();

		rig_serve(&r, RIG_DISK_BYTES, NULL);
		rig_connect(&r);
		us[i] = front_now_us() - start_us;
		front_close(&r.front);
		CHECK_EQ(vubox_end(&r.vubox, SIGTERM), 0);
	}
	qsort(us, RUNS, sizeof(us[0]), by_value);
	median_us = us[RUNS / 2];
	harness_say("from fork and exec to the first connection: median %.2f ms (%.2f to %.2f)",
		median_us / 1000.0, us[0] / 1000.0, us[RUNS - 1] / 1000.0);
	CHECK(median_us <= GENEROUS_US || vubox_is_sanitized());
}

static void signals_end_it_cleanly(const char *with)
{
	static const int signals[] = { SIGTERM, SIGINT };

	for (unsigned i = 0; i < 6; i++) { /* idle, connected, under load */
		rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ option("io", with), NULL });
		rig_negotiate(&r, ~0ull, ~0ull);
		if (i / 2 > 0)
			rig_run(&r);
		for (unsigned slot = 0; i / 2 > 1 && slot < 32; slot++) {
			struct blk_request w = rig_request(&r, slot, BLK_OUT, slot * 128, 65536);

			rig_add(&r, &r.queues[0], &w, slot);
		}
		if (i / 2 > 1)
			front_queue_offer(&r.queues[0]);
		CHECK_EQ(vubox_end(&r.vubox, signals[i % 2]), 0);
		CHECK(!exists(r.vubox.socket));
		rig_disconnect(&r);
	}
}

static void a_dead_socket_file_is_replaced(const char *with)
{
	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(vubox_end(&r.vubox, SIGKILL), -SIGKILL);
	front_close(&r.front);
	CHECK(exists(r.vubox.socket));
	rig_serve_again(&r);
	once();
	CHECK_EQ(vubox_end(&r.vubox, SIGTERM), 0);
	CHECK(!exists(r.vubox.socket));
}

static void a_live_socket_is_an_error(const char *with)
{
	struct vubox second = { 0 };

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	strcpy(second.socket, r.vubox.socket);
	vubox_start(&second, "rng", NULL);
	CHECK_EQ(vubox_wait(&second), 1);
	rig_works(&r);
	rig_disconnect(&r);
	once();
}

/* Whoever has bound the path since keeps it, and a file that is no socket is nobody's. */
static void it_removes_only_its_own_socket(const char *with)
{
	const char *image = harness_file("image", RIG_DISK_BYTES);
	struct vubox v = { 0 };
	int other;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	once();
	CHECK_EQ(unlink(r.vubox.socket), 0);
	listen_at(&other, r.vubox.socket);
	CHECK_EQ(vubox_end(&r.vubox, SIGTERM), 0);
	CHECK(exists(r.vubox.socket));
	strcpy(v.socket, image);
	vubox_start(&v, "rng", NULL);
	CHECK_EQ(vubox_wait(&v), 1);
	CHECK(exists(image));
}

static void an_image_in_use_is_refused(const char *with)
{
	static struct vubox second; /* it outlives this function */
	const char *blk_file;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	once();
	blk_file = option("blk-file", r.image);
	strcpy(second.socket, harness_path("second"));
	vubox_start(&second, "blk", (const char *const[]){ blk_file, NULL });
	CHECK_EQ(vubox_wait(&second), 1);
	CHECK(!exists(second.socket));
	once();
	vubox_start(&second, "blk", (const char *const[]){ blk_file, "--no-lock", NULL });
	CHECK_EQ(front_connect(&r.front, second.socket, harness_wait_ms()), 0);
	CHECK_EQ(front_settle(&r.front), 0);
}

/* ---- sockets of others ---- */

static void a_listening_descriptor(const char *with)
{
	const char *path = harness_path("listen");
	const char *blk_file = option("blk-file", harness_file("disk", RIG_DISK_BYTES));
	int fd;

	(void)with;
	listen_at(&fd, path);
	CHECK_EQ(front_connect(&r.front, path, harness_wait_ms()), 0); /* nobody accepts yet */
	vubox_exec(&r.vubox, fd, (const char *const[]){ "blk", blk_file, "--fd=3", NULL });
	close(fd);
	CHECK_EQ(front_settle(&r.front), 0);
	front_close(&r.front);
	strcpy(r.vubox.socket, path);
	once();
	once();
	CHECK_EQ(vubox_end(&r.vubox, SIGTERM), 0);
	CHECK(exists(path)); /* whoever made it removes it */
}

static void a_connected_descriptor(const char *with)
{
	const char *blk_file = option("blk-file", harness_file("disk", RIG_DISK_BYTES));
	int pair[2];

	(void)with;
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vubox_exec(&r.vubox, pair[1], (const char *const[]){ "blk", blk_file, "--fd=3", NULL });
	close(pair[1]);
	run_on(pair[0]);
	rig_disconnect(&r);
	CHECK_EQ(vubox_wait(&r.vubox), 0); /* nobody is left to serve */
}

static void a_descriptor_that_is_no_socket(const char *with)
{
	const char *path = harness_file("disk", RIG_DISK_BYTES);
	int fd = open(path, O_RDWR | O_CLOEXEC);

	(void)with;
	vubox_exec(&r.vubox, fd,
		(const char *const[]){ "blk", option("blk-file", path), "--fd=3", NULL });
	CHECK(vubox_wait(&r.vubox) > 0);
}

static void client_mode_connects_and_connects_again(const char *with)
{
	const char *path = harness_path("server");
	const char *blk_file = option("blk-file", harness_file("disk", RIG_DISK_BYTES));
	int fd, i;

	(void)with;
	strcpy(r.vubox.socket, path);
	vubox_start(&r.vubox, "blk", (const char *const[]){ blk_file, "--client", NULL });
	usleep(30000); /* it has nobody to connect to at first */
	for (i = 0; i < 2; i++) {
		listen_at(&fd, path);
		for (unsigned k = 0; k < 3; k++) {
			run_on(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
			rig_disconnect(&r);
		}
		close(fd); /* the front-end's process ends, and comes again */
		CHECK_EQ(unlink(path), 0);
	}
	listen_at(&fd, path);
	CHECK_EQ(vubox_end(&r.vubox, SIGTERM), 0);
	CHECK(exists(path));
}

static void two_devices_of_one_process(const char *with)
{
	const char *rng = harness_path("rng"), *blk = harness_path("sock");
	struct front other;

	(void)with;
	r.image = harness_file("disk", RIG_DISK_BYTES);
	vubox_exec(&r.vubox, -1,
		(const char *const[]){ "blk", option("socket-path", blk),
			option("blk-file", r.image), "--", "rng", option("socket-path", rng),
			NULL });
	strcpy(r.vubox.socket, blk);
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
	CHECK_EQ(front_connect(&other, rng, harness_wait_ms()), 0);
	CHECK_EQ(front_settle(&other), 0);
	/* One front-end's mistake is its own. */
	CHECK_EQ(front_send(&other, VU_GET_FEATURES, VU_REPLY, NULL, 0, NULL, 0), 0);
	CHECK_EQ(front_wait_closed(&other), 0);
	rig_works(&r);
	CHECK_EQ(vubox_end(&r.vubox, SIGTERM), 0);
	CHECK(!exists(rng));
	CHECK(!exists(blk));
}

static const struct harness_case cases[] = {
	CASE(a_thousand_connections_leave_nothing),
	CASE(a_thousand_empty_connections),
	CASE(a_second_front_end_is_turned_away),
	CASE_OF_EACH(disconnecting_under_load),
	CASE(a_new_connection_begins_afresh),
	CASE(from_exec_to_listening),
	CASE_OF_EACH_ENGINE(signals_end_it_cleanly),
	CASE(a_dead_socket_file_is_replaced),
	CASE(a_live_socket_is_an_error),
	CASE(it_removes_only_its_own_socket),
	CASE(an_image_in_use_is_refused),
	CASE(a_listening_descriptor),
	CASE(a_connected_descriptor),
	CASE(a_descriptor_that_is_no_socket),
	CASE(client_mode_connects_and_connects_again),
	CASE(two_devices_of_one_process),
};
HARNESS_MAIN(cases)
