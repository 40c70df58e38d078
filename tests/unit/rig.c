/* A whole vubox over the fake port, and a device of the test's own. */
#define main vubox_main
#include "../../src/main.c"
#undef main

#include "num.h"
#include "panic.h"
#include "rig.h"

/* ---- vubox ---- */

struct words {
	int count;
	char *at[128];
};

/* Cuts text in place. */
static void cut(struct words *words, char *text, char separator)
{
	char *next = text;

	words->count = 0;
	while (next && words->count < (int)countof(words->at)) {
		words->at[words->count++] = next;
		next = strchr(next, separator);
		if (next)
			*next++ = 0;
	}
}

static void run_main(void *arg)
{
	struct words *words = arg;

	port_exit(vubox_main(words->count, words->at));
}

enum fake_end rig_words(char *text, char separator)
{
	static struct words words;

	cut(&words, text, separator);
	return fake_run(run_main, &words);
}

enum fake_end rig_main(const char *command_line)
{
	static char text[1024];
	size_t len = text_format(text, sizeof(text), "%s", command_line);

	if (len > 0 && text[len - 1] == ' ')
		text[len - 1] = 0;
	return rig_words(text, ' ');
}

static void run_loop(void *arg)
{
	(void)arg;
	loop_run(tick_end);
	close_all();
	port_exit(EXIT_OK);
}

uint64_t rig_patience_ns;

enum fake_end rig_run(void)
{
	enum fake_end end;

	fake.end_ns = rig_patience_ns > 0 ? fake.now_ns + rig_patience_ns : fake.end_ns;
	end = fake_run(run_loop, NULL);
	if (end == FAKE_ABORTED)
		fake_die("it aborted");
	return end;
}

struct device *rig_device(unsigned i)
{
	return &state.devices[i];
}

/* ---- the stub ---- */

struct stub stub;

static unsigned stub_queues;

static int stub_open(struct device *dev, const struct option_value *values)
{
	(void)values;
	dev->state = &stub;
	dev->queue_count = (uint16_t)stub_queues;
	dev->queue_size_max = 256;
	return EXIT_OK;
}

static void stub_close(struct device *dev)
{
	(void)dev;
}

static uint64_t stub_features(const struct device *dev)
{
	(void)dev;
	return 0xff;
}

static void stub_accept(struct device *dev, uint64_t features)
{
	(void)dev;
	stub.accepted = features;
	stub.accepted_count++;
}

static void stub_config_get(const struct device *dev, uint8_t bytes[VHOST_USER_CONFIG_MAX])
{
	(void)dev;
	memcpy(bytes, stub.config, VHOST_USER_CONFIG_MAX);
}

/* Bytes 8 to 15 are writable. */
static bool stub_config_set(
	struct device *dev, uint32_t offset, uint32_t len, const uint8_t *bytes, bool migrate)
{
	(void)dev;
	stub.set_offset = offset;
	stub.set_len = len;
	stub.set_migrate = migrate;
	if (offset < 8 || offset > 16 || len > 16 - offset)
		return migrate;
	memcpy(stub.config + offset, bytes, len);
	return true;
}

/* Copies what it can read to where it may write. */
static void stub_answer(struct request *req)
{
	uint32_t written = 0;
	char byte;

	while (reader_get(&req->in, &byte, 1) && writer_put(&req->out, &byte, 1))
		written++;
	request_done(req, written);
}

static void stub_request(struct device *dev, struct request *req)
{
	(void)dev;
	stub.taken++;
	if (stub.on_request)
		stub.on_request(req);
	else if (stub.hold)
		stub.held[stub.held_count++] = req;
	else
		stub_answer(req);
}

static void stub_io_done(struct device *dev, struct request *req)
{
	(void)dev;
	stub_answer(req);
}

static unsigned stub_can_take(struct device *dev, const struct queue *q)
{
	(void)dev;
	(void)q;
	return !stub.full;
}

static bool stub_look_again(struct device *dev)
{
	(void)dev;
	stub.looked++;
	return stub.grown;
}

static bool stub_pulls(const struct device *dev, uint16_t index)
{
	(void)dev;
	return index == 0 && stub.on_turn;
}

static int stub_turn(struct device *dev, struct queue *q)
{
	(void)dev;
	return stub.on_turn(q);
}

static struct device_class stub_class = {
	.name = "stub",
	.summary = "a device of the tests",
	.json_type = "stub",
	.json_features = "[]",
	.open = stub_open,
	.close = stub_close,
	.features = stub_features,
	.accept = stub_accept,
	.config_get = stub_config_get,
	.config_set = stub_config_set,
	.request = stub_request,
	.io_done = stub_io_done,
	.pulls = stub_pulls,
	.turn = stub_turn,
	.look_again = stub_look_again,
};

static void serve_stub(void *arg)
{
	struct words *words = arg;

	if (loop_open() < 0 || make_device(&stub_class, NULL, words->count, words->at) != EXIT_OK)
		port_exit(EXIT_FAILED);
	port_exit(serve());
}

enum fake_end rig_stub_at(unsigned queues, bool shy, const char *options)
{
	static char text[100];
	static struct words words;

	(void)text_format(text, sizeof(text), "%s", options);
	cut(&words, text, ' ');
	stub_queues = queues;
	stub_class.can_take = shy ? stub_can_take : NULL;
	return fake_run(serve_stub, &words);
}

void rig_stub(unsigned queues, bool shy)
{
	fake_reset(1);
	if (rig_stub_at(queues, shy, "--socket-path=/s --poll-us=0") != FAKE_IDLE)
		fake_die("the stub does not serve");
}

void stub_finish(void)
{
	struct request *req = stub.held[0];

	ASSERT(stub.held_count > 0);
	stub.held_count--;
	for (unsigned i = 0; i < stub.held_count; i++)
		stub.held[i] = stub.held[i + 1];
	stub_answer(req);
}

__attribute__((weak)) int port_process_open(void)
{
	return 0;
}
