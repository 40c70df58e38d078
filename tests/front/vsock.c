/* A driver of the socket device, and the unix sockets of its host. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vsock.h"

struct rig vsock_rig;
struct vsock_packet vsock_last;
unsigned char vsock_got[1 << 17];
uint32_t vsock_guest_alloc = 1 << 18, vsock_guest_forwarded;
char vsock_uds[100];

/* ---- the guest ---- */

void vsock_give(unsigned slot, uint32_t len)
{
	struct driver_buffer b = { vsock_rig.slots + (uint64_t)slot * RIG_SLOT_BYTES, len, true };
	struct driver_chain chain = { .buffers = &b, .count = 1, .owner = (void *)(uintptr_t)slot };

	CHECK(driver_add(&vsock_rig.queues[RX].driver, &chain) >= 0);
	front_queue_offer(&vsock_rig.queues[RX]);
}

void vsock_connect_guest(unsigned buffers)
{
	rig_negotiate(&vsock_rig, ~0ull, ~0ull);
	rig_share(&vsock_rig);
	for (unsigned i = 0; i < 3; i++)
		rig_start(&vsock_rig, rig_queue(&vsock_rig));
	for (unsigned i = 0; i < buffers; i++)
		vsock_give(i, BUFFER);
}

void vsock_serve(unsigned buffers)
{
	static char cid[32], path[128];

	snprintf(vsock_uds, sizeof(vsock_uds), "%s", harness_path("v"));
	snprintf(cid, sizeof(cid), "--guest-cid=%d", CID);
	snprintf(path, sizeof(path), "--uds-path=%s", vsock_uds);
	vubox_start(&vsock_rig.vubox, "vsock", (const char *const[]){ cid, path, NULL });
	vsock_connect_guest(buffers);
}

void vsock_send_cut(const struct vsock_packet *h, const void *data, uint32_t len, uint32_t cut)
{
	static unsigned turn;
	uint64_t at = vsock_rig.slots + (uint64_t)(TX_SLOT + turn++ % 16) * RIG_SLOT_BYTES;
	struct driver_buffer b[120];
	struct driver_chain chain = { .buffers = b };
	uint32_t total = HEADER + len, done = 0;

	CHECK(driver_write(&vsock_rig.memory.driver, at, h, HEADER));
	if (len > 0)
		CHECK(driver_write(&vsock_rig.memory.driver, at + HEADER, data, len));
	while (done < total) {
		uint32_t part = cut ? cut : done == 0 ? HEADER : len;

		if (part > total - done || chain.count == 119)
			part = total - done;
		b[chain.count++] = (struct driver_buffer){ at + done, part, false };
		done += part;
	}
	CHECK(driver_add(&vsock_rig.queues[TX].driver, &chain) >= 0);
	front_queue_offer(&vsock_rig.queues[TX]);
	rig_take(&vsock_rig, &vsock_rig.queues[TX], NULL);
}

struct vsock_packet vsock_header(unsigned op, uint32_t guest_port, uint32_t host_port)
{
	return (struct vsock_packet){ CID, 2, guest_port, host_port, 0, STREAM, (uint16_t)op, 0,
		vsock_guest_alloc, vsock_guest_forwarded };
}

void vsock_say(unsigned op, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
	struct vsock_packet h = vsock_header(op, guest_port, host_port);

	h.flags = flags;
	vsock_send_cut(&h, NULL, 0, 0);
}

void vsock_say_data(uint32_t guest_port, uint32_t host_port, const void *data, uint32_t len)
{
	struct vsock_packet h = vsock_header(RW, guest_port, host_port);

	h.len = len;
	vsock_send_cut(&h, data, len, 0);
}

