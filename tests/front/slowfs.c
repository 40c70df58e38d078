/* A file system whose reads and writes do as they are told: FUSE, as far as we need it. */
#include "slowfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"

enum { FILE_NODE = 2, MAX_WRITE = 128 << 10, BUFFER = MAX_WRITE + 4096, HELD_MAX = 256 };

struct held {
	uint64_t unique, offset;
	uint32_t opcode, size;
	unsigned char *data; /* of a write */
	bool dsync;          /* and it is to be on stable storage */
};

struct rule {
	unsigned what;
	uint64_t from, len;
	int error;
};

static struct {
	pthread_mutex_t lock;
	pthread_t thread;
	int fd;
	enum slowfs_mode mode;
	bool stubborn;
	unsigned char *bytes;
	uint64_t size, asked;
	uint32_t cut;
	struct rule hold, fail;
	struct held held[HELD_MAX];
	unsigned held_count, cancelled;
} fs = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- answers ---- */

static void answer(uint64_t unique, int error, const void *bytes, size_t len)
{
	struct fuse_out_header h = {
		.len = (uint32_t)(sizeof(h) + (error ? 0 : len)), .error = -error, .unique = unique
	};
	struct iovec v[] = { { &h, sizeof(h) }, { (void *)bytes, error ? 0 : len } };

	/* One that was interrupted or aborted is not there any more: that is no matter. */
	(void)!writev(fs.fd, v, 2);
}

static struct fuse_attr attr_of(uint64_t node)
{
	return (struct fuse_attr){ .ino = node,
		.size = node == FILE_NODE ? fs.size : 0,
		.blocks = node == FILE_NODE ? fs.size / 512 : 0,
		.mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700,
		.nlink = 1,
		.blksize = 4096 };
}

/* ---- what waits and what fails ---- */

static unsigned what_of(uint32_t opcode)
{
	return opcode == FUSE_READ    ? SLOWFS_READS
	       : opcode == FUSE_WRITE ? SLOWFS_WRITES
				      : SLOWFS_SYNCS;
}

static bool applies(const struct rule *rule, const struct held *x)
{
	return (rule->what & what_of(x->opcode)) != 0 &&
	       (what_of(x->opcode) == SLOWFS_SYNCS ||
		       (x->offset < rule->from + rule->len && rule->from < x->offset + x->size));
}

static void finish(const struct held *x, int error)
{
	struct fuse_write_out w = { 0 };
	uint64_t left = x->offset < fs.size ? fs.size - x->offset : 0;
	uint32_t len = x->size < left ? x->size : (uint32_t)left;

	if (fs.cut > 0 && len > fs.cut)
		len = fs.cut;
	if (error == 0 && (applies(&fs.fail, x) || (x->dsync && (fs.fail.what & SLOWFS_SYNCS))))
		error = fs.fail.error;
	if (x->opcode == FUSE_READ) {
		answer(x->unique, error, fs.bytes + x->offset, len);
	} else if (x->opcode == FUSE_WRITE) {
		if (error == 0)
			memcpy(fs.bytes + x->offset, x->data, len);
		w.size = len;
		answer(x->unique, error, &w, sizeof(w));
	} else {
		answer(x->unique, error, NULL, 0);
	}
}

/* A read, write or sync: done, or put aside. */
static void begin(struct held *x)
{
	struct held *kept;

	fs.asked += x->opcode != FUSE_FSYNC;
	if (!applies(&fs.hold, x) || fs.held_count == HELD_MAX) {
		finish(x, 0);
		return;
	}
	kept = &fs.held[fs.held_count++];
	*kept = *x;
	if (x->data) {
		kept->data = malloc(x->size);
		if (!kept->data)
			abort();
		memcpy(kept->data, x->data, x->size);
	}
}

static void cancel(uint64_t unique)
{
	for (unsigned i = 0; i < fs.held_count && !fs.stubborn; i++)
		if (fs.held[i].unique == unique) {
			answer(unique, EINTR, NULL, 0);
			free(fs.held[i].data);
			fs.held[i] = fs.held[--fs.held_count];
			fs.cancelled++;
			return;
		}
}

/* ---- requests ---- */

static void serve_init(const struct fuse_in_header *h)
{
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION,
		.minor = 31,
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS,
		.max_background = 200,
		.congestion_threshold = 200,
		.max_write = MAX_WRITE,
		.max_pages = MAX_WRITE / 4096,
		.time_gran = 1 };

	if (fs.mode == SLOWFS_ASYNC)
		out.flags |= FUSE_ASYNC_DIO;
	answer(h->unique, 0, &out, sizeof(out));
}

static void serve_names(const struct fuse_in_header *h, const char *name)
{
	struct fuse_entry_out entry = { .nodeid = FILE_NODE,
		.entry_valid = 1000,
		.attr_valid = 1000,
		.attr = attr_of(FILE_NODE) };
	struct fuse_attr_out attr = { .attr_valid = 1000, .attr = attr_of(h->nodeid) };

	if (h->opcode == FUSE_LOOKUP)
		answer(h->unique, strcmp(name, "disk") == 0 ? 0 : ENOENT, &entry, sizeof(entry));
	else
		answer(h->unique, 0, &attr, sizeof(attr));
}

