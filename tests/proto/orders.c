/*
 * Messages in wrong orders: each one of the set-up left out, each pair swapped, each one alone and
 * first, and random orders. Nothing of it may do more than end the connection.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../front/example.h"
#include "../front/yard.h"

static struct yard y;
static uint64_t features, protocol; /* that a good front-end takes */

/* What a front-end sends to bring a device up. */
enum step {
	GET_FEATURES,
	GET_PROTOCOL_FEATURES,
	SET_PROTOCOL_FEATURES,
	SET_OWNER,
	SET_FEATURES,
	SET_MEM_TABLE,
	SET_VRING_NUM,
	SET_VRING_BASE,
	SET_VRING_ADDR,
	SET_VRING_CALL,
	SET_VRING_ERR,
	SET_VRING_KICK,
	SET_VRING_ENABLE,
	STEPS
};

/* The steps in this order; what is refused is no matter, nor is an end of the connection. */
static void take_step(enum step step)
{
	struct front *f = &y.rig.front;
	struct front_queue *q = &y.rig.queues[0];
	const struct driver_layout *at = &q->driver.at;
	struct front_ring_addr addr = { .desc = front_user_of(&y.rig.memory, at->desc),
		.used = front_user_of(&y.rig.memory, at->used),
		.avail = front_user_of(&y.rig.memory, at->avail) };
	uint64_t value;

	switch (step) {
	case GET_FEATURES: (void)front_get_features(f, &value); break;
	case GET_PROTOCOL_FEATURES: (void)front_get_protocol_features(f, &value); break;
	case SET_PROTOCOL_FEATURES: (void)front_set_protocol_features(f, protocol); break;
	case SET_OWNER: (void)front_set_owner(f); break;
	case SET_FEATURES: (void)front_set_features(f, features); break;
	case SET_MEM_TABLE: (void)front_share(f, &y.rig.memory); break;
	case SET_VRING_NUM: (void)front_set_vring_num(f, 0, q->driver.size); break;
	case SET_VRING_BASE: (void)front_set_vring_base(f, 0, driver_base(&q->driver, 0)); break;
	case SET_VRING_ADDR: (void)front_set_vring_addr(f, &addr); break;
	case SET_VRING_CALL: (void)front_set_vring_call(f, 0, q->call); break;
	case SET_VRING_ERR: (void)front_set_vring_err(f, 0, q->err); break;
	case SET_VRING_KICK: (void)front_set_vring_kick(f, 0, q->kick); break;
	case SET_VRING_ENABLE: (void)front_set_vring_enable(f, 0, true); break;
	case STEPS: break;
	}
}

/* A connection of which nothing is said yet; the memory and a queue with a request are ready. */
static void begin(bool acks)
{
	struct blk_request id;

	rig_connect(&y.rig);
	y.rig.front.acks = acks; /* from where they are negotiated on */
	CHECK_EQ(front_memory_add(&y.rig.memory, RIG_GUEST, RIG_USER, RIG_MEMORY, 0), 0);
	y.rig.slots = RIG_SLOTS_AT;
	id = rig_request(&y.rig, 0, BLK_GET_ID, 0, BLK_ID_BYTES);
	rig_add(&y.rig, rig_queue(&y.rig), &id, 0);
	driver_publish(&y.rig.queues[0].driver);
}

/* An answer that does not come is a hang: one of them ends the case. */
static void finish(const char *what)
{
	uint64_t value;
	int error;

	front_kick(&y.rig.queues[0]);
	error = front_ask_u64(&y.rig.front, VU_GET_FEATURES, &value);
	if (error == -ETIMEDOUT)
		harness_fail(HERE, "%s: it neither answers nor closes", what);
	rig_disconnect(&y.rig);
	UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
	UNTIL(vubox_maps(&y.rig.vubox) == y.maps);
}

static void in_this_order(const enum step *steps, unsigned count, const char *what)
{
	for (unsigned acks = 0; acks < 2; acks++) {
		begin(acks == 1);
		for (unsigned i = 0; i < count; i++)
			take_step(steps[i]);
		finish(what);
	}
}

static void prepare(void)
{
	yard_open(&y, "auto", 1);
	features = y.rig.front.features;
	protocol = y.rig.front.protocol;
	rig_disconnect(&y.rig);
}

static void each_message_left_out(const char *with)
{
	(void)with;
	prepare();
	for (unsigned out = 0; out < STEPS; out++) {
		enum step steps[STEPS];
		unsigned n = 0;

		for (unsigned i = 0; i < STEPS; i++)
			if (i != out)
				steps[n++] = (enum step)i;
		in_this_order(steps, n, "one left out");
	}
	yard_check(&y);
}

