/* What most cases begin with. */
#include "rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_AT = 0, STATUS_AT = 64, TABLE_AT = 0x1000, DATA_AT = 0x6000 };

struct blk_request rig_request(
	const struct rig *r, unsigned slot, uint32_t type, uint64_t sector, uint32_t len)
{
	uint64_t at = r->slots + (uint64_t)slot * RIG_SLOT_BYTES;

	return (struct blk_request){ type, sector, at + HEADER_AT, at + DATA_AT, at + STATUS_AT,
		len };
}

uint64_t rig_table(const struct rig *r, unsigned slot)
{
	return r->slots + (uint64_t)slot * RIG_SLOT_BYTES + TABLE_AT;
}

/* ---- set-up ---- */

void rig_serve_again(struct rig *r)
{
	for (unsigned i = 0; i < RIG_QUEUES_MAX; i++)
		r->queues[i].driver.scarred = true;
	vubox_start(&r->vubox, "blk", r->options);
}

void rig_serve(struct rig *r, uint64_t image_bytes, const char *const *options)
{
	static char blk_file[128];
	unsigned n = 0;

	if (!r->image)
		r->image = harness_file("disk", image_bytes);
	snprintf(blk_file, sizeof(blk_file), "--blk-file=%s", r->image);
	r->options[n++] = blk_file;
	for (; options && *options; options++)
		r->options[n++] = *options;
	r->front.fd = -1;
	rig_serve_again(r);
}

void rig_connect(struct rig *r)
{
	int error;

	UNTIL((error = front_connect(&r->front, r->vubox.socket, 100)) == 0 ||
		(r->vubox.pid > 0 && !vubox_lives(&r->vubox)));
	/* An engine that this machine has not is no failure of ours; it is said, and not tested. */
	if (error != 0 && vubox_said(&r->vubox, "cannot use the engine that --io names"))
		harness_skip("this machine has no such I/O engine");
	CHECK_EQ(error, 0);
	r->front.timeout_ms = harness_wait_ms();
}

const struct driver_format *rig_format(void)
{
	return harness_packed() ? &driver_packed : &driver_split;
}

void rig_negotiate(struct rig *r, uint64_t features, uint64_t protocol)
{
	if (harness_packed())
		features |= VU_F(RING_PACKED);
	else
		features &= ~VU_F(RING_PACKED);
	rig_connect(r);
	CHECK_EQ(front_negotiate(&r->front, features, protocol), 0);
	CHECK_EQ((r->front.features & VU_F(RING_PACKED)) != 0, harness_packed());
	r->front.acks = true;
}

void rig_share(struct rig *r)
{
	if (r->memory.driver.count == 0)
		CHECK_EQ(front_memory_add(&r->memory, RIG_GUEST, RIG_USER, RIG_MEMORY, 0), 0);
	if (r->slots == 0)
		r->slots = r->memory.regions[0].place.guest + (RIG_SLOTS_AT - RIG_GUEST);
	CHECK_EQ(front_share(&r->front, &r->memory), 0);
}

static struct driver_options queue_options(const struct rig *r)
{
	return (struct driver_options){ .size = r->ring_size ? r->ring_size : RIG_RING_SIZE,
		.start = r->start,
		.event_idx = (r->front.features & VU_F(EVENT_IDX)) != 0 };
}

struct front_queue *rig_queue(struct rig *r)
{
	uint32_t i = r->queue_count++;
	struct front_queue *q = &r->queues[i];
	struct driver_options options = queue_options(r);
	struct driver_layout at;
	uint64_t guest = r->memory.regions[0].place.guest + (uint64_t)i * 0x8000;

	CHECK(i < RIG_QUEUES_MAX);
	driver_place(rig_format(), &at, options.size, guest);
	CHECK(at.end <= guest + 0x8000);
	CHECK_EQ(front_queue_open(q, i, rig_format(), &r->memory, &at, &options), 0);
	return q;
}

void rig_start(struct rig *r, struct front_queue *q)
{
	CHECK_EQ(front_queue_start(&r->front, q, driver_base(&q->driver, 0)), 0);
}

