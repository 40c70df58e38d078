/* net devices with --bridge: frames between the guests of one process. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../front/nic.h"

enum { COUNT = 3 };

static struct nic nics[COUNT];
static struct vubox vubox;
static unsigned char frame[NIC_FRAME_MAX], got[NIC_FRAME_MAX];

static const char *const names[COUNT] = { "a", "b", "c" };

static void serve(const char *option)
{
	static char paths[COUNT][128];
	const char *words[20];
	unsigned n = 0;

	for (unsigned i = 0; i < COUNT; i++)
		snprintf(paths[i], sizeof(paths[i]), "--socket-path=%s", harness_path(names[i]));
	words[n++] = "--bridge=lan";
	if (option)
		words[n++] = option;
	for (unsigned i = 1; i < COUNT; i++) {
		words[n++] = "--";
		words[n++] = "net";
		words[n++] = "--bridge=lan";
		words[n++] = paths[i];
	}
	words[n] = NULL;
	snprintf(vubox.socket, sizeof(vubox.socket), "%s", harness_path(names[0]));
	vubox_start(&vubox, "net", words);
}

static void open_nic(unsigned i, uint64_t features, uint32_t buffer)
{
	nic_open(&nics[i], names[i], features, buffer);
	nic_offer(&nics[i]);
}

/* A vubox, and as many guests. */
static void start(unsigned count, uint64_t features, uint32_t buffer)
{
	serve(NULL);
	for (unsigned i = 0; i < count; i++)
		open_nic(i, features, buffer);
}

static void make(unsigned to, unsigned from, uint32_t len)
{
	harness_fill(frame, len);
	nic_address(frame, to, from);
}

static void passes(unsigned from, unsigned to, uint32_t len)
{
	make(to + 1, from + 1, len);
	nic_send(&nics[from], NULL, frame, len);
	CHECK_EQ(nic_receive(&nics[to], NULL, got), len);
	CHECK_BYTES(got, frame, len);
	nic_offer(&nics[to]);
}

/* Makes the addresses known. */
static void say_hello(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		make(NIC_BROADCAST, i + 1, 60);
		nic_send(&nics[i], NULL, frame, 60);
		for (unsigned k = 0; k < count; k++)
			if (k != i) {
				CHECK_EQ(nic_receive(&nics[k], NULL, got), 60);
				nic_offer(&nics[k]);
			}
	}
}

static void frames_pass(uint64_t features, uint32_t buffer)
{
	start(COUNT, features, buffer);
	say_hello(COUNT);
	for (unsigned i = 0; i < 300; i++) {
		uint32_t len = 14 + (uint32_t)(harness_random() % 1501);
		unsigned from = (unsigned)(harness_random() % COUNT);

		passes(from, (from + 1 + i % 2) % COUNT, len);
	}
	CHECK_EQ(nic_poll(&nics[2], NULL, got), -1);
	for (unsigned i = 0; i < COUNT; i++)
		CHECK_EQ(front_settle(&nics[i].r.front), 0);
}

static void frames_pass_in_one_buffer(const char *with)
{
	(void)with;
	frames_pass(0, 1526);
}

static void frames_pass_over_many_buffers(const char *with)
{
	(void)with;
	frames_pass(NIC_F(MRG_RXBUF), 200);
}

/* Rings without kicks, which are to be looked at. */
static void frames_pass_without_kicks(const char *with)
{
	(void)with;
	start(2, NIC_F(MRG_RXBUF), 2048);
	say_hello(2);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned q = 0; q < 2; q++)
			CHECK_EQ(front_set_vring_kick(&nics[i].r.front, q, -1), 0);
	for (unsigned i = 0; i < 50; i++)
		passes(i % 2, !(i % 2), 14 + 30 * i);
}

/* ---- offloads ---- */

static uint32_t sum_of(const unsigned char *at, uint32_t len, uint32_t sum)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	while (sum > 0xffff)
		sum = (sum >> 16) + (sum & 0xffff);
	return sum;
}

/* TCP over IPv4 with the checksum left to do, and its header. */
static struct nic_header make_tcp(unsigned to, unsigned from, uint32_t len, uint16_t gso_size)
{
	static const unsigned char ip[20] = { 0x45, 0, 0, 0, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 0,
		1, 10, 0, 0, 2 };
	uint32_t sum;

	make(to, from, len);
	memcpy(frame + 12, "\x08", 2);
	memcpy(frame + 14, ip, 20);
	frame[16] = (unsigned char)((len - 14) >> 8);
	frame[17] = (unsigned char)(len - 14);
	frame[46] = 0x50;
	frame[47] = 0x18;
	sum = sum_of(frame + 26, 8, 6 + len - 34);
	frame[50] = (unsigned char)(sum >> 8);
	frame[51] = (unsigned char)sum;
	return (struct nic_header){ .flags = 1,
		.gso_type = gso_size ? 1 : 0,
		.hdr_len = 54,
		.gso_size = gso_size,
		.csum_start = 34,
		.csum_offset = 16 };
}

