/*
 * The cage: what a serving process gives up, so that whoever takes it over gets little.
 *
 * Theory of operation. When all is opened and the sockets listen, three things are done. Privileges
 * go: no_new_privs, capabilities, core dumps. Landlock (since 5.13) takes the file system away: no
 * rule gives anything but to remove our socket files, or to connect again. Seccomp takes the kernel
 * away: its filter is made of calls.h, which port/calls.sh makes of the lines "calls" above the
 * functions of port/. A call that has no line ends the process, with a word on stderr.
 *
 * What io_uring does for us, seccomp does not see: port/io_uring.c restricts the ring itself.
 *
 * Layouts and numbers are the kernel's ABI: seccomp(2), landlock(7).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine.h"
#include "log.h"
#include "num.h"
#include "process.h"
#include "tap.h"
#include "text.h"

/*
 * A sanitizer's run-time calls and opens what it likes, to report what it finds: such a build has
 * neither landlock nor seccomp.
 */
#ifndef __has_feature
#define __has_feature(x) 0 /* gcc has a macro for each */
#endif
#if defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer)
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

/* ---- privileges ---- */

enum { CAPABILITY_VERSION_3 = 0x20080522, CAP_DAC_OVERRIDE_BIT = 1 << 1 };

/* calls at the start: prctl prlimit capget capset */
int port_cage_privileges(bool with_paths)
{
	static const struct rlimit none;
	struct {
		uint32_t version, pid;
	} header = { CAPABILITY_VERSION_3, 0 };
	struct {
		uint32_t effective, permitted, inheritable;
	} sets[2];
	/* Whoever has had this one needs it to remove its sockets, and to connect again. */
	uint32_t keep = with_paths ? CAP_DAC_OVERRIDE_BIT : 0;

	/*
	 * It stays dumpable, so that who runs it can look at it in /proc (after --user it is not
	 * any more). RLIMIT_NPROC stays, too, though nothing forks: the kernel counts io_uring's
	 * workers as processes of the user.
	 */
	if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prlimit(0, RLIMIT_CORE, &none, NULL) < 0 || syscall(SYS_capget, &header, sets) < 0)
		return -errno;
	sets[0].effective &= keep;
	sets[0].permitted &= keep;
	sets[0].inheritable = sets[1].effective = sets[1].permitted = sets[1].inheritable = 0;
	/* The bounding set is of no use to those who can execute nothing. */
	return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}

/* ---- landlock ---- */

#ifndef SYS_landlock_create_ruleset /* the same on every architecture */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

enum {
	LANDLOCK_VERSION = 1,
	LANDLOCK_PATH_BENEATH = 1,
	FS_WRITE_FILE = 1 << 1,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_FILE = 1 << 8,
	FS_RESOLVE_UNIX = 1 << 16,
	TCP_BIND_AND_CONNECT = 3,
	ABSTRACT_SOCKETS_AND_SIGNALS = 3,
};

struct landlock_ruleset {
	uint64_t fs, net, scoped; /* what is forbidden but for rules */
};

struct landlock_beneath {
	uint64_t allowed;
	int32_t dir;
} __attribute__((packed));

/* All rights to files that this version of the ABI knows. */
static uint64_t landlock_fs(long abi)
{
	unsigned rights = 13; /* to 1: all but refer, truncate, ioctl of devices and connect */

	rights += abi >= 2;
	rights += abi >= 3;
	rights += abi >= 5;
	rights += abi >= 9;
	return (1u << rights) - 1;
}

/* What is allowed below the directory of a path. */
static uint64_t landlock_rights(const struct port_cage_path *path)
{
	if (path->log)
		return FS_WRITE_FILE | FS_MAKE_FILE | FS_REMOVE_FILE;
	return path->client ? FS_RESOLVE_UNIX : FS_REMOVE_FILE;
}

