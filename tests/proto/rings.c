/* Ring states, notifications, reset and status ("Ring states", "Suspended device state"). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../front/rig.h"

static struct rig r;

/* A rig with shared memory and a queue that the back-end does not know yet. */
static struct front_queue *prepare(uint64_t features, uint64_t protocol)
{
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, features, protocol);
	rig_share(&r);
	return rig_queue(&r);
}

static void add_get_id(struct front_queue *q, unsigned slot)
{
	struct blk_request id = rig_request(&r, slot, BLK_GET_ID, 0, BLK_ID_BYTES);

	rig_add(&r, q, &id, slot);
}

/* Nothing comes back from this queue, however often it is kicked. */
static void is_left_alone(struct front_queue *q)
{
	struct driver_used used;

	for (unsigned i = 0; i < 3; i++) {
		front_kick(q);
		CHECK_EQ(front_settle(&r.front), 0);
	}
	CHECK_EQ(driver_poll(&q->driver, &used), 0);
}

/* ---- started and stopped ---- */

static void it_starts_at_set_vring_kick_without_a_kick(const char *with)
{
	struct front_queue *q = prepare(~0ull, ~0ull);

	(void)with;
	for (unsigned slot = 0; slot < 5; slot++)
		add_get_id(q, slot);
	driver_publish(&q->driver);
	rig_start(&r, q);
	for (unsigned i = 0; i < 5; i++)
		rig_take(&r, q, NULL);
	CHECK_EQ(front_signals(q->kick), 0);
}

static void it_is_not_started_before(const char *with)
{
	struct front_queue *q = prepare(~0ull, ~0ull);

	(void)with;
	add_get_id(q, 0);
	driver_publish(&q->driver);
	CHECK_EQ(front_queue_set(&r.front, q, driver_base(&q->driver, 0)), 0);
	CHECK_EQ(front_set_vring_enable(&r.front, 0, true), 0);
	is_left_alone(q);
	CHECK_EQ(front_set_vring_kick(&r.front, 0, q->kick), 0);
	rig_take(&r, q, NULL);
}

static void a_stopped_ring_is_left_alone(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint32_t base;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	for (unsigned life = 0; life < 20; life++) {
		add_get_id(q, 0);
		front_queue_offer(q);
		rig_take(&r, q, NULL);
		CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
		CHECK_EQ(base, driver_base(&q->driver, 0));
		add_get_id(q, 1);
		driver_publish(&q->driver);
		is_left_alone(q);
		CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0); /* again: no harm */
		CHECK_EQ(front_queue_start(&r.front, q, base), 0);
		CHECK_EQ(rig_take(&r, q, NULL), 1);
	}
}

/* A base that the front-end chose: what lies before it is not done. */
static void set_vring_base_is_where_it_goes_on(const char *with)
{
	struct front_queue *q = prepare(~0ull, ~0ull);
	struct driver_used used;
	uint32_t base;

	(void)with;
	for (unsigned slot = 0; slot < 4; slot++)
		add_get_id(q, slot);
	driver_publish(&q->driver);
	CHECK_EQ(front_queue_start(&r.front, q, driver_base(&q->driver, 3)), 0);
	CHECK_EQ(rig_take(&r, q, NULL), 3);
	CHECK_EQ(front_settle(&r.front), 0);
	CHECK_EQ(driver_poll(&q->driver, &used), 0);
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	CHECK_EQ(base, driver_base(&q->driver, 3));
}

/* "the back-end must complete all inflight I/O requests for the specified vring before" */
static void get_vring_base_completes_what_is_in_flight(const char *with)
{
	struct front_queue *q = &r.queues[0];
	static unsigned char fill[4096];
	uint32_t base;

	rig_open(&r, RIG_DISK_BYTES, with);
	for (unsigned round = 0; round < 100; round++) {
		struct driver_used used;
		unsigned done = 0;

		for (unsigned slot = 0; slot < 32; slot++) {
			struct blk_request w = rig_request(&r, slot, BLK_OUT, slot * 64, 16384);

			CHECK(driver_write(&r.memory.driver, w.data, fill, sizeof(fill)));
			rig_add(&r, q, &w, slot);
		}
		front_queue_offer(q);
		CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
		while (driver_poll(&q->driver, &used) > 0)
			done++;
		CHECK_EQ(base, driver_base(&q->driver, 0)); /* whatever it had taken is back */
		CHECK_EQ(front_queue_start(&r.front, q, base), 0);
		for (; done < 32; done++)
			rig_take(&r, q, NULL);
	}
}

