/* The loop of the load: what comes back is made anew at once. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "load.h"

enum { LOOKS_PER_CLOCK = 16, PATIENCE_MS = 10000, UNSAID = 0xff };

static struct {
	uint64_t random, cursor;
	uint64_t added, left; /* requests out of `left` that are to be made */
	unsigned out;
	bool counts; /* warm */
	int epoll;
} state = { .random = 88172645463325252u };

/* ---- one request ---- */

static void fill(struct slot *s, unsigned bytes)
{
	uint64_t *words = (void *)s->data;

	for (unsigned i = 0; i < bytes / 8; i++)
		words[i] = s->sector + i / (BLK_SECTOR / 8);
}

static void verify(const struct slot *s, unsigned bytes)
{
	const uint64_t *words = (const void *)s->data;

	for (unsigned i = 0; i < bytes / 8; i++)
		if (words[i] != s->sector + i / (BLK_SECTOR / 8))
			die("sector %llu: wrong data at byte %u of a request",
				(unsigned long long)s->sector, i * 8);
}

static void make(struct guest *g, struct ring *r, uint64_t now_ns)
{
	const struct options *o = &g->options;
	struct slot *s = g->free[g->free_head];
	uint64_t block;

	g->free_head = g->free_head + 1 == g->slot_count ? 0 : g->free_head + 1;
	if (o->sequential) {
		block = state.cursor;
		state.cursor = block + 1 == g->blocks ? 0 : block + 1;
	} else {
		block = figures_below(&state.random, g->blocks);
	}
	s->sector = block * (o->bytes / BLK_SECTOR);
	s->read = o->write_percent == 0 ||
		  (o->write_percent < 100 && figures_below(&state.random, 100) >= o->write_percent);
	s->shared->header.type = s->read ? BLK_IN : BLK_OUT;
	s->shared->header.reserved = 0;
	s->shared->header.sector = s->sector;
	s->shared->status = UNSAID;
	if (o->verify && s->read)
		memset(s->data, 0x5a, o->bytes);
	else if (o->verify)
		fill(s, o->bytes);
	s->started_ns = now_ns;
	g->format->add(r, s);
	state.left--;
	state.out++;
}

static void took(struct guest *g, struct slot *s, struct figures *figures, uint64_t now_ns)
{
	if (s->shared->status != BLK_OK)
		die("sector %llu: status %u", (unsigned long long)s->sector, s->shared->status);
	if (g->options.verify && s->read)
		verify(s, g->options.bytes);
	g->free[g->free_tail] = s;
	g->free_tail = g->free_tail + 1 == g->slot_count ? 0 : g->free_tail + 1;
	state.out--;
	if (state.counts)
		figures_late(figures, now_ns - s->started_ns, 1);
}

/* ---- queues ---- */

static void refill(struct guest *g, unsigned queue, uint64_t now_ns)
{
	struct ring *r = &g->rings[queue];

	while (r->free_count > 0 && state.left > 0)
		make(g, r, now_ns);
	if (g->format->publish(r))
		front_kick(&g->queues[queue]);
}

static bool turn(struct guest *g, unsigned queue, struct figures *figures, uint64_t now_ns)
{
	struct ring *r = &g->rings[queue];

	if (!g->format->has_used(r))
		return false;
	while (g->format->has_used(r))
		took(g, g->format->take(r), figures, now_ns);
	g->format->want_calls(r, false);
	refill(g, queue, now_ns);
	return true;
}

static bool any_used(const struct guest *g)
{
	for (unsigned i = 0; i < g->options.queues; i++)
		if (g->format->has_used(&g->rings[i]))
			return true;
	return false;
}

/* Edge-triggered: nobody needs to read the descriptors that call. */
static void open_calls(const struct guest *g)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	state.epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < g->options.queues; i++)
		if (epoll_ctl(state.epoll, EPOLL_CTL_ADD, g->queues[i].call, &event) != 0)
			die("epoll: %s", strerror(errno));
}

static void wait_call(struct guest *g)
{
	struct epoll_event event;

	for (unsigned i = 0; i < g->options.queues; i++)
		g->format->want_calls(&g->rings[i], true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (!any_used(g)) {
		int n = epoll_wait(state.epoll, &event, 1, PATIENCE_MS);

		if (n == 0)
			die(any_used(g) ? "it did not call" : "nothing came back");
		if (n < 0 && errno != EINTR)
			die("epoll: %s", strerror(errno));
	}
}

/* Nothing has come back. Polling, the clock says when it is time to stop. */
static void wait_used(struct guest *g, uint64_t since_ns)
{
	if (g->options.wait_call) {
		wait_call(g);
		return;
	}
	for (unsigned i = 0; i < LOOKS_PER_CLOCK && !any_used(g); i++)
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (figures_now_ns() - since_ns > PATIENCE_MS * 1000000ull)
		die("nothing came back");
}

/* ---- all of it ---- */

static uint64_t cpu_ns(const struct guest *g)
{
	return g->options.cpu_pid ? figures_cpu_ns(g->options.cpu_pid) : 0;
}

static void begin(const struct guest *g, struct figures *figures)
{
	state.counts = true;
	figures->cpu_begin_ns = cpu_ns(g);
	figures->begin_ns = figures_now_ns();
}

static void end(const struct guest *g, struct figures *figures)
{
	state.counts = false;
	state.left = 0;
	figures->end_ns = figures_now_ns();
	figures->cpu_end_ns = cpu_ns(g);
}

/* What is left to make: with verification a sequential load covers the whole disk once. */
static uint64_t wanted(const struct guest *g)
{
	if (g->options.count > 0)
		return g->options.count;
	return g->options.verify && g->options.sequential ? g->blocks : UINT64_MAX;
}

void loop_run(struct guest *g, struct figures *figures)
{
	const struct options *o = &g->options;
	uint64_t now = figures_now_ns(), seen = now;
	uint64_t begin_ns = now + (uint64_t)(o->warm * 1e9);
	uint64_t end_ns = begin_ns + (uint64_t)(o->seconds * 1e9);
	bool begun = false;

	open_calls(g);
	state.left = wanted(g);
	if (state.left != UINT64_MAX) { /* all of them count */
		begin_ns = now;
		end_ns = UINT64_MAX;
	}
	for (unsigned i = 0; i < o->queues; i++)
		refill(g, i, now);
	while (state.out > 0) {
		bool some = false;

		now = figures_now_ns();
		if (!begun && now >= begin_ns) {
			begin(g, figures);
			begun = true;
		}
		if (state.counts && now >= end_ns)
			end(g, figures);
		for (unsigned i = 0; i < o->queues; i++)
			some |= turn(g, i, figures, now);
		if (some)
			seen = now;
		else
			wait_used(g, seen);
	}
	if (state.counts)
		end(g, figures);
}
