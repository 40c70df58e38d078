/*
 * Every message of the protocol: those that are offered do what they say (their own suites say more
 * of each), the others are refused as the spec wants. Nobody waits for an answer in vain.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../front/rig.h"

static struct rig r;

/* ---- messages of features that are not offered ---- */

enum answer {
	SILENT,     /* it has no answer of its own */
	U64,        /* a u64, non-zero for an error */
	OWN,        /* another one: without a payload for an error */
	IF_FEATURE, /* an answer of its own, but only with the feature: so none */
};

struct refused {
	uint32_t request, size;
	bool fd;
	enum answer answer;
	const char *name;
};

/* clang-format off */
#define REFUSED(name, ...) { VU_##name, __VA_ARGS__, #name }
/* clang-format on */

static const struct refused refused[] = {
	REFUSED(SET_LOG_BASE, 16, true, IF_FEATURE),
	REFUSED(SET_LOG_FD, 0, true, SILENT),
	REFUSED(SEND_RARP, 8, false, SILENT),
	REFUSED(NET_SET_MTU, 8, false, SILENT),
	REFUSED(IOTLB_MSG, 32, false, U64),
	REFUSED(SET_VRING_ENDIAN, 8, false, SILENT),
	REFUSED(CREATE_CRYPTO_SESSION, 1024, false, OWN),
	REFUSED(CLOSE_CRYPTO_SESSION, 8, false, SILENT),
	REFUSED(POSTCOPY_ADVISE, 0, false, OWN),
	REFUSED(POSTCOPY_LISTEN, 0, false, SILENT),
	REFUSED(POSTCOPY_END, 0, false, U64),
	REFUSED(GPU_SET_SOCKET, 0, true, SILENT),
	REFUSED(VRING_KICK, 8, false, SILENT),
	REFUSED(GET_SHARED_OBJECT, 16, false, OWN),
	REFUSED(SET_DEVICE_STATE_FD, 8, true, U64),
	REFUSED(CHECK_DEVICE_STATE, 0, false, U64),
	REFUSED(GET_SHMEM_CONFIG, 0, false, OWN),
};
enum { REFUSED_COUNT = sizeof(refused) / sizeof(refused[0]) };

/* Sends it; if `answered`, the answer must come, and be an error. */
static void send_refused(const struct refused *x, uint32_t flags, bool answered)
{
	static const unsigned char zeros[FRONT_PAYLOAD_MAX];
	int fd = eventfd(0, EFD_CLOEXEC);
	struct front_message m;
	uint64_t value = 0;

	CHECK_EQ(front_send(&r.front, x->request, flags, zeros, x->size, &fd, x->fd ? 1 : 0), 0);
	close(fd);
	if (!answered)
		return;
	if (front_receive(&r.front, &m) != 0)
		harness_fail(HERE, "%s leaves us waiting", x->name);
	CHECK_EQ(m.header.request, x->request);
	CHECK_EQ(m.header.flags, VU_VERSION | VU_REPLY);
	CHECK_EQ(m.fd_count, 0);
	if (x->answer == OWN) {
		CHECK_EQ(m.header.size, 0);
		return;
	}
	CHECK_EQ(m.header.size, 8);
	memcpy(&value, m.payload, 8);
	if ((value & 0xff) == 0)
		harness_fail(HERE, "%s was acked as done", x->name);
	/* "The back-end must not both indicate an error and return a file descriptor." */
	CHECK(x->request != VU_SET_DEVICE_STATE_FD || (value & VU_NO_FD) != 0);
}

static void not_offered_is_refused_with_an_ack(const char *with)
{
	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < REFUSED_COUNT; i++) {
		unsigned fds = vubox_fds(&r.vubox);

		send_refused(&refused[i], VU_NEED_REPLY, true);
		CHECK_EQ(vubox_fds(&r.vubox), fds);
		rig_works(&r);
	}
}

/* NEED_REPLY means something only after REPLY_ACK; own answers come in any case. */
static void not_offered_leaves_the_connection_sane(const char *with)
{
	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, ~VU_P(REPLY_ACK));
	rig_run(&r);
	for (unsigned i = 0; i < REFUSED_COUNT; i++)
		for (uint32_t flags = 0; flags <= VU_NEED_REPLY; flags += VU_NEED_REPLY) {
			enum answer a = refused[i].answer;

			send_refused(&refused[i], flags, a == U64 || a == OWN);
			rig_works(&r);
		}
}

static void not_offered_before_anything_is_negotiated(const char *with)
{
	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	for (unsigned i = 0; i < REFUSED_COUNT; i++)
		send_refused(&refused[i], 0, refused[i].answer == U64 || refused[i].answer == OWN);
	CHECK_EQ(front_settle(&r.front), 0);
}

