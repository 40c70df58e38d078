/* Guest memory that the front-end shares, and the queues in it. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "front.h"

static int add(struct front_memory *m, const struct front_place *place, int fd)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), skip = place->offset % page;
	unsigned i = m->driver.count;
	struct front_region *r = &m->regions[i];

	if (i == FRONT_REGIONS_MAX)
		return -ENOSPC;
	*r = (struct front_region){ .place = *place, .fd = fd, .map_len = skip + place->size };
	r->map = mmap(NULL, r->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		(off_t)(place->offset - skip));
	if (r->map == MAP_FAILED)
		return -errno;
	r->host = (unsigned char *)r->map + skip;
	m->views[i] = (struct driver_region){ place->guest, place->size, r->host };
	m->driver.regions = m->views;
	m->driver.count = i + 1;
	return 0;
}

int front_memory_add(
	struct front_memory *m, uint64_t guest, uint64_t user, uint64_t size, uint64_t offset)
{
	struct front_place place = { guest, size, user, offset };
	int fd = memfd_create("guest", MFD_CLOEXEC), error;

	if (fd < 0)
		return -errno;
	error = ftruncate(fd, (off_t)(offset + size)) < 0 ? -errno : add(m, &place, fd);
	if (error < 0)
		close(fd);
	return error;
}

int front_memory_add_fd(struct front_memory *m, const struct front_place *place, int fd)
{
	int own = dup(fd), error;

	if (own < 0)
		return -errno;
	error = add(m, place, own);
	if (error < 0)
		close(own);
	return error;
}

void front_memory_remove(struct front_memory *m, uint64_t guest)
{
	unsigned i = 0, last = m->driver.count - 1;

	while (i <= last && m->regions[i].place.guest != guest)
		i++;
	if (m->driver.count == 0 || i > last)
		return;
	munmap(m->regions[i].map, m->regions[i].map_len);
	close(m->regions[i].fd);
	m->regions[i] = m->regions[last];
	m->views[i] = m->views[last];
	m->driver.count--;
}

void front_memory_clear(struct front_memory *m)
{
	for (unsigned i = 0; i < m->driver.count; i++) {
		munmap(m->regions[i].map, m->regions[i].map_len);
		close(m->regions[i].fd);
	}
	m->driver.count = 0;
}

uint64_t front_user_of(const struct front_memory *m, uint64_t guest)
{
	for (unsigned i = 0; i < m->driver.count; i++) {
		const struct front_place *p = &m->regions[i].place;

		if (guest >= p->guest && guest - p->guest < p->size)
			return p->user + (guest - p->guest);
	}
	return 0;
}

int front_share(struct front *f, const struct front_memory *m)
{
	struct front_place places[8];
	int fds[8];

	if (m->driver.count > 8)
		return -E2BIG;
	for (unsigned i = 0; i < m->driver.count; i++) {
		places[i] = m->regions[i].place;
		fds[i] = m->regions[i].fd;
	}
	return front_set_mem_table(f, places, fds, m->driver.count);
}

/* ---- queues ---- */

int front_queue_open(struct front_queue *q, uint32_t index, const struct driver_format *format,
	const struct front_memory *m, const struct driver_layout *at,
	const struct driver_options *options)
{
	q->index = index;
	q->memory = m;
	q->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (q->kick < 0 || q->call < 0 || q->err < 0)
		return -errno;
	return driver_open(&q->driver, format, &m->driver, at, options) ? 0 : -EFAULT;
}

void front_queue_close(struct front_queue *q)
{
	close(q->kick);
	close(q->call);
	close(q->err);
}

int front_queue_set(struct front *f, const struct front_queue *q, uint32_t base)
{
	const struct driver_layout *at = &q->driver.at;
	struct front_ring_addr addr = { .index = q->index,
		.desc = front_user_of(q->memory, at->desc),
		.used = front_user_of(q->memory, at->used),
		.avail = front_user_of(q->memory, at->avail) };
	int result = front_set_vring_num(f, q->index, q->driver.size);

	if (result == 0)
		result = front_set_vring_base(f, q->index, base);
	if (result == 0)
		result = front_set_vring_addr(f, &addr);
	if (result == 0)
		result = front_set_vring_call(f, q->index, q->call);
	if (result == 0)
		result = front_set_vring_err(f, q->index, q->err);
	return result;
}

int front_queue_start(struct front *f, const struct front_queue *q, uint32_t base)
{
	int result = front_queue_set(f, q, base);

	if (result == 0)
		result = front_set_vring_kick(f, q->index, q->kick);
	if (result == 0 && (f->features & VU_F(PROTOCOL_FEATURES)) != 0)
		result = front_set_vring_enable(f, q->index, true);
	return result;
}

void front_kick(const struct front_queue *q)
{
	eventfd_write(q->kick, 1);
}

void front_queue_offer(struct front_queue *q)
{
	driver_publish(&q->driver);
	if (driver_needs_kick(&q->driver))
		front_kick(q);
}

int front_queue_wait(struct front_queue *q, struct driver_used *used, int timeout_ms)
{
	uint64_t end_us = front_now_us() + (uint64_t)timeout_ms * 1000;

	for (;;) {
		struct pollfd p = { .fd = q->call, .events = POLLIN };
		int n = driver_poll(&q->driver, used);

		if (n != 0)
			return n > 0 ? 0 : -EPROTO;
		if (front_now_us() > end_us)
			return -ETIMEDOUT;
		/* Calls may be off, so do not rely on one. */
		if (poll(&p, 1, 1) > 0)
			front_signals(q->call);
	}
}

uint64_t front_signals(int eventfd)
{
	eventfd_t count = 0;

	return eventfd_read(eventfd, &count) == 0 ? count : 0;
}

int front_wait_signal(int eventfd, int timeout_ms)
{
	struct pollfd p = { .fd = eventfd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) > 0 ? 0 : -ETIMEDOUT;
}
