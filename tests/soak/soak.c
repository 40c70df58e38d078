/* What all processes of a soak share: their findings, their numbers, and whose fault it is. */
#include "soak.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct soak_shared *soak;

static uint64_t state;

void soak_fail(const char *format, ...)
{
	char why[sizeof(soak->why)];
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	if (atomic_fetch_add(&soak->failed, 1) == 0)
		snprintf(soak->why, sizeof(soak->why), "%s", why);
	_Exit(1);
}

void soak_seed(uint64_t seed)
{
	state = seed * 0x9e3779b97f4a7c15ull + 1;
	for (unsigned i = 0; i < 8; i++)
		(void)soak_random();
}

uint64_t soak_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

uint32_t soak_below(uint32_t n)
{
	return (uint32_t)(soak_random() >> 16) % n;
}

bool soak_one_in(uint32_t n)
{
	return soak_below(n) == 0;
}

struct soak_peace soak_peace(const struct seat *seat)
{
	return (struct soak_peace){ soak->troubles, soak->deaths[seat->process], seat->process };
}

bool soak_disturbed(const struct soak_peace *since)
{
	return since->troubles % 2 != 0 || soak->troubles != since->troubles ||
	       since->deaths % 2 != 0 || soak->deaths[since->process] != since->deaths;
}

bool soak_wants_rest(void)
{
	return soak->pause || soak->stop || soak->failed;
}
