/*
 * Console device (VIRTIO 5.3): a console, and (MULTIPORT) ports with names. How their bytes go in
 * and out is in console_port.c, what driver and device tell each other of them in
 * console_control.c.
 */
#include "console.h"

#include <errno.h>
#include <string.h>

#include "num.h"
#include "panic.h"
#include "spec/virtio.h"
#include "spec/virtio_console.h"
#include "text.h"

enum { QUEUE_SIZE_MAX = CONFIG_RING_SIZE_MAX, QUEUES_OF_CONSOLE = 2, QUEUES_OF_CONTROL = 2 };

enum {
	OPT_BACKEND,
	OPT_PATH,
	OPT_PTY_LINK,
	OPT_PORT,
	OPT_BACKPRESSURE,
	OPT_ROTATE,
	OPT_ROTATE_COUNT
};

static const struct option options[] = {
	[OPT_BACKEND] = { "backend", 0, OPTION_TEXT, "BACKEND[:ARG]", "pty", 0, 0,
		"pty[:LINK], stdio, unix:PATH (listening) or file:PATH" },
	[OPT_PATH] = { "path", 0, OPTION_TEXT, "PATH", NULL, 0, 0,
		"of --backend=unix or file, if it has none" },
	[OPT_PTY_LINK] = { "pty-link", 0, OPTION_TEXT, "PATH", NULL, 0, 0,
		"make this a link to the pseudo-terminal" },
	[OPT_PORT] = { "port", 0, OPTION_LIST, "NAME:BACKEND[:ARG]", NULL, 0, 0,
		"a port beside the console; may be repeated" },
	[OPT_BACKPRESSURE] = { "backpressure", 0, OPTION_FLAG, NULL, NULL, 0, 0,
		"let the guest wait for a slow reader; else output is lost" },
	[OPT_ROTATE] = { "rotate", 0, OPTION_SIZE, "SIZE", NULL, 1, INT64_MAX,
		"rename files that have so many bytes, and begin new ones" },
	[OPT_ROTATE_COUNT] = { "rotate-count", 0, OPTION_NUMBER, "N", "1", 1, 99,
		"how many such files are kept, as PATH.1 to PATH.N" },
};

static struct {
	struct console consoles[CONFIG_DEVICES_MAX];
	struct console_port ports[CONFIG_CONSOLE_PORTS];
	uint32_t count, port_count;
} state;

/* ---- the ports ---- */

static bool is_control(const struct queue *q)
{
	return q->index == VIRTIO_CONSOLE_CONTROL_RX || q->index == VIRTIO_CONSOLE_CONTROL_TX;
}

static bool is_receive(const struct queue *q)
{
	return q->index % 2 == 0;
}

/* The port of a queue that is none of the control queues. */
static struct console_port *port_of(const struct device *dev, const struct queue *q)
{
	const struct console *con = dev->state;

	return con->ports[q->index < QUEUES_OF_CONSOLE ? 0 : q->index / 2 - 1];
}

static struct console_port *port_new(struct device *dev)
{
	struct console *con = dev->state;
	struct console_port *p = &state.ports[state.port_count];
	uint32_t n = con->port_count;

	if (n == CONSOLE_PORTS_MAX || state.port_count == CONFIG_CONSOLE_PORTS) {
		log_error(dev->name, "--port: more ports than there is room for (%d, %d in all)",
			CONSOLE_PORTS_MAX, CONFIG_CONSOLE_PORTS);
		return NULL;
	}
	state.port_count++;
	con->ports[con->port_count++] = p;
	p->dev = dev;
	p->number = n;
	p->rules = &con->rules;
	p->rx = (uint16_t)(n == 0 ? VIRTIO_CONSOLE_RX0 : 2 * n + QUEUES_OF_CONTROL);
	p->tx = p->rx + 1u;
	return p;
}

static bool check_path(struct console_port *p)
{
	if ((p->kind == CONSOLE_UNIX || p->kind == CONSOLE_FILE) == (p->path && *p->path) ||
		(p->kind == CONSOLE_PTY && p->path && *p->path))
		return true;
	log_error(p->dev->name, "%s: %s", p->label,
		p->kind == CONSOLE_STDIO ? "stdio has no path" : "it needs a path");
	return false;
}

