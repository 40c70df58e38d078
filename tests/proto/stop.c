/*
 * Rings that stop while requests are in flight on a disk that hangs: GET_VRING_BASE with and
 * without GET_VRING_BASE_INFLIGHT, GET_VRING_BASE_SKIP_DRAIN, a hang-up, a reset.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../front/slowfs.h"
#include "../front/track.h"
#include "../front/yard.h"

enum { COUNT = 12, BYTES = 4096 };

static struct yard y;
static struct track t;

/* vubox on the slow disk with all protocol features but `without`, and a ring that is tracked. */
static void open_slow(const char *engine, enum slowfs_mode mode, uint64_t without)
{
	static char io[32] = "--io=";

	strcat(io, engine);
	y.rig.image = slowfs_mount(RIG_DISK_BYTES, mode);
	yard_serve(&y, (const char *const[]){ io, NULL });
	rig_negotiate(&y.rig, ~0ull, ~without);
	track_get(&t, &y.rig.front, 1, RIG_RING_SIZE);
	CHECK_EQ(front_set_inflight_fd(&y.rig.front, &t.want, t.fd), 0);
	rig_share(&y.rig);
	rig_start(&y.rig, rig_queue(&y.rig));
	yard_reads(&y);
}

/* Where the request of a slot goes. */
static uint64_t sector_of(unsigned slot)
{
	return 1024 + slot * 8;
}

static void add_all(uint32_t type)
{
	struct front_queue *q = &y.rig.queues[0];

	for (unsigned slot = 0; slot < COUNT; slot++) {
		struct blk_request x = rig_request(&y.rig, slot, type, sector_of(slot), BYTES);
		void *data = driver_at(&y.rig.memory.driver, x.data, BYTES);

		memset(data, type == BLK_OUT ? (int)slot + 1 : 0xee, BYTES);
		if (type == BLK_IN)
			memset(slowfs_bytes() + sector_of(slot) * 512, (int)slot + 1, BYTES);
		rig_add(&y.rig, q, &x, slot);
	}
	driver_publish(&q->driver);
	front_kick(q);
}

/* They wait, and vubox has them all: with plain calls it has one, and waits with it. */
static void hold(uint32_t type)
{
	bool sync = y.rig.options[1] && strcmp(y.rig.options[1], "--io=sync") == 0;

	slowfs_hold(type == BLK_OUT ? SLOWFS_WRITES : SLOWFS_READS, 0, RIG_DISK_BYTES);
	add_all(type);
	UNTIL(slowfs_held() > 0 && (sync || track_in_flight(&t, 0) == COUNT));
}

/* Each of them comes back once, well, in any order, and nothing else does. */
static void all_come_back(unsigned left)
{
	struct driver_used used;

	while (left != 0) {
		unsigned slot = rig_take(&y.rig, &y.rig.queues[0], NULL);
		struct blk_request w = rig_request(&y.rig, slot, 0, 0, 0);

		CHECK((left & 1u << slot) != 0);
		CHECK_EQ(blk_status(&y.rig.memory.driver, &w), BLK_OK);
		left &= ~(1u << slot);
	}
	CHECK_EQ(front_settle(&y.rig.front), 0);
	CHECK_EQ(driver_poll(&y.rig.queues[0].driver, &used), 0);
}

static unsigned all_of(unsigned count)
{
	return (1u << count) - 1;
}

/* The data of each is on the disk, and in memory. */
static void data_is_there(void)
{
	for (unsigned slot = 0; slot < COUNT; slot++) {
		struct blk_request x = rig_request(&y.rig, slot, 0, 0, 0);
		unsigned char should[BYTES];

		memset(should, (int)slot + 1, BYTES);
		CHECK_BYTES(slowfs_bytes() + sector_of(slot) * 512, should, BYTES);
		CHECK_BYTES(driver_at(&y.rig.memory.driver, x.data, BYTES), should, BYTES);
	}
}

static bool is_silent(void)
{
	struct pollfd p = { .fd = y.rig.front.fd, .events = POLLIN };

	/* The other device has been round the loop: an answer that is ready would be here. */
	CHECK_EQ(front_settle(&y.other.front), 0);
	return poll(&p, 1, 0) == 0;
}

static void send_stop(uint32_t request)
{
	uint32_t state[2] = { 0, 0 };

	CHECK_EQ(front_send(&y.rig.front, request, 0, state, sizeof(state), NULL, 0), 0);
}

