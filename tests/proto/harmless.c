/*
 * Drivers that do what is strange, and break no rule by it: at most one request fails, and the
 * queue goes on (VIRTIO 2.7 and 2.8).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../front/yard.h"

enum { NEXT = DRIVER_DESC_NEXT, WRITE = DRIVER_DESC_WRITE, INDIRECT = DRIVER_DESC_INDIRECT };

static struct yard y;

#define AT    RIG_SLOTS_AT
#define TABLE (AT + 0x1000)

static struct driver *driver(void)
{
	return &y.rig.queues[0].driver;
}

/* Offers a chain as it is, and waits for it to come back, written or not. */
static void comes_back(const struct driver_desc *descs, unsigned count)
{
	driver_offer_raw(driver(), descs, count);
	front_kick(&y.rig.queues[0]);
	UNTIL(driver_is_back(driver()));
}

static uint8_t status_at(uint64_t guest)
{
	uint8_t status;

	CHECK(driver_read(&y.rig.memory.driver, guest, &status, 1));
	return status;
}

/* The driver cannot poll what it has offered raw: it starts over. */
static void start_over(void)
{
	CHECK_EQ(front_set_status(&y.rig.front, 0), 0);
	CHECK_EQ(front_set_features(&y.rig.front, y.rig.front.features), 0);
	rig_reopen(&y.rig, &y.rig.queues[0]);
	rig_start(&y.rig, &y.rig.queues[0]);
}

/* A request whose data lies there. */
static void data_at(uint32_t type, uint64_t guest, uint32_t len, uint8_t should)
{
	struct blk_request i = rig_request(&y.rig, 0, type, 0, len);
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers };

	i.data = guest;
	chain.count = blk_build(&y.rig.memory.driver, &i, buffers);
	CHECK_EQ(rig_chain(&y.rig, &i, &chain), should);
}

static void data_that_is_nowhere_fails_its_request(const char *with)
{
	static const uint64_t nowhere[] = { 0, RIG_GUEST - 256, RIG_GUEST - 512,
		RIG_GUEST + RIG_MEMORY - 256, RIG_GUEST + RIG_MEMORY, 1ull << 40, 1ull << 63,
		0ull - 512, 0ull - 256, 0ull - 1 };

	yard_open(&y, with, 1);
	for (unsigned i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		for (uint32_t len = 512; len <= 1024; len += 512) {
			data_at(BLK_IN, nowhere[i], len, BLK_IOERR);
			data_at(BLK_OUT, nowhere[i], len, BLK_IOERR);
			data_at(BLK_WRITE_ZEROES, nowhere[i], 512, BLK_IOERR);
			data_at(BLK_DISCARD, nowhere[i], 512, BLK_IOERR);
		}
		yard_reads(&y);
	}
	CHECK_EQ(front_signals(y.rig.queues[0].err), 0);
	yard_check(&y);
}

static void data_of_4_gib_fails_its_request(const char *with)
{
	yard_open(&y, with, 1);
	data_at(BLK_IN, AT, 0xfffff000, BLK_IOERR);
	data_at(BLK_IN, RIG_GUEST, RIG_MEMORY, BLK_IOERR); /* longer than the disk */
	data_at(BLK_IN, RIG_GUEST, RIG_MEMORY + 512, BLK_IOERR);
	yard_reads(&y);
	yard_check(&y);
}

static void a_header_that_is_nowhere_fails_its_request(const char *with)
{
	static const uint64_t nowhere[] = { 0, 1ull << 40, RIG_GUEST - 8,
		RIG_GUEST + RIG_MEMORY - 15, 0ull - 8 };

	(void)with;
	yard_open(&y, "auto", 1);
	for (unsigned i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		struct driver_desc d[] = { desc(nowhere[i], 16, NEXT, 1),
			desc(AT + 64, 1, WRITE, 0) };

		CHECK(driver_write(&y.rig.memory.driver, AT + 64, "\xee", 1));
		comes_back(d, 2);
		CHECK_EQ(status_at(AT + 64), BLK_IOERR);
		start_over();
	}
	yard_check(&y);
}

/* A read with a header, a sector of data and a status, in descriptors with these flags as well. */
static void read_with_flags(unsigned junk, bool table)
{
	struct driver_desc d[] = { desc(AT, 16, NEXT | junk, 1),
		desc(AT + 0x8000, 512, NEXT | WRITE | junk, 2), desc(AT + 64, 1, WRITE | junk, 0) };
	struct driver_desc head = desc(TABLE, 48, INDIRECT, 0);

	CHECK(driver_write(&y.rig.memory.driver, AT, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16));
	CHECK(driver_write(&y.rig.memory.driver, AT + 64, "\xee", 1));
	if (table) {
		CHECK(driver_put_table(driver(), TABLE, d, 3));
		comes_back(&head, 1);
	} else {
		comes_back(d, 3);
	}
	CHECK_EQ(status_at(AT + 64), BLK_OK);
	start_over();
}

/* Bits that mean nothing: not said to be an error, and so none. */
static void flags_that_mean_nothing(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	for (unsigned bit = 8; bit < 0x10000; bit *= 2)
		for (unsigned table = 0; table < 2; table++)
			read_with_flags(bit, table);
	read_with_flags(0xfff8, false);
	read_with_flags(0xfff8, true);
	yard_check(&y);
}

/* 2.8.7: in a table of a packed ring "WRITE is the only valid flag, others are ignored". */
static void flags_of_a_packed_table_are_ignored(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	read_with_flags(INDIRECT, true);
	read_with_flags(INDIRECT | NEXT, true);
	read_with_flags(0xffff & ~WRITE & ~NEXT, true);
	yard_check(&y);
}

/* A descriptor that is not available, or used already, is nothing to do. */
static void avail_and_used_say_that_there_is_nothing(const char *with)
{
	static const uint16_t flags[] = { 0, 1 << 15, 1 << 7 | 1 << 15, 0x7fff & ~(1 << 7),
		0xffff };
	struct driver_used used;

	(void)with;
	yard_open(&y, "auto", 1);
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		driver_store16(driver()->desc + 14, flags[i]);
		front_kick(&y.rig.queues[0]);
		CHECK_EQ(front_settle(&y.rig.front), 0);
	}
	driver_store16(driver()->desc + 14, 0);
	CHECK_EQ(driver_poll(driver(), &used), 0);
	CHECK_EQ(front_signals(y.rig.queues[0].err), 0);
	yard_reads(&y);
	yard_check(&y);
}

/* What the driver asks for in event suppression may be any number; calls may come or not. */
static void event_suppression_of_any_value(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	for (unsigned i = 0; i < 400; i++) {
		uint32_t any = (uint32_t)harness_random();

		memcpy(driver()->avail + (harness_packed() ? 0 : 4 + 2 * RIG_RING_SIZE), &any,
			harness_packed() ? 4 : 2);
		yard_reads(&y);
	}
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH(data_that_is_nowhere_fails_its_request),
	CASE_OF_EACH(data_of_4_gib_fails_its_request),
	CASE_OF_EACH_FORMAT(a_header_that_is_nowhere_fails_its_request),
	CASE_OF_EACH_FORMAT(flags_that_mean_nothing),
	CASE_PACKED(flags_of_a_packed_table_are_ignored),
	CASE_PACKED(avail_and_used_say_that_there_is_nothing),
	CASE_OF_EACH_FORMAT(event_suppression_of_any_value),
};
HARNESS_MAIN(cases)
