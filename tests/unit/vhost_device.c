/* src/core/vhost.c: configuration space, in-flight tracking, reset and status. */
#include <errno.h>

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

static struct front front;

static void start(void)
{
	rig_stub(2, false);
	for (unsigned i = 0; i < sizeof(stub.config); i++)
		stub.config[i] = (uint8_t)i;
	front_connect(&front, "/s");
	front_negotiate(&front, 0);
}

/* ---- configuration space ---- */

CASE(config_is_read)
{
	struct vhost_user_config c = { 3, 5, 0, { 0 } };

	start();
	CHECK_EQ(
		front_call(&front, VHOST_USER_GET_CONFIG, &c, 12 + 5, sizeof(c), -1, NULL), 12 + 5);
	CHECK(c.offset == 3 && c.size == 5);
	CHECK_BYTES(c.bytes, "\3\4\5\6\7", 5);
	c = (struct vhost_user_config){ 0, 256, 0, { 0 } };
	CHECK_EQ(front_call(&front, VHOST_USER_GET_CONFIG, &c, sizeof(c), sizeof(c), -1, NULL),
		sizeof(c));
	CHECK_BYTES(c.bytes, stub.config, 256);
}

CASE(config_outside_is_answered_with_nothing)
{
	static const uint32_t wrong[][2] = { { 0, 257 }, { 256, 1 }, { 255, 2 }, { 1, 256 },
		{ UINT32_MAX, 1 }, { 1, UINT32_MAX }, { UINT32_MAX, UINT32_MAX } };

	start();
	for (unsigned i = 0; i < countof(wrong); i++) {
		struct vhost_user_config c = { wrong[i][0], wrong[i][1], 0, { 0 } };

		CHECK_EQ(front_call(
				 &front, VHOST_USER_GET_CONFIG, &c, sizeof(c), sizeof(c), -1, NULL),
			0);
	}
}

CASE(config_is_written)
{
	struct vhost_user_config c = { 8, 2, 0, { 0xaa, 0xbb } };

	start();
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 12 + 2, -1), 0);
	CHECK(stub.set_offset == 8 && stub.set_len == 2 && !stub.set_migrate);
	CHECK_BYTES(stub.config + 8, "\xaa\xbb", 2);
	c.offset = 0;
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 12 + 2, -1), 1);
	c.flags = VHOST_USER_CONFIG_MIGRATE;
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 12 + 2, -1), 0);
	CHECK(stub.set_migrate);
}

CASE(config_is_not_written_from_outside_of_the_message)
{
	struct vhost_user_config c = { 8, 3, 0, { 0 } };

	start();
	stub.set_len = 99;
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, 12 + 2, -1), 1);
	c.size = 257;
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, sizeof(c), -1), 1);
	c = (struct vhost_user_config){ 250, 7, 0, { 0 } };
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_CONFIG, &c, sizeof(c), -1), 1);
	CHECK_EQ(stub.set_len, 99);
}

/* ---- in-flight tracking ---- */

static int get_inflight(uint16_t queues, uint16_t size, struct vhost_user_inflight *i, int *fd)
{
	*i = (struct vhost_user_inflight){ .num_queues = queues, .queue_size = size };
	return front_call(&front, VHOST_USER_GET_INFLIGHT_FD, i, sizeof(*i), sizeof(*i), -1, fd);
}

CASE(an_inflight_buffer_is_made)
{
	struct vhost_user_inflight i;
	const struct vhost_user_queue_region_split *region;
	int fd;

	start();
	CHECK_EQ(get_inflight(2, 64, &i, &fd), sizeof(i));
	CHECK(i.mmap_size == 2 * 1088 && i.mmap_offset == 0);
	CHECK_EQ(fake_memory_len(fd), 2 * 1088);
	for (unsigned k = 0; k < 2; k++) {
		region = (const void *)(fake_memory(fd) + 1088 * k);
		CHECK(region->version == 0); /* never used: the first start formats it */
	}
	CHECK_EQ(fake_open_maps(), 1);
	CHECK_EQ(get_inflight(1, 64, &i, &fd), sizeof(i));
	CHECK_EQ(fake_open_maps(), 1);
}

