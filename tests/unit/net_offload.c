/* src/dev/net_offload.c: against frames that are made whole, one after the other. */
#include "net_offload.h"

#include "unit.h"

enum { FRAME_MAX = 70000 };

/* A frame to make. */
struct shape {
	bool ipv6, udp;
	unsigned vlans, l3_options, l4_options; /* options: words of 4 or (IPv6) 8 bytes */
	uint32_t id, seq;
	uint8_t flags;
};

static uint8_t payload[FRAME_MAX], whole[FRAME_MAX], expected[FRAME_MAX];
static uint32_t at[3]; /* l3, l4, payload of the frame that was made last */

static uint32_t any(void)
{
	static uint64_t s = 1;

	s = s * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(s >> 33);
}

static void put(uint8_t *to, uint32_t v)
{
	to[0] = (uint8_t)(v >> 8);
	to[1] = (uint8_t)v;
}

static uint32_t sum(const uint8_t *p, uint32_t len, uint32_t s)
{
	for (uint32_t i = 0; i < len; i++)
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (s > 0xffff)
		s = (s >> 16) + (s & 0xffff);
	return s;
}

/* Makes a frame with the right checksums: its length. */
static uint32_t make(const struct shape *s, uint8_t *to, const uint8_t *data, uint32_t len)
{
	uint32_t n = 12, l3, l4, l4_bytes, check;
	uint32_t protocol = s->udp ? 17 : 6;

	memset(to, 0x5a, 12);
	for (unsigned i = 0; i < s->vlans; i++, n += 4)
		put(to + n, i == 0 && s->vlans == 2 ? 0x88a8 : 0x8100), put(to + n + 2, 7 + i);
	put(to + n, s->ipv6 ? 0x86dd : 0x0800);
	l3 = n + 2;
	l4 = l3 + (s->ipv6 ? 40 + 8 * s->l3_options : 20 + 4 * s->l3_options);
	l4_bytes = s->udp ? 8 : 20 + 4 * s->l4_options;
	memset(to + l3, 1, l4 + l4_bytes - l3);
	if (s->ipv6) {
		to[l3] = 0x60;
		put(to + l3 + 4, l4 + l4_bytes + len - l3 - 40);
		to[l3 + 6] = (uint8_t)protocol;
		for (unsigned i = 0; i < s->l3_options; i++) {
			uint8_t *option = to + l3 + 40 + 8 * i,
				*type = i ? option - 8 : to + l3 + 6;

			*type = i ? 60 : 0;
			option[0] = (uint8_t)protocol;
			option[1] = 0;
		}
		for (unsigned i = 0; i < 32; i++)
			to[l3 + 8 + i] = (uint8_t)(0xc0 + i);
	} else {
		to[l3] = (uint8_t)(0x40 | (5 + s->l3_options));
		put(to + l3 + 2, l4 + l4_bytes + len - l3);
		put(to + l3 + 4, s->id);
		put(to + l3 + 6, 0x4000);
		to[l3 + 9] = (uint8_t)protocol;
		put(to + l3 + 10, 0);
		for (unsigned i = 0; i < 8; i++)
			to[l3 + 12 + i] = (uint8_t)(0xc0 + i);
		put(to + l3 + 10, 0xffff ^ sum(to + l3, l4 - l3, 0));
	}
	check = l4 + (s->udp ? 6 : 16);
	if (s->udp) {
		put(to + l4 + 4, 8 + len);
	} else {
		put(to + l4 + 4, s->seq >> 16);
		put(to + l4 + 6, s->seq & 0xffff);
		to[l4 + 12] = (uint8_t)((5 + s->l4_options) << 4);
		to[l4 + 13] = s->flags;
	}
	put(to + check, 0);
	memcpy(to + l4 + l4_bytes, data, len);
	put(to + check, 0xffff ^ sum(to + l4, l4_bytes + len,
					 sum(to + l3 + (s->ipv6 ? 8 : 12), s->ipv6 ? 32 : 8,
						 protocol + l4_bytes + len)));
	if (s->udp && to[check] == 0 && to[check + 1] == 0)
		put(to + check, 0xffff);
	at[0] = l3;
	at[1] = l4;
	at[2] = l4 + l4_bytes;
	return at[2] + len;
}

static struct virtio_net_hdr header(const struct shape *s, uint32_t gso_size)
{
	uint8_t type = s->udp    ? VIRTIO_NET_HDR_GSO_UDP_L4
		       : s->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6
				 : VIRTIO_NET_HDR_GSO_TCPV4;

	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = gso_size ? type : VIRTIO_NET_HDR_GSO_NONE,
		.gso_size = le16_put((uint16_t)gso_size),
		.csum_start = le16_put((uint16_t)at[1]),
		.csum_offset = le16_put(s->udp ? 6 : 16),
	};
}

