/* Chains cut anywhere, direct and in indirect tables (VIRTIO 2.7.5 and 2.8.6). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../front/rig.h"

enum { PIECES_MAX = 1024 };

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

static void run(uint16_t size, uint16_t start)
{
	r.ring_size = size;
	r.start = start;
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
}

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
	run(1024, 65530);
	for (unsigned i = 0; i < CUTS; i++)
		for (unsigned how = 0; how < 4; how++)
			cut_requests(cuts[i], 4, how & 1, how & 2, 0);
}

static void an_indirect_table_at_the_end_of_a_chain(const char *with)
{
	serve(with);
	run(1024, 0);
	for (unsigned direct = 1; direct < 40; direct++)
		cut_requests(cuts[direct % CUTS], 4, direct & 1, true, direct);
}

static void random_chains(const char *with)
{
	serve(with);
	run(512, 65000);
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
	run(256, 0);
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
	run(1024, 0);
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

/* More requests with long chains than there are arrays for them: they wait for each other. */
static void many_of_the_longest_chains(const char *with)
{
	enum { PIECES = 700, MANY = 24 };
	static struct driver_buffer pieces[PIECES];
	struct front_queue *q = &r.queues[0];

	serve(with);
	run(1024, 0);
	for (unsigned slot = 0; slot < MANY; slot++) {
		struct blk_request w = rig_request(
			&r, slot, BLK_OUT, slot * 70, (PIECES - 2) / 2 * 64 / 512 * 512);
		struct driver_chain chain = { .buffers = pieces, .owner = (void *)(uintptr_t)slot };
		struct driver_buffer parts[3];
		uint32_t left = w.len;

		harness_fill(disk + w.sector * 512, w.len);
		CHECK(driver_write(&r.memory.driver, w.data, disk + w.sector * 512, w.len));
		blk_build(&r.memory.driver, &w, parts);
		pieces[0] = parts[0];
		/* From both ends of the data in turns, so that no two neighbours are one. */
		chain.count = 1;
		for (uint64_t at = w.data; left > 0 && chain.count < PIECES - 1; chain.count++) {
			uint32_t len = left < 40 ? left : chain.count % 2 ? 40 : 24;

			pieces[chain.count] = (struct driver_buffer){ at, len, false };
			at += len;
			left -= len;
		}
		pieces[chain.count++] = parts[2];
		CHECK(left == 0 && chain.count > 600);
		chain.table = rig_table(&r, slot);
		CHECK(driver_add(&q->driver, &chain) >= 0);
	}
	front_queue_offer(q);
	for (unsigned i = 0; i < MANY; i++) {
		unsigned slot = rig_take(&r, q, NULL);
		struct blk_request w = rig_request(&r, slot, 0, 0, 0);

		CHECK_EQ(blk_status(&r.memory.driver, &w), BLK_OK);
	}
	for (unsigned slot = 0; slot < MANY; slot++) {
		unsigned char back[512];

		rig_disk_read(&r, slot * 70ull * 512, back, sizeof(back));
		CHECK_BYTES(back, disk + slot * 70 * 512, sizeof(back));
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
	CASE_OF_EACH(chains_cut_anywhere),
	CASE_OF_EACH_ENGINE(an_indirect_table_at_the_end_of_a_chain),
	CASE_OF_EACH(random_chains),
	CASE_OF_EACH(empty_descriptors_only_between),
	CASE_OF_EACH(the_longest_chains),
	CASE_OF_EACH(many_of_the_longest_chains),
	CASE_OF_EACH(over_the_edge_of_regions),
};
HARNESS_MAIN(cases)
