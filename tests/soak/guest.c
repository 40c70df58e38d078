/* The lives of a good guest: how they begin, what they do with their rings, and how they end. */
#include "guest.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ANSWER_MS = 60000, ACTIONS_MAX = 400 };

struct guest guest;

bool guest_did(int result, const char *what)
{
	if (result == 0)
		return true;
	guest.gone = true;
	if (!soak_disturbed(&guest.peace))
		soak_fail("%s: %s: %s", guest.seat->name, what,
			result > 0 ? "refused" : strerror(-result));
	return false;
}

/* ---- the beginning ---- */

/* Bits that may be there or not; a guest keeps its choice as long as it lives. */
static void choose_features(void)
{
	uint64_t some = soak_random(), more = soak_random();
	uint64_t may = VU_F(INDIRECT_DESC) | VU_F(EVENT_IDX) | 1ull << BLK_F_FLUSH |
		       1ull << BLK_F_CONFIG_WCE | 1ull << BLK_F_MQ | 1ull << BLK_F_DISCARD |
		       1ull << BLK_F_WRITE_ZEROES;

	guest.want_features = ~may | ((some | more) & may);
	if (soak_one_in(2))
		guest.want_features &= ~VU_F(RING_PACKED);
	guest.want_protocol = soak_random();
	guest.want_protocol |= soak_random() | VU_P(CONFIG) | VU_P(REPLY_ACK);
	if ((~guest.want_protocol & (VU_P(INFLIGHT_SHMFD) | VU_P(GET_VRING_BASE_INFLIGHT))) != 0)
		guest.want_protocol &= ~VU_P(GET_VRING_BASE_SKIP_DRAIN);
}

static bool is_packed(void)
{
	return (guest.front.features & VU_F(RING_PACKED)) != 0;
}

static bool look_at_capacity(void)
{
	uint64_t sectors;
	uint32_t got;

	if (!guest_did(front_get_config(
			       &guest.front, BLK_CONFIG_CAPACITY, sizeof(sectors), &sectors, &got),
		    "GET_CONFIG"))
		return false;
	if (got != sizeof(sectors) || sectors < DISK_SECTORS || sectors < guest.capacity ||
		sectors > DISK_SECTORS_MAX)
		soak_fail("%s: a capacity of %llu sectors, and %u before", guest.seat->name,
			(unsigned long long)sectors, guest.capacity);
	guest.capacity = (uint32_t)sectors;
	return true;
}

static bool negotiate(void)
{
	guest.gone = false;
	if (!guest_did(front_connect(&guest.front, guest.seat->socket, ANSWER_MS), "connect"))
		return false;
	if (!guest_did(front_negotiate(&guest.front, guest.want_features, guest.want_protocol),
		    "negotiation"))
		return false;
	guest.front.acks = true;
	return look_at_capacity() && memory_share();
}

static bool start_queue(unsigned i, uint32_t base)
{
	struct front_queue *q = &guest.queues[i];
	bool polled = (guest.polled >> i & 1) != 0;

	return guest_did(front_queue_set(&guest.front, q, base), "a ring's set-up") &&
	       guest_did(front_set_vring_kick(&guest.front, i, polled ? -1 : q->kick),
		       "SET_VRING_KICK") &&
	       guest_did(front_set_vring_enable(&guest.front, i, true), "SET_VRING_ENABLE");
}

/* One queue more, with a fresh driver in a ring of some size, somewhere in its indices. */
static bool open_queue(void)
{
	unsigned i = guest.queue_count++;
	struct driver_options options = { .size = (uint16_t)(4u << soak_below(7)),
		.start = (uint16_t)(soak_one_in(2) ? 0 : soak_random()),
		.event_idx = (guest.front.features & VU_F(EVENT_IDX)) != 0 };
	const struct driver_format *format = is_packed() ? &driver_packed : &driver_split;
	struct driver_layout at;
	struct front_queue *q = &guest.queues[i];

	if (is_packed() && soak_one_in(2))
		options.size = 4 + (uint16_t)soak_below(300);
	if (guest.inflight_fd >= 0)
		options.size = options.size < guest.inflight.queue_size ? options.size
									: guest.inflight.queue_size;
	driver_place(format, &at, options.size, guest.base + i * RING_BYTES);
	if (front_queue_open(q, i, format, &guest.memory, &at, &options) < 0)
		soak_fail("%s: cannot open a queue", guest.seat->name);
	return start_queue(i, driver_base(&q->driver, 0));
}

