/* net devices with --tap: frames between a guest and the kernel, over real taps. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../front/wire.h"

static struct nic nic;
static struct vubox vubox;
static unsigned char frame[NIC_FRAME_MAX], got[NIC_FRAME_MAX];

#define MERGE NIC_F(MRG_RXBUF)

static void serve(const char *option, const char *another)
{
	vubox_start(&vubox, "net",
		(const char *const[]){ "--tap=t0", option, option ? another : NULL, NULL });
}

static void open_nic(uint64_t features, uint32_t buffer)
{
	nic_open(&nic, strrchr(vubox.socket, '/') + 1, features, buffer);
}

static void start(uint64_t features, uint32_t buffer)
{
	wire_network();
	serve(NULL, NULL);
	wire_open("t0", 9000);
	open_nic(features, buffer);
	nic_offer(&nic);
}

static void make(uint32_t len)
{
	harness_fill(frame, len);
	nic_address(frame, NIC_BROADCAST, 1);
	memcpy(frame + 12, "\x88\xb5", 2); /* for experiments: the kernel does nothing with it */
}

static void goes_out(uint32_t len)
{
	make(len);
	nic_send(&nic, NULL, frame, len);
	CHECK_EQ(wire_receive(NULL, got), len);
	CHECK_BYTES(got, frame, len);
}

static void comes_in(uint32_t len)
{
	struct nic_header hdr;

	make(len);
	CHECK(wire_send(NULL, frame, len));
	CHECK_EQ(nic_receive(&nic, &hdr, got), len);
	CHECK(hdr.flags == 0 && hdr.gso_type == 0);
	CHECK_BYTES(got, frame, len);
	nic_offer(&nic);
}

static void frames_pass(uint64_t features, uint32_t buffer)
{
	start(features, buffer);
	for (unsigned i = 0; i < 300; i++) {
		goes_out(14 + (uint32_t)(harness_random() % 9001));
		comes_in(14 + (uint32_t)(harness_random() % 9001));
	}
	CHECK_EQ(nic_poll(&nic, NULL, got), -1);
	CHECK_EQ(wire_poll(NULL, got), -1);
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
}

static void frames_pass_in_one_buffer(const char *with)
{
	(void)with;
	frames_pass(0, 9026);
}

static void frames_pass_over_many_buffers(const char *with)
{
	(void)with;
	frames_pass(MERGE, 1000);
}

static void frames_pass_with_offloads(const char *with)
{
	(void)with;
	frames_pass(MERGE | NIC_OFFLOADS, 4096);
}

/* The same tap as the uplink of a bridge; it is there before the guest, and after it. */
static void frames_pass_by_a_bridge(const char *with)
{
	(void)with;
	wire_network();
	serve("--bridge=b", NULL);
	wire_open("t0", 9000);
	for (unsigned life = 0; life < 3; life++) {
		CHECK(wire_send(NULL, frame, 60)); /* it may come, or not */
		open_nic(life ? MERGE | NIC_OFFLOADS : MERGE, 4096);
		nic_offer(&nic);
		goes_out(100);
		for (CHECK(wire_send(NULL, frame, 77)); nic_receive(&nic, NULL, got) != 77;)
			;
		for (unsigned i = 0; i < 100; i++) {
			goes_out(14 + (uint32_t)(harness_random() % 9001));
			comes_in(14 + (uint32_t)(harness_random() % 9001));
		}
		nic_close(&nic);
	}
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
}

/* Nothing that the tap can hold is lost, and waiting for buffers costs no time. */
static void frames_wait_for_buffers(const char *with)
{
	enum { FRAMES = 300 };
	uint64_t cpu_ns;

	(void)with;
	wire_network();
	serve(NULL, NULL);
	wire_open("t0", 1500);
	open_nic(MERGE, 2048);
	for (unsigned i = 0; i < FRAMES; i++) {
		make(60 + i);
		memset(frame + 14, (int)(i % 256), 40);
		CHECK(wire_send(NULL, frame, 60 + i));
	}
	CHECK_EQ(front_settle(&nic.r.front), 0);
	cpu_ns = vubox_cpu_ns(&vubox);
	usleep(100000);
	CHECK(vubox_cpu_ns(&vubox) - cpu_ns < 20000000);
	for (unsigned i = 0; i < FRAMES; i++) {
		nic_offer(&nic);
		CHECK_EQ(nic_receive(&nic, NULL, got), 60 + i);
		CHECK_EQ(got[14], i % 256);
		CHECK_EQ(got[53], i % 256);
	}
}

