/* A network card's driver. */
#include "nic.h"

#include <stdio.h>
#include <string.h>

enum { HEADER = sizeof(struct nic_header), RX_SLOTS = RIG_SLOTS - NIC_SENDS };

static uint64_t slot_at(const struct nic *n, unsigned slot)
{
	return n->r.slots + (uint64_t)slot * RIG_SLOT_BYTES;
}

void nic_open(struct nic *n, const char *socket, uint64_t features, uint32_t buffer)
{
	n->buffer = buffer;
	n->given = n->sent = n->next = n->posted = 0;
	(void)snprintf(n->r.vubox.socket, sizeof(n->r.vubox.socket), "%s", harness_path(socket));
	rig_negotiate(&n->r, features | NIC_TRANSPORT, ~0ull);
	rig_share(&n->r);
	rig_start(&n->r, rig_queue(&n->r));
	rig_start(&n->r, rig_queue(&n->r));
}

void nic_close(struct nic *n)
{
	rig_disconnect(&n->r);
}

void nic_offer(struct nic *n)
{
	struct front_queue *q = &n->r.queues[0];

	for (; n->given < RX_SLOTS; n->given++) {
		unsigned slot = n->next++ % RX_SLOTS;
		struct driver_buffer b = { slot_at(n, slot), n->buffer, true };
		struct driver_chain chain = {
			.buffers = &b, .count = 1, .owner = (void *)(uintptr_t)slot
		};

		CHECK(driver_add(&q->driver, &chain) >= 0);
	}
	front_queue_offer(q);
}

static struct driver_used taken(struct front_queue *q, bool *is)
{
	struct driver_used used;
	int polled = driver_poll(&q->driver, &used);

	if (polled < 0)
		harness_fail(HERE, "%s", q->driver.wrong);
	*is = polled > 0;
	return used;
}

void nic_reap(struct nic *n)
{
	bool is = true;

	while (is) {
		struct driver_used used = taken(&n->r.queues[1], &is);

		CHECK(!is || used.len == 0);
		n->sent -= is;
	}
}

bool nic_post(struct nic *n, const struct nic_header *hdr, const void *frame, uint32_t len)
{
	struct front_queue *q = &n->r.queues[1];
	struct driver_buffer pieces[4];
	struct driver_chain chain = { .buffers = pieces };
	/* They come back in order: the rings of all devices with nothing to wait for do so. */
	unsigned slot = RX_SLOTS + n->posted % NIC_SENDS;
	uint64_t at = slot_at(n, slot), end = at + HEADER + len;
	static const struct nic_header none;

	nic_reap(n);
	if (n->sent == NIC_SENDS || q->driver.free_count < 4)
		return false;
	CHECK(driver_write(&n->r.memory.driver, at, hdr ? hdr : &none, HEADER));
	CHECK(driver_write(&n->r.memory.driver, at + HEADER, frame, len));
	while (at < end) {
		uint64_t part = chain.count == 3 ? end - at : 1 + harness_random() % (end - at);

		pieces[chain.count++] = (struct driver_buffer){ at, (uint32_t)part, false };
		at += part;
	}
	CHECK(driver_add(&q->driver, &chain) >= 0);
	n->sent++;
	n->posted++;
	front_queue_offer(q);
	return true;
}

void nic_send(struct nic *n, const struct nic_header *hdr, const void *frame, uint32_t len)
{
	CHECK(nic_post(n, hdr, frame, len));
	UNTIL((nic_reap(n), n->sent == 0));
}

int nic_poll(struct nic *n, struct nic_header *hdr, void *frame)
{
	struct front_queue *q = &n->r.queues[0];
	unsigned char bytes[HEADER];
	struct nic_header own;
	uint32_t have = 0;
	unsigned buffers = 1;

	for (unsigned i = 0; i < buffers; i++) {
		uint32_t skip = i == 0 ? HEADER : 0;
		struct driver_used used;
		uint64_t at;
		bool is;

		used = taken(q, &is);
		if (!is && i == 0)
			return -1;
		/* The buffers of one frame become visible together. */
		CHECK(is);
		n->given--;
		at = slot_at(n, (unsigned)(uintptr_t)used.owner);
		CHECK(used.len >= skip && used.len - skip + have <= NIC_FRAME_MAX);
		if (i == 0) {
			CHECK(driver_read(&n->r.memory.driver, at, bytes, HEADER));
			memcpy(&own, bytes, HEADER);
			buffers = own.num_buffers;
			CHECK(buffers >= 1 && buffers <= RX_SLOTS);
			if (hdr)
				*hdr = own;
		}
		CHECK(driver_read(
			&n->r.memory.driver, at + skip, (char *)frame + have, used.len - skip));
		have += used.len - skip;
	}
	return (int)have;
}

uint32_t nic_receive(struct nic *n, struct nic_header *hdr, void *frame)
{
	int len = -1;

	UNTIL((len = nic_poll(n, hdr, frame)) >= 0);
	return (uint32_t)len;
}

void nic_address(void *frame, unsigned to, unsigned from)
{
	unsigned char *f = frame;

	for (unsigned i = 0; i < 2; i++) {
		unsigned number = i ? from : to;

		memcpy(f + 6 * i, "\x52\x54\0\0", 4);
		f[6 * i + 4] = (unsigned char)(number >> 8);
		f[6 * i + 5] = (unsigned char)number;
	}
	if (to == NIC_BROADCAST)
		memset(f, 0xff, 6);
}
