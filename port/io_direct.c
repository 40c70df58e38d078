/*
 * What a file past the page cache (O_DIRECT) cannot take as it is: the memory or the range is not
 * aligned. It goes through a buffer of ours, one slice after the other while everybody waits.
 *
 * It must not go through the page cache instead: where that and a direct write meet in a page, or
 * in what was read ahead, the kernel fails the next flush, and either may undo the other. Only the
 * last bytes of a file, which fill no whole block, have no other way: nobody else touches these.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"

/* What a hole or zeroes must be aligned to: less than this, file systems do in the page cache. */
static uint64_t hole_align(const struct port_file *f)
{
	return f->direct_offset > 4096 ? f->direct_offset : 4096;
}

static struct {
	_Alignas(4096) char bytes[ENGINE_BOUNCE];
} state;

/* A slice: bytes of the request, and the blocks of the file around them, in our buffer. */
struct slice {
	uint64_t from;
	size_t len, skip, part; /* of the blocks; before the request's bytes; of these */
	int fd;
};

/* calls: nothing */
bool engine_is_aligned(const struct port_io *io)
{
	const struct port_file *f = io->file;
	uint64_t memory = 0, range = io->offset | io->left, lens = 0;

	if (f->fd_direct < 0 || io->op == PORT_IO_FLUSH)
		return true;
	if (io->op == PORT_IO_DISCARD || io->op == PORT_IO_ZERO)
		return f->block_device || range % hole_align(f) == 0;
	/* Any piece may be the last one of a call. */
	for (uint32_t i = 0; i < io->span_count; i++) {
		memory |= (uintptr_t)io->spans[i].base;
		lens |= io->spans[i].len;
	}
	return (range | lens) % f->direct_offset == 0 && (memory | lens) % f->direct_memory == 0;
}

static struct slice next_slice(const struct port_io *io)
{
	const struct port_file *f = io->file;
	uint64_t align = f->direct_offset, last = f->size - f->size % align, end;
	struct slice s = { .from = io->offset - io->offset % align, .fd = f->fd_direct };

	s.skip = (size_t)(io->offset - s.from);
	s.part = (size_t)num_min(io->left, sizeof(state.bytes) - s.skip);
	end = io->offset + s.part;
	if (s.from >= last) {
		s = (struct slice){ io->offset, s.part, 0, s.part, f->fd };
	} else {
		if (end > last)
			s.part = (size_t)(last - io->offset);
		s.len = (size_t)((s.skip + s.part + align - 1) / align * align);
	}
	return s;
}

/* Moves the blocks from or to the file: 0, or -errno. */
static int move(const struct port_io *io, const struct slice *s, bool write)
{
	size_t done = 0;

	while (done < s->len) {
		struct iovec iov = { state.bytes + done, s->len - done };
		ssize_t n;

		if (!write)
			n = preadv(s->fd, &iov, 1, (off_t)(s->from + done));
		else if (io->sync && io->op == PORT_IO_WRITE)
			n = engine_write_sync(s->fd, &iov, 1, s->from + done);
		else
			n = pwritev(s->fd, &iov, 1, (off_t)(s->from + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* the end of a file that is shorter than it was is an error, too */
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int run_slice(struct port_io *io)
{
	struct slice s = next_slice(io);
	int error = 0;

	if (io->op == PORT_IO_READ || s.part < s.len)
		error = move(io, &s, false);
	if (error < 0)
		return error;
	if (io->op == PORT_IO_ZERO) {
		memset(state.bytes + s.skip, 0, s.part);
		io->offset += s.part;
		io->left -= s.part;
	} else {
		engine_copy(io, state.bytes + s.skip, s.part);
	}
	return io->op == PORT_IO_READ ? 0 : move(io, &s, true);
}

/* calls: nothing */
void engine_shrink_discard(struct port_io *io)
{
	uint64_t align, skip;

	if (engine_is_aligned(io))
		return;
	align = hole_align(io->file);
	skip = num_min((align - io->offset % align) % align, io->left);
	io->offset += skip;
	io->left -= skip;
	io->left -= io->left % align;
	if (io->left == 0)
		io->offset = 0;
}

/* calls: preadv pwritev fdatasync */
void engine_direct_run(struct port_io *io)
{
	int error = run_slice(io);

	if (error == 0 && io->left > 0) {
		engine_later(io);
		return;
	}
	if (error == 0 && io->op == PORT_IO_ZERO && io->sync && fdatasync(io->file->fd) < 0)
		error = -errno;
	engine_done(io, error);
}
