/* Split rings: sizes, wraps, notifications, indirect tables, and chains cut anywhere (VIRTIO 2.7).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../front/rig.h"

enum { PIECES_MAX = 1024 };

/* What a combination of features is called, and which ring features it has. */
struct mode {
	const char *name;
	uint64_t ring_features;
};

static const struct mode modes[] = {
	{ "plain", 0 },
	{ "event_idx", VU_F(EVENT_IDX) },
	{ "indirect", VU_F(INDIRECT_DESC) },
	{ "both", VU_F(EVENT_IDX) | VU_F(INDIRECT_DESC) },
};

/* clang-format off */
#define CASE_OF_EACH_MODE(function) \
	{ #function, function, "plain" }, \
	{ #function, function, "event_idx" }, \
	{ #function, function, "indirect" }, \
	{ #function, function, "both" }
/* clang-format on */

static struct rig r;
static unsigned char disk[RIG_DISK_BYTES];

static void serve(const char *engine)
{
	static char io[32] = "--io=";

	strcat(io, engine);
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ io, NULL });
	harness_fill(disk, sizeof(disk));
	rig_disk_write(&r, 0, disk, sizeof(disk));
}

static uint64_t features_of(const char *mode)
{
	uint64_t rings = VU_F(EVENT_IDX) | VU_F(INDIRECT_DESC);

	for (unsigned i = 0; i < 4; i++)
		if (strcmp(modes[i].name, mode) == 0)
			return (~0ull & ~rings) | modes[i].ring_features;
	harness_fail(HERE, "no such mode: %s", mode);
}

static void run(uint64_t features, uint16_t size, uint16_t start)
{
	r.ring_size = size;
	r.start = start;
	rig_negotiate(&r, features, ~0ull);
	rig_run(&r);
}

/* ---- sizes and wraps ---- */

/* A read of one sector by slot, in as few descriptors as the mode allows. False: it is full. */
static bool add_read(struct front_queue *q, unsigned slot, unsigned turn, bool indirect)
{
	struct blk_request i = rig_request(&r, slot, BLK_IN, (turn * 97) % 8192, 512);
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers, .owner = (void *)(uintptr_t)slot };

	chain.count = blk_build(&r.memory.driver, &i, buffers);
	chain.table = indirect ? rig_table(&r, slot) : 0;
	return driver_add(&q->driver, &chain) >= 0;
}

static void check_read(unsigned slot, unsigned turn)
{
	struct blk_request i = rig_request(&r, slot, BLK_IN, 0, 512);

	CHECK_EQ(blk_status(&r.memory.driver, &i), BLK_OK);
	CHECK_BYTES(driver_at(&r.memory.driver, i.data, 512), disk + (turn * 97) % 8192 * 512, 512);
}

/* Fills the ring up (or all slots), again and again, until both indices have wrapped around. */
static void fill_and_take(unsigned rounds, bool indirect)
{
	struct front_queue *q = &r.queues[0];
	unsigned turn = 0, turns[RIG_SLOTS];

	while (rounds-- > 0) {
		unsigned slot = 0;

		while (slot < RIG_SLOTS && add_read(q, slot, turn, indirect))
			turns[slot++] = turn++;
		CHECK(slot > 0);
		front_queue_offer(q);
		for (unsigned n = slot; n > 0; n--) {
			uint32_t len;

			slot = rig_take(&r, q, &len);
			CHECK_EQ(len, 513);
			check_read(slot, turns[slot]);
		}
	}
}

/* Every size, from an index that soon wraps at 16 bits. */
static void every_size(const char *with)
{
	uint64_t features = features_of(with);
	bool indirect = (features & VU_F(INDIRECT_DESC)) != 0;

	serve("mmap");
	for (uint16_t size = indirect ? 1 : 4; size <= 1024; size = (uint16_t)(size * 2)) {
		uint32_t base;

		run(features, size, (uint16_t)(65535 - size / 2 - 3));
		fill_and_take(size < 16 ? 40 : 12, indirect);
		CHECK_EQ(front_get_vring_base(&r.front, 0, &base), 0);
		CHECK_EQ(base, r.queues[0].driver.used_idx);
		rig_disconnect(&r);
	}
}

/* All the way around: 65,536 requests and some more, from the first index. */
static void the_index_goes_all_around(const char *with)
{
	serve("mmap");
	run(features_of(with), 256, 0);
	fill_and_take(65536 / 64 + 20, strcmp(with, "both") == 0 || strcmp(with, "indirect") == 0);
}

/* ---- notifications ---- */

/* A driver that kicks only when asked and sleeps until called: a lost one hangs. */
static void a_sleeping_driver_is_called(const char *with)
{
	struct front_queue *q = &r.queues[0];
	struct driver_used used;

	serve("uring");
	run(features_of(with), 64, 65500);
	for (unsigned turn = 0; turn < 3000; turn++) {
		unsigned depth = 1 + turn % 8;

		for (unsigned slot = 0; slot < depth; slot++)
			CHECK(add_read(q, slot, turn + slot, false));
		driver_want_calls(&q->driver, true, (uint16_t)(turn % 3 == 0 ? depth : 1));
		front_queue_offer(q);
		for (unsigned n = 0; n < depth;) {
			while (driver_poll(&q->driver, &used) > 0)
				n++;
			CHECK(!q->driver.wrong);
			if (n == depth)
				break;
			driver_want_calls(&q->driver, true, 1);
			if (driver_poll(&q->driver, &used) > 0) {
				n++;
				continue;
			}
			CHECK_EQ(front_wait_signal(q->call, harness_wait_ms()), 0);
			front_signals(q->call);
		}
	}
}

static void a_driver_that_wants_no_call_gets_none(const char *with)
{
	struct front_queue *q = &r.queues[0];
	uint64_t features = features_of(with);

	serve("sync");
	run(features, 64, 65500);
	/* The first one of all may come with EVENT_IDX: nothing was decided before it. */
	CHECK(add_read(q, 0, 0, false));
	front_queue_offer(q);
	while (driver_poll(&q->driver, &(struct driver_used){ 0 }) == 0)
		usleep(100);
	CHECK_EQ(front_settle(&r.front), 0);
	front_signals(q->call);
	for (unsigned turn = 0; turn < 200; turn++) {
		driver_want_calls(&q->driver, false, 0);
		CHECK(add_read(q, 0, turn, false));
		front_queue_offer(q);
		UNTIL(driver_poll(&q->driver, &(struct driver_used){ 0 }) != 0);
	}
	CHECK_EQ(front_settle(&r.front), 0);
	CHECK_EQ(front_signals(q->call), 0);
	driver_want_calls(&q->driver, true, 1);
	CHECK(add_read(q, 0, 0, false));
	front_queue_offer(q);
	CHECK_EQ(front_wait_signal(q->call, harness_wait_ms()), 0);
}

/* used_event: not before the entry that it names. */
static void a_call_comes_when_it_was_asked_for(const char *with)
{
	struct front_queue *q = &r.queues[0];
	struct driver_used used;

	(void)with;
	serve("sync");
	run(features_of("event_idx"), 64, 65530);
	CHECK(add_read(q, 0, 0, false));
	front_queue_offer(q);
	UNTIL(driver_poll(&q->driver, &used) > 0);
	for (unsigned after = 1; after <= 20; after++) {
		CHECK_EQ(front_settle(&r.front), 0);
		front_signals(q->call);
		driver_want_calls(&q->driver, true, (uint16_t)after);
		for (unsigned n = 1; n <= after; n++) {
			CHECK_EQ(front_signals(q->call), 0);
			CHECK(add_read(q, 0, n, false));
			front_queue_offer(q);
			UNTIL(driver_poll(&q->driver, &used) > 0);
			CHECK_EQ(front_settle(&r.front), 0);
		}
		CHECK_EQ(front_wait_signal(q->call, harness_wait_ms()), 0);
	}
}

/* One call for a batch, not one for each. */
static void calls_are_batched(const char *with)
{
	struct front_queue *q = &r.queues[0];
	struct driver_used used;
	uint64_t calls;

	(void)with;
	serve("mmap");
	run(features_of("plain"), 256, 0);
	CHECK_EQ(front_settle(&r.front), 0);
	front_signals(q->call);
	for (unsigned slot = 0; slot < 60; slot++)
		CHECK(add_read(q, slot, slot, false));
	front_queue_offer(q);
	for (unsigned n = 0; n < 60; n++)
		UNTIL(driver_poll(&q->driver, &used) > 0);
	CHECK_EQ(front_settle(&r.front), 0);
	calls = front_signals(q->call);
	CHECK(calls >= 1 && calls <= 30);
}

/* ---- chains ---- */

/* A chain of these cuts, of a request as long as there is room for: its length in bytes of data. */
static uint32_t cut_chain(struct blk_request *x, const uint32_t *lens, unsigned len_count,
	bool join, struct driver_buffer *pieces, unsigned *count)
{
	struct driver_buffer parts[3];

	for (x->len = (uint32_t)(1 + harness_random() % 4) * 512; x->len > 0; x->len -= 512) {
		unsigned n;

		if (join) { /* header, data and status side by side */
			x->data = x->header + BLK_HEADER_BYTES;
			x->status = x->data + x->len;
		}
		n = blk_build(&r.memory.driver, x, parts);
		if (join)
			n = blk_join(parts, n);
		*count = blk_cut(parts, n, lens, len_count, pieces, PIECES_MAX);
		if (*count > 0)
			return x->len;
	}
	harness_fail(HERE, "these cuts make too many pieces");
}

/* Writes, then reads back, each with a chain that is cut like this. */
static void cut_requests(
	const uint32_t *lens, unsigned len_count, bool join, bool table, unsigned direct)
{
	static struct driver_buffer pieces[PIECES_MAX];
	static unsigned char data[2048], back[2048];
	uint64_t sector = harness_random() % 4096;

	for (unsigned reading = 0; reading < 2; reading++) {
		struct blk_request x = rig_request(&r, 0, reading ? BLK_IN : BLK_OUT, sector, 0);
		struct driver_chain chain = { .buffers = pieces };
		uint32_t len = cut_chain(&x, lens, len_count, join, pieces, &chain.count);

		harness_fill(data, len);
		CHECK(driver_write(&r.memory.driver, x.data, data, len));
		if (table || chain.count > r.ring_size) {
			chain.table = rig_table(&r, 0) + 5; /* it need not be aligned */
			chain.direct = direct < chain.count ? direct : chain.count - 1;
		}
		CHECK_EQ(rig_chain(&r, &x, &chain), BLK_OK);
		rig_disk_read(&r, sector * 512, back, len);
		CHECK(driver_read(&r.memory.driver, x.data, data, len));
		CHECK_BYTES(data, back, len);
	}
}

static const uint32_t cuts[][4] = {
	{ 1, 1, 1, 1 },
	{ 7, 7, 7, 7 },
	{ 16, 511, 1, 513 },
	{ 0, 8, 0, 100 },
	{ 0, 0, 0, 16 },
	{ 15, 1, 0, 4096 },
	{ 4096, 4096, 4096, 4096 },
	{ 17, 495, 3, 2000 },
	{ 3, 0, 5, 1 },
};
enum { CUTS = sizeof(cuts) / sizeof(cuts[0]) };

static void chains_cut_anywhere(const char *with)
{
	serve(with);
	run(~0ull, 1024, 65530);
	for (unsigned i = 0; i < CUTS; i++)
		for (unsigned how = 0; how < 4; how++)
			cut_requests(cuts[i], 4, how & 1, how & 2, 0);
}

static void an_indirect_table_at_the_end_of_a_chain(const char *with)
{
	serve(with);
	run(~0ull, 1024, 0);
	for (unsigned direct = 1; direct < 40; direct++)
		cut_requests(cuts[direct % CUTS], 4, direct & 1, true, direct);
}

static void random_chains(const char *with)
{
	serve(with);
	run(~0ull, 512, 65000);
	for (unsigned i = 0; i < 600; i++) {
		uint32_t lens[8];

		for (unsigned k = 0; k < 8; k++)
			lens[k] = (uint32_t)(harness_random() % 4 == 0 ? harness_random() % 3
								       : harness_random() % 700);
		lens[i % 8] |= 1;
		cut_requests(lens, 8, harness_random() & 1, harness_random() & 1,
			(unsigned)(harness_random() % 20));
	}
}

static void empty_descriptors_only_between(const char *with)
{
	static struct driver_buffer pieces[200];
	struct driver_buffer parts[3];
	struct driver_chain chain = { .buffers = pieces };
	struct blk_request i;
	unsigned n = 0;

	serve(with);
	run(~0ull, 256, 0);
	i = rig_request(&r, 0, BLK_IN, 3, 512);
	blk_build(&r.memory.driver, &i, parts);
	for (unsigned part = 0; part < 3; part++) {
		for (unsigned k = 0; k < 60;
			k++) /* at addresses that are nowhere: they are empty */
			pieces[n++] = (struct driver_buffer){ k, 0, parts[part].writable };
		pieces[n++] = parts[part];
	}
	pieces[n++] = (struct driver_buffer){ ~0ull, 0, true };
	chain.count = n;
	for (unsigned k = 0; k < 4; k++) {
		chain.table = k % 2 ? rig_table(&r, 0) : 0;
		chain.direct = k / 2 * 100;
		CHECK_EQ(rig_chain(&r, &i, &chain), BLK_OK);
		CHECK_BYTES(driver_at(&r.memory.driver, i.data, 512), disk + 3 * 512, 512);
	}
}

/* The longest chains: a full table of the ring, and an indirect one of the same length. */
static void the_longest_chains(const char *with)
{
	static struct driver_buffer pieces[1024];
	struct driver_buffer parts[3];
	struct driver_chain chain = { .buffers = pieces, .count = 1024 };
	struct blk_request w;

	serve(with);
	run(~0ull, 1024, 0);
	w = rig_request(&r, 0, BLK_OUT, 100, 512 * 79);
	for (unsigned table = 0; table < 2; table++) {
		uint64_t at = w.data;

		harness_fill(disk, w.len);
		CHECK(driver_write(&r.memory.driver, w.data, disk, w.len));
		blk_build(&r.memory.driver, &w, parts);
		pieces[0] = parts[0];
		for (unsigned i = 1; i < 1023;
			i++) { /* 1022 pieces: of 40 bytes, the last of less */
			uint32_t left = (uint32_t)(w.data + w.len - at);
			uint32_t len = left < 40 ? left : 40;

			pieces[i] = (struct driver_buffer){ at, len, false };
			at += len;
		}
		CHECK_EQ(at, w.data + w.len);
		pieces[1023] = parts[2];
		chain.table = table ? rig_table(&r, 0) : 0;
		CHECK_EQ(rig_chain(&r, &w, &chain), BLK_OK);
		rig_disk_read(&r, 100 * 512, disk + w.len, w.len);
		CHECK_BYTES(disk + w.len, disk, w.len);
	}
}

/* A read whose parts lie where the request says. */
static void reads_well(struct blk_request i, uint64_t table)
{
	unsigned char data[512];
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers, .table = table };

	chain.count = blk_build(&r.memory.driver, &i, buffers);
	memset(data, 0, sizeof(data));
	CHECK(driver_write(&r.memory.driver, i.data, data, sizeof(data)));
	CHECK_EQ(rig_chain(&r, &i, &chain), BLK_OK);
	CHECK(driver_read(&r.memory.driver, i.data, data, sizeof(data)));
	CHECK_BYTES(data, disk + i.sector * 512, sizeof(data));
}

