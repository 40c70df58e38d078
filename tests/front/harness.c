/* Cases that start the real program, each in a process and a directory of its own. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front.h"

enum { CASE_FAILED = 1, CASE_SKIPPED = 77, HANG_S = 240, PROGRAMS_MAX = 16 };

static struct {
	const char *suite;
	char dir[64];
	int report; /* why the case failed or was skipped */
	uint64_t random;
	bool packed;
	void (*before_exec)(void);
	/* What was started and has not ended. A case that is good ends all of it. */
	struct vubox *running[PROGRAMS_MAX];
} state;

/* ---- results ---- */

__attribute__((noreturn)) static void finish(int status, const char *why)
{
	if (write(state.report, why, strlen(why)) < 0)
		perror("report");
	_exit(status);
}

void harness_fail(const char *file, int line, const char *format, ...)
{
	char why[400], text[300];
	const char *name = strrchr(file, '/');
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	snprintf(why, sizeof(why), "%s:%d: %s", name ? name + 1 : file, line, text);
	finish(CASE_FAILED, why);
}

void harness_skip(const char *format, ...)
{
	char why[300];
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	finish(CASE_SKIPPED, why);
}

void harness_say(const char *format, ...)
{
	va_list ap;

	printf("# ");
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

void check_eq(const char *file, int line, const char *what, long long is, long long should)
{
	if (is != should)
		harness_fail(file, line, "%s is %lld, not %lld", what, is, should);
}

void check_bytes(const char *file, int line, const char *what, const void *is, const void *should,
	size_t len)
{
	const unsigned char *a = is, *b = should;

	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i])
			harness_fail(
				file, line, "%s: byte %zu is %#x, not %#x", what, i, a[i], b[i]);
}

bool harness_packed(void)
{
	return state.packed;
}

/* ---- time, files, numbers ---- */

int harness_wait_ms(void)
{
	const char *wait = getenv("WAIT_MS");

	return wait ? atoi(wait) : 20000;
}

uint64_t harness_deadline_us(void)
{
	return front_now_us() + (uint64_t)harness_wait_ms() * 1000;
}

void harness_pause(uint64_t until_us, const char *file, int line, const char *what)
{
	if (front_now_us() > until_us)
		harness_fail(file, line, "never: %s", what);
	usleep(300);
}

const char *harness_path(const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", state.dir, name) < 0)
		abort();
	return path;
}

const char *harness_file(const char *name, uint64_t bytes)
{
	const char *path = harness_path(name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	close(fd);
	return path;
}

uint64_t harness_random(void)
{
	state.random ^= state.random << 13;
	state.random ^= state.random >> 7;
	state.random ^= state.random << 17;
	return state.random;
}

void harness_seed(void)
{
	const char *seed = getenv("SEED");

	state.random = seed ? strtoull(seed, NULL, 0) : front_now_us();
	harness_say("SEED=%llu", (unsigned long long)state.random);
	state.random = state.random * 2 + 1; /* it must not be 0 */
	for (unsigned i = 0; i < 8; i++)
		harness_random();
}

void harness_fill(void *bytes, size_t len)
{
	unsigned char *at = bytes;

	for (size_t i = 0; i < len; i++)
		at[i] = (unsigned char)harness_random();
}

/* ---- the program ---- */

static void track(struct vubox *v, bool on)
{
	for (unsigned i = 0; i < PROGRAMS_MAX; i++)
		if (state.running[i] == (on ? NULL : v)) {
			state.running[i] = on ? v : NULL;
			return;
		}
	CHECK(!on);
}

static void redirect(const char *log, int pass_fd)
{
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	dup2(open("/dev/null", O_RDONLY), 0);
	dup2(fd, 1);
	dup2(fd, 2);
	/* Even if it has that number already: the copy is without close-on-exec. */
	if (pass_fd >= 0)
		dup2(dup(pass_fd), 3);
	for (fd = pass_fd >= 0 ? 4 : 3; fd < 64; fd++)
		close(fd);
}

void vubox_exec(struct vubox *v, int pass_fd, const char *const *words)
{
	const char *asked = getenv("VUBOX"), *program = asked ? asked : "./vubox";
	const char *argv[64] = { program };
	pid_t parent = getpid();

	for (unsigned i = 0; words[i]; i++)
		argv[i + 1] = words[i];
	snprintf(v->log, sizeof(v->log), "%s/log", state.dir);
	v->pid = fork();
	CHECK(v->pid >= 0);
	if (v->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		if (state.before_exec)
			state.before_exec();
		redirect(v->log, pass_fd);
		execv(program, (char *const *)argv);
		fprintf(stderr, "%s: %s\n", program, strerror(errno));
		_exit(127);
	}
	track(v, true);
}

void vubox_before_exec(void (*hook)(void))
{
	state.before_exec = hook;
}

void vubox_start(struct vubox *v, const char *device, const char *const *words)
{
	const char *all[64] = { device };
	char option[128];
	unsigned n = 1;

	if (v->socket[0] == 0)
		snprintf(v->socket, sizeof(v->socket), "%s/sock", state.dir);
	snprintf(option, sizeof(option), "--socket-path=%s", v->socket);
	all[n++] = option;
	for (; words && *words; words++)
		all[n++] = *words;
	vubox_exec(v, -1, all);
}

static int exit_status(struct vubox *v, int status)
{
	track(v, false);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int vubox_wait(struct vubox *v)
{
	int status;

	UNTIL(waitpid(v->pid, &status, WNOHANG) == v->pid);
	return exit_status(v, status);
}

int vubox_end(struct vubox *v, int signal)
{
	kill(v->pid, signal);
	return vubox_wait(v);
}

bool vubox_lives(const struct vubox *v)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)v->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

unsigned vubox_said_times(const struct vubox *v, const char *text)
{
	unsigned times = 0;
	static char said[1 << 16];
	int fd = open(v->log, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, said, sizeof(said) - 1);

	if (fd >= 0)
		close(fd);
	said[n > 0 ? n : 0] = 0;
	for (const char *at = said; *text && (at = strstr(at, text)); at++)
		times++;
	return times;
}

bool vubox_said(const struct vubox *v, const char *text)
{
	return vubox_said_times(v, text) > 0;
}

/* The number of lines of a file in /proc/PID that begin with `start`; *value is behind it. */
static unsigned proc_lines(const struct vubox *v, const char *name, const char *start, long *value)
{
	char path[64], line[1024];
	unsigned count = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)v->pid, name);
	f = fopen(path, "re");
	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, start, strlen(start)) != 0)
			continue;
		count++;
		if (value)
			*value = atol(line + strlen(start));
	}
	fclose(f);
	return count;
}

