/*
 * In-flight tracking: the shared buffer's layout, and what a new life makes of it after kill -9
 * ("Inflight I/O tracking").
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../front/rig.h"
#include "../front/track.h"

static struct rig r;
static struct track t;

/* vubox with tracking from the start, and one ring that runs. */
static void open_tracked(const char *engine, uint16_t size)
{
	static char io[32] = "--io=";

	strcat(io, engine);
	r.ring_size = size;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ io, NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	track_get(&t, &r.front, 1, size);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	rig_run(&r);
}

/*
 * A new process, the same memory, buffer and rings; the base is what QEMU takes: of split rings the
 * used index, of packed ones nothing that is true.
 */
static void live_again(void)
{
	front_close(&r.front);
	rig_serve_again(&r);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	CHECK_EQ(front_share(&r.front, &r.memory), 0);
	for (unsigned i = 0; i < r.queue_count; i++) {
		uint32_t base = driver_base_in_memory(&r.queues[i].driver);

		if (harness_packed() && track_version(&t, i) != 0)
			base = 0x80008000;
		CHECK_EQ(front_queue_start(&r.front, &r.queues[i], base), 0);
	}
}

static void crash(void)
{
	CHECK_EQ(vubox_end(&r.vubox, SIGKILL), -SIGKILL);
}

static bool has_used(struct front_queue *q)
{
	struct driver_used used;

	CHECK_EQ(front_settle(&r.front), 0);
	return driver_poll(&q->driver, &used) != 0;
}

/* ---- the buffer ---- */

static void layout(const char *with)
{
	static const uint16_t sizes[] = { 1, 2, 64, 100, 128, 1023, 1024 };

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, ~0ull);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (uint16_t queues = 1; queues <= 4; queues = (uint16_t)(queues * 2)) {
			track_get(&t, &r.front, queues, sizes[i]);
			for (unsigned k = 0; k < queues; k++) {
				CHECK_EQ(track_split(&t, k)->features, 0);
				CHECK_EQ(track_in_flight(&t, k), 0);
				CHECK(track_version(&t, k) <= 1);
				CHECK(track_version(&t, k) == 0 ||
					track_split(&t, k)->desc_num == sizes[i]);
			}
			track_put(&t);
		}
}

static void it_is_kept_while_rings_run(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint64_t counter = 0;

	open_tracked(with, 64);
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned slot = 0; slot < 10; slot++) {
			struct blk_request w = rig_request(&r, slot, BLK_OUT, slot * 16, 4096);

			rig_add(&r, q, &w, slot);
		}
		front_queue_offer(q);
		for (unsigned i = 0; i < 10; i++)
			rig_take(&r, q, NULL);
		CHECK(track_last_counter(&t, 0) > counter || round == 0);
		counter = track_last_counter(&t, 0);
	}
	CHECK_EQ(front_settle(&r.front), 0);
	CHECK_EQ(track_version(&t, 0), 1);
	CHECK_EQ(track_split(&t, 0)->desc_num, 64);
	track_check_rest(&t, q);
	CHECK(counter >= 1999);
}

static void bad_descriptions_are_refused(const char *with)
{
	const struct front_inflight good = { .size = 4096, .queues = 1, .queue_size = 64 };
	struct front_inflight bad[6] = { good, good, good, good, good, good };
	int fd = memfd_create("inflight", MFD_CLOEXEC);
	unsigned fds, maps;

	(void)with;
	bad[0].queues = 0;
	bad[1].queue_size = 0;
	bad[2].queues = 1000;
	bad[3].size = harness_packed() ? 32 + 64 * 32 - 1 : 16 + 64 * 16 - 1;
	bad[4].offset = 4096; /* behind the end of its file */
	bad[5].size = 1ull << 40;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	CHECK_EQ(ftruncate(fd, 4096), 0);
	fds = vubox_fds(&r.vubox);
	maps = vubox_maps(&r.vubox);
	for (unsigned i = 0; i < 6; i++) {
		CHECK_EQ(front_set_inflight_fd(&r.front, &bad[i], fd), FRONT_REFUSED);
		CHECK_EQ(vubox_fds(&r.vubox), fds);
		CHECK(vubox_maps(&r.vubox) <= maps + 1);
	}
	CHECK_EQ(front_set_inflight_fd(&r.front, &good, fd), 0);
	rig_works(&r);
}

/* ---- after a crash ---- */

