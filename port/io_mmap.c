/*
 * The engine for files that are memory (tmpfs, hugetlbfs, DAX): a copy from or to a mapping.
 *
 * A page that the file cannot give (it was truncated, or the file system is full) raises SIGBUS,
 * which port/map.c turns into a page of zeroes and a mark: the request fails, and the mapping is
 * made anew, because that page no longer belongs to the file.
 */
#include <errno.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"

static void remap(struct port_file *f)
{
	port_unmap(&f->map);
	/* If this fails, the map stays empty and plain system calls serve the file. */
	(void)port_map(&f->map, f->fd, 0, f->size, !f->read_only, &f->map_at);
}

/* calls: fdatasync */
void engine_mmap_run(struct port_io *io)
{
	struct port_file *f = io->file;
	int result = 0;

	if (io->op > PORT_IO_WRITE || !f->map.base ||
		!num_within(io->offset, io->left, 0, f->size)) {
		engine_sync_run(io);
		return;
	}
	engine_copy(io, f->map_at + io->offset, (size_t)num_min(io->left, ENGINE_SLICE));
	if (f->map.hit) {
		remap(f);
		result = -EIO;
	} else if (io->left > 0) {
		engine_later(io);
		return;
	} else if (io->sync && fdatasync(f->fd) < 0) {
		result = -errno;
	}
	engine_done(io, result);
}
