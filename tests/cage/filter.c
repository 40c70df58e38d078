/*
 * The seccomp filter of this architecture and libc, run by a small BPF machine: what it allows and
 * what not, for whoever cannot ask the kernel (qemu-user has no seccomp). Says "CASE: why not".
 */
#include "../../port/cage.c"

#include <stdio.h>
#include <stdlib.h>

#include "out.h"

static unsigned failures;

#define EXPECT(what, condition) \
	((condition) ? (void)0 : (void)(failures++, printf("%s: %s\n", what, #condition)))

/* What cage.c needs of the others. */
void out_error_text(const char *text, size_t len)
{
	(void)fwrite(text, 1, len, stderr);
}

uint64_t out_now_ns(void)
{
	return 0;
}

_Noreturn void out_abort(void)
{
	abort();
}

_Noreturn void process_die(int number)
{
	exit(number);
}

int process_catch(int number, void (*fn)(int number, siginfo_t *info, void *context))
{
	(void)number;
	(void)fn;
	return 0;
}

/* ---- the machine ---- */

static struct instruction filter[INSTRUCTIONS_MAX];
static unsigned length;

static uint32_t run(const struct seccomp_call *call)
{
	uint32_t accumulator = 0;

	for (unsigned at = 0; at < length; at++) {
		const struct instruction *i = &filter[at];

		switch (i->code) {
		case BPF_LOAD_WORD:
			if (i->operand % 4 != 0 || i->operand + 4 > sizeof(*call))
				goto bad;
			memcpy(&accumulator, (const char *)call + i->operand, 4);
			break;
		case BPF_IF_EQUAL: at += accumulator == i->operand ? i->then : i->otherwise; break;
		case BPF_IF_BITS: at += accumulator & i->operand ? i->then : i->otherwise; break;
		case BPF_RETURN: return i->operand;
		default: goto bad;
		}
	}
bad:
	printf("the filter is no program\n");
	exit(1);
}

static bool allows(long number, unsigned place, uint64_t argument)
{
	struct seccomp_call call = { .number = (uint32_t)number,
		.architecture = THIS_ARCHITECTURE };

	/* Those that are not looked at have anything in them. */
	for (unsigned i = 0; i < countof(call.arguments); i++)
		call.arguments[i] = 0xdeadbeefdeadbeefull;
	call.arguments[place] = argument;
	return run(&call) == RETURN_ALLOW;
}

static bool listed(long number)
{
	for (unsigned i = 0; i < countof(calls); i++)
		if (calls[i] == number)
			return true;
	return false;
}

static bool ruled(long number, unsigned needs)
{
	for (unsigned i = 0; i < countof(rules); i++)
		if (rules[i].number == number &&
			(rules[i].when == ANY || (rules[i].when & needs) != 0))
			return true;
	return false;
}

/* ---- cases ---- */

/* No number but those of the list, whatever its arguments; no other architecture, nor x32. */
static void check_numbers(unsigned needs)
{
	for (long n = 0; n < 0x20000; n++) {
		struct seccomp_call foreign = { .number = (uint32_t)n,
			.architecture = THIS_ARCHITECTURE ^ 0x80000000u };

		if (!ruled(n, needs) && allows(n, 0, 0) != listed(n)) {
			printf("numbers: call %ld is %sallowed\n", n, listed(n) ? "not " : "");
			failures++;
		}
		EXPECT("foreign calls", run(&foreign) == RETURN_KILL_PROCESS);
		EXPECT("x32 calls", !allows(n | 0x40000000, 0, 0));
		EXPECT("negative numbers", !allows(-1 - n, 0, 0));
	}
}

static bool applies(const struct rule *r, unsigned needs)
{
	return r->when == ANY || (r->when & needs) != 0;
}

/* Each rule by its value, by that value with one bit changed, and with an upper half of bits. */
static void check_rules(unsigned needs)
{
	for (const struct rule *r = rules; r < rules + countof(rules); r++) {
		uint32_t right = r->test == IS_SELF ? (uint32_t)getpid()
				 : r->test == LACKS ? ~r->value
						    : r->value;

		EXPECT("right arguments",
			allows(r->number, r->argument, right) == applies(r, needs));
		EXPECT("the upper half is nobody's",
			allows(r->number, r->argument, right | 0xfeedull << 32) ==
				applies(r, needs));
		for (unsigned bit = 0; bit < 32; bit++) {
			uint32_t wrong = right ^ 1u << bit;
			bool other =
				r->test == LACKS && (r->value >> bit & 1) == 0 && applies(r, needs);

			for (unsigned i = 0; i < countof(rules) && !other; i++)
				other = rules[i].number == r->number && rules[i].value == wrong &&
					rules[i].test == EQUALS && applies(&rules[i], needs);
			EXPECT("arguments with one bit wrong",
				allows(r->number, r->argument, wrong) == other);
		}
	}
}

/* By name: what nobody may do, and without what nothing is served. */
static void check_names(void)
{
	static const long never[] = {
		SYS_execve,
		SYS_execveat,
		SYS_ptrace,
		SYS_mprotect,
		SYS_clone,
		SYS_setuid,
		SYS_mount,
		SYS_bind,
		SYS_listen,
		SYS_prctl,
		SYS_unshare,
		SYS_seccomp,
		SYS_io_uring_setup,
		SYS_io_uring_register,
		SYS_chroot,
		SYS_personality,
#ifdef SYS_open
		SYS_fork,
		SYS_vfork,
#endif
#ifdef SYS_socketcall
		SYS_socketcall,
#endif
	};
	static const long always[] = { SYS_read, SYS_write, SYS_close, SYS_recvmsg, SYS_sendmsg,
		SYS_accept4, SYS_epoll_ctl, SYS_munmap, SYS_preadv, SYS_pwritev, SYS_fdatasync,
		SYS_fallocate, SYS_io_uring_enter, SYS_exit_group, SYS_rt_sigreturn,
		SYS_getrandom };

	for (unsigned i = 0; i < countof(never); i++)
		EXPECT("what nobody may do", !allows(never[i], 0, 0) && !ruled(never[i], ~0u));
	for (unsigned i = 0; i < countof(always); i++)
		EXPECT("what serving needs", allows(always[i], 0, 0));
#ifdef SYS_mmap2
	EXPECT("memory", allows(SYS_mmap2, 2, PROT_READ | PROT_WRITE));
	EXPECT("executable memory", !allows(SYS_mmap2, 2, PROT_READ | PROT_EXEC));
#else
	EXPECT("memory", allows(SYS_mmap, 2, PROT_READ | PROT_WRITE));
	EXPECT("executable memory", !allows(SYS_mmap, 2, PROT_READ | PROT_EXEC));
#endif
	EXPECT("signals to others", !allows(SYS_kill, 0, (uint32_t)getppid()));
	EXPECT("signals to itself", allows(SYS_kill, 0, (uint32_t)getpid()));
}

/* By whichever call libc takes for it. */
static bool opens(void)
{
#ifdef SYS_open
	return allows(SYS_openat, 1, 3) || allows(SYS_open, 0, 3);
#else
	return allows(SYS_openat, 1, 3);
#endif
}

int main(void)
{
	for (unsigned needs = 0; needs <= (PORT_CAGE_CLIENT | PORT_CAGE_LOG); needs++) {
		bool client = (needs & PORT_CAGE_CLIENT) != 0;

		length = make_filter(filter, needs);
		EXPECT("its length", length > 0 && length <= INSTRUCTIONS_MAX);
		check_numbers(needs);
		check_rules(needs);
		check_names();
		EXPECT("sockets of a client", allows(SYS_socket, 0, AF_UNIX) == client &&
						      !allows(SYS_socket, 0, AF_INET));
		EXPECT("connecting is for clients", allows(SYS_connect, 0, 3) == client);
		EXPECT("opening is for logs", opens() == ((needs & PORT_CAGE_LOG) != 0));
	}
	/* The rights that each version of landlock has brought. */
	EXPECT("landlock 1", landlock_fs(1) == 0x1fff);
	EXPECT("landlock 2", landlock_fs(2) == 0x3fff);
	EXPECT("landlock 3", landlock_fs(3) == 0x7fff && landlock_fs(4) == 0x7fff);
	EXPECT("landlock 5", landlock_fs(5) == 0xffff && landlock_fs(8) == 0xffff);
	EXPECT("landlock 9", landlock_fs(9) == 0x1ffff && landlock_fs(99) == 0x1ffff);
	return failures > 0;
}
