/* A front-end and its guest, outside of vubox. */
#include <errno.h>
#include <string.h>

#include "rig.h"
#include "spec/vhost_user.h"

bool front_lenient;

static void front_take(struct front *f, int fd)
{
	*f = (struct front){ .fd = fd, .mem_fd = -1 };
	for (unsigned i = 0; i < FRONT_RINGS; i++) {
		f->kick[i] = fake_notify_new(PORT_NOTIFY_EVENT);
		f->call[i] = fake_notify_new(PORT_NOTIFY_EVENT);
		f->err[i] = fake_notify_new(PORT_NOTIFY_EVENT);
	}
}

void front_connect(struct front *f, const char *path)
{
	front_take(f, fake_connect(path));
	if (f->fd < 0 && !front_lenient)
		fake_die("nobody listens on %s", path);
}

void front_hang_up(struct front *f)
{
	fake_close(f->fd);
	for (unsigned i = 0; i < FRONT_RINGS; i++) {
		fake_close(f->kick[i]);
		fake_close(f->call[i]);
		fake_close(f->err[i]);
	}
	if (f->mem_fd >= 0)
		fake_close(f->mem_fd);
}

/* ---- messages ---- */

void front_send(
	struct front *f, uint32_t request, uint32_t flags, const void *payload, size_t size, int fd)
{
	struct {
		struct vhost_user_header header;
		uint8_t payload[8192];
	} m = { .header = { request, flags | VHOST_USER_VERSION, (uint32_t)size } };

	if (size > 0)
		memcpy(m.payload, payload, size);
	(void)fake_send(f->fd, &m, sizeof(m.header) + size, &fd, fd >= 0);
}

int front_reply(struct front *f, uint32_t *request, void *payload, size_t size, int *fd_got)
{
	static uint8_t late[CONFIG_PAYLOAD_MAX];
	struct vhost_user_header h;
	int n = fake_recv(f->fd, &h, sizeof(h), fd_got);

	if (n == -EAGAIN)
		return FRONT_SILENT;
	if (n <= 0)
		return FRONT_GONE;
	if (n == sizeof(h) && h.size > size && front_lenient) /* to a call before this one */
		return fake_recv(f->fd, late, h.size, NULL) >= 0 ? FRONT_SILENT : FRONT_GONE;
	if (n != sizeof(h) || h.size > size)
		fake_die("a reply of %d bytes, with %u", n, h.size);
	if (h.flags != (VHOST_USER_VERSION | VHOST_USER_REPLY))
		fake_die("a reply with flags 0x%x", h.flags);
	*request = h.request;
	if (h.size > 0 && fake_recv(f->fd, payload, h.size, NULL) != (int)h.size)
		fake_die("a reply without its payload");
	return (int)h.size;
}

int front_call(struct front *f, uint32_t request, void *payload, size_t size, size_t reply_max,
	int fd, int *fd_got)
{
	uint32_t replied = request;
	int n;

	front_send(f, request, 0, payload, size, fd);
	(void)rig_run();
	n = front_reply(f, &replied, payload, reply_max, fd_got);
	if (replied != request && !front_lenient)
		fake_die("a reply to %u, not %u", replied, request);
	return n;
}

int64_t front_ack(struct front *f, uint32_t request, const void *payload, size_t size, int fd)
{
	uint32_t replied = request;
	uint64_t ack = 0;
	int n;

	front_send(f, request, VHOST_USER_NEED_REPLY, payload, size, fd);
	(void)rig_run();
	n = front_reply(f, &replied, &ack, sizeof(ack), NULL);
	if (n >= 0 && (replied != request || n != sizeof(ack)) && !front_lenient)
		fake_die("no acknowledgement of %u", request);
	return n < 0 ? n : (int64_t)ack;
}

int64_t front_ack_u64(struct front *f, uint32_t request, uint64_t value, int fd)
{
	return front_ack(f, request, &value, sizeof(value), fd);
}