/* ---- offloads ---- */

/* A frame of 60 KB stays one, where the guest takes it; else it comes as it would on a wire. */
static void segments_come_in(const char *with)
{
	uint32_t len = 54 + 60000;
	struct nic_header hdr, is;

	(void)with;
	start(MERGE | NIC_OFFLOADS, 4096);
	for (unsigned i = 0; i < 40; i++) {
		hdr = wire_tcp(frame, len, 1460);
		CHECK(wire_send(&hdr, frame, len));
		CHECK_EQ(nic_receive(&nic, &is, got), len);
		CHECK_BYTES(got, frame, len);
		CHECK_EQ(is.num_buffers, (len + 12 + 4095) / 4096);
		CHECK(is.flags == 1 && is.gso_type == 1 && is.gso_size == 1460);
		CHECK(is.csum_start == 34 && is.csum_offset == 16);
		nic_offer(&nic);
		comes_in(14 + i * 100);
	}
	nic_close(&nic);
	open_nic(MERGE, 4096);
	nic_offer(&nic);
	wire_segment();
	hdr = wire_tcp(frame, len, 1460);
	CHECK(wire_send(&hdr, frame, len));
	for (uint32_t at = 54; at < len;) {
		uint32_t one = nic_receive(&nic, &is, got);

		CHECK(is.flags == 0 && is.gso_type == 0 && one <= 1514);
		CHECK(wire_tcp_is_right(got, one));
		CHECK_BYTES(got + 54, frame + at, one - 54);
		at += one - 54;
		nic_offer(&nic);
	}
	CHECK_EQ(nic_poll(&nic, NULL, got), -1);
}

static void segments_go_out(const char *with)
{
	uint32_t len = 54 + 60000;
	struct nic_header hdr, is;

	(void)with;
	start(MERGE | NIC_OFFLOADS, 4096);
	hdr = wire_tcp(frame, len, 1460);
	nic_send(&nic, &hdr, frame, len);
	CHECK_EQ(wire_receive(&is, got), len);
	CHECK_BYTES(got, frame, len);
	CHECK(is.flags == 1 && is.gso_type == 1 && is.gso_size == 1460);
	/* Without the features that is no frame. */
	nic_close(&nic);
	open_nic(MERGE, 4096);
	nic_offer(&nic);
	nic_send(&nic, &hdr, frame, len);
	goes_out(100);
}

static void headers_that_lie(const char *with)
{
	struct nic_header hdr;

	(void)with;
	start(MERGE | NIC_OFFLOADS, 4096);
	for (unsigned i = 0; i < 3000; i++) {
		uint32_t len = 14 + (uint32_t)(harness_random() % (i % 10 ? 3000 : 65000));

		harness_fill(&hdr, sizeof(hdr));
		hdr.gso_type &= i % 2 ? 0xff : 0x85;
		make(len);
		if (i % 3)
			memcpy(frame + 12, i % 3 == 1 ? "\x08\0\x45" : "\x86\xdd\x60", 3);
		if (i % 4 == 0 && len >= 54)
			(void)wire_tcp(frame, len, 100);
		nic_send(&nic, &hdr, frame, len);
		while (wire_poll(NULL, got) >= 0)
			;
	}
	CHECK_EQ(front_settle(&nic.r.front), 0);
	while (wire_poll(NULL, got) >= 0)
		;
	goes_out(1000);
	comes_in(1000);
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
}

/* ---- front-ends that come and go, and vubox too ---- */

static void a_front_end_that_comes_again(const char *with)
{
	unsigned fds, maps;

	(void)with;
	start(MERGE | NIC_OFFLOADS, 4096);
	comes_in(100);
	nic_close(&nic);
	open_nic(MERGE | NIC_OFFLOADS, 4096);
	fds = vubox_fds(&vubox);
	maps = vubox_maps(&vubox);
	for (unsigned i = 0; i < 30; i++) {
		make(500);
		CHECK(wire_send(NULL, frame, 500));
		while (nic_post(&nic, NULL, frame, 500))
			;
		nic_close(&nic);
		/* Until it knows that this guest is gone, the frame may still be given to it. */
		UNTIL(vubox_fds(&vubox) < fds);
		CHECK(wire_send(NULL, frame, 500));
		open_nic(i % 2 ? MERGE : MERGE | NIC_OFFLOADS, i % 3 ? 4096 : 300);
		nic_offer(&nic);
		/* What lay in the tap meanwhile is there, whole. */
		CHECK_EQ(nic_receive(&nic, NULL, got), 500);
		while (nic_poll(&nic, NULL, got) >= 0)
			;
	}
	CHECK_EQ(vubox_fds(&vubox), fds);
	CHECK_EQ(vubox_maps(&vubox), maps);
	while (wire_poll(NULL, got) >= 0)
		;
	nic_close(&nic);
	open_nic(MERGE, 4096);
	nic_offer(&nic);
	while (nic_poll(&nic, NULL, got) >= 0)
		nic_offer(&nic);
	goes_out(100);
}

