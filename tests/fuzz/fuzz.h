/*
 * What the fuzz targets share: bytes as a source of decisions, and lives of vubox that begin with
 * fresh variables. A finding is an abort: of a sanitizer, of ASSERT, or of fake_die.
 */
#ifndef VUBOX_FUZZ_H
#define VUBOX_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *at;
	size_t left;
};

/* Numbers, little-endian; zeroes behind the end. */
uint8_t take8(struct input *in);
uint16_t take16(struct input *in);
uint64_t take64(struct input *in);
/* At most len bytes: how many. */
size_t take_bytes(struct input *in, void *to, size_t len);

/* Every variable of src/ (and of tests/unit/rig.c) as it is when a process starts. */
void life_fresh(void);
/* Every variable as it is now becomes what life_back goes back to. */
void life_keep(void);
void life_back(void);

/* If set: before every access to guest memory; what is "load" or "store". */
extern void (*fuzz_on_guest)(const char *what, const void *at, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#endif
