/* Network device (VIRTIO 5.1): frames between a guest and a tap, a bridge, or another program. */
#include "net.h"

#include <errno.h>
#include <string.h>

#include "num.h"
#include "panic.h"
#include "spec/virtio.h"

enum {
	OPT_TAP,
	OPT_TAP_FD,
	OPT_BRIDGE,
	OPT_PEER_UNIX,
	OPT_PEER_LOCAL,
	OPT_MAC,
	OPT_MTU,
	OPT_NUM_QUEUES,
	OPT_QUEUE_SIZE,
	OPT_PCAP,
};

enum { MTU_MIN = 68, MTU_MAX = 65535 };

static const struct option options[] = {
	[OPT_TAP] = { "tap", 't', OPTION_TEXT, "NAME", NULL, 0, 0,
		"connect it to this tap device, which is made if need be" },
	[OPT_TAP_FD] = { "tap-fd", 0, OPTION_NUMBER, "N", NULL, 0, INT32_MAX,
		"connect it to this open tap device" },
	[OPT_BRIDGE] = { "bridge", 0, OPTION_TEXT, "NAME", NULL, 0, 0,
		"connect it to all devices of this process with that name" },
	[OPT_PEER_UNIX] = { "peer-unix", 0, OPTION_TEXT, "PATH", NULL, 0, 0,
		"connect it to a program that listens there (passt, QEMU)" },
	[OPT_PEER_LOCAL] = { "peer-local", 0, OPTION_TEXT, "PATH", NULL, 0, 0,
		"… by datagrams, which are received here" },
	[OPT_MAC] = { "mac", 'm', OPTION_TEXT, "MAC", NULL, 0, 0,
		"its address (default: a random one)" },
	[OPT_MTU] = { "mtu", 0, OPTION_NUMBER, "N", NULL, MTU_MIN, MTU_MAX, "tell the guest so" },
	[OPT_NUM_QUEUES] = { "num-queues", 'q', OPTION_NUMBER, "PAIRS", "1", 1,
		CONFIG_NET_PAIRS_MAX, "offer so many pairs of queues" },
	[OPT_QUEUE_SIZE] = { "queue-size", 0, OPTION_NUMBER, "N", TEXT_OF(CONFIG_RING_SIZE_MAX), 4,
		CONFIG_RING_SIZE_MAX, "accept rings of so many entries" },
	[OPT_PCAP] = { "pcap", 0, OPTION_TEXT, "FILE", NULL, 0, 0,
		"write what passes there, for Wireshark" },
};

static struct {
	struct net nets[CONFIG_DEVICES_MAX];
	uint32_t count;
} state;

/* ---- opening ---- */

static int hex(char c)
{
	return c >= '0' && c <= '9'                     ? c - '0'
	       : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
							: -1;
}

