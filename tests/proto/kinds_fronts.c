/*
 * Front-ends that misbehave, with devices of every kind (tests/front/kinds.c): messages in wrong
 * orders and at any time, descriptors that are none, memory that cannot be had or goes away, and
 * in-flight areas that lie. What it means to disks in detail is in orders.c, fds.c, places.c,
 * shrink.c and lies.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../front/example.h"
#include "../front/odd.h"
#include "../front/track.h"
#include "../front/yard.h"

static struct yard y;

static struct front_queue *queue_of(unsigned queue)
{
	return &y.rig.queues[queue];
}

/* A chain in each queue, and something for those that wait for something. */
static void load(void)
{
	for (unsigned i = 0; i < y.rig.queue_count; i++) {
		bool writes = y.kind->queues[i].writes;
		struct driver_buffer b[] = { { RIG_SLOTS_AT + i * RIG_SLOT_BYTES, 64, writes },
			{ RIG_SLOTS_AT + i * RIG_SLOT_BYTES + 64, 3000, writes } };
		struct driver_chain chain = { .buffers = b, .count = 2 };
		struct driver_used used;

		while (driver_poll(&queue_of(i)->driver, &used) > 0)
			continue;
		if (queue_of(i)->driver.free_count >= 4)
			(void)driver_add(&queue_of(i)->driver, &chain);
		driver_publish(&queue_of(i)->driver);
		front_kick(queue_of(i));
	}
	/* Others may have a queue of their own that this goes through, and that may not work. */
	for (unsigned i = 0; i < y.rig.queue_count; i++)
		if (y.kind->queues[i].poke && !y.kind->queues[i].asks)
			y.kind->queues[i].poke(&y.rig);
}

/* The connection answers, or is closed; then all of it is given back. */
static void end_of_connection(const char *what)
{
	int error = front_settle(&y.rig.front);

	if (error == -ETIMEDOUT)
		harness_fail(HERE, "%s: it neither answers nor closes", what);
	rig_disconnect(&y.rig);
	UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
	UNTIL(vubox_maps(&y.rig.vubox) <= y.maps);
}

/* ---- orders ---- */

static uint64_t features, protocol; /* that a good front-end takes */

/* What a front-end sends to bring a device up; from SET_VRING_NUM on, for each queue. */
enum step {
	SET_PROTOCOL_FEATURES,
	SET_OWNER,
	SET_FEATURES,
	SET_MEM_TABLE,
	SET_VRING_NUM,
	SET_VRING_BASE,
	SET_VRING_ADDR,
	SET_VRING_CALL,
	SET_VRING_KICK,
	SET_VRING_ENABLE,
	STEPS
};

static void step_of_queue(enum step step, unsigned i)
{
	struct front *f = &y.rig.front;
	struct front_queue *q = queue_of(i);
	const struct driver_layout *at = &q->driver.at;
	struct front_ring_addr addr = { .index = i,
		.desc = front_user_of(&y.rig.memory, at->desc),
		.used = front_user_of(&y.rig.memory, at->used),
		.avail = front_user_of(&y.rig.memory, at->avail) };

	switch (step) {
	case SET_VRING_NUM: (void)front_set_vring_num(f, i, q->driver.size); break;
	case SET_VRING_BASE: (void)front_set_vring_base(f, i, driver_base(&q->driver, 0)); break;
	case SET_VRING_ADDR: (void)front_set_vring_addr(f, &addr); break;
	case SET_VRING_CALL: (void)front_set_vring_call(f, i, q->call); break;
	case SET_VRING_KICK: (void)front_set_vring_kick(f, i, q->kick); break;
	default: (void)front_set_vring_enable(f, i, true); break;
	}
}