static void each_pair_swapped(const char *with)
{
	(void)with;
	prepare();
	for (unsigned a = 0; a < STEPS; a++)
		for (unsigned b = a + 1; b < STEPS; b++) {
			enum step steps[STEPS];

			for (unsigned i = 0; i < STEPS; i++)
				steps[i] = (enum step)(i == a ? b : i == b ? a : i);
			in_this_order(steps, STEPS, "a pair swapped");
		}
	yard_check(&y);
}

static void each_message_twice(const char *with)
{
	(void)with;
	prepare();
	for (unsigned twice = 0; twice < STEPS; twice++) {
		enum step steps[STEPS + 1];
		unsigned n = 0;

		for (unsigned i = 0; i < STEPS; i++) {
			steps[n++] = (enum step)i;
			if (i == twice)
				steps[n++] = (enum step)i;
		}
		in_this_order(steps, n, "one twice");
	}
	yard_check(&y);
}

static void random_orders(const char *with)
{
	(void)with;
	prepare();
	for (unsigned turn = 0; turn < 300; turn++) {
		enum step steps[STEPS * 2];

		for (unsigned i = 0; i < STEPS * 2; i++)
			steps[i] = (enum step)(harness_random() % STEPS);
		in_this_order(steps, STEPS * 2, "a random order");
	}
	yard_check(&y);
}

/* ---- any message at any time ---- */

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

static bool drain_answers(const char *what)
{
	int error = front_send(&y.rig.front, VU_GET_QUEUE_NUM, 0, NULL, 0, NULL, 0);
	struct front_message m;

	while (error == 0) {
		error = front_receive(&y.rig.front, &m);
		if (error == 0) {
			front_close_fds(&m);
			if (m.header.request == VU_GET_QUEUE_NUM)
				return true;
		}
	}
	if (error == -ETIMEDOUT || error == -EPROTO)
		harness_fail(HERE, "%s: it neither answers nor closes", what);
	return false;
}

static void each_message_first_and_alone(const char *with)
{
	(void)with;
	prepare();
	for (uint32_t id = 0; id < 65; id++)
		for (uint32_t flags = 0; flags <= VU_NEED_REPLY; flags += VU_NEED_REPLY) {
			begin(false);
			if (id != VU_GET_QUEUE_NUM) {
				send_example(id, flags);
				drain_answers(example_of(id).name);
			}
			finish(example_of(id).name);
		}
	yard_check(&y);
}

/* Two messages of any kind, one after the other, into a device that works. */
static void each_message_after_each(const char *with)
{
	(void)with;
	prepare();
	for (uint32_t a = 1; a < VU_MESSAGE_END; a++)
		for (uint32_t b = 1; b < VU_MESSAGE_END; b++) {
			if (a == VU_GET_QUEUE_NUM || b == VU_GET_QUEUE_NUM)
				continue;
			yard_connect(&y, 1);
			send_example(a, VU_NEED_REPLY);
			send_example(b, a % 2 ? 0 : VU_NEED_REPLY);
			drain_answers(example_of(b).name);
			finish(example_of(b).name);
		}
	yard_check(&y);
}

/* Many messages of any kind, under load: requests come back as long as the ring runs. */
static void any_messages_under_load(const char *with)
{
	unsigned lives = 0, messages = 0;

	yard_open(&y, with, 1);
	for (; lives < 60; lives++) {
		struct front_queue *q = &y.rig.queues[0];

		if (lives > 0)
			yard_connect(&y, 1);
		for (unsigned n = 0; n < 40; n++) {
			uint32_t id = 1 + (uint32_t)(harness_random() % (VU_MESSAGE_END - 1));
			struct blk_request w =
				rig_request(&y.rig, n, BLK_OUT, 4096 + n * 64, 32768);
			struct driver_used used;

			while (driver_poll(&q->driver, &used) > 0)
				continue;
			if (q->driver.free_count >= 3)
				rig_add(&y.rig, q, &w, n);
			front_queue_offer(q);
			if (id == VU_GET_QUEUE_NUM)
				continue;
			send_example(id, n % 2 ? VU_NEED_REPLY : 0);
			messages++;
		}
		drain_answers("under load");
		finish("under load");
	}
	harness_say("%u messages in %u connections under load", messages, lives);
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(each_message_left_out),
	CASE_OF_EACH_FORMAT(each_pair_swapped),
	CASE_OF_EACH_FORMAT(each_message_twice),
	CASE_OF_EACH_FORMAT(random_orders),
	CASE(each_message_first_and_alone),
	CASE_OF_EACH_FORMAT(each_message_after_each),
	CASE_OF_EACH(any_messages_under_load),
};
HARNESS_MAIN(cases)
