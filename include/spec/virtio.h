/* VIRTIO 1.4: device ids, feature bits and status bits that belong to no single device. */
#ifndef VUBOX_SPEC_VIRTIO_H
#define VUBOX_SPEC_VIRTIO_H

/* 5: Device Types */
enum {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_ENTROPY = 4,
	VIRTIO_ID_VSOCK = 19
};

/* 6: Reserved Feature Bits */
#define VIRTIO_F_INDIRECT_DESC     (1ull << 28)
#define VIRTIO_F_EVENT_IDX         (1ull << 29)
#define VIRTIO_F_VERSION_1         (1ull << 32)
#define VIRTIO_F_RING_PACKED       (1ull << 34)
#define VIRTIO_F_IN_ORDER          (1ull << 35)
#define VIRTIO_F_ORDER_PLATFORM    (1ull << 36)
#define VIRTIO_F_NOTIFICATION_DATA (1ull << 38)
#define VIRTIO_F_RING_RESET        (1ull << 40)

/* 2.1: Device Status Field */
enum {
	VIRTIO_STATUS_DEVICE_NEEDS_RESET = 64,
};

#endif