static void check_tcp(const unsigned char *f, uint32_t len)
{
	CHECK_EQ(sum_of(f + 34, len - 34, sum_of(f + 26, 8, 6 + len - 34)), 0xffff);
}

/* Who takes a frame of 60 KiB gets it, who does not gets what it would have become on a wire. */
static void offloads_as_each_guest_takes_them(const char *with)
{
	uint32_t len = 54 + 60000, bytes = 0;
	struct nic_header hdr, is;

	(void)with;
	serve(NULL);
	open_nic(0, NIC_OFFLOADS | NIC_F(MRG_RXBUF), 4096);
	open_nic(1, NIC_OFFLOADS | NIC_F(MRG_RXBUF), 4096);
	open_nic(2, NIC_F(MRG_RXBUF), 4096);
	say_hello(3);
	hdr = make_tcp(2, 1, len, 4000);
	nic_send(&nics[0], &hdr, frame, len);
	CHECK_EQ(nic_receive(&nics[1], &is, got), len);
	CHECK_BYTES(got, frame, len);
	hdr.num_buffers = is.num_buffers;
	CHECK_BYTES(&is, &hdr, sizeof(hdr));
	hdr = make_tcp(3, 1, len, 4000);
	nic_send(&nics[0], &hdr, frame, len);
	for (unsigned i = 0; i < 15; i++) {
		uint32_t one = nic_receive(&nics[2], &is, got);

		nic_offer(&nics[2]);
		CHECK(is.flags == 0 && is.gso_type == 0);
		CHECK_EQ(one, 4054);
		check_tcp(got, one);
		CHECK_BYTES(got + 54, frame + 54 + bytes, 4000);
		bytes += 4000;
	}
	CHECK_EQ(nic_poll(&nics[2], &is, got), -1);
	hdr = make_tcp(3, 1, 777, 0);
	nic_send(&nics[0], &hdr, frame, 777);
	CHECK_EQ(nic_receive(&nics[2], &is, got), 777);
	check_tcp(got, 777);
}

static void headers_that_lie(const char *with)
{
	struct nic_header hdr;

	(void)with;
	start(2, NIC_OFFLOADS | NIC_F(MRG_RXBUF), 4096);
	say_hello(2);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t len = 14 + (uint32_t)(harness_random() % 3000);

		harness_fill(&hdr, sizeof(hdr));
		hdr.gso_type &= i % 2 ? 0xff : 0x85;
		make(2, 1, len);
		if (i % 3)
			memcpy(frame + 12, i % 3 == 1 ? "\x08\0\x45" : "\x86\xdd\x60", 3);
		nic_send(&nics[0], &hdr, frame, len);
		while (nic_poll(&nics[1], NULL, got) >= 0)
			;
		nic_offer(&nics[1]);
	}
	nic_close(&nics[1]);
	open_nic(1, 0, 4096); /* the same frames, for one who takes no such thing */
	for (unsigned i = 0; i < 2000; i++) {
		hdr = make_tcp(2, 1, 54 + (uint32_t)(harness_random() % 3000), 100);
		for (unsigned k = 0; k < 3; k++)
			frame[12 + harness_random() % 42] ^= (unsigned char)harness_random();
		nic_send(&nics[0], &hdr, frame, 54 + (uint32_t)(harness_random() % 3000));
		while (nic_poll(&nics[1], NULL, got) >= 0)
			;
		nic_offer(&nics[1]);
	}
	say_hello(2);
	passes(0, 1, 1000);
}

/* ---- guests that are no good neighbours ---- */

/* Keeps the sender's queue as full as it can be. */
static void flood(unsigned from, uint32_t len)
{
	while (nic_post(&nics[from], NULL, frame, len))
		;
}

static unsigned came;

static bool a_hundred_came(void)
{
	static unsigned char single[100] = { 7 };

	nic_address(single, 2, 3);
	for (unsigned i = 0; i < 1000 && came < 100; i++) {
		make(2, 1, 60);
		flood(0, 60);
		(void)nic_post(&nics[2], NULL, single, sizeof(single));
		while (nic_poll(&nics[1], NULL, got) >= 0)
			came += got[11] == 3;
		nic_offer(&nics[1]);
	}
	return came >= 100;
}

/* One floods the receiver, another one's frames still come through. */
static void a_flood_starves_nobody(const char *with)
{
	(void)with;
	start(3, NIC_F(MRG_RXBUF), 2048);
	say_hello(3);
	UNTIL(a_hundred_came());
}