/* What is refused is no matter, nor is an end of the connection. */
static void take_step(enum step step)
{
	struct front *f = &y.rig.front;

	switch (step) {
	case SET_PROTOCOL_FEATURES: (void)front_set_protocol_features(f, protocol); break;
	case SET_OWNER: (void)front_set_owner(f); break;
	case SET_FEATURES: (void)front_set_features(f, features); break;
	case SET_MEM_TABLE: (void)front_share(f, &y.rig.memory); break;
	default:
		for (unsigned i = 0; i < y.rig.queue_count; i++)
			step_of_queue(step, i);
		break;
	}
}

static void in_this_order(const enum step *steps, unsigned count, bool acks)
{
	rig_connect(&y.rig);
	y.rig.front.acks = acks;
	CHECK_EQ(front_memory_add(&y.rig.memory, RIG_GUEST, RIG_USER, RIG_MEMORY, 0), 0);
	while (y.rig.queue_count < y.kind->queue_count)
		(void)rig_queue(&y.rig);
	for (unsigned i = 0; i < count; i++) {
		take_step(steps[i]);
		if (i % 4 == 3)
			load();
	}
	load();
	end_of_connection("an order");
}

static void wrong_orders(const char *with)
{
	enum step steps[STEPS * 2];

	yard_open(&y, with, 0);
	features = y.rig.front.features;
	protocol = y.rig.front.protocol;
	rig_disconnect(&y.rig);
	for (unsigned out = 0; out < STEPS; out++) {
		for (unsigned i = 0, n = 0; i < STEPS; i++)
			if (i != out)
				steps[n++] = (enum step)i;
		in_this_order(steps, STEPS - 1, out % 2);
		for (unsigned b = out + 1; b < STEPS; b++) {
			for (unsigned i = 0; i < STEPS; i++)
				steps[i] = (enum step)(i == out ? b : i == b ? out : i);
			in_this_order(steps, STEPS, b % 2);
		}
	}
	for (unsigned turn = 0; turn < 30; turn++) {
		for (unsigned i = 0; i < STEPS * 2; i++)
			steps[i] = (enum step)(harness_random() % STEPS);
		in_this_order(steps, STEPS * 2, turn % 2);
	}
	yard_check(&y);
}

/* Sends the good message of an id, without a look at its answer. */
static void send_example(uint32_t id, uint32_t flags)
{
	struct example e = example_of(id);
	unsigned char payload[FRONT_PAYLOAD_MAX];
	int fds[2];

	example_fill(&y.rig, id, payload);
	example_open_fds(id, fds, e.wants);
	(void)front_send(&y.rig.front, id, flags, payload, e.size, fds, e.wants);
	for (unsigned i = 0; i < e.wants; i++)
		close(fds[i]);
}

static void drain_answers(void)
{
	int error = front_send(&y.rig.front, VU_GET_QUEUE_NUM, 0, NULL, 0, NULL, 0);
	struct front_message m = { .header = { .request = 0 } };

	while (error == 0 && m.header.request != VU_GET_QUEUE_NUM) {
		error = front_receive(&y.rig.front, &m);
		if (error == 0)
			front_close_fds(&m);
	}
	if (error == -ETIMEDOUT || error == -EPROTO)
		harness_fail(HERE, "it neither answers nor closes");
}

/* Each message with bytes too few and too many, and descriptors too. */
static void spoiled_messages(const char *with)
{
	yard_open(&y, with, 0);
	rig_disconnect(&y.rig);
	for (uint32_t id = 1; id < VU_MESSAGE_END; id++)
		for (unsigned how = 0; how < 4; how++) {
			struct example e = example_of(id);
			unsigned char payload[FRONT_PAYLOAD_MAX] = { 0 };
			unsigned count = how == 3 ? 9 : e.wants;
			uint32_t size = how == 0   ? 0
					: how == 1 ? e.size - (e.size > 0)
						   : e.size + (how == 2);
			int fds[9];

			yard_connect(&y, 0);
			load();
			example_fill(&y.rig, id, payload);
			example_open_fds(id, fds, 1);
			for (unsigned i = 1; i < 9; i++)
				fds[i] = fds[0];
			(void)front_send(&y.rig.front, id, how % 2 ? VU_NEED_REPLY : 0, payload,
				size, fds, count);
			close(fds[0]);
			if (id != VU_GET_QUEUE_NUM)
				drain_answers();
			rig_disconnect(&y.rig);
			UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
		}
	yard_check(&y);
}

