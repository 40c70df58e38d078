/*
 * The engine for files and block devices: one io_uring of the process, without a library.
 *
 * A tick queues entries and hands all of them over in one system call, which also runs what the
 * kernel has deferred for us; reads from the page cache are done when it returns. An eventfd wakes
 * us for the others, and only while we sleep (the ring's own descriptor does not: the kernel does
 * not poll-wake it for deferred work). Layouts and numbers are the kernel's ABI (io_uring(7),
 * io_uring_setup(2)).
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine.h"
#include "num.h"
#include "panic.h"

struct sqe {
	uint8_t opcode, flags;
	uint16_t priority;
	int32_t fd;
	uint64_t off, addr;
	uint32_t len, op_flags;
	uint64_t user_data;
	uint64_t pad[3];
};
_Static_assert(sizeof(struct sqe) == 64, "io_uring ABI");

struct cqe {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};
_Static_assert(sizeof(struct cqe) == 16, "io_uring ABI");

struct params {
	uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
	uint32_t reserved[3];
	struct {
		uint32_t head, tail, mask, entries, flags, dropped, array, pad;
		uint64_t pad2;
	} sq;
	struct {
		uint32_t head, tail, mask, entries, overflow, cqes, flags, pad;
		uint64_t pad2;
	} cq;
};
_Static_assert(sizeof(struct params) == 120, "io_uring ABI");

enum {
	OP_READV = 1,
	OP_WRITEV = 2,
	OP_FSYNC = 3,
	OP_ASYNC_CANCEL = 14,
	OP_FALLOCATE = 17,
	OP_READ = 22,
	OP_WRITE = 23,
	SETUP_CQSIZE = 1 << 3,
	SETUP_R_DISABLED = 1 << 6,
	SETUP_TASKRUN_FLAG = 1 << 9,
	SETUP_SINGLE_ISSUER = 1 << 12,
	SETUP_DEFER_TASKRUN = 1 << 13,
	FEAT_SINGLE_MMAP = 1 << 0,
	FEAT_NODROP = 1 << 1,
	ENTER_GETEVENTS = 1 << 0,
	REGISTER_EVENTFD = 4,
	REGISTER_RESTRICTIONS = 11,
	REGISTER_ENABLE_RINGS = 12,
	RESTRICTION_SQE_OP = 1,
	CQ_EVENTFD_DISABLED = 1 << 0,
	SQ_CQ_OVERFLOW = 1 << 1,
	SQ_TASKRUN = 1 << 2,
	FSYNC_DATASYNC = 1,
	RWF_DSYNC_FLAG = 2,
	FALLOC_KEEP_SIZE = 1,
	FALLOC_PUNCH_HOLE = 2,
	FALLOC_ZERO_RANGE = 16,
};
#define MMAP_SQES 0x10000000ull

/* In place of an I/O: the entry cancels one, and nobody waits for its own end. */
enum { NO_IO = 1 };

/* Bytes of one entry: a copy from the page cache is done while everybody waits. */
enum { ENTRY_BYTES_MAX = 512 << 10 };

static struct {
	bool open, dead;
	int fd, event;
	uint32_t *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
	uint32_t *cq_flags;                /* NULL: the kernel has none (before 5.8) */
	uint32_t sq_mask, cq_mask, queued; /* queued: entries the kernel has not been told of */
	struct sqe *sqes;
	struct cqe *cqes;
} state;

static int setup(struct params *p)
{
	static const uint32_t flags[] = {
		SETUP_CQSIZE | SETUP_R_DISABLED | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN |
			SETUP_TASKRUN_FLAG,      /* 6.1 */
		SETUP_CQSIZE | SETUP_R_DISABLED, /* 5.10 */
		SETUP_CQSIZE,                    /* 5.5 */
	};
	int fd = -1;

	for (size_t i = 0; i < countof(flags) && fd < 0; i++) {
		*p = (struct params){ .flags = flags[i], .cq_entries = CONFIG_REQUESTS_MAX };
		fd = (int)syscall(SYS_io_uring_setup, CONFIG_URING_ENTRIES, p);
		if (fd < 0 && errno != EINVAL)
			break;
	}
	return fd < 0 ? -errno : fd;
}

