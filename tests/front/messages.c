/* The well-formed messages of the front-end. */
#include "front.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A message that sets something. */
static int set(struct front *f, uint32_t request, const void *payload, uint32_t size,
	const int *fds, unsigned fd_count)
{
	if (f->acks && (f->protocol & VU_P(REPLY_ACK)) != 0)
		return front_acked(f, request, payload, size, fds, fd_count);
	return front_send(f, request, 0, payload, size, fds, fd_count);
}

static int set_u64(struct front *f, uint32_t request, uint64_t value)
{
	return set(f, request, &value, sizeof(value), NULL, 0);
}

static int set_state(struct front *f, uint32_t request, uint32_t index, uint32_t num)
{
	uint32_t state[2] = { index, num };

	return set(f, request, state, sizeof(state), NULL, 0);
}

/* ---- features ---- */

int front_get_features(struct front *f, uint64_t *features)
{
	return front_ask_u64(f, VU_GET_FEATURES, features);
}

int front_set_features(struct front *f, uint64_t features)
{
	f->features = features;
	return set_u64(f, VU_SET_FEATURES, features);
}

int front_get_protocol_features(struct front *f, uint64_t *features)
{
	return front_ask_u64(f, VU_GET_PROTOCOL_FEATURES, features);
}

int front_set_protocol_features(struct front *f, uint64_t features)
{
	f->protocol = features;
	return set_u64(f, VU_SET_PROTOCOL_FEATURES, features);
}

int front_set_owner(struct front *f)
{
	return set(f, VU_SET_OWNER, NULL, 0, NULL, 0);
}

int front_reset_owner(struct front *f)
{
	return set(f, VU_RESET_OWNER, NULL, 0, NULL, 0);
}

int front_negotiate(struct front *f, uint64_t features, uint64_t protocol)
{
	uint64_t offered, protocol_offered;
	int error = front_get_features(f, &offered);

	if (error == 0 && (offered & VU_F(PROTOCOL_FEATURES)) != 0) {
		error = front_get_protocol_features(f, &protocol_offered);
		if (error == 0)
			error = front_set_protocol_features(f, protocol & protocol_offered);
	}
	if (error == 0)
		error = front_set_owner(f);
	return error == 0 ? front_set_features(f, features & offered) : error;
}

/* ---- memory ---- */

int front_set_mem_table(
	struct front *f, const struct front_place *places, const int *fds, unsigned count)
{
	struct {
		uint32_t count, padding;
		struct front_place places[8];
	} table = { .count = count };

	if (count > 8)
		return -E2BIG;
	memcpy(table.places, places, count * sizeof(*places));
	return set(
		f, VU_SET_MEM_TABLE, &table, (uint32_t)(8 + count * sizeof(*places)), fds, count);
}

int front_get_max_mem_slots(struct front *f, uint64_t *slots)
{
	return front_ask_u64(f, VU_GET_MAX_MEM_SLOTS, slots);
}

static int set_region(struct front *f, uint32_t request, const struct front_place *place, int fd)
{
	struct {
		uint64_t padding;
		struct front_place place;
	} reg = { 0, *place };

	return set(f, request, &reg, sizeof(reg), &fd, fd >= 0 ? 1 : 0);
}

int front_add_mem_reg(struct front *f, const struct front_place *place, int fd)
{
	return set_region(f, VU_ADD_MEM_REG, place, fd);
}

int front_rem_mem_reg(struct front *f, const struct front_place *place, int fd)
{
	return set_region(f, VU_REM_MEM_REG, place, fd);
}

/* ---- rings ---- */

int front_set_vring_num(struct front *f, uint32_t index, uint32_t num)
{
	return set_state(f, VU_SET_VRING_NUM, index, num);
}

int front_set_vring_addr(struct front *f, const struct front_ring_addr *addr)
{
	return set(f, VU_SET_VRING_ADDR, addr, sizeof(*addr), NULL, 0);
}

int front_set_vring_base(struct front *f, uint32_t index, uint32_t base)
{
	return set_state(f, VU_SET_VRING_BASE, index, base);
}

