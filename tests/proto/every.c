/*
 * Every message, spoiled: ids 0 to 64 and above with wrong, short, long and absurd sizes, missing
 * and surplus descriptors, a wrong version and flags, one byte at a time, in heaps, and with a
 * hang-up at each of its bytes. It costs at most its own connection.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../front/example.h"
#include "../front/yard.h"

static struct yard y;
static unsigned char wire[sizeof(struct front_header) + FRONT_PAYLOAD_MAX];

/* ids 0 to 64, and some far above */
enum { SMALL_IDS = 65, IDS = SMALL_IDS + 8 };

static uint32_t id_of(unsigned i)
{
	static const uint32_t far[IDS - SMALL_IDS] = { 65, 100, 255, 256, 65535, 65536, 1u << 31,
		~0u };

	return i < SMALL_IDS ? i : far[i - SMALL_IDS];
}

/* A connection in the middle of its life: everything negotiated, memory, one running queue. */
static void connect_victim(bool acks)
{
	rig_negotiate(&y.rig, ~0ull, acks ? ~0ull : ~VU_P(REPLY_ACK));
	rig_share(&y.rig);
	rig_start(&y.rig, rig_queue(&y.rig));
}

/* Lays the good message of an id out in `wire`: its length. */
static uint32_t lay_out(uint32_t id, uint32_t flags)
{
	struct example e = example_of(id);
	struct front_header h = { id, VU_VERSION | flags, e.size };

	memcpy(wire, &h, sizeof(h));
	example_fill(&y.rig, id, wire + sizeof(h));
	return (uint32_t)sizeof(h) + e.size;
}

static void send_wire(size_t from, size_t len, const int *fds, unsigned count)
{
	int error = front_send_bytes(&y.rig.front, wire + from, len, fds, count);

	/* It may have closed already. */
	CHECK(error == 0 || error == -EPIPE || error == -ECONNRESET);
}

/* Whatever it does with what was sent, it does: the connection answers again, or is closed. */
static bool answers_or_closes(const char *what)
{
	uint64_t features;
	int error = front_send(&y.rig.front, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);

	for (unsigned i = 0; error == 0 && i < 2000; i++) {
		struct front_message m;

		error = front_receive(&y.rig.front, &m);
		if (error == 0) {
			front_close_fds(&m);
			if (m.header.request == VU_GET_FEATURES &&
				m.header.size == sizeof(features))
				return true;
		}
	}
	if (error == 0 || error == -ETIMEDOUT || error == -EPROTO)
		harness_fail(HERE, "%s: it neither answers nor closes", what);
	return false;
}

/* The connection ends, all of it is given back, and the next one is served. */
static void next_variant(const char *what)
{
	rig_disconnect(&y.rig);
	for (uint64_t end = harness_deadline_us();
		vubox_fds(&y.rig.vubox) != y.fds || vubox_maps(&y.rig.vubox) != y.maps;)
		harness_pause(end, HERE, what);
	CHECK(vubox_lives(&y.rig.vubox));
}

/* ---- sizes ---- */

static void one_size(uint32_t id, uint32_t size, bool acks)
{
	struct example e = example_of(id);
	struct front_header h = { id, VU_VERSION | (acks ? VU_NEED_REPLY : 0), size };
	int fds[2];
	uint32_t sent = size <= FRONT_PAYLOAD_MAX ? size : 0;

	connect_victim(acks);
	lay_out(id, 0);
	memcpy(wire, &h, sizeof(h));
	example_open_fds(id, fds, e.wants);
	send_wire(0, sizeof(h) + sent, fds, e.wants);
	for (unsigned i = 0; i < e.wants; i++)
		close(fds[i]);
	answers_or_closes(e.name);
	next_variant(e.name);
}

static void with_every_size(bool acks)
{
	yard_open(&y, "auto", 1);
	rig_disconnect(&y.rig);
	for (unsigned i = 0; i < IDS; i++) {
		uint32_t right = example_of(id_of(i)).size;
		const uint32_t sizes[] = { 0, 1, right - 1, right, right + 1, right + 8, 256, 4095,
			4096, 4097, 65536, 0x7fffffff, 0x80000000, ~0u };

		for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			one_size(id_of(i), sizes[k], acks);
	}
	yard_check(&y);
}

static void every_id_with_every_size(const char *with)
{
	(void)with;
	with_every_size(true);
}

