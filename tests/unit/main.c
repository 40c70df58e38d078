/* src/main.c: what the command line makes of the process. */
#include <errno.h>

#include "num.h"
#include "rig.h"
#include "spec/vhost_user.h"
#include "unit.h"

/* Runs main() in a fresh world with an image "/img" in it: its exit status. */
static int run(const char *line)
{
	enum fake_end end;

	fake_reset(1);
	fake_image_new("/img", 1 << 20);
	end = rig_main(line);
	if (end != FAKE_EXITED)
		FAIL("it did not exit, but %d", end);
	return fake.exit_status;
}

static void serve(const char *line)
{
	fake_reset(1);
	fake_image_new("/img", 1 << 20);
	fake_image_new("/img2", 1 << 20);
	CHECK_EQ(rig_main(line), FAKE_IDLE);
}

CASE(help)
{
	CHECK_EQ(run("vubox --help"), 0);
	CHECK(strstr(fake.out, "usage: vubox DEVICE"));
	CHECK(strstr(fake.out, "blk\tblock device"));
	CHECK_EQ(run("vubox -h"), 0);
	CHECK_EQ(run("vubox blk --help"), 0);
	CHECK(strstr(fake.out, "--blk-file=PATH"));
	CHECK_TEXT(fake.log, "");
}

CASE(list_and_version)
{
	CHECK_EQ(run("vubox --list"), 0);
	CHECK_TEXT(fake.out, "blk\tblock device: a disk\nconsole\tconsoles and serial ports\n"
			     "net\tnetwork card\nrng\tentropy\n"
			     "vsock\tsockets between guest and host\n");
	CHECK_EQ(run("vubox --version"), 0);
	CHECK_EQ(strncmp(fake.out, "vubox ", 6), 0);
}

CASE(capabilities)
{
	CHECK_EQ(run("vubox blk --print-capabilities --nonsense"), 0);
	CHECK(strstr(fake.out, "\"type\": \"block\""));
	CHECK_EQ(run("vhost-user-blk --print-capabilities"), 0);
	CHECK(strstr(fake.out, "\"type\": \"block\""));
	CHECK_EQ(run("/usr/libexec/virtio-rng --print-capabilities"), 0);
	CHECK(strstr(fake.out, "\"type\": \"rng\""));
}

CASE(wrong_use_is_one_line_and_status_2)
{
	static const char *const wrong[] = { "vubox", "vubox nothing", "vubox --",
		"vubox --nonsense", "vubox rng -s /s --", "vubox -- rng -s /s", "vubox rng",
		"vubox rng -s /s -- blk", "vubox vhost-user-blk", "vubox --config",
		"vubox --config=/f more", "virtio-nothing", "vubox blk -s /s" };

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		CHECK_EQ(run(wrong[i]), 2);
		CHECK_EQ(fake.log_lines, 1);
		CHECK_TEXT(fake.out, "");
	}
}

CASE(a_device_that_cannot_be_opened)
{
	CHECK_EQ(run("vubox blk -s /s --blk-file=/nothing"), 1);
	CHECK_TEXT(fake.log, "vubox: blk: /nothing: cannot open: No such file or directory\n");
}

CASE(several_devices)
{
	serve("vubox blk -s /a --blk-file=/img -v -- rng -s /b -- blk -s /c --blk-file=/img2");
	CHECK_TEXT(rig_device(0)->name, "blk");
	CHECK_TEXT(rig_device(1)->name, "rng");
	CHECK_TEXT(rig_device(2)->name, "blk2");
	CHECK(fake_log_has("serving 3 devices"));
}

CASE(a_symlink_names_the_first_device)
{
	serve("vhost-user-blk -s /a --blk-file=/img -- rng -s /b");
	CHECK_TEXT(rig_device(0)->name, "blk");
	CHECK_TEXT(rig_device(1)->name, "rng");
}

CASE(a_config_file)
{
	fake_reset(1);
	fake_image_new("/img", 1 << 20);
	fake_file_new("/f", "# two devices\nblk -s /a --blk-file=/img\n\nrng -s /b\n");
	CHECK_EQ(rig_main("vubox --config=/f"), FAKE_IDLE);
	CHECK_TEXT(rig_device(1)->name, "rng");
}

