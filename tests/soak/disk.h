/*
 * What a disk must hold. A sector says which one it is and how often it was written, so any wrong
 * one shows. One whose write was cut off may have either content; one that nobody can know, any.
 */
#ifndef VUBOX_SOAK_DISK_H
#define VUBOX_SOAK_DISK_H

#include <stdbool.h>
#include <stdint.h>

/* Generation 0 is a sector of zeroes. */
void disk_fill(uint64_t sector, uint32_t generation, void *bytes);
uint32_t disk_next_generation(void);

/* Whether a request may use these sectors; it has them until disk_free. */
bool disk_take(uint32_t sector, uint32_t count);
void disk_free(uint32_t sector, uint32_t count);

/* From now on, they may have this content; or, by disk_written, they have. */
void disk_writing(uint32_t sector, uint32_t count, uint32_t generation);
void disk_written(uint32_t sector, uint32_t count, uint32_t generation);
void disk_unknown(uint32_t sector, uint32_t count);

/* Fails if a sector cannot have this content; `where` says who read it. */
void disk_check(uint32_t sector, uint32_t count, const void *bytes, const char *where);

#endif
