/* The fake port: the process, the clock, descriptors and waiting. */
#include "fake_object.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGNALS_MAX = 8 };

struct fake fake;

static struct {
	struct descriptor fds[FAKE_FDS_MAX];
	struct object *all, io_event;
	enum port_signal signals[SIGNALS_MAX];
	unsigned signal_count;
	int top; /* no descriptor is as high as this */
	uint64_t random;
	bool running, wait_open;
	jmp_buf end;
} state;

/* ---- the process ---- */

uint32_t fake_random(uint32_t n)
{
	uint64_t z = state.random += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return n > 0 ? (uint32_t)((z ^ z >> 31) >> 32) % n : 0;
}

_Noreturn void fake_die(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (fake.on_die)
		fake.on_die(text);
	fprintf(stderr, "%.*sfake port: %s\n", (int)fake.log_len, fake.log, text);
	abort();
}

/* Those whose line in port/ says "at the start": tests/cage/lines.py compares. */
static const uint64_t at_the_start =
	1ull << FAKE_READ_FILE | 1ull << FAKE_SIGNALS_OPEN | 1ull << FAKE_WAIT_OPEN |
	1ull << FAKE_LISTEN | 1ull << FAKE_SOCKET_KIND | 1ull << FAKE_FILE_OPEN |
	1ull << FAKE_STREAM_OPEN | 1ull << FAKE_USER_FIND | 1ull << FAKE_CHROOT |
	1ull << FAKE_USER_BECOME | 1ull << FAKE_CAGE_PRIVILEGES | 1ull << FAKE_CAGE_LANDLOCK |
	1ull << FAKE_CAGE_SECCOMP | 1ull << FAKE_PTY_OPEN | 1ull << FAKE_STDIO_OPEN |
	1ull << FAKE_LINK | 1ull << FAKE_TAP_OPEN;

int fake_call(enum fake_call call)
{
	static const int errors[FAKE_CALLS] = { ENOENT, EMFILE, EMFILE, ENOSPC, EINVAL, EACCES,
		ECONNREFUSED, EMFILE, ENOTSOCK, ECONNRESET, EPIPE, ENOMEM, EMFILE, EACCES, EIO, EIO,
		EAGAIN, ENOENT, EIO, ENOENT, ENOENT, EPERM, EPERM, ENOSYS, ENOSYS, ENOENT, EBADF,
		EEXIST, EACCES, EACCES, ENOSPC, EPERM, EINVAL, EINVAL, EIO, EIO };

	if (fake.caged && (at_the_start >> call & 1) != 0)
		fake_die("call %d is only made before the cage is closed", call);
	if (fake.calls_all < FAKE_TRACE_MAX)
		fake.trace[fake.calls_all] = call;
	fake.calls[call]++;
	fake.calls_all++;
	if (fake.fail_at[call] != fake.calls[call] && fake.fail_any != fake.calls_all &&
		((fake.fail_mask >> call & 1) == 0 || fake.fail_one_in == 0 ||
			fake_random(fake.fail_one_in) > 0))
		return 0;
	fake.failed++;
	return fake.fail_error != 0 ? fake.fail_error : -errors[call];
}

static void keep(char *text, size_t *len, const char *more, size_t n)
{
	if (n > FAKE_LOG_MAX - 1 - *len)
		n = FAKE_LOG_MAX - 1 - *len;
	memcpy(text + *len, more, n);
	*len += n;
	text[*len] = 0;
}

void out_error_text(const char *text, size_t len)
{
	keep(fake.log, &fake.log_len, text, len);
	fake.log_lines++;
	if (fake.verbose)
		(void)fwrite(text, 1, len, stderr);
}

void fake_log_clear(void)
{
	fake.log_len = fake.log_lines = 0;
	fake.log[0] = 0;
}

bool fake_log_has(const char *text)
{
	return strstr(fake.log, text) != NULL;
}

void port_write_out(const char *text, size_t len)
{
	if (fake.caged)
		fake_die("port_write_out is only called before the cage is closed");
	keep(fake.out, &fake.out_len, text, len);
}

uint64_t out_now_ns(void)
{
	return fake.now_ns += 100;
}

_Noreturn static void leave(enum fake_end end)
{
	state.running = false;
	longjmp(state.end, (int)end + 1);
}

_Noreturn void fake_stop(void)
{
	if (!state.running)
		fake_die("fake_stop outside of fake_run");
	leave(FAKE_TIME);
}

_Noreturn void out_abort(void)
{
	if (state.running)
		leave(FAKE_ABORTED);
	fake_die("it aborted");
}

_Noreturn void port_exit(int status)
{
	fake.exit_status = status;
	if (state.running)
		leave(FAKE_EXITED);
	fake_die("it exited with status %d", status);
}

