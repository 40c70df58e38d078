/*
 * The loop.
 *
 * Theory of operation. A tick is: wait; messages and other events; ready queues in turns; hand the
 * batch of I/O to the kernel; take what is done; publish and call once for each queue; let sessions
 * go on that waited for I/O to drain. Kicks and completions only mark queues; nothing recurses. We
 * sleep only after every idle queue has asked for kicks and was looked at once more.
 */
#include "loop.h"

#include <errno.h>

#include "device.h"
#include "num.h"
#include "panic.h"
#include "queue.h"

enum {
	EVENTS_MAX = 64,
	POLLED_NS = 200000, /* a ring without a kick is looked at so often at least */
	POLLED_SPIN_NS = 50000,
	LOOKS_PER_CLOCK = 64,
	ASK_NS = 100000, /* who spins longer asks for events meanwhile */
	BUSY_TICKS_PER_WAIT = 8,
	BUSY_BYTES_PER_WAIT = CONFIG_BUDGET_BYTES,
};

struct watch {
	loop_fn *fn; /* NULL: free */
	void *owner;
	int fd;
	bool news; /* not a kick, and not a completion */
	uint32_t generation;
};

static struct {
	struct watch watches[CONFIG_WATCHES_MAX];
	struct loop_timer *timers;
	uint64_t now_ns;     /* of this tick; 0: nobody has asked yet */
	uint64_t spin_ns;    /* --poll-us */
	bool spin_pays;      /* the last idleness was shorter than that */
	uint32_t busy_ticks; /* since events were last asked for … */
	uint64_t busy_bytes; /* … and bytes of requests */
	bool news;           /* since loop_take_news */
	bool end;
} state;

int loop_open(void)
{
	state.news = true;
	return port_wait_open();
}

int loop_watch(int fd, enum port_trigger trigger, loop_fn *fn, void *owner)
{
	for (uint32_t i = 0; i < CONFIG_WATCHES_MAX; i++) {
		struct watch *w = &state.watches[i];
		int error;

		if (w->fn)
			continue;
		w->generation++;
		error = port_wait_add(fd, (uint64_t)w->generation << 32 | i, trigger);
		if (error < 0)
			return error;
		w->fn = fn;
		w->owner = owner;
		w->fd = fd;
		w->news = trigger == PORT_LEVEL;
		return (int)i;
	}
	return -ENOSPC;
}

void loop_unwatch(int watch)
{
	struct watch *w = &state.watches[watch];

	ASSERT(w->fn);
	port_wait_remove(w->fd);
	w->fn = NULL;
}

static void loop_event(uint64_t token)
{
	struct watch *w = &state.watches[(uint32_t)token];

	if (!w->fn || w->generation != token >> 32)
		return;
	state.news |= w->news;
	w->fn(w->owner);
}

void loop_timer_set(struct loop_timer *timer, uint64_t at_ns, loop_fn *fn, void *owner)
{
	struct loop_timer **at = &state.timers;

	loop_timer_clear(timer);
	while (*at && (*at)->at_ns <= at_ns)
		at = &(*at)->next;
	*timer = (struct loop_timer){
		.next = *at, .at_ns = at_ns, .fn = fn, .owner = owner, .set = true
	};
	*at = timer;
}

void loop_timer_clear(struct loop_timer *timer)
{
	struct loop_timer **at = &state.timers;

	if (!timer->set)
		return;
	while (*at != timer)
		at = &(*at)->next;
	*at = timer->next;
	timer->set = false;
}

static void loop_timers(void)
{
	/* Once: what is set for "now" meanwhile is for the next tick. */
	uint64_t now = state.timers ? out_now_ns() : 0;

	while (state.timers && state.timers->at_ns <= now) {
		struct loop_timer *t = state.timers;

		state.news = true;
		loop_timer_clear(t);
		t->fn(t->owner);
	}
}

void loop_poll(uint64_t ns)
{
	if (ns > state.spin_ns)
		state.spin_ns = ns;
}

