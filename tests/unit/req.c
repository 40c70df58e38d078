/* src/core/req.c: chains of buffers, and the pool of requests. */
#include "req.h"

#include <errno.h>

#include "fake_port.h"
#include "unit.h"

enum { SHARED_MAX = CONFIG_REQUESTS_MAX - CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX };

static struct mem mem;
static const char *why;

/* Two regions that touch in the guest and not here: 0x10000 to 0x11000 to 0x12000. */
static struct request *start(void)
{
	struct request *req = request_get(0);

	fake_reset(1);
	CHECK_OK(mem_add(&mem, &(struct mem_region){ 0x10000, 0x1000, 0x700000, 0 },
		fake_memory_new(0x1000)));
	CHECK_OK(mem_add(&mem, &(struct mem_region){ 0x11000, 0x1000, 0x800000, 0 },
		fake_memory_new(0x1000)));
	chain_start(req, 7);
	return req;
}

static int add(struct request *req, uint64_t addr, uint32_t len, bool writable)
{
	return chain_add(&req->chain, &mem, addr, len, writable, &why);
}

/* n buffers that do not touch. */
static int add_many(struct request *req, unsigned n)
{
	int error = 0;

	for (unsigned i = 0; i < n && error == 0; i++)
		error = add(req, 0x10000 + 2 * i, 1, true);
	return error;
}

CASE(an_empty_chain)
{
	struct request *req = start();

	chain_finish(req);
	CHECK_EQ(req->chain.head, 7);
	CHECK_EQ(reader_left(&req->in), 0);
	CHECK_EQ(writer_left(&req->out), 0);
}

CASE(readable_then_writable)
{
	struct request *req = start();
	char byte;

	CHECK_OK(add(req, 0x10000, 10, false));
	CHECK_OK(add(req, 0x10100, 20, false));
	CHECK_OK(add(req, 0x10200, 30, true));
	chain_finish(req);
	CHECK_EQ(req->chain.span_count, 3);
	CHECK_EQ(reader_left(&req->in), 30);
	CHECK_EQ(writer_left(&req->out), 30);
	CHECK(reader_get(&req->in, &byte, 1));
	CHECK(req->in.at.span == &req->chain.spans[0]);
	CHECK(req->out.at.span == &req->chain.spans[2]);
}

CASE(readable_after_writable_breaks_a_rule)
{
	struct request *req = start();

	CHECK_OK(add(req, 0x10000, 1, true));
	CHECK_OK(add(req, 0x10000, 0, false));
	CHECK_EQ(add(req, 0x10000, 1, false), -EINVAL);
	CHECK_TEXT(why, "a readable descriptor after a writable one");
}

CASE(empty_buffers_leave_nothing)
{
	struct request *req = start();

	CHECK_OK(add(req, 0, 0, false));
	CHECK_OK(add(req, UINT64_MAX, 0, true));
	CHECK_EQ(req->chain.span_count, 0);
}

CASE(neighbours_in_one_direction_become_one)
{
	struct request *req = start();

	CHECK_OK(add(req, 0x10000, 0x10, false));
	CHECK_OK(add(req, 0x10010, 0x10, false));
	CHECK_EQ(req->chain.span_count, 1);
	CHECK_OK(add(req, 0x10020, 0x10, true));
	CHECK_EQ(req->chain.span_count, 2);
	CHECK_OK(add(req, 0x10030, 0x10, true));
	CHECK_OK(add(req, 0x10020, 0x10, true));
	CHECK_EQ(req->chain.span_count, 3);
	CHECK_EQ(req->chain.readable_spans, 1);
	chain_finish(req);
	CHECK_EQ(reader_left(&req->in), 0x20);
	CHECK_EQ(writer_left(&req->out), 0x30);
}

CASE(a_buffer_over_two_regions_is_two_spans)
{
	struct request *req = start();

	CHECK_OK(add(req, 0x10f00, 0x200, true));
	CHECK_EQ(req->chain.span_count, 2);
	CHECK_EQ(req->chain.spans[0].len, 0x100);
	CHECK_EQ(req->chain.spans[1].len, 0x100);
	CHECK(req->chain.spans[1].base == mem_at(&mem, 0x11000, 1).base);
}

CASE(a_buffer_that_is_nowhere_is_a_hole)
{
	struct request *req = start();

	CHECK_OK(add(req, 0xff00, 0x200, true));
	CHECK_EQ(req->chain.span_count, 2);
	CHECK(req->chain.spans[0].base == NULL && req->chain.spans[0].len == 0x100);
	CHECK(req->chain.spans[1].base != NULL && req->chain.spans[1].len == 0x100);
	CHECK_OK(add(req, 0x12000, 0x100, true));
	CHECK_OK(add(req, UINT64_MAX, 2, true));
	CHECK_EQ(req->chain.span_count, 3);
	CHECK(req->chain.spans[2].base == NULL && req->chain.spans[2].len == 0x102);
	chain_finish(req);
	CHECK(!writer_put(&req->out, "x", 1));
}

