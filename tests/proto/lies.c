/*
 * In-flight areas that lie: about their size, and in every field ("Inflight I/O tracking"). The
 * queue may break or do what it finds, but nothing outside of its own connection is harmed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../front/track.h"
#include "../front/yard.h"

enum { SIZE = RIG_RING_SIZE };

static struct yard y;
static struct track t;

static unsigned header_bytes(void)
{
	return harness_packed() ? sizeof(struct track_packed) : sizeof(struct track_split);
}

static unsigned entry_bytes(void)
{
	return harness_packed() ? sizeof(struct track_packed_desc)
				: sizeof(struct track_split_desc);
}

/* A buffer of one queue, kept over the connections that follow. */
static void get_buffer(void)
{
	yard_serve(&y, NULL);
	rig_negotiate(&y.rig, ~0ull, ~0ull);
	track_get(&t, &y.rig.front, 1, SIZE);
	rig_disconnect(&y.rig);
	UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
}

/* A connection whose rings are stopped, with requests that an earlier life could have taken. */
static struct front_queue *prepare(uint16_t *heads, unsigned count)
{
	struct front_queue *q;

	rig_negotiate(&y.rig, ~0ull, ~0ull);
	rig_share(&y.rig);
	q = rig_queue(&y.rig);
	track_forge(&t, q);
	for (unsigned slot = 0; slot < count; slot++) {
		struct blk_request id = rig_request(&y.rig, slot, BLK_GET_ID, 0, BLK_ID_BYTES);

		heads[slot] = q->driver.free_head;
		rig_add(&y.rig, q, &id, slot);
	}
	driver_publish(&q->driver);
	for (unsigned slot = 0; slot < count / 2; slot++)
		track_forge_take(&t, q, heads[slot], slot);
	return q;
}

/* Starts the ring on what the buffer says now, and lets it do what it likes. */
static void try_it(struct front_queue *q)
{
	CHECK_EQ(front_set_inflight_fd(&y.rig.front, &t.want, t.fd), 0);
	CHECK_EQ(front_queue_set(&y.rig.front, q, driver_base(&q->driver, 0)), 0);
	if (front_set_vring_kick(&y.rig.front, 0, q->kick) == 0)
		CHECK_EQ(front_set_vring_enable(&y.rig.front, 0, true), 0);
	front_kick(q);
	CHECK_EQ(front_settle(&y.rig.front), 0);
	CHECK(vubox_lives(&y.rig.vubox));
	rig_disconnect(&y.rig);
	UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
	UNTIL(vubox_maps(&y.rig.vubox) == y.maps);
}

static void put(unsigned at, unsigned bytes, uint64_t value)
{
	memcpy(t.map + at, &value, bytes);
}

/* ---- what it contains ---- */

static void every_word_of_the_header(const char *with)
{
	static const uint16_t values[] = { 0, 1, 2, SIZE - 1, SIZE, SIZE + 1, 1023, 1024, 0x7fff,
		0x8000, 0xffff };
	uint16_t heads[8];

	(void)with;
	get_buffer();
	for (unsigned at = 0; at < header_bytes(); at += 2)
		for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
			struct front_queue *q = prepare(heads, 8);

			put(at, 2, values[i]);
			try_it(q);
		}
	yard_check(&y);
}

/* Every word of an entry that is in flight, of one that is free, and of the last one. */
static void every_word_of_an_entry(const char *with)
{
	static const uint16_t values[] = { 0, 1, 2, SIZE - 1, SIZE, SIZE + 1, 1024, 0x7fff, 0x8000,
		0xffff };
	static const unsigned entries[] = { 0, 1, 20, SIZE - 1 };
	uint16_t heads[8];

	(void)with;
	get_buffer();
	for (unsigned e = 0; e < 4; e++)
		for (unsigned at = 0; at < entry_bytes(); at += 2)
			for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
				struct front_queue *q = prepare(heads, 8);

				put(header_bytes() + entries[e] * entry_bytes() + at, 2, values[i]);
				try_it(q);
			}
	yard_check(&y);
}

static void all_is_in_flight(const char *with)
{
	uint16_t heads[8];

	(void)with;
	get_buffer();
	for (unsigned counter = 0; counter < 3; counter++) {
		struct front_queue *q = prepare(heads, 8);

		for (unsigned i = 0; i < SIZE; i++) {
			unsigned at = header_bytes() + i * entry_bytes();

			put(at, 1, 1);
			put(at + 8, 8, counter == 0 ? 0 : counter == 1 ? ~0ull : SIZE - i);
		}
		try_it(q);
	}
	yard_check(&y);
}

