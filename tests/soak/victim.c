/*
 * A guest that does all the wrong things to a disk that nobody else relies on. What comes of it is
 * judged by the others, who must not notice; by the keeper, who counts what is left; and by the
 * next good guest in this place.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../front/example.h"
#include "soak.h"

enum { ANSWER_MS = 20000, QUICK_MS = 30, BYTES = 1 << 20, SIZE = RIG_RING_SIZE };

static struct {
	const struct seat *seat;
	struct soak_peace peace;
	struct rig rig; /* for the example messages */
	bool open;
} g;

static bool begin(unsigned queues, bool packed)
{
	struct driver_options options = { .size = SIZE, .event_idx = true };
	const struct driver_format *format = packed ? &driver_packed : &driver_split;
	struct rig *r = &g.rig;

	*r = (struct rig){ .front.fd = -1 };
	if (front_connect(&r->front, g.seat->socket, ANSWER_MS) < 0 ||
		front_negotiate(&r->front, packed ? ~0ull : ~VU_F(RING_PACKED), ~0ull) < 0)
		return false;
	r->front.acks = true;
	if (front_memory_add(&r->memory, RIG_GUEST, RIG_USER, BYTES, 0) < 0 ||
		front_share(&r->front, &r->memory) != 0)
		return false;
	while (r->queue_count < queues) {
		unsigned i = r->queue_count++;
		struct front_queue *q = &r->queues[i];
		struct driver_layout at;

		driver_place(format, &at, SIZE, RIG_GUEST + i * 0x8000);
		if (front_queue_open(q, i, format, &r->memory, &at, &options) < 0)
			soak_fail("%s: cannot open a queue", g.seat->name);
		if (front_queue_start(&r->front, q, driver_base(&q->driver, 0)) != 0)
			return false;
	}
	return true;
}

static void end(void)
{
	front_close(&g.rig.front);
	while (g.rig.queue_count > 0)
		front_queue_close(&g.rig.queues[--g.rig.queue_count]);
	front_memory_clear(&g.rig.memory);
}

/* ---- messages ---- */

static void spoil(unsigned char *payload, uint32_t size)
{
	static const uint64_t values[] = { 0, 1, 63, 64, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000,
		0x7fffffff, 0x80000000, UINT32_MAX, 1ull << 40, RIG_GUEST, RIG_USER,
		UINT64_MAX - 4095, INT64_MAX, UINT64_MAX };
	uint64_t value = values[soak_below(sizeof(values) / sizeof(values[0]))];
	uint32_t width = 1u << soak_below(4);

	if (size >= width)
		memcpy(payload + soak_below(size / width) * width, &value, width);
}

/* Any message, good or not: false if the connection is gone. */
static bool send_something(void)
{
	unsigned char payload[FRONT_PAYLOAD_MAX];
	struct example e = example_of(soak_below(VU_MESSAGE_END + 3));
	unsigned count = soak_one_in(16) ? soak_below(FRONT_FDS_MAX) : e.wants;
	uint32_t size = soak_one_in(16) ? soak_below(FRONT_PAYLOAD_MAX) : e.size;
	int fds[FRONT_FDS_MAX], result;

	example_fill(&g.rig, e.request, payload);
	while (soak_one_in(2))
		spoil(payload, size);
	example_open_fds(e.request, fds, count);
	result = front_send(&g.rig.front, e.request, soak_one_in(4) ? 0 : VU_NEED_REPLY, payload,
		size, fds, count);
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
	return result == 0;
}

static bool send_bytes(void)
{
	unsigned char bytes[64];
	uint32_t len = 1 + soak_below(sizeof(bytes));

	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)(soak_one_in(3) ? soak_random() : soak_below(4));
	return front_send_bytes(&g.rig.front, bytes, len, NULL, 0) == 0;
}

static void rude_messages(void)
{
	bool good = soak_one_in(8) ? front_connect(&g.rig.front, g.seat->socket, ANSWER_MS) == 0
				   : begin(soak_below(3), soak_one_in(2));

	for (unsigned n = 1 + soak_below(60); n > 0 && good; n--) {
		char drop[4096];

		good = soak_one_in(50) ? send_bytes() : send_something();
		while (soak_one_in(2) && recv(g.rig.front.fd, drop, sizeof(drop), MSG_DONTWAIT) > 0)
			;
	}
	usleep(soak_below(3000));
}

/* ---- rings ---- */

/* Anything over the rings, and kicks, while vubox reads them. */
static void rude_rings(void)
{
	static const uint32_t ats[] = { 0, 0x800, 0x1000, 0x8000, 0x8800 };
	unsigned char *mem;

	if (!begin(2, soak_one_in(2)))
		return;
	mem = g.rig.memory.regions[0].host;
	for (unsigned n = soak_below(20000); n > 0; n--) {
		uint32_t at = ats[soak_below(5)] + soak_below(64);
		uint64_t value = soak_random();
		uint32_t width = 1u << soak_below(4);

		if (soak_one_in(4))
			value = RIG_GUEST + soak_below(BYTES);
		else if (soak_one_in(2))
			value = soak_below(300);
		memcpy(mem + at / width * width, &value, width);
		if (soak_one_in(16))
			front_kick(&g.rig.queues[soak_below(2)]);
	}
	usleep(soak_below(5000));
}

