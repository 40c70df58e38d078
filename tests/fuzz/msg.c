/*
 * A front-end that does anything: messages whole and in pieces, with descriptors of every kind,
 * rings and chains, hang-ups, shrinking memory, failures of the host. When it is gone nothing of it
 * may be left, and the next one must be served.
 */
#include "fuzz.h"
#include "num.h"
#include "packed_model.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "spec/virtio_ring.h"

enum { QUEUES = 2, PARTS = 3, IMAGE = 64 * 1024, PATIENCE_NS = 30000 };

static struct front front;
static unsigned fds_before, watches_before;
static uint64_t features;       /* that were negotiated last */
static bool packed;             /* by them */
static uint16_t places[QUEUES]; /* packed: where the driver goes on */
static int inflight_fd;         /* a buffer that was shared, or -1 */
static struct vhost_user_inflight inflight;

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

/* The payload of a message about memory: regions that are there, and others. */
static size_t sensible_regions(struct input *in, bool table, uint8_t *payload)
{
	static const struct vhost_user_region regions[] = {
		{ FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0 },
		{ FRONT_GPA + FRONT_BYTES, 0x1000, FRONT_UVA + FRONT_BYTES, 0x1000 },
		{ FRONT_GPA, 0x4000, FRONT_UVA, 0 },
		{ FRONT_GPA + 0x4000, FRONT_BYTES - 0x4000, FRONT_UVA + 0x4000, 0x4000 },
		{ FRONT_GPA + 0x2000, 0x4000, FRONT_UVA + 0x2000, 0x2000 },
		{ UINT64_MAX - 0xfff, 0x1000, 0x1000, 0 },
	};
	struct vhost_user_mem_table t = { .count = 1 + take8(in) % 2 };

	for (unsigned i = 0; i < t.count; i++)
		t.regions[i] = regions[take8(in) % countof(regions)];
	if (table)
		return memcpy(payload, &t, sizeof(t)), sizeof(t);
	return memcpy(payload, &(struct vhost_user_mem_reg){ 0, t.regions[0] },
		       sizeof(struct vhost_user_mem_reg)),
	       sizeof(struct vhost_user_mem_reg);
}

/* A number of 32 bits that means something to a ring. */
static uint32_t sensible_number(struct input *in)
{
	static const uint32_t numbers[] = { 0, 1, 2, 8, 16, 31, 64, 0x8000, 0x80008000, 0x80018001,
		0x8003, 0x10000, UINT32_MAX };
	uint8_t choice = take8(in);

	return choice < countof(numbers) ? numbers[choice] : choice;
}

/* A message that may well be accepted. */
static void send_sensible(struct input *in)
{
	static const uint8_t ids[] = { VHOST_USER_RESET_OWNER, VHOST_USER_SET_MEM_TABLE,
		VHOST_USER_ADD_MEM_REG, VHOST_USER_REM_MEM_REG, VHOST_USER_SET_VRING_NUM,
		VHOST_USER_SET_VRING_BASE, VHOST_USER_GET_VRING_BASE,
		VHOST_USER_GET_VRING_BASE_SKIP_DRAIN, VHOST_USER_SET_VRING_ENABLE,
		VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL, VHOST_USER_SET_STATUS,
		VHOST_USER_GET_STATUS, VHOST_USER_GET_CONFIG, VHOST_USER_SET_CONFIG,
		VHOST_USER_GET_QUEUE_NUM, VHOST_USER_GET_MAX_MEM_SLOTS, VHOST_USER_RESET_DEVICE,
		VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_SET_VRING_ERR };
	uint32_t id = ids[take8(in) % countof(ids)], words[4] = { take8(in) % (QUEUES + 1) };
	struct {
		struct vhost_user_header header;
		uint8_t payload[sizeof(struct vhost_user_config)]; /* the longest of them */
	} m = { { id, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 8 }, { 0 } };
	int fds[2] = { fake_dup(front.mem_fd), fake_dup(front.mem_fd) };
	unsigned count = 0;

	words[1] = words[2] = sensible_number(in);
	memcpy(m.payload, words, sizeof(words));
	if (id == VHOST_USER_SET_MEM_TABLE || id == VHOST_USER_ADD_MEM_REG ||
		id == VHOST_USER_REM_MEM_REG)
		m.header.size =
			(uint32_t)sensible_regions(in, id == VHOST_USER_SET_MEM_TABLE, m.payload);
	if (id == VHOST_USER_SET_MEM_TABLE)
		count = m.payload[0];
	else if (id == VHOST_USER_ADD_MEM_REG)
		count = 1;
	if (id == VHOST_USER_GET_CONFIG || id == VHOST_USER_SET_CONFIG)
		m.header.size = sizeof(struct vhost_user_config);
	if (id >= VHOST_USER_SET_VRING_KICK && id <= VHOST_USER_SET_VRING_ERR) {
		m.payload[1] = words[1] % 2;
		m.payload[4] = 0;
		count = !m.payload[1];
		fake_close(fds[0]);
		fds[0] = descriptor((uint8_t)(2 + words[1] % 4));
	}
	if (id == VHOST_USER_SET_BACKEND_REQ_FD) {
		fake_close(fds[0]);
		fds[0] = descriptor(5);
		count = 1;
	}
	(void)fake_send(front.fd, &m, sizeof(m.header) + m.header.size, fds, count);
	fake_close(fds[0]);
	fake_close(fds[1]);
}

static void send_raw(struct input *in)
{
	uint8_t bytes[64];
	size_t n = take_bytes(in, bytes, take8(in) % sizeof(bytes));

	if (n > 0)
		(void)fake_send(front.fd, bytes, n, NULL, 0);
}

