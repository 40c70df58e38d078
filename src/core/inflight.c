/* In-flight tracking, what both formats of rings share: vhost-user, "Inflight I/O tracking". */
#include "inflight.h"

#include <stddef.h>

#include "inflight_entry.h"
#include "panic.h"

enum { REGION_ALIGN = 64 };

#define SPLIT(field)  offsetof(struct vhost_user_queue_region_split, field)
#define PACKED(field) offsetof(struct vhost_user_queue_region_packed, field)
_Static_assert(SPLIT(version) == PACKED(version) && SPLIT(desc_num) == PACKED(desc_num), "");

uint64_t inflight_region_bytes(bool packed, uint16_t size)
{
	uint64_t bytes =
		packed ? sizeof(struct vhost_user_queue_region_packed) +
				 sizeof(struct vhost_user_desc_state_packed) * (uint64_t)size
		       : sizeof(struct vhost_user_queue_region_split) +
				 sizeof(struct vhost_user_desc_state_split) * (uint64_t)size;

	return (bytes + REGION_ALIGN - 1) / REGION_ALIGN * REGION_ALIGN;
}

void inflight_forget(struct guest *region)
{
	guest_store16(guest_at(region, SPLIT(version)), 0);
}

bool inflight_resubmit(struct inflight *in, uint16_t *entry)
{
	uint64_t best = 0;
	bool found = false;

	ASSERT(in->resubmit_left > 0);
	/* The smallest counter after the last one; equal ones (a lie) in order of entries. */
	for (uint16_t i = 0; i < in->desc_num; i++) {
		uint64_t counter;

		if (!entry_flag(in, i))
			continue;
		counter = entry_counter(in, i);
		if (in->resubmitted_any &&
			(counter < in->last_counter ||
				(counter == in->last_counter && i <= in->last_entry)))
			continue;
		if (found && counter >= best)
			continue;
		found = true;
		best = counter;
		*entry = i;
	}
	if (!found) /* someone else has changed the buffer: take what the ring has */
		in->resubmit_left = 0;
	return found;
}

void inflight_retake(struct inflight *in, uint16_t entry)
{
	/* It is marked already; its counter stays. */
	ASSERT(in->resubmit_left > 0);
	in->resubmit_left--;
	in->resubmitted_any = true;
	in->last_entry = entry;
	in->last_counter = entry_counter(in, entry);
}
