/* What front-ends do while their drivers are at work. */
#include "sim.h"

#include <errno.h>
#include <string.h>

#include "spec/vhost_user.h"
#include "spec/virtio_blk.h"

static struct sim_queue *some_queue(struct front *f)
{
	return &f->queues[fake_random(f->queues_used)];
}

/* Stops a queue and starts it again; a bad driver's with a new ring. */
static void restart(struct front *f)
{
	struct sim_queue *q = some_queue(f);

	if (!front_stop_queue(f, q))
		return;
	life_ticks(fake_random(4));
	if (!f->connected)
		return;
	if (q->evil)
		ring_clear(q);
	(void)front_start_queue(f, q);
}

static void enable(struct front *f)
{
	struct sim_queue *q = some_queue(f);

	front_enable(f, q, !q->enabled);
}

/* Memory that nobody uses goes away, or comes back. */
static void plug(struct front *f)
{
	bool slots = front_has(f, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
	struct region *r = memory_spare(&f->memory, false);

	if (r) {
		r->shared = true;
		if (slots ? front_region(f, VHOST_USER_ADD_MEM_REG, r) : front_share_memory(f))
			if (wire_sync(f))
				memory_share(&f->memory, r, true);
		return;
	}
	r = f->evil ? NULL : memory_spare(&f->memory, true);
	if (!r) {
		(void)front_share_memory(f);
		return;
	}
	memory_share(&f->memory, r, false);
	if (slots ? front_region(f, VHOST_USER_REM_MEM_REG, r) : front_share_memory(f))
		(void)wire_sync(f);
}

static void reset(struct front *f)
{
	uint64_t zero = 0;
	bool told;

	/* The driver starts over, whether it is heard or not. */
	if (front_has(f, VHOST_USER_PROTOCOL_F_RESET_DEVICE) ||
		front_has(f, VHOST_USER_PROTOCOL_F_STATUS))
		f->fresh = true;
	if (front_has(f, VHOST_USER_PROTOCOL_F_RESET_DEVICE) && fake_random(2) == 0)
		told = wire_tell(f, VHOST_USER_RESET_DEVICE, NULL, 0, -1);
	else if (front_has(f, VHOST_USER_PROTOCOL_F_STATUS))
		told = wire_tell(f, VHOST_USER_SET_STATUS, &zero, sizeof(zero), -1);
	else
		return;
	if (!told || !wire_sync(f))
		return;
	for (unsigned i = 0; i < f->queue_count; i++)
		f->queues[i].running = false;
	life_ticks(fake_random(4));
	front_up(f);
}

static void hang_up(struct front *f)
{
	front_hang_up(f);
	life_ticks(fake_random(4));
}

/*
 * Another process takes over: it is told where the rings go on, and given what is on record. If all
 * is done, there need be no record, or another.
 */
static void migrate(struct front *f)
{
	bool all_done = !front_has(f, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT);

	if (f->evil || !f->blk)
		return;
	for (unsigned i = 0; i < f->queues_used; i++)
		if (!front_stop_queue(f, &f->queues[i]))
			return;
	sim_note("%u: moves", f->index);
	f->stopped = all_done;
	if (all_done && f->inflight_fd >= 0 && fake_random(2) == 0) {
		fake_close(f->inflight_fd);
		f->inflight_fd = -1;
	}
	if (fake_random(2) == 0) {
		w.moving = true;
		longjmp(w.killed_jump, 1);
	}
	front_hang_up(f);
}

/* The guest starts over: its rings are stopped in order, and made anew. */
static void reboot(struct front *f)
{
	for (unsigned i = 0; i < f->queues_used; i++)
		if (!front_stop_queue(f, &f->queues[i]))
			return;
	sim_note("%u: reboots", f->index);
	f->fresh = true;
	f->keeps =
		!front_has(f, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT) && f->blk && !f->evil;
	for (unsigned i = 0; i < f->queues_used; i++)
		f->keeps &= !f->queues[i].evil;
	life_ticks(fake_random(4));
	front_up(f);
}

/* A second front-end is turned away, and the first one does not notice. */
static bool gone(void *arg)
{
	return fake_peek(*(int *)arg) == 0;
}

static void intrude(struct front *f)
{
	int fd = f->client ? -1 : fake_connect(f->path);

	if (f->client)
		return;
	if (fd < 0)
		fake_die("nobody listens on %s", f->path);
	if (!life_run(gone, &fd) && !w.faults)
		fake_die("a second front-end was not turned away");
	fake_close(fd);
}

static void config(struct front *f)
{
	uint64_t capacity;

	if (!f->blk || !front_has(f, VHOST_USER_PROTOCOL_F_CONFIG))
		return;
	if ((f->features & VIRTIO_BLK_F_CONFIG_WCE) != 0 && fake_random(2) == 0) {
		(void)front_set_writeback(f, fake_random(2) == 0);
		return;
	}
	capacity = front_capacity(f);
	if (f->connected && capacity != f->disk.sectors && !f->growing)
		fake_die("a disk of %u sectors has %llu", f->disk.sectors,
			(unsigned long long)capacity);
}

/* SIGHUP, with a larger image or the same. */
static void grow(struct front *f)
{
	uint32_t sectors = f->disk.sectors + fake_random(SECTORS_MAX - f->disk.sectors + 1);
	uint64_t capacity;

	if (!f->blk)
		return;
	if (f->growing && f->disk.image->size < (uint64_t)sectors * SECTOR)
		fake_image_resize(f->disk.image, (uint64_t)sectors * SECTOR);
	fake_signal(PORT_SIGNAL_AGAIN);
	life_ticks(2);
	if (!f->growing || !f->connected || !front_has(f, VHOST_USER_PROTOCOL_F_CONFIG))
		return;
	capacity = front_capacity(f);
	if (capacity * SECTOR == f->disk.image->size)
		disk_grown(&f->disk, (uint32_t)capacity);
}

/* New call and kick descriptors while the queue works. */
static void renotify(struct front *f)
{
	struct sim_queue *q = some_queue(f);
	uint64_t index = q->index;
	int fd = fake_notify_new(PORT_NOTIFY_EVENT), old = q->call;

	/* The driver's interrupt moves in one step: both ends take part. */
	if (fake_notify_take(old) > 0)
		fake_notify_signal(fd);
	q->call = fd;
	fake_close(old);
	if (!wire_tell(f, VHOST_USER_SET_VRING_CALL, &index, 8, fd))
		return;
	if (q->polled || fake_random(2) == 0)
		return;
	fd = fake_notify_new(PORT_NOTIFY_EVENT);
	if (fake_notify_take(q->kick) > 0)
		fake_notify_signal(fd);
	fake_close(q->kick);
	q->kick = fd;
	(void)wire_tell(f, VHOST_USER_SET_VRING_KICK, &index, 8, fd);
}

/* The file of a region shrinks: the connection closes, the process goes on. */
static bool hung_up(void *arg)
{
	return fake_peek(((struct front *)arg)->fd) == 0;
}

/* Whether a ring of it is still looked at: that is where missing memory is noticed. */
static bool is_looked_at(const struct front *f)
{
	for (unsigned i = 0; i < f->queues_used; i++)
		if (f->device->queues[i].started && !f->device->queues[i].broken)
			return true;
	return false;
}

static void shrink(struct front *f)
{
	const struct region *r = &f->memory.regions[fake_random(f->memory.count)];

	if (!r->shared)
		return;
	sim_note("%u: memory shrinks", f->index);
	f->lawless = true;
	for (unsigned i = 0; i < f->queue_count; i++)
		f->queues[i].made = false; /* its driver is gone with it */
	/* A write that is out may lose its data, or its sector. */
	for (struct sim_request *q = w.requests; q < w.requests + REQS_MAX; q++)
		if (q->queue && q->queue->front == f && q->writes) {
			disk_write_begins(&f->disk, 0, f->disk.sectors, ID_ANY);
			break;
		}
	fake_truncate(r->fd, r->offset);
	for (unsigned i = 0; i < f->queues_used; i++)
		fake_notify_signal(f->queues[i].kick);
	if (!life_run(hung_up, f) && is_looked_at(f))
		fake_die("memory was taken back, and the connection is open");
	front_hang_up(f);
}

/* Nonsense closes the connection, or is refused; nothing else happens. */
static void nonsense(struct front *f)
{
	uint8_t bytes[64];
	uint32_t head[3] = { fake_random(60), fake_random(4) > 0 ? 9 : fake_random(16),
		fake_random(40) };

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)fake_random(256);
	memcpy(bytes, head, sizeof(head));
	if (head[0] == VHOST_USER_SET_VRING_KICK || head[0] == VHOST_USER_SET_FEATURES)
		head[2] = 3;
	sim_note("%u: talks nonsense (%u)", f->index, head[0]);
	f->lawless = true;
	(void)fake_send(f->fd, bytes, 12 + head[2], NULL, 0);
	life_ticks(4);
	front_hang_up(f);
}

void action_any(struct front *f)
{
	static void (*const all[])(struct front * f) = { restart, restart, restart, enable, enable,
		migrate, migrate, reboot, plug, plug, reset, hang_up, hang_up, intrude, config,
		config, config, renotify, renotify, shrink, nonsense, grow };

	static void (*const lawful[])(struct front * f) = { restart, restart, restart, enable, plug,
		hang_up, renotify, migrate, reboot };

	if (!f->connected) {
		front_up(f);
		return;
	}
	if (w.run->cuts) {
		lawful[fake_random(sizeof(lawful) / sizeof(lawful[0]))](f);
		return;
	}
	/* A bad driver breaks its queue at once: give it another. */
	if (f->queues[0].evil && fake_random(4) > 0)
		restart(f);
	else
		all[fake_random(sizeof(all) / sizeof(all[0]))](f);
}
