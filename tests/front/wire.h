/* The host's end of a tap, in a network of its own: frames as a packet socket sees them. */
#ifndef VUBOX_TESTS_WIRE_H
#define VUBOX_TESTS_WIRE_H

#include "nic.h"

/* From here on the process has a network of its own, without any noise; or the case is skipped. */
void wire_network(void);
/* Makes a tap that stays, for one queue or more. */
void wire_tap(const char *name, bool multi_queue);
/* An open one, with these flags (IFF_…) beside IFF_TAP. */
int wire_tap_open(const char *name, int flags);
/* Waits until the tap is there, sets it up, and opens a socket on it. */
void wire_open(const char *name, unsigned mtu);
/* From now on the kernel cuts frames that the tap does not take as they are. */
void wire_segment(void);
/* Sets a tap up or down. */
void wire_set_up(const char *name, bool up);

/* Sends a frame to the tap; false: its queue is full. */
bool wire_send(const struct nic_header *hdr, const void *frame, uint32_t len);
/* The next frame that came from the guest: its length, or -1. */
int wire_poll(struct nic_header *hdr, void *frame);
/* Waits for it. */
uint32_t wire_receive(struct nic_header *hdr, void *frame);

/* Makes a frame of TCP over IPv4 with its checksum left to do, and its header. */
struct nic_header wire_tcp(void *frame, uint32_t len, uint16_t gso_size);
/* Its checksum is done, and right. */
bool wire_tcp_is_right(const void *frame, uint32_t len);

#endif