static void serve_data(const struct fuse_in_header *h, void *body)
{
	struct fuse_read_in *r = body;
	struct fuse_write_in *w = body;
	struct held x = { .unique = h->unique, .opcode = h->opcode };

	if (h->opcode == FUSE_READ) {
		x.offset = r->offset;
		x.size = r->size;
	} else if (h->opcode == FUSE_WRITE) {
		x.offset = w->offset;
		x.size = w->size;
		x.data = (unsigned char *)(w + 1);
		x.dsync = (w->flags & O_DSYNC) != 0;
	}
	begin(&x);
}

static void serve_one(const struct fuse_in_header *h, void *body)
{
	struct fuse_open_out open = {
		.open_flags = fs.mode == SLOWFS_CACHED
				      ? 0
				      : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
	};
	struct fuse_statfs_out statfs = { .st = { .bsize = 4096, .namelen = 255 } };

	switch (h->opcode) {
	case FUSE_INIT: serve_init(h); break;
	case FUSE_LOOKUP:
	case FUSE_SETATTR:
	case FUSE_GETATTR: serve_names(h, body); break;
	case FUSE_OPEN: answer(h->unique, 0, &open, sizeof(open)); break;
	case FUSE_STATFS: answer(h->unique, 0, &statfs, sizeof(statfs)); break;
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_FSYNC: serve_data(h, body); break;
	case FUSE_INTERRUPT: cancel(((struct fuse_interrupt_in *)body)->unique); break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET: break;
	case FUSE_RELEASE:
	case FUSE_FLUSH: answer(h->unique, 0, NULL, 0); break;
	default: answer(h->unique, ENOSYS, NULL, 0); break;
	}
}

static void *serve(void *with)
{
	static _Alignas(8) unsigned char buffer[BUFFER];

	for (;;) {
		ssize_t n = read(fs.fd, buffer, sizeof(buffer));

		if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (n <= 0)
			return with;
		pthread_mutex_lock(&fs.lock);
		serve_one((struct fuse_in_header *)(void *)buffer,
			buffer + sizeof(struct fuse_in_header));
		pthread_mutex_unlock(&fs.lock);
	}
}

/* ---- for tests ---- */

void slowfs_own_mounts(void)
{
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		harness_skip("mounting needs root: %s", strerror(errno));
}

const char *slowfs_mount(uint64_t bytes, enum slowfs_mode mode)
{
	const char *dir = harness_path("slowfs");
	char options[128];

	slowfs_own_mounts();
	fs.fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fs.fd < 0)
		harness_skip("/dev/fuse: %s", strerror(errno));
	fs.mode = mode;
	fs.size = bytes;
	fs.bytes = calloc(1, bytes);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fs.fd);
	CHECK(fs.bytes && mkdir(dir, 0700) == 0);
	if (mount("slowfs", dir, "fuse", MS_NOSUID | MS_NODEV, options) != 0)
		harness_skip("mounting FUSE: %s", strerror(errno));
	CHECK_EQ(pthread_create(&fs.thread, NULL, serve, NULL), 0);
	return harness_path("slowfs/disk");
}

unsigned char *slowfs_bytes(void)
{
	return fs.bytes;
}

void slowfs_hold(enum slowfs_what what, uint64_t from, uint64_t len)
{
	pthread_mutex_lock(&fs.lock);
	fs.hold = (struct rule){ what, from, len, 0 };
	pthread_mutex_unlock(&fs.lock);
}

unsigned slowfs_held(void)
{
	unsigned count;

	pthread_mutex_lock(&fs.lock);
	count = fs.held_count;
	pthread_mutex_unlock(&fs.lock);
	return count;
}

void slowfs_release(int error)
{
	pthread_mutex_lock(&fs.lock);
	fs.hold.what = 0;
	for (unsigned i = 0; i < fs.held_count; i++) {
		finish(&fs.held[i], error);
		free(fs.held[i].data);
	}
	fs.held_count = 0;
	pthread_mutex_unlock(&fs.lock);
}

void slowfs_obey_cancels(bool obey)
{
	fs.stubborn = !obey;
}

unsigned slowfs_cancelled(void)
{
	return fs.cancelled;
}

void slowfs_fail(enum slowfs_what what, uint64_t from, uint64_t len, int error)
{
	pthread_mutex_lock(&fs.lock);
	fs.fail = (struct rule){ error ? what : 0, from, len, error };
	pthread_mutex_unlock(&fs.lock);
}

void slowfs_cut_short(uint32_t bytes)
{
	fs.cut = bytes;
}

void slowfs_abort(void)
{
	struct stat st;
	char path[64];
	int fd;

	CHECK_EQ(stat(harness_path("slowfs"), &st), 0);
	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", (unsigned)st.st_dev);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) { /* fusectl is not mounted: the server ends instead */
		CHECK_EQ(umount2(harness_path("slowfs"), MNT_FORCE | MNT_DETACH), 0);
		return;
	}
	CHECK_EQ(write(fd, "1", 1), 1);
	close(fd);
}

uint64_t slowfs_asked(void)
{
	uint64_t asked;

	pthread_mutex_lock(&fs.lock);
	asked = fs.asked;
	pthread_mutex_unlock(&fs.lock);
	return asked;
}