/* Cuts a frame of this shape; each segment must be as the same frame made small. */
static void cut(const struct shape *s, uint32_t len, uint32_t size)
{
	uint32_t whole_len = make(s, whole, payload, len), done = 0, n = 0;
	struct virtio_net_hdr hdr = header(s, size);
	struct net_offload o;
	struct net_piece piece;

	/* What a driver leaves there is not used. */
	put(whole + at[1] + (s->udp ? 6 : 16), any());
	if (!s->ipv6)
		put(whole + at[0] + 10, any());
	CHECK(net_offload_begin(&o, &hdr, whole, whole_len));
	do {
		struct shape one = *s;
		uint32_t part = len - done < size ? len - done : size, made;

		CHECK(net_offload_next(&o, &piece));
		one.id = s->id + n;
		one.seq = s->seq + done;
		if (n++ > 0)
			one.flags &= 0x7f;
		if (done + part < len)
			one.flags &= (uint8_t)~0x09;
		made = make(&one, expected, payload + done, part);
		CHECK_EQ(piece.header_len, at[2]);
		CHECK_EQ(piece.header_len + piece.payload_len, made);
		CHECK_BYTES(piece.headers, expected, at[2]);
		CHECK_BYTES(piece.payload, expected + at[2], part);
		done += part;
	} while (done < len);
	CHECK(!net_offload_next(&o, &piece));
}

static struct shape any_shape(void)
{
	bool ipv6 = any() % 2;

	return (struct shape){
		.ipv6 = ipv6,
		.udp = any() % 2,
		.vlans = any() % 3,
		.l3_options = any() % (ipv6 ? 4 : 11),
		.l4_options = any() % 11,
		.id = any(),
		.seq = any() % 3 ? any() : 0xffffff00,
		.flags = (uint8_t)any(),
	};
}

static void fill(void)
{
	for (unsigned i = 0; i < FRAME_MAX; i++)
		payload[i] = (uint8_t)any();
}

CASE(frames_of_any_shape_are_cut)
{
	fill();
	for (unsigned i = 0; i < 300; i++) {
		struct shape s = any_shape();
		uint32_t len = any() % (i % 8 ? 4000 : 65000);

		cut(&s, len, len / 255 + 1 + any() % 1460);
	}
}

CASE(edges_of_the_last_segment)
{
	static const uint32_t lens[] = { 0, 1, 999, 1000, 1001, 2000, 2001 };
	struct shape s = { .flags = 0xff };

	fill();
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		cut(&s, lens[i], 1000);
	s.udp = true;
	cut(&s, 255 * 1000 + 999 > 65000 ? 65000 : 0, 1000);
}

/* Of RFC 1071's own length: words of all sizes, odd ends, and a sum that is 0. */
CASE(a_checksum_is_completed)
{
	fill();
	for (uint32_t len = 0; len < 300; len++) {
		struct shape s = any_shape();
		uint32_t n = make(&s, whole, payload, len);
		struct virtio_net_hdr hdr = header(&s, 0);
		uint32_t check = at[1] + (s.udp ? 6 : 16);
		struct net_offload o;
		struct net_piece piece;

		memcpy(expected, whole, n);
		put(whole + check, sum(whole + at[0] + (s.ipv6 ? 8 : 12), s.ipv6 ? 32 : 8,
					   (s.udp ? 17 : 6) + n - at[1]));
		CHECK(net_offload_begin(&o, &hdr, whole, n));
		CHECK(net_offload_next(&o, &piece));
		CHECK_EQ(piece.header_len, 0);
		CHECK_EQ(piece.payload_len, n);
		CHECK_BYTES(piece.payload, expected, n);
		CHECK(!net_offload_next(&o, &piece));
	}
}

/* The header of the example that everybody has: its checksum is 0xb861. */
CASE(a_known_header)
{
	static const uint8_t known[20] = { 0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61,
		0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7 };
	uint8_t frame[14 + 0x73] = { [12] = 8 };
	struct virtio_net_hdr hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		.gso_size = le16_put(1000) };
	struct net_offload o;
	struct net_piece piece;

	memcpy(frame + 14, known, 20);
	put(frame + 14 + 10, 0);
	CHECK(net_offload_begin(&o, &hdr, frame, sizeof(frame)));
	CHECK(net_offload_next(&o, &piece));
	CHECK_BYTES(piece.headers + 14, known, 20);
}

