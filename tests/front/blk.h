/* Requests to a virtio-blk device (VIRTIO 5.2.6), their parts cut wherever a test likes. */
#ifndef VUBOX_TESTS_BLK_H
#define VUBOX_TESTS_BLK_H

#include "driver.h"

enum {
	BLK_IN = 0,
	BLK_OUT = 1,
	BLK_FLUSH = 4,
	BLK_GET_ID = 8,
	BLK_GET_LIFETIME = 10,
	BLK_DISCARD = 11,
	BLK_WRITE_ZEROES = 13,
	BLK_SECURE_ERASE = 14,
};
enum { BLK_OK = 0, BLK_IOERR = 1, BLK_UNSUPP = 2, BLK_NO_STATUS = 0xee };
enum { BLK_SECTOR = 512, BLK_ID_BYTES = 20, BLK_HEADER_BYTES = 16, BLK_UNMAP = 1 };

enum {
	BLK_F_SEG_MAX = 2,
	BLK_F_RO = 5,
	BLK_F_BLK_SIZE = 6,
	BLK_F_FLUSH = 9,
	BLK_F_TOPOLOGY = 10,
	BLK_F_CONFIG_WCE = 11,
	BLK_F_MQ = 12,
	BLK_F_DISCARD = 13,
	BLK_F_WRITE_ZEROES = 14,
};

/* Offsets into the configuration space. */
enum {
	BLK_CONFIG_CAPACITY = 0,
	BLK_CONFIG_SEG_MAX = 12,
	BLK_CONFIG_BLK_SIZE = 20,
	BLK_CONFIG_WRITEBACK = 32,
	BLK_CONFIG_NUM_QUEUES = 34,
	BLK_CONFIG_MAX_DISCARD_SEG = 40,
	BLK_CONFIG_BYTES = 60,
};

/* A request whose three parts lie at guest addresses; data may be NULL there (len 0). */
struct blk_request {
	uint32_t type;
	uint64_t sector;
	uint64_t header, data, status;
	uint32_t len; /* bytes of data */
};

/* A segment of DISCARD and WRITE_ZEROES. */
struct blk_range {
	uint64_t sector;
	uint32_t count, flags;
};

/* Whether the device writes the data of such a request. */
bool blk_reads(uint32_t type);

/* Writes the header and a status that no device gives; returns the buffers (3, or 2 without data).
 */
unsigned blk_build(
	const struct driver_memory *mem, const struct blk_request *r, struct driver_buffer out[3]);
/* Makes one of neighbours that are contiguous and of one direction. */
unsigned blk_join(struct driver_buffer *buffers, unsigned count);
/*
 * Cuts a chain into pieces of the given lengths, again from the first when the last is used up; a
 * piece also ends with its buffer. 0 makes an empty descriptor; not all may be 0. Returns how many
 * pieces there are, or 0 if that is more than max.
 */
unsigned blk_cut(const struct driver_buffer *in, unsigned count, const uint32_t *lens,
	unsigned len_count, struct driver_buffer *out, unsigned max);

uint8_t blk_status(const struct driver_memory *mem, const struct blk_request *r);

#endif
