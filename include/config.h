/* Every limit of vubox. Override one with `make CONFIG_X=value`; bss is the whole memory story. */
#ifndef VUBOX_CONFIG_H
#define VUBOX_CONFIG_H

/* Functions that no request runs: built for size, even in a file that is built for speed. */
#define COLD __attribute__((cold))

/* The rest of a function whose usual case is short: kept out of it, so that it stays short. */
#define RARE __attribute__((noinline, cold))

/* In place of its call even where all is built for size: quicker, and hardly larger. */
#ifndef CONFIG_FAST
#define CONFIG_FAST inline __attribute__((always_inline))
#endif
#define FAST CONFIG_FAST

/* What --version says; the Makefile sets it. */
#ifndef CONFIG_VERSION
#define CONFIG_VERSION "unknown"
#endif

/* Devices that one process serves, and front-end connections (one for each device). */
#ifndef CONFIG_DEVICES_MAX
#define CONFIG_DEVICES_MAX 16
#endif

/* Virtqueues of one device. QEMU asks blk for one per vCPU. A message names a queue in 8 bits. */
#ifndef CONFIG_QUEUES_MAX
#define CONFIG_QUEUES_MAX 64
#endif
_Static_assert(CONFIG_QUEUES_MAX >= 1 && CONFIG_QUEUES_MAX <= 256, "queue index is 8 bits");

/* Entries of one virtqueue: the greatest SET_VRING_NUM. */
#ifndef CONFIG_RING_SIZE_MAX
#define CONFIG_RING_SIZE_MAX 1024
#endif
_Static_assert(
	(CONFIG_RING_SIZE_MAX & (CONFIG_RING_SIZE_MAX - 1)) == 0, "split rings are powers of 2");
_Static_assert(CONFIG_RING_SIZE_MAX <= 32768, "VIRTIO 2.7: the greatest queue size");

/* Guest memory regions of one connection. QEMU has at most 509 slots. */
#ifndef CONFIG_REGIONS_MAX
#define CONFIG_REGIONS_MAX 509
#endif
_Static_assert(CONFIG_REGIONS_MAX >= 8, "SET_MEM_TABLE carries up to 8 regions");

/* Requests in flight in the whole process. Every queue owns one of them; the others are shared. */
#ifndef CONFIG_REQUESTS_MAX
#define CONFIG_REQUESTS_MAX 2048
#endif
_Static_assert(CONFIG_REQUESTS_MAX > CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX, "a request a queue");

/* Pieces of guest memory (spans) of an ordinary request: 126 segments, header, status, cuts. */
#ifndef CONFIG_SPANS_INLINE
#define CONFIG_SPANS_INLINE 132
#endif

/* Spans of the longest chain: a descriptor each, and room for descriptors that cross regions. */
#ifndef CONFIG_SPANS_LONG
#define CONFIG_SPANS_LONG (CONFIG_RING_SIZE_MAX + CONFIG_REGIONS_MAX)
#endif
_Static_assert(CONFIG_SPANS_LONG >= CONFIG_SPANS_INLINE, "a long chain is not a short one");

/* Requests in flight that may have such a long chain; a further one waits in the avail ring. */
#ifndef CONFIG_LONG_MAX
#define CONFIG_LONG_MAX 8
#endif

/* Bytes of guest memory that are copied word by word: so few are not worth a general copy. */
#ifndef CONFIG_SHORT_COPY
#define CONFIG_SHORT_COPY 128
#endif

/*
 * Requests taken from one queue before they are published and the next queue has its turn. A driver
 * that polls fills up one half of its ring while we are at the other.
 */
#ifndef CONFIG_BUDGET
#define CONFIG_BUDGET 16
#endif

/* … and their bytes, so that nobody waits for long behind those of 128 KiB. */
#ifndef CONFIG_BUDGET_BYTES
#define CONFIG_BUDGET_BYTES (512 << 10)
#endif

/* Bytes of one vhost-user message's payload; a greater one closes the connection. */
#ifndef CONFIG_PAYLOAD_MAX
#define CONFIG_PAYLOAD_MAX 4096
#endif
_Static_assert(CONFIG_PAYLOAD_MAX >= 8 + 8 * 256, "the longest message of the spec");

/*
 * Connections of all socket devices, and bytes for each of them that its host's side has not taken
 * yet: what a guest may send at once. It is memory only when that happens.
 */
#ifndef CONFIG_VSOCK_CONNS
#define CONFIG_VSOCK_CONNS 1024
#endif
#ifndef CONFIG_VSOCK_BUFFER
#define CONFIG_VSOCK_BUFFER (128 << 10)
#endif
/* Blocks of 4 KiB for these buffers, two or more for each; those never used take no memory. */
#ifndef CONFIG_VSOCK_BLOCKS
#define CONFIG_VSOCK_BLOCKS (4 * CONFIG_VSOCK_CONNS)
#endif
_Static_assert(CONFIG_VSOCK_BLOCKS >= 2 * CONFIG_VSOCK_CONNS && CONFIG_VSOCK_BLOCKS < 65536,
	"two for each, and a number has 16 bits");
