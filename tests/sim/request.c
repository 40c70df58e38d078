/* What the good driver asks for, and what must come of it: VIRTIO 5.2.6 and 5.4.6. */
#include "sim.h"

#include <string.h>

#include "spec/virtio_blk.h"

enum { RNG_MAX = 4200, TYPE_RNG = 100, TYPE_UNKNOWN = 77, DATA_FILL = 0xa5 };

static bool seg_add(struct sim_queue *q, struct sim_request *r, uint32_t len, bool writable)
{
	struct seg *s = &r->segs[r->seg_count];

	if (r->seg_count == SEGS_MAX)
		return false;
	*s = (struct seg){ .len = len, .writable = writable };
	if (len > 0) {
		s->gpa = memory_alloc(&q->front->memory, len, false);
		if (s->gpa == 0)
			return false;
	}
	r->seg_count++;
	return true;
}

/* Cuts `len` bytes into segments: at the places where Linux does, or anywhere. */
static bool segs_add(struct sim_queue *q, struct sim_request *r, uint32_t len, uint32_t natural,
	bool writable, bool anywhere)
{
	uint32_t left = len;

	while (left > 0) {
		uint32_t part = left;

		if (anywhere)
			part = 1 + fake_random(fake_random(4) == 0 && left > 16 ? 16 : left);
		else if (natural > 0 && natural < left)
			part = natural;
		natural = 0;
		if (anywhere && fake_random(6) == 0 && !seg_add(q, r, 0, writable))
			return false;
		if (!seg_add(q, r, part, writable))
			return false;
		left -= part;
	}
	return true;
}

static bool layout(struct sim_queue *q, struct sim_request *r, uint32_t readable, uint32_t writable)
{
	bool anywhere = fake_random(2) == 0;
	uint32_t data = writable > 1 ? writable - 1 : 0;

	r->readable = readable;
	r->writable = writable;
	if (!segs_add(q, r, readable, sizeof(struct virtio_blk_req), false, anywhere) ||
		!segs_add(q, r, writable, data, true, anywhere))
		return false;
	for (unsigned i = 0; i < r->seg_count; i++) {
		uint8_t fill[BYTES_MAX];

		memset(fill, DATA_FILL, r->segs[i].len);
		if (r->segs[i].writable)
			memory_put(&q->front->memory, r->segs[i].gpa, fill, r->segs[i].len);
	}
	return true;
}

/* The writable bytes [off, off + len), over all segments. */
static void get_written(const struct sim_request *r, uint32_t off, uint8_t *bytes, uint32_t len)
{
	for (unsigned i = 0; i < r->seg_count && len > 0; i++) {
		const struct seg *s = &r->segs[i];
		uint32_t part;

		if (!s->writable)
			continue;
		if (off >= s->len) {
			off -= s->len;
			continue;
		}
		part = s->len - off < len ? s->len - off : len;
		if (s->nowhere)
			memset(bytes, DATA_FILL, part);
		else
			memory_get(&r->queue->front->memory, s->gpa + off, bytes, part);
		bytes += part;
		len -= part;
		off = 0;
	}
	if (len > 0)
		fake_die("sim: a request with less to write to than was thought");
}

/* ---- making ---- */

static bool lock(struct sim_request *r, bool write)
{
	if (!disk_lock(&r->queue->front->disk, r->sector, r->sectors, write))
		return false;
	r->locked = true;
	r->write_lock = write;
	return true;
}

static void pick_range(struct sim_request *r, uint32_t max)
{
	uint32_t all = r->queue->front->disk.sectors;

	r->sectors = fake_random(8) == 0 ? 0 : 1 + fake_random(max);
	r->sector = fake_random(all - r->sectors + 1);
}

/* A sector so that the range is not on the disk. */
static uint64_t off_disk(struct sim_request *r)
{
	const struct front *f = r->queue->front;
	uint32_t all = f->growing ? SECTORS_MAX : f->disk.sectors;

	switch (fake_random(6)) {
	case 0: return all;
	case 1: return all - r->sectors + 1;
	case 2: return (1ull << 23) + r->sector; /* * 512 wraps in 32 bits */
	case 3: return (1ull << 55) + r->sector; /* … in 64 bits */
	case 4: return UINT64_MAX - fake_random(3);
	default: return (1ull << 32) + r->sector;
	}
}