static bool make_console(struct device *dev, const struct option_value *values)
{
	struct console_port *p = port_new(dev);
	const char *extra = values[OPT_PATH].text;

	if (!p || !console_port_parse(p, "backend", values[OPT_BACKEND].text))
		return false;
	(void)text_format(p->label, sizeof(p->label), "console");
	if ((values[OPT_PATH].given && (p->kind == CONSOLE_PTY || p->kind == CONSOLE_STDIO)) ||
		(values[OPT_PTY_LINK].given && p->kind != CONSOLE_PTY)) {
		log_error(dev->name, "--path is for unix and file, --pty-link for pty");
		return false;
	}
	if (values[OPT_PTY_LINK].given)
		extra = values[OPT_PTY_LINK].text;
	if (extra && p->path) {
		log_error(dev->name, "the backend has two paths");
		return false;
	}
	p->path = extra ? extra : p->path;
	return check_path(p);
}

static bool make_port(struct device *dev, const char *text)
{
	struct console_port *p = port_new(dev);

	if (!p)
		return false;
	p->name = text;
	p->name_len = (uint32_t)strcspn(text, ":");
	if (p->name_len == 0 || p->name_len >= sizeof(p->label) - 5 || text[p->name_len] == 0) {
		log_error(dev->name, "--port=%s: not NAME:BACKEND[:ARG], NAME of 1 to %d bytes",
			text, (int)sizeof(p->label) - 6);
		return false;
	}
	(void)text_format(p->label, sizeof(p->label), "port %.*s", (int)p->name_len, p->name);
	return console_port_parse(p, "port", text + p->name_len + 1) && check_path(p);
}

/* The window that the console has now; true if it has changed. */
static bool look_at_size(struct console *con)
{
	const struct console_port *p = con->ports[0];
	uint16_t cols = con->cols, rows = con->rows;

	if (p->in < 0 || port_terminal_size(p->in, &con->cols, &con->rows) < 0)
		return false;
	con->sized = true;
	return cols != con->cols || rows != con->rows;
}

static int console_open(struct device *dev, const struct option_value *values)
{
	struct console *con = &state.consoles[state.count++];
	int result = EXIT_OK;

	ASSERT(state.count <= CONFIG_DEVICES_MAX);
	dev->state = con;
	con->rules = (struct console_rules){ .backpressure = values[OPT_BACKPRESSURE].given,
		.rotate_bytes = values[OPT_ROTATE].number,
		.rotate_count = (uint32_t)values[OPT_ROTATE_COUNT].number };
	if (!make_console(dev, values))
		return EXIT_USAGE;
	for (const struct option_item *i = values[OPT_PORT].list; i; i = i->next)
		if (!make_port(dev, i->text))
			return EXIT_USAGE;
	for (uint32_t i = 0; i < con->port_count && result == EXIT_OK; i++)
		result = console_port_open(con->ports[i]);
	if (result != EXIT_OK)
		return result;
	(void)look_at_size(con);
	dev->queue_count = (uint16_t)(2 * con->port_count + (console_has_control(con) ? 2 : 0));
	dev->queue_size_max = QUEUE_SIZE_MAX;
	return EXIT_OK;
}

static int console_listen(struct device *dev)
{
	const struct console *con = dev->state;
	int result = EXIT_OK;

	for (uint32_t i = 0; i < con->port_count && result == EXIT_OK; i++)
		result = console_port_listen(con->ports[i]);
	return result;
}

static void console_close(struct device *dev)
{
	const struct console *con = dev->state;

	for (uint32_t i = 0; i < con->port_count; i++)
		console_port_close(con->ports[i]);
}

static unsigned console_paths(const struct device *dev, struct port_cage_path *paths)
{
	const struct console *con = dev->state;
	unsigned count = 0;

	for (uint32_t i = 0; i < con->port_count; i++) {
		const struct console_port *p = con->ports[i];

		if (p->path)
			paths[count++] = (struct port_cage_path){ .path = p->path,
				.log = p->kind == CONSOLE_FILE };
	}
	return count;
}

