/* The end of a process that found itself wrong. */
#include "panic.h"

#include "log.h"
#include "out.h"

_Noreturn void panic(const char *file, int line, const char *what)
{
	log_error(NULL, "bug at %s:%d: not true: %s; please report it", file, line, what);
	out_abort();
}
