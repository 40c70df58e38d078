/* src/core/queue.c: turns, starving, breaking, starting and stopping. */
#include "queue.h"

#include <errno.h>

#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

static struct front front;

static void start(unsigned rings, uint64_t features)
{
	rig_stub(rings, false);
	front_start(&front, "/s", rings, features);
}

/* A request of 4 bytes to ring i: its answer goes behind it. */
static void add(unsigned i, uint32_t at, const char *text)
{
	struct buffer two[2] = { { front_addr(at), 4, false }, { front_addr(at + 4), 4, true } };

	memcpy(front_data(&front, at), text, 4);
	driver_add(&front.rings[i], two, 2);
}

static void expect_used(unsigned i, uint32_t head, uint32_t len)
{
	uint32_t got_head, got_len;

	CHECK(driver_used(&front.rings[i], &got_head, &got_len));
	CHECK_EQ(got_head, head);
	CHECK_EQ(got_len, len);
}

static uint32_t base_of(unsigned i)
{
	struct vhost_user_vring_state state = { i, 0 };

	CHECK_EQ(front_call(&front, VHOST_USER_GET_VRING_BASE, &state, sizeof(state), sizeof(state),
			 -1, NULL),
		sizeof(state));
	CHECK_EQ(state.index, i);
	return state.num;
}

CASE(a_kick_brings_an_answer)
{
	start(1, 0);
	add(0, 0, "ping");
	front_kick(&front, 0);
	CHECK_EQ(stub.taken, 1);
	expect_used(0, 0, 4);
	CHECK_BYTES(front_data(&front, 4), "ping", 4);
	CHECK_EQ(fake_notify_take(front.call[0]), 1);
}

CASE(a_tick_calls_once_for_all_it_did)
{
	start(1, 0);
	for (unsigned i = 0; i < 8; i++)
		add(0, 8 * i, "ping");
	front_kick(&front, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 8);
	CHECK_EQ(fake_notify_take(front.call[0]), 1);
}

CASE(a_driver_that_wants_no_call_gets_none)
{
	start(1, 0);
	driver_no_interrupt(&front.rings[0], true);
	add(0, 0, "ping");
	front_kick(&front, 0);
	expect_used(0, 0, 4);
	CHECK_EQ(fake_notify_take(front.call[0]), 0);
}

static unsigned turns[64], turn_count;

static void note_turn(struct request *req)
{
	turns[turn_count++] = req->queue->index;
	request_done(req, 0);
}

CASE(queues_take_turns)
{
	unsigned changes = 0;

	start(2, 0);
	stub.on_request = note_turn;
	front_ring(&front, 0, 64);
	front_ring(&front, 1, 64);
	for (unsigned q = 0; q < 2; q++) {
		for (unsigned i = 0; i < 2 * CONFIG_BUDGET; i++)
			driver_add(&front.rings[q], &(struct buffer){ front_addr(0), 4, true }, 1);
		fake_notify_signal(front.kick[q]);
	}
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(turn_count, 4 * CONFIG_BUDGET);
	for (unsigned i = 1; i < turn_count; i++)
		changes += turns[i] != turns[i - 1];
	CHECK_EQ(changes, 3);
}

/* A driver of ring 0 that always has more, while the one of ring 1 has had its request. */
static void add_more(struct request *req)
{
	static unsigned added;

	if (req->queue->index == 0 && ++added < 100 * CONFIG_BUDGET)
		driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	/* It has rested for some ticks: the last of the flood must not find it looked at still. */
	if (added == 80 * CONFIG_BUDGET)
		CHECK_EQ(driver_avail_event(&front.rings[1]), 1);
	request_done(req, 0);
}

