/*
 * histogram: counts of durations in buckets whose width grows with the value, as HdrHistogram does.
 *
 * Values below 64 ns are exact; above, each power of two is cut into 64 buckets, so a percentile is off by at most
 * 1.6%. Fixed size (30 KiB), no allocation, zeroed storage is an empty one, 2^63 ns at most. Thread: owner.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SUB_COUNT (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BUCKET_COUNT ((64u - HISTOGRAM_SUB_BITS) * HISTOGRAM_SUB_COUNT)

struct histogram {
    uint64_t total; /* values recorded */
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKET_COUNT];
};

/* The bucket of a value: the value itself below 64, else the top 7 bits under its power of two. */
static inline uint32_t histogram_bucket(uint64_t value_ns)
{
    uint32_t shift;

    if (value_ns < HISTOGRAM_SUB_COUNT)
        return (uint32_t)value_ns;
    shift = 63u - (uint32_t)__builtin_clzll(value_ns) - HISTOGRAM_SUB_BITS;
    return (shift << HISTOGRAM_SUB_BITS) + (uint32_t)(value_ns >> shift);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value_ns)
{
    uint32_t bucket = histogram_bucket(value_ns);

    histogram->buckets[bucket < HISTOGRAM_BUCKET_COUNT ? bucket : HISTOGRAM_BUCKET_COUNT - 1]++;
    histogram->total++;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

/* The value in ns that `fraction` (0..1) of the recorded values do not exceed: the upper edge of its bucket, and
 * never more than the largest value recorded. 0 when nothing was recorded. */
uint64_t histogram_percentile(const struct histogram *histogram, double fraction);

#endif
