/* What each vhost-user message does ("Front-end message types"); its row in msg.c checked it. */
#include <errno.h>
#include <string.h>

#include "device.h"
#include "num.h"
#include "spec/virtio.h"

#define BIT(name) (1ull << VHOST_USER_PROTOCOL_F_##name)
#define PROTOCOL_FEATURES                                                                  \
	(BIT(MQ) | BIT(REPLY_ACK) | BIT(BACKEND_REQ) | BIT(CONFIG) | BIT(INFLIGHT_SHMFD) | \
		BIT(RESET_DEVICE) | BIT(CONFIGURE_MEM_SLOTS) | BIT(STATUS) |               \
		BIT(GET_VRING_BASE_INFLIGHT) | BIT(GET_VRING_BASE_SKIP_DRAIN))

/*
 * Of rings and transport. Some ask nothing of us: our barriers are those of a processor beside the
 * guest's (ORDER_PLATFORM); a kick comes without its data, and we look at the ring anyway
 * (NOTIFICATION_DATA); a ring alone is stopped and started anew by messages that are there
 * (RING_RESET).
 */
#define RING_FEATURES                                                                              \
	(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED | \
		VIRTIO_F_ORDER_PLATFORM | VIRTIO_F_NOTIFICATION_DATA | VIRTIO_F_RING_RESET)

static uint64_t offered(const struct session *s)
{
	return s->device->class->features(s->device) | RING_FEATURES |
	       VHOST_USER_F_PROTOCOL_FEATURES;
}

static bool is_packed(const struct session *s)
{
	return (s->features & VIRTIO_F_RING_PACKED) != 0;
}

/* The queue of this index, or NULL and *why. */
static struct queue *find_queue(struct session *s, uint64_t index, const char **why)
{
	*why = "the device has no such queue";
	return index < s->device->queue_count ? &s->device->queues[index] : NULL;
}

int vhost_get_features(struct session *s, struct message *m, const char **why)
{
	(void)why;
	m->payload.u64 = offered(s);
	return 0;
}

int vhost_set_features(struct session *s, struct message *m, const char **why)
{
	uint64_t features = m->payload.u64;

	*why = "a feature that was not offered";
	if ((features & ~offered(s)) != 0)
		return -EINVAL;
	s->features = features;
	s->device->class->accept(s->device, features);
	/* "Ring states": without protocol features there is nobody to enable them later. */
	if ((features & VHOST_USER_F_PROTOCOL_FEATURES) == 0)
		for (uint16_t i = 0; i < s->device->queue_count; i++) {
			s->device->queues[i].enabled = true;
			queue_ready(&s->device->queues[i]);
		}
	return 0;
}

static uint64_t protocol_offered(const struct session *s)
{
	const struct device_class *class = s->device->class;

	/*
	 * QEMU has a vhost device for each pair of a network card's queues, and each adds all the
	 * regions; the table as a whole it sends for the first one only.
	 */
	return (PROTOCOL_FEATURES & ~(s->device->whole_table ? BIT(CONFIGURE_MEM_SLOTS) : 0)) |
	       (class->mtu_set ? BIT(MTU) : 0) | (class->announce ? BIT(RARP) : 0);
}

int vhost_get_protocol_features(struct session *s, struct message *m, const char **why)
{
	(void)s;
	(void)why;
	m->payload.u64 = protocol_offered(s);
	return 0;
}

int vhost_set_protocol_features(struct session *s, struct message *m, const char **why)
{
	*why = "a protocol feature that was not offered";
	if ((m->payload.u64 & ~protocol_offered(s)) != 0)
		return -EINVAL;
	*why = "SKIP_DRAIN without INFLIGHT_SHMFD and GET_VRING_BASE_INFLIGHT";
	if ((m->payload.u64 & BIT(GET_VRING_BASE_SKIP_DRAIN)) != 0 &&
		(~m->payload.u64 & (BIT(INFLIGHT_SHMFD) | BIT(GET_VRING_BASE_INFLIGHT))) != 0)
		return -EINVAL;
	s->protocol_features = m->payload.u64;
	return 0;
}

int vhost_set_owner(struct session *s, struct message *m, const char **why)
{
	(void)s;
	(void)m;
	(void)why;
	return 0;
}