unsigned vsock_hear_once(bool again)
{
	uint32_t len;
	unsigned slot = rig_take(&vsock_rig, &vsock_rig.queues[RX], &len);
	uint64_t at = vsock_rig.slots + (uint64_t)slot * RIG_SLOT_BYTES;

	CHECK(len >= HEADER);
	CHECK(driver_read(&vsock_rig.memory.driver, at, &vsock_last, HEADER));
	CHECK_EQ(vsock_last.len, len - HEADER);
	CHECK_EQ(vsock_last.dst_cid, CID);
	CHECK(driver_read(&vsock_rig.memory.driver, at + HEADER, vsock_got, vsock_last.len));
	if (again)
		vsock_give(slot, BUFFER);
	return vsock_last.op;
}

void vsock_expect(unsigned op, uint32_t guest_port, uint32_t host_port)
{
	CHECK_EQ(vsock_hear_once(true), op);
	CHECK_EQ(vsock_last.dst_port, guest_port);
	CHECK_EQ(vsock_last.src_port, host_port);
	CHECK_EQ(vsock_last.src_cid, 2);
}

void vsock_expect_data(const void *data, uint32_t len)
{
	uint32_t have = 0;

	while (have < len) {
		CHECK_EQ(vsock_hear_once(true), RW);
		CHECK(vsock_last.len > 0 && vsock_last.len <= len - have);
		CHECK_BYTES(vsock_got, (const char *)data + have, vsock_last.len);
		have += vsock_last.len;
	}
}

void vsock_expect_silence(void)
{
	struct driver_used used;

	CHECK_EQ(front_settle(&vsock_rig.front), 0);
	usleep(20000);
	CHECK_EQ(driver_poll(&vsock_rig.queues[RX].driver, &used), 0);
}

/* ---- the host ---- */

int vsock_unix_socket(int type, const char *path, bool listening)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 20 };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && strlen(path) < sizeof(a.sun_path));
	strcpy(a.sun_path, path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (listening) {
		CHECK_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
		CHECK_EQ(listen(fd, 128), 0);
	} else {
		CHECK_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	}
	return fd;
}

int vsock_listen_for_guest(int type, uint32_t port)
{
	char path[128];

	snprintf(path, sizeof(path), "%s_%u", vsock_uds, port);
	return vsock_unix_socket(type, path, true);
}

int vsock_take(int listener)
{
	struct timeval limit = { .tv_sec = 20 };
	int fd = accept(listener, NULL, NULL);

	CHECK(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

void vsock_put(int fd, const void *data, size_t len)
{
	CHECK_EQ(send(fd, data, len, MSG_NOSIGNAL), len);
}

void vsock_get(int fd, const void *data, size_t len)
{
	static unsigned char bytes[1 << 20];

	CHECK(len <= sizeof(bytes));
	CHECK_EQ(recv(fd, bytes, len, MSG_WAITALL), len);
	CHECK_BYTES(bytes, data, len);
}

void vsock_get_end(int fd)
{
	char byte;

	CHECK_EQ(recv(fd, &byte, 1, 0), 0);
}

uint32_t vsock_host_connects(int *fd, uint32_t port)
{
	char line[64], ok[64];
	uint32_t host_port;

	*fd = vsock_unix_socket(SOCK_STREAM, vsock_uds, false);
	snprintf(line, sizeof(line), "CONNECT %u\n", port);
	vsock_put(*fd, line, strlen(line));
	CHECK_EQ(vsock_hear_once(true), REQUEST);
	CHECK_EQ(vsock_last.dst_port, port);
	CHECK_EQ(vsock_last.type, STREAM);
	host_port = vsock_last.src_port;
	vsock_say(RESPONSE, port, host_port, 0);
	snprintf(ok, sizeof(ok), "OK %u\n", host_port);
	vsock_get(*fd, ok, strlen(ok));
	return host_port;
}

void vsock_guest_connects(int listener, int *fd, uint32_t guest_port)
{
	vsock_say(REQUEST, guest_port, 80, 0);
	*fd = vsock_take(listener);
	vsock_expect(RESPONSE, guest_port, 80);
}

void vsock_say_message(uint32_t port, const void *data, uint32_t len, uint32_t flags)
{
	struct vsock_packet h = vsock_header(RW, port, 80);

	h.type = SEQPACKET;
	h.len = len;
	h.flags = flags;
	vsock_send_cut(&h, data, len, 0);
}
