/*
 * Consoles and their ports (VIRTIO 5.3): bytes that are cut anywhere, control messages that say
 * anything, clients that are slow, come and go, and a process that is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../front/rig.h"

enum { RX, TX, CONTROL_RX, CONTROL_TX, RX1, TX1, QUEUES };
enum { READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME };
enum { SLOT_BYTES = 1 << 16 };

static struct rig r;
static char console[100], port[100];

/* A console and one port, both on sockets. */
static void serve(const char *option)
{
	static char backend[128], named[128];

	snprintf(console, sizeof(console), "%s", harness_path("console"));
	snprintf(port, sizeof(port), "%s", harness_path("port"));
	snprintf(backend, sizeof(backend), "--backend=unix:%s", console);
	snprintf(named, sizeof(named), "--port=data:unix:%s", port);
	vubox_start(&r.vubox, "console", (const char *const[]){ backend, named, option, NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_share(&r);
	for (unsigned i = 0; i < QUEUES; i++)
		rig_start(&r, rig_queue(&r));
}

/* A client of a socket, which does not block. */
static int client(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static uint64_t at(unsigned slot)
{
	return r.slots + (uint64_t)slot * SLOT_BYTES;
}

static void add(unsigned queue, const struct driver_buffer *buffers, unsigned count)
{
	struct driver_chain chain = { .buffers = buffers, .count = count };

	CHECK(driver_add(&r.queues[queue].driver, &chain) >= 0);
	front_queue_offer(&r.queues[queue]);
}

/* Sends bytes of a slot, cut into pieces of so many; their answer is waited for. */
static void send_cut(unsigned queue, const void *bytes, uint32_t len, uint32_t piece)
{
	struct driver_buffer buffers[64];
	uint32_t used;
	unsigned count = 0;

	CHECK(driver_write(&r.memory.driver, at(queue), bytes, len));
	for (uint32_t i = 0; i < len; i += piece)
		buffers[count++] = (struct driver_buffer){ at(queue) + i,
			len - i < piece ? len - i : piece, false };
	add(queue, buffers, count);
	rig_take(&r, &r.queues[queue], &used);
	CHECK_EQ(used, 0);
}

static void say(unsigned queue, const char *text)
{
	send_cut(queue, text, (uint32_t)strlen(text), 1000);
}

static void control(uint32_t id, uint16_t event, uint16_t value)
{
	unsigned char bytes[8];

	memcpy(bytes, &id, 4);
	memcpy(bytes + 4, &event, 2);
	memcpy(bytes + 6, &value, 2);
	send_cut(CONTROL_TX, bytes, 8, 3);
}

/* Reads from a client until it has so many bytes. */
static void hear(int fd, const void *bytes, size_t len)
{
	static unsigned char got[1 << 20];
	size_t have = 0;

	while (have < len) {
		ssize_t n = 0;

		UNTIL((n = read(fd, got + have, len - have)) >= 0 || errno != EAGAIN);
		CHECK(n > 0);
		have += (size_t)n;
	}
	CHECK_BYTES(got, bytes, len);
}

static void hear_text(int fd, const char *text)
{
	hear(fd, text, strlen(text));
}

/* Gives a buffer for input and waits for it. */
static uint32_t get(unsigned queue, uint32_t len)
{
	uint32_t used;

	add(queue, &(struct driver_buffer){ at(queue), len, true }, 1);
	rig_take(&r, &r.queues[queue], &used);
	return used;
}

/* Takes the next control message, of this event, for this port. */
static void told(uint32_t id, uint16_t event, uint16_t value)
{
	unsigned char should[8], is[8];

	memcpy(should, &id, 4);
	memcpy(should + 4, &event, 2);
	memcpy(should + 6, &value, 2);
	CHECK_EQ(get(CONTROL_RX, 64), event == NAME ? 12 : 8);
	CHECK(driver_read(&r.memory.driver, at(CONTROL_RX), is, 8));
	CHECK_BYTES(is, should, 8);
}

static void begin(void)
{
	control(0, READY, 1);
	told(0, ADD, 1);
	told(1, ADD, 1);
	control(0, PORT_READY, 1);
	told(0, CONSOLE, 1);
	control(0, OPEN, 1);
	control(1, PORT_READY, 1);
	told(1, NAME, 1);
	told(1, OPEN, 0);
	control(1, OPEN, 1);
}

static void output_that_is_cut(const char *with)
{
	unsigned char bytes[60];
	int fd;

	(void)with;
	serve(NULL);
	fd = client(console);
	harness_fill(bytes, sizeof(bytes));
	for (uint32_t piece = 1; piece <= sizeof(bytes); piece += 7) {
		send_cut(TX, bytes, sizeof(bytes), piece);
		hear(fd, bytes, sizeof(bytes));
	}
}

static void input_that_is_cut(const char *with)
{
	struct driver_buffer pieces[40];
	unsigned char bytes[40];
	uint32_t used;
	int fd;

	(void)with;
	serve(NULL);
	fd = client(console);
	harness_fill(bytes, sizeof(bytes));
	for (unsigned i = 0; i < 40; i++)
		pieces[i] = (struct driver_buffer){ at(RX) + i, 1, true };
	CHECK_EQ(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	add(RX, pieces, 40);
	rig_take(&r, &r.queues[RX], &used);
	CHECK_EQ(used, 40);
	CHECK_BYTES(driver_at(&r.memory.driver, at(RX), 40), bytes, 40);
}

/* 1 MiB each way at once through the port, with a guest that waits. */
static void much_both_ways(const char *with)
{
	static unsigned char bytes[1 << 20], got[1 << 20];
	size_t sent = 0, heard = 0, in = 0, out = 0;
	int fd;

	(void)with;
	serve("--backpressure");
	begin();
	fd = client(port);
	told(1, OPEN, 1);
	harness_fill(bytes, sizeof(bytes));
	while (heard < sizeof(bytes) || in < sizeof(bytes)) {
		struct driver_used used;
		ssize_t n = write(fd, bytes + sent, sizeof(bytes) - sent);

		sent += n > 0 ? (size_t)n : 0;
		n = read(fd, got, 5000);
		if (n > 0) {
			CHECK_BYTES(got, bytes + heard, n);
			heard += (size_t)n;
		}
		if (out < sizeof(bytes)) {
			uint32_t len = sizeof(bytes) - out < 40000 ? sizeof(bytes) - out : 40000;

			if (r.queues[TX1].driver.out_count == 0) {
				CHECK(driver_write(&r.memory.driver, at(TX1), bytes + out, len));
				add(TX1, &(struct driver_buffer){ at(TX1), len, false }, 1);
				out += len;
			}
		}
		(void)driver_poll(&r.queues[TX1].driver, &used);
		if (in < sizeof(bytes)) {
			uint32_t len = get(RX1, 3000);

			CHECK_BYTES(driver_at(&r.memory.driver, at(RX1), len), bytes + in, len);
			in += len;
		}
	}
}

/* Whatever it says, the port works afterwards. */
static void control_messages_that_say_anything(const char *with)
{
	unsigned char bytes[64];
	int fd;

	(void)with;
	serve(NULL);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t len = 1 + (uint32_t)(harness_random() % 24);

		harness_fill(bytes, sizeof(bytes));
		if (harness_random() % 2) {
			bytes[5] = bytes[7] = 0;
			bytes[4] &= 7;
			bytes[6] &= 1;
		}
		if (harness_random() % 2)
			bytes[1] = bytes[2] = bytes[3] = 0;
		send_cut(CONTROL_TX, bytes, len, 5);
	}
	control(1, OPEN, 1);
	fd = client(port);
	CHECK_EQ(write(fd, "works", 5), 5);
	CHECK_EQ(get(RX1, 64), 5);
	say(TX1, "both ways");
	hear_text(fd, "both ways");
	CHECK_EQ(front_settle(&r.front), 0);
}

static void clients_that_come_and_go(const char *with)
{
	unsigned fds;

	(void)with;
	serve(NULL);
	begin();
	CHECK_EQ(front_settle(&r.front), 0);
	fds = vubox_fds(&r.vubox);
	for (unsigned i = 0; i < 50; i++) {
		int fd = client(port);

		told(1, OPEN, 1);
		if (i % 2)
			say(TX1, "unread");
		close(fd);
		told(1, OPEN, 0);
	}
	CHECK_EQ(front_settle(&r.front), 0);
	CHECK_EQ(vubox_fds(&r.vubox), fds);
}

/* A client that reads nothing slows nobody down, and costs no time. */
static void a_client_that_reads_nothing(const char *with)
{
	static unsigned char bytes[30000];
	uint64_t ns;
	int deaf, fd;

	(void)with;
	serve(NULL);
	begin();
	deaf = client(port);
	told(1, OPEN, 1);
	for (unsigned i = 0; i < 100; i++)
		send_cut(TX1, bytes, sizeof(bytes), 1000);
	fd = client(console);
	say(TX, "still here");
	hear_text(fd, "still here");
	ns = vubox_cpu_ns(&r.vubox);
	usleep(100000);
	CHECK(vubox_cpu_ns(&r.vubox) - ns < 50000000);
	close(deaf);
}

/* With --backpressure its queue waits: only that one, and not when the front-end wants it back. */
static void a_client_that_is_waited_for(const char *with)
{
	static unsigned char bytes[30000];
	struct driver_used used;
	uint32_t base;
	int deaf, fd;
	unsigned i;

	(void)with;
	serve("--backpressure");
	begin();
	deaf = client(port);
	told(1, OPEN, 1);
	for (i = 0; i < 100; i++) {
		add(TX1, &(struct driver_buffer){ at(TX1), sizeof(bytes), false }, 1);
		if (front_queue_wait(&r.queues[TX1], &used, 300) < 0)
			break;
	}
	CHECK(i < 100);
	fd = client(console);
	say(TX, "still here");
	hear_text(fd, "still here");
	CHECK_EQ(front_get_vring_base(&r.front, TX1, &base), 0);
	close(deaf);
}

/* Input that the guest does not want costs nothing. */
static void a_guest_that_reads_nothing(const char *with)
{
	static char bytes[1 << 16];
	uint64_t ns;
	int fd;

	(void)with;
	serve(NULL);
	fd = client(console);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	CHECK_EQ(front_settle(&r.front), 0);
	ns = vubox_cpu_ns(&r.vubox);
	usleep(100000);
	CHECK(vubox_cpu_ns(&r.vubox) - ns < 50000000);
	for (unsigned i = 0; i < 20; i++)
		CHECK(get(RX, 4096) > 0);
}

/* The guest goes on after kill -9: what it had opened is, and it is told that nobody is there. */
static void killed(const char *with)
{
	static char backend[128], named[128];
	struct front_inflight inflight = { .queues = QUEUES, .queue_size = RIG_RING_SIZE };
	int fd, shared;

	(void)with;
	serve(NULL);
	CHECK_EQ(front_get_inflight_fd(&r.front, &inflight, &shared), 0);
	begin();
	fd = client(port);
	told(1, OPEN, 1);
	CHECK_EQ(vubox_end(&r.vubox, 9), -9);
	close(fd);
	snprintf(backend, sizeof(backend), "--backend=unix:%s", console);
	snprintf(named, sizeof(named), "--port=data:unix:%s", port);
	vubox_start(&r.vubox, "console", (const char *const[]){ backend, named, NULL });
	front_close(&r.front);
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_share(&r.front, &r.memory), 0);
	CHECK_EQ(front_set_inflight_fd(&r.front, &inflight, shared), 0);
	for (unsigned i = 0; i < QUEUES; i++)
		rig_start(&r, &r.queues[i]);
	told(1, OPEN, 0);
	fd = client(port);
	told(1, OPEN, 1);
	CHECK_EQ(write(fd, "on", 2), 2);
	CHECK_EQ(get(RX1, 64), 2);
	say(TX1, "and on");
	hear_text(fd, "and on");
}

/* In the cage, with real files: renamed, made anew, and opened again after SIGHUP. */
static void logs_in_the_cage(const char *with)
{
	char backend[128], old[128];
	struct stat st;

	(void)with;
	snprintf(backend, sizeof(backend), "--backend=file:%s", harness_path("log"));
	snprintf(old, sizeof(old), "%s.1", harness_path("log"));
	vubox_start(&r.vubox, "console",
		(const char *const[]){ backend, "--rotate=10", "--rotate-count=3", NULL });
	rig_negotiate(&r, ~0ull, ~0ull);
	rig_share(&r);
	rig_start(&r, rig_queue(&r));
	rig_start(&r, rig_queue(&r));
	say(TX, "0123456789abcdefghijABCDEFGHIJ+");
	CHECK(stat(old, &st) == 0 && st.st_size == 10);
	CHECK(stat(harness_path("log.3"), &st) == 0 && st.st_size == 10);
	CHECK(stat(harness_path("log"), &st) == 0 && st.st_size == 1);
	CHECK(stat(harness_path("log.4"), &st) < 0);
	CHECK_EQ(rename(harness_path("log"), harness_path("moved")), 0);
	CHECK_EQ(kill(r.vubox.pid, 1), 0);
	UNTIL(stat(harness_path("log"), &st) == 0);
	CHECK_EQ(front_settle(&r.front), 0);
	say(TX, "new");
	CHECK(stat(harness_path("log"), &st) == 0 && st.st_size == 3);
	CHECK_EQ(vubox_end(&r.vubox, 15), 0);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(output_that_is_cut),
	CASE_OF_EACH_FORMAT(input_that_is_cut),
	CASE_OF_EACH_FORMAT(much_both_ways),
	CASE_OF_EACH_FORMAT(control_messages_that_say_anything),
	CASE_OF_EACH_FORMAT(clients_that_come_and_go),
	CASE_OF_EACH_FORMAT(a_client_that_reads_nothing),
	CASE_OF_EACH_FORMAT(a_client_that_is_waited_for),
	CASE_OF_EACH_FORMAT(a_guest_that_reads_nothing),
	CASE_OF_EACH_FORMAT(killed),
	CASE(logs_in_the_cage),
};
HARNESS_MAIN(cases)