int vhost_reset_owner(struct session *s, struct message *m, const char **why)
{
	/* Deprecated; "ignore this message, or use it to disable all rings". */
	(void)m;
	(void)why;
	for (uint16_t i = 0; i < s->device->queue_count; i++)
		s->device->queues[i].enabled = false;
	return 0;
}

/* ---- memory ---- */

static struct mem_region region_of(const struct vhost_user_region *r)
{
	return (struct mem_region){ .guest_addr = r->guest_addr,
		.size = r->size,
		.user_addr = r->user_addr,
		.mmap_offset = r->mmap_offset };
}

static int add_region(struct session *s, struct message *m, const struct vhost_user_region *r,
	unsigned fd, const char **why)
{
	struct mem_region region = region_of(r);
	int error = mem_add(&s->mem, &region, m->fds[fd]);

	*why = error == -EINVAL   ? "an empty, wrapping or overlapping region"
	       : error == -ENOSPC ? "no slot is left"
	       : error == -EFAULT ? "a region is larger than its file"
				  : "cannot map a region";
	return error;
}

static void remap_rings(struct session *s)
{
	for (uint16_t i = 0; i < s->device->queue_count; i++)
		queue_remap(&s->device->queues[i]);
}

int vhost_set_mem_table(struct session *s, struct message *m, const char **why)
{
	const struct vhost_user_mem_table *table = &m->payload.table;
	int error = 0;

	/* One of 72 bytes for one region comes as well as the full one. */
	*why = "the number of regions fits neither its size nor its descriptors";
	if (table->count > VHOST_USER_MEM_TABLE_MAX || m->fd_count != table->count ||
		m->header.size < offsetof(struct vhost_user_mem_table, regions) +
					 table->count * sizeof(table->regions[0]))
		return -EINVAL;
	mem_clear(&s->mem);
	for (uint32_t i = 0; i < table->count && error == 0; i++)
		error = add_region(s, m, &table->regions[i], i, why);
	if (error < 0)
		mem_clear(&s->mem);
	remap_rings(s);
	return error;
}

int vhost_get_max_mem_slots(struct session *s, struct message *m, const char **why)
{
	(void)s;
	(void)why;
	m->payload.u64 = CONFIG_REGIONS_MAX;
	return 0;
}

int vhost_add_mem_reg(struct session *s, struct message *m, const char **why)
{
	int error;

	*why = "it must come with one descriptor";
	if (m->fd_count != 1)
		return -EINVAL;
	error = add_region(s, m, &m->payload.reg.region, 0, why);
	for (uint16_t i = 0; error == 0 && i < s->device->queue_count; i++)
		if (s->device->queues[i].lost)
			queue_remap(&s->device->queues[i]);
	return error;
}

int vhost_rem_mem_reg(struct session *s, struct message *m, const char **why)
{
	struct mem_region region = region_of(&m->payload.reg.region);
	int error = mem_remove(&s->mem, &region);

	*why = "there is no such region";
	if (error == 0)
		remap_rings(s);
	return error;
}

/* ---- rings ---- */

int vhost_set_vring_num(struct session *s, struct message *m, const char **why)
{
	struct queue *q = find_queue(s, m->payload.state.index, why);
	uint32_t num = m->payload.state.num;

	if (!q)
		return -EINVAL;
	*why = "a ring's size is at most what --queue-size says, of a split one a power of two";
	if (num == 0 || num > s->device->queue_size_max ||
		(!is_packed(s) && !num_is_power_of_2(num)))
		return -EINVAL;
	q->size = (uint16_t)num;
	return 0;
}

int vhost_set_vring_addr(struct session *s, struct message *m, const char **why)
{
	const struct vhost_user_vring_addr *a = &m->payload.addr;
	struct queue *q = find_queue(s, a->index, why);
	int error;

	if (!q)
		return -EINVAL;
	q->addr = (struct vring_addr){ a->desc, a->avail, a->used };
	q->addr_set = true;
	if (!q->started || q->broken)
		return 0;
	error = vring_map(&q->ring, &s->mem, &q->addr, q->ring.size, q->ring.packed, why);
	if (error == 0 && q->lost)
		queue_remap(q);
	return error;
}

