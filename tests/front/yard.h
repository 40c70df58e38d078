/*
 * Where front-ends and drivers misbehave: a vubox with a disk (or another device: kinds.h), the
 * victim, and a second device of the same process with a front-end of its own, the bystander. After
 * whatever was done to the victim, yard_check says whether the promise was kept: the process lives,
 * is idle, holds nothing more than before, serves the next connection, and the bystander never
 * noticed.
 */
#ifndef VUBOX_TESTS_YARD_H
#define VUBOX_TESTS_YARD_H

#include "kinds.h"

/* A descriptor of either format; its id is a number that no driver of ours gives out. */
static inline struct driver_desc desc(uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	return (struct driver_desc){ addr, len, (uint16_t)flags, (uint16_t)next, 0xbeef };
}

struct yard {
	struct rig rig; /* the victim */
	struct rig other;
	const struct kind *kind; /* of the victim; NULL: it is a disk */
	bool fresh;              /* its queues have done nothing since they started */
	unsigned fds, maps;      /* of the process, without the victim's connection */
};

/* Starts it all with these options of the disk; the victim is not connected yet. */
void yard_serve(struct yard *y, const char *const *options);
/*
 * And connects the victim, with everything offered and so many running queues. In place of an
 * engine there may be the name of a kind: of that, all queues run.
 */
void yard_open(struct yard *y, const char *engine, unsigned queues);
/* The victim connects again, as yard_open does. */
void yard_connect(struct yard *y, unsigned queues);

/* The check that is common to all. It ends the victim's connection. */
void yard_check(struct yard *y);
/* The part of it that is quick, for many variants in one case; yard_check comes at the end. */
void yard_glance(struct yard *y);
/* Uses no processor time, whatever is connected. */
void yard_is_idle(struct yard *y);
/* A real read, data compared; or what shows that the victim works if it is no disk. */
void yard_reads(struct yard *y);
/* The bystander is served. */
void yard_bystander(struct yard *y);
/* Reset by its driver, which begins anew, with all its queues. */
void yard_reset(struct yard *y);
/* Makes the disk again what yard_reads expects, after something that may have written to it. */
void yard_repair(struct yard *y);

/*
 * Queue 0 of the victim was hurt: it breaks, is said once on the log (with `why` in it), by err and
 * as NEEDS_RESET; the victim's queue 1 goes on; a reset revives it. Then yard_check.
 */
void yard_breaks(struct yard *y, const char *why);
/* The same without the last check, and queue 0 is running again: for several in one case. */
void yard_breaks_and_heals(struct yard *y, const char *why);

#endif
