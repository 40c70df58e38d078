/*
 * A descriptor that is forgotten where something goes wrong.
 * expect: resourceLeak
 * found at: sources
 */
#include <fcntl.h>
#include <unistd.h>

int main(void)
{
	char c = 0;
	int fd = open("/dev/null", O_RDONLY);

	if (fd < 0)
		return 1;
	if (read(fd, &c, 1) < 0) {
#ifdef CONTROL
		(void)close(fd);
#endif
		return 1;
	}
	(void)close(fd);
	return c;
}
