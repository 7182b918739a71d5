/*
 * access_cache: verdicts of client.check_acl that one connection remembers, by access and topic (or filter).
 *
 * Bounded by the number of entries and by ACCESS_CACHE_BYTES_MAX bytes of topics: the oldest goes first. Asking again makes an entry
 * the newest. Belongs to one connection. Thread: owner.
 */
#ifndef BROKER_CHANNEL_ACCESS_CACHE_H
#define BROKER_CHANNEL_ACCESS_CACHE_H

#include "base/slice.h"
#include "broker/zone.h"
#include "hook/events.h"

#include <stdint.h>

#define ACCESS_CACHE_BYTES_MAX 65536u /* topics of all entries; one that is longer is not remembered */

struct access_cache;

enum access_cached {
    ACCESS_UNKNOWN,
    ACCESS_ALLOWED,
    ACCESS_DENIED,
};

/* NULL when memory is short. */
struct access_cache *access_cache_new(void);
/* NULL is fine. */
void access_cache_free(struct access_cache *cache);
/* An entry that is too old is removed, with all older ones. */
enum access_cached access_cache_get(struct access_cache *cache, const struct zone_acl_cache *limits,
                                    enum acl_access access, struct slice topic, uint64_t now_ms);
/* Replaces an entry of the same access and topic. Short memory: it is not remembered. */
void access_cache_put(struct access_cache *cache, const struct zone_acl_cache *limits, enum acl_access access,
                      struct slice topic, bool is_allowed, uint64_t now_ms);
/* Forgets everything. */
void access_cache_clear(struct access_cache *cache);
uint32_t access_cache_count(const struct access_cache *cache);

#endif
