/* Runs the cases of a suite, each in a process of its own. */
#include "unit.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PASSED = 0, FAILED = 1, SKIPPED = 77, HANG_S = 60 };

static struct {
	struct unit_case *first, *last, *now;
	const char *program, *suite;
	char name[100];
	char places[2][100]; /* directories: enum unit_place */
} state;

void unit_add(struct unit_case *c)
{
	if (state.first)
		state.last->next = c;
	else
		state.first = c;
	state.last = c;
}

/* index_wraps is "index wraps". */
static const char *name_of(const struct unit_case *c)
{
	size_t i = 0;

	for (; i < sizeof(state.name) - 1 && c->name[i]; i++)
		state.name[i] = c->name[i] == '_' ? ' ' : c->name[i];
	state.name[i] = 0;
	return state.name;
}

static void say_failed(const char *why)
{
	const char *name = name_of(state.now);

	printf("not ok %s: %s: %s (replay: %s '%s')\n", state.suite, name, why, state.program,
		name);
	fflush(stdout);
}

void unit_fail(const char *file, int line, const char *format, ...)
{
	char text[400], why[500];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)snprintf(why, sizeof(why), "%s:%d: %s", file, line, text);
	say_failed(why);
	_exit(FAILED);
}

void unit_skip(const char *why)
{
	printf("skip %s: %s: %s\n", state.suite, name_of(state.now), why);
	exit(SKIPPED);
}

void unit_eq(const char *file, int line, const char *what, long long a, long long b)
{
	if (a != b)
		unit_fail(file, line, "%s: %lld is not %lld (0x%llx, 0x%llx)", what, a, b,
			(unsigned long long)a, (unsigned long long)b);
}

void unit_text(const char *file, int line, const char *what, const char *a, const char *b)
{
	if (strcmp(a, b) != 0)
		unit_fail(file, line, "%s: it is \"%s\"", what, a);
}

void unit_bytes(
	const char *file, int line, const char *what, const void *a, const void *b, size_t len)
{
	const unsigned char *x = a, *y = b;

	for (size_t i = 0; i < len; i++)
		if (x[i] != y[i])
			unit_fail(file, line, "%s: byte %zu is %u, not %u", what, i, x[i], y[i]);
}

/* ---- places for files ---- */

static void name_places(void)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(state.places[UNIT_DISK], sizeof(state.places[0]), "%s/vubox-unit-%d",
		tmp ? tmp : "/tmp", (int)getpid());
	(void)snprintf(state.places[UNIT_MEMORY], sizeof(state.places[0]), "/dev/shm/vubox-unit-%d",
		(int)getpid());
}

const char *unit_path(enum unit_place place, const char *name)
{
	static char paths[4][200];
	static unsigned next;
	char *path = paths[next++ % 4];

	(void)mkdir(state.places[place], 0700);
	(void)snprintf(path, sizeof(paths[0]), "%s/%s", state.places[place], name);
	return path;
}

static void remove_places(void)
{
	for (int i = 0; i < 2; i++) {
		char command[120];

		if (access(state.places[i], F_OK) != 0)
			continue;
		(void)snprintf(command, sizeof(command), "rm -rf %s", state.places[i]);
		if (system(command) != 0)
			abort();
	}
}

/* ---- running ---- */

static void run(struct unit_case *c)
{
	state.now = c;
	c->run();
	printf("ok %s: %s\n", state.suite, name_of(c));
}

/* Runs a case in a child, which says how it went unless it dies. */
static bool run_apart(struct unit_case *c)
{
	char why[100];
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		(void)alarm(HANG_S);
		run(c);
		exit(PASSED); /* and look for leaks */
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		abort();
	remove_places();
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		return true;
	if (WIFEXITED(status) && WEXITSTATUS(status) <= FAILED)
		return WEXITSTATUS(status) == PASSED;
	state.now = c;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		(void)snprintf(why, sizeof(why), "it did not end within %d s", HANG_S);
	else if (WIFSIGNALED(status))
		(void)snprintf(why, sizeof(why), "killed by signal %d", WTERMSIG(status));
	else
		(void)snprintf(
			why, sizeof(why), "ended with status %d (see stderr)", WEXITSTATUS(status));
	say_failed(why);
	return false;
}

/* The last two parts of the program's path: build/tests/unit/vring is unit/vring. */
static const char *suite_of(const char *path)
{
	const char *at = path + strlen(path);
	int slashes = 0;

	while (at > path && (at[-1] != '/' || ++slashes < 2))
		at--;
	return at;
}

int main(int argc, char **argv)
{
	bool all_passed = true;
	int found = 0;

	state.program = argv[0];
	state.suite = suite_of(argv[0]);
	name_places();
	for (struct unit_case *c = state.first; c; c = c->next) {
		if (argc > 1 && strcmp(argv[1], name_of(c)) != 0)
			continue;
		found++;
		if (argc > 1)
			run(c);
		else
			all_passed &= run_apart(c);
	}
	remove_places();
	if (found == 0)
		fprintf(stderr, "usage: %s [CASE]\n", argv[0]);
	return found > 0 && all_passed ? 0 : 1;
}
