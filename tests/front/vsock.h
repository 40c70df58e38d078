/* The driver of a socket device, with one packet at a time, and the unix sockets of its host. */
#ifndef VUBOX_TESTS_VSOCK_H
#define VUBOX_TESTS_VSOCK_H

#include "rig.h"

enum { RX, TX, EVENT };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { STREAM = 1, SEQPACKET = 2, EOM = 1, SHUT_RCV = 1, SHUT_SEND = 2 };
enum { CID = 7, PORT = 1234, BUFFERS = 16, BUFFER = 4096, TX_SLOT = 32, HEADER = 44 };

struct vsock_packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

extern struct rig vsock_rig;
extern struct vsock_packet vsock_last;   /* that the guest got */
extern unsigned char vsock_got[1 << 17]; /* … and its data */
extern uint32_t vsock_guest_alloc;       /* what the guest says of itself */
extern uint32_t vsock_guest_forwarded;
extern char vsock_uds[100];

void vsock_give(unsigned slot, uint32_t len);
void vsock_connect_guest(unsigned buffers);
void vsock_serve(unsigned buffers);
/* Sends a packet whose bytes are cut into descriptors of `cut` bytes (0: header and data). */
void vsock_send_cut(const struct vsock_packet *h, const void *data, uint32_t len, uint32_t cut);
struct vsock_packet vsock_header(unsigned op, uint32_t guest_port, uint32_t host_port);
void vsock_say(unsigned op, uint32_t guest_port, uint32_t host_port, uint32_t flags);
void vsock_say_data(uint32_t guest_port, uint32_t host_port, const void *data, uint32_t len);
/* Takes the next packet: its op. Its buffer goes back if `again`. */
unsigned vsock_hear_once(bool again);
void vsock_expect(unsigned op, uint32_t guest_port, uint32_t host_port);
void vsock_expect_data(const void *data, uint32_t len);
/* Nothing is there for the guest, and nothing comes once all that was said is done. */
void vsock_expect_silence(void);
int vsock_unix_socket(int type, const char *path, bool listening);
int vsock_listen_for_guest(int type, uint32_t port);
int vsock_take(int listener);
void vsock_put(int fd, const void *data, size_t len);
void vsock_get(int fd, const void *data, size_t len);
void vsock_get_end(int fd);
/* A connection that the host has begun: its port on the host's side. */
uint32_t vsock_host_connects(int *fd, uint32_t port);
/* One that the guest has begun, to port 80 of the host. */
void vsock_guest_connects(int listener, int *fd, uint32_t guest_port);
void vsock_say_message(uint32_t port, const void *data, uint32_t len, uint32_t flags);

#endif
