/*
 * password_cache: which password was right for which entry, so that a device that comes again does not cost the slow hash again.
 *
 * It holds tags, not passwords: 128 bits of HMAC-SHA256(entry ‖ password) under a random key of this process. An entry that changes has another
 * salt and with it another tag, so nothing need be dropped: old tags match nothing any more and make room in time.
 *
 * A fixed array in sets of eight; in a full set a new tag takes the place of one of them by turns. No lock: a tag is two words that are read
 * and written on their own; halves of two tags match a third with a chance of one in 2^64.
 */
#ifndef PLUGINS_LIB_PASSWORD_CACHE_H
#define PLUGINS_LIB_PASSWORD_CACHE_H

#include <emqc/plugin.h>

struct password_cache; /* opaque, see password_cache.c */

struct password_tag {
    uint64_t low; /* never 0 */
    uint64_t high;
};

#define PASSWORD_CACHE_TEXTS_MAX 4096u /* bytes of entry and password together; longer ones are not remembered */

/* For about `count_max` tags of 16 bytes (rounded up to a power of two, at least 8). NULL: memory is short, or OpenSSL fails. */
struct password_cache *password_cache_new(size_t count_max);

/* NULL is fine. */
void password_cache_free(struct password_cache *cache);

/* The tag of the two: some microseconds. False: too long, or OpenSSL fails. Thread: any. */
bool password_cache_tag(const struct password_cache *cache, struct emqc_slice entry, struct emqc_slice password,
                        struct password_tag *out_tag);

/* Was it added, and is it still there? Thread: any. */
bool password_cache_has(const struct password_cache *cache, const struct password_tag *tag);

/* Thread: any. */
void password_cache_add(struct password_cache *cache, const struct password_tag *tag);

#endif
