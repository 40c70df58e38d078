/* Descriptors of every kind, for where a kick, a call, an error or a channel is expected. */
#ifndef VUBOX_TESTS_ODD_H
#define VUBOX_TESTS_ODD_H

#include <stdbool.h>

enum { ODD_FDS = 16 };

/* Descriptors of kinds that nobody gives. */
int odd_fd(unsigned i);
/* Fills a descriptor up, whatever it is, and leaves it blocking or not. */
void odd_fill_up(int fd, bool blocking);
/* An end of what has another one, which stays open and is never read. */
int odd_pipe_end(bool writing);
int odd_socket_end(void);

#endif
