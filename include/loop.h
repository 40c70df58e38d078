/* The loop: one thread, one epoll, and the order of a tick. */
#ifndef VUBOX_LOOP_H
#define VUBOX_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "port.h"

typedef void loop_fn(void *owner);

/* Opens it; before anything else here. */
int loop_open(void);

/*
 * Calls fn(owner) when fd is readable. Returns the watch, or -errno. An event that was on its way
 * when the watch was removed does nothing, even if another watch has its place.
 */
int loop_watch(int fd, enum port_trigger trigger, loop_fn *fn, void *owner);
void loop_unwatch(int watch);

/* A timer that fires once. Zero is one that is not set. */
struct loop_timer {
	struct loop_timer *next;
	uint64_t at_ns;
	loop_fn *fn;
	void *owner;
	bool set;
};

void loop_timer_set(struct loop_timer *timer, uint64_t at_ns, loop_fn *fn, void *owner);
void loop_timer_clear(struct loop_timer *timer);

/* Looking at the rings would have shown this event, too. */
void loop_seen_in_rings(void);
/* The time of this tick: as out_now_ns when it was first asked for. */
uint64_t loop_now_ns(void);
/* Spin for so many nanoseconds before sleeping (--poll-us); the greatest wish counts. */
void loop_poll(uint64_t ns);

/*
 * Whether anything has happened but kicks and completed I/O (events with PORT_EDGE), which change
 * no session: an event, a timer, loop_news. Ticks with nothing new need not look at everybody.
 */
bool loop_take_news(void);
void loop_news(void);

/* Runs until loop_end: calls tick_end(arg) at the end of each tick. */
void loop_run(void (*tick_end)(void));
void loop_end(void);

#endif
