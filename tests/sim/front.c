/* Front-ends: how a connection is set up, anew or after a death. */
#include "sim.h"

#include <string.h>

#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"

enum { TRIES_MAX = 30 };

bool front_has(const struct front *f, unsigned protocol_feature)
{
	return (f->protocol >> protocol_feature & 1) != 0;
}

bool front_writes_through(const struct front *f)
{
	if ((f->features & VIRTIO_BLK_F_CONFIG_WCE) != 0)
		return !f->writeback;
	return (f->features & VIRTIO_BLK_F_FLUSH) == 0;
}

/* ---- memory ---- */

static struct vhost_user_region region_of(const struct region *r)
{
	return (struct vhost_user_region){ r->gpa, r->size, r->user, r->offset };
}

bool front_region(struct front *f, uint32_t id, const struct region *r)
{
	struct vhost_user_mem_reg m = { 0, region_of(r) };

	return wire_tell(f, id, &m, sizeof(m),
		id == VHOST_USER_ADD_MEM_REG || fake_random(2) == 0 ? r->fd : -1);
}

bool front_share_memory(struct front *f)
{
	struct vhost_user_mem_table table = { 0 };
	int fds[VHOST_USER_MEM_TABLE_MAX];

	f->shares = true;
	for (unsigned i = 0; i < f->memory.count; i++) {
		if (!f->memory.regions[i].shared)
			continue;
		table.regions[table.count] = region_of(&f->memory.regions[i]);
		fds[table.count++] = f->memory.regions[i].fd;
	}
	return wire_tell_fds(f, VHOST_USER_SET_MEM_TABLE, &table,
		8 + table.count * (uint32_t)sizeof(table.regions[0]), fds, table.count);
}

/* In one table, or one by one. */
static bool share_all(struct front *f)
{
	struct memory *m = &f->memory;

	if (f->shares || !front_has(f, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) ||
		fake_random(2) == 0)
		return front_share_memory(f);
	f->shares = true;
	for (unsigned i = 0; i < m->count; i++)
		if (m->regions[i].shared &&
			!front_region(f, VHOST_USER_ADD_MEM_REG, &m->regions[i]))
			return false;
	return true;
}

/* ---- from nothing to a working device ---- */

/* The driver starts over, with other memory or the same. */
static void start_over(struct front *f)
{
	struct memory *m = &f->memory;
	bool missing = m->count == 0, was_packed = f->queues[0].format == &ring_packed;
	/* One that was made for rings of this format, and as many. */
	bool keeps = f->keeps && was_packed == ((f->features & VIRTIO_F_RING_PACKED) != 0);

	f->lawless = f->keeps = false;
	for (unsigned i = 0; i < f->queue_count; i++) {
		driver_abandon(&f->queues[i]);
		f->queues[i].made = f->queues[i].running = f->queues[i].up = false;
	}
	for (unsigned i = 0; i < m->count; i++) {
		missing |= fake_memory_len(m->regions[i].fd) <
			   m->regions[i].offset + m->regions[i].size;
		if (!m->regions[i].shared)
			memory_share(m, &m->regions[i], true);
	}
	if (missing || fake_random(4) == 0) {
		memory_delete(m);
		memory_new(m);
	}
	memory_free_all(m);
	if (f->inflight_fd >= 0 && !keeps) {
		fake_close(f->inflight_fd);
		f->inflight_fd = -1;
	}
	if (!keeps)
		f->queues_used = (uint16_t)(1 + fake_random(f->queue_count));
	for (unsigned i = 0; i < f->queues_used; i++) {
		struct sim_queue *q = &f->queues[i];

		ring_make(q);
		front_notify_again(q);
		q->enabled = true;
	}
	for (unsigned i = 0; i < f->queues_used; i++)
		if (f->queues[i].evil) {
			uint32_t len = 1024;

			while ((f->queues[i].zone = memory_alloc(m, len, false)) == 0)
				if ((len /= 2) == 64)
					fake_die("sim: no room for a zone");
			f->queues[i].zone_len = len;
		}
	f->writeback = true;
	f->wce_age++;
}

