/* Little-endian values as they lie in memory or on the wire: no arithmetic until they are read. */
#ifndef VUBOX_LE_H
#define VUBOX_LE_H

#include <stdint.h>

/* clang-format off */
typedef struct { uint16_t wire; } le16;
typedef struct { uint32_t wire; } le32;
typedef struct { uint64_t wire; } le64;

enum { LE_SWAP = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ };

static inline uint16_t le16_get(le16 v) { return LE_SWAP ? __builtin_bswap16(v.wire) : v.wire; }
static inline uint32_t le32_get(le32 v) { return LE_SWAP ? __builtin_bswap32(v.wire) : v.wire; }
static inline uint64_t le64_get(le64 v) { return LE_SWAP ? __builtin_bswap64(v.wire) : v.wire; }
static inline le16 le16_put(uint16_t v) { return (le16){ LE_SWAP ? __builtin_bswap16(v) : v }; }
static inline le32 le32_put(uint32_t v) { return (le32){ LE_SWAP ? __builtin_bswap32(v) : v }; }
static inline le64 le64_put(uint64_t v) { return (le64){ LE_SWAP ? __builtin_bswap64(v) : v }; }
/* clang-format on */

#endif
