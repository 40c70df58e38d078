/*
 * Devices of every kind for one guest of 1 GiB, with the queues that a guest of four processors
 * starts: what they have counted after some work, and what their process needs when it is idle.
 */
#include <endian.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../front/herd.h"

enum { DEVICES = 8, RINGS = 0x8000, KIB_MAX = 700, BATCH = 16, BUFFER_BYTES = 4096 };

static const struct kind {
	const char *device, *option; /* of it, with its number behind it */
	unsigned queues;
} kinds[DEVICES] = {
	{ "blk", "--blk-file=", 4 },
	{ "blk", "--blk-file=", 4 },
	{ "blk", "--blk-file=", 4 },
	{ "rng", NULL, 1 },
	{ "net", "--bridge=lan", 3 },
	{ "net", "--bridge=lan", 3 },
	{ "vsock", "--guest-cid=3", 2 },
	{ "rng", NULL, 1 },
};
enum { DISKS = 3, RNG = 3, NET = 4, OTHER_NET = 5, VSOCK = 6 };

static struct rig rigs[DEVICES];
static int guest;

static void serve(void)
{
	const char *words[DEVICES * 5];
	unsigned n = 0;

	for (unsigned i = 0; i < DEVICES; i++) {
		struct rig *r = &rigs[i];
		const char *option = kinds[i].option;

		if (i > 0)
			words[n++] = "--";
		words[n++] = kinds[i].device;
		words[n++] = herd_text("--socket-path=%s", herd_socket(i), 0);
		snprintf(r->vubox.socket, sizeof(r->vubox.socket), "%s", herd_socket(i));
		r->front.fd = -1;
		if (i < DISKS) {
			r->image = harness_file(herd_text("%s%u", "image", i), RIG_DISK_BYTES);
			option = herd_text("--blk-file=%s", r->image, 0);
		}
		if (option)
			words[n++] = option;
		if (i == VSOCK)
			words[n++] = herd_text("--uds-path=%s", harness_path("guest"), 0);
	}
	words[n] = NULL;
	vubox_exec(&rigs[0].vubox, -1, words);
}

/* Each device has 16 MiB of the memory for its buffers, behind the rings of all. */
static void come(unsigned i)
{
	struct front_place place = { RIG_GUEST, 1ull << 30, RIG_USER, 0 };
	struct rig *r = &rigs[i];

	/* No control queue is used: a bridge delivers to whoever has said nothing. */
	rig_negotiate(r, ~0ull, ~0ull);
	CHECK_EQ(front_memory_add_fd(&r->memory, &place, guest), 0);
	r->slots = RIG_GUEST + (uint64_t)(i + 1) * (16 << 20);
	CHECK_EQ(front_share(&r->front, &r->memory), 0);
	for (unsigned k = 0; k < kinds[i].queues; k++) {
		struct driver_options options = { .size = RIG_RING_SIZE,
			.event_idx = (r->front.features & VU_F(EVENT_IDX)) != 0 };
		struct driver_layout at;

		driver_place(rig_format(), &at, options.size,
			RIG_GUEST + (uint64_t)(i * RIG_QUEUES_MAX + k) * RINGS);
		CHECK_EQ(
			front_queue_open(&r->queues[k], k, rig_format(), &r->memory, &at, &options),
			0);
		r->queue_count++;
		rig_start(r, &r->queues[k]);
	}
}

/* ---- work ---- */

static void disk_works(struct rig *r)
{
	for (unsigned k = 0; k < r->queue_count; k++) {
		for (unsigned slot = 0; slot < BATCH; slot++) {
			uint32_t type = slot % 2 ? BLK_IN : BLK_OUT;
			struct blk_request x = rig_request(r, slot, type, slot * 128, 32768);

			rig_add(r, &r->queues[k], &x, slot);
		}
		front_queue_offer(&r->queues[k]);
		for (unsigned n = 0; n < BATCH; n++)
			rig_take(r, &r->queues[k], NULL);
	}
}

/* Buffers of a queue, each of len bytes, one behind the other. */
static void offer(struct rig *r, unsigned queue, uint32_t len, bool writable)
{
	for (unsigned i = 0; i < BATCH; i++) {
		struct driver_buffer b = { r->slots + (queue * BATCH + i) * BUFFER_BYTES, len,
			writable };
		struct driver_chain chain = { .buffers = &b, .count = 1 };

		CHECK(driver_add(&r->queues[queue].driver, &chain) >= 0);
	}
	front_queue_offer(&r->queues[queue]);
}

