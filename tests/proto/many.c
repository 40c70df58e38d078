/*
 * Many devices in one process: memory that they share is mapped once, what happens to one is
 * nothing to the others, and all of them together are small.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../front/herd.h"

static struct herd h;
static struct vubox *const v = &h.rigs[0].vubox;

/* ---- what it has ---- */

static unsigned lines_of(const char *name, const char *word, unsigned *kib)
{
	char line[512];
	const char *path = herd_text("/proc/%2$u/%1$s", name, (unsigned)v->pid);
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

	CHECK_EQ(statx(h.guest, "", AT_EMPTY_PATH, STATX_BTIME, &stx), 0);
	if ((stx.stx_mask & STATX_BTIME) == 0)
		harness_skip("the kernel does not say when files in memory were made");
}

static void memory_of_one_guest_is_mapped_once(const char *with)
{
	(void)with;
	herd_serve(&h, 2, NULL);
	herd_guest(&h);
	needs_births();
	herd_come(&h, 0);
	herd_works(&h, 0);
	CHECK_EQ(guest_maps(), 1);
	herd_come(&h, 1);
	herd_works(&h, 1);
	CHECK_EQ(guest_maps(), 1);
	/* It is there until the last one has gone, in either order. */
	rig_disconnect(&h.rigs[0]);
	herd_works(&h, 1);
	CHECK_EQ(guest_maps(), 1);
	herd_come(&h, 0);
	herd_works(&h, 0);
	rig_disconnect(&h.rigs[1]);
	herd_works(&h, 0);
	CHECK_EQ(guest_maps(), 1);
	rig_disconnect(&h.rigs[0]);
	UNTIL(guest_maps() == 0);
}

static void two_hundred_times(const char *with)
{
	unsigned fds, maps;

	(void)with;
	herd_serve(&h, 2, NULL);
	herd_guest(&h);
	needs_births();
	herd_come(&h, 1);
	herd_works(&h, 1);
	herd_come(&h, 0);
	herd_works(&h, 0);
	fds = vubox_fds(v);
	maps = vubox_maps(v);
	for (unsigned i = 0; i < 200; i++) {
		rig_disconnect(&h.rigs[i % 2]);
		herd_works(&h, (i + 1) % 2);
		UNTIL(vubox_fds(v) < fds);
		herd_come(&h, i % 2);
		herd_works(&h, i % 2);
		CHECK_EQ(guest_maps(), 1);
		CHECK_EQ(vubox_maps(v), maps);
		CHECK_EQ(vubox_fds(v), fds);
	}
}

/* Two guests have files of the same size and place, and nothing of each other. */
static void two_guests_are_two(const char *with)
{
	(void)with;
	herd_serve(&h, 2, NULL);
	herd_guest(&h);
	herd_come(&h, 0);
	herd_works(&h, 0);
	herd_guest(&h);
	herd_come(&h, 1);
	herd_works(&h, 1);
	herd_works(&h, 0);
	CHECK_EQ(guest_maps(), 2);
	rig_disconnect(&h.rigs[0]);
	herd_works(&h, 1);
	UNTIL(guest_maps() == 1);
}

