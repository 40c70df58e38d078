/*
 * Mappings of files that someone else can shrink, and the SIGBUS that follows.
 *
 * A page of a mapping that lies behind the end of its file raises SIGBUS when it is touched. The
 * handler puts a page of zeroes there and marks the mapping; the instruction runs again, and the
 * loop closes the connection (or fails the request) that the mapping belongs to. SIGBUS is
 * synchronous here: it comes from our own loads and stores, never from the middle of a change to
 * the list below.
 *
 * The devices of one guest are told of the same memory, each on its own connection. It is mapped
 * once: every struct port_map of it is in one ring (`same`), a fault marks them all, and the last
 * one that goes unmaps it. A file is known by its device, inode and time of birth: numbers of
 * inodes come again (some file systems count in 32 bits), and whoever wears them out must not get
 * another guest's memory by that. Where the kernel knows no births (tmpfs before 5.18, hugetlbfs,
 * whose page tables are small), every device has a mapping of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"
#include "panic.h"
#include "process.h"

enum {
	HUGETLBFS = 0x958458f6,
	ZEROES_HERE = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
	HITS_MAX = 256,
	BIRTH = 0x800, /* STATX_BTIME */
};

static struct {
	struct port_map *first;
	volatile sig_atomic_t hits;     /* … since port_map_hits */
	volatile sig_atomic_t hit_maps; /* mappings that have pages of zeroes */
	volatile unsigned count;        /* of hits, ever */
	bool armed;
} state;

/* All that have this mapping lose what was lost. */
static void mark(struct port_map *map)
{
	struct port_map *m = map;

	do
		state.hit_maps += m->hit++ == 0;
	while ((m = m->same) != map);
	state.count++;
	state.hits = 1;
}

/* calls: mmap(!PROT_EXEC) */
static void bus_error(int signal_number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	(void)context;
	for (struct port_map *m = state.first; m; m = m->next) {
		uintptr_t start = (uintptr_t)m->base;
		size_t len = m->page;
		void *page;

		if (at < start || at - start >= m->len)
			continue;
		page = m->base + (at - start) / m->page * m->page;
		/* Each makes one mapping more, and a process has not so many. */
		if (m->hit == HITS_MAX) {
			page = m->base;
			len = m->len;
		}
		/* cppcheck-suppress invalidFunctionArg ; an anonymous mapping has no file */
		page = mmap(page, len, PROT_READ | PROT_WRITE, ZEROES_HERE, -1, 0);
		if (page == MAP_FAILED)
			break;
		mark(m);
		return;
	}
	process_die(signal_number); /* not a mapping of ours */
}

static int arm(void)
{
	int error = state.armed ? 0 : process_catch(SIGBUS, bus_error);

	state.armed = error == 0;
	return error;
}

/* Where a mapping is to be, of which file. */
static int map_place(struct port_map *map, int fd, uint64_t offset, uint64_t len, bool writable)
{
	uint64_t end, page = (uint64_t)getpagesize();
	struct statfs fs;
	struct stat st;

	if (len == 0 || !num_add(offset, len, &end))
		return -EINVAL;
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end)
		return -EFAULT;
	if ((uint32_t)fs.f_type == (uint32_t)HUGETLBFS)
		page = (uint64_t)fs.f_bsize;
	if (!num_add(end, page - 1, &end))
		return -EINVAL;
	end -= end % page;
	offset -= offset % page;
	if (end - offset > SIZE_MAX || offset > INT64_MAX)
		return -EFBIG;
	*map = (struct port_map){ .len = (size_t)(end - offset),
		.page = (size_t)page,
		.offset = offset,
		.device = (uint64_t)st.st_dev,
		.inode = (uint64_t)st.st_ino,
		.writable = writable };
	return 0;
}

/* Maps the place that `map` says. */
static int map_new(struct port_map *map, int fd)
{
	int access = PROT_READ | (map->writable ? PROT_WRITE : 0), error = arm();
	void *base;

	if (error < 0)
		return error;
	base = mmap(NULL, map->len, access, MAP_SHARED | MAP_NORESERVE, fd, (off_t)map->offset);
	if (base == MAP_FAILED)
		return -errno;
	/* Another's memory has no place in our core dump. */
	(void)madvise(base, map->len, MADV_DONTDUMP);
	map->base = base;
	return 0;
}

/* From now on it is found: by a fault, and (shared) by who maps the same. */
static void map_add(struct port_map *map)
{
	map->next = state.first;
	map->link = &state.first;
	if (map->next)
		map->next->link = &map->next;
	state.first = map;
}

