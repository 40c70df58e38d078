/*
 * A soak: two processes of vubox serve ten devices, each of which has a guest; guests connect,
 * work, and go, well or badly, while a process is killed again and again, images grow, descriptors
 * and memory are short. Each disk's guest knows what its disk must hold.
 *
 *     soak MINUTES [SEED]       VUBOX (./vubox), VUBOX_SANITIZED, TMPDIR (/var/tmp)
 *
 * Once a minute all guests rest; then the process that is never killed must hold what it held at
 * the end of the first minute: descriptors, mappings, memory; and it must use no processor time.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../front/front.h"
#include "keeper.h"

enum { REST_S = 300, SETTLE_S = 2, ANON_MORE_KIB = 256, IDLE_US = 500000, IDLE_TICKS = 3 };
enum { MINUTE_S = 60 };

struct keeper keeper;

static struct {
	struct measure first;
	bool has_first;
	uint64_t seed, began_us;
} state;

/* ---- who is there ---- */

static void seat(const char *name, enum seat_kind kind, unsigned process, const char *options)
{
	struct seat *s = &keeper.seats[keeper.seat_count++];
	int fd;

	*s = (struct seat){ .name = name, .options = options, .kind = kind, .process = process };
	snprintf(s->socket, sizeof(s->socket), "%s/%s.sock", keeper.dir, name);
	snprintf(s->image, sizeof(s->image), "%s/%s.img", keeper.dir, name);
	if (kind == SEAT_ENTROPY)
		return;
	fd = open(s->image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)DISK_SECTORS * SECTOR) < 0)
		soak_fail("%s: %s", s->image, strerror(errno));
	close(fd);
}

static void seats(void)
{
	bool uring = syscall(SYS_io_uring_setup, 0, NULL) < 0 && errno != ENOSYS && errno != EPERM;
	const char *engine = uring ? "blk --io=uring" : "blk --io=sync";

	if (!uring)
		printf("# no io_uring here: --io=sync instead\n");
	seat("uring", SEAT_DISK, STABLE, engine);
	seat("mmap", SEAT_DISK, STABLE, "blk --io=mmap");
	seat("sync", SEAT_DISK, STABLE, "blk --io=sync");
	seat("direct", SEAT_DISK, STABLE, "blk --direct");
	seat("victim", SEAT_VICTIM, STABLE, engine);
	seat("mapped-victim", SEAT_VICTIM, STABLE, "blk --io=mmap");
	seat("entropy", SEAT_ENTROPY, STABLE, "rng");
	seat("mortal-uring", SEAT_DISK, MORTAL, engine);
	seat("mortal-mmap", SEAT_DISK, MORTAL, "blk --io=mmap");
	seat("mortal-sync", SEAT_DISK, MORTAL, "blk --io=sync");
}

static void live(const struct seat *s)
{
	switch (s->kind) {
	case SEAT_DISK: guest_life(s); break;
	case SEAT_VICTIM: victim_life(s); break;
	case SEAT_ENTROPY: entropy_life(s); break;
	}
	atomic_fetch_add(&soak->lives, 1);
	atomic_fetch_add(&soak->lives_of[s - keeper.seats], 1);
}

__attribute__((noreturn)) static void run_guest(const struct seat *s, uint64_t seed)
{
	soak_seed(seed);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	while (!soak->stop) {
		if (soak->pause) {
			atomic_fetch_add(&soak->resting, 1);
			while (soak->pause && !soak->stop)
				usleep(5000);
			atomic_fetch_sub(&soak->resting, 1);
		}
		live(s);
	}
	if (s->kind == SEAT_DISK)
		guest_life(s); /* looks at all of its disk */
	_exit(0);
}

