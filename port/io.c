/*
 * I/O between files and guest memory: the common part, and the engine of plain system calls.
 *
 * A request may be of 4 GiB, and be done while everybody waits. So what blocks is done in slices:
 * the first one at once, the others in turns with those of other requests, a few in a tick.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"
#include "panic.h"

_Static_assert(sizeof(struct span) == sizeof(struct iovec) &&
		       offsetof(struct span, base) == offsetof(struct iovec, iov_base) &&
		       offsetof(struct span, len) == offsetof(struct iovec, iov_len),
	"a span is an iovec");

/* <linux/fs.h> and <linux/falloc.h>, which musl does not bring. */
enum { FS_RWF_DSYNC = 2 };
enum { FALLOC_KEEP_SIZE = 1, FALLOC_PUNCH_HOLE = 2, FALLOC_ZERO_RANGE = 16 };

static struct {
	struct port_io *done, *done_last;
	struct port_io *slow, *slow_last; /* those with slices left */
	unsigned pending;
	bool no_pwritev2; /* the kernel or the C library lacks it */
	/* Never written; not const, which would put it into the binary. */
	_Alignas(4096) char zeroes[4096];
} state;

/* calls: nothing */
void engine_done(struct port_io *io, int result)
{
	io->result = result;
	io->next = NULL;
	if (state.done)
		state.done_last->next = io;
	else
		state.done = io;
	state.done_last = io;
}

/* calls: nothing */
void engine_later(struct port_io *io)
{
	io->next = NULL;
	if (state.slow)
		state.slow_last->next = io;
	else
		state.slow = io;
	state.slow_last = io;
}

/* calls: nothing */
void engine_advance(struct port_io *io, uint64_t n)
{
	ASSERT(n <= io->left);
	io->offset += n;
	io->left -= n;
	while (io->span_count > 0 && n >= io->spans->len) {
		n -= io->spans->len;
		io->spans++;
		io->span_count--;
	}
	if (n > 0) {
		io->spans->base = guest_at(io->spans->base, (size_t)n);
		io->spans->len -= (size_t)n;
	}
}

/* calls: nothing */
void engine_copy(struct port_io *io, char *ours, size_t len)
{
	while (len > 0) {
		size_t part = (size_t)num_min(io->spans->len, len);

		if (io->op == PORT_IO_READ)
			engine_move((void *)io->spans->base, ours, part);
		else
			engine_move(ours, (const void *)io->spans->base, part);
		ours += part;
		len -= part;
		engine_advance(io, part);
	}
}

/* pwritev2, which old kernels and C libraries lack: then a write and an fdatasync do the same. */
/* calls: pwritev pwritev2 fdatasync */
ssize_t engine_write_sync(int fd, const struct iovec *iov, int count, uint64_t offset)
{
	ssize_t n;

	if (!state.no_pwritev2) {
		n = syscall(SYS_pwritev2, fd, iov, (long)count, (long)offset,
			(long)(sizeof(long) == 4 ? offset >> 32 : 0), FS_RWF_DSYNC);
		if (n >= 0 || (errno != ENOSYS && errno != EOPNOTSUPP))
			return n;
		state.no_pwritev2 = true;
	}
	n = pwritev(fd, iov, count, (off_t)offset);
	return n >= 0 && fdatasync(fd) < 0 ? -1 : n;
}

/* The first ENGINE_SLICE bytes of an I/O that has more, in at most CUT_PIECES pieces. */
enum { CUT_PIECES = 64 };

static int cut(const struct port_io *io, struct iovec *iov)
{
	size_t left = ENGINE_SLICE;
	uint32_t count = 0;

	for (; count < CUT_PIECES && count < io->span_count && left > 0; count++) {
		size_t part = (size_t)num_min(io->spans[count].len, left);

		iov[count] = (struct iovec){ (void *)io->spans[count].base, part };
		left -= part;
	}
	return (int)count;
}

