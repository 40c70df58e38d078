/*
 * Two guests with socket devices that say anything, and a host that connects, listens, reads,
 * writes and closes when it likes. What a guest gets is well-formed, whatever happens.
 */
#include <errno.h>

#include "fuzz.h"
#include "rig.h"
#include "spec/virtio.h"
#include "spec/virtio_vsock.h"

enum { HEADER = sizeof(struct virtio_vsock_hdr), FDS_MAX = 8, RX_AT = 0, TX_AT = 0x4000 };
enum { BUFFER_MAX = 0x400, OPS_MAX = 60 };

static struct front guests[2];
static struct {
	int fds[FDS_MAX];
	unsigned count;
	int listener;
} host;

static void begin(void)
{
	life_fresh();
	fake_reset(1);
	host.count = 0;
	rig_patience_ns = 1000000;
	if (rig_main("vubox vsock -s /s --guest-cid=3 --uds-path=/u "
		     "-- vsock -s /t --guest-cid=4 --uds-path=/w") != FAKE_IDLE)
		fake_die("it does not serve: %s", fake.log);
	fake.socket_room = 300;
	front_start(&guests[0], "/s", 3, VIRTIO_VSOCK_F_STREAM | VIRTIO_VSOCK_F_SEQPACKET);
	front_start(&guests[1], "/t", 3, VIRTIO_VSOCK_F_STREAM);
	host.listener = fake_listen("/u_1");
}

/* Whatever the guest has got. */
static void take_packets(unsigned g)
{
	struct virtio_vsock_hdr h;
	uint32_t id, len;

	while (driver_used(&guests[g].rings[1], &id, &len))
		;
	while (driver_used(&guests[g].rings[0], &id, &len)) {
		if (len == 0)
			continue;
		/* Every buffer begins at the same place: the latest packet is there. */
		memcpy(&h, front_data(&guests[g], RX_AT), HEADER);
		if (len < HEADER || len > BUFFER_MAX)
			fake_die("a packet of %u bytes", len);
		if (le64_get(h.dst_cid) != 3 + g)
			fake_die("a packet for someone else");
	}
}

static void give_buffer(struct input *in, unsigned g)
{
	uint32_t len = (uint32_t)(take8(in) * 4), cut = take8(in);
	struct buffer b[2] = { { front_addr(RX_AT), cut < len ? cut : len, true },
		{ front_addr(RX_AT + cut), cut < len ? len - cut : 0, true } };

	driver_add(&guests[g].rings[0], b, 2);
	front_kick(&guests[g], 0);
	take_packets(g);
}

/* A packet that is mostly right. */
static void send_packet(struct input *in, unsigned g)
{
	static const uint64_t cids[] = { 2, 3, 4, 5, 1ull << 32 | 2 };
	uint8_t shape = take8(in), len = take8(in), cut = take8(in);
	struct virtio_vsock_hdr h = {
		.src_cid = le64_put((shape & 7) == 7 ? cids[len % 5] : 3 + g),
		.dst_cid = le64_put((shape & 8) != 0 ? cids[take8(in) % 5] : 2),
		.src_port = le32_put(take8(in) % 4),
		.dst_port = le32_put((shape & 16) != 0 ? 1u << 30 | take8(in) % 4 : 1),
		.len = le32_put((shape & 32) != 0 ? (uint32_t)take64(in) : len),
		.type = le16_put((shape & 64) != 0 ? take8(in) % 4 : 1),
		.op = le16_put(take8(in) % 10),
		.flags = le32_put(take8(in)),
		.buf_alloc = le32_put((shape & 128) != 0 ? (uint32_t)take64(in) : 1000),
		.fwd_cnt = le32_put(take16(in)),
	};
	uint32_t total = HEADER + len;
	struct buffer b[2] = { { front_addr(TX_AT), cut < total ? cut : total, false },
		{ front_addr(TX_AT + cut), cut < total ? total - cut : 0, false } };

	memcpy(front_data(&guests[g], TX_AT), &h, HEADER);
	driver_add(&guests[g].rings[1], b, 2);
	front_kick(&guests[g], 1);
	take_packets(g);
}

static void host_adds(int fd)
{
	if (fd < 0)
		return;
	if (host.count == FDS_MAX)
		fake_close(fd);
	else
		host.fds[host.count++] = fd;
}

static void host_acts(struct input *in)
{
	static const char *const lines[] = { "CONNECT 1\n", "CONNECT 3\nx", "CONN", "ECT 2\n" };
	uint8_t what = take8(in), len = take8(in);
	unsigned i = host.count > 0 ? take8(in) % host.count : 0;
	char bytes[256] = { 0 };

	if (what % 8 == 0) {
		host_adds(fake_connect((what & 8) != 0 ? "/w" : "/u"));
	} else if (what % 8 == 1) {
		host_adds(fake_accept(host.listener));
	} else if (host.count == 0) {
		return;
	} else if (what % 8 == 2) {
		fake_close(host.fds[i]);
		host.fds[i] = host.fds[--host.count];
	} else if (what % 8 == 3) {
		fake_shut(host.fds[i]);
	} else if (what % 8 == 4) {
		(void)fake_send(host.fds[i], lines[len % 4], strlen(lines[len % 4]), NULL, 0);
	} else if (what % 8 == 5) {
		(void)fake_send(host.fds[i], bytes, len > 0 ? len : 1, NULL, 0);
	} else {
		(void)fake_recv(host.fds[i], bytes, len, NULL);
	}
	(void)rig_run();
}

/* Time goes by, or a guest goes and comes. */
static void world_acts(struct input *in)
{
	uint8_t what = take8(in);
	unsigned g = what / 8 % 2;

	if (what % 8 != 0) {
		rig_patience_ns = (uint64_t)what * 100000000;
		(void)rig_run();
		rig_patience_ns = 1000000;
		return;
	}
	front_hang_up(&guests[g]);
	(void)rig_run();
	front_start(&guests[g], g ? "/t" : "/s", 3, VIRTIO_VSOCK_F_STREAM);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct input in = { bytes, len };

	begin();
	for (unsigned n = 0; n < OPS_MAX && in.left > 0; n++) {
		uint8_t what = take8(&in);
		unsigned g = what / 16 % 2;

		if (driver_used_count(&guests[g].rings[0]) > 0)
			take_packets(g);
		switch (what % 8) {
		case 0:
		case 1: give_buffer(&in, g); break;
		case 2:
		case 3:
		case 4: send_packet(&in, g); break;
		case 5:
		case 6: host_acts(&in); break;
		default: world_acts(&in);
		}
	}
	for (unsigned g = 0; g < 2; g++)
		front_hang_up(&guests[g]);
	(void)rig_run();
	return 0;
}