static void every_id_with_every_size_and_no_ack(const char *with)
{
	(void)with;
	with_every_size(false);
}

/* ---- descriptors ---- */

/* With so many of them: done only if that is a right number. */
static void with_fds(uint32_t id, unsigned count, bool acks)
{
	struct example e = example_of(id);
	struct front_message m;
	int fds[254];
	bool right = count == e.wants || (count == 0 && !e.needs_fds) ||
		     (id == VU_REM_MEM_REG && count == 1);
	int error;

	connect_victim(acks);
	example_open_fds(id, fds, 1);
	for (unsigned i = 1; i < count; i++)
		fds[i] = fds[0];
	send_wire(0, lay_out(id, acks ? VU_NEED_REPLY : 0), fds, count);
	close(fds[0]);
	if (!acks) {
		answers_or_closes(e.name);
		next_variant(e.name);
		return;
	}
	error = front_receive(&y.rig.front, &m);
	if (error == -ETIMEDOUT)
		harness_fail(HERE, "%s with %u descriptors leaves us waiting", e.name, count);
	if (error == 0)
		front_close_fds(&m);
	if (!right && error == 0 && m.header.size > 0 && m.payload[0] == 0)
		harness_fail(HERE, "%s is done with %u descriptors", e.name, count);
	next_variant(e.name);
}

static void every_id_with_any_number_of_descriptors(const char *with)
{
	static const unsigned counts[] = { 0, 1, 2, 3, 7, 8, 9, 10, 16, 64, 253 };

	(void)with;
	yard_open(&y, "auto", 1);
	rig_disconnect(&y.rig);
	for (unsigned i = 0; i < IDS; i++)
		for (unsigned k = 0; k < sizeof(counts) / sizeof(counts[0]); k++)
			for (unsigned acks = 0; acks < 2; acks++)
				with_fds(id_of(i), counts[k], acks == 1);
	yard_check(&y);
}

/* ---- version and flags ---- */

static void every_id_with_wrong_flags(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	rig_disconnect(&y.rig);
	for (unsigned i = 0; i < IDS; i++)
		for (uint32_t flags = 0; flags < 16; flags++) {
			struct example e = example_of(id_of(i));
			struct front_header h = { id_of(i), flags, e.size };
			bool good = (flags & 3) == VU_VERSION && (flags & VU_REPLY) == 0;
			uint32_t len;
			int fds[2];

			connect_victim(true);
			len = lay_out(id_of(i), 0);
			memcpy(wire, &h, sizeof(h));
			example_open_fds(id_of(i), fds, e.wants);
			send_wire(0, len, fds, e.wants);
			for (unsigned k = 0; k < e.wants; k++)
				close(fds[k]);
			if (answers_or_closes(e.name) && !good)
				harness_fail(HERE, "%s goes on after flags %#x", e.name, flags);
			next_variant(e.name);
		}
	yard_check(&y);
}

/* Bits that the protocol does not have yet. */
static void flags_to_come(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	for (uint32_t bit = 16; bit != 0; bit <<= 1) {
		struct front_message m;

		CHECK_EQ(front_send(&y.rig.front, VU_GET_QUEUE_NUM, bit, NULL, 0, NULL, 0), 0);
		CHECK_EQ(front_receive(&y.rig.front, &m), 0);
		CHECK_EQ(m.header.request, VU_GET_QUEUE_NUM);
		CHECK_EQ(m.header.flags, VU_VERSION | VU_REPLY);
	}
	yard_check(&y);
}

/* ---- pieces, heaps, hang-ups ---- */

/* A message with its descriptors on the first byte, and the rest one by one. */
static void every_id_one_byte_at_a_time(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	rig_disconnect(&y.rig);
	for (unsigned i = 0; i < IDS; i++) {
		struct example e = example_of(id_of(i));
		int fds[2];
		uint32_t len;

		connect_victim(true);
		len = lay_out(id_of(i), VU_NEED_REPLY);
		example_open_fds(id_of(i), fds, e.wants);
		for (uint32_t at = 0; at < len; at++)
			send_wire(at, 1, fds, at == 0 ? e.wants : 0);
		for (unsigned k = 0; k < e.wants; k++)
			close(fds[k]);
		if (!answers_or_closes(e.name))
			harness_fail(HERE, "%s in pieces is not what it is in one", e.name);
		next_variant(e.name);
	}
	yard_check(&y);
}

