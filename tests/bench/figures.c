/* What a benchmark measures, and how it is said. */
#include "figures.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FINE_END_NS = FINE_NS * FINE_BUCKETS };

uint64_t figures_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * Its processor clock: nanoseconds, all threads, those that have ended meanwhile as well. Files in
 * /proc have clock ticks, or one thread.
 */
uint64_t figures_cpu_ns(int pid)
{
	struct timespec t;
	clockid_t clock;
	int error = clock_getcpuclockid(pid, &clock);

	if (error != 0 || clock_gettime(clock, &t) != 0) {
		fprintf(stderr, "bench: no processor clock of process %d: %s\n", pid,
			strerror(error != 0 ? error : errno));
		exit(1);
	}
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Where a bucket ends. */
static double bucket_end_ns(unsigned bucket)
{
	unsigned coarse = bucket - FINE_BUCKETS;

	if (bucket < FINE_BUCKETS)
		return FINE_NS * (bucket + 1.0);
	return (double)FINE_END_NS * (double)(1ull << coarse / PER_POWER) *
	       (1 + (coarse % PER_POWER + 1.0) / PER_POWER);
}

void figures_late(struct figures *f, uint64_t ns, uint64_t count)
{
	unsigned power = 0, bucket;

	if (ns < FINE_END_NS) {
		bucket = (unsigned)(ns / FINE_NS);
	} else {
		while (power < POWERS - 1 && ns >> (power + 1) >= FINE_END_NS)
			power++;
		ns -= (uint64_t)FINE_END_NS << power;
		bucket = FINE_BUCKETS + power * PER_POWER +
			 (unsigned)(ns * PER_POWER / ((uint64_t)FINE_END_NS << power));
	}
	f->buckets[bucket < BUCKETS ? bucket : BUCKETS - 1] += count;
	f->done += count;
}

double figures_percentile(const struct figures *f, double part)
{
	uint64_t sum = 0;
	unsigned bucket = 0;

	while (bucket < BUCKETS - 1) {
		sum += f->buckets[bucket];
		if ((double)sum >= part * (double)f->done)
			break;
		bucket++;
	}
	return bucket_end_ns(bucket) / 1000;
}

void figures_print(const struct figures *f, bool cpu, double per_call)
{
	printf("%.0f %.1f %.1f", (double)f->done * 1e9 / (double)(f->end_ns - f->begin_ns),
		figures_percentile(f, 0.5), figures_percentile(f, 0.99));
	if (cpu && f->done > 0)
		printf(" %.3f", (double)(f->cpu_end_ns - f->cpu_begin_ns) / 1000 / (double)f->done);
	if (per_call > 0)
		printf(" %.1f", per_call);
	printf("\n");
}