static void expect_config(const char *text, int status, const char *line)
{
	fake_reset(1);
	fake_file_new("/f", text);
	CHECK_EQ(rig_main("vubox --config /f"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, status);
	CHECK_TEXT(fake.log, line);
}

CASE(config_files_that_are_wrong)
{
	/* Each is longer than the one before: they are read to the same place. */
	expect_config("", 2, "vubox: /f: no device in it\n");
	expect_config("rng\n", 2,
		"vubox: /f:1: say where the front-end is: --socket-path=PATH or --fd=N\n");
	expect_config("# none\n", 2, "vubox: /f: no device in it\n");
	expect_config(
		"\nnothing\n", 2, "vubox: /f:2: nothing: no such device (see vubox --list)\n");
	CHECK_EQ(run("vubox --config=/nothing"), 1);
	CHECK_TEXT(fake.log, "vubox: /nothing: cannot read: No such file or directory\n");
}

/* They count more than those of the file. */
CASE(options_behind_a_config_file)
{
	fake_reset(1);
	fake_file_new("/f", "rng -s /a --sandbox=full --chroot=/a --poll-us=0\n");
	CHECK_EQ(rig_main("vubox --config=/f --chroot=/b --sandbox=off --stats=/stats"), FAKE_IDLE);
	CHECK_TEXT(fake.root, "/b");
	CHECK(!fake.caged);
	CHECK_EQ(fake.calls[FAKE_LISTEN], 2);
}

static void wrong_behind_config(const char *line, const char *log)
{
	fake_reset(1);
	fake_file_new("/f", "rng -s /a\n");
	CHECK_EQ(rig_main(line), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 2);
	CHECK_TEXT(fake.log, log);
}

CASE(what_belongs_to_a_device_is_not_behind_a_config_file)
{
	wrong_behind_config(
		"vubox --config=/f -s /b", "vubox: --config: --socket-path belongs to a device\n");
	wrong_behind_config(
		"vubox --config /f --name=x", "vubox: --config: --name belongs to a device\n");
	wrong_behind_config("vubox --config /f rng",
		"vubox: --config: rng: no such option (see vubox DEVICE --help)\n");
	fake_reset(1);
	CHECK_EQ(rig_main("vubox --config=/f --help"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 0);
	CHECK(strstr(fake.out, "usage: vubox DEVICE"));
}

CASE(a_config_file_is_text)
{
	fake_reset(1);
	fake_file_new("/f", "rng -s /b\n");
	fake_image_find("/f")->bytes[3] = 0;
	CHECK_EQ(rig_main("vubox --config /f"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 2);
	CHECK(fake_log_has("it has a NUL byte"));
}

CASE(a_config_file_of_many_bytes)
{
	fake_reset(1);
	fake_image_resize(fake_image_new("/f", 1), CONFIG_FILE_MAX + 1);
	CHECK_EQ(rig_main("vubox --config /f"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
}

CASE(more_devices_than_there_is_room_for)
{
	char line[1000] = "vubox";

	fake_reset(1);
	for (unsigned i = 0; i < CONFIG_DEVICES_MAX; i++)
		strcat(line, " rng -s /s --");
	strcat(line, " rng -s /s");
	CHECK_EQ(rig_main(line), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 2);
	CHECK(fake_log_has("more than 16 devices in one process"));
}

CASE(one_device_that_cannot_be_served_ends_all)
{
	fake_reset(1);
	fake.fail_at[FAKE_LISTEN] = 2;
	CHECK_EQ(rig_main("vubox rng -s /a -- rng -s /b"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK(fake_log_has("vubox: rng2: /b: cannot serve: Permission denied"));
}

CASE(no_events_no_service)
{
	fake_reset(1);
	fake.fail_at[FAKE_WAIT_OPEN] = 1;
	CHECK_EQ(rig_main("vubox rng -s /a"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK_EQ(fake.log_lines, 1);
}

CASE(no_signals_no_service)
{
	fake_reset(1);
	fake.fail_at[FAKE_SIGNALS_OPEN] = 1;
	CHECK_EQ(rig_main("vubox rng -s /a"), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
}

CASE(it_ends_when_the_last_connection_of_its_own_ends)
{
	int pair[2];

	fake_reset(1);
	fake_socketpair(pair);
	CHECK_EQ(rig_main("vubox rng --fd=100"), FAKE_IDLE);
	fake_close(pair[1]);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 0);
}

CASE(a_file_that_grows_is_announced)
{
	struct front front;
	struct vhost_user_header h;
	int pair[2];

	serve("vubox blk -s /s --blk-file=/img");
	front_start(&front, "/s", 1, 0);
	fake_socketpair(pair);
	CHECK_EQ(front_ack(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]), 0);
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_recv(pair[0], &h, sizeof(h), NULL), -EAGAIN);
	fake_image_resize(fake_image_find("/img"), 2 << 20);
	fake_signal(PORT_SIGNAL_AGAIN);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK_EQ(fake_recv(pair[0], &h, sizeof(h), NULL), sizeof(h));
	CHECK_EQ(h.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
}

CASE(it_says_when_all_is_served)
{
	char line[100] = "vubox rng -s /a -- rng -s /b --ready-fd=100 -- rng -s /c --ready-fd=100";
	int fd, other;

	fake_reset(1);
	fd = fake_notify_new(PORT_NOTIFY_EVENT);
	CHECK_EQ(fd, 100);
	other = fake_dup(fd);
	CHECK_EQ(rig_main(line), FAKE_IDLE);
	CHECK_EQ(fake_notify_take(other), 1);
	CHECK_EQ(fake.calls[FAKE_LISTEN], 3);
}

CASE(it_does_not_say_so_if_it_is_not)
{
	int other;

	fake_reset(1);
	other = fake_dup(fake_notify_new(PORT_NOTIFY_EVENT));
	fake.fail_at[FAKE_LISTEN] = 2;
	CHECK_EQ(rig_main("vubox rng -s /a -- rng -s /b --ready-fd=100"), FAKE_EXITED);
	CHECK_EQ(fake_notify_take(other), 0);
}

CASE(nobody_to_say_it_to)
{
	CHECK_EQ(run("vubox rng -s /a --ready-fd=100"), 1);
	CHECK_TEXT(
		fake.log, "vubox: rng: --ready-fd=100: cannot write to it: Bad file descriptor\n");
	CHECK_EQ(run("vubox rng -s /a --ready-fd=2"), 2);
}

/* ---- who it is, and the cage ---- */

static void expect_trace(const enum fake_call *calls, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (fake.trace[i] != calls[i])
			FAIL("call %u is %d, not %d", i, fake.trace[i], calls[i]);
	CHECK_EQ(fake.calls_all, count);
}

/* Files as the caller, sockets as the user, the cage behind both; a client tries again in it. */
CASE(the_order_of_the_start)
{
	static const enum fake_call order[] = { FAKE_WAIT_OPEN, FAKE_READ_FILE, FAKE_FILE_OPEN,
		FAKE_STREAM_OPEN, FAKE_SIGNALS_OPEN, FAKE_WAIT_ADD, FAKE_WAIT_ADD, FAKE_USER_FIND,
		FAKE_CHROOT, FAKE_USER_BECOME, FAKE_LISTEN, FAKE_WAIT_ADD, FAKE_CONNECT,
		FAKE_CAGE_PRIVILEGES, FAKE_CAGE_LANDLOCK, FAKE_CAGE_SECCOMP, FAKE_CONNECT };

	fake_reset(1);
	fake_image_new("/img", 1 << 20);
	fake_stream_new("/hwrng", true);
	fake_file_new("/f", "blk -s /s --blk-file=/img --user=vm --chroot=/run\n"
			    "rng -s /c --client --source=/hwrng\n");
	fake.end_ns = fake.now_ns + 60000000;
	CHECK_EQ(rig_main("vubox --config=/f"), FAKE_TIME);
	expect_trace(order, countof(order));
	CHECK(fake.caged && fake.user.ids[0] == 100 && fake.user.ids[1] == 200);
	CHECK_TEXT(fake.root, "/run");
}

CASE(a_smaller_cage_and_none)
{
	serve("vubox rng -s /s --sandbox=seccomp");
	CHECK_EQ(fake.calls[FAKE_CAGE_LANDLOCK], 0);
	CHECK_EQ(fake.calls[FAKE_CAGE_PRIVILEGES], 1);
	CHECK(fake.caged);
}

CASE(no_cage)
{
	serve("vubox rng -s /s --sandbox=off");
	CHECK_EQ(fake.calls[FAKE_CAGE_LANDLOCK], 0);
	CHECK_EQ(fake.calls[FAKE_CAGE_PRIVILEGES], 0);
	CHECK(!fake.caged);
	CHECK_EQ(fake.calls[FAKE_CHROOT] + fake.calls[FAKE_USER_FIND], 0);
}

CASE(the_last_word_on_the_process_counts)
{
	fake_reset(1);
	CHECK_EQ(rig_main("vubox rng -s /a --sandbox=off --user=root --chroot=/a -- "
			  "rng -s /b --sandbox=seccomp --user=vm --chroot=/b -- rng -s /c"),
		FAKE_IDLE);
	CHECK_EQ(fake.calls[FAKE_CAGE_LANDLOCK], 0);
	CHECK(fake.caged && fake.user.ids[0] == 100);
	CHECK_TEXT(fake.root, "/b");
}

static void without(enum fake_call call, const char *line)
{
	fake_reset(1);
	fake.fail_at[call] = 1;
	CHECK_EQ(rig_main(line), FAKE_IDLE);
	CHECK_EQ(fake.failed, 1);
}

CASE(what_the_kernel_lacks)
{
	without(FAKE_CAGE_PRIVILEGES, "vubox rng -s /s");
	CHECK_TEXT(fake.log, "");
	CHECK(fake.caged && fake.calls[FAKE_CAGE_LANDLOCK] == 1);
}

CASE(what_the_kernel_lacks_is_said_with_v)
{
	without(FAKE_CAGE_LANDLOCK, "vubox rng -s /s -v");
	CHECK(fake_log_has("vubox: sandbox: no landlock here: Function not implemented\n"));
	CHECK(fake.caged);
}

CASE(the_end_comes_from_inside)
{
	serve("vubox blk -s /a --blk-file=/img -- rng -s /b");
	fake_signal(PORT_SIGNAL_END);
	CHECK_EQ(rig_run(), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 0);
}

static void refused(enum fake_call call, const char *line, const char *log)
{
	fake_reset(1);
	fake.fail_at[call] = 1;
	CHECK_EQ(rig_main(line), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 1);
	CHECK_TEXT(fake.log, log);
}

CASE(no_landlock_that_was_asked_for_by_name)
{
	refused(FAKE_CAGE_LANDLOCK, "vubox rng -s /s --sandbox=full",
		"vubox: sandbox: no landlock here: Function not implemented\n");
}

CASE(no_seccomp_that_was_asked_for_by_name)
{
	refused(FAKE_CAGE_SECCOMP, "vubox rng -s /s --sandbox=seccomp",
		"vubox: sandbox: no seccomp here: Function not implemented\n");
}

CASE(no_privileges_dropped_as_was_asked_for_by_name)
{
	refused(FAKE_CAGE_PRIVILEGES, "vubox rng -s /s --sandbox=full",
		"vubox: sandbox: no privileges to drop here: Operation not permitted\n");
}

CASE(a_user_that_is_not_there)
{
	refused(FAKE_USER_FIND, "vubox rng -s /s --user=vm",
		"vubox: --user=vm: cannot find user or group: No such file or directory\n");
}

CASE(a_root_directory_that_is_not_there)
{
	refused(FAKE_CHROOT, "vubox rng -s /s --chroot=/none",
		"vubox: --chroot=/none: cannot enter it: No such file or directory\n");
}

CASE(a_user_that_it_cannot_become)
{
	refused(FAKE_USER_BECOME, "vubox rng -s /s --user=vm",
		"vubox: --user=vm: cannot become it: Operation not permitted\n");
}

CASE(a_client_connects_again_from_inside)
{
	int listener, fd;

	fake_reset(1);
	listener = fake_listen("/front");
	CHECK_EQ(rig_main("vubox rng -s /front --client"), FAKE_IDLE);
	fd = fake_accept(listener);
	CHECK(fd >= 0 && fake.caged);
	fake_close(fd);
	CHECK_EQ(rig_run(), FAKE_IDLE);
	CHECK(fake_accept(listener) >= 0);
}
