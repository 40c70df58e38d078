/* The yard: what is common to all that misbehaves. */
#include "yard.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATTERN_BYTES = 64 << 10, READ_AT = 24, READ_BYTES = 4096 };

static unsigned char pattern[PATTERN_BYTES];

/* ---- the bystander ---- */

static void bystander_asks(struct yard *y)
{
	struct driver_buffer b = { y->other.slots, 64, true };
	struct driver_chain chain = { .buffers = &b, .count = 1 };

	CHECK(driver_add(&y->other.queues[0].driver, &chain) >= 0);
	front_queue_offer(&y->other.queues[0]);
}

static void bystander_gets(struct yard *y)
{
	uint32_t len;

	rig_take(&y->other, &y->other.queues[0], &len);
	CHECK_EQ(len, 64);
	CHECK_EQ(front_signals(y->other.queues[0].err), 0);
}

void yard_bystander(struct yard *y)
{
	bystander_asks(y);
	bystander_gets(y);
}

static void bystander_comes(struct yard *y)
{
	y->other.vubox = y->rig.vubox;
	y->other.front.fd = -1;
	snprintf(y->other.vubox.socket, sizeof(y->other.vubox.socket), "%s", harness_path("other"));
	rig_negotiate(&y->other, ~0ull, ~0ull);
	rig_run(&y->other);
	yard_bystander(y);
}

/* ---- set-up ---- */

void yard_serve(struct yard *y, const char *const *options)
{
	static char other[128];
	const char *all[12];
	unsigned n = 0;

	for (; options && *options; options++)
		all[n++] = *options;
	snprintf(other, sizeof(other), "--socket-path=%s", harness_path("other"));
	all[n++] = "--";
	all[n++] = "rng";
	all[n++] = other;
	all[n] = NULL;
	if (y->kind) {
		kind_serve(y->kind, &y->rig, all);
	} else {
		rig_serve(&y->rig, RIG_DISK_BYTES, all);
		harness_fill(pattern, sizeof(pattern));
		yard_repair(y);
	}
	bystander_comes(y);
	/* Once through everything: what is made at the first use is there then. */
	yard_connect(y, 1);
	yard_reads(y);
	rig_disconnect(&y->rig);
	rig_connect(&y->rig);
	CHECK_EQ(front_settle(&y->rig.front), 0);
	y->fds = vubox_fds(&y->rig.vubox) - 1;
	y->maps = vubox_maps(&y->rig.vubox);
	rig_disconnect(&y->rig);
	UNTIL(vubox_fds(&y->rig.vubox) == y->fds);
}

void yard_connect(struct yard *y, unsigned queues)
{
	rig_negotiate(&y->rig, ~0ull, ~0ull);
	rig_share(&y->rig);
	while (y->rig.queue_count < (y->kind ? y->kind->queue_count : queues))
		rig_start(&y->rig, rig_queue(&y->rig));
	y->fresh = true;
}

void yard_open(struct yard *y, const char *engine, unsigned queues)
{
	static char io[32];

	y->kind = kind_find(engine);
	snprintf(io, sizeof(io), "--io=%s", engine ? engine : "auto");
	yard_serve(y, y->kind ? NULL : (const char *const[]){ io, NULL });
	yard_connect(y, queues);
}

/* ---- the checks ---- */

void yard_reads(struct yard *y)
{
	unsigned char data[READ_BYTES] = { 0 };

	if (y->kind) {
		y->kind->works(&y->rig, y->fresh);
		y->fresh = false;
		return;
	}
	CHECK_EQ(rig_blk(&y->rig, BLK_IN, READ_AT, data, sizeof(data)), BLK_OK);
	CHECK_BYTES(data, pattern + READ_AT * BLK_SECTOR, sizeof(data));
}

void yard_repair(struct yard *y)
{
	rig_disk_write(&y->rig, 0, pattern, sizeof(pattern));
}

/*
 * A window in which it hardly ran, soon: one that spins has none, however busy the machine is. (It
 * may run for a moment, as what was done to it has its consequences.)
 */
void yard_is_idle(struct yard *y)
{
	enum { WINDOW_US = 40000, LITTLE_NS = WINDOW_US * 1000 / 50, WINDOWS = 25 };
	uint64_t ns = 0;

	for (unsigned i = 0; i < WINDOWS; i++) {
		uint64_t before_ns = vubox_cpu_ns(&y->rig.vubox);

		usleep(WINDOW_US);
		ns = vubox_cpu_ns(&y->rig.vubox) - before_ns;
		if (ns < LITTLE_NS)
			return;
	}
	harness_fail(HERE, "it is not idle: %llu us in a window of %u",
		(unsigned long long)ns / 1000, WINDOW_US);
}

static void nothing_is_left(struct yard *y)
{
	rig_disconnect(&y->rig);
	UNTIL(vubox_fds(&y->rig.vubox) == y->fds);
	UNTIL(vubox_maps(&y->rig.vubox) <= y->maps);
}

void yard_glance(struct yard *y)
{
	CHECK(vubox_lives(&y->rig.vubox));
	nothing_is_left(y);
	yard_connect(y, 1);
	yard_reads(y);
	nothing_is_left(y);
}

void yard_check(struct yard *y)
{
	CHECK(vubox_lives(&y->rig.vubox));
	yard_is_idle(y);
	yard_bystander(y);
	yard_glance(y);
	yard_is_idle(y);
	yard_bystander(y);
	CHECK_EQ(front_settle(&y->other.front), 0);
}

/* ---- broken queues ---- */

void yard_reset(struct yard *y)
{
	struct rig *r = &y->rig;
	uint64_t status;

	CHECK_EQ(front_set_status(&r->front, 0), 0);
	CHECK_EQ(front_get_status(&r->front, &status), 0);
	CHECK_EQ(status, 0);
	CHECK_EQ(front_set_features(&r->front, r->front.features), 0);
	for (unsigned i = 0; i < r->queue_count; i++) {
		rig_reopen(r, &r->queues[i]);
		rig_start(r, &r->queues[i]);
	}
	y->fresh = true;
}

void yard_breaks_and_heals(struct yard *y, const char *why)
{
	struct rig *r = &y->rig;
	struct front_queue *bad = &r->queues[0], *good = &r->queues[1];
	unsigned said = vubox_said_times(&r->vubox, "is broken");
	unsigned char id[BLK_ID_BYTES];
	struct blk_request get_id = rig_request(r, 1, BLK_GET_ID, 0, sizeof(id));
	uint64_t status;

	CHECK_EQ(front_set_status(&r->front, VIRTIO_DRIVER_OK), 0);
	front_kick(bad);
	CHECK_EQ(front_wait_signal(bad->err, harness_wait_ms()), 0);
	front_kick(bad);
	CHECK_EQ(front_settle(&r->front), 0);
	CHECK_EQ(front_signals(bad->err), 1);
	CHECK_EQ(front_get_status(&r->front, &status), 0);
	CHECK_EQ(status, VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET);
	CHECK_EQ(vubox_said_times(&r->vubox, "is broken"), said + 1);
	if (why && vubox_said_times(&r->vubox, why) == 0)
		harness_fail(HERE, "it did not say “%s”", why);
	rig_add(r, good, &get_id, 1);
	front_queue_offer(good);
	CHECK_EQ(rig_take(r, good, NULL), 1);
	CHECK_EQ(front_signals(good->err), 0);
	/* Reset revives it. */
	yard_reset(y);
	yard_reads(y);
}

void yard_breaks(struct yard *y, const char *why)
{
	yard_breaks_and_heals(y, why);
	yard_check(y);
}
