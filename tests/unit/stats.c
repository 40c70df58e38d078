/* src/stats.c: counters as lines and as JSON, and clients that do not read. */
#include <errno.h>
#include <stdio.h>

#include "num.h"
#include "rig.h"
#include "unit.h"

enum { ANSWER_MAX = 400000 };

static struct front front;
static char answer[ANSWER_MAX];

static void serve(const char *line)
{
	fake_reset(1);
	fake_image_new("/img", 1 << 20);
	CHECK_EQ(rig_main(line), FAKE_IDLE);
}

/* What a client gets until the other side closes. */
static const char *read_all(int fd)
{
	size_t len = 0;
	int n;

	while ((n = fake_recv(fd, answer + len, ANSWER_MAX - 1 - len, NULL)) > 0)
		len += (size_t)n;
	CHECK_EQ(n, 0);
	answer[len] = 0;
	fake_close(fd);
	return answer;
}

static const char *ask(void)
{
	int fd = fake_connect("/stats");

	CHECK(fd >= 0);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	return read_all(fd);
}

static void tell(void)
{
	fake_log_clear();
	fake_signal(PORT_SIGNAL_TELL);
	CHECK_EQ(rig_run(), FAKE_IDLE);
}

static void request_entropy(uint32_t len)
{
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), len, true }, 1);
	front_kick(&front, 0);
}

#define HEAD "{\"version\":\"unknown\",\"devices\":["

CASE(nobody_has_connected)
{
	serve("vubox rng -s /a --stats=/stats -- blk -s /b --blk-file=/img");
	CHECK_TEXT(ask(), HEAD "{\"name\":\"rng\",\"device\":\"rng\",\"socket\":\"/a\","
			       "\"state\":\"listening\",\"features\":\"0x0\",\"queues\":[]},"
			       "{\"name\":\"blk\",\"device\":\"blk\",\"socket\":\"/b\","
			       "\"state\":\"listening\",\"features\":\"0x0\",\"queues\":[]}]}\n");
	tell();
	CHECK_TEXT(fake.log, "vubox: rng: state=listening features=0x0 socket=/a\n"
			     "vubox: blk: state=listening features=0x0 socket=/b\n");
}

CASE(what_was_done)
{
	serve("vubox rng -s /s --stats=/stats --name=dice");
	front_start(&front, "/s", 1, 0);
	request_entropy(100);
	request_entropy(50);
	CHECK_TEXT(ask(), HEAD "{\"name\":\"dice\",\"device\":\"rng\",\"socket\":\"/s\","
			       "\"state\":\"connected\",\"features\":\"0x40000000\",\"queues\":["
			       "{\"queue\":0,\"requests\":2,\"bytes\":150,\"errors\":0,\"kicks\":2,"
			       "\"calls\":2,\"breaks\":0,\"in_flight\":0,\"started\":true,"
			       "\"broken\":false}]}]}\n");
	tell();
	CHECK_TEXT(fake.log,
		"vubox: dice: state=connected features=0x40000000 socket=/s\n"
		"vubox: dice: queue=0 requests=2 bytes=150 errors=0 kicks=2 calls=2 breaks=0 "
		"in_flight=0 started=1 broken=0\n");
}

CASE(a_broken_queue)
{
	serve("vubox rng -s /s --stats=/stats");
	front_start(&front, "/s", 1, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 16, false }, 1);
	front_kick(&front, 0);
	CHECK(strstr(ask(), "\"breaks\":1,\"in_flight\":0,\"started\":true,\"broken\":true}"));
	front_hang_up(&front);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	/* It is told still, now that nobody is connected. */
	CHECK(strstr(ask(), "\"breaks\":1,\"in_flight\":0,\"started\":false,\"broken\":false}"));
	tell();
	CHECK(fake_log_has("breaks=1 in_flight=0 started=0 broken=0\n"));
}

