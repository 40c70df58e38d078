/* The load of what moves packets: what it was told to do, where they go in and come out. */
#ifndef VUBOX_BENCH_NET_H
#define VUBOX_BENCH_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "card.h"

enum { NET_DEPTH_MAX = 256, NET_BYTES_MAX = 65536, NET_BUFFER_MAX = 65536 };

struct net_options {
	const char *from, *to;
	unsigned depth, bytes, buffer;
	bool wait_call, verify;
	double seconds, warm;
	int cpu_pid; /* of the back-end; 0: not measured */
	int core;    /* of a bare reader; -1: any */
};

/* Both ends of a way. What goes in comes out in the same order, or not at all. */
struct ends {
	/* One packet; false: there is no room now. */
	bool (*send)(uint64_t number);
	void (*flush)(void);
	/* How many have come out, of which the first has this number. */
	unsigned (*arrived)(uint64_t number);
	struct lane *calls; /* the ring of those that come out, or NULL */
	int cpu_pid;        /* whose processor time it takes; 0: our own */
};

struct net_mode {
	const char *name;
	bool two; /* there is a second argument */
	void (*open)(const struct net_options *o, struct ends *ends);
};

extern const struct net_mode net_modes[];
extern const unsigned net_mode_count;

/* Each kind of end, for the modes: net_guest.c, net_host.c. */

enum { NET_HEADER = 12, NET_TCP_AT = 34, NET_PAYLOAD_AT = 54 };

/* A header and a frame of so many bytes; the kernel can cut it if it is long. */
void net_make(unsigned char *at, unsigned bytes, bool back);
void net_guest_pass(const struct net_options *o, struct ends *ends);
void net_guest_out(const struct net_options *o, struct ends *ends);
void net_guest_in(const struct net_options *o, struct ends *ends);
void net_guest_stream(const struct net_options *o, struct ends *ends);
void net_bare_out(const struct net_options *o, struct ends *ends);
void net_bare_in(const struct net_options *o, struct ends *ends);
void net_bare_stream(const struct net_options *o, struct ends *ends);

/* Sets a network interface up. */
void net_raise(const char *name);
/* The host's end of a tap or of a socket, to send into it. */
void net_raw_to(const char *tap, const struct net_options *o);
bool net_raw_send(uint64_t number);
void net_stream_to(int fd, const struct net_options *o);
bool net_stream_send(uint64_t number);
/* The byte at a place of the stream, where it is verified. */
static inline unsigned char net_stream_byte(uint64_t at)
{
	return (unsigned char)(at ^ at >> 8 ^ at >> 16);
}

#endif
