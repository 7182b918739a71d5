/*
 * buffer: see buffer.h.
 */
#include "buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES_MIN 1024u
#define BUFFER_BYTES_MAX (UINT32_C(1) << 31)

void buffer_fini(struct buffer *buffer)
{
    free(buffer->data);
    memset(buffer, 0, sizeof(*buffer));
}

void buffer_grow(struct buffer *buffer, size_t len)
{
    size_t used = buffer_len(buffer);
    size_t capacity = buffer->capacity == 0 ? BUFFER_BYTES_MIN : buffer->capacity;
    uint8_t *data;

    if (buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, used);
        buffer->start = 0;
        buffer->end = (uint32_t)used;
    }
    while (capacity - used < len)
        capacity *= 2;
    if (capacity == buffer->capacity)
        return;
    data = capacity > BUFFER_BYTES_MAX ? NULL : realloc(buffer->data, capacity);
    if (data == NULL) {
        (void)fprintf(stderr, "emqx_bench: no memory for %zu bytes of output\n", capacity);
        exit(EXIT_FAILURE);
    }
    buffer->data = data;
    buffer->capacity = (uint32_t)capacity;
}
