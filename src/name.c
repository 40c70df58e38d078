/* What devices are called: by --name, or after their class. */
#include "name.h"

#include <string.h>

#include "device.h"
#include "text.h"

enum { LEN_MAX = 64 };

static struct {
	struct {
		struct device *device;
		const char *name;
		char own[16];    /* of one without --name */
		char where[128]; /* FILE:LINE: NAME */
	} named[CONFIG_DEVICES_MAX];
	uint32_t count;
} state;

static bool is_named(const char *name)
{
	for (uint32_t i = 0; i < state.count; i++)
		if (strcmp(state.named[i].name, name) == 0)
			return true;
	return false;
}

/* The first device of a class has its name, the next ones a number behind it. */
static const char *make_name(const struct device_class *class)
{
	unsigned same = 1;
	char *name = state.named[state.count].own;

	for (uint32_t i = 0; i < state.count; i++)
		same += state.named[i].device->class == class;
	(void)text_format(name, sizeof(state.named[0].own), "%s", class->name);
	for (; same > 1 || is_named(name); same++) {
		(void)text_format(name, sizeof(state.named[0].own), "%s%u", class->name, same);
		if (!is_named(name))
			break;
	}
	return name;
}

int name_device(struct device *dev, const char *where, const struct option_value *given)
{
	const char *name = given->given ? given->text : make_name(dev->class);
	char *both = state.named[state.count].where;

	if (name[0] == 0 || strlen(name) > LEN_MAX || is_named(name)) {
		log_error(where ? where : dev->class->name, "--name=%s: %s", name,
			is_named(name) ? "another device has this name"
				       : "not a name of 1 to 64 bytes");
		return EXIT_USAGE;
	}
	(void)text_format(both, sizeof(state.named[0].where), "%s: %s", where, name);
	state.named[state.count].device = dev;
	state.named[state.count++].name = name;
	dev->name = where ? both : name;
	return EXIT_OK;
}

void names_alone(void)
{
	for (uint32_t i = 0; i < state.count; i++)
		state.named[i].device->name = state.named[i].name;
}
