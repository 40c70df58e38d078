/* src/dev/table.c: the devices there are. */
#include "device.h"
#include "opts.h"
#include "unit.h"

CASE(devices_are_found_by_name)
{
	CHECK_TEXT(device_find("blk")->name, "blk");
	CHECK_TEXT(device_find("rng")->name, "rng");
	CHECK(device_find("") == NULL);
	CHECK(device_find("bl") == NULL);
	CHECK(device_find("blk ") == NULL);
	CHECK(device_find("stub") == NULL);
	CHECK_TEXT(device_find("console")->name, "console");
}

CASE(every_row_is_whole)
{
	for (const struct device_class *const *c = device_table; *c; c++) {
		CHECK(device_find((*c)->name) == *c);
		CHECK((*c)->summary && (*c)->json_type);
		CHECK((*c)->virtio_id > 0);
		CHECK((*c)->open && (*c)->close && (*c)->features && (*c)->accept);
		CHECK((*c)->config_get && (*c)->config_set && (*c)->request && (*c)->io_done);
		CHECK((*c)->option_count + OPT_COMMON_COUNT <= OPTIONS_MAX);
		for (unsigned i = 0; i < (*c)->option_count; i++) {
			const struct option *o = &(*c)->options[i];

			CHECK(o->name && o->help);
			CHECK((o->kind == OPTION_FLAG) == (o->value_name == NULL));
		}
	}
}

CASE(no_two_options_of_a_device_have_one_name)
{
	for (const struct device_class *const *c = device_table; *c; c++)
		for (unsigned i = 0; i < (*c)->option_count; i++)
			for (unsigned k = 0; k < i; k++) {
				const struct option *a = &(*c)->options[i], *b = &(*c)->options[k];

				CHECK(strcmp(a->name, b->name) != 0);
				CHECK(a->letter == 0 || a->letter != b->letter);
				CHECK(a->letter == 0 || !strchr("sfvch", a->letter));
			}
}