static void kill_9(const char *with)
{
	(void)with;
	wire_network();
	wire_tap("t0", false);
	serve(NULL, NULL);
	wire_open("t0", 1500);
	for (unsigned i = 0; i < 5; i++) {
		open_nic(MERGE | NIC_OFFLOADS, 4096);
		nic_offer(&nic);
		goes_out(100 + i);
		comes_in(200 + i);
		CHECK_EQ(vubox_end(&vubox, SIGKILL), -SIGKILL);
		nic_close(&nic);
		serve(NULL, NULL);
	}
	open_nic(MERGE, 4096);
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
}

static void ending_in_a_flood(const char *with)
{
	(void)with;
	start(MERGE, 2048);
	make(60);
	for (unsigned i = 0; i < 200; i++) {
		while (nic_post(&nic, NULL, frame, 60))
			;
		(void)wire_send(NULL, frame, 60);
	}
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
}

/* ---- the link, and what front-ends say of it ---- */

static bool link_is(unsigned up)
{
	unsigned char config[12];
	uint32_t have;

	CHECK_EQ(front_get_config(&nic.r.front, 0, sizeof(config), config, &have), 0);
	CHECK_EQ(have, sizeof(config));
	return (config[6] & 1u) == up;
}

static void the_link_follows_the_tap(const char *with)
{
	(void)with;
	start(MERGE, 4096);
	UNTIL(link_is(1));
	wire_set_up("t0", false);
	CHECK_EQ(kill(vubox.pid, SIGHUP), 0);
	UNTIL(link_is(0));
	make(60);
	nic_send(&nic, NULL, frame, 60); /* lost, and no reason to stop */
	wire_set_up("t0", true);
	CHECK_EQ(kill(vubox.pid, SIGHUP), 0);
	UNTIL(link_is(1));
	while (wire_poll(NULL, got) >= 0)
		;
	goes_out(100);
	comes_in(100);
}

static void messages_for_networks(const char *with)
{
	unsigned char mac[8] = { 0x52, 0x54, 0, 0, 0, 7 };
	uint64_t mtu = 1400, small = 67, none = 65536;

	(void)with;
	start(MERGE, 4096);
	CHECK_EQ(front_acked(&nic.r.front, 20, &mtu, 8, NULL, 0), 0);
	CHECK_EQ(front_acked(&nic.r.front, 20, &small, 8, NULL, 0), FRONT_REFUSED);
	CHECK_EQ(front_acked(&nic.r.front, 20, &none, 8, NULL, 0), FRONT_REFUSED);
	CHECK_EQ(front_acked(&nic.r.front, 19, mac, 8, NULL, 0), 0);
	CHECK_EQ(wire_receive(NULL, got), 60);
	CHECK_BYTES(got + 6, mac, 6);
	CHECK_BYTES(got + 12, "\x80\x35", 2);
	comes_in(100);
}

/* ---- taps of others ---- */

static void a_tap_by_descriptor(const char *with)
{
	static char socket[128];
	int fd;

	(void)with;
	wire_network();
	fd = wire_tap_open("t0", 0x1000 | 0x4000);
	snprintf(vubox.socket, sizeof(vubox.socket), "%s", harness_path("net"));
	snprintf(socket, sizeof(socket), "--socket-path=%s", vubox.socket);
	vubox_exec(&vubox, fd, (const char *const[]){ "net", "--tap-fd=3", socket, NULL });
	close(fd);
	wire_open("t0", 1500);
	open_nic(MERGE | NIC_OFFLOADS, 4096);
	nic_offer(&nic);
	goes_out(100);
	comes_in(1500);
}

/* A tap that was made for several queues does for one. */
static void a_tap_with_queues(const char *with)
{
	(void)with;
	wire_network();
	wire_tap("t0", true);
	serve(NULL, NULL);
	wire_open("t0", 1500);
	open_nic(MERGE, 4096);
	nic_offer(&nic);
	goes_out(100);
	comes_in(100);
}

