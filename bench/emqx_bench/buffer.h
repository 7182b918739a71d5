/*
 * buffer: growing bytes with a consumed front. Zeroed storage is an empty buffer. Thread: owner.
 */
#ifndef BENCH_BUFFER_H
#define BENCH_BUFFER_H

#include "base/compiler.h"

#include <stdint.h>

struct buffer {
    uint8_t *data;
    uint32_t start; /* bytes consumed */
    uint32_t end;   /* bytes filled */
    uint32_t capacity;
};

/* Frees the bytes and leaves an empty buffer. */
void buffer_fini(struct buffer *buffer);

/* Makes room for `len` more bytes (moving or growing) or ends the program: a benchmark short of memory has no
 * result. A buffer holds at most 2 GiB. */
void buffer_grow(struct buffer *buffer, size_t len);

/* Where the next `len` bytes go; they count once buffer_commit() said so. */
static inline uint8_t *buffer_reserve(struct buffer *buffer, size_t len)
{
    if (UNLIKELY(buffer->capacity - buffer->end < len))
        buffer_grow(buffer, len);
    return buffer->data + buffer->end;
}

static inline void buffer_commit(struct buffer *buffer, size_t len)
{
    buffer->end += (uint32_t)len;
}

static inline size_t buffer_len(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

/* Takes `len` bytes off the front. */
static inline void buffer_consume(struct buffer *buffer, size_t len)
{
    buffer->start += (uint32_t)len;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

#endif
