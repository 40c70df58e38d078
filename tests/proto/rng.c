/* The entropy device (VIRTIO 5.4): every buffer is filled, from the kernel or from a source. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../front/rig.h"

static struct rig r;

static void serve(const char *source)
{
	char option[128];

	snprintf(option, sizeof(option), "--source=%s", source ? source : "");
	vubox_start(&r.vubox, "rng", (const char *const[]){ source ? option : NULL, NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
}

static uint64_t at(unsigned slot)
{
	return rig_request(&r, slot, 0, 0, 0).data;
}

static void add(const struct driver_buffer *buffers, unsigned count, uint64_t table)
{
	struct driver_chain chain = { .buffers = buffers, .count = count, .table = table };

	CHECK(driver_add(&r.queues[0].driver, &chain) >= 0);
	front_queue_offer(&r.queues[0]);
}

static uint32_t get(uint64_t guest, uint32_t len)
{
	uint32_t used;

	add(&(struct driver_buffer){ guest, len, true }, 1, 0);
	rig_take(&r, &r.queues[0], &used);
	return used;
}

static bool is_all(const unsigned char *bytes, unsigned char what, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != what)
			return false;
	return true;
}

/* "The device MUST place one or more random bytes into the buffer". */
static void buffers_of_every_size(const char *with)
{
	static unsigned char *bytes;

	(void)with;
	serve(NULL);
	bytes = driver_at(&r.memory.driver, at(0), 1 << 16);
	for (uint32_t len = 1; len <= 65536; len = len * 3 / 2 + 1) {
		uint32_t used;

		memset(bytes, 0, 1 << 16);
		used = get(at(0), len);
		CHECK(used >= 1 && used <= len);
		CHECK(used < 16 || !is_all(bytes, 0, used));
		CHECK(is_all(bytes + used, 0, (1 << 16) - used));
		CHECK(len > 64 || used == len); /* a small one is filled at once */
	}
}

/* Bytes that look random: every value comes, none too often, and no two answers are the same. */
static void bytes_are_random(const char *with)
{
	static unsigned char before[4096];
	unsigned count[256] = { 0 }, total = 0;

	(void)with;
	serve(NULL);
	for (unsigned i = 0; i < 64; i++) {
		uint32_t used = get(at(0), 4096);
		const unsigned char *bytes = driver_at(&r.memory.driver, at(0), 4096);

		CHECK(used >= 64);
		CHECK(memcmp(bytes, before, 64) != 0);
		memcpy(before, bytes, 4096);
		for (uint32_t k = 0; k < used; k++)
			count[bytes[k]]++;
		total += used;
	}
	for (unsigned i = 0; i < 256; i++) { /* 16 standard deviations, and more with fewer bytes */
		CHECK(count[i] > total / 512);
		CHECK(count[i] < total / 128);
	}
}

static void buffers_in_pieces(const char *with)
{
	struct driver_buffer pieces[40];
	unsigned char *bytes;

	(void)with;
	serve(NULL);
	bytes = driver_at(&r.memory.driver, at(0), 4096);
	for (unsigned i = 0; i < 40; i++) /* every second one is empty */
		pieces[i] = (struct driver_buffer){ at(0) + i * 64, i % 2 ? 0 : 16, true };
	for (unsigned round = 0; round < 2; round++) {
		uint32_t used;

		memset(bytes, 0, 4096);
		add(pieces, 40, round ? rig_table(&r, 0) : 0);
		rig_take(&r, &r.queues[0], &used);
		CHECK_EQ(used, 20 * 16);
		for (unsigned i = 0; i < 40; i++) {
			CHECK(i % 2 || !is_all(bytes + i * 64, 0, 16));
			CHECK(is_all(bytes + i * 64 + (i % 2 ? 0 : 16), 0, i % 2 ? 64 : 48));
		}
	}
}

static void many_buffers_at_once(const char *with)
{
	(void)with;
	serve(NULL);
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < RIG_RING_SIZE; i++)
			add(&(struct driver_buffer){ at(0) + i * 64, 64, true }, 1, 0);
		for (unsigned i = 0; i < RIG_RING_SIZE; i++) {
			uint32_t used;

			rig_take(&r, &r.queues[0], &used);
			CHECK(used >= 1);
		}
	}
}

/* Each byte of the source goes to one buffer, and is written where used.len says. */
static void a_file_as_the_source(const char *with)
{
	static unsigned char source[20000], got[20000];
	const char *path = harness_file("source", sizeof(source));
	unsigned seen[256] = { 0 }, have = 0;
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	uint64_t ns;

	(void)with;
	for (unsigned i = 0; i < sizeof(source) / 4; i++)
		memcpy(source + i * 4, &i, 4);
	CHECK_EQ(write(fd, source, sizeof(source)), sizeof(source));
	serve(path);
	while (have < sizeof(got)) {
		uint32_t used = get(at(0), 1000);

		CHECK(used >= 1 && have + used <= sizeof(got));
		CHECK(driver_read(&r.memory.driver, at(0), got + have, used));
		have += used;
	}
	/* In whatever order: but nothing twice, and nothing else. */
	for (unsigned i = 0; i < sizeof(got); i++)
		seen[got[i]]++;
	for (unsigned i = 0; i < sizeof(source); i++)
		seen[source[i]]--;
	for (unsigned i = 0; i < 256; i++)
		CHECK_EQ(seen[i], 0);
	/* It has ended: that is said, and nothing spins for more. */
	add(&(struct driver_buffer){ at(0), 64, true }, 1, 0);
	UNTIL(vubox_said(&r.vubox, "its end"));
	CHECK_EQ(front_settle(&r.front), 0);
	ns = vubox_cpu_ns(&r.vubox);
	usleep(100000);
	CHECK(vubox_cpu_ns(&r.vubox) - ns < 20000000);
}

