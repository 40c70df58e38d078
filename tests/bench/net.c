/*
 * A load for what moves packets: this thread puts them in at one end and takes them at the other,
 * so many at a time.
 *
 *     net pass SOCKET SOCKET    network card to network card, of any vhost-user-net back-end
 *     net out SOCKET TAP        network card to a tap; the host has no use for the frames
 *     net in SOCKET TAP         the host sends to the tap: to the network card
 *     net stream SOCKET UDS     the host writes to a socket: to the socket device
 *     net bare-out|bare-in TAP, net bare-stream -
 *                               the same packets, with a bare loop in the back-end's place
 *
 *         [--bytes=64] [--depth=128] [--buffer=2048] [--wait=poll] [--seconds=1] [--warm=0.05]
 *         [--verify] [--cpu=PID] [--core=N]
 *
 * Prints one line: packets a second, p50 and p99 of the time until they come in microseconds, the
 * microseconds of processor time that the back-end (--cpu) or bare loop used for each, and with
 * --wait=call how many came for each call.
 *
 * --bytes is a frame, with offloads if it is longer than 1514, or what is written to a socket at
 * once. --buffer is a receive buffer of the guest; frames may be spread over several. A bare loop
 * that reads is a process of its own, on processor --core. --verify: each packet is as it was sent,
 * and none is lost.
 */
#include "net.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "figures.h"
#include "load.h"

enum { PATIENCE_MS = 10000, TRIES = 8, TRY_NS = 1000000000 };

const struct net_mode net_modes[] = {
	{ "pass", true, net_guest_pass },
	{ "out", true, net_guest_out },
	{ "in", true, net_guest_in },
	{ "stream", true, net_guest_stream },
	{ "bare-out", false, net_bare_out },
	{ "bare-in", false, net_bare_in },
	{ "bare-stream", false, net_bare_stream },
};
const unsigned net_mode_count = sizeof(net_modes) / sizeof(net_modes[0]);

static struct {
	uint64_t sent, arrived;
	uint64_t started_ns[NET_DEPTH_MAX];
	bool counts; /* warm */
	int epoll;
} state;

_Noreturn void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "net: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

/* ---- options ---- */

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

static void set(struct net_options *o, int c, const char *name, const char *arg)
{
	switch (c) {
	case 'b': o->bytes = number(name, arg, 64, NET_BYTES_MAX); break;
	case 'd': o->depth = number(name, arg, 1, NET_DEPTH_MAX); break;
	case 'B': o->buffer = number(name, arg, 64, NET_BUFFER_MAX); break;
	case 't': o->seconds = seconds(name, arg); break;
	case 'W': o->warm = seconds(name, arg); break;
	case 'w': o->wait_call = strcmp(arg, "call") == 0; break;
	case 'v': o->verify = true; break;
	case 'C': o->cpu_pid = (int)number(name, arg, 1, 1 << 30); break;
	case 'c': o->core = (int)number(name, arg, 0, 1023); break;
	default: exit(2);
	}
}

