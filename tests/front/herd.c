/* Several devices of one process and one guest. */
#include "herd.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *herd_text(const char *format, const char *a, unsigned n)
{
	char *line;

	CHECK(asprintf(&line, format, a, n) > 0);
	return line;
}

const char *herd_socket(unsigned i)
{
	return harness_path(herd_text("%s%u", "s", i));
}

/* Disks, entropy, and others that have nothing to do. */
static const char *const kinds[HERD_MAX] = { "blk", "blk", "blk", "blk", "rng", "net", "net",
	"vsock" };

void herd_serve(struct herd *h, unsigned count, const char *const *more)
{
	const char *words[80];
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		if (i > 0)
			words[n++] = "--";
		words[n++] = kinds[i];
		words[n++] = herd_text("--socket-path=%s", herd_socket(i), 0);
		if (i < HERD_DISKS) {
			h->images[i] = harness_file(herd_text("%s%u", "image", i), RIG_DISK_BYTES);
			words[n++] = herd_text("--blk-file=%s", h->images[i], 0);
		} else if (strcmp(kinds[i], "net") == 0) {
			words[n++] = "--bridge=lan";
		} else if (strcmp(kinds[i], "vsock") == 0) {
			words[n++] = "--guest-cid=42";
			words[n++] = herd_text("--uds-path=%s", harness_path("guest"), 0);
		}
	}
	for (; more && *more; more++)
		words[n++] = *more;
	words[n] = NULL;
	vubox_exec(&h->rigs[0].vubox, -1, words);
	for (unsigned i = 0; i < count; i++) {
		h->rigs[i].vubox = h->rigs[0].vubox;
		h->rigs[i].image = i < HERD_DISKS ? h->images[i] : NULL;
		h->rigs[i].front.fd = -1;
		snprintf(h->rigs[i].vubox.socket, sizeof(h->rigs[i].vubox.socket), "%s",
			herd_socket(i));
	}
}

void herd_guest(struct herd *h)
{
	if (h->guest > 0)
		close(h->guest);
	if (h->guest_bytes == 0)
		h->guest_bytes = RIG_MEMORY;
	h->guest = memfd_create("guest", MFD_CLOEXEC);
	CHECK(h->guest >= 0 && ftruncate(h->guest, (off_t)h->guest_bytes) == 0);
}

void herd_come(struct herd *h, unsigned i)
{
	struct front_place place = { RIG_GUEST, h->guest_bytes, RIG_USER, 0 };
	struct driver_options options = { .size = RIG_RING_SIZE };
	struct rig *r = &h->rigs[i];
	struct front_queue *q = &r->queues[0];
	struct driver_layout at;

	rig_negotiate(r, ~VU_F(EVENT_IDX), ~0ull);
	CHECK_EQ(front_memory_add_fd(&r->memory, &place, h->guest), 0);
	r->slots = RIG_SLOTS_AT + (uint64_t)i * HERD_SLOTS * RIG_SLOT_BYTES;
	rig_share(r);
	driver_place(rig_format(), &at, options.size, RIG_GUEST + (uint64_t)i * 0x8000);
	CHECK_EQ(front_queue_open(q, 0, rig_format(), &r->memory, &at, &options), 0);
	r->queue_count = 1;
	rig_start(r, q);
}

static void draws(struct rig *r)
{
	struct driver_buffer b = { r->slots, 64, true };
	struct driver_chain chain = { .buffers = &b, .count = 1 };
	uint32_t len;

	CHECK(driver_add(&r->queues[0].driver, &chain) >= 0);
	front_queue_offer(&r->queues[0]);
	rig_take(r, &r->queues[0], &len);
	CHECK_EQ(len, 64);
}

static void writes_and_reads(struct rig *r)
{
	unsigned char data[4096], there[4096];

	harness_fill(data, sizeof(data));
	CHECK_EQ(rig_blk(r, BLK_OUT, 8, data, sizeof(data)), BLK_OK);
	rig_disk_read(r, 8 * BLK_SECTOR, there, sizeof(there));
	CHECK_BYTES(there, data, sizeof(data));
	memset(data, 0, sizeof(data));
	CHECK_EQ(rig_blk(r, BLK_IN, 8, data, sizeof(data)), BLK_OK);
	CHECK_BYTES(data, there, sizeof(data));
}

void herd_works(struct herd *h, unsigned i)
{
	if (h->rigs[i].image)
		writes_and_reads(&h->rigs[i]);
	else if (i == HERD_DISKS)
		draws(&h->rigs[i]);
	else
		CHECK_EQ(front_settle(&h->rigs[i].front), 0);
}
