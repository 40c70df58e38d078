/* src/dev/net_bridge.c and net_rx.c: frames between the guests of one process. */
#include "net_bridge.h"

#include <stdio.h>

#include "rig.h"
#include "spec/virtio.h"
#include "unit.h"

enum { PORTS = 4, RX = 0, TX = 1, HEADER = sizeof(struct virtio_net_hdr) };
/* Places in a guest's data: what it sends, and its receive buffers. */
enum { SEND_AT = 0, RECEIVE_AT = 0x20000, RECEIVE_BYTES = 0x8000 };

static struct front fronts[PORTS];
static uint32_t receive_bytes = RECEIVE_BYTES;

#define OFFLOADS                                                                            \
	(VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 |            \
		VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_HOST_TSO4 | \
		VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_MRG_RXBUF)

static void connect_port(unsigned i, uint64_t features)
{
	char path[8];

	(void)snprintf(path, sizeof(path), "/%u", i);
	front_start(&fronts[i], path, 2, features | VIRTIO_F_VERSION_1);
}

/* Ports 0 to 3: the last one is on a bridge of its own. */
static void start(const uint64_t features[PORTS])
{
	fake_reset(1);
	CHECK_EQ(rig_main("vubox net -s /0 --bridge=a -- net -s /1 --bridge=a -- "
			  "net -s /2 --bridge=a -- net -s /3 --bridge=b"),
		FAKE_IDLE);
	for (unsigned i = 0; i < PORTS; i++)
		connect_port(i, features ? features[i] : OFFLOADS);
}

/* Gives a port n receive buffers, of receive_bytes each. */
static void offer(unsigned port, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t at = RECEIVE_AT + fronts[port].rings[RX].avail_idx % 16 * RECEIVE_BYTES;

		driver_add(&fronts[port].rings[RX],
			&(struct buffer){ front_addr(at), receive_bytes, true }, 1);
	}
	front_kick(&fronts[port], RX);
}

/* Addresses end with a number; 0xff.. is broadcast. */
static void address(uint8_t *at, unsigned number)
{
	static const uint8_t first[4] = { 0x52, 0x54, 0, 0 };

	memcpy(at, first, 4);
	at[4] = (uint8_t)(number >> 8);
	at[5] = (uint8_t)number;
	if (number == 0xffff)
		memset(at, 0xff, 6);
}

/* Sends what lies at SEND_AT, in one or two pieces; true if the request comes back. */
static bool send_as_is(unsigned port, uint32_t len)
{
	struct driver *d = &fronts[port].rings[TX];
	uint32_t id, used;

	driver_add(d,
		(struct buffer[]){ { front_addr(SEND_AT), HEADER, false },
			{ front_addr(SEND_AT + HEADER), len, false } },
		2);
	front_kick(&fronts[port], TX);
	return driver_used(d, &id, &used) && used == 0;
}

static uint8_t *frame_of(unsigned port)
{
	return (uint8_t *)front_data(&fronts[port], SEND_AT + HEADER);
}

static void put_header(unsigned port, const struct virtio_net_hdr *hdr)
{
	memcpy(front_data(&fronts[port], SEND_AT), hdr, HEADER);
}

static void send(unsigned port, unsigned from, unsigned to, uint32_t len)
{
	uint8_t *frame = frame_of(port);

	put_header(port, &(struct virtio_net_hdr){ 0 });
	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + from);
	address(frame, to);
	address(frame + 6, from);
	CHECK(send_as_is(port, len));
}

/* The next buffer that came back: its bytes, or NULL. */
static uint8_t *received(unsigned port, uint32_t *len)
{
	uint32_t id;

	if (!driver_used(&fronts[port].rings[RX], &id, len))
		return NULL;
	return (uint8_t *)front_data(&fronts[port], RECEIVE_AT + id % 16 * RECEIVE_BYTES);
}

/* That this port got that frame of port `from`, whole and in one buffer. */
static void expect(unsigned port, unsigned from, uint32_t len)
{
	static const uint8_t header[HEADER] = { [10] = 1 };
	uint32_t got;
	const uint8_t *at = received(port, &got);

	CHECK(at != NULL);
	CHECK_EQ(got, HEADER + len);
	CHECK_BYTES(at, header, HEADER);
	CHECK_BYTES(at + HEADER, frame_of(from), len);
}