static const struct net_mode *parse(struct net_options *o, int argc, char **argv)
{
	static const struct option names[] = {
		{ "bytes", 1, NULL, 'b' },
		{ "depth", 1, NULL, 'd' },
		{ "buffer", 1, NULL, 'B' },
		{ "seconds", 1, NULL, 't' },
		{ "warm", 1, NULL, 'W' },
		{ "wait", 1, NULL, 'w' },
		{ "verify", 0, NULL, 'v' },
		{ "cpu", 1, NULL, 'C' },
		{ "core", 1, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	int c, index = 0;

	while ((c = getopt_long(argc, argv, "", names, &index)) >= 0)
		set(o, c, names[index].name, optarg);
	for (unsigned i = 0; i < net_mode_count && optind < argc; i++)
		if (strcmp(argv[optind], net_modes[i].name) == 0 &&
			argc - optind == 2 + net_modes[i].two) {
			o->from = argv[optind + 1];
			o->to = argv[optind + 2];
			return &net_modes[i];
		}
	die("see the head of tests/bench/net.c for its options");
}

/* ---- the loop ---- */

static unsigned take(const struct ends *ends, struct figures *f, uint64_t now_ns)
{
	unsigned n = ends->arrived(state.arrived);

	for (unsigned i = 0; i < n; i++) {
		uint64_t at = state.arrived++ % NET_DEPTH_MAX;

		if (state.counts)
			figures_late(f, now_ns - state.started_ns[at], 1);
	}
	return n;
}

static void put(const struct ends *ends, unsigned depth, uint64_t now_ns)
{
	while (state.sent - state.arrived < depth && ends->send(state.sent)) {
		state.started_ns[state.sent % NET_DEPTH_MAX] = now_ns;
		state.sent++;
	}
	ends->flush();
}

/* The way may not be open yet on the far side: a packet that is lost is sent again. */
static void probe(const struct ends *ends, struct figures *f)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t begin_ns = figures_now_ns();

		put(ends, 1, begin_ns);
		while (figures_now_ns() - begin_ns < TRY_NS)
			if (take(ends, f, begin_ns) > 0)
				return;
		state.sent = state.arrived;
	}
	die("no packet arrives");
}

static void open_calls(const struct ends *ends)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	state.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(state.epoll, EPOLL_CTL_ADD, ends->calls->queue.call, &event) != 0)
		die("epoll: %s", strerror(errno));
}

static void wait_call(const struct ends *ends)
{
	struct epoll_event event;

	lane_want_calls(ends->calls, true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (!lane_has_used(ends->calls)) {
		int n = epoll_wait(state.epoll, &event, 1, PATIENCE_MS);

		if (n == 0)
			die(lane_has_used(ends->calls) ? "it did not call" : "nothing came");
		if (n < 0 && errno != EINTR)
			die("epoll: %s", strerror(errno));
	}
}

/* Begins or ends what is counted. */
static uint64_t mark(const struct ends *ends, uint64_t *cpu_ns, uint64_t *ns, bool counts)
{
	state.counts = counts;
	*cpu_ns = figures_cpu_ns(ends->cpu_pid);
	*ns = figures_now_ns();
	return ends->calls ? front_signals(ends->calls->queue.call) : 0;
}

/* Returns how often it was called. */
static uint64_t run(const struct net_options *o, const struct ends *ends, struct figures *f)
{
	uint64_t now = figures_now_ns(), seen = now;
	uint64_t begin_ns = now + (uint64_t)(o->warm * 1e9);
	uint64_t end_ns = begin_ns + (uint64_t)(o->seconds * 1e9);

	for (;;) {
		now = figures_now_ns();
		if (!state.counts && now >= begin_ns)
			(void)mark(ends, &f->cpu_begin_ns, &f->begin_ns, true);
		if (now >= end_ns)
			return mark(ends, &f->cpu_end_ns, &f->end_ns, false);
		put(ends, o->depth, now);
		now = figures_now_ns(); /* what is sent to the host takes its time */
		if (take(ends, f, now) > 0)
			seen = now;
		else if (o->wait_call)
			wait_call(ends);
		else if (now - seen > PATIENCE_MS * 1000000ull)
			die("nothing came");
	}
}

int main(int argc, char **argv)
{
	static struct figures figures;
	struct net_options o = {
		.depth = 128, .bytes = 64, .buffer = 2048, .seconds = 1, .warm = 0.05, .core = -1
	};
	const struct net_mode *mode = parse(&o, argc, argv);
	struct ends ends = { 0 };
	uint64_t calls;

	mode->open(&o, &ends);
	if (o.wait_call && !ends.calls)
		die("a bare loop makes no calls");
	if (o.wait_call)
		open_calls(&ends);
	probe(&ends, &figures);
	calls = run(&o, &ends, &figures);
	figures_print(&figures, true,
		o.wait_call ? (double)figures.done / (double)(calls + (calls == 0)) : 0);
	return 0;
}
