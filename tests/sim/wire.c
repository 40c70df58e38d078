/* What a front-end says to the device, and the answers that it must get. */
#include "sim.h"

#include <errno.h>
#include <string.h>

#include "spec/vhost_user.h"

enum { TRIES_MAX = 30 };

static void lost(struct front *f)
{
	if (!f->connected)
		return;
	if (!w.faults)
		fake_die("front-end %u lost its connection: …%s", f->index, sim_log());
	front_hang_up(f);
}

static bool answered(void *arg)
{
	struct front *f = arg;

	return fake_peek(f->fd) != -EAGAIN;
}

/* What fails now works later: gives it time. */
bool wire_wait(bool (*done)(void *arg), struct front *f)
{
	for (unsigned tries = 0; w.faults && tries < TRIES_MAX; tries++)
		if (life_run(done, f))
			return true;
	return life_run(done, f);
}

/* The answer to a message: its payload's length, or -1 (connection lost). */
static int answer(struct front *f, uint32_t id, void *reply, uint32_t reply_len, int *fd)
{
	struct vhost_user_header h;
	int n;

	if (!wire_wait(answered, f))
		fake_die("front-end %u waits for an answer to message %u, and all sleep", f->index,
			id);
	n = fake_recv(f->fd, &h, sizeof(h), fd);
	if (n <= 0) {
		lost(f);
		return -1;
	}
	if (n != sizeof(h) || h.request != id || (h.flags & VHOST_USER_REPLY) == 0 ||
		h.size > reply_len)
		fake_die("a wrong answer to message %u: %u, flags %x, %u bytes", id, h.request,
			h.flags, h.size);
	if (h.size > 0 && fake_recv(f->fd, reply, h.size, NULL) != (int)h.size)
		fake_die("an answer to message %u that is not whole", id);
	return (int)h.size;
}

static bool say(struct front *f, uint32_t id, uint32_t flags, const void *payload, uint32_t len,
	const int *fds, unsigned count)
{
	char bytes[sizeof(struct vhost_user_header) + 512];
	struct vhost_user_header h = { id, VHOST_USER_VERSION | flags, len };

	if (!f->connected)
		return false;
	sim_note("%u: says message %u", f->index, id);
	w.quiet_ticks = 0;
	memcpy(bytes, &h, sizeof(h));
	if (len > 0)
		memcpy(bytes + sizeof(h), payload, len);
	if (fake_send(f->fd, bytes, sizeof(h) + len, fds, count) < 0)
		lost(f);
	return f->connected;
}

bool wire_ask_fd(struct front *f, uint32_t id, const void *payload, uint32_t len, void *reply,
	uint32_t reply_len, int *fd)
{
	int n;

	if (!say(f, id, fake_random(2) == 0 ? VHOST_USER_NEED_REPLY : 0, payload, len, NULL, 0))
		return false;
	n = answer(f, id, reply, reply_len, fd);
	if (n >= 0 && n != (int)reply_len) {
		if (!w.faults)
			fake_die("an answer of %d bytes to message %u", n, id);
		front_hang_up(f);
	}
	return f->connected;
}

bool wire_ask(struct front *f, uint32_t id, const void *payload, uint32_t len, void *reply,
	uint32_t reply_len)
{
	return wire_ask_fd(f, id, payload, len, reply, reply_len, NULL);
}

bool wire_tell_fds(struct front *f, uint32_t id, const void *payload, uint32_t len, const int *fds,
	unsigned count)
{
	bool ack = f->acks && fake_random(2) == 0;
	uint64_t result = 0;

	if (!say(f, id, ack ? VHOST_USER_NEED_REPLY : 0, payload, len, fds, count))
		return false;
	if (ack && answer(f, id, &result, sizeof(result), NULL) < 0)
		return false;
	if (result == 0)
		return true;
	if (!w.faults)
		fake_die("message %u was refused: …%s", id, sim_log());
	front_hang_up(f);
	return false;
}

bool wire_tell(struct front *f, uint32_t id, const void *payload, uint32_t len, int fd)
{
	return wire_tell_fds(f, id, payload, len, &fd, fd >= 0);
}

bool wire_sync(struct front *f)
{
	uint64_t features;

	return wire_ask(f, VHOST_USER_GET_FEATURES, NULL, 0, &features, sizeof(features));
}
