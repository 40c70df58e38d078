/* Frames that a guest leaves to be completed: cut or not, every byte of them is its own. */
#include <stdlib.h>
#include <string.h>

#include "fake_port.h"
#include "net_offload.h"

static uint32_t sum_of(const uint8_t *at, uint32_t len, uint32_t sum)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	while (sum > 0xffff)
		sum = (sum >> 16) + (sum & 0xffff);
	return sum;
}

/* What any receiver would look at first. */
static void check_piece(const struct net_offload *o, const struct net_piece *p)
{
	const uint8_t *ip = p->headers + o->l3, *l4 = p->headers + o->l4;
	uint32_t l4_len = p->header_len - o->l4 + p->payload_len, sum;

	if (!o->ipv6 && sum_of(ip, o->l4 - o->l3, 0) != 0xffff)
		fake_die("a wrong checksum of an IP header");
	sum = sum_of(ip + (o->ipv6 ? 8 : 12), o->ipv6 ? 32 : 8, (o->udp ? 17 : 6) + l4_len);
	sum = sum_of(l4, p->header_len - o->l4, sum);
	if (sum_of(p->payload, p->payload_len, sum) != 0xffff)
		fake_die("a wrong checksum");
}

/* A header, then a frame. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct virtio_net_hdr hdr;
	struct net_offload o;
	struct net_piece piece;
	uint32_t count = 0, done = 0;
	uint8_t *frame; /* as long as it is, so that a step over its end is seen */

	if (len < sizeof(hdr))
		return 0;
	memcpy(&hdr, bytes, sizeof(hdr));
	len -= sizeof(hdr);
	frame = malloc(len + !len);
	if (!frame)
		return 0;
	memcpy(frame, bytes + sizeof(hdr), len);
	if (net_offload_begin(&o, &hdr, frame, (uint32_t)len))
		while (net_offload_next(&o, &piece)) {
			if (++count > NET_SEGMENTS_MAX)
				fake_die("too many segments");
			if (piece.payload != frame + o.headers + done)
				fake_die("a segment that does not follow the one before");
			if (piece.header_len > 0)
				check_piece(&o, &piece);
			done += piece.payload_len;
		}
	if (count > 0 && o.headers + done != len)
		fake_die("%u bytes are missing", (unsigned)len - o.headers - done);
	free(frame);
	return 0;
}
