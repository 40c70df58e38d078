/*
 * Tries the bars of the cage from inside: a vubox with this file in it, in place of
 * port/io_uring.c, does as the environment says when a part of the cage is closed, and ends:
 *
 *     CAGE_TRY=seccomp:execve vubox rng ...      "as expected" and status 77, or it dies of it
 *     CAGE_TRY=list vubox rng ...                what can be tried: STAGE NAME EXPECTED
 *
 * What is tried would do no harm if it worked: paths that are not there, signals that are 0.
 */
#include "../../port/io_uring.c"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "hook.h"

static const char nowhere[] = "/nowhere/at/all";
static char *const no_words[] = { NULL };
static pid_t parent;

__attribute__((constructor)) static void know_parent(void)
{
	parent = getppid();
}

/* What io_uring answers to an operation. */
static long ring_does(uint8_t opcode, int fd, const void *at, uint32_t len)
{
	uint32_t tail = *state.sq_tail;

	if (!state.open)
		return -ENOSYS;
	state.sqes[tail & state.sq_mask] = (struct sqe){
		.opcode = opcode, .fd = fd, .addr = (uintptr_t)at, .len = len, .user_data = 1
	};
	__atomic_store_n(state.sq_tail, tail + 1, __ATOMIC_RELEASE);
	while (*state.cq_head == __atomic_load_n(state.cq_tail, __ATOMIC_ACQUIRE))
		if (syscall(SYS_io_uring_enter, state.fd, 1, 1, ENTER_GETEVENTS, NULL, 0) < 0)
			return -errno;
	return state.cqes[*state.cq_head & state.cq_mask].res;
}

static long tcp(int (*fn)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(4) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return fn(fd, (struct sockaddr *)&address, sizeof(address));
}

/* Someone listens on this name: tests/cage/bars.py. */
static long abstract_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *name = getenv("CAGE_ABSTRACT");

	strcpy(address.sun_path + 1, name);
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}

static long map(int access)
{
	void *at = mmap(NULL, 4096, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? -1 : 0;
}

static long make_executable(void)
{
	return mprotect(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096,
		PROT_READ | PROT_EXEC);
}

/* Of the last two, each has a place of its own. */
static const char *path(const char *name)
{
	static char texts[2][200];
	static unsigned next;
	char *text = texts[next++ % 2];

	(void)snprintf(text, sizeof(texts[0]), "%s/%s", getenv("CAGE_DIR"), name);
	return text;
}

/* A call of another numbering: x32, and i386. */
static long foreign_getpid(bool i386)
{
#if defined __x86_64__ && defined __LP64__
	long result = 20;

	if (!i386)
		return syscall(0x40000000 | SYS_getpid);
	__asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
	return result;
#else
	(void)i386;
	(void)raise(SIGSYS); /* there is none here: as good as refused */
	return 0;
#endif
}

/* A page that is not there, of a mapping that is not guarded. */
static long touch_nothing(void)
{
	int fd = memfd_create("empty", 0);
	struct port_map guarded;
	char *at;

	if (ftruncate(fd, 1) < 0 || port_map(&guarded, fd, 0, 1, true, &at) < 0)
		return -1;
	return *(volatile char *)mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0) +
	       *(volatile char *)mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 4096);
}

/* And one that is gone from a mapping that is. */
static long touch_gone(void)
{
	int fd = memfd_create("shrinks", 0);
	struct port_map guarded;
	char *at;

	if (ftruncate(fd, 4096) < 0 || port_map(&guarded, fd, 0, 4096, true, &at) < 0 ||
		ftruncate(fd, 0) < 0)
		return -1;
	return *(volatile char *)at + (guarded.hit ? 5 : 0);
}

static long core_bytes(void)
{
	struct rlimit limit = { 1, 1 };

	return getrlimit(RLIMIT_CORE, &limit) < 0 ? -1 : (long)limit.rlim_max;
}

static long panics(void)
{
	ASSERT(!"this is tried");
	return 0;
}

/*
 * What comes of it: an errno or a result, or the process ends. A number behind landlock's name, or
 * that of the log that a console rotates, is the version of landlock's ABI that this needs.
 */
