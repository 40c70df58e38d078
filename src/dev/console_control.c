/*
 * Control messages of a console (VIRTIO 5.3.6.2): what driver and device tell each other of ports.
 *
 * Those to the driver are no queue of messages but bits of each port that say what it is to be
 * told: what it gets is how things are at that moment, and floods of messages from it cost nothing.
 */
#include <string.h>

#include "console.h"
#include "panic.h"
#include "spec/virtio_console.h"

void console_tell(struct console_port *p, unsigned what)
{
	struct device *dev = p->dev;

	if (!console_has_control(dev->state) || what == 0)
		return;
	p->pending |= (uint8_t)what;
	queue_ready(&dev->queues[VIRTIO_CONSOLE_CONTROL_RX]);
}

/* What the driver is told of a port's other side. A console has none. */
static unsigned tell_open(const struct console_port *p)
{
	return p->name ? CONSOLE_TELL_OPEN : 0;
}

void console_port_changed(struct console_port *p)
{
	console_tell(p, tell_open(p));
}

/* The next port that is to be told something, or NULL. */
static struct console_port *port_to_tell(const struct console *con)
{
	for (uint32_t i = 0; i < con->port_count; i++)
		if (con->ports[i]->pending != 0)
			return con->ports[i];
	return NULL;
}

/* Lays out what a port is told first: its bytes. */
static uint32_t next_message(
	const struct console *con, struct console_port *p, unsigned what, uint8_t *bytes)
{
	struct virtio_console_control c = { .id = le32_put(p->number), .value = le16_put(1) };
	struct virtio_console_resize size = { le16_put(con->cols), le16_put(con->rows) };
	uint32_t len = sizeof(c);

	switch (what) {
	case CONSOLE_TELL_ADD: c.event = le16_put(VIRTIO_CONSOLE_DEVICE_ADD); break;
	case CONSOLE_TELL_CONSOLE: c.event = le16_put(VIRTIO_CONSOLE_CONSOLE_PORT); break;
	case CONSOLE_TELL_NAME:
		c.event = le16_put(VIRTIO_CONSOLE_PORT_NAME);
		memcpy(bytes + len, p->name, p->name_len);
		len += p->name_len;
		break;
	case CONSOLE_TELL_SIZE:
		c.event = le16_put(VIRTIO_CONSOLE_RESIZE);
		memcpy(bytes + len, &size, sizeof(size));
		len += sizeof(size);
		break;
	default:
		c.event = le16_put(VIRTIO_CONSOLE_PORT_OPEN);
		c.value = le16_put(console_port_is_open(p));
	}
	memcpy(bytes, &c, sizeof(c));
	return len;
}

bool console_has_news(const struct console *con)
{
	return port_to_tell(con) != NULL;
}

/* A message to the driver. One that does not fit stays; the buffer comes back empty. */
void console_control_send(struct device *dev, struct request *req)
{
	const struct console *con = dev->state;
	struct console_port *p = port_to_tell(con);
	uint8_t bytes[sizeof(struct virtio_console_control) + sizeof(p->label)];
	unsigned what;
	uint32_t len;

	if (reader_left(&req->in) > 0) {
		request_break(req, "a readable buffer to a console's control receive queue");
		return;
	}
	ASSERT(p);
	what = p->pending & -(unsigned)p->pending; /* the lowest bit */
	len = next_message(con, p, what, bytes);
	if (!writer_put(&req->out, bytes, len))
		len = 0;
	else
		p->pending &= (uint8_t)~what;
	request_done(req, len);
}

/* The driver begins: it is told of each port once. */
static void device_is_ready(struct console *con)
{
	for (uint32_t i = 0; i < con->port_count; i++) {
		struct console_port *p = con->ports[i];

		p->closed = true;
		if (!p->added)
			console_tell(p, CONSOLE_TELL_ADD);
		p->added = true;
	}
}

static void port_is_ready(const struct console *con, struct console_port *p)
{
	if (p->name)
		console_tell(p, CONSOLE_TELL_NAME | CONSOLE_TELL_OPEN);
	else
		console_tell(p, CONSOLE_TELL_CONSOLE | (con->sized ? CONSOLE_TELL_SIZE : 0));
}

static void control_take(struct device *dev, const struct virtio_console_control *c)
{
	struct console *con = dev->state;
	uint32_t id = le32_get(c->id);
	bool yes = le16_get(c->value) != 0;

	switch (le16_get(c->event)) {
	case VIRTIO_CONSOLE_DEVICE_READY:
		if (yes)
			device_is_ready(con);
		return;
	case VIRTIO_CONSOLE_PORT_READY:
		if (id < con->port_count && yes)
			port_is_ready(con, con->ports[id]);
		break;
	case VIRTIO_CONSOLE_PORT_OPEN:
		if (id < con->port_count) {
			con->ports[id]->closed = !yes;
			queue_ready(&dev->queues[con->ports[id]->rx]);
		}
		break;
	default: yes = true; /* nothing that we know of */
	}
	if ((id >= con->port_count || !yes) && log_allow(&con->limit, dev->name))
		log_info(dev->name, "the driver says %u of port %u: %u", le16_get(c->event), id,
			le16_get(c->value));
}

/* What is too short says nothing; what is longer may be a later version's. */
void console_control_receive(struct device *dev, struct request *req)
{
	struct virtio_console_control c;

	if (writer_left(&req->out) > 0) {
		request_break(req, "a writable buffer to a console's control transmit queue");
		return;
	}
	if (reader_get(&req->in, &c, sizeof(c)))
		control_take(dev, &c);
	request_done(req, 0);
}
