/* Front-ends: how a ring is started and stopped, and what must be true when it is. */
#include "sim.h"

#include "spec/vhost_user.h"
#include "spec/virtio.h"

/* A fresh notification of any kind; the old one is closed. */
static int notify_again(int old)
{
	if (old >= 0)
		fake_close(old);
	return fake_notify_new((enum port_notify_kind)(PORT_NOTIFY_EVENT + fake_random(4)));
}

void front_notify_again(struct sim_queue *q)
{
	q->kick = notify_again(q->kick);
	q->call = notify_again(q->call);
	q->err = notify_again(q->err);
}

static bool tell_state(struct front *f, uint32_t id, const struct sim_queue *q, uint32_t num)
{
	struct vhost_user_vring_state s = { q->index, num };

	return wire_tell(f, id, &s, sizeof(s), -1);
}

/* Where it goes on; after a death, what a front-end thinks: in-flight tracking knows better. */
static uint32_t base_of(const struct sim_queue *q)
{
	if (q->base_known || fake_random(2) == 0)
		return q->base;
	return q->format->base_guessed(q);
}

bool front_start_queue(struct front *f, struct sim_queue *q)
{
	struct vhost_user_vring_addr a = { .index = q->index,
		.desc = memory_user(&f->memory, q->desc),
		.avail = memory_user(&f->memory, q->avail),
		.used = memory_user(&f->memory, q->used) };
	uint64_t index = q->index;
	bool err = fake_random(2) == 0;
	uint32_t base = base_of(q);

	front_notify_again(q);
	q->polled = fake_random(16) == 0;
	if (!tell_state(f, VHOST_USER_SET_VRING_NUM, q, q->size) ||
		!tell_state(f, VHOST_USER_SET_VRING_BASE, q, base) ||
		!wire_tell(f, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), -1) ||
		(err && !wire_tell(f, VHOST_USER_SET_VRING_ERR, &index, 8, q->err)) ||
		!wire_tell(f, VHOST_USER_SET_VRING_CALL, &index, 8, q->call))
		return false;
	if (q->polled)
		index |= VHOST_USER_VRING_NO_FD;
	f->fresh = false;
	q->running = true;
	q->base = base;
	q->base_known = false;
	q->walked_place = q->begun_place = 0;
	q->used_loads = 0;
	if (!wire_tell(f, VHOST_USER_SET_VRING_KICK, &index, 8, q->polled ? -1 : q->kick))
		return false;
	q->up = true;
	return (f->features & VHOST_USER_F_PROTOCOL_FEATURES) == 0 ||
	       tell_state(f, VHOST_USER_SET_VRING_ENABLE, q, q->enabled);
}

void front_enable(struct front *f, struct sim_queue *q, bool on)
{
	if (q->enabled == on || (f->features & VHOST_USER_F_PROTOCOL_FEATURES) == 0)
		return;
	q->enabled = false; /* nobody knows, until it is said and done */
	if (tell_state(f, VHOST_USER_SET_VRING_ENABLE, q, on) && wire_sync(f))
		q->enabled = on;
}

/* What GET_VRING_BASE says: where it goes on, and what was taken is back: all of it, or some. */
static void check_base(const struct sim_queue *q, uint32_t base, bool all)
{
	if (q->evil || q->format->base_fits(q, base, all))
		return;
	fake_die("queue %u.%u of %u stopped at %08x%s, and its driver has got as far as %08x",
		q->front->index, q->index, q->size, base, all ? "" : " (or before)",
		q->format->base(q));
}

bool front_stop_queue(struct front *f, struct sim_queue *q)
{
	struct vhost_user_vring_state s = { q->index, 0 }, reply;
	bool skip = front_has(f, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN) &&
		    fake_random(2) == 0;

	if (!wire_ask(f, skip ? VHOST_USER_GET_VRING_BASE_SKIP_DRAIN : VHOST_USER_GET_VRING_BASE,
		    &s, sizeof(s), &reply, sizeof(reply)))
		return false;
	q->running = false;
	check_base(q, reply.num,
		!front_has(f, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT) && f->blk);
	q->base = reply.num;
	q->base_known = true;
	return true;
}

/* All entries are in the list of free ones, and the used index is where the driver is. */
static void check_packed(const struct sim_queue *q, const char *at, uint16_t count)
{
	uint16_t free = ring_get16(at + 12), seen = 0;
	bool listed[RING_MAX] = { false };

	for (uint16_t i = free; i < count && !listed[i]; i = ring_get16(at + 32 + 32 * i + 2)) {
		listed[i] = true;
		seen++;
	}
	if (seen != count || free != ring_get16(at + 14))
		fake_die("queue %u.%u: of %u entries %u are free (from %u on, or %u)",
			q->front->index, q->index, count, seen, free, ring_get16(at + 14));
	if ((uint16_t)(ring_get16(at + 16) | at[20] << 15) != (q->format->base(q) & 0xffff) ||
		ring_get16(at + 16) != ring_get16(at + 18) || at[20] != at[21])
		fake_die("queue %u.%u: the record's used index is %u, and %u before; not %04x",
			q->front->index, q->index, ring_get16(at + 16), ring_get16(at + 18),
			q->format->base(q) & 0xffffu);
}

/*
 * All is done: what is on record of each queue says so (vhost-user: QueueRegionSplit and
 * QueueRegionPacked; the flag of an entry is its first byte in both).
 */
void front_check_inflight(const struct front *f)
{
	bool packed = (f->features & VIRTIO_F_RING_PACKED) != 0;
	uint32_t head = packed ? 32 : 16, entry = packed ? 32 : 16;
	uint32_t region = (head + entry * f->queue_size_max + 63) / 64 * 64;

	if (f->inflight_fd < 0 || f->evil || f->lawless ||
		!front_has(f, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
		return;
	for (unsigned i = 0; i < f->queues_used; i++) {
		const char *at = fake_memory(f->inflight_fd) + i * region;

		for (unsigned k = 0; !f->queues[i].evil && k < f->queue_size_max; k++)
			if (at[head + k * entry] != 0)
				fake_die("queue %u.%u: entry %u is in flight, and all is done",
					f->index, i, k);
		if (packed && !f->queues[i].evil)
			check_packed(&f->queues[i], at, f->queue_size_max);
	}
}