CASE(an_idle_queue_beside_a_busy_one_is_left_alone)
{
	start(2, VIRTIO_F_EVENT_IDX);
	stub.on_request = add_more;
	front_ring(&front, 0, 256);
	front_ring(&front, 1, 64);
	for (unsigned i = 0; i < 2 * CONFIG_BUDGET; i++)
		driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	add(1, 0, "once");
	fake_notify_signal(front.kick[0]);
	fake_notify_signal(front.kick[1]);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(driver_used_count(&front.rings[1]), 1);
	add(1, 8, "more");
	front_kick(&front, 1);
	CHECK_EQ(driver_used_count(&front.rings[1]), 2);
}

/*
 * A flood of ring 0, in buffers of so many bytes, that ends when ring 1 has had its request, which
 * is kicked in its middle. How many of the flood go before that?
 */
static uint32_t flood_bytes;
static unsigned flood, before;

static void add_flood(void)
{
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), flood_bytes, true }, 1);
}

static void take_flood(struct request *req)
{
	if (req->queue->index == 1) {
		before = flood - 1000;
	} else if (++flood < 2000 && before == 0) {
		add_flood();
		if (flood == 1000) {
			add(1, 0, "once");
			fake_notify_signal(front.kick[1]);
		}
	}
	request_done(req, 0);
}

static unsigned flood_before_a_polite_one(uint32_t bytes)
{
	start(2, VIRTIO_F_EVENT_IDX);
	flood_bytes = bytes;
	flood = before = 0;
	stub.on_request = take_flood;
	front_ring(&front, 0, 256);
	for (unsigned i = 0; i < 100; i++)
		add_flood();
	fake_notify_signal(front.kick[0]);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(before > 0 && flood < 2000);
	return before;
}

CASE(a_flood_does_not_hold_up_a_polite_queue)
{
	/* Events are asked for every 8 turns, and one more may go first. */
	CHECK(flood_before_a_polite_one(4096) <= 10 * CONFIG_BUDGET);
}

CASE(a_flood_of_large_requests_holds_it_up_for_no_more_bytes)
{
	CHECK(flood_before_a_polite_one(128 << 10) <= 3 * CONFIG_BUDGET_BYTES / (128 << 10));
}

CASE(a_disabled_ring_takes_nothing)
{
	start(1, 0);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	add(0, 0, "ping");
	front_kick(&front, 0);
	CHECK_EQ(stub.taken, 0);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	expect_used(0, 0, 4);
}

CASE(it_starts_with_what_is_there_already)
{
	start(1, 0);
	(void)base_of(0);
	add(0, 0, "ping");
	CHECK_EQ(stub.taken, 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 0);
	expect_used(0, 0, 4);
}

CASE(a_ring_without_a_kick_is_polled)
{
	start(1, 0);
	CHECK(!queues_polled());
	fake.end_ns = fake.now_ns + 10000000;
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0 | VHOST_USER_VRING_NO_FD, -1),
		0);
	CHECK(queues_polled());
	for (unsigned i = 0; i < 3; i++) {
		add(0, 8 * i, "ping");
		fake.end_ns = fake.now_ns + 10000000;
		CHECK_EQ(rig_run(), FAKE_TIME);
		expect_used(0, 2 * i, 4);
	}
	fake.end_ns = 0;
	(void)base_of(0);
	CHECK(!queues_polled());
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