/* Who can only name the file, or read it, is no way to it though another has it mapped. */
static void a_descriptor_without_rights(const char *with)
{
	struct front_place place = { RIG_GUEST, RIG_MEMORY, RIG_USER, 0 };
	char path[64];
	int flags[] = { O_PATH, O_RDONLY };

	(void)with;
	herd_serve(&h, 2, NULL);
	herd_guest(&h);
	herd_come(&h, 0);
	herd_works(&h, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", h.guest);
	for (unsigned i = 0; i < 2; i++) {
		int fd = open(path, flags[i] | O_CLOEXEC);

		CHECK(fd >= 0);
		rig_negotiate(&h.rigs[1], ~0ull, ~0ull);
		CHECK_EQ(front_set_mem_table(&h.rigs[1].front, &place, &fd, 1), FRONT_REFUSED);
		front_close(&h.rigs[1].front);
		close(fd);
	}
	herd_works(&h, 0);
	herd_come(&h, 1);
	herd_works(&h, 1);
}

/* The file of both shrinks, and one of them finds out. */
static void memory_taken_back_is_everybody_s_end(const char *with)
{
	struct blk_request request;

	(void)with;
	herd_serve(&h, 3, NULL);
	herd_guest(&h);
	needs_births();
	herd_come(&h, 2);
	herd_works(&h, 2);
	herd_guest(&h); /* of another h.guest, who does not notice */
	herd_come(&h, 0);
	herd_come(&h, 1);
	herd_works(&h, 0);
	herd_works(&h, 1);
	request = rig_request(&h.rigs[0], 0, BLK_IN, 8, 4096);
	rig_add(&h.rigs[0], &h.rigs[0].queues[0], &request, 0);
	driver_publish(&h.rigs[0].queues[0].driver);
	CHECK_EQ(ftruncate(h.guest, 0), 0);
	front_kick(&h.rigs[0].queues[0]);
	CHECK_EQ(front_wait_closed(&h.rigs[0].front), 0);
	CHECK_EQ(front_wait_closed(&h.rigs[1].front), 0);
	rig_disconnect(&h.rigs[0]);
	rig_disconnect(&h.rigs[1]);
	herd_works(&h, 2);
	herd_guest(&h);
	herd_come(&h, 1);
	herd_come(&h, 0);
	herd_works(&h, 0);
	herd_works(&h, 1);
	herd_works(&h, 2);
}

/* ---- one by one ---- */

/* Requests of 64 KiB that nobody has waited for yet. */
static void make_busy(unsigned i)
{
	for (unsigned slot = 0; slot < HERD_SLOTS; slot++) {
		struct blk_request x = rig_request(&h.rigs[i], slot, BLK_OUT, slot * 128, 65536);

		rig_add(&h.rigs[i], &h.rigs[i].queues[0], &x, slot);
	}
	front_queue_offer(&h.rigs[i].queues[0]);
	front_kick(&h.rigs[i].queues[0]);
}

static void is_done(unsigned i)
{
	for (unsigned n = 0; n < HERD_SLOTS; n++) {
		unsigned slot = rig_take(&h.rigs[i], &h.rigs[i].queues[0], NULL);
		struct blk_request x = rig_request(&h.rigs[i], slot, BLK_OUT, slot * 128, 65536);

		CHECK_EQ(blk_status(&h.rigs[i].memory.driver, &x), BLK_OK);
	}
}

static uint64_t capacity(unsigned i)
{
	uint64_t sectors = 0;
	uint32_t got;

	CHECK_EQ(front_get_config(&h.rigs[i].front, 0, 8, &sectors, &got), 0);
	return sectors;
}

/* SIGHUP while they are at work: those that grew say so, and nothing is lost. */
static void growth_while_all_are_busy(const char *with)
{
	enum { ROUNDS = 20 };
	uint64_t bytes = RIG_DISK_BYTES;

	(void)with;
	herd_serve(&h, HERD_DISKS, NULL);
	herd_guest(&h);
	for (unsigned i = 0; i < HERD_DISKS; i++)
		herd_come(&h, i);
	for (unsigned round = 0; round < ROUNDS; round++) {
		bytes += 1 << 20;
		for (unsigned i = 0; i < HERD_DISKS; i++)
			make_busy(i);
		for (unsigned i = 0; i < HERD_DISKS - 1; i++)
			CHECK_EQ(truncate(h.images[i], (off_t)bytes), 0);
		CHECK_EQ(kill(v->pid, SIGHUP), 0);
		CHECK_EQ(kill(v->pid, SIGUSR1), 0);
		for (unsigned i = 0; i < HERD_DISKS; i++)
			is_done(i);
		for (unsigned i = 0; i < HERD_DISKS - 1; i++)
			UNTIL(capacity(i) == bytes / BLK_SECTOR);
		CHECK_EQ(capacity(HERD_DISKS - 1), RIG_DISK_BYTES / BLK_SECTOR);
	}
	for (unsigned i = 0; i < HERD_DISKS; i++)
		herd_works(&h, i);
}

/* Its socket file goes, its image goes, and grows short: the others, and what is open, go on. */
static void what_one_loses(const char *with)
{
	unsigned char data[512] = { 0 };

	(void)with;
	herd_serve(&h, 3, NULL);
	herd_guest(&h);
	for (unsigned i = 0; i < 3; i++)
		herd_come(&h, i);
	CHECK_EQ(unlink(herd_socket(0)), 0);
	CHECK_EQ(rename(h.images[1], harness_path("gone")), 0);
	h.rigs[1].image = harness_path("gone");
	CHECK_EQ(kill(v->pid, SIGHUP), 0);
	for (unsigned i = 0; i < 3; i++)
		herd_works(&h, i);
	CHECK_EQ(truncate(h.images[0], 4096), 0);
	CHECK(rig_blk(&h.rigs[0], BLK_IN, 64, data, sizeof(data)) != BLK_OK);
	herd_works(&h, 1);
	herd_works(&h, 2);
	rig_disconnect(&h.rigs[0]);
	herd_works(&h, 1);
	rig_disconnect(&h.rigs[2]);
	herd_come(&h, 2);
	herd_works(&h, 2);
	CHECK_EQ(vubox_end(v, SIGTERM), 0);
}

/* ---- the budget ---- */

static void eight_devices_of_a_large_guest(const char *with)
{
	enum { KIB_MAX = 700 };
	unsigned pte;

	(void)with;
	herd_serve(&h, HERD_MAX, NULL);
	h.guest_bytes = 1ull << 30;
	herd_guest(&h);
	needs_births();
	herd_come(&h, 0);
	herd_works(&h, 0);
	rig_disconnect(&h.rigs[0]);
	pte = status_kib("VmPTE:");
	for (unsigned i = 0; i < HERD_MAX; i++)
		herd_come(&h, i);
	for (unsigned i = 0; i < HERD_MAX; i++)
		herd_works(&h, i);
	if (vubox_is_sanitized())
		return;
	for (unsigned i = 0; i < 15; i++) /* pages of images are given back after a second */
		usleep(100000);
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
	CASE(eight_devices_of_a_large_guest),
};

HARNESS_MAIN(cases)
