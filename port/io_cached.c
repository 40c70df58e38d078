/*
 * I/O on what the page cache has, beside io_uring or plain calls: by a copy from or to a mapping.
 *
 * Theory of operation. A system call that reads 4 KiB from the page cache takes twice the time of
 * the copy alone; one that writes them, where a file system keeps a journal, ten times and more.
 * But for a page that is not there the copy waits, and everybody with it. So the kernel is asked
 * (mincore) which pages it has, 64 KiB around at a time, and only those are copied; the others are
 * for the file's engine, and are in the cache the next time. What was learnt holds for a second, by
 * then the kernel may have taken pages back. Copies that take long all the same (it was quicker, or
 * it makes those wait who write faster than the disk) are followed by a pause, in which all is for
 * the engine; the next pause is longer.
 *
 * What is known is a table of chunks: 512 pages, which is what one page of page tables maps, with a
 * bit for each page. Only pages of chunks in the table are touched, so the page tables that a guest
 * can have made for it are bounded by the table, too. The first come have their places for a
 * second: a file larger than the table covers is served in part from here.
 *
 * When nothing was to be done for a second, the mappings are given back, and with them the page
 * tables and the pages that the process seems to have.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"

/* <linux/magic.h>, <linux/fcntl.h> */
#define MAGIC_EXT   0x0000ef53u
#define MAGIC_XFS   0x58465342u
#define MAGIC_BTRFS 0x9123683eu
#define MAGIC_F2FS  0xf2f52010u
enum { EMPTY_PATH = 0x1000, EFFECTIVE = 0x200 }; /* AT_EMPTY_PATH, AT_EACCESS */

enum { CHUNK_PAGES = 512, LOOK_PAGES = 16, TICKS_PER_CLOCK = 256, SLOW_NS = 20000000 };
enum { BYTES_PER_CLOCK = 1 << 20 };
#define SECOND_NS    1000000000ull
#define PAUSE_NS_MAX (64 * SECOND_NS)

struct chunk {
	struct port_file *file; /* NULL: free */
	uint64_t number;        /* of its chunks */
	uint64_t known[CHUNK_PAGES / 64];
	uint32_t second; /* when that was learnt */
};

static struct {
	struct chunk chunks[CONFIG_CACHED_CHUNKS];
	uint32_t used;         /* chunks */
	uint32_t hits, misses; /* this second: chunks that were there, that had no place */
	uint32_t second;
	uint64_t second_ns; /* when it began */
	uint32_t ticks;
	uint32_t page_shift;
	uint64_t began_ns; /* the copies of this tick, or some of them; or 0 */
	uint64_t copied;   /* bytes since */
	bool paused;
	uint64_t pause_end_ns, pause_ns; /* of the last one, and how long it was */
} state;

static uint64_t clock_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * Whether mincore tells of the pages of this file: of one that this process may not write it says
 * that all of them are there.
 */
static bool is_told(int fd)
{
#ifdef SYS_faccessat2
	return syscall(SYS_faccessat2, fd, "", W_OK, EMPTY_PATH | EFFECTIVE) == 0;
#else
	(void)fd;
	return false;
#endif
}

/* calls at the start: fstatfs */
void engine_cached_open(struct port_file *f)
{
	struct statfs fs;
	uint32_t type;

	/* Where addresses are short, guests' memory needs them. */
	if (sizeof(void *) < 8 || f->fd_direct >= 0 || fstatfs(f->fd, &fs) < 0)
		return;
	state.page_shift = (uint32_t)__builtin_ctz((uint32_t)getpagesize());
	type = (uint32_t)fs.f_type;
	f->may_cache = f->block_device || type == MAGIC_EXT || type == MAGIC_XFS ||
		       type == MAGIC_BTRFS || type == MAGIC_F2FS;
	engine_cached_resize(f);
}

