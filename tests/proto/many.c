/*
 * Many devices in one process: memory that they share is mapped once, what happens to one is
 * nothing to the others, counters tell them apart, and all of them together are small.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../front/rig.h"

enum { DEVICES = 8, DISKS = 4, SLOTS_EACH = 8 };

/* The first DISKS are disks, the others give entropy. */
static struct rig rigs[DEVICES];
static struct vubox *const v = &rigs[0].vubox;
static const char *images[DISKS];
static int guest = -1; /* the memory of all */
static uint64_t guest_bytes = RIG_MEMORY;

static const char *text(const char *format, const char *a, unsigned n)
{
	char *line;

	CHECK(asprintf(&line, format, a, n) > 0);
	return line;
}

static const char *socket_of(unsigned i)
{
	return harness_path(text("%s%u", "s", i));
}

/* Starts the first `count` of them, with these words at the last one. */
static void serve(unsigned count, const char *const *more)
{
	const char *words[80];
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		if (i > 0)
			words[n++] = "--";
		words[n++] = i < DISKS ? "blk" : "rng";
		words[n++] = text("--socket-path=%s", socket_of(i), 0);
		if (i >= DISKS)
			continue;
		images[i] = harness_file(text("%s%u", "image", i), RIG_DISK_BYTES);
		words[n++] = text("--blk-file=%s", images[i], 0);
	}
	for (; more && *more; more++)
		words[n++] = *more;
	words[n] = NULL;
	vubox_exec(v, -1, words);
	for (unsigned i = 0; i < count; i++) {
		rigs[i].vubox = *v;
		rigs[i].image = i < DISKS ? images[i] : NULL;
		rigs[i].front.fd = -1;
		snprintf(rigs[i].vubox.socket, sizeof(rigs[i].vubox.socket), "%s", socket_of(i));
	}
}

static void new_guest(void)
{
	if (guest >= 0)
		close(guest);
	guest = memfd_create("guest", MFD_CLOEXEC);
	CHECK(guest >= 0 && ftruncate(guest, (off_t)guest_bytes) == 0);
}

/* Device i of the one guest gets its memory, and a running queue that is its own part of that. */
static void come(unsigned i)
{
	struct front_place place = { RIG_GUEST, guest_bytes, RIG_USER, 0 };
	struct driver_options options = { .size = RIG_RING_SIZE };
	struct rig *r = &rigs[i];
	struct front_queue *q = &r->queues[0];
	struct driver_layout at;

	rig_negotiate(r, ~VU_F(EVENT_IDX), ~0ull);
	CHECK_EQ(front_memory_add_fd(&r->memory, &place, guest), 0);
	r->slots = RIG_SLOTS_AT + (uint64_t)i * SLOTS_EACH * RIG_SLOT_BYTES;
	rig_share(r);
	driver_place(rig_format(), &at, options.size, RIG_GUEST + (uint64_t)i * 0x8000);
	CHECK_EQ(front_queue_open(q, 0, rig_format(), &r->memory, &at, &options), 0);
	r->queue_count = 1;
	rig_start(r, q);
}

static void works(unsigned i)
{
	unsigned char data[4096], there[4096];
	struct driver_buffer b = { rigs[i].slots, 64, true };
	struct driver_chain chain = { .buffers = &b, .count = 1 };
	uint32_t len;

	if (i >= DISKS) {
		CHECK(driver_add(&rigs[i].queues[0].driver, &chain) >= 0);
		front_queue_offer(&rigs[i].queues[0]);
		rig_take(&rigs[i], &rigs[i].queues[0], &len);
		CHECK_EQ(len, 64);
		return;
	}
	harness_fill(data, sizeof(data));
	CHECK_EQ(rig_blk(&rigs[i], BLK_OUT, 8, data, sizeof(data)), BLK_OK);
	rig_disk_read(&rigs[i], 8 * BLK_SECTOR, there, sizeof(there));
	CHECK_BYTES(there, data, sizeof(data));
	memset(data, 0, sizeof(data));
	CHECK_EQ(rig_blk(&rigs[i], BLK_IN, 8, data, sizeof(data)), BLK_OK);
	CHECK_BYTES(data, there, sizeof(data));
}

/* ---- what it has ---- */

