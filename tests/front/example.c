/* Good messages of every id. */
#include "example.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMFD_BYTES = 1 << 20 };

/* clang-format off */
#define EXAMPLE(name, ...) [VU_##name] = { VU_##name, __VA_ARGS__, #name }

/* size, descriptors, needs them, has an answer */
static const struct example examples[VU_MESSAGE_END] = {
	EXAMPLE(GET_FEATURES, 0, 0, false, true),
	EXAMPLE(SET_FEATURES, 8, 0, false, false),
	EXAMPLE(SET_OWNER, 0, 0, false, false),
	EXAMPLE(RESET_OWNER, 0, 0, false, false),
	EXAMPLE(SET_MEM_TABLE, 8 + 32, 1, true, false),
	EXAMPLE(SET_LOG_BASE, 16, 1, false, false),
	EXAMPLE(SET_LOG_FD, 0, 1, false, false),
	EXAMPLE(SET_VRING_NUM, 8, 0, false, false),
	EXAMPLE(SET_VRING_ADDR, 40, 0, false, false),
	EXAMPLE(SET_VRING_BASE, 8, 0, false, false),
	EXAMPLE(GET_VRING_BASE, 8, 0, false, true),
	EXAMPLE(SET_VRING_KICK, 8, 1, true, false),
	EXAMPLE(SET_VRING_CALL, 8, 1, true, false),
	EXAMPLE(SET_VRING_ERR, 8, 1, true, false),
	EXAMPLE(GET_PROTOCOL_FEATURES, 0, 0, false, true),
	EXAMPLE(SET_PROTOCOL_FEATURES, 8, 0, false, false),
	EXAMPLE(GET_QUEUE_NUM, 0, 0, false, true),
	EXAMPLE(SET_VRING_ENABLE, 8, 0, false, false),
	EXAMPLE(SEND_RARP, 8, 0, false, false),
	EXAMPLE(NET_SET_MTU, 8, 0, false, false),
	EXAMPLE(SET_BACKEND_REQ_FD, 0, 1, true, false),
	EXAMPLE(IOTLB_MSG, 32, 0, false, true),
	EXAMPLE(SET_VRING_ENDIAN, 8, 0, false, false),
	EXAMPLE(GET_CONFIG, 12 + 60, 0, false, true),
	EXAMPLE(SET_CONFIG, 12 + 1, 0, false, false),
	EXAMPLE(CREATE_CRYPTO_SESSION, 1024, 0, false, true),
	EXAMPLE(CLOSE_CRYPTO_SESSION, 8, 0, false, false),
	EXAMPLE(POSTCOPY_ADVISE, 0, 0, false, true),
	EXAMPLE(POSTCOPY_LISTEN, 0, 0, false, false),
	EXAMPLE(POSTCOPY_END, 0, 0, false, true),
	EXAMPLE(GET_INFLIGHT_FD, 24, 0, false, true),
	EXAMPLE(SET_INFLIGHT_FD, 24, 1, true, false),
	EXAMPLE(GPU_SET_SOCKET, 0, 1, false, false),
	EXAMPLE(RESET_DEVICE, 0, 0, false, false),
	EXAMPLE(VRING_KICK, 8, 0, false, false),
	EXAMPLE(GET_MAX_MEM_SLOTS, 0, 0, false, true),
	EXAMPLE(ADD_MEM_REG, 40, 1, true, false),
	EXAMPLE(REM_MEM_REG, 40, 0, false, false),
	EXAMPLE(SET_STATUS, 8, 0, false, false),
	EXAMPLE(GET_STATUS, 0, 0, false, true),
	EXAMPLE(GET_SHARED_OBJECT, 16, 0, false, true),
	EXAMPLE(SET_DEVICE_STATE_FD, 8, 1, false, true),
	EXAMPLE(CHECK_DEVICE_STATE, 0, 0, false, true),
	EXAMPLE(GET_SHMEM_CONFIG, 0, 0, false, true),
	EXAMPLE(GET_VRING_BASE_SKIP_DRAIN, 8, 0, false, true),
};
/* clang-format on */

struct example example_of(uint32_t id)
{
	if (id < VU_MESSAGE_END && examples[id].name)
		return examples[id];
	return (struct example){ id, 8, 0, false, false, "a message that there is not" };
}

static void fill_ring_addr(const struct rig *r, struct front_ring_addr *addr)
{
	const struct driver_layout *at = &r->queues[0].driver.at;

	*addr = (struct front_ring_addr){ .desc = front_user_of(&r->memory, at->desc),
		.used = front_user_of(&r->memory, at->used),
		.avail = front_user_of(&r->memory, at->avail) };
}

void example_fill(const struct rig *r, uint32_t id, unsigned char payload[FRONT_PAYLOAD_MAX])
{
	struct front_place place = { 1ull << 40, MEMFD_BYTES, 1ull << 41, 0 };
	struct front_inflight inflight = {
		.size = 65536, .queues = 1, .queue_size = RIG_RING_SIZE
	};
	uint32_t config[4] = { id == VU_SET_CONFIG ? BLK_CONFIG_WRITEBACK : 0,
		id == VU_SET_CONFIG ? 1 : 60, 0, 1 };
	uint32_t state[2] = { 0, RIG_RING_SIZE };
	struct front_ring_addr addr;
	uint32_t one = 1;

	memset(payload, 0, FRONT_PAYLOAD_MAX);
	switch (id) {
	case VU_SET_FEATURES: memcpy(payload, &r->front.features, 8); break;
	case VU_SET_PROTOCOL_FEATURES: memcpy(payload, &r->front.protocol, 8); break;
	case VU_SET_STATUS: payload[0] = VIRTIO_DRIVER_OK; break;
	case VU_SET_VRING_NUM: memcpy(payload, state, 8); break;
	case VU_SET_VRING_ENABLE: memcpy(payload + 4, &one, 4); break;
	case VU_SET_VRING_ADDR:
		fill_ring_addr(r, &addr);
		memcpy(payload, &addr, sizeof(addr));
		break;
	case VU_SET_MEM_TABLE:
		memcpy(payload, &one, 4);
		memcpy(payload + 8, &place, sizeof(place));
		break;
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG: memcpy(payload + 8, &place, sizeof(place)); break;
	case VU_GET_CONFIG:
	case VU_SET_CONFIG: memcpy(payload, config, sizeof(config)); break;
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD: memcpy(payload, &inflight, sizeof(inflight)); break;
	default: break;
	}
}

void example_open_fds(uint32_t id, int *fds, unsigned count)
{
	bool memory = id == VU_SET_MEM_TABLE || id == VU_ADD_MEM_REG || id == VU_SET_INFLIGHT_FD ||
		      id == VU_SET_LOG_BASE;

	for (unsigned i = 0; i < count; i++) {
		fds[i] = memory ? memfd_create("example", MFD_CLOEXEC) : eventfd(0, EFD_NONBLOCK);
		CHECK(fds[i] >= 0 && (!memory || ftruncate(fds[i], MEMFD_BYTES) == 0));
	}
}