/* Requests that write to slot-th sectors; their heads. Nothing of it is done yet. */
static void add_writes(struct front_queue *q, unsigned count, uint16_t *heads)
{
	for (unsigned slot = 0; slot < count; slot++) {
		struct blk_request w = rig_request(&r, slot, BLK_OUT, slot, 512);
		unsigned char data[512];

		memset(data, (int)slot + 1, sizeof(data));
		CHECK(driver_write(&r.memory.driver, w.data, data, sizeof(data)));
		heads[slot] = q->driver.free_head; /* the next one's head, or its id */
		rig_add(&r, q, &w, slot);
	}
	driver_publish(&q->driver);
}

static void check_disk(unsigned first, unsigned count, bool written)
{
	unsigned char data[512], zero[512] = { 0 }, back[512];

	for (unsigned i = first; i < first + count; i++) {
		memset(data, (int)i + 1, sizeof(data));
		rig_disk_read(&r, i * 512ull, back, sizeof(back));
		CHECK_BYTES(back, written ? data : zero, sizeof(back));
	}
}

/* Stops the ring, lets a test write history into memory and buffer, and kills the process. */
static void stop_for_history(void)
{
	uint32_t base;

	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	crash();
}

static void resubmitted_once_in_the_order_of_counters(const char *with)
{
	static const uint64_t counters[] = { 7, 3, 1ull << 40, 0, 5, 4, (1ull << 62) + 9, 6 };
	static const unsigned order[] = { 3, 1, 5, 4, 7, 0, 2, 6 };
	struct front_queue *q = &r.queues[0];
	uint16_t heads[12];

	(void)with;
	open_tracked("sync", 64);
	rig_works(&r);
	stop_for_history();
	track_forge(&t, q);
	add_writes(q, 12, heads); /* 8 were taken by the life before, 4 were not */
	for (unsigned i = 0; i < 8; i++)
		track_forge_take(&t, q, heads[i], counters[i]);
	live_again();
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(rig_take(&r, q, NULL), order[i]);
	for (unsigned i = 8; i < 12; i++)
		CHECK_EQ(rig_take(&r, q, NULL), i);
	CHECK(!has_used(q));
	check_disk(0, 12, true);
	track_check_rest(&t, q);
	rig_works(&r);
	/* New requests go on counting behind the old ones: another crash keeps the order. */
	CHECK(track_last_counter(&t, 0) > counters[6]);
}

/* A life that was cut while it gave heads 1, 4 and 2 of six back as one batch. */
static void cut_in_a_publication(const char *engine, enum track_stage stage)
{
	static const unsigned batch[] = { 1, 4, 2 };
	struct front_queue *q = &r.queues[0];
	uint16_t heads[6], given[3];
	unsigned left = 1 << 0 | 1 << 3 | 1 << 5;
	bool visible = stage != TRACK_PREPARED;

	open_tracked(engine, 64);
	rig_works(&r);
	stop_for_history();
	track_forge(&t, q);
	add_writes(q, 6, heads);
	for (unsigned i = 0; i < 6; i++)
		track_forge_take(&t, q, heads[i], 100 + i);
	for (unsigned i = 0; i < 3; i++)
		given[i] = heads[batch[i]];
	track_forge_publish(&t, q, given, 3, stage);
	live_again();
	for (unsigned i = 0; visible && i < 3; i++)
		CHECK_EQ(rig_take(&r, q, NULL), batch[i]);
	if (!visible)
		left |= 1 << 1 | 1 << 4 | 1 << 2;
	while (left != 0) {
		unsigned slot = rig_take(&r, q, NULL);

		CHECK((left & 1u << slot) != 0);
		left &= ~(1u << slot);
	}
	CHECK(!has_used(q));
	/* What was given back is not done again. */
	check_disk(0, 1, true);
	check_disk(1, 2, !visible);
	check_disk(3, 1, true);
	check_disk(4, 1, !visible);
	check_disk(5, 1, true);
	track_check_rest(&t, q);
	rig_works(&r);
}

static void cut_before_a_batch_is_visible(const char *with)
{
	cut_in_a_publication(with, TRACK_PREPARED);
}

static void cut_when_a_batch_is_visible(const char *with)
{
	cut_in_a_publication(with, TRACK_VISIBLE);
}

static void cut_while_marks_are_cleared(const char *with)
{
	cut_in_a_publication(with, TRACK_CLEARING);
}

static void cut_when_marks_are_cleared(const char *with)
{
	cut_in_a_publication(with, TRACK_CLEARED);
}

