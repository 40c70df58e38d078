/*
 * Split rings with anything in them, and a disk behind them: I/O may touch only guest memory, and
 * of the disk only what there is (both checked by the fake port), and every request comes back.
 */
#include "fuzz.h"
#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "spec/virtio_ring.h"

enum {
	RING = 32,
	IMAGE = 64 * 1024,
	TABLE = 0x1000,
	HEADERS = 0x2000,
	DATA = 0x3000,
	USED = 0x10000
};

static struct front front;
static struct fake_image *image;

/* One life serves all inputs: its variables go back to where they were with the ring set up. */
static void begin(void)
{
	life_fresh();
	fake_reset(1);
	image = fake_image_new("/img", IMAGE);
	if (rig_main("vubox blk -s /s --blk-file=/img --num-queues=1 --queue-size=32") != FAKE_IDLE)
		fake_die("it does not serve: %s", fake.log);
	front_start(&front, "/s", 1, VIRTIO_F_INDIRECT_DESC | VIRTIO_BLK_F_FLUSH);
	front_ring(&front, 0, RING);
	life_keep();
}

/* Addresses that are worth a try: in memory, at its edges, in tables and headers, nowhere. */
static uint64_t address(struct input *in)
{
	uint8_t how = take8(in);
	uint64_t off = take8(in);

	switch (how % 8) {
	case 0: return FRONT_GPA + HEADERS + 16 * off;
	case 1: return FRONT_GPA + TABLE + 16 * off;
	case 2: return FRONT_GPA + FRONT_BYTES - off;
	case 3: return UINT64_MAX - off;
	case 4: return off;
	case 5: return FRONT_GPA + take16(in);
	default: return FRONT_GPA + DATA + 512 * off;
	}
}

static uint32_t length(struct input *in)
{
	static const uint32_t lens[] = { 0, 1, 15, 16, 17, 32, 48, 256, 511, 512, 513, 1024, 4096,
		65536, FRONT_BYTES, 0x80000000u, UINT32_MAX };
	uint8_t how = take8(in);

	return how < countof(lens) ? lens[how] : how % 2 ? how : take16(in);
}

/* Descriptors of the ring; those from RING on are in an indirect table. */
static void put_descriptors(struct input *in)
{
	for (unsigned n = take8(in) % 64, i = 0; i < n; i++) {
		uint8_t choice = take8(in);
		uint64_t addr = address(in);
		uint32_t len = length(in);
		uint16_t flags = choice & 7, next = choice & 8 ? (uint16_t)(i + 1) : take8(in);
		struct virtq_desc d = { le64_put(addr), le32_put(len), le16_put(flags),
			le16_put(next) };

		if (i < RING)
			memcpy(front.mem + front.rings[0].desc + 16 * i, &d, sizeof(d));
		else
			memcpy(front.mem + TABLE + 16 * (i - RING), &d, sizeof(d));
	}
}

/* Requests of every type, to where there is something and where there is not. */
static void put_headers(struct input *in)
{
	for (unsigned n = take8(in) % 8, i = 0; i < n; i++) {
		uint8_t choice = take8(in);
		uint64_t sector = take8(in);
		struct virtio_blk_req r = { le32_put(choice % 16), le32_put(0),
			le64_put(choice & 0x40 ? UINT64_MAX / 512 + sector : sector) };
		struct virtio_blk_discard_write_zeroes range = { le64_put(sector),
			le32_put(choice >> 4), le32_put(choice & 1) };

		memcpy(front.mem + HEADERS + 16 * i, &r, sizeof(r));
		memcpy(front.mem + HEADERS + 16 * (8 + i), &range, sizeof(range));
	}
}

/* What was taken was given back, each once; a broken queue may have dropped some. */
static void expect_sane(void)
{
	const struct queue *q = &rig_device(0)->queues[0];

	if (device_in_flight(rig_device(0)) != 0 || port_io_pending() != 0)
		fake_die("requests are left");
	if (!q->broken && q->ring.used_idx != q->ring.last_avail)
		fake_die("%u taken, %u given back", q->ring.last_avail, q->ring.used_idx);
	if (q->ring.used_idx > q->ring.last_avail)
		fake_die("more was given back than taken");
}

/* Input: choices, descriptors, headers, heads, and raw bytes over the ring and all behind it. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static bool begun;
	struct input in = { bytes, len };
	uint16_t at;

	if (!begun)
		begin();
	begun = true;
	life_back();
	fake_log_clear();
	fake.now_ns = 1000000000;
	memset(front.mem, 0, USED);
	memset(image->bytes, 0, IMAGE);
	driver_init(&front.rings[0], front.mem, FRONT_GPA, 0, RING);
	rig_device(0)->queues[0].ring.indirect = take8(&in) % 8 != 0;
	put_descriptors(&in);
	put_headers(&in);
	for (unsigned n = 1 + take8(&in) % 4; n > 0; n--) {
		uint8_t head = take8(&in);

		driver_avail(&front.rings[0], head < 0xf0 ? head % RING : head);
	}
	at = take16(&in);
	(void)take_bytes(&in, front.mem + at, USED - at);
	front_kick(&front, 0);
	expect_sane();
	return 0;
}
