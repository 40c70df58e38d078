/* src/core/vhost.c: what each message does, and what it refuses. */
#include <errno.h>

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

static struct front front;

static struct session *session(void)
{
	return &rig_device(0)->session;
}

static struct queue *queue(unsigned i)
{
	return &rig_device(0)->queues[i];
}

static void start(void)
{
	rig_stub(2, false);
	front_connect(&front, "/s");
	front_negotiate(&front, 0);
}

static int64_t set_table(uint32_t count, size_t size, const int *fds, unsigned fd_count)
{
	struct {
		struct vhost_user_header header;
		uint8_t bytes[sizeof(struct vhost_user_mem_table)];
	} m = { .header = { VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY,
			(uint32_t)size } };
	struct vhost_user_mem_table table = { count, 0, { { 0, 0, 0, 0 } } };
	uint32_t request;
	uint64_t ack;
	int n;

	for (uint32_t i = 0; i < 8; i++)
		table.regions[i] = (struct vhost_user_region){ 0x100000ull * (i + 1), 0x1000,
			0x70000000ull + 0x10000 * i, 0x100 * i };
	memcpy(m.bytes, &table, sizeof(table));
	(void)fake_send(front.fd, &m, sizeof(m.header) + size, fds, fd_count);
	(void)rig_run();
	n = front_reply(&front, &request, &ack, sizeof(ack), NULL);
	return n < 0 ? n : (int64_t)ack;
}

/* ---- features ---- */

CASE(features)
{
	uint64_t offered;

	start();
	offered = front_get(&front, VHOST_USER_GET_FEATURES);
	CHECK_EQ(offered, 0xff | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
				  VIRTIO_F_RING_PACKED | VIRTIO_F_ORDER_PLATFORM |
				  VIRTIO_F_NOTIFICATION_DATA | VIRTIO_F_RING_RESET |
				  VHOST_USER_F_PROTOCOL_FEATURES);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_FEATURES, offered, -1), 0);
	CHECK_EQ(stub.accepted, offered);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_FEATURES, 0x100, -1), 1);
	CHECK_EQ(session()->features, offered);
}

CASE(without_protocol_features_every_ring_is_enabled)
{
	start();
	CHECK(!queue(0)->enabled);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_FEATURES, VIRTIO_F_VERSION_1, -1), 0);
	CHECK(queue(0)->enabled && queue(1)->enabled);
	front_share(&front);
	front_ring(&front, 0, 16);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 1);
}

CASE(protocol_features)
{
	static const unsigned offered[] = { VHOST_USER_PROTOCOL_F_MQ,
		VHOST_USER_PROTOCOL_F_REPLY_ACK, VHOST_USER_PROTOCOL_F_BACKEND_REQ,
		VHOST_USER_PROTOCOL_F_CONFIG, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
		VHOST_USER_PROTOCOL_F_RESET_DEVICE, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
		VHOST_USER_PROTOCOL_F_STATUS, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT,
		VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN };
	static const unsigned needed[] = { VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
		VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT };
	uint64_t bits = 0;

	start();
	for (unsigned i = 0; i < countof(offered); i++)
		bits |= 1ull << offered[i];
	CHECK_EQ(front_get(&front, VHOST_USER_GET_PROTOCOL_FEATURES), bits);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_PROTOCOL_FEATURES, bits | 2, -1), 1);
	/* "must only be negotiated if both … are also negotiated" */
	for (unsigned i = 0; i < countof(needed); i++)
		CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_PROTOCOL_FEATURES,
				 bits & ~(1ull << needed[i]), -1),
			1);
	CHECK_EQ(session()->protocol_features, bits);
}

CASE(owner)
{
	start();
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 1, 1), 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_OWNER, NULL, 0, -1), 0);
	CHECK(queue(1)->enabled);
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_OWNER, NULL, 0, -1), 0);
	CHECK(!queue(1)->enabled);
}

CASE(counts)
{
	start();
	CHECK_EQ(front_get(&front, VHOST_USER_GET_QUEUE_NUM), 2);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_MAX_MEM_SLOTS), CONFIG_REGIONS_MAX);
}

/* ---- memory ---- */

CASE(a_memory_table_replaces_the_one_before)
{
	int fds[8];

	start();
	for (unsigned i = 0; i < 8; i++)
		fds[i] = fake_memory_new(0x2000);
	CHECK_EQ(set_table(8, 8 + 8 * 32, fds, 8), 0);
	CHECK_EQ(session()->mem.count, 8);
	for (unsigned i = 0; i < 8; i++)
		CHECK((char *)mem_at(&session()->mem, 0x100000ull * (i + 1), 1).base ==
			fake_memory(fds[i]) + 0x100 * i);
	CHECK_EQ(set_table(2, 8 + 2 * 32, fds, 2), 0);
	CHECK_EQ(fake_open_maps(), 2);
	CHECK_EQ(set_table(0, 8 + 8 * 32, NULL, 0), 0);
	CHECK_EQ(fake_open_maps(), 0);
}

