/* Our own invariants: always checked, never about what the other side sent. */
#ifndef VUBOX_PANIC_H
#define VUBOX_PANIC_H

/* Says what is broken and where, and ends the process with SIGABRT. */
_Noreturn void panic(const char *file, int line, const char *what);

#define ASSERT(x) ((x) ? (void)0 : panic(__FILE__, __LINE__, #x))

#endif
