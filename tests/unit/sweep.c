/*
 * The host fails at every place where it can: call N of the port, for every N. Nothing may crash or
 * leak, and whoever comes next is served.
 */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "spec/virtio_net.h"
#include "unit.h"

static const char command_line[] =
	"vubox blk -s /blk --blk-file=/img --num-queues=2 -- rng -s /rng "
	"-- net -s /net --tap=t0 --mac=52:54:00:00:00:01";

enum { HEADER = 0, DATA = 0x1000, STATUS = 0x800 };

static struct front front;

static void make_world(void)
{
	fake_reset(1);
	fake_image_new("/img", 1 << 20);
}

/* ---- a session that touches everything once ---- */

static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
	VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };

/* Adds request i to a ring; of those that need one, sector and count are both 1. */
static void add_request(struct driver *ring, unsigned i)
{
	uint32_t type = types[i % countof(types)], len = 512;
	struct virtio_blk_req header = { le32_put(type), le32_put(0), le64_put(1) };
	struct virtio_blk_discard_write_zeroes range = { le64_put(1), le32_put(1), le32_put(0) };
	bool write = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;

	if (type == VIRTIO_BLK_T_FLUSH)
		len = 0;
	if (type >= VIRTIO_BLK_T_DISCARD) {
		memcpy(front_data(&front, DATA + 512 * i), &range, sizeof(range));
		len = sizeof(range);
	}
	memcpy(front_data(&front, HEADER + 16 * i), &header, sizeof(header));
	*front_data(&front, STATUS + i) = 99;
	driver_add(ring,
		(struct buffer[]){ { front_addr(HEADER + 16 * i), 16, false },
			{ front_addr(DATA + 512 * i), len, write },
			{ front_addr(STATUS + i), 1, true } },
		3);
}

/* Twenty requests on two rings: how many came back well. */
static unsigned do_requests(void)
{
	unsigned good = 0;

	for (unsigned i = 0; i < 20; i += 2) {
		if (!front.mem)
			return 0;
		add_request(&front.rings[0], i);
		add_request(&front.rings[1], i + 1);
		fake_notify_signal(front.kick[0]);
		front_kick(&front, 1);
		good += *front_data(&front, STATUS + i) == VIRTIO_BLK_S_OK;
		good += *front_data(&front, STATUS + i + 1) == VIRTIO_BLK_S_OK;
	}
	return good;
}

static void negotiate_all(void)
{
	struct vhost_user_inflight inflight = { .num_queues = 2, .queue_size = 16 };
	int pair[2], fd;

	front_negotiate(&front, VIRTIO_BLK_F_FLUSH);
	fake_socketpair(pair);
	(void)front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]);
	(void)front_call(&front, VHOST_USER_GET_INFLIGHT_FD, &inflight, sizeof(inflight),
		sizeof(inflight), -1, &fd);
	if (fd >= 0) {
		(void)front_ack(
			&front, VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof(inflight), fd);
		fake_close(fd);
	}
	fake_close(pair[0]);
	fake_close(pair[1]);
}

/* Connect, negotiate, rings, requests, reset, hang-up: how many requests came back well. */
static unsigned blk_session(void)
{
	struct vhost_user_config config = { 0, 60, 0, { 0 } };
	unsigned good;

	front_connect(&front, "/blk");
	negotiate_all();
	front_share(&front);
	for (unsigned i = 0; i < 2; i++) {
		front_ring(&front, i, 16);
		(void)front_ack_state(&front, VHOST_USER_SET_VRING_ENABLE, i, 1);
	}
	(void)front_call(&front, VHOST_USER_GET_CONFIG, &config, 72, 72, -1, NULL);
	fake_signal(PORT_SIGNAL_AGAIN);
	good = do_requests();
	(void)front_ack(&front, VHOST_USER_RESET_DEVICE, NULL, 0, -1);
	front_hang_up(&front);
	(void)rig_run();
	return good;
}

static unsigned rng_session(void)
{
	unsigned good;
	uint32_t id, len;

	front_start(&front, "/rng", 1, 0);
	driver_add(&front.rings[0], &(struct buffer){ front_addr(0), 64, true }, 1);
	front_kick(&front, 0);
	good = driver_used(&front.rings[0], &id, &len) && len == 64;
	front_hang_up(&front);
	(void)rig_run();
	return good;
}

