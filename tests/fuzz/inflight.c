/*
 * In-flight tracking over a buffer with anything in it, that someone else goes on writing to: no
 * head outside the ring, none twice, and an end.
 */
#include "inflight.h"

#include <stdlib.h>

#include "fake_port.h"
#include "fuzz.h"

enum { SIZE_MAX_ = 16 };

static struct {
	struct inflight in;
	bool taken[SIZE_MAX_];
	uint16_t ring_size, used_idx, batch;
} t;

/* Heads of an earlier life are taken again, as queue.c does it. */
static void resubmit(void)
{
	uint16_t head = UINT16_MAX;

	if (t.in.resubmit_left == 0 || !inflight_resubmit(&t.in, &head))
		return;
	if (head >= t.ring_size)
		fake_die("head %u is not in the ring", head);
	if (t.taken[head])
		return; /* the driver's list has it twice: vring_walk is what refuses */
	inflight_retake(&t.in, head);
	t.taken[head] = true;
}

static void take(uint8_t choice)
{
	uint16_t head = choice % t.ring_size;

	if (t.in.resubmit_left > 0 || t.taken[head])
		return;
	inflight_split_take(&t.in, head);
	t.taken[head] = true;
}

static void push(uint8_t choice)
{
	uint16_t head = choice % t.ring_size;

	if (!t.taken[head])
		return;
	inflight_split_push(&t.in, head);
	t.taken[head] = false;
	t.batch++;
	t.used_idx++;
}

static void step(struct input *in, struct guest *region, size_t bytes)
{
	uint8_t op = take8(in), choice = take8(in);

	switch (op % 8) {
	case 0:
	case 1: resubmit(); break;
	case 2: take(choice); break;
	case 3:
	case 4: push(choice); break;
	case 5:
		inflight_split_publish(&t.in, t.batch, t.used_idx);
		t.batch = 0;
		break;
	case 6:
		guest_copy_out(
			guest_at(region, (choice | op << 8) % bytes), &(uint8_t){ take8(in) }, 1);
		break;
	case 7:
		if (choice == 0)
			inflight_forget(region);
		break;
	}
}

/* The first bytes: sizes of buffer and ring, and the used index. Then the buffer, then steps. */
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct input in = { input, len };
	uint16_t desc_num = 1 + take8(&in) % SIZE_MAX_;
	uint64_t bytes = inflight_region_bytes(false, desc_num);
	struct guest *region = malloc(bytes);
	int found;

	if (!region)
		abort();
	memset(&t, 0, sizeof(t));
	memset((void *)region, 0, bytes);
	t.ring_size = (uint16_t)(1u << take8(&in) % 5);
	t.used_idx = take16(&in);
	(void)take_bytes(&in, (void *)region, bytes);
	found = inflight_split_attach(&t.in, region, desc_num, t.ring_size, t.used_idx);
	if (found > t.ring_size || (found < 0 && t.in.region))
		fake_die("%d heads in a ring of %u", found, t.ring_size);
	/* An honest end: everything is done again, in so many steps. */
	if (found >= 0 && take8(&in) % 2 == 0)
		for (int i = 0; i <= found; i++)
			resubmit();
	while (found >= 0 && in.left > 0)
		step(&in, region, bytes);
	free(region);
	return 0;
}
