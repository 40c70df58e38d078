/* src/core/vring_packed.c: places, wrap counters, chains, events, and a second life. */
#include "vring.h"

#include <errno.h>

#include "fake_port.h"
#include "num.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

/* Guest memory: the ring at its start, the two event structures, buffers and tables behind. */
enum { GPA = 0x100000, BYTES = 0x10000, DRIVER = 0x6000, DEVICE = 0x6010, DATA = 0x8000 };
enum { TABLE = 0xc000, SIZE_MAX_ = 1024, A = PVIRTQ_DESC_F_AVAIL, U = PVIRTQ_DESC_F_USED };
#define UVA 0x7f0000000000ull

static struct mem mem;
static struct vring ring;
static struct request *req;
static char *guest;
static const char *why;
static uint16_t at, seen; /* the driver's places: what it fills next, what it waits for */
static union {
	struct vhost_user_queue_region_packed region;
	char bytes[32 + 32 * SIZE_MAX_];
} shared;

static struct pvirtq_desc *desc(unsigned i)
{
	return (struct pvirtq_desc *)(void *)guest + i;
}

static uint16_t next_place(uint16_t place)
{
	return (place & 0x7fff) + 1 < ring.size ? (uint16_t)(place + 1)
						: (uint16_t)((place & 0x8000) ^ 0x8000);
}

static int map(uint16_t size)
{
	return vring_map(&ring, &mem, &(struct vring_addr){ UVA, UVA + DRIVER, UVA + DEVICE }, size,
		true, &why);
}

static void start_at(uint16_t size, uint64_t features, uint16_t place)
{
	int fd;

	mem_clear(&mem);
	fake_reset(1);
	fd = fake_memory_new(BYTES);
	guest = fake_memory(fd);
	CHECK_OK(mem_add(&mem, &(struct mem_region){ GPA, BYTES, UVA, 0 }, fd));
	CHECK_OK(map(size));
	at = seen = place;
	CHECK_OK(vring_start(&ring, place | (uint32_t)place << 16, features, &why));
}

static void start(uint16_t size)
{
	start_at(size, VIRTIO_F_INDIRECT_DESC, 0x8000);
}

static void track(int found)
{
	CHECK_EQ(vring_track(&ring, (struct guest *)&shared, ring.size, &why), found);
}

/* One descriptor at the driver's place, with the flags of its round. */
static void put(uint64_t addr, uint32_t len, uint16_t flags, uint16_t id)
{
	bool wrap = (at & 0x8000) != 0;

	*desc(at & 0x7fff) = (struct pvirtq_desc){ le64_put(addr), le32_put(len), le16_put(id),
		le16_put((uint16_t)(flags | (wrap ? A : U))) };
	at = next_place(at);
}

/* A chain of n writable descriptors; the ids of all but the last mean nothing. */
static void add(unsigned n, uint16_t id)
{
	for (unsigned i = 1; i < n; i++)
		put(GPA + DATA + 16 * i, 8, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 999);
	put(GPA + DATA, 8, VIRTQ_DESC_F_WRITE, id);
}

static int pop(void)
{
	if (!req)
		req = request_get(0);
	request_put(req, 0);
	req = request_get(0);
	return vring_pop(&ring, &mem, req, &why);
}

static struct chain pop_chain(uint16_t id, uint16_t slots)
{
	CHECK_EQ(pop(), 1);
	CHECK_EQ(req->chain.head, id);
	CHECK_EQ(req->chain.slots, slots);
	return req->chain;
}

/* Takes the used descriptor at the driver's place, which skips so many slots. */
static void expect_used(uint16_t id, uint32_t len, unsigned slots)
{
	const struct pvirtq_desc *d = desc(seen & 0x7fff);
	uint16_t flags = le16_get(d->flags), both = (seen & 0x8000) != 0 ? A | U : 0;

	CHECK_EQ(flags & (A | U), both);
	CHECK_EQ(flags & VIRTQ_DESC_F_WRITE, len > 0 ? VIRTQ_DESC_F_WRITE : 0);
	CHECK_EQ(le16_get(d->id), id);
	CHECK_EQ(le32_get(d->len), len);
	while (slots-- > 0)
		seen = next_place(seen);
}

static bool is_used(void)
{
	bool wrap = (seen & 0x8000) != 0;
	uint16_t flags = le16_get(desc(seen & 0x7fff)->flags);

	return ((flags & A) != 0) == wrap && ((flags & U) != 0) == wrap;
}

static struct pvirtq_event_suppress *event(unsigned offset)
{
	return (struct pvirtq_event_suppress *)(void *)(guest + offset);
}

#define CHECK_BREAKS(text) (CHECK_EQ(pop(), -EINVAL), CHECK_TEXT(why, text))

