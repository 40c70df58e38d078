/* What the suites of the console have in common: a console that is served, and a driver of it. */
#ifndef VUBOX_CONSOLE_TEST_H
#define VUBOX_CONSOLE_TEST_H

#include <errno.h>

#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_console.h"
#include "unit.h"

enum { RX, TX, CONTROL_RX, CONTROL_TX, RX1, TX1 };

static struct front front;

/* Serves this command line at /s, and starts so many queues. */
static inline void start(const char *line, unsigned rings)
{
	CHECK_EQ(rig_main(line), FAKE_IDLE);
	front_start(&front, "/s", rings, VIRTIO_F_VERSION_1);
}

/* A console at /c, with these options. */
static inline void start_unix(const char *options)
{
	char line[256];

	fake_reset(1);
	strcpy(line, "vubox console -s /s --backend=unix:/c ");
	strcat(line, options);
	start(line, 2);
}

static inline int client(const char *path)
{
	int fd = fake_connect(path);

	CHECK(fd >= 0);
	(void)rig_run();
	return fd;
}

/* The driver gives a buffer for input: how many bytes came into it at once, or -1. */
static inline int ask(unsigned ring, uint32_t at, uint32_t len)
{
	uint32_t id, got;

	driver_add(&front.rings[ring], &(struct buffer){ front_addr(at), len, true }, 1);
	front_kick(&front, ring);
	return driver_used(&front.rings[ring], &id, &got) ? (int)got : -1;
}

/* Whether a buffer that was given before has come back. */
static inline int late(unsigned ring)
{
	uint32_t id, got;

	(void)rig_run();
	return driver_used(&front.rings[ring], &id, &got) ? (int)got : -1;
}

/* The driver sends bytes: whether that was answered at once. */
static inline bool tell(unsigned ring, const void *bytes, uint32_t len)
{
	uint32_t id, got;

	memcpy(front_data(&front, 0x8000), bytes, len);
	driver_add(&front.rings[ring], &(struct buffer){ front_addr(0x8000), len, false }, 1);
	front_kick(&front, ring);
	if (!driver_used(&front.rings[ring], &id, &got))
		return false;
	CHECK_EQ(got, 0);
	return true;
}

static inline void say(unsigned ring, const char *text)
{
	CHECK(tell(ring, text, (uint32_t)strlen(text)));
}

/* What a client outside has got. */
static inline void expect(int fd, const char *text)
{
	static char got[1 << 20];
	int n = fake_recv(fd, got, sizeof(got) - 1, NULL);

	got[n > 0 ? n : 0] = 0;
	CHECK_TEXT(got, text);
}

static inline void type(int fd, const char *text)
{
	CHECK_OK(fake_send(fd, text, strlen(text), NULL, 0));
	(void)rig_run();
}

/* A control message of the driver. */
static inline void control(uint32_t port, uint16_t event, uint16_t value)
{
	struct virtio_console_control c = { le32_put(port), le16_put(event), le16_put(value) };

	CHECK(tell(CONTROL_TX, &c, sizeof(c)));
}

/* The next one to it, in a buffer that it gives now; its length, or -1. */
static inline int told(struct virtio_console_control *c, char *more)
{
	int n = ask(CONTROL_RX, 0x4000, 256);

	if (n < 0)
		return n;
	CHECK(n >= (int)sizeof(*c));
	memcpy(c, front_data(&front, 0x4000), sizeof(*c));
	memcpy(more, front_data(&front, 0x4000 + sizeof(*c)), (size_t)n - sizeof(*c));
	return n;
}

static inline void expect_told(uint32_t port, uint16_t event, uint16_t value, const char *more)
{
	struct virtio_console_control c = { 0 };
	char bytes[256];
	int n = told(&c, bytes);

	CHECK_EQ(n, (int)(sizeof(c) + strlen(more)));
	CHECK_EQ(le32_get(c.id), port);
	CHECK_EQ(le16_get(c.event), event);
	CHECK_EQ(le16_get(c.value), value);
	CHECK_BYTES(bytes, more, strlen(more));
}

#endif
