/*
 * The ports of a console on the host's side.
 *
 * Theory of operation. Descriptors are watched by edge, so that what nobody wants wakes nobody:
 * `readable` and `writable` say what is still to be had of the last edge. Input is read into a
 * small store as far as that has room, whether the guest wants it or not: that is how the end of a
 * client is seen. Output goes through a ring. What does not fit pushes out the oldest bytes, unless
 * the guest is to wait (--backpressure): then the next request is taken when the ring is empty.
 *
 * A request's output is copied and answered at once, up to OUTPUT_TURN bytes. A longer one is held,
 * and goes on in the next tick; if the session waits for its drain meanwhile, its rest is dropped.
 */
#include <errno.h>
#include <string.h>

#include "console.h"
#include "num.h"
#include "text.h"

enum { OUTPUT_CHUNK = 4096, OUTPUT_TURN = 65536, OUTPUT_SIZE = CONFIG_CONSOLE_OUTPUT };
_Static_assert(OUTPUT_SIZE >= OUTPUT_CHUNK, "a chunk fits");

enum { AGAIN_NS = 20000000, ACCEPT_AGAIN_NS = 1000000000 };

static struct {
	bool stdio_taken;
} state;

static void port_event(void *owner);

static struct queue *port_queue(struct console_port *p, uint16_t index)
{
	return &p->dev->queues[index];
}

static int cannot(struct console_port *p, const char *what, int error)
{
	log_error(p->dev->name, "%s: %s%s%s: %s", p->label, p->path, p->path ? ": " : "", what,
		log_errno(error));
	return EXIT_FAILED;
}

/* A line of what may happen again and again. */
static void complain(struct console_port *p, const char *what, int error)
{
	if (log_allow(&p->limit, p->dev->name))
		(void)cannot(p, what, error);
}

static void again_later(struct console_port *p, uint64_t ns)
{
	uint64_t at_ns = out_now_ns() + ns;

	if (!p->again.set || p->again.at_ns > at_ns)
		loop_timer_set(&p->again, at_ns, port_event, p);
}

/* ---- the command line ---- */

bool console_port_parse(struct console_port *p, const char *option, const char *text)
{
	static const char *const kinds[] = { "pty", "stdio", "unix", "file" };
	size_t len = strcspn(text, ":");

	p->kind = 0;
	while (p->kind < countof(kinds) &&
		(strlen(kinds[p->kind]) != len || strncmp(kinds[p->kind], text, len) != 0))
		p->kind++;
	if (p->kind == countof(kinds)) {
		log_error(p->dev->name,
			"--%s: %s: not one of pty[:LINK], stdio, unix:PATH, file:PATH", option,
			text);
		return false;
	}
	p->path = text[len] ? text + len + 1 : NULL;
	return true;
}

/* ---- the host's side comes and goes ---- */

static void unwatch(int *watch)
{
	if (*watch >= 0)
		loop_unwatch(*watch);
	*watch = -1;
}

/* Watches what can be: files are always ready. */
static int watch_streams(struct console_port *p)
{
	int error = 0;

	p->readable = p->in >= 0;
	p->writable = p->out >= 0;
	p->ended = p->in < 0;
	if (p->in >= 0)
		error = p->in_watch = loop_watch(p->in, PORT_EDGE_ANY, port_event, p);
	if ((error >= 0 || error == -EPERM) && p->out >= 0 && p->out != p->in)
		error = p->out_watch = loop_watch(p->out, PORT_EDGE_ANY, port_event, p);
	return error == -EPERM ? 0 : error;
}

static void close_streams(struct console_port *p)
{
	unwatch(&p->in_watch);
	unwatch(&p->out_watch);
	if (p->kind == CONSOLE_STDIO)
		port_terminal_restore();
	/* The descriptors 0 to 2 stay as they are. */
	if (p->in > 2)
		port_close(p->in);
	if (p->out > 2 && p->out != p->in)
		port_close(p->out);
	p->in = p->out = -1;
	p->readable = p->writable = false;
	p->ended = true;
}

bool console_port_is_open(const struct console_port *p)
{
	return p->in >= 0 || p->out >= 0;
}

/* One client at a time; the next one waits in the backlog. */
static void accept_client(struct console_port *p)
{
	int fd = port_accept(p->listener), error;

	if (fd < 0) {
		if (fd == -EAGAIN || fd == -ECONNABORTED)
			return;
		complain(p, "cannot accept", fd);
		again_later(p, ACCEPT_AGAIN_NS);
		return;
	}
	p->in = p->out = fd;
	error = watch_streams(p);
	if (error < 0) {
		complain(p, "cannot watch a client", error);
		close_streams(p);
		return;
	}
	console_port_changed(p);
}

/*
 * The other side has gone. What it has not read is not its successor's, but on a console, where it
 * is what was said last.
 */
static void hang_up(struct console_port *p)
{
	close_streams(p);
	if (p->name)
		p->output_len = 0;
	console_port_changed(p);
	if (p->kind == CONSOLE_UNIX)
		again_later(p, 0); /* the next one, if it waits already */
}

