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

enum { EVENTS_MAX = 64, POLLED_NS = 200000, SPIN_NS = 50000, LOOKS_PER_WAIT = 32 };

struct watch {
	loop_fn *fn; /* NULL: free */
	void *owner;
	int fd;
	uint32_t generation;
};

static struct {
	struct watch watches[CONFIG_WATCHES_MAX];
	struct loop_timer *timers;
	uint64_t spin_ns;
	bool end;
} state;

int loop_open(void)
{
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

	if (w->fn && w->generation == token >> 32)
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
	while (state.timers && state.timers->at_ns <= out_now_ns()) {
		struct loop_timer *t = state.timers;

		loop_timer_clear(t);
		t->fn(t->owner);
	}
}

void loop_poll(uint64_t ns)
{
	if (ns > state.spin_ns)
		state.spin_ns = ns;
}

/* Looks at the rings for a while before sleeping; true if that found work. */
static bool loop_spin(void)
{
	uint64_t spin_ns = queues_polled() && state.spin_ns < SPIN_NS ? SPIN_NS : state.spin_ns;
	uint64_t until;

	if (spin_ns == 0)
		return false;
	until = out_now_ns() + spin_ns;
	do {
		uint64_t tokens[EVENTS_MAX];
		unsigned n;

		for (unsigned i = 0; i < LOOKS_PER_WAIT; i++) {
			port_io_submit();
			if (port_io_ready() || queues_peek())
				return true;
		}
		n = port_wait(tokens, EVENTS_MAX, 0);
		for (unsigned i = 0; i < n; i++)
			loop_event(tokens[i]);
		if (n > 0)
			return true;
	} while (out_now_ns() < until);
	return false;
}

/* How long the next wait may last, in nanoseconds: 0 while there is work, -1 for ever. */
static int64_t loop_timeout(void)
{
	int64_t timeout = -1;

	if (queues_have_work() || port_io_ready() || loop_spin() || queues_arm())
		return 0;
	if (state.timers) {
		uint64_t now = out_now_ns();

		timeout = state.timers->at_ns > now ? (int64_t)(state.timers->at_ns - now) : 0;
	}
	if (queues_polled() && (timeout < 0 || timeout > POLLED_NS))
		timeout = POLLED_NS;
	return timeout;
}

static void loop_reap(void)
{
	struct port_io *io;

	while ((io = port_io_reap())) {
		struct request *req =
			(struct request *)(void *)((char *)io - offsetof(struct request, io));

		req->queue->device->class->io_done(req->queue->device, req);
	}
}

void loop_run(void (*tick_end)(void))
{
	while (!state.end) {
		uint64_t tokens[EVENTS_MAX];
		unsigned n = port_wait(tokens, EVENTS_MAX, loop_timeout());

		for (unsigned i = 0; i < n; i++)
			loop_event(tokens[i]);
		loop_timers();
		(void)queues_peek();
		queues_run();
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