/* A guest that gives no buffers loses its frames, and nobody else does. */
static void a_receiver_without_buffers(const char *with)
{
	(void)with;
	serve(NULL);
	open_nic(0, 0, 2048);
	open_nic(2, 0, 2048);
	nic_open(&nics[1], names[1], 0, 2048);
	make(NIC_BROADCAST, 2, 60);
	nic_send(&nics[1], NULL, frame, 60);
	for (unsigned i = 0; i < 1000; i++) {
		make(2, 1, 100);
		nic_send(&nics[0], NULL, frame, 100);
	}
	CHECK_EQ(nic_receive(&nics[2], NULL, got), 60);
	CHECK_EQ(nic_receive(&nics[0], NULL, got), 60);
	nic_offer(&nics[0]);
	nic_offer(&nics[2]);
	make(3, 1, 60);
	nic_send(&nics[0], NULL, frame, 60); /* to all: it is not known yet */
	CHECK_EQ(nic_receive(&nics[2], NULL, got), 60);
	nic_offer(&nics[1]);
	CHECK_EQ(front_settle(&nics[1].r.front), 0);
	passes(0, 1, 500);
}

/* Front-ends that die while they are sent to, and come back. */
static void a_receiver_that_disconnects(const char *with)
{
	(void)with;
	start(3, NIC_F(MRG_RXBUF), 2048);
	say_hello(3);
	for (unsigned i = 0; i < 20; i++) {
		make(2, 1, 1000);
		flood(0, 1000);
		nic_close(&nics[1]);
		flood(0, 1000);
		passes(2, 0, 61 + i);
		open_nic(1, NIC_F(MRG_RXBUF), 2048);
		make(NIC_BROADCAST, 2, 60);
		while (!nic_post(&nics[1], NULL, frame, 60))
			;
		while (nic_receive(&nics[0], NULL, got) != 60)
			;
		nic_offer(&nics[0]);
		while (nic_poll(&nics[2], NULL, got) >= 0)
			;
		nic_offer(&nics[2]);
	}
	CHECK_EQ(vubox_end(&vubox, 15), 0);
}

/* Rings and chains that break the receiver's queue, and only that. */
static void a_receiver_with_bad_chains(const char *with)
{
	static const struct driver_desc bad[] = {
		{ .addr = RIG_GUEST, .len = 4096, .flags = DRIVER_DESC_NEXT, .next = 4000 },
		{ .addr = 1ull << 50, .len = 4096, .flags = DRIVER_DESC_WRITE },
		{ .addr = RIG_GUEST, .len = 5, .flags = DRIVER_DESC_WRITE },
		{ .addr = RIG_GUEST, .len = 7, .flags = DRIVER_DESC_INDIRECT },
		{ .addr = ~0ull, .len = ~0u, .flags = DRIVER_DESC_WRITE },
	};

	(void)with;
	start(3, NIC_F(MRG_RXBUF), 2048);
	say_hello(3);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		nic_close(&nics[1]);
		nic_open(&nics[1], names[1], NIC_F(MRG_RXBUF), 2048);
		driver_offer_raw(&nics[1].r.queues[0].driver, &bad[i], 1);
		make(NIC_BROADCAST, 2, 60);
		nic_send(&nics[1], NULL, frame, 60);
		CHECK_EQ(nic_receive(&nics[0], NULL, got), 60);
		CHECK_EQ(nic_receive(&nics[2], NULL, got), 60);
		nic_offer(&nics[0]);
		nic_offer(&nics[2]);
		make(2, 1, 1000);
		nic_send(&nics[0], NULL, frame, 1000);
		passes(0, 2, 500);
		passes(2, 0, 500);
	}
	CHECK(vubox_said_times(&vubox, "queue 0 is broken") >= 3);
	CHECK_EQ(vubox_end(&vubox, 15), 0);
}

/* It ends in time with work to do. */
static void ending_in_a_flood(const char *with)
{
	(void)with;
	start(3, NIC_F(MRG_RXBUF), 2048);
	say_hello(3);
	for (unsigned i = 0; i < 100; i++) {
		make(NIC_BROADCAST, 1, 1000);
		flood(0, 1000);
		flood(2, 1000);
	}
	CHECK_EQ(vubox_end(&vubox, 15), 0);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(frames_pass_in_one_buffer),
	CASE_OF_EACH_FORMAT(frames_pass_over_many_buffers),
	CASE_OF_EACH_FORMAT(frames_pass_without_kicks),
	CASE_OF_EACH_FORMAT(offloads_as_each_guest_takes_them),
	CASE_OF_EACH_FORMAT(headers_that_lie),
	CASE_OF_EACH_FORMAT(a_flood_starves_nobody),
	CASE_OF_EACH_FORMAT(a_receiver_without_buffers),
	CASE_OF_EACH_FORMAT(a_receiver_that_disconnects),
	CASE_OF_EACH_FORMAT(a_receiver_with_bad_chains),
	CASE_OF_EACH_FORMAT(ending_in_a_flood),
};
HARNESS_MAIN(cases)
