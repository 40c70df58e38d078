/* The process: it is born with fresh memory, ticks as main.c makes it tick, and dies as one does.
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "opts.h"

/* What is .data (if any) and .bss of the real code: rules.mk gives its sections these names. */
extern char __start_vubox_bss[], __stop_vubox_bss[];
__attribute__((weak)) extern char __start_vubox_data[], __stop_vubox_data[];

/* Ticks without anybody acting, and without I/O: more of them are no work but a spin. */
enum { QUIET_TICKS_MAX = 3000, IDLE_ROUNDS = 4, TIMER_NS_MAX = 1100000000 };

static struct {
	char *data;
	struct device devices[FRONTS_MAX];
	int signals;
	unsigned fds, watches; /* that a life without connections has */
	unsigned ticks_left, idle_rounds;
	bool counting, ending;
	bool (*done)(void *arg);
	void *arg;
} state;

/* Not memcpy, which the sanitizer replaces: there are red zones between the variables. */
__attribute__((no_sanitize("address"))) static void copy(char *to, const char *from, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		*(volatile uint64_t *)(void *)(to + i) =
			*(const uint64_t *)(const void *)(from + i);
	}
}

__attribute__((no_sanitize("address"))) static void zero(char *to, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8)
		*(volatile uint64_t *)(void *)(to + i) = 0;
}

static size_t data_len(void)
{
	return (uintptr_t)__stop_vubox_data - (uintptr_t)__start_vubox_data;
}

void life_remember(void)
{
	state.data = malloc(data_len() + 8);
	copy(state.data, __start_vubox_data, data_len());
}

/* ---- a tick: what main.c does at its end ---- */

static void look_again(struct device *dev)
{
	dev->session.looking = false;
	if (dev->class->look_again && dev->class->look_again(dev))
		session_config_changed(&dev->session);
	device_ready(dev);
}

static void tick_devices(void)
{
	bool faults = port_map_hits();
	uint32_t in_flight = 0;

	for (unsigned i = 0; i < w.front_count; i++) {
		struct device *dev = &state.devices[i];

		if (faults)
			session_check_memory(&dev->session);
		session_progress(&dev->session);
		if (dev->session.looking && device_in_flight(dev) == 0)
			look_again(dev);
		in_flight += device_in_flight(dev);
	}
	if (state.ending && in_flight == 0)
		loop_end();
}

static void tick_begins(void)
{
	w.calm -= w.calm > 0;
	w.tick_accesses = 0;
	for (unsigned i = 0; i < w.front_count; i++)
		for (unsigned k = 0; k < w.fronts[i].queue_count; k++)
			w.fronts[i].queues[k].walks = 0;
}

static void tick_end(void)
{
	tick_devices();
	tick_begins();
	if (port_io_pending() > 0)
		w.quiet_ticks = 0;
	else if (++w.quiet_ticks > QUIET_TICKS_MAX)
		fake_die("it spins: nobody does anything, and it does not sleep");
	if (state.done && state.done(state.arg))
		fake_stop();
	if (state.counting && state.ticks_left-- == 0)
		fake_stop();
	if (fake_random(4) == 0)
		guest_turn(1 + fake_random(3));
}

/* ---- sleep ---- */

static bool on_idle(int64_t timeout_ns)
{
	bool kicked = false;

	for (unsigned i = 0; i < w.front_count; i++)
		for (unsigned k = 0; k < w.fronts[i].queue_count; k++)
			if (!w.fronts[i].queues[k].evil)
				kicked |= driver_settle(&w.fronts[i].queues[k]);
	if (state.done && state.done(state.arg))
		fake_stop();
	if (kicked) {
		state.idle_rounds = 0;
		return true;
	}
	/* Timers may only be about to find that there is nothing: give each its time. */
	if (timeout_ns > 0 && ++state.idle_rounds < IDLE_ROUNDS) {
		fake.now_ns += TIMER_NS_MAX;
		return false;
	}
	w.idle = true;
	fake_stop();
}

static void run(void *arg)
{
	(void)arg;
	loop_run(tick_end);
}

static bool run_it(void)
{
	enum fake_end end;

	w.idle = false;
	w.quiet_ticks = 0;
	tick_begins();
	state.idle_rounds = 0;
	w.running = true;
	end = fake_run(run, NULL);
	w.running = false;
	if (end == FAKE_ABORTED)
		fake_die("it aborted: …%s", sim_log());
	if (w.killed)
		longjmp(w.killed_jump, 1);
	if (w.idle)
		for (unsigned i = 0; i < w.front_count; i++)
			for (unsigned k = 0; k < w.fronts[i].queue_count; k++)
				if (!w.fronts[i].queues[k].evil)
					driver_check_idle(&w.fronts[i].queues[k]);
	return end == FAKE_RETURNED;
}

bool life_run(bool (*done)(void *arg), void *arg)
{
	state.done = done;
	state.arg = arg;
	state.counting = false;
	(void)run_it();
	state.done = NULL;
	return !w.idle;
}

void life_ticks(unsigned ticks)
{
	state.counting = true;
	state.ticks_left = ticks;
	(void)run_it();
	state.counting = false;
}

/* ---- birth and death ---- */

static void resized(struct device *dev)
{
	if (dev->class->resized && dev->class->resized(dev))
		session_config_changed(&dev->session);
}

static void signalled(void *owner)
{
	enum port_signal s;

	(void)owner;
	while ((s = port_signals_next(state.signals)) != PORT_SIGNAL_NONE) {
		state.ending |= s == PORT_SIGNAL_END;
		for (unsigned i = 0; i < w.front_count; i++)
			if (s == PORT_SIGNAL_AGAIN)
				state.devices[i].session.looking = true;
			else if (s == PORT_SIGNAL_RESIZE)
				resized(&state.devices[i]);
			else
				session_end(&state.devices[i].session);
	}
}

