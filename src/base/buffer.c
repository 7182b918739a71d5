/*
 * buffer: bytes in a row that grow at the end and are taken from the front.
 *
 * Grows by doubling, so that adding costs constant time on average. Always: begin <= end <= capacity <= bytes_max.
 */
#include "base/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 64 };

/* Moves the content to the start of the memory. */
static void buffer_pack(struct buffer *buffer)
{
    uint32_t length = buffer_length(buffer);

    if (buffer->begin == 0)
        return;
    memmove(buffer->memory, buffer->memory + buffer->begin, length);
    buffer->begin = 0;
    buffer->end = length;
}

static int buffer_grow(struct buffer *buffer, uint64_t needed)
{
    uint64_t capacity = (uint64_t)buffer->capacity * 2U;
    uint8_t *memory;

    if (capacity < FIRST_CAPACITY)
        capacity = FIRST_CAPACITY;
    if (capacity < needed)
        capacity = needed;
    if (capacity > buffer->bytes_max)
        capacity = buffer->bytes_max;
    memory = realloc(buffer->memory, (size_t)capacity);
    if (memory == NULL)
        return -ENOMEM;
    buffer->memory = memory;
    buffer->capacity = (uint32_t)capacity;
    return 0;
}

void buffer_fini(struct buffer *buffer)
{
    free(buffer->memory);
    buffer_init(buffer, buffer->bytes_max);
}

int buffer_reserve(struct buffer *buffer, size_t count, uint8_t **out_space)
{
    uint32_t length = buffer_length(buffer);

    if (count > buffer->bytes_max - length)
        return -ENOBUFS;
    if (count > buffer->capacity - buffer->end) {
        uint64_t needed = (uint64_t)length + count;
        int err;

        /* Packing costs a move of `length` bytes: worth it while at least as much was consumed, so that each byte
         * is moved once on average. When growing is not allowed any more there is no other way. */
        if (needed <= buffer->capacity && (buffer->begin >= length || buffer->capacity == buffer->bytes_max)) {
            buffer_pack(buffer);
        } else {
            buffer_pack(buffer);
            err = buffer_grow(buffer, needed);
            if (err < 0)
                return err;
        }
    }
    *out_space = buffer->memory + buffer->end;
    return 0;
}

void buffer_commit(struct buffer *buffer, size_t count)
{
    ASSERT(count <= buffer->capacity - buffer->end);
    buffer->end += (uint32_t)count;
}

int buffer_append(struct buffer *buffer, struct slice bytes)
{
    uint8_t *space;
    int err;

    if (bytes.len == 0)
        return 0;
    err = buffer_reserve(buffer, bytes.len, &space);
    if (err < 0)
        return err;
    memcpy(space, bytes.data, bytes.len);
    buffer_commit(buffer, bytes.len);
    return 0;
}

void buffer_consume(struct buffer *buffer, size_t count)
{
    ASSERT(count <= buffer_length(buffer));
    buffer->begin += (uint32_t)count;
    if (buffer->begin == buffer->end)
        buffer_clear(buffer);
}

void buffer_clear(struct buffer *buffer)
{
    buffer->begin = 0;
    buffer->end = 0;
}

void buffer_trim(struct buffer *buffer)
{
    uint32_t length = buffer_length(buffer);
    uint8_t *memory;

    if (length == 0) {
        buffer_fini(buffer);
        return;
    }
    if (buffer->capacity / 2U < length || buffer->capacity <= FIRST_CAPACITY)
        return;
    buffer_pack(buffer);
    memory = realloc(buffer->memory, length);
    if (memory == NULL) /* the larger memory serves as well */
        return;
    buffer->memory = memory;
    buffer->capacity = length;
}

uint8_t *buffer_steal(struct buffer *buffer, size_t *out_length)
{
    uint8_t *memory;

    *out_length = buffer_length(buffer);
    if (*out_length == 0)
        return NULL;
    buffer_pack(buffer);
    memory = buffer->memory;
    buffer_init(buffer, buffer->bytes_max);
    return memory;
}
