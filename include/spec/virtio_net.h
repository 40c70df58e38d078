/* Network device (VIRTIO 5.1). */
#ifndef VUBOX_SPEC_VIRTIO_NET_H
#define VUBOX_SPEC_VIRTIO_NET_H

#include <stdint.h>

#include "le.h"

/* 5.1.3 */
#define VIRTIO_NET_F_CSUM                (1ull << 0)
#define VIRTIO_NET_F_GUEST_CSUM          (1ull << 1)
#define VIRTIO_NET_F_CTRL_GUEST_OFFLOADS (1ull << 2)
#define VIRTIO_NET_F_MTU                 (1ull << 3)
#define VIRTIO_NET_F_MAC                 (1ull << 5)
#define VIRTIO_NET_F_GUEST_TSO4          (1ull << 7)
#define VIRTIO_NET_F_GUEST_TSO6          (1ull << 8)
#define VIRTIO_NET_F_GUEST_ECN           (1ull << 9)
#define VIRTIO_NET_F_GUEST_UFO           (1ull << 10)
#define VIRTIO_NET_F_HOST_TSO4           (1ull << 11)
#define VIRTIO_NET_F_HOST_TSO6           (1ull << 12)
#define VIRTIO_NET_F_HOST_ECN            (1ull << 13)
#define VIRTIO_NET_F_HOST_UFO            (1ull << 14)
#define VIRTIO_NET_F_MRG_RXBUF           (1ull << 15)
#define VIRTIO_NET_F_STATUS              (1ull << 16)
#define VIRTIO_NET_F_CTRL_VQ             (1ull << 17)
#define VIRTIO_NET_F_CTRL_RX             (1ull << 18)
#define VIRTIO_NET_F_CTRL_VLAN           (1ull << 19)
#define VIRTIO_NET_F_CTRL_RX_EXTRA       (1ull << 20)
#define VIRTIO_NET_F_GUEST_ANNOUNCE      (1ull << 21)
#define VIRTIO_NET_F_MQ                  (1ull << 22)
#define VIRTIO_NET_F_CTRL_MAC_ADDR       (1ull << 23)
#define VIRTIO_NET_F_GUEST_USO4          (1ull << 54)
#define VIRTIO_NET_F_GUEST_USO6          (1ull << 55)
#define VIRTIO_NET_F_HOST_USO            (1ull << 56)

/* 5.1.4 */
enum { VIRTIO_NET_S_LINK_UP = 1, VIRTIO_NET_S_ANNOUNCE = 2 };

struct virtio_net_config {
	uint8_t mac[6];
	le16 status, max_virtqueue_pairs, mtu;
};
_Static_assert(sizeof(struct virtio_net_config) == 12, "VIRTIO 5.1.4");

/* 5.1.6.5 */
enum { VIRTIO_NET_OK = 0, VIRTIO_NET_ERR = 1 };
enum {
	VIRTIO_NET_CTRL_RX = 0, /* commands: PROMISC, ALLMULTI, ALLUNI, NOMULTI, NOUNI, NOBCAST */
	VIRTIO_NET_CTRL_MAC = 1,
	VIRTIO_NET_CTRL_VLAN = 2,
	VIRTIO_NET_CTRL_ANNOUNCE = 3,
	VIRTIO_NET_CTRL_MQ = 4,
	VIRTIO_NET_CTRL_GUEST_OFFLOADS = 5,
};
enum {
	VIRTIO_NET_CTRL_RX_PROMISC,
	VIRTIO_NET_CTRL_RX_ALLMULTI,
	VIRTIO_NET_CTRL_RX_ALLUNI,
	VIRTIO_NET_CTRL_RX_NOMULTI,
	VIRTIO_NET_CTRL_RX_NOUNI,
	VIRTIO_NET_CTRL_RX_NOBCAST
};
enum { VIRTIO_NET_CTRL_MAC_TABLE_SET, VIRTIO_NET_CTRL_MAC_ADDR_SET };
enum { VIRTIO_NET_CTRL_VLAN_ADD, VIRTIO_NET_CTRL_VLAN_DEL };

/* 5.1.6 */
enum { VIRTIO_NET_HDR_F_NEEDS_CSUM = 1, VIRTIO_NET_HDR_F_DATA_VALID = 2 };
enum {
	VIRTIO_NET_HDR_GSO_NONE = 0,
	VIRTIO_NET_HDR_GSO_TCPV4 = 1,
	VIRTIO_NET_HDR_GSO_UDP = 3,
	VIRTIO_NET_HDR_GSO_TCPV6 = 4,
	VIRTIO_NET_HDR_GSO_UDP_L4 = 5,
	VIRTIO_NET_HDR_GSO_ECN = 0x80,
};

struct virtio_net_hdr {
	uint8_t flags, gso_type;
	le16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

#endif