/* Descriptors on a byte in the middle belong to that message, too. */
static void every_id_with_descriptors_on_any_byte(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	rig_disconnect(&y.rig);
	for (unsigned i = 0; i < IDS; i++) {
		struct example e = example_of(id_of(i));

		for (uint32_t at = 0; at < sizeof(struct front_header) + e.size; at += 5) {
			uint32_t len;
			int fds[2];

			connect_victim(true);
			len = lay_out(id_of(i), VU_NEED_REPLY);
			example_open_fds(id_of(i), fds, 1);
			if (at > 0)
				send_wire(0, at, NULL, 0);
			send_wire(at, len - at, fds, 1);
			close(fds[0]);
			answers_or_closes(e.name);
			next_variant(e.name);
			if (at > 100)
				break;
		}
	}
	yard_check(&y);
}

static void every_id_with_a_hang_up_at_each_byte(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	rig_disconnect(&y.rig);
	for (unsigned i = 0; i < IDS; i++) {
		struct example e = example_of(id_of(i));
		uint32_t len = (uint32_t)sizeof(struct front_header) + e.size;

		for (uint32_t at = 0; at <= len; at += at < 64 ? 1 : 61) {
			int fds[2];

			connect_victim(at % 2 == 0);
			lay_out(id_of(i), 0);
			example_open_fds(id_of(i), fds, e.wants);
			send_wire(0, at, fds, at > 0 ? e.wants : 0);
			for (unsigned k = 0; k < e.wants; k++)
				close(fds[k]);
			rig_disconnect(&y.rig);
		}
		next_variant(e.name);
	}
	yard_check(&y);
}

/* Many good messages in one write: all are answered, each once and in order. */
static void a_heap_of_every_kind(const char *with)
{
	static unsigned char heap[600 * (sizeof(struct front_header) + 80)];
	static uint32_t asked[600];
	size_t len = 0;
	unsigned count = 0;

	(void)with;
	yard_open(&y, "auto", 1);
	for (unsigned n = 0; n < 600; n++) {
		uint32_t id = 1 + (uint32_t)(harness_random() % (VU_MESSAGE_END - 1));
		struct example e = example_of(id);
		uint32_t bytes;

		if (e.wants > 0 || e.size > 80 || id == VU_SET_PROTOCOL_FEATURES ||
			id == VU_GET_INFLIGHT_FD)
			continue;
		bytes = lay_out(id, VU_NEED_REPLY);
		memcpy(heap + len, wire, bytes);
		len += bytes;
		asked[count++] = id;
	}
	CHECK_EQ(front_send_bytes(&y.rig.front, heap, len, NULL, 0), 0);
	for (unsigned i = 0; i < count; i++) {
		struct front_message m;

		CHECK_EQ(front_receive(&y.rig.front, &m), 0);
		CHECK_EQ(m.header.request, asked[i]);
		CHECK_EQ(m.header.flags, VU_VERSION | VU_REPLY);
	}
	yard_check(&y);
}

/* Random bytes. What they say is mostly nonsense, and sometimes nearly not. */
static void noise(const char *with)
{
	(void)with;
	yard_open(&y, "auto", 1);
	rig_disconnect(&y.rig);
	for (unsigned n = 0; n < 400; n++) {
		uint32_t len;

		connect_victim(n % 2);
		len = lay_out((uint32_t)(harness_random() % 70), VU_NEED_REPLY);
		harness_fill(wire + (n % 4 ? 12 : 0), n % 4 ? len - 12 : 64);
		for (unsigned k = 0; k < n % 5; k++)
			wire[harness_random() % len] = (unsigned char)harness_random();
		send_wire(0, n % 4 ? len : 64, NULL, 0);
		next_variant("noise");
	}
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE(every_id_with_every_size),
	CASE(every_id_with_every_size_and_no_ack),
	CASE(every_id_with_any_number_of_descriptors),
	CASE(every_id_with_wrong_flags),
	CASE(flags_to_come),
	CASE(every_id_one_byte_at_a_time),
	CASE(every_id_with_descriptors_on_any_byte),
	CASE(every_id_with_a_hang_up_at_each_byte),
	CASE(a_heap_of_every_kind),
	CASE(noise),
};
HARNESS_MAIN(cases)