static uint32_t *field(char *ring, uint32_t offset)
{
	return (uint32_t *)(void *)(ring + offset);
}

/* Maps the rings of fd; -errno. */
static int attach(int fd, const struct params *p)
{
	size_t size = p->cq.cqes + p->cq_entries * sizeof(struct cqe);
	size_t sq_size = p->sq.array + p->sq_entries * sizeof(uint32_t);
	int access = PROT_READ | PROT_WRITE;
	char *ring;

	ring = mmap(NULL, size > sq_size ? size : sq_size, access, MAP_SHARED, fd, 0);
	state.sqes = mmap(
		NULL, p->sq_entries * sizeof(struct sqe), access, MAP_SHARED, fd, (off_t)MMAP_SQES);
	if (ring == MAP_FAILED || (void *)state.sqes == MAP_FAILED)
		return -errno;
	state.sq_head = field(ring, p->sq.head);
	state.sq_tail = field(ring, p->sq.tail);
	state.sq_flags = field(ring, p->sq.flags);
	state.sq_mask = *field(ring, p->sq.mask);
	state.cq_head = field(ring, p->cq.head);
	state.cq_tail = field(ring, p->cq.tail);
	state.cq_mask = *field(ring, p->cq.mask);
	state.cq_flags = p->cq.flags ? field(ring, p->cq.flags) : NULL;
	state.cqes = (struct cqe *)(void *)(ring + p->cq.cqes);
	for (uint32_t i = 0; i < p->sq_entries; i++)
		field(ring, p->sq.array)[i] = i;
	return 0;
}

/*
 * From now on the ring does only what we use it for: seccomp does not see what a ring is asked for,
 * and it can open files and sockets, too. Nothing more can be registered.
 */
static int restrict_ring(int fd)
{
	static const uint8_t ops[] = { OP_READV, OP_WRITEV, OP_FSYNC, OP_ASYNC_CANCEL, OP_FALLOCATE,
		OP_READ, OP_WRITE };
	struct {
		uint16_t kind;
		uint8_t op, pad[13];
	} only[countof(ops)] = { { 0 } };

	for (size_t i = 0; i < countof(ops); i++) {
		only[i].kind = RESTRICTION_SQE_OP;
		only[i].op = ops[i];
	}
	return syscall(SYS_io_uring_register, fd, REGISTER_RESTRICTIONS, only, countof(only)) < 0 ||
			       syscall(SYS_io_uring_register, fd, REGISTER_ENABLE_RINGS, NULL, 0) <
				       0
		       ? -errno
		       : 0;
}

/* calls at the start: io_uring_setup io_uring_register mmap(!PROT_EXEC) eventfd close */
int uring_open(void)
{
	struct params p;
	int fd, error;

	if (state.open)
		return state.dead ? -EPERM : 0;
	fd = setup(&p);
	if (fd < 0)
		return fd;
	error = (p.features & FEAT_SINGLE_MMAP) == 0 || (p.features & FEAT_NODROP) == 0
			? -ENOSYS
			: attach(fd, &p);
	state.event = error < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (error == 0 && (state.event < 0 || syscall(SYS_io_uring_register, fd, REGISTER_EVENTFD,
						      &state.event, 1) < 0))
		error = -errno;
	if (error == 0 && (p.flags & SETUP_R_DISABLED) != 0)
		error = restrict_ring(fd);
	if (error < 0) {
		(void)close(fd);
		if (state.event >= 0)
			(void)close(state.event);
		return error;
	}
	state.fd = fd;
	state.open = true;
	uring_awake();
	return 0;
}

/* calls: nothing */
void uring_awake(void)
{
	if (state.open && state.cq_flags)
		__atomic_store_n(state.cq_flags, CQ_EVENTFD_DISABLED, __ATOMIC_RELAXED);
}

