/* The control queue of net devices (VIRTIO 5.1.6.5), and pairs of queues, over real taps. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../front/wire.h"

enum { OK = 0, ERR = 1, ACK_BYTES = 1 };

/* Features of the control queue. */
#define CONTROL                                                                                    \
	(1ull << 2 | 1ull << 17 | 1ull << 18 | 1ull << 19 | 1ull << 20 | 1ull << 21 | 1ull << 23 | \
		NIC_F(MRG_RXBUF) | NIC_OFFLOADS)
#define MQ (1ull << 22)

static struct nic nic;
static struct vubox vubox;
static struct front_queue *control;
static unsigned char frame[NIC_FRAME_MAX], got[NIC_FRAME_MAX];

static void serve(const char *option)
{
	wire_network();
	vubox_start(&vubox, "net",
		(const char *const[]){ "--tap=t0", "--mac=52:54:00:00:00:05", option, NULL });
	wire_open("t0", 1500);
}

/* With its control queue behind this many pairs. */
static void open_nic(uint64_t features, unsigned pairs)
{
	nic_open(&nic, strrchr(vubox.socket, '/') + 1, features, 2048);
	for (unsigned i = 2; i < 2 * pairs; i++)
		rig_start(&nic.r, rig_queue(&nic.r));
	control = rig_queue(&nic.r);
	rig_start(&nic.r, control);
	nic_offer(&nic);
}

static void start(uint64_t features)
{
	serve(NULL);
	open_nic(features, 1);
}

/* Where commands lie: behind the longest frame that the last slot may have. */
static uint64_t place(void)
{
	return nic.r.slots + (uint64_t)RIG_SLOTS * RIG_SLOT_BYTES - 0x4000;
}

/* Sends a command, cut anywhere: its answer. */
static unsigned command_bytes(const void *bytes, uint32_t len)
{
	struct driver_buffer b[5];
	struct driver_chain chain = { .buffers = b };
	struct driver_used used;
	unsigned char ack = 0xaa;
	uint32_t at = 0;

	CHECK(driver_write(&nic.r.memory.driver, place() + 0x2000, &ack, 1));
	CHECK(driver_write(&nic.r.memory.driver, place(), bytes, len));
	while (at < len) {
		uint32_t part =
			chain.count == 3 ? len - at : 1 + (uint32_t)(harness_random() % (len - at));

		b[chain.count++] = (struct driver_buffer){ place() + at, part, false };
		at += part;
	}
	b[chain.count++] = (struct driver_buffer){ place() + 0x2000, ACK_BYTES, true };
	CHECK(driver_add(&control->driver, &chain) >= 0);
	front_queue_offer(control);
	CHECK_EQ(front_queue_wait(control, &used, harness_wait_ms()), 0);
	CHECK_EQ(used.len, ACK_BYTES);
	CHECK(driver_read(&nic.r.memory.driver, place() + 0x2000, &ack, 1));
	return ack;
}

static unsigned command(unsigned class, unsigned what, const void *data, uint32_t len)
{
	unsigned char bytes[0x1000] = { (unsigned char)class, (unsigned char)what };

	memcpy(bytes + 2, data, len);
	return command_bytes(bytes, 2 + len);
}

static bool comes(unsigned to, int vlan)
{
	bool is;

	harness_fill(frame, 100);
	nic_address(frame, to, 1);
	memcpy(frame + 12, "\x88\xb5", 2);
	if (vlan >= 0) {
		memcpy(frame + 12, "\x81\0", 2);
		frame[14] = (unsigned char)(vlan >> 8);
		frame[15] = (unsigned char)vlan;
	}
	CHECK(wire_send(NULL, frame, 100));
	nic_address(frame, NIC_BROADCAST, 99); /* always comes, behind it */
	memcpy(frame + 12, "\x88\xb5", 2);
	CHECK(wire_send(NULL, frame, 101));
	is = nic_receive(&nic, NULL, got) == 100;
	if (is)
		CHECK_EQ(nic_receive(&nic, NULL, got), 101);
	nic_offer(&nic);
	return is;
}

