/* vubox: makes the devices that the command line names, and serves them until it is told to end. */
#include <string.h>

#include "device.h"
#include "loop.h"
#include "name.h"
#include "opts.h"
#include "stats.h"
#include "text.h"

static struct {
	struct device devices[CONFIG_DEVICES_MAX];
	uint32_t count;
	int signals;
	bool ending, give_up;
	struct loop_timer patience;
	uint64_t sandbox;          /* which of the choices */
	bool sandbox_given;        /* by name, so that nothing of it may be missing */
	const char *user, *chroot; /* NULL: as we are */
	const char *stats;         /* the path of its socket, or NULL */
	int ready_fd;              /* or 0 */
	char config[CONFIG_FILE_MAX + 1];
} state;

/* ---- making devices ---- */

static int make_endpoint(struct device *dev, const struct option_value *common)
{
	struct endpoint *e = &dev->session.endpoint;
	int kind;

	if (common[OPT_SOCKET_PATH].given) {
		e->kind = common[OPT_CLIENT].given ? ENDPOINT_CLIENT : ENDPOINT_LISTEN;
		e->path = common[OPT_SOCKET_PATH].text;
		return EXIT_OK;
	}
	e->fd = (int)common[OPT_FD].number;
	kind = port_socket_kind(e->fd);
	if (kind < 0) {
		log_error(dev->name, "--fd=%d: no unix stream socket: %s", e->fd, log_errno(kind));
		return EXIT_FAILED;
	}
	e->kind = kind == 1 ? ENDPOINT_LISTEN_FD : ENDPOINT_CONNECTED_FD;
	return EXIT_OK;
}

/* What holds for the whole process may stand with any device; the last one counts. */
static int take_process_options(const char *name, const struct option_value *common)
{
	int error;

	if (common[OPT_VERBOSE].given)
		log_verbose(true);
	loop_poll(common[OPT_POLL_US].number * 1000);
	if (common[OPT_SANDBOX].given || !state.sandbox_given)
		state.sandbox = common[OPT_SANDBOX].number;
	state.sandbox_given |= common[OPT_SANDBOX].given;
	if (common[OPT_USER].given)
		state.user = common[OPT_USER].text;
	if (common[OPT_CHROOT].given)
		state.chroot = common[OPT_CHROOT].text;
	if (common[OPT_STATS].given)
		state.stats = common[OPT_STATS].text;
	if (!common[OPT_READY_FD].given)
		return EXIT_OK;
	if (state.ready_fd == (int)common[OPT_READY_FD].number)
		return EXIT_OK;
	state.ready_fd = (int)common[OPT_READY_FD].number;
	error = port_ready_check(state.ready_fd);
	if (error == 0)
		return EXIT_OK;
	log_error(name, "--ready-fd=%d: cannot write to it: %s", state.ready_fd, log_errno(error));
	return EXIT_FAILED;
}