static void negotiate(struct input *in)
{
	uint8_t how = take8(in);

	features = (how & 0x60) | (how & 1 ? VIRTIO_F_RING_PACKED : 0) |
		   (how & 2 ? VIRTIO_F_EVENT_IDX : 0) | (how & 4 ? VIRTIO_F_INDIRECT_DESC : 0);

	packed = (features & VIRTIO_F_RING_PACKED) != 0;
	front_negotiate(&front, features);
}

static void set_ring(struct input *in)
{
	uint8_t how = take8(in);
	unsigned i = how % 16 < 14 ? how % QUEUES : QUEUES; /* there is none of that number */

	if (!front.mem)
		return;
	front_ring(&front, i, packed ? 1u + (how >> 4) * 2 : 1u << (how >> 4) % 6);
	if (i < QUEUES)
		places[i] = MODEL_WRAP;
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
	if (inflight_fd >= 0)
		fake_close(inflight_fd);
	inflight_fd = fd;
	inflight = i;
}

/* A chain in a packed ring, whether there is room or not. */
static void add_packed(struct driver *d, uint16_t *place, const struct buffer *buffers)
{
	for (unsigned i = 0; i < PARTS; i++) {
		uint16_t flags = (uint16_t)((buffers[i].write ? VIRTQ_DESC_F_WRITE : 0) |
					    (i + 1 < PARTS ? VIRTQ_DESC_F_NEXT : 0) |
					    (*place & MODEL_WRAP ? PVIRTQ_DESC_F_AVAIL
								 : PVIRTQ_DESC_F_USED));
		struct pvirtq_desc desc = { le64_put(buffers[i].addr), le32_put(buffers[i].len),
			le16_put(i), le16_put(flags) };

		memcpy(d->mem + d->desc + 16 * (*place & ~MODEL_WRAP), &desc, sizeof(desc));
		*place = model_step((uint16_t)d->size, *place, 1);
	}
}

/* A request of a disk, well-formed but for its numbers. */
static void add_request(struct input *in)
{
	uint8_t how = take8(in), sector = take8(in), sectors = take8(in) % 4;
	bool write = how % 2;
	struct virtio_blk_req r = { le32_put((how >> 1) % 16), le32_put(0), le64_put(sector) };
	struct driver *d = &front.rings[how >> 7];
	struct buffer buffers[PARTS] = { { front_addr(0), 16, false },
		{ front_addr(0x1000), 512u * sectors, write }, { front_addr(0x100), 1, true } };

	if (!front.mem || d->size == 0)
		return;
	memcpy(front_data(&front, 0), &r, sizeof(r));
	if (packed)
		add_packed(d, &places[how >> 7], buffers);
	else
		driver_add(d, buffers, PARTS);
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

static void share(void)
{
	front.mem = fake_memory(front.mem_fd);
	(void)front_add_region(
		&front, VHOST_USER_ADD_MEM_REG, FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0, front.mem_fd);
}

static void serve(void)
{
	life_fresh();
	fake.fail_one_in = fake.fail_mask = 0;
	fake.end_ns = 0;
	if (rig_main("vubox blk -s /s --blk-file=/img --num-queues=2 --poll-us=0") != FAKE_IDLE)
		fake_die("it does not serve: %s", fake.log);
}

/* A ring goes on as it is in memory. */
static void restart_ring(unsigned i, uint32_t base)
{
	(void)front_ack_state(&front, VHOST_USER_SET_VRING_NUM, i, front.rings[i].size);
	front_ring_addr(&front, i);
	(void)front_ack_state(&front, VHOST_USER_SET_VRING_BASE, i, base);
	(void)front_ack_u64(&front, VHOST_USER_SET_VRING_CALL, i, front.call[i]);
	(void)front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, i, front.kick[i]);
	(void)front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, i, 1);
}

/* The front-end hangs up, or vubox dies; then both go on with the same memory and record. */
static void come_back(struct input *in)
{
	struct front old = front;
	bool dies = take8(in) % 2;

	old.mem_fd = fake_dup(front.mem_fd);
	if (dies) {
		fake_kill();
		front_hang_up(&front);
		serve();
	} else {
		hang_up();
	}
	connect();
	fake_close(front.mem_fd);
	front.mem_fd = old.mem_fd;
	if (!old.mem)
		return;
	front_negotiate(&front, features);
	share();
	memcpy(front.rings, old.rings, sizeof(front.rings));
	if (inflight_fd >= 0)
		(void)front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof(inflight),
			inflight_fd);
	for (unsigned i = 0; i < QUEUES; i++)
		if (front.rings[i].size > 0)
			restart_ring(i, sensible_number(in));
}

/* Someone else, who does not stay. */
static void connect_another(void)
{
	int fd = fake_connect("/s");

	if (fd >= 0)
		fake_close(fd);
}

static void fail_host(struct input *in)
{
	uint8_t how = take8(in);

	fake.fail_one_in = how % 16;
	fake.fail_mask = how & 0x80 ? UINT32_MAX : 1ull << FAKE_IO;
}

static void step(struct input *in)
{
	switch (take8(in) % 24) {
	case 0: send_raw(in); break;
	case 1: negotiate(in); break;
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
	case 18: come_back(in); break;
	case 19:
	case 20:
	case 21: send_sensible(in); break;
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

	fake_reset(1);
	fake_image_new("/img", IMAGE);
	serve();
	fds_before = fake_open_fds();
	watches_before = fake_watches();
	front_lenient = true;
	packed = false;
	features = 0;
	inflight_fd = -1;
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
