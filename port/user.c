/* Another user and another root directory: what --user and --chroot ask for. */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "port.h"

/* By number: libc's do more, for threads. Ids of 32 bits, on every architecture. */
#ifdef SYS_setresuid32
#undef SYS_setresuid
#undef SYS_setresgid
#undef SYS_setgroups
#define SYS_setresuid SYS_setresuid32
#define SYS_setresgid SYS_setresgid32
#define SYS_setgroups SYS_setgroups32
#endif

static struct {
	char text[CONFIG_USERS_FILE_MAX + 1]; /* of the file that was looked at last */
} state;

/* Digits; not the greatest number, which says "as it is" to the kernel. */
static bool parse_id(const char *text, size_t len, uint32_t *id)
{
	uint64_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9' || n >= UINT32_MAX)
			return false;
		n = n * 10 + (uint64_t)(text[i] - '0');
	}
	*id = (uint32_t)n;
	return len > 0 && n < UINT32_MAX;
}

/*
 * A number is the first `count` ids. For a name they are behind the password in its line of
 * passwd(5) or group(5), whose fields are between colons. -ENOENT if there is no such line.
 */
static int look_up(const char *path, const char *name, size_t len, uint32_t *ids, unsigned count)
{
	const char *line = state.text;
	int read;

	if (parse_id(name, len, &ids[0])) {
		ids[count - 1] = ids[0];
		return 0;
	}
	read = port_read_file(path, state.text, sizeof(state.text) - 1);
	if (read < 0)
		return read;
	state.text[read] = 0;
	while (*line && (len == 0 || strncmp(line, name, len) != 0 || line[len] != ':')) {
		line += strcspn(line, "\n");
		line += *line != 0;
	}
	line += *line ? len + 1 : 0;
	for (unsigned i = 0; i < count; i++) {
		line += strcspn(line, ":\n");
		if (*line++ != ':' || !parse_id(line, strcspn(line, ":\n"), &ids[i]))
			return -ENOENT;
	}
	return 0;
}

/* calls at the start: nothing */
int port_user_find(const char *text, struct port_user *user)
{
	size_t len = strcspn(text, ":");
	int error = look_up("/etc/passwd", text, len, user->ids, 2);

	text += len;
	if (error == 0 && *text++)
		error = look_up("/etc/group", text, strlen(text), user->ids + 1, 1);
	return error;
}

/* calls at the start: chroot chdir */
int port_chroot(const char *path)
{
	return chroot(path) < 0 || chdir("/") < 0 ? -errno : 0;
}

/* calls at the start: setgroups setresgid setresuid */
int port_user_become(const struct port_user *user)
{
	uint32_t uid = user->ids[0], gid = user->ids[1];

	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0 ||
		syscall(SYS_setresuid, uid, uid, uid) < 0)
		return -errno;
	/* Nobody goes on as root who believes that he is not. */
	return uid == 0 || syscall(SYS_setresuid, -1, 0, -1) < 0 ? 0 : -EPERM;
}