static unsigned lines_of(const char *name, const char *word, unsigned *kib)
{
	char line[512];
	const char *path = text("/proc/%2$u/%1$s", name, (unsigned)v->pid);
	unsigned n = 0;
	FILE *f = fopen(path, "re");

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, word))
			continue;
		n++;
		*kib = (unsigned)strtoul(line + strcspn(line, "\t"), NULL, 10);
	}
	fclose(f);
	return n;
}

/* Mappings of guests' memory. */
static unsigned guest_maps(void)
{
	unsigned kib;

	return lines_of("maps", "/memfd:guest", &kib);
}

static unsigned status_kib(const char *field)
{
	unsigned kib = 0;

	CHECK_EQ(lines_of("status", field, &kib), 1);
	return kib;
}

/* What is ours: the guest's own pages are of shared memory, and not counted. */
static unsigned own_kib(void)
{
	return status_kib("RssAnon:") + status_kib("RssFile:");
}

/* ---- shared memory ---- */

/* Files that cannot be told apart for sure are not taken for one (tmpfs before Linux 5.18). */
static void needs_births(void)
{
	struct statx stx;

	CHECK_EQ(statx(guest, "", AT_EMPTY_PATH, STATX_BTIME, &stx), 0);
	if ((stx.stx_mask & STATX_BTIME) == 0)
		harness_skip("the kernel does not say when files in memory were made");
}

static void memory_of_one_guest_is_mapped_once(const char *with)
{
	(void)with;
	serve(2, NULL);
	new_guest();
	needs_births();
	come(0);
	works(0);
	CHECK_EQ(guest_maps(), 1);
	come(1);
	works(1);
	CHECK_EQ(guest_maps(), 1);
	/* It is there until the last one has gone, in either order. */
	rig_disconnect(&rigs[0]);
	works(1);
	CHECK_EQ(guest_maps(), 1);
	come(0);
	works(0);
	rig_disconnect(&rigs[1]);
	works(0);
	CHECK_EQ(guest_maps(), 1);
	rig_disconnect(&rigs[0]);
	UNTIL(guest_maps() == 0);
}

static void two_hundred_times(const char *with)
{
	unsigned fds, maps;

	(void)with;
	serve(2, NULL);
	new_guest();
	needs_births();
	come(1);
	works(1);
	come(0);
	works(0);
	fds = vubox_fds(v);
	maps = vubox_maps(v);
	for (unsigned i = 0; i < 200; i++) {
		rig_disconnect(&rigs[i % 2]);
		works((i + 1) % 2);
		UNTIL(vubox_fds(v) < fds);
		come(i % 2);
		works(i % 2);
		CHECK_EQ(guest_maps(), 1);
		CHECK_EQ(vubox_maps(v), maps);
		CHECK_EQ(vubox_fds(v), fds);
	}
}

/* Two guests have files of the same size and place, and nothing of each other. */
static void two_guests_are_two(const char *with)
{
	(void)with;
	serve(2, NULL);
	new_guest();
	come(0);
	works(0);
	new_guest();
	come(1);
	works(1);
	works(0);
	CHECK_EQ(guest_maps(), 2);
	rig_disconnect(&rigs[0]);
	works(1);
	UNTIL(guest_maps() == 1);
}