unsigned vubox_maps(const struct vubox *v)
{
	return proc_lines(v, "maps", "", NULL);
}

unsigned vubox_rss_kib(const struct vubox *v)
{
	long kib = 0;

	CHECK_EQ(proc_lines(v, "status", "VmRSS:", &kib), 1);
	return (unsigned)kib;
}

unsigned vubox_fds(const struct vubox *v)
{
	char path[64];
	unsigned count = 0;

	for (unsigned fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)v->pid, fd);
		count += faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	return count;
}

uint64_t vubox_cpu_ns(const struct vubox *v)
{
	char path[64];
	unsigned long long ns;
	FILE *f;

	/* The ticks of /proc/PID/stat are too coarse, and stand still for a while now and then. */
	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)v->pid);
	f = fopen(path, "re");
	CHECK(f && fscanf(f, "%llu", &ns) == 1);
	fclose(f);
	return ns;
}

bool vubox_is_sanitized(void)
{
	return getenv("VUBOX_SANITIZED") != NULL;
}

/* ---- cases ---- */

/* What is still running must be well, and end well. */
static void end_programs(void)
{
	for (unsigned i = 0; i < PROGRAMS_MAX; i++) {
		struct vubox *v = state.running[i];

		if (!v)
			continue;
		CHECK(vubox_lives(v));
		CHECK_EQ(vubox_end(v, SIGTERM), 0);
	}
}

static void run_in_child(const struct harness_case *c, int report)
{
	state.report = report;
	state.random = 88172645463325252ull;
	state.packed = c->format && strcmp(c->format, "packed") == 0;
	signal(SIGPIPE, SIG_IGN);
	alarm(HANG_S);
	c->run(c->with);
	end_programs();
	_exit(0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void show_log(const char *name)
{
	char line[512];
	FILE *f = fopen(harness_path("log"), "re");

	fprintf(stderr, "-- %s %s: the program said:\n", state.suite, name);
	while (f && fgets(line, sizeof(line), f))
		fputs(line, stderr);
	if (f)
		fclose(f);
}

/* Prints the line of a case. True if it did not fail. */
static bool judge(const char *name, const char *path, int status, const char *why)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		printf("ok proto %s: %s\n", state.suite, name);
		return true;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == CASE_SKIPPED) {
		printf("skip proto %s: %s: %s\n", state.suite, name, why);
		return true;
	}
	if (WIFSIGNALED(status))
		why = WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status));
	printf("not ok proto %s: %s: %s (replay: %s %s)\n", state.suite, name, why, path, name);
	show_log(name);
	return false;
}

static bool run_case(const struct harness_case *c, const char *name, const char *path)
{
	const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
	char why[512] = "";
	int report[2], status;
	ssize_t n;
	pid_t pid;
	bool good;

	snprintf(state.dir, sizeof(state.dir), "%.40s/vubox-proto-XXXXXX", tmp);
	if (!mkdtemp(state.dir) || pipe2(report, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		perror(state.dir);
		exit(2);
	}
	if (pid == 0)
		run_in_child(c, report[1]);
	close(report[1]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	n = read(report[0], why, sizeof(why) - 1);
	why[n > 0 ? n : 0] = 0;
	close(report[0]);
	good = judge(name, path, status, why);
	fflush(stdout);
	nftw(state.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return good;
}

static bool is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return argc == 1;
}

int harness_main(int argc, char **argv, const struct harness_case *cases, unsigned count)
{
	const char *slash = strrchr(argv[0], '/');
	bool list = argc == 2 && strcmp(argv[1], "--list") == 0, good = true;
	unsigned run = 0;

	state.suite = slash ? slash + 1 : argv[0];
	for (unsigned i = 0; i < count; i++) {
		const struct harness_case *c = &cases[i];
		char name[128];

		snprintf(name, sizeof(name), "%s%s%s%s%s", c->name, c->with ? "_" : "",
			c->with ? c->with : "", c->format ? "_" : "", c->format ? c->format : "");
		if (list)
			puts(name);
		else if (is_wanted(name, argc, argv) && ++run)
			good = run_case(c, name, argv[0]) && good;
	}
	if (!list && run == 0)
		fprintf(stderr, "%s: no such case (see --list)\n", argv[0]);
	return list || (good && run > 0) ? 0 : 1;
}