/* Nothing was in flight: nothing is done again. */
static void nothing_is_resubmitted_without_need(const char *with)
{
	struct front_queue *q = &r.queues[0];

	open_tracked(with, 64);
	for (unsigned life = 0; life < 10; life++) {
		rig_works(&r);
		CHECK_EQ(front_settle(&r.front), 0);
		crash();
		live_again();
		CHECK(!has_used(q));
		rig_works(&r);
	}
}

/* Each queue has its own region. */
static void two_queues_keep_theirs_apart(const char *with)
{
	struct front_queue *a, *b;
	uint16_t heads_a[3], heads_b[3];

	(void)with;
	r.ring_size = 64;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ "--io=sync", NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	track_get(&t, &r.front, 2, 64);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	rig_run(&r);
	a = &r.queues[0];
	b = rig_queue(&r);
	rig_start(&r, b);
	CHECK_EQ(front_settle(&r.front), 0);
	crash();
	track_forge(&t, a);
	track_forge(&t, b);
	add_writes(a, 3, heads_a);
	add_writes(b, 3, heads_b); /* the same writes: it is heads that matter */
	track_forge_take(&t, a, heads_a[0], 8);
	track_forge_take(&t, a, heads_a[1], 2);
	track_forge_take(&t, b, heads_b[0], 3);
	track_forge_take(&t, b, heads_b[1], 1);
	live_again();
	for (unsigned k = 0; k < 2; k++) {
		CHECK_EQ(rig_take(&r, &r.queues[k], NULL), 1);
		CHECK_EQ(rig_take(&r, &r.queues[k], NULL), 0);
		CHECK_EQ(rig_take(&r, &r.queues[k], NULL), 2);
		CHECK(!has_used(&r.queues[k]));
	}
}

/* GET_VRING_BASE and a new start in one life: all is done, none of it again. */
static void a_clean_stop_leaves_nothing_in_flight(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint32_t base;

	r.start = 60;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ with, NULL });
	rig_negotiate(&r, ~0ull, ~VU_P(GET_VRING_BASE_INFLIGHT) & ~VU_P(GET_VRING_BASE_SKIP_DRAIN));
	r.ring_size = 64;
	track_get(&t, &r.front, 1, 64);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	rig_run(&r);
	for (unsigned round = 0; round < 50; round++) {
		uint16_t heads[16];

		add_writes(q, 16, heads);
		front_kick(q);
		CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
		track_check_rest(&t, q);
		CHECK_EQ(front_queue_start(&r.front, q, base), 0);
		for (unsigned i = 0; i < 16; i++)
			rig_take(&r, q, NULL);
		CHECK(!has_used(q));
	}
}

/* A reset begins anew: what an earlier life took is not done again. */
static void a_reset_forgets_what_was_in_flight(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint16_t heads[2];

	(void)with;
	open_tracked("sync", 64);
	stop_for_history();
	track_forge(&t, q);
	add_writes(q, 2, heads);
	track_forge_take(&t, q, heads[0], 1);
	front_close(&r.front);
	rig_serve_again(&r);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	CHECK_EQ(front_share(&r.front, &r.memory), 0);
	CHECK_EQ(front_reset_device(&r.front), 0);
	CHECK_EQ(front_set_features(&r.front, r.front.features), 0);
	rig_reopen(&r, q);
	rig_start(&r, q);
	CHECK(!has_used(q));
	rig_works(&r);
	check_disk(0, 2, false);
	CHECK_EQ(front_settle(&r.front), 0);
	track_check_rest(&t, q);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(layout),
	CASE_OF_EACH(it_is_kept_while_rings_run),
	CASE_OF_EACH_FORMAT(bad_descriptions_are_refused),
	CASE_OF_EACH_FORMAT(resubmitted_once_in_the_order_of_counters),
	CASE_OF_EACH(cut_before_a_batch_is_visible),
	CASE_OF_EACH(cut_when_a_batch_is_visible),
	CASE_OF_EACH(cut_while_marks_are_cleared),
	CASE_OF_EACH(cut_when_marks_are_cleared),
	CASE_OF_EACH(nothing_is_resubmitted_without_need),
	CASE_OF_EACH_FORMAT(two_queues_keep_theirs_apart),
	CASE_WITH_EACH_FORMAT(a_clean_stop_leaves_nothing_in_flight, "--io=uring"),
	CASE_WITH_EACH_FORMAT(a_clean_stop_leaves_nothing_in_flight, "--io=sync"),
	CASE_OF_EACH_FORMAT(a_reset_forgets_what_was_in_flight),
};
HARNESS_MAIN(cases)
