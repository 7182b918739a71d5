/*
 * rcu_table: a hash table of pointers for many readers and few writers.
 *
 * Open addressing over 8-byte words: 48 bits of pointer and 16 bits of its hash, so a probe looks at an element
 * only when it most probably is the right one. Elements carry no link; when the table is rebuilt it asks a callback
 * for their hashes. 11 to 13 bytes an element at size, nothing but the shards' heads when empty.
 *
 * Readers take no lock and must be online (base/rcu.h); what they find stays valid until their next quiescent
 * state, provided that the remover retires it. Writers are serialised per shard, which the hash chooses. A shard
 * is rebuilt into a new array when it is two thirds full (tombstones included) or less than a quarter.
 */
#ifndef BASE_RCU_TABLE_H
#define BASE_RCU_TABLE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RCU_TABLE_SHARDS_MAX 256

struct rcu_table;

/* The hash of an element of the table: the one it was added with. All 64 bits should be good. */
typedef uint64_t rcu_table_hash_fn(const void *element, const void *context);
/* Is this the element of that key? */
typedef bool rcu_table_match_fn(const void *element, const void *key);

/* An empty table of `shard_count` shards (a power of two, 1..RCU_TABLE_SHARDS_MAX; 64 bytes each). `context` is
 * handed to `hash`. NULL when memory is short. */
struct rcu_table *rcu_table_new(uint32_t shard_count, rcu_table_hash_fn *hash, const void *context);
/* Calls `destroy` (NULL: the elements stay the caller's) for each element. No reader may be left. A NULL table is
 * fine. */
void rcu_table_free(struct rcu_table *table, void (*destroy)(void *element));

/* NULL when it is not there. Thread: any, online. */
void *rcu_table_find(const struct rcu_table *table, uint64_t hash, rcu_table_match_fn *match, const void *key);
/* Fetches what a find of `hash` will read first. Thread: any, online. */
void rcu_table_prefetch(const struct rcu_table *table, uint64_t hash);

/* Adds `element` unless one of that key is there, which then goes into `*out_existing` (may be NULL).
 * 0, -EEXIST or -ENOMEM. Thread: any, online. */
MUST_USE int rcu_table_insert(struct rcu_table *table, uint64_t hash, rcu_table_match_fn *match, const void *key,
                              void *element, void **out_existing);
/* Takes out this very pointer; the caller retires it. False: it is not there. Thread: any, online. */
bool rcu_table_remove(struct rcu_table *table, uint64_t hash, void *element);

/* For a longer step on one key: the shard of `hash` stays locked in between. The `_locked` functions need it. Never
 * lock a second shard meanwhile. Thread: any, online. */
void rcu_table_lock(struct rcu_table *table, uint64_t hash);
void rcu_table_unlock(struct rcu_table *table, uint64_t hash);
/* The key must not be there. 0 or -ENOMEM (nothing has changed). */
MUST_USE int rcu_table_add_locked(struct rcu_table *table, uint64_t hash, void *element);
/* Puts `element` in the place of `old`, of the same key, in one step. False: `old` is not there. */
bool rcu_table_replace_locked(struct rcu_table *table, uint64_t hash, void *old, void *element);
bool rcu_table_remove_locked(struct rcu_table *table, uint64_t hash, void *element);

/* Visits elements from `*cursor` on (0: the beginning) until `limit` (at least 1) have been visited, and a few
 * more: always all that share a home slot. Then moves the cursor, to 0 at the end. An element that is there from the
 * first call to the last is visited exactly once, whatever is added, removed or rebuilt between the calls. The cursor
 * needs RCU_TABLE_CURSOR_BITS bits. Thread: any, online. */
#define RCU_TABLE_CURSOR_BITS 40
void rcu_table_visit(const struct rcu_table *table, uint64_t *cursor, uint32_t limit,
                     void (*visit)(void *context, void *element), void *context);

/* Elements, and bytes held by the table itself. Thread: any; of the moment. */
uint64_t rcu_table_count(const struct rcu_table *table);
size_t rcu_table_bytes(const struct rcu_table *table);

#endif
