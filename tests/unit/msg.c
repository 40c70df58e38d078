/* src/core/msg.c: framing, the checks of a row, and answers. */
#include <errno.h>

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "unit.h"

static struct front front;
static unsigned fds_before;
static bool connected;

static void hang_up(void)
{
	front_hang_up(&front);
	connected = false;
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

/* A new connection, to a new vubox if there is none yet. */
static void start(void)
{
	if (fds_before == 0) {
		rig_stub(2, false);
		fds_before = fake_open_fds();
	}
	if (connected)
		hang_up();
	front_connect(&front, "/s");
	connected = true;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	fake.now_ns += 20000000000; /* log lines are allowed again */
	fake_log_clear();
}

static void start_negotiated(void)
{
	start();
	front_negotiate(&front, 0);
}

/* Sends bytes as they are, in pieces of so many. */
static void send_bytes(const void *bytes, size_t len, size_t piece)
{
	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;

		(void)fake_send(front.fd, (const char *)bytes + at, n, NULL, 0);
		CHECK_EQ(rig_run(), FAKE_IDLE);
	}
}

static int reply_u64(uint64_t *value)
{
	uint32_t request;

	return front_reply(&front, &request, value, sizeof(*value), NULL);
}

/* That vubox has closed the connection, said this about it, and kept nothing. */
static void expect_closed(const char *why)
{
	uint64_t value;

	CHECK_EQ(reply_u64(&value), FRONT_GONE);
	CHECK(fake_log_has(why));
	CHECK_EQ(fake_open_fds(), fds_before);
	CHECK_EQ(rig_device(0)->session.state, SESSION_CLOSED);
}

struct whole {
	struct vhost_user_header header;
	uint32_t value[2];
};
_Static_assert(sizeof(struct whole) == 20, "as on the wire");

static struct whole set_features(uint32_t value)
{
	return (struct whole){ { VHOST_USER_SET_PROTOCOL_FEATURES,
				       VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 8 },
		{ value, 0 } };
}

/* ---- framing ---- */

CASE(a_message_in_pieces_of_any_size)
{
	struct whole m = set_features(1 << VHOST_USER_PROTOCOL_F_REPLY_ACK);

	for (size_t piece = 1; piece <= sizeof(m); piece++) {
		uint64_t ack = 1;

		start();
		send_bytes(&m, sizeof(m), piece);
		CHECK_EQ(reply_u64(&ack), 8);
		CHECK_EQ(ack, 0);
	}
}

CASE(many_messages_at_once)
{
	static struct vhost_user_header all[200];
	uint64_t value;

	start();
	for (unsigned i = 0; i < 200; i++)
		all[i] = (struct vhost_user_header){ VHOST_USER_GET_FEATURES, VHOST_USER_VERSION,
			0 };
	send_bytes(all, sizeof(all), sizeof(all));
	for (unsigned i = 0; i < 200; i++)
		CHECK_EQ(reply_u64(&value), 8);
	CHECK_EQ(reply_u64(&value), FRONT_SILENT);
}

CASE(a_session_in_random_pieces)
{
	rig_stub(2, false);
	fake.in_pieces = true;
	for (unsigned i = 0; i < 20; i++) {
		front_start(&front, "/s", 2, 0);
		hang_up();
	}
}

CASE(a_slow_sender_stalls_nobody)
{
	struct whole m = set_features(0);

	start_negotiated();
	front_share(&front);
	front_ring(&front, 0, 16);
	CHECK_EQ(front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	send_bytes(&m, 5, 5);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 4, true }, 1);
	front_kick(&front, 0);
	CHECK_EQ(driver_used_count(&front.rings[0]), 1);
}

