/* What is done for a device as a whole, over all its queues. */
#include "device.h"

void device_ready(struct device *dev)
{
	for (uint16_t i = 0; i < dev->queue_count; i++)
		queue_ready(&dev->queues[i]);
}

uint32_t device_in_flight(const struct device *dev)
{
	uint32_t sum = 0;

	for (uint16_t i = 0; i < dev->queue_count; i++)
		sum += dev->queues[i].in_flight;
	return sum;
}
