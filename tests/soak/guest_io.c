/* A guest's requests: of every kind and shape, to a disk of which it knows what it holds. */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "guest.h"

enum { HANG_MS = 20000, STATUS_AT = 64, TABLE_AT = 128, SHORT_MS = 2 };
/* A table has room for all pieces of a request; those of scattered data are more than vubox has
 * room for in an ordinary request. */
enum { PIECES_MAX = (PAGE_BYTES - TABLE_AT) / 16, SCATTERED = 256, STRIDE = 251 };

static uint64_t page_of(unsigned k)
{
	return guest.base + PAGES_AT + (uint64_t)k * PAGE_BYTES;
}

/* Where a piece of SCATTERED bytes of the data lies. (STRIDE is a prime number.) */
static uint64_t piece_at(const struct request *r, uint32_t i)
{
	uint32_t pieces = r->blk.len / SCATTERED;

	return r->blk.data + SCATTERED * (r->scattered ? i * STRIDE % pieces : i);
}

/* ---- making one ---- */

static uint32_t a_type(void)
{
	uint32_t choice = soak_below(100);

	if (choice < 45)
		return BLK_OUT;
	if (choice < 88)
		return BLK_IN;
	if (choice < 92)
		return BLK_FLUSH;
	if (choice < 96)
		return BLK_WRITE_ZEROES;
	return choice < 98 ? BLK_DISCARD : BLK_GET_ID;
}

/* A type that was not negotiated is another one. */
static uint32_t a_fitting_type(void)
{
	uint32_t type = a_type();
	uint64_t features = guest.front.features;

	if ((type == BLK_FLUSH && (features & 1ull << BLK_F_FLUSH) == 0) ||
		(type == BLK_DISCARD && (features & 1ull << BLK_F_DISCARD) == 0) ||
		(type == BLK_WRITE_ZEROES && (features & 1ull << BLK_F_WRITE_ZEROES) == 0))
		return BLK_IN;
	return type;
}

static bool has_sectors(uint32_t type)
{
	return type != BLK_FLUSH && type != BLK_GET_ID;
}

/* Sectors that no other request has: false if there are none right now. */
static bool take_sectors(struct request *r, uint32_t count_max)
{
	r->count = 1 + soak_below(soak_one_in(4) ? count_max : 8);
	for (unsigned tries = 0; tries < 8; tries++) {
		r->sector = soak_below(guest.capacity - r->count + 1);
		if (disk_take(r->sector, r->count))
			return true;
	}
	return false;
}

/* Fills in what the request is; true if it can be sent. */
static bool choose(struct request *r, unsigned k)
{
	uint32_t type = a_fitting_type();
	uint64_t data;

	*r = (struct request){ .hot = soak_one_in(2) ? memory_take_hot() : 0 };
	data = r->hot ? memory_hot(r->hot) : guest.base + DATA_AT + (uint64_t)k * DATA_BYTES;
	if (has_sectors(type) &&
		!take_sectors(r, (r->hot ? HOT_DATA_BYTES : DATA_BYTES) / SECTOR)) {
		if (r->hot)
			guest.hot_taken[r->hot - 1] = false;
		return false;
	}
	r->blk = (struct blk_request){ .type = type,
		.sector = r->sector,
		.header = page_of(k),
		.data = data,
		.status = page_of(k) + STATUS_AT };
	if (type == BLK_IN || type == BLK_OUT) {
		r->blk.len = r->count * SECTOR;
		r->scattered = r->count <= (PIECES_MAX - 2) / 2 && soak_one_in(8);
	} else if (has_sectors(type))
		r->blk.len = sizeof(struct blk_range);
	else if (type == BLK_GET_ID)
		r->blk.len = BLK_ID_BYTES;
	return true;
}

static void fill_data(struct request *r)
{
	unsigned char bytes[SECTOR];
	uint32_t half = SCATTERED;
	struct blk_range range = { r->sector, r->count, 0 };

	if (r->blk.type == BLK_OUT) {
		r->generation = disk_next_generation();
		for (uint32_t i = 0; i < r->count; i++) {
			disk_fill(r->sector + i, r->generation, bytes);
			driver_write(&guest.memory.driver, piece_at(r, 2 * i), bytes, half);
			driver_write(
				&guest.memory.driver, piece_at(r, 2 * i + 1), bytes + half, half);
		}
	} else if (has_sectors(r->blk.type) && r->blk.type != BLK_IN) {
		if (r->blk.type == BLK_WRITE_ZEROES && soak_one_in(2))
			range.flags = BLK_UNMAP;
		range.sector = r->sector;
		driver_write(&guest.memory.driver, r->blk.data, &range, sizeof(range));
		r->blk.sector = 0;
	}
}