int front_get_vring_base(struct front *f, uint32_t index, uint32_t *base)
{
	uint32_t state[2] = { index, 0 };
	struct front_message m;
	int error = front_ask(f, VU_GET_VRING_BASE, 0, state, sizeof(state), NULL, 0, &m);

	if (error < 0)
		return error;
	if (m.header.size != sizeof(state) || memcmp(m.payload, &index, 4) != 0)
		return -EPROTO;
	memcpy(base, m.payload + 4, 4);
	return 0;
}

static int set_notify(struct front *f, uint32_t request, uint32_t index, int fd)
{
	uint64_t bits = index | (fd < 0 ? VU_NO_FD : 0);

	return set(f, request, &bits, sizeof(bits), &fd, fd >= 0 ? 1 : 0);
}

int front_set_vring_kick(struct front *f, uint32_t index, int fd)
{
	return set_notify(f, VU_SET_VRING_KICK, index, fd);
}

int front_set_vring_call(struct front *f, uint32_t index, int fd)
{
	return set_notify(f, VU_SET_VRING_CALL, index, fd);
}

int front_set_vring_err(struct front *f, uint32_t index, int fd)
{
	return set_notify(f, VU_SET_VRING_ERR, index, fd);
}

int front_set_vring_enable(struct front *f, uint32_t index, bool on)
{
	return set_state(f, VU_SET_VRING_ENABLE, index, on);
}

int front_get_queue_num(struct front *f, uint64_t *count)
{
	return front_ask_u64(f, VU_GET_QUEUE_NUM, count);
}

/* ---- configuration space, back-end channel ---- */

struct config {
	uint32_t offset, size, flags;
	unsigned char bytes[FRONT_PAYLOAD_MAX - 12];
};

int front_get_config(struct front *f, uint32_t offset, uint32_t size, void *bytes, uint32_t *got)
{
	struct config c = { .offset = offset, .size = size };
	struct front_message m;
	uint32_t carried = size < sizeof(c.bytes) ? size : (uint32_t)sizeof(c.bytes);
	int error = front_ask(f, VU_GET_CONFIG, 0, &c, 12 + carried, NULL, 0, &m);

	*got = 0;
	if (error < 0)
		return error;
	if (m.header.size == 0) /* "zero length of payload to indicate an error" */
		return FRONT_REFUSED;
	if (m.header.size < 12 || m.header.size - 12 > size)
		return -EPROTO;
	*got = m.header.size - 12;
	memcpy(bytes, m.payload + 12, *got);
	return 0;
}

int front_set_config(
	struct front *f, uint32_t offset, uint32_t size, uint32_t flags, const void *bytes)
{
	struct config c = { .offset = offset, .size = size, .flags = flags };

	if (size > sizeof(c.bytes))
		return -EMSGSIZE;
	memcpy(c.bytes, bytes, size);
	return set(f, VU_SET_CONFIG, &c, 12 + size, NULL, 0);
}

int front_set_backend_req_fd(struct front *f, int fd)
{
	return set(f, VU_SET_BACKEND_REQ_FD, NULL, 0, &fd, 1);
}

/* ---- in-flight tracking ---- */

int front_get_inflight_fd(struct front *f, struct front_inflight *i, int *fd)
{
	struct front_message m;
	int error = front_ask(f, VU_GET_INFLIGHT_FD, 0, i, sizeof(*i), NULL, 0, &m);

	if (error < 0)
		return error;
	if (m.header.size == 0)
		return FRONT_REFUSED;
	if (m.fd_count != 1 || m.header.size < 20 || m.header.size > sizeof(*i)) {
		front_close_fds(&m);
		return -EPROTO;
	}
	memcpy(i, m.payload, m.header.size);
	*fd = m.fds[0];
	return 0;
}

int front_set_inflight_fd(struct front *f, const struct front_inflight *i, int fd)
{
	return set(f, VU_SET_INFLIGHT_FD, i, sizeof(*i), &fd, 1);
}

/* ---- reset and status ---- */

int front_reset_device(struct front *f)
{
	return set(f, VU_RESET_DEVICE, NULL, 0, NULL, 0);
}

int front_set_status(struct front *f, uint64_t status)
{
	return set_u64(f, VU_SET_STATUS, status);
}

int front_get_status(struct front *f, uint64_t *status)
{
	return front_ask_u64(f, VU_GET_STATUS, status);
}
