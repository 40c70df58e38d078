/* The socket device where call N of the port fails, for every N: nothing crashes or leaks. */
#include <errno.h>

#include "vsock_side.h"

static int listener;

/* Says something, whether it gets through or not. */
static void try_say(unsigned op, uint32_t port, uint32_t peer_port, const char *data)
{
	struct virtio_vsock_hdr h = header(&a, op, VIRTIO_VSOCK_CID_HOST, port, peer_port);

	h.len = le32_put((uint32_t)strlen(data));
	h.flags = le32_put(3);
	(void)send(&a, h, data, (uint32_t)strlen(data));
}

static void read_and_close(int fd)
{
	char bytes[512];

	while (fake_recv(fd, bytes, sizeof(bytes), NULL) > 0)
		(void)rig_run();
	fake_close(fd);
	(void)rig_run();
}

/* A connection of each side, bytes both ways, more than a socket takes, and the ends of both. */
static void everything_once(void)
{
	static char much[700];
	int ours, theirs = fake_connect("/u");

	memset(much, 'x', sizeof(much) - 1);
	try_say(VIRTIO_VSOCK_OP_REQUEST, 1, HOST_PORT, "");
	ours = fake_accept(listener);
	(void)hear(&a);
	try_say(VIRTIO_VSOCK_OP_RW, 1, HOST_PORT, much);
	if (ours >= 0) {
		fake_send(ours, "hello", 5, NULL, 0);
		(void)hear(&a);
		read_and_close(ours);
	}
	(void)hear(&a);
	try_say(VIRTIO_VSOCK_OP_SHUTDOWN, 1, HOST_PORT, "");
	(void)hear(&a);
	fake_send(theirs, "CONNECT 5\n", 10, NULL, 0);
	if (hear(&a) == VIRTIO_VSOCK_OP_REQUEST)
		try_say(VIRTIO_VSOCK_OP_RESPONSE, 5, le32_get(a.last.src_port), "");
	try_say(VIRTIO_VSOCK_OP_RW, 5, le32_get(a.last.src_port), much);
	read_and_close(theirs);
	while (hear(&a) >= 0)
		;
	try_say(VIRTIO_VSOCK_OP_RST, 5, le32_get(a.last.src_port), "");
	try_say(VIRTIO_VSOCK_OP_RST, 1, HOST_PORT, "");
	run(20000000000);
	while (hear(&a) >= 0)
		;
}

CASE(every_call_fails_once)
{
	unsigned calls, open, watches;

	serve();
	listener = fake_listen("/u_80");
	fake.socket_room = 300;
	everything_once();
	open = fake_open_fds();
	watches = fake_watches();
	calls = fake.calls_all;
	everything_once();
	calls = fake.calls_all - calls;
	CHECK(calls > 20);
	for (unsigned i = 1; i <= calls; i++) {
		fake.fail_any = fake.calls_all + i;
		everything_once();
		fake.fail_any = 0;
		CHECK_EQ(fake_open_fds(), open);
		CHECK_EQ(fake_watches(), watches);
		/* Whoever comes next is served. */
		try_say(VIRTIO_VSOCK_OP_REQUEST, 1, HOST_PORT, "");
		CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_RESPONSE);
		fake_close(fake_accept(listener));
		CHECK_EQ(hear(&a), VIRTIO_VSOCK_OP_SHUTDOWN);
		try_say(VIRTIO_VSOCK_OP_RST, 1, HOST_PORT, "");
	}
}
