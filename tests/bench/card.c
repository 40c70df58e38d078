/* The quick driver of a device that moves packets (VIRTIO 2.7). */
#include "card.h"

#include <string.h>

#include "load.h"

enum { ANSWER_MS = 5000, PAGE = 4096, LINE = 64, DESC_BYTES = 16 };
enum { FLAGS_AT = 0, IDX_AT = 2, RING_AT = 4, NO_NOTIFY = 1, CALLS_OFF = 1 };
/* Without calls the event must stay behind us: once in a while is enough. */
enum { REARM = 16384 };
#define GUEST_BASE  0x40000000ull
#define USER_OFFSET 0x7f0000000000ull

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static void must(int result, const char *what)
{
	if (result != 0)
		die("%s: %s", what, result > 0 ? "refused" : strerror(-result));
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* ---- a ring ---- */

void lane_add(struct lane *l, uint32_t len)
{
	struct driver *d = &l->queue.driver;
	struct desc *table = (void *)d->desc;
	uint16_t *avail = (void *)(d->avail + RING_AT);
	uint16_t head = l->free[--l->free_count];

	table[head] = (struct desc){ l->at + (uint64_t)head * l->stride, len,
		l->from_device ? DRIVER_DESC_WRITE : 0, 0 };
	avail[l->added++ & (CARD_RING - 1)] = head;
}

void lane_publish(struct lane *l)
{
	struct driver *d = &l->queue.driver;
	uint16_t old = l->published, event;
	bool kick;

	if (l->added == old)
		return;
	l->published = l->added;
	driver_store16(d->avail + IDX_AT, l->added);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = driver_load16(d->used + RING_AT + 8 * (size_t)CARD_RING);
	if (d->event_idx)
		kick = (uint16_t)(l->added - event - 1) < (uint16_t)(l->added - old);
	else
		kick = (driver_load16(d->used + FLAGS_AT) & NO_NOTIFY) == 0;
	if (kick)
		front_kick(&l->queue);
}

unsigned char *lane_take(struct lane *l, uint32_t *len)
{
	const unsigned char *at = l->queue.driver.used + RING_AT;
	const uint32_t *element = (const void *)(at + 8 * (size_t)(l->taken++ & (CARD_RING - 1)));

	*len = element[1];
	l->free[l->free_count++] = (uint16_t)element[0];
	return lane_next(l);
}

void lane_want_calls(struct lane *l, bool on)
{
	struct driver *d = &l->queue.driver;
	unsigned char *event = d->avail + RING_AT + 2 * (size_t)CARD_RING;

	if (!d->event_idx)
		driver_store16(d->avail + FLAGS_AT, on ? 0 : CALLS_OFF);
	else if (on || (uint16_t)(l->taken - 1 - driver_load16(event)) > REARM)
		driver_store16(event, on ? l->taken : (uint16_t)(l->taken - 1));
}

/* ---- the card ---- */

static uint64_t place(struct card *c, struct driver_layout *at, const struct lane_kind *kinds)
{
	uint64_t end = GUEST_BASE;

	for (unsigned i = 0; i < c->count; i++)
		end = driver_place(&driver_split, &at[i], CARD_RING, round_up(end, PAGE));
	for (unsigned i = 0; i < c->count; i++) {
		struct lane *l = &c->lanes[i];

		l->from_device = kinds[i].from_device;
		l->bytes = kinds[i].bytes;
		l->stride = (uint32_t)round_up(l->bytes, LINE) + LINE;
		l->at = round_up(end, PAGE);
		end = l->at + (uint64_t)CARD_RING * l->stride;
	}
	return round_up(end - GUEST_BASE, PAGE);
}

static void start(struct card *c, unsigned i, const struct driver_layout *at)
{
	struct lane *l = &c->lanes[i];
	struct driver_options options = { .size = CARD_RING,
		.event_idx = (c->front.features & VU_F(EVENT_IDX)) != 0 };

	must(front_queue_open(&l->queue, i, &driver_split, &c->memory, at, &options), "queue");
	l->host = driver_at(&c->memory.driver, l->at, (uint64_t)CARD_RING * l->stride);
	for (unsigned k = 0; k < CARD_RING; k++)
		l->free[l->free_count++] = (uint16_t)(CARD_RING - 1 - k);
	lane_want_calls(l, false);
	must(front_queue_start(&c->front, &l->queue, 0), "start of a queue");
	while (l->from_device && l->bytes > 0 && l->free_count > 0)
		lane_add(l, l->bytes);
	lane_publish(l);
}

void card_open(struct card *c, const char *socket, uint64_t features, const struct lane_kind *kinds,
	unsigned count)
{
	struct driver_layout at[CARD_LANES_MAX];
	uint64_t size;

	c->count = count;
	must(front_connect(&c->front, socket, ANSWER_MS), socket);
	c->front.timeout_ms = ANSWER_MS;
	features |= VU_F(VERSION_1) | VU_F(PROTOCOL_FEATURES);
	must(front_negotiate(&c->front, features | VU_F(EVENT_IDX), VU_P(MQ) | VU_P(REPLY_ACK)),
		"features");
	if ((c->front.features & features) != features)
		die("%s offers 0x%llx, not 0x%llx", socket, (unsigned long long)c->front.features,
			(unsigned long long)features);
	c->front.acks = true;
	size = place(c, at, kinds);
	must(front_memory_add(&c->memory, GUEST_BASE, GUEST_BASE + USER_OFFSET, size, 0), "memory");
	memset(c->memory.views[0].host, 0, size);
	must(front_share(&c->front, &c->memory), "SET_MEM_TABLE");
	for (unsigned i = 0; i < count; i++)
		start(c, i, &at[i]);
}
