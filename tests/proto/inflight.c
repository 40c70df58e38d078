/*
 * In-flight tracking: the shared buffer's layout, and what a new life makes of it after kill -9
 * ("Inflight I/O tracking", split virtqueues).
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../front/rig.h"

struct desc_state {
	uint8_t inflight, padding[5];
	uint16_t next;
	uint64_t counter;
};

struct region {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct desc_state desc[];
};

static struct rig r;
static struct front_inflight want;
static int inflight_fd;
static unsigned char *buffer;

static struct region *region_of(unsigned queue)
{
	return (struct region *)(buffer + want.size / want.queues * queue);
}

static void get_buffer(uint16_t queues, uint16_t size)
{
	struct stat st;

	want = (struct front_inflight){ .queues = queues, .queue_size = size };
	CHECK_EQ(front_get_inflight_fd(&r.front, &want, &inflight_fd), 0);
	CHECK_EQ(want.queues, queues);
	CHECK_EQ(want.queue_size, size);
	CHECK(want.size >= queues * (16 + 16ull * size));
	CHECK(fstat(inflight_fd, &st) == 0);
	CHECK((uint64_t)st.st_size >= want.offset + want.size);
	buffer = mmap(NULL, want.size, PROT_READ | PROT_WRITE, MAP_SHARED, inflight_fd,
		(off_t)want.offset);
	CHECK(buffer != MAP_FAILED);
}

/* vubox with tracking from the start, and one ring that runs. */
static void open_tracked(const char *engine, uint16_t size)
{
	static char io[32] = "--io=";

	strcat(io, engine);
	r.ring_size = size;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ io, NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	get_buffer(1, size);
	CHECK_EQ(front_set_inflight_fd(&r.front, &want, inflight_fd), 0);
	rig_run(&r);
}

static uint16_t used_in_memory(const struct front_queue *q)
{
	uint16_t idx;

	memcpy(&idx, q->driver.used + 2, 2);
	return idx;
}

/* A new process, the same memory, buffer and rings; the base is what QEMU takes: the used index. */
static void live_again(void)
{
	front_close(&r.front);
	rig_serve_again(&r);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_inflight_fd(&r.front, &want, inflight_fd), 0);
	CHECK_EQ(front_share(&r.front, &r.memory), 0);
	for (unsigned i = 0; i < r.queue_count; i++)
		CHECK_EQ(
			front_queue_start(&r.front, &r.queues[i], used_in_memory(&r.queues[i])), 0);
}

static void crash(void)
{
	CHECK_EQ(vubox_end(&r.vubox, SIGKILL), -SIGKILL);
}

static unsigned count_in_flight(unsigned queue)
{
	unsigned count = 0;

	for (unsigned i = 0; i < want.queue_size; i++)
		count += region_of(queue)->desc[i].inflight != 0;
	return count;
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
	static const uint16_t sizes[] = { 1, 2, 64, 128, 1024 };

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, ~0ull);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (uint16_t queues = 1; queues <= 4; queues = (uint16_t)(queues * 2)) {
			get_buffer(queues, sizes[i]);
			for (unsigned k = 0; k < queues; k++) {
				CHECK_EQ(region_of(k)->features, 0);
				CHECK_EQ(region_of(k)->used_idx, 0);
				CHECK_EQ(count_in_flight(k), 0);
				CHECK(region_of(k)->version == 0 || region_of(k)->version == 1);
				CHECK(region_of(k)->version == 0 ||
					region_of(k)->desc_num == sizes[i]);
			}
			munmap(buffer, want.size);
			close(inflight_fd);
		}
}

static void it_is_kept_while_rings_run(const char *with)
{
	struct front_queue *q = &r.queues[0];

	open_tracked(with, 64);
	CHECK_EQ(region_of(0)->version, 1);
	CHECK_EQ(region_of(0)->desc_num, 64);
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned slot = 0; slot < 10; slot++) {
			struct blk_request w = rig_request(&r, slot, BLK_OUT, slot * 16, 4096);

			rig_add(&r, q, &w, slot);
		}
		front_queue_offer(q);
		for (unsigned i = 0; i < 10; i++)
			rig_take(&r, q, NULL);
	}
	CHECK_EQ(front_settle(&r.front), 0);
	CHECK_EQ(count_in_flight(0), 0);
	CHECK_EQ(region_of(0)->used_idx, used_in_memory(q));
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
	bad[3].size = 16 + 64 * 16 - 1;
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

