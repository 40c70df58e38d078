/* The table of devices: a device is its file and its row here. */
#include <string.h>

#include "device.h"

extern const struct device_class blk_class, console_class, net_class, rng_class, vsock_class;

const struct device_class *const device_table[] = {
#ifndef VUBOX_NO_BLK
	&blk_class,
#endif
#ifndef VUBOX_NO_CONSOLE
	&console_class,
#endif
#ifndef VUBOX_NO_NET
	&net_class,
#endif
#ifndef VUBOX_NO_RNG
	&rng_class,
#endif
#ifndef VUBOX_NO_VSOCK
	&vsock_class,
#endif
	NULL,
};

const struct device_class *device_find(const char *name)
{
	for (const struct device_class *const *c = device_table; *c; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}
