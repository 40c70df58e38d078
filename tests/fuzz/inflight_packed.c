/* Records of packed rings: honest ones must be right after any death, others only do no harm. */
#include "fake_port.h"
#include "packed_model.h"
#include "record.h"
#include "spec/vhost_user.h"

enum { SLOTS_MAX = 5 };

static uint16_t size(uint8_t choice)
{
	return 1 + choice % RECORD_SIZE_MAX;
}

static uint16_t place(uint16_t choice)
{
	return (uint16_t)((choice & 0xff) % record.ring_size | (choice & MODEL_WRAP));
}

static uint16_t behind(uint16_t used, uint16_t slots)
{
	return model_step(record.ring_size, used, slots);
}

/* No entry is lost: the list of free ones has all that no request has. */
static void expect_free(unsigned count)
{
	const struct vhost_user_queue_region_packed *region = (const void *)record.region;
	uint16_t at = region->free_head;
	unsigned n = 0;

	for (; n <= record.desc_num && at < record.desc_num; n++)
		at = region->desc[at].next;
	if (n != count)
		fake_die("%u entries are free, not %u", n, count);
}

/* Whether a publication was seen is told by the ring: by the driver here. */
static int attach(void)
{
	struct inflight *in = &record.in;
	bool committed = false;
	int found = inflight_packed_attach(
		in, record.region, record.desc_num, record.ring_size, record.fresh);

	if (found < 0)
		return found;
	if (found > 0)
		committed = record.honest ? in->old_used != record.shown : record.orders % 2;
	found = inflight_packed_recover(in, record.ring_size, committed, &record.slots);
	record.used = in->used;
	if (record.honest && found >= 0)
		expect_free(record.desc_num - record.slots);
	return found;
}

/* Only the record knows which of its entries are free. */
static int choose(uint8_t choice, uint16_t *slots)
{
	unsigned taken = record_slots();

	*slots = 1 + choice % SLOTS_MAX;
	if (taken + *slots > record.ring_size)
		return -1;
	if (record.in.free_head < record.desc_num)
		return record.in.free_head;
	if (record.honest)
		fake_die("no entry is free, and %u of %u are taken", taken, record.ring_size);
	return 0;
}

/* Descriptor k of the n-th chain, recognisable. */
static struct pvirtq_desc descriptor(uint64_t n, unsigned k)
{
	return (struct pvirtq_desc){ le64_put(n << 8 | k), le32_put((uint32_t)n),
		le16_put((uint16_t)(n * SLOTS_MAX + k)), le16_put((uint16_t)~n) };
}

static void take(uint16_t entry)
{
	const struct record_entry *e = &record.entries[entry];
	uint16_t taken;

	inflight_packed_begin(&record.in);
	for (unsigned k = 0; k < e->slots; k++) {
		struct pvirtq_desc d = descriptor(e->order, k);

		inflight_packed_add(&record.in, &d);
	}
	taken = inflight_packed_take(&record.in, record.in.add_to, e->slots);
	if (record.honest && taken != entry)
		fake_die("entry %u is free, and it takes %u", entry, taken);
}

static bool again(uint16_t entry)
{
	struct record_entry *e = &record.entries[entry];
	uint16_t slots = inflight_packed_slots(&record.in, entry), at = entry;

	if (slots == 0 || slots > record.ring_size || (record.honest && slots != e->slots))
		return false;
	for (unsigned k = 0; k < slots; k++) {
		struct pvirtq_desc d, expected = descriptor(e->order, k);

		inflight_packed_get(&record.in, &at, &d);
		if (record.honest && memcmp(&d, &expected, sizeof(d)) != 0)
			return false;
	}
	e->slots = slots;
	return true;
}

static void push(uint16_t entry, bool first)
{
	inflight_packed_push(&record.in, entry, first);
}

static void publish(void)
{
	inflight_packed_publish(&record.in, record.used);
}

static void published(void)
{
	inflight_packed_published(&record.in, record.batch, record.used);
}

static void settle(void)
{
	inflight_packed_settle(record.region);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const struct record_format packed = { true, size, place, behind, attach, choose,
		take, again, push, publish, published, settle };

	record_run(&packed, &(struct input){ bytes, len });
	return 0;
}