static void io_finished(void *owner)
{
	(void)owner;
}

/* Gives a device's option a value, as the command line would. */
static void set(const struct device_class *class, struct option_value *values, const char *name,
	const char *text, uint64_t number)
{
	for (uint16_t i = 0; i < class->option_count; i++)
		if (strcmp(class->options[i].name, name) == 0) {
			values[i] = (struct option_value){
				.text = text, .number = number, .given = true
			};
			return;
		}
	fake_die("sim: there is no option --%s", name);
}

/* What an option is that nobody gives. */
static struct option_value usual(const struct option *o)
{
	return (struct option_value){ .text = o->default_text,
		.number = o->default_text ? strtoull(o->default_text, NULL, 10) : 0 };
}

static void device_begin(struct front *f)
{
	struct option_value values[OPTIONS_MAX] = { 0 };
	struct device *dev = f->device = &state.devices[f->index];

	dev->class = device_find(f->other ? other_name(f) : f->blk ? "blk" : "rng");
	dev->name = f->path;
	dev->session.device = dev;
	dev->session.endpoint.kind = f->client ? ENDPOINT_CLIENT : ENDPOINT_LISTEN;
	dev->session.endpoint.path = f->path;
	for (uint16_t i = 0; f->other && i < dev->class->option_count; i++)
		values[i] = usual(&dev->class->options[i]);
	if (f->other) {
		other_options(f, dev->class, values);
	} else if (f->blk) {
		set(dev->class, values, "blk-file", f->image, 0);
		set(dev->class, values, "num-queues", "", f->queue_count);
		set(dev->class, values, "queue-size", "", f->queue_size_max);
		set(dev->class, values, "serial", f->serial, 0);
		if (f->read_only)
			set(dev->class, values, "read-only", NULL, 0);
	} else if (f->image[0] != 0) {
		set(dev->class, values, "source", f->image, 0);
	}
	if (dev->class->open(dev, values) != EXIT_OK)
		fake_die("sim: cannot make a device: %s", fake.log);
	dev->queues = queue_create(dev, dev->queue_count);
	if (dev->class->listen && dev->class->listen(dev) != EXIT_OK)
		fake_die("sim: a device cannot listen: %s", fake.log);
	if (!dev->queues || session_serve(&dev->session) < 0)
		fake_die("sim: cannot serve");
}

void life_begin(void)
{
	uint32_t faults = fake.fail_mask;

	zero(__start_vubox_bss, (uintptr_t)__stop_vubox_bss - (uintptr_t)__start_vubox_bss);
	copy(__start_vubox_data, state.data, data_len());
	memset(state.devices, 0, sizeof(state.devices));
	state.done = NULL;
	state.ending = false;
	fake.fail_mask = 0;
	fake.on_idle = on_idle;
	log_verbose(w.verbose);
	loop_poll(w.poll_ns);
	if (loop_open() < 0)
		fake_die("sim: no loop");
	state.signals = port_signals_open();
	if (loop_watch(state.signals, PORT_LEVEL, signalled, NULL) < 0 ||
		(port_io_event() >= 0 &&
			loop_watch(port_io_event(), PORT_EDGE, io_finished, NULL) < 0))
		fake_die("sim: no watches");
	for (unsigned i = 0; i < w.front_count; i++)
		device_begin(&w.fronts[i]);
	/* What is only done at the start dies from now on. */
	(void)port_cage_seccomp(PORT_CAGE_CLIENT | PORT_CAGE_LOG);
	state.fds = fake_open_fds();
	state.watches = fake_watches();
	for (unsigned i = 0; i < w.front_count; i++) {
		state.fds -= state.devices[i].session.state == SESSION_OPEN;
		state.watches -= state.devices[i].session.state == SESSION_OPEN;
	}
	fake.fail_mask = faults;
	sim_note("a life begins");
}

bool life_owns(const void *at)
{
	enum { STACK_MAX = 1 << 20 };
	uintptr_t p = (uintptr_t)at, stack = (uintptr_t)__builtin_frame_address(0);

	return p - stack < STACK_MAX ||
	       (p >= (uintptr_t)__start_vubox_bss && p < (uintptr_t)__stop_vubox_bss);
}

void life_end(void)
{
	fake_kill();
	for (unsigned i = 0; i < w.front_count; i++)
		front_forget(&w.fronts[i]);
}

void life_check_leaks(void)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < w.front_count; i++)
		kept += other_keeps(&w.fronts[i]);
	if (fake_open_fds() < state.fds || fake_open_fds() > state.fds + kept)
		fake_die("%u descriptors are open after all have hung up, and %u were before",
			fake_open_fds(), state.fds);
	if (fake_open_maps() > 0)
		fake_die("%u mappings are left", fake_open_maps());
	if (fake_watches() < state.watches || fake_watches() > state.watches + kept)
		fake_die("%u watches are left, and %u were there before", fake_watches(),
			state.watches);
	for (unsigned i = 0; i < w.front_count; i++)
		if (device_in_flight(&state.devices[i]) > 0)
			fake_die("%u requests are left", device_in_flight(&state.devices[i]));
}

void life_terminate(void)
{
	fake_signal(PORT_SIGNAL_END);
	if (!run_it())
		fake_die("it does not end");
	if (port_io_pending() > 0)
		fake_die("it ended with I/O in flight");
}
