/* What a benchmark measures: operations a second, latencies, processor time; and how it is said. */
#ifndef VUBOX_BENCH_FIGURES_H
#define VUBOX_BENCH_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

/* Buckets of 100 ns up to 100 us; from there on each is a 32nd of a power of two wide. */
enum { FINE_NS = 100, FINE_BUCKETS = 1000, PER_POWER = 32, POWERS = 24 };
enum { BUCKETS = FINE_BUCKETS + PER_POWER * POWERS };

struct figures {
	uint64_t begin_ns, end_ns;         /* of the time that counts */
	uint64_t cpu_begin_ns, cpu_end_ns; /* processor time of a process meanwhile */
	uint64_t done;
	uint64_t buckets[BUCKETS];
};

uint64_t figures_now_ns(void);
/* Processor time of a process, all threads; 0: this one. Ends the program if it is not there. */
uint64_t figures_cpu_ns(int pid);

void figures_late(struct figures *f, uint64_t ns, uint64_t count);
/* Microseconds that a part of all operations needed at most. */
double figures_percentile(const struct figures *f, double part);
/*
 * One line: operations a second, p50, p99 and, if it was measured, processor time of each, and how
 * many came for each call.
 */
void figures_print(const struct figures *f, bool cpu, double per_call);

/* Numbers that need not be good, only quick. */
static inline uint64_t figures_random(uint64_t *state)
{
	*state ^= *state << 13; /* xorshift64 */
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* One of 0 to n - 1, without a division. */
static inline uint64_t figures_below(uint64_t *state, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)figures_random(state) * n) >> 64);
}

#endif
