/* Block device (VIRTIO 5.2): a file or block device of the host as the guest's disk. */
#include "device.h"

#include <errno.h>
#include <string.h>

#include "loop.h"
#include "num.h"
#include "panic.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"

enum {
	SECTOR = VIRTIO_BLK_SECTOR,
	SEG_MAX = 126,
	/* What one request may ask for: discards are cheap, zeroes may have to be written. */
	DISCARD_SECTORS_MAX = 4 << 20,
	ZEROES_SECTORS_MAX = 32 << 10,
	RANGES_MAX = 32,
};

enum {
	OPT_BLK_FILE,
	OPT_READ_ONLY,
	OPT_NUM_QUEUES,
	OPT_QUEUE_SIZE,
	OPT_SERIAL,
	OPT_LOGICAL_BLOCK_SIZE,
	OPT_DIRECT,
	OPT_IO,
	OPT_SIZE,
	OPT_NO_LOCK,
};

static const struct option options[] = {
	[OPT_BLK_FILE] = { "blk-file", 'b', OPTION_TEXT, "PATH", NULL, 0, 0,
		"the image file or block device to serve" },
	[OPT_READ_ONLY] = { "read-only", 'r', OPTION_FLAG, NULL, NULL, 0, 0,
		"open it for reading, and refuse what writes" },
	[OPT_NUM_QUEUES] = { "num-queues", 'q', OPTION_NUMBER, "N", TEXT_OF(CONFIG_QUEUES_MAX), 1,
		CONFIG_QUEUES_MAX, "offer so many queues; a guest uses one for each vCPU" },
	[OPT_QUEUE_SIZE] = { "queue-size", 0, OPTION_NUMBER, "N", TEXT_OF(CONFIG_RING_SIZE_MAX), 4,
		CONFIG_RING_SIZE_MAX, "accept rings of so many entries, a power of two" },
	[OPT_SERIAL] = { "serial", 0, OPTION_TEXT, "STR", "", 0, 0,
		"the disk's serial number, at most 20 characters" },
	[OPT_LOGICAL_BLOCK_SIZE] = { "logical-block-size", 0, OPTION_SIZE, "N", NULL, 512, 65536,
		"the guest's block size (default: the disk's, or 512)" },
	[OPT_DIRECT] = { "direct", 0, OPTION_FLAG, NULL, NULL, 0, 0,
		"pass the host's page cache by (O_DIRECT)" },
	[OPT_IO] = { "io", 0, OPTION_CHOICE, "auto|uring|mmap|sync", "auto", 0, 0,
		"the I/O engine; -v says what auto chose" },
	[OPT_SIZE] = { "size", 0, OPTION_SIZE, "N", NULL, SECTOR, INT64_MAX,
		"create the image, or grow it, to so many bytes (sparse)" },
	[OPT_NO_LOCK] = { "no-lock", 0, OPTION_FLAG, NULL, NULL, 0, 0,
		"serve it even if another vubox has it open" },
};

struct blk {
	const char *path;
	struct port_file file;
	uint64_t capacity; /* in sectors */
	uint32_t block_bytes;
	uint32_t seg_max;
	uint64_t features; /* accepted */
	bool writeback;    /* config space: CONFIG_WCE */
	bool cautious; /* the driver may have switched the cache off in an earlier life of ours */
	char serial[VIRTIO_BLK_ID_BYTES];
	struct log_limit limit;
};

static struct {
	struct blk blks[CONFIG_DEVICES_MAX];
	uint32_t count;
} state;

/* ---- opening ---- */

static void blk_set_capacity(struct device *dev)
{
	struct blk *blk = dev->state;
	uint64_t tail = blk->file.size % blk->block_bytes;

	blk->capacity = (blk->file.size - tail) / SECTOR;
	if (tail > 0)
		log_error(dev->name,
			"%s: the last %u bytes are no whole block of %u: they are not served",
			blk->path, (unsigned)tail, blk->block_bytes);
}

