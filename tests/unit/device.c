/* src/core/device.c: over all queues of a device. */
#include "device.h"

#include "rig.h"
#include "unit.h"

static struct front front;

static void add(unsigned i)
{
	driver_add(&front.rings[i], &(struct buffer){ front_addr(0), 4, true }, 1);
}

CASE(requests_in_flight_are_those_of_all_queues)
{
	rig_stub(3, false);
	stub.hold = true;
	front_start(&front, "/s", 3, 0);
	CHECK_EQ(device_in_flight(rig_device(0)), 0);
	add(0);
	add(2);
	add(2);
	front_kick(&front, 0);
	front_kick(&front, 2);
	CHECK_EQ(device_in_flight(rig_device(0)), 3);
	stub_finish();
	CHECK_EQ(device_in_flight(rig_device(0)), 2);
}

CASE(a_ready_device_gives_every_queue_a_turn)
{
	rig_stub(3, true);
	stub.full = true;
	front_start(&front, "/s", 3, 0);
	for (unsigned i = 0; i < 3; i++) {
		add(i);
		front_kick(&front, i);
	}
	CHECK_EQ(stub.taken, 0);
	stub.full = false;
	device_ready(rig_device(0));
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(stub.taken, 3);
}
