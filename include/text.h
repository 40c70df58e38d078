/*
 * Text in a fixed buffer. A printf of 60 lines, because libc's brings floating point and locales
 * that are a sixth of the whole binary.
 */
#ifndef VUBOX_TEXT_H
#define VUBOX_TEXT_H

#include <stdarg.h>
#include <stddef.h>

/*
 * Writes text into buf (size bytes, >= 1), ends it with a NUL, cuts what is too long, and returns
 * its length. Knows %s %.*s %c %d %u %x %llu and %%; a NULL string is "".
 */
__attribute__((format(printf, 3, 4))) size_t text_format(
	char *buf, size_t size, const char *format, ...);
__attribute__((format(printf, 3, 0))) size_t text_format_args(
	char *buf, size_t size, const char *format, va_list args);

#endif