static void any_messages_under_load(const char *with)
{
	yard_open(&y, with, 0);
	for (unsigned lives = 0; lives < 16; lives++) {
		if (lives > 0)
			yard_connect(&y, 0);
		for (unsigned n = 0; n < 30; n++) {
			uint32_t id = 1 + (uint32_t)(harness_random() % (VU_MESSAGE_END - 1));

			load();
			if (id != VU_GET_QUEUE_NUM)
				send_example(id, n % 2 ? VU_NEED_REPLY : 0);
		}
		drain_answers();
		end_of_connection("under load");
	}
	yard_check(&y);
}

/* ---- descriptors ---- */

/* Works on with this as call and error of all queues; that it is refused is fine, too. */
static void calls_through(int fd)
{
	CHECK(fd >= 0);
	yard_connect(&y, 0);
	for (unsigned i = 0; i < y.kind->queue_count; i++) {
		(void)front_set_vring_call(&y.rig.front, i, fd);
		(void)front_set_vring_err(&y.rig.front, i, fd);
	}
	yard_reads(&y);
	for (unsigned i = 0; i < y.kind->queue_count; i++) {
		struct driver_desc d[] = { desc(RIG_SLOTS_AT, 16,
						   DRIVER_DESC_WRITE | DRIVER_DESC_NEXT, 1),
			desc(RIG_SLOTS_AT, 16, 0, 0) };

		driver_offer_raw(&queue_of(i)->driver, d, 2); /* it breaks, and says so */
		front_kick(queue_of(i));
		CHECK_EQ(front_settle(&y.rig.front), 0);
	}
	yard_glance(&y);
}

static int nobody_at_the_other_end(void)
{
	int pipes[2];

	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	close(pipes[0]);
	return pipes[1];
}

static void odd_calls(const char *with)
{
	int full[3] = { odd_pipe_end(true), eventfd(0, EFD_CLOEXEC), odd_socket_end() };

	y.kind = kind_find(with);
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < ODD_FDS; i++)
		calls_through(odd_fd(i));
	calls_through(nobody_at_the_other_end());
	for (unsigned i = 0; i < 6; i++) {
		odd_fill_up(full[i / 2], i % 2 == 0);
		calls_through(full[i / 2]);
	}
	yard_check(&y);
}

/* All queues have this as their kick, if it is taken; a good one instead makes all well. */
static void kicked_through(int fd, bool idle)
{
	CHECK(fd >= 0);
	yard_connect(&y, 0);
	for (unsigned i = 0; i < y.kind->queue_count; i++)
		(void)front_set_vring_kick(&y.rig.front, i, fd);
	CHECK_EQ(front_settle(&y.rig.front), 0);
	if (idle)
		yard_is_idle(&y);
	for (unsigned i = 0; i < y.kind->queue_count; i++)
		CHECK_EQ(front_set_vring_kick(&y.rig.front, i, queue_of(i)->kick), 0);
	yard_reads(&y);
	yard_glance(&y);
}

static void odd_kicks(const char *with)
{
	int readable = eventfd(0, EFD_NONBLOCK), pipes[2];

	y.kind = kind_find(with);
	yard_serve(&y, NULL);
	for (unsigned i = 0; i < ODD_FDS; i++)
		kicked_through(odd_fd(i), i % 4 == 3);
	CHECK_EQ(eventfd_write(readable, 1ull << 63), 0);
	kicked_through(readable, true);
	CHECK_EQ(pipe(pipes), 0);
	odd_fill_up(pipes[1], false);
	kicked_through(pipes[0], true);
	close(pipes[1]);
	kicked_through(pipes[0], true);
	yard_check(&y);
}

/* ---- memory ---- */