static void does_not_start(const char *option, const char *another, const char *text)
{
	vubox_start(&vubox, "net", (const char *const[]){ option, another, NULL });
	CHECK_EQ(vubox_wait(&vubox), 1);
	CHECK(vubox_said(&vubox, text));
}

static void taps_that_cannot_be_used(const char *with)
{
	int fd;

	(void)with;
	wire_network();
	wire_tap("t1", false);
	does_not_start("--tap=t1", "--num-queues=2", "(with several queues it must be made so");
	fd = wire_tap_open("t1", 0x1000 | 0x4000);
	does_not_start("--tap=t1", NULL, "--tap=t1: cannot open: ");
	CHECK(vubox_said(&vubox, "(another program has it)"));
	close(fd);
	does_not_start("--tap=a234567890123456", NULL, "cannot open: ");
	does_not_start("--tap-fd=77", NULL, "--tap-fd=77: cannot use it: ");
	does_not_start("--tap-fd=2", NULL, "--tap-fd=2: cannot use it: ");
}

/* Who deletes it takes the cable away: the guest's frames are lost, and nothing spins. */
static void a_tap_that_is_deleted(const char *with)
{
	uint64_t cpu_ns;

	(void)with;
	start(MERGE | NIC_OFFLOADS, 4096);
	comes_in(100);
	if (system("ip link delete t0") != 0)
		harness_skip("there is no ip(8)");
	make(60);
	for (unsigned i = 0; i < 100; i++)
		nic_send(&nic, NULL, frame, 60);
	CHECK_EQ(kill(vubox.pid, SIGHUP), 0);
	CHECK_EQ(front_settle(&nic.r.front), 0);
	cpu_ns = vubox_cpu_ns(&vubox);
	usleep(100000);
	CHECK(vubox_cpu_ns(&vubox) - cpu_ns < 20000000);
	nic_close(&nic);
	open_nic(MERGE, 4096);
	nic_offer(&nic);
	CHECK_EQ(front_settle(&nic.r.front), 0);
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
}

/* ---- captures ---- */

static void what_passes_is_captured(const char *with)
{
	static char option[128];
	static unsigned char bytes[1 << 20];
	const char *path;
	size_t at = 24, len;
	FILE *file;

	(void)with;
	wire_network();
	path = harness_path("pcap");
	snprintf(option, sizeof(option), "--pcap=%s", path);
	serve(option, NULL);
	wire_open("t0", 9000);
	open_nic(MERGE | NIC_OFFLOADS, 4096);
	nic_offer(&nic);
	for (unsigned i = 0; i < 20; i++) {
		goes_out(100 + i);
		comes_in(9000 - i);
	}
	CHECK_EQ(vubox_end(&vubox, SIGTERM), 0);
	file = fopen(path, "rb");
	CHECK(file != NULL);
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	CHECK(len > 24);
	for (unsigned i = 0; i < 40; i++) {
		uint32_t one;

		CHECK(at + 16 <= len);
		memcpy(&one, bytes + at + 8, 4);
		CHECK_EQ(one, i % 2 ? 9000 - i / 2 : 100 + i / 2);
		at += 16 + one;
	}
	CHECK_EQ(at, len);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(frames_pass_in_one_buffer),
	CASE_OF_EACH_FORMAT(frames_pass_over_many_buffers),
	CASE_OF_EACH_FORMAT(frames_pass_with_offloads),
	CASE_OF_EACH_FORMAT(frames_wait_for_buffers),
	CASE_OF_EACH_FORMAT(segments_come_in),
	CASE_OF_EACH_FORMAT(segments_go_out),
	CASE_OF_EACH_FORMAT(headers_that_lie),
	CASE_OF_EACH_FORMAT(frames_pass_by_a_bridge),
	CASE_OF_EACH_FORMAT(a_front_end_that_comes_again),
	CASE_OF_EACH_FORMAT(kill_9),
	CASE_OF_EACH_FORMAT(ending_in_a_flood),
	CASE(the_link_follows_the_tap),
	CASE(messages_for_networks),
	CASE(a_tap_by_descriptor),
	CASE(a_tap_with_queues),
	CASE(taps_that_cannot_be_used),
	CASE(a_tap_that_is_deleted),
	CASE(what_passes_is_captured),
};
HARNESS_MAIN(cases)