/* ---- enabled and disabled ---- */

static void a_disabled_ring_has_no_effect(const char *with)
{
	struct front_queue *q = prepare(~0ull, ~0ull);

	(void)with;
	add_get_id(q, 0);
	driver_publish(&q->driver);
	CHECK_EQ(front_queue_set(&r.front, q, driver_base(&q->driver, 0)), 0);
	CHECK_EQ(front_set_vring_kick(&r.front, 0, q->kick), 0);
	is_left_alone(q);
	CHECK_EQ(front_set_vring_enable(&r.front, 0, true), 0);
	rig_take(&r, q, NULL);
	CHECK_EQ(front_set_vring_enable(&r.front, 0, false), 0);
	add_get_id(q, 0);
	driver_publish(&q->driver);
	is_left_alone(q);
	CHECK_EQ(front_set_vring_enable(&r.front, 0, true), 0);
	rig_take(&r, q, NULL);
}

/* "The enabled/disabled state should still be tracked": over a stop. */
static void enabling_outlives_a_stop(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint32_t base;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	CHECK_EQ(front_queue_set(&r.front, q, base), 0);
	CHECK_EQ(front_set_vring_kick(&r.front, 0, q->kick), 0);
	rig_works(&r);
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	CHECK_EQ(front_set_vring_enable(&r.front, 0, false), 0);
	CHECK_EQ(front_queue_set(&r.front, q, base), 0);
	CHECK_EQ(front_set_vring_kick(&r.front, 0, q->kick), 0);
	add_get_id(q, 0);
	driver_publish(&q->driver);
	is_left_alone(q);
}

static void features_without_bit_30_enable_all(const char *with)
{
	struct front_queue *q = prepare(~VU_F(PROTOCOL_FEATURES), ~0ull);

	(void)with;
	CHECK_EQ(front_queue_set(&r.front, q, driver_base(&q->driver, 0)), 0);
	CHECK_EQ(front_set_vring_kick(&r.front, 0, q->kick), 0);
	rig_works(&r);
	/* At once, also while a ring runs. */
	CHECK_EQ(front_set_vring_enable(&r.front, 0, false), 0);
	add_get_id(q, 0);
	driver_publish(&q->driver);
	is_left_alone(q);
	CHECK_EQ(front_set_features(&r.front, r.front.features), 0);
	rig_take(&r, q, NULL);
}

/* "use it to disable all rings" or ignore it: state is kept in any case. */
static void reset_owner_discards_nothing(const char *with)
{
	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	rig_works(&r);
	CHECK_EQ(front_reset_owner(&r.front), 0);
	CHECK_EQ(front_set_vring_enable(&r.front, 0, true), 0);
	rig_works(&r);
}

/* ---- notifications ---- */

static void without_a_kick_descriptor_it_polls(const char *with)
{
	struct front_queue *q = prepare(~0ull, ~0ull);
	uint64_t ns;

	(void)with;
	CHECK_EQ(front_queue_set(&r.front, q, driver_base(&q->driver, 0)), 0);
	CHECK_EQ(front_set_vring_kick(&r.front, 0, -1), 0);
	CHECK_EQ(front_set_vring_enable(&r.front, 0, true), 0);
	for (unsigned i = 0; i < 100; i++) {
		add_get_id(q, 0);
		driver_publish(&q->driver); /* and nobody kicks */
		rig_take(&r, q, NULL);
	}
	/* It looks now and then, not all the time: most of the processor is others'. */
	ns = vubox_cpu_ns(&r.vubox);
	usleep(200000);
	CHECK(vubox_cpu_ns(&r.vubox) - ns < 100000000);
	/* And back to kicks, with the ring running. */
	CHECK_EQ(front_set_vring_kick(&r.front, 0, q->kick), 0);
	for (unsigned i = 0; i < 100; i++)
		rig_works(&r);
}

