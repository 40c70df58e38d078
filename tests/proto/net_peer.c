/* net devices with --peer-unix: frames over a stream, or as datagrams. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../front/nic.h"

static struct nic nic;
static struct vubox vubox;
static int listener = -1, peer = -1;
static unsigned char frame[NIC_FRAME_MAX], got[NIC_FRAME_MAX], wire[4 + NIC_FRAME_MAX];

static struct sockaddr_un address_of(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", harness_path(name));
	return a;
}

static int bound(int type, const char *name)
{
	struct sockaddr_un a = address_of(name);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	unlink(a.sun_path);
	CHECK(fd >= 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void listen_here(void)
{
	listener = bound(SOCK_STREAM, "peer");
	CHECK_EQ(listen(listener, 4), 0);
}

static void accept_one(void)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };

	CHECK_EQ(poll(&p, 1, harness_wait_ms()), 1);
	peer = accept(listener, NULL, NULL);
	CHECK(peer >= 0);
}

static void serve(const char *local)
{
	static char path[128], ours[128];
	const char *const words[] = { path, local ? ours : NULL, NULL };

	snprintf(path, sizeof(path), "--peer-unix=%s", harness_path("peer"));
	snprintf(ours, sizeof(ours), "--peer-local=%s", local ? harness_path(local) : "");
	vubox_start(&vubox, "net", words);
	strcpy(nic.r.vubox.socket, vubox.socket);
}

static void open_nic(uint64_t features, uint32_t buffer)
{
	const char *name = strrchr(vubox.socket, '/') + 1;

	nic_open(&nic, name, features, buffer);
	nic_offer(&nic);
}

static void start(uint64_t features, uint32_t buffer)
{
	listen_here();
	serve(NULL);
	accept_one();
	open_nic(features, buffer);
}

static bool link_is_up(void)
{
	unsigned char config[8];
	uint32_t have;

	CHECK_EQ(front_get_config(&nic.r.front, 0, sizeof(config), config, &have), 0);
	CHECK_EQ(have, sizeof(config));
	return (config[6] & 1) != 0;
}

static void make(uint32_t len)
{
	harness_fill(frame, len);
	nic_address(frame, NIC_BROADCAST, 1);
}

static void send_all(const void *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = send(peer, (const char *)bytes + at, len - at, MSG_NOSIGNAL);

		CHECK(n > 0);
		at += (size_t)n;
	}
}

static void receive_all(void *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		struct pollfd p = { .fd = peer, .events = POLLIN };
		ssize_t n;

		CHECK_EQ(poll(&p, 1, harness_wait_ms()), 1);
		n = recv(peer, (char *)bytes + at, len - at, 0);
		CHECK(n > 0);
		at += (size_t)n;
	}
}

static uint32_t framed(uint32_t len)
{
	wire[0] = (unsigned char)(len >> 24);
	wire[1] = (unsigned char)(len >> 16);
	wire[2] = (unsigned char)(len >> 8);
	wire[3] = (unsigned char)len;
	memcpy(wire + 4, frame, len);
	return 4 + len;
}

/* The peer receives what the guest sent. */
static void expect_frame(uint32_t len)
{
	static unsigned char bytes[4 + NIC_FRAME_MAX];

	framed(len);
	receive_all(bytes, 4 + len);
	CHECK_BYTES(bytes, wire, 4 + len);
}

/* A frame from the peer, cut somewhere, and how the guest sees it. */
static void comes_in(uint32_t len)
{
	struct nic_header hdr;
	uint32_t all, cut;

	make(len);
	all = framed(len);
	cut = (uint32_t)(harness_random() % (all + 1));
	send_all(wire, cut);
	CHECK_EQ(front_settle(&nic.r.front), 0);
	send_all(wire + cut, all - cut);
	CHECK_EQ(nic_receive(&nic, &hdr, got), len);
	CHECK(hdr.flags == 0 && hdr.gso_type == 0);
	CHECK_BYTES(got, frame, len);
	nic_offer(&nic);
}

static void frames_both_ways(const char *with)
{
	(void)with;
	start(NIC_F(MRG_RXBUF), 4096);
	CHECK(link_is_up());
	for (unsigned i = 0; i < 100; i++) {
		uint32_t len = 14 + (uint32_t)(harness_random() % (i % 10 ? 1501 : 65500));

		make(len);
		nic_send(&nic, NULL, frame, len);
		expect_frame(len);
		comes_in(len);
	}
	CHECK_EQ(vubox_end(&vubox, 15), 0);
}

/* Its frames wait in the guest's queue, and all of them come. */
static void a_peer_that_does_not_read(const char *with)
{
	unsigned posted = 0;

	(void)with;
	start(0, 2048);
	make(1500);
	/* Until nothing of it has come back for so long: socket, buffer and queue are full. */
	for (unsigned still = 0; still < 20; still++) {
		while (nic_post(&nic, NULL, frame, 1500)) {
			posted++;
			still = 0;
		}
		CHECK_EQ(front_settle(&nic.r.front), 0);
		usleep(1000);
	}
	CHECK_EQ(nic.sent, NIC_SENDS);
	CHECK(posted < 2000);
	for (unsigned i = 0; i < posted; i++)
		expect_frame(1500);
	UNTIL((nic_reap(&nic), nic.sent == 0));
}

