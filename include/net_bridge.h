/* Bridges: Ethernet switches between the net devices of this process. */
#ifndef VUBOX_NET_BRIDGE_H
#define VUBOX_NET_BRIDGE_H

#include "device.h"
#include "net_rx.h"

struct bridge_port;
struct tap;

/* What is looked at of a frame: addresses, type, and what is in a VLAN's tag. */
enum { BRIDGE_HEAD = 18 };

/* Whether the guest behind a port wants a frame that begins so. */
typedef bool bridge_wants(const struct device *dev, const uint8_t head[BRIDGE_HEAD]);

/* Another port of the bridge of this name, which is made by its first port. */
struct bridge_port *bridge_join(const char *name, struct device *dev, bridge_wants *wants);
/* … to the host, by a tap that takes what these features say. */
struct bridge_port *bridge_uplink(const char *name, struct tap *tap, uint64_t features);
/* The guest takes frames in so many queue pairs, with these features; 0 pairs: it does not. */
void bridge_set(struct bridge_port *port, unsigned pairs, uint64_t features);
/* A frame from the guest (or what else is behind a port), by queue pair. */
void bridge_send(struct bridge_port *from, unsigned pair, const struct virtio_net_hdr *hdr,
	struct reader *frame);

#endif