/* Marks what a crash has left behind: the ring is not running yet, so nobody else writes here. */
static void mark(unsigned queue, uint16_t head, uint64_t counter)
{
	region_of(queue)->desc[head].counter = counter;
	region_of(queue)->desc[head].inflight = 1;
}

/* Requests that write to slot-th sectors; their heads. Nothing of it is done yet. */
static void add_writes(struct front_queue *q, unsigned count, uint16_t *heads)
{
	for (unsigned slot = 0; slot < count; slot++) {
		struct blk_request w = rig_request(&r, slot, BLK_OUT, slot, 512);
		unsigned char data[512];

		heads[slot] = q->driver.free_head;
		memset(data, (int)slot + 1, sizeof(data));
		CHECK(driver_write(&r.memory.driver, w.data, data, sizeof(data)));
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
	static const uint64_t counters[] = { 7, 3, 1ull << 40, 0, 5, 4, (1ull << 63) + 9, 6 };
	static const unsigned order[] = { 3, 1, 5, 4, 7, 0, 2, 6 };
	struct front_queue *q = &r.queues[0];
	uint16_t heads[12];

	(void)with;
	open_tracked("sync", 64);
	rig_works(&r);
	stop_for_history();
	add_writes(q, 12, heads); /* 8 were taken by the life before, 4 were not */
	for (unsigned i = 0; i < 8; i++)
		mark(0, heads[i], counters[i]);
	live_again();
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(rig_take(&r, q, NULL), order[i]);
	for (unsigned i = 8; i < 12; i++)
		CHECK_EQ(rig_take(&r, q, NULL), i);
	CHECK(!has_used(q));
	check_disk(0, 12, true);
	CHECK_EQ(count_in_flight(0), 0);
	CHECK_EQ(region_of(0)->used_idx, used_in_memory(q));
	rig_works(&r);
	/* New requests go on counting behind the old ones: another crash keeps the order. */
	CHECK(region_of(0)->desc[q->driver.free_head].counter > counters[6]);
}

/* The used index has moved, the flags of that batch were not cleared yet. */
static void an_interrupted_publication_is_finished(const char *with)
{
	struct front_queue *q = &r.queues[0];
	static const unsigned batch[] = { 1, 4, 2 };
	struct region *g;
	uint16_t heads[6], used;

	open_tracked(with, 64);
	stop_for_history();
	g = region_of(0);
	used = used_in_memory(q);
	CHECK_EQ(g->used_idx, used);
	add_writes(q, 6, heads);
	for (unsigned i = 0; i < 6; i++)
		mark(0, heads[i], 100 + i);
	/* Heads 1, 4 and 2 were pushed as one batch and published. */
	g->desc[heads[1]].next = g->last_batch_head;
	g->desc[heads[4]].next = heads[1];
	g->desc[heads[2]].next = heads[4];
	g->last_batch_head = heads[2];
	for (unsigned i = 0; i < 3; i++) {
		uint32_t elem[2] = { heads[batch[i]], 1 };

		memcpy(q->driver.used + 4 + 8 * ((used + i) % 64), elem, sizeof(elem));
	}
	used = (uint16_t)(used + 3);
	memcpy(q->driver.used + 2, &used, 2);
	live_again();
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(rig_take(&r, q, NULL), batch[i]);
	for (unsigned left = 1 << 0 | 1 << 3 | 1 << 5; left != 0;) {
		unsigned slot = rig_take(&r, q, NULL);

		CHECK((left & 1u << slot) != 0);
		left &= ~(1u << slot);
	}
	CHECK(!has_used(q));
	check_disk(0, 1, true);
	check_disk(1, 2, false); /* done in the life that never was: not done again */
	check_disk(3, 1, true);
	check_disk(4, 1, false);
	check_disk(5, 1, true);
	CHECK_EQ(count_in_flight(0), 0);
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

struct load {
	unsigned char fill[RIG_SLOTS];
	bool out[RIG_SLOTS];
	unsigned char disk[RIG_SLOTS * 4]; /* what each block of 4 KiB must hold in the end */
	unsigned done, found;
};

/* A write of one block with one byte; its blocks are its slot's own, so that order is no matter. */
static void load_add(struct load *l, struct front_queue *q, unsigned slot)
{
	unsigned block = slot * 4 + harness_random() % 4;
	struct blk_request w = rig_request(&r, slot, BLK_OUT, block * 8, 4096);
	unsigned char data[4096];

	l->fill[slot] = (unsigned char)harness_random();
	l->disk[block] = l->fill[slot];
	l->out[slot] = true;
	memset(data, l->fill[slot], sizeof(data));
	CHECK(driver_write(&r.memory.driver, w.data, data, sizeof(data)));
	rig_add(&r, q, &w, slot);
}

static unsigned load_take(struct load *l, struct front_queue *q)
{
	unsigned slot = rig_take(&r, q, NULL);
	struct blk_request w = rig_request(&r, slot, 0, 0, 0);

	CHECK(l->out[slot]);
	CHECK_EQ(blk_status(&r.memory.driver, &w), BLK_OK);
	l->out[slot] = false;
	l->done++;
	return slot;
}

static void load_check(const struct load *l)
{
	unsigned char should[4096], back[4096];

	for (unsigned i = 0; i < RIG_SLOTS * 4; i++) {
		memset(should, l->disk[i], sizeof(should));
		rig_disk_read(&r, i * 4096ull, back, sizeof(back));
		CHECK_BYTES(back, should, sizeof(back));
	}
}

/* Killed again and again in the middle of writes: each comes back exactly once, and is on disk. */
static void kill_9_under_load(const char *with)
{
	enum { DEPTH = 40, LIVES = 25 };
	static struct load l;
	struct front_queue *q = &r.queues[0];

	open_tracked(with, 128);
	for (unsigned life = 0; life < LIVES; life++) {
		for (unsigned slot = 0; slot < DEPTH; slot++)
			if (!l.out[slot])
				load_add(&l, q, slot);
		front_queue_offer(q);
		for (unsigned n = harness_random() % 100; n > 0; n--) {
			load_add(&l, q, load_take(&l, q));
			front_queue_offer(q);
		}
		crash();
		l.found += count_in_flight(0);
		live_again();
	}
	for (unsigned i = 0; i < DEPTH; i++)
		load_take(&l, q);
	CHECK(!has_used(q));
	load_check(&l);
	harness_say("%s: %u writes in %u lives; %u marked in flight when they ended", with, l.done,
		LIVES, l.found);
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
	get_buffer(2, 64);
	CHECK_EQ(front_set_inflight_fd(&r.front, &want, inflight_fd), 0);
	rig_run(&r);
	a = &r.queues[0];
	b = rig_queue(&r);
	CHECK_EQ(front_queue_start(&r.front, b, 0), 0);
	CHECK_EQ(front_settle(&r.front), 0);
	crash();
	add_writes(a, 3, heads_a);
	add_writes(b, 3, heads_b); /* the same writes: it is heads that matter */
	mark(0, heads_a[1], 2);
	mark(0, heads_a[0], 8);
	mark(1, heads_b[0], 3);
	mark(1, heads_b[1], 1);
	live_again();
	CHECK_EQ(rig_take(&r, a, NULL), 1);
	CHECK_EQ(rig_take(&r, a, NULL), 0);
	CHECK_EQ(rig_take(&r, a, NULL), 2);
	CHECK_EQ(rig_take(&r, b, NULL), 1);
	CHECK_EQ(rig_take(&r, b, NULL), 0);
	CHECK_EQ(rig_take(&r, b, NULL), 2);
	CHECK(!has_used(a));
	CHECK(!has_used(b));
}

/* GET_VRING_BASE and a new start in one life: all is done, none of it again. */
static void a_clean_stop_leaves_nothing_in_flight(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint32_t base;

	open_tracked(with, 64);
	for (unsigned round = 0; round < 50; round++) {
		uint16_t heads[16];

		add_writes(q, 16, heads);
		front_kick(q);
		CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
		CHECK_EQ(count_in_flight(0), 0);
		CHECK_EQ(region_of(0)->used_idx, used_in_memory(q));
		CHECK_EQ(front_queue_start(&r.front, q, base), 0);
		for (unsigned i = 0; i < 16; i++)
			rig_take(&r, q, NULL);
		CHECK(!has_used(q));
	}
}

static const struct harness_case cases[] = {
	CASE(layout),
	CASE_OF_EACH_ENGINE(it_is_kept_while_rings_run),
	CASE(bad_descriptions_are_refused),
	CASE(resubmitted_once_in_the_order_of_counters),
	CASE_OF_EACH_ENGINE(an_interrupted_publication_is_finished),
	CASE_OF_EACH_ENGINE(nothing_is_resubmitted_without_need),
	CASE_OF_EACH_ENGINE(kill_9_under_load),
	CASE(two_queues_keep_theirs_apart),
	CASE_OF_EACH_ENGINE(a_clean_stop_leaves_nothing_in_flight),
};
HARNESS_MAIN(cases)