static void a_call_descriptor_is_signalled_when_it_is_set(const char *with)
{
	struct front_queue *q = prepare(~0ull, ~0ull);
	int other = eventfd(0, EFD_NONBLOCK);

	(void)with;
	CHECK_EQ(front_set_vring_call(&r.front, 0, q->call), 0);
	CHECK_EQ(front_wait_signal(q->call, harness_wait_ms()), 0);
	CHECK_EQ(front_signals(q->call), 1);
	rig_start(&r, q);
	CHECK_EQ(front_signals(q->call), 1);
	/* Another one, while the ring runs: from now on that one is called. */
	CHECK_EQ(front_set_vring_call(&r.front, 0, other), 0);
	CHECK_EQ(front_wait_signal(other, harness_wait_ms()), 0);
	CHECK_EQ(front_signals(other), 1);
	add_get_id(q, 0);
	front_queue_offer(q);
	CHECK_EQ(front_wait_signal(other, harness_wait_ms()), 0);
	CHECK_EQ(front_signals(q->call), 0);
	rig_take(&r, q, NULL);
	/* And none. */
	CHECK_EQ(front_set_vring_call(&r.front, 0, -1), 0);
	front_signals(other);
	rig_works(&r);
	CHECK_EQ(front_signals(other), 0);
}

