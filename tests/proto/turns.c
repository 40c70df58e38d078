/*
 * A verifying load of four queues over a life full of turns: rings stopped with and without a
 * drain, disabled, moved to another connection or another process, memory tables set anew, clean
 * ends and kills. Every request comes back exactly once.
 *
 * Environment: TURNS (150) says how many each case takes, SEED repeats one (it is printed).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../front/load.h"
#include "../front/track.h"

enum { QUEUES = 4, DEPTH = 16 };

static struct rig r;
static struct load l;
static struct track t;

enum turn {
	STOP,       /* GET_VRING_BASE, and on */
	SKIP_DRAIN, /* the same without the drain */
	DISABLE,    /* and enable */
	SET_MEMORY, /* the table again */
	STOP_ALL,   /* suspended, the table again, all on */
	RECONNECT,  /* hang up and come again */
	END,        /* SIGTERM, and another process */
	KILL,
	MIGRATE, /* stopped with SKIP_DRAIN, and on in another process */
	TURNS
};

static void serve_tracked(const char *engine)
{
	static char io[32] = "--io=";

	strcat(io, engine);
	r.ring_size = harness_packed() ? 45 : 64;
	r.start = (uint16_t)(harness_random() % 200);
	rig_serve(&r, RIG_DISK_BYTES, (const char *const[]){ io, NULL });
	load_open(&l, &r, QUEUES, DEPTH);
	rig_negotiate(&r, ~0ull, ~0ull);
	track_get(&t, &r.front, QUEUES, r.ring_size);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	rig_share(&r);
	while (r.queue_count < QUEUES)
		rig_start(&r, rig_queue(&r));
}

/* The base that a ring is stopped at. */
static uint32_t stop(unsigned i, bool drain)
{
	uint32_t state[2] = { i, 0 }, base;
	struct front_message m;

	if (drain) {
		CHECK_EQ(front_get_vring_base(&r.front, i, &base), 0);
		return base;
	}
	CHECK_EQ(front_ask(&r.front, VU_GET_VRING_BASE_SKIP_DRAIN, 0, state, sizeof(state), NULL, 0,
			 &m),
		0);
	CHECK_EQ(m.header.size, sizeof(state));
	memcpy(&base, m.payload + 4, 4);
	return base;
}

static void start(unsigned i, uint32_t base)
{
	CHECK_EQ(front_queue_start(&r.front, &r.queues[i], base), 0);
}

static void stop_all(uint32_t bases[QUEUES], bool drain)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		bases[i] = stop(i, drain && harness_random() % 2);
		if (harness_random() % 3 == 0)
			load_fill(&l, i); /* the driver does not know */
	}
}

/* A connection with the same memory and buffer; bases of rings that were stopped, or NULL. */
static void come_again(const uint32_t *bases)
{
	rig_negotiate(&r, ~0ull, ~0ull);
	CHECK_EQ(front_set_inflight_fd(&r.front, &t.want, t.fd), 0);
	CHECK_EQ(front_share(&r.front, &r.memory), 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		uint32_t base = driver_base_in_memory(&r.queues[i].driver);

		/* Of packed rings nothing but what GET_VRING_BASE said is known in memory. */
		if (bases)
			base = bases[i];
		start(i, base);
	}
}

static void take(enum turn turn)
{
	unsigned i = (unsigned)(harness_random() % QUEUES);
	uint32_t bases[QUEUES];

	switch (turn) {
	case STOP: start(i, stop(i, true)); break;
	case SKIP_DRAIN: start(i, stop(i, false)); break;
	case DISABLE:
		CHECK_EQ(front_set_vring_enable(&r.front, i, false), 0);
		load_poll(&l);
		load_fill(&l, i);
		CHECK_EQ(front_set_vring_enable(&r.front, i, true), 0);
		break;
	case SET_MEMORY: CHECK_EQ(front_share(&r.front, &r.memory), 0); break;
	case STOP_ALL:
		stop_all(bases, true);
		CHECK_EQ(front_share(&r.front, &r.memory), 0);
		for (i = 0; i < QUEUES; i++)
			start(i, bases[i]);
		break;
	case RECONNECT:
		front_close(&r.front);
		come_again(NULL);
		break;
	case END:
		CHECK_EQ(vubox_end(&r.vubox, SIGTERM), 0);
		front_close(&r.front);
		rig_serve_again(&r);
		come_again(NULL);
		break;
	case KILL:
		CHECK_EQ(vubox_end(&r.vubox, SIGKILL), -SIGKILL);
		front_close(&r.front);
		rig_serve_again(&r);
		come_again(NULL);
		break;
	case MIGRATE:
		stop_all(bases, harness_random() % 2);
		front_close(&r.front);
		CHECK_EQ(vubox_end(&r.vubox, SIGTERM), 0);
		rig_serve_again(&r);
		come_again(bases);
		break;
	case TURNS: break;
	}
}

static void turns_under_a_verifying_load(const char *with)
{
	unsigned turns = getenv("TURNS") ? (unsigned)atoi(getenv("TURNS")) : 150;

	harness_seed();
	serve_tracked(with);
	for (unsigned n = 0; n < turns; n++) {
		load_run(&l, (unsigned)(harness_random() % 60));
		take((enum turn)(harness_random() % TURNS));
	}
	load_run(&l, 100);
	load_drain(&l);
	load_check(&l);
	for (unsigned i = 0; i < QUEUES; i++)
		track_check_rest(&t, &r.queues[i]);
	harness_say("%s %s: %llu requests over %u turns", with, rig_format()->name,
		(unsigned long long)l.done, turns);
}

static const struct harness_case cases[] = {
	CASE_OF_EACH(turns_under_a_verifying_load),
};
HARNESS_MAIN(cases)