CASE(a_memory_table_that_fits_neither_its_size_nor_its_descriptors)
{
	static const struct {
		uint32_t count;
		size_t size;
		unsigned fds;
	} wrong[] = { { 1, 8, 1 }, { 2, 8 + 32, 2 }, { 8, 8 + 8 * 32 - 1, 8 }, { 1, 8 + 32, 0 },
		{ 1, 8 + 32, 2 }, { 9, 8 + 8 * 32, 8 }, { UINT32_MAX, 8 + 8 * 32, 1 } };
	int fds[8];
	unsigned open;

	start();
	for (unsigned i = 0; i < 8; i++)
		fds[i] = fake_memory_new(0x2000);
	CHECK_EQ(set_table(1, 8 + 32, fds, 1), 0);
	open = fake_open_fds();
	for (unsigned i = 0; i < countof(wrong); i++)
		CHECK_EQ(set_table(wrong[i].count, wrong[i].size, fds, wrong[i].fds), 1);
	CHECK_EQ(fake_open_fds(), open);
	CHECK_EQ(session()->mem.count, 1);
}

CASE(a_memory_table_with_one_bad_region_leaves_none)
{
	int fds[3];

	start();
	for (unsigned i = 0; i < 3; i++)
		fds[i] = fake_memory_new(i == 1 ? 0x800 : 0x2000);
	CHECK_EQ(set_table(3, 8 + 3 * 32, fds, 3), 1);
	CHECK(fake_log_has("a region is larger than its file"));
	CHECK_EQ(fake_open_maps(), 0);
}

CASE(single_regions)
{
	struct vhost_user_mem_reg reg = { 0, { FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0 } };
	int other;
	unsigned open;

	start();
	front_share(&front);
	other = fake_memory_new(0x1000);
	open = fake_open_fds();
	CHECK_EQ(front_add_region(
			 &front, VHOST_USER_ADD_MEM_REG, 1ull << 40, 0x1000, 1ull << 40, 0, other),
		0);
	CHECK_EQ(fake_open_maps(), 2);
	CHECK_EQ(front_add_region(&front, VHOST_USER_ADD_MEM_REG, FRONT_GPA + 0x1000, 0x1000,
			 1ull << 41, 0, other),
		1);
	CHECK_EQ(front_add_region(
			 &front, VHOST_USER_ADD_MEM_REG, 1ull << 42, 0x1000, 1ull << 42, 0, -1),
		1);
	CHECK_EQ(front_add_region(
			 &front, VHOST_USER_REM_MEM_REG, 1ull << 40, 0x2000, 1ull << 40, 0, -1),
		1);
	CHECK_EQ(front_add_region(
			 &front, VHOST_USER_REM_MEM_REG, 1ull << 40, 0x1000, 1ull << 40, 0, other),
		0);
	CHECK_EQ(front_ack(&front, VHOST_USER_REM_MEM_REG, &reg, sizeof(reg), -1), 0);
	CHECK_EQ(fake_open_maps(), 0);
	CHECK_EQ(fake_open_fds(), open);
}

CASE(slots_run_out)
{
	uint64_t at = 1ull << 32;
	int fd;

	start();
	fd = fake_memory_new(0x1000);
	for (unsigned i = 0; i < CONFIG_REGIONS_MAX; i++, at += 0x1000)
		CHECK_EQ(
			front_add_region(&front, VHOST_USER_ADD_MEM_REG, at, 0x1000, at, 0, fd), 0);
	CHECK_EQ(front_add_region(&front, VHOST_USER_ADD_MEM_REG, at, 0x1000, at, 0, fd), 1);
	CHECK(fake_log_has("ADD_MEM_REG failed: no slot is left"));
	CHECK_EQ(fake_open_maps(), CONFIG_REGIONS_MAX);
	at -= 0x1000;
	CHECK_EQ(front_add_region(&front, VHOST_USER_REM_MEM_REG, at, 0x1000, at, 0, -1), 0);
	CHECK_EQ(front_add_region(&front, VHOST_USER_ADD_MEM_REG, at, 0x1000, at, 0, fd), 0);
}

/* ---- rings ---- */

CASE(sizes_of_rings)
{
	static const uint32_t wrong[] = { 0, 3, 257, 512, 65536, UINT32_MAX };

	start();
	for (uint32_t size = 1; size <= 256; size *= 2)
		CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 1, size), 0);
	for (unsigned i = 0; i < countof(wrong); i++)
		CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 1, wrong[i]), 1);
	CHECK_EQ(queue(1)->size, 256);
}