CASE(wrong_headers_close_the_connection)
{
	static const struct {
		uint32_t flags, size;
		const char *why;
	} wrong[] = {
		{ 0, 0, "a wrong version" },
		{ 2, 0, "a wrong version" },
		{ VHOST_USER_VERSION | VHOST_USER_REPLY, 0, "a reply to nothing" },
		{ VHOST_USER_VERSION, CONFIG_PAYLOAD_MAX + 1, "too long" },
		{ VHOST_USER_VERSION, UINT32_MAX, "too long" },
	};

	for (unsigned i = 0; i < countof(wrong); i++) {
		struct vhost_user_header h = { VHOST_USER_GET_FEATURES, wrong[i].flags,
			wrong[i].size };

		start();
		send_bytes(&h, sizeof(h), sizeof(h));
		expect_closed(wrong[i].why);
	}
}

CASE(hanging_up_in_the_middle_of_a_message)
{
	struct whole m = set_features(0);

	for (size_t len = 0; len < sizeof(struct whole); len++) {
		int fd;

		start();
		fd = fake_other_new();
		if (len > 0)
			(void)fake_send(front.fd, &m, len, &fd, 1);
		hang_up();
		CHECK_EQ(fake_open_fds(), fds_before);
		CHECK_EQ(fake_log_has("it hung up in the middle"), len > 0);
	}
}