static int blk_check_options(struct device *dev, const struct option_value *v)
{
	if (!v[OPT_BLK_FILE].text || v[OPT_BLK_FILE].text[0] == 0)
		log_error(dev->name, "say what to serve: --blk-file=PATH");
	else if (strlen(v[OPT_SERIAL].text) > VIRTIO_BLK_ID_BYTES)
		log_error(dev->name, "--serial=%s: more than 20 characters", v[OPT_SERIAL].text);
	else if (!num_is_power_of_2(v[OPT_QUEUE_SIZE].number))
		log_error(dev->name, "--queue-size=%s: not a power of two", v[OPT_QUEUE_SIZE].text);
	else if (v[OPT_LOGICAL_BLOCK_SIZE].given &&
		 !num_is_power_of_2(v[OPT_LOGICAL_BLOCK_SIZE].number))
		log_error(dev->name, "--logical-block-size=%s: not a power of two",
			v[OPT_LOGICAL_BLOCK_SIZE].text);
	else if (v[OPT_READ_ONLY].given && v[OPT_SIZE].given)
		log_error(dev->name, "--size cannot grow what --read-only opens");
	else if (v[OPT_DIRECT].given && v[OPT_IO].number == PORT_ENGINE_MMAP)
		log_error(dev->name, "--io=mmap is the page cache that --direct passes by");
	else
		return EXIT_OK;
	return EXIT_USAGE;
}

static int blk_open(struct device *dev, const struct option_value *v)
{
	static const char *const engines[] = { "auto", "uring", "mmap", "sync" };
	struct blk *blk = &state.blks[state.count++];
	const char *what;
	int error = blk_check_options(dev, v);

	ASSERT(state.count <= CONFIG_DEVICES_MAX);
	if (error != EXIT_OK)
		return error;
	dev->state = blk;
	blk->path = v[OPT_BLK_FILE].text;
	error = port_file_open(&blk->file,
		&(struct port_file_options){ .path = blk->path,
			.read_only = v[OPT_READ_ONLY].given,
			.direct = v[OPT_DIRECT].given,
			.no_lock = v[OPT_NO_LOCK].given,
			.create_size = v[OPT_SIZE].number,
			.engine = (enum port_engine)v[OPT_IO].number },
		&what);
	if (error < 0) {
		if (error == -EAGAIN)
			log_error(dev->name,
				"%s: in use by another vubox (--no-lock serves it all the same)",
				blk->path);
		else
			log_error(dev->name, "%s: %s: %s", blk->path, what, log_errno(error));
		return EXIT_FAILED;
	}
	log_info(dev->name, "%s: %llu bytes, I/O by %s: %s", blk->path,
		(unsigned long long)blk->file.size, engines[blk->file.engine],
		blk->file.engine_why);
	blk->block_bytes = v[OPT_LOGICAL_BLOCK_SIZE].given
				   ? (uint32_t)v[OPT_LOGICAL_BLOCK_SIZE].number
				   : blk->file.logical_block;
	if (blk->block_bytes < blk->file.logical_block) {
		log_error(dev->name,
			"%s: its own blocks are of %u bytes: --logical-block-size is too small",
			blk->path, blk->file.logical_block);
		return EXIT_FAILED;
	}
	memcpy(blk->serial, v[OPT_SERIAL].text, strlen(v[OPT_SERIAL].text));
	dev->queue_count = (uint16_t)v[OPT_NUM_QUEUES].number;
	dev->queue_size_max = (uint16_t)v[OPT_QUEUE_SIZE].number;
	/* A header, a status and the segments are one chain, which fits in its ring. */
	blk->seg_max = (uint32_t)num_min(SEG_MAX, v[OPT_QUEUE_SIZE].number - 2);
	blk->writeback = true;
	blk_set_capacity(dev);
	return EXIT_OK;
}

static void blk_close(struct device *dev)
{
	struct blk *blk = dev->state;

	port_file_close(&blk->file);
}

