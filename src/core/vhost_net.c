/* What the messages for network devices do. */
#include <errno.h>

#include "device.h"

int vhost_net_set_mtu(struct session *s, struct message *m, const char **why)
{
	*why = "no MTU that the device can have";
	return s->device->class->mtu_set(s->device, m->payload.u64) ? 0 : -EINVAL;
}

int vhost_send_rarp(struct session *s, struct message *m, const char **why)
{
	uint8_t mac[6];

	(void)why;
	/* "the address is the first 6 bytes of payload", however a u64 is stored here. */
	for (unsigned i = 0; i < sizeof(mac); i++)
		mac[i] = m->payload.bytes[i];
	s->device->class->announce(s->device, mac);
	return 0;
}