static void unknown_messages_are_refused(const char *with)
{
	static const uint32_t ids[] = { 0, VU_MESSAGE_END, 47, 100, 255, 256, 1u << 31, ~0u };

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		CHECK_EQ(front_acked(&r.front, ids[i], "12345678", 8, NULL, 0), FRONT_REFUSED);
		CHECK_EQ(front_send(&r.front, ids[i], 0, NULL, 0, NULL, 0), 0);
		rig_works(&r);
	}
}

/* What is offered in general must still be negotiated. */
static void messages_need_their_feature(const char *with)
{
	struct front_inflight want = { .queues = 1, .queue_size = 128 };
	uint32_t config[3 + 15] = { 0, 60, 0 }, got;
	int fd = -1, call = eventfd(0, 0);
	struct front_place place = { 0, 4096, 0, 0 };
	unsigned char bytes[60];
	uint64_t value = 0;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, VU_P(REPLY_ACK) | VU_P(MQ));
	CHECK_EQ(front_acked(&r.front, VU_SET_CONFIG, config, 13, NULL, 0), FRONT_REFUSED);
	CHECK_EQ(front_get_config(&r.front, 0, 60, bytes, &got), FRONT_REFUSED);
	CHECK_EQ(front_set_backend_req_fd(&r.front, call), FRONT_REFUSED);
	CHECK_EQ(front_reset_device(&r.front), FRONT_REFUSED);
	CHECK_EQ(front_set_status(&r.front, 1), FRONT_REFUSED);
	CHECK_EQ(front_get_status(&r.front, &value), 0);
	CHECK(value != 0);
	CHECK_EQ(front_get_max_mem_slots(&r.front, &value), 0);
	CHECK_EQ(front_add_mem_reg(&r.front, &place, call), FRONT_REFUSED);
	CHECK_EQ(front_rem_mem_reg(&r.front, &place, -1), FRONT_REFUSED);
	CHECK_EQ(front_get_inflight_fd(&r.front, &want, &fd), FRONT_REFUSED);
	CHECK_EQ(front_set_inflight_fd(&r.front, &want, call), FRONT_REFUSED);
	CHECK_EQ(front_settle(&r.front), 0);
}

/* ---- messages that are offered ---- */

static void what_is_offered(const char *with)
{
	uint64_t want = VU_P(MQ) | VU_P(REPLY_ACK) | VU_P(BACKEND_REQ) | VU_P(CONFIG) |
			VU_P(INFLIGHT_SHMFD) | VU_P(RESET_DEVICE) | VU_P(CONFIGURE_MEM_SLOTS) |
			VU_P(STATUS) | VU_P(GET_VRING_BASE_INFLIGHT) |
			VU_P(GET_VRING_BASE_SKIP_DRAIN);
	uint64_t rings = VU_F(VERSION_1) | VU_F(INDIRECT_DESC) | VU_F(EVENT_IDX) |
			 VU_F(RING_PACKED) | VU_F(ORDER_PLATFORM) | VU_F(NOTIFICATION_DATA) |
			 VU_F(RING_RESET) | VU_F(PROTOCOL_FEATURES);
	uint64_t blk = 1 << BLK_F_SEG_MAX | 1 << BLK_F_BLK_SIZE | 1 << BLK_F_FLUSH |
		       1 << BLK_F_TOPOLOGY | 1 << BLK_F_CONFIG_WCE | 1 << BLK_F_MQ |
		       1 << BLK_F_DISCARD | 1 << BLK_F_WRITE_ZEROES;
	uint64_t features, protocol;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(front_get_features(&r.front, &features), 0);
	CHECK_EQ(features & rings, rings);
	CHECK_EQ(features & blk, blk);
	CHECK_EQ(features & 1 << BLK_F_RO, 0);
	/* "must support this message even before VHOST_USER_SET_FEATURES was called" */
	CHECK_EQ(front_get_protocol_features(&r.front, &protocol), 0);
	CHECK_EQ(protocol, want);
}