/* A slice of a read or write: 0: it was the last one; 1: there is more; or -errno. */
static int transfer(struct port_io *io)
{
	struct iovec pieces[CUT_PIECES];
	bool whole = io->left <= ENGINE_SLICE;

	do {
		const struct iovec *iov = (const struct iovec *)(const void *)io->spans;
		int count = (int)num_min(io->span_count, ENGINE_PIECES_MAX);
		int fd = engine_fd(io->file);
		ssize_t n;

		if (!whole) {
			count = cut(io, pieces);
			iov = pieces;
		}

		if (io->op == PORT_IO_READ)
			n = preadv(fd, iov, count, (off_t)io->offset);
		else if (io->sync)
			n = engine_write_sync(fd, iov, count, io->offset);
		else
			n = pwritev(fd, iov, count, (off_t)io->offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* the end of a file that is shorter than it was is an error, too */
			return n < 0 ? -errno : -EIO;
		engine_advance(io, (uint64_t)n);
	} while (whole && io->left > 0);
	return io->left > 0;
}

/* A slice of zeroes by writing them, where the file system knows no better way. As transfer. */
static int write_zeroes(struct port_io *io)
{
	struct iovec iov[ENGINE_SLICE / sizeof(state.zeroes)];
	uint64_t queued = 0;
	int count = 0;
	ssize_t n;

	io->stage = ENGINE_BY_HAND;
	while (count < (int)countof(iov) && queued < io->left) {
		size_t part = (size_t)num_min(io->left - queued, sizeof(state.zeroes));

		iov[count++] = (struct iovec){ state.zeroes, part };
		queued += part;
	}
	do
		n = pwritev(engine_fd(io->file), iov, count, (off_t)io->offset);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	io->offset += (uint64_t)n;
	io->left -= (uint64_t)n;
	return io->left > 0;
}

static bool unsupported(int error)
{
	return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY || error == EINVAL;
}

/* A guest may not rely on a discard: one that the host cannot do is done. */
static int discard(struct port_io *io)
{
	struct port_file *f = io->file;
	int n;

	if (!f->can_discard || io->left == 0)
		return 0;
	if (f->block_device) {
		uint64_t range[2] = { io->offset, io->left };

		n = ioctl(f->fd, FS_BLKDISCARD, range);
	} else {
		n = fallocate(f->fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, (off_t)io->offset,
			(off_t)io->left);
	}
	if (n == 0)
		return 0;
	if (!unsupported(errno))
		return -errno;
	f->can_discard = false;
	return 0;
}

/* The first way that the file knows; -EOPNOTSUPP if there is none. */
static int zero_by_kernel(struct port_io *io)
{
	struct port_file *f = io->file;

	if (f->block_device) {
		uint64_t range[2] = { io->offset, io->left };

		return ioctl(f->fd, FS_BLKZEROOUT, range) == 0 ? 0 : -errno;
	}
	if (!io->keep && fallocate(f->fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, (off_t)io->offset,
				 (off_t)io->left) == 0)
		return 0;
	if (!f->can_zero)
		return -EOPNOTSUPP;
	return fallocate(f->fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, (off_t)io->offset,
		       (off_t)io->left) == 0
		       ? 0
		       : -errno;
}

static int zero(struct port_io *io)
{
	int error = 0;

	if (io->stage == ENGINE_BY_HAND)
		return write_zeroes(io);
	if (io->left > 0)
		error = zero_by_kernel(io);
	if (error == 0 || !unsupported(-error))
		return error;
	io->file->can_zero = false;
	return write_zeroes(io);
}

/* calls: preadv pwritev fdatasync fallocate */
/* calls: ioctl(FS_BLKDISCARD) ioctl(FS_BLKZEROOUT) */
void engine_sync_run(struct port_io *io)
{
	bool flush = io->op == PORT_IO_FLUSH;
	int result = 0;

	if (!engine_is_aligned(io)) {
		engine_direct_run(io);
		return;
	}
	switch ((enum port_io_op)io->op) {
	case PORT_IO_READ:
	case PORT_IO_WRITE: result = transfer(io); break;
	case PORT_IO_FLUSH: break;
	case PORT_IO_DISCARD:
		event_guard_rest();
		result = discard(io);
		flush = io->sync;
		break;
	case PORT_IO_ZERO:
		event_guard_rest();
		result = zero(io);
		flush = io->sync;
		break;
	}
	if (result > 0) {
		engine_later(io);
		return;
	}
	if (result == 0 && flush && fdatasync(io->file->fd) < 0)
		result = -errno;
	engine_done(io, result);
}

/* Slices of a few of those that have more, in turns. */
static void slow_run(void)
{
	enum { SLICES = 16 };

	for (unsigned i = 0; i < SLICES && state.slow; i++) {
		struct port_io *io = state.slow;

		state.slow = io->next;
		if (io->cancelled)
			engine_done(io, -ECANCELED);
		else if (io->file->engine == PORT_ENGINE_MMAP)
			engine_mmap_run(io);
		else
			engine_sync_run(io);
	}
}

/* calls: nothing */
void engine_start(struct port_io *io)
{
	if (io->file->engine == PORT_ENGINE_MMAP || engine_cached_has(io))
		engine_mmap_start(io);
	else if (io->file->engine != PORT_ENGINE_URING || !uring_start(io))
		engine_sync_run(io);
}

static void start(struct port_io *io)
{
	ASSERT(io->file->open);
	state.pending++;
	if (io->op == PORT_IO_WRITE && map_has_zeroes(io->spans, io->span_count))
		engine_done(io, -EFAULT);
	else
		engine_start(io);
}

/* All of it; field by field, as in chain_start. */
static void prepare(struct port_io *io, struct port_file *file, enum port_io_op op, uint64_t offset,
	uint64_t len, bool sync)
{
	io->file = file;
	io->next = NULL;
	io->spans = NULL;
	io->offset = offset;
	io->left = len;
	io->span_count = 0;
	io->result = 0;
	io->op = (uint8_t)op;
	io->sync = sync;
	io->keep = false;
	io->cancelled = false;
	io->stage = 0;
}

/* calls: nothing */
void port_io_read(
	struct port_io *io, struct port_file *file, struct sink to, uint64_t offset, uint32_t len)
{
	prepare(io, file, PORT_IO_READ, offset, len, false);
	io->spans = to.spans;
	io->span_count = to.count;
	start(io);
}

/* calls: nothing */
void port_io_write(struct port_io *io, struct port_file *file, struct source from, uint64_t offset,
	uint32_t len, bool sync)
{
	prepare(io, file, PORT_IO_WRITE, offset, len, sync);
	io->spans = from.spans;
	io->span_count = from.count;
	start(io);
}

/* calls: nothing */
void port_io_flush(struct port_io *io, struct port_file *file)
{
	prepare(io, file, PORT_IO_FLUSH, 0, 0, false);
	start(io);
}

/* calls: nothing */
void port_io_discard(
	struct port_io *io, struct port_file *file, uint64_t offset, uint64_t len, bool sync)
{
	prepare(io, file, PORT_IO_DISCARD, offset, len, sync);
	engine_shrink_discard(io);
	engine_cached_forget(io);
	start(io);
}

/* calls: nothing */
void port_io_zero(struct port_io *io, struct port_file *file, uint64_t offset, uint64_t len,
	bool keep, bool sync)
{
	prepare(io, file, PORT_IO_ZERO, offset, len, sync);
	io->keep = keep;
	engine_cached_forget(io);
	start(io);
}

/* calls: nothing */
void port_io_cancel(struct port_io *io)
{
	if (!io->file)
		return;
	io->cancelled = true;
	if (io->file->engine == PORT_ENGINE_URING)
		uring_cancel(io);
}

/* calls: nothing */
void port_io_submit(void)
{
	slow_run();
	uring_submit();
	engine_cached_tick();
}

/* calls: nothing */
bool port_io_ready(void)
{
	return state.done || state.slow || engine_mmap_ready() || uring_ready();
}

/* calls: nothing */
struct port_io *port_io_reap(void)
{
	struct port_io *io;

	if (!state.done) {
		io = engine_mmap_reap();
		if (io) {
			state.pending--;
			return io;
		}
		uring_collect();
	}
	io = state.done;
	if (!io)
		return NULL;
	state.done = io->next;
	state.pending--;
	return io;
}

/* calls: nothing */
unsigned port_io_pending(void)
{
	return state.pending;
}

/* calls: nothing */
int port_io_event(void)
{
	return uring_event();
}
