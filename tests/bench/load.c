/*
 * A load for any vhost-user-blk back-end: the queues of one guest, kept full by this thread.
 *
 *     load --socket=PATH [--depth=32] [--queues=1] [--bytes=4096] [--mode=read] [--wait=poll]
 *          [--seconds=1] [--warm=0.05] [--count=N] [--packed] [--indirect] [--segments=1]
 *          [--regions=1] [--buffers=N] [--verify] [--cpu=PID] [--idle=SECONDS]
 *
 * Prints one line: operations a second, p50 and p99 latency in microseconds and, with --cpu, the
 * microseconds of processor time that the back-end used for each.
 *
 * --mode=read|write|mix (random; 70 % reads)|seqread|seqwrite. --wait=poll looks at the used rings
 * all the time and asks for no calls, as a polling driver does; call sleeps until it is called.
 * The depth is shared among the queues. Data is cut into so many segments. Guest memory is shared
 * as so many regions, and at least as many buffers, used in turns, are spread over them. --count
 * ends it after so many operations instead of seconds. With --verify all data is of numbers of
 * sectors, and a sequential mode goes over the whole disk once. --idle stays connected for so long
 * afterwards, with nothing to do; `load: idle` on stderr says when that begins.
 */
#include "load.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Noreturn void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "load: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

static unsigned number(const char *name, const char *text, unsigned min, unsigned max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text == 0 || *end != 0 || n < min || n > max)
		die("--%s=%s: not a number of %u to %u", name, text, min, max);
	return (unsigned)n;
}

static double seconds(const char *name, const char *text)
{
	char *end;
	double s = strtod(text, &end);

	if (*text == 0 || *end != 0 || !(s >= 0 && s < 1e6))
		die("--%s=%s: no seconds", name, text);
	return s;
}

static void set_mode(struct options *o, const char *text)
{
	static const struct {
		const char *name;
		unsigned write_percent;
		bool sequential;
	} modes[] = { { "read", 0, false }, { "write", 100, false }, { "mix", 30, false },
		{ "seqread", 0, true }, { "seqwrite", 100, true } };

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(text, modes[i].name) == 0) {
			o->write_percent = modes[i].write_percent;
			o->sequential = modes[i].sequential;
			return;
		}
	die("--mode=%s: read, write, mix, seqread or seqwrite", text);
}

static void set_wait(struct options *o, const char *text)
{
	o->wait_call = strcmp(text, "call") == 0;
	if (!o->wait_call && strcmp(text, "poll") != 0)
		die("--wait=%s: poll or call", text);
}

/* clang-format off */
static const struct option names[] = {
	{ "socket", 1, NULL, 's' },   { "depth", 1, NULL, 'd' },    { "queues", 1, NULL, 'q' },
	{ "bytes", 1, NULL, 'b' },    { "seconds", 1, NULL, 't' },  { "warm", 1, NULL, 'W' },
	{ "count", 1, NULL, 'c' },    { "mode", 1, NULL, 'm' },     { "wait", 1, NULL, 'w' },
	{ "packed", 0, NULL, 'p' },   { "indirect", 0, NULL, 'i' }, { "segments", 1, NULL, 'S' },
	{ "regions", 1, NULL, 'r' },  { "buffers", 1, NULL, 'B' },  { "verify", 0, NULL, 'v' },
	{ "cpu", 1, NULL, 'C' },      { "idle", 1, NULL, 'I' },     { NULL, 0, NULL, 0 },
};
/* clang-format on */

static void set(struct options *o, int c, const char *name, const char *arg)
{
	switch (c) {
	case 's': o->socket = arg; break;
	case 'd': o->depth = number(name, arg, 1, DEPTH_MAX); break;
	case 'q': o->queues = number(name, arg, 1, QUEUES_MAX); break;
	case 'b': o->bytes = number(name, arg, BLK_SECTOR, BYTES_MAX); break;
	case 't': o->seconds = seconds(name, arg); break;
	case 'W': o->warm = seconds(name, arg); break;
	case 'c': o->count = number(name, arg, 1, 1000000000); break;
	case 'm': set_mode(o, arg); break;
	case 'w': set_wait(o, arg); break;
	case 'p': o->packed = true; break;
	case 'i': o->indirect = true; break;
	case 'S': o->segments = number(name, arg, 1, SEGMENTS_MAX); break;
	case 'r': o->regions = number(name, arg, 1, REGIONS_MAX); break;
	case 'B': o->buffers = number(name, arg, 1, SLOTS_MAX); break;
	case 'v': o->verify = true; break;
	case 'C': o->cpu_pid = (int)number(name, arg, 1, 1 << 30); break;
	case 'I': o->idle = seconds(name, arg); break;
	default: exit(2);
	}
}

static void parse(struct options *o, int argc, char **argv)
{
	int c, index = 0;

	while ((c = getopt_long(argc, argv, "", names, &index)) >= 0)
		set(o, c, names[index].name, optarg);
	if (!o->socket || optind < argc)
		die("see the head of tests/bench/load.c for its options");
	if (o->bytes % BLK_SECTOR != 0 || o->bytes % o->segments != 0)
		die("--bytes must be sectors, and a multiple of --segments");
	if (o->queues > o->depth)
		die("a queue needs a request: --queues is more than --depth");
	if (o->buffers < o->regions)
		o->buffers = o->regions;
}

static void idle(double s)
{
	struct timespec t = { .tv_sec = (time_t)s,
		.tv_nsec = (long)((s - (double)(time_t)s) * 1e9) };

	if (s == 0)
		return;
	fprintf(stderr, "load: idle\n");
	nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
	static struct guest guest;
	static struct figures figures;

	guest.options = (struct options){ .depth = 32,
		.queues = 1,
		.bytes = 4096,
		.segments = 1,
		.regions = 1,
		.seconds = 1,
		.warm = 0.05 };
	parse(&guest.options, argc, argv);
	guest_open(&guest);
	loop_run(&guest, &figures);
	figures_print(&figures, guest.options.cpu_pid != 0, 0);
	fflush(stdout);
	idle(guest.options.idle);
	front_close(&guest.front);
	return 0;
}
