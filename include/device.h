/*
 * What a device is: one file in src/dev that fills in a struct device_class, and one row in
 * src/dev/table.c.
 */
#ifndef VUBOX_DEVICE_H
#define VUBOX_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "option.h"
#include "queue.h"
#include "vhost.h"

struct device {
	const struct device_class *class;
	const char *name; /* in log lines */
	void *state;      /* of the class */
	uint16_t queue_count;
	uint16_t queue_size_max; /* entries */
	bool whole_table;        /* CONFIGURE_MEM_SLOTS is not offered: see vhost.c */
	struct queue *queues;
	struct session session;
};

/* What one device may name in its `paths`. */
enum { DEVICE_PATHS = CONFIG_CONSOLE_NAMED + 1 };

struct device_class {
	const char *name;          /* the word on the command line */
	const char *summary;       /* for --list and --help: one line */
	const char *json_type;     /* VHostUserBackendType of QEMU's vhost-user.json */
	const char *json_features; /* its features as a JSON array, or NULL */
	uint32_t virtio_id;

	const struct option *options;
	uint16_t option_count;

	/*
	 * Makes the device ready to serve, or says why not (one log_error line) and returns the
	 * exit status. Sets state, queue_count and queue_size_max.
	 */
	int (*open)(struct device *dev, const struct option_value *values);
	void (*close)(struct device *dev);
	/*
	 * Makes what is to belong to the user that serves (--user), where its --chroot is: sockets.
	 * As `open` otherwise. NULL: nothing.
	 */
	int (*listen)(struct device *dev);
	/*
	 * Stores the paths that it connects to, removes or opens again while it serves (at most
	 * DEVICE_PATHS): their number. NULL: none.
	 */
	unsigned (*paths)(const struct device *dev, struct port_cage_path *paths);

	/* Feature bits of the device itself; the core adds those of rings and transport. */
	uint64_t (*features)(const struct device *dev);
	/* The driver has accepted these, or (0) the device was reset. */
	void (*accept)(struct device *dev, uint64_t features);

	/* The whole configuration space as it is now; bytes behind its end are zero already. */
	void (*config_get)(const struct device *dev, uint8_t bytes[VHOST_USER_CONFIG_MAX]);
	/*
	 * Writes a part of it: true if all of it is writable. With `migrate` the front-end restores
	 * what it read on another host, so fields that only the device sets are skipped.
	 */
	bool (*config_set)(struct device *dev, uint32_t offset, uint32_t len, const uint8_t *bytes,
		bool migrate);

	/*
	 * The front-end goes on with what an earlier life of ours has begun (SET_INFLIGHT_FD), and
	 * may not say again what it said to that. NULL: nothing is lost by it.
	 */
	void (*resumed)(struct device *dev);

	/* A request: answer it with request_done (now or later) or request_break. */
	void (*request)(struct device *dev, struct request *req);
	/* req->io is done. */
	void (*io_done)(struct device *dev, struct request *req);
	/*
	 * How many requests of this queue would be answered now; UINT32_MAX, or NULL here: all.
	 * After 0, the device calls queue_ready (or device_ready) when there would be one.
	 */
	unsigned (*can_take)(struct device *dev, const struct queue *q);
	bool light; /* its requests are little work each: a turn has twice as many */

	/*
	 * Queues whose buffers the device takes itself when it has something for them, by a window
	 * (window.h): their requests never come to `request`. NULL: there are none.
	 */
	bool (*pulls)(const struct device *dev, uint16_t queue_index);
	/*
	 * The turn of such a queue. Returns 1: there may be more to do; -EBUSY: there is nothing
	 * now, and the device calls queue_ready when there is; else what window_fill said.
	 */
	int (*turn)(struct device *dev, struct queue *q);

	/* This queue has begun or ended to work, as far as the front-end is concerned. May be NULL.
	 */
	void (*queue_changed)(struct device *dev, const struct queue *q);

	/* Of network devices (else NULL): NET_SET_MTU, false if it cannot be; SEND_RARP. */
	bool (*mtu_set)(struct device *dev, uint64_t mtu);
	void (*announce)(struct device *dev, const uint8_t mac[6]);

	/* SIGHUP, with nothing in flight: true if the configuration space has changed. */
	bool (*look_again)(struct device *dev);
	/* SIGWINCH, at any time: true if the configuration space has changed. NULL: never. */
	bool (*resized)(struct device *dev);
};

/* The table of devices, in the order of --list; NULL ends it. */
extern const struct device_class *const device_table[];

/* The class of this name, or NULL. */
const struct device_class *device_find(const char *name);

/* Gives every queue of the device a turn. */
void device_ready(struct device *dev);

/* Requests that the device has in hand, over all its queues. */
uint32_t device_in_flight(const struct device *dev);

#endif
