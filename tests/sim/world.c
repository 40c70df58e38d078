/* A world: what a seed makes of it, a run of it, its end. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "spec/vhost_user.h"
#include "spec/virtio.h"

enum { DISK_QUEUES_MAX = 4 };

static bool one_in(uint32_t n)
{
	return fake_random(n) == 0;
}

static void make_front(struct front *f, unsigned index)
{
	*f = (struct front){
		.index = index, .fd = -1, .backend_fd = -1, .inflight_fd = -1, .fresh = true
	};
	f->blk = index == 0 ? !one_in(8) : one_in(2);
	f->queue_count = (uint16_t)(f->blk ? 1 + fake_random(DISK_QUEUES_MAX) : 1);
	f->queue_size_max = (uint16_t)(f->blk ? 4u << fake_random(5) : RING_MAX);
	f->read_only = f->blk && one_in(8);
	(void)snprintf(f->path, sizeof(f->path), "s%u", index);
	(void)snprintf(f->serial, sizeof(f->serial), "serial%u", index % 10);
	f->client = one_in(8);
	f->growing = one_in(8);
	if (f->client)
		f->listener = fake_listen(f->path);
	if (f->blk) {
		(void)snprintf(f->image, sizeof(f->image), "i%u", index);
		disk_new(&f->disk, f->image, 32 + fake_random(SECTORS_MAX - 31));
	} else if (one_in(3)) {
		(void)snprintf(f->image, sizeof(f->image), "r%u", index);
		fake_stream_new(f->image, true);
	}
	for (unsigned i = 0; i < QUEUES_MAX; i++) {
		struct sim_queue *q = &f->queues[i];

		q->front = f;
		q->index = (uint16_t)i;
		q->kick = q->call = q->err = -1;
	}
}

/* Now and then there is a bad driver: of a whole device, or of one queue of it. */
static void make_evil(void)
{
	struct front *f = &w.fronts[fake_random(w.front_count)];

	if (!one_in(4))
		return;
	f->evil = f->queue_count == 1 || one_in(2);
	/* One bad queue beside good ones: what it can reach has to be told from what it cannot. */
	f->read_only |= !f->evil;
	f->memory.odd = !f->evil;
	for (unsigned i = 0; i < f->queue_count; i++)
		f->queues[i].evil = f->evil || i == 0;
	w.actions_left += 20;
	w.posts_left += 200;
}

static void make_faults(void)
{
	w.faults = one_in(8);
	w.io_fails = one_in(6);
	fake.fail_one_in = 10 + fake_random(40);
	if (w.faults)
		fake.fail_mask = 1ull << FAKE_RECV | 1ull << FAKE_SEND | 1ull << FAKE_MAP |
				 1ull << FAKE_ACCEPT | 1ull << FAKE_NOTIFY_TAKE |
				 1ull << FAKE_SHARED_FILE | 1ull << FAKE_CONNECT |
				 1ull << FAKE_WAIT_ADD;
	if (w.io_fails)
		fake.fail_mask |= 1ull << FAKE_IO | 1ull << FAKE_RANDOM | 1ull << FAKE_STREAM_READ;
}

/* A death, now and then: at an access to memory, or a store or call. */
static void make_death(uint32_t within)
{
	if (one_in(2))
		w.kill_in = 1 + fake_random(within);
	else
		w.cut_in = 1 + fake_random(within / 2);
	w.tearing = one_in(2);
}

static void make_any(void)
{
	fake.in_pieces = one_in(4);
	fake.io_delay_ns = one_in(4) ? 0 : one_in(2) ? 3000 : 50000;
	w.front_count = 1 + fake_random(FRONTS_MAX);
	for (unsigned i = 0; i < w.front_count; i++)
		make_front(&w.fronts[i], i);
	w.posts_left = 10 + fake_random(80);
	w.actions_left = fake_random(12);
	make_evil();
	make_faults();
	w.chattiness = 2u << fake_random(6);
	w.poll_ns = one_in(12) ? 2000 : 0;
	w.counting = true;
	if (one_in(3)) {
		w.kills = 1 + fake_random(2);
		make_death(3000);
		w.power_loss = one_in(3);
	}
}

/* Devices of other kinds, with bad drivers; the second one may be a good disk or entropy. */
static void make_others(void)
{
	make_any();
	for (unsigned i = 0; i < w.front_count; i++) {
		if (w.front_count > 1 && i == 0 && one_in(2))
			continue;
		if (!w.fronts[i].evil)
			other_make(&w.fronts[i]);
	}
	w.posts_left += 200;
	w.actions_left += 10;
	if (w.faults)
		fake.fail_mask |= 1ull << FAKE_STREAM_READ | 1ull << FAKE_STREAM_WRITE |
				  1ull << FAKE_LOG_OPEN | 1ull << FAKE_LOG_ROTATE;
}

/*
 * A workload for deaths at every moment: one device, in-flight tracking, rings so small that they
 * are full and wrap around, I/O that overtakes. What comes before is tried now and then.
 */
