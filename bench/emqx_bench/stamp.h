/*
 * stamp: the first 24 bytes of a benchmark payload: who sent it, its number and when.
 *
 * In the machine's own byte order and on its monotonic clock: sender and receiver run on one machine.
 */
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define STAMP_MAGIC UINT32_C(0x42514D45) /* "EMQB" */

struct stamp {
    uint32_t magic;
    uint32_t publisher; /* index of the publisher */
    uint64_t sequence;  /* counts from 0 for each publisher */
    uint64_t sent_ns;   /* clock_ns() */
};

#define STAMP_SIZE sizeof(struct stamp)

static inline void stamp_write(uint8_t *payload, struct stamp stamp)
{
    memcpy(payload, &stamp, sizeof(stamp));
}

/* False when the payload does not begin with a stamp. */
static inline bool stamp_read(const uint8_t *payload, size_t len, struct stamp *out_stamp)
{
    if (len < STAMP_SIZE)
        return false;
    memcpy(out_stamp, payload, sizeof(*out_stamp));
    return out_stamp->magic == STAMP_MAGIC;
}

/* The monotonic clock in ns. */
static inline uint64_t clock_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

#endif
