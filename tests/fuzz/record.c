/* In-flight records of both formats, used as the rings use them, and lives that end anywhere. */
#include "record.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>

#include "fake_port.h"
#include "spec/vhost_user.h"

enum { CUTS_MAX = 4, NEVER = -1 };

struct record record;

static struct {
	const struct record_format *format;
	jmp_buf death;
	int stores_left; /* until the process dies; NEVER */
	int cuts[CUTS_MAX];
	unsigned cut_count;
	bool taking; /* death came while this one was taken: it counts or not */
	uint16_t entry;
	struct record_entry taken;
} state;

static void on_guest(const char *what, const void *at, size_t len)
{
	(void)at;
	(void)len;
	if (*what != 's' || state.stores_left == NEVER)
		return;
	if (state.stores_left-- == 0)
		longjmp(state.death, 1);
}

/* The next life or operation dies as the input has it. */
static void arm_cut(void)
{
	state.stores_left = NEVER;
	if (state.cut_count == 0)
		return;
	state.stores_left = state.cuts[0];
	memmove(state.cuts, state.cuts + 1, sizeof(state.cuts) - sizeof(state.cuts[0]));
	state.cut_count--;
}

unsigned record_slots(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RECORD_SIZE_MAX; i++)
		if (record.entries[i].state != RECORD_FREE)
			n += record.entries[i].slots;
	return n;
}

static unsigned count(enum record_state what)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RECORD_SIZE_MAX; i++)
		n += record.entries[i].state == what;
	return n;
}

/* ---- a life begins ---- */

static void attach_once(int *found)
{
	memset(&record.in, 0, sizeof(record.in));
	*found = state.format->attach();
}

/* Whether the flag of an entry is set, as both formats have it. */
static bool is_marked(uint16_t i)
{
	size_t header = state.format->packed ? sizeof(struct vhost_user_queue_region_packed)
					     : sizeof(struct vhost_user_queue_region_split);
	size_t size = state.format->packed ? sizeof(struct vhost_user_desc_state_packed)
					   : sizeof(struct vhost_user_desc_state_split);

	return ((const uint8_t *)record.region)[header + size * i] != 0;
}

/* What the record says is exactly what was not given back. */
static void expect_found(int found)
{
	if (found > record.ring_size)
		fake_die("%d requests in a ring of %u", found, record.ring_size);
	if (!record.honest)
		return;
	if ((found < 0) != (record.ring_size > record.desc_num))
		fake_die("attached: %d", found);
	if (found < 0)
		return;
	if (state.taking && is_marked(state.entry))
		record.entries[state.entry] = state.taken;
	if ((unsigned)found != count(RECORD_OWED) || record.slots != record_slots())
		fake_die(
			"%d requests are found, %u were not given back", found, count(RECORD_OWED));
	if (record.used != record.shown)
		fake_die("it goes on at 0x%x, the driver at 0x%x", record.used, record.shown);
}

static void attach(void)
{
	static int found;
	unsigned i;

	for (i = 0; i < RECORD_SIZE_MAX; i++)
		if (record.entries[i].state != RECORD_FREE)
			record.entries[i].state = RECORD_OWED;
	record.batch = 0;
	do
		arm_cut();
	while (setjmp(state.death) != 0 || (attach_once(&found), false));
	state.stores_left = NEVER;
	expect_found(found);
	record.stopped = found < 0;
	state.taking = false;
	for (i = 0; !record.honest && i < RECORD_SIZE_MAX; i++)
		record.entries[i] = (struct record_entry){
			.state = i < record.in.desc_num && is_marked(i) ? RECORD_OWED : RECORD_FREE
		};
	if (!record.honest)
		record.shown = record.used;
}

/* ---- what a ring does ---- */

/* The one that must be done again first. */
static bool is_oldest(uint16_t entry)
{
	for (unsigned i = 0; i < RECORD_SIZE_MAX; i++)
		if (record.entries[i].state == RECORD_OWED &&
			record.entries[i].order < record.entries[entry].order)
			return false;
	return true;
}

static void resubmit(void)
{
	uint16_t entry = UINT16_MAX;

	if (record.in.resubmit_left == 0)
		return;
	if (!inflight_resubmit(&record.in, &entry)) {
		if (record.honest)
			fake_die("%u requests are not done again", count(RECORD_OWED));
		return;
	}
	if (entry >= record.desc_num || (!state.format->packed && entry >= record.ring_size))
		fake_die("entry %u is outside", entry);
	if (record.honest && (record.entries[entry].state != RECORD_OWED || !is_oldest(entry)))
		fake_die("entry %u is not the next to be done again", entry);
	if (!state.format->again(entry)) {
		if (record.honest)
			fake_die("entry %u cannot be done again", entry);
		record.stopped = true;
		return;
	}
	inflight_retake(&record.in, entry);
	record.entries[entry].state = RECORD_TAKEN;
}

