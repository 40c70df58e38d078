/* The guest behind the load: connection, memory and queues. */
#include <string.h>

#include "load.h"

enum { ANSWER_MS = 5000, RING_MIN = 256, PAGE = 4096, LINE = 64 };
#define GUEST_BASE  0x40000000ull
#define USER_OFFSET 0x7f0000000000ull
#define REGION_GAP  0x200000ull /* so that no two regions can be taken for one */

static void must(int result, const char *what)
{
	if (result != 0)
		die("%s: %s", what, result > 0 ? "refused" : strerror(-result));
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static void negotiate(struct guest *g)
{
	const struct options *o = &g->options;
	uint64_t want = VU_F(VERSION_1) | VU_F(PROTOCOL_FEATURES) | VU_F(EVENT_IDX) |
			1ull << BLK_F_FLUSH | 1ull << BLK_F_MQ;
	uint64_t must_have = VU_F(VERSION_1);
	unsigned char config[BLK_CONFIG_NUM_QUEUES + 2];
	uint64_t capacity;
	uint32_t got;

	if (o->packed)
		must_have |= VU_F(RING_PACKED);
	if (o->indirect)
		must_have |= VU_F(INDIRECT_DESC);
	must(front_negotiate(&g->front, want | must_have,
		     VU_P(MQ) | VU_P(REPLY_ACK) | VU_P(CONFIG) | VU_P(CONFIGURE_MEM_SLOTS)),
		"features");
	if ((g->front.features & must_have) != must_have)
		die("the back-end does not offer what was asked for");
	g->front.acks = true;
	must(front_get_config(&g->front, 0, sizeof(config), config, &got), "configuration space");
	if (got != sizeof(config))
		die("a configuration space of %u bytes", got);
	memcpy(&capacity, config + BLK_CONFIG_CAPACITY, sizeof(capacity));
	g->blocks = capacity * BLK_SECTOR / o->bytes;
	if (g->blocks == 0)
		die("the disk is smaller than a request");
}

/* Bytes of a slot beside its data. */
static uint64_t shared_bytes(const struct guest *g)
{
	return round_up(LINE + sizeof(struct ring_desc) * (g->options.segments + 2), LINE);
}

/* Slots lie one behind the other in a region, their data behind them all, on pages. */
static void place_slots(struct guest *g, unsigned region, uint64_t at, unsigned first, unsigned n)
{
	uint64_t stride = shared_bytes(g), data = round_up(at + n * stride, PAGE);
	uint64_t data_stride = round_up(g->options.bytes, PAGE);
	const struct driver_memory *memory = &g->memory.driver;

	memset(g->memory.views[region].host, 0x5a, g->memory.views[region].size);
	for (unsigned i = 0; i < n; i++) {
		struct slot *s = &g->slots[first + i];

		s->shared_at = at + i * stride;
		s->table_at = s->shared_at + LINE;
		s->data_at = data + i * data_stride;
		s->shared = driver_at(memory, s->shared_at, LINE);
		s->table = driver_at(memory, s->table_at, stride - LINE);
		s->data = driver_at(memory, s->data_at, g->options.bytes);
		g->free[first + i] = s;
	}
}

/* The first region has the rings in front of its slots: rings_size bytes. */
static void share_memory(struct guest *g, uint64_t rings_size)
{
	const struct options *o = &g->options;
	unsigned each = (g->slot_count + o->regions - 1) / o->regions, placed = 0;
	uint64_t size = round_up(each * shared_bytes(g), PAGE) + each * round_up(o->bytes, PAGE);
	uint64_t at = GUEST_BASE;

	for (unsigned i = 0; i < o->regions; i++) {
		uint64_t skip = i == 0 ? rings_size : 0;
		unsigned n = g->slot_count - placed < each ? g->slot_count - placed : each;

		must(front_memory_add(&g->memory, at, at + USER_OFFSET, size + skip, 0), "memory");
		place_slots(g, i, at + skip, placed, n);
		placed += n;
		at += round_up(size + skip, REGION_GAP) + REGION_GAP;
	}
	if (o->regions <= 8) {
		must(front_share(&g->front, &g->memory), "SET_MEM_TABLE");
		return;
	}
	if ((g->front.protocol & VU_P(CONFIGURE_MEM_SLOTS)) == 0)
		die("the back-end takes no more than 8 regions");
	for (unsigned i = 0; i < o->regions; i++)
		must(front_add_mem_reg(
			     &g->front, &g->memory.regions[i].place, g->memory.regions[i].fd),
			"ADD_MEM_REG");
}

/* Requests of a queue: the depth is shared among all. */
static unsigned depth_of(const struct options *o, unsigned queue)
{
	return o->depth / o->queues + (queue < o->depth % o->queues);
}

static void open_queue(struct guest *g, unsigned i, const struct driver_layout *at, uint16_t size)
{
	const struct options *o = &g->options;
	struct driver_options options = { .size = size,
		.event_idx = (g->front.features & VU_F(EVENT_IDX)) != 0 };
	struct ring *r = &g->rings[i];

	must(front_queue_open(&g->queues[i], i, o->packed ? &driver_packed : &driver_split,
		     &g->memory, at, &options),
		"queue");
	*r = (struct ring){ .d = &g->queues[i].driver,
		.indirect = o->indirect,
		.segments = o->segments,
		.segment_bytes = o->bytes / o->segments,
		.table_bytes = (uint32_t)sizeof(struct ring_desc) * (o->segments + 2),
		.descs = (uint16_t)(o->indirect ? 1 : o->segments + 2) };
	g->format->open(r, depth_of(o, i));
	g->format->want_calls(r, false);
	must(front_queue_start(&g->front, &g->queues[i], 0), "start of a queue");
}

void guest_open(struct guest *g)
{
	const struct options *o = &g->options;
	struct driver_layout at[QUEUES_MAX];
	unsigned need = depth_of(o, 0) * (o->indirect ? 1 : o->segments + 2);
	uint64_t end = GUEST_BASE;
	uint16_t size = RING_MIN;

	while (size < need && size < DRIVER_SIZE_MAX)
		size = (uint16_t)(size * 2);
	if (size < need)
		die("no ring has room for %u descriptors", need);
	g->slot_count = o->depth > o->buffers ? o->depth : o->buffers;
	g->format = o->packed ? &ring_packed : &ring_split;
	must(front_connect(&g->front, o->socket, ANSWER_MS), o->socket);
	g->front.timeout_ms = ANSWER_MS;
	negotiate(g);
	for (unsigned i = 0; i < o->queues; i++)
		end = driver_place(o->packed ? &driver_packed : &driver_split, &at[i], size,
			round_up(end, PAGE));
	share_memory(g, round_up(end - GUEST_BASE, PAGE));
	for (unsigned i = 0; i < o->queues; i++)
		open_queue(g, i, &at[i], size);
}
