/* Image files and block devices: open, lock, size, geometry, and the choice of an engine. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"

/* <linux/magic.h> and <linux/stat.h>, which musl does not bring. */
enum { MAGIC_TMPFS = 0x01021994 };
#define MAGIC_RAMFS         0x858458f6u
#define MAGIC_HUGETLBFS     0x958458f6u
#define STATX_DIOALIGN_MASK 0x2000u
#define STATX_ATTR_DAX_BIT  0x200000ull
enum { EMPTY_PATH = 0x1000 }; /* AT_EMPTY_PATH */

/* Where nobody else locks: QEMU has its locks near byte 100. */
#define LOCK_BYTE ((off_t)1 << 62)

/* calls: statx */
struct engine_statx engine_statx(int fd, uint32_t wanted)
{
	struct engine_statx stx = { 0 };

#ifdef SYS_statx
	if (syscall(SYS_statx, fd, "", EMPTY_PATH, wanted, &stx) != 0)
		stx = (struct engine_statx){ 0 };
#else
	(void)fd;
	(void)wanted;
#endif
	return stx;
}

static int file_size(struct port_file *f)
{
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	f->size = (uint64_t)st.st_size;
	if (f->block_device && ioctl(f->fd, FS_BLKGETSIZE64, &f->size) < 0)
		return -errno;
	return 0;
}

static void file_geometry(struct port_file *f)
{
	unsigned io_min = 0, io_opt = 0, physical = 0;
	int logical = 0;

	f->logical_block = 512;
	f->physical_block = 512;
	if (!f->block_device)
		return;
	if (ioctl(f->fd, FS_BLKSSZGET, &logical) == 0 && logical >= 512 &&
		num_is_power_of_2((unsigned)logical))
		f->logical_block = (uint32_t)logical;
	f->physical_block = f->logical_block;
	if (ioctl(f->fd, FS_BLKPBSZGET, &physical) == 0 && physical > f->logical_block &&
		num_is_power_of_2(physical))
		f->physical_block = physical;
	if (ioctl(f->fd, FS_BLKIOMIN, &io_min) == 0)
		f->io_min = io_min;
	if (ioctl(f->fd, FS_BLKIOOPT, &io_opt) == 0)
		f->io_opt = io_opt;
}

/* Opens path once more past the page cache, and learns what alignment that wants. */
static int file_open_direct(struct port_file *f, const char *path, int flags)
{
	struct engine_statx stx;

	f->fd_direct = open(path, flags | O_DIRECT);
	if (f->fd_direct < 0)
		return -errno;
	stx = engine_statx(f->fd_direct, STATX_DIOALIGN_MASK);
	f->direct_memory = f->direct_offset = f->block_device ? f->logical_block : 4096;
	if ((stx.mask & STATX_DIOALIGN_MASK) != 0 && stx.dio_offset_align != 0) {
		f->direct_memory = stx.dio_mem_align;
		f->direct_offset = stx.dio_offset_align;
	}
	return f->direct_offset <= ENGINE_BOUNCE ? 0 : -EINVAL;
}

static bool is_memory(int fd, const char **kind)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0) {
		uint32_t type = (uint32_t)fs.f_type;

		*kind = type == MAGIC_TMPFS       ? "tmpfs"
			: type == MAGIC_RAMFS     ? "ramfs"
			: type == MAGIC_HUGETLBFS ? "hugetlbfs"
						  : NULL;
		if (*kind)
			return true;
	}
	*kind = "DAX";
	return (engine_statx(fd, 0).attributes & STATX_ATTR_DAX_BIT) != 0;
}

/* DESIGN of the choice: no engine is right for every file, so ask what the file is. */
static int choose_auto(struct port_file *f)
{
	const char *kind;
	int error;

	if (f->fd_direct < 0 && f->size > 0 && is_memory(f->fd, &kind) && engine_map(f) == 0) {
		f->engine = PORT_ENGINE_MMAP;
		f->engine_why = kind;
		return 0;
	}
	error = uring_open();
	f->engine = error == 0 ? PORT_ENGINE_URING : PORT_ENGINE_SYNC;
	f->engine_why = error == 0         ? "a file or block device"
			: error == -ENOSYS ? "this kernel has no io_uring"
					   : "io_uring is not allowed here";
	engine_cached_open(f);
	return 0;
}