/* How many there were. */
static unsigned loop_events(int64_t timeout_ns)
{
	uint64_t tokens[EVENTS_MAX];
	unsigned n = port_wait(tokens, EVENTS_MAX, timeout_ns);

	state.busy_ticks = 0;
	state.busy_bytes = 0;
	for (unsigned i = 0; i < n; i++)
		loop_event(tokens[i]);
	return n;
}

/*
 * Looks at the rings for a while before sleeping; true if that found work. All else is not
 * forgotten meanwhile.
 */
static bool loop_spin(uint64_t since_ns)
{
	uint64_t spin_ns = state.spin_pays && port_io_pending() == 0 ? state.spin_ns : 0;
	uint64_t now, end, asked = since_ns;

	if (queues_polled() && spin_ns < POLLED_SPIN_NS)
		spin_ns = POLLED_SPIN_NS;
	if (spin_ns == 0)
		return false;
	end = since_ns + spin_ns;
	if (state.timers && state.timers->at_ns < end)
		end = state.timers->at_ns;
	do {
		for (unsigned i = 0; i < LOOKS_PER_CLOCK; i++) {
			port_io_submit();
			if (port_io_ready() || queues_peek())
				return true;
		}
		now = out_now_ns();
		if (now - asked >= ASK_NS) {
			if (loop_events(0) > 0)
				return true;
			asked = now;
		}
	} while (now < end);
	return false;
}

/* How long a sleep that begins now may last, in nanoseconds: -1 for ever. */
static int64_t loop_timeout(uint64_t now_ns)
{
	int64_t timeout = -1;

	if (state.timers)
		timeout =
			state.timers->at_ns > now_ns ? (int64_t)(state.timers->at_ns - now_ns) : 0;
	if (queues_polled() && (timeout < 0 || timeout > POLLED_NS))
		timeout = POLLED_NS;
	return timeout;
}

/* Step 1 of a tick: sleeps if there is nothing to do, and takes what has come. */
static void loop_wait(void)
{
	bool work = queues_have_work() || port_io_ready();
	uint64_t idle_since = 0;

	/* While rings are full of work, the system call that asks for events can wait a little. */
	if (!work) {
		idle_since = out_now_ns();
		work = loop_spin(idle_since);
	}
	if (work) {
		if (++state.busy_ticks >= BUSY_TICKS_PER_WAIT ||
			state.busy_bytes >= BUSY_BYTES_PER_WAIT)
			loop_events(0);
		return;
	}
	/* Spinning pays if it would have caught what ends this idleness: no file of a device. */
	work = queues_arm();
	state.spin_pays = work || queues_polled();
	loop_events(work ? 0 : loop_timeout(idle_since));
	if (out_now_ns() - idle_since > state.spin_ns)
		state.spin_pays = false;
}

static void loop_reap(void)
{
	struct port_io *io;

	while ((io = port_io_reap())) {
		struct request *req =
			(struct request *)(void *)((char *)io - offsetof(struct request, io));

		if (req->queue->suspending && io->result == -ECANCELED)
			request_suspended(req);
		else
			req->queue->device->class->io_done(req->queue->device, req);
	}
}

void loop_seen_in_rings(void)
{
	state.spin_pays = true;
}

void loop_news(void)
{
	state.news = true;
}

bool loop_take_news(void)
{
	bool news = state.news;

	state.news = false;
	return news;
}

uint64_t loop_now_ns(void)
{
	if (state.now_ns == 0)
		state.now_ns = out_now_ns();
	return state.now_ns;
}

void loop_run(void (*tick_end)(void))
{
	while (!state.end) {
		state.now_ns = 0;
		loop_wait();
		loop_timers();
		(void)queues_peek();
		state.busy_bytes += queues_run();
		port_io_submit();
		loop_reap();
		queues_publish();
		tick_end();
	}
}

void loop_end(void)
{
	state.end = true;
}