CASE(a_checksum_outside_of_the_frame_is_refused)
{
	uint8_t frame[64] = { 0 };
	struct virtio_net_hdr hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
	struct net_offload o;

	for (uint32_t start = 0; start <= 66; start++)
		for (uint32_t offset = 0; offset <= 66; offset++) {
			hdr.csum_start = le16_put((uint16_t)start);
			hdr.csum_offset = le16_put((uint16_t)offset);
			CHECK_EQ(net_offload_begin(&o, &hdr, frame, 64),
				start < 64 && start + offset + 2 <= 64);
		}
	hdr.csum_start = hdr.csum_offset = le16_put(0xffff);
	CHECK(!net_offload_begin(&o, &hdr, frame, 64));
}

/* One thing at a time is wrong. */
CASE(what_cannot_be_cut_is_refused)
{
	struct shape s = { .flags = 0x18 };
	uint32_t n = make(&s, whole, payload, 3000);
	struct virtio_net_hdr good = header(&s, 1000), hdr;
	struct net_offload o;

	CHECK(net_offload_begin(&o, &good, whole, n));
	for (unsigned i = 0; i < 7; i++) {
		hdr = good;
		hdr.flags = i == 0 ? 0 : hdr.flags;
		hdr.gso_size = i == 1 ? le16_put(0) : i == 2 ? le16_put(1) : hdr.gso_size;
		hdr.gso_type = i == 3   ? VIRTIO_NET_HDR_GSO_TCPV6
			       : i == 4 ? VIRTIO_NET_HDR_GSO_UDP_L4
					: hdr.gso_type;
		hdr.gso_type = i == 5 ? VIRTIO_NET_HDR_GSO_UDP : hdr.gso_type;
		hdr.gso_size = i == 6 ? le16_put(0xffff) : hdr.gso_size;
		CHECK(!net_offload_begin(&o, &hdr, whole, n));
	}
	good.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	CHECK(net_offload_begin(&o, &good, whole, n));
	for (uint32_t len = 0; len < at[2]; len++)
		CHECK(!net_offload_begin(&o, &good, whole, len));
	whole[at[0] + 6] = 0x20; /* a fragment */
	CHECK(!net_offload_begin(&o, &good, whole, n));
	whole[at[0] + 6] = 0;
	whole[at[0]] = 0x44;
	CHECK(!net_offload_begin(&o, &good, whole, n));
	whole[at[0]] = 0x45;
	whole[at[1] + 12] = 0x40;
	CHECK(!net_offload_begin(&o, &good, whole, n));
	whole[at[1] + 12] = 0x50;
	CHECK(net_offload_begin(&o, &good, whole, n));
}

CASE(ipv6_headers_that_have_no_end)
{
	struct shape s = { .ipv6 = true, .l3_options = 5 };
	uint32_t n = make(&s, whole, payload, 3000);
	struct virtio_net_hdr hdr = header(&s, 1000);
	struct net_offload o;

	CHECK(!net_offload_begin(&o, &hdr, whole, n));
	s.l3_options = 4;
	n = make(&s, whole, payload, 3000);
	CHECK(net_offload_begin(&o, &hdr, whole, n));
	whole[at[0] + 41] = 255; /* longer than all that is copied */
	CHECK(!net_offload_begin(&o, &hdr, whole, n));
	whole[at[0] + 41] = 0;
	whole[at[0] + 6] = 43;
	whole[at[0] + 43] = 1; /* by way of another address */
	CHECK(!net_offload_begin(&o, &hdr, whole, n));
	whole[at[0] + 43] = 0;
	CHECK(net_offload_begin(&o, &hdr, whole, n));
}

/* Bytes that are anything, and headers that nearly fit them: nothing is read outside. */
CASE(frames_of_noise)
{
	static uint8_t exact[300];

	fill();
	for (unsigned i = 0; i < 100000; i++) {
		struct shape s = any_shape();
		uint32_t n = make(&s, whole, payload, any() % 64), len = any() % (n + 1);
		struct virtio_net_hdr hdr = header(&s, any() % 4 ? 1 + any() % 80 : 0);
		uint8_t *frame = exact + sizeof(exact) - len;
		struct net_offload o;
		struct net_piece piece;
		uint32_t count = 0;

		if (len > sizeof(exact))
			continue;
		memcpy(frame, whole, len);
		for (unsigned k = any() % 3; len > 0 && k > 0; k--)
			frame[any() % len] = (uint8_t)any();
		if (!net_offload_begin(&o, &hdr, frame, len))
			continue;
		while (net_offload_next(&o, &piece)) {
			CHECK(piece.header_len <= NET_HEADERS_MAX);
			CHECK(piece.payload >= frame);
			CHECK(piece.payload + piece.payload_len <= frame + len);
			count++;
		}
		CHECK(count <= NET_SEGMENTS_MAX);
	}
}
