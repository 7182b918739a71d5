/*
 * histogram: reading percentiles back; recording is inline in histogram.h.
 */
#include "histogram.h"

#include <math.h>

/* The largest value that falls into a bucket. */
static uint64_t bucket_upper_ns(uint32_t bucket)
{
    uint32_t shift;
    uint64_t top;

    if (bucket < 2 * HISTOGRAM_SUB_COUNT)
        return bucket;
    shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    top = (bucket & (HISTOGRAM_SUB_COUNT - 1)) + HISTOGRAM_SUB_COUNT;
    return ((top + 1) << shift) - 1;
}

uint64_t histogram_percentile(const struct histogram *histogram, double fraction)
{
    uint64_t wanted = (uint64_t)ceil(fraction * (double)histogram->total);
    uint64_t seen = 0;

    if (histogram->total == 0)
        return 0;
    if (wanted == 0)
        wanted = 1;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKET_COUNT; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= wanted) {
            uint64_t upper = bucket_upper_ns(bucket);
            return upper < histogram->max_ns ? upper : histogram->max_ns;
        }
    }
    return histogram->max_ns;
}