/* The lists of the buffer, in a circle. */
static void lists_that_are_loops(const char *with)
{
	uint16_t heads[8];

	(void)with;
	get_buffer();
	for (unsigned to = 0; to < SIZE; to += 21)
		for (unsigned batch = 0; batch < 3; batch++) {
			struct front_queue *q = prepare(heads, 8);

			for (unsigned i = 0; i < SIZE; i++)
				put(header_bytes() + i * entry_bytes() + (harness_packed() ? 2 : 6),
					2,
					batch == 0   ? to
					: batch == 1 ? i
						     : (i + to) % SIZE);
			if (!harness_packed())
				track_split(&t, 0)->used_idx =
					(uint16_t)(track_split(&t, 0)->used_idx - 100 * batch);
			try_it(q);
		}
	yard_check(&y);
}

/* Chains whose numbers of entries do not fit: none, more than there are, more than the ring. */
static void chains_of_any_length(const char *with)
{
	static const uint16_t numbers[] = { 0, 1, 2, 4, 8, SIZE, SIZE + 1, 1025, 0xffff };
	uint16_t heads[8];

	(void)with;
	get_buffer();
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		for (unsigned all = 0; all < 2; all++) {
			struct front_queue *q = prepare(heads, 8);

			for (unsigned e = 0; e < (all ? SIZE : 1); e++)
				track_packed(&t, 0)->desc[e].num = numbers[i];
			try_it(q);
		}
	yard_check(&y);
}

static void noise(const char *with)
{
	uint16_t heads[8];

	(void)with;
	get_buffer();
	for (unsigned i = 0; i < 200; i++) {
		struct front_queue *q = prepare(heads, 8);
		uint64_t bytes = header_bytes() + SIZE * entry_bytes();

		if (i % 4 == 0)
			memset(t.map, i % 8 ? 0xff : 0, bytes);
		else if (i % 4 == 1)
			harness_fill(t.map, bytes);
		else if (i % 4 == 2) /* with a header that is believed */
			harness_fill(t.map + header_bytes(), bytes - header_bytes());
		else
			for (unsigned n = 0; n < 20; n++)
				t.map[harness_random() % bytes] = (unsigned char)harness_random();
		try_it(q);
	}
	yard_check(&y);
}

/* It has more descriptors when it is done again than it had when it was counted. */
static void it_grows_after_it_was_counted(const char *with)
{
	uint16_t heads[8];

	(void)with;
	get_buffer();
	for (unsigned of = 1; of <= SIZE; of += SIZE / 3) {
		struct front_queue *q = prepare(heads, 8);

		CHECK_EQ(front_set_inflight_fd(&y.rig.front, &t.want, t.fd), 0);
		CHECK_EQ(front_queue_set(&y.rig.front, q, driver_base(&q->driver, 0)), 0);
		CHECK_EQ(front_set_vring_kick(&y.rig.front, 0, q->kick), 0);
		for (unsigned i = 0; i < SIZE; i++) {
			struct track_packed_desc *e = &track_packed(&t, 0)->desc[i];

			e->num = (uint16_t)(SIZE - i < of ? SIZE - i : of);
			e->last = (uint16_t)(i + e->num - 1);
			e->next = (uint16_t)(i + 1);
			e->flags = DRIVER_DESC_WRITE | (i + 1 < SIZE ? DRIVER_DESC_NEXT : 0);
			e->len = i == 0 ? 64 : 0;
			e->addr = RIG_SLOTS_AT;
		}
		CHECK_EQ(front_set_vring_enable(&y.rig.front, 0, true), 0);
		CHECK_EQ(front_settle(&y.rig.front), 0);
		/* A chain without an end, for whoever takes it to be longer than the ring. */
		for (unsigned i = 0; i < SIZE; i++) {
			struct driver_desc d = desc(RIG_SLOTS_AT, 0,
				DRIVER_DESC_WRITE | DRIVER_DESC_NEXT | (i ? 1 << 7 : 0), 0);

			q->driver.format->put_desc(q->driver.desc + 16 * i, &d);
		}
		front_kick(q);
		CHECK_EQ(front_settle(&y.rig.front), 0);
		rig_disconnect(&y.rig);
		UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
	}
	yard_check(&y);
}

/* ---- what is said of it ---- */