static void take(struct rig *r, unsigned queue, uint32_t len)
{
	for (unsigned i = 0; i < BATCH; i++) {
		uint32_t got;

		rig_take(r, &r->queues[queue], &got);
		CHECK_EQ(got, len);
	}
}

static void fill(struct rig *r, unsigned queue, const void *bytes, size_t len)
{
	for (unsigned i = 0; i < BATCH; i++)
		CHECK(driver_write(&r->memory.driver, r->slots + (queue * BATCH + i) * BUFFER_BYTES,
			bytes, (uint32_t)len));
}

/* Broadcasts from one card to the other (VIRTIO 5.1.6: 12 bytes, and the frame). */
static void cards_work(void)
{
	unsigned char frame[12 + 1514];

	memset(frame, 0, sizeof(frame));
	memset(frame + 12, 0xff, 6);
	frame[12 + 6] = 2;
	fill(&rigs[NET], 1, frame, sizeof(frame));
	offer(&rigs[OTHER_NET], 0, 2048, true);
	offer(&rigs[NET], 1, sizeof(frame), false);
	take(&rigs[OTHER_NET], 0, sizeof(frame));
	take(&rigs[NET], 1, 0);
}

/* Wishes for connections to nobody, which are refused (VIRTIO 5.10.6). */
static void sockets_work(void)
{
	struct {
		uint64_t from, to;
		uint32_t from_port, to_port, len;
		uint16_t type, op;
		uint32_t flags, space, taken;
	} __attribute__((packed)) wish = { htole64(3), htole64(2), htole32(1000), htole32(2000), 0,
		htole16(1), htole16(1), 0, htole32(65536), 0 };

	fill(&rigs[VSOCK], 1, &wish, sizeof(wish));
	offer(&rigs[VSOCK], 0, BUFFER_BYTES, true);
	offer(&rigs[VSOCK], 1, sizeof(wish), false);
	take(&rigs[VSOCK], 0, sizeof(wish));
	take(&rigs[VSOCK], 1, 0);
}

static void entropy_works(struct rig *r)
{
	offer(r, 0, 64, true);
	take(r, 0, 64);
}

/* Each has counted what it did, whether it answers requests or takes buffers by windows. */
static void all_have_counted(void)
{
	static const char *const lines[] = { "blk: queue=0 requests=16 bytes=524560 errors=0 ",
		"blk3: queue=3 requests=16 bytes=524560 errors=0 ", "rng2: queue=0 requests=16 ",
		"net: queue=1 requests=16 bytes=24416 ", "net2: queue=0 requests=16 bytes=24416 ",
		"vsock: queue=0 requests=16 bytes=704 ", "vsock: queue=1 requests=16 bytes=704 " };

	CHECK_EQ(kill(rigs[0].vubox.pid, SIGUSR1), 0);
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		UNTIL(vubox_said(&rigs[0].vubox, herd_text("vubox: %s", lines[i], 0)));
}

/* ---- what is measured ---- */

/* Resident memory, but for the guest's own, which is *shared. */
static unsigned resident_kib(unsigned *shared)
{
	char line[512];
	unsigned kib, own = 0;
	bool is_guest = false;
	FILE *f = fopen(herd_text("/proc/%2$u/%1$s", "smaps", (unsigned)rigs[0].vubox.pid), "re");

	CHECK(f);
	*shared = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Rss: %u", &kib) == 1)
			*(is_guest ? shared : &own) += kib;
		else if (strcspn(line, "-") < strcspn(line, " :"))
			is_guest = strstr(line, "/memfd:guest") != NULL;
	}
	fclose(f);
	return own;
}

static void devices_of_every_kind(const char *with)
{
	unsigned before, own, shared;

	(void)with;
	serve();
	guest = memfd_create("guest", MFD_CLOEXEC);
	CHECK(guest >= 0 && ftruncate(guest, 1 << 30) == 0);
	for (unsigned i = 0; i < DEVICES; i++)
		come(i);
	before = resident_kib(&shared);
	for (unsigned i = 0; i < DISKS; i++)
		disk_works(&rigs[i]);
	entropy_works(&rigs[RNG]);
	entropy_works(&rigs[DEVICES - 1]);
	cards_work();
	sockets_work();
	all_have_counted();
	if (vubox_is_sanitized())
		return;
	(void)sleep(2); /* what makes I/O faster is given back after a second */
	own = resident_kib(&shared);
	harness_say("%u devices on 1 GiB: %u KiB when connected, %u after work; %u of the guest's",
		DEVICES, before, own, shared);
	CHECK(shared > 0);
	CHECK(own <= KIB_MAX);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(devices_of_every_kind),
};
HARNESS_MAIN(cases)
