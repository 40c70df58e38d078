/*
 * Packed rings with anything in them, several rounds of it, and a disk behind them. As for split
 * rings, I/O may touch only what there is and every request comes back; moreover, unless memory
 * changes meanwhile, the ring, its used descriptors and calls are what packed_model.c expects.
 */
#include "packed_model.h"
#include "ring.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"

enum { INDEX = 0x7fff, ROUNDS_MAX = 4, A = PVIRTQ_DESC_F_AVAIL, U = PVIRTQ_DESC_F_USED };

static struct {
	struct model_ring ring;
	struct model model;
	struct pvirtq_desc before[RING_SIZE]; /* the ring when it was kicked */
	uint16_t id;
	bool event_idx;
	bool changes; /* memory that the model has looked at may change */
} t;

static char *ring_at(unsigned slot)
{
	return ring_front.mem + ring_front.rings[0].desc + 16 * slot;
}

static struct pvirtq_event_suppress event_at(uint32_t offset)
{
	struct pvirtq_event_suppress e;

	memcpy(&e, ring_front.mem + offset, sizeof(e));
	return e;
}

/* The device writes used descriptors and its event suppression; all else down there is news. */
static void on_store(size_t at, size_t len)
{
	uint32_t events = ring_front.rings[0].used;
	bool used = len == 8 && at % 16 == 8 && at < 16u * t.ring.size;

	if (at < RING_HEADERS && !used && (at < events || at + len > events + 4))
		t.changes = true;
}

static void begin(struct input *in)
{
	uint8_t choice = take8(in), size = take8(in), place = take8(in);
	struct vring *ring;

	ring_begin(VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC);
	ring_on_store = on_store;
	memset(&t, 0, sizeof(t));
	t.event_idx = (choice & 8) != 0;
	t.ring = (struct model_ring){ .mem = ring_front.mem,
		.gpa = FRONT_GPA,
		.mem_bytes = FRONT_BYTES,
		.tables = RING_TABLE,
		.tables_end = RING_HEADERS,
		.size = (uint16_t)(1 + size % RING_SIZE),
		.indirect = choice % 8 != 0 };
	t.ring.start = (uint16_t)(place % t.ring.size | (place & 0x80 ? 0 : MODEL_WRAP));
	ring = &ring_queue()->ring;
	ring->size = t.ring.size;
	ring->last_avail = ring->look = ring->used_idx = ring->used_published = t.ring.start;
	ring->indirect = t.ring.indirect;
	ring->event_idx = t.event_idx;
}

/* A descriptor whose flags are NEXT, WRITE and INDIRECT for now. */
static struct pvirtq_desc descriptor(struct input *in, uint8_t choice)
{
	uint64_t addr = ring_address(in);
	uint32_t len = ring_length(in);

	if (addr >= FRONT_GPA && addr < FRONT_GPA + RING_TABLE)
		t.changes = true; /* it may be written */
	return (struct pvirtq_desc){ le64_put(addr), le32_put(len), le16_put(t.id++),
		le16_put(choice & 7) };
}

static void put_table(struct input *in)
{
	for (unsigned n = take8(in) % RING_SIZE, i = 0; i < n; i++) {
		struct pvirtq_desc d = descriptor(in, take8(in));

		memcpy(ring_front.mem + RING_TABLE + 16 * i, &d, sizeof(d));
	}
}

/* Descriptors from the driver's place on, perhaps more of them than there are slots. */
static void put_descriptors(struct input *in)
{
	uint16_t place = t.ring.start;

	for (unsigned n = take8(in) % (t.ring.size + 3u); n > 0; n--) {
		uint8_t choice = take8(in);
		struct pvirtq_desc d = descriptor(in, choice);
		uint16_t flags = le16_get(d.flags) | ((place & MODEL_WRAP) != 0 ? A : U);

		if (choice >> 4 == 15)
			flags ^= (uint16_t)(take8(in) << 8);
		if (choice >> 4 == 14)
			flags ^= A | U;
		if (choice >> 4 == 13)
			d.id = le16_put(take16(in));
		d.flags = le16_put(flags);
		memcpy(ring_at(place & INDEX), &d, sizeof(d));
		place = model_step(t.ring.size, place, 1);
	}
}

/* What the driver asks of the device; mostly a slot near to where it is. */
static void put_event(struct input *in)
{
	uint8_t choice = take8(in);
	uint16_t place = model_step(t.ring.size, t.ring.start, take8(in) % (2 * RING_SIZE));
	struct pvirtq_event_suppress e = { le16_put(choice & 8 ? take16(in) : place),
		le16_put(choice & 16 ? take16(in) : choice & 3) };

	memcpy(ring_front.mem + ring_front.rings[0].avail, &e, sizeof(e));
}

/* ---- what has come of it ---- */

static struct model_chain *chain_of(uint16_t id)
{
	for (unsigned i = 0; i < t.model.count; i++)
		if (!t.model.chains[i].back && t.model.chains[i].id == id)
			return &t.model.chains[i];
	fake_die("id %u was not given, or comes back twice", id);
}

