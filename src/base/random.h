/*
 * random: numbers for choices (random_u64(), random_below()) and bytes that nobody can guess (random_secret()).
 *
 * Choices come from a generator per thread (xoshiro256**, seeded by the kernel): a few nanoseconds, no lock, not for
 * secrets.
 * Thread: any.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* All 64 bits at random. */
uint64_t random_u64(void);

/* 0..bound-1, each as likely as the others to within 2^-32; 0 for a bound of 0. */
uint32_t random_below(uint32_t bound);

/* Fills `bytes` from the kernel's generator (getrandom). A kernel without it ends the process. */
void random_secret(void *bytes, size_t length);

#endif