/* ---- input ---- */

static void fill(struct console_port *p)
{
	if (p->input_len == 0)
		p->input_at = 0;
	while (p->readable && p->input_at + p->input_len < CONFIG_CONSOLE_INPUT) {
		uint32_t end = p->input_at + p->input_len;
		int n = port_stream_read(p->in, p->input + end, CONFIG_CONSOLE_INPUT - end);

		if (n > 0) {
			p->input_len += (uint32_t)n;
			continue;
		}
		p->readable = false;
		if (n == -EAGAIN)
			return;
		p->ended = true;
		if (p->kind == CONSOLE_UNIX)
			hang_up(p);
		return;
	}
}

bool console_port_has_input(struct console_port *p)
{
	if (p->input_len == 0)
		fill(p);
	return p->input_len > 0;
}

void console_port_input(struct console_port *p, struct request *req)
{
	uint32_t len = (uint32_t)num_min(p->input_len, writer_left(&req->out));

	/* 5.3.6: no readable buffers here, no writable ones in output. */
	if (reader_left(&req->in) > 0) {
		request_break(req, "a readable buffer to a console's receive queue");
		return;
	}
	if (len > 0 && !writer_put(&req->out, p->input + p->input_at, len))
		len = 0;
	p->input_at += len;
	p->input_len -= len;
	request_done(req, len);
}

/* ---- output ---- */

static void lose(struct console_port *p, uint32_t len)
{
	if (len == 0)
		return;
	p->output_at += len;
	p->output_len -= len;
	if (p->dev->queues)
		port_queue(p, p->tx)->counts.errors++;
}

/* Into the ring; its oldest bytes make room. len is at most OUTPUT_SIZE. */
static void put(struct console_port *p, const uint8_t *bytes, uint32_t len)
{
	uint32_t room = OUTPUT_SIZE - p->output_len, at, part;

	if (len > room)
		lose(p, len - room);
	at = (p->output_at + p->output_len) % OUTPUT_SIZE;
	part = (uint32_t)num_min(len, OUTPUT_SIZE - at);
	memcpy(p->output + at, bytes, part);
	memcpy(p->output, bytes + part, len - part);
	p->output_len += len;
}

/* The next file of a log; if that fails, the old one is written on. */
static void rotate(struct console_port *p)
{
	int error = port_log_rotate(p->path, p->rules->rotate_count);

	if (error < 0)
		complain(p, "cannot rotate", error);
	else
		console_port_reopen(p);
	p->log_bytes = 0; /* even if what was renamed is still there: a link to PATH.1 */
}

void console_port_reopen(struct console_port *p)
{
	int fd, error;

	if (p->kind != CONSOLE_FILE)
		return;
	fd = port_log_open(p->path, &p->log_bytes);
	if (fd < 0) {
		complain(p, "cannot open it again", fd);
		return;
	}
	unwatch(&p->out_watch);
	port_close(p->out);
	p->out = fd;
	error = watch_streams(p); /* a named pipe can be full */
	if (error < 0)
		complain(p, "cannot wait for events", error);
}

/* Bytes of the ring that can be written at once. */
static uint32_t next_part(const struct console_port *p)
{
	uint64_t len = num_min(p->output_len, OUTPUT_SIZE - p->output_at % OUTPUT_SIZE);
	uint64_t size = p->rules->rotate_bytes;

	if (p->kind == CONSOLE_FILE && size > 0)
		len = num_min(len, size > p->log_bytes ? size - p->log_bytes : 0);
	return (uint32_t)len;
}

static void flush(struct console_port *p)
{
	while (p->output_len > 0 && p->writable) {
		uint32_t len = next_part(p);
		int n;

		if (len == 0) {
			rotate(p);
			continue;
		}
		n = port_stream_write(p->out, p->output + p->output_at % OUTPUT_SIZE, len);
		if (n > 0) {
			p->output_at += (uint32_t)n;
			p->output_len -= (uint32_t)n;
			p->log_bytes += (uint32_t)n;
		} else if (n == -EAGAIN) {
			p->writable = false;
		} else if (p->kind == CONSOLE_FILE) {
			complain(p, "cannot write", n);
			lose(p, p->output_len);
		} else {
			hang_up(p);
		}
	}
}

/* --backpressure: for whoever reads now, or comes to a socket; nobody comes to what has failed. */
static bool guest_waits(const struct console_port *p)
{
	return p->rules->backpressure && (p->out >= 0 || p->kind == CONSOLE_UNIX);
}

bool console_port_may_output(struct console_port *p)
{
	return !p->held && (!guest_waits(p) || p->output_len == 0);
}

/* Takes from the request that is held what may be taken in this turn: whether that was all. */
static bool take_output(struct console_port *p)
{
	bool waits = guest_waits(p) && !session_paused(&p->dev->session);
	struct reader *in = &p->held->in;
	uint8_t bytes[OUTPUT_CHUNK];

	for (uint32_t taken = 0; taken < OUTPUT_TURN && reader_left(in) > 0;) {
		uint32_t len = (uint32_t)num_min(reader_left(in), OUTPUT_CHUNK);

		if (OUTPUT_SIZE - p->output_len < len)
			flush(p);
		if (OUTPUT_SIZE - p->output_len < len && waits)
			return false;
		if (!reader_get(in, bytes, len))
			return true; /* an address that is nowhere: the rest is nothing */
		put(p, bytes, len);
		taken += len;
	}
	return reader_left(in) == 0;
}

