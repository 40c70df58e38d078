/* The network device (VIRTIO 5.1): what its files share, in src/dev/net*.c. */
#ifndef VUBOX_NET_H
#define VUBOX_NET_H

#include "device.h"
#include "net_bridge.h"
#include "net_peer.h"
#include "net_rx.h"
#include "port.h"
#include "spec/virtio_net.h"

_Static_assert(2 * CONFIG_NET_PAIRS_MAX + 1 <= CONFIG_QUEUES_MAX, "they are queues");

/* Addresses of each kind that a driver's filter may have; more of them mean all. */
enum { NET_FILTER_MACS = 64 };

struct net_macs {
	uint32_t count;
	bool overflow;
	uint8_t macs[NET_FILTER_MACS][6];
};

/* Which frames the driver wants (5.1.6.5.1, .2, .3). Zero: all, as before it has said anything. */
struct net_filter {
	bool modes, vlans; /* … it has said something of these */
	bool on[6];        /* by command: promiscuous, all multicast, all unicast, no … */
	struct net_macs unicast, multicast;
	uint32_t vlan[4096 / 32];
};

struct net {
	struct device *dev;
	uint8_t mac[6], own_mac[6]; /* now, and of a driver that has set no other */
	uint16_t mtu;               /* 0: not said */
	unsigned pairs_max;
	unsigned pairs_wanted; /* by MQ_VQ_PAIRS_SET */
	unsigned pairs;        /* that take frames now */
	uint64_t features;     /* accepted */
	uint64_t takes;        /* of them, GUEST_*: what frames for it may have left undone */
	bool link_up, announce;
	struct net_filter filter;
	uint64_t vain_ns; /* the last tick in which chains were looked at in vain … */
	uint32_t vain;    /* … and how many */
	/* One of these. */
	struct tap *tap;
	struct bridge_port *bridge;
	struct peer *peer;
	struct tap *uplink; /* of the bridge, or NULL */
	struct pcap *pcap;  /* or NULL */
};

/* Offloads that a guest takes, as GUEST_OFFLOADS_SET has them too. */
#define NET_TAKES                                                                           \
	(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 |      \
		VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_UFO | VIRTIO_NET_F_GUEST_USO4 | \
		VIRTIO_NET_F_GUEST_USO6)

/* ---- net.c ---- */

/* The index of the control queue: behind all others that the driver knows of (5.1.2). */
uint16_t net_control_queue(const struct net *net);
/*
 * What a frame from the guest (5.1.6.2.1) or for it (5.1.6.4.1) may leave to the other side. False:
 * it asks for more than was negotiated; else *out is its header there.
 */
bool net_judge(uint64_t features, bool for_guest, const struct virtio_net_hdr *hdr,
	struct virtio_net_hdr *out);
/* What the driver has set has changed: the link is told. */
void net_settle(struct net *net);
/* The cable was plugged in, or out: the driver is told if that is news. */
void net_set_link(struct net *net, bool up);
static inline bool net_is_mergeable(const struct net *net)
{
	return (net->features & VIRTIO_NET_F_MRG_RXBUF) != 0;
}

/* ---- net_control.c ---- */

/* A command of the control queue. */
void net_control(struct net *net, struct request *req);
/* Whether the driver wants a frame that begins so. */
bool net_wants(const struct net *net, const uint8_t head[BRIDGE_HEAD]);

/* ---- net_tap.c ---- */

/*
 * Opens the tap of this name, or (NULL) takes fd; NULL after one line. With a name of a bridge it
 * is that one's uplink.
 */
struct tap *tap_open(struct net *net, const char *name, int fd, const char *bridge);
void tap_close(struct tap *tap);
/* Feature bits that it can serve. */
uint64_t tap_features(const struct tap *tap);
bool tap_is_up(const struct tap *tap);
/* The guest takes frames in net->pairs queues, with the offloads of net->takes. */
void tap_set(struct tap *tap);
/* False: it did not take the frame. */
bool tap_send(
	struct tap *tap, unsigned pair, const struct virtio_net_hdr *hdr, struct reader *frame);
/* A frame for an uplink, of bytes that are ours: 1, or -errno. */
int tap_put(struct tap *tap, const struct virtio_net_hdr *hdr, const struct net_source *from);
/* The turn of a receive queue: as struct device_class has it. */
int tap_turn(struct tap *tap, struct queue *rx);

/* ---- net_pcap.c ---- */

/* Opens the file, NULL after one line. */
struct pcap *pcap_open(struct device *dev, const char *path);
void pcap_close(struct pcap *pcap);
/* A frame passes: its first bytes are kept. The source is not used up. */
void pcap_frame(struct pcap *pcap, const struct net_source *from);

#endif
