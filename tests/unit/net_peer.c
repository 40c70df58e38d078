/* src/dev/net_peer.c: frames over a stream, however it is cut. */
#include "net_peer.h"

#include <errno.h>

#include "rig.h"
#include "spec/virtio.h"
#include "unit.h"

enum { RX = 0, TX = 1, HEADER = sizeof(struct virtio_net_hdr) };
enum { SEND_AT = 0, RECEIVE_AT = 0x20000, RECEIVE_BYTES = 0x8000 };

static struct front front;
static int listener, peer;

/* The peer is there from the start, and takes the cable. */
static void start(uint64_t features)
{
	fake_reset(1);
	listener = fake_listen("/p");
	CHECK_EQ(rig_main("vubox net -s /s --peer-unix=/p"), FAKE_IDLE);
	peer = fake_accept(listener);
	CHECK(peer >= 0);
	front_start(&front, "/s", 2, features | VIRTIO_F_VERSION_1);
}

static void offer(uint32_t bytes)
{
	uint32_t at = RECEIVE_AT + front.rings[RX].avail_idx % 16 * RECEIVE_BYTES;

	driver_add(&front.rings[RX], &(struct buffer){ front_addr(at), bytes, true }, 1);
	front_kick(&front, RX);
}

static uint8_t byte_of(unsigned number, uint32_t i)
{
	return (uint8_t)(number * 31 + i);
}

/* A frame as it goes over the stream: the length of all of it. */
static uint32_t framed(uint8_t *at, unsigned number, uint32_t len)
{
	at[0] = at[1] = 0;
	at[2] = (uint8_t)(len >> 8);
	at[3] = (uint8_t)len;
	for (uint32_t i = 0; i < len; i++)
		at[4 + i] = byte_of(number, i);
	return 4 + len;
}

static void expect(unsigned number, uint32_t len)
{
	static uint8_t wire[4 + 65536];
	uint32_t id, got;
	const uint8_t *at;

	CHECK(driver_used(&front.rings[RX], &id, &got));
	CHECK_EQ(got, HEADER + len);
	at = (const uint8_t *)front_data(&front, RECEIVE_AT + id % 16 * RECEIVE_BYTES);
	framed(wire, number, len);
	CHECK_BYTES(at + HEADER, wire + 4, len);
}

static void add_send(unsigned number, uint32_t len)
{
	uint8_t *at = (uint8_t *)front_data(&front, SEND_AT);

	for (uint32_t i = 0; i < len; i++)
		at[HEADER + i] = byte_of(number, i);
	driver_add(
		&front.rings[TX], &(struct buffer){ front_addr(SEND_AT), HEADER + len, false }, 1);
}

CASE(frames_go_out)
{
	static uint8_t got[4000], want[4000];
	uint32_t n;

	start(0);
	add_send(1, 100);
	front_kick(&front, TX);
	CHECK_EQ(driver_used_count(&front.rings[TX]), 1);
	n = framed(want, 1, 100);
	CHECK_EQ(fake_recv(peer, got, sizeof(got), NULL), n);
	CHECK_BYTES(got, want, n);
	add_send(2, 13); /* too short for any */
	front_kick(&front, TX);
	CHECK_EQ(driver_used_count(&front.rings[TX]), 2);
	CHECK_EQ(fake_peek(peer), -EAGAIN);
}

static void come_in(bool in_pieces)
{
	static uint8_t wire[16384];
	uint32_t len = 0, sent = 0;

	start(VIRTIO_NET_F_MRG_RXBUF);
	fake.in_pieces = in_pieces;
	for (unsigned i = 0; i < 8; i++)
		offer(2000);
	for (unsigned i = 0; i < 8; i++)
		len += framed(wire + len, i, 14 + i * 200);
	while (sent < len) {
		uint32_t part = fake_random(700) + 1;

		part = part < len - sent ? part : len - sent;
		CHECK_OK(fake_send(peer, wire + sent, part, NULL, 0));
		sent += part;
		CHECK_EQ(rig_run(), FAKE_IDLE);
	}
	for (unsigned i = 0; i < 8; i++)
		expect(i, 14 + i * 200);
	CHECK_EQ(driver_used_count(&front.rings[RX]), 0);
}

CASE(frames_come_in_however_they_are_sent)
{
	come_in(false);
}

CASE(frames_come_in_however_they_are_received)
{
	come_in(true);
}

/* The guest gives its buffer when vubox sleeps. */
static void offer_late(int64_t timeout_ns)
{
	if (timeout_ns == 0)
		return;
	fake.on_wait = NULL;
	driver_add(&front.rings[RX], &(struct buffer){ front_addr(RECEIVE_AT), 2000, true }, 1);
	fake_notify_signal(front.kick[RX]);
}

CASE(what_has_no_buffer_waits)
{
	static uint8_t wire[4000];
	uint32_t len = framed(wire, 1, 500);

	start(0);
	fake.on_wait = offer_late;
	CHECK_OK(fake_send(peer, wire, len, NULL, 0));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect(1, 500);
	CHECK_EQ(rig_device(0)->queues[RX].counts.errors, 0);
}