static uint32_t receive_base(uint32_t request)
{
	struct front_message m;
	uint32_t base;

	CHECK_EQ(front_receive(&y.rig.front, &m), 0);
	CHECK_EQ(m.header.request, request);
	CHECK_EQ(m.header.size, 8);
	memcpy(&base, m.payload + 4, 4);
	return base;
}

/* The same memory and buffer, a new connection. */
static void connect_again(void)
{
	front_close(&y.rig.front);
	rig_negotiate(&y.rig, ~0ull, ~0ull);
	CHECK_EQ(front_set_inflight_fd(&y.rig.front, &t.want, t.fd), 0);
	CHECK_EQ(front_share(&y.rig.front, &y.rig.memory), 0);
	CHECK_EQ(front_queue_start(&y.rig.front, &y.rig.queues[0],
			 driver_base_in_memory(&y.rig.queues[0].driver)),
		0);
}

static void finish(void)
{
	slowfs_hold(0, 0, 0);
	yard_check(&y);
}

/* ---- GET_VRING_BASE ---- */

/* "must complete all inflight I/O requests for the specified vring before stopping it" */
static void waits_for_the_disk(uint64_t without)
{
	uint32_t base;

	open_slow("uring", SLOWFS_ASYNC, without);
	hold(BLK_OUT);
	send_stop(VU_GET_VRING_BASE);
	CHECK(is_silent());
	yard_is_idle(&y);
	slowfs_release(0);
	base = receive_base(VU_GET_VRING_BASE);
	all_come_back(all_of(COUNT));
	CHECK_EQ(base, driver_base(&y.rig.queues[0].driver, 0));
	track_check_rest(&t, &y.rig.queues[0]);
	data_is_there();
	finish();
}

static void get_vring_base_waits_for_the_disk(const char *with)
{
	(void)with;
	waits_for_the_disk(VU_P(GET_VRING_BASE_INFLIGHT) | VU_P(GET_VRING_BASE_SKIP_DRAIN));
}

/* What runs is not left running, whatever is negotiated. */
static void with_bit_20_get_vring_base_leaves_nothing_running(const char *with)
{
	(void)with;
	waits_for_the_disk(0);
}

/* ---- GET_VRING_BASE_SKIP_DRAIN ---- */

/* It answers though the disk hangs. What was cut off is recorded and left alone. */
static void skip_drain(void)
{
	static unsigned char before[1 << 19], after[1 << 19];
	uint32_t base;

	hold(BLK_OUT);
	front_signals(y.rig.queues[0].call);
	send_stop(VU_GET_VRING_BASE_SKIP_DRAIN);
	base = receive_base(VU_GET_VRING_BASE_SKIP_DRAIN);
	CHECK_EQ(slowfs_held(), 0);
	CHECK(slowfs_cancelled() > 0);
	CHECK_EQ(track_in_flight(&t, 0), COUNT);
	CHECK_EQ(base, driver_base(&y.rig.queues[0].driver, COUNT));
	/* Suspended: it neither writes nor calls. */
	CHECK(driver_read(&y.rig.memory.driver, RIG_GUEST, before, sizeof(before)));
	front_kick(&y.rig.queues[0]);
	CHECK_EQ(front_settle(&y.rig.front), 0);
	CHECK(driver_read(&y.rig.memory.driver, RIG_GUEST, after, sizeof(after)));
	CHECK_BYTES(after, before, sizeof(after));
	CHECK_EQ(front_signals(y.rig.queues[0].call), 0);
	slowfs_release(0);
}

static void skip_drain_and_go_on(const char *with)
{
	struct front_queue *q = &y.rig.queues[0];

	(void)with;
	open_slow("uring", SLOWFS_PLAIN, 0);
	skip_drain();
	CHECK_EQ(front_queue_start(&y.rig.front, q, driver_base(&q->driver, COUNT)), 0);
	all_come_back(all_of(COUNT));
	track_check_rest(&t, q);
	data_is_there();
	finish();
}

/* As in a migration: the buffer and the memory go to another process. */
static void skip_drain_and_go_on_elsewhere(const char *with)
{
	(void)with;
	open_slow("uring", SLOWFS_PLAIN, 0);
	skip_drain();
	front_close(&y.rig.front);
	CHECK_EQ(vubox_end(&y.rig.vubox, SIGTERM), 0);
	rig_serve_again(&y.rig);
	connect_again();
	all_come_back(all_of(COUNT));
	track_check_rest(&t, &y.rig.queues[0]);
	data_is_there();
	rig_works(&y.rig);
}

