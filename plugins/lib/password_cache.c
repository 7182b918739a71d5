/*
 * password_cache: a keyed hash and an array of its results.
 */
#include "lib/password_cache.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 8u
#define KEY_BYTES 32u
#define MAC_BYTES 32u

struct slot {
    _Atomic uint64_t low; /* 0: free */
    _Atomic uint64_t high;
};

struct password_cache {
    uint8_t key[KEY_BYTES];
    uint64_t set_mask;
    _Atomic uint32_t turn; /* which of a full set goes next */
    struct slot slots[];
};

struct password_cache *password_cache_new(size_t count_max)
{
    struct password_cache *cache;
    uint64_t count = WAYS;

    while (count < count_max)
        count *= 2;
    cache = calloc(1, sizeof(*cache) + count * sizeof(cache->slots[0]));
    if (cache == NULL)
        return NULL;
    cache->set_mask = count / WAYS - 1;
    if (RAND_priv_bytes(cache->key, KEY_BYTES) != 1) {
        free(cache);
        return NULL;
    }
    return cache;
}

void password_cache_free(struct password_cache *cache)
{
    if (cache == NULL)
        return;
    OPENSSL_cleanse(cache->key, KEY_BYTES);
    free(cache);
}

bool password_cache_tag(const struct password_cache *cache, struct emqc_slice entry, struct emqc_slice password,
                        struct password_tag *out_tag)
{
    uint8_t texts[sizeof(uint32_t) + PASSWORD_CACHE_TEXTS_MAX], mac[MAC_BYTES];
    uint32_t entry_len = (uint32_t)entry.len; /* in front, so that no other pair makes the same bytes */
    size_t len = sizeof(entry_len) + entry.len + password.len, mac_len = 0;
    bool is_made;

    if (entry.len > PASSWORD_CACHE_TEXTS_MAX || password.len > PASSWORD_CACHE_TEXTS_MAX - entry.len)
        return false;
    memcpy(texts, &entry_len, sizeof(entry_len));
    memcpy(texts + sizeof(entry_len), entry.data, entry.len);
    memcpy(texts + sizeof(entry_len) + entry.len, password.data, password.len);
    is_made = EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, cache->key, KEY_BYTES, texts, len, mac, sizeof(mac),
                        &mac_len) != NULL &&
              mac_len == MAC_BYTES;
    OPENSSL_cleanse(texts, len);
    if (!is_made)
        return false;
    memcpy(&out_tag->low, mac, sizeof(out_tag->low));
    memcpy(&out_tag->high, mac + sizeof(out_tag->low), sizeof(out_tag->high));
    out_tag->low |= (uint64_t)(out_tag->low == 0);
    return true;
}

bool password_cache_has(const struct password_cache *cache, const struct password_tag *tag)
{
    const struct slot *set = &cache->slots[(tag->high & cache->set_mask) * WAYS];
    uint64_t is_there = 0;

    for (size_t i = 0; i < WAYS; i++) {
        uint64_t low = atomic_load_explicit(&set[i].low, memory_order_relaxed);
        uint64_t high = atomic_load_explicit(&set[i].high, memory_order_relaxed);
        is_there |= (uint64_t)(((low ^ tag->low) | (high ^ tag->high)) == 0);
    }
    return is_there != 0;
}

void password_cache_add(struct password_cache *cache, const struct password_tag *tag)
{
    struct slot *set = &cache->slots[(tag->high & cache->set_mask) * WAYS], *slot = NULL;

    if (password_cache_has(cache, tag))
        return;
    for (size_t i = 0; i < WAYS && slot == NULL; i++) {
        if (atomic_load_explicit(&set[i].low, memory_order_relaxed) == 0)
            slot = &set[i];
    }
    if (slot == NULL)
        slot = &set[atomic_fetch_add_explicit(&cache->turn, 1, memory_order_relaxed) % WAYS];
    atomic_store_explicit(&slot->high, tag->high, memory_order_relaxed);
    atomic_store_explicit(&slot->low, tag->low, memory_order_relaxed);
}