CASE(a_chain_has_less_than_4_gib)
{
	struct request *req = start();

	CHECK_OK(add(req, 1ull << 40, UINT32_MAX - 1, false));
	CHECK_OK(add(req, 1ull << 50, 1, true));
	CHECK_EQ(add(req, 1ull << 51, 1, true), -EINVAL);
	CHECK_TEXT(why, "a chain of 4 GiB or more");
	chain_start(req, 0);
	CHECK_OK(add(req, 1ull << 40, 5, false));
	CHECK_EQ(add(req, 1ull << 41, UINT32_MAX, true), -EINVAL);
}

CASE(a_long_chain_moves_to_a_long_array)
{
	struct request *req = start();

	CHECK_OK(add_many(req, CONFIG_SPANS_INLINE));
	CHECK_EQ(req->chain.long_slot, 0);
	CHECK_OK(add(req, 0x11000, 1, true));
	CHECK(req->chain.long_slot > 0);
	CHECK_EQ(req->chain.span_count, CONFIG_SPANS_INLINE + 1);
	chain_finish(req);
	CHECK_EQ(writer_left(&req->out), CONFIG_SPANS_INLINE + 1);
	for (unsigned i = 0; i < CONFIG_SPANS_INLINE; i++)
		CHECK(req->chain.spans[i].base == mem_at(&mem, 0x10000 + 2 * i, 1).base);
	request_put(req, 0);
}

CASE(a_chain_longer_than_the_longest_is_refused)
{
	struct request *req = start();

	CHECK_OK(add_many(req, CONFIG_SPANS_LONG));
	CHECK_EQ(add(req, 0x11000, 1, true), -EINVAL);
	CHECK_TEXT(why, "a chain of too many pieces");
}

/* Regions that touch here and in the guest cost no spans, but each of them has to be looked up. */
CASE(a_chain_over_too_many_regions_is_refused)
{
	enum { PAGE = 0x1000, PIECES_MAX = 4 * CONFIG_SPANS_LONG };
	struct request *req = request_get(0);
	unsigned pieces = 0;
	int fd, error = 0;

	fake_reset(1);
	fd = fake_memory_new(CONFIG_REGIONS_MAX * PAGE);
	for (uint64_t at = 0; at < CONFIG_REGIONS_MAX * PAGE; at += PAGE)
		CHECK_OK(mem_add(&mem, &(struct mem_region){ at, PAGE, at, at }, fd));
	chain_start(req, 0);
	while ((error = add(req, 0, CONFIG_REGIONS_MAX * PAGE, true)) == 0)
		pieces += CONFIG_REGIONS_MAX;
	CHECK_EQ(error, -EINVAL);
	CHECK_TEXT(why, "a chain over too many regions");
	CHECK(pieces <= PIECES_MAX && pieces > PIECES_MAX - CONFIG_REGIONS_MAX);
	CHECK(req->chain.span_count < 2 * PIECES_MAX / CONFIG_REGIONS_MAX);
}

CASE(long_arrays_run_out_and_come_back)
{
	struct request *all[CONFIG_LONG_MAX + 1];
	struct span *given_back;

	all[0] = start();
	for (unsigned i = 0; i <= CONFIG_LONG_MAX; i++) {
		if (i > 0)
			all[i] = request_get(0);
		chain_start(all[i], 0);
		CHECK_EQ(add_many(all[i], CONFIG_SPANS_INLINE + 1),
			i < CONFIG_LONG_MAX ? 0 : -EAGAIN);
	}
	given_back = all[3]->chain.spans;
	request_put(all[3], 0);
	chain_start(all[CONFIG_LONG_MAX], 0);
	CHECK_OK(add_many(all[CONFIG_LONG_MAX], CONFIG_SPANS_INLINE + 1));
	CHECK(all[CONFIG_LONG_MAX]->chain.spans == given_back);
}

CASE(every_queue_has_a_request_of_its_own)
{
	static struct request *shared[SHARED_MAX];

	for (unsigned i = 0; i < SHARED_MAX; i++)
		CHECK((shared[i] = request_get(i + 1)) != NULL);
	CHECK(request_get(1) == NULL);
	for (unsigned i = 0; i < CONFIG_DEVICES_MAX * CONFIG_QUEUES_MAX; i++)
		CHECK(request_get(0) != NULL);
	request_put(shared[5], 1);
	CHECK(request_get(1) == shared[5]);
	CHECK(request_get(1) == NULL);
}

CASE(a_request_is_used_again)
{
	struct request *a = request_get(0), *b = request_get(1);

	CHECK(a && b && a != b);
	request_put(a, 0);
	CHECK(request_get(0) == a);
}
