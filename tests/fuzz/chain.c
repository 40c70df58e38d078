/*
 * Split rings with anything in them, and a disk behind them: I/O may touch only guest memory, and
 * of the disk only what there is (both checked by the fake port), and every request comes back.
 */
#include "ring.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"

/* Descriptors of the ring; those from RING_SIZE on are in an indirect table. */
static void put_descriptors(struct input *in)
{
	for (unsigned n = take8(in) % 64, i = 0; i < n; i++) {
		uint8_t choice = take8(in);
		uint64_t addr = ring_address(in);
		uint32_t len = ring_length(in);
		uint16_t flags = choice & 7, next = choice & 8 ? (uint16_t)(i + 1) : take8(in);
		struct virtq_desc d = { le64_put(addr), le32_put(len), le16_put(flags),
			le16_put(next) };

		if (i < RING_SIZE)
			memcpy(ring_front.mem + ring_front.rings[0].desc + 16 * i, &d, sizeof(d));
		else
			memcpy(ring_front.mem + RING_TABLE + 16 * (i - RING_SIZE), &d, sizeof(d));
	}
}

/* What was taken was given back, each once; a broken queue may have dropped some. */
static void expect_sane(void)
{
	const struct queue *q = ring_queue();

	ring_expect_rest();
	if (!q->broken && q->ring.used_idx != q->ring.last_avail)
		fake_die("%u taken, %u given back", q->ring.last_avail, q->ring.used_idx);
	if (q->ring.used_idx > q->ring.last_avail)
		fake_die("more was given back than taken");
}

/* Input: choices, descriptors, headers, heads, meddling, and raw bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct input in = { bytes, len };

	ring_begin(VIRTIO_F_INDIRECT_DESC);
	ring_queue()->ring.indirect = take8(&in) % 8 != 0;
	put_descriptors(&in);
	ring_put_headers(&in);
	for (unsigned n = 1 + take8(&in) % 4; n > 0; n--) {
		uint8_t head = take8(&in);

		driver_avail(&ring_front.rings[0], head < 0xf0 ? head % RING_SIZE : head);
	}
	(void)ring_put_meddling(&in);
	(void)ring_put_raw(&in);
	front_kick(&ring_front, 0);
	expect_sane();
	return 0;
}