void rig_reopen(struct rig *r, struct front_queue *q)
{
	struct driver_options options = queue_options(r);
	struct driver_layout at = q->driver.at;

	options.size = q->driver.size;
	CHECK(driver_open(&q->driver, rig_format(), &r->memory.driver, &at, &options));
}

void rig_run(struct rig *r)
{
	rig_share(r);
	rig_start(r, rig_queue(r));
}

void rig_open(struct rig *r, uint64_t image_bytes, const char *engine)
{
	char io[32];

	snprintf(io, sizeof(io), "--io=%s", engine ? engine : "auto");
	rig_serve(r, image_bytes, (const char *const[]){ strdup(io), NULL });
	rig_negotiate(r, ~0ull, ~0ull);
	rig_run(r);
}

void rig_disconnect(struct rig *r)
{
	front_close(&r->front);
	while (r->queue_count > 0)
		front_queue_close(&r->queues[--r->queue_count]);
	front_memory_clear(&r->memory);
	r->slots = 0;
}

/* ---- requests ---- */

void rig_add(struct rig *r, struct front_queue *q, const struct blk_request *request, unsigned slot)
{
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers, .owner = (void *)(uintptr_t)slot };

	chain.count = blk_build(&r->memory.driver, request, buffers);
	CHECK(driver_add(&q->driver, &chain) >= 0);
}

unsigned rig_take(struct rig *r, struct front_queue *q, uint32_t *len)
{
	struct driver_used used;
	int error = front_queue_wait(q, &used, r->front.timeout_ms);

	if (error < 0)
		harness_fail(HERE, "no used element: %s",
			q->driver.wrong ? q->driver.wrong : "none came");
	if (len)
		*len = used.len;
	return (unsigned)(uintptr_t)used.owner;
}

uint8_t rig_chain(
	struct rig *r, const struct blk_request *request, const struct driver_chain *chain)
{
	struct front_queue *q = &r->queues[0];
	uint32_t len;

	CHECK(driver_add(&q->driver, chain) >= 0);
	front_queue_offer(q);
	rig_take(r, q, &len);
	if (blk_status(&r->memory.driver, request) == BLK_OK && blk_reads(request->type))
		CHECK(len == request->len + 1 || request->type == BLK_GET_ID);
	return blk_status(&r->memory.driver, request);
}

uint8_t rig_blk(struct rig *r, uint32_t type, uint64_t sector, void *data, uint32_t len)
{
	struct blk_request request = rig_request(r, 0, type, sector, len);
	struct driver_buffer buffers[3];
	struct driver_chain chain = { .buffers = buffers };
	bool direct = r->queues[0].driver.size >= 3;
	uint8_t status;

	CHECK(len <= RIG_SLOT_BYTES - DATA_AT);
	CHECK(len == 0 || driver_write(&r->memory.driver, request.data, data, len));
	chain.count = blk_build(&r->memory.driver, &request, buffers);
	chain.table = direct ? 0 : rig_table(r, 0);
	status = rig_chain(r, &request, &chain);
	if (len > 0 && blk_reads(type))
		CHECK(driver_read(&r->memory.driver, request.data, data, len));
	return status;
}

void rig_works(struct rig *r)
{
	unsigned char id[BLK_ID_BYTES];

	CHECK_EQ(front_settle(&r->front), 0);
	CHECK_EQ(rig_blk(r, BLK_GET_ID, 0, id, sizeof(id)), BLK_OK);
}

/* ---- the image, beside vubox ---- */

void rig_disk_read(const struct rig *r, uint64_t offset, void *bytes, size_t len)
{
	int fd = open(r->image, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0 && pread(fd, bytes, len, (off_t)offset) == (ssize_t)len);
	close(fd);
}

void rig_disk_write(const struct rig *r, uint64_t offset, const void *bytes, size_t len)
{
	int fd = open(r->image, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && pwrite(fd, bytes, len, (off_t)offset) == (ssize_t)len);
	close(fd);
}