static int choose_engine(struct port_file *f, enum port_engine wanted)
{
	f->engine = wanted;
	f->engine_why = "as --io says";
	switch (wanted) {
	case PORT_ENGINE_URING: return uring_open();
	case PORT_ENGINE_MMAP: return engine_map(f);
	case PORT_ENGINE_AUTO: return choose_auto(f);
	case PORT_ENGINE_SYNC: break;
	}
	return 0;
}

/* Tries to lock: a flock on the descriptor that I/O uses first, and one byte of the other. */
static int file_try_lock(const struct port_file *f)
{
	struct flock byte = {
		.l_type = f->read_only ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = LOCK_BYTE,
		.l_len = 1,
	};

	if (flock(f->fd_direct >= 0 ? f->fd_direct : f->fd,
		    (f->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
		return -errno;
	if (fcntl(f->fd, F_OFD_SETLK, &byte) < 0 && (errno == EAGAIN || errno == EACCES))
		return -EAGAIN;
	return 0; /* a file system without such locks has the flock */
}

/*
 * Locks it, for reading or writing. The I/O of a process that was killed goes on a little longer
 * than the process, and holds its descriptors and so their locks; each of ours has one, so that
 * nothing of an earlier life is written after we have begun. So wait for some seconds: a disk that
 * is busy keeps it that long.
 */
static int file_lock(const struct port_file *f)
{
	enum { TRIES = 500 };
	static const struct timespec between = { .tv_nsec = 10000000 };
	int error = file_try_lock(f);

	for (int i = 0; error == -EAGAIN && i < TRIES; i++) {
		(void)nanosleep(&between, NULL);
		error = file_try_lock(f);
	}
	return error;
}

static int file_prepare(
	struct port_file *f, const struct port_file_options *o, int flags, const char **what)
{
	struct stat st;
	int error;

	*what = "cannot look at it";
	if (fstat(f->fd, &st) < 0)
		return -errno;
	f->block_device = S_ISBLK(st.st_mode);
	if (!f->block_device && !S_ISREG(st.st_mode)) {
		*what = "neither a file nor a block device";
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	}
	file_geometry(f);
	*what = "cannot open with O_DIRECT (leave out --direct)";
	error = o->direct ? file_open_direct(f, o->path, flags) : 0;
	if (error < 0)
		return error;
	*what = "cannot lock";
	error = o->no_lock ? 0 : file_lock(f);
	if (error < 0)
		return error;
	*what = "cannot grow it";
	if (!f->block_device && o->create_size > (uint64_t)st.st_size &&
		(o->create_size > INT64_MAX || ftruncate(f->fd, (off_t)o->create_size) < 0))
		return o->create_size > INT64_MAX ? -EFBIG : -errno;
	*what = "cannot tell its size";
	error = file_size(f);
	if (error < 0)
		return error;
	*what = "cannot use the engine that --io names";
	return choose_engine(f, o->engine);
}

/* calls at the start: open fstat fstatfs flock fcntl(F_OFD_SETLK) nanosleep ftruncate */
/* calls at the start: ioctl(FS_BLKGETSIZE64) ioctl(FS_BLKSSZGET) ioctl(FS_BLKPBSZGET) */
/* calls at the start: ioctl(FS_BLKIOMIN) ioctl(FS_BLKIOOPT) */
int port_file_open(
	struct port_file *file, const struct port_file_options *options, const char **what)
{
	int flags = (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
	int error;

	*file = (struct port_file){ .fd_direct = -1,
		.read_only = options->read_only,
		.can_discard = true,
		.can_zero = true };
	*what = "cannot open";
	file->fd = open(options->path, flags | (options->create_size > 0 ? O_CREAT : 0), 0600);
	if (file->fd < 0)
		return -errno;
	error = file_prepare(file, options, flags, what);
	file->open = true;
	if (error < 0)
		port_file_close(file);
	return error;
}

/* calls: close */
void port_file_close(struct port_file *file)
{
	if (!file->open)
		return;
	engine_cached_close(file);
	port_unmap(&file->map);
	if (file->fd_direct >= 0)
		(void)close(file->fd_direct);
	(void)close(file->fd);
	*file = (struct port_file){ 0 };
}

/* calls: fstat ioctl(FS_BLKGETSIZE64) */
int port_file_resize(struct port_file *file)
{
	int error = file_size(file);

	if (error < 0 || file->engine != PORT_ENGINE_MMAP) {
		engine_cached_resize(file);
		return error;
	}
	port_unmap(&file->map);
	/* Where this fails, plain system calls serve the file from now on. */
	(void)engine_map(file);
	return 0;
}