int64_t front_ack_state(struct front *f, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state state = { index, num };

	return front_ack(f, request, &state, sizeof(state), -1);
}

uint64_t front_get(struct front *f, uint32_t request)
{
	uint64_t value = 0;
	int n = front_call(f, request, &value, 0, sizeof(value), -1, NULL);

	if (n != sizeof(value) && !front_lenient)
		fake_die("%d as a reply to %u", n, request);
	return value;
}

/* ---- what a front-end does first ---- */

static void must(int64_t ack, const char *what)
{
	if (ack != 0 && !front_lenient)
		fake_die("%s: %lld", what, (long long)ack);
}

void front_negotiate(struct front *f, uint64_t features)
{
	uint64_t protocol = front_get(f, VHOST_USER_GET_PROTOCOL_FEATURES);

	must(front_ack_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, protocol, -1), "protocol features");
	must(front_ack(f, VHOST_USER_SET_OWNER, NULL, 0, -1), "owner");
	must(front_ack_u64(
		     f, VHOST_USER_SET_FEATURES, features | VHOST_USER_F_PROTOCOL_FEATURES, -1),
		"features");
}

int64_t front_add_region(struct front *f, uint32_t request, uint64_t guest, uint64_t size,
	uint64_t user, uint64_t offset, int fd)
{
	struct vhost_user_mem_reg reg = { 0, { guest, size, user, offset } };

	return front_ack(f, request, &reg, sizeof(reg), fd);
}

void front_share(struct front *f)
{
	f->mem_fd = fake_memory_new(FRONT_BYTES);
	f->mem = fake_memory(f->mem_fd);
	must(front_add_region(
		     f, VHOST_USER_ADD_MEM_REG, FRONT_GPA, FRONT_BYTES, FRONT_UVA, 0, f->mem_fd),
		"memory");
}

void front_ring_addr(struct front *f, unsigned i)
{
	const struct driver *d = &f->rings[i];
	struct vhost_user_vring_addr addr = { .index = i,
		.desc = FRONT_UVA + d->desc,
		.used = FRONT_UVA + d->used,
		.avail = FRONT_UVA + d->avail };

	must(front_ack(f, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1), "ring addresses");
}

void front_ring(struct front *f, unsigned i, uint32_t size)
{
	driver_init(&f->rings[i], f->mem, FRONT_GPA, i * FRONT_RING_BYTES, size);
	must(front_ack_state(f, VHOST_USER_SET_VRING_NUM, i, size), "ring size");
	front_ring_addr(f, i);
	must(front_ack_state(f, VHOST_USER_SET_VRING_BASE, i, 0), "ring base");
	must(front_ack_u64(f, VHOST_USER_SET_VRING_CALL, i, f->call[i]), "call");
	must(front_ack_u64(f, VHOST_USER_SET_VRING_ERR, i, f->err[i]), "err");
	must(front_ack_u64(f, VHOST_USER_SET_VRING_KICK, i, f->kick[i]), "kick");
	(void)fake_notify_take(f->call[i]); /* the one for a new call descriptor */
}

static void front_set_up(struct front *f, unsigned rings, uint64_t features)
{
	front_negotiate(f, features);
	front_share(f);
	for (unsigned i = 0; i < rings; i++) {
		front_ring(f, i, 16);
		must(front_ack_state(f, VHOST_USER_SET_VRING_ENABLE, i, 1), "enable");
	}
}

void front_start(struct front *f, const char *path, unsigned rings, uint64_t features)
{
	front_connect(f, path);
	front_set_up(f, rings, features);
}

void front_adopt(struct front *f, int fd, unsigned rings, uint64_t features)
{
	front_take(f, fd);
	front_set_up(f, rings, features);
}

void front_kick(struct front *f, unsigned i)
{
	fake_notify_signal(f->kick[i]);
	(void)rig_run();
}

uint64_t front_addr(uint32_t at)
{
	return FRONT_GPA + FRONT_DATA + at;
}

char *front_data(struct front *f, uint32_t at)
{
	return f->mem + FRONT_DATA + at;
}
