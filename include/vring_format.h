/* The two formats of virtqueues, behind vring.h: private to src/core/vring*.c. */
#ifndef VUBOX_VRING_FORMAT_H
#define VUBOX_VRING_FORMAT_H

#include "vring.h"

/*
 * A table of descriptors elsewhere in memory, which may lie across regions (2.7.5.3, 2.8.7). An
 * entry of it as split rings have them; `packed` says that flags and next are the other format's.
 */
int vring_walk_indirect(struct mem *mem, struct chain *chain, uint64_t addr, uint32_t len,
	bool packed, const char **why);

COLD int split_map(
	struct vring *ring, const struct mem *mem, const struct vring_addr *addr, const char **why);
COLD int split_start(struct vring *ring, uint32_t base, const char **why);
COLD int split_track(struct vring *ring, struct guest *region, uint16_t desc_num);
int split_look(struct vring *ring, struct mem *mem, struct request *req, const char **why);
void split_take(struct vring *ring, const struct chain *chain);
int split_pop(struct vring *ring, struct mem *mem, struct request *req, const char **why);
void split_push(struct vring *ring, const struct chain *chain, uint32_t written);
bool split_publish(struct vring *ring);
bool split_has_work(struct vring *ring);
void split_prefetch(const struct vring *ring);
void split_arm(struct vring *ring);
void split_disarm(struct vring *ring);

COLD int packed_map(
	struct vring *ring, const struct mem *mem, const struct vring_addr *addr, const char **why);
COLD int packed_start(struct vring *ring, uint32_t base, const char **why);
COLD int packed_track(struct vring *ring, struct guest *region, uint16_t desc_num);
int packed_look(struct vring *ring, struct mem *mem, struct request *req, const char **why);
void packed_take(struct vring *ring, struct chain *chain);
int packed_pop(struct vring *ring, struct mem *mem, struct request *req, const char **why);
void packed_push(struct vring *ring, const struct chain *chain, uint32_t written);
bool packed_publish(struct vring *ring);
bool packed_has_work(const struct vring *ring);
void packed_arm(struct vring *ring);
void packed_disarm(struct vring *ring);

#endif
