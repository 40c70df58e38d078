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
enum { SEEN_COUNT = sizeof(struct seen) / sizeof(uint64_t), SEEN_ALL_FROM = 20 };

struct world w;

/* What the process that runs the seeds leaves for the one that reports. */
static struct report {
	struct run run;
	uint64_t accesses, deaths, second_deaths;
	struct seen seen;
	char why[256];
} * report;

/* What is asked for. */
static struct {
	uint64_t from, to;
	bool cuts, others, deep, verbose;
	bool single; /* the run in the report */
} want = { .from = 1, .to = SEEDS_DEFAULT };

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

_Noreturn void sim_died(const char *text)
{
	(void)snprintf(report->why, sizeof(report->why), "%s", text);
	report->accesses += w.accesses;
	sim_note("%s", text);
	_exit(3);
}

/* A run takes a millisecond. Time of the processor: a busy machine decides nothing. */
static void run(struct run r)
{
	(void)setitimer(ITIMER_VIRTUAL, &(struct itimerval){ .it_value.tv_sec = HANG_S }, NULL);
	report->run = r;
	world_run(&report->run);
	report->accesses += w.accesses;
	report->deaths += r.at[0] > 0;
	report->second_deaths += r.at[1] > 0;
	for (size_t i = 0; i < SEEN_COUNT; i++)
		((uint64_t *)&report->seen)[i] += ((const uint64_t *)&w.seen)[i];
}

/* ---- a workload, and deaths before each of its stores and calls ---- */

/*
 * One death; one within the store; and another one in the next life, at a store and anywhere, or
 * (deep) everywhere. Of the I/O in flight all is done, or none.
 */
static void cut_at(struct run r, uint64_t at)
{
	uint64_t events, stores;
	bool pieces;

	r.at[0] = at;
	r.fate[0] = FAKE_DONE;
	run(r);
	events = w.events[1];
	stores = w.stores;
	pieces = w.pieces;
	r.fate[0] = FAKE_LOST;
	if (want.deep)
		run(r);
	for (uint64_t n = 0; n < (want.deep ? events : events > 0); n++) {
		r.at[1] = 1 + (want.deep ? n : at * 7919 % events);
		r.fate[1] = (at + n) % 2 == 0 ? FAKE_DONE : FAKE_LOST;
		if (want.deep)
			r.fate[0] = (at + n) % 4 < 2 ? FAKE_DONE : FAKE_LOST;
		run(r);
	}
	r.stores = true;
	r.at[1] = stores > 0 ? 1 + at * 104729 % stores : 0;
	run(r);
	r.torn = true;
	r.fate[0] = FAKE_DONE;
	if (at % 2 == 0)
		r.at[1] = 0;
	if (pieces)
		run(r);
}

static void cut_everywhere(struct run r)
{
	uint64_t events;

	run(r);
	events = w.events[0];
	for (uint64_t at = 1; at <= events; at++)
		cut_at(r, at);
}

/* ---- many seeds ---- */

static void run_batch(uint64_t from, uint64_t to)
{
	for (uint64_t seed = from; seed <= to; seed++) {
		struct run r = { .seed = seed,
			.cuts = want.cuts,
			.others = want.others,
			.verbose = want.verbose };

		if (want.single)
			run(report->run);
		else if (want.cuts)
			cut_everywhere(r);
		else
			run(r);
	}
}

static int run_apart(uint64_t from, uint64_t to)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		run_batch(from, to);
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

static void say_failed(const char *name)
{
	const struct run *r = &report->run;

	for (char *c = report->why; *c != 0; c++)
		if (*c == '\n')
			*c = '|';
	printf("not ok %s: seed %llu: %s (replay: build/tests/sim/sim ", name,
		(unsigned long long)r->seed, report->why);
	if (r->cuts)
		printf("--cut %llu,%llu,%llu,%d,%d,%d,%d -v)\n", (unsigned long long)r->seed,
			(unsigned long long)r->at[0], (unsigned long long)r->at[1], r->fate[0],
			r->fate[1], r->torn, r->stores);
	else
		printf("%s %llu -v)\n", r->others ? "--others" : "--seed",
			(unsigned long long)r->seed);
}