/* ---- taking and giving back ---- */

CASE(an_empty_ring_gives_nothing)
{
	start(5);
	CHECK(!vring_has_work(&ring));
	CHECK_EQ(pop(), 0);
}

CASE(any_size_goes_round_and_round)
{
	static const uint16_t sizes[] = { 1, 2, 3, 5, 7, 64, 100, 1023, 1024 };

	for (unsigned s = 0; s < countof(sizes); s++) {
		start(sizes[s]);
		for (unsigned i = 0; i < 3u * sizes[s] + 5; i++) {
			struct chain chain;

			add(1, (uint16_t)i);
			chain = pop_chain((uint16_t)i, 1);
			CHECK_EQ(pop(), 0);
			vring_push(&ring, &chain, i % 2);
			CHECK(!is_used());
			(void)vring_publish(&ring);
			expect_used((uint16_t)i, i % 2, 1);
		}
	}
}

CASE(chains_come_back_in_any_order)
{
	struct chain chains[4];
	static const unsigned slots[] = { 2, 1, 3, 1 }, order[] = { 2, 0, 3, 1 };

	for (unsigned round = 0; round < 9; round++) {
		if (round == 0)
			start(7);
		for (uint16_t i = 0; i < 4; i++)
			add(slots[i], i);
		for (uint16_t i = 0; i < 4; i++)
			chains[i] = pop_chain(i, (uint16_t)slots[i]);
		CHECK_EQ(pop(), 0);
		for (unsigned i = 0; i < 4; i++) {
			vring_push(&ring, &chains[order[i]], order[i]);
			CHECK(!is_used());
		}
		CHECK_EQ(ring.unpublished, 4);
		(void)vring_publish(&ring);
		CHECK_EQ(ring.unpublished, 0);
		for (unsigned i = 0; i < 4; i++)
			expect_used((uint16_t)order[i], order[i], slots[order[i]]);
		CHECK(!is_used());
	}
}

CASE(the_base_is_both_places)
{
	struct chain chain;

	start_at(6, 0, 0x0005);
	add(2, 1);
	add(1, 2);
	chain = pop_chain(1, 2);
	CHECK_EQ(vring_base(&ring), 0x8001u | 0x0005u << 16);
	vring_push(&ring, &chain, 0);
	CHECK(vring_publish(&ring));
	CHECK_EQ(vring_base(&ring), 0x8001u | 0x8001u << 16);
}

CASE(bases_that_front_ends_give)
{
	start(8);
	CHECK_OK(vring_start(&ring, 0, 0, &why)); /* only split rings are known to it */
	CHECK_EQ(vring_base(&ring), 0x80008000u);
	CHECK_OK(vring_start(&ring, 0x8000, 0, &why)); /* only the avail half */
	CHECK_EQ(vring_base(&ring), 0x80008000u);
	CHECK_OK(vring_start(&ring, 0x8003, 0, &why));
	CHECK_EQ(vring_base(&ring), 0x80038003u);
	CHECK_OK(vring_start(&ring, 0x80018003, 0, &why));
	CHECK_EQ(vring_base(&ring), 0x80018003u);
	CHECK_EQ(vring_start(&ring, 0x80008008, 0, &why), -EINVAL);
	CHECK_EQ(vring_start(&ring, 0x80088000, 0, &why), -EINVAL);
	/* One round is over, though its last chain reached over the end to descriptor 0. */
	desc(0)->flags = le16_put(A);
	desc(1)->flags = le16_put(A | U);
	CHECK_OK(vring_start(&ring, 0, 0, &why));
	CHECK_EQ(vring_base(&ring), 0);
}

CASE(a_ring_must_be_mapped_and_aligned)
{
	struct vring_addr good = { UVA, UVA + DRIVER, UVA + DEVICE }, bad = good;

	start(8);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t *part[] = { &bad.desc, &bad.avail, &bad.used };

		bad = good;
		*part[i] += i == 0 ? 4 : 1;
		CHECK_EQ(vring_map(&ring, &mem, &bad, 8, true, &why), -EINVAL);
		*part[i] = UVA + BYTES - (i == 0 ? 8 * 16 : 4);
		CHECK_OK(vring_map(&ring, &mem, &bad, 8, true, &why));
		*part[i] += 16;
		CHECK_EQ(vring_map(&ring, &mem, &bad, 8, true, &why), -EFAULT);
	}
}

/* ---- rules ---- */