/* ---- features and configuration space ---- */

static uint64_t blk_features(const struct device *dev)
{
	const struct blk *blk = dev->state;
	uint64_t features = VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH |
			    VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_CONFIG_WCE;

	if (dev->queue_count > 1)
		features |= VIRTIO_BLK_F_MQ;
	if (blk->file.read_only)
		return features | VIRTIO_BLK_F_RO;
	return features | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES;
}

static void blk_accept(struct device *dev, uint64_t features)
{
	struct blk *blk = dev->state;
	uint64_t wce = VIRTIO_BLK_F_CONFIG_WCE, flush = VIRTIO_BLK_F_FLUSH;

	blk->features = features;
	if (features == 0) {
		blk->cautious = false;
		blk->writeback = true;
	}
	/* 5.2.5.2: a driver that toggles the cache but cannot flush it starts with none. */
	if ((features & wce) != 0 && (features & flush) == 0)
		blk->writeback = false;
}

/*
 * writeback is lost with the process, and front-ends do not set it again. Until the driver shows
 * what it believes, by a flush or by setting it, every write is on stable storage: that is right
 * for both.
 */
static void blk_resumed(struct device *dev)
{
	struct blk *blk = dev->state;

	blk->cautious = true;
}

/* 5.2.6.2: whether a completed write must be on stable storage. */
static bool blk_writes_through(const struct blk *blk)
{
	if ((blk->features & VIRTIO_BLK_F_CONFIG_WCE) != 0)
		return !blk->writeback || blk->cautious;
	return (blk->features & VIRTIO_BLK_F_FLUSH) == 0;
}

static uint8_t log2_of(uint32_t v)
{
	return (uint8_t)(31 - __builtin_clz(v));
}

static void blk_config_get(const struct device *dev, uint8_t bytes[VHOST_USER_CONFIG_MAX])
{
	const struct blk *blk = dev->state;
	const struct port_file *f = &blk->file;
	uint32_t block = blk->block_bytes;
	struct virtio_blk_config c = {
		.capacity = le64_put(blk->capacity),
		.seg_max = le32_put(blk->seg_max),
		.blk_size = le32_put(block),
		.physical_block_exp =
			f->physical_block > block ? log2_of(f->physical_block / block) : 0,
		.min_io_size = le16_put((uint16_t)num_min(f->io_min / block, UINT16_MAX)),
		.opt_io_size = le32_put(f->io_opt / block),
		.writeback = blk->writeback,
		.num_queues = le16_put(dev->queue_count),
	};

	if (!f->read_only) {
		c.max_discard_sectors = le32_put(DISCARD_SECTORS_MAX);
		c.max_discard_seg = le32_put(RANGES_MAX);
		c.discard_sector_alignment = le32_put(block / SECTOR);
		c.max_write_zeroes_sectors = le32_put(ZEROES_SECTORS_MAX);
		c.max_write_zeroes_seg = le32_put(RANGES_MAX);
		c.write_zeroes_may_unmap = 1;
	}
	memcpy(bytes, &c, sizeof(c));
}

static bool blk_config_set(
	struct device *dev, uint32_t offset, uint32_t len, const uint8_t *bytes, bool migrate)
{
	struct blk *blk = dev->state;
	uint32_t at = offsetof(struct virtio_blk_config, writeback);

	if (!num_within(at, 1, offset, len) || (len != 1 && !migrate))
		return migrate;
	if (bytes[at - offset] > 1)
		return false;
	blk->writeback = bytes[at - offset] == 1;
	blk->cautious = false;
	return true;
}

/* ---- requests ---- */

static void blk_finish(struct request *req, uint8_t status)
{
	/* All of a read's data was written, or what of it is undefined; the status always. */
	uint32_t data = status == VIRTIO_BLK_S_OK ? req->bytes : 0;

	req->queue->counts.errors += status == VIRTIO_BLK_S_IOERR;
	if (!writer_put(&req->status, &status, sizeof(status))) {
		request_break(req, "a status byte that is not in shared memory");
		return;
	}
	request_done(req, data + (uint32_t)sizeof(status));
}