/* A frame that no buffer of this driver will ever hold does not stop those behind it. */
CASE(what_never_fits_is_lost)
{
	static uint8_t wire[4000];
	uint32_t len;

	start(0);
	offer(300);
	len = framed(wire, 1, 500);
	len += framed(wire + len, 2, 200);
	CHECK_OK(fake_send(peer, wire, len, NULL, 0));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect(2, 200);
	CHECK_EQ(rig_device(0)->queues[RX].counts.errors, 1);
}

static unsigned took_back(void)
{
	unsigned n = 0;
	uint32_t id, len;

	while (driver_used(&front.rings[TX], &id, &len))
		n++;
	return n;
}

/* The guest's frames wait in its queue, and none is lost. */
CASE(a_peer_that_does_not_read)
{
	static uint8_t got[1504], want[1504];
	unsigned added = 0, back = 0, came = 0;
	uint32_t have = 0;

	start(0);
	fake.socket_room = 1000;
	rig_patience_ns = 20000000;
	framed(want, 7, 1500);
	while (added - back < 8) {
		add_send(7, 1500);
		added++;
		front_kick(&front, TX);
		back += took_back();
	}
	CHECK(back > 20);
	for (unsigned i = 0; i < 10000 && came < added; i++) {
		int n = fake_recv(peer, got + have, sizeof(got) - have, NULL);

		if (n > 0)
			have += (uint32_t)n;
		if (have == sizeof(got)) {
			CHECK_BYTES(got, want, have);
			have = 0;
			came++;
		}
		rig_patience_ns = 10000000;
		(void)rig_run();
	}
	CHECK_EQ(came, added);
	CHECK_EQ(back + took_back(), added);
	CHECK_EQ(rig_device(0)->queues[TX].in_flight, 0);
}

static bool link_is_up(void)
{
	uint8_t config[VHOST_USER_CONFIG_MAX] = { 0 };

	rig_device(0)->class->config_get(rig_device(0), config);
	return (config[6] & 1) != 0;
}

static void run_for(uint64_t ns)
{
	rig_patience_ns = ns;
	(void)rig_run();
	rig_patience_ns = 0;
	fake.end_ns = 0;
}

CASE(it_connects_when_the_peer_comes)
{
	fake_reset(1);
	fake.end_ns = fake.now_ns + 3000000000;
	CHECK_EQ(rig_main("vubox net -s /s --peer-unix=/p"), FAKE_TIME);
	CHECK_EQ(fake.log_lines, 1);
	CHECK(fake_log_has("/p: cannot connect yet"));
	CHECK(fake.calls[FAKE_CONNECT] > 5 && fake.calls[FAKE_CONNECT] < 20);
	CHECK(!link_is_up());
	listener = fake_listen("/p");
	run_for(2000000000);
	CHECK(fake_accept(listener) >= 0);
	CHECK(link_is_up());
}

CASE(it_connects_again)
{
	static uint8_t wire[1000];
	uint32_t len;

	start(0);
	CHECK(link_is_up());
	offer(2000);
	/* Half of a frame is no frame, nor the beginning of the next connection's. */
	len = framed(wire, 1, 500);
	CHECK_OK(fake_send(peer, wire, len - 1, NULL, 0));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	fake_close(listener);
	fake_close(peer);
	run_for(1000000);
	CHECK(!link_is_up());
	add_send(3, 100); /* lost, and answered */
	fake_notify_signal(front.kick[TX]);
	run_for(1000000);
	CHECK_EQ(driver_used_count(&front.rings[TX]), 1);
	listener = fake_listen("/p");
	run_for(2000000000);
	peer = fake_accept(listener);
	CHECK(peer >= 0);
	len = framed(wire, 2, 300);
	CHECK_OK(fake_send(peer, wire, len, NULL, 0));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect(2, 300);
}

/* Lengths that no frame has: whoever says so cannot be followed any more. */
static void speak(const char bytes[4])
{
	start(0);
	fake_close(listener);
	offer(2000);
	CHECK_OK(fake_send(peer, bytes, 4, NULL, 0));
	run_for(1000000);
	CHECK(fake_log_has("/p: "));
	CHECK_EQ(fake_peek(peer), 0);
	CHECK(!link_is_up());
}

CASE(a_peer_that_says_nothing)
{
	speak("\0\0\0");
}

CASE(a_peer_that_says_too_much)
{
	speak("\0\1\0\27");
}

CASE(a_peer_that_speaks_something_else)
{
	speak("GET ");
}

CASE(a_guest_that_breaks_its_queue)
{
	static uint8_t wire[1000];
	uint32_t len = framed(wire, 1, 500);

	start(0);
	driver_avail(&front.rings[RX], 77);
	front_kick(&front, RX);
	CHECK_OK(fake_send(peer, wire, len, NULL, 0));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(rig_device(0)->queues[RX].broken);
	/* It may still send. */
	add_send(1, 100);
	front_kick(&front, TX);
	CHECK_EQ(driver_used_count(&front.rings[TX]), 1);
	CHECK_EQ(fake_peek(peer), 1);
}

CASE(a_front_end_that_goes_leaves_the_peer)
{
	static uint8_t wire[1000];
	uint32_t len = framed(wire, 1, 500);

	start(0);
	front_hang_up(&front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_peek(peer), -EAGAIN);
	front_start(&front, "/s", 2, VIRTIO_F_VERSION_1);
	offer(2000);
	CHECK_OK(fake_send(peer, wire, len, NULL, 0));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect(1, 500);
}