CASE(more_descriptors_than_there_are)
{
	start(4);
	for (unsigned i = 0; i < 4; i++)
		put(GPA + DATA, 8, VIRTQ_DESC_F_NEXT, 0);
	CHECK_BREAKS("more descriptors than the ring has");
	start(4);
	add(3, 0);
	(void)pop_chain(0, 3);
	add(2, 0); /* its second one is still ours */
	desc(0)->flags = le16_put(U | VIRTQ_DESC_F_NEXT);
	CHECK_BREAKS("more descriptors than the ring has");
	start(2);
	add(2, 0);
	(void)pop_chain(0, 2);
	add(1, 0);
	CHECK_BREAKS("more descriptors than the ring has");
}

CASE(indirect_tables)
{
	static const struct pvirtq_desc table[3] = {
		/* Of the flags only WRITE counts, and the id does not. */
		{ { GPA + DATA }, { 16 }, { 77 }, { VIRTQ_DESC_F_INDIRECT } },
		{ { GPA + DATA + 64 }, { 0 }, { 0 }, { VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT } },
		{ { GPA + DATA + 128 }, { 5 }, { 1 }, { VIRTQ_DESC_F_WRITE } }
	};

	start(4);
	memcpy(guest + TABLE, table, sizeof(table));
	put(GPA + TABLE, sizeof(table), VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_WRITE, 3);
	(void)pop_chain(3, 1);
	CHECK_EQ(reader_left(&req->in), 16);
	CHECK_EQ(writer_left(&req->out), 5);
}

CASE(indirect_descriptors_that_break_the_ring)
{
	static const struct {
		uint16_t flags;
		uint32_t len;
		const char *why;
	} cases[] = {
		{ VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_NEXT, 16,
			"an indirect descriptor where none may be" },
		{ VIRTQ_DESC_F_INDIRECT, 0, "an indirect table of a wrong size" },
		{ VIRTQ_DESC_F_INDIRECT, 24, "an indirect table of a wrong size" },
		{ VIRTQ_DESC_F_INDIRECT, 16 * 1025, "an indirect table of a wrong size" },
		{ VIRTQ_DESC_F_INDIRECT, 0x8000, "an indirect table that is not in shared memory" },
	};

	for (unsigned i = 0; i < countof(cases); i++) {
		start(4);
		put(GPA + TABLE + (i == 4 ? 0x4000 : 0), i == 4 ? 16 : cases[i].len, cases[i].flags,
			0);
		CHECK_BREAKS(cases[i].why);
	}
	start_at(4, 0, 0x8000);
	put(GPA + TABLE, 16, VIRTQ_DESC_F_INDIRECT, 0);
	CHECK_BREAKS("an indirect descriptor where none may be");
	start(4);
	put(GPA + DATA, 16, VIRTQ_DESC_F_NEXT, 0);
	put(GPA + TABLE, 16, VIRTQ_DESC_F_INDIRECT, 0);
	CHECK_BREAKS("an indirect descriptor where none may be");
}

CASE(readable_after_writable_breaks)
{
	start(4);
	put(GPA + DATA, 16, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 0);
	put(GPA + DATA, 16, 0, 0);
	CHECK_BREAKS("a readable descriptor after a writable one");
}

/* ---- events ---- */

/* Gives one chain of so many slots back: whether the driver is called. */
static bool one(unsigned slots)
{
	struct chain chain;

	add(slots, 1);
	chain = pop_chain(1, (uint16_t)slots);
	vring_push(&ring, &chain, 0);
	return vring_publish(&ring);
}

CASE(calls_by_flags)
{
	start(4);
	CHECK(!vring_publish(&ring));
	CHECK(one(1));
	event(DRIVER)->flags = le16_put(RING_EVENT_FLAGS_DISABLE);
	CHECK(!one(1));
	event(DRIVER)->flags =
		le16_put(RING_EVENT_FLAGS_DESC); /* without EVENT_IDX: no such thing */
	CHECK(one(1));
	event(DRIVER)->flags = le16_put(RING_EVENT_FLAGS_MASK);
	CHECK(one(1));
}

CASE(calls_by_descriptor)
{
	/* Two rounds over a ring of 6, by 1 or 2 slots; the event at each place of both. */
	for (unsigned slots = 1; slots <= 2; slots++)
		for (uint16_t e = 0; e < 12; e++) {
			uint16_t want = (uint16_t)(e < 6 ? 0x8000 | e : e - 6);

			start_at(6, VIRTIO_F_EVENT_IDX, 0x8000);
			*event(DRIVER) = (struct pvirtq_event_suppress){ le16_put(want),
				le16_put(RING_EVENT_FLAGS_DESC) };
			for (unsigned i = 0; i < 12; i += slots)
				CHECK_EQ(one(slots), e >= i && e < i + slots);
		}
	event(DRIVER)->desc = le16_put(6); /* nowhere */
	CHECK(one(1));
}