/* Descriptors with a bit of sense: chains of requests, anywhere and of any length. */
static void rude_chains(void)
{
	if (!begin(2, soak_one_in(2)))
		return;
	for (unsigned n = soak_below(200); n > 0; n--) {
		struct front_queue *q = &g.rig.queues[soak_below(2)];
		struct driver_desc descs[8];
		unsigned count = 1 + soak_below(8);
		uint32_t header[4] = { soak_below(16), 0, soak_below(20000), 0 };

		memcpy(g.rig.memory.regions[0].host + 0x20000 + 16 * (n % 64), header, 16);
		for (unsigned i = 0; i < count; i++)
			descs[i] = (struct driver_desc){
				.addr = soak_one_in(8)
						? soak_random()
						: RIG_GUEST + 0x20000 + 16 * soak_below(4096),
				.len = soak_one_in(8) ? (uint32_t)soak_random() : soak_below(2048),
				.flags = (uint16_t)((i + 1 < count ? DRIVER_DESC_NEXT : 0) |
						    (i > 0 ? DRIVER_DESC_WRITE : 0) |
						    (soak_one_in(12) ? soak_below(8) : 0)),
				.next = (uint16_t)(i + 1),
				.id = (uint16_t)soak_random()
			};
		driver_offer_raw(&q->driver, descs, count);
		front_kick(q);
		if (soak_one_in(8))
			usleep(soak_below(1000));
	}
}

/* ---- memory, descriptors, connections ---- */

/* Memory with holes, or less of it, or sealed, while it is used. */
static void rude_memory(void)
{
	int fd;

	if (!begin(1, soak_one_in(2)))
		return;
	fd = g.rig.memory.regions[0].fd;
	front_kick(&g.rig.queues[0]);
	switch (soak_below(3)) {
	case 0: (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BYTES); break;
	case 1: (void)ftruncate(fd, soak_below(BYTES / 4096) * 4096); break;
	default: (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW); break;
	}
	front_kick(&g.rig.queues[0]);
	usleep(soak_below(5000));
}

/* A call that is a full pipe, a kick that is a file or always readable, an err of nothing. */
static void rude_descriptors(void)
{
	char bytes[4096] = { 0 };
	int pipes[2], file;

	if (!begin(1, soak_one_in(2)) || pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return;
	file = memfd_create("file", MFD_CLOEXEC);
	while (write(pipes[1], bytes, sizeof(bytes)) > 0)
		;
	(void)fcntl(pipes[1], F_SETFL, soak_one_in(2) ? 0 : O_NONBLOCK);
	(void)front_set_vring_call(&g.rig.front, 0, pipes[1]);
	(void)front_set_vring_kick(&g.rig.front, 0, soak_one_in(2) ? file : pipes[0]);
	(void)front_set_vring_err(&g.rig.front, 0, soak_one_in(2) ? file : pipes[1]);
	close(pipes[0]);
	close(pipes[1]);
	close(file);
	usleep(soak_below(5000));
}

/* Many at once; those who are not served hang up, in the middle of a message perhaps. */
static void rude_crowd(void)
{
	struct front fronts[40];
	unsigned n = 0;

	while (n < 40 && front_connect(&fronts[n], g.seat->socket, QUICK_MS) == 0) {
		if (soak_one_in(2))
			(void)front_send_bytes(&fronts[n], "\1\0\0\0\1", 5, NULL, 0);
		n++;
	}
	usleep(soak_below(3000));
	while (n > 0)
		front_close(&fronts[--n]);
}

/* ---- and then ---- */

/* The next one is served as if nothing had been. */
static void expect_service(void)
{
	unsigned char id[BLK_ID_BYTES];
	struct driver_buffer buffers[3];
	struct blk_request get_id;
	struct driver_chain chain = { .buffers = buffers };
	struct driver_used used;
	bool good;

	g.peace = soak_peace(g.seat);
	good = begin(1, soak_one_in(2));
	get_id = (struct blk_request){ BLK_GET_ID, 0, RIG_GUEST + 0x20000, RIG_GUEST + 0x21000,
		RIG_GUEST + 0x22000, sizeof(id) };
	if (good) {
		chain.count = blk_build(&g.rig.memory.driver, &get_id, buffers);
		(void)driver_add(&g.rig.queues[0].driver, &chain);
		front_queue_offer(&g.rig.queues[0]);
		good = front_queue_wait(&g.rig.queues[0], &used, ANSWER_MS) == 0 &&
		       blk_status(&g.rig.memory.driver, &get_id) == BLK_OK;
	}
	if (!good && !soak_disturbed(&g.peace))
		soak_fail("%s: a good guest is not served after a bad one", g.seat->name);
	end();
}

void victim_life(const struct seat *seat)
{
	static void (*const ways[])(void) = { rude_messages, rude_messages, rude_rings, rude_chains,
		rude_memory, rude_descriptors, rude_crowd };

	g.seat = seat;
	g.rig = (struct rig){ .front.fd = -1 };
	ways[soak_below(sizeof(ways) / sizeof(ways[0]))]();
	end();
	atomic_fetch_add(&soak->rude, 1);
	if (soak_one_in(4))
		expect_service();
}