/* The largest packet from guest to guest, with its header: Linux has 64 KiB, or 17 pages. */
#ifndef CONFIG_VSOCK_PACKET
#define CONFIG_VSOCK_PACKET (72 << 10)
#endif
_Static_assert(CONFIG_VSOCK_CONNS >= CONFIG_DEVICES_MAX, "each device has some");
_Static_assert(CONFIG_VSOCK_BUFFER % 4096 == 0 && CONFIG_VSOCK_BUFFER >= 4096, "blocks");

/* Things that the loop watches: a kick a queue, and a few for each device. */
#ifndef CONFIG_WATCHES_MAX
#define CONFIG_WATCHES_MAX (CONFIG_DEVICES_MAX * (CONFIG_QUEUES_MAX + 4) + CONFIG_VSOCK_CONNS + 4)
#endif

/* Clients of --stats that are served at once: they are slow, or there is one. */
#ifndef CONFIG_STATS_CLIENTS
#define CONFIG_STATS_CLIENTS 4
#endif
_Static_assert(CONFIG_STATS_CLIENTS >= 1, "one at a time at least");

/* Descriptors: three a queue, and of each device its sockets, files and those of one message. */
#ifndef CONFIG_FDS_MAX
#define CONFIG_FDS_MAX (CONFIG_DEVICES_MAX * (3 * CONFIG_QUEUES_MAX + 16) + CONFIG_VSOCK_CONNS + 64)
#endif

/* Bytes of a --config file, and words on one command line. */
#ifndef CONFIG_FILE_MAX
#define CONFIG_FILE_MAX 16384
#endif
#ifndef CONFIG_WORDS_MAX
#define CONFIG_WORDS_MAX 512
#endif

/* Times that repeatable options are given, over all devices. */
#ifndef CONFIG_ITEMS_MAX
#define CONFIG_ITEMS_MAX 64
#endif

/* Bytes of /etc/passwd and of /etc/group, where names of users are looked up. */
#ifndef CONFIG_USERS_FILE_MAX
#define CONFIG_USERS_FILE_MAX (256 << 10)
#endif

/* Ports of all console devices, and those of one of them (beside its console). */
#ifndef CONFIG_CONSOLE_PORTS
#define CONFIG_CONSOLE_PORTS 32
#endif
#ifndef CONFIG_CONSOLE_NAMED
#define CONFIG_CONSOLE_NAMED 15
#endif

/*
 * Bytes of a port's output that whoever reads it has not taken yet; a write of Linux' port files
 * has 32 KiB. And of its input that the guest has not taken.
 */
#ifndef CONFIG_CONSOLE_OUTPUT
#define CONFIG_CONSOLE_OUTPUT 32768
#endif
#ifndef CONFIG_CONSOLE_INPUT
#define CONFIG_CONSOLE_INPUT 4096
#endif
_Static_assert((CONFIG_CONSOLE_OUTPUT & (CONFIG_CONSOLE_OUTPUT - 1)) == 0, "a ring of bytes");

/* Queue pairs of one net device. */
#ifndef CONFIG_NET_PAIRS_MAX
#define CONFIG_NET_PAIRS_MAX 8
#endif

/* Net devices with --pcap: each has a buffer of 256 KiB. */
#ifndef CONFIG_NET_PCAPS_MAX
#define CONFIG_NET_PCAPS_MAX 4
#endif

/* Net devices with --peer-unix: each has buffers for three frames of 64 KiB. */
#ifndef CONFIG_PEERS_MAX
#define CONFIG_PEERS_MAX 4
#endif

/* Addresses that all bridges learn, shared out evenly among all ports that there may be. */
#ifndef CONFIG_BRIDGE_MACS
#define CONFIG_BRIDGE_MACS 1024
#endif

/* How long an address is known that is not heard of, in seconds. */
#ifndef CONFIG_BRIDGE_AGE
#define CONFIG_BRIDGE_AGE 300
#endif

/* Entries of the io_uring submission queue: the largest batch of one system call. */
#ifndef CONFIG_URING_ENTRIES
#define CONFIG_URING_ENTRIES 128
#endif
_Static_assert(
	(CONFIG_URING_ENTRIES & (CONFIG_URING_ENTRIES - 1)) == 0, "io_uring wants a power of 2");

/*
 * Pieces of 512 pages (2 MiB) of images whose cached pages are known: what of them is mapped, and
 * has page tables (a page of them for each), at any time.
 */
#ifndef CONFIG_CACHED_CHUNKS
#define CONFIG_CACHED_CHUNKS 1024
#endif

/* How long SIGTERM waits for I/O in flight, in milliseconds. */
#ifndef CONFIG_DRAIN_MS
#define CONFIG_DRAIN_MS 1000
#endif

/*
 * Called at every load and store of guest memory, so that the simulator can let its guest write
 * between any two of them. Nothing in a real build.
 */
#ifndef CONFIG_GUEST_HOOK
#define CONFIG_GUEST_HOOK(what, at, len) ((void)0)
#endif

/*
 * Called when a part of the cage is closed, so that a test can try its bars. Nothing in a real
 * build.
 */
#ifndef CONFIG_CAGE_HOOK
#define CONFIG_CAGE_HOOK(what) ((void)0)
#endif

#endif