static void take(uint8_t choice)
{
	uint16_t slots = 1;
	int entry;

	if (record.in.resubmit_left > 0 || (entry = state.format->choose(choice, &slots)) < 0)
		return;
	if (record.honest && record.entries[entry].state != RECORD_FREE)
		fake_die("entry %d is taken twice", entry);
	state.entry = (uint16_t)entry;
	state.taken = (struct record_entry){ RECORD_OWED, slots, record.orders++ };
	state.taking = true;
	record.entries[entry] = (struct record_entry){ .order = state.taken.order, .slots = slots };
	state.format->take((uint16_t)entry);
	state.taking = false;
	record.entries[entry].state = RECORD_TAKEN;
}

static void push(uint8_t choice)
{
	for (unsigned n = 0; n < RECORD_SIZE_MAX; n++) {
		uint16_t entry = (uint16_t)((choice + n) % RECORD_SIZE_MAX);
		struct record_entry *e = &record.entries[entry];

		if (e->state != RECORD_TAKEN)
			continue;
		state.format->push(entry, record.batch == 0);
		e->state = RECORD_PUSHED;
		record.batch++;
		record.used = state.format->behind(record.used, e->slots);
		return;
	}
}

static void publish(void)
{
	if (record.batch == 0)
		return;
	state.format->publish();
	record.shown = record.used;
	for (unsigned i = 0; i < RECORD_SIZE_MAX; i++)
		if (record.entries[i].state == RECORD_PUSHED)
			record.entries[i].state = RECORD_FREE;
	state.format->published();
	record.batch = 0;
}

/* The driver starts over, somewhere else: by a stop in order, or by a reset. */
static void start_over(uint8_t choice, uint16_t place)
{
	if (choice % 2 == 0) {
		if (record_slots() > 0 || record.in.resubmit_left > 0)
			return;
		state.format->settle();
	} else {
		inflight_forget(record.region);
		memset(record.entries, 0, sizeof(record.entries));
	}
	record.shown = record.fresh = state.format->place(place);
	attach();
}

/* The process dies: what the front-end knows of the ring is old. */
static void die(void)
{
	record.fresh = state.format->behind(record.shown, 1);
	attach();
}

static void step(struct input *in)
{
	uint8_t op = take8(in), choice = take8(in);

	switch (op % 16) {
	case 0:
	case 1:
	case 2: resubmit(); break;
	case 3:
	case 4:
	case 5:
	case 6: take(choice); break;
	case 7:
	case 8:
	case 9: push(choice); break;
	case 10:
	case 11: publish(); break;
	case 12: die(); break;
	case 13:
		if (state.cut_count < CUTS_MAX)
			state.cuts[state.cut_count++] = choice % 32;
		break;
	case 14: start_over(choice, take16(in)); break;
	case 15:
		if (!record.honest)
			((uint8_t *)record.region)[(choice | op << 4) % record.bytes] = take8(in);
		break;
	}
}

static void begin(const struct record_format *format, struct input *in)
{
	uint8_t how = take8(in), desc_num = take8(in);

	memset(&record, 0, sizeof(record));
	memset(&state, 0, sizeof(state));
	state.format = format;
	state.stores_left = NEVER;
	fuzz_on_guest = on_guest;
	record.honest = how % 4 != 0;
	record.desc_num = 1 + desc_num % RECORD_SIZE_MAX;
	record.ring_size = format->size(take8(in));
	record.shown = record.fresh = format->place(take16(in));
	record.bytes = inflight_region_bytes(format->packed, record.desc_num);
	record.region = malloc(record.bytes);
	if (!record.region)
		abort();
	memset((void *)record.region, 0, record.bytes);
	if (!record.honest)
		(void)take_bytes(in, (void *)record.region, take16(in) % (record.bytes + 1));
}

void record_run(const struct record_format *format, struct input *in)
{
	begin(format, in);
	attach();
	while (in->left > 0 && !record.stopped) {
		if (setjmp(state.death) != 0) {
			die();
			continue;
		}
		arm_cut();
		step(in);
		state.stores_left = NEVER;
	}
	free(record.region);
}
