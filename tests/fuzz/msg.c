/*
 * A front-end that does anything: messages whole and in pieces, with descriptors of every kind,
 * rings and chains, hang-ups, shrinking memory, failures of the host. When it is gone nothing of it
 * may be left, and the next one must be served.
 */
#include "fuzz.h"
#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"

enum { QUEUES = 2, IMAGE = 64 * 1024, PATIENCE_NS = 30000 };

static struct front front;
static unsigned fds_before, watches_before;

static void run(void)
{
	(void)rig_run();
}

/* A new descriptor of our side, of one of the kinds there are. */
static int descriptor(uint8_t kind)
{
	int pair[2];

	switch (kind % 8) {
	case 0: return fake_dup(front.mem_fd);
	case 1: return fake_memory_new(0x3000);
	case 2: return fake_dup(front.kick[kind >> 7]);
	case 3: return fake_dup(front.call[kind >> 7]);
	case 4: return fake_notify_new(PORT_NOTIFY_PIPE);
	case 5:
		fake_socketpair(pair);
		port_close(pair[0]);
		return pair[1];
	case 6: return fake_memory_new(0);
	default: return fake_other_new();
	}
}

/* Replies are read and forgotten, so that it does not wait for us. */
static void read_replies(void)
{
	char bytes[512];
	int fd;

	while (fake_recv(front.fd, bytes, sizeof(bytes), &fd) > 0)
		if (fd >= 0)
			fake_close(fd);
}

/* Any message: a short payload is filled up with zeroes to what the header says, or nearly. */
static void send_message(struct input *in)
{
	static const uint16_t sizes[] = { 0, 8, 8, 8, 12, 16, 20, 24, 40, 40, 40, 72, 264, 268,
		CONFIG_PAYLOAD_MAX + 100, CONFIG_PAYLOAD_MAX };
	struct {
		struct vhost_user_header header;
		uint8_t payload[CONFIG_PAYLOAD_MAX];
	} m = { .header.request = take8(in) % 50 };
	uint8_t how = take8(in), count = take8(in);
	uint32_t sent;
	int fds[12];

	m.header.size = sizes[how & 15];
	m.header.flags = VHOST_USER_VERSION | (how & 16 ? VHOST_USER_NEED_REPLY : 0) |
			 (how >= 0xf0 ? count : 0);
	sent = (uint32_t)num_min(m.header.size, sizeof(m.payload));
	(void)take_bytes(in, m.payload, num_min(take8(in), sent));
	count = count < 0xc0 ? count % 3 : count % 12;
	for (unsigned i = 0; i < count; i++)
		fds[i] = descriptor(take8(in));
	(void)fake_send(front.fd, &m, sizeof(m.header) + sent, fds, count);
	for (unsigned i = 0; i < count; i++)
		fake_close(fds[i]);
}

static void send_raw(struct input *in)
{
	uint8_t bytes[64];
	size_t n = take_bytes(in, bytes, take8(in) % sizeof(bytes));

	if (n > 0)
		(void)fake_send(front.fd, bytes, n, NULL, 0);
}

static void set_ring(struct input *in)
{
	uint8_t how = take8(in);
	unsigned i = how % 16 < 14 ? how % QUEUES : QUEUES; /* there is none of that number */

	if (!front.mem)
		return;
	front_ring(&front, i, 1u << (how >> 4) % 6);
	(void)front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, i, how < 0xe0);
}

static void set_inflight(struct input *in)
{
	struct vhost_user_inflight i = { .num_queues = take8(in) % 4,
		.queue_size = take8(in) % 64 };
	int fd;

	if (front_call(&front, VHOST_USER_GET_INFLIGHT_FD, &i, sizeof(i), sizeof(i), -1, &fd) <=
			0 ||
		fd < 0)
		return;
	(void)take_bytes(in, fake_memory(fd), num_min(take8(in), fake_memory_len(fd)));
	(void)front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &i, sizeof(i), fd);
	fake_close(fd);
}

