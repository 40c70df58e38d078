/* One line on stderr. */
#include "log.h"

#include <stdarg.h>
#include <string.h>

#include "num.h"
#include "out.h"
#include "text.h"

enum { LINE_BYTES = 512, NAME_MAX_BYTES = 128, WINDOW_LINES = 10 };
#define WINDOW_NS 10000000000ull

static struct {
	bool verbose;
} state;

void log_verbose(bool on)
{
	state.verbose = on;
}

static void log_line(const char *name, const char *format, va_list args)
{
	char line[LINE_BYTES];
	size_t len = text_format(
		line, sizeof(line), "vubox: %.*s%s", NAME_MAX_BYTES, name, name ? ": " : "");

	len += text_format_args(line + len, sizeof(line) - len, format, args);
	/* Names and paths come from outside; a terminal must not obey them. */
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 127)
			line[i] = '?';
	if (len == sizeof(line) - 1)
		len--;
	line[len] = '\n';
	out_error_text(line, len + 1);
}

void log_error(const char *name, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(name, format, args);
	va_end(args);
}

void log_info(const char *name, const char *format, ...)
{
	va_list args;

	if (!state.verbose)
		return;
	va_start(args, format);
	log_line(name, format, args);
	va_end(args);
}

bool log_allow(struct log_limit *limit, const char *name)
{
	uint64_t now = out_now_ns();

	if (limit->window_ns == 0 || now - limit->window_ns > WINDOW_NS) {
		if (limit->lost > 0)
			log_error(name, "%u more lines like this were left out", limit->lost);
		*limit = (struct log_limit){ .window_ns = now };
	}
	if (limit->said == WINDOW_LINES) {
		limit->lost++;
		return false;
	}
	limit->said++;
	return true;
}

const char *log_errno(int error)
{
	return strerror(error < 0 ? -error : error);
}
