/* System calls refused at will, by seccomp's user notification. */
#include "refuse.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

static struct {
	int number, pair[2];
	pthread_t thread;
	atomic_int error;
	atomic_uint count;
} state;

/* In the process that becomes the program: the filter, and its listener to the test. */
static void install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)state.number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec v = { "f", 1 };
	struct msghdr h = { .msg_iov = &v,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	int fd = -1;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (fd < 0) {
		h.msg_controllen = 0;
	} else {
		CMSG_FIRSTHDR(&h)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&h)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&h)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &fd, sizeof(fd));
	}
	(void)!sendmsg(state.pair[1], &h, 0);
	if (fd >= 0)
		close(fd);
}

static int receive_listener(void)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	char byte;
	struct iovec v = { &byte, 1 };
	struct msghdr h = { .msg_iov = &v,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(state.pair[0], &h, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&h))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(fd));
	return fd;
}

static void *answer(void *with)
{
	int fd = receive_listener();

	while (fd >= 0) {
		struct seccomp_notif ask = { 0 };
		struct seccomp_notif_resp say = { 0 };
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int error;

		if (poll(&p, 1, -1) > 0 && (p.revents & POLLIN) == 0)
			break; /* the program has ended */
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &ask) < 0)
			continue;
		error = atomic_load(&state.error);
		say.id = ask.id;
		say.error = -error;
		say.flags = error ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		if (error)
			atomic_fetch_add(&state.count, 1);
		(void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &say);
	}
	return with;
}

void refuse_watch(int number)
{
	unsigned action = SECCOMP_RET_USER_NOTIF;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0)
		harness_skip("no seccomp user notification: %s", strerror(errno));
	state.number = number;
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, state.pair), 0);
	CHECK_EQ(pthread_create(&state.thread, NULL, answer, NULL), 0);
	vubox_before_exec(install);
}

void refuse_with(int error)
{
	atomic_store(&state.error, error);
}

unsigned refuse_count(void)
{
	return atomic_load(&state.count);
}
