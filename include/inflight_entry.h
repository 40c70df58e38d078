/* What entries of both formats of in-flight regions share: private to src/core/inflight*.c. */
#ifndef VUBOX_INFLIGHT_ENTRY_H
#define VUBOX_INFLIGHT_ENTRY_H

#include <stddef.h>

#include "inflight.h"
#include "le.h"
#include "panic.h"
#include "spec/vhost_user.h"

/* Version 0 is a region that was never used, or that nothing is in flight of. */
enum { INFLIGHT_VERSION = 1 };

_Static_assert(offsetof(struct vhost_user_desc_state_split, inflight) ==
			       offsetof(struct vhost_user_desc_state_packed, inflight) &&
		       offsetof(struct vhost_user_desc_state_split, counter) ==
			       offsetof(struct vhost_user_desc_state_packed, counter),
	"flag and counter of an entry are where both formats have them");

/* A field of entry i. */
static inline struct guest *entry_at(const struct inflight *in, uint16_t i, size_t field)
{
	size_t header = in->packed ? sizeof(struct vhost_user_queue_region_packed)
				   : sizeof(struct vhost_user_queue_region_split);
	size_t entry = in->packed ? sizeof(struct vhost_user_desc_state_packed)
				  : sizeof(struct vhost_user_desc_state_split);

	ASSERT(i < in->desc_num);
	return guest_at(in->region, header + entry * (size_t)i + field);
}

static inline bool entry_flag(const struct inflight *in, uint16_t i)
{
	uint8_t flag;

	guest_copy_in(&flag,
		entry_at(in, i, offsetof(struct vhost_user_desc_state_split, inflight)),
		sizeof(flag));
	return flag != 0;
}

static inline void entry_flag_set(const struct inflight *in, uint16_t i, uint8_t flag)
{
	/* The order of the stores is the proof: the compiler must keep it on both sides. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	guest_copy_out(entry_at(in, i, offsetof(struct vhost_user_desc_state_split, inflight)),
		&flag, sizeof(flag));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline uint64_t entry_counter(const struct inflight *in, uint16_t i)
{
	le64 counter;

	guest_copy_in(&counter,
		entry_at(in, i, offsetof(struct vhost_user_desc_state_split, counter)),
		sizeof(counter));
	return le64_get(counter);
}

static inline void entry_counter_set(const struct inflight *in, uint16_t i, uint64_t value)
{
	le64 counter = le64_put(value);

	guest_copy_out(entry_at(in, i, offsetof(struct vhost_user_desc_state_split, counter)),
		&counter, sizeof(counter));
}

/* Takes note of an entry in flight that was found. */
static inline void entry_found(struct inflight *in, uint16_t i)
{
	uint64_t counter = entry_counter(in, i);

	in->resubmit_left++;
	if (counter >= in->counter)
		in->counter = counter + 1;
}

#endif