static void expect_nothing(unsigned port)
{
	uint32_t len;

	CHECK(received(port, &len) == NULL);
}

static void offer_all(unsigned n)
{
	for (unsigned i = 0; i < PORTS; i++)
		offer(i, n);
}

CASE(unknown_goes_to_all_and_known_to_one)
{
	start(NULL);
	offer_all(8);
	send(0, 10, 11, 100);
	expect(1, 0, 100);
	expect(2, 0, 100);
	expect_nothing(0);
	expect_nothing(3);
	send(1, 11, 10, 60);
	expect(0, 1, 60);
	expect_nothing(2);
	send(0, 10, 11, 1514);
	expect(1, 0, 1514);
	expect_nothing(2);
	/* To itself, or behind it: it stays there. */
	send(0, 12, 10, 60);
	for (unsigned i = 0; i < PORTS; i++)
		expect_nothing(i);
}

CASE(broadcast_and_multicast_go_to_all)
{
	start(NULL);
	offer_all(8);
	send(1, 11, 0xffff, 60);
	expect(0, 1, 60);
	expect(2, 1, 60);
	address(frame_of(1), 0);
	frame_of(1)[0] = 0x33;
	CHECK(send_as_is(1, 60));
	expect(0, 1, 60);
	expect(2, 1, 60);
	expect_nothing(1);
	expect_nothing(3);
	/* Nobody is at a multicast address. */
	address(frame_of(1) + 6, 0xffff);
	CHECK(send_as_is(1, 60));
	expect(0, 1, 60);
	send(0, 10, 0xffff, 60);
	expect(2, 1, 60);
	expect(2, 0, 60);
}

CASE(made_up_addresses_push_out_no_other_port)
{
	start(NULL);
	offer_all(8);
	send(0, 10, 11, 60);
	expect(2, 0, 60);
	for (unsigned i = 0; i < 3000; i++)
		send(1, 1000 + i, 5, 60); /* port 0 and 2 run out of buffers */
	send(2, 12, 10, 60);
	CHECK_EQ(driver_used_count(&fronts[1].rings[RX]), 1);
}

CASE(addresses_are_forgotten)
{
	start(NULL);
	offer_all(8);
	send(0, 10, 11, 60);
	expect(2, 0, 60);
	fake.now_ns += (CONFIG_BRIDGE_AGE - 1) * 1000000000ull;
	send(1, 11, 10, 60);
	expect_nothing(2);
	fake.now_ns += 2 * 1000000000ull;
	send(1, 11, 10, 60);
	expect(2, 1, 60);
}

CASE(an_address_moves)
{
	start(NULL);
	offer_all(8);
	send(0, 10, 0xffff, 60);
	send(1, 10, 0xffff, 60);
	expect(0, 1, 60);
	send(2, 12, 10, 60);
	expect_nothing(0);
	/* And back, though port 0 has said so much before. */
	send(0, 10, 0xffff, 60);
	send(2, 12, 10, 60);
	expect(0, 2, 60);
}

CASE(who_has_gone_gets_nothing)
{
	start(NULL);
	offer_all(8);
	send(1, 11, 0xffff, 60);
	expect(0, 1, 60);
	expect(2, 1, 60);
	front_hang_up(&fronts[1]);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	send(0, 10, 11, 60);
	expect(2, 0, 60);
	connect_port(1, OFFLOADS);
	offer(1, 4);
	send(0, 10, 11, 60);
	expect(1, 0, 60);
}

CASE(without_buffers_a_frame_is_lost)
{
	start(NULL);
	offer(2, 8);
	send(0, 10, 0xffff, 60);
	expect(2, 0, 60);
	CHECK_EQ(rig_device(1)->queues[RX].counts.errors, 1);
	offer(1, 1);
	expect_nothing(1);
	send(0, 10, 0xffff, 60);
	expect(1, 0, 60);
}

CASE(a_frame_over_many_buffers)
{
	static uint8_t whole[2000];
	uint32_t have = 0, len;
	uint8_t *at;

	start(NULL);
	receive_bytes = 200;
	offer(1, 4);
	send(0, 10, 0xffff, 1500);
	expect_nothing(1);
	offer(1, 4);
	send(0, 10, 0xffff, 1500);
	for (unsigned n = 0; (at = received(1, &len)); n++) {
		CHECK(n == 7 || len == 200);
		memcpy(whole + have, at, len);
		have += len;
	}
	CHECK_EQ(have, HEADER + 1500);
	CHECK_EQ(whole[10], 8);
	CHECK_BYTES(whole + HEADER, frame_of(0), 1500);
}

