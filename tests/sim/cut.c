/*
 * Death at a chosen moment: before any store to shared memory or call of the port, or in the middle
 * of a store that is no single one. Tried for every such moment of a workload.
 */
#include "sim.h"

#include <string.h>

enum { TORN_MAX = 64 };

/* The store that is torn: what was there before it. */
static struct {
	char *at;
	size_t len;
	char before[TORN_MAX];
} torn;

_Noreturn static void die(const char *what)
{
	sim_note("dies before %s (event %llu of life %u)", what,
		(unsigned long long)w.events[w.deaths], w.deaths);
	w.killed = true;
	fake_stop();
}

/* The store has happened since: a part of it, at either end, has not. */
void cut_finish(void)
{
	uint32_t whole;

	if (!torn.at)
		return;
	whole = 1 + fake_random((uint32_t)torn.len - 1);
	if (fake_random(2) == 0)
		memcpy(torn.at, torn.before, whole);
	else
		memcpy(torn.at + whole, torn.before + whole, torn.len - whole);
	torn.at = NULL;
	die("the end of a store");
}

void cut_event(const char *what, void *at, size_t len)
{
	bool store = at != NULL, pieces = len > 1 && len <= TORN_MAX;

	if (!w.running)
		return;
	cut_finish();
	if (!w.counting)
		return;
	w.events[w.deaths]++;
	w.stores += store;
	if (w.cut_in == 0 || (w.cut_stores && !store) || --w.cut_in > 0)
		return;
	w.pieces |= pieces && w.deaths == 0;
	if (!pieces || !w.tearing)
		die(what);
	torn.at = at;
	torn.len = len;
	memcpy(torn.before, at, len);
}

void cut_reset(void)
{
	torn.at = NULL;
}