/* Where a chunk has its place. */
static struct chunk *chunk_at(const struct port_file *f, uint64_t number)
{
	uint64_t start = (uintptr_t)f / 64 * 31; /* no division of a variable in what reads run */

	return &state.chunks[(start + number) % CONFIG_CACHED_CHUNKS];
}

/* Gives the pages of its mapping back, and those that a fault has replaced. */
static void renew(struct port_file *f)
{
	if ((f->map_used || f->map.hit > 0) && port_map_renew(&f->map, f->fd) < 0)
		f->may_cache = false;
	f->map_used = false;
}

/* Forgets the chunks of a file, or of all. */
static void forget(const struct port_file *f)
{
	for (uint32_t i = 0; i < CONFIG_CACHED_CHUNKS && state.used > 0; i++) {
		struct chunk *c = &state.chunks[i];

		if (!c->file || (f && c->file != f))
			continue;
		/* (Once for each file: then nothing of it is there.) */
		renew(c->file);
		*c = (struct chunk){ 0 };
		state.used--;
	}
}

/* calls: nothing */
void engine_cached_resize(struct port_file *f)
{
	if (!f->may_cache)
		return;
	forget(f);
	port_unmap(&f->map);
	f->may_cache = f->size > 0 && engine_map(f) == 0;
}

/* calls: nothing */
void engine_cached_close(struct port_file *f)
{
	forget(f);
}

/* calls: nothing */
void engine_cached_rest(void)
{
	forget(NULL);
}

/* calls: clock_gettime */
void engine_cached_tick(void)
{
	uint64_t now;

	if (state.paused && clock_ns() >= state.pause_end_ns)
		state.paused = false;
	if (state.used == 0 || ++state.ticks % TICKS_PER_CLOCK != 0)
		return;
	now = clock_ns();
	if (now - state.second_ns < SECOND_NS)
		return;
	/* Where many found no place, others are to have a turn. */
	if (state.misses > state.hits / 8)
		forget(NULL);
	state.second++;
	state.second_ns = now;
	state.hits = state.misses = 0;
}

/* calls: nothing */
void engine_cached_woke(void)
{
	state.ticks = TICKS_PER_CLOCK - 1;
}

/* calls: nothing */
void engine_cached_forget(const struct port_io *io)
{
	uint64_t page, last;

	if (!io->file->may_cache || io->left == 0)
		return;
	page = io->offset >> state.page_shift;
	last = (io->offset + io->left - 1) >> state.page_shift;
	for (uint64_t number = page / CHUNK_PAGES; number <= last / CHUNK_PAGES; number++) {
		struct chunk *c = chunk_at(io->file, number);

		if (c->file == io->file && c->number == number)
			memset(c->known, 0, sizeof(c->known));
	}
}

/* calls: nothing */
bool engine_cached_used(void)
{
	return state.used > 0;
}

/* Asks for the pages that `wanted` (of 64, from the one numbered first) has and c does not know. */
static void look(struct chunk *c, uint64_t first, uint64_t wanted)
{
	uint64_t *known = &c->known[first % CHUNK_PAGES / 64];
	size_t page = c->file->map.page;

	for (unsigned i = 0; i < 64; i += LOOK_PAGES) {
		uint64_t group = (((uint64_t)1 << LOOK_PAGES) - 1) << i;
		uint64_t at = (first - first % 64 + i) * page;
		unsigned char there[LOOK_PAGES] = { 0 };

		if ((wanted & ~*known & group) == 0 ||
			mincore(c->file->map.base + at,
				(size_t)num_min(LOOK_PAGES * page, c->file->map.len - at),
				there) < 0)
			continue;
		for (unsigned k = 0; k < LOOK_PAGES; k++)
			*known |= (uint64_t)(there[k] & 1) << (i + k);
	}
}

static struct chunk *find(struct port_file *f, uint64_t number)
{
	struct chunk *c = chunk_at(f, number);