/* Not all buffers are looked at for each frame: what comes after some is lost for this tick. */
CASE(a_flood_that_does_not_fit)
{
	struct buffer big = { front_addr(SEND_AT), HEADER + 1500, false };

	start(NULL);
	receive_bytes = 20;
	offer(1, 16);
	for (unsigned i = 0; i < 4; i++)
		driver_add(&fronts[0].rings[TX], &big, 1);
	send(0, 10, 0xffff, 60);
	expect_nothing(1);
	send(0, 10, 0xffff, 60);
	CHECK(driver_used_count(&fronts[1].rings[RX]) > 0);
}

CASE(without_merging_one_buffer_must_do)
{
	static const uint64_t features[PORTS] = { 0 };

	start(features);
	receive_bytes = 200;
	offer(1, 4);
	send(0, 10, 0xffff, 1500);
	expect_nothing(1);
	send(0, 10, 0xffff, 188);
	expect(1, 0, 188);
}

/* ---- offloads ---- */

/* A TCP segment over IPv4 of len bytes, with a partial checksum; its header for the device. */
static struct virtio_net_hdr put_tcp(unsigned port, uint32_t len, uint16_t gso_size)
{
	uint8_t *f = frame_of(port), *ip = f + 14, *tcp = ip + 20;
	uint32_t tcp_len = len - 34, sum;

	memset(f, 0, 54);
	for (uint32_t i = 54; i < len; i++)
		f[i] = (uint8_t)(i * 13);
	address(f, 0xffff);
	address(f + 6, 10);
	f[12] = 8;
	ip[0] = 0x45;
	ip[2] = (uint8_t)((len - 14) >> 8);
	ip[3] = (uint8_t)(len - 14);
	ip[9] = 6;
	ip[12] = ip[16] = 10;
	ip[15] = 1;
	ip[19] = 2;
	tcp[12] = 0x50;
	tcp[13] = 0x18;
	sum = 0x0a00 + 1 + 0x0a00 + 2 + 6 + tcp_len;
	sum = (sum & 0xffff) + (sum >> 16);
	tcp[16] = (uint8_t)(sum >> 8);
	tcp[17] = (uint8_t)sum;
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = gso_size ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE,
		.hdr_len = le16_put(gso_size ? 54 : 0),
		.gso_size = le16_put(gso_size),
		.csum_start = le16_put(34),
		.csum_offset = le16_put(16),
	};
}

/* That a received TCP segment over IPv4 adds up. */
static void check_sums(const uint8_t *f, uint32_t len)
{
	uint32_t sum = 6 + len - 34;

	for (uint32_t i = 26; i < len; i++)
		sum += i % 2 ? f[i] : (uint32_t)f[i] << 8;
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	CHECK_EQ(sum, 0xffff);
	for (uint32_t i = 14; i < 34; i++)
		sum += i % 2 ? f[i] : (uint32_t)f[i] << 8;
	CHECK_EQ((f[16] << 8) + f[17], len - 14);
}

/* Port 1 takes all, port 2 nothing: each gets what it can take. */
CASE(offloads_pass_or_are_done)
{
	static const uint64_t features[PORTS] = { OFFLOADS, OFFLOADS, VIRTIO_NET_F_MRG_RXBUF };
	struct virtio_net_hdr hdr, got;
	uint32_t len, n = 0, bytes = 0;
	uint8_t *at;

	start(features);
	offer_all(16);
	hdr = put_tcp(0, 54 + 5000, 1000);
	put_header(0, &hdr);
	CHECK(send_as_is(0, 54 + 5000));
	at = received(1, &len);
	CHECK(at && len == HEADER + 54 + 5000);
	memcpy(&got, at, HEADER);
	hdr.num_buffers = le16_put(1);
	CHECK_BYTES(&got, &hdr, HEADER);
	CHECK_BYTES(at + HEADER, frame_of(0), 54 + 5000);
	while ((at = received(2, &len))) {
		CHECK(at[0] == 0 && at[1] == 0);
		check_sums(at + HEADER, len - HEADER);
		CHECK_BYTES(at + HEADER + 54, frame_of(0) + 54 + bytes, 1000);
		bytes += len - HEADER - 54;
		n++;
	}
	CHECK_EQ(n, 5);
	CHECK_EQ(bytes, 5000);
}

