/* The fake port: users, the root directory, and the cage. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "fake_object.h"

static struct {
	/* That landlock leaves. */
	struct port_cage_path paths[CONFIG_DEVICES_MAX * (DEVICE_PATHS + 1) + 1];
	unsigned count;
	bool landlock;
	unsigned needs;
} state;

/* There are two users: root (0:0) and "vm" (100:200), whose group can be named, too. */
int port_user_find(const char *text, struct port_user *user)
{
	int error = fake_call(FAKE_USER_FIND);

	if (error == 0 && strcmp(text, "root") != 0 && strcmp(text, "vm") != 0 &&
		strcmp(text, "vm:vm") != 0)
		error = -ENOENT;
	if (error == 0)
		*user = *text == 'r' ? (struct port_user){ { 0, 0 } }
				     : (struct port_user){ { 100, 200 } };
	return error;
}

int port_chroot(const char *path)
{
	int error = fake_call(FAKE_CHROOT);

	if (error == 0)
		(void)snprintf(fake.root, sizeof(fake.root), "%s", path);
	return error;
}

int port_user_become(const struct port_user *user)
{
	int error = fake_call(FAKE_USER_BECOME);

	if (error == 0)
		fake.user = *user;
	return error;
}

int port_cage_privileges(bool with_paths)
{
	(void)with_paths;
	return fake_call(FAKE_CAGE_PRIVILEGES);
}

int port_cage_landlock(const struct port_cage_path *paths, unsigned count)
{
	int error = fake_call(FAKE_CAGE_LANDLOCK);

	if (error < 0)
		return error;
	memcpy(state.paths, paths, count * sizeof(paths[0]));
	state.count = count;
	state.landlock = true;
	return 7;
}

int port_cage_seccomp(unsigned needs)
{
	int error = fake_call(FAKE_CAGE_SECCOMP);

	fake.caged = error == 0;
	state.needs = needs;
	return error;
}

/* Connecting is a right to a directory and what is beneath it. */
static bool reaches(const struct port_cage_path *allowed, const char *path, bool client)
{
	const char *slash = strrchr(allowed->path, '/');
	size_t len = slash ? (size_t)(slash - allowed->path) + 1 : 0;

	if (allowed->client != client)
		return false;
	return client ? strncmp(allowed->path, path, len) == 0 : strcmp(allowed->path, path) == 0;
}

void fake_path_check(const char *path, bool client)
{
	bool found = !state.landlock;

	for (unsigned i = 0; i < state.count; i++)
		found |= reaches(&state.paths[i], path, client);
	if (!found || (fake.caged && client && (state.needs & PORT_CAGE_CLIENT) == 0))
		fake_die("%s cannot be reached from inside the cage", path);
}

void fake_log_check(const char *path)
{
	bool found = !state.landlock;

	for (unsigned i = 0; i < state.count; i++)
		found |= state.paths[i].log && strcmp(state.paths[i].path, path) == 0;
	if (!found || (fake.caged && (state.needs & PORT_CAGE_LOG) == 0))
		fake_die("%s cannot be written from inside the cage", path);
}

void fake_cage_kill(void)
{
	memset(&state, 0, sizeof(state));
}

bool port_is_own_connection(int fd)
{
	(void)fd;
	return false;
}