enum fake_end fake_run(void (*fn)(void *arg), void *arg)
{
	int end = setjmp(state.end);

	if (end == 0) {
		state.running = true;
		fn(arg);
		state.running = false;
		end = FAKE_RETURNED + 1;
	}
	return (enum fake_end)(end - 1);
}

void *fake_more(void *p, size_t len)
{
	void *more = realloc(p, len);

	if (!more)
		fake_die("no memory");
	return more;
}

void *fake_new(size_t len)
{
	void *p = fake_more(NULL, len);

	memset(p, 0, len);
	return p;
}

/* ---- descriptors ---- */

struct object *fake_object_new(enum fake_kind kind)
{
	struct object *o = fake_new(sizeof(*o));

	o->kind = kind;
	o->next_all = state.all;
	o->last = &o->first;
	return state.all = o;
}

void fake_object_put(struct object *o)
{
	struct object *peer = o->peer;

	if (--o->refs > 0 || o == &state.io_event)
		return;
	o->kind = NONE; /* freed by fake_reset: a stale pointer finds it dead */
	fake_segments_free(o);
	free(o->bytes);
	o->bytes = NULL;
	for (unsigned i = 0; i < o->backlog_len; i++)
		fake_object_put(o->backlog[i]);
	if (peer) {
		peer->peer = o->peer = NULL;
		peer->signals++;
	}
}

int fake_fd_new(struct object *o, bool inside)
{
	int i = 0;

	while (i < FAKE_FDS_MAX && state.fds[i].object)
		i++;
	if (i == FAKE_FDS_MAX)
		fake_die("more than %d descriptors", FAKE_FDS_MAX);
	o->refs++;
	state.fds[i] = (struct descriptor){ .object = o, .inside = inside };
	if (i >= state.top)
		state.top = i + 1;
	return FAKE_FD_FIRST + i;
}

struct descriptor *fake_fd(int fd)
{
	if (!fake_fd_open(fd))
		fake_die("descriptor %d is not open", fd);
	return &state.fds[fd - FAKE_FD_FIRST];
}

bool fake_fd_open(int fd)
{
	return fd >= FAKE_FD_FIRST && fd < FAKE_FD_FIRST + FAKE_FDS_MAX &&
	       state.fds[fd - FAKE_FD_FIRST].object;
}

bool fake_fd_inside(int fd)
{
	return fake_fd(fd)->inside;
}

struct object *fake_object(int fd, enum fake_kind kind)
{
	struct object *o = fake_fd(fd)->object;

	if (o->kind != kind)
		fake_die("descriptor %d is of kind %d, not %d", fd, o->kind, kind);
	return o;
}

void fake_close(int fd)
{
	struct descriptor *d = fake_fd(fd);
	struct object *o = d->object;

	d->object = NULL;
	fake_object_put(o);
}

void port_close(int fd)
{
	if (fake_fd(fd)->watched)
		fake_die("descriptor %d is closed while it is watched", fd);
	if (!fake_fd(fd)->inside)
		fake_die("descriptor %d is closed and belongs to others", fd);
	fake_close(fd);
}

int fake_dup(int fd)
{
	return fake_fd_new(fake_fd(fd)->object, false);
}

int fake_other_new(void)
{
	return fake_fd_new(fake_object_new(OTHER), false);
}

int fake_fd_of_file(void)
{
	return fake_fd_new(fake_object_new(OTHER), true);
}

unsigned fake_open_fds(void)
{
	unsigned n = 0;

	for (int i = 0; i < state.top; i++)
		n += state.fds[i].object && state.fds[i].inside;
	return n;
}

unsigned fake_watches(void)
{
	unsigned n = 0;

	for (int i = 0; i < state.top; i++)
		n += state.fds[i].object && state.fds[i].watched;
	return n;
}

/* ---- waiting ---- */

int port_wait_open(void)
{
	state.wait_open = true;
	return fake_call(FAKE_WAIT_OPEN);
}

static bool readable(const struct object *o)
{
	switch (o->kind) {
	case NOTIFY: return o->count > 0;
	case SOCKET: return o->first || !o->peer || o->peer->shut;
	case LISTENER: return o->backlog_len > 0;
	case SIGNALS: return state.signal_count > 0;
	case IO_EVENT: return fake_io_done();
	case TAP: return o->first;
	default: return false;
	}
}

int port_wait_add(int fd, uint64_t token, enum port_trigger trigger)
{
	struct descriptor *d = fake_fd(fd);
	int error = fake_call(FAKE_WAIT_ADD);

	if (!state.wait_open)
		fake_die("port_wait_open was not called");
	if (error < 0)
		return error;
	if (d->object->kind == MEMORY || d->object->kind == OTHER)
		return -EPERM;
	if (d->watched)
		return -EEXIST;
	d->watched = true;
	d->trigger = trigger;
	d->token = token;
	d->seen = d->object->signals - (trigger == PORT_EDGE_ANY || readable(d->object));
	return 0;
}