static void sizes_and_offsets_that_are_not_true(const char *with)
{
	static const struct front_inflight lies[] = {
		{ 0, 0, 1, SIZE, 0 },
		{ 1, 0, 1, SIZE, 0 },
		{ 64, 0, 1, SIZE, 0 },
		{ 1ull << 20, 0, 1, SIZE, 0 },
		{ 1ull << 40, 0, 1, SIZE, 0 },
		{ 1ull << 63, 0, 1, SIZE, 0 },
		{ ~0ull, 0, 1, SIZE, 0 },
		{ 65536, 65536, 1, SIZE, 0 },
		{ 65536, 0ull - 65536, 1, SIZE, 0 },
		{ 65536, 0ull - 4096, 1, SIZE, 0 },
		{ 65536, 1ull << 63, 1, SIZE, 0 },
		{ 8192, 3, 1, SIZE, 0 },
		{ 65536, 0, 0, SIZE, 0 },
		{ 65536, 0, 65535, SIZE, 0 },
		{ 65536, 0, 65, 1, 0 },
		{ 65536, 0, 1, 0, 0 },
		{ 65536, 0, 1, 65535, 0 },
		{ 65536, 0, 1, 1025, 0 },
		{ 65536, 0, 64, 1024, 0 },
	};
	int fd = memfd_create("lies", MFD_CLOEXEC);

	(void)with;
	CHECK_EQ(ftruncate(fd, 65536), 0);
	yard_open(&y, "auto", 1);
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		if (front_set_inflight_fd(&y.rig.front, &lies[i], fd) != FRONT_REFUSED)
			harness_fail(HERE, "lie %u was believed", i);
		yard_reads(&y);
	}
	yard_check(&y);
}

static void requests_for_an_absurd_buffer(const char *with)
{
	static const uint16_t counts[][2] = { { 0, SIZE }, { 65, SIZE }, { 65535, SIZE }, { 1, 0 },
		{ 1, 1025 }, { 1, 65535 }, { 65535, 65535 }, { 0, 0 } };

	(void)with;
	yard_open(&y, "auto", 1);
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct front_inflight want = { .queues = counts[i][0], .queue_size = counts[i][1] };
		int fd;

		CHECK_EQ(front_get_inflight_fd(&y.rig.front, &want, &fd), FRONT_REFUSED);
	}
	yard_reads(&y);
	yard_check(&y);
}

static void buffers_that_cannot_be_mapped(const char *with)
{
	struct front_inflight want = { 65536, 0, 1, SIZE, 0 };
	int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const char *path = harness_file("file", 65536);
	int fds[] = { eventfd(0, 0), open("/", O_RDONLY), open(path, O_RDONLY),
		open(path, O_WRONLY), open(path, O_PATH), open("/dev/null", O_RDWR), sealed };

	(void)with;
	CHECK_EQ(ftruncate(sealed, 65536), 0);
	CHECK_EQ(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	yard_open(&y, "auto", 1);
	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		CHECK(fds[i] >= 0);
		if (front_set_inflight_fd(&y.rig.front, &want, fds[i]) != FRONT_REFUSED)
			harness_fail(HERE, "descriptor %u was taken", i);
	}
	yard_reads(&y);
	yard_check(&y);
}

/* The buffer is of one ring size, the rings have another; or it is of fewer queues. */
static void a_buffer_for_other_rings(const char *with)
{
	(void)with;
	yard_serve(&y, NULL);
	for (uint16_t size = 1; size <= 1024; size = (uint16_t)(size * 2))
		for (unsigned index = 0; index < 2; index++) {
			struct front_queue *q;

			rig_negotiate(&y.rig, ~0ull, ~0ull);
			track_get(&t, &y.rig.front, 1, size);
			CHECK_EQ(front_set_inflight_fd(&y.rig.front, &t.want, t.fd), 0);
			rig_share(&y.rig);
			(void)rig_queue(&y.rig);
			q = index ? rig_queue(&y.rig) : &y.rig.queues[0];
			CHECK_EQ(front_queue_set(&y.rig.front, q, driver_base(&q->driver, 0)), 0);
			(void)front_set_vring_kick(&y.rig.front, index, q->kick);
			CHECK_EQ(front_set_vring_enable(&y.rig.front, index, true), 0);
			front_kick(q);
			CHECK_EQ(front_settle(&y.rig.front), 0);
			track_put(&t);
			rig_disconnect(&y.rig);
			UNTIL(vubox_fds(&y.rig.vubox) == y.fds);
			UNTIL(vubox_maps(&y.rig.vubox) == y.maps);
		}
	yard_check(&y);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH_FORMAT(every_word_of_the_header),
	CASE_OF_EACH_FORMAT(every_word_of_an_entry),
	CASE_OF_EACH_FORMAT(all_is_in_flight),
	CASE_OF_EACH_FORMAT(lists_that_are_loops),
	CASE_PACKED(chains_of_any_length),
	CASE_OF_EACH_FORMAT(noise),
	CASE_PACKED(it_grows_after_it_was_counted),
	CASE_OF_EACH_FORMAT(sizes_and_offsets_that_are_not_true),
	CASE_OF_EACH_FORMAT(requests_for_an_absurd_buffer),
	CASE_OF_EACH_FORMAT(buffers_that_cannot_be_mapped),
	CASE_OF_EACH_FORMAT(a_buffer_for_other_rings),
};
HARNESS_MAIN(cases)