enum { refused = -1000, killed, aborted, bus }; /* with a word, without, by SIGABRT, by SIGBUS */
#define TRIES(TRY)                                                                                \
	TRY(seccomp, refused, execve, execve(nowhere, no_words, no_words))                        \
	TRY(seccomp, refused, execveat,                                                           \
		syscall(SYS_execveat, AT_FDCWD, nowhere, no_words, no_words, 0))                  \
	TRY(seccomp, refused, open, open(nowhere, O_RDONLY))                                      \
	TRY(seccomp, refused, openat, syscall(SYS_openat, AT_FDCWD, nowhere, O_RDONLY, 0))        \
	TRY(seccomp, refused, openat2, syscall(437, AT_FDCWD, nowhere, NULL, 0))                  \
	TRY(seccomp, refused, creat, open(nowhere, O_RDWR | O_CREAT, 0600))                       \
	TRY(seccomp, refused, socket_inet, socket(AF_INET, SOCK_STREAM, 0))                       \
	TRY(seccomp, refused, socket_netlink, socket(AF_NETLINK, SOCK_RAW, 0))                    \
	TRY(seccomp, refused, socket_packet, socket(AF_PACKET, SOCK_RAW, 0))                      \
	TRY(seccomp, refused, bind, bind(0, NULL, 0))                                             \
	TRY(seccomp, refused, listen, listen(0, 1))                                               \
	TRY(seccomp, refused, ptrace, ptrace(PTRACE_PEEKDATA, parent, NULL, NULL))                \
	TRY(seccomp, refused, process_vm_readv,                                                   \
		syscall(SYS_process_vm_readv, parent, 0, 0, 0, 0, 0))                             \
	TRY(seccomp, refused, mmap_exec, map(PROT_READ | PROT_EXEC))                              \
	TRY(seccomp, refused, mmap_all, map(PROT_READ | PROT_WRITE | PROT_EXEC))                  \
	TRY(seccomp, refused, mprotect_exec, make_executable())                                   \
	TRY(seccomp, refused, ioctl_tiocsti, ioctl(0, TIOCSTI, "x"))                              \
	TRY(seccomp, refused, ioctl_blkrrpart, ioctl(3, _IO(0x12, 95)))                           \
	TRY(seccomp, refused, ioctl_high_bits, ioctl(3, 0xdead1200))                              \
	TRY(seccomp, refused, kill_parent, kill(parent, 0))                                       \
	TRY(seccomp, refused, kill_init, kill(1, 0))                                              \
	TRY(seccomp, refused, kill_group, kill(0, 0))                                             \
	TRY(seccomp, refused, kill_all, kill(-1, 0))                                              \
	TRY(seccomp, refused, tgkill, syscall(SYS_tgkill, parent, parent, 0))                     \
	TRY(seccomp, refused, pidfd_open, syscall(434, parent, 0))                                \
	TRY(seccomp, refused, fork, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))                      \
	TRY(seccomp, refused, clone, syscall(SYS_clone, 0, 0, 0, 0, 0))                           \
	TRY(seccomp, refused, clone3, syscall(435, NULL, 0))                                      \
	TRY(seccomp, refused, unshare, unshare(CLONE_NEWNS))                                      \
	TRY(seccomp, refused, setns, setns(0, 0))                                                 \
	TRY(seccomp, refused, mount, mount(NULL, nowhere, NULL, 0, NULL))                         \
	TRY(seccomp, refused, chroot, chroot(nowhere))                                            \
	TRY(seccomp, refused, chdir, chdir(nowhere))                                              \
	TRY(seccomp, refused, chmod, chmod(nowhere, 0))                                           \
	TRY(seccomp, refused, chown, chown(nowhere, 1, 1))                                        \
	TRY(seccomp, refused, rename, rename(nowhere, nowhere))                                   \
	TRY(seccomp, refused, link, link(nowhere, nowhere))                                       \
	TRY(seccomp, refused, symlink, symlink(nowhere, nowhere))                                 \
	TRY(seccomp, refused, mkdir, mkdir(nowhere, 0700))                                        \
	TRY(seccomp, refused, truncate, truncate(nowhere, 0))                                     \
	TRY(seccomp, refused, readlink, readlink(nowhere, (char[1]){ 0 }, 1))                     \
	TRY(seccomp, refused, setuid, syscall(SYS_setuid, getpid()))                              \
	TRY(seccomp, refused, prctl, prctl(PR_SET_DUMPABLE, 1))                                   \
	TRY(seccomp, refused, personality, syscall(SYS_personality, 0xffffffff))                  \
	TRY(seccomp, refused, fcntl_setown, fcntl(0, F_SETOWN, parent))                           \
	TRY(seccomp, refused, fcntl_dupfd, fcntl(0, F_DUPFD, 10))                                 \
	TRY(seccomp, refused, fcntl_lock, fcntl(0, F_SETLK, NULL))                                \
	TRY(seccomp, refused, dup3, dup3(0, 10, 0))                                               \
	TRY(seccomp, refused, pipe2, pipe2(NULL, 0))                                              \
	TRY(seccomp, refused, bpf, syscall(SYS_bpf, 0, NULL, 0))                                  \
	TRY(seccomp, refused, userfaultfd, syscall(SYS_userfaultfd, 0))                           \
	TRY(seccomp, refused, perf_event_open, syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0))    \
	TRY(seccomp, refused, init_module, syscall(SYS_init_module, NULL, 0, nowhere))            \
	TRY(seccomp, refused, keyctl, syscall(SYS_keyctl, 0, 0, 0, 0, 0))                         \
	TRY(seccomp, refused, seccomp, syscall(SYS_seccomp, 2, 0, NULL))                          \
	TRY(seccomp, refused, io_uring_setup, syscall(SYS_io_uring_setup, 1, NULL))               \
	TRY(seccomp, refused, io_uring_register, syscall(SYS_io_uring_register, 0, 4, NULL, 0))   \
	TRY(seccomp, refused, x32, foreign_getpid(false))                                         \
	TRY(seccomp, killed, i386, foreign_getpid(true))                                          \
	TRY(seccomp, 0, kill_self, kill(getpid(), 0))                                             \
	TRY(seccomp, aborted, panic, panics())                                                    \
	TRY(seccomp, bus, sigbus, touch_nothing())                                                \
	TRY(seccomp, 5, sigbus_guarded, touch_gone())                                             \
	TRY(seccomp, 0, mmap_data, map(PROT_READ | PROT_WRITE))                                   \
	TRY(seccomp, EBADF, fcntl_getfl, fcntl(-1, F_GETFL))                                      \
	TRY(client, 0, socket_unix, socket(AF_UNIX, SOCK_STREAM, 0) < 0)                          \
	TRY(client, EINVAL, accept4,                                                              \
		syscall(SYS_accept4, socket(AF_UNIX, SOCK_STREAM, 0), NULL, NULL, SOCK_CLOEXEC))  \
	TRY(client, refused, accept, syscall(SYS_accept, 0, NULL, NULL))                          \
	TRY(client, refused, socket_inet, socket(AF_INET, SOCK_STREAM, 0))                        \
	TRY(server, refused, socket_unix, socket(AF_UNIX, SOCK_STREAM, 0))                        \
	TRY(server, refused, connect, connect(0, NULL, 0))                                        \
	TRY(log, 0, rotate, rename(path("logs/log"), path("logs/log.1")))                         \
	TRY(log, 0, open_again, open(path("logs/log"), O_WRONLY | O_APPEND | O_CREAT, 0640) < 0)  \
	TRY(log, 0, open_next, open(path("logs/log.1"), O_WRONLY | O_APPEND | O_CREAT, 0640) < 0) \
	TRY(log, EACCES, read, open(path("logs/log"), O_RDONLY))                                  \
	TRY(log, EACCES, read_and_write, open(path("logs/log"), O_RDWR))                          \
	TRY(log, EACCES, open, open("/etc/passwd", O_RDONLY))                                     \
	TRY(log, EACCES, open_image, open(path("image"), O_WRONLY))                               \
	TRY(log, EACCES, create_elsewhere, open(path("new"), O_WRONLY | O_CREAT, 0600))           \
	TRY(log, EACCES, create_at_the_socket, open(path("run/new"), O_WRONLY | O_CREAT, 0600))   \
	TRY(log, EACCES, rename_away, rename(path("logs/log"), path("run/log")))                  \
	TRY(log, EACCES, rename_image, rename(path("image"), path("image.1")))                    \
	TRY(log, EACCES, rename_directory, rename(path("logs"), path("logs.1")))                  \
	TRY(log3, EACCES, open_empty, open(path("logs/log"), O_WRONLY | O_TRUNC))                 \
	TRY(log, refused, truncate, truncate(path("logs/log"), 0))                                \
	TRY(log, refused, link, link(path("logs/log"), path("logs/new")))                         \
	TRY(log, refused, symlink, symlink("/etc/passwd", path("logs/new")))                      \
	TRY(log, refused, mkdir, mkdir(path("logs/new"), 0700))                                   \
	TRY(log, refused, chmod, chmod(path("logs/log"), 04777))                                  \
	TRY(log, refused, execve, execve(path("logs/log"), no_words, no_words))                   \
	TRY(log, refused, socket_unix, socket(AF_UNIX, SOCK_STREAM, 0))                           \
	TRY(uring, EACCES, openat, ring_does(18, AT_FDCWD, nowhere, 0))                           \
	TRY(uring, EACCES, connect, ring_does(16, 0, NULL, 0))                                    \
	TRY(uring, EACCES, unlinkat, ring_does(36, AT_FDCWD, nowhere, 0))                         \
	TRY(uring, EACCES, socket, ring_does(45, AF_INET, NULL, 0))                               \
	TRY(uring, EACCES, nop, ring_does(0, -1, NULL, 0))                                        \
	TRY(uring, EBADF, read, ring_does(OP_READ, -1, NULL, 0))                                  \
	TRY(landlock, EACCES, open, open("/etc/passwd", O_RDONLY))                                \
	TRY(landlock, EACCES, open_image, open(path("image"), O_RDWR))                            \
	TRY(landlock, EACCES, open_root, open("/", O_RDONLY))                                     \
	TRY(landlock, EACCES, create, open(path("new"), O_RDWR | O_CREAT, 0600))                  \
	TRY(landlock, EACCES, create_beside, open(path("run/new"), O_RDWR | O_CREAT, 0600))       \
	TRY(landlock, EACCES, mkdir, mkdir(path("new"), 0700))                                    \
	TRY(landlock, EACCES, mkdir_beside, mkdir(path("run/new"), 0700))                         \
	TRY(landlock, EACCES, unlink, unlink(path("image")))                                      \
	TRY(landlock, 0, unlink_beside, unlink(path("run/old")))                                  \
	TRY(landlock, EACCES, rmdir, rmdir(path("run/dir")))                                      \
	TRY(landlock, EACCES, execve, execve("/bin/true", no_words, no_words))                    \
	TRY(landlock3, EACCES, truncate, truncate(path("image"), 1 << 20))                        \
	TRY(landlock4, EACCES, tcp_bind, tcp(bind))                                               \
	TRY(landlock4, EACCES, tcp_connect, tcp(connect))                                         \
	TRY(landlock6, EPERM, abstract_connect, abstract_connect())                               \
	TRY(landlock6, EPERM, kill_parent, kill(parent, 0))                                       \
	TRY(landlock, EPERM, setuid, syscall(SYS_setuid, 1))                                      \
	TRY(landlock, EPERM, mount, mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL))           \
	TRY(landlock, EPERM, unshare, unshare(CLONE_NEWUTS))                                      \
	TRY(landlock, EPERM, reboot, syscall(SYS_reboot, 0, 0, 0, NULL))                          \
	TRY(landlock, 0, core_dump, core_bytes())                                                 \
	TRY(landlock, 1, no_new_privileges, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))

