/* Included before all else that a fuzz target is made of: limits so low that they are met. */
#ifndef VUBOX_FUZZ_HOOK_H
#define VUBOX_FUZZ_HOOK_H

#include <stddef.h>

#define CONFIG_DEVICES_MAX    2
#define CONFIG_QUEUES_MAX     6
#define CONFIG_NET_PAIRS_MAX  1
#define CONFIG_REQUESTS_MAX   16
#define CONFIG_REGIONS_MAX    12
#define CONFIG_SPANS_INLINE   8
#define CONFIG_LONG_MAX       2
#define CONFIG_RING_SIZE_MAX  64
#define CONFIG_BUDGET         4
#define CONFIG_WORDS_MAX      24
#define CONFIG_PEERS_MAX      1
#define CONFIG_VSOCK_CONNS    4
#define CONFIG_VSOCK_BUFFER   8192
#define CONFIG_VSOCK_PACKET   512
#define CONFIG_NET_PCAPS_MAX  1
#define CONFIG_CONSOLE_INPUT  64
#define CONFIG_CONSOLE_OUTPUT 4096
#define FRONT_BYTES           0x1c000

void fuzz_guest_hook(const char *what, const void *at, size_t len);
#define CONFIG_GUEST_HOOK(what, at, len) fuzz_guest_hook(what, at, len)

#endif