/* A disk that does not let go: there is no answer while memory may still be read or written. */
static void no_answer_before_the_disk_lets_go(enum slowfs_mode mode, uint32_t type)
{
	struct front_queue *q = &y.rig.queues[0];
	uint32_t base;

	open_slow("uring", mode, 0);
	slowfs_obey_cancels(false);
	hold(type);
	send_stop(VU_GET_VRING_BASE_SKIP_DRAIN);
	CHECK(is_silent());
	yard_is_idle(&y);
	slowfs_release(0);
	base = receive_base(VU_GET_VRING_BASE_SKIP_DRAIN);
	CHECK_EQ(front_queue_start(&y.rig.front, q, base), 0);
	all_come_back(all_of(COUNT));
	track_check_rest(&t, q);
	data_is_there();
	finish();
}

static void skip_drain_of_what_ignores_it(const char *with)
{
	(void)with;
	no_answer_before_the_disk_lets_go(SLOWFS_PLAIN, BLK_OUT);
}

static void skip_drain_of_what_cannot_be_cancelled(const char *with)
{
	(void)with;
	no_answer_before_the_disk_lets_go(SLOWFS_ASYNC, BLK_IN);
}

/* Some are done when it comes, some are not. */
static void skip_drain_of_a_part(const char *with)
{
	struct front_queue *q = &y.rig.queues[0];
	uint32_t base;

	(void)with;
	open_slow("uring", SLOWFS_PLAIN, 0);
	/* One after the other, as the kernel does it with buffered writes: four are done. */
	slowfs_hold(SLOWFS_WRITES, sector_of(4) * 512, RIG_DISK_BYTES / 2);
	add_all(BLK_OUT);
	UNTIL(slowfs_held() > 0 && track_in_flight(&t, 0) == COUNT - 4);
	send_stop(VU_GET_VRING_BASE_SKIP_DRAIN);
	base = receive_base(VU_GET_VRING_BASE_SKIP_DRAIN);
	CHECK_EQ(track_in_flight(&t, 0), COUNT - 4);
	slowfs_release(0);
	CHECK_EQ(front_queue_start(&y.rig.front, q, base), 0);
	all_come_back(all_of(COUNT));
	track_check_rest(&t, q);
	data_is_there();
	finish();
}

static void skip_drain_needs_its_features(const char *with)
{
	uint64_t without[] = { VU_P(INFLIGHT_SHMFD), VU_P(GET_VRING_BASE_INFLIGHT) };
	uint64_t offered, protocol;
	struct front_message m;
	uint32_t state[2] = { 0, 0 };

	(void)with;
	yard_serve(&y, NULL);
	rig_connect(&y.rig);
	CHECK_EQ(front_get_protocol_features(&y.rig.front, &offered), 0);
	for (unsigned i = 0; i < 2; i++) {
		protocol = offered & ~without[i];
		/* There is an ack only with REPLY_ACK, which this message was to bring. */
		CHECK_EQ(front_set_protocol_features(&y.rig.front, protocol), 0);
		CHECK_EQ(front_wait_closed(&y.rig.front), 0);
		front_close(&y.rig.front);
		rig_connect(&y.rig);
	}
	protocol = offered & ~VU_P(GET_VRING_BASE_SKIP_DRAIN);
	CHECK_EQ(front_acked(&y.rig.front, VU_SET_PROTOCOL_FEATURES, &protocol, 8, NULL, 0), 0);
	CHECK_EQ(
		front_ask(&y.rig.front, VU_GET_VRING_BASE_SKIP_DRAIN, 0, state, 8, NULL, 0, &m), 0);
	CHECK_EQ(m.header.size, 0);
	finish();
}

/* ---- hang-up, reset ---- */

/* The front-end goes and comes again with the same memory, while the disk still hangs. */
static void hang_up_and_reconnect(const char *with)
{
	open_slow(with, SLOWFS_ASYNC, 0);
	hold(BLK_OUT);
	front_close(&y.rig.front);
	if (strcmp(with, "sync") != 0) {
		CHECK_EQ(front_settle(&y.other.front), 0);
		yard_is_idle(&y);
	}
	slowfs_release(0);
	connect_again();
	all_come_back(all_of(COUNT));
	track_check_rest(&t, &y.rig.queues[0]);
	data_is_there();
	finish();
}

