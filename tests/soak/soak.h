/*
 * A soak: real processes of vubox, each device with a guest of its own that lives, and dies, again
 * and again; meanwhile a keeper does to the processes what hosts do. See keeper.c for the whole.
 *
 * A guest is a process. What it finds wrong it says by soak_fail, which ends the run; what goes
 * wrong because the keeper made trouble at that time is no finding.
 */
#ifndef VUBOX_SOAK_H
#define VUBOX_SOAK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SEATS_MAX = 12, PROCESSES = 2, STABLE = 0, MORTAL = 1 };
enum { SECTOR = 512, DISK_SECTORS = 16384, DISK_SECTORS_MAX = 32768 };

enum seat_kind { SEAT_DISK, SEAT_VICTIM, SEAT_ENTROPY };

/* A device, and who uses it: STABLE is never killed, MORTAL often. */
struct seat {
	const char *name, *options; /* of the command line, behind the socket */
	enum seat_kind kind;
	unsigned process;
	char socket[100], image[100];
};

/* What all processes see. */
struct soak_shared {
	atomic_uint pause, stop, failed;
	atomic_uint resting;           /* guests that do nothing now */
	atomic_uint troubles;          /* odd: there is trouble now */
	atomic_uint deaths[PROCESSES]; /* odd: it is dead or dying */
	/* For the line a minute. */
	atomic_uint lives, resumed, requests, plugged, rude, stopped;
	atomic_uint lives_of[SEATS_MAX];
	char why[300];
};

extern struct soak_shared *soak;

/* This guest has found a bug: the run ends, and says why. */
__attribute__((noreturn, format(printf, 1, 2))) void soak_fail(const char *format, ...);

/* Random numbers of this process. */
void soak_seed(uint64_t seed);
uint64_t soak_random(void);
/* Below n. */
uint32_t soak_below(uint32_t n);
bool soak_one_in(uint32_t n);

/* Whether what the keeper did since may be the reason of a failure now. */
struct soak_peace {
	unsigned troubles, deaths, process;
};
struct soak_peace soak_peace(const struct seat *seat);
/* Waits a little, as who is to blame may be told late. */
bool soak_disturbed(const struct soak_peace *since);
/* Somebody wants this guest to end its life soon. */
bool soak_wants_rest(void);

/* Guests: they return after each life. */
void guest_life(const struct seat *seat);
void victim_life(const struct seat *seat);
void entropy_life(const struct seat *seat);

#endif