/* Two that take no checksums, and one that does. */
CASE(a_checksum_is_completed_once)
{
	static const uint64_t features[PORTS] = { OFFLOADS, VIRTIO_NET_F_MRG_RXBUF, 0 };
	struct virtio_net_hdr hdr;
	uint32_t len;
	uint8_t *at;

	start(features);
	offer_all(4);
	hdr = put_tcp(0, 777, 0);
	put_header(0, &hdr);
	CHECK(send_as_is(0, 777));
	for (unsigned i = 1; i <= 2; i++) {
		at = received(i, &len);
		CHECK(at && len == HEADER + 777 && at[0] == 0);
		check_sums(at + HEADER, 777);
	}
}

CASE(headers_that_lie_go_nowhere)
{
	struct virtio_net_hdr good, bad;

	start(NULL);
	offer_all(4);
	good = put_tcp(0, 2000, 1000);
	for (unsigned i = 0; i < 5; i++) {
		bad = good;
		bad.csum_start = i == 0   ? le16_put(1999)
				 : i == 1 ? le16_put(0xffff)
					  : bad.csum_start;
		bad.flags = i == 2 ? 0 : bad.flags;
		bad.gso_size = i == 3 ? le16_put(0) : bad.gso_size;
		bad.gso_type = i == 4 ? 77 : bad.gso_type;
		put_header(0, &bad);
		CHECK(send_as_is(0, 2000));
		expect_nothing(1);
	}
	put_header(0, &good);
	CHECK(!send_as_is(0, 13) || driver_used_count(&fronts[1].rings[RX]) == 0);
	CHECK(send_as_is(0, 2000));
	CHECK_EQ(driver_used_count(&fronts[1].rings[RX]), 1);
}

/* ---- guests that break rules ---- */

CASE(a_receiver_whose_buffers_are_nowhere)
{
	start(NULL);
	offer(2, 4);
	driver_add(&fronts[1].rings[RX], &(struct buffer){ 1ull << 40, 2000, true }, 1);
	front_kick(&fronts[1], RX);
	send(0, 10, 0xffff, 60);
	CHECK(rig_device(1)->queues[RX].broken);
	CHECK(!rig_device(0)->queues[TX].broken);
	expect(2, 0, 60);
	send(0, 10, 0xffff, 60);
	expect(2, 0, 60);
	CHECK_EQ(rig_device(1)->queues[RX].in_flight, 0);
}

/* A part of what is sent is nowhere: that is the sender's fault, and nobody gets it. */
CASE(a_frame_that_is_nowhere)
{
	uint32_t id, used;

	start(NULL);
	offer_all(4);
	send(0, 10, 0xffff, 60);
	expect(1, 0, 60);
	expect(2, 0, 60);
	driver_add(&fronts[0].rings[TX],
		(struct buffer[]){
			{ front_addr(SEND_AT), HEADER + 20, false }, { 1ull << 40, 40, false } },
		2);
	front_kick(&fronts[0], TX);
	CHECK(driver_used(&fronts[0].rings[TX], &id, &used));
	CHECK_EQ(rig_device(0)->queues[TX].counts.errors, 1);
	expect_nothing(1);
	CHECK(!rig_device(1)->queues[RX].broken);
	send(0, 10, 0xffff, 60);
	expect(1, 0, 60);
}

CASE(a_receiver_with_a_bad_ring)
{
	start(NULL);
	offer(2, 4);
	driver_avail(&fronts[1].rings[RX], 77);
	front_kick(&fronts[1], RX);
	send(0, 10, 0xffff, 60);
	CHECK(rig_device(1)->queues[RX].broken);
	expect(2, 0, 60);
}

CASE(a_buffer_too_small_for_the_header)
{
	start(NULL);
	receive_bytes = 11;
	offer(1, 16);
	send(0, 10, 0xffff, 60);
	CHECK(rig_device(1)->queues[RX].broken);
	CHECK(!rig_device(0)->queues[TX].broken);
}