static void filters(const char *with)
{
	unsigned char table[4 + 6 * 70 + 4] = { 0 };
	static const unsigned char vlan_7[2] = { 7, 0 };

	(void)with;
	start(CONTROL);
	CHECK(comes(5, -1) && comes(6, -1) && comes(6, 7));
	CHECK_EQ(command(0, 0, "\0", 1), OK);
	CHECK(comes(5, -1) && !comes(6, -1));
	memcpy(table + 4, "\x52\x54\0\0\0\x06", 6);
	table[0] = 1;
	CHECK_EQ(command(1, 0, table, 4 + 6 + 4), OK);
	CHECK(comes(6, -1) && !comes(7, -1));
	table[0] = 70;
	CHECK_EQ(command(1, 0, table, sizeof(table)), OK);
	CHECK(comes(7, -1)); /* more than are kept: all */
	CHECK_EQ(command(1, 0, table, sizeof(table) - 1), ERR);
	CHECK_EQ(command(2, 0, vlan_7, 2), OK);
	CHECK(comes(5, 7) && !comes(5, 8) && comes(5, -1));
	CHECK_EQ(command(2, 1, vlan_7, 2), OK);
	CHECK(!comes(5, 7));
	/* Another driver begins with all of it. */
	nic_close(&nic);
	open_nic(CONTROL, 1);
	CHECK(comes(5, 8) && comes(7, -1));
}

/* TUNSETOFFLOAD, from inside the cage. */
static void offloads_turned_off_and_on(const char *with)
{
	uint32_t len = 54 + 20000;
	struct nic_header hdr, is;
	uint64_t takes = NIC_F(GUEST_CSUM) | NIC_F(GUEST_TSO4), more = takes | 1ull << 10;

	(void)with;
	start(CONTROL);
	wire_segment();
	for (unsigned i = 0; i < 4; i++) {
		uint64_t now = i % 2 ? 0 : takes;
		uint32_t sum = 0;

		CHECK_EQ(command(5, 0, &now, sizeof(now)), OK);
		hdr = wire_tcp(frame, len, 1460);
		CHECK(wire_send(&hdr, frame, len));
		while (sum < 20000) {
			uint32_t one = nic_receive(&nic, &is, got);

			nic_offer(&nic);
			CHECK(i % 2 ? one <= 1514 && is.gso_type == 0 : one == len);
			sum += one - 54;
		}
		CHECK_EQ(sum, 20000);
	}
	CHECK_EQ(command(5, 0, &more, sizeof(more)), ERR);
}

/* As many pairs as the driver says take frames: the tap has queues for them (TUNSETQUEUE). */
static void pairs(const char *with)
{
	static const unsigned char count[][2] = { { 2, 0 }, { 1, 0 }, { 0, 0 }, { 3, 0 },
		{ 0, 1 } };

	(void)with;
	serve("--num-queues=2");
	open_nic(CONTROL | MQ, 2);
	CHECK(comes(5, -1));
	for (unsigned i = 0; i < 20; i++) {
		CHECK_EQ(command(4, 0, count[i % 2], 2), OK);
		CHECK_EQ(command(4, 0, count[2 + i % 3], 2), ERR);
		CHECK_EQ(command(4, 1, count[0], 2), ERR);
		/* (Which of its queues a frame comes to is the kernel's choice.) */
		if (i % 2)
			CHECK(comes(5, -1));
		harness_fill(frame, 100);
		nic_address(frame, NIC_BROADCAST, 5);
		nic_send(&nic, NULL, frame, 100);
		CHECK_EQ(wire_receive(NULL, got), 100);
	}
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
	CHECK(!vubox_said(&vubox, "cannot"));
}