/* Who can only name the file, or read it, is no way to it though another has it mapped. */
static void a_descriptor_without_rights(const char *with)
{
	struct front_place place = { RIG_GUEST, RIG_MEMORY, RIG_USER, 0 };
	char path[64];
	int flags[] = { O_PATH, O_RDONLY };

	(void)with;
	serve(2, NULL);
	new_guest();
	come(0);
	works(0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", guest);
	for (unsigned i = 0; i < 2; i++) {
		int fd = open(path, flags[i] | O_CLOEXEC);

		CHECK(fd >= 0);
		rig_negotiate(&rigs[1], ~0ull, ~0ull);
		CHECK_EQ(front_set_mem_table(&rigs[1].front, &place, &fd, 1), FRONT_REFUSED);
		front_close(&rigs[1].front);
		close(fd);
	}
	works(0);
	come(1);
	works(1);
}

/* The file of both shrinks, and one of them finds out. */
static void memory_taken_back_is_everybody_s_end(const char *with)
{
	struct blk_request request;

	(void)with;
	serve(3, NULL);
	new_guest();
	needs_births();
	come(2);
	works(2);
	new_guest(); /* of another guest, who does not notice */
	come(0);
	come(1);
	works(0);
	works(1);
	request = rig_request(&rigs[0], 0, BLK_IN, 8, 4096);
	rig_add(&rigs[0], &rigs[0].queues[0], &request, 0);
	driver_publish(&rigs[0].queues[0].driver);
	CHECK_EQ(ftruncate(guest, 0), 0);
	front_kick(&rigs[0].queues[0]);
	CHECK_EQ(front_wait_closed(&rigs[0].front), 0);
	CHECK_EQ(front_wait_closed(&rigs[1].front), 0);
	rig_disconnect(&rigs[0]);
	rig_disconnect(&rigs[1]);
	works(2);
	new_guest();
	come(1);
	come(0);
	works(0);
	works(1);
	works(2);
}

/* ---- one by one ---- */

/* Requests of 64 KiB that nobody has waited for yet. */
static void make_busy(unsigned i)
{
	for (unsigned slot = 0; slot < SLOTS_EACH; slot++) {
		struct blk_request x = rig_request(&rigs[i], slot, BLK_OUT, slot * 128, 65536);

		rig_add(&rigs[i], &rigs[i].queues[0], &x, slot);
	}
	front_queue_offer(&rigs[i].queues[0]);
	front_kick(&rigs[i].queues[0]);
}

static void is_done(unsigned i)
{
	for (unsigned n = 0; n < SLOTS_EACH; n++) {
		unsigned slot = rig_take(&rigs[i], &rigs[i].queues[0], NULL);
		struct blk_request x = rig_request(&rigs[i], slot, BLK_OUT, slot * 128, 65536);

		CHECK_EQ(blk_status(&rigs[i].memory.driver, &x), BLK_OK);
	}
}

static uint64_t capacity(unsigned i)
{
	uint64_t sectors = 0;
	uint32_t got;

	CHECK_EQ(front_get_config(&rigs[i].front, 0, 8, &sectors, &got), 0);
	return sectors;
}

/* SIGHUP while they are at work: those that grew say so, and nothing is lost. */
static void growth_while_all_are_busy(const char *with)
{
	enum { ROUNDS = 20 };
	uint64_t bytes = RIG_DISK_BYTES;

	(void)with;
	serve(DISKS, NULL);
	new_guest();
	for (unsigned i = 0; i < DISKS; i++)
		come(i);
	for (unsigned round = 0; round < ROUNDS; round++) {
		bytes += 1 << 20;
		for (unsigned i = 0; i < DISKS; i++)
			make_busy(i);
		for (unsigned i = 0; i < DISKS - 1; i++)
			CHECK_EQ(truncate(images[i], (off_t)bytes), 0);
		CHECK_EQ(kill(v->pid, SIGHUP), 0);
		CHECK_EQ(kill(v->pid, SIGUSR1), 0);
		for (unsigned i = 0; i < DISKS; i++)
			is_done(i);
		for (unsigned i = 0; i < DISKS - 1; i++)
			UNTIL(capacity(i) == bytes / BLK_SECTOR);
		CHECK_EQ(capacity(DISKS - 1), RIG_DISK_BYTES / BLK_SECTOR);
	}
	for (unsigned i = 0; i < DISKS; i++)
		works(i);
}

/* Its socket file goes, its image goes, and grows short: the others, and what is open, go on. */
static void what_one_loses(const char *with)
{
	unsigned char data[512] = { 0 };

	(void)with;
	serve(3, NULL);
	new_guest();
	for (unsigned i = 0; i < 3; i++)
		come(i);
	CHECK_EQ(unlink(socket_of(0)), 0);
	CHECK_EQ(rename(images[1], harness_path("gone")), 0);
	rigs[1].image = harness_path("gone");
	CHECK_EQ(kill(v->pid, SIGHUP), 0);
	for (unsigned i = 0; i < 3; i++)
		works(i);
	CHECK_EQ(truncate(images[0], 4096), 0);
	CHECK(rig_blk(&rigs[0], BLK_IN, 64, data, sizeof(data)) != BLK_OK);
	works(1);
	works(2);
	rig_disconnect(&rigs[0]);
	works(1);
	rig_disconnect(&rigs[2]);
	come(2);
	works(2);
	CHECK_EQ(vubox_end(v, SIGTERM), 0);
}

/* ---- counters ---- */

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error = -1;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	UNTIL((error = connect(fd, (struct sockaddr *)&a, sizeof(a))) == 0);
	CHECK_EQ(error, 0);
	return fd;
}