CASE(an_inflight_buffer_has_room_for_the_format_that_may_come)
{
	/* Split 16 + 16n, packed 2 * 16 + 32n or more: multiples of 64. */
	const uint64_t split = inflight_region_bytes(false, 64);
	const uint64_t packed = inflight_region_bytes(true, 64);
	struct vhost_user_inflight i;
	int fd;

	start();
	CHECK(split < packed);
	CHECK_EQ(get_inflight(2, 64, &i, &fd), sizeof(i));
	CHECK_EQ(i.mmap_size, 2 * split);
	front_negotiate(&front, VIRTIO_F_RING_PACKED);
	CHECK_EQ(get_inflight(2, 64, &i, &fd), sizeof(i));
	CHECK_EQ(i.mmap_size, 2 * packed);
	/* Reset, so that no feature is known. */
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1), 0);
	CHECK_EQ(get_inflight(2, 64, &i, &fd), sizeof(i));
	CHECK_EQ(i.mmap_size, 2 * packed);
}

CASE(an_inflight_buffer_of_the_smaller_format_is_not_used_for_the_other)
{
	struct vhost_user_inflight i;
	int fd;

	start();
	front_share(&front);
	CHECK_EQ(get_inflight(2, 16, &i, &fd), sizeof(i));
	front_negotiate(&front, VIRTIO_F_RING_PACKED);
	driver_init(&front.rings[1], front.mem, FRONT_GPA, 0, 16);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 1, 16), 0);
	front_ring_addr(&front, 1);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_BASE, 1, 0x80008000), 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 1, front.kick[1]), 1);
	CHECK(fake_log_has("the in-flight buffer is too small for its format of rings"));
	/* Nor is what lies behind it forgotten. */
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1), 0);
	front_negotiate(&front, VIRTIO_F_RING_PACKED);
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1), 0);
}

CASE(an_inflight_buffer_that_makes_no_sense_is_not_made)
{
	static const uint16_t wrong[][2] = { { 0, 64 }, { 3, 64 }, { 65535, 64 }, { 1, 0 },
		{ 1, 1025 }, { 65535, 65535 } };
	struct vhost_user_inflight i;
	unsigned open;
	int fd;

	start();
	open = fake_open_fds();
	for (unsigned k = 0; k < countof(wrong); k++)
		CHECK_EQ(get_inflight(wrong[k][0], wrong[k][1], &i, &fd), 0);
	fake.fail_at[FAKE_SHARED_FILE] = fake.calls[FAKE_SHARED_FILE] + 1;
	CHECK_EQ(get_inflight(1, 64, &i, &fd), 0);
	fake.fail_at[FAKE_MAP] = fake.calls[FAKE_MAP] + 1;
	CHECK_EQ(get_inflight(1, 64, &i, &fd), 0);
	CHECK_EQ(fake_open_fds(), open);
	CHECK_EQ(fake_open_maps(), 0);
}

CASE(an_inflight_buffer_must_hold_what_it_says)
{
	static const struct vhost_user_inflight wrong[] = { { 2 * 320 - 1, 0, 2, 16, 0 },
		{ 2 * 320, 4, 2, 16, 0 }, { 4097, 0, 2, 16, 0 }, { 2 * 320, 4096, 2, 16, 0 },
		{ UINT64_MAX, 8, 2, 16, 0 }, { 4096, 0, 3, 16, 0 } };
	struct vhost_user_inflight right = { 2 * 320, 8, 2, 16, 0 };
	unsigned open;
	int fd;

	start();
	open = fake_open_fds();
	fd = fake_memory_new(4096);
	for (unsigned k = 0; k < countof(wrong); k++)
		CHECK_EQ(
			front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &wrong[k], sizeof(right), fd),
			1);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &right, sizeof(right), -1), 1);
	CHECK_EQ(fake_open_maps(), 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &right, sizeof(right), fd), 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &right, 20, fd), 0);
	CHECK_EQ(fake_open_maps(), 1);
	CHECK_EQ(fake_open_fds(), open);
}

