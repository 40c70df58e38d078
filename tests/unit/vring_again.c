/* src/core/vring_*.c: a record of an earlier life that lies, or that someone changes meanwhile. */
#include "vring.h"

#include <errno.h>

#include "fake_port.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "unit.h"

/* A ring of 4 at the start of guest memory, the other two parts of it behind, then buffers. */
enum { GPA = 0x100000, UVA = 0x200000, BYTES = 0x4000, SIZE = 4, DATA = 0x3000 };
enum { AVAIL = 0x1000, USED = 0x2000 };
#define FRESH 0x80008000u /* the base of a packed ring: both places 0, both wrap counters 1 */

static struct mem mem;
static struct vring ring;
static struct request *req;
static char *guest;
static const char *why;
static _Alignas(64) union {
	struct vhost_user_queue_region_split split;
	struct vhost_user_queue_region_packed packed;
	char bytes[32 + 32 * SIZE];
} shared;

static void start(bool packed)
{
	struct vring_addr addr = { UVA, UVA + AVAIL, UVA + USED };
	int fd;

	fake_reset(1);
	fd = fake_memory_new(BYTES);
	guest = fake_memory(fd);
	memset(&shared, 0, sizeof(shared));
	CHECK_OK(mem_add(&mem, &(struct mem_region){ GPA, BYTES, UVA, 0 }, fd));
	CHECK_OK(vring_map(&ring, &mem, &addr, SIZE, packed, &why));
	CHECK_OK(vring_start(&ring, packed ? FRESH : 0, 0, &why));
	req = request_get(0);
}

static int track(void)
{
	return vring_track(&ring, (struct guest *)&shared, SIZE, &why);
}

static int pop(void)
{
	return vring_pop(&ring, &mem, req, &why);
}

/* ---- split ---- */

static void add_split(uint16_t head)
{
	struct virtq_desc d = { le64_put(GPA + DATA), le32_put(8), le16_put(VIRTQ_DESC_F_WRITE),
		le16_put(0) };
	uint16_t idx;

	memcpy(&idx, guest + AVAIL + 2, 2);
	memcpy(guest + sizeof(d) * head, &d, sizeof(d));
	memcpy(guest + AVAIL + 4 + 2 * (idx % SIZE), &head, 2);
	idx++;
	memcpy(guest + AVAIL + 2, &idx, 2);
}

CASE(a_split_ring_goes_on_when_its_record_is_cleared_under_it)
{
	start(false);
	for (uint16_t head = 0; head < 3; head++)
		add_split(head);
	shared.split.version = 1;
	shared.split.desc_num = SIZE;
	shared.split.desc[0].inflight = shared.split.desc[1].inflight = 1;
	CHECK_EQ(track(), 2);
	shared.split.desc[0].inflight = shared.split.desc[1].inflight = 0;
	CHECK(vring_has_work(&ring));
	CHECK_EQ(pop(), 1); /* what the ring has */
	CHECK_EQ(req->chain.head, 2);
	CHECK_EQ(pop(), 0);
	CHECK(!vring_has_work(&ring));
}

/* ---- packed ---- */

static void add_packed(uint16_t place, uint16_t flags, uint16_t id)
{
	struct pvirtq_desc d = { le64_put(GPA + DATA), le32_put(8), le16_put(id),
		le16_put((uint16_t)(flags | VIRTQ_DESC_F_WRITE | PVIRTQ_DESC_F_AVAIL)) };

	memcpy(guest + sizeof(d) * place, &d, sizeof(d));
}

/* A life that has taken a chain of two, with the identity 7, and died. */
static void start_packed(void)
{
	start(true);
	CHECK_EQ(track(), 0);
	add_packed(0, VIRTQ_DESC_F_NEXT, 0);
	add_packed(1, 0, 7);
	add_packed(2, 0, 8);
	CHECK_EQ(pop(), 1);
	CHECK(req->chain.head == 7 && req->chain.slots == 2);
	CHECK_EQ(shared.packed.desc[0].inflight, 1);
}

CASE(a_packed_ring_goes_on_when_its_record_is_cleared_under_it)
{
	start_packed();
	CHECK_EQ(track(), 1);
	shared.packed.desc[0].inflight = 0;
	CHECK(vring_has_work(&ring));
	CHECK_EQ(pop(), 1);
	CHECK(req->chain.head == 8 && req->chain.slots == 1);
	CHECK_EQ(pop(), 0);
}

CASE(a_chain_that_is_shorter_than_its_record_says)
{
	start_packed();
	shared.packed.desc[0].num = 3;
	CHECK_EQ(track(), 1);
	CHECK_EQ(pop(), -EINVAL);
	CHECK_TEXT(why, "descriptors that changed after they were taken");
}

CASE(used_indices_behind_the_end_of_a_packed_ring)
{
	start_packed();
	shared.packed.old_used_idx = SIZE;
	CHECK_EQ(track(), -EINVAL);
	CHECK_TEXT(why, "the in-flight buffer is for another ring");
	shared.packed.old_used_idx = shared.packed.used_idx;
	shared.packed.used_idx = SIZE;
	CHECK_EQ(track(), -EINVAL);
	CHECK(!ring.inflight.region);
}

CASE(a_record_that_says_settled_and_has_something_is_not_settled)
{
	start_packed();
	shared.packed.settled = 1;
	CHECK_OK(vring_start(&ring, 0x80028002, 0, &why));
	CHECK_EQ(track(), 1);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(req->chain.head, 7);
}

CASE(a_settled_record_begins_where_the_front_end_says)
{
	start_packed();
	shared.packed.desc[0].inflight = 0;
	shared.packed.settled = 1;
	CHECK_OK(vring_start(&ring, 0x80028002, 0, &why));
	CHECK_EQ(track(), 0);
	CHECK_EQ(pop(), 1);
	CHECK_EQ(req->chain.head, 8);
}