/* What the guest has no buffers for waits, too: in the socket. */
static void a_guest_without_buffers(const char *with)
{
	(void)with;
	start(0, 2048);
	nic_close(&nic);
	nic_open(&nic, strrchr(vubox.socket, '/') + 1, 0, 2048);
	make(700);
	send_all(wire, framed(700));
	CHECK_EQ(front_settle(&nic.r.front), 0);
	nic_offer(&nic);
	CHECK_EQ(nic_receive(&nic, NULL, got), 700);
	CHECK_BYTES(got, frame, 700);
	/* One that is too long for any buffer is lost, and does not stop those behind it. */
	make(4000);
	send_all(wire, framed(4000));
	comes_in(100);
}

static void a_peer_that_goes_and_comes(const char *with)
{
	(void)with;
	serve(NULL);
	open_nic(NIC_F(MRG_RXBUF), 2048);
	CHECK(!link_is_up());
	make(100);
	nic_send(&nic, NULL, frame, 100); /* lost */
	for (unsigned i = 0; i < 3; i++) {
		listen_here();
		accept_one();
		UNTIL(link_is_up());
		make(200);
		nic_send(&nic, NULL, frame, 200);
		expect_frame(200);
		comes_in(300);
		make(1000);
		send_all(wire, framed(1000) - 7 * (i + 1));
		close(peer);
		close(listener);
		UNTIL(!link_is_up());
		nic_send(&nic, NULL, frame, 100);
	}
	CHECK_EQ(vubox_end(&vubox, 15), 0);
}

/* What is no frame ends the connection; the guest sees nothing of it. */
static void a_peer_that_speaks_something_else(const char *with)
{
	static const char *const said[] = { "GET / HTTP/1.0\r\n\r\n", "\377\377\377\377", "" };
	char byte;

	(void)with;
	start(NIC_F(MRG_RXBUF), 2048);
	for (unsigned i = 0; i < 3; i++) {
		struct pollfd p = { .events = POLLIN };

		send_all(said[i], i < 2 ? strlen(said[i]) : 4); /* the last one: a length of 0 */
		p.fd = peer;
		CHECK_EQ(poll(&p, 1, harness_wait_ms()), 1);
		CHECK(recv(peer, &byte, 1, 0) <= 0);
		close(peer);
		accept_one();
	}
	comes_in(500);
}

static void datagrams_both_ways(const char *with)
{
	struct sockaddr_un theirs;

	(void)with;
	peer = bound(SOCK_DGRAM, "peer");
	serve("local");
	open_nic(NIC_F(MRG_RXBUF), 2048);
	UNTIL(link_is_up());
	theirs = address_of("local");
	CHECK_EQ(connect(peer, (struct sockaddr *)&theirs, sizeof(theirs)), 0);
	for (unsigned i = 0; i < 50; i++) {
		uint32_t len = 14 + (uint32_t)(harness_random() % (i % 10 ? 1501 : 40000));

		make(len);
		nic_send(&nic, NULL, frame, len);
		CHECK_EQ(recv(peer, got, sizeof(got), 0), len);
		CHECK_BYTES(got, frame, len);
		make(len);
		CHECK_EQ(send(peer, i % 7 ? frame : NULL, i % 7 ? len : 0, 0), i % 7 ? len : 0);
		if (i % 7 == 0) /* an empty one is nothing */
			continue;
		CHECK_EQ(nic_receive(&nic, NULL, got), len);
		CHECK_BYTES(got, frame, len);
		nic_offer(&nic);
	}
	/* Another one takes the other's place. */
	close(peer);
	make(60);
	nic_send(&nic, NULL, frame, 60);
	UNTIL(!link_is_up());
	peer = bound(SOCK_DGRAM, "peer");
	UNTIL(link_is_up());
	nic_send(&nic, NULL, frame, 60);
	CHECK_EQ(recv(peer, got, sizeof(got), 0), 60);
	CHECK_EQ(vubox_end(&vubox, 15), 0);
	CHECK(access(theirs.sun_path, F_OK) < 0);
}

static void a_local_path_that_is_taken(const char *with)
{
	(void)with;
	peer = bound(SOCK_DGRAM, "local");
	serve("local");
	CHECK_EQ(vubox_wait(&vubox), 1);
	CHECK(vubox_said(&vubox, "local: cannot make the socket"));
	CHECK(access(harness_path("local"), F_OK) == 0);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(frames_both_ways),
	CASE_OF_EACH_FORMAT(a_peer_that_does_not_read),
	CASE_OF_EACH_FORMAT(a_guest_without_buffers),
	CASE_OF_EACH_FORMAT(a_peer_that_goes_and_comes),
	CASE_OF_EACH_FORMAT(a_peer_that_speaks_something_else),
	CASE_OF_EACH_FORMAT(datagrams_both_ways),
	CASE(a_local_path_that_is_taken),
};
HARNESS_MAIN(cases)
