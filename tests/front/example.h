/*
 * A good message of every id that the protocol has, for tests that spoil them: size, descriptors
 * and a payload that fits the memory and the queue of a rig.
 */
#ifndef VUBOX_TESTS_EXAMPLE_H
#define VUBOX_TESTS_EXAMPLE_H

#include "rig.h"

struct example {
	uint32_t request, size;
	unsigned wants;  /* so many descriptors */
	bool needs_fds;  /* none of them is wrong */
	bool has_answer; /* of its own, if its feature is negotiated */
	const char *name;
};

/* The message of an id: of one that the protocol does not have, 8 bytes and no descriptor. */
struct example example_of(uint32_t id);

/* What it carries. The rig has shared its memory; an fd is -1 if there is nothing to send. */
void example_fill(const struct rig *r, uint32_t id, unsigned char payload[FRONT_PAYLOAD_MAX]);

/* Descriptors for it: a fresh eventfd or memfd of 1 MiB each. The caller closes them. */
void example_open_fds(uint32_t id, int *fds, unsigned count);

#endif
