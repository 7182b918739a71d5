/*
 * bytes: numbers as bytes: big-endian in keys, which then sort, and little-endian in records. Pure. Thread: any.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdint.h>

/* Writes the lowest `count` bytes (1..8) of `value`. */
static inline void bytes_put_little(uint8_t *out, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

/* The number in `count` bytes (1..8). */
static inline uint64_t bytes_get_little(const uint8_t *in, unsigned count)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

/* Likewise, the highest byte first. */
static inline void bytes_put_big(uint8_t *out, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        out[i] = (uint8_t)(value >> (8 * (count - 1 - i)));
}

static inline uint64_t bytes_get_big(const uint8_t *in, unsigned count)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++)
        value = value << 8 | in[i];
    return value;
}

#endif
