/* src/dev/rng.c: entropy, from the kernel or from elsewhere. */
#include <errno.h>

#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

static struct front front;

static void start(const char *line)
{
	CHECK_EQ(rig_main(line), FAKE_IDLE);
	front_start(&front, "/s", 1, 0);
}

static void start_kernel(void)
{
	fake_reset(1);
	start("vubox rng -s /s");
}

static void start_stream(bool endless)
{
	fake_reset(1);
	fake_stream_new("/dev/hwrng", endless);
	start("vubox rng -s /s --source=/dev/hwrng");
}

/* Asks for len bytes: how many came, or -1. */
static int ask(uint32_t len)
{
	uint32_t id, got;

	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), len, true }, 1);
	front_kick(&front, 0);
	return driver_used(&front.rings[0], &id, &got) ? (int)got : -1;
}

/* That exactly the first n bytes were written; the fake's random bytes are never 0. */
static void expect_bytes(uint32_t n)
{
	for (uint32_t i = 0; i < n + 64; i++)
		CHECK_EQ(*front_data(&front, i) != 0, i < n);
	memset(front_data(&front, 0), 0, n);
}

CASE(bytes_of_the_kernel)
{
	static const uint32_t lens[] = { 1, 64, 100, 4096, 3000, 3000, 3000 };

	start_kernel();
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		int got = ask(lens[i]);

		CHECK(got > 0 && (uint32_t)got <= lens[i]);
		expect_bytes((uint32_t)got);
	}
}

CASE(a_request_for_much_gets_a_part)
{
	start_kernel();
	CHECK_EQ(ask(100000), 4096);
	expect_bytes(4096);
}

CASE(a_request_for_nothing)
{
	start_kernel();
	CHECK_EQ(ask(0), 0);
}

CASE(no_byte_is_given_twice)
{
	static char first[4096];

	start_kernel();
	CHECK_EQ(ask(64), 64);
	memcpy(first, front_data(&front, 0), 64);
	CHECK_EQ(ask(64), 64);
	CHECK(memcmp(first, front_data(&front, 0), 64) != 0);
}

CASE(a_buffer_that_is_nowhere_gets_nothing)
{
	uint32_t id, got;

	start_kernel();
	driver_add(&front.rings[0], &(struct buffer){ 1ull << 40, 16, true }, 1);
	front_kick(&front, 0);
	CHECK(driver_used(&front.rings[0], &id, &got));
	CHECK_EQ(got, 0);
	CHECK_EQ(ask(16), 16);
}

CASE(a_readable_buffer_breaks_the_queue)
{
	start_kernel();
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 16, false }, 1);
	front_kick(&front, 0);
	CHECK(fake_log_has("a readable buffer to the entropy device"));
	CHECK(rig_device(0)->queues[0].broken);
}

CASE(the_kernel_has_none_yet)
{
	start_kernel();
	fake.fail_at[FAKE_RANDOM] = 1;
	fake.fail_error = -EAGAIN;
	CHECK_EQ(ask(64), 64); /* a moment later */
	CHECK_EQ(fake.calls[FAKE_RANDOM], 2);
	CHECK(!fake_log_has("cannot read"));
}

CASE(the_kernel_gives_an_error)
{
	start_kernel();
	fake.fail_at[FAKE_RANDOM] = 1;
	fake.fail_error = -EIO;
	CHECK_EQ(ask(64), 64);
	CHECK(fake_log_has("getrandom: cannot read"));
}

CASE(bytes_from_elsewhere)
{
	start_stream(true);
	fake_stream_feed("/dev/hwrng", "abcdefgh", 8);
	CHECK_EQ(ask(3), 3);
	CHECK_BYTES(front_data(&front, 0), "fgh", 3);
	CHECK_EQ(ask(64), 5);
	CHECK_BYTES(front_data(&front, 0), "abcde", 5);
}

static bool feed_when_idle(int64_t timeout_ns)
{
	(void)timeout_ns;
	if (fake.now_ns > 3000000000)
		fake_stream_feed("/dev/hwrng", "late", 4);
	return false;
}

