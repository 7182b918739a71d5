/*
 * allocator: jemalloc, but for the sanitizers, which bring their own.
 */
#include "base/allocator.h"

#include <stddef.h>

#ifdef HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>

/* Read by jemalloc at its start. Freed pages go back to the system after a second, by a thread of jemalloc's own, so
 * that a burst does not stay resident; few arenas, since there are few threads. */
extern const char *malloc_conf;
__attribute__((visibility("default")))
const char *malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4,lg_tcache_max:16";

const char *allocator_name(void)
{
    static const char *version;
    size_t size = sizeof(version);

    return mallctl("version", (void *)&version, &size, NULL, 0) == 0 ? version : "jemalloc";
}

#define TEXT_OF(macro) TEXT_AS_IT_IS(macro)
#define TEXT_AS_IT_IS(macro) #macro

void allocator_release(void)
{
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
    mallctl("arena." TEXT_OF(MALLCTL_ARENAS_ALL) ".purge", NULL, NULL, NULL, 0);
}

void allocator_stats(struct allocator_stats *out_stats)
{
    uint64_t epoch = 1;
    size_t allocated = 0, resident = 0, size = sizeof(allocated), epoch_size = sizeof(epoch);

    mallctl("epoch", &epoch, &epoch_size, &epoch, epoch_size); /* takes the figures anew */
    mallctl("stats.allocated", &allocated, &size, NULL, 0);
    mallctl("stats.resident", &resident, &size, NULL, 0);
    *out_stats = (struct allocator_stats){.allocated_bytes = allocated, .resident_bytes = resident};
}
#else
const char *allocator_name(void)
{
    return "libc";
}

void allocator_release(void)
{
}

void allocator_stats(struct allocator_stats *out_stats)
{
    *out_stats = (struct allocator_stats){0};
}
#endif