/* ---- the device ---- */

static unsigned console_can_take(struct device *dev, const struct queue *q)
{
	struct console_port *p;

	if (is_control(q))
		return !is_receive(q) || console_has_news(dev->state);
	p = port_of(dev, q);
	return is_receive(q) ? !p->closed && console_port_has_input(p) : console_port_may_output(p);
}

static void console_request(struct device *dev, struct request *req)
{
	const struct queue *q = req->queue;

	if (is_control(q) && is_receive(q))
		console_control_send(dev, req);
	else if (is_control(q))
		console_control_receive(dev, req);
	else if (is_receive(q))
		console_port_input(port_of(dev, q), req);
	else
		console_port_output(port_of(dev, q), req);
}

static uint64_t console_features(const struct device *dev)
{
	const struct console *con = dev->state;

	return VIRTIO_F_IN_ORDER | VIRTIO_CONSOLE_F_EMERG_WRITE |
	       (con->sized ? VIRTIO_CONSOLE_F_SIZE : 0) |
	       (console_has_control(con) ? VIRTIO_CONSOLE_F_MULTIPORT : 0);
}

/*
 * After a reset the driver is to say again which ports are open. As long as it has said nothing,
 * all are: it has no MULTIPORT, or it has said so to an earlier life or on an earlier connection.
 */
static void console_accept(struct device *dev, uint64_t features)
{
	const struct console *con = dev->state;

	for (uint32_t i = 0; i < con->port_count && features == 0; i++) {
		con->ports[i]->closed = con->ports[i]->added = false;
		con->ports[i]->pending = 0;
	}
}

/* The clients of an earlier life have gone, and so may its window: the driver does not know. */
static void console_resumed(struct device *dev)
{
	const struct console *con = dev->state;

	for (uint32_t i = 0; i < con->port_count; i++)
		console_port_changed(con->ports[i]);
	if (con->sized)
		console_tell(con->ports[0], CONSOLE_TELL_SIZE);
}

static void console_config_get(const struct device *dev, uint8_t bytes[VHOST_USER_CONFIG_MAX])
{
	const struct console *con = dev->state;
	struct virtio_console_config c = { .cols = le16_put(con->cols),
		.rows = le16_put(con->rows),
		.max_nr_ports = le32_put(con->port_count) };

	memcpy(bytes, &c, sizeof(c));
}

static bool console_config_set(
	struct device *dev, uint32_t offset, uint32_t len, const uint8_t *bytes, bool migrate)
{
	const struct console *con = dev->state;

	if (migrate)
		return true;
	if (offset != offsetof(struct virtio_console_config, emerg_wr) || len == 0 ||
		len > sizeof(le32))
		return false;
	console_port_emergency(con->ports[0], bytes[0]); /* the lower byte (5.3.5.1) */
	return true;
}

static void console_io_done(struct device *dev, struct request *req)
{
	(void)dev;
	(void)req;
	ASSERT(!"a console starts no I/O");
}

static bool console_resized(struct device *dev)
{
	struct console *con = dev->state;
	bool changed = con->sized && look_at_size(con);

	/* (Whether an earlier life has announced the port is not known.) */
	if (changed)
		console_tell(con->ports[0], CONSOLE_TELL_SIZE);
	return changed;
}

static bool console_look_again(struct device *dev)
{
	const struct console *con = dev->state;

	for (uint32_t i = 0; i < con->port_count; i++)
		console_port_reopen(con->ports[i]);
	return console_resized(dev);
}

const struct device_class console_class = {
	.name = "console",
	.summary = "consoles and serial ports",
	.json_type = "console",
	.virtio_id = VIRTIO_ID_CONSOLE,
	.options = options,
	.option_count = countof(options),
	.open = console_open,
	.close = console_close,
	.listen = console_listen,
	.paths = console_paths,
	.features = console_features,
	.accept = console_accept,
	.resumed = console_resumed,
	.config_get = console_config_get,
	.config_set = console_config_set,
	.request = console_request,
	.io_done = console_io_done,
	.can_take = console_can_take,
	.look_again = console_look_again,
	.resized = console_resized,
};