static void close_queues(void)
{
	while (guest.queue_count > 0)
		front_queue_close(&guest.queues[--guest.queue_count]);
}

static void stop_tracking(void)
{
	if (guest.inflight_fd >= 0)
		close(guest.inflight_fd);
	guest.inflight_fd = -1;
}

static bool begin_tracking(void)
{
	guest.inflight_fd = -1;
	if ((guest.front.protocol & VU_P(INFLIGHT_SHMFD)) == 0 || soak_one_in(4))
		return true;
	guest.inflight = (struct front_inflight){ .queues = QUEUES_MAX, .queue_size = 256 };
	return guest_did(front_get_inflight_fd(&guest.front, &guest.inflight, &guest.inflight_fd),
		       "GET_INFLIGHT_FD") &&
	       guest_did(front_set_inflight_fd(&guest.front, &guest.inflight, guest.inflight_fd),
		       "SET_INFLIGHT_FD");
}

static bool begin(void)
{
	choose_features();
	memory_open();
	guest.queue_count = 0;
	guest.inflight_fd = -1;
	guest.front.fd = -1;
	if (!negotiate() || !begin_tracking())
		return false;
	guest.polled = soak_one_in(6) ? soak_below(1 << QUEUES_MAX) : 0;
	for (unsigned count = 1 + soak_below(QUEUES_MAX); guest.queue_count < count;)
		if (!open_queue())
			return false;
	return true;
}

/* The same guest, with a new connection: what was tracked must go on. */
static bool come_back(void)
{
	front_close(&guest.front);
	guest.peace = soak_peace(guest.seat);
	if (!negotiate() ||
		!guest_did(front_set_inflight_fd(&guest.front, &guest.inflight, guest.inflight_fd),
			"SET_INFLIGHT_FD"))
		return false;
	for (unsigned i = 0; i < guest.queue_count; i++) {
		guest.queues[i].driver.scarred = true;
		if (!start_queue(i, driver_base_in_memory(&guest.queues[i].driver)))
			return false;
	}
	atomic_fetch_add(&soak->resumed, 1);
	return true;
}

/* ---- what it does with its rings ---- */

/* Stops a ring and goes on with it, where vubox says. */
static void stop_and_go(unsigned i)
{
	uint32_t base, expected;

	if (!guest_did(front_get_vring_base(&guest.front, i, &base), "GET_VRING_BASE"))
		return;
	/* With that feature, what an earlier life has left may stay for the next start. */
	expected = driver_base_in_memory(&guest.queues[i].driver);
	if ((guest.front.protocol & VU_P(GET_VRING_BASE_INFLIGHT)) == 0 && base != expected)
		soak_fail("%s: queue %u (%s) stopped at 0x%x, not 0x%x", guest.seat->name, i,
			guest.queues[i].driver.format->name, base, expected);
	io_reap(i);
	(void)start_queue(i, base);
	atomic_fetch_add(&soak->stopped, 1);
}

/* The same without waiting for what can be cancelled: it is done again. */
static void suspend_and_go(unsigned i)
{
	uint32_t state[2] = { i, 0 };
	struct front_message answer;

	if (guest.inflight_fd < 0 || (guest.front.protocol & VU_P(GET_VRING_BASE_SKIP_DRAIN)) == 0)
		return;
	if (!guest_did(front_ask(&guest.front, VU_GET_VRING_BASE_SKIP_DRAIN, 0, state,
			       sizeof(state), NULL, 0, &answer),
		    "GET_VRING_BASE_SKIP_DRAIN"))
		return;
	if (answer.header.size != sizeof(state))
		soak_fail("%s: %u bytes for GET_VRING_BASE_SKIP_DRAIN", guest.seat->name,
			answer.header.size);
	memcpy(state, answer.payload, sizeof(state));
	io_reap(i);
	(void)start_queue(i, state[1]);
	atomic_fetch_add(&soak->stopped, 1);
}