/* Table, header and data, each across the edge of two regions at each of its bytes. */
static void over_the_edge_of_regions(const char *with)
{
	uint64_t edge = RIG_GUEST + RIG_MEMORY;

	serve(with);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_memory_add(&r.memory, RIG_GUEST, RIG_USER, RIG_MEMORY, 0), 0);
	CHECK_EQ(front_memory_add(&r.memory, edge, RIG_USER / 2, RIG_MEMORY, 4096 + 64), 0);
	rig_run(&r);
	for (unsigned at = 0; at <= 512; at++) {
		struct blk_request i = rig_request(&r, 0, BLK_IN, at, 512), moved = i;

		moved.data = edge - at;
		reads_well(moved, 0);
		reads_well(moved, rig_table(&r, 0));
		moved = i;
		moved.header = edge - at;
		if (at <= BLK_HEADER_BYTES)
			reads_well(moved, 0);
		if (at <= 48) /* three descriptors */
			reads_well(i, edge - at);
	}
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_MODE(every_size),
	CASE_OF_EACH_MODE(the_index_goes_all_around),
	CASE_OF_EACH_MODE(a_sleeping_driver_is_called),
	CASE_OF_EACH_MODE(a_driver_that_wants_no_call_gets_none),
	CASE(a_call_comes_when_it_was_asked_for),
	CASE(calls_are_batched),
	CASE_OF_EACH_ENGINE(chains_cut_anywhere),
	CASE_OF_EACH_ENGINE(an_indirect_table_at_the_end_of_a_chain),
	CASE_OF_EACH_ENGINE(random_chains),
	CASE_OF_EACH_ENGINE(empty_descriptors_only_between),
	CASE_OF_EACH_ENGINE(the_longest_chains),
	CASE_OF_EACH_ENGINE(over_the_edge_of_regions),
};
HARNESS_MAIN(cases)
