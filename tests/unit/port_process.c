/* port/process.c: output, signals, small files and streams. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port.h"
#include "unit.h"

static const char *file(const char *name, const char *text)
{
	const char *path = unit_path(UNIT_DISK, name);
	FILE *f = fopen(path, "w");

	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
	return path;
}

CASE(time_goes_on)
{
	uint64_t a = out_now_ns(), b = out_now_ns();

	CHECK(a > 0 && b >= a && b - a < 1000000000);
}

CASE(a_file_is_read_whole_or_not)
{
	const char *path = file("f", "12345678");
	char buf[10] = "xxxxxxxxx";

	CHECK_EQ(port_read_file(path, buf, 9), 8);
	CHECK_BYTES(buf, "12345678x", 9);
	CHECK_EQ(port_read_file(path, buf, 8), 8);
	CHECK_EQ(port_read_file(path, buf, 7), -EFBIG);
	CHECK_EQ(port_read_file(file("empty", ""), buf, 7), 0);
	CHECK_EQ(port_read_file("/nothing/there", buf, 7), -ENOENT);
	CHECK_EQ(port_read_file("/", buf, 7), -EISDIR);
}

CASE(output_goes_out_whole)
{
	static char text[200000];
	int ends[2], status;
	size_t got = 0;
	ssize_t n;
	pid_t child;

	CHECK_OK(pipe(ends));
	memset(text, 'x', sizeof(text));
	child = fork();
	if (child == 0) {
		(void)dup2(ends[1], STDOUT_FILENO);
		port_write_out(text, sizeof(text));
		port_exit(3);
	}
	(void)close(ends[1]);
	while ((n = read(ends[0], text, sizeof(text))) > 0)
		got += (size_t)n;
	CHECK_EQ(got, sizeof(text));
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

CASE(output_that_nobody_takes_ends_with_1)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		(void)close(STDOUT_FILENO);
		port_write_out("x", 1);
		port_exit(3);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

CASE(a_slow_reader_of_stderr_costs_lines_and_no_time)
{
	static char line[512];
	int ends[2], saved = dup(STDERR_FILENO);
	ssize_t n = 0, got = 0;

	CHECK_OK(pipe(ends));
	(void)dup2(ends[1], STDERR_FILENO);
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (unsigned i = 0; i < 1000; i++)
		out_error_text(line, sizeof(line));
	(void)dup2(saved, STDERR_FILENO);
	(void)close(ends[1]);
	while ((n = read(ends[0], line, sizeof(line))) > 0)
		got += n;
	CHECK(got > 0 && got < 1000 * 512);
	CHECK_EQ(got % 512, 0); /* whole lines */
}

CASE(a_bug_ends_it_by_sigabrt)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		out_abort();
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