/* calls: nothing */
bool uring_may_sleep(void)
{
	if (!state.open || state.dead) /* (it cannot be asked for anything any more) */
		return true;
	if (state.cq_flags)
		__atomic_store_n(state.cq_flags, 0, __ATOMIC_RELAXED);
	/* Whoever completes later signals the event; who completed before is seen now. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return (__atomic_load_n(state.sq_flags, __ATOMIC_RELAXED) &
		       (SQ_TASKRUN | SQ_CQ_OVERFLOW)) == 0 &&
	       !uring_ready();
}

/* calls: nothing */
int uring_event(void)
{
	return state.open ? state.event : -1;
}

/* How many spans from the first one on an entry may have; 1 if that alone is too much. */
static uint32_t count_spans(const struct port_io *io)
{
	uint64_t bytes = 0;
	uint32_t n = 0;

	if (io->left <= ENTRY_BYTES_MAX)
		return (uint32_t)num_min(io->span_count, ENGINE_PIECES_MAX);
	while (n < io->span_count && n < ENGINE_PIECES_MAX &&
		bytes + io->spans[n].len <= ENTRY_BYTES_MAX)
		bytes += io->spans[n++].len;
	return n > 0 ? n : 1;
}

static void fill_bytes(struct sqe *e, const struct port_io *io)
{
	uint32_t count = io->span_count == 1 ? 1 : count_spans(io);

	if (count == 1) { /* the kernel need not look at a vector */
		e->opcode = io->op == PORT_IO_READ ? OP_READ : OP_WRITE;
		e->addr = (uintptr_t)io->spans->base;
		e->len = (uint32_t)num_min(num_min(io->left, io->spans->len), ENTRY_BYTES_MAX);
	} else {
		e->opcode = io->op == PORT_IO_READ ? OP_READV : OP_WRITEV;
		e->addr = (uintptr_t)io->spans;
		e->len = count;
	}
}

static void fill(struct sqe *e, const struct port_io *io)
{
	*e = (struct sqe){ .fd = io->file->fd, .user_data = (uintptr_t)io };
	if (io->op == PORT_IO_FLUSH || io->stage == ENGINE_SYNC) {
		e->opcode = OP_FSYNC;
		e->op_flags = FSYNC_DATASYNC;
	} else if (io->op == PORT_IO_READ || io->op == PORT_IO_WRITE) {
		e->fd = engine_fd(io->file);
		e->off = io->offset;
		fill_bytes(e, io);
		e->op_flags = io->sync ? RWF_DSYNC_FLAG : 0;
	} else {
		bool zero_range = io->op == PORT_IO_ZERO && io->keep;

		e->opcode = OP_FALLOCATE; /* off: offset, addr: length, len: mode */
		e->off = io->offset;
		e->addr = io->left;
		e->len = FALLOC_KEEP_SIZE | (zero_range ? FALLOC_ZERO_RANGE : FALLOC_PUNCH_HOLE);
	}
}

/* What fallocate cannot do, the blocking engine does: ioctls, zeroes by hand, nothing at all. */
static bool by_fallocate(const struct port_io *io)
{
	if (io->op != PORT_IO_DISCARD && io->op != PORT_IO_ZERO)
		return true;
	return !io->file->block_device && io->left > 0 &&
	       (io->op == PORT_IO_DISCARD ? io->file->can_discard : io->file->can_zero);
}

static bool is_full(void)
{
	return *state.sq_tail - __atomic_load_n(state.sq_head, __ATOMIC_ACQUIRE) > state.sq_mask;
}

/* The next entry to fill in, or NULL. */
static struct sqe *entry_get(void)
{
	if (state.dead)
		return NULL;
	if (is_full()) {
		uring_submit();
		if (state.dead || is_full())
			return NULL;
	}
	return &state.sqes[*state.sq_tail & state.sq_mask];
}

static void entry_put(void)
{
	__atomic_store_n(state.sq_tail, *state.sq_tail + 1, __ATOMIC_RELEASE);
	state.queued++;
}

/* calls: nothing */
bool uring_start(struct port_io *io)
{
	struct sqe *e = engine_is_aligned(io) && by_fallocate(io) ? entry_get() : NULL;

	if (!e)
		return false;
	fill(e, io);
	entry_put();
	return true;
}

/* calls: nothing */
void uring_cancel(const struct port_io *io)
{
	struct sqe *e = entry_get();

	if (!e) /* it ends when it ends */
		return;
	*e = (struct sqe){ .opcode = OP_ASYNC_CANCEL, .addr = (uintptr_t)io, .user_data = NO_IO };
	entry_put();
}

/* The I/O whose address went along with it: the ABI has 64 bits for that, and no pointer. */
static struct port_io *io_of(uint64_t user_data)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel gives back a number */
	return (struct port_io *)(uintptr_t)user_data;
}