static void start_guests(void)
{
	pid_t parent = getpid();

	for (unsigned i = 0; i < keeper.seat_count; i++) {
		keeper.guests[i] = fork();
		if (keeper.guests[i] < 0)
			soak_fail("no process for a guest: %s", strerror(errno));
		if (keeper.guests[i] > 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			run_guest(&keeper.seats[i], state.seed * 100 + i);
		_exit(1);
	}
}

/* ---- once a minute ---- */

static void rest(void)
{
	uint64_t end_us = front_now_us() + REST_S * 1000000ull;

	soak->pause = true;
	while (soak->resting < keeper.seat_count) {
		processes_check();
		if (soak->failed)
			return;
		if (front_now_us() > end_us)
			soak_fail("only %u of %u guests rest", soak->resting, keeper.seat_count);
		usleep(5000);
	}
	(void)sleep(SETTLE_S);
}

static void judge(const struct measure *now, long ticks)
{
	const struct measure *first = &state.first;

	if (ticks > IDLE_TICKS)
		soak_fail("it uses the processor (%ld ticks) while nobody is connected", ticks);
	if (now->fds != first->fds)
		soak_fail("it holds %u descriptors, and held %u", now->fds, first->fds);
	if (now->maps != first->maps)
		soak_fail("it holds %u mappings, and held %u", now->maps, first->maps);
	if (!keeper.sanitized && now->anon_kib > first->anon_kib + ANON_MORE_KIB)
		soak_fail("it has %u KiB of its own, and had %u", now->anon_kib, first->anon_kib);
}

static void minute(void)
{
	struct measure now;
	long ticks;

	rest();
	if (soak->failed)
		return;
	ticks = processes_measure(STABLE).ticks;
	usleep(IDLE_US);
	now = processes_measure(STABLE);
	printf("%4llu s: %u lives, %u rude ones, %u came back; %u requests, %u plugged, %u rings "
	       "stopped; %s; %u fds, %u maps, %u KiB (%u of its own)\n",
		(unsigned long long)(front_now_us() - state.began_us) / 1000000, soak->lives,
		soak->rude, soak->resumed, soak->requests, soak->plugged, soak->stopped,
		trouble_counts(), now.fds, now.maps, now.rss_kib, now.anon_kib);
	fflush(stdout);
	if (!state.has_first)
		state.first = now;
	state.has_first = true;
	judge(&now, now.ticks - ticks);
	soak->pause = false;
}

/* ---- all of it ---- */

static void run_for(uint64_t seconds)
{
	uint64_t end_us = state.began_us + seconds * 1000000ull;
	uint64_t every_us = (seconds < 2 * MINUTE_S ? seconds / 2 : MINUTE_S) * 1000000ull;
	uint64_t next_us = state.began_us + every_us;

	while (front_now_us() < end_us && !soak->failed) {
		usleep(200000 + soak_below(1500000));
		processes_check();
		if (!soak->failed)
			trouble_make();
		if (front_now_us() >= next_us && !soak->failed) {
			minute();
			next_us += every_us;
		}
	}
}

/* A guest that has not ended, or NULL. */
static const struct seat *who_is_left(void)
{
	for (unsigned i = 0; i < keeper.seat_count; i++)
		if (keeper.guests[i] > 0)
			return &keeper.seats[i];
	return NULL;
}

/* Every guest looks at its whole disk; then vubox ends well. */
static void finish(void)
{
	uint64_t end_us = front_now_us() + REST_S * 1000000ull;
	const struct seat *left;

	soak->stop = true;
	soak->pause = false;
	while ((left = who_is_left()) && !soak->failed) {
		if (front_now_us() > end_us)
			soak_fail("the guest of %s does not come to an end", left->name);
		processes_check();
		usleep(5000);
	}
	for (unsigned i = 0; i < PROCESSES && !soak->failed; i++)
		processes_end(i, SIGTERM);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* The run itself is a process, too, so that whatever it finds ends it. */
static void run(uint64_t seconds)
{
	soak_seed(state.seed);
	seats();
	for (unsigned i = 0; i < PROCESSES; i++)
		processes_start(i);
	state.began_us = front_now_us();
	start_guests();
	run_for(seconds);
	finish();
	_exit(soak->failed ? 1 : 0);
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
	double minutes = argc > 1 ? atof(argv[1]) : 1;
	int status = 0;
	pid_t pid;

	keeper.program = getenv("VUBOX") ? getenv("VUBOX") : "./vubox";
	keeper.sanitized = getenv("VUBOX_SANITIZED") != NULL;
	state.seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	/* cppcheck-suppress invalidFunctionArg ; an anonymous mapping has no file */
	soak = mmap(NULL, sizeof(*soak), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(keeper.dir, sizeof(keeper.dir), "%.60s/vubox-soak-XXXXXX", tmp);
	if (soak == MAP_FAILED || !mkdtemp(keeper.dir)) {
		perror("soak");
		return 2;
	}
	printf("# seed %llu\n", (unsigned long long)state.seed);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		run((uint64_t)(minutes * MINUTE_S));
	waitpid(pid, &status, 0);
	for (unsigned i = 0; i < PROCESSES && status != 0; i++)
		processes_show_log(i);
	nftw(keeper.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	if (status == 0) {
		printf("ok soak\n");
		return 0;
	}
	printf("not ok soak: %s (replay: %s %g %llu)\n",
		soak->why[0] ? soak->why : "it ended by itself", argv[0], minutes,
		(unsigned long long)state.seed);
	return 1;
}
