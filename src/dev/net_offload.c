/* Offloads in software: checksums, and frames cut as a network card would cut them. */
#include "net_offload.h"

#include <string.h>

enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_IPV6 = 0x86dd, ETHERTYPE_VLAN = 0x8100 };
enum { ETHERTYPE_VLAN_OUTER = 0x88a8, VLANS_MAX = 2 };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { IPV6_HOP_BY_HOP = 0, IPV6_ROUTING = 43, IPV6_DESTINATION = 60, IPV6_EXTENSIONS_MAX = 4 };
enum { IPV4_BYTES = 20, IPV6_BYTES = 40, TCP_BYTES = 20, UDP_BYTES = 8 };
enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

/* ---- checksums (RFC 1071): sums of words as they lie in memory, whatever the byte order ---- */

static uint64_t sum_add(uint64_t sum, const uint8_t *at, uint32_t len)
{
	uint32_t word;

	for (; len >= 4; at += 4, len -= 4) {
		memcpy(&word, at, 4);
		sum += word;
	}
	word = 0;
	memcpy(&word, at, len);
	return sum + word;
}

/* Stores what makes the sum right; `never_zero`, as 0 says that there is none (UDP). */
static void sum_put(uint64_t sum, uint8_t *at, bool never_zero)
{
	uint32_t folded;

	sum = (sum & 0xffffffff) + (sum >> 32);
	for (unsigned i = 0; i < 3; i++) /* 33 bits, 18, 17, 16 */
		sum = (sum & 0xffff) + (sum >> 16);
	folded = 0xffff - (uint32_t)sum;
	if (folded == 0 && never_zero)
		folded = 0xffff;
	memcpy(at, &(uint16_t){ (uint16_t)folded }, 2);
}

/* ---- what a frame is ---- */

/* Both: the protocol that l4 is of, or -1. */
static int parse_ipv4(struct net_offload *o)
{
	const uint8_t *ip = o->frame + o->l3;
	uint32_t bytes;

	if (o->len - o->l3 < IPV4_BYTES)
		return -1;
	bytes = (ip[0] & 15u) * 4;
	o->l4 = o->l3 + bytes;
	/* Fragments have no header to copy. */
	if (ip[0] >> 4 != 4 || bytes < IPV4_BYTES || o->l4 > o->len ||
		(get16(ip + 6) & 0x3fff) != 0)
		return -1;
	return ip[9];
}

static int parse_ipv6(struct net_offload *o)
{
	const uint8_t *ip = o->frame + o->l3;
	int protocol;

	if (o->len - o->l3 < IPV6_BYTES || ip[0] >> 4 != 6)
		return -1;
	protocol = ip[6];
	o->l4 = o->l3 + IPV6_BYTES;
	for (unsigned i = 0; i <= IPV6_EXTENSIONS_MAX; i++) {
		const uint8_t *next = o->frame + o->l4;

		if (protocol != IPV6_HOP_BY_HOP && protocol != IPV6_ROUTING &&
			protocol != IPV6_DESTINATION)
			return protocol;
		/* With segments left, the checksum is over another address than the header's. */
		if (o->len - o->l4 < 8 || (protocol == IPV6_ROUTING && next[3] > 0))
			return -1;
		protocol = next[0];
		o->l4 += (next[1] + 1u) * 8;
		if (o->l4 > o->len)
			return -1;
	}
	return -1;
}

/* Ethernet, VLANs, IP and TCP or UDP: where each begins. */
static bool parse(struct net_offload *o)
{
	uint32_t type_at = 12, type = ETHERTYPE_VLAN, left, tcp;
	int protocol;

	for (; type == ETHERTYPE_VLAN || type == ETHERTYPE_VLAN_OUTER; type_at += 4) {
		if (type_at > 12 + 4 * VLANS_MAX || o->len < type_at + 2)
			return false;
		type = get16(o->frame + type_at);
	}
	o->l3 = type_at - 2; /* one step of 4 too far, and behind the type */
	if (type != ETHERTYPE_IPV4 && type != ETHERTYPE_IPV6)
		return false;
	o->ipv6 = type == ETHERTYPE_IPV6;
	protocol = o->ipv6 ? parse_ipv6(o) : parse_ipv4(o);
	left = o->len - o->l4;
	o->udp = protocol == PROTOCOL_UDP;
	o->headers = o->l4 + UDP_BYTES;
	if (o->udp)
		return left >= UDP_BYTES;
	if (protocol != PROTOCOL_TCP || left < TCP_BYTES)
		return false;
	tcp = (o->frame[o->l4 + 12] >> 4) * 4u;
	o->headers = o->l4 + tcp;
	return tcp >= TCP_BYTES && tcp <= left;
}

