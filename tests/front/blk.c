/* Requests to a virtio-blk device (VIRTIO 5.2.6). */
#include "blk.h"

#include <string.h>

bool blk_reads(uint32_t type)
{
	return type != BLK_OUT && type != BLK_DISCARD && type != BLK_WRITE_ZEROES &&
	       type != BLK_SECURE_ERASE;
}

unsigned blk_build(
	const struct driver_memory *mem, const struct blk_request *r, struct driver_buffer out[3])
{
	unsigned char header[BLK_HEADER_BYTES] = { 0 }, status = BLK_NO_STATUS;
	unsigned n = 0;

	memcpy(header, &r->type, 4);
	memcpy(header + 8, &r->sector, 8);
	driver_write(mem, r->header, header, sizeof(header));
	driver_write(mem, r->status, &status, 1);
	out[n++] = (struct driver_buffer){ r->header, sizeof(header), false };
	if (r->len > 0)
		out[n++] = (struct driver_buffer){ r->data, r->len, blk_reads(r->type) };
	out[n++] = (struct driver_buffer){ r->status, 1, true };
	return n;
}

unsigned blk_join(struct driver_buffer *buffers, unsigned count)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		struct driver_buffer *last = n > 0 ? &buffers[n - 1] : NULL;

		if (last && last->writable == buffers[i].writable &&
			last->guest + last->len == buffers[i].guest)
			last->len += buffers[i].len;
		else
			buffers[n++] = buffers[i];
	}
	return n;
}

unsigned blk_cut(const struct driver_buffer *in, unsigned count, const uint32_t *lens,
	unsigned len_count, struct driver_buffer *out, unsigned max)
{
	unsigned n = 0, turn = 0;

	for (unsigned i = 0; i < count; i++) {
		struct driver_buffer left = in[i];

		while (left.len > 0) {
			uint32_t len = lens[turn++ % len_count];

			if (n == max)
				return 0;
			len = len < left.len ? len : left.len;
			out[n++] = (struct driver_buffer){ left.guest, len, left.writable };
			left.guest += len;
			left.len -= len;
		}
	}
	return n;
}

uint8_t blk_status(const struct driver_memory *mem, const struct blk_request *r)
{
	uint8_t status = BLK_NO_STATUS;

	driver_read(mem, r->status, &status, 1);
	return status;
}
