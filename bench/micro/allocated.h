/*
 * allocated: what the allocator (jemalloc) has given out.
 */
#ifndef BENCH_MICRO_ALLOCATED_H
#define BENCH_MICRO_ALLOCATED_H

#include <jemalloc/jemalloc.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that are in use now, of all threads. Thread: any. */
static inline size_t allocated_bytes(void)
{
    uint64_t epoch = 1;
    size_t bytes = 0;
    size_t size = sizeof(bytes);

    mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    mallctl("stats.allocated", &bytes, &size, NULL, 0);
    return bytes;
}

#endif