/* The driver starts over: what it has not got back by then is lost. */
static void reset(void)
{
	unsigned count = guest.queue_count;

	if ((guest.front.protocol & VU_P(RESET_DEVICE)) == 0 ||
		!guest_did(front_reset_device(&guest.front), "RESET_DEVICE"))
		return;
	for (unsigned i = 0; i < count; i++)
		io_reap(i);
	io_lose(false);
	close_queues();
	(void)guest_did(front_set_features(&guest.front, guest.front.features), "SET_FEATURES");
	while (guest.queue_count < count && !guest.gone)
		(void)open_queue();
	if (guest.gone)
		stop_tracking(); /* there is nothing to come back to */
}

static void set_cache_mode(void)
{
	uint8_t writeback = soak_one_in(2);

	if ((guest.front.features & 1ull << BLK_F_CONFIG_WCE) != 0)
		(void)guest_did(
			front_set_config(&guest.front, BLK_CONFIG_WRITEBACK, 1, 0, &writeback),
			"SET_CONFIG");
}

static void act(void)
{
	unsigned i = soak_below(guest.queue_count);
	uint32_t choice = soak_below(100);

	if (choice < 45)
		io_submit(i, 1 + soak_below(12));
	else if (choice < 65)
		io_reap(i);
	else if (choice < 80)
		io_wait(i);
	else if (choice < 85)
		memory_plug();
	else if (choice < 90)
		memory_unplug();
	else if (choice < 93)
		stop_and_go(i);
	else if (choice < 95)
		suspend_and_go(i);
	else if (choice < 96)
		reset();
	else if (choice < 98)
		(void)look_at_capacity();
	else
		set_cache_mode();
}

/* ---- the end ---- */

/* It takes its memory back while vubox uses it. Nothing of that may be touched here any more. */
static void take_memory_back(void)
{
	bool all = soak_one_in(2);
	unsigned i = all ? 0 : soak_below(guest.memory.driver.count);
	bool kicks = (guest.polled & 1) == 0;
	int result;

	io_submit(0, 20);
	if (ftruncate(guest.memory.regions[i].fd, 0) < 0)
		soak_fail("%s: cannot shrink memory", guest.seat->name);
	front_kick(&guest.queues[0]);
	if (!all) {
		usleep(soak_below(20000));
		return;
	}
	result = front_wait_closed(&guest.front);
	if (result < 0 && kicks && !soak_disturbed(&guest.peace))
		soak_fail("%s: it keeps a front-end that took its memory back: %s",
			guest.seat->name, strerror(-result));
}

static void close_all(void)
{
	if (guest.front.fd >= 0)
		front_close(&guest.front);
	guest.front.fd = -1;
	close_queues();
	stop_tracking();
	memory_close();
}

static void end(void)
{
	uint32_t base;

	switch (soak_below(4)) {
	case 0: io_lose(false); break; /* it hangs up, whatever is on its way */
	case 1:
		take_memory_back();
		io_lose(true);
		break;
	default:
		io_drain();
		for (unsigned i = 0; i < guest.queue_count && !guest.gone; i++)
			(void)guest_did(
				front_get_vring_base(&guest.front, i, &base), "GET_VRING_BASE");
		break;
	}
}

/* Acts for a while; true if it is to come back on another connection. */
static bool stretch(void)
{
	for (unsigned n = soak_below(ACTIONS_MAX); n > 0 && !guest.gone && !soak_wants_rest(); n--)
		act();
	if (guest.gone && !soak_disturbed(&guest.peace))
		soak_fail("%s: vubox has closed the connection", guest.seat->name);
	return guest.inflight_fd >= 0 && (guest.gone || (soak_one_in(2) && !soak_wants_rest()));
}

void guest_life(const struct seat *seat)
{
	bool begun;

	guest.seat = seat;
	guest.peace = soak_peace(seat);
	begun = begin();
	if (begun && (soak->stop || soak_one_in(50)))
		io_verify();
	while (begun && stretch())
		while (!come_back() && !soak->failed)
			usleep(10000);
	if (begun && !guest.gone)
		end();
	io_lose(true); /* what is left: its process died, or the host was in trouble */
	close_all();
}
