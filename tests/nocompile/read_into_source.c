/*
 * A file is not read into what the driver gave us to be written to the file.
 * expect: incompatible type
 */
#include "port.h"

void f(struct port_io *io, struct port_file *file, struct source from, struct sink to);

void f(struct port_io *io, struct port_file *file, struct source from, struct sink to)
{
#ifdef CONTROL
	(void)from;
	port_io_read(io, file, to, 0, 512);
#else
	(void)to;
	port_io_read(io, file, from, 0, 512);
#endif
}
