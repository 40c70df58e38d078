/* Between the I/O engines: private to port/. */
#ifndef VUBOX_ENGINE_H
#define VUBOX_ENGINE_H

#include <sys/types.h>

#include "port.h"

struct iovec;

/* <linux/fs.h>, which musl does not bring: what is asked of block devices by ioctl(2). */
#define FS_BLKSSZGET    _IO(0x12, 104)
#define FS_BLKGETSIZE64 _IOR(0x12, 114, size_t)
#define FS_BLKDISCARD   _IO(0x12, 119)
#define FS_BLKIOMIN     _IO(0x12, 120)
#define FS_BLKIOOPT     _IO(0x12, 121)
#define FS_BLKPBSZGET   _IO(0x12, 123)
#define FS_BLKZEROOUT   _IO(0x12, 127)

/* The kernel takes at most so many pieces in one vectored call (UIO_MAXIOV). */
enum { ENGINE_PIECES_MAX = 1024 };

/* Bytes that are moved at once while everybody waits. */
enum { ENGINE_SLICE = 256 << 10 };

/* What is not aligned is moved in such pieces; no file wants more alignment than that. */
enum { ENGINE_BOUNCE = 64 << 10 };

/* Stages of an I/O that takes more than one call. */
enum { ENGINE_FIRST, ENGINE_SYNC, ENGINE_BY_HAND };

/* Gives a finished I/O back: port_io_reap returns it. */
void engine_done(struct port_io *io, int result);

/*
 * Stops the timer that watches over notifications (event.c), before a call that a signal undoes:
 * fallocate of a file in memory.
 */
void event_guard_rest(void);

/* What is left of an I/O is done in later ticks, by the engine that calls this. */
void engine_later(struct port_io *io);

/* Whether the file can take an I/O as it is; else engine_direct_run does it. */
bool engine_is_aligned(const struct port_io *io);
void engine_direct_run(struct port_io *io);
/* A discard becomes one that is aligned: a guest may not rely on the rest. */
void engine_shrink_discard(struct port_io *io);

/* The descriptor for reads and writes. */
static inline int engine_fd(const struct port_file *f)
{
	return f->fd_direct >= 0 ? f->fd_direct : f->fd;
}

/* pwritev, to stable storage. */
ssize_t engine_write_sync(int fd, const struct iovec *iov, int count, uint64_t offset);

/* <linux/stat.h>, which musl does not bring. Zero is what the kernel cannot say. */
struct engine_statx {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, pad;
	uint64_t ino, size, blocks, attributes_mask;
	uint64_t accessed[2], born[2], changed[2], modified[2];
	uint32_t rdev[2], dev[2];
	uint64_t mnt_id;
	uint32_t dio_mem_align, dio_offset_align;
	uint64_t spare[12];
};
_Static_assert(sizeof(struct engine_statx) == 256, "statx ABI");

struct engine_statx engine_statx(int fd, uint32_t wanted);

/* Maps all of the file, shared with no other struct port_map: it can be renewed. */
int engine_map(struct port_file *file);

/* Copies len bytes between guest memory and ours, as the I/O goes, and steps over them. */
void engine_copy(struct port_io *io, char *ours, size_t len);

/* Steps over n bytes that were read or written. */
void engine_advance(struct port_io *io, uint64_t n);

/* Does the next slice of an I/O now, by blocking calls; engine_done, or engine_later. */
void engine_sync_run(struct port_io *io);

/*
 * memcpy, page by page, while the processor looks up where the next pages are: over 4 KiB that is
 * up to 15 % faster.
 */
void engine_move(void *to, const void *from, size_t len);

/* Starts an I/O by the engine of its file. */
void engine_start(struct port_io *io);

/* The same by copying from or to the mapping; whatever is no read or write goes to the above. */
void engine_mmap_run(struct port_io *io);
/*
 * Whether the guest's memory that a write takes the next len bytes from is there. What is not, the
 * kernel would refuse; but a load of it, as of a copy, gives zeroes, which must not go to the disk.
 */
bool engine_source_is_there(const struct port_io *io, size_t len);
/* Whether a page of zeroes has taken the place of one (port/map.c) in the mappings of these. */
bool map_has_zeroes(const struct span *spans, uint32_t count);
/* How many ever have: it is another number when one was hit meanwhile. */
unsigned map_hit_count(void);
/* Keeps a copy for engine_mmap_reap, which makes them until one is done; NULL: no more is. */
void engine_mmap_start(struct port_io *io);
struct port_io *engine_mmap_reap(void);
bool engine_mmap_ready(void);

/* I/O on what the page cache has, by a copy (io_cached.c): looks whether the file is fit for it. */
void engine_cached_open(struct port_file *f);
/* Whether an I/O can be done so: then engine_mmap_start is to have it, in the same tick. */
bool engine_cached_has(const struct port_io *io);
/* Makes the copy: true if that was it, false if the engine has to do it after all. */
bool engine_cached_run(struct port_io *io);
/* When the copies of a tick are made. */
void engine_cached_end(void);
/* The file has another size. */
void engine_cached_resize(struct port_file *f);
void engine_cached_close(struct port_file *f);
/* Gives back what makes I/O faster: there was none for some time. */
void engine_cached_rest(void);
/* In each tick. */
void engine_cached_tick(void);
/* After a sleep: the clock is looked at. */
void engine_cached_woke(void);
/* A range of the file is not in the page cache any more. */
void engine_cached_forget(const struct port_io *io);
/* Whether something is to be given back when nothing was to do for some time. */
bool engine_cached_used(void);

/* io_uring: opens the ring of this process (once), or -errno if the kernel has or allows none. */
int uring_open(void);
/* The eventfd that is signalled for a completion while we sleep, or -1. Watch it by edge. */
int uring_event(void);
/* Around a sleep: asks for that signal (false: do not sleep, there is something), or for none. */
bool uring_may_sleep(void);
void uring_awake(void);
/* Queues an I/O; false if the ring is unusable and the caller must do it otherwise. */
bool uring_start(struct port_io *io);
/* Asks the kernel to cancel an I/O, if it has it. */
void uring_cancel(const struct port_io *io);
void uring_submit(void);
/* Whether entries wait to be submitted, or finished ones to be collected. */
bool uring_ready(void);
/* Takes what the kernel has finished; calls engine_done, or starts what is left of it again. */
void uring_collect(void);

#endif
