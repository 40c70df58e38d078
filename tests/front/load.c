/* A verifying load. */
#include "load.h"

#include <string.h>
#include <unistd.h>

enum { BLOCKS = 4, BLOCK_BYTES = RIG_DISK_BYTES / RIG_SLOTS / BLOCKS };
_Static_assert(BLOCK_BYTES == 32768, "as much as a slot has room for");

void load_open(struct load *l, struct rig *r, unsigned queues, unsigned depth)
{
	memset(l, 0, sizeof(*l));
	CHECK(queues <= RIG_QUEUES_MAX && queues * depth <= RIG_SLOTS);
	l->rig = r;
	l->queues = queues;
	l->depth = depth;
	rig_disk_read(r, 0, l->model, sizeof(l->model));
}

static struct blk_request request_of(const struct load *l, unsigned slot)
{
	const struct load_request *x = &l->requests[slot];

	return rig_request(l->rig, slot, x->type, x->sector, x->len);
}

/* What a request is to do, and the bytes that it brings. */
static void choose(struct load *l, unsigned slot)
{
	static const uint32_t types[] = { BLK_IN, BLK_IN, BLK_IN, BLK_OUT, BLK_OUT, BLK_OUT,
		BLK_WRITE_ZEROES, BLK_FLUSH };
	struct load_request *x = &l->requests[slot];
	uint64_t block = slot * BLOCKS + harness_random() % BLOCKS;

	*x = (struct load_request){ .out = true,
		.type = types[harness_random() % 8],
		.len = (uint32_t)(harness_random() % 64 + 1) * BLK_SECTOR,
		.sector = block * (BLOCK_BYTES / BLK_SECTOR) };
	if (x->type == BLK_FLUSH) {
		x->sector = x->len = 0;
	} else if (x->type == BLK_WRITE_ZEROES) {
		struct blk_range range = { x->sector, x->len / BLK_SECTOR, 0 };

		x->sector = 0;
		x->len = sizeof(range);
		memcpy(l->pending[slot], &range, sizeof(range));
	} else if (x->type == BLK_OUT) {
		/* A pattern that no other write has: random words are slow to make. */
		uint64_t seed = harness_random();

		for (uint32_t i = 0; i < x->len; i += 8) {
			memcpy(l->pending[slot] + i, &seed, 8);
			seed += 0x9e3779b97f4a7c15ull;
		}
	} else {
		memset(l->pending[slot], 0xee, x->len);
	}
}

static bool make_one(struct load *l, struct front_queue *q, unsigned slot)
{
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers, .owner = (void *)(uintptr_t)slot };
	struct blk_request request;

	choose(l, slot);
	request = request_of(l, slot);
	CHECK(request.len == 0 ||
		driver_write(&l->rig->memory.driver, request.data, l->pending[slot], request.len));
	chain.count = blk_build(&l->rig->memory.driver, &request, buffers);
	if (harness_random() % 3 == 0)
		chain.table = rig_table(l->rig, slot);
	l->requests[slot].out = driver_add(&q->driver, &chain) >= 0;
	return l->requests[slot].out;
}

void load_fill(struct load *l, unsigned queue)
{
	for (unsigned k = 0; k < l->queues; k++) {
		struct front_queue *q = &l->rig->queues[k];

		if (queue != ~0u && queue != k)
			continue;
		for (unsigned i = 0; i < l->depth; i++)
			if (!l->requests[k * l->depth + i].out && !make_one(l, q, k * l->depth + i))
				break;
		front_queue_offer(q);
	}
}

/* What a request that is done has changed on the disk. */
static void apply(struct load *l, unsigned slot)
{
	const struct load_request *x = &l->requests[slot];
	struct blk_range range;

	if (x->type == BLK_OUT)
		memcpy(l->model + x->sector * BLK_SECTOR, l->pending[slot], x->len);
	if (x->type == BLK_WRITE_ZEROES) {
		memcpy(&range, l->pending[slot], sizeof(range));
		memset(l->model + range.sector * BLK_SECTOR, 0, range.count * BLK_SECTOR);
	}
}

static void take_one(struct load *l, unsigned queue, const struct driver_used *used)
{
	unsigned slot = (unsigned)(uintptr_t)used->owner;
	struct load_request *x = &l->requests[slot];
	struct blk_request request = request_of(l, slot);

	CHECK(x->out && slot / l->depth == queue);
	CHECK_EQ(blk_status(&l->rig->memory.driver, &request), BLK_OK);
	CHECK_EQ(used->len, x->type == BLK_IN ? x->len + 1 : 1);
	if (x->type == BLK_IN)
		CHECK_BYTES(driver_at(&l->rig->memory.driver, request.data, x->len),
			l->model + x->sector * BLK_SECTOR, x->len);
	apply(l, slot);
	x->out = false;
	l->done++;
}

unsigned load_poll(struct load *l)
{
	unsigned count = 0;

	for (unsigned k = 0; k < l->queues; k++) {
		struct driver *d = &l->rig->queues[k].driver;
		struct driver_used used;

		while (driver_poll(d, &used) > 0) {
			take_one(l, k, &used);
			count++;
		}
		if (d->wrong)
			harness_fail(HERE, "queue %u: %s", k, d->wrong);
	}
	return count;
}

void load_run(struct load *l, unsigned count)
{
	unsigned done = 0;

	load_fill(l, ~0u);
	UNTIL((done += load_poll(l), load_fill(l, ~0u), done >= count));
}

unsigned load_out(const struct load *l)
{
	unsigned out = 0;

	for (unsigned slot = 0; slot < l->queues * l->depth; slot++)
		out += l->requests[slot].out;
	return out;
}

void load_drain(struct load *l)
{
	UNTIL((load_poll(l), load_out(l) == 0));
}

void load_check(struct load *l)
{
	static unsigned char disk[RIG_DISK_BYTES];

	CHECK_EQ(load_out(l), 0);
	CHECK_EQ(front_settle(&l->rig->front), 0);
	CHECK_EQ(load_poll(l), 0);
	rig_disk_read(l->rig, 0, disk, sizeof(disk));
	CHECK_BYTES(disk, l->model, sizeof(disk));
}