static void free_request(struct request *r)
{
	if (has_sectors(r->blk.type))
		disk_free(r->sector, r->count);
	if (r->hot)
		guest.hot_taken[r->hot - 1] = false;
	r->out = false;
}

/* Cuts it up somehow: how many pieces there are. */
static unsigned cut(const struct request *r, struct driver_buffer pieces[PIECES_MAX])
{
	struct driver_buffer whole[3];
	uint32_t lens[3] = { 1 + soak_below(64), 1 + soak_below(5000), 1u << soak_below(17) };
	unsigned count = blk_build(&guest.memory.driver, &r->blk, whole), n;

	if (r->scattered) {
		n = r->blk.len / SCATTERED;
		pieces[0] = whole[0];
		for (unsigned i = 0; i < n; i++)
			pieces[1 + i] = (struct driver_buffer){ piece_at(r, i), SCATTERED,
				whole[1].writable };
		pieces[1 + n] = whole[2];
		return n + 2;
	}
	n = soak_one_in(3) ? blk_cut(whole, count, lens, 3, pieces, PIECES_MAX) : 0;
	if (n == 0)
		memcpy(pieces, whole, sizeof(whole));
	return n > 0 ? n : count;
}

/* Puts it into the ring: false if that has no room. */
static bool add(struct request *r, unsigned k, struct front_queue *q)
{
	struct driver_buffer pieces[PIECES_MAX];
	struct driver_chain chain = { .buffers = pieces, .count = cut(r, pieces), .owner = r };

	if ((guest.front.features & VU_F(INDIRECT_DESC)) != 0 && soak_one_in(2))
		chain.table = page_of(k) + TABLE_AT;
	return driver_add(&q->driver, &chain) >= 0;
}

static void submit_one(unsigned queue)
{
	unsigned k = soak_below(REQUESTS_MAX);
	struct request *r = &guest.requests[k];

	if (r->out || !choose(r, k))
		return;
	fill_data(r);
	if (!add(r, k, &guest.queues[queue])) {
		free_request(r);
		return;
	}
	r->out = true;
	r->queue = queue;
	guest.out[queue]++;
	if (r->blk.type == BLK_OUT || r->blk.type == BLK_WRITE_ZEROES)
		disk_writing(r->sector, r->count, r->generation);
	if (r->blk.type == BLK_DISCARD)
		disk_unknown(r->sector, r->count);
}

void io_submit(unsigned queue, unsigned count)
{
	while (count-- > 0)
		submit_one(queue);
	front_queue_offer(&guest.queues[queue]);
}

/* ---- what has come back ---- */

static void check_read(const struct request *r)
{
	static unsigned char bytes[DATA_BYTES];

	for (uint32_t i = 0; i < r->blk.len / SCATTERED; i++)
		driver_read(&guest.memory.driver, piece_at(r, i), bytes + i * SCATTERED, SCATTERED);
	disk_check(r->sector, r->count, bytes, guest.seat->name);
}

static void finish(struct request *r, uint32_t len)
{
	uint8_t status = blk_status(&guest.memory.driver, &r->blk);
	uint32_t expected = 1 + (blk_reads(r->blk.type) ? r->blk.len : 0);

	if (!r->out)
		soak_fail("%s: a request came back twice", guest.seat->name);
	if (status != BLK_OK)
		soak_fail("%s: status %u of type %u, sectors %u to %u", guest.seat->name, status,
			r->blk.type, r->sector, r->sector + r->count);
	if (len != expected && r->blk.type != BLK_GET_ID)
		soak_fail("%s: %u bytes written by type %u, not %u", guest.seat->name, len,
			r->blk.type, expected);
	if (r->blk.type == BLK_IN)
		check_read(r);
	if (r->blk.type == BLK_OUT || r->blk.type == BLK_WRITE_ZEROES)
		disk_written(r->sector, r->count, r->generation);
	guest.out[r->queue]--;
	free_request(r);
	atomic_fetch_add(&soak->requests, 1);
}