/* The kernel refuses the ring for good: what it has not seen is done by plain calls, for ever. */
static void bury(void)
{
	uint32_t tail = *state.sq_tail;

	state.dead = true;
	for (uint32_t i = tail - state.queued; i != tail; i++) {
		uint64_t io = state.sqes[i & state.sq_mask].user_data;

		if (io != NO_IO)
			engine_sync_run(io_of(io));
	}
	state.queued = 0;
}

/* calls: io_uring_enter */
void uring_submit(void)
{
	uint32_t work;
	long n;

	if (!state.open || state.dead)
		return;
	work = __atomic_load_n(state.sq_flags, __ATOMIC_RELAXED) & (SQ_TASKRUN | SQ_CQ_OVERFLOW);
	if (state.queued == 0 && work == 0)
		return;
	do
		n = syscall(
			SYS_io_uring_enter, state.fd, state.queued, 0, ENTER_GETEVENTS, NULL, 0);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		state.queued -= (uint32_t)n;
	else if (errno != EAGAIN && errno != EBUSY)
		bury();
}

/* calls: nothing */
bool uring_ready(void)
{
	return state.open && (state.queued > 0 || *state.cq_head != __atomic_load_n(state.cq_tail,
									    __ATOMIC_ACQUIRE));
}

static void finish(struct port_io *io, int res)
{
	if (res == -EINTR || res == -EAGAIN || res == -ECANCELED)
		goto again;
	if (io->stage == ENGINE_SYNC || io->op == PORT_IO_FLUSH) {
		engine_done(io, res < 0 ? res : 0);
		return;
	}
	if (io->op == PORT_IO_DISCARD || io->op == PORT_IO_ZERO) {
		if (res == -EOPNOTSUPP || res == -EINVAL) {
			engine_sync_run(io); /* knows the other ways, and remembers */
			return;
		}
		if (res < 0 || !io->sync) {
			engine_done(io, res);
			return;
		}
		io->stage = ENGINE_SYNC;
		goto again;
	}
	if (res <= 0) { /* nothing more where there should be: the file is shorter than it was */
		engine_done(io, res < 0 ? res : -EIO);
		return;
	}
	engine_advance(io, (uint64_t)res);
	if (io->left == 0) {
		engine_done(io, 0);
		return;
	}
again:
	if (io->cancelled)
		engine_done(io, -ECANCELED);
	else if (!uring_start(io))
		engine_sync_run(io);
}

/* calls: nothing */
void uring_collect(void)
{
	uint32_t head;

	if (!state.open)
		return;
	head = *state.cq_head;
	while (head != __atomic_load_n(state.cq_tail, __ATOMIC_ACQUIRE)) {
		struct cqe c = state.cqes[head & state.cq_mask];

		__atomic_store_n(state.cq_head, ++head, __ATOMIC_RELEASE);
		ASSERT(c.user_data != 0);
		if (c.user_data != NO_IO)
			finish(io_of(c.user_data), c.res);
	}
}
