/* port/user.c: names into ids, another root directory, another user. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "num.h"
#include "port.h"
#include "unit.h"

/* A sanitizer's look for leaks reads /proc, which is not there after chroot. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static void expect(const char *text, uint32_t uid, uint32_t gid)
{
	struct port_user user = { { 0 } };
	int error = port_user_find(text, &user);

	if (error < 0 || user.ids[0] != uid || user.ids[1] != gid)
		FAIL("%s: error %d, %u:%u, not %u:%u", text, error, user.ids[0], user.ids[1], uid,
			gid);
}

static void expect_none(const char *text)
{
	struct port_user user;
	int error = port_user_find(text, &user);

	if (error != -ENOENT)
		FAIL("%s: error %d", text, error);
}

CASE(numbers_need_no_files)
{
	expect("0", 0, 0);
	expect("1000", 1000, 1000);
	expect("1000:5", 1000, 5);
	expect("5:0", 5, 0);
	expect("4294967294:4294967294", 4294967294, 4294967294);
}

CASE(root_is_in_the_files_of_this_machine)
{
	expect("root", 0, 0);
	expect("root:root", 0, 0);
	expect("root:7", 0, 7);
	expect("7:root", 7, 0);
}

CASE(what_is_no_user_or_group)
{
	static const char *const none[] = { "", ":", ":0", "0:", "4294967295", "0:4294967295",
		"99999999999999999999", "-1", "+1", "1x", " 1", "0x1", "no such user",
		"root:no such group", "root:root:root", "roo", "rootx", "root\n", "x", "0:0:0" };

	for (unsigned i = 0; i < countof(none); i++)
		expect_none(none[i]);
}

/* In a root directory of its own, with these two files. */
static void enter_root(const char *passwd, const char *group)
{
	const char *names[] = { "etc/passwd", "etc/group" }, *texts[] = { passwd, group };

	if (geteuid() != 0)
		unit_skip("only root can change its root directory");
	CHECK_OK(mkdir(unit_path(UNIT_DISK, "etc"), 0700));
	for (unsigned i = 0; i < 2; i++) {
		FILE *f;

		if (!texts[i])
			continue;
		f = fopen(unit_path(UNIT_DISK, names[i]), "w");
		if (!f)
			FAIL("%s: it cannot be made", names[i]);
		(void)fputs(texts[i], f);
		CHECK_OK(fclose(f));
	}
	CHECK_OK(port_chroot(unit_path(UNIT_DISK, "")));
}

CASE(lines_of_every_shape)
{
	enter_root("\n"
		   "::3:4:an empty name:/:\n"
		   "a:x:10:20:A:/:/bin/sh\n"
		   "ab:x:11:21:longer:/:/bin/sh\n"
		   "# comment\n"
		   "nocolons\n"
		   "short:x:12\n"
		   "shorter:x\n"
		   "noid:x::22::\n"
		   "nogid:x:13:::\n"
		   "letters:x:1a:22::\n"
		   "great:x:4294967295:22::\n"
		   "greater:x:99999999999999999999:22::\n"
		   "most:x:4294967294:4294967294::\n"
		   "twice:x:14:24::\n"
		   "twice:x:15:25::\n"
		   "nopassword::16:26::\n"
		   "bare:x:17:27\n"
		   "last:x:18:28::",
		"a:x:30:\nab:x:31:a,b\nshort:x:32\nnoid:x::\nlast:x:33");
	expect("a", 10, 20);
	expect("ab", 11, 21);
	expect("most", 4294967294, 4294967294);
	expect("twice", 14, 24);
	expect("nopassword", 16, 26);
	expect("bare", 17, 27);
	expect("last", 18, 28);
	expect("a:a", 10, 30);
	expect("1:ab", 1, 31);
	expect("1:short", 1, 32);
	expect("last:last", 18, 33);
	for (unsigned i = 0; i < 10; i++) {
		static const char *const none[] = { "", "b", "nocolons", "short", "shorter", "noid",
			"nogid", "letters", "great", "greater" };

		expect_none(none[i]);
	}
	expect_none("1:noid");
	expect_none("1:none");
}

CASE(files_that_are_not_there)
{
	enter_root(NULL, NULL);
	expect("1:2", 1, 2);
	expect_none("root");
	expect_none("1:root");
}

CASE(a_file_of_many_users)
{
	static char text[CONFIG_USERS_FILE_MAX + 100];
	size_t at = 0;

	for (unsigned i = 0; at < CONFIG_USERS_FILE_MAX - 40; i++)
		at += (size_t)sprintf(text + at, "user%u:x:%u:%u::\n", i, i, i + 1);
	strcpy(text + at, "last:x:5:6::");
	enter_root(text, "");
	expect("last", 5, 6);
	expect("user4321", 4321, 4322);
}

CASE(a_file_of_too_many_users_is_an_error)
{
	static char text[CONFIG_USERS_FILE_MAX + 2];
	struct port_user user;

	memset(text, '#', sizeof(text) - 1);
	enter_root(text, "");
	CHECK_EQ(port_user_find("root", &user), -EFBIG);
	expect("5", 5, 5);
}

CASE(another_root_directory)
{
	enter_root("", "");
	CHECK(access("/etc/passwd", F_OK) == 0 && access("/bin", F_OK) < 0);
	CHECK(access("etc/passwd", F_OK) == 0); /* it works there, too */
	CHECK_EQ(port_chroot("/none"), -ENOENT);
	CHECK_EQ(port_chroot("/etc/passwd"), -ENOTDIR);
}

CASE(another_user_for_good)
{
	struct port_user user = { { 1234, 5678 } };
	uid_t uid[3];
	gid_t gid[3];

	if (geteuid() != 0)
		unit_skip("only root can become another user");
	CHECK_OK(setgroups(2, (gid_t[]){ 7, 8 }));
	CHECK_OK(port_user_become(&user));
	CHECK_OK(getresuid(&uid[0], &uid[1], &uid[2]));
	CHECK_OK(getresgid(&gid[0], &gid[1], &gid[2]));
	for (unsigned i = 0; i < 3; i++)
		CHECK(uid[i] == 1234 && gid[i] == 5678);
	CHECK_EQ(getgroups(0, NULL), 0);
	CHECK(setuid(0) < 0 && setgid(0) < 0);
	/* Who is nobody already becomes nobody else. */
	CHECK_EQ(port_user_become(&(struct port_user){ { 0, 0 } }), -EPERM);
	CHECK_EQ(port_chroot("/"), -EPERM);
}

CASE(root_may_stay_root)
{
	if (geteuid() != 0)
		unit_skip("only root can be root");
	CHECK_OK(port_user_become(&(struct port_user){ { 0, 0 } }));
	CHECK_EQ(getuid(), 0);
}
