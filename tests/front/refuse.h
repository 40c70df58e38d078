/*
 * A kernel that refuses a system call from a moment on, to a program that runs already: by the user
 * notification of seccomp, answered by a thread of the test.
 */
#ifndef VUBOX_TESTS_REFUSE_H
#define VUBOX_TESTS_REFUSE_H

/* Watches over this system call in the programs that are started from now on, or skips the case. */
void refuse_watch(int number);
/* From now on it fails with errno; 0: it is as ever. */
void refuse_with(int error);
/* How often it was refused. */
unsigned refuse_count(void);

#endif
