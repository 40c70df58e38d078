/* The fake port: who waits until all is served. */
#include "fake_object.h"

#include <errno.h>

int port_ready_check(int fd)
{
	return fake_fd_open(fd) && !fake_fd_inside(fd) ? 0 : -EBADF;
}

void port_ready(int fd)
{
	fake_notify_signal(fd);
	fake_close(fd);
}
