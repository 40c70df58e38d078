/* Peers: another program that has the other end of a net device's cable, over a unix socket. */
#ifndef VUBOX_NET_PEER_H
#define VUBOX_NET_PEER_H

#include "device.h"
#include "net_rx.h"

struct peer;

struct peer_options {
	const char *path;  /* of its socket */
	const char *local; /* of ours, for datagrams; NULL: a stream */
	/* The cable was plugged in, or out. */
	void (*changed)(struct device *dev);
};

/* Opens what must be opened at the start; it connects when the loop runs. NULL after one line. */
struct peer *peer_open(struct device *dev, const struct peer_options *options);
void peer_close(struct peer *peer);
bool peer_is_up(const struct peer *peer);
/* Paths that it connects to, or removes: their number, 2 at most. */
unsigned peer_paths(const struct peer *peer, struct port_cage_path *paths);

/* Whether it takes a frame now; all transmit queues get a turn when it does again. */
bool peer_takes(const struct peer *peer);
void peer_send(struct peer *peer, struct reader *frame);
/* The turn of receive queue 0: as struct device_class has it. */
int peer_turn(struct peer *peer, struct queue *rx, bool mergeable);

#endif