/* Reads into memory that is not there any more when they are done. */
static void hang_up_under_reads(const char *with)
{
	open_slow(with, SLOWFS_ASYNC, 0);
	hold(BLK_IN);
	rig_disconnect(&y.rig);
	track_put(&t);
	slowfs_release(0);
	UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
	finish();
}

/* What was in flight is nobody's after a reset: the new ring is not touched by it. */
static void reset_by(uint32_t request, const char *engine)
{
	static const uint64_t zero;
	struct front_queue *q = &y.rig.queues[0];
	struct front_message m;
	uint32_t size = request == VU_SET_STATUS ? 8 : 0;

	open_slow(engine, SLOWFS_ASYNC, 0);
	hold(BLK_OUT);
	CHECK_EQ(front_send(&y.rig.front, request, VU_NEED_REPLY, &zero, size, NULL, 0), 0);
	if (strcmp(engine, "sync") != 0)
		CHECK(is_silent());
	slowfs_release(0);
	CHECK_EQ(front_receive(&y.rig.front, &m), 0);
	CHECK_EQ(m.header.request, request);
	CHECK_EQ(m.payload[0], 0);
	rig_reopen(&y.rig, q);
	CHECK_EQ(front_set_features(&y.rig.front, y.rig.front.features), 0);
	rig_start(&y.rig, q);
	CHECK_EQ(track_in_flight(&t, 0), 0);
	CHECK(!driver_is_back(&q->driver));
	yard_reads(&y);
	finish();
}

static void reset_device_under_load(const char *with)
{
	reset_by(VU_RESET_DEVICE, with);
}

static void status_zero_under_load(const char *with)
{
	reset_by(VU_SET_STATUS, with);
}

/* A VMM's reset: each ring is stopped, then everything is set up anew on the same connection. */
static void a_vmm_resets(const char *with)
{
	struct front_queue *q = &y.rig.queues[0];

	open_slow(with, SLOWFS_ASYNC, 0);
	for (unsigned turn = 0; turn < 5; turn++) {
		hold(BLK_OUT);
		send_stop(VU_GET_VRING_BASE);
		slowfs_release(0);
		receive_base(VU_GET_VRING_BASE);
		track_put(&t);
		rig_reopen(&y.rig, q);
		CHECK_EQ(front_set_features(&y.rig.front, y.rig.front.features), 0);
		track_get(&t, &y.rig.front, 1, RIG_RING_SIZE);
		CHECK_EQ(front_set_inflight_fd(&y.rig.front, &t.want, t.fd), 0);
		CHECK_EQ(front_share(&y.rig.front, &y.rig.memory), 0);
		rig_start(&y.rig, q);
		yard_reads(&y);
	}
	finish();
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(get_vring_base_waits_for_the_disk),
	CASE_OF_EACH_FORMAT(with_bit_20_get_vring_base_leaves_nothing_running),
	CASE_OF_EACH_FORMAT(skip_drain_and_go_on),
	CASE_OF_EACH_FORMAT(skip_drain_and_go_on_elsewhere),
	CASE_OF_EACH_FORMAT(skip_drain_of_what_ignores_it),
	CASE_OF_EACH_FORMAT(skip_drain_of_what_cannot_be_cancelled),
	CASE_OF_EACH_FORMAT(skip_drain_of_a_part),
	CASE(skip_drain_needs_its_features),
	CASE_WITH_EACH_FORMAT(hang_up_and_reconnect, "uring"),
	CASE_WITH_EACH_FORMAT(hang_up_and_reconnect, "sync"),
	CASE_WITH_EACH_FORMAT(hang_up_under_reads, "uring"),
	CASE_WITH_EACH_FORMAT(hang_up_under_reads, "sync"),
	CASE_WITH_EACH_FORMAT(reset_device_under_load, "uring"),
	CASE_WITH_EACH_FORMAT(reset_device_under_load, "sync"),
	CASE_WITH_EACH_FORMAT(status_zero_under_load, "uring"),
	CASE_WITH_EACH_FORMAT(a_vmm_resets, "uring"),
	CASE_WITH_EACH_FORMAT(a_vmm_resets, "sync"),
};
HARNESS_MAIN(cases)
