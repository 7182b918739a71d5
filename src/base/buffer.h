/*
 * buffer: bytes in a row that grow at the end and are taken from the front.
 *
 * Bounded by `bytes_max`, given at init. An empty buffer holds no memory until something is added; buffer_trim() gives
 * the memory of an emptied one back. Bytes taken from the front are only marked; they are moved when room is needed.
 * Belongs to whoever embeds it. Thread: owner.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdint.h>

struct buffer {
    uint8_t *memory;
    uint32_t begin;     /* first byte that is not consumed */
    uint32_t end;       /* one past the last byte */
    uint32_t capacity;  /* bytes at `memory` */
    uint32_t bytes_max; /* the capacity never exceeds this */
};

/* An empty buffer that grows up to `bytes_max`. */
static inline void buffer_init(struct buffer *buffer, uint32_t bytes_max)
{
    *buffer = (struct buffer){.bytes_max = bytes_max};
}

/* Frees the memory; the buffer is empty and usable again. */
void buffer_fini(struct buffer *buffer);

/* Bytes in the buffer. */
static inline uint32_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->begin;
}

/* The content; valid until the buffer is changed. */
static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return slice_make(buffer->memory == NULL ? (const uint8_t *)"" : buffer->memory + buffer->begin,
                      buffer_length(buffer));
}

/* Makes room for `count` bytes at the end: *out_space points to them until the buffer is changed; what was
 * written there is made content by buffer_commit(). -ENOBUFS: it would exceed bytes_max; -ENOMEM. */
MUST_USE int buffer_reserve(struct buffer *buffer, size_t count, uint8_t **out_space);

/* Adds `count` bytes that were written to the reserved space. */
void buffer_commit(struct buffer *buffer, size_t count);

/* Adds a copy of `bytes`. -ENOBUFS, -ENOMEM: nothing was added. */
MUST_USE int buffer_append(struct buffer *buffer, struct slice bytes);

/* Takes `count` bytes, at most the length, from the front. */
void buffer_consume(struct buffer *buffer, size_t count);

/* Empties the buffer and keeps the memory. */
void buffer_clear(struct buffer *buffer);

/* Gives back the memory of an empty buffer, or what is more than twice needed. */
void buffer_trim(struct buffer *buffer);

/* Hands over the memory: the caller free()s it. The content begins at its first byte. NULL when the buffer is empty. */
uint8_t *buffer_steal(struct buffer *buffer, size_t *out_length);

#endif