CASE(errors_of_the_disk)
{
	struct buffer all[3] = { { front_addr(0), 16, false }, { front_addr(64), 512, true },
		{ front_addr(32), 1, true } };

	serve("vubox blk -s /s --blk-file=/img --stats=/stats");
	front_start(&front, "/s", 2, 0);
	memset(front_data(&front, 0), 0, 16); /* a read of sector 0 */
	driver_add(&front.rings[1], all, 3);
	fake.fail_at[FAKE_IO] = 1;
	front_kick(&front, 1);
	CHECK(strstr(ask(), "{\"queue\":1,\"requests\":1,\"bytes\":17,\"errors\":1,"));
	front_data(&front, 0)[15] = 1; /* … of one that is far behind the end */
	driver_add(&front.rings[1], all, 3);
	front_kick(&front, 1);
	CHECK(strstr(ask(), "\"errors\":2,"));
}

CASE(names_that_json_has_to_quote)
{
	static const struct {
		const char *name, *quoted;
	} names[] = { { "a\"b", "a\\u0022b" }, { "a\\b", "a\\u005cb" },
		{ "\x01\x1f", "\\u0001\\u001f" }, { "\x7f", "\x7f" },
		{ "\xc3\xa4 \xe2\x82\xac", "\xc3\xa4 \xe2\x82\xac" },
		{ "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
		{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" }, { "\xff", "\\ufffd" },
		{ "\xc0\x80", "\\ufffd\\ufffd" }, { "\xe0\x9f\xbf", "\\ufffd\\ufffd\\ufffd" },
		{ "\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd" },
		{ "\xf0\x8f\xbf\xbf", "\\ufffd\\ufffd\\ufffd\\ufffd" },
		{ "\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd" }, { "\xc3", "\\ufffd" },
		{ "\xc3x", "\\ufffdx" }, { "\x80", "\\ufffd" } };
	char line[1000] = "vubox", want[200];

	_Static_assert(countof(names) == CONFIG_DEVICES_MAX, "each is one device");
	for (unsigned i = 0; i < countof(names); i++)
		(void)snprintf(line + strlen(line), sizeof(line) - strlen(line),
			"%s\trng\t-s\t/s%u\t--stats=/stats\t--name=%s", i > 0 ? "\t--" : "", i,
			names[i].name);
	fake_reset(1);
	CHECK_EQ(rig_words(line, '\t'), FAKE_IDLE);
	(void)ask();
	for (unsigned i = 0; i < countof(names); i++) {
		(void)snprintf(want, sizeof(want), "{\"name\":\"%s\",\"device\"", names[i].quoted);
		if (!strstr(answer, want))
			FAIL("name %u is not in %s", i, answer);
	}
}

CASE(a_path_that_is_too_long_is_cut_and_still_a_string)
{
	char line[1100] = "vubox rng --client -s /";
	int fd;

	fake_reset(1);
	memset(line + strlen(line), '\x02', 900);
	fake.end_ns = fake.now_ns + 10000000;
	strcat(line, " --stats=/stats");
	CHECK_EQ(rig_main(line), FAKE_TIME);
	fake.end_ns = fake.now_ns + 1000000000;
	fd = fake_connect("/stats");
	CHECK_EQ(rig_run(), FAKE_TIME);
	CHECK(strstr(read_all(fd), "\\u0002\",\"state\":\"connecting\""));
}

/* ---- clients ---- */

/* All queues of many devices have something to tell. */
static void serve_many(void)
{
	char line[600] = "vubox rng -s /r --stats=/stats";

	fake_reset(1);
	for (unsigned i = 0; i < 8; i++) {
		char more[64];

		(void)snprintf(more, sizeof(more), "/img%u", i);
		fake_image_new(more, 1 << 20);
		(void)snprintf(more, sizeof(more), " -- blk -s /s%u --blk-file=/img%u", i, i);
		strcat(line, more);
	}
	CHECK_EQ(rig_main(line), FAKE_IDLE);
	for (unsigned i = 1; i <= 8; i++)
		for (unsigned k = 0; k < CONFIG_QUEUES_MAX; k++)
			rig_device(i)->queues[k].counts.requests = UINT64_MAX;
}

/* Braces and brackets that are outside of strings are as many open as closed, and it ends well. */
static void check_whole(const char *text)
{
	int depth = 0;

	for (const char *c = text; *c; c++)
		depth += (*c == '{') + (*c == '[') - (*c == '}') - (*c == ']');
	CHECK_EQ(depth, 0);
	CHECK(strstr(text, "]}]}\n") && strstr(text, "]}]}\n")[5] == 0);
	CHECK(!strstr(text, "}{") && !strstr(text, ",]") && !strstr(text, "[,"));
}

CASE(more_than_a_socket_takes_at_once)
{
	size_t len, got = 0;
	unsigned watches;
	int fd, n;

	serve_many();
	watches = fake_watches();
	fake.socket_room = 1 << 20;
	check_whole(ask());
	len = strlen(answer);
	CHECK(len > 8 * CONFIG_QUEUES_MAX * 100);
	fake.socket_room = 5000;
	fd = fake_connect("/stats");
	while ((n = fake_recv(fd, answer + got, 3000, NULL)) != 0) {
		if (n > 0) {
			got += (size_t)n;
			continue;
		}
		fake.end_ns = fake.now_ns + 30000000;
		CHECK(rig_run() == FAKE_TIME || fake_peek(fd) != -EAGAIN);
	}
	answer[got] = 0;
	CHECK_EQ(got, len);
	check_whole(answer);
	fake_close(fd);
	fake.end_ns = 0;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_watches(), watches);
}

CASE(clients_that_do_not_read)
{
	enum { MORE = 3 };
	int fds[CONFIG_STATS_CLIENTS + MORE];
	unsigned open;
	uint64_t start_ns;

	serve_many();
	open = fake_open_fds();
	fake.socket_room = 5000;
	start_ns = fake.now_ns;
	for (unsigned i = 0; i < CONFIG_STATS_CLIENTS + MORE; i++)
		fds[i] = fake_connect("/stats");
	fake.end_ns = fake.now_ns + 1000000000;
	CHECK_EQ(rig_run(), FAKE_TIME);
	CHECK_EQ(fake_open_fds(), open + CONFIG_STATS_CLIENTS);
	/* Their time is over, then that of the others; it sleeps, and is served as ever. */
	fake.end_ns = 0;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake.now_ns - start_ns < 20000000000ull);
	CHECK_EQ(fake_open_fds(), open);
	for (unsigned i = 0; i < CONFIG_STATS_CLIENTS + MORE; i++)
		fake_close(fds[i]);
	fake.socket_room = 1 << 20;
	check_whole(ask());
}

CASE(clients_that_hang_up)
{
	unsigned open;
	int fd;

	serve_many();
	open = fake_open_fds();
	fd = fake_connect("/stats");
	fake_close(fd);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	fake.socket_room = 5000;
	fd = fake_connect("/stats");
	fake.end_ns = fake.now_ns + 50000000;
	CHECK_EQ(rig_run(), FAKE_TIME);
	fake_close(fd);
	fake.end_ns = 0;
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_open_fds(), open);
	CHECK_TEXT(fake.log, "");
}

CASE(no_descriptor_for_a_client)
{
	int fd;

	serve("vubox rng -s /s --stats=/stats");
	fake.fail_at[FAKE_ACCEPT] = fake.calls[FAKE_ACCEPT] + 1;
	fd = fake_connect("/stats");
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake.failed, 1);
	CHECK(strstr(read_all(fd), HEAD));
}

CASE(the_socket_cannot_be_had)
{
	fake_reset(1);
	fake.fail_at[FAKE_LISTEN] = 2;
	CHECK_EQ(rig_main("vubox rng -s /s --stats=/stats"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK_TEXT(fake.log, "vubox: --stats=/stats: cannot serve: Permission denied\n");
}
