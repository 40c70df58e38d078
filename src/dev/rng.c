/* Entropy device (VIRTIO 5.4): every buffer is filled with random bytes. */
#include <errno.h>

#include "device.h"
#include "loop.h"
#include "num.h"
#include "panic.h"
#include "spec/virtio.h"

/* Bytes that one request gets at most; a driver asks again for more. */
enum { CHUNK = 4096, QUEUE_SIZE_MAX = CONFIG_RING_SIZE_MAX };

enum { OPT_SOURCE, OPT_MAX_BYTES, OPT_PERIOD_MS };

static const struct option options[] = {
	[OPT_SOURCE] = { "source", 0, OPTION_TEXT, "PATH", NULL, 0, 0,
		"read the bytes from here, not from getrandom(2)" },
	[OPT_MAX_BYTES] = { "max-bytes", 0, OPTION_SIZE, "N", NULL, 1, INT64_MAX,
		"give the guest at most so many bytes a period" },
	[OPT_PERIOD_MS] = { "period-ms", 0, OPTION_NUMBER, "N", "1000", 1, 86400000,
		"how long a period of --max-bytes is" },
};

struct rng {
	const char *source; /* NULL: the kernel's generator */
	int fd;
	bool endless; /* no regular file: more may come where nothing is now */
	bool ended;
	uint8_t bytes[CHUNK]; /* read and not yet given out */
	uint32_t have;
	uint64_t quota, quota_left; /* bytes of a period; 0: there is no limit */
	uint64_t period_ns, period_end_ns;
	struct loop_timer retry;
	struct log_limit limit;
};

static struct {
	struct rng rngs[CONFIG_DEVICES_MAX];
	uint32_t count;
} state;

static int rng_open(struct device *dev, const struct option_value *values)
{
	struct rng *rng = &state.rngs[state.count++];

	ASSERT(state.count <= CONFIG_DEVICES_MAX);
	rng->source = values[OPT_SOURCE].text;
	rng->quota = values[OPT_MAX_BYTES].number;
	rng->period_ns = values[OPT_PERIOD_MS].number * 1000000;
	if (rng->source) {
		rng->fd = port_stream_open(rng->source, &rng->endless);
		if (rng->fd < 0) {
			log_error(
				dev->name, "%s: cannot open: %s", rng->source, log_errno(rng->fd));
			return EXIT_FAILED;
		}
	}
	dev->state = rng;
	dev->queue_count = 1;
	dev->queue_size_max = QUEUE_SIZE_MAX;
	return EXIT_OK;
}

static void rng_close(struct device *dev)
{
	struct rng *rng = dev->state;

	if (rng->source)
		port_close(rng->fd);
}

static void rng_again(void *owner)
{
	device_ready(owner);
}

/* Whether the guest may get bytes in this period; else it gets a turn in the next. */
static bool rng_may_give(struct device *dev)
{
	struct rng *rng = dev->state;
	uint64_t now = rng->quota > 0 ? out_now_ns() : 0;

	if (rng->quota == 0)
		return true;
	if (now >= rng->period_end_ns) {
		rng->period_end_ns = now + rng->period_ns;
		rng->quota_left = rng->quota;
	}
	if (rng->quota_left == 0 && !rng->retry.set)
		loop_timer_set(&rng->retry, rng->period_end_ns, rng_again, dev);
	return rng->quota_left > 0;
}

/*
 * The source has nothing now. Looking again by a timer, and only while a guest waits, is right for
 * every kind of source: /dev/hwrng says it is readable when it is not.
 */
static void rng_wait(struct device *dev)
{
	enum { RETRY_NS = 20000000 };
	struct rng *rng = dev->state;

	if (!rng->retry.set && !rng->ended)
		loop_timer_set(&rng->retry, out_now_ns() + RETRY_NS, rng_again, dev);
}

/* Fills the store up: 0, or why there is nothing more now. */
static int rng_fill(struct rng *rng)
{
	int n;

	if (!rng->source) {
		n = port_random(rng->bytes, CHUNK);
		rng->have = n == 0 ? CHUNK : rng->have;
		return n;
	}
	n = port_stream_read(rng->fd, rng->bytes + rng->have, CHUNK - rng->have);
	if (n == 0)
		return rng->endless ? -EAGAIN : -ENODATA;
	if (n > 0)
		rng->have += (uint32_t)n;
	return n < 0 ? n : 0;
}

static unsigned rng_can_take(struct device *dev, const struct queue *q)
{
	struct rng *rng = dev->state;
	int error;

	(void)q;
	if (!rng_may_give(dev))
		return false;
	error = rng->have == CHUNK || rng->ended ? 0 : rng_fill(rng);
	if (error == -ENODATA) {
		rng->ended = true;
		log_error(dev->name, "%s: it has come to its end: the guest gets no more",
			rng->source);
	} else if (error < 0 && error != -EAGAIN && log_allow(&rng->limit, dev->name)) {
		log_error(dev->name, "%s: cannot read: %s", rng->source ? rng->source : "getrandom",
			log_errno(error));
	}
	if (rng->have == 0)
		rng_wait(dev);
	return rng->have > 0;
}

static void rng_request(struct device *dev, struct request *req)
{
	struct rng *rng = dev->state;
	uint32_t len = (uint32_t)num_min(rng->have, writer_left(&req->out));

	if (rng->quota > 0)
		len = (uint32_t)num_min(len, rng->quota_left);

	/* 5.4.6: no readable buffers. An address that is nowhere gets nothing. */
	if (reader_left(&req->in) > 0) {
		request_break(req, "a readable buffer to the entropy device");
		return;
	}
	if (len > 0 && !writer_put(&req->out, rng->bytes + rng->have - len, len)) {
		request_done(req, 0);
		return;
	}
	rng->have -= len;
	rng->quota_left -= rng->quota > 0 ? len : 0;
	/* What a guest has got is nobody else's. */
	for (uint32_t i = 0; i < len; i++)
		rng->bytes[rng->have + i] = 0;
	request_done(req, len);
}

static uint64_t rng_features(const struct device *dev)
{
	(void)dev;
	return VIRTIO_F_IN_ORDER; /* each is answered when it is taken */
}

static void rng_accept(struct device *dev, uint64_t features)
{
	(void)dev;
	(void)features;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is the one of struct device_class */
static void rng_config_get(const struct device *dev, uint8_t bytes[VHOST_USER_CONFIG_MAX])
{
	(void)dev;
	(void)bytes;
}

static bool rng_config_set(
	struct device *dev, uint32_t offset, uint32_t len, const uint8_t *bytes, bool migrate)
{
	(void)dev;
	(void)offset;
	(void)len;
	(void)bytes;
	return migrate;
}

static void rng_io_done(struct device *dev, struct request *req)
{
	(void)dev;
	(void)req;
	ASSERT(!"the entropy device starts no I/O");
}

const struct device_class rng_class = {
	.name = "rng",
	.summary = "entropy",
	.json_type = "rng",
	.virtio_id = VIRTIO_ID_ENTROPY,
	.options = options,
	.option_count = countof(options),
	.open = rng_open,
	.close = rng_close,
	.features = rng_features,
	.accept = rng_accept,
	.config_get = rng_config_get,
	.config_set = rng_config_set,
	.request = rng_request,
	.io_done = rng_io_done,
	.can_take = rng_can_take,
};