CASE(stopping_waits_for_requests_and_tells_the_base)
{
	struct vhost_user_vring_state state = { 0, 0 };
	uint32_t request;

	start(1, 0);
	stub.hold = true;
	add(0, 0, "ping");
	add(0, 8, "pong");
	front_kick(&front, 0);
	CHECK_EQ(stub.held_count, 2);
	front_send(&front, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	add(0, 16, "late"); /* not taken any more */
	front_kick(&front, 0);
	CHECK_EQ(front_reply(&front, &request, &state, sizeof(state), NULL), FRONT_SILENT);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(front_reply(&front, &request, &state, sizeof(state), NULL), FRONT_SILENT);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(front_reply(&front, &request, &state, sizeof(state), NULL), sizeof(state));
	CHECK_EQ(state.num, 2);
	CHECK_EQ(driver_used_count(&front.rings[0]), 2);
	CHECK_EQ(stub.taken, 2);
}

CASE(it_goes_on_at_its_base)
{
	start(1, 0);
	for (unsigned i = 0; i < 3; i++)
		add(0, 8 * i, "ping");
	front_kick(&front, 0);
	CHECK_EQ(base_of(0), 3);
	CHECK_EQ(base_of(0), 3);
	add(0, 24, "pong");
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 0);
	CHECK_EQ(stub.taken, 4);
	(void)base_of(0);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_BASE, 0, 2), 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 0);
	CHECK_EQ(stub.taken, 6);
}

CASE(a_new_kick_of_a_started_ring_changes_only_the_kick)
{
	int other;

	start(1, 0);
	other = fake_notify_new(PORT_NOTIFY_PIPE);
	add(0, 0, "ping");
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, other), 0);
	expect_used(0, 0, 4);
	add(0, 8, "pong");
	front_kick(&front, 0); /* the old one is nobody's */
	CHECK_EQ(stub.taken, 1);
	fake_notify_signal(other);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect_used(0, 2, 4);
	CHECK_EQ(fake_notify_take(other), 0);
}

CASE(a_ring_that_is_not_set_up_does_not_start)
{
	rig_stub(1, false);
	front_connect(&front, "/s");
	front_negotiate(&front, 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 1);
	CHECK(fake_log_has("its size or its addresses were not set"));
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 0, 16), 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 1);
	CHECK_EQ(rig_device(0)->queues[0].started, false);
}

/* ---- breaking ---- */

CASE(a_broken_queue_says_so_and_stops)
{
	start(2, 0);
	driver_desc(&front.rings[0], 0, front_addr(0), 4, 1, 0); /* a loop */
	driver_avail(&front.rings[0], 0);
	fake_log_clear();
	front_kick(&front, 0);
	CHECK_TEXT(fake.log, "vubox: stub: queue 0 is broken: the driver gave a loop of "
			     "descriptors; it stops until reset\n");
	CHECK_EQ(fake_notify_take(front.err[0]), 1);
	add(0, 0, "ping");
	front_kick(&front, 0);
	CHECK_EQ(stub.taken, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 0);
	CHECK_EQ(fake_notify_take(front.err[0]), 0);
}

CASE(a_broken_chain_costs_no_request)
{
	struct request *before;

	start(1, 0);
	before = request_get(0);
	request_put(before, 0);
	driver_avail(&front.rings[0], 99);
	front_kick(&front, 0);
	CHECK(rig_device(0)->queues[0].broken);
	CHECK(request_get(0) == before);
}

CASE(a_broken_queue_harms_no_other)
{
	start(2, 0);
	driver_avail(&front.rings[0], 99);
	add(1, 0, "ping");
	fake_notify_signal(front.kick[0]);
	front_kick(&front, 1);
	CHECK(rig_device(0)->queues[0].broken);
	expect_used(1, 0, 4);
}

CASE(a_broken_queue_asks_for_a_reset)
{
	start(1, 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 15, -1), 0);
	driver_avail(&front.rings[0], 99);
	front_kick(&front, 0);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 15 | 64);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 15, -1), 0);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 15 | 64);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 0, -1), 0);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 0);
	front_ring(&front, 0, 16);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	add(0, 0, "ping");
	front_kick(&front, 0);
	expect_used(0, 0, 4);
}

CASE(what_a_broken_queue_had_in_flight_is_dropped)
{
	static const char untouched[8] = { 0 };

	start(1, 0);
	stub.hold = true;
	add(0, 0, "ping");
	front_kick(&front, 0);
	driver_avail(&front.rings[0], 99);
	front_kick(&front, 0);
	CHECK(rig_device(0)->queues[0].broken);
	stub_finish();
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(device_in_flight(rig_device(0)), 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 0);
	CHECK_BYTES(front.mem + front.rings[0].used + 4, untouched, 8);
	CHECK_EQ(fake_notify_take(front.call[0]), 0);
}

