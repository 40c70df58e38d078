/*
 * Guest memory: where it is touched, and the types that make touching it elsewhere an error.
 *
 * `struct guest` is never defined, so *p, p[i] and p + i do not compile. A request's buffers are
 * spans; a cursor walks over spans as if they were one run of bytes, so no device sees how the
 * driver cut them (VIRTIO 2.7.4, any layout). The direction of a buffer is its type.
 */
#ifndef VUBOX_SPAN_H
#define VUBOX_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

struct guest;

/*
 * `len` bytes of guest memory, contiguous in our address space. base is NULL for a hole: an address
 * that the driver named and that is in no region. Every access to a hole fails. A span is laid out
 * as a struct iovec, which port/ asserts.
 */
struct span {
	struct guest *base;
	size_t len;
};

struct cursor {
	struct span *span; /* where we are */
	uint32_t off;      /* bytes into *span */
	uint32_t left;     /* bytes up to the end, over all spans */
};

struct reader {
	struct cursor at;
}; /* bytes the driver lets us read */
struct writer {
	struct cursor at;
}; /* bytes the driver lets us write */

/* Spans for an I/O of the port layer: a file is written from a source, and read into a sink. */
struct source {
	struct span *spans;
	uint32_t count;
};
struct sink {
	struct span *spans;
	uint32_t count;
};

/* Copies len bytes and steps over them: all, or (too few left, or a hole) none and false. */
bool reader_get(struct reader *from, void *dst, uint32_t len);
bool writer_put(struct writer *to, const void *src, uint32_t len);
/* The same from one guest to another, or itself. */
bool writer_copy(struct writer *to, struct reader *from, uint32_t len);

/* Steps over so many bytes; false if there are not. */
bool reader_skip(struct reader *from, uint32_t len);

static inline uint32_t reader_left(const struct reader *r)
{
	return r->at.left;
}
static inline uint32_t writer_left(const struct writer *w)
{
	return w->at.left;
}
/* Whether there is no hole in what is left. */
bool reader_is_whole(const struct reader *r);

/*
 * Cuts the last byte off a writer, as a writer of its own over *own, which must live as long. False
 * (nothing changed) if there is none.
 */
bool writer_cut_last(struct writer *from, struct span *own, struct writer *last);

/*
 * Lists where the bytes behind the first `skip` go, without using them up: how many spans that are,
 * `max` at most. 0 if there are none, or a hole is among them.
 */
uint32_t writer_list(const struct writer *w, uint32_t skip, struct span *list, uint32_t max);

/*
 * All the bytes that are left (at least 1) as spans for an I/O; then none is left. They are the
 * request's own array, trimmed in place at both ends. False if a hole is among them.
 */
bool reader_take(struct reader *from, struct source *source);
bool writer_take(struct writer *from, struct sink *sink);

/* p + off, for a p inside an object of at least off bytes. */
static inline struct guest *guest_at(struct guest *p, size_t off)
{
	return (struct guest *)((char *)p + off);
}

/*
 * The loads and stores. Ring indices and flags are single, aligned, little-endian accesses; the
 * others copy bytes, and what was copied is what is judged.
 */
uint16_t guest_load16(const struct guest *p);
uint16_t guest_load16_acquire(const struct guest *p);
void guest_store16(struct guest *p, uint16_t value);
void guest_store16_release(struct guest *p, uint16_t value);
void guest_store64_release(struct guest *p, uint64_t value);
void guest_copy_in(void *dst, const struct guest *src, size_t len);
void guest_copy_out(struct guest *dst, const void *src, size_t len);
/* The two may overlap, if a driver wants that: then it gets any bytes of them. */
void guest_copy(struct guest *dst, const struct guest *src, size_t len);

/* Orders an earlier store before a later load (VIRTIO 2.7.7: notification suppression). */
static inline void guest_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