static const char *stats(const char *path)
{
	static char answer[1 << 16];
	size_t len = 0;
	ssize_t n;
	int fd = connect_to(path);

	while ((n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)n;
	CHECK_EQ(n, 0);
	answer[len] = 0;
	close(fd);
	return answer;
}

static void counters_of_each(const char *with)
{
	const char *path = harness_path("stats");
	const char *at;

	(void)with;
	serve(DISKS + 1, (const char *const[]){ text("--stats=%s", path, 0), "--name=dice", NULL });
	new_guest();
	come(1);
	come(DISKS);
	works(1);
	works(1);
	works(DISKS);
	at = strstr(stats(path), "{\"name\":\"blk2\",");
	CHECK(at && strstr(at, "\"state\":\"connected\""));
	CHECK(strstr(at, "{\"queue\":0,\"requests\":4,"));
	CHECK(strstr(at, "{\"queue\":0,\"requests\":1,\"bytes\":64,\"errors\":0,"));
	CHECK_EQ(kill(v->pid, SIGUSR1), 0);
	UNTIL(vubox_said(v, "vubox: dice: queue=0 requests=1 bytes=64 errors=0"));
	CHECK(vubox_said(v, "vubox: blk2: queue=0 requests=4 "));
	CHECK(vubox_said(v, "vubox: blk3: state=listening features=0x0 socket="));
	CHECK_EQ(vubox_end(v, SIGTERM), 0);
	CHECK(access(path, F_OK) != 0);
}

/* Clients that come and go, and some that never read, are no burden. */
static void clients_of_all_kinds(const char *with)
{
	enum { SILENT = 20 };
	const char *path = harness_path("stats");
	int silent[SILENT];
	unsigned fds;

	(void)with;
	serve(2, (const char *const[]){ text("--stats=%s", path, 0), NULL });
	new_guest();
	come(0);
	works(0);
	CHECK(strstr(stats(path), "{\"queue\":0,"));
	CHECK_EQ(front_settle(&rigs[0].front), 0);
	fds = vubox_fds(v);
	for (unsigned i = 0; i < SILENT; i++)
		silent[i] = connect_to(path);
	for (unsigned i = 0; i < 100; i++) {
		close(connect_to(path));
		works(0);
	}
	CHECK(strstr(stats(path), "{\"queue\":0,"));
	for (unsigned i = 0; i < SILENT; i++) {
		CHECK_EQ(send(silent[i], "GET", 3, MSG_NOSIGNAL | MSG_DONTWAIT) == 3, false);
		close(silent[i]);
	}
	UNTIL(vubox_fds(v) == fds);
	works(0);
}

/* ---- the budget ---- */

static void eight_devices_of_a_large_guest(const char *with)
{
	enum { KIB_MAX = 700 };
	unsigned pte;

	(void)with;
	serve(DEVICES, NULL);
	guest_bytes = 1ull << 30;
	new_guest();
	needs_births();
	come(0);
	works(0);
	rig_disconnect(&rigs[0]);
	pte = status_kib("VmPTE:");
	for (unsigned i = 0; i < DEVICES; i++)
		come(i);
	for (unsigned i = 0; i < DEVICES; i++)
		works(i);
	if (vubox_is_sanitized())
		harness_skip("memory of sanitizers is not its own");
	UNTIL(own_kib() <= KIB_MAX); /* pages of images are given back after a second */
	usleep(1500000);
	harness_say("8 devices on 1 GiB: %u KiB anonymous, %u KiB of files, %u KiB of the guest's; "
		    "%u KiB of page tables (%u before), %u mapping of it",
		status_kib("RssAnon:"), status_kib("RssFile:"), status_kib("RssShmem:"),
		status_kib("VmPTE:"), pte, guest_maps());
	CHECK(own_kib() <= KIB_MAX);
	CHECK_EQ(guest_maps(), 1);
}

static const struct harness_case cases[] = {
	CASE(memory_of_one_guest_is_mapped_once),
	CASE(two_hundred_times),
	CASE(two_guests_are_two),
	CASE(a_descriptor_without_rights),
	CASE(memory_taken_back_is_everybody_s_end),
	CASE(growth_while_all_are_busy),
	CASE(what_one_loses),
	CASE(counters_of_each),
	CASE(clients_of_all_kinds),
	CASE(eight_devices_of_a_large_guest),
};

HARNESS_MAIN(cases)
