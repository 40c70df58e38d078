/* What all devices and queues have counted, for whoever runs vubox: on stderr, and on a socket. */
#ifndef VUBOX_STATS_H
#define VUBOX_STATS_H

#include <stdint.h>

struct device;

/* The devices to tell of; before anything else here. */
void stats_of(const struct device *devices, uint32_t count);

/* SIGUSR1: a line for each device, and for each queue that was ever used. */
void stats_log(void);

/* --stats: whoever connects to this socket gets one JSON object. 0, or -errno. */
int stats_serve(const char *path);
/* Removes the socket file, if there is one. */
void stats_unlink(void);

#endif