static void go_on(struct console_port *p)
{
	struct request *req = p->held;

	if (!take_output(p) && !session_paused(&p->dev->session)) {
		flush(p);
		/* If it waits for the reader, an edge says when; but look at the session, too. */
		again_later(p, p->writable || !p->rules->backpressure ? 0 : AGAIN_NS);
		return;
	}
	flush(p);
	if (reader_left(&req->in) > 0)
		port_queue(p, p->tx)->counts.errors++;
	p->held = NULL;
	request_done(req, 0);
}

void console_port_output(struct console_port *p, struct request *req)
{
	if (writer_left(&req->out) > 0) {
		request_break(req, "a writable buffer to a console's transmit queue");
		return;
	}
	p->held = req;
	go_on(p);
}

void console_port_emergency(struct console_port *p, uint8_t byte)
{
	put(p, &byte, 1);
	flush(p);
}

/* ---- what happens ---- */

/* Something did, on any of the descriptors, or it is time to look. */
static void port_event(void *owner)
{
	struct console_port *p = owner;

	if (p->listener >= 0 && p->in < 0)
		accept_client(p);
	p->readable = p->in >= 0 && !p->ended;
	p->writable = p->out >= 0;
	fill(p);
	flush(p);
	if (p->held)
		go_on(p);
	queue_ready(port_queue(p, p->rx));
	queue_ready(port_queue(p, p->tx));
}

/* ---- the beginning and the end ---- */

static int open_pty(struct console_port *p)
{
	p->in = p->out = port_pty_open(p->pty, sizeof(p->pty), &p->slave);
	return p->in < 0 ? cannot(p, "cannot open a pseudo-terminal", p->in) : EXIT_OK;
}

static int open_stdio(struct console_port *p)
{
	if (state.stdio_taken) {
		log_error(
			p->dev->name, "%s: standard input and output are another port's", p->label);
		return EXIT_USAGE;
	}
	state.stdio_taken = true;
	p->in = port_stdio_open(0);
	p->out = port_stdio_open(1);
	if (p->in < 0 || p->out < 0)
		return cannot(
			p, "cannot use standard input and output", p->in < 0 ? p->in : p->out);
	return EXIT_OK;
}

int console_port_open(struct console_port *p)
{
	p->in = p->out = p->slave = p->listener = -1;
	p->in_watch = p->out_watch = p->listener_watch = -1;
	switch ((enum console_kind)p->kind) {
	case CONSOLE_PTY: return open_pty(p);
	case CONSOLE_STDIO: return open_stdio(p);
	case CONSOLE_FILE:
		p->out = port_log_open(p->path, &p->log_bytes);
		return p->out < 0 ? cannot(p, "cannot open", p->out) : EXIT_OK;
	case CONSOLE_UNIX: break;
	}
	return EXIT_OK;
}

static int listen_unix(struct console_port *p)
{
	p->listener = port_listen(p->path, &p->id);
	if (p->listener < 0)
		return cannot(p, "cannot listen", p->listener);
	p->linked = true;
	p->listener_watch = loop_watch(p->listener, PORT_EDGE, port_event, p);
	if (p->listener_watch < 0)
		return cannot(p, "cannot wait for clients", p->listener_watch);
	return EXIT_OK;
}

static int listen_pty(struct console_port *p)
{
	int error;

	/* An error or not, this is what is needed to go on. */
	log_error(p->dev->name, "%s is at %s", p->label, p->pty);
	if (!p->path)
		return EXIT_OK;
	error = port_link(p->path, p->pty, &p->id);
	p->linked = error >= 0;
	return error < 0 ? cannot(p, "cannot link it to the pseudo-terminal", error) : EXIT_OK;
}

int console_port_listen(struct console_port *p)
{
	int result = EXIT_OK, error;

	if (p->kind == CONSOLE_UNIX)
		return listen_unix(p);
	if (p->kind == CONSOLE_PTY)
		result = listen_pty(p);
	if (result != EXIT_OK)
		return result;
	error = watch_streams(p);
	if (error < 0)
		return cannot(p, "cannot wait for events", error);
	if (p->kind == CONSOLE_STDIO)
		(void)port_terminal_raw(p->in); /* if it is one */
	return EXIT_OK;
}

void console_port_close(struct console_port *p)
{
	flush(p);
	loop_timer_clear(&p->again);
	close_streams(p);
	unwatch(&p->listener_watch);
	if (p->listener >= 0)
		port_close(p->listener);
	if (p->slave >= 0)
		port_close(p->slave);
	p->listener = p->slave = -1;
	if (p->linked)
		port_unlisten(p->path, &p->id);
	p->linked = false;
}
