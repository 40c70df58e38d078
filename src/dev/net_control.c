/* The control queue of the network device (VIRTIO 5.1.6.5), and the filter that it sets. */
#include <errno.h>
#include <string.h>

#include "net.h"
#include "num.h"

/* ---- the filter ---- */

static bool is_among(const struct net_macs *macs, const uint8_t *mac)
{
	for (uint32_t i = 0; i < macs->count; i++)
		if (memcmp(macs->macs[i], mac, 6) == 0)
			return true;
	return macs->overflow;
}

/* 5.1.6.5.1, .2: by its destination. */
static bool wants_address(const struct net *net, const uint8_t *to)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const struct net_filter *f = &net->filter;

	if (!f->modes || f->on[VIRTIO_NET_CTRL_RX_PROMISC])
		return true;
	if (memcmp(to, broadcast, sizeof(broadcast)) == 0)
		return !f->on[VIRTIO_NET_CTRL_RX_NOBCAST];
	if ((to[0] & 1) != 0)
		return !f->on[VIRTIO_NET_CTRL_RX_NOMULTI] &&
		       (f->on[VIRTIO_NET_CTRL_RX_ALLMULTI] || is_among(&f->multicast, to));
	return !f->on[VIRTIO_NET_CTRL_RX_NOUNI] &&
	       (f->on[VIRTIO_NET_CTRL_RX_ALLUNI] || memcmp(to, net->mac, 6) == 0 ||
		       is_among(&f->unicast, to));
}

/* 5.1.6.5.3: by its VLAN, if it has one. */
static bool wants_vlan(const struct net *net, const uint8_t head[BRIDGE_HEAD])
{
	unsigned id = (head[14] & 0xfu) << 8 | head[15];

	if (!net->filter.vlans || head[12] != 0x81 || head[13] != 0)
		return true;
	return (net->filter.vlan[id / 32] >> id % 32 & 1) != 0;
}

bool net_wants(const struct net *net, const uint8_t head[BRIDGE_HEAD])
{
	return wants_address(net, head) && wants_vlan(net, head);
}

/* ---- commands ---- */

static bool command_rx(struct net *net, uint8_t command, struct reader *in)
{
	uint64_t feature = command > VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX_EXTRA
								 : VIRTIO_NET_F_CTRL_RX;
	uint8_t on;

	if (command >= countof(net->filter.on) || (net->features & feature) == 0 ||
		!reader_get(in, &on, sizeof(on)))
		return false;
	net->filter.on[command] = on != 0;
	net->filter.modes = true;
	return true;
}

/* A guest can make chains of 4 GiB, and everybody would wait while we read them. */
enum { TABLE_MAX = 4096 };

/* One of the two tables: its number of addresses, then these. */
static bool get_table(struct reader *in, struct net_macs *macs)
{
	uint8_t mac[6];
	le32 entries;

	*macs = (struct net_macs){ 0 };
	if (!reader_get(in, &entries, sizeof(entries)) || le32_get(entries) > TABLE_MAX ||
		le32_get(entries) > reader_left(in) / sizeof(mac))
		return false;
	macs->overflow = le32_get(entries) > NET_FILTER_MACS;
	for (uint32_t i = 0; i < le32_get(entries); i++) {
		if (!reader_get(in, mac, sizeof(mac)))
			return false;
		if (i < NET_FILTER_MACS)
			memcpy(macs->macs[macs->count++], mac, sizeof(mac));
	}
	return true;
}

static bool command_mac(struct net *net, uint8_t command, struct reader *in)
{
	struct net_macs unicast, multicast;
	uint8_t mac[6];

	if (command == VIRTIO_NET_CTRL_MAC_TABLE_SET) {
		if ((net->features & VIRTIO_NET_F_CTRL_RX) == 0 || !get_table(in, &unicast) ||
			!get_table(in, &multicast))
			return false;
		net->filter.unicast = unicast;
		net->filter.multicast = multicast;
		net->filter.modes = true;
		return true;
	}
	if (command != VIRTIO_NET_CTRL_MAC_ADDR_SET ||
		(net->features & VIRTIO_NET_F_CTRL_MAC_ADDR) == 0 ||
		!reader_get(in, mac, sizeof(mac)) || (mac[0] & 1) != 0)
		return false;
	memcpy(net->mac, mac, sizeof(mac));
	return true;
}

static bool command_vlan(struct net *net, uint8_t command, struct reader *in)
{
	uint32_t bit;
	le16 id;

	if ((net->features & VIRTIO_NET_F_CTRL_VLAN) == 0 || command > VIRTIO_NET_CTRL_VLAN_DEL ||
		!reader_get(in, &id, sizeof(id)) || le16_get(id) >= 4096)
		return false;
	bit = 1u << le16_get(id) % 32;
	net->filter.vlans = true;
	if (command == VIRTIO_NET_CTRL_VLAN_ADD)
		net->filter.vlan[le16_get(id) / 32] |= bit;
	else
		net->filter.vlan[le16_get(id) / 32] &= ~bit;
	return true;
}

static bool command_mq(struct net *net, uint8_t command, struct reader *in)
{
	le16 pairs;

	if ((net->features & VIRTIO_NET_F_MQ) == 0 || command != 0 ||
		!reader_get(in, &pairs, sizeof(pairs)) || le16_get(pairs) == 0 ||
		le16_get(pairs) > net->pairs_max)
		return false;
	net->pairs_wanted = le16_get(pairs);
	net_settle(net);
	return true;
}

static bool command_offloads(struct net *net, uint8_t command, struct reader *in)
{
	le64 takes;

	if ((net->features & VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) == 0 || command != 0 ||
		!reader_get(in, &takes, sizeof(takes)) ||
		(le64_get(takes) & ~(net->features & NET_TAKES)) != 0)
		return false;
	net->takes = le64_get(takes);
	net_settle(net);
	return true;
}

static bool command_announce(struct net *net, uint8_t command)
{
	if ((net->features & VIRTIO_NET_F_GUEST_ANNOUNCE) == 0 || command != 0)
		return false;
	net->announce = false;
	return true;
}

static bool obey(struct net *net, struct reader *in)
{
	uint8_t head[2]; /* class, command */

	if (!reader_get(in, head, sizeof(head)))
		return false;
	switch (head[0]) {
	case VIRTIO_NET_CTRL_RX: return command_rx(net, head[1], in);
	case VIRTIO_NET_CTRL_MAC: return command_mac(net, head[1], in);
	case VIRTIO_NET_CTRL_VLAN: return command_vlan(net, head[1], in);
	case VIRTIO_NET_CTRL_ANNOUNCE: return command_announce(net, head[1]);
	case VIRTIO_NET_CTRL_MQ: return command_mq(net, head[1], in);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS: return command_offloads(net, head[1], in);
	default: return false;
	}
}

void net_control(struct net *net, struct request *req)
{
	uint8_t ack;

	if (writer_left(&req->out) == 0) {
		request_break(req, "a command without a place for its answer");
		return;
	}
	ack = obey(net, &req->in) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	if (!writer_put(&req->out, &ack, sizeof(ack))) {
		request_break(req, "a command whose answer has no place in shared memory");
		return;
	}
	request_done(req, sizeof(ack));
}