static unsigned reap(unsigned queue)
{
	struct front_queue *q = &guest.queues[queue];
	struct driver_used used;
	unsigned n = 0;
	int found;

	while ((found = driver_poll(&q->driver, &used)) > 0) {
		finish(used.owner, used.len);
		n++;
	}
	if (found < 0)
		soak_fail("%s: the %s ring of queue %u: %s", guest.seat->name,
			q->driver.format->name, queue, q->driver.wrong);
	return n;
}

void io_reap(unsigned queue)
{
	(void)reap(queue);
}

/* ---- waiting ---- */

/* The call, or the end of the connection. False: neither came. */
static bool wait_call(const struct front_queue *q, int ms)
{
	struct pollfd p[2] = { { q->call, POLLIN, 0 }, { guest.front.fd, POLLRDHUP, 0 } };

	if (poll(p, 2, ms) <= 0)
		return false;
	if (p[1].revents != 0)
		guest.gone = true;
	(void)front_signals(q->call);
	return true;
}

/* It sleeps until it is called, as most guests do: vubox must call. */
static void wait_by_call(unsigned queue)
{
	struct front_queue *q = &guest.queues[queue];
	bool split = q->driver.format == &driver_split;
	uint16_t after = split && q->driver.event_idx ? 1 + soak_below(guest.out[queue]) : 1;

	driver_want_calls(&q->driver, true, after);
	if (reap(queue) == 0 && !wait_call(q, HANG_MS) && !soak_disturbed(&guest.peace)) {
		if (reap(queue) > 0)
			soak_fail("%s: a call of queue %u (%s) is missing", guest.seat->name, queue,
				q->driver.format->name);
		soak_fail("%s: %u requests of queue %u (%s) hang", guest.seat->name,
			guest.out[queue], queue, q->driver.format->name);
	}
	(void)reap(queue);
	if (soak_one_in(2))
		driver_want_calls(&q->driver, false, 1);
}

/* It looks again and again. */
static void wait_by_looking(unsigned queue)
{
	uint64_t end_us = front_now_us() + HANG_MS * 1000ull;

	while (reap(queue) == 0 && !guest.gone) {
		if (front_now_us() > end_us && !soak_disturbed(&guest.peace))
			soak_fail("%s: %u requests of queue %u (%s) hang", guest.seat->name,
				guest.out[queue], queue, guest.queues[queue].driver.format->name);
		(void)wait_call(&guest.queues[queue], SHORT_MS);
	}
}

void io_wait(unsigned queue)
{
	if (guest.out[queue] == 0 || guest.gone)
		return;
	if (soak_one_in(2))
		wait_by_call(queue);
	else
		wait_by_looking(queue);
}

void io_drain(void)
{
	for (unsigned i = 0; i < guest.queue_count; i++)
		while (guest.out[i] > 0 && !guest.gone)
			io_wait(i);
}

void io_lose(bool torn)
{
	for (unsigned k = 0; k < REQUESTS_MAX; k++) {
		struct request *r = &guest.requests[k];

		if (!r->out)
			continue;
		if (torn && (r->blk.type == BLK_OUT || r->blk.type == BLK_WRITE_ZEROES))
			disk_unknown(r->sector, r->count);
		free_request(r);
	}
	memset(guest.out, 0, sizeof(guest.out));
}

void io_verify(void)
{
	struct request *r = &guest.requests[0];
	uint32_t count = DATA_BYTES / SECTOR;

	for (uint32_t sector = 0; sector < guest.capacity && !guest.gone; sector += count) {
		struct front_queue *q = &guest.queues[0];

		if (count > guest.capacity - sector)
			count = guest.capacity - sector;
		*r = (struct request){ .out = true, .sector = sector, .count = count };
		r->blk = (struct blk_request){ .type = BLK_IN,
			.sector = sector,
			.header = page_of(0),
			.data = guest.base + DATA_AT,
			.status = page_of(0) + STATUS_AT,
			.len = count * SECTOR };
		(void)disk_take(sector, count);
		while (!add(r, 0, q)) /* in other pieces, until the ring has room for them */
			;
		guest.out[0]++;
		front_queue_offer(q);
		io_drain();
	}
}
