/*
 * cache: verdicts of the server that are remembered for a while, for all clients.
 *
 * A verdict is found by the text of its request. The text is not kept, for there are passwords in it: only its HMAC-SHA-256 with a key that is
 * drawn at random. Bounded: at `rows_max` verdicts the oldest goes. Thread: any; a lock is held for the moment of a look-up.
 */
#ifndef EMQX_AUTH_HTTP_CACHE_H
#define EMQX_AUTH_HTTP_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "verdict.h"

#define CACHE_KEY_BYTES 32

struct cache; /* opaque, see cache.c */

struct cache_key {
    uint8_t bytes[CACHE_KEY_BYTES];
};

/* `rows_max` over 0; a verdict counts for `ttl_ms`. NULL: memory is short, or there is no randomness. */
struct cache *cache_new(uint32_t rows_max, uint64_t ttl_ms);
/* NULL is fine. */
void cache_free(struct cache *cache);

/* What a request's text is remembered under. `kind` keeps requests of different kinds apart. False: no key could be made, do without the cache. */
bool cache_key_make(const struct cache *cache, char kind, const char *text, size_t len, struct cache_key *out_key);
/* Gives a copy of what is remembered at `now_ms` (monotonic); the caller frees it (verdict_fini()). False: nothing is. */
bool cache_find(struct cache *cache, const struct cache_key *key, uint64_t now_ms, struct verdict *out_verdict);
/* Remembers a copy from `now_ms` on. When memory is short it is not remembered. */
void cache_put(struct cache *cache, const struct cache_key *key, uint64_t now_ms, const struct verdict *verdict);

#endif