/* Whether [sector, sector + count) is on the disk, in whole blocks of 512 bytes. */
static bool blk_on_disk(const struct blk *blk, uint64_t sector, uint64_t count)
{
	return num_within(sector, count, 0, blk->capacity);
}

static void blk_read(struct blk *blk, struct request *req, uint64_t sector)
{
	uint32_t len = writer_left(&req->out);
	struct sink sink;

	if (len % SECTOR != 0 || !blk_on_disk(blk, sector, len / SECTOR) ||
		(len > 0 && !writer_take(&req->out, &sink))) {
		blk_finish(req, VIRTIO_BLK_S_IOERR);
	} else if (len == 0) {
		blk_finish(req, VIRTIO_BLK_S_OK);
	} else {
		req->bytes = len;
		port_io_read(&req->io, &blk->file, sink, sector * SECTOR, len);
	}
}

static void blk_write(struct blk *blk, struct request *req, uint64_t sector)
{
	uint32_t len = reader_left(&req->in);
	struct source source;

	if (blk->file.read_only || len % SECTOR != 0 || !blk_on_disk(blk, sector, len / SECTOR) ||
		(len > 0 && !reader_take(&req->in, &source)))
		blk_finish(req, VIRTIO_BLK_S_IOERR);
	else if (len == 0)
		blk_finish(req, VIRTIO_BLK_S_OK);
	else
		port_io_write(&req->io, &blk->file, source, sector * SECTOR, len,
			blk_writes_through(blk));
}