/* One of this file and place that is whole, or NULL. */
static struct port_map *find(const struct port_map *map)
{
	for (struct port_map *m = state.first; m; m = m->next)
		if (m->shared && m->hit == 0 && m->inode == map->inode &&
			m->device == map->device && m->born[0] == map->born[0] &&
			m->born[1] == map->born[1] && m->offset == map->offset &&
			m->len == map->len && m->writable == map->writable)
			return m;
	return NULL;
}

/* When the file was made, if that is known. */
static bool is_born(struct port_map *map, int fd)
{
	struct engine_statx stx = engine_statx(fd, BIRTH);

	map->born[0] = stx.born[0];
	map->born[1] = stx.born[1];
	return (stx.mask & BIRTH) != 0;
}

/* calls: fstat fstatfs mmap(!PROT_EXEC) munmap madvise */
int port_map(struct port_map *map, int fd, uint64_t offset, uint64_t len, bool writable, char **at)
{
	struct port_map new = { 0 }, *other;
	int error = map_place(&new, fd, offset, len, writable);

	/* It is mapped in any case: a descriptor that cannot be mapped is no way to what is. */
	if (error == 0)
		error = map_new(&new, fd);
	if (error < 0)
		return error;
	new.shared = is_born(&new, fd);
	other = new.shared ? find(&new) : NULL;
	if (other) {
		(void)munmap(new.base, new.len);
		new.base = other->base;
	}
	*map = new;
	map->same = other ? other->same : map;
	if (other)
		other->same = map;
	map_add(map);
	*at = map->base + (offset - map->offset);
	return 0;
}

/* calls: fstat fstatfs mmap(!PROT_EXEC) madvise */
int engine_map(struct port_file *file)
{
	struct port_map *map = &file->map, new = { 0 };
	int error = map_place(&new, file->fd, 0, file->size, !file->read_only);

	if (error == 0)
		error = map_new(&new, file->fd);
	if (error < 0)
		return error;
	*map = new;
	map->same = map;
	map_add(map);
	file->map_at = map->base;
	return 0;
}

/* calls: mmap(!PROT_EXEC) madvise */
int port_map_renew(struct port_map *map, int fd)
{
	int access = PROT_READ | (map->writable ? PROT_WRITE : 0);
	void *at;

	ASSERT(map->same == map);
	at = mmap(map->base, map->len, access, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
		(off_t)map->offset);

	if (at == MAP_FAILED) {
		int error = -errno;

		port_unmap(map); /* it may be half gone, and its place is not another's yet */
		return error;
	}
	ASSERT(at == map->base);
	(void)madvise(map->base, map->len, MADV_DONTDUMP);
	state.hit_maps -= map->hit > 0;
	map->hit = 0;
	/* cppcheck-suppress memleak ; it is where it was, and port_unmap gives it back */
	return 0;
}

/* calls: munmap */
void port_unmap(struct port_map *map)
{
	struct port_map *before = map;

	if (!map->base)
		return;
	state.hit_maps -= map->hit > 0;
	*map->link = map->next;
	if (map->next)
		map->next->link = map->link;
	while (before->same != map)
		before = before->same;
	if (before == map)
		(void)munmap(map->base, map->len);
	before->same = map->same;
	*map = (struct port_map){ 0 };
}

/* calls: nothing */
bool map_has_zeroes(const struct span *spans, uint32_t count)
{
	for (uint32_t i = 0; state.hit_maps > 0 && i < count; i++) {
		uintptr_t at = (uintptr_t)spans[i].base;

		for (const struct port_map *m = state.first; m; m = m->next)
			if (m->hit > 0 && at - (uintptr_t)m->base < m->len)
				return true;
	}
	return false;
}

/* calls: nothing */
unsigned map_hit_count(void)
{
	return state.count;
}

/* calls: nothing */
bool port_map_hits(void)
{
	if (!state.hits)
		return false;
	state.hits = 0;
	return true;
}

/* calls at the start: mmap(!PROT_EXEC) */
void *port_reserve(size_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	/* cppcheck-suppress invalidFunctionArg ; an anonymous mapping has no file */
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, -1, 0);

	/* cppcheck-suppress memleak ; it is for as long as the process */
	return at == MAP_FAILED ? NULL : at;
}

/* calls: memfd_create ftruncate fcntl(F_ADD_SEALS) close */
int port_shared_file(const char *name, uint64_t len)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (len > INT64_MAX || ftruncate(fd, (off_t)len) < 0) {
		int error = len > INT64_MAX ? -EFBIG : -errno;

		(void)close(fd);
		return error;
	}
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL);
	return fd;
}