/* So many workloads must have had all that the proof is about. */
static int say_passed(const char *name)
{
	const struct seen *seen = &report->seen;
	bool all = true;

	for (size_t i = 0; i < SEEN_COUNT; i++)
		all &= ((const uint64_t *)seen)[i] > 0;
	if (!all && !want.others && want.to - want.from + 1 >= SEEN_ALL_FROM) {
		printf("not ok %s: it did not try what it should (see sim.h: struct seen)\n", name);
		return 1;
	}
	printf("ok %s (%llu guest accesses", name, (unsigned long long)report->accesses);
	if (want.cuts)
		printf(", %llu deaths, %llu of them with a second one; %llu requests done again, "
		       "%llu batches, %llu over the ring's end, %llu of a whole ring",
			(unsigned long long)report->deaths,
			(unsigned long long)report->second_deaths, (unsigned long long)seen->again,
			(unsigned long long)seen->batches, (unsigned long long)seen->wrapped,
			(unsigned long long)seen->whole);
	printf(")\n");
	return 0;
}

/* Up to the first run that finds something. */
static int run_all(void)
{
	uint64_t batch = want.cuts ? 1 : BATCH;
	char name[64];

	(void)snprintf(name, sizeof(name), "sim %s %llu-%llu",
		want.cuts     ? "cuts"
		: want.others ? "others"
			      : "seeds",
		(unsigned long long)want.from, (unsigned long long)want.to);
	for (uint64_t seed = want.from; seed <= want.to; seed += batch) {
		uint64_t last = seed + batch - 1;

		if (run_apart(seed, last < want.to ? last : want.to) == 0)
			continue;
		say_failed(name);
		return 1;
	}
	return say_passed(name);
}

/* For the sanitizer: nothing is kept long, and leaks are what we count ourselves. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8:detect_leaks=0:exitcode=99";
}

/* SEED, two events, and the rest of struct run, as say_failed has it. */
static bool parse_cut(const char *text)
{
	unsigned long long n[7] = { 0 };
	struct run *r = &report->run;
	int parts = sscanf(text, "%llu,%llu,%llu,%llu,%llu,%llu,%llu", &n[0], &n[1], &n[2], &n[3],
		&n[4], &n[5], &n[6]);

	*r = (struct run){ .seed = n[0],
		.cuts = true,
		.at = { n[1], n[2] },
		.fate = { (enum fake_fate)n[3], (enum fake_fate)n[4] },
		.torn = n[5] != 0,
		.stores = n[6] != 0 };
	want.from = want.to = n[0];
	want.cuts = want.single = true;
	return parts == 7;
}

static bool parse_seeds(const char *text)
{
	char *end;

	want.from = want.to = strtoull(text, &end, 10);
	if (*end == '-')
		want.to = strtoull(end + 1, &end, 10);
	return *end == 0 && want.from <= want.to;
}

static bool parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i];

		if (strcmp(name, "-v") == 0) {
			want.verbose = true;
			continue;
		}
		if (strcmp(name, "--deep") == 0) {
			want.deep = true;
			continue;
		}
		if (++i == argc)
			return false;
		want.cuts |= strcmp(name, "--cuts") == 0;
		want.others |= strcmp(name, "--others") == 0;
		if (strcmp(name, "--cut") == 0 ? !parse_cut(argv[i]) : !parse_seeds(argv[i]))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	report = mmap(
		/* cppcheck-suppress invalidFunctionArg ; an anonymous mapping has no file */
		NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED)
		return 2;
	if (!parse(argc, argv)) {
		fprintf(stderr,
			"usage: %s [--seeds FROM-TO | --seed S | --others FROM-TO |"
			" --cuts FROM-TO [--deep] | --cut RUN] [-v]\n",
			argv[0]);
		return 2;
	}
	report->run.verbose = want.verbose;
	life_remember();
	return run_all();
}
