/* src/dev/net_pcap.c: what passes, as a file for Wireshark. */
#include <errno.h>

#include "nic.h"

enum { FILE_HEADER = 24, RECORD = 16 };

static struct nic nic;
static struct fake_tap *tap;
static uint8_t file[4 << 20];
static size_t file_len;

static void start(void)
{
	fake_reset(1);
	tap = fake_tap_new("t0");
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0 --pcap=/p"), FAKE_IDLE);
	front_start(&nic.front, "/s", 3, VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_VERSION_1);
}

/* Ends vubox, and reads what it has left. */
static void read_file(void)
{
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	file_len = fake_stream_written("/p", file, sizeof(file));
	CHECK(file_len >= FILE_HEADER && file_len <= sizeof(file));
}

static uint32_t word(size_t at)
{
	uint32_t value;

	memcpy(&value, file + at, sizeof(value));
	return value;
}

/* Checks the record at `at`: its frame's length. */
static uint32_t record(size_t at)
{
	CHECK(at + RECORD <= file_len);
	CHECK(word(at) >= 1700000000 && word(at + 4) < 1000000000);
	CHECK_EQ(word(at + 8), word(at + 12));
	CHECK(word(at + 8) <= file_len - at - RECORD);
	return word(at + 8);
}

static void sends(unsigned number, uint32_t len)
{
	nic_send(&nic, NULL, nic_frame(BROADCAST, OUR_MAC, number, len), len);
	while (fake_tap_sent(tap, NULL, NULL, NULL, 0) >= 0)
		;
}

static void gets(unsigned number, uint32_t len)
{
	nic_offer(&nic, 1);
	fake_tap_frame(tap, 0, NULL, nic_frame(BROADCAST, OUR_MAC, number, len), len);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(nic_take(&nic, NULL, NULL), len);
}

CASE(both_ways_pass_into_the_file)
{
	static const uint32_t lens[] = { 14, 60, 1514, 30000, 9000, 15 };
	size_t at = FILE_HEADER;

	start();
	for (unsigned i = 0; i < 6; i++)
		if (i % 2)
			gets(i, lens[i]);
		else
			sends(i, lens[i]);
	read_file();
	CHECK_EQ(word(0), 0xa1b23c4d);
	CHECK_EQ(word(4), 2 | 4 << 16);
	CHECK(word(16) >= 65535 + 14);
	CHECK_EQ(word(20), 1);
	for (unsigned i = 0; i < 6; i++) {
		CHECK_EQ(record(at), lens[i]);
		CHECK_BYTES(file + at + RECORD, nic_frame(BROADCAST, OUR_MAC, i, lens[i]), lens[i]);
		at += RECORD + lens[i];
	}
	CHECK_EQ(at, file_len);
}

CASE(it_is_written_while_nothing_passes)
{
	start();
	CHECK_EQ(fake_stream_written("/p", file, sizeof(file)), FILE_HEADER);
	sends(1, 100);
	CHECK_EQ(rig_run(), FAKE_IDLE); /* timers go on */
	CHECK_EQ(fake_stream_written("/p", file, sizeof(file)), FILE_HEADER + RECORD + 100);
}

CASE(what_is_no_frame_or_is_filtered_is_not_in_it)
{
	uint32_t id, used;

	start();
	driver_add(&nic.front.rings[TX], &(struct buffer){ front_addr(0), HEADER + 13, false }, 1);
	driver_add(&nic.front.rings[TX],
		(struct buffer[]){
			{ front_addr(0), HEADER + 20, false }, { 1ull << 40, 100, false } },
		2);
	front_kick(&nic.front, TX);
	CHECK(driver_used(&nic.front.rings[TX], &id, &used));
	CHECK(driver_used(&nic.front.rings[TX], &id, &used));
	read_file();
	CHECK_EQ(file_len, FILE_HEADER);
}

/* Frames are lost to the file, and only to it; what is in it is whole. */
static void cannot_be_written(bool in_pieces)
{
	size_t at = FILE_HEADER;
	unsigned frames = 0;

	start();
	fake.in_pieces = in_pieces;
	for (unsigned i = 0; i < 60; i++) {
		fake.fail_mask = i >= 10 && i < 40 ? 1ull << FAKE_STREAM_WRITE : 0;
		fake.fail_one_in = 1;
		gets(i, 20000);
		sends(i, 20000);
	}
	CHECK(fake_log_has("net: /p: cannot write: "));
	CHECK(fake_log_has("frames are missing in it"));
	CHECK(fake.log_lines < 10);
	fake.in_pieces = false;
	read_file();
	for (; at < file_len; at += RECORD + 20000, frames++)
		CHECK_EQ(record(at), 20000);
	CHECK_EQ(at, file_len);
	CHECK(frames > 40 && frames < 120);
}

CASE(a_file_that_cannot_be_written)
{
	cannot_be_written(false);
}

CASE(a_file_that_is_written_in_pieces)
{
	cannot_be_written(true);
}

CASE(a_file_that_cannot_be_made)
{
	fake_reset(1);
	fake.fail_at[FAKE_STREAM_OPEN] = 1;
	CHECK_EQ(rig_main("vubox net -s /s --tap=t0 --pcap=/p"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, EXIT_FAILED);
	CHECK(fake_log_has("vubox: net: --pcap=/p: cannot open: "));
}

CASE(more_files_than_there_are_buffers)
{
	fake_reset(1);
	CHECK_EQ(
		rig_main("vubox net -s /0 --bridge=b --pcap=/p0 -- net -s /1 --bridge=b --pcap=/p1 "
			 "-- net -s /2 --bridge=b --pcap=/p2 -- net -s /3 --bridge=b --pcap=/p3 "
			 "-- net -s /4 --bridge=b --pcap=/p4"),
		FAKE_EXITED);
	CHECK_EQ(fake.exit_status, EXIT_FAILED);
	CHECK(fake_log_has("--pcap=/p4: more than 4 of them"));
}
