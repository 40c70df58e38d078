/* VIRTIO 1.4, 5.3: Console Device. */
#ifndef VUBOX_SPEC_VIRTIO_CONSOLE_H
#define VUBOX_SPEC_VIRTIO_CONSOLE_H

#include <stddef.h>

#include "le.h"

/* 5.3.3: Feature bits */
#define VIRTIO_CONSOLE_F_SIZE        (1ull << 0)
#define VIRTIO_CONSOLE_F_MULTIPORT   (1ull << 1)
#define VIRTIO_CONSOLE_F_EMERG_WRITE (1ull << 2)

/* 5.3.2: Virtqueues; port N > 0 has 2N + 2 and 2N + 3. */
enum {
	VIRTIO_CONSOLE_RX0,
	VIRTIO_CONSOLE_TX0,
	VIRTIO_CONSOLE_CONTROL_RX,
	VIRTIO_CONSOLE_CONTROL_TX,
};

/* 5.3.4: Device configuration layout */
struct virtio_console_config {
	le16 cols, rows;
	le32 max_nr_ports;
	le32 emerg_wr;
};
_Static_assert(sizeof(struct virtio_console_config) == 12, "as the driver has it");

/* 5.3.6.2: Multiport Device Operation */
struct virtio_console_control {
	le32 id;
	le16 event, value;
};
_Static_assert(sizeof(struct virtio_console_control) == 8, "as in the queue");

struct virtio_console_resize {
	le16 cols, rows;
};

enum {
	VIRTIO_CONSOLE_DEVICE_READY,
	VIRTIO_CONSOLE_DEVICE_ADD,
	VIRTIO_CONSOLE_DEVICE_REMOVE,
	VIRTIO_CONSOLE_PORT_READY,
	VIRTIO_CONSOLE_CONSOLE_PORT,
	VIRTIO_CONSOLE_RESIZE,
	VIRTIO_CONSOLE_PORT_OPEN,
	VIRTIO_CONSOLE_PORT_NAME,
};

#endif