/* A request of a disk, well-formed but for its numbers. */
static void add_request(struct input *in)
{
	uint8_t how = take8(in), sector = take8(in), sectors = take8(in) % 4;
	bool write = how % 2;
	struct virtio_blk_req r = { le32_put((how >> 1) % 16), le32_put(0), le64_put(sector) };
	struct driver *d = &front.rings[how >> 7];

	if (!front.mem || d->size == 0)
		return;
	memcpy(front_data(&front, 0), &r, sizeof(r));
	driver_add(d,
		(struct buffer[]){ { front_addr(0), 16, false },
			{ front_addr(0x1000), 512u * sectors, write },
			{ front_addr(0x100), 1, true } },
		3);
	fake_notify_signal(front.kick[how >> 7]);
}

static void write_memory(struct input *in)
{
	uint32_t at = take16(in) * 8u % FRONT_BYTES;
	uint8_t len = take8(in);

	if (front.mem)
		(void)take_bytes(in, front.mem + at, num_min(len, FRONT_BYTES - at));
}

/* Hangs up with everything it has. */
static void hang_up(void)
{
	front_hang_up(&front);
	run();
}

/* Goes on until all is done, with a host that works. */
static void settle(void)
{
	fake.fail_one_in = fake.fail_mask = 0;
	rig_patience_ns = fake.end_ns = 0;
	if (rig_run() != FAKE_IDLE)
		fake_die("it does not rest");
	rig_patience_ns = PATIENCE_NS;
}

/* Nobody else is connected; who was refused before has been looked at. */
static void connect(void)
{
	settle();
	front_connect(&front, "/s");
	front.mem_fd = fake_memory_new(FRONT_BYTES);
}

/* Someone else, who does not stay. */
static void connect_another(void)
{
	int fd = fake_connect("/s");

	if (fd >= 0)
		fake_close(fd);
}

static void share(void)
{
	front.mem = fake_memory(front.mem_fd);
	(void)front_add_region(
		&front, VHOST_USER_ADD_MEM_REG, FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0, front.mem_fd);
}

static void fail_host(struct input *in)
{
	uint8_t how = take8(in);

	fake.fail_one_in = how % 16;
	fake.fail_mask = how & 0x80 ? UINT32_MAX : 1u << FAKE_IO;
}

static void step(struct input *in)
{
	switch (take8(in) % 20) {
	case 0: send_raw(in); break;
	case 1: front_negotiate(&front, take8(in) & 0x60); break;
	case 2: share(); break;
	case 3:
	case 4: set_ring(in); break;
	case 5: set_inflight(in); break;
	case 6:
	case 7: add_request(in); break;
	case 8: write_memory(in); break;
	case 9: fake_notify_signal(front.kick[take8(in) % QUEUES]); break;
	case 10: fake_signal(PORT_SIGNAL_AGAIN); break;
	case 11: fake_truncate(front.mem_fd, take16(in) * 16u); break;
	case 12:
		hang_up();
		connect();
		break;
	case 13: connect_another(); break;
	case 14: fail_host(in); break;
	case 15: fake.in_pieces = !fake.in_pieces; break;
	case 16: fake.socket_room = take8(in) * 4u; break;
	case 17: run(); break;
	default: send_message(in); break;
	}
}

/* The front-end is gone: so must be all that it gave, and the next one is served. */
static void expect_clean(void)
{
	fake.socket_room = 1 << 16;
	front_hang_up(&front);
	settle();
	if (fake_open_fds() != fds_before || fake_watches() != watches_before ||
		fake_open_maps() != 0 || port_io_pending() != 0)
		fake_die("left: %u descriptors, %u watches, %u maps, %u I/Os",
			fake_open_fds() - fds_before, fake_watches() - watches_before,
			fake_open_maps(), port_io_pending());
	front_lenient = false;
	front_connect(&front, "/s");
	if ((front_get(&front, VHOST_USER_GET_FEATURES) & VIRTIO_F_VERSION_1) == 0)
		fake_die("the next one is not served");
	front_hang_up(&front);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct input in = { bytes, len };

	life_fresh();
	fake_reset(1);
	fake_image_new("/img", IMAGE);
	if (rig_main("vubox blk -s /s --blk-file=/img --num-queues=2 --poll-us=0") != FAKE_IDLE)
		fake_die("it does not serve: %s", fake.log);
	fds_before = fake_open_fds();
	watches_before = fake_watches();
	front_lenient = true;
	fake.io_delay_ns = 20000;
	connect();
	for (unsigned steps = 0; in.left > 0 && steps < 60; steps++) {
		step(&in);
		if (take8(&in) % 4)
			run();
		read_replies();
	}
	expect_clean();
	return 0;
}
