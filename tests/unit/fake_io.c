/* The fake port: I/O that takes its time, overtakes, fails, and is cut off by death. */
#include "fake_object.h"

#include <errno.h>
#include <string.h>

enum { SECTOR = 512, IOS_MAX = 1024 };

static struct {
	struct port_io *queued[IOS_MAX], *running[IOS_MAX], *done[IOS_MAX];
	uint64_t due_ns[IOS_MAX]; /* of running */
	unsigned queued_count, running_count, done_count;
} state;

/* Copies up to `limit` bytes between spans and the image, in pieces as small as sectors. */
static void transfer(const struct port_io *io, struct fake_image *image, uint64_t limit)
{
	uint64_t at = io->offset;

	for (uint32_t k = 0; k < io->span_count && limit > 0; k++) {
		char *base = (char *)io->spans[k].base;
		size_t len = io->spans[k].len < limit ? io->spans[k].len : (size_t)limit;

		if (fake.on_io)
			fake.on_io(io, base, len);
		if (!fake_mapped(base, len))
			fake_die("I/O into %zu bytes that are not mapped", len);
		if (io->op == PORT_IO_READ)
			memcpy(base, image->bytes + at, len);
		else
			memcpy(image->bytes + at, base, len);
		at += len;
		limit -= len;
	}
	for (uint64_t s = io->offset / SECTOR; io->op == PORT_IO_WRITE && s * SECTOR < at; s++)
		image->dirty[s] = true;
}

static void io_read_write(const struct port_io *io, struct fake_image *image, uint64_t limit)
{
	transfer(io, image, limit);
	if (limit < io->left)
		return;
	if (io->op == PORT_IO_READ) {
		image->reads++;
		return;
	}
	image->writes++;
	image->last_sync = io->sync;
	if (io->sync)
		fake_make_stable(image, io->offset, io->offset + io->left);
}

/* A discarded sector reads as zeroes, as junk, or as before. */
static void io_discard_zero(const struct port_io *io, struct fake_image *image, uint64_t limit)
{
	unsigned how = io->op == PORT_IO_ZERO ? 0 : fake_random(3);

	if (how < 2)
		memset(image->bytes + io->offset, how == 0 ? 0 : 0xdd, (size_t)limit);
	for (uint64_t s = io->offset / SECTOR; s * SECTOR < io->offset + limit; s++)
		image->dirty[s] = true;
	if (io->sync && limit == io->left)
		fake_make_stable(image, io->offset, io->offset + io->left);
	image->discards += io->op == PORT_IO_DISCARD;
	image->zeroes += io->op == PORT_IO_ZERO;
	image->last_keep = io->keep;
	image->last_sync = io->sync;
}

/* Does an I/O, or only its first `limit` bytes. */
static int io_do(const struct port_io *io, uint64_t limit)
{
	struct fake_image *image = fake_image_of(io->file);
	bool off = io->offset > image->size || io->left > image->size - io->offset;
	bool writes = io->op != PORT_IO_READ && io->op != PORT_IO_FLUSH;

	if (fake.strict_io && (off || (writes && io->file->read_only)))
		fake_die("I/O that the device should have refused (%s)",
			off ? "off the file" : "read-only");
	if (off)
		return -EIO;
	if (writes && io->file->read_only)
		return -EBADF;
	switch ((enum port_io_op)io->op) {
	case PORT_IO_READ:
	case PORT_IO_WRITE: io_read_write(io, image, limit); break;
	case PORT_IO_DISCARD:
	case PORT_IO_ZERO: io_discard_zero(io, image, limit); break;
	case PORT_IO_FLUSH:
		image->flushes++;
		fake_make_stable(image, 0, image->size);
		break;
	}
	return 0;
}

/* Part of what an I/O would do, and its error: where it stopped is no multiple of anything. */
static int io_do_and_fail(const struct port_io *io, int error)
{
	if (io->op != PORT_IO_FLUSH)
		(void)io_do(io, fake_random((uint32_t)io->left + 1) / SECTOR * SECTOR);
	return error;
}

static void io_start(struct port_io *io, struct port_file *file, enum port_io_op op,
	uint64_t offset, uint64_t len)
{
	io->file = file;
	io->cancelled = false;
	io->op = (uint8_t)op;
	io->offset = offset;
	io->left = len;
	if (port_io_pending() == IOS_MAX)
		fake_die("more than %d I/Os at once", IOS_MAX);
	for (unsigned i = 0; i < state.queued_count + state.running_count; i++)
		if (io == (i < state.queued_count ? state.queued[i]
						  : state.running[i - state.queued_count]))
			fake_die("an I/O is started twice");
	state.queued[state.queued_count++] = io;
}