static void make_workload(void)
{
	struct front *f = &w.fronts[0];

	fake.io_delay_ns = one_in(4) ? 0 : one_in(2) ? 3000 : 50000;
	w.front_count = 1;
	make_front(f, 0);
	f->blk = w.run->seed % 8 != 7;
	f->read_only = f->growing = false;
	if (f->client)
		fake_close(f->listener);
	f->client = false;
	if (!f->blk)
		f->image[0] = 0;
	if (f->blk && f->image[0] != 'i') {
		(void)snprintf(f->image, sizeof(f->image), "i0");
		disk_new(&f->disk, f->image, SECTORS_MAX);
	}
	f->queue_count = (uint16_t)(f->blk ? 1 + fake_random(3) : 1);
	f->queue_size_max = (uint16_t)(f->blk ? 2u << fake_random(4) : RING_MAX);
	f->must = VHOST_USER_F_PROTOCOL_FEATURES | VIRTIO_F_RING_PACKED;
	if (w.run->seed / 2 % 2 == 0)
		f->never = VIRTIO_F_RING_PACKED;
	f->protocol_must = 1ull << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD;
	w.posts_left = 5 + fake_random(20);
	w.actions_left = one_in(2) ? 0 : fake_random(3);
	w.chattiness = 2u << fake_random(4);
	w.lazy = one_in(2);
	w.counting = one_in(8);
	w.kills = (w.run->at[0] > 0) + (w.run->at[1] > 0);
	w.cut_in = w.run->at[0];
	w.tearing = w.run->torn;
	fake.fate = w.run->fate[0];
}

static void make_world(const struct run *run)
{
	fake_reset(run->seed);
	memset(&w, 0, sizeof(w));
	cut_reset();
	w.run = run;
	w.verbose = fake.verbose = run->verbose;
	fake.on_die = sim_died;
	fake.strict_io = true;
	fake.shuffle = one_in(2);
	others_forget();
	if (run->cuts)
		make_workload();
	else if (run->others)
		make_others();
	else
		make_any();
	guest_install();
}

/* ---- a run ---- */

static void feed(struct front *f, size_t len)
{
	static char bytes[1 << 16];

	if (f->blk || f->image[0] == 0)
		return;
	memset(bytes, 'r', sizeof(bytes));
	fake_stream_feed(f->image, bytes, len < sizeof(bytes) ? len : sizeof(bytes));
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

/* All that waits is done, and then all is as it must be. */
static void finish(void)
{
	w.finishing = true;
	w.posts_left = 0;
	fake.fail_mask = 0;
	for (unsigned i = 0; i < w.front_count; i++) {
		struct front *f = &w.fronts[i];

		if (f->connected && w.faults)
			(void)wire_sync(f); /* may find that it is lost */
		feed(f, 1 << 16);
		if (!f->connected)
			front_up(f);
		for (unsigned k = 0; k < f->queues_used; k++)
			front_enable(f, &f->queues[k], true);
	}
	w.faults = false;
	(void)life_run(never, NULL);
	for (unsigned i = 0; i < w.front_count; i++) {
		struct front *f = &w.fronts[i];

		if (f->blk && !f->evil)
			disk_check(&f->disk, false);
		if (!f->evil)
			memory_check(&f->memory);
		front_check_inflight(f);
	}
}

static void lose_power(void)
{
	sim_note("power is lost");
	for (unsigned i = 0; i < w.front_count; i++) {
		struct front *f = &w.fronts[i];

		if (!f->blk || f->evil)
			continue;
		fake_power_loss(f->disk.image);
		disk_check(&f->disk, true);
	}
}

static void end(void)
{
	w.kill_in = w.cut_in = 0;
	w.counting = false;
	if (one_in(4)) {
		lose_power();
		return;
	}
	if (one_in(4)) {
		life_terminate();
		return;
	}
	for (unsigned i = 0; i < w.front_count; i++) {
		if (w.fronts[i].client)
			fake_close(w.fronts[i].listener);
		front_hang_up(&w.fronts[i]);
	}
	others_go();
	(void)life_run(never, NULL);
	life_check_leaks();
}

/* The process was killed: true if the host was, too. */
static bool after_death(void)
{
	bool last;

	if (w.moving) {
		w.moving = false;
		life_end();
		return false;
	}
	last = --w.kills == 0;
	w.killed = false;
	w.has_died = true;
	w.kill_in = w.cut_in = 0;
	sim_note("killed");
	life_end();
	if (w.deaths < DEATHS_MAX)
		w.deaths++;
	w.stores = 0;
	if (w.run->cuts) {
		w.posts_left += w.finishing ? 0 : 4;
		w.counting = true;
		w.cut_in = w.deaths == 1 ? w.run->at[1] : 0;
		w.cut_stores = w.run->stores;
		w.tearing = one_in(2);
		fake.fate = w.run->fate[1];
		return false;
	}
	if (last && w.power_loss)
		lose_power();
	else if (!last)
		make_death(2000);
	return last && w.power_loss;
}

static void act(void)
{
	struct front *f = &w.fronts[fake_random(w.front_count)];

	w.actions_left--;
	life_ticks(fake_random(40));
	feed(f, fake_random(300));
	action_any(f);
}

void world_run(const struct run *run)
{
	make_world(run);
	if (setjmp(w.killed_jump) != 0 && after_death())
		return;
	life_begin();
	if (!w.finishing) {
		for (unsigned i = 0; i < w.front_count; i++)
			front_up(&w.fronts[i]);
		w.counting = true;
		if (run->cuts)
			guest_turn(fake_random(40));
		while (w.actions_left > 0)
			act();
		(void)life_run(never, NULL);
	}
	finish();
	end();
}