CASE(missing_descriptors_are_filled)
{
	int status, fd;
	pid_t child = fork();

	if (child == 0) {
		(void)close(0);
		(void)close(2);
		if (port_process_open() != 0 || fcntl(0, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0)
			_exit(1);
		fd = open("/", O_RDONLY);
		_exit(fd > 2 ? 0 : 2);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

static void expect_descriptors(rlim_t soft, rlim_t hard, rlim_t expected)
{
	struct rlimit limit = { soft, hard };

	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_OK(port_process_open());
	CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
	CHECK(limit.rlim_cur == expected && limit.rlim_max == expected);
}

CASE(descriptors_are_as_many_as_may_be_needed)
{
	struct rlimit limit;

	CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
	if (limit.rlim_max >= CONFIG_FDS_MAX)
		expect_descriptors(256, limit.rlim_max, CONFIG_FDS_MAX);
	expect_descriptors(64, 256, 256);
	expect_descriptors(64, 64, 64);
}

CASE(it_dies_of_a_signal_that_is_blocked_or_ignored)
{
	int status;
	sigset_t all;
	pid_t child = fork();

	if (child == 0) {
		(void)sigfillset(&all);
		(void)sigprocmask(SIG_SETMASK, &all, NULL);
		(void)signal(SIGABRT, SIG_IGN);
		out_abort();
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

CASE(signals_that_come_too_early)
{
	CHECK_OK(port_process_open());
	CHECK_OK(kill(getpid(), SIGHUP));
	CHECK_OK(kill(getpid(), SIGUSR1));
	CHECK_OK(kill(getpid(), SIGPIPE));
	CHECK_OK(kill(getpid(), SIGXFSZ));
	CHECK_EQ(port_signals_next(port_signals_open()), PORT_SIGNAL_NONE);
}

CASE(signals_are_events)
{
	uint64_t token;
	int fd = port_signals_open();

	CHECK(fd >= 0);
	CHECK_EQ(port_signals_next(fd), PORT_SIGNAL_NONE);
	CHECK_OK(kill(getpid(), SIGHUP));
	CHECK_EQ(port_signals_next(fd), PORT_SIGNAL_AGAIN);
	CHECK_OK(kill(getpid(), SIGTERM));
	CHECK_OK(port_wait_open());
	CHECK_OK(port_wait_add(fd, 1, PORT_LEVEL));
	CHECK_EQ(port_wait(&token, 1, -1), 1);
	CHECK_EQ(port_signals_next(fd), PORT_SIGNAL_END);
	CHECK_OK(kill(getpid(), SIGUSR1));
	CHECK_EQ(port_signals_next(fd), PORT_SIGNAL_TELL);
	CHECK_OK(kill(getpid(), SIGINT));
	CHECK_EQ(port_signals_next(fd), PORT_SIGNAL_END);
	CHECK_EQ(port_signals_next(fd), PORT_SIGNAL_NONE);
}

CASE(random_bytes)
{
	static char a[5000], b[5000];
	unsigned zeroes = 0;

	CHECK_OK(port_random(a, sizeof(a)));
	CHECK_OK(port_random(b, sizeof(b)));
	CHECK(memcmp(a, b, sizeof(a)) != 0);
	for (unsigned i = 0; i < sizeof(a); i++)
		zeroes += a[i] == 0;
	CHECK(zeroes < 100);
	CHECK_OK(port_random(a, 0));
}

CASE(streams)
{
	const char *path = file("f", "abc");
	bool endless = true;
	char buf[8];
	int fd;

	fd = port_stream_open(path, &endless);
	CHECK(fd >= 0 && !endless);
	CHECK_EQ(port_stream_read(fd, buf, 2), 2);
	CHECK_EQ(port_stream_read(fd, buf, 8), 1);
	CHECK_EQ(port_stream_read(fd, buf, 8), 0);
	port_close(fd);
	CHECK_EQ(port_stream_read(fd, buf, 8), -EBADF);
	fd = port_stream_open("/dev/zero", &endless);
	CHECK(fd >= 0 && endless);
	CHECK_EQ(port_stream_read(fd, buf, 8), 8);
	CHECK_EQ(port_stream_open("/", &endless), -EISDIR);
	CHECK_EQ(port_stream_open("/nothing", &endless), -ENOENT);
}

CASE(a_stream_without_bytes_does_not_block)
{
	const char *path = unit_path(UNIT_DISK, "fifo");
	bool endless = false;
	char buf[8];
	int fd, writer;

	CHECK_OK(mkfifo(path, 0600));
	fd = port_stream_open(path, &endless); /* nor does this, without a writer */
	CHECK(fd >= 0 && endless);
	writer = open(path, O_WRONLY);
	CHECK(writer >= 0);
	CHECK_EQ(port_stream_read(fd, buf, 8), -EAGAIN);
	CHECK_EQ(write(writer, "abc", 3), 3);
	CHECK_EQ(port_stream_read(fd, buf, 8), 3);
}

CASE(what_is_opened_is_not_inherited)
{
	const char *path = file("f", "abc");
	bool endless;
	int fds[3];

	fds[0] = port_stream_open(path, &endless);
	fds[1] = port_shared_file("test", 10);
	fds[2] = port_signals_open();
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

CASE(whoever_waits_until_all_is_served)
{
	int ends[2], own[2];
	char byte = 0;

	CHECK_OK(pipe(ends));
	CHECK_OK(pipe2(own, O_CLOEXEC));
	CHECK_EQ(port_ready_check(9999), -EBADF);
	CHECK_EQ(port_ready_check(ends[0]), -EBADF); /* nobody writes there */
	CHECK_EQ(port_ready_check(own[1]), -EBADF);  /* ours, and for something else */
	CHECK_OK(port_ready_check(ends[1]));
	CHECK_EQ(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
	port_ready(ends[1]);
	CHECK_EQ(read(ends[0], &byte, 1), 1);
	CHECK_EQ(byte, '\n');
	CHECK_EQ(read(ends[0], &byte, 1), 0);
	CHECK_EQ(fcntl(ends[1], F_GETFD), -1);
}
