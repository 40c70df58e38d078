/* Rings with anything in them, and a disk behind them: what the targets of both formats share. */
#include "ring.h"

#include "num.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"

enum { IMAGE = 64 * 1024, MEDDLES_MAX = 4 };

struct front ring_front;
void (*ring_on_store)(size_t at, size_t len);

static struct {
	struct fake_image *image;
	bool begun;
	unsigned accesses, meddles, meddled;
	struct {
		unsigned after;
		uint16_t at;
		uint8_t value;
	} meddle[MEDDLES_MAX];
} state;

static void tell_of_store(const void *at, size_t len)
{
	uintptr_t off = (uintptr_t)at - (uintptr_t)ring_front.mem;

	if (ring_on_store && off < FRONT_BYTES)
		ring_on_store(off, len);
}

static void on_guest(const char *what, const void *at, size_t len)
{
	unsigned i = state.meddled;

	for (; i < state.meddles && state.accesses >= state.meddle[i].after; i++)
		ring_front.mem[state.meddle[i].at] = (char)state.meddle[i].value;
	state.meddled = i;
	state.accesses++;
	if (*what == 's')
		tell_of_store(at, len);
}

static void on_io(const struct port_io *io, const void *at, size_t len)
{
	(void)io; /* whichever way it goes */
	tell_of_store(at, len);
}

static void begin(uint64_t features)
{
	life_fresh();
	fake_reset(1);
	state.image = fake_image_new("/img", IMAGE);
	if (rig_main("vubox blk -s /s --blk-file=/img --num-queues=1 --queue-size=32") != FAKE_IDLE)
		fake_die("it does not serve: %s", fake.log);
	front_start(&ring_front, "/s", 1, features | VIRTIO_BLK_F_FLUSH);
	front_ring(&ring_front, 0, RING_SIZE);
	fuzz_on_guest = on_guest;
	fake.on_io = on_io;
	life_keep();
}

void ring_begin(uint64_t features)
{
	if (!state.begun)
		begin(features);
	state.begun = true;
	state.meddles = 0;
	life_back();
	fake_log_clear();
	fake.now_ns = 1000000000;
	memset(ring_front.mem, 0, RING_RAW_END);
	memset(state.image->bytes, 0, IMAGE);
	driver_init(&ring_front.rings[0], ring_front.mem, FRONT_GPA, 0, RING_SIZE);
}

struct queue *ring_queue(void)
{
	return &rig_device(0)->queues[0];
}

uint64_t ring_address(struct input *in)
{
	uint8_t how = take8(in);
	uint64_t off = take8(in);

	switch (how % 8) {
	case 0: return FRONT_GPA + RING_HEADERS + 16 * off;
	case 1: return FRONT_GPA + RING_TABLE + 16 * off;
	case 2: return FRONT_GPA + FRONT_BYTES - off;
	case 3: return UINT64_MAX - off;
	case 4: return off;
	case 5: return FRONT_GPA + take16(in);
	default: return FRONT_GPA + RING_DATA + 512 * off;
	}
}

uint32_t ring_length(struct input *in)
{
	static const uint32_t lens[] = { 0, 1, 15, 16, 17, 32, 48, 256, 511, 512, 513, 1024, 4096,
		65536, FRONT_BYTES, 0x80000000u, UINT32_MAX };
	uint8_t how = take8(in);

	return how < countof(lens) ? lens[how] : how % 2 ? how : take16(in);
}

void ring_put_headers(struct input *in)
{
	for (unsigned n = take8(in) % 8, i = 0; i < n; i++) {
		uint8_t choice = take8(in);
		uint64_t sector = take8(in);
		struct virtio_blk_req r = { le32_put(choice % 16), le32_put(0),
			le64_put(choice & 0x40 ? UINT64_MAX / 512 + sector : sector) };
		struct virtio_blk_discard_write_zeroes range = { le64_put(sector),
			le32_put(choice >> 4), le32_put(choice & 1) };

		memcpy(ring_front.mem + RING_HEADERS + 16 * i, &r, sizeof(r));
		memcpy(ring_front.mem + RING_HEADERS + 16 * (8 + i), &range, sizeof(range));
	}
}

bool ring_put_raw(struct input *in)
{
	uint16_t at = take16(in);

	return take_bytes(in, ring_front.mem + at, RING_RAW_END - at) > 0;
}

bool ring_put_meddling(struct input *in)
{
	state.accesses = state.meddled = 0;
	state.meddles = take8(in) % (4 * MEDDLES_MAX);
	if (state.meddles > MEDDLES_MAX)
		state.meddles = 0;
	for (unsigned i = 0; i < state.meddles; i++) {
		state.meddle[i].after = take8(in) + (i > 0 ? state.meddle[i - 1].after : 0);
		state.meddle[i].at = take16(in);
		state.meddle[i].value = take8(in);
	}
	return state.meddles > 0;
}

void ring_expect_rest(void)
{
	if (device_in_flight(rig_device(0)) != 0 || port_io_pending() != 0)
		fake_die("requests are left");
}