/* IN or OUT, all right or wrong in one way. */
static bool make_transfer(struct sim_request *r, uint8_t *bytes, bool out)
{
	struct front *f = r->queue->front;
	uint32_t len;

	r->type = out ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	pick_range(r, 8);
	len = r->sectors * SECTOR;
	r->writes = out && !f->read_only;
	if (r->sectors > 0 && fake_random(8) == 0) {
		r->expect = VIRTIO_BLK_S_IOERR;
		r->writes = false;
		if (fake_random(3) == 0)
			len -= 1 + fake_random(SECTOR - 1);
		else
			r->sector = off_disk(r);
	} else if (out && f->read_only) {
		r->expect = VIRTIO_BLK_S_IOERR;
	}
	if (!lock(r, r->writes))
		return false;
	r->id = f->disk.next_id++;
	for (uint32_t i = 0; out && i < r->sectors; i++)
		disk_fill(bytes + 16 + i * SECTOR, r->id, r->sector + i);
	if (!layout(r->queue, r, 16 + (out ? len : 0), 1 + (out ? 0 : len)))
		return false;
	/* An address that is nowhere fails the request. The last byte is the status: not that one.
	 */
	if (len > 0 && r->seg_count > 2 && !r->segs[0].writable && r->segs[0].len == 16 &&
		r->segs[1].len > 1 && r->segs[1].writable == !out && fake_random(8) == 0) {
		memory_free(&f->memory, r->segs[1].gpa, r->segs[1].len);
		r->segs[1].nowhere = true;
		r->expect = VIRTIO_BLK_S_IOERR;
		r->writes = false;
	}
	return true;
}

/* DISCARD or WRITE_ZEROES of up to three ranges that follow each other. */
static bool make_ranges(struct sim_request *r, uint8_t *bytes, bool zero)
{
	struct front *f = r->queue->front;
	uint32_t n = 1 + fake_random(3), left,
		 bad = fake_random(6) == 0 ? fake_random(n) : UINT32_MAX;
	uint64_t at;

	r->type = zero ? VIRTIO_BLK_T_WRITE_ZEROES : VIRTIO_BLK_T_DISCARD;
	pick_range(r, 24);
	r->writes = !f->read_only && bad == UINT32_MAX;
	r->expect = f->read_only ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
	at = r->sector;
	left = r->sectors;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t count = i + 1 == n ? left : fake_random(left + 1);
		struct virtio_blk_discard_write_zeroes range = { le64_put(at), le32_put(count),
			le32_put(zero && fake_random(2) == 0) };

		at += count;
		left -= count;
		if (i == bad && fake_random(2) == 0) {
			range.flags = le32_put(zero ? 2 : 1);
			if (!f->read_only)
				r->expect = VIRTIO_BLK_S_UNSUPP;
		} else if (i == bad) {
			range.sector = le64_put(off_disk(r));
			range.num_sectors = le32_put(r->sectors + 2);
			r->expect = VIRTIO_BLK_S_IOERR;
		}
		memcpy(bytes + 16 + i * 16, &range, 16);
	}
	r->id = zero ? ID_ZERO : ID_ANY;
	return lock(r, r->writes) && layout(r->queue, r, 16 + n * 16, 1);
}

static bool make_other(struct sim_request *r, uint32_t type, uint32_t writable)
{
	r->type = type;
	if (type == TYPE_UNKNOWN)
		r->expect = VIRTIO_BLK_S_UNSUPP;
	return layout(r->queue, r, 16, writable);
}

static bool make_blk(struct sim_request *r, uint8_t *bytes)
{
	const struct front *f = r->queue->front;
	uint32_t kind = fake_random(20);

	if (kind < 7)
		return make_transfer(r, bytes, false);
	if (kind < 13)
		return make_transfer(r, bytes, true);
	if (kind < 15)
		return make_ranges(r, bytes, kind == 13);
	if (kind < 17)
		return make_other(r, VIRTIO_BLK_T_GET_ID, 1 + fake_random(30));
	/* A driver that has switched the cache off has no reason to flush. */
	if (kind < 19 && (f->writeback || (f->features & VIRTIO_BLK_F_CONFIG_WCE) == 0))
		return make_other(r, VIRTIO_BLK_T_FLUSH, 1);
	return make_other(r, TYPE_UNKNOWN, 1 + fake_random(40));
}

