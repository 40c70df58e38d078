/*
 * What guests have sent and the host does not read yet: chains of fixed blocks.
 *
 * Each connection is granted a number of blocks when it begins, two or more, and tells its guest
 * that it has room for all but one: so the bytes fit in wherever in a block the first of them is,
 * and no connection has to wait for another one. The first ones get many, the thousandth few.
 */
#include <errno.h>
#include <string.h>

#include "num.h"
#include "panic.h"
#include "port.h"
#include "vsock.h"

enum {
	BLOCK = 4096,
	BLOCKS = CONFIG_VSOCK_BLOCKS,
	SPARE = BLOCKS - 2 * CONFIG_VSOCK_CONNS,
	SHARE = 16, /* one gets at most this part of what is spare */
	STREAM_MOST = CONFIG_VSOCK_BUFFER / BLOCK + 1, /* blocks of one connection */
	MESSAGES_MOST = STREAM_MOST / 2 + 1,           /* one must have room in a socket, too */
	SPANS_MAX = PORT_PEER_SPANS,
};

struct block {
	uint8_t bytes[BLOCK];
	uint8_t ends[BLOCK / 8]; /* a bit for each byte: a message ends with it */
};

static struct {
	struct block *blocks;
	uint16_t next[BLOCKS]; /* of a connection's blocks, or of the free ones (plus 1) */
	uint16_t free;         /* plus 1; 0: none */
	uint16_t fresh;        /* from here on none was ever used */
	uint32_t given;        /* of the spare ones */
} state;

/* Not a table of this file: a process without such a device shall not even seem to need them. */
bool vsock_buffers_open(void)
{
	if (!state.blocks)
		state.blocks = port_reserve(sizeof(*state.blocks) * BLOCKS);
	return state.blocks != NULL;
}

void vsock_buffer_open(struct vsock_buffer *b, bool messages)
{
	uint32_t most = messages ? MESSAGES_MOST : STREAM_MOST;
	uint32_t more = (uint32_t)num_min(most - 2, (SPARE - state.given) / SHARE);

	state.given += more;
	*b = (struct vsock_buffer){ .granted = (uint16_t)(2 + more), .messages = messages };
}

uint32_t vsock_buffer_size(const struct vsock_buffer *b)
{
	return b->granted > 0 ? (b->granted - 1u) * BLOCK : 0;
}

static void drop_first(struct vsock_buffer *b)
{
	uint16_t block = b->first;

	b->first = state.next[block];
	b->blocks--;
	b->at = 0;
	state.next[block] = state.free;
	state.free = (uint16_t)(block + 1);
}

void vsock_buffer_close(struct vsock_buffer *b)
{
	while (b->blocks > 0)
		drop_first(b);
	if (b->granted > 0)
		state.given -= b->granted - 2u;
	*b = (struct vsock_buffer){ 0 };
}

static void add_block(struct vsock_buffer *b)
{
	uint16_t block = state.free > 0 ? (uint16_t)(state.free - 1) : state.fresh++;

	ASSERT(b->blocks < b->granted && block < BLOCKS);
	if (state.free > 0)
		state.free = state.next[block];
	if (b->messages)
		memset(state.blocks[block].ends, 0, sizeof(state.blocks[block].ends));
	if (b->blocks++ == 0)
		b->first = block;
	else
		state.next[b->last] = block;
	b->last = block;
	b->end = 0;
}

bool vsock_buffer_put(struct vsock_buffer *b, struct reader *from, uint32_t len, bool end)
{
	while (len > 0) {
		uint32_t part;

		if (b->blocks == 0 || b->end == BLOCK)
			add_block(b);
		part = (uint32_t)num_min(len, BLOCK - b->end);
		if (!reader_get(from, state.blocks[b->last].bytes + b->end, part))
			return false;
		b->end = (uint16_t)(b->end + part);
		b->bytes += part;
		len -= part;
	}
	if (end && b->bytes > 0) { /* (there are no empty messages) */
		unsigned at = b->end - 1u;
		uint8_t *ends = &state.blocks[b->last].ends[at / 8], bit = (uint8_t)(1u << at % 8);

		b->whole += (*ends & bit) == 0;
		*ends |= bit;
	}
	return true;
}

/* Bytes of a block from `at` on, up to where a message ends. */
static uint32_t up_to_end(const struct block *block, uint32_t at, uint32_t len, bool *ends)
{
	uint32_t n = 0;

	*ends = false;
	while (n < len && !*ends) {
		*ends = (block->ends[(at + n) / 8] >> (at + n) % 8 & 1) != 0;
		n++;
	}
	return n;
}

/* Lists the next message, or the bytes of a stream: how many places; their bytes are *len. */
static uint32_t list_next(
	const struct vsock_buffer *b, struct port_bytes places[SPANS_MAX], uint32_t *len)
{
	uint16_t block = b->first;
	uint32_t at = b->at, count = 0;
	bool ends = false;

	*len = 0;
	while (*len < b->bytes && count < SPANS_MAX && !ends) {
		uint32_t part = (uint32_t)num_min(BLOCK - at, b->bytes - *len);

		if (b->messages)
			part = up_to_end(&state.blocks[block], at, part, &ends);
		places[count++] = (struct port_bytes){ state.blocks[block].bytes + at, part };
		*len += part;
		block = state.next[block];
		at = 0;
	}
	return count;
}

static void take(struct vsock_buffer *b, uint32_t len)
{
	b->bytes -= len;
	while (len > 0) {
		uint32_t part = (uint32_t)num_min(BLOCK - b->at, len);

		b->at = (uint16_t)(b->at + part);
		len -= part;
		if (b->at == BLOCK)
			drop_first(b);
	}
	if (b->bytes == 0 && b->blocks > 0)
		drop_first(b);
}

bool vsock_buffer_has_more(const struct vsock_buffer *b)
{
	return b->messages ? b->whole > 0 : b->bytes > 0;
}

int vsock_buffer_flush(struct vsock_buffer *b, int fd)
{
	while (vsock_buffer_has_more(b)) {
		struct port_bytes places[SPANS_MAX];
		uint32_t len, count = list_next(b, places, &len);
		int n = port_peer_send(fd, places, count);

		if (n < 0)
			return n;
		take(b, (uint32_t)n);
		b->whole -= b->messages;
		if ((uint32_t)n < len)
			return -EAGAIN;
	}
	return 0;
}