static void blk_get_id(struct blk *blk, struct request *req)
{
	/* 5.2.6: up to 20 bytes, padded with NULs; a shorter buffer gets its part. */
	uint32_t len = (uint32_t)num_min(writer_left(&req->out), VIRTIO_BLK_ID_BYTES);

	if (!writer_put(&req->out, blk->serial, len)) {
		blk_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	req->bytes = len;
	blk_finish(req, VIRTIO_BLK_S_OK);
}

struct range {
	uint64_t sector;
	uint32_t count;
	bool unmap;
};

/* The next range of a discard or write-zeroes request: its status, judged on this copy of it. */
static uint8_t blk_next_range(
	const struct blk *blk, struct reader *in, uint32_t type, struct range *range)
{
	struct virtio_blk_discard_write_zeroes r;
	uint32_t max = type == VIRTIO_BLK_T_DISCARD ? DISCARD_SECTORS_MAX : ZEROES_SECTORS_MAX;
	uint32_t flags;

	if (!reader_get(in, &r, sizeof(r)))
		return VIRTIO_BLK_S_IOERR;
	flags = le32_get(r.flags);
	*range = (struct range){ le64_get(r.sector), le32_get(r.num_sectors),
		(flags & VIRTIO_BLK_WZ_UNMAP) != 0 };
	if ((flags & ~(uint32_t)VIRTIO_BLK_WZ_UNMAP) != 0 ||
		(type == VIRTIO_BLK_T_DISCARD && range->unmap))
		return VIRTIO_BLK_S_UNSUPP;
	if (range->count > max || !blk_on_disk(blk, range->sector, range->count))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

/* Starts the next range, or finishes. */
static void blk_go_on(struct blk *blk, struct request *req)
{
	struct range r;
	uint8_t status;

	if (reader_left(&req->in) == 0) {
		blk_finish(req, VIRTIO_BLK_S_OK);
		return;
	}
	status = blk_next_range(blk, &req->in, req->kind, &r);
	if (status != VIRTIO_BLK_S_OK)
		blk_finish(req, status);
	else if (req->kind == VIRTIO_BLK_T_DISCARD)
		port_io_discard(&req->io, &blk->file, r.sector * SECTOR, (uint64_t)r.count * SECTOR,
			blk_writes_through(blk));
	else
		port_io_zero(&req->io, &blk->file, r.sector * SECTOR, (uint64_t)r.count * SECTOR,
			!r.unmap, blk_writes_through(blk));
}

static void blk_ranges(struct blk *blk, struct request *req)
{
	struct reader look = req->in;
	uint32_t len = reader_left(&look), one = sizeof(struct virtio_blk_discard_write_zeroes);
	uint8_t status = VIRTIO_BLK_S_OK;
	struct range r;

	if (blk->file.read_only || len == 0 || len % one != 0 || len / one > RANGES_MAX)
		status = VIRTIO_BLK_S_IOERR;
	/* Look at all before the first one does anything. Each is judged again when it is done. */
	while (status == VIRTIO_BLK_S_OK && reader_left(&look) > 0)
		status = blk_next_range(blk, &look, req->kind, &r);
	if (status != VIRTIO_BLK_S_OK)
		blk_finish(req, status);
	else
		blk_go_on(blk, req);
}

static void blk_request(struct device *dev, struct request *req)
{
	struct blk *blk = dev->state;
	struct virtio_blk_req header;

	req->bytes = 0;
	if (!writer_cut_last(&req->out, &req->own, &req->status)) {
		request_break(req, "a request without a status byte");
		return;
	}
	if (!reader_get(&req->in, &header, sizeof(header))) {
		if (reader_left(&req->in) < sizeof(header))
			request_break(req, "a request without a whole header");
		else
			blk_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	req->kind = le32_get(header.type);
	switch (req->kind) {
	case VIRTIO_BLK_T_IN: blk_read(blk, req, le64_get(header.sector)); break;
	case VIRTIO_BLK_T_OUT: blk_write(blk, req, le64_get(header.sector)); break;
	case VIRTIO_BLK_T_FLUSH:
		blk->cautious = false; /* so the driver knows of a cache */
		port_io_flush(&req->io, &blk->file);
		break;
	case VIRTIO_BLK_T_GET_ID: blk_get_id(blk, req); break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES: blk_ranges(blk, req); break;
	default: blk_finish(req, VIRTIO_BLK_S_UNSUPP);
	}
}

static void blk_io_done(struct device *dev, struct request *req)
{
	struct blk *blk = dev->state;

	if (req->io.result < 0) {
		if (log_allow(&blk->limit, dev->name))
			log_error(dev->name, "%s: request of type %u failed: %s", blk->path,
				req->kind, log_errno(req->io.result));
		blk_finish(req, VIRTIO_BLK_S_IOERR);
	} else if (req->kind == VIRTIO_BLK_T_DISCARD || req->kind == VIRTIO_BLK_T_WRITE_ZEROES) {
		blk_go_on(blk, req);
	} else {
		blk_finish(req, VIRTIO_BLK_S_OK);
	}
}

static bool blk_look_again(struct device *dev)
{
	struct blk *blk = dev->state;
	uint64_t before = blk->capacity;
	int error = port_file_resize(&blk->file);

	if (error < 0) {
		log_error(dev->name, "%s: cannot tell its size: %s", blk->path, log_errno(error));
		return false;
	}
	blk_set_capacity(dev);
	if (blk->capacity == before)
		return false;
	log_info(dev->name, "%s: %llu sectors now, %llu before", blk->path,
		(unsigned long long)blk->capacity, (unsigned long long)before);
	return true;
}

const struct device_class blk_class = {
	.name = "blk",
	.summary = "block device: a disk",
	.json_type = "block",
	.json_features = "[\"read-only\", \"blk-file\"]",
	.virtio_id = VIRTIO_ID_BLOCK,
	.options = options,
	.option_count = countof(options),
	.open = blk_open,
	.close = blk_close,
	.features = blk_features,
	.accept = blk_accept,
	.config_get = blk_config_get,
	.config_set = blk_config_set,
	.resumed = blk_resumed,
	.request = blk_request,
	.io_done = blk_io_done,
	.look_again = blk_look_again,
};