int vhost_set_vring_base(struct session *s, struct message *m, const char **why)
{
	struct queue *q = find_queue(s, m->payload.state.index, why);

	if (!q)
		return -EINVAL;
	*why = "a split ring's index has 16 bits";
	if (!is_packed(s) && m->payload.state.num > UINT16_MAX)
		return -EINVAL;
	q->base = m->payload.state.num;
	q->base_set = true;
	return 0;
}

int vhost_get_vring_base(struct session *s, struct message *m, const char **why)
{
	struct queue *q = find_queue(s, m->payload.state.index, why);

	if (!q)
		return -EINVAL;
	queue_answer(q);
	queue_stop(q);
	m->payload.state.num = q->base;
	m->header.size = sizeof(m->payload.state);
	return 0;
}

/* The queue and the descriptor (-1: none) of a kick, call or err message. */
static struct queue *find_notify(struct session *s, struct message *m, int *fd, const char **why)
{
	uint64_t bits = m->payload.u64;
	bool none = (bits & VHOST_USER_VRING_NO_FD) != 0;
	struct queue *q = find_queue(s, bits & VHOST_USER_VRING_INDEX_MASK, why);

	if (!q)
		return NULL;
	*why = "it must come with one descriptor, or say that there is none";
	if (!none && m->fd_count != 1)
		return NULL;
	*fd = none ? -1 : message_take_fd(m, 0);
	return q;
}

int vhost_set_vring_kick(struct session *s, struct message *m, const char **why)
{
	int fd, error;
	struct queue *q = find_notify(s, m, &fd, why);

	if (!q)
		return -EINVAL;
	*why = "it cannot be waited for";
	error = queue_set_kick(q, fd);
	if (error < 0)
		queue_stop(q); /* it would not hear of its work */
	else
		error = queue_start(q, why);
	if (error == 0 && s->config_stale)
		session_config_changed(s);
	return error;
}

static int set_notify(struct port_notify *notify, int fd, const char **why)
{
	port_notify_close(notify);
	*why = "it is no eventfd, pipe or socket";
	return fd < 0 ? 0 : port_notify_take(notify, fd);
}

int vhost_set_vring_call(struct session *s, struct message *m, const char **why)
{
	int fd, error;
	struct queue *q = find_notify(s, m, &fd, why);

	if (!q)
		return -EINVAL;
	error = set_notify(&q->call, fd, why);
	/* A call that an earlier life of ours still owed, or that the old descriptor swallowed. */
	if (error == 0)
		port_notify_send(&q->call);
	return error;
}

int vhost_set_vring_err(struct session *s, struct message *m, const char **why)
{
	int fd;
	struct queue *q = find_notify(s, m, &fd, why);

	return q ? set_notify(&q->err, fd, why) : -EINVAL;
}

int vhost_set_vring_enable(struct session *s, struct message *m, const char **why)
{
	struct queue *q = find_queue(s, m->payload.state.index, why);

	if (!q)
		return -EINVAL;
	*why = "neither 0 nor 1";
	if (m->payload.state.num > 1)
		return -EINVAL;
	queue_enable(q, m->payload.state.num == 1);
	return 0;
}

int vhost_get_queue_num(struct session *s, struct message *m, const char **why)
{
	(void)why;
	m->payload.u64 = s->device->queue_count;
	return 0;
}

/* ---- configuration space ---- */

int vhost_get_config(struct session *s, struct message *m, const char **why)
{
	struct vhost_user_config *c = &m->payload.config;
	uint8_t space[VHOST_USER_CONFIG_MAX] = { 0 };

	*why = "outside the 256 bytes of the configuration space";
	if (!num_within(c->offset, c->size, 0, VHOST_USER_CONFIG_MAX))
		return -EINVAL;
	s->device->class->config_get(s->device, space);
	memcpy(c->bytes, space + c->offset, c->size);
	m->header.size = (uint32_t)offsetof(struct vhost_user_config, bytes) + c->size;
	return 0;
}

int vhost_set_config(struct session *s, struct message *m, const char **why)
{
	const struct vhost_user_config *c = &m->payload.config;

	*why = "outside its own payload, or the 256 bytes of the configuration space";
	if (!num_within(c->offset, c->size, 0, VHOST_USER_CONFIG_MAX) ||
		m->header.size < offsetof(struct vhost_user_config, bytes) + c->size)
		return -EINVAL;
	*why = "not a field that the driver may write";
	return s->device->class->config_set(s->device, c->offset, c->size, c->bytes,
		       (c->flags & VHOST_USER_CONFIG_MIGRATE) != 0)
		       ? 0
		       : -EPERM;
}

