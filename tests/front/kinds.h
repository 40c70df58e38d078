/*
 * Devices of every kind as victims of the yard: a row of a table says how one is started, what its
 * queues are, how it is made to want their buffers, and how to see that it works. A suite with
 * KIND_MAIN runs each of its cases with each row.
 */
#ifndef VUBOX_TESTS_KINDS_H
#define VUBOX_TESTS_KINDS_H

#include "rig.h"

enum { KIND_QUEUES_MAX = 6, KIND_WORDS_MAX = 3 };

struct kind_queue {
	const char *name;
	bool writes; /* the device writes into its buffers */
	/* Has something for a buffer of it. NULL: it takes what there is. */
	void (*poke)(struct rig *r);
	bool asks; /* … through another queue, which must work */
};

struct kind {
	const char *name;
	const char *words[KIND_WORDS_MAX]; /* what follows a @ is a name in the case's directory */
	uint16_t start;                    /* where its rings start: struct rig */
	unsigned queue_count;
	struct kind_queue queues[KIND_QUEUES_MAX];
	/* The other end: before the device is there (may be NULL), and when it is. */
	void (*prepare)(void);
	void (*reach)(struct rig *r);
	/* All queues run: something goes through each. Fresh: nothing has since they started. */
	void (*works)(struct rig *r, bool fresh);
};

/* The row of a name, or NULL. */
const struct kind *kind_find(const char *name);
/* Starts it, with these words behind its own. */
void kind_serve(const struct kind *kind, struct rig *r, const char *const *more);

/*
 * Each case once for each row, whose name is its `with`. One without a format has one of the two,
 * and neighbours the other.
 */
int kind_main(int argc, char **argv, const struct harness_case *cases, unsigned count);
#define KIND_MAIN(cases)                                                                 \
	int main(int argc, char **argv)                                                  \
	{                                                                                \
		return kind_main(argc, argv, cases, sizeof(cases) / sizeof((cases)[0])); \
	}

#endif
