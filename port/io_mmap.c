/*
 * I/O that is a copy from or to a mapping: all of it for files that are memory (tmpfs, hugetlbfs,
 * DAX), and that on pages that the page cache has (io_cached.c).
 *
 * The copies of a tick are made when its batch is complete, so that the processor can look for the
 * places of several at once.
 *
 * A page that the file cannot give (it was truncated, or the file system is full) raises SIGBUS,
 * which port/map.c turns into a page of zeroes and a mark: the request fails, and the mapping is
 * made anew, because that page no longer belongs to the file.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"

static struct {
	struct port_io *first, *last; /* copies of this tick */
	unsigned fetched;             /* of them: those whose beginnings are looked up */
} state;

/* calls: nothing */
void engine_move(void *to, const void *from, size_t len)
{
	enum { PAGE = 4096 };
	char *t = to;
	const char *f = from;

	for (; len > PAGE; len -= PAGE, t += PAGE, f += PAGE) {
		__builtin_prefetch(f + PAGE);
		__builtin_prefetch(f + (size_t)2 * PAGE);
		memcpy(t, f, PAGE);
	}
	memcpy(t, f, len);
}

/* calls: nothing */
bool engine_source_is_there(const struct port_io *io, size_t len)
{
	enum { PAGE = 4096 };

	for (uint32_t i = 0; i < io->span_count && len > 0; i++) {
		const volatile char *at = (const volatile char *)io->spans[i].base;
		size_t part = (size_t)num_min(io->spans[i].len, len);

		for (size_t n = 0; n < part; n += PAGE)
			(void)at[n];
		(void)at[part - 1];
		len -= part;
	}
	return !map_has_zeroes(io->spans, io->span_count);
}

static void remap(struct port_file *f)
{
	port_unmap(&f->map);
	/* If this fails, the map stays empty and plain system calls serve the file. */
	(void)engine_map(f);
}

/* calls: nothing */
void engine_mmap_start(struct port_io *io)
{
	io->next = NULL;
	if (state.first)
		state.last->next = io;
	else
		state.first = io;
	state.last = io;
}

/* The next slice of a copy. True: it was the last one, and io->result says how it went. */
static FAST bool copy(struct port_io *io)
{
	struct port_file *f = io->file;
	size_t len = (size_t)num_min(io->left, ENGINE_SLICE);
	unsigned hits;

	io->result = -EFAULT;
	if (io->op == PORT_IO_WRITE && !engine_source_is_there(io, len))
		return true;
	hits = map_hit_count();
	if (io->op == PORT_IO_READ && io->span_count == 1 && io->left <= ENGINE_SLICE) {
		engine_move((void *)io->spans->base, f->map_at + io->offset, len);
		io->left = 0;
	} else {
		engine_copy(io, f->map_at + io->offset, len);
	}
	if (f->map.hit) {
		remap(f);
		io->result = -EIO;
		return true;
	}
	if (map_hit_count() != hits)
		return true;
	io->result = 0;
	if (io->left > 0) {
		engine_later(io);
		return false;
	}
	if (io->sync && fdatasync(f->fd) < 0)
		io->result = -errno;
	return true;
}

static FAST bool is_copy(const struct port_io *io)
{
	return io->op <= PORT_IO_WRITE && io->file->map.base &&
	       num_within(io->offset, io->left, 0, io->file->size);
}

/* calls: fdatasync */
void engine_mmap_run(struct port_io *io)
{
	if (!is_copy(io))
		engine_sync_run(io);
	else if (copy(io))
		engine_done(io, io->result);
}

/*
 * Has the processor look up where the next copies begin, all at once: of a random place in a large
 * file that takes as long as the copy. What is not there it leaves alone. One line of each is
 * enough; more of them, as measured, make the copies slower than none.
 */
static void fetch(void)
{
	enum { AT_ONCE = 4 };
	const struct port_io *io = state.first;

	for (; io && state.fetched < AT_ONCE; io = io->next, state.fetched++)
		if (io->op <= PORT_IO_WRITE)
			__builtin_prefetch(io->op == PORT_IO_READ ? io->file->map_at + io->offset
								  : (const char *)io->spans->base);
}

/* calls: fdatasync */
struct port_io *engine_mmap_reap(void)
{
	struct port_io *io;
	bool done = false;

	while (!done && (io = state.first)) {
		if (state.fetched == 0)
			fetch();
		state.fetched--;
		state.first = io->next;
		if (io->file->engine != PORT_ENGINE_MMAP)
			done = engine_cached_run(io);
		else if (is_copy(io))
			done = copy(io);
		else
			engine_sync_run(io);
		if (!state.first)
			engine_cached_end();
	}
	return done ? io : NULL;
}

/* calls: nothing */
bool engine_mmap_ready(void)
{
	return state.first;
}
