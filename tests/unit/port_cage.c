/* port/cage.c in the kernel of this machine. What a real vubox tries is in tests/cage/bars.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port.h"
#include "unit.h"

#if defined __SANITIZE_ADDRESS__
enum { SANITIZED = true };
#elif defined __has_feature
enum { SANITIZED = __has_feature(address_sanitizer) };
#else
enum { SANITIZED = false };
#endif

/* How a process ends that does this in the cage: its status, or minus its signal. */
static int end_of(void (*fn)(void), bool client)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		if (!freopen("/dev/null", "w", stderr) || port_cage_privileges(false) < 0 ||
			port_cage_seccomp(client ? PORT_CAGE_CLIENT : 0) < 0)
			_exit(50);
		fn();
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void do_nothing(void)
{
}

static void kill_another(void)
{
	(void)kill(1, 0);
}

static void kill_itself(void)
{
	(void)kill(getpid(), SIGKILL);
}

static void make_inet_socket(void)
{
	(void)socket(AF_INET, SOCK_STREAM, 0);
}

static void make_unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	_exit(fd < 0 ? 1 : 0);
}

static void exit_51_if_sysctl(void)
{
	(void)syscall(SYS_getppid);
	_exit(51);
}

CASE(calls_that_no_line_has_end_it)
{
	if (SANITIZED) {
		CHECK_EQ(port_cage_seccomp(0), -EOPNOTSUPP);
		return;
	}
	if (prctl(PR_GET_SECCOMP) < 0)
		unit_skip("this kernel has no seccomp");
	CHECK_EQ(end_of(do_nothing, false), 0);
	CHECK_EQ(end_of(exit_51_if_sysctl, false), -SIGSYS);
	CHECK_EQ(end_of(kill_another, false), -SIGSYS);
	CHECK_EQ(end_of(kill_itself, false), -SIGKILL);
	CHECK_EQ(end_of(out_abort, false), -SIGABRT);
	CHECK_EQ(end_of(make_unix_socket, false), -SIGSYS);
	CHECK_EQ(end_of(make_inet_socket, true), -SIGSYS);
	CHECK_EQ(end_of(make_unix_socket, true), 0);
}

CASE(privileges_are_gone)
{
	struct rlimit core;

	CHECK_OK(port_cage_privileges(false));
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHECK_OK(getrlimit(RLIMIT_CORE, &core));
	CHECK_EQ(core.rlim_max, 0);
	CHECK(setuid(1) < 0 || geteuid() != 0);
	CHECK_OK(port_cage_privileges(true)); /* again, and with less */
}

CASE(landlock_leaves_the_sockets_directory)
{
	struct port_cage_path paths[] = { { .path = NULL },
		{ .path = "/none/there/yet", .client = true } };
	const char *inside = unit_path(UNIT_DISK, "inside"), *other = unit_path(UNIT_DISK, "other");
	char path[200];
	int abi;

	CHECK(close(open(inside, O_CREAT | O_RDWR, 0600)) == 0);
	CHECK(close(open(other, O_CREAT | O_RDWR, 0600)) == 0);
	(void)snprintf(path, sizeof(path), "%s", inside);
	paths[0].path = path;
	CHECK_OK(port_cage_privileges(true));
	abi = port_cage_landlock(paths, 2);
	if (SANITIZED) {
		CHECK_EQ(abi, -EOPNOTSUPP);
		return;
	}
	if (abi == -ENOSYS || abi == -EOPNOTSUPP)
		unit_skip("this kernel has no landlock");
	CHECK(abi >= 1);
	CHECK(open(inside, O_RDWR) < 0 && errno == EACCES);
	CHECK(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	CHECK_OK(unlink(inside));
	CHECK_OK(unlink(other)); /* a rule is for a directory */
	CHECK(unlink("/etc/passwd.vubox-unit") < 0);
}

CASE(landlock_of_no_paths_and_of_wrong_ones)
{
	static char deep[300];
	struct port_cage_path path = { .path = deep };

	if (SANITIZED) {
		CHECK_EQ(port_cage_landlock(NULL, 0), -EOPNOTSUPP);
		return;
	}
	if (port_cage_landlock(NULL, 0) == -ENOSYS)
		unit_skip("this kernel has no landlock");
	memset(deep, '/', sizeof(deep) - 2);
	deep[sizeof(deep) - 2] = 's';
	CHECK_EQ(port_cage_landlock(&path, 1), -ENAMETOOLONG);
	path.path = "/none/sock";
	CHECK_EQ(port_cage_landlock(&path, 1), -ENOENT);
	CHECK_OK(port_cage_privileges(false));
	CHECK(port_cage_landlock(NULL, 0) >= 1);
	path.path = "/sock"; /* directories can be named from inside, not opened */
	CHECK(port_cage_landlock(&path, 1) >= 1);
	path.path = "sock";
	CHECK(port_cage_landlock(&path, 1) >= 1);
}
