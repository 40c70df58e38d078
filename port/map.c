/*
 * Mappings of files that someone else can shrink, and the SIGBUS that follows.
 *
 * A page of a mapping that lies behind the end of its file raises SIGBUS when it is touched. The
 * handler puts a page of zeroes there and marks the mapping; the instruction runs again, and the
 * loop closes the connection (or fails the request) that the mapping belongs to. SIGBUS is
 * synchronous here: it comes from our own loads and stores, never from the middle of a change to
 * the list below.
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
#include "port.h"
#include "process.h"

enum {
	HUGETLBFS = 0x958458f6,
	ZEROES_HERE = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
	HITS_MAX = 256
};

static struct {
	struct port_map *first;
	volatile sig_atomic_t hits;     /* … since port_map_hits */
	volatile sig_atomic_t hit_maps; /* mappings that have pages of zeroes */
	volatile unsigned count;        /* of hits, ever */
	bool armed;
} state;

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
		state.hit_maps += m->hit++ == 0;
		state.count++;
		state.hits = 1;
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

/* -EFAULT if `end` lies behind the end of fd's file; the page size of it, where it has its own. */
static int check_file(int fd, uint64_t end, uint64_t *page)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end)
		return -EFAULT;
	if ((uint32_t)fs.f_type == (uint32_t)HUGETLBFS)
		*page = (uint64_t)fs.f_bsize;
	return 0;
}

/* calls: fstat fstatfs mmap(!PROT_EXEC) madvise */
int port_map(struct port_map *map, int fd, uint64_t offset, uint64_t len, bool writable, char **at)
{
	uint64_t end, start, size, page = (uint64_t)getpagesize();
	void *base;
	int error = arm();

	if (error < 0)
		return error;
	if (len == 0 || !num_add(offset, len, &end))
		return -EINVAL;
	error = check_file(fd, end, &page);
	if (error < 0)
		return error;
	start = offset - offset % page;
	if (!num_add(end, page - 1, &end))
		return -EINVAL;
	size = end - end % page - start;
	if (size > SIZE_MAX || start > INT64_MAX)
		return -EFBIG;
	base = mmap(NULL, (size_t)size, PROT_READ | (writable ? PROT_WRITE : 0),
		MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	if (base == MAP_FAILED)
		return -errno;
	/* Another's memory has no place in our core dump. */
	(void)madvise(base, (size_t)size, MADV_DONTDUMP);
	*map = (struct port_map){ .base = base,
		.len = (size_t)size,
		.page = (size_t)page,
		.offset = start,
		.writable = writable,
		.next = state.first,
		.link = &state.first };
	if (map->next)
		map->next->link = &map->next;
	state.first = map;
	*at = map->base + (offset - start);
	return 0;
}

/* calls: mmap(!PROT_EXEC) madvise */
int port_map_renew(struct port_map *map, int fd)
{
	int access = PROT_READ | (map->writable ? PROT_WRITE : 0);
	void *at = mmap(map->base, map->len, access, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
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
	if (!map->base)
		return;
	state.hit_maps -= map->hit > 0;
	*map->link = map->next;
	if (map->next)
		map->next->link = map->link;
	(void)munmap(map->base, map->len);
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