#define FUNCTION(stage, expected, name, call)  \
	static long try_##stage##_##name(void) \
	{                                      \
		return (call);                 \
	}
#define ROW(stage, expected, name, call) \
	{ #stage, #name, #expected, expected, try_##stage##_##name },

TRIES(FUNCTION)

static const struct
try {
	const char *stage, *name, *expected_text;
	long expected;
	long (*run)(void);
}
tries[] = { TRIES(ROW) };

static _Noreturn void list(void)
{
	for (size_t i = 0; i < countof(tries); i++)
		printf("%s %s %s\n", tries[i].stage, tries[i].name, tries[i].expected_text);
	printf("abi %ld -\n", syscall(444, NULL, 0, 1)); /* landlock_create_ruleset */
	(void)fflush(stdout);
	_exit(0);
}

static _Noreturn void judge(const struct try *t)
{
	long result = t->run();
	long got = result == -1 ? errno : result < 0 ? -result : result;
	char text[64];
	int len;

	if (got == t->expected)
		len = snprintf(text, sizeof(text), "as expected\n");
	else
		len = snprintf(text, sizeof(text), "%s %ld\n",
			result < 0 ? "it failed with errno" : "it gave", got);
	(void)!write(STDERR_FILENO, text, (size_t)len);
	_exit(77);
}

void cage_hook(const char *what)
{
	const char *wanted = getenv("CAGE_TRY");

	if (strcmp(wanted, "list") == 0)
		list();
	for (size_t i = 0; i < countof(tries); i++) {
		const struct try *t = &tries[i];
		size_t len = strlen(t->stage);
		bool landlock = strncmp(t->stage, "landlock", 8) == 0;

		if (strncmp(wanted, t->stage, len) == 0 && wanted[len] == ':' &&
			strcmp(wanted + len + 1, t->name) == 0 &&
			landlock == (strcmp(what, "landlock") == 0))
			judge(t);
	}
}
