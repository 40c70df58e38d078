/* VIRTIO 1.4, 5.2: block device. */
#ifndef VUBOX_SPEC_VIRTIO_BLK_H
#define VUBOX_SPEC_VIRTIO_BLK_H

#include <stddef.h>

#include "le.h"

/* 5.2.3: Feature bits */
#define VIRTIO_BLK_F_SEG_MAX      (1ull << 2)
#define VIRTIO_BLK_F_RO           (1ull << 5)
#define VIRTIO_BLK_F_BLK_SIZE     (1ull << 6)
#define VIRTIO_BLK_F_FLUSH        (1ull << 9)
#define VIRTIO_BLK_F_TOPOLOGY     (1ull << 10)
#define VIRTIO_BLK_F_CONFIG_WCE   (1ull << 11)
#define VIRTIO_BLK_F_MQ           (1ull << 12)
#define VIRTIO_BLK_F_DISCARD      (1ull << 13)
#define VIRTIO_BLK_F_WRITE_ZEROES (1ull << 14)

/* 5.2.4: Device configuration layout */
struct virtio_blk_config {
	le64 capacity; /* in 512-byte sectors */
	le32 size_max;
	le32 seg_max;
	struct {
		le16 cylinders;
		uint8_t heads, sectors;
	} geometry;
	le32 blk_size;
	uint8_t physical_block_exp, alignment_offset;
	le16 min_io_size;
	le32 opt_io_size;
	uint8_t writeback;
	uint8_t unused0;
	le16 num_queues;
	le32 max_discard_sectors;
	le32 max_discard_seg;
	le32 discard_sector_alignment;
	le32 max_write_zeroes_sectors;
	le32 max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
};
_Static_assert(sizeof(struct virtio_blk_config) == 64, "5.2.4, up to write_zeroes and its padding");
_Static_assert(offsetof(struct virtio_blk_config, writeback) == 32, "5.2.4");
_Static_assert(offsetof(struct virtio_blk_config, max_discard_sectors) == 36, "5.2.4");

/* 5.2.6: Device Operation */
enum {
	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_GET_ID = 8,
	VIRTIO_BLK_T_DISCARD = 11,
	VIRTIO_BLK_T_WRITE_ZEROES = 13,
};

enum { VIRTIO_BLK_S_OK = 0, VIRTIO_BLK_S_IOERR = 1, VIRTIO_BLK_S_UNSUPP = 2 };

enum { VIRTIO_BLK_SECTOR = 512, VIRTIO_BLK_ID_BYTES = 20, VIRTIO_BLK_WZ_UNMAP = 1 };

struct virtio_blk_req {
	le32 type;
	le32 reserved;
	le64 sector;
};
_Static_assert(sizeof(struct virtio_blk_req) == 16, "5.2.6");

struct virtio_blk_discard_write_zeroes {
	le64 sector;
	le32 num_sectors;
	le32 flags;
};
_Static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "5.2.6");

#endif
