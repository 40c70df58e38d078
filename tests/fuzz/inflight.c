/* Records of split rings: honest ones must be right after any death, others only do no harm. */
#include "record.h"

static uint16_t size(uint8_t choice)
{
	return (uint16_t)(1u << choice % 5);
}

static uint16_t place(uint16_t choice)
{
	return choice;
}

static uint16_t behind(uint16_t used, uint16_t slots)
{
	return (uint16_t)(used + slots);
}

/* The used index is in the ring, not in the record. */
static int attach(void)
{
	int found = inflight_split_attach(
		&record.in, record.region, record.desc_num, record.ring_size, record.shown);

	record.used = record.shown;
	record.slots = (uint16_t)(found > 0 ? found : 0);
	return found;
}

static int choose(uint8_t choice, uint16_t *slots)
{
	uint16_t head = choice % record.ring_size;

	*slots = 1;
	return record.entries[head].state == RECORD_FREE ? head : -1;
}

static void take(uint16_t entry)
{
	inflight_split_take(&record.in, entry);
}

/* The descriptors are in the driver's table. */
static bool again(uint16_t entry)
{
	return record.entries[entry].state == RECORD_OWED;
}

static void push(uint16_t entry, bool first)
{
	(void)first;
	inflight_split_push(&record.in, entry);
}

static void publish(void)
{
}

static void published(void)
{
	inflight_split_publish(&record.in, record.batch, record.used);
}

static void settle(void)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const struct record_format split = { false, size, place, behind, attach, choose,
		take, again, push, publish, published, settle };

	record_run(&split, &(struct input){ bytes, len });
	return 0;
}