bool request_make(struct sim_queue *q, struct sim_request *r, uint8_t *bytes)
{
	struct front *f = q->front;
	struct virtio_blk_req header;

	r->expect = VIRTIO_BLK_S_OK;
	r->began = ++f->disk.clock;
	r->stable = f->blk && front_writes_through(f);
	r->wce_age = f->wce_age;
	if (!f->blk) {
		r->type = TYPE_RNG;
		return layout(q, r, 0, 1 + fake_random(fake_random(4) == 0 ? RNG_MAX : 100));
	}
	if (!make_blk(r, bytes))
		return false;
	header = (struct virtio_blk_req){ le32_put(r->type), le32_put(0), le64_put(r->sector) };
	memcpy(bytes, &header, sizeof(header));
	return true;
}

/* ---- checking ---- */

static void check_fill(const struct sim_request *r, uint32_t from, uint32_t to)
{
	uint8_t bytes[BYTES_MAX];

	get_written(r, from, bytes, to - from);
	for (uint32_t i = 0; i < to - from; i++)
		if (bytes[i] != DATA_FILL)
			fake_die("a request of type %u: byte %u of its buffer was written to",
				r->type, from + i);
}

static void check_rng(const struct sim_request *r, uint32_t written)
{
	uint8_t bytes[BYTES_MAX];

	if (written == 0 || written > r->writable)
		fake_die("entropy: %u bytes of %u", written, r->writable);
	get_written(r, 0, bytes, written);
	for (uint32_t i = 0; i < written; i++)
		if (bytes[i] == 0) /* the fake never makes that */
			fake_die("entropy: byte %u of %u was given out before", i, written);
	if (!w.has_died) /* an earlier life may have written more, and not said so */
		check_fill(r, written, r->writable);
}

static void check_id(const struct front *f, const struct sim_request *r)
{
	uint32_t len = r->writable - 1 < 20 ? r->writable - 1 : 20;
	char want[20] = { 0 };
	uint8_t bytes[64];

	memcpy(want, f->serial, strlen(f->serial));
	get_written(r, 0, bytes, len);
	if (memcmp(bytes, want, len) != 0)
		fake_die("a wrong serial number");
	check_fill(r, len, r->writable - 1);
}

static void check_done(struct sim_request *r)
{
	struct front *f = r->queue->front;
	uint8_t bytes[BYTES_MAX];

	if (r->writes)
		disk_write_done(
			&f->disk, r->sector, r->sectors, r->stable && r->wce_age == f->wce_age);
	if (r->type == VIRTIO_BLK_T_IN) {
		get_written(r, 0, bytes, r->sectors * SECTOR);
		disk_check_read(&f->disk, r->sector, r->sectors, bytes);
	} else if (r->type == VIRTIO_BLK_T_FLUSH) {
		disk_flushed(&f->disk, r->began);
	} else if (r->type == VIRTIO_BLK_T_GET_ID) {
		check_id(f, r);
	} else {
		check_fill(r, 0, r->writable - 1);
	}
}

void request_check(struct sim_request *r, uint32_t written)
{
	uint32_t data = r->type == VIRTIO_BLK_T_IN ? r->sectors * SECTOR
			: r->type == VIRTIO_BLK_T_GET_ID
				? (r->writable - 1 < 20 ? r->writable - 1 : 20)
				: 0;
	uint8_t status;

	if (r->type == TYPE_RNG) {
		check_rng(r, written);
		return;
	}
	get_written(r, r->writable - 1, &status, 1);
	if (status != r->expect && !(w.io_fails && status == VIRTIO_BLK_S_IOERR))
		fake_die("a request of type %u (sector %llu + %u): status %u, not %u", r->type,
			(unsigned long long)r->sector, r->sectors, status, r->expect);
	if (written != 1 + (status == VIRTIO_BLK_S_OK ? data : 0))
		fake_die("a request of type %u: %u bytes written, it says", r->type, written);
	if (status == VIRTIO_BLK_S_OK)
		check_done(r);
	else if (status == r->expect && !w.io_fails)
		check_fill(r, 0, r->writable - 1);
}

void request_release(struct sim_request *r)
{
	if (r->locked)
		disk_unlock(&r->queue->front->disk, r->sector, r->sectors, r->write_lock);
	r->locked = false;
}

bool request_begins(const struct sim_request *r, uint64_t gpa)
{
	for (unsigned i = 0; i < r->seg_count && !r->segs[i].writable; i++)
		if (r->segs[i].len > 0)
			return r->segs[i].gpa == gpa;
	return false;
}
