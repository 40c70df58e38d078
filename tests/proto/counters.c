/* Counters: on stderr by SIGUSR1, and as JSON on the socket of --stats. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../front/herd.h"

static struct herd h;
static struct vubox *const v = &h.rigs[0].vubox;

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error = -1;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	UNTIL((error = connect(fd, (struct sockaddr *)&a, sizeof(a))) == 0);
	CHECK_EQ(error, 0);
	return fd;
}

static const char *stats(const char *path)
{
	static char answer[1 << 16];
	size_t len = 0;
	ssize_t n;
	int fd = connect_to(path);

	while ((n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)n;
	CHECK_EQ(n, 0);
	answer[len] = 0;
	close(fd);
	return answer;
}

static void counters_of_each(const char *with)
{
	const char *path = harness_path("stats");
	const char *at;

	(void)with;
	herd_serve(&h, HERD_DISKS + 1,
		(const char *const[]){ herd_text("--stats=%s", path, 0), "--name=dice", NULL });
	herd_guest(&h);
	herd_come(&h, 1);
	herd_come(&h, HERD_DISKS);
	herd_works(&h, 1);
	herd_works(&h, 1);
	herd_works(&h, HERD_DISKS);
	at = strstr(stats(path), "{\"name\":\"blk2\",");
	CHECK(at && strstr(at, "\"state\":\"connected\""));
	CHECK(strstr(at, "{\"queue\":0,\"requests\":4,"));
	CHECK(strstr(at, "{\"queue\":0,\"requests\":1,\"bytes\":64,\"errors\":0,"));
	CHECK_EQ(kill(v->pid, SIGUSR1), 0);
	UNTIL(vubox_said(v, "vubox: dice: queue=0 requests=1 bytes=64 errors=0"));
	CHECK(vubox_said(v, "vubox: blk2: queue=0 requests=4 "));
	CHECK(vubox_said(v, "vubox: blk3: state=listening features=0x0 socket="));
	CHECK_EQ(vubox_end(v, SIGTERM), 0);
	CHECK(access(path, F_OK) != 0);
}

/* ---- what is counted of one queue ---- */

static struct rig r;
static const char *r_stats;

static void serve_one(void)
{
	r_stats = harness_path("stats");
	rig_serve(&r, RIG_DISK_BYTES,
		(const char *const[]){ herd_text("--stats=%s", r_stats, 0), NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_run(&r);
}

static unsigned long long counter(const char *name)
{
	const char *word = herd_text("\"%s\":", name, 0), *at = strstr(stats(r_stats), word);
	unsigned long long n = 0;

	CHECK(at && sscanf(at + strlen(word), "%llu", &n) == 1);
	return n;
}

static void requests_bytes_and_errors(const char *with)
{
	static unsigned char data[4096];

	(void)with;
	serve_one();
	for (unsigned i = 0; i < 5; i++) {
		CHECK_EQ(counter("requests"), i);
		CHECK_EQ(counter("bytes"), i * (16 + 4096 + 1)); /* header, data, status */
		CHECK_EQ(rig_blk(&r, i % 2 ? BLK_OUT : BLK_IN, 0, data, 4096), BLK_OK);
	}
	CHECK_EQ(counter("errors"), 0);
	CHECK_EQ(rig_blk(&r, BLK_IN, RIG_DISK_BYTES / BLK_SECTOR, data, 512), BLK_IOERR);
	CHECK_EQ(counter("errors"), 1);
	CHECK_EQ(counter("requests"), 6);
	CHECK(counter("kicks") >= 1);
	CHECK(counter("calls") >= 1);
	CHECK_EQ(counter("breaks"), 0);
	CHECK_EQ(counter("in_flight"), 0);
	/* They are of the process: a front-end that goes takes nothing along. */
	rig_disconnect(&r);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(counter("requests"), 6);
}

static void a_queue_that_breaks(const char *with)
{
	struct driver_buffer nothing = { RIG_GUEST, 0, false };
	struct driver_chain chain = { .buffers = &nothing, .count = 1 };

	(void)with;
	serve_one();
	CHECK(driver_add(&r.queues[0].driver, &chain) >= 0);
	front_queue_offer(&r.queues[0]);
	UNTIL(counter("breaks") == 1);
	CHECK(strstr(stats(r_stats), "\"broken\":true"));
	CHECK_EQ(counter("requests"), 0);
}

/* Clients that come and go, and some that never read, are no burden. */
static void clients_of_all_kinds(const char *with)
{
	enum { SILENT = 20 };
	const char *path = harness_path("stats");
	int silent[SILENT];
	unsigned fds;

	(void)with;
	herd_serve(&h, 2, (const char *const[]){ herd_text("--stats=%s", path, 0), NULL });
	herd_guest(&h);
	herd_come(&h, 0);
	herd_works(&h, 0);
	CHECK(strstr(stats(path), "{\"queue\":0,"));
	CHECK_EQ(front_settle(&h.rigs[0].front), 0);
	fds = vubox_fds(v);
	for (unsigned i = 0; i < SILENT; i++)
		silent[i] = connect_to(path);
	for (unsigned i = 0; i < 100; i++) {
		close(connect_to(path));
		herd_works(&h, 0);
	}
	CHECK(strstr(stats(path), "{\"queue\":0,"));
	for (unsigned i = 0; i < SILENT; i++) {
		CHECK_EQ(send(silent[i], "GET", 3, MSG_NOSIGNAL | MSG_DONTWAIT) == 3, false);
		close(silent[i]);
	}
	UNTIL(vubox_fds(v) == fds);
	herd_works(&h, 0);
}

static const struct harness_case cases[] = {
	CASE(counters_of_each),
	CASE_OF_EACH_FORMAT(requests_bytes_and_errors),
	CASE_OF_EACH_FORMAT(a_queue_that_breaks),
	CASE(clients_of_all_kinds),
};

HARNESS_MAIN(cases)
