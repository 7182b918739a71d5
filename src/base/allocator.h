/*
 * allocator: what malloc() is in this build, and what it holds.
 */
#ifndef BASE_ALLOCATOR_H
#define BASE_ALLOCATOR_H

#include <stdint.h>

struct allocator_stats {
    uint64_t allocated_bytes; /* handed out */
    uint64_t resident_bytes;  /* of memory mapped for it */
};

/* "jemalloc 5.3.0-…", or "libc" in sanitizer builds. Static text. Thread: any. */
const char *allocator_name(void);

/* Gives what has been freed back to the system now, not a second later. Takes milliseconds: not for a worker. Thread: any. */
void allocator_release(void);

/* All zero where the allocator does not tell. Takes locks of the allocator: not for a worker. Thread: any. */
void allocator_stats(struct allocator_stats *out_stats);

#endif