/* A front-end that has the control queue for itself, as QEMU: it enables and disables pairs. */
static void pairs_without_a_control_queue(const char *with)
{
	(void)with;
	serve("--num-queues=2");
	nic_open(&nic, strrchr(vubox.socket, '/') + 1, NIC_F(MRG_RXBUF) | MQ, 2048);
	rig_start(&nic.r, rig_queue(&nic.r));
	rig_start(&nic.r, rig_queue(&nic.r));
	nic_offer(&nic);
	for (unsigned i = 0; i < 10; i++) {
		CHECK_EQ(front_set_vring_enable(&nic.r.front, 2, i % 2), 0);
		CHECK_EQ(front_set_vring_enable(&nic.r.front, 3, i % 2), 0);
	}
	CHECK_EQ(front_set_vring_enable(&nic.r.front, 2, false), 0);
	CHECK(comes(5, -1));
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
	CHECK(!vubox_said(&vubox, "cannot"));
}

static void any_commands(const char *with)
{
	static unsigned char bytes[0x1000];

	(void)with;
	start(CONTROL);
	for (unsigned i = 0; i < 5000; i++) {
		uint32_t len = (uint32_t)(harness_random() % (i % 8 ? 24 : sizeof(bytes)));

		harness_fill(bytes, len);
		bytes[0] %= i % 16 ? 6 : 255;
		bytes[1] %= i % 16 ? 6 : 255;
		if (i % 3 == 0)
			memset(bytes + 3, 0, 3);
		CHECK(command_bytes(bytes, len) <= ERR);
	}
	nic_close(&nic);
	open_nic(CONTROL, 1);
	CHECK(comes(5, 9) && comes(6, -1));
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
}

/* No place for the answer: the control queue breaks, and frames still pass. */
static void a_command_without_an_answer(const char *with)
{
	struct driver_buffer b = { 0, 2, false };
	struct driver_chain chain = { .buffers = &b, .count = 1 };

	(void)with;
	start(CONTROL);
	b.guest = place();
	CHECK(driver_add(&control->driver, &chain) >= 0);
	front_queue_offer(control);
	UNTIL(vubox_said(&vubox, "queue 2 is broken: the driver gave a command without a place"));
	CHECK(comes(5, -1) && comes(6, 9));
}

/* A table of 1.2 GiB, in a few pages: it is refused, and nobody waits meanwhile. */
static void a_table_without_end(const char *with)
{
	enum { PIECES = 110, PIECE = 12 << 20 };
	static struct driver_buffer b[PIECES + 2];
	struct driver_chain chain = { .buffers = b };
	struct driver_used used;
	/* 200 million addresses, and all of them are there. */
	unsigned char head[6] = { 1, 0, 0, 0, 0, 0x0c }, ack = 0xaa;
	uint64_t cpu_ns;

	(void)with;
	start(CONTROL);
	CHECK(driver_write(&nic.r.memory.driver, place(), head, sizeof(head)));
	CHECK(driver_write(&nic.r.memory.driver, place() + 0x2000, &ack, 1));
	b[chain.count++] = (struct driver_buffer){ place(), sizeof(head), false };
	while (chain.count <= PIECES)
		b[chain.count++] = (struct driver_buffer){ RIG_GUEST, PIECE, false };
	b[chain.count++] = (struct driver_buffer){ place() + 0x2000, 1, true };
	cpu_ns = vubox_cpu_ns(&vubox);
	CHECK(driver_add(&control->driver, &chain) >= 0);
	front_queue_offer(control);
	CHECK_EQ(front_queue_wait(control, &used, harness_wait_ms()), 0);
	CHECK(driver_read(&nic.r.memory.driver, place() + 0x2000, &ack, 1));
	CHECK_EQ(ack, ERR);
	CHECK(vubox_is_sanitized() || vubox_cpu_ns(&vubox) - cpu_ns < 200000000);
	CHECK(comes(5, -1));
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(filters),
	CASE_OF_EACH_FORMAT(offloads_turned_off_and_on),
	CASE_OF_EACH_FORMAT(pairs),
	CASE_OF_EACH_FORMAT(pairs_without_a_control_queue),
	CASE_OF_EACH_FORMAT(any_commands),
	CASE_OF_EACH_FORMAT(a_command_without_an_answer),
	CASE_OF_EACH_FORMAT(a_table_without_end),
};
HARNESS_MAIN(cases)