/* Lets be done with a path what is to be done with it, as far as that was forbidden. */
static int landlock_allow(int ruleset, const struct port_cage_path *path, uint64_t forbidden)
{
	char dir[128];
	const char *slash = strrchr(path->path, '/');
	int dir_len = slash ? (int)(slash - path->path) + 1 : 0, error = 0;
	struct landlock_beneath rule = { .allowed = forbidden & landlock_rights(path) };

	if (rule.allowed == 0)
		return 0;
	if (text_format(dir, sizeof(dir), "%.*s.", dir_len, path->path) == sizeof(dir) - 1)
		return -ENAMETOOLONG;
	rule.dir = open(dir, O_PATH | O_CLOEXEC);
	if (rule.dir < 0 && path->client) /* it may come later */
		rule.dir = open("/", O_PATH | O_CLOEXEC);
	if (rule.dir < 0 ||
		syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_PATH_BENEATH, &rule, 0) < 0)
		error = -errno;
	(void)close(rule.dir);
	return error;
}

/* calls at the start: landlock_create_ruleset landlock_add_rule landlock_restrict_self */
/* calls at the start: open close */
int port_cage_landlock(const struct port_cage_path *paths, unsigned count)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
	struct landlock_ruleset forbidden = { landlock_fs(abi), abi >= 4 ? TCP_BIND_AND_CONNECT : 0,
		abi >= 6 ? ABSTRACT_SOCKETS_AND_SIGNALS : 0 };
	int ruleset, error = 0;

	if (abi < 0 || SANITIZED)
		return SANITIZED ? -EOPNOTSUPP : -errno;
	/* A kernel that does not know the last fields takes them as long as they are 0. */
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &forbidden, sizeof(forbidden), 0);
	if (ruleset < 0)
		return -errno;
	for (unsigned i = 0; i < count && error == 0; i++)
		error = landlock_allow(ruleset, &paths[i], forbidden.fs);
	if (error == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		error = -errno;
	(void)close(ruleset);
	if (error < 0)
		return error;
	CONFIG_CAGE_HOOK("landlock");
	return (int)abi;
}

/* ---- seccomp ---- */

/* <linux/audit.h>: the architecture that a call is made for. */
#if defined __x86_64__ && defined __LP64__
#define MACHINE EM_X86_64
#elif defined __i386__
#define MACHINE EM_386
#elif defined __aarch64__
#define MACHINE EM_AARCH64
#elif defined __arm__
#define MACHINE EM_ARM
#elif defined __riscv
#define MACHINE EM_RISCV
#elif defined __s390x__
#define MACHINE EM_S390
#elif defined __powerpc64__
#define MACHINE EM_PPC64
#else
#define MACHINE EM_NONE /* no filter: its numbers are not known here */
#endif
#define THIS_ARCHITECTURE                                            \
	((uint32_t)MACHINE | (sizeof(long) == 8 ? 0x80000000u : 0) | \
		(LITTLE_ENDIAN_HERE ? 0x40000000u : 0))

enum {
	LITTLE_ENDIAN_HERE = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	BPF_LOAD_WORD = 0x20,
	BPF_IF_EQUAL = 0x15,
	BPF_IF_BITS = 0x45,
	BPF_RETURN = 0x06,
	FILTER = 1, /* SECCOMP_SET_MODE_FILTER */
	FILTER_SPEC_ALLOW = 4,
};
#define RETURN_ALLOW        0x7fff0000u
#define RETURN_TRAP         0x00030000u
#define RETURN_KILL_PROCESS 0x80000000u

/* What the filter sees of a call. */
struct seccomp_call {
	uint32_t number, architecture;
	uint64_t instruction;
	uint64_t arguments[6];
};

struct instruction {
	uint16_t code;
	uint8_t then, otherwise; /* instructions to skip */
	uint32_t operand;
};

struct program {
	uint16_t length;
	struct instruction *instructions;
};

/* A call that is allowed if one of its arguments is right. */
enum { ANY, CLIENT = PORT_CAGE_CLIENT, LOG = PORT_CAGE_LOG };
enum { EQUALS, LACKS, IS_SELF };
struct rule {
	uint16_t number;
	uint8_t argument;
	uint8_t when : 2, test : 2;
	uint32_t value;
};

static const uint16_t calls[] = {
#define CALL(name) SYS_##name,
#define RULE(...)
#include "calls.h"
#undef CALL
#undef RULE
};

