/* What a host does to its processes, and they must bear. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper.h"

static struct {
	unsigned kills, ends, grown, starved, cramped, frozen, shrunk;
} count;

/* While it lasts, and for who was there before, failures are no findings. */
static void begin(void)
{
	atomic_fetch_add(&soak->troubles, 1);
}

static void end(void)
{
	atomic_fetch_add(&soak->troubles, 1);
}

static void die(int signal)
{
	atomic_fetch_add(&soak->deaths[MORTAL], 1);
	processes_end(MORTAL, signal);
	usleep(soak_below(200000));
	processes_start(MORTAL);
	atomic_fetch_add(&soak->deaths[MORTAL], 1);
}

static void kill_one(void)
{
	die(SIGKILL);
	count.kills++;
}

static void end_one(void)
{
	die(SIGTERM);
	count.ends++;
}

static const struct seat *a_seat(enum seat_kind kind)
{
	for (;;) {
		const struct seat *s = &keeper.seats[soak_below(keeper.seat_count)];

		if (s->kind == kind)
			return s;
	}
}

/* The process of this seat is told to look at its image. */
static void look_again(const struct seat *s)
{
	processes_wait_for_signals(s->process);
	kill(keeper.processes[s->process], SIGHUP);
}

/* An image grows, or not, and its process is told to look. */
static void grow_one(void)
{
	const struct seat *s = a_seat(SEAT_DISK);
	struct stat st;
	off_t size;

	if (stat(s->image, &st) < 0)
		soak_fail("%s is gone", s->image);
	size = st.st_size + (off_t)soak_below(64) * 4096;
	if (size <= (off_t)DISK_SECTORS_MAX * SECTOR && truncate(s->image, size) < 0)
		soak_fail("%s does not grow", s->image);
	look_again(s);
	count.grown++;
}

/* Leaves a process so much of a resource more than it has. */
static void limit(unsigned which, enum __rlimit_resource what, rlim_t most)
{
	struct rlimit old, tight;

	if (prlimit(keeper.processes[which], what, NULL, &old) < 0)
		soak_fail("no limit of process %u", which);
	begin();
	tight = old;
	tight.rlim_cur = most;
	(void)prlimit(keeper.processes[which], what, &tight, NULL);
	usleep(50000 + soak_below(600000));
	(void)prlimit(keeper.processes[which], what, &old, NULL);
	end();
}

static void starve_of_descriptors(void)
{
	unsigned which = soak_below(PROCESSES);

	limit(which, RLIMIT_NOFILE, processes_measure(which).fds + soak_below(4));
	count.starved++;
}

static void starve_of_memory(void)
{
	unsigned which = soak_below(PROCESSES);
	unsigned long pages = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)keeper.processes[which]);
	f = fopen(path, "re");
	if (keeper.sanitized || !f || fscanf(f, "%lu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	if (pages == 0)
		return;
	limit(which, RLIMIT_AS, (pages + soak_below(300)) * 4096);
	count.cramped++;
}

/* No trouble: everybody has more patience than that. */
static void freeze_one(void)
{
	pid_t pid = keeper.processes[soak_below(PROCESSES)];

	kill(pid, SIGSTOP);
	usleep(soak_below(400000));
	kill(pid, SIGCONT);
	count.frozen++;
}

/* Nor this, for all but the victim, who is bad itself. */
static void shrink_one(void)
{
	const struct seat *s = a_seat(SEAT_VICTIM);

	if (truncate(s->image, (off_t)soak_below(64) * 4096) < 0)
		soak_fail("%s does not shrink", s->image);
	if (soak_one_in(4))
		look_again(s);
	usleep(soak_below(200000));
	if (truncate(s->image, (off_t)DISK_SECTORS * SECTOR) < 0)
		soak_fail("%s does not grow again", s->image);
	look_again(s);
	count.shrunk++;
}

void trouble_make(void)
{
	static void (*const kinds[])(void) = { kill_one, kill_one, kill_one, end_one, grow_one,
		grow_one, starve_of_descriptors, starve_of_memory, freeze_one, shrink_one };

	kinds[soak_below(sizeof(kinds) / sizeof(kinds[0]))]();
}

const char *trouble_counts(void)
{
	static char text[200];

	snprintf(text, sizeof(text),
		"%u killed, %u ended, %u grown, %u out of fds, %u out of memory, %u frozen, "
		"%u shrunk",
		count.kills, count.ends, count.grown, count.starved, count.cramped, count.frozen,
		count.shrunk);
	return text;
}
