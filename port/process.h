/* What the process does to itself: private to port/. */
#ifndef VUBOX_PROCESS_H
#define VUBOX_PROCESS_H

#include <signal.h>

/* Calls fn for this signal. */
int process_catch(int number, void (*fn)(int number, siginfo_t *info, void *context));

/* From now on its calls do not wait. */
int process_nonblock(int fd);

/* Dies of this signal as if nobody had caught, blocked or ignored it. */
__attribute__((cold)) _Noreturn void process_die(int number);

#endif
