/* src/name.c: what devices are called. */
#include "rig.h"
#include "unit.h"

static void refused(const char *line, const char *log)
{
	fake_reset(1);
	CHECK_EQ(rig_main(line), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 2);
	CHECK_TEXT(fake.log, log);
}

CASE(given_and_made)
{
	fake_reset(1);
	CHECK_EQ(rig_main("vubox rng -s /a --name=rng2 -- rng -s /b -- rng -s /c -- "
			  "rng -s /d --name=dice -- rng -s /e"),
		FAKE_IDLE);
	CHECK_TEXT(rig_device(0)->name, "rng2");
	CHECK_TEXT(rig_device(1)->name, "rng3");
	CHECK_TEXT(rig_device(2)->name, "rng4");
	CHECK_TEXT(rig_device(3)->name, "dice");
	CHECK_TEXT(rig_device(4)->name, "rng5");
}

CASE(the_first_one_has_its_class_s_name)
{
	fake_reset(1);
	CHECK_EQ(rig_main("vubox rng -s /a -- rng -s /b"), FAKE_IDLE);
	CHECK_TEXT(rig_device(0)->name, "rng");
	CHECK_TEXT(rig_device(1)->name, "rng2");
}

CASE(a_name_is_for_one)
{
	refused("vubox rng -s /a --name=x -- rng -s /b --name=x",
		"vubox: rng: --name=x: another device has this name\n");
}

CASE(a_name_that_another_was_given)
{
	refused("vubox rng -s /a -- rng -s /b --name=rng",
		"vubox: rng: --name=rng: another device has this name\n");
}

CASE(a_name_is_short_and_not_empty)
{
	char line[200] = "vubox rng -s /a --name=";
	size_t len = strlen(line);

	refused(line, "vubox: rng: --name=: not a name of 1 to 64 bytes\n");
	memset(line + len, 'x', 65);
	fake_reset(1);
	CHECK_EQ(rig_main(line), FAKE_EXITED);
	CHECK_EQ(fake.exit_status, 2);
}

CASE(the_longest_name)
{
	char line[200] = "vubox rng -s /a --name=";

	memset(line + strlen(line), 'x', 64);
	fake_reset(1);
	CHECK_EQ(rig_main(line), FAKE_IDLE);
	CHECK_EQ(strlen(rig_device(0)->name), 64);
}

static void config(const char *text)
{
	fake_reset(1);
	fake_file_new("/f", text);
	CHECK_EQ(rig_main("vubox --config=/f"), FAKE_EXITED);
	CHECK_EQ(fake.calls[FAKE_LISTEN], 0);
}

CASE(a_device_of_a_file_that_cannot_be_opened)
{
	config("rng -s /a\n\n# an image\nblk -s /b --blk-file=/none --name=disk\n");
	CHECK_EQ(fake.exit_status, 1);
	CHECK_TEXT(fake.log, "vubox: /f:4: disk: /none: cannot open: No such file or directory\n");
}

CASE(the_seventh_line)
{
	config("rng -s /1\nrng -s /2\nrng -s /3\nrng -s /4\nrng -s /5\nrng -s /6\n"
	       "rng -s /7 --name=rng3\nrng -s /8\n");
	CHECK_EQ(fake.exit_status, 2);
	CHECK_TEXT(fake.log, "vubox: /f:7: --name=rng3: another device has this name\n");
}

CASE(who_cannot_be_served_is_named_by_its_line)
{
	fake_reset(1);
	fake_file_new("/f", "rng -s /a\nrng -s /b\n");
	fake.fail_at[FAKE_LISTEN] = 2;
	CHECK_EQ(rig_main("vubox --config=/f"), FAKE_EXITED);
	CHECK_TEXT(fake.log, "vubox: /f:2: rng2: /b: cannot serve: Permission denied\n");
}

CASE(once_all_is_served_names_stand_alone)
{
	fake_reset(1);
	fake_file_new("/f", "rng -s /a\nrng -s /b --name=dice\n");
	CHECK_EQ(rig_main("vubox --config=/f"), FAKE_IDLE);
	CHECK_TEXT(rig_device(0)->name, "rng");
	CHECK_TEXT(rig_device(1)->name, "dice");
}
