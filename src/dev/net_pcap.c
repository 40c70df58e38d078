/*
 * What passes a network device, in a file that Wireshark reads (libpcap's format, nanoseconds).
 * It is collected in a buffer and written without waiting; what cannot be written is dropped.
 */
#include <string.h>

#include "loop.h"
#include "net.h"
#include "num.h"

enum { BUFFER = 256 << 10, FLUSH_NS = 100000000, LINKTYPE_ETHERNET = 1 };
#define MAGIC_NS 0xa1b23c4du

struct pcap {
	struct device *dev;
	const char *path;
	int fd;
	struct loop_timer flush;
	uint32_t have;
	bool dropping;
	uint8_t bytes[BUFFER];
};

static struct {
	struct pcap pcaps[CONFIG_NET_PCAPS_MAX];
	uint32_t count;
} state;

/* Numbers are in our own byte order: the magic tells which. */
static void append32(struct pcap *pcap, uint32_t value)
{
	memcpy(pcap->bytes + pcap->have, &value, sizeof(value));
	pcap->have += (uint32_t)sizeof(value);
}

static void pcap_write(struct pcap *pcap)
{
	int n = port_stream_write(pcap->fd, pcap->bytes, pcap->have);

	loop_timer_clear(&pcap->flush);
	if (n > 0) {
		pcap->have -= (uint32_t)n;
		memmove(pcap->bytes, pcap->bytes + n, pcap->have);
	}
	/* Frames that have no room meanwhile are dropped. */
	if (n < 0 && !pcap->dropping)
		log_error(pcap->dev->name, "%s: cannot write: %s: frames are missing in it",
			pcap->path, log_errno(n));
	pcap->dropping = n < 0;
}

static void pcap_late(void *owner)
{
	pcap_write(owner);
}

struct pcap *pcap_open(struct device *dev, const char *path)
{
	struct pcap *pcap = &state.pcaps[state.count];

	if (state.count == countof(state.pcaps)) {
		log_error(dev->name, "--pcap=%s: more than %d of them", path, CONFIG_NET_PCAPS_MAX);
		return NULL;
	}
	pcap->fd = port_stream_create(path);
	if (pcap->fd < 0) {
		log_error(dev->name, "--pcap=%s: cannot open: %s", path, log_errno(pcap->fd));
		return NULL;
	}
	state.count++;
	pcap->dev = dev;
	pcap->path = path;
	append32(pcap, MAGIC_NS);
	append32(pcap, 2 | 4 << 16); /* version 2.4 */
	append32(pcap, 0);
	append32(pcap, 0);
	append32(pcap, NET_FRAME_MAX);
	append32(pcap, LINKTYPE_ETHERNET);
	pcap_write(pcap);
	return pcap;
}

void pcap_close(struct pcap *pcap)
{
	pcap_write(pcap);
	port_close(pcap->fd);
}

void pcap_frame(struct pcap *pcap, const struct net_source *from)
{
	enum { RECORD = 16 };
	struct reader reader = from->reader;
	uint32_t body = from->body ? from->body_len : reader_left(&reader);
	uint32_t len = from->head_len + body;
	uint64_t now = port_real_ns();

	if (BUFFER - pcap->have < RECORD + len)
		pcap_write(pcap);
	if (BUFFER - pcap->have < RECORD + len)
		return;
	append32(pcap, (uint32_t)(now / 1000000000));
	append32(pcap, (uint32_t)(now % 1000000000));
	append32(pcap, len);
	append32(pcap, len);
	if (from->head_len > 0)
		memcpy(pcap->bytes + pcap->have, from->head, from->head_len);
	if (from->body)
		memcpy(pcap->bytes + pcap->have + from->head_len, from->body, body);
	else
		(void)reader_get(&reader, pcap->bytes + pcap->have + from->head_len, body);
	pcap->have += len;
	if (!pcap->flush.set)
		loop_timer_set(&pcap->flush, out_now_ns() + FLUSH_NS, pcap_late, pcap);
}
