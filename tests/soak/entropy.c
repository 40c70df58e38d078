/* A guest of the entropy device: every buffer is filled, and not with what it had. */
#include <string.h>

#include "../front/front.h"
#include "soak.h"

enum { ANSWER_MS = 20000, BYTES = 1 << 20, DATA_AT = 0x10000, BUFFER = 4096, SIZE = 16 };

static struct {
	const struct seat *seat;
	struct soak_peace peace;
	struct front front;
	struct front_memory memory;
	struct front_queue queue;
} g;

static bool did(int result, const char *what)
{
	if (result != 0 && !soak_disturbed(&g.peace))
		soak_fail("%s: %s: %s", g.seat->name, what,
			result > 0 ? "refused" : strerror(-result));
	return result == 0;
}

static bool begin(void)
{
	const struct driver_format *format = soak_one_in(2) ? &driver_packed : &driver_split;
	struct driver_options options = { .size = SIZE };
	uint64_t features = ~VU_F(RING_PACKED), base = 1ull << 32;
	struct driver_layout at;

	if (format == &driver_packed)
		features = ~0ull;
	if (!did(front_connect(&g.front, g.seat->socket, ANSWER_MS), "connect"))
		return false;
	if (!did(front_negotiate(&g.front, features, ~0ull), "negotiation"))
		return false;
	g.front.acks = true;
	options.event_idx = (g.front.features & VU_F(EVENT_IDX)) != 0;
	driver_place(format, &at, SIZE, base);
	if (front_memory_add(&g.memory, base, base, BYTES, 0) < 0 ||
		front_queue_open(&g.queue, 0, format, &g.memory, &at, &options) < 0)
		soak_fail("%s: cannot begin", g.seat->name);
	return did(front_share(&g.front, &g.memory), "SET_MEM_TABLE") &&
	       did(front_queue_start(&g.front, &g.queue, driver_base(&g.queue.driver, 0)),
		       "a queue's start");
}

/* One buffer of some length; false: the connection is gone, as it may be. */
static bool draw(void)
{
	struct driver_buffer buffer = { (1ull << 32) + DATA_AT, 8 + soak_below(BUFFER - 8), true };
	struct driver_chain chain = { .buffers = &buffer, .count = 1 };
	unsigned char *bytes = driver_at(&g.memory.driver, buffer.guest, buffer.len);
	unsigned char zeroes[8] = { 0 };
	struct driver_used used;

	memset(bytes, 0, buffer.len);
	if (driver_add(&g.queue.driver, &chain) < 0)
		soak_fail("%s: no room for a buffer", g.seat->name);
	front_queue_offer(&g.queue);
	if (!did(front_queue_wait(&g.queue, &used, ANSWER_MS), "a used buffer"))
		return false;
	if (used.len == 0 || (used.len >= 8 && memcmp(bytes, zeroes, 8) == 0))
		soak_fail("%s: %u bytes of a buffer of %u", g.seat->name, used.len, buffer.len);
	atomic_fetch_add(&soak->requests, 1);
	return true;
}

void entropy_life(const struct seat *seat)
{
	bool good;

	g.seat = seat;
	g.peace = soak_peace(seat);
	g.queue = (struct front_queue){ .kick = -1, .call = -1, .err = -1 };
	good = begin();
	for (unsigned n = soak_below(300); n > 0 && good && !soak_wants_rest(); n--)
		good = draw();
	front_close(&g.front);
	front_queue_close(&g.queue);
	front_memory_clear(&g.memory);
}