/* With one id twice nobody could tell which came back. */
static bool ids_differ(void)
{
	for (unsigned i = 0; i < t.model.count; i++)
		for (unsigned k = 0; k < i; k++)
			if (t.model.chains[i].id == t.model.chains[k].id)
				return false;
	return true;
}

static void expect_used(const struct pvirtq_desc *d, const struct model_chain *chain)
{
	uint32_t len = le32_get(d->len);

	if (((le16_get(d->flags) & VIRTQ_DESC_F_WRITE) != 0) != (len > 0))
		fake_die("%u bytes written, and flags 0x%x", len, le16_get(d->flags));
	if (len > chain->writable)
		fake_die("%u bytes written into %llu", len, (unsigned long long)chain->writable);
}

/* Goes through the used descriptors: the place behind them. No other slot may have changed. */
static uint16_t take_used(void)
{
	struct pvirtq_desc expected[RING_SIZE];
	uint16_t place = t.ring.start;
	unsigned back = 0;

	memcpy(expected, t.before, sizeof(expected));
	while (back < t.model.count) {
		uint16_t both = (place & MODEL_WRAP) != 0 ? A | U : 0;
		struct pvirtq_desc d;
		struct model_chain *chain;

		memcpy(&d, ring_at(place & INDEX), sizeof(d));
		if ((le16_get(d.flags) & (A | U)) != both)
			break;
		chain = chain_of(le16_get(d.id));
		expect_used(&d, chain);
		chain->back = true;
		back++;
		d.addr = expected[place & INDEX].addr;
		expected[place & INDEX] = d;
		place = model_step(t.ring.size, place, chain->slots);
	}
	/* (Of a batch that a break has cut short, all but the first may be there, unseen.) */
	if (!ring_queue()->broken && !t.model.unsure &&
		memcmp(expected, ring_at(0), sizeof(expected)) != 0)
		fake_die("a slot has changed that holds no used descriptor");
	return place;
}

static void expect_calls(uint16_t seen)
{
	struct pvirtq_event_suppress e = event_at(ring_front.rings[0].avail);
	uint16_t flags = le16_get(e.flags) & RING_EVENT_FLAGS_MASK, event = le16_get(e.desc);
	bool called = fake_notify_take(ring_front.call[0]) > 0, wanted = seen != t.ring.start;
	unsigned ahead = model_ahead(t.ring.size, t.ring.start, event);

	if (flags == RING_EVENT_FLAGS_DESC && t.event_idx) {
		if ((event & INDEX) >= t.ring.size)
			return;
		wanted = ahead < model_ahead(t.ring.size, t.ring.start, seen);
	} else if (flags == RING_EVENT_FLAGS_DISABLE) {
		wanted = false;
	}
	if (called != wanted)
		fake_die(called ? "a call that was not asked for" : "a call is missing");
}

/* It sleeps: so it must have asked for a kick. */
static void expect_armed(const struct vring *ring)
{
	struct pvirtq_event_suppress e = event_at(ring_front.rings[0].used);
	uint16_t flags = le16_get(e.flags);

	if (flags != (t.event_idx ? RING_EVENT_FLAGS_DESC : RING_EVENT_FLAGS_ENABLE))
		fake_die("it sleeps with event flags 0x%x", flags);
	if (t.event_idx && le16_get(e.desc) != ring->last_avail)
		fake_die("it sleeps until slot 0x%x", le16_get(e.desc));
}

static void expect_sane(void)
{
	const struct queue *q = ring_queue();
	uint16_t seen;

	ring_expect_rest();
	if (!q->broken && q->ring.used_idx != q->ring.last_avail)
		fake_die("0x%x taken, 0x%x given back", q->ring.last_avail, q->ring.used_idx);
	if (t.changes || !ids_differ())
		return;
	seen = take_used();
	if (q->broken)
		return;
	expect_armed(&q->ring);
	if (t.model.unsure)
		return;
	expect_calls(seen);
	if (t.model.breaks)
		fake_die("a rule is broken, and it goes on");
	if (seen != t.model.end || seen != q->ring.last_avail)
		fake_die("used up to 0x%x, but given up to 0x%x", seen, t.model.end);
}

/* Input: the ring, a table, headers; each round: descriptors, events, meddling; then raw bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct input in = { bytes, len };
	unsigned rounds;

	begin(&in);
	put_table(&in);
	ring_put_headers(&in);
	rounds = 1 + take8(&in) % ROUNDS_MAX;
	while (rounds-- > 0 && !ring_queue()->broken) {
		put_descriptors(&in);
		put_event(&in);
		t.changes |= ring_put_meddling(&in);
		if (rounds == 0)
			t.changes |= ring_put_raw(&in);
		model_walk(&t.model, &t.ring);
		memcpy(t.before, ring_at(0), sizeof(t.before));
		(void)fake_notify_take(ring_front.call[0]);
		front_kick(&ring_front, 0);
		expect_sane();
		t.ring.start = ring_queue()->ring.last_avail;
	}
	return 0;
}