/* Sets ring 0 up again in a new connection, with what the life before has left. */
static void next_life(int inflight_fd, uint16_t avail_idx)
{
	struct vhost_user_inflight i = { 320, 0, 1, 16, 0 };
	struct driver before = front.rings[0];
	int mem_fd = front.mem_fd;

	front_connect(&front, "/s");
	front_negotiate(&front, 0);
	front.mem_fd = mem_fd;
	front.mem = fake_memory(mem_fd);
	CHECK_EQ(front_add_region(&front, VHOST_USER_ADD_MEM_REG, FRONT_GPA, FRONT_BYTES, FRONT_UVA,
			 0, mem_fd),
		0);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_INFLIGHT_FD, &i, sizeof(i), inflight_fd), 0);
	front.rings[0] = before;
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 0, 16), 0);
	front_ring_addr(&front, 0);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_BASE, 0, avail_idx), 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 0);
}

static uint32_t order[8];
static unsigned order_count;

static void note_order(struct request *req)
{
	order[order_count++] = req->chain.head;
	request_done(req, 0);
}

CASE(requests_of_an_earlier_life_are_done_again)
{
	struct vhost_user_inflight i;
	struct vhost_user_queue_region_split *region;
	struct front gone;
	int fd;

	start();
	front_share(&front);
	CHECK_EQ(get_inflight(1, 16, &i, &fd), sizeof(i));
	front_ring(&front, 0, 16);
	/* As a life would have left it that took heads 0, 1, 2 and gave 1 back. */
	for (unsigned k = 0; k < 4; k++)
		driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	region = (void *)fake_memory(fd);
	region->desc[0].inflight = region->desc[2].inflight = 1;
	region->desc[0].counter = 9;
	region->desc[2].counter = 8;
	region->used_idx = 1;
	front.mem[front.rings[0].used + 2] = 1;
	gone = front;
	gone.mem_fd = -1;
	front_hang_up(&gone);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	stub.on_request = note_order;
	next_life(fd, 0); /* the base is not to be believed */
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	CHECK_EQ(order_count, 3);
	CHECK(order[0] == 2 && order[1] == 0 && order[2] == 3);
	CHECK_EQ(driver_used_idx(&front.rings[0]), 4);
	CHECK(region->desc[0].inflight == 0 && region->desc[2].inflight == 0);
	CHECK_EQ(region->used_idx, 4);
}

CASE(an_inflight_buffer_of_a_smaller_ring_is_refused)
{
	struct vhost_user_inflight i;
	int fd;

	start();
	front_share(&front);
	CHECK_EQ(get_inflight(1, 8, &i, &fd), sizeof(i));
	driver_init(&front.rings[0], front.mem, FRONT_GPA, 0, 16);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_NUM, 0, 16), 0);
	front_ring_addr(&front, 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_VRING_KICK, 0, front.kick[0]), 1);
	CHECK(fake_log_has("the in-flight buffer is for another ring"));
	CHECK(!rig_device(0)->queues[0].started);
	front_ring(&front, 1, 16); /* it has no part of the buffer */
}

/* ---- reset and status ---- */

CASE(a_reset_stops_everything_but_keeps_the_connection)
{
	start();
	front_share(&front);
	front_ring(&front, 0, 16);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 7, -1), 0);
	stub.accepted = 1;
	CHECK_EQ(front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1), 0);
	CHECK_EQ(stub.accepted, 0);
	CHECK(!rig_device(0)->queues[0].started && !rig_device(0)->queues[0].enabled);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 0);
	CHECK_EQ(fake_open_maps(), 1);
	CHECK(rig_device(0)->queues[0].call.kind != PORT_NOTIFY_NONE);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	CHECK_EQ(stub.taken, 0);
}

CASE(status)
{
	start();
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 256, -1), 1);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 11, -1), 0);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 11);
	CHECK_EQ(front_ack_u64(&front, VHOST_USER_SET_STATUS, 0, -1), 0);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 0);
	CHECK(stub.accepted_count > 1);
}

CASE(the_back_end_channel)
{
	int pair[2], second[2];
	unsigned open;

	start();
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, -1), 1);
	fake_socketpair(pair);
	fake_socketpair(second);
	open = fake_open_fds();
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]), 0);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, second[1]), 0);
	CHECK_EQ(fake_open_fds(), open + 1);
}
