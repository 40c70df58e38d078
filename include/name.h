/* What devices are called in messages and counters. */
#ifndef VUBOX_NAME_H
#define VUBOX_NAME_H

#include "option.h"

struct device;

/*
 * Names a device whose class is set: as given, or after its class. `where` is NULL or "FILE:LINE",
 * which stands before the name until names_alone. Returns EXIT_OK, or EXIT_USAGE after one line.
 */
int name_device(struct device *dev, const char *where, const struct option_value *given);

/* The devices are checked: from now on their names are nothing but that. */
void names_alone(void);

#endif