CASE(an_error_of_the_socket_closes_the_connection)
{
	start();
	fake.fail_at[FAKE_RECV] = fake.calls[FAKE_RECV] + 1;
	front_send(&front, VHOST_USER_GET_FEATURES, 0, NULL, 0, -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect_closed("Connection reset");
}

/* ---- rows ---- */

CASE(wrong_sizes_close_the_connection)
{
	static const struct {
		uint32_t request, size;
	} wrong[] = { { VHOST_USER_GET_FEATURES, 8 }, { VHOST_USER_SET_FEATURES, 4 },
		{ VHOST_USER_SET_FEATURES, 12 }, { VHOST_USER_SET_MEM_TABLE, 4 },
		{ VHOST_USER_SET_MEM_TABLE, 8 + 9 * 32 }, { VHOST_USER_SET_VRING_ADDR, 32 },
		{ VHOST_USER_GET_CONFIG, 11 }, { VHOST_USER_GET_CONFIG, 12 + 257 },
		{ VHOST_USER_ADD_MEM_REG, 32 }, { VHOST_USER_SET_INFLIGHT_FD, 16 } };
	static const char zeroes[512];

	for (unsigned i = 0; i < countof(wrong); i++) {
		start_negotiated();
		front_send(&front, wrong[i].request, 0, zeroes, wrong[i].size, -1);
		CHECK_EQ(rig_run(), FAKE_IDLE);
		expect_closed("its message has a wrong size");
	}
}

CASE(descriptors_that_a_row_does_not_want)
{
	struct whole m = set_features(0);
	int fds[10];

	for (unsigned count = 1; count <= 10; count++) {
		start();
		for (unsigned i = 0; i < 10; i++)
			fds[i] = fake_other_new();
		(void)fake_send(front.fd, &m, sizeof(m), fds, count);
		CHECK_EQ(rig_run(), FAKE_IDLE);
		expect_closed(count <= 8 ? "too many descriptors" : "it sent too many descriptors");
	}
}

CASE(descriptors_in_several_pieces_of_one_message)
{
	struct vhost_user_header h = { VHOST_USER_SET_VRING_KICK, VHOST_USER_VERSION, 8 };
	uint64_t value = 0;
	int fds[8];

	start();
	for (unsigned i = 0; i < 8; i++)
		fds[i] = fake_other_new();
	(void)fake_send(front.fd, &h, 6, fds, 4);
	(void)fake_send(front.fd, (char *)&h + 6, 6, fds + 4, 4);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_open_fds(), fds_before + 1 + 8);
	(void)fake_send(front.fd, &value, 8, fds, 1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	expect_closed("too many descriptors");
}

/* What a message of something that was not offered is answered with. */
enum answer { SILENT, EMPTY, U64, ACK };

static void expect_refused(uint32_t request, enum answer answer)
{
	static const char payload[64];
	uint64_t value = 0;
	uint32_t replied;
	int n;

	start_negotiated();
	front_send(&front, request, answer == ACK ? VHOST_USER_NEED_REPLY : 0, payload, 24, -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake_log_has("refused "));
	n = front_reply(&front, &replied, &value, sizeof(value), NULL);
	CHECK_EQ(n, answer == SILENT ? FRONT_SILENT : answer == EMPTY ? 0 : 8);
	if (n > 0)
		CHECK(value != 0);
	CHECK(front_get(&front, VHOST_USER_GET_FEATURES) != 0); /* it goes on */
}

CASE(what_is_not_offered_is_refused_and_the_connection_goes_on)
{
	static const uint32_t silent[] = { 0, VHOST_USER_SET_LOG_BASE, VHOST_USER_SET_LOG_FD,
		VHOST_USER_SEND_RARP, VHOST_USER_NET_SET_MTU, VHOST_USER_SET_VRING_ENDIAN,
		VHOST_USER_CLOSE_CRYPTO_SESSION, VHOST_USER_POSTCOPY_LISTEN,
		VHOST_USER_GPU_SET_SOCKET, VHOST_USER_VRING_KICK, VHOST_USER_MESSAGE_COUNT, 4711,
		UINT32_MAX };
	static const uint32_t empty[] = { VHOST_USER_CREATE_CRYPTO_SESSION,
		VHOST_USER_POSTCOPY_ADVISE, VHOST_USER_GET_SHARED_OBJECT,
		VHOST_USER_GET_SHMEM_CONFIG };
	static const uint32_t u64[] = { VHOST_USER_IOTLB_MSG, VHOST_USER_POSTCOPY_END,
		VHOST_USER_SET_DEVICE_STATE_FD, VHOST_USER_CHECK_DEVICE_STATE };

	for (unsigned i = 0; i < countof(silent); i++) {
		expect_refused(silent[i], SILENT);
		expect_refused(silent[i], ACK);
	}
	for (unsigned i = 0; i < countof(empty); i++)
		expect_refused(empty[i], EMPTY);
	for (unsigned i = 0; i < countof(u64); i++)
		expect_refused(u64[i], U64);
}

CASE(what_needs_a_feature_waits_for_it)
{
	uint8_t config[12 + 4] = { 0, 0, 0, 0, 4 };
	uint64_t u64 = 1;

	start();
	CHECK_EQ(front_call(&front, VHOST_USER_GET_CONFIG, config, 16, 16, -1, NULL), 0);
	CHECK(front_get(&front, VHOST_USER_GET_STATUS) != 0);
	front_send(&front, VHOST_USER_SET_STATUS, VHOST_USER_NEED_REPLY, &u64, 8, -1);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(reply_u64(&u64), FRONT_SILENT);
	front_negotiate(&front, 0);
	CHECK_EQ(front_call(&front, VHOST_USER_GET_CONFIG, config, 16, 16, -1, NULL), 16);
	CHECK_EQ(front_get(&front, VHOST_USER_GET_STATUS), 0);
}

/* Every message in every size, with and without a descriptor: nothing may break or leak. */
CASE(whatever_comes_nothing_leaks)
{
	static const uint32_t sizes[] = { 0, 4, 8, 12, 16, 20, 24, 40, 72, 264, 268, 4096 };
	static uint8_t payload[4096];

	start();
	hang_up();
	for (uint32_t n = 0; n < 50 * countof(sizes) * 3; n++) {
		uint32_t request = n % 50, size = sizes[n / 50 % countof(sizes)];
		unsigned how = n / 50 / countof(sizes);

		for (unsigned i = 0; i < sizeof(payload); i++)
			payload[i] = (uint8_t)(how < 2 ? 0 : fake_random(256));
		front_connect(&front, "/s");
		front_negotiate(&front, 0);
		front.mem_fd = fake_memory_new(1 << 16);
		front_send(&front, request, n % 2 ? VHOST_USER_NEED_REPLY : 0, payload, size,
			how > 0 ? front.mem_fd : -1);
		fake.end_ns = fake.now_ns + 1000000;
		CHECK(rig_run() <= FAKE_TIME);
		fake.end_ns = 0;
		hang_up();
		CHECK_EQ(fake_open_fds(), fds_before);
		CHECK_EQ(fake_open_maps(), 0);
	}
}