static void start_spans(struct port_io *io, struct span *spans, uint32_t count, uint32_t len)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += spans[i].len;
	if (sum != len)
		fake_die("spans of %llu bytes for an I/O of %u", (unsigned long long)sum, len);
	io->spans = spans;
	io->span_count = count;
}

void port_io_read(
	struct port_io *io, struct port_file *file, struct sink to, uint64_t offset, uint32_t len)
{
	start_spans(io, to.spans, to.count, len);
	io_start(io, file, PORT_IO_READ, offset, len);
}

void port_io_write(struct port_io *io, struct port_file *file, struct source from, uint64_t offset,
	uint32_t len, bool sync)
{
	start_spans(io, from.spans, from.count, len);
	io->sync = sync;
	io_start(io, file, PORT_IO_WRITE, offset, len);
}

void port_io_flush(struct port_io *io, struct port_file *file)
{
	io_start(io, file, PORT_IO_FLUSH, 0, 0);
}

void port_io_discard(
	struct port_io *io, struct port_file *file, uint64_t offset, uint64_t len, bool sync)
{
	io->sync = sync;
	io_start(io, file, PORT_IO_DISCARD, offset, len);
}

void port_io_zero(struct port_io *io, struct port_file *file, uint64_t offset, uint64_t len,
	bool keep, bool sync)
{
	io->sync = sync;
	io->keep = keep;
	io_start(io, file, PORT_IO_ZERO, offset, len);
}

/* What has not begun ends; what has, goes on. */
void port_io_cancel(struct port_io *io)
{
	for (unsigned i = 0; i < state.running_count && !io->cancelled; i++) {
		if (state.running[i] != io)
			continue;
		io->cancelled = true;
		if (fake_random(2) == 0)
			return;
		state.running[i] = state.running[--state.running_count];
		state.due_ns[i] = state.due_ns[state.running_count];
		io->result = fake_random(2) == 0 ? -ECANCELED : io_do_and_fail(io, -ECANCELED);
		state.done[state.done_count++] = io;
		fake_io_edge();
	}
}

/* Moves running I/O k to the place of i, and i's to k. */
static void swap_running(unsigned i, unsigned k)
{
	struct port_io *io = state.running[i];
	uint64_t due_ns = state.due_ns[i];

	state.running[i] = state.running[k];
	state.due_ns[i] = state.due_ns[k];
	state.running[k] = io;
	state.due_ns[k] = due_ns;
}

void fake_io_run(void)
{
	for (unsigned i = 0; i < state.running_count;) {
		struct port_io *io;
		int error;

		swap_running(i, i + fake_random(state.running_count - i));
		if (state.due_ns[i] > fake.now_ns) {
			i++;
			continue;
		}
		io = state.running[i];
		swap_running(i, --state.running_count);
		error = fake_call(FAKE_IO);
		io->result = error < 0 ? io_do_and_fail(io, error) : io_do(io, io->left);
		state.done[state.done_count++] = io;
		fake_io_edge();
	}
}

void port_io_submit(void)
{
	fake.now_ns += 100; /* so that time passes for who only looks */
	for (unsigned i = 0; i < state.queued_count; i++) {
		uint64_t delay_ns =
			fake.io_delay_ns > 0 ? fake_random((uint32_t)fake.io_delay_ns) : 0;

		state.due_ns[state.running_count] = fake.now_ns + delay_ns;
		state.running[state.running_count++] = state.queued[i];
	}
	state.queued_count = 0;
	fake_io_run();
}

struct port_io *port_io_reap(void)
{
	fake_io_run();
	return state.done_count > 0 ? state.done[--state.done_count] : NULL;
}

bool port_io_ready(void)
{
	return state.queued_count > 0 || state.done_count > 0;
}

unsigned port_io_pending(void)
{
	return state.queued_count + state.running_count + state.done_count;
}

uint64_t fake_io_next_ns(void)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < state.running_count; i++)
		if (state.due_ns[i] < next)
			next = state.due_ns[i];
	return next;
}

bool fake_io_runs(const struct port_file *file)
{
	for (unsigned i = 0; i < state.running_count; i++)
		if (state.running[i]->file == file)
			return true;
	return false;
}

bool fake_io_done(void)
{
	return state.done_count > 0;
}

/* What the kernel had when the process died is done, begun, or was never looked at. */
void fake_io_kill(void)
{
	for (unsigned i = 0; i < state.running_count; i++) {
		unsigned how = fake.fate == FAKE_ANY    ? fake_random(3)
			       : fake.fate == FAKE_DONE ? 0
							: 2;

		if (how == 0)
			(void)io_do(state.running[i], state.running[i]->left);
		else if (how == 1)
			(void)io_do_and_fail(state.running[i], 0);
	}
	state.queued_count = state.running_count = state.done_count = 0;
}