/* A source that has nothing now stalls nobody; what it has later is given. */
static void a_source_that_is_slow(const char *with)
{
	const char *path = harness_path("fifo");
	struct driver_used used;
	uint64_t value;
	int fd;

	(void)with;
	CHECK_EQ(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC); /* as its writer: it never ends */
	CHECK(fd >= 0);
	serve(path);
	add(&(struct driver_buffer){ at(0), 64, true }, 1, 0);
	for (unsigned i = 0; i < 50; i++)
		CHECK_EQ(front_get_queue_num(&r.front, &value), 0);
	CHECK_EQ(driver_poll(&r.queues[0].driver, &used), 0);
	CHECK_EQ(write(fd, "0123456789", 10), 10);
	CHECK_EQ(front_queue_wait(&r.queues[0], &used, harness_wait_ms()), 0);
	CHECK_EQ(used.len, 10);
	CHECK_BYTES(driver_at(&r.memory.driver, at(0), 10), "0123456789", 10);
	/* It ends, and a front-end goes, while a buffer waits. */
	add(&(struct driver_buffer){ at(0), 64, true }, 1, 0);
	CHECK_EQ(front_settle(&r.front), 0);
	rig_disconnect(&r);
	CHECK_EQ(vubox_end(&r.vubox, 15), 0);
}

/* Nor does it stall another device of the process. */
static void a_slow_source_stalls_no_other_device(const char *with)
{
	static struct rig disk;
	char source[128], other[128];
	const char *path = harness_path("fifo");
	struct driver_used used;
	int fd;

	(void)with;
	CHECK_EQ(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	snprintf(source, sizeof(source), "--source=%s", path);
	snprintf(other, sizeof(other), "--socket-path=%s", harness_path("other"));
	rig_serve(&disk, RIG_DISK_BYTES, (const char *const[]){ "--", "rng", source, other, NULL });
	snprintf(r.vubox.socket, sizeof(r.vubox.socket), "%s", harness_path("other"));
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
	add(&(struct driver_buffer){ at(0), 64, true }, 1, 0);
	CHECK_EQ(front_settle(&r.front), 0);
	rig_negotiate(&disk, ~0ull, ~0ull);
	rig_run(&disk);
	for (unsigned i = 0; i < 20; i++)
		rig_works(&disk);
	CHECK_EQ(driver_poll(&r.queues[0].driver, &used), 0);
	CHECK_EQ(write(fd, "0123456789", 10), 10);
	CHECK_EQ(rig_take(&r, &r.queues[0], NULL), 0);
}

/* GET_VRING_BASE has an answer also while a buffer waits for the source. */
static void stopping_while_a_buffer_waits(const char *with)
{
	const char *path = harness_path("fifo");
	uint32_t base;
	bool back;
	int fd;

	(void)with;
	CHECK_EQ(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	serve(path);
	add(&(struct driver_buffer){ at(0), 64, true }, 1, 0);
	CHECK_EQ(front_settle(&r.front), 0);
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	CHECK_EQ(base, driver_base_in_memory(&r.queues[0].driver)); /* what was taken is back */
	CHECK_EQ(write(fd, "abcd", 4), 4);
	back = base != driver_base(&r.queues[0].driver, 0);
	CHECK_EQ(front_queue_start(&r.front, &r.queues[0], base), 0);
	if (!back)
		rig_take(&r, &r.queues[0], NULL);
}

static void a_source_that_is_not_there(const char *with)
{
	char option[128];

	(void)with;
	snprintf(option, sizeof(option), "--source=%s", harness_path("nothing"));
	vubox_start(&r.vubox, "rng", (const char *const[]){ option, NULL });
	CHECK_EQ(vubox_wait(&r.vubox), 1);
}

/* What a driver must not give: a readable buffer breaks its queue or is passed over, no more. */
static void buffers_that_are_no_use(const char *with)
{
	(void)with;
	serve(NULL);
	CHECK_EQ(get(0x10, 64), 0); /* an address that is nowhere */
	CHECK(get(at(0), 64) > 0);
	add(&(struct driver_buffer){ at(0), 64, false }, 1, 0);
	CHECK_EQ(front_settle(&r.front), 0);
	rig_disconnect(&r);
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
	CHECK(get(at(0), 64) > 0);
}

/* It has no configuration space: zeroes, and nothing to write. */
static void an_empty_configuration_space(const char *with)
{
	unsigned char bytes[16], zero[16] = { 0 };
	uint64_t count;
	uint32_t got;

	(void)with;
	serve(NULL);
	CHECK_EQ(front_get_queue_num(&r.front, &count), 0);
	CHECK_EQ(count, 1);
	if (front_get_config(&r.front, 0, sizeof(bytes), bytes, &got) == 0)
		CHECK_BYTES(bytes, zero, got);
	CHECK_EQ(front_set_config(&r.front, 0, 1, 0, "\1"), FRONT_REFUSED);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(buffers_of_every_size),
	CASE_OF_EACH_FORMAT(bytes_are_random),
	CASE_OF_EACH_FORMAT(buffers_in_pieces),
	CASE_OF_EACH_FORMAT(many_buffers_at_once),
	CASE_OF_EACH_FORMAT(a_file_as_the_source),
	CASE_OF_EACH_FORMAT(a_source_that_is_slow),
	CASE_OF_EACH_FORMAT(a_slow_source_stalls_no_other_device),
	CASE_OF_EACH_FORMAT(stopping_while_a_buffer_waits),
	CASE(a_source_that_is_not_there),
	CASE_OF_EACH_FORMAT(buffers_that_are_no_use),
	CASE(an_empty_configuration_space),
};
HARNESS_MAIN(cases)