static bool begin_cutting(struct net_offload *o, const struct virtio_net_hdr *hdr)
{
	uint32_t type = hdr->gso_type & ~(uint32_t)VIRTIO_NET_HDR_GSO_ECN;

	o->size = le16_get(hdr->gso_size);
	/* 5.1.6.2: segmentation includes the checksum. */
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || o->size == 0 || !parse(o))
		return false;
	if (type == VIRTIO_NET_HDR_GSO_UDP_L4
			? !o->udp
			: o->udp || type != (o->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6
						     : VIRTIO_NET_HDR_GSO_TCPV4))
		return false;
	return o->headers <= NET_HEADERS_MAX && o->headers - o->l3 + o->size <= UINT16_MAX &&
	       (o->len - o->headers) / o->size < NET_SEGMENTS_MAX;
}

bool net_offload_begin(
	struct net_offload *o, const struct virtio_net_hdr *hdr, uint8_t *frame, uint32_t len)
{
	uint32_t start = le16_get(hdr->csum_start), at = start + le16_get(hdr->csum_offset);

	*o = (struct net_offload){ .frame = frame, .len = len };
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return begin_cutting(o, hdr);
	o->size = len;
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return true;
	if (start >= len || at + 2 > len)
		return false;
	/* What is there already is the sum of the pseudo header. */
	sum_put(sum_add(0, frame + start, len - start), frame + at, true);
	return true;
}

/* ---- segments ---- */

static void finish_ip(const struct net_offload *o, uint8_t *headers, uint32_t end)
{
	uint8_t *ip = headers + o->l3;

	if (o->ipv6) {
		put16(ip + 4, end - o->l3 - IPV6_BYTES);
		return;
	}
	put16(ip + 2, end - o->l3);
	put16(ip + 4, get16(ip + 4) + o->segment); /* each has an id of its own */
	put16(ip + 10, 0);
	sum_put(sum_add(0, ip, o->l4 - o->l3), ip + 10, false);
}

static void finish_l4(const struct net_offload *o, struct net_piece *piece)
{
	uint8_t *l4 = piece->headers + o->l4, *check = l4 + (o->udp ? 6 : 16);
	uint32_t bytes = o->headers - o->l4 + piece->payload_len;
	uint8_t pseudo[4] = { 0, o->udp ? PROTOCOL_UDP : PROTOCOL_TCP };
	uint64_t sum;

	if (o->udp) {
		put16(l4 + 4, bytes);
	} else {
		put32(l4 + 4, get32(l4 + 4) + o->at);
		if (o->at > 0)
			l4[13] &= (uint8_t)~TCP_CWR;
		if (o->at + piece->payload_len < o->len - o->headers)
			l4[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	}
	put16(check, 0);
	put16(pseudo + 2, bytes);
	sum = sum_add(0, pseudo, sizeof(pseudo));
	/* Source and destination. */
	sum = sum_add(sum, piece->headers + o->l3 + (o->ipv6 ? 8 : 12), o->ipv6 ? 32 : 8);
	sum = sum_add(sum, l4, o->headers - o->l4);
	sum_put(sum_add(sum, piece->payload, piece->payload_len), check, o->udp);
}

bool net_offload_next(struct net_offload *o, struct net_piece *piece)
{
	uint32_t left = o->len - o->headers - o->at;

	if (left == 0 && o->segment > 0)
		return false;
	piece->header_len = o->headers;
	piece->payload = o->frame + o->headers + o->at;
	piece->payload_len = left < o->size ? left : o->size;
	if (o->headers > 0) {
		memcpy(piece->headers, o->frame, o->headers);
		finish_ip(o, piece->headers, o->headers + piece->payload_len);
		finish_l4(o, piece);
	}
	o->at += piece->payload_len;
	o->segment++;
	return true;
}