static int make_device(const struct device_class *class, const char *where, int count, char **words)
{
	struct option_value values[OPTIONS_MAX];
	const struct option_value *common = values + class->option_count;
	struct device *dev = &state.devices[state.count];
	int result = opts_parse(class, where, count, words, values);

	if (result != EXIT_OK)
		return result;
	if (common[OPT_HELP].given || common[OPT_PRINT_CAPABILITIES].given) {
		if (common[OPT_HELP].given)
			opts_help(class);
		else
			opts_capabilities(class);
		port_exit(EXIT_OK);
	}
	if (state.count == CONFIG_DEVICES_MAX) {
		log_error(where, "more than %d devices in one process", CONFIG_DEVICES_MAX);
		return EXIT_USAGE;
	}
	dev->class = class;
	dev->session.device = dev;
	result = name_device(dev, where, &common[OPT_NAME]);
	if (result == EXIT_OK)
		result = take_process_options(dev->name, common);
	if (result != EXIT_OK)
		return result;
	state.count++;
	result = make_endpoint(dev, common);
	if (result == EXIT_OK)
		result = class->open(dev, values);
	if (result != EXIT_OK)
		return result;
	dev->queues = queue_create(dev, dev->queue_count);
	if (!dev->queues) {
		log_error(dev->name, "no queues are left for it (--num-queues)");
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

static const struct device_class *find_class(const char *where, const char *name)
{
	const struct device_class *class = device_find(name);

	if (!class)
		log_error(where, "%s: no such device (see vubox --list)", name);
	return class;
}

static int make_named(const char *where, int count, char **words)
{
	const struct device_class *class = find_class(where, words[0]);

	return class ? make_device(class, where, count - 1, words + 1) : EXIT_USAGE;
}

/* DEVICE … -- DEVICE … -- …; class is that of the first, if argv[0] has named it. */
static int make_all(const struct device_class *class, int count, char **words)
{
	int result = EXIT_OK;

	while (result == EXIT_OK) {
		int n = 0;

		while (n < count && strcmp(words[n], "--") != 0)
			n++;
		if (class) {
			result = make_device(class, NULL, n, words);
		} else if (n > 0) {
			result = make_named(NULL, n, words);
		} else {
			log_error(NULL, "no device before or after -- (see vubox --help)");
			return EXIT_USAGE;
		}
		if (n == count)
			break;
		class = NULL;
		words += n + 1;
		count -= n + 1;
	}
	return result;
}

/* --config=PATH and what follows it, which counts more than what the file says. */
static int make_from_config(const char *path, int count, char **words)
{
	struct option_value common[OPTIONS_MAX];
	int len = 0, result = opts_parse(NULL, "--config", count, words, common);

	if (common[OPT_HELP].given || common[OPT_PRINT_CAPABILITIES].given) {
		opts_help(NULL);
		port_exit(EXIT_OK);
	}
	if (result == EXIT_OK)
		len = port_read_file(path, state.config, CONFIG_FILE_MAX);
	if (len < 0) {
		log_error(NULL, "%s: cannot read: %s", path, log_errno(len));
		return EXIT_FAILED;
	}
	if (strlen(state.config) != (size_t)len) {
		log_error(NULL, "%s: no text: it has a NUL byte", path);
		return EXIT_USAGE;
	}
	if (result == EXIT_OK)
		result = opts_config(path, state.config, make_named);
	if (result == EXIT_OK && state.count == 0) {
		log_error(NULL, "%s: no device in it", path);
		return EXIT_USAGE;
	}
	if (!common[OPT_POLL_US].given)
		common[OPT_POLL_US].number = 0; /* the greatest wish counts */
	return result == EXIT_OK ? take_process_options("--config", common) : result;
}

static int make_from_command_line(int argc, char **argv)
{
	static const char config[] = "--config";
	const char *device = argc > 0 ? opts_program(argv[0]) : NULL;
	const char *word = argc > 1 ? argv[1] : NULL;

	if (device) {
		const struct device_class *class = find_class(NULL, device);

		return class ? make_all(class, argc - 1, argv + 1) : EXIT_USAGE;
	}
	if (!word) {
		log_error(NULL, "say which device to serve (see vubox --help)");
		return EXIT_USAGE;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		opts_help(NULL);
		opts_list();
		port_exit(EXIT_OK);
	}
	if (strcmp(word, "--list") == 0) {
		opts_list();
		port_exit(EXIT_OK);
	}
	if (strcmp(word, "--version") == 0) {
		port_write_out("vubox " CONFIG_VERSION "\n", strlen("vubox " CONFIG_VERSION "\n"));
		port_exit(EXIT_OK);
	}
	if (strncmp(word, "--config=", sizeof(config)) == 0)
		return make_from_config(word + sizeof(config), argc - 2, argv + 2);
	if (strcmp(word, config) == 0 && argc >= 3)
		return make_from_config(argv[2], argc - 3, argv + 3);
	return make_all(NULL, argc - 1, argv + 1);
}

/* ---- serving ---- */

/* The choices of --sandbox, in its order. */
enum { SANDBOX_OFF, SANDBOX_SECCOMP, SANDBOX_FULL };

static void patience_ends(void *owner)
{
	(void)owner;
	log_error(NULL, "I/O is still in flight: ending without it");
	state.give_up = true;
}

static void end(void)
{
	if (state.ending)
		return;
	state.ending = true;
	for (uint32_t i = 0; i < state.count; i++)
		session_end(&state.devices[i].session);
	loop_timer_set(
		&state.patience, out_now_ns() + CONFIG_DRAIN_MS * 1000000ull, patience_ends, NULL);
}

/* SIGHUP and SIGWINCH. */
static void look_around(enum port_signal s)
{
	for (uint32_t i = 0; i < state.count; i++) {
		struct device *dev = &state.devices[i];

		if (s == PORT_SIGNAL_AGAIN)
			dev->session.looking = true;
		else if (dev->class->resized && dev->class->resized(dev))
			session_config_changed(&dev->session);
	}
}

static void signalled(void *owner)
{
	enum port_signal s;

	(void)owner;
	while ((s = port_signals_next(state.signals)) != PORT_SIGNAL_NONE) {
		if (s == PORT_SIGNAL_END)
			end();
		else if (s == PORT_SIGNAL_TELL)
			stats_log();
		else
			look_around(s);
	}
}

static bool device_finished(const struct device *dev)
{
	return dev->session.endpoint.kind == ENDPOINT_CONNECTED_FD &&
	       dev->session.state == SESSION_CLOSED;
}

static void look_again(struct device *dev)
{
	dev->session.looking = false;
	if (dev->class->look_again && dev->class->look_again(dev))
		session_config_changed(&dev->session);
	device_ready(dev);
}

static void tick_end(void)
{
	bool faults = port_map_hits();
	uint32_t in_flight = 0, finished = 0, waiting = 0;

	if (!loop_take_news() && !faults)
		return;
	for (uint32_t i = 0; i < state.count; i++) {
		struct device *dev = &state.devices[i];

		if (faults)
			session_check_memory(&dev->session);
		session_progress(&dev->session);
		if (dev->session.looking && device_in_flight(dev) == 0)
			look_again(dev);
		in_flight += device_in_flight(dev);
		finished += device_finished(dev);
		waiting += session_waits(&dev->session);
	}
	if (waiting > 0)
		loop_news();
	if (finished == state.count)
		end();
	if (state.ending && (in_flight == 0 || state.give_up))
		loop_end();
}

static void io_finished(void *owner)
{
	(void)owner;
	loop_seen_in_rings(); /* the tick takes what is done */
}

static int watch_process(void)
{
	int error = port_signals_open();

	state.signals = error;
	if (error >= 0)
		error = loop_watch(state.signals, PORT_LEVEL, signalled, NULL);
	if (error >= 0 && port_io_event() >= 0)
		error = loop_watch(port_io_event(), PORT_EDGE, io_finished, NULL);
	return error;
}

static void remove_sockets(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		session_unlink(&state.devices[i].session);
	stats_unlink();
}

static int cannot(const char *option, const char *text, const char *what, int error)
{
	log_error(NULL, "--%s=%s: %s: %s", option, text, what, log_errno(error));
	return EXIT_FAILED;
}

static void close_all(void)
{
	remove_sockets(state.count);
	for (uint32_t i = 0; i < state.count; i++)
		state.devices[i].class->close(&state.devices[i]);
}

static int open_sockets(void)
{
	for (uint32_t i = 0; i < state.count; i++) {
		struct device *dev = &state.devices[i];
		int error = session_serve(&dev->session);

		if (error < 0) {
			log_error(dev->name, "%s: cannot serve: %s",
				dev->session.endpoint.path ? dev->session.endpoint.path : "--fd",
				log_errno(error));
			remove_sockets(i);
			return EXIT_FAILED;
		}
	}
	return EXIT_OK;
}

/* The sockets of front-ends, then those of the devices themselves, then that of the counters. */
static int open_all(void)
{
	int result = open_sockets(), error = 0;

	if (result != EXIT_OK)
		return result;
	for (uint32_t i = 0; i < state.count && result == EXIT_OK; i++) {
		struct device *dev = &state.devices[i];

		if (dev->class->listen)
			result = dev->class->listen(dev);
	}
	names_alone();
	stats_of(state.devices, state.count);
	if (result == EXIT_OK && state.stats)
		error = stats_serve(state.stats);
	if (error < 0)
		result = cannot("stats", state.stats, "cannot serve", error);
	if (result != EXIT_OK)
		close_all();
	return result;
}

/*
 * --chroot and --user. Files are open by now, as the caller; sockets are not, so that they are that
 * user's, and whoever can make them can remove them at the end, and connect to them again.
 */
static int change_identity(void)
{
	struct port_user user = { 0 };
	int error = state.user ? port_user_find(state.user, &user) : 0;

	if (error < 0)
		return cannot("user", state.user, "cannot find user or group", error);
	error = state.chroot ? port_chroot(state.chroot) : 0;
	if (error < 0)
		return cannot("chroot", state.chroot, "cannot enter it", error);
	error = state.user ? port_user_become(&user) : 0;
	if (error < 0)
		return cannot("user", state.user, "cannot become it", error);
	return EXIT_OK;
}

/* A part of the cage that cannot be had is a reason to end for those who asked for it by name. */
static bool closed(const char *part, int error)
{
	static const char line[] = "sandbox: no %s here: %s";

	if (error >= 0)
		return true;
	if (state.sandbox_given)
		log_error(NULL, line, part, log_errno(error));
	else
		log_info(NULL, line, part, log_errno(error));
	return !state.sandbox_given;
}

/* --sandbox: from here on only what serving needs, by the lines "calls" of port/. */
static bool enter_cage(void)
{
	struct port_cage_path paths[CONFIG_DEVICES_MAX * (DEVICE_PATHS + 1) + 1];
	unsigned count = 0, needs = 0;

	for (uint32_t i = 0; i < state.count; i++) {
		const struct device *dev = &state.devices[i];
		const struct endpoint *e = &dev->session.endpoint;

		if (e->path)
			paths[count++] = (struct port_cage_path){ .path = e->path,
				.client = e->kind == ENDPOINT_CLIENT };
		if (dev->class->paths)
			count += dev->class->paths(dev, paths + count);
	}
	for (unsigned i = 0; i < count; i++)
		needs |= (paths[i].client ? PORT_CAGE_CLIENT : 0u) |
			 (paths[i].log ? PORT_CAGE_LOG : 0u);
	if (state.stats)
		paths[count++] = (struct port_cage_path){ .path = state.stats };
	return state.sandbox == SANDBOX_OFF ||
	       (closed("privileges to drop", port_cage_privileges(count > 0)) &&
		       (state.sandbox == SANDBOX_SECCOMP ||
			       closed("landlock", port_cage_landlock(paths, count))) &&
		       closed("seccomp", port_cage_seccomp(needs)));
}

static int serve(void)
{
	int result = EXIT_FAILED, error = watch_process();

	if (error < 0)
		log_error(NULL, "cannot wait for events: %s", log_errno(error));
	else
		result = change_identity();
	if (result == EXIT_OK)
		result = open_all();
	if (result != EXIT_OK)
		return result;
	if (!enter_cage()) {
		close_all();
		return EXIT_FAILED;
	}
	if (state.ready_fd > 0)
		port_ready(state.ready_fd);
	log_info(NULL, "serving %u device%s", state.count, state.count == 1 ? "" : "s");
	loop_run(tick_end);
	close_all();
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	int result = port_process_open();

	if (result == 0)
		result = loop_open();
	if (result < 0) {
		log_error(NULL, "cannot start: %s", log_errno(result));
		port_exit(EXIT_FAILED);
	}
	result = make_from_command_line(argc, argv);
	if (result == EXIT_OK)
		result = serve();
	port_exit(result);
}
