/* The processes of vubox: how they are started, ended and measured. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"

enum { WORDS_MAX = 128, END_MS = 60000 };

/* The command line of a process: its seats, one behind the other. */
static void words_of(unsigned which, char **words)
{
	unsigned n = 0;

	words[n++] = strdup(keeper.program);
	for (unsigned i = 0; i < keeper.seat_count; i++) {
		const struct seat *s = &keeper.seats[i];
		char text[400], *word, *rest = text;

		if (s->process != which)
			continue;
		snprintf(text, sizeof(text), "%s%s --socket-path=%s", n > 1 ? "-- " : "",
			s->options, s->socket);
		if (s->kind != SEAT_ENTROPY)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), " --blk-file=%s",
				s->image);
		while ((word = strsep(&rest, " ")))
			words[n++] = strdup(word);
	}
	words[n] = NULL;
}

static void log_of(unsigned which, char path[120])
{
	snprintf(path, 120, "%s/log.%u", keeper.dir, which);
}

void processes_start(unsigned which)
{
	char *words[WORDS_MAX], path[120];
	pid_t parent = getpid();

	log_of(which, path);
	keeper.processes[which] = fork();
	if (keeper.processes[which] == 0) {
		int log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(log, 1);
		dup2(log, 2);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		words_of(which, words);
		execv(keeper.program, words);
		_exit(127);
	}
	if (keeper.processes[which] < 0)
		soak_fail("cannot start a process: %s", strerror(errno));
}

static FILE *open_proc(unsigned which, const char *name)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)keeper.processes[which], name);
	f = fopen(path, "re");
	if (!f)
		soak_fail("%s: %s", path, strerror(errno));
	return f;
}

/* Until it has begun to take signals, SIGTERM and SIGHUP end it as they end anybody. */
void processes_wait_for_signals(unsigned which)
{
	unsigned long long blocked = 0;

	for (int waited = 0; (blocked >> (SIGTERM - 1) & 1) == 0; waited++) {
		FILE *f = open_proc(which, "status");
		char line[128];

		while (f && fgets(line, sizeof(line), f))
			(void)sscanf(line, "SigBlk: %llx", &blocked);
		if (f)
			(void)fclose(f);
		if (waited == END_MS)
			soak_fail("process %u takes no signals", which);
		usleep(1000);
	}
}

void processes_end(unsigned which, int signal)
{
	int status = 0, waited = 0;

	if (signal == SIGTERM)
		processes_wait_for_signals(which);
	kill(keeper.processes[which], signal);
	while (waitpid(keeper.processes[which], &status, WNOHANG) == 0) {
		if (waited++ == END_MS)
			soak_fail("process %u does not end by signal %d", which, signal);
		usleep(1000);
	}
	if (signal == SIGTERM ? !WIFEXITED(status) || WEXITSTATUS(status) != 0
			      : !WIFSIGNALED(status) || WTERMSIG(status) != signal)
		soak_fail("process %u ended with status 0x%x by signal %d", which, status, signal);
}

void processes_check(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);

	for (unsigned i = 0; pid > 0 && i < PROCESSES; i++)
		if (keeper.processes[i] == pid)
			soak_fail("process %u has ended, with status 0x%x", i, status);
	for (unsigned i = 0; pid > 0 && i < keeper.seat_count; i++) {
		if (keeper.guests[i] != pid)
			continue;
		keeper.guests[i] = 0;
		if (status != 0)
			soak_fail("the guest of %s has ended, with status 0x%x",
				keeper.seats[i].name, status);
	}
}

void processes_show_log(unsigned which)
{
	char path[120], text[4000];
	int fd;
	ssize_t n;

	log_of(which, path);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return;
	(void)lseek(fd, -(off_t)sizeof(text), SEEK_END);
	n = read(fd, text, sizeof(text));
	fprintf(stderr, "-- process %u said at last:\n%.*s\n", which, (int)(n > 0 ? n : 0), text);
	close(fd);
}

/* ---- /proc ---- */

static unsigned count_fds(unsigned which)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)keeper.processes[which]);
	dir = opendir(path);
	/* cppcheck-suppress readdirCalled ; one thread */
	for (struct dirent *e; dir && (e = readdir(dir));)
		n += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

struct measure processes_measure(unsigned which)
{
	struct measure m = { .fds = count_fds(which) };
	char line[1024];
	unsigned long user = 0, system = 0;
	FILE *f = open_proc(which, "maps");

	while (fgets(line, sizeof(line), f))
		m.maps++;
	fclose(f);
	f = open_proc(which, "status");
	while (fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "RssAnon: %u", &m.anon_kib);
		(void)sscanf(line, "VmRSS: %u", &m.rss_kib);
	}
	fclose(f);
	f = open_proc(which, "stat");
	if (fgets(line, sizeof(line), f) && strrchr(line, ')'))
		(void)sscanf(strrchr(line, ')') + 2,
			"%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
	m.ticks = (long)(user + system);
	fclose(f);
	return m;
}
