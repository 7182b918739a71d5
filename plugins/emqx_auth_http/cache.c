/*
 * cache: see cache.h.
 *
 * Rows stand in a ring in the order in which they were put, which is that in which they expire; the next one to be put takes the oldest's place.
 * Hash chains find them: the keys are as good as random, so their first bytes are the hash.
 */
#include "cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define NONE UINT32_MAX

struct row {
    struct cache_key key;
    uint64_t expires_ms; /* 0: empty */
    uint32_t next;       /* of its chain */
    struct verdict verdict;
};

struct cache {
    pthread_mutex_t lock; /* of all but the next three */
    uint8_t secret[32];
    uint64_t ttl_ms;
    uint32_t rows_max;
    uint32_t oldest; /* the place of the next row */
    uint32_t chain_mask;
    uint32_t *chains; /* first row of each */
    struct row rows[];
};

struct cache *cache_new(uint32_t rows_max, uint64_t ttl_ms)
{
    struct cache *cache = calloc(1, sizeof(*cache) + rows_max * sizeof(cache->rows[0]));
    uint32_t chain_count = 1;

    if (cache == NULL)
        return NULL;
    while (chain_count < rows_max)
        chain_count *= 2;
    cache->ttl_ms = ttl_ms;
    cache->rows_max = rows_max;
    cache->chain_mask = chain_count - 1;
    cache->chains = malloc(chain_count * sizeof(cache->chains[0]));
    pthread_mutex_init(&cache->lock, NULL);
    if (cache->chains == NULL || RAND_bytes(cache->secret, sizeof(cache->secret)) != 1) {
        cache_free(cache);
        return NULL;
    }
    memset(cache->chains, 0xff, chain_count * sizeof(cache->chains[0])); /* NONE */
    return cache;
}

void cache_free(struct cache *cache)
{
    if (cache == NULL)
        return;
    for (uint32_t i = 0; i < cache->rows_max; i++)
        verdict_fini(&cache->rows[i].verdict);
    pthread_mutex_destroy(&cache->lock);
    free(cache->chains);
    free(cache);
}

bool cache_key_make(const struct cache *cache, char kind, const char *text, size_t len, struct cache_key *out_key)
{
    uint8_t secret[sizeof(cache->secret) + 1];
    unsigned bytes = 0;

    memcpy(secret, cache->secret, sizeof(cache->secret));
    secret[sizeof(cache->secret)] = (uint8_t)kind;
    return HMAC(EVP_sha256(), secret, (int)sizeof(secret), (const unsigned char *)text, len, out_key->bytes, &bytes) !=
               NULL &&
           bytes == CACHE_KEY_BYTES;
}

static uint32_t *chain_of(struct cache *cache, const struct cache_key *key)
{
    uint32_t hash;

    memcpy(&hash, key->bytes, sizeof(hash));
    return &cache->chains[hash & cache->chain_mask];
}

/* The link that leads to the key's row, or the end of its chain. */
static uint32_t *find_link(struct cache *cache, const struct cache_key *key)
{
    uint32_t *link = chain_of(cache, key);

    while (*link != NONE && memcmp(&cache->rows[*link].key, key, sizeof(*key)) != 0)
        link = &cache->rows[*link].next;
    return link;
}

/* The row is empty then. */
static void row_remove(struct cache *cache, uint32_t *link)
{
    struct row *row = &cache->rows[*link];

    *link = row->next;
    verdict_fini(&row->verdict);
    row->expires_ms = 0;
}

bool cache_find(struct cache *cache, const struct cache_key *key, uint64_t now_ms, struct verdict *out_verdict)
{
    bool is_found;
    uint32_t *link;

    pthread_mutex_lock(&cache->lock);
    link = find_link(cache, key);
    is_found = *link != NONE && cache->rows[*link].expires_ms > now_ms;
    if (is_found)
        is_found = verdict_dup(&cache->rows[*link].verdict, out_verdict);
    pthread_mutex_unlock(&cache->lock);
    return is_found;
}

void cache_put(struct cache *cache, const struct cache_key *key, uint64_t now_ms, const struct verdict *verdict)
{
    struct verdict copy;
    struct row *row;
    uint32_t *link;

    if (!verdict_dup(verdict, &copy))
        return;
    pthread_mutex_lock(&cache->lock);
    link = find_link(cache, key);
    if (*link != NONE)
        row_remove(cache, link);
    row = &cache->rows[cache->oldest];
    if (row->expires_ms != 0)
        row_remove(cache, find_link(cache, &row->key));
    link = chain_of(cache, key);
    *row = (struct row){.key = *key, .expires_ms = now_ms + cache->ttl_ms, .next = *link, .verdict = copy};
    *link = cache->oldest;
    cache->oldest = (cache->oldest + 1) % cache->rows_max;
    pthread_mutex_unlock(&cache->lock);
}