/* A frame out, one in, and a command: how many of them went well. */
static unsigned net_session(void)
{
	static uint8_t number;
	struct fake_tap *tap = fake_tap_new("t0");
	uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, [14] = ++number }, got[60];
	unsigned good = 0;
	uint32_t id, len;

	front_start(&front, "/net", 3,
		VIRTIO_F_VERSION_1 | VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX |
			VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_GUEST_CSUM);
	for (unsigned i = 0; front.mem && i < 8; i++)
		driver_add(
			&front.rings[0], &(struct buffer){ front_addr(0x800 * i), 1526, true }, 1);
	fake_tap_frame(tap, 0, NULL, frame, sizeof(frame));
	front_kick(&front, 0);
	/* (What came while it failed comes first.) */
	while (front.mem && driver_used(&front.rings[0], &id, &len))
		good |= *front_data(&front, 0x800 * id + 12 + 14) == (char)number;
	if (front.mem) {
		memset(front_data(&front, 0x8000), 0, 12);
		memcpy(front_data(&front, 0x800c), frame, sizeof(frame));
		driver_add(&front.rings[1], &(struct buffer){ front_addr(0x8000), 72, false }, 1);
		front_kick(&front, 1);
		memset(front_data(&front, 0x9000), 0, 3); /* not promiscuous */
		driver_add(&front.rings[2],
			(struct buffer[]){
				{ front_addr(0x9000), 3, false }, { front_addr(0x9010), 1, true } },
			2);
		*front_data(&front, 0x9010) = 7;
		front_kick(&front, 2);
		good += *front_data(&front, 0x9010) == 0;
	}
	while (fake_tap_sent(tap, NULL, NULL, got, sizeof(got)) == sizeof(got))
		good += got[14] == number;
	front_hang_up(&front);
	(void)rig_run();
	return good;
}

/* ---- the sweep ---- */

static unsigned fds_before, watches_before;

static void expect_nothing_left(unsigned n)
{
	if (rig_run() != FAKE_IDLE)
		FAIL("call %u failed: it does not rest", n);
	if (fake_open_fds() != fds_before || fake_open_maps() != 0)
		FAIL("call %u failed: %u descriptors (%u before), %u maps", n, fake_open_fds(),
			fds_before, fake_open_maps());
	if (fake_watches() != watches_before)
		FAIL("call %u failed: %u watches (%u before)", n, fake_watches(), watches_before);
}

static void start_sweep(void)
{
	make_world();
	CHECK_EQ(rig_main(command_line), FAKE_IDLE);
	fds_before = fake_open_fds();
	watches_before = fake_watches();
}

/* A session in which calls fail, and one that must go well after it. */
static void try(unsigned (*session)(void), unsigned expected, unsigned n)
{
	front_lenient = true;
	rig_patience_ns = 20000000;
	(void)session();
	fake.fail_any = fake.fail_one_in = 0;
	front_lenient = false;
	rig_patience_ns = fake.end_ns = 0;
	expect_nothing_left(n);
	if (session() != expected)
		FAIL("call %u failed: the next session is not served", n);
	expect_nothing_left(n);
}

/* Fails every call of a session in turn. */
static void sweep(unsigned (*session)(void), unsigned expected)
{
	unsigned n = 0;

	start_sweep();
	CHECK_EQ(session(), expected);
	do {
		fake.failed = 0;
		fake.fail_any = fake.calls_all + ++n;
		try(session, expected, n);
	} while (fake.failed > 0);
	CHECK(n > 30);
}

CASE(every_call_of_a_disk_s_session)
{
	sweep(blk_session, 20);
}

CASE(every_call_of_an_entropy_session)
{
	sweep(rng_session, 1);
}

CASE(every_call_of_a_network_session)
{
	sweep(net_session, 3);
}

CASE(many_calls_at_random)
{
	start_sweep();
	for (unsigned n = 1; n < 400; n++) {
		fake.fail_mask = UINT32_MAX;
		fake.fail_one_in = 2 + n % 20;
		if (n % 3 == 0)
			try(blk_session, 20, n);
		else if (n % 3 == 1)
			try(rng_session, 1, n);
		else
			try(net_session, 3, n);
	}
}

/* A part of the cage that cannot be had, unless it was asked for by name, ends nothing. */
static bool may_fail(enum fake_call call, const char *line)
{
	return call >= FAKE_CAGE_PRIVILEGES && call <= FAKE_CAGE_SECCOMP &&
	       !strstr(line, "--sandbox");
}

/* What fails at the start is said, and the process ends: one process each. */
static bool fail_at_start(const char *line, unsigned n)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		make_world();
		fake.fail_any = n;
		switch (rig_main(line)) {
		case FAKE_EXITED: _exit(fake.exit_status == 1 && fake.log_lines == 1 ? 1 : 2);
		case FAKE_IDLE:
			if (fake.failed > 0 && may_fail(fake.trace[n - 1], line))
				_exit(fake.log_lines == 0 ? 1 : 5);
			_exit(fake.failed > 0 ? 3 : 0);
		default: _exit(4);
		}
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
		FAIL("call %u failed: status 0x%x", n, status);
	return WEXITSTATUS(status) == 1;
}

CASE(every_call_of_the_start)
{
	static const char *const lines[] = { command_line,
		"vubox blk -s /blk --blk-file=/img --user=vm --chroot=/ --sandbox=full" };

	for (unsigned i = 0; i < countof(lines); i++) {
		unsigned n = 1;

		while (fail_at_start(lines[i], n))
			n++;
		CHECK(n > 10);
	}
}
