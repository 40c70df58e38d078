/* What the fuzz targets share. */
#include "fuzz.h"

#include <stdlib.h>

/* rules.mk gives the variables of src/ these sections. */
extern char __start_vubox_bss[], __stop_vubox_bss[], __start_vubox_data[], __stop_vubox_data[];

static struct {
	char *first_data, *kept_data, *kept_bss;
} state;

void (*fuzz_on_guest)(const char *what, const void *at, size_t len);

void fuzz_guest_hook(const char *what, const void *at, size_t len)
{
	if (fuzz_on_guest)
		fuzz_on_guest(what, at, len);
}

uint8_t take8(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

uint16_t take16(struct input *in)
{
	uint16_t low = take8(in);

	return (uint16_t)(low | take8(in) << 8);
}

uint64_t take64(struct input *in)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 64; i += 8)
		v |= (uint64_t)take8(in) << i;
	return v;
}

size_t take_bytes(struct input *in, void *to, size_t len)
{
	if (len > in->left)
		len = in->left;
	memcpy(to, in->at, len);
	in->at += len;
	in->left -= len;
	return len;
}

/* No memcpy, which the sanitizer would watch: between the variables are its red zones. */
__attribute__((no_sanitize("address"), no_sanitize("undefined"))) static void copy(
	char *to, const char *from, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8)
		*(volatile uint64_t *)(void *)(to + i) =
			from ? *(const uint64_t *)(const void *)(from + i) : 0;
}

static size_t bss_len(void)
{
	return (uintptr_t)__stop_vubox_bss - (uintptr_t)__start_vubox_bss;
}

static size_t data_len(void)
{
	return (uintptr_t)__stop_vubox_data - (uintptr_t)__start_vubox_data;
}

__attribute__((constructor)) static void remember(void)
{
	state.first_data = malloc(data_len() + 8);
	copy(state.first_data, __start_vubox_data, data_len());
}

void life_fresh(void)
{
	copy(__start_vubox_bss, NULL, bss_len());
	copy(__start_vubox_data, state.first_data, data_len());
}

void life_keep(void)
{
	state.kept_bss = malloc(bss_len() + 8);
	state.kept_data = malloc(data_len() + 8);
	copy(state.kept_bss, __start_vubox_bss, bss_len());
	copy(state.kept_data, __start_vubox_data, data_len());
}

void life_back(void)
{
	copy(__start_vubox_bss, state.kept_bss, bss_len());
	copy(__start_vubox_data, state.kept_data, data_len());
}