int vhost_set_backend_req_fd(struct session *s, struct message *m, const char **why)
{
	*why = "it must come with one descriptor";
	if (m->fd_count != 1)
		return -EINVAL;
	*why = "it is the connection itself";
	if (port_is_own_connection(m->fds[0]))
		return -EINVAL;
	if (s->has_backend)
		port_close(s->backend_fd);
	s->backend_fd = message_take_fd(m, 0);
	s->has_backend = true;
	return 0;
}

/* ---- in-flight tracking ---- */

static int inflight_map(
	struct session *s, const struct vhost_user_inflight *i, int fd, const char **why)
{
	uint64_t need = inflight_region_bytes(is_packed(s), i->queue_size) * i->num_queues;
	char *at;
	int error;

	*why = "no queues, or more or longer ones than there can be";
	if (i->num_queues == 0 || i->num_queues > s->device->queue_count || i->queue_size == 0 ||
		i->queue_size > CONFIG_RING_SIZE_MAX)
		return -EINVAL;
	*why = "it is too small for its queues, or not aligned";
	if (i->mmap_size < need || i->mmap_offset % sizeof(uint64_t) != 0)
		return -EINVAL;
	for (uint16_t k = 0; k < s->device->queue_count; k++)
		s->device->queues[k].ring.inflight = (struct inflight){ 0 };
	s->has_inflight = false;
	port_unmap(&s->inflight_map);
	*why = "it is smaller than it says, or cannot be mapped";
	error = port_map(&s->inflight_map, fd, i->mmap_offset, i->mmap_size, true, &at);
	if (error < 0)
		return error;
	s->inflight = (struct guest *)at;
	s->inflight_bytes = i->mmap_size;
	s->inflight_queues = i->num_queues;
	s->inflight_queue_size = i->queue_size;
	s->has_inflight = true;
	return 0;
}

int vhost_get_inflight_fd(struct session *s, struct message *m, const char **why)
{
	struct vhost_user_inflight *i = &m->payload.inflight;
	/* Before SET_FEATURES, it must have room for either format. */
	bool packed = is_packed(s) || s->features == 0;
	int fd, error;

	i->mmap_size = inflight_region_bytes(packed, i->queue_size) * i->num_queues;
	i->mmap_offset = 0;
	*why = "cannot make a shared file";
	fd = port_shared_file("vubox-inflight", i->mmap_size);
	if (fd < 0)
		return fd;
	error = inflight_map(s, i, fd, why);
	if (error < 0) {
		port_close(fd);
		return error;
	}
	s->made_inflight = true;
	m->reply_fd = fd;
	return 0;
}

int vhost_set_inflight_fd(struct session *s, struct message *m, const char **why)
{
	*why = "it must come with one descriptor";
	if (m->fd_count != 1)
		return -EINVAL;
	if (!s->made_inflight && s->device->class->resumed)
		s->device->class->resumed(s->device);
	return inflight_map(s, &m->payload.inflight, m->fds[0], why);
}

/* ---- reset and status ---- */

int vhost_reset_device(struct session *s, struct message *m, const char **why)
{
	(void)m;
	(void)why;
	for (uint16_t i = 0; i < s->device->queue_count; i++) {
		struct guest *region;

		/* The driver starts over: what an earlier life took is not to be done again. */
		if (session_inflight_region(s, i, &region) == 0 && region)
			inflight_forget(region);
		queue_reset(&s->device->queues[i]);
	}
	s->features = 0;
	s->status = 0;
	s->device->class->accept(s->device, 0);
	return 0;
}

int vhost_set_status(struct session *s, struct message *m, const char **why)
{
	*why = "a status has 8 bits";
	if (m->payload.u64 > UINT8_MAX)
		return -EINVAL;
	if (m->payload.u64 == 0)
		return vhost_reset_device(s, m, why);
	/* Only a reset takes NEEDS_RESET back (VIRTIO 2.1.2). */
	s->status = m->payload.u64 | (s->status & VIRTIO_STATUS_DEVICE_NEEDS_RESET);
	return 0;
}

int vhost_get_status(struct session *s, struct message *m, const char **why)
{
	(void)why;
	m->payload.u64 = s->status;
	return 0;
}