/* Rings in a region that is truncated, all of it or from some byte on, while they work. */
static void truncated_under_load(const char *with)
{
	static const uint64_t sizes[] = { 0, 4096, RIG_SLOTS_AT - RIG_GUEST, RIG_MEMORY / 2,
		RIG_MEMORY - 4096 };

	yard_open(&y, with, 0);
	for (unsigned round = 0; round < 15; round++) {
		int fd = y.rig.memory.regions[0].fd;

		load();
		usleep((useconds_t)(harness_random() % 300));
		CHECK_EQ(ftruncate(fd, (off_t)sizes[round % 5]), 0);
		for (unsigned i = 0; i < y.kind->queue_count; i++)
			front_kick(queue_of(i));
		if (round % 3 == 2)
			CHECK_EQ(ftruncate(fd, RIG_MEMORY), 0);
		(void)front_settle(&y.rig.front);
		/* Without its rings it cannot go on, once it has looked. */
		if (round == 0)
			UNTIL(front_settle(&y.rig.front) != 0);
		yard_bystander(&y);
		yard_glance(&y);
		yard_connect(&y, 0);
	}
	yard_check(&y);
}

/* What is to be written to can only be read, and so it is not taken; the device works on. */
static void memory_that_can_only_be_read(const char *with)
{
	struct front_place more = { 1ull << 40, 1 << 20, 1ull << 41, 0 };
	int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int file = open(harness_file("read", 1 << 20), O_RDONLY | O_CLOEXEC);

	CHECK_EQ(ftruncate(sealed, 1 << 20), 0);
	CHECK_EQ(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	yard_open(&y, with, 0);
	CHECK_EQ(front_add_mem_reg(&y.rig.front, &more, file), FRONT_REFUSED);
	CHECK_EQ(front_add_mem_reg(&y.rig.front, &more, sealed), FRONT_REFUSED);
	yard_reads(&y);
	more.size = 2 << 20; /* more than the file has */
	CHECK_EQ(front_add_mem_reg(&y.rig.front, &more, sealed), FRONT_REFUSED);
	load();
	CHECK_EQ(front_set_mem_table(&y.rig.front, &more, &file, 1), FRONT_REFUSED);
	yard_check(&y);
}

/* ---- in-flight areas ---- */

/* Any bytes, in all of it, in one word, or none; and it is truncated, or not its size. */
static void in_flight_areas_that_lie(const char *with)
{
	struct track t;

	y.kind = kind_find(with);
	yard_serve(&y, NULL);
	for (unsigned round = 0; round < 60; round++) {
		rig_negotiate(&y.rig, ~0ull, ~0ull);
		track_get(&t, &y.rig.front, (uint16_t)y.kind->queue_count, RIG_RING_SIZE);
		if (round % 3 == 0)
			harness_fill(t.map, t.want.size);
		for (unsigned i = 0; i < round; i++)
			t.map[harness_random() % t.want.size] = (unsigned char)harness_random();
		CHECK_EQ(front_set_inflight_fd(&y.rig.front, &t.want, t.fd), 0);
		rig_share(&y.rig);
		while (y.rig.queue_count < y.kind->queue_count) {
			struct front_queue *q = rig_queue(&y.rig);

			if (front_queue_start(&y.rig.front, q, driver_base(&q->driver, 0)) != 0)
				CHECK_EQ(front_settle(&y.rig.front), 0);
		}
		load();
		for (unsigned i = 0; i < 8; i++)
			t.map[harness_random() % t.want.size] = (unsigned char)harness_random();
		load();
		track_put(&t);
		end_of_connection("an area that lies");
	}
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE(wrong_orders),
	CASE(spoiled_messages),
	CASE(any_messages_under_load),
	CASE(odd_calls),
	CASE(odd_kicks),
	CASE_OF_EACH_FORMAT(truncated_under_load),
	CASE(memory_that_can_only_be_read),
	CASE_OF_EACH_FORMAT(in_flight_areas_that_lie),
};
KIND_MAIN(cases)