	if (c->file == f && c->number == number) {
		state.hits++;
		return c;
	}
	state.misses += c->file != NULL;
	if (c->file)
		return NULL;
	if (!f->map_used && !is_told(f->fd)) {
		f->may_cache = false;
		return NULL;
	}
	f->map_used = true;
	if (state.used++ == 0)
		state.second_ns = clock_ns();
	*c = (struct chunk){ .file = f, .number = number, .second = state.second };
	return c;
}

/* Whether the pages of `wanted` are there. */
static bool has(struct port_file *f, uint64_t first, uint64_t wanted)
{
	struct chunk *c = find(f, first / CHUNK_PAGES);

	if (!c)
		return false;
	if (c->second != state.second) {
		memset(c->known, 0, sizeof(c->known));
		c->second = state.second;
	}
	if ((wanted & ~c->known[first % CHUNK_PAGES / 64]) != 0)
		look(c, first, wanted);
	return (wanted & ~c->known[first % CHUNK_PAGES / 64]) == 0;
}

/* calls: mincore faccessat2 clock_gettime */
bool engine_cached_has(const struct port_io *io)
{
	struct port_file *f = io->file;
	uint64_t page, last;

	if (!f->may_cache || io->op > PORT_IO_WRITE || io->sync || io->left > ENGINE_SLICE ||
		!num_within(io->offset, io->left, 0, f->size) || state.paused)
		return false;
	page = io->offset >> state.page_shift;
	last = (io->offset + io->left - 1) >> state.page_shift;
	while (page <= last) {
		uint64_t count = num_min(64 - page % 64, last - page + 1);

		if (!has(f, page, UINT64_MAX >> (64 - count) << page % 64))
			return false;
		page += count;
	}
	return true;
}

/* For a second, then for two, and so on; anew if it went well for as long as the last one was. */
static void back_off(uint64_t now)
{
	bool again = now - state.pause_end_ns < state.pause_ns;

	if (state.paused)
		return;
	state.pause_ns = again ? num_min(2 * state.pause_ns, PAUSE_NS_MAX) : SECOND_NS;
	state.pause_end_ns = now + state.pause_ns;
	state.paused = true;
}

static void copy(const struct port_io *io, char *at)
{
	for (uint32_t i = 0; i < io->span_count; i++) {
		if (io->op == PORT_IO_READ)
			engine_move((void *)io->spans[i].base, at, io->spans[i].len);
		else
			engine_move(at, (const void *)io->spans[i].base, io->spans[i].len);
		at += io->spans[i].len;
	}
}

/* calls: clock_gettime */
bool engine_cached_run(struct port_io *io)
{
	struct port_file *f = io->file;
	unsigned hits;

	if (state.copied >= BYTES_PER_CLOCK)
		engine_cached_end();
	if (state.began_ns == 0)
		state.began_ns = clock_ns();
	state.copied += io->left;
	io->result = -EFAULT;
	if (io->op == PORT_IO_WRITE && !engine_source_is_there(io, (size_t)io->left))
		return true;
	hits = map_hit_count();
	/* (Of a map that could not be made anew, nothing may be touched.) */
	if (f->may_cache && !state.paused) {
		copy(io, f->map_at + io->offset);
		if (!f->map.hit) {
			io->left = 0;
			io->result = map_hit_count() == hits ? 0 : -EFAULT;
			return true;
		}
		/* It has shrunk, or its disk is full or fails: that is for the engine to say. */
		forget(f);
		renew(f);
		back_off(clock_ns());
	}
	if (f->engine != PORT_ENGINE_URING || !uring_start(io))
		engine_sync_run(io);
	return false;
}

/* calls: clock_gettime */
void engine_cached_end(void)
{
	uint64_t now;

	if (state.began_ns == 0)
		return;
	now = clock_ns();
	if (now - state.began_ns > SLOW_NS)
		back_off(now);
	state.began_ns = 0;
	state.copied = 0;
}