CASE(bases_of_rings)
{
	struct vhost_user_vring_state state = { 1, 0 };

	start();
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_BASE, 1, 65535), 0);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_BASE, 1, 65536), 1);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_VRING_BASE, &state, 8, 8, -1, NULL), 8);
	CHECK_EQ(state.num, 65535);
}

CASE(sizes_and_bases_of_packed_rings)
{
	struct vhost_user_vring_state state = { 1, 0 };

	start();
	front_negotiate(&front, VIRTIO_F_RING_PACKED);
	for (uint32_t size = 1; size <= 256; size++)
		CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 1, size), 0);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 1, 0), 1);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 1, 257), 1);
	CHECK_EQ(queue(1)->size, 256);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_BASE, 1, 0x80018001), 0);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_VRING_BASE, &state, 8, 8, -1, NULL), 8);
	CHECK_EQ(state.num, 0x80018001);
}

/* What was set for the one format may not fit the other, which is known only when it starts. */
CASE(a_ring_whose_format_has_changed_behind_its_back)
{
	start();
	front_negotiate(&front, VIRTIO_F_RING_PACKED);
	front_share(&front);
	driver_init(&front.rings[0], front.mem, FRONT_GPA, 0, 16);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 0, 5), 0);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_BASE, 0, 1 << 16), 0);
	front_ring_addr(&front, 0);
	front_negotiate(&front, 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 1);
	CHECK(fake_log_has("SET_VRING_KICK failed: "));
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 0, 16), 0);
	fake_log_clear();
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 1);
	CHECK(fake_log_has("SET_VRING_KICK failed: "));
	CHECK(!queue(0)->started);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_BASE, 0, 0), 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 0);
}

CASE(a_ring_whose_size_is_not_known)
{
	start();
	front_share(&front);
	driver_init(&front.rings[0], front.mem, FRONT_GPA, 0, 16);
	front_ring_addr(&front, 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 1);
	CHECK(fake_log_has("its size or its addresses were not set"));
}

CASE(addresses_of_a_broken_ring_wait_for_its_next_start)
{
	struct vhost_user_vring_addr addr = { .index = 0, .desc = 1 };

	start();
	front_share(&front);
	front_ring(&front, 0, 16);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	driver_avail(&front.rings[0], 99); /* no such descriptor */
	front_kick(&front, 0);
	CHECK(queue(0)->broken);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1), 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 1);
	CHECK(fake_log_has("its ring is not in shared memory"));
}

CASE(every_message_for_a_ring_knows_how_many_there_are)
{
	static const uint32_t states[] = { VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
		VHOST_USER_SET_VRING_ENABLE };
	static const uint32_t notes[] = { VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
		VHOST_USER_SET_VRING_ERR };
	struct vhost_user_vring_addr addr = { .index = 2 };
	unsigned open;

	start();
	open = fake_open_fds();
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(front_ack_state(&front, states[i], 2, 1), 1);
		CHECK_EQ(front_ack_state(&front, states[i], UINT32_MAX, 1), 1);
		CHECK_EQ(front_ack_u64(&front, notes[i], 2, front.call[0]), 1);
		CHECK_EQ(front_ack_u64(&front, notes[i], 255 | VHOST_USER_VRING_NO_FD, -1), 1);
	}
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1), 1);
	CHECK_EQ(fake_open_fds(), open);
}

CASE(enabled_is_0_or_1)
{
	start();
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 2), 1);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	CHECK(queue(0)->enabled);
}

CASE(a_new_call_is_signalled_once)
{
	start();
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_CALL, 0, front.call[0]), 0);
	CHECK_EQ(fake_notify_take(front.call[0]), 1);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_ERR, 0, front.err[0]), 0);
	CHECK_EQ(fake_notify_take(front.err[0]), 0);
}

CASE(a_notification_comes_with_a_descriptor_or_says_so)
{
	unsigned open;

	start();
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_CALL, 0, -1), 1);
	open = fake_open_fds();
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_CALL, 0, front.call[0]), 0);
	CHECK_EQ(fake_open_fds(), open + 1);
	CHECK_EQ(front_ack_u64(
			 &front, VHOST_USER_SET_VRING_CALL, VHOST_USER_VRING_NO_FD, front.call[0]),
		0);
	CHECK_EQ(fake_open_fds(), open);
	CHECK(queue(0)->call.kind == PORT_NOTIFY_NONE);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_CALL, 0, fake_other_new()), 1);
	CHECK_EQ(fake_open_fds(), open);
}

CASE(addresses_of_a_started_ring)
{
	struct vhost_user_vring_addr addr = { .index = 0, .desc = 1 };

	start();
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1), 0);
	front_share(&front);
	front_ring(&front, 0, 16);
	front_ring_addr(&front, 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1), 1);
}
