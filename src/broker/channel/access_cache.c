/*
 * access_cache: entries in a hash table with chains, and in a list by age. Most clients ask for one topic all the time, so the entry that
 * was found last is looked at first.
 */
#include "broker/channel/access_cache.h"

#include "base/compiler.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 1u /* a client with one topic */

struct entry {
    struct entry *next;          /* of the bucket */
    struct entry *older, *newer; /* in the list by age */
    uint64_t at_ms;
    uint32_t hash;
    uint16_t topic_len;
    uint8_t access; /* enum acl_access */
    bool is_allowed;
    uint8_t topic[];
};

struct access_cache {
    struct entry *last; /* found or put last; NULL: none */
    struct entry **buckets;
    uint32_t bucket_count; /* a power of two */
    uint32_t count;
    uint32_t bytes; /* of topics */
    struct entry *oldest, *newest;
};

struct access_cache *access_cache_new(void)
{
    struct access_cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return NULL;
    cache->bucket_count = BUCKETS_FIRST;
    cache->buckets = calloc(BUCKETS_FIRST, sizeof(*cache->buckets));
    if (cache->buckets == NULL) {
        free(cache);
        return NULL;
    }
    return cache;
}

void access_cache_free(struct access_cache *cache)
{
    if (cache == NULL)
        return;
    access_cache_clear(cache);
    free(cache->buckets);
    free(cache);
}

static struct entry **bucket_of(struct access_cache *cache, uint32_t hash)
{
    return &cache->buckets[hash & (cache->bucket_count - 1)];
}

static void drop_oldest(struct access_cache *cache)
{
    struct entry *entry = cache->oldest;
    struct entry **link = bucket_of(cache, entry->hash);

    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    cache->oldest = entry->newer;
    if (cache->oldest != NULL)
        cache->oldest->older = NULL;
    else
        cache->newest = NULL;
    cache->count--;
    cache->bytes -= entry->topic_len;
    if (cache->last == entry)
        cache->last = NULL;
    free(entry);
}

static void append(struct access_cache *cache, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    if (entry->older != NULL)
        entry->older->newer = entry;
    else
        cache->oldest = entry;
    cache->newest = entry;
}

static void make_newest(struct access_cache *cache, struct entry *entry)
{
    if (entry->newer == NULL)
        return;
    entry->newer->older = entry->older;
    if (entry->older != NULL)
        entry->older->newer = entry->newer;
    else
        cache->oldest = entry->newer;
    append(cache, entry);
}

void access_cache_clear(struct access_cache *cache)
{
    while (cache->oldest != NULL)
        drop_oldest(cache);
}

uint32_t access_cache_count(const struct access_cache *cache)
{
    return cache->count;
}

static bool is_of(const struct entry *entry, enum acl_access access, struct slice topic)
{
    return entry->access == access && entry->topic_len == topic.len && memcmp(entry->topic, topic.data, topic.len) == 0;
}

static uint32_t hash_of(enum acl_access access, struct slice topic)
{
    return (uint32_t)hash_text(topic) ^ (uint32_t)access;
}

static struct entry *find(struct access_cache *cache, enum acl_access access, struct slice topic, uint32_t hash)
{
    struct entry *entry = *bucket_of(cache, hash);

    while (entry != NULL && !(entry->hash == hash && is_of(entry, access, topic)))
        entry = entry->next;
    return entry;
}

static bool is_old(const struct entry *entry, const struct zone_acl_cache *limits, uint64_t now_ms)
{
    return now_ms - entry->at_ms >= limits->ttl_ms;
}

static void remove_old(struct access_cache *cache, const struct zone_acl_cache *limits, uint64_t now_ms)
{
    while (cache->oldest != NULL && is_old(cache->oldest, limits, now_ms))
        drop_oldest(cache);
}

enum access_cached access_cache_get(struct access_cache *cache, const struct zone_acl_cache *limits,
                                    enum acl_access access, struct slice topic, uint64_t now_ms)
{
    struct entry *entry = cache->last;

    if (entry == NULL || !is_of(entry, access, topic))
        entry = find(cache, access, topic, hash_of(access, topic));
    if (entry == NULL)
        return ACCESS_UNKNOWN;
    if (UNLIKELY(is_old(entry, limits, now_ms))) {
        remove_old(cache, limits, now_ms);
        return ACCESS_UNKNOWN;
    }
    cache->last = entry;
    return entry->is_allowed ? ACCESS_ALLOWED : ACCESS_DENIED;
}

/* Short memory: the chains grow longer. */
static void grow(struct access_cache *cache)
{
    uint32_t count = cache->bucket_count * 2;
    struct entry **buckets = calloc(count, sizeof(struct entry *));

    if (buckets == NULL)
        return;
    for (uint32_t i = 0; i < cache->bucket_count; i++) {
        struct entry *entry = cache->buckets[i], *next;
        for (; entry != NULL; entry = next) {
            next = entry->next;
            entry->next = buckets[entry->hash & (count - 1)];
            buckets[entry->hash & (count - 1)] = entry;
        }
    }
    free(cache->buckets);
    cache->buckets = buckets;
    cache->bucket_count = count;
}

/* Room for one more. */
static void make_room(struct access_cache *cache, const struct zone_acl_cache *limits, size_t topic_len,
                      uint64_t now_ms)
{
    if (cache->count >= limits->count_max)
        remove_old(cache, limits, now_ms);
    while (cache->oldest != NULL &&
           (cache->count >= limits->count_max || cache->bytes + topic_len > ACCESS_CACHE_BYTES_MAX))
        drop_oldest(cache);
    if (cache->count >= cache->bucket_count)
        grow(cache);
}

void access_cache_put(struct access_cache *cache, const struct zone_acl_cache *limits, enum acl_access access,
                      struct slice topic, bool is_allowed, uint64_t now_ms)
{
    uint32_t hash = hash_of(access, topic);
    struct entry *entry = find(cache, access, topic, hash);

    if (entry != NULL) {
        entry->is_allowed = is_allowed;
        entry->at_ms = now_ms;
        make_newest(cache, entry);
        cache->last = entry;
        return;
    }
    if (limits->count_max == 0 || topic.len > UINT16_MAX)
        return;
    make_room(cache, limits, topic.len, now_ms);
    entry = malloc(sizeof(*entry) + topic.len);
    if (entry == NULL)
        return;
    *entry = (struct entry){.next = *bucket_of(cache, hash),
                            .at_ms = now_ms,
                            .hash = hash,
                            .topic_len = (uint16_t)topic.len,
                            .access = (uint8_t)access,
                            .is_allowed = is_allowed};
    memcpy(entry->topic, topic.data, topic.len);
    *bucket_of(cache, hash) = entry;
    append(cache, entry);
    cache->count++;
    cache->bytes += (uint32_t)topic.len;
    cache->last = entry;
}