CASE(a_guest_waits_for_bytes_and_the_loop_does_not)
{
	start_stream(true);
	fake.on_idle = feed_when_idle;
	CHECK_EQ(ask(4), 4);
	CHECK_BYTES(front_data(&front, 0), "late", 4);
	CHECK(fake.calls[FAKE_STREAM_READ] < 200);
}

CASE(a_file_ends)
{
	start_stream(false);
	fake_stream_feed("/dev/hwrng", "end", 3);
	CHECK_EQ(ask(64), 3);
	CHECK_EQ(ask(64), -1);
	CHECK(fake_log_has("/dev/hwrng: it has come to its end: the guest gets no more"));
	fake_log_clear();
	CHECK_EQ(ask(64), -1);
	CHECK_TEXT(fake.log, "");
}

/* 100 bytes in each 250 ms: the rest of a period's requests waits for the next one. */
CASE(a_limit_of_bytes_a_period)
{
	uint64_t began;

	fake_reset(1);
	start("vubox rng -s /s --max-bytes=100 --period-ms=250");
	began = fake.now_ns;
	CHECK_EQ(ask(64), 64);
	CHECK_EQ(ask(64), 36);
	CHECK(fake.now_ns < began + 200000000);
	CHECK_EQ(ask(64), 64); /* rig_run has let the clock run to the timer */
	CHECK(fake.now_ns >= began + 250000000);
	CHECK(fake.now_ns < began + 300000000);
	CHECK_EQ(ask(4096), 36);
	CHECK_EQ(ask(4096), 100);
	CHECK(fake.now_ns >= began + 500000000);
	CHECK(fake.now_ns < began + 600000000);
}

/* What was not taken in a period is not added to the next. */
CASE(a_limit_does_not_add_up)
{
	fake_reset(1);
	start("vubox rng -s /s --max-bytes=100 --period-ms=250");
	CHECK_EQ(ask(10), 10);
	fake.now_ns += 10000000000;
	CHECK_EQ(ask(4096), 100);
	CHECK_EQ(ask(0), 0);
}

CASE(a_period_without_a_limit)
{
	fake_reset(1);
	start("vubox rng -s /s --period-ms=100000");
	for (unsigned i = 0; i < 10; i++)
		CHECK_EQ(ask(4096), 4096);
	CHECK(fake.now_ns < 2000000000);
}

CASE(a_source_that_cannot_be_opened)
{
	fake_reset(1);
	CHECK_EQ(rig_main("vubox rng -s /s --source=/nothing"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("vubox: rng: /nothing: cannot open: "));
}

CASE(a_source_that_fails_is_asked_again)
{
	start_stream(true);
	fake_stream_feed("/dev/hwrng", "abc", 3);
	fake.fail_at[FAKE_STREAM_READ] = 1;
	CHECK_EQ(ask(64), 3);
	CHECK(fake_log_has("/dev/hwrng: cannot read: "));
}

CASE(its_configuration_space_is_empty)
{
	struct vhost_user_config c = { 0, 8, 0, { 1, 2, 3 } };

	start_kernel();
	CHECK_EQ(front_call(&front, VHOST_USER_GET_CONFIG, &c, 20, 20, -1, NULL), 20);
	CHECK_BYTES(c.bytes, "\0\0\0\0\0\0\0\0", 8);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 20, -1), 1);
	c.flags = VHOST_USER_CONFIG_MIGRATE;
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 20, -1), 0);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_QUEUE_NUM), 1);
}

CASE(it_ends_and_closes_its_source)
{
	unsigned before;

	start_stream(true);
	before = fake_open_fds();
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake_open_fds(), before - 1);
}

static void io_done(void *arg)
{
	(void)arg;
	device_find("rng")->io_done(NULL, NULL);
}

CASE(it_starts_no_io)
{
	fake_reset(1);
	CHECK_EQ(fake_run(io_done, NULL), FAKE_ABORTED);
}
