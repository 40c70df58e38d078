/*
 * A file system with one file, whose reads and writes wait, fail or come short as a test says: a
 * disk that hangs, is full or breaks. It speaks /dev/fuse itself, from a thread of the test, in a
 * mount namespace of the case's own; without the right to mount, the case is skipped.
 */
#ifndef VUBOX_TESTS_SLOWFS_H
#define VUBOX_TESTS_SLOWFS_H

#include <stdbool.h>
#include <stdint.h>

enum slowfs_what { SLOWFS_READS = 1, SLOWFS_WRITES = 2, SLOWFS_SYNCS = 4, SLOWFS_ALL = 7 };

/* Gives the case a mount namespace of its own, or skips it. For tmpfs, too. */
void slowfs_own_mounts(void);

enum slowfs_mode {
	SLOWFS_CACHED, /* the kernel keeps pages of it: it can be mapped */
	SLOWFS_PLAIN,  /* someone in the kernel waits for each, and can be cancelled */
	SLOWFS_ASYNC,  /* nobody waits: like a real disk, it is done when it is done */
};

/* Mounts it with a file of so many bytes, all zero, and returns the file's path. */
const char *slowfs_mount(uint64_t bytes, enum slowfs_mode mode);
/* The content, to be looked at and changed while nothing is in flight. */
unsigned char *slowfs_bytes(void);

/* From now on these wait, if they touch [from, from + len). */
void slowfs_hold(enum slowfs_what what, uint64_t from, uint64_t len);
/* How many wait. */
unsigned slowfs_held(void);
/* None waits any more. Those that do go on, or (error) fail, as if the disk had come back. */
void slowfs_release(int error);
/* Whether one that waits ends when it is cancelled (it does at first). */
void slowfs_obey_cancels(bool obey);
/* How many were cancelled while they waited. */
unsigned slowfs_cancelled(void);

/* From now on these fail with errno; 0: none does. */
void slowfs_fail(enum slowfs_what what, uint64_t from, uint64_t len, int error);
/* Reads give, and writes take, at most so many bytes at a time; 0: all. */
void slowfs_cut_short(uint32_t bytes);
/* The device is gone: everything fails, for good (ENOTCONN). */
void slowfs_abort(void);

/* How many reads and writes have been asked for. */
uint64_t slowfs_asked(void);

#endif