static bool negotiate(struct front *f)
{
	uint64_t offer, protocol = 0, keep = 0, fallback = f->features;

	if (!wire_ask(f, VHOST_USER_GET_FEATURES, NULL, 0, &offer, sizeof(offer)))
		return false;
	if (f->fresh) {
		keep = (uint64_t)fake_random(UINT32_MAX) << 32 | fake_random(UINT32_MAX);
		keep |= VIRTIO_F_VERSION_1;
		/* Where it was agreed on, it is for the whole connection. */
		if (fake_random(4) > 0 || f->negotiated)
			keep |= VHOST_USER_F_PROTOCOL_FEATURES;
		f->features = offer & ((keep & ~f->never) | (f->must & ~f->never));
		start_over(f);
	} else if ((fallback & ~offer) != 0) {
		fake_die("features were offered before, and are not now");
	}
	if (!wire_tell(f, VHOST_USER_SET_OWNER, NULL, 0, -1))
		return false;
	if ((f->features & VHOST_USER_F_PROTOCOL_FEATURES) == 0) {
		f->protocol = 0;
		return true;
	}
	if (!wire_ask(f, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0, &protocol, sizeof(protocol)))
		return false;
	if (f->fresh)
		f->protocol =
			fake_random(3) > 0 ? protocol : protocol & (keep >> 3 | f->protocol_must);
	if (f->fresh && fake_random(2) == 0)
		f->protocol &= ~(1ull << VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT);
	/* This one needs both others. */
	if (!front_has(f, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) ||
		!front_has(f, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT))
		f->protocol &= ~(1ull << VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN);
	f->acks = front_has(f, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	f->negotiated = true;
	return wire_tell(
		f, VHOST_USER_SET_PROTOCOL_FEATURES, &f->protocol, sizeof(f->protocol), -1);
}

uint64_t front_capacity(struct front *f)
{
	struct vhost_user_config c = { .size = 8 }, got;
	uint64_t capacity = 0;

	if (wire_ask(f, VHOST_USER_GET_CONFIG, &c, 12 + c.size, &got, 12 + c.size))
		memcpy(&capacity, got.bytes, sizeof(capacity));
	return capacity;
}

bool front_set_writeback(struct front *f, bool on)
{
	struct vhost_user_config c = { .offset = offsetof(struct virtio_blk_config, writeback),
		.size = 1 };

	c.bytes[0] = on;
	f->wce_age++;
	f->writeback = true; /* nothing is promised until it is said and done */
	if (!wire_tell(f, VHOST_USER_SET_CONFIG, &c, 13, -1) || !wire_sync(f))
		return false;
	f->writeback = on;
	return true;
}

static bool flush_is_out(const struct front *f)
{
	for (const struct sim_request *r = w.requests; r < w.requests + REQS_MAX; r++)
		if (r->queue && r->queue->front == f && r->type == VIRTIO_BLK_T_FLUSH)
			return true;
	return false;
}

/*
 * The cache's mode: what the features say. After a death it is what it was before, even if nobody
 * says so again; but a driver that flushes shows that it knows of a cache.
 */
static bool set_cache(struct front *f, bool was_fresh)
{
	bool can_say = front_has(f, VHOST_USER_PROTOCOL_F_CONFIG);

	/* Without a record, it is one driver as well as another to the device. */
	was_fresh |= f->inflight_fd < 0;
	if (!f->blk || (f->features & VIRTIO_BLK_F_CONFIG_WCE) == 0)
		return true;
	if (!was_fresh && can_say && fake_random(2) == 0)
		return front_set_writeback(f, f->writeback);
	if (!was_fresh && can_say && !flush_is_out(f))
		return true;
	f->writeback = !was_fresh || (f->features & VIRTIO_BLK_F_FLUSH) != 0;
	f->wce_age++;
	if (was_fresh && can_say && fake_random(3) == 0)
		return front_set_writeback(f, false);
	return true;
}

static bool set_inflight(struct front *f)
{
	struct vhost_user_inflight i = { .num_queues = f->queues_used,
		.queue_size = f->queue_size_max };

	if (!front_has(f, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
		return true;
	if (f->inflight_fd < 0) {
		if (!wire_ask_fd(f, VHOST_USER_GET_INFLIGHT_FD, &i, sizeof(i), &i, sizeof(i),
			    &f->inflight_fd))
			return false;
		if (f->inflight_fd < 0)
			fake_die("no descriptor for in-flight tracking");
		if (fake_random(2) == 0)
			return true;
	}
	i.mmap_size = fake_memory_len(f->inflight_fd);
	i.mmap_offset = 0;
	return wire_tell(f, VHOST_USER_SET_INFLIGHT_FD, &i, sizeof(i), f->inflight_fd);
}

static bool set_backend(struct front *f)
{
	int pair[2];
	bool told;

	if (!front_has(f, VHOST_USER_PROTOCOL_F_BACKEND_REQ) || fake_random(2) == 0)
		return true;
	fake_socketpair(pair);
	told = wire_tell(f, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[0]);
	fake_close(pair[0]);
	if (!told) {
		fake_close(pair[1]);
		return false;
	}
	f->backend_fd = pair[1];
	return true;
}

static bool set_up(struct front *f)
{
	bool was_fresh = f->fresh;

	if (!negotiate(f) || !set_backend(f) || !share_all(f) ||
		!wire_tell(f, VHOST_USER_SET_FEATURES, &f->features, sizeof(f->features), -1) ||
		!set_cache(f, was_fresh) || !set_inflight(f))
		return false;
	for (unsigned i = 0; i < f->queues_used; i++) {
		struct sim_queue *q = &f->queues[i];

		/* With requests of an earlier life, perhaps: they are done all the same. */
		bool again = !was_fresh && fake_random(6) == 0;

		if (again && (f->features & VHOST_USER_F_PROTOCOL_FEATURES) != 0)
			q->enabled = fake_random(2) == 0;
		if (!front_start_queue(f, q))
			return false;
		if (again && (!front_stop_queue(f, q) || !front_start_queue(f, q)))
			return false;
	}
	return wire_sync(f);
}

/* A connection that the device has made, and that is not one of a life that has ended. */
static bool accepted(void *arg)
{
	struct front *f = arg;

	while ((f->fd = fake_accept(f->listener)) >= 0) {
		if (fake_peek(f->fd) != 0)
			return true;
		fake_close(f->fd);
	}
	return false;
}

static void say_connected(struct front *f)
{
	if (!f->client)
		f->fd = fake_connect(f->path);
	else if (!accepted(f))
		(void)wire_wait(accepted, f);
	if (f->fd < 0)
		fake_die(f->client ? "nobody connects to %s" : "nobody listens on %s", f->path);
	f->connected = true;
	f->acks = f->shares = f->negotiated = false;
}

void front_up(struct front *f)
{
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		if (tries == TRIES_MAX / 2)
			fake.fail_mask = 0;
		if (!f->connected)
			say_connected(f);
		if (set_up(f))
			return;
	}
	fake_die("front-end %u cannot get through", f->index);
}

void front_hang_up(struct front *f)
{
	if (!f->connected)
		return;
	sim_note("%u: hangs up", f->index);
	for (unsigned i = 0; i < f->queue_count; i++)
		f->queues[i].up = false;
	fake_close(f->fd);
	if (f->backend_fd >= 0)
		fake_close(f->backend_fd);
	f->backend_fd = -1;
	f->connected = false;
	if ((!front_has(f, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) && !f->stopped) || f->lawless)
		f->fresh = true;
	f->stopped = f->keeps = false;
}

/* The process has died: its side of everything is closed. */
void front_forget(struct front *f)
{
	front_hang_up(f);
}
