/*
 * Lets User Mode Linux run on newer processors than it knows: preloaded into it.
 *
 * The kernel wants the registers of a traced process (PTRACE_SETREGSET, NT_X86_XSTATE) in full.
 * UML of Linux 6.1 has room for all up to AVX-512, but not for AMX, and its guest's init dies. So
 * what it leaves out is taken from the process itself.
 */
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long set_all(long pid, long type, const struct iovec *part)
{
	static unsigned char all[1 << 16];
	struct iovec whole = { all, sizeof(all) };

	if (syscall(SYS_ptrace, (long)PTRACE_GETREGSET, pid, type, &whole) < 0)
		return -1;
	memcpy(all, part->iov_base, part->iov_len < whole.iov_len ? part->iov_len : whole.iov_len);
	return syscall(SYS_ptrace, (long)PTRACE_SETREGSET, pid, type, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	long pid, address, data, peeked, result;
	va_list args;

	va_start(args, request);
	pid = va_arg(args, int);
	address = va_arg(args, long);
	data = va_arg(args, long);
	va_end(args);
	/* As the C library's: the kernel stores what was peeked, the caller wants it returned. */
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA ||
		request == PTRACE_PEEKUSER) {
		result = syscall(SYS_ptrace, (long)request, pid, address, &peeked);
		return result < 0 ? result : peeked;
	}
	result = syscall(SYS_ptrace, (long)request, pid, address, data);
	if (result < 0 && request == PTRACE_SETREGSET && address == NT_X86_XSTATE)
		result = set_all(pid, address, (const struct iovec *)data);
	return result;
}