static const struct rule rules[] = {
#define CALL(name)
#define RULE(name, when, argument, test, value) { SYS_##name, argument, when, test, value },
#include "calls.h"
};

/* The parts of the filter. What is 0 here is filled in. */
enum {
	NUMBER = offsetof(struct seccomp_call, number),
	ARCHITECTURE = offsetof(struct seccomp_call, architecture),
	ARGUMENTS = offsetof(struct seccomp_call, arguments) + (LITTLE_ENDIAN_HERE ? 0 : 4),
};
static const struct instruction head[] = {
	{ BPF_LOAD_WORD, 0, 0, ARCHITECTURE },
	{ BPF_IF_EQUAL, 1, 0, THIS_ARCHITECTURE },
	{ BPF_RETURN, 0, 0, RETURN_KILL_PROCESS },
	{ BPF_LOAD_WORD, 0, 0, NUMBER },
}, for_call[] = {
	{ BPF_IF_EQUAL, 0, 1, 0 },
	{ BPF_RETURN, 0, 0, RETURN_ALLOW },
}, for_rule[] = {
	{ BPF_IF_EQUAL, 0, 4, 0 },
	{ BPF_LOAD_WORD, 0, 0, 0 },
	{ BPF_IF_EQUAL, 0, 1, 0 },
	{ BPF_RETURN, 0, 0, RETURN_ALLOW },
	{ BPF_LOAD_WORD, 0, 0, NUMBER },
}, last[] = {
	{ BPF_RETURN, 0, 0, RETURN_TRAP }, /* also for x32: its numbers have a bit of their own */
};

enum {
	INSTRUCTIONS_MAX = countof(head) + countof(for_call) * countof(calls) +
			   countof(for_rule) * countof(rules) + countof(last)
};

/*
 * The filter, and how many instructions it has. Each call is a test of its own: since 5.11 the
 * kernel finds out once which are always allowed, and does not run the filter for them. Arguments
 * are ints to the kernel: it does not look at their upper halves, so neither do we.
 */
static uint16_t make_filter(struct instruction filter[INSTRUCTIONS_MAX], unsigned needs)
{
	struct instruction *at = filter;

	memcpy(at, head, sizeof(head));
	at += countof(head);
	for (unsigned i = 0; i < countof(calls); i++, at += countof(for_call)) {
		memcpy(at, for_call, sizeof(for_call));
		at[0].operand = calls[i];
	}
	for (const struct rule *r = rules; r < rules + countof(rules); r++) {
		if (r->when != ANY && (r->when & needs) == 0)
			continue;
		memcpy(at, for_rule, sizeof(for_rule));
		at[0].operand = r->number;
		at[1].operand = ARGUMENTS + 8u * r->argument;
		at[2].operand = r->test == IS_SELF ? (uint32_t)getpid() : r->value;
		if (r->test == LACKS)
			at[2] = (struct instruction){ BPF_IF_BITS, 1, 0, r->value };
		at += countof(for_rule);
	}
	memcpy(at, last, sizeof(last));
	return (uint16_t)(at - filter + (ptrdiff_t)countof(last));
}

/* calls: nothing */
static void refused(int signal_number, siginfo_t *info, void *context)
{
	(void)context;
	log_error(NULL, "bug: the sandbox refused system call %d: please report it",
		info->si_syscall);
	process_die(signal_number);
}

/* calls at the start: getpid seccomp */
int port_cage_seccomp(unsigned needs)
{
	struct instruction filter[INSTRUCTIONS_MAX];
	struct program program = { make_filter(filter, needs), filter };

	if (MACHINE == EM_NONE || SANITIZED)
		return -EOPNOTSUPP;
	/* No guest's code runs here: guarding it against speculation (before 5.16) buys nothing. */
	if (process_catch(SIGSYS, refused) < 0 ||
		(syscall(SYS_seccomp, FILTER, FILTER_SPEC_ALLOW, &program) < 0 &&
			syscall(SYS_seccomp, FILTER, 0, &program) < 0))
		return -errno;
	CONFIG_CAGE_HOOK("seccomp");
	return 0;
}
