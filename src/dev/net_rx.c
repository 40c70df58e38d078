/* Frames for a guest: one frame over as many chains as it needs. */
#include "net_rx.h"

#include <errno.h>

#include "loop.h"
#include "net.h"
#include "num.h"
#include "window.h"

static bool put_bytes(struct writer *to, const uint8_t **bytes, uint32_t *len, uint32_t *room)
{
	uint32_t n = (uint32_t)num_min(*len, *room);

	if (n == 0)
		return true;
	if (!writer_put(to, *bytes, n))
		return false;
	*bytes += n;
	*len -= n;
	*room -= n;
	return true;
}

/* The next bytes of the frame, as many as fit. */
static bool put_part(struct writer *to, struct net_source *from)
{
	uint32_t room = writer_left(to);

	if (!put_bytes(to, &from->head, &from->head_len, &room))
		return false;
	if (from->body)
		return put_bytes(to, &from->body, &from->body_len, &room);
	return writer_copy(to, &from->reader, (uint32_t)num_min(room, reader_left(&from->reader)));
}

static int put_frame(
	struct window *w, uint32_t len, const struct virtio_net_hdr *hdr, struct net_source *from)
{
	bool first = true;

	while (len > 0) {
		struct request *req = window_take(w);
		uint32_t n = (uint32_t)num_min(len, writer_left(&req->out));

		if ((first && !writer_put(&req->out, hdr, sizeof(*hdr))) ||
			!put_part(&req->out, from)) {
			window_close(w);
			request_break(req, "a receive buffer that is nowhere, or too small");
			return -EINVAL;
		}
		request_done(req, n);
		len -= n;
		first = false;
	}
	return 1;
}

/*
 * All chains of a ring can take long to look at: for a flood of frames that do not fit, only so
 * often in a tick.
 */
enum { VAIN_ROUNDS = 4 };

static bool was_vain(struct net *net, const struct queue *rx)
{
	if (net->vain_ns != loop_now_ns())
		net->vain = 0;
	return net->vain >= VAIN_ROUNDS * rx->ring.size;
}

int net_put(
	struct queue *rx, bool mergeable, const struct virtio_net_hdr *hdr, struct net_source *from)
{
	struct net *net = rx->device->state;
	struct virtio_net_hdr out = *hdr;
	uint32_t len = (uint32_t)sizeof(out) + from->head_len +
		       (from->body ? from->body_len : reader_left(&from->reader));
	struct window w;
	int found;

	if (net->vain > 0 && was_vain(net, rx))
		return -EMSGSIZE;
	if (!window_open(&w, rx))
		return -ENOTCONN;
	/* Without merging, a frame that is longer than the driver's buffers is one too many. */
	found = window_fill(&w, mergeable ? len : 1);
	if (found > 0 && w.room >= len && (mergeable || w.count == 1)) {
		if (net->pcap)
			pcap_frame(net->pcap, from);
		out.num_buffers = le16_put((uint16_t)w.count);
		found = put_frame(&w, len, &out, from);
	} else {
		net->vain_ns = loop_now_ns();
		net->vain += w.count;
		if (found > 0 || (found == 0 && w.count == rx->ring.size))
			found = -EMSGSIZE;
	}
	window_close(&w);
	return found;
}
