/* A small printf into a fixed buffer. */
#include "text.h"

#include <stdint.h>
#include <string.h>

#include "out.h"

struct out {
	char *at, *end; /* end: where the NUL goes at the latest */
};

static void put(struct out *o, const char *text, size_t len)
{
	size_t room = (size_t)(o->end - o->at);

	if (len > room)
		len = room;
	memcpy(o->at, text, len);
	o->at += len;
}

static void put_number(struct out *o, unsigned long long n, unsigned base)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = "0123456789abcdef"[n % base];
	while ((n /= base) > 0);
	put(o, digits + at, sizeof(digits) - at);
}

static void put_string(struct out *o, const char *text, size_t max)
{
	if (text)
		put(o, text, strnlen(text, max));
}

static void put_int(struct out *o, int n)
{
	if (n < 0)
		put(o, "-", 1);
	put_number(o, n < 0 ? 0u - (unsigned)n : (unsigned)n, 10);
}

/* One conversion, from behind its '%'. Returns where the format goes on. */
static const char *put_conversion(struct out *o, const char *f, va_list *args)
{
	size_t max = SIZE_MAX;
	char c;

	if (strncmp(f, "llu", 3) == 0) {
		put_number(o, va_arg(*args, unsigned long long), 10);
		return f + 3;
	}
	if (strncmp(f, ".*s", 3) == 0) {
		max = (size_t)va_arg(*args, int);
		f += 2;
	}
	switch (*f) {
	case 's': put_string(o, va_arg(*args, const char *), max); break;
	case 'c':
		c = (char)va_arg(*args, int);
		put(o, &c, 1);
		break;
	case 'd': put_int(o, va_arg(*args, int)); break;
	case 'u':
	case 'x': put_number(o, va_arg(*args, unsigned), *f == 'u' ? 10 : 16); break;
	case '%': put(o, f, 1); break;
	default: out_abort(); /* no format of ours; panic would come here again */
	}
	return f + 1;
}

size_t text_format_args(char *buf, size_t size, const char *format, va_list args)
{
	struct out o = { buf, buf + size - 1 };
	va_list rest;

	va_copy(rest, args);
	while (*format) {
		size_t plain = strcspn(format, "%");

		put(&o, format, plain);
		format += plain;
		if (*format)
			format = put_conversion(&o, format + 1, &rest);
	}
	va_end(rest);
	*o.at = 0;
	return (size_t)(o.at - buf);
}

size_t text_format(char *buf, size_t size, const char *format, ...)
{
	va_list args;
	size_t len;

	va_start(args, format);
	len = text_format_args(buf, size, format, args);
	va_end(args);
	return len;
}
