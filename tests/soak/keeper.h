/* The keeper: the processes of vubox, what it does to them, and what it measures. */
#ifndef VUBOX_SOAK_KEEPER_H
#define VUBOX_SOAK_KEEPER_H

#include <sys/types.h>

#include "soak.h"

struct keeper {
	const char *program;
	bool sanitized;
	char dir[80];
	struct seat seats[SEATS_MAX];
	unsigned seat_count;
	pid_t processes[PROCESSES], guests[SEATS_MAX];
};

extern struct keeper keeper;

/* ---- processes.c ---- */

void processes_start(unsigned which);
/* Ends one, and waits; fails if it does not end so. */
void processes_end(unsigned which, int signal);
/* Before SIGTERM or SIGHUP is sent. */
void processes_wait_for_signals(unsigned which);
/* Fails if one has ended by itself, or a guest has. */
void processes_check(void);
void processes_show_log(unsigned which);

struct measure {
	unsigned fds, maps, anon_kib, rss_kib;
	long ticks;
};
struct measure processes_measure(unsigned which);

/* ---- trouble.c ---- */

/* Makes one kind of trouble, and ends it. */
void trouble_make(void);
/* What was made: a text for the line a minute. */
const char *trouble_counts(void);

#endif