/* User Mode Linux takes its calls from a stream socket, 8 bytes each; full ones are left alone. */
static void calls_never_block(const char *with)
{
	unsigned char bytes[4096] = { 0 };
	int pair[2], pipes[2], full = eventfd(0, 0);

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQ(pipe2(pipes, O_NONBLOCK), 0);
	CHECK_EQ(front_set_vring_call(&r.front, 0, pair[1]), 0);
	CHECK_EQ(recv(pair[0], bytes, 8, MSG_WAITALL), 8);
	rig_works(&r);
	CHECK_EQ(recv(pair[0], bytes, 8, MSG_WAITALL), 8);
	while (send(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	rig_works(&r);
	while (write(pipes[1], bytes, sizeof(bytes)) > 0)
		continue;
	CHECK_EQ(fcntl(pipes[1], F_SETFL, 0), 0);
	CHECK_EQ(front_set_vring_call(&r.front, 0, pipes[1]), 0);
	rig_works(&r);
	CHECK_EQ(eventfd_write(full, ~0ull - 1), 0);
	CHECK_EQ(front_set_vring_call(&r.front, 0, full), 0);
	rig_works(&r);
}

static void a_broken_ring_signals_err_and_harms_nobody(const char *with)
{
	struct front_queue *bad, *good;
	struct driver_desc descs[2];
	uint32_t base;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	bad = rig_queue(&r);
	good = &r.queues[0];
	rig_start(&r, bad);
	CHECK_EQ(front_set_status(&r.front, VIRTIO_DRIVER_OK), 0);
	/* Readable after writable. */
	descs[0] = (struct driver_desc){ r.slots, 1, DRIVER_DESC_WRITE | DRIVER_DESC_NEXT, 1, 0 };
	descs[1] = (struct driver_desc){ r.slots, 16, 0, 0, 0 };
	driver_offer_raw(&bad->driver, descs, 2);
	front_kick(bad);
	CHECK_EQ(front_wait_signal(bad->err, harness_wait_ms()), 0);
	rig_works(&r);
	CHECK_EQ(front_signals(good->err), 0);
	/* It works again when the driver starts over. */
	CHECK_EQ(front_get_vring_base(&r.front, 1, &base), 0);
	rig_reopen(&r, bad);
	rig_start(&r, bad);
	add_get_id(bad, 1);
	front_queue_offer(bad);
	CHECK_EQ(rig_take(&r, bad, NULL), 1);
}

/* ---- reset, status ---- */

static void comes_up_again(void)
{
	struct front_queue *q = &r.queues[0];

	CHECK_EQ(front_set_features(&r.front, r.front.features), 0);
	rig_reopen(&r, q);
	rig_start(&r, q);
	rig_works(&r);
}

static void reset_device_stops_everything(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint64_t status;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	CHECK_EQ(front_set_status(&r.front, VIRTIO_DRIVER_OK), 0);
	rig_works(&r);
	CHECK_EQ(front_reset_device(&r.front), 0);
	add_get_id(q, 0);
	driver_publish(&q->driver);
	is_left_alone(q);
	CHECK_EQ(front_get_status(&r.front, &status), 0);
	CHECK_EQ(status, 0);
	comes_up_again();
}

static void status_zero_is_a_reset(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint64_t status;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	for (uint64_t s = 1; s <= VIRTIO_DRIVER_OK; s = s * 2 + 1) {
		CHECK_EQ(front_set_status(&r.front, s), 0);
		CHECK_EQ(front_get_status(&r.front, &status), 0);
		CHECK_EQ(status, s);
	}
	CHECK_EQ(front_set_status(&r.front, 0), 0);
	CHECK_EQ(front_get_status(&r.front, &status), 0);
	CHECK_EQ(status, 0);
	add_get_id(q, 0);
	driver_publish(&q->driver);
	is_left_alone(q);
	comes_up_again();
}

/* A device whose rings are all stopped writes nothing into memory, and calls nobody. */
static void a_suspended_device_is_silent(const char *with)
{
	static unsigned char before[1 << 18], after[1 << 18];
	struct front_queue *q = &r.queues[0];
	uint32_t base;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	rig_works(&r);
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	front_signals(q->call);
	add_get_id(q, 0);
	driver_publish(&q->driver);
	CHECK(driver_read(&r.memory.driver, RIG_GUEST, before, sizeof(before)));
	is_left_alone(q);
	CHECK(driver_read(&r.memory.driver, RIG_GUEST, after, sizeof(after)));
	CHECK_BYTES(after, before, sizeof(after));
	CHECK_EQ(front_signals(q->call), 0);
}

static void queues_work_side_by_side(const char *with)
{
	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	while (r.queue_count < 4)
		rig_start(&r, rig_queue(&r));
	for (unsigned i = 0; i < 400; i++) {
		for (unsigned k = 0; k < 4; k++) {
			add_get_id(&r.queues[k], k);
			front_queue_offer(&r.queues[k]);
		}
		for (unsigned k = 4; k-- > 0;)
			CHECK_EQ(rig_take(&r, &r.queues[k], NULL), k);
	}
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(it_starts_at_set_vring_kick_without_a_kick),
	CASE_OF_EACH_FORMAT(it_is_not_started_before),
	CASE_OF_EACH_FORMAT(a_stopped_ring_is_left_alone),
	CASE_OF_EACH_FORMAT(set_vring_base_is_where_it_goes_on),
	CASE_OF_EACH(get_vring_base_completes_what_is_in_flight),
	CASE_OF_EACH_FORMAT(a_disabled_ring_has_no_effect),
	CASE_OF_EACH_FORMAT(enabling_outlives_a_stop),
	CASE_OF_EACH_FORMAT(features_without_bit_30_enable_all),
	CASE_OF_EACH_FORMAT(reset_owner_discards_nothing),
	CASE_OF_EACH_FORMAT(without_a_kick_descriptor_it_polls),
	CASE_OF_EACH_FORMAT(a_call_descriptor_is_signalled_when_it_is_set),
	CASE_OF_EACH_FORMAT(calls_never_block),
	CASE_OF_EACH_FORMAT(a_broken_ring_signals_err_and_harms_nobody),
	CASE_OF_EACH_FORMAT(reset_device_stops_everything),
	CASE_OF_EACH_FORMAT(status_zero_is_a_reset),
	CASE_OF_EACH_FORMAT(a_suspended_device_is_silent),
	CASE_OF_EACH_FORMAT(queues_work_side_by_side),
};
HARNESS_MAIN(cases)