CASE(kicks_by_flags)
{
	start(4);
	CHECK(!vring_arm(&ring));
	CHECK_EQ(le16_get(event(DEVICE)->flags), RING_EVENT_FLAGS_ENABLE);
	vring_disarm(&ring);
	CHECK_EQ(le16_get(event(DEVICE)->flags), RING_EVENT_FLAGS_DISABLE);
	add(1, 0);
	CHECK(vring_arm(&ring));
	CHECK_EQ(le16_get(event(DEVICE)->flags), RING_EVENT_FLAGS_ENABLE);
}

CASE(kicks_by_descriptor)
{
	start_at(4, VIRTIO_F_EVENT_IDX, 0x0003);
	CHECK(!vring_arm(&ring));
	CHECK_EQ(le16_get(event(DEVICE)->flags), RING_EVENT_FLAGS_DESC);
	CHECK_EQ(le16_get(event(DEVICE)->desc), 0x0003);
	add(1, 0);
	CHECK_EQ(pop(), 1);
	vring_disarm(&ring);
	CHECK_EQ(le16_get(event(DEVICE)->flags), RING_EVENT_FLAGS_DISABLE);
	CHECK(!vring_arm(&ring));
	CHECK_EQ(le16_get(event(DEVICE)->desc), 0x8000);
}

/* ---- a second life ---- */

static void next_life(int found, uint32_t stale_base)
{
	CHECK_OK(vring_start(&ring, stale_base, 0, &why));
	track(found);
}

CASE(what_was_taken_is_done_again)
{
	struct chain chain;

	memset(&shared, 0, sizeof(shared));
	start(8);
	track(0);
	add(3, 5);
	add(1, 6);
	add(2, 7);
	(void)pop_chain(5, 3);
	chain = pop_chain(6, 1);
	(void)pop_chain(7, 2);
	vring_push(&ring, &chain, 4); /* overwrites the first descriptor of the first chain */
	(void)vring_publish(&ring);
	expect_used(6, 4, 1);
	next_life(2, 0x80008000);
	CHECK(vring_has_work(&ring));
	CHECK_EQ(vring_base(&ring), 0x8006u | 0x8001u << 16);
	chain = pop_chain(5, 3);
	CHECK_EQ(writer_left(&req->out), 24);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(req->chain.head, 7);
	vring_push(&ring, &chain, 0);
	vring_push(&ring, &req->chain, 0);
	(void)vring_publish(&ring);
	expect_used(5, 0, 3);
	expect_used(7, 0, 2);
	add(2, 1);
	(void)pop_chain(1, 2);
	next_life(1, 0);
}

CASE(what_was_pushed_and_not_published_is_done_again)
{
	struct chain chains[3];

	memset(&shared, 0, sizeof(shared));
	start(8);
	track(0);
	for (uint16_t i = 0; i < 3; i++)
		add(2, i);
	for (uint16_t i = 0; i < 3; i++)
		chains[i] = pop_chain(i, 2);
	vring_push(&ring, &chains[2], 0);
	vring_push(&ring, &chains[0], 0);
	CHECK(!is_used());
	next_life(3, 0x80008000);
	for (uint16_t i = 0; i < 3; i++)
		chains[i] = pop_chain(i, 2);
	for (uint16_t i = 0; i < 3; i++)
		vring_push(&ring, &chains[i], 0);
	(void)vring_publish(&ring);
	next_life(0, 0x80008000);
	CHECK_EQ(vring_base(&ring), 0x80068006u);
}

CASE(a_region_that_lies_is_refused_or_breaks_the_ring)
{
	memset(&shared, 0, sizeof(shared));
	start(4);
	track(0);
	add(2, 0);
	(void)pop_chain(0, 2);
	shared.region.version = 2;
	track(-EINVAL);
	shared.region.version = 1;
	shared.region.desc[0].num = 5; /* more slots than the ring has */
	track(-EINVAL);
	shared.region.desc[0].num = 0;
	track(-EINVAL);
	shared.region.desc[0].num = 2;
	shared.region.used_idx = shared.region.old_used_idx = 4;
	track(-EINVAL);
	shared.region.used_idx = shared.region.old_used_idx = 0;
	track(1);
	shared.region.desc[0].num = 9;
	CHECK_BREAKS("descriptors that changed after they were taken");
	shared.region.desc[0].num = 1; /* but it has NEXT */
	CHECK_BREAKS("descriptors that changed after they were taken");
	shared.region.desc[0].num = 2;
	shared.region.desc[0].next = 60000;
	CHECK_BREAKS("descriptors that changed after they were taken");
	shared.region.desc[0].next = 1;
	CHECK_EQ(pop(), 1);
	CHECK_EQ(vring_track(&ring, (struct guest *)&shared, 3, &why), -EINVAL);
	CHECK(ring.inflight.region == NULL);
}