/* "52:54:00:12:34:56", of one station. */
static bool parse_mac(const char *text, uint8_t mac[6])
{
	for (unsigned i = 0; i < 6; i++, text += 3) {
		int high = hex(text[0]), low = high < 0 ? -1 : hex(text[1]);

		if (low < 0 || text[2] != (i < 5 ? ':' : 0))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return (mac[0] & 1) == 0;
}

static int net_mac(struct net *net, const struct option_value *v)
{
	int error;

	if (v->text) {
		if (parse_mac(v->text, net->mac))
			return EXIT_OK;
		log_error(net->dev->name, "--mac=%s: no address of a station, as 52:54:00:12:34:56",
			v->text);
		return EXIT_USAGE;
	}
	error = port_random(net->mac, sizeof(net->mac));
	if (error < 0) {
		log_error(
			net->dev->name, "cannot draw an address (say --mac): %s", log_errno(error));
		return EXIT_FAILED;
	}
	net->mac[0] = (uint8_t)((net->mac[0] | 2) & ~1u); /* local, one station */
	return EXIT_OK;
}

static int net_check_options(struct device *dev, const struct option_value *v)
{
	unsigned taps = v[OPT_TAP].given + v[OPT_TAP_FD].given;

	/* A bridge may have a tap, too: its uplink. */
	if (taps > 1 || v[OPT_PEER_UNIX].given == (taps > 0 || v[OPT_BRIDGE].given))
		log_error(dev->name, "say what it is connected to: one of --tap=NAME, --tap-fd=N, "
				     "--bridge=NAME, --peer-unix=PATH");
	else if (v[OPT_PEER_LOCAL].given && !v[OPT_PEER_UNIX].given)
		log_error(dev->name, "--peer-local needs --peer-unix=PATH");
	else if (v[OPT_TAP_FD].given && !v[OPT_BRIDGE].given && v[OPT_NUM_QUEUES].number > 1)
		log_error(dev->name, "--tap-fd is one queue: --num-queues must be 1");
	else if (!num_is_power_of_2(v[OPT_QUEUE_SIZE].number))
		log_error(dev->name, "--queue-size=%s: not a power of two", v[OPT_QUEUE_SIZE].text);
	else
		return EXIT_OK;
	return EXIT_USAGE;
}

/* The peer's cable was plugged in, or out. */
static void peer_changed(struct device *dev)
{
	struct net *net = dev->state;

	net_set_link(net, peer_is_up(net->peer));
}

static bool bridge_wanted(const struct device *dev, const uint8_t head[BRIDGE_HEAD])
{
	return net_wants(dev->state, head);
}

static int net_link(struct net *net, const struct option_value *v)
{
	struct device *dev = net->dev;

	net->link_up = true;
	if (v[OPT_BRIDGE].given) {
		net->bridge = bridge_join(v[OPT_BRIDGE].text, dev, bridge_wanted);
		if (v[OPT_TAP].given || v[OPT_TAP_FD].given) {
			net->uplink = tap_open(net, v[OPT_TAP].text, (int)v[OPT_TAP_FD].number,
				v[OPT_BRIDGE].text);
			return net->uplink ? EXIT_OK : EXIT_FAILED;
		}
	} else if (v[OPT_PEER_UNIX].given) {
		net->peer = peer_open(dev, &(struct peer_options){ v[OPT_PEER_UNIX].text,
						   v[OPT_PEER_LOCAL].text, peer_changed });
		net->link_up = false;
	} else {
		net->tap = tap_open(net, v[OPT_TAP].text, (int)v[OPT_TAP_FD].number, NULL);
		net->link_up = net->tap && tap_is_up(net->tap);
	}
	return net->bridge || net->peer || net->tap ? EXIT_OK : EXIT_FAILED;
}

static int net_open(struct device *dev, const struct option_value *v)
{
	struct net *net = &state.nets[state.count++];
	int error = net_check_options(dev, v);

	ASSERT(state.count <= CONFIG_DEVICES_MAX);
	net->dev = dev;
	dev->state = net;
	if (error == EXIT_OK)
		error = net_mac(net, &v[OPT_MAC]);
	if (error != EXIT_OK)
		return error;
	memcpy(net->own_mac, net->mac, sizeof(net->mac));
	net->mtu = (uint16_t)v[OPT_MTU].number;
	net->pairs_max = (unsigned)v[OPT_NUM_QUEUES].number;
	net->pairs_wanted = 1;
	dev->queue_count = (uint16_t)(2 * net->pairs_max + 1);
	dev->queue_size_max = (uint16_t)v[OPT_QUEUE_SIZE].number;
	dev->whole_table = net->pairs_max > 1;
	error = net_link(net, v);
	if (error == EXIT_OK && v[OPT_PCAP].given) {
		net->pcap = pcap_open(dev, v[OPT_PCAP].text);
		error = net->pcap ? EXIT_OK : EXIT_FAILED;
	}
	return error;
}

static void net_close(struct device *dev)
{
	struct net *net = dev->state;

	if (net->tap)
		tap_close(net->tap);
	if (net->uplink)
		tap_close(net->uplink);
	if (net->peer)
		peer_close(net->peer);
	if (net->pcap)
		pcap_close(net->pcap);
}

static unsigned net_paths(const struct device *dev, struct port_cage_path *paths)
{
	const struct net *net = dev->state;

	return net->peer ? peer_paths(net->peer, paths) : 0;
}

/* ---- features and configuration space ---- */

static uint64_t net_features(const struct device *dev)
{
	const struct net *net = dev->state;
	uint64_t features = VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF |
			    VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX |
			    VIRTIO_NET_F_CTRL_RX_EXTRA | VIRTIO_NET_F_CTRL_VLAN |
			    VIRTIO_NET_F_CTRL_MAC_ADDR | VIRTIO_NET_F_GUEST_ANNOUNCE;

	if (net->pairs_max > 1)
		features |= VIRTIO_NET_F_MQ;
	if (net->mtu > 0)
		features |= VIRTIO_NET_F_MTU;
	if (net->tap)
		features |= tap_features(net->tap);
	if (net->bridge)
		features |= VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 |
			    VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_USO |
			    (NET_TAKES & ~VIRTIO_NET_F_GUEST_UFO);
	if ((features & VIRTIO_NET_F_GUEST_CSUM) != 0)
		features |= VIRTIO_NET_F_CTRL_GUEST_OFFLOADS;
	return features;
}

uint16_t net_control_queue(const struct net *net)
{
	return (uint16_t)((net->features & VIRTIO_NET_F_MQ) != 0 ? 2 * net->pairs_max : 2);
}

/* The pairs from the first one on whose receive queues work, as far as the driver wants them. */
static unsigned count_pairs(const struct net *net)
{
	const struct queue *queues = net->dev->queues;
	size_t n = 0, max = 1;

	if ((net->features & VIRTIO_NET_F_MQ) != 0)
		/* A front-end that keeps the control queue for itself enables and disables them. */
		max = queues[2 * (size_t)net->pairs_max].started ? net->pairs_wanted
								 : net->pairs_max;
	while (n < max && queues[2 * n].started && queues[2 * n].enabled)
		n++;
	return (unsigned)n;
}

void net_settle(struct net *net)
{
	net->pairs = net->dev->queues ? count_pairs(net) : 0;
	if (net->tap)
		tap_set(net->tap);
	if (net->bridge)
		bridge_set(net->bridge, net->pairs,
			(net->features & ~NET_TAKES) | (net->takes & NET_TAKES));
}

static void net_queue_changed(struct device *dev, const struct queue *q)
{
	(void)q;
	net_settle(dev->state);
}

static void net_accept(struct device *dev, uint64_t features)
{
	struct net *net = dev->state;

	net->features = features;
	net->takes = features & NET_TAKES;
	if (features == 0) {
		net->filter = (struct net_filter){ 0 };
		net->pairs_wanted = 1;
		net->announce = false;
		memcpy(net->mac, net->own_mac, sizeof(net->mac));
	}
	net_settle(net);
}

static void net_config_get(const struct device *dev, uint8_t bytes[VHOST_USER_CONFIG_MAX])
{
	struct net *net = dev->state;
	struct virtio_net_config c;

	/* It may have been set up after we had it. */
	if (net->tap)
		net->link_up = tap_is_up(net->tap);
	c = (struct virtio_net_config){
		.status = le16_put((uint16_t)((net->link_up ? VIRTIO_NET_S_LINK_UP : 0) |
					      (net->announce ? VIRTIO_NET_S_ANNOUNCE : 0))),
		.max_virtqueue_pairs = le16_put((uint16_t)net->pairs_max),
		.mtu = le16_put(net->mtu),
	};

	memcpy(c.mac, net->mac, sizeof(c.mac));
	memcpy(bytes, &c, sizeof(c));
}

/* 5.1.4: the driver writes nothing; a front-end that migrates brings the address. */
static bool net_config_set(
	struct device *dev, uint32_t offset, uint32_t len, const uint8_t *bytes, bool migrate)
{
	struct net *net = dev->state;

	if (migrate && num_within(0, sizeof(net->mac), offset, len))
		memcpy(net->mac, bytes - offset, sizeof(net->mac));
	return migrate;
}

static bool net_mtu_set(struct device *dev, uint64_t mtu)
{
	struct net *net = dev->state;

	if (mtu < MTU_MIN || mtu > MTU_MAX)
		return false;
	net->mtu = (uint16_t)mtu;
	return true;
}

void net_set_link(struct net *net, bool up)
{
	if (up == net->link_up)
		return;
	net->link_up = up;
	net->announce = up && (net->features & VIRTIO_NET_F_GUEST_ANNOUNCE) != 0;
	log_info(net->dev->name, "the link is %s", up ? "up" : "down");
	session_config_changed(&net->dev->session);
}

static bool net_look_again(struct device *dev)
{
	struct net *net = dev->state;

	if (net->tap)
		net_set_link(net, tap_is_up(net->tap));
	return false;
}

/* ---- frames from the guest ---- */

bool net_judge(uint64_t features, bool for_guest, const struct virtio_net_hdr *hdr,
	struct virtio_net_hdr *out)
{
	static const struct {
		uint8_t type;
		uint64_t host, guest;
	} gso[] = {
		{ VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4 },
		{ VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_GUEST_TSO6 },
		{ VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_GUEST_UFO },
		{ VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_F_HOST_USO,
			VIRTIO_NET_F_GUEST_USO4 | VIRTIO_NET_F_GUEST_USO6 },
	};
	uint64_t csum = for_guest ? VIRTIO_NET_F_GUEST_CSUM : VIRTIO_NET_F_CSUM;
	uint64_t ecn = for_guest ? VIRTIO_NET_F_GUEST_ECN : VIRTIO_NET_F_HOST_ECN;
	uint8_t type = hdr->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	*out = (struct virtio_net_hdr){ 0 };
	if (for_guest && (features & csum) != 0)
		out->flags = hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID;
	if ((hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) {
		if ((features & csum) == 0)
			return false;
		out->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		out->csum_start = hdr->csum_start;
		out->csum_offset = hdr->csum_offset;
	}
	if (type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	out->gso_type = hdr->gso_type;
	out->gso_size = hdr->gso_size;
	out->hdr_len = hdr->hdr_len;
	if (hdr->gso_type != type && (features & ecn) == 0)
		return false;
	for (size_t i = 0; i < countof(gso); i++)
		if (gso[i].type == type)
			return (features & (for_guest ? gso[i].guest : gso[i].host)) != 0;
	return false;
}

/* False: the frame is lost. */
static bool net_send(
	struct net *net, unsigned pair, const struct virtio_net_hdr *hdr, struct reader *frame)
{
	if (reader_left(frame) < NET_FRAME_MIN || reader_left(frame) > NET_FRAME_MAX ||
		!reader_is_whole(frame))
		return false;
	if (net->pcap)
		pcap_frame(net->pcap, &(struct net_source){ .reader = *frame });
	if (net->tap)
		return tap_send(net->tap, pair, hdr, frame);
	if (net->bridge)
		bridge_send(net->bridge, pair, hdr, frame);
	else
		peer_send(net->peer, frame);
	return true;
}

static void net_request(struct device *dev, struct request *req)
{
	struct net *net = dev->state;
	struct virtio_net_hdr hdr, ours;

	if (req->queue->index == net_control_queue(net)) {
		net_control(net, req);
		return;
	}
	if (!reader_get(&req->in, &hdr, sizeof(hdr)) ||
		!net_judge(net->features, false, &hdr, &ours) ||
		!net_send(net, req->queue->index / 2u, &ours, &req->in))
		req->queue->counts.errors++;
	request_done(req, 0);
}

static bool net_pulls(const struct device *dev, uint16_t index)
{
	return index % 2 == 0 && index != net_control_queue(dev->state);
}

static unsigned net_can_take(struct device *dev, const struct queue *q)
{
	const struct net *net = dev->state;

	if (!net->peer || q->index == net_control_queue(net))
		return UINT32_MAX;
	return peer_takes(net->peer);
}

static int net_turn(struct device *dev, struct queue *q)
{
	struct net *net = dev->state;

	if (net->tap)
		return tap_turn(net->tap, q);
	if (net->peer && q->index == 0)
		return peer_turn(net->peer, q, net_is_mergeable(net));
	return -EBUSY;
}

/* SEND_RARP: tells the world where the guest is now, for one that cannot itself (RFC 903). */
static void net_announce(struct device *dev, const uint8_t mac[6])
{
	static const uint8_t arp[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };
	static const struct virtio_net_hdr none;
	uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct span span = { (struct guest *)(void *)frame, sizeof(frame) };
	struct reader reader = { { &span, 0, sizeof(frame) } };

	memcpy(frame + 6, mac, 6);
	memcpy(frame + 12, arp, sizeof(arp));
	memcpy(frame + 22, mac, 6); /* sender … */
	memcpy(frame + 32, mac, 6); /* … and target */
	(void)net_send(dev->state, 0, &none, &reader);
}

static void net_io_done(struct device *dev, struct request *req)
{
	(void)dev;
	(void)req;
	ASSERT(!"the network device starts no I/O");
}

const struct device_class net_class = {
	.name = "net",
	.summary = "network card",
	.json_type = "net",
	.virtio_id = VIRTIO_ID_NET,
	.options = options,
	.option_count = countof(options),
	.open = net_open,
	.close = net_close,
	.paths = net_paths,
	.features = net_features,
	.accept = net_accept,
	.config_get = net_config_get,
	.config_set = net_config_set,
	.request = net_request,
	.io_done = net_io_done,
	.can_take = net_can_take,
	.light = true,
	.pulls = net_pulls,
	.turn = net_turn,
	.queue_changed = net_queue_changed,
	.mtu_set = net_mtu_set,
	.announce = net_announce,
	.look_again = net_look_again,
};