static void break_request(struct request *req)
{
	request_break(req, "nonsense");
}

CASE(a_device_can_break_its_queue)
{
	start(1, 0);
	stub.on_request = break_request;
	add(0, 0, "ping");
	add(0, 8, "pong");
	front_kick(&front, 0);
	CHECK(fake_log_has("queue 0 is broken: the driver gave nonsense"));
	CHECK_EQ(stub.taken, 1);
	CHECK_EQ(device_in_flight(rig_device(0)), 0);
}

CASE(a_queue_breaks_only_once)
{
	start(1, 0);
	stub.hold = true;
	add(0, 0, "ping");
	add(0, 8, "pong");
	front_kick(&front, 0);
	CHECK_EQ(stub.held_count, 2);
	fake_log_clear();
	request_break(stub.held[0], "nonsense");
	request_break(stub.held[1], "more of it");
	CHECK_EQ(fake.log_lines, 1);
	CHECK_EQ(fake_notify_take(front.err[0]), 1);
	CHECK_EQ(device_in_flight(rig_device(0)), 0);
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

CASE(a_broken_queue_starts_again_when_it_is_stopped_and_started)
{
	start(1, 0);
	driver_avail(&front.rings[0], 99);
	front_kick(&front, 0);
	(void)base_of(0);
	front_ring(&front, 0, 16);
	add(0, 0, "ping");
	front_kick(&front, 0);
	expect_used(0, 0, 4);
}

CASE(a_ring_whose_memory_goes_waits_until_it_comes_back)
{
	struct vhost_user_mem_reg reg = { 0, { FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0 } };

	start(1, 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_REM_MEM_REG, &reg, sizeof(reg), -1), 0);
	CHECK(fake_log_has("queue 0 waits: its ring is not in shared memory any more"));
	add(0, 0, "ping");
	front_kick(&front, 0);
	CHECK_EQ(stub.taken, 0);
	CHECK_EQ(fake_open_maps(), 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_ADD_MEM_REG, &reg, sizeof(reg), front.mem_fd), 0);
	expect_used(0, 0, 4);
}

CASE(a_ring_whose_memory_goes_is_found_again_elsewhere)
{
	struct vhost_user_mem_reg reg = { 0, { FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0 } };
	struct vhost_user_vring_addr addr = { .index = 0 };
	uint64_t moved = FRONT_UVA + (1ull << 30);
	const struct driver *d = &front.rings[0];

	start(1, 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_REM_MEM_REG, &reg, sizeof(reg), -1), 0);
	add(0, 0, "ping");
	front_kick(&front, 0);
	reg.region.user_addr = moved;
	CHECK_EQ(front_ack(&front, VHOST_USER_ADD_MEM_REG, &reg, sizeof(reg), front.mem_fd), 0);
	CHECK_EQ(stub.taken, 0);
	addr.desc = moved + d->desc;
	addr.avail = moved + d->avail;
	addr.used = moved + d->used;
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1), 0);
	expect_used(0, 0, 4);
}

CASE(a_ring_whose_memory_moves_goes_on)
{
	struct vhost_user_mem_table table = { 1, 0, { { FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0 } } };
	int fd;

	start(1, 0);
	fd = fake_memory_new(FRONT_BYTES);
	add(0, 0, "ping");
	memcpy(fake_memory(fd), front.mem, FRONT_BYTES);
	front.rings[0].mem = front.mem = fake_memory(fd);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_MEM_TABLE, &table, 8 + 32, fd), 0);
	front_kick(&front, 0);
	expect_used(0, 0, 4);
	CHECK_BYTES(front_data(&front, 4), "ping", 4);
}