void port_wait_remove(int fd)
{
	if (!fake_fd(fd)->watched)
		fake_die("descriptor %d is not watched", fd);
	fake_fd(fd)->watched = false;
}

static unsigned collect(uint64_t *tokens, unsigned max)
{
	unsigned n = 0;

	fake_io_run();
	for (int i = 0; i < state.top && n < max; i++) {
		struct descriptor *d = &state.fds[i];

		if (!d->object || !d->watched ||
			(d->trigger != PORT_EDGE_ANY && !readable(d->object)) ||
			(d->trigger != PORT_LEVEL && d->seen == d->object->signals))
			continue;
		d->seen = d->object->signals;
		tokens[n++] = d->token;
	}
	for (unsigned i = n; fake.shuffle && i > 1; i--) {
		unsigned k = fake_random(i);
		uint64_t t = tokens[i - 1];

		tokens[i - 1] = tokens[k];
		tokens[k] = t;
	}
	return n;
}

unsigned port_wait(uint64_t *tokens, unsigned max, int64_t timeout_ns)
{
	uint64_t next_ns;
	unsigned n;

	fake.now_ns += fake.wait_ns;
	if (fake.on_wait)
		fake.on_wait(timeout_ns);
	if (fake.end_ns > 0 && fake.now_ns >= fake.end_ns && state.running)
		leave(FAKE_TIME);
	n = collect(tokens, max);
	if (n > 0 || timeout_ns == 0)
		return n;
	next_ns = fake_io_next_ns();
	if (next_ns == UINT64_MAX && fake.on_idle && fake.on_idle(timeout_ns))
		return collect(tokens, max);
	if (fake.end_ns > 0 && timeout_ns > 0 && state.running &&
		fake.now_ns + (uint64_t)timeout_ns > fake.end_ns && next_ns > fake.end_ns) {
		fake.now_ns = fake.end_ns;
		leave(FAKE_TIME);
	}
	if (timeout_ns > 0 && fake.now_ns + (uint64_t)timeout_ns < next_ns) {
		fake.now_ns += (uint64_t)timeout_ns;
		return 0;
	}
	if (next_ns == UINT64_MAX && state.running)
		leave(FAKE_IDLE);
	if (next_ns == UINT64_MAX)
		fake_die("it waits for ever");
	if (next_ns > fake.now_ns)
		fake.now_ns = next_ns;
	return collect(tokens, max);
}

void fake_io_edge(void)
{
	state.io_event.signals++;
}

int port_io_event(void)
{
	if (fake.no_io_event)
		return -1;
	for (int i = 0; i < state.top; i++)
		if (state.fds[i].object == &state.io_event)
			return FAKE_FD_FIRST + i;
	state.io_event.kind = IO_EVENT;
	return fake_fd_new(&state.io_event, true);
}

int port_signals_open(void)
{
	int error = fake_call(FAKE_SIGNALS_OPEN);

	return error < 0 ? error : fake_fd_new(fake_object_new(SIGNALS), true);
}

enum port_signal port_signals_next(int fd)
{
	enum port_signal first = state.signals[0];

	(void)fake_object(fd, SIGNALS);
	if (state.signal_count == 0)
		return PORT_SIGNAL_NONE;
	memmove(state.signals, state.signals + 1, --state.signal_count * sizeof(first));
	return first;
}

void fake_signal(enum port_signal signal)
{
	if (state.signal_count < SIGNALS_MAX)
		state.signals[state.signal_count++] = signal;
}

/* ---- the end of everything ---- */

void fake_kill(void)
{
	state.running = false;
	fake_io_kill();
	fake_files_kill();
	fake_net_kill();
	fake_maps_kill();
	for (int i = 0; i < state.top; i++) {
		state.fds[i].watched = false;
		if (state.fds[i].object && state.fds[i].inside)
			fake_close(FAKE_FD_FIRST + i);
	}
	state.signal_count = 0;
	state.wait_open = false;
	fake.caged = false;
	fake_cage_kill();
	fake_terminal_kill();
}

void fake_reset(uint64_t seed)
{
	fake_kill();
	for (int i = 0; i < state.top; i++)
		if (state.fds[i].object)
			fake_close(FAKE_FD_FIRST + i);
	while (state.all) {
		struct object *o = state.all;

		state.all = o->next_all;
		free(o);
	}
	fake_files_reset();
	fake_net_reset();
	memset(&fake, 0, offsetof(struct fake, log));
	fake_log_clear();
	fake.out_len = 0;
	fake.out[0] = 0;
	fake.now_ns = 1000000000;
	fake.wait_ns = 1000;
	fake.socket_room = 1 << 16;
	state.random = seed;
	state.top = 0;
}