static void negotiation(const char *with)
{
	uint64_t offered, protocol;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(front_set_owner(&r.front), 0); /* User Mode Linux begins with it */
	CHECK_EQ(front_get_features(&r.front, &offered), 0);
	CHECK_EQ(front_get_protocol_features(&r.front, &protocol), 0);
	/* It acks itself, if it brings REPLY_ACK. */
	CHECK_EQ(front_acked(&r.front, VU_SET_PROTOCOL_FEATURES, &protocol, 8, NULL, 0), 0);
	r.front.protocol = protocol;
	r.front.acks = true;
	CHECK_EQ(front_set_features(&r.front, offered), 0);
	CHECK_EQ(front_set_features(&r.front, offered | 1ull << 62), FRONT_REFUSED);
	CHECK_EQ(front_set_features(&r.front, offered | 1 << BLK_F_RO), FRONT_REFUSED);
	CHECK_EQ(front_set_features(&r.front, VU_F(VERSION_1)), 0);
	protocol |= VU_P(INBAND_NOTIFICATIONS);
	CHECK_EQ(front_acked(&r.front, VU_SET_PROTOCOL_FEATURES, &protocol, 8, NULL, 0),
		FRONT_REFUSED);
	CHECK_EQ(front_settle(&r.front), 0);
}

/* "need_reply" without REPLY_ACK is no question. */
static void no_ack_without_reply_ack(const char *with)
{
	struct front_message m;
	uint64_t offered;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_connect(&r);
	CHECK_EQ(front_get_features(&r.front, &offered), 0);
	CHECK_EQ(front_send(&r.front, VU_SET_OWNER, VU_NEED_REPLY, NULL, 0, NULL, 0), 0);
	CHECK_EQ(front_send(&r.front, VU_SET_FEATURES, VU_NEED_REPLY, &offered, 8, NULL, 0), 0);
	CHECK_EQ(front_ask(&r.front, VU_GET_FEATURES, 0, NULL, 0, NULL, 0, &m), 0);
}

/* With NEED_REPLY, a message with an answer of its own has just that one. */
static void an_own_answer_is_the_only_one(const char *with)
{
	static const uint32_t asks[] = { VU_GET_FEATURES, VU_GET_PROTOCOL_FEATURES,
		VU_GET_QUEUE_NUM, VU_GET_MAX_MEM_SLOTS, VU_GET_STATUS };
	uint32_t config[3 + 2] = { 0, 8, 0 };
	struct front_message m;

	(void)with;
	rig_open(&r, RIG_DISK_BYTES, NULL);
	for (unsigned i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
		CHECK_EQ(front_ask(&r.front, asks[i], VU_NEED_REPLY, NULL, 0, NULL, 0, &m), 0);
		CHECK_EQ(m.header.size, 8);
	}
	CHECK_EQ(front_ask(&r.front, VU_GET_CONFIG, VU_NEED_REPLY, config, 20, NULL, 0, &m), 0);
	CHECK_EQ(m.header.size, 20);
	rig_works(&r);
}

/* Every message that sets something acks with 0, once each, in order. */
static void every_offered_message_is_acked(const char *with)
{
	struct front_inflight want = { .queues = 1, .queue_size = RIG_RING_SIZE };
	struct front_place extra = { 0x100000, 4096, 0x100000, 0 };
	int channel = eventfd(0, 0), fd = -1;
	uint64_t value;
	uint32_t base;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_owner(&r.front), 0);
	CHECK_EQ(front_get_inflight_fd(&r.front, &want, &fd), 0);
	CHECK_EQ(front_set_inflight_fd(&r.front, &want, fd), 0);
	rig_run(&r); /* the memory table and all of a ring's messages */
	CHECK_EQ(front_get_queue_num(&r.front, &value), 0);
	CHECK(value >= 1 && value <= 256);
	CHECK_EQ(front_get_max_mem_slots(&r.front, &value), 0);
	CHECK_EQ(value, 509);
	CHECK_EQ(front_add_mem_reg(&r.front, &extra, r.memory.regions[0].fd), 0);
	CHECK_EQ(front_rem_mem_reg(&r.front, &extra, -1), 0);
	CHECK_EQ(front_set_backend_req_fd(&r.front, channel), 0);
	CHECK_EQ(front_set_config(&r.front, BLK_CONFIG_WRITEBACK, 1, 0, "\1"), 0);
	CHECK_EQ(front_set_status(&r.front, VIRTIO_DRIVER_OK), 0);
	CHECK_EQ(front_get_status(&r.front, &value), 0);
	CHECK_EQ(value, VIRTIO_DRIVER_OK);
	rig_works(&r);
	CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
	CHECK_EQ(base, 1);
	CHECK_EQ(front_reset_device(&r.front), 0);
	CHECK_EQ(front_reset_owner(&r.front), 0);
	CHECK_EQ(front_settle(&r.front), 0);
}

