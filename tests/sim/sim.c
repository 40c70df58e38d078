/* Seeds: each decides a world and its schedule, and is a test of its own. */
#include "sim.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEDS_DEFAULT = 20000, BATCH = 500, HANG_S = 5 };

struct world w;

/* What the process that runs the seeds leaves for the one that reports. */
static struct report {
	uint64_t seed, accesses;
	char why[256];
} * report;

__attribute__((format(printf, 1, 2))) void sim_note(const char *format, ...)
{
	va_list args;

	if (!w.verbose)
		return;
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

const char *sim_log(void)
{
	return fake.log + (fake.log_len > 150 ? fake.log_len - 150 : 0);
}

static void died(const char *text)
{
	(void)snprintf(report->why, sizeof(report->why), "%s", text);
	report->accesses += w.accesses;
	sim_note("%s", text);
	_exit(3);
}

/* ---- a world ---- */

static bool one_in(uint32_t n)
{
	return fake_random(n) == 0;
}

static void make_front(struct front *f, unsigned index)
{
	*f = (struct front){
		.index = index, .fd = -1, .backend_fd = -1, .inflight_fd = -1, .fresh = true
	};
	f->blk = index == 0 ? !one_in(8) : one_in(2);
	f->queue_count = (uint16_t)(f->blk ? 1 + fake_random(QUEUES_MAX) : 1);
	f->queue_size_max = (uint16_t)(f->blk ? 4u << fake_random(5) : RING_MAX);
	f->read_only = f->blk && one_in(8);
	(void)snprintf(f->path, sizeof(f->path), "s%u", index);
	(void)snprintf(f->serial, sizeof(f->serial), "serial%u", index % 10);
	f->client = one_in(8);
	f->growing = one_in(8);
	if (f->client)
		f->listener = fake_listen(f->path);
	if (f->blk) {
		(void)snprintf(f->image, sizeof(f->image), "i%u", index);
		disk_new(&f->disk, f->image, 32 + fake_random(SECTORS_MAX - 31));
	} else if (one_in(3)) {
		(void)snprintf(f->image, sizeof(f->image), "r%u", index);
		fake_stream_new(f->image, true);
	}
	for (unsigned i = 0; i < QUEUES_MAX; i++) {
		struct sim_queue *q = &f->queues[i];

		q->front = f;
		q->index = (uint16_t)i;
		q->kick = q->call = q->err = -1;
	}
}

/* Now and then there is a bad driver: of a whole device, or of one queue of it. */
static void make_evil(void)
{
	struct front *f = &w.fronts[fake_random(w.front_count)];

	if (!one_in(4))
		return;
	f->evil = f->queue_count == 1 || one_in(2);
	/* One bad queue beside good ones: what it can reach has to be told from what it cannot. */
	f->read_only |= !f->evil;
	f->memory.odd = !f->evil;
	for (unsigned i = 0; i < f->queue_count; i++)
		f->queues[i].evil = f->evil || i == 0;
	w.actions_left += 20;
	w.posts_left += 200;
}

static void make_faults(void)
{
	w.faults = one_in(8);
	w.io_fails = one_in(6);
	fake.fail_one_in = 10 + fake_random(40);
	if (w.faults)
		fake.fail_mask = 1u << FAKE_RECV | 1u << FAKE_SEND | 1u << FAKE_MAP |
				 1u << FAKE_ACCEPT | 1u << FAKE_NOTIFY_TAKE |
				 1u << FAKE_SHARED_FILE | 1u << FAKE_CONNECT | 1u << FAKE_WAIT_ADD;
	if (w.io_fails)
		fake.fail_mask |= 1u << FAKE_IO | 1u << FAKE_RANDOM | 1u << FAKE_STREAM_READ;
}

static void make_world(uint64_t seed, bool verbose)
{
	fake_reset(seed);
	memset(&w, 0, sizeof(w));
	w.verbose = fake.verbose = verbose;
	fake.on_die = died;
	fake.strict_io = true;
	fake.shuffle = one_in(2);
	fake.in_pieces = one_in(4);
	fake.io_delay_ns = one_in(4) ? 0 : one_in(2) ? 3000 : 50000;
	w.front_count = 1 + fake_random(FRONTS_MAX);
	for (unsigned i = 0; i < w.front_count; i++)
		make_front(&w.fronts[i], i);
	w.posts_left = 10 + fake_random(80);
	w.actions_left = fake_random(12);
	make_evil();
	make_faults();
	w.chattiness = 2u << fake_random(6);
	w.poll_ns = one_in(12) ? 2000 : 0;
	if (one_in(3)) {
		w.kills = 1 + fake_random(2);
		w.kill_in = 1 + fake_random(3000);
		w.power_loss = one_in(3);
	}
	guest_install();
}

/* ---- a run ---- */

static void feed(struct front *f, size_t len)
{
	static char bytes[1 << 16];

	if (f->blk || f->image[0] == 0)
		return;
	memset(bytes, 'r', sizeof(bytes));
	fake_stream_feed(f->image, bytes, len < sizeof(bytes) ? len : sizeof(bytes));
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

/* All that waits is done, and then all is as it must be. */
static void finish(void)
{
	w.finishing = true;
	w.posts_left = 0;
	fake.fail_mask = 0;
	for (unsigned i = 0; i < w.front_count; i++) {
		struct front *f = &w.fronts[i];

		if (f->connected && w.faults)
			(void)wire_sync(f); /* may find that it is lost */
		feed(f, 1 << 16);
		if (!f->connected)
			front_up(f);
		for (unsigned k = 0; k < f->queues_used; k++)
			front_enable(f, &f->queues[k], true);
	}
	w.faults = false;
	(void)life_run(never, NULL);
	for (unsigned i = 0; i < w.front_count; i++) {
		struct front *f = &w.fronts[i];

		if (f->blk && !f->evil)
			disk_check(&f->disk, false);
		if (!f->evil)
			memory_check(&f->memory);
	}
}

static void lose_power(void)
{
	sim_note("power is lost");
	for (unsigned i = 0; i < w.front_count; i++) {
		struct front *f = &w.fronts[i];

		if (!f->blk || f->evil)
			continue;
		fake_power_loss(f->disk.image);
		disk_check(&f->disk, true);
	}
}

static void end(void)
{
	w.kill_in = 0;
	if (one_in(4)) {
		lose_power();
		return;
	}
	if (one_in(4)) {
		life_terminate();
		return;
	}
	for (unsigned i = 0; i < w.front_count; i++) {
		if (w.fronts[i].client)
			fake_close(w.fronts[i].listener);
		front_hang_up(&w.fronts[i]);
	}
	(void)life_run(never, NULL);
	life_check_leaks();
}

/* The process was killed between two accesses: true if the host was, too. */
static bool after_death(void)
{
	bool last = --w.kills == 0;

	w.killed = false;
	w.has_died = true;
	sim_note("killed");
	life_end();
	if (last && w.power_loss)
		lose_power();
	else if (!last)
		w.kill_in = 1 + fake_random(2000);
	return last && w.power_loss;
}

static void run_seed(uint64_t seed, bool verbose)
{
	make_world(seed, verbose);
	if (setjmp(w.killed_jump) != 0 && after_death())
		return;
	life_begin();
	if (!w.finishing) {
		for (unsigned i = 0; i < w.front_count; i++)
			front_up(&w.fronts[i]);
		while (w.actions_left > 0) {
			struct front *f = &w.fronts[fake_random(w.front_count)];

			w.actions_left--;
			life_ticks(fake_random(40));
			feed(f, fake_random(300));
			action_any(f);
		}
		(void)life_run(never, NULL);
	}
	finish();
	end();
}

/* ---- many seeds ---- */

/* A seed takes a millisecond. Time of the processor: a busy machine decides nothing. */
static void watch_for_hang(void)
{
	(void)setitimer(ITIMER_VIRTUAL, &(struct itimerval){ .it_value.tv_sec = HANG_S }, NULL);
}

static int run_batch(uint64_t from, uint64_t to, bool verbose)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		for (uint64_t seed = from; seed <= to; seed++) {
			report->seed = seed;
			watch_for_hang();
			run_seed(seed, verbose);
			report->accesses += w.accesses;
		}
		fake_reset(0);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -errno;
	if (WIFSIGNALED(status) && report->why[0] == 0)
		(void)snprintf(report->why, sizeof(report->why),
			WTERMSIG(status) == SIGVTALRM ? "it hangs without an access to memory"
						      : "killed by signal %d",
			WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0 && report->why[0] == 0)
		(void)snprintf(
			report->why, sizeof(report->why), "a sanitizer stopped it (see stderr)");
	return status;
}

/* Up to the first seed that finds something. */
static int run_seeds(uint64_t from, uint64_t to, bool verbose)
{
	for (uint64_t seed = from; seed <= to; seed += BATCH) {
		if (run_batch(seed, seed + BATCH - 1 < to ? seed + BATCH - 1 : to, verbose) == 0)
			continue;
		for (char *c = report->why; *c != 0; c++)
			if (*c == '\n')
				*c = '|';
		printf("not ok sim seeds %llu-%llu: seed %llu: %s "
		       "(replay: build/tests/sim/sim --seed %llu -v)\n",
			(unsigned long long)from, (unsigned long long)to,
			(unsigned long long)report->seed, report->why,
			(unsigned long long)report->seed);
		return 1;
	}
	printf("ok sim seeds %llu-%llu (%llu seeds, %llu guest accesses)\n",
		(unsigned long long)from, (unsigned long long)to, (unsigned long long)to - from + 1,
		(unsigned long long)report->accesses);
	return 0;
}

/* For the sanitizer: nothing is kept long, and leaks are what we count ourselves. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8:detect_leaks=0:exitcode=99";
}

int main(int argc, char **argv)
{
	uint64_t from = 1, to = SEEDS_DEFAULT;
	bool verbose = false;

	for (int i = 1; i < argc; i++) {
		char *end_of = NULL;

		if (strcmp(argv[i], "-v") == 0) {
			verbose = true;
			continue;
		}
		if (i + 1 < argc &&
			(strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--seeds") == 0)) {
			from = to = strtoull(argv[++i], &end_of, 10);
			if (*end_of == '-')
				to = strtoull(end_of + 1, &end_of, 10);
		}
		if (!end_of || *end_of != 0 || from > to) {
			fprintf(stderr, "usage: %s [--seeds FROM-TO | --seed S] [-v]\n", argv[0]);
			return 2;
		}
	}
	report = mmap(
		/* cppcheck-suppress invalidFunctionArg ; an anonymous mapping has no file */
		NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED)
		return 2;
	life_remember();
	return run_seeds(from, to, verbose);
}
