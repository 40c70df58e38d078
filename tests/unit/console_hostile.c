/* hostile */
#include "console.h"

static unsigned waits;

static void count(int64_t timeout_ns)
{
	(void)timeout_ns;
	waits++;
}

/* A request of many turns: others have theirs between. */
CASE(a_long_request_is_not_all_at_once)
{
	struct buffer b[12];
	uint32_t id, len;

	fake_reset(1);
	start("vubox console -s /s --backend=file:/log", 2);
	for (unsigned i = 0; i < 12; i++)
		b[i] = (struct buffer){ front_addr(0), 200000, false };
	driver_add(&front.rings[TX], b, 12);
	fake.on_wait = count;
	waits = 0;
	front_kick(&front, TX);
	CHECK(driver_used(&front.rings[TX], &id, &len));
	CHECK(waits > 2400000 / 65536);
}

/* Clients that come and go at once: others have their turns between. */
CASE(clients_one_a_tick)
{
	start_unix("");
	for (unsigned i = 0; i < 5; i++) {
		int fd = fake_connect("/c");
		CHECK(fd >= 0);
		fake_close(fd);
	}
	fake.on_wait = count;
	waits = 0;
	(void)rig_run();
	CHECK(waits >= 5);
}

/* stdout's reader goes: the terminal is given back. */
CASE(a_terminal_whose_output_has_no_reader)
{
	fake_reset(1);
	fake.cols = 80;
	start("vubox console -s /s --backend=stdio", 2);
	CHECK(fake.raw);
	fake_close(fake_stdio(1));
	say(TX, "nobody is");
	CHECK(!fake.raw);
}