static void queue_indices_are_checked(const char *with)
{
	static const uint32_t bad[] = { 3, 4, 64, 255, 256, 0x7fffffff, ~0u };
	int fd = eventfd(0, 0);
	uint64_t count;
	uint32_t base;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ "--num-queues=3", NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_get_queue_num(&r.front, &count), 0);
	CHECK_EQ(count, 3);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct front_ring_addr addr = { .index = bad[i] };

		CHECK_EQ(front_set_vring_num(&r.front, bad[i], 8), FRONT_REFUSED);
		CHECK_EQ(front_set_vring_base(&r.front, bad[i], 0), FRONT_REFUSED);
		CHECK_EQ(front_set_vring_addr(&r.front, &addr), FRONT_REFUSED);
		CHECK_EQ(front_set_vring_enable(&r.front, bad[i], true), FRONT_REFUSED);
		/* Its own answer cannot say so. */
		CHECK_EQ(front_get_vring_base(&r.front, bad[i], &base), -EPIPE);
		front_close(&r.front);
		rig_negotiate(&r, ~0ull, ~0ull);
		if (bad[i] > 255)
			continue;
		CHECK_EQ(front_set_vring_call(&r.front, bad[i], fd), FRONT_REFUSED);
		CHECK_EQ(front_set_vring_err(&r.front, bad[i], fd), FRONT_REFUSED);
		CHECK_EQ(front_set_vring_kick(&r.front, bad[i], fd), FRONT_REFUSED);
	}
	CHECK_EQ(front_settle(&r.front), 0);
}

static void ring_sizes_are_checked(const char *with)
{
	static const uint32_t bad[] = { 0, 1025, 2048, 65535, 65536, 65537, 1u << 31, ~0u };
	uint32_t refused = 0;

	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, ~0ull);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(front_set_vring_num(&r.front, 0, bad[i]), FRONT_REFUSED);
	/* Split ones are powers of two; packed ones are not more than 1024. */
	for (uint32_t size = 1; size <= 1024; size++) {
		bool good = harness_packed() || (size & (size - 1)) == 0;

		refused += !good;
		CHECK_EQ(front_set_vring_num(&r.front, 0, size), good ? 0 : FRONT_REFUSED);
	}
	CHECK_EQ(refused, harness_packed() ? 0 : 1024 - 11);
	CHECK_EQ(front_settle(&r.front), 0);
}

static void queue_size_is_the_longest_ring(const char *with)
{
	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ "--queue-size=256", NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_vring_num(&r.front, 0, 257), FRONT_REFUSED);
	CHECK_EQ(front_set_vring_num(&r.front, 0, 512), FRONT_REFUSED);
	CHECK_EQ(front_set_vring_num(&r.front, 0, 256), 0);
	CHECK_EQ(front_settle(&r.front), 0);
}

static void other_numbers_are_checked(const char *with)
{
	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_vring_base(&r.front, 0, 65536), FRONT_REFUSED);
	CHECK_EQ(front_set_vring_base(&r.front, 0, 65535), 0);
	CHECK_EQ(front_set_status(&r.front, 256), FRONT_REFUSED);
	CHECK_EQ(front_acked(&r.front, VU_SET_VRING_ENABLE, (uint32_t[]){ 0, 2 }, 8, NULL, 0),
		FRONT_REFUSED);
	CHECK_EQ(front_settle(&r.front), 0);
}

/* An error that the front-end did not ask to hear of: it must not go on as if all was well. */
static void an_error_that_nobody_hears_closes(const char *with)
{
	(void)with;
	rig_serve(&r, RIG_DISK_BYTES, NULL);
	rig_negotiate(&r, ~0ull, ~0ull);
	r.front.acks = false;
	CHECK_EQ(front_set_vring_num(&r.front, 0, 0), 0);
	CHECK_EQ(front_wait_closed(&r.front), 0);
	front_close(&r.front);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_settle(&r.front), 0);
}

static const struct harness_case cases[] = {
	CASE(what_is_offered),
	CASE(negotiation),
	CASE(no_ack_without_reply_ack),
	CASE(an_own_answer_is_the_only_one),
	CASE(every_offered_message_is_acked),
	CASE(messages_need_their_feature),
	CASE(queue_indices_are_checked),
	CASE_OF_EACH_FORMAT(ring_sizes_are_checked),
	CASE_OF_EACH_FORMAT(queue_size_is_the_longest_ring),
	CASE(other_numbers_are_checked),
	CASE(an_error_that_nobody_hears_closes),
	CASE(not_offered_is_refused_with_an_ack),
	CASE(not_offered_leaves_the_connection_sane),
	CASE(not_offered_before_anything_is_negotiated),
	CASE(unknown_messages_are_refused),
};
HARNESS_MAIN(cases)
