/* What base itself needs of the outside. Declared here, left of port/; implemented there. */
#ifndef VUBOX_OUT_H
#define VUBOX_OUT_H

#include <stddef.h>
#include <stdint.h>

/* Monotonic time in nanoseconds. */
uint64_t out_now_ns(void);

/* Writes to stderr; what does not go at once is lost, so that nobody waits for a terminal. */
void out_error_text(const char *text, size_t len);

_Noreturn void out_abort(void);

#endif
