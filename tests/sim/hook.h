/*
 * Included before everything else that the simulator is made of: limits so small that every table
 * is full in every run, and a guest that acts between any two accesses to its memory.
 */
#ifndef SIM_HOOK_H
#define SIM_HOOK_H

#include <stddef.h>

#define CONFIG_DEVICES_MAX    2
#define CONFIG_QUEUES_MAX     6
#define CONFIG_NET_PAIRS_MAX  1
#define CONFIG_RING_SIZE_MAX  64
#define CONFIG_REGIONS_MAX    8
#define CONFIG_REQUESTS_MAX   17
#define CONFIG_SPANS_INLINE   5
#define CONFIG_LONG_MAX       2
#define CONFIG_BUDGET         3
#define CONFIG_PEERS_MAX      1
#define CONFIG_VSOCK_CONNS    4
#define CONFIG_VSOCK_BUFFER   8192
#define CONFIG_VSOCK_PACKET   512
#define CONFIG_CONSOLE_INPUT  64
#define CONFIG_CONSOLE_OUTPUT 4096

void sim_guest_hook(const char *what, const void *at, size_t len);
#define CONFIG_GUEST_HOOK(what, at, len) sim_guest_hook(what, at, len)

#endif
