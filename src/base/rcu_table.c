/*
 * rcu_table: see rcu_table.h.
 *
 * Bits of a hash: 0..7 choose the shard, 8..23 are the tag in the word, 32..63 the home slot, as a fraction of the
 * array: the array's order is the hashes' order up to the probing, whatever its size. That lets an array have any
 * length (so it grows in small steps) and makes a cursor a bound on the hash instead of an index.
 *
 * A word changes from empty to an element, from there to a tombstone or another element. It becomes empty
 * again only when the slot behind it is empty, so that no reader's probe can have to pass it. Everything else is
 * done by building a new array and publishing it.
 */
#include "base/rcu_table.h"

#include "base/rcu.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WORD_EMPTY 0u
#define WORD_TOMBSTONE 1u
#define POINTER_BITS 48
#define POINTER_MASK ((UINT64_C(1) << POINTER_BITS) - 1)
#define CAPACITY_MIN 7u /* with the header 64 bytes */

static_assert(sizeof(void *) == sizeof(uint64_t), "words hold a pointer and a tag");

struct slots {
    uint64_t capacity; /* never 0 */
    uint64_t words[];
};

struct shard {
    _Alignas(64) struct slots *slots; /* NULL when empty; readers take it with RCU_READ() */
    uint32_t live;                    /* elements; written under the lock, read by anybody */
    uint32_t used;                    /* elements and tombstones; under the lock */
    pthread_mutex_t lock;
};

struct rcu_table {
    rcu_table_hash_fn *hash;
    const void *context;
    uint32_t shard_count;
    struct shard shards[];
};

static struct shard *shard_of(const struct rcu_table *table, uint64_t hash)
{
    return (struct shard *)&table->shards[hash & (table->shard_count - 1)];
}

static uint64_t word_tag(uint64_t hash)
{
    return (hash >> 8) << POINTER_BITS;
}

static uint64_t word_make(uint64_t hash, const void *element)
{
    return (uint64_t)(uintptr_t)element | word_tag(hash);
}

static void *word_pointer(uint64_t word)
{
    return (void *)(uintptr_t)(word & POINTER_MASK);
}

static bool word_is_element(uint64_t word)
{
    return word > WORD_TOMBSTONE;
}

static uint64_t slots_home(const struct slots *slots, uint64_t hash)
{
    return ((hash >> 32) * slots->capacity) >> 32;
}

static uint64_t slots_next(const struct slots *slots, uint64_t index)
{
    return index + 1 == slots->capacity ? 0 : index + 1;
}

struct rcu_table *rcu_table_new(uint32_t shard_count, rcu_table_hash_fn *hash, const void *context)
{
    struct rcu_table *table;

    ASSERT(shard_count > 0 && shard_count <= RCU_TABLE_SHARDS_MAX && (shard_count & (shard_count - 1)) == 0);
    table = aligned_alloc(_Alignof(struct rcu_table), sizeof(*table) + shard_count * sizeof(table->shards[0]));
    if (table == NULL)
        return NULL;
    table->hash = hash;
    table->context = context;
    table->shard_count = shard_count;
    for (uint32_t i = 0; i < shard_count; i++) {
        struct shard *shard = &table->shards[i];

        shard->slots = NULL;
        shard->live = 0;
        shard->used = 0;
        pthread_mutex_init(&shard->lock, NULL);
    }
    return table;
}

static void slots_free(struct slots *slots, void (*destroy)(void *element))
{
    for (uint64_t i = 0; slots != NULL && destroy != NULL && i < slots->capacity; i++) {
        if (word_is_element(slots->words[i]))
            destroy(word_pointer(slots->words[i]));
    }
    free(slots);
}

void rcu_table_free(struct rcu_table *table, void (*destroy)(void *element))
{
    if (table == NULL)
        return;
    for (uint32_t i = 0; i < table->shard_count; i++) {
        pthread_mutex_destroy(&table->shards[i].lock);
        slots_free(table->shards[i].slots, destroy);
    }
    free(table);
}

void *rcu_table_find(const struct rcu_table *table, uint64_t hash, rcu_table_match_fn *match, const void *key)
{
    const struct slots *slots = RCU_READ(shard_of(table, hash)->slots);
    uint64_t tag = word_tag(hash);

    if (slots == NULL)
        return NULL;
    for (uint64_t i = slots_home(slots, hash);; i = slots_next(slots, i)) {
        uint64_t word = RCU_READ(slots->words[i]);

        if (word == WORD_EMPTY)
            return NULL;
        if ((word & ~POINTER_MASK) == tag && word != WORD_TOMBSTONE && match(word_pointer(word), key))
            return word_pointer(word);
    }
}

void rcu_table_prefetch(const struct rcu_table *table, uint64_t hash)
{
    const struct slots *slots = RCU_READ(shard_of(table, hash)->slots);

    if (slots != NULL)
        __builtin_prefetch(&slots->words[slots_home(slots, hash)]);
}

/* A capacity for `live` elements, at most two thirds full. The array's size is one of the four steps per doubling that
 * allocators use for their size classes, so nothing of it goes to waste. */
static uint64_t capacity_for(uint64_t live)
{
    uint64_t bytes = sizeof(struct slots) + (live + live / 2 + 1) * sizeof(uint64_t);
    uint64_t step = 16;

    while (bytes > step * 8)
        step *= 2;
    bytes = (bytes + step - 1) / step * step;
    if (bytes < sizeof(struct slots) + CAPACITY_MIN * sizeof(uint64_t))
        return CAPACITY_MIN;
    return (bytes - sizeof(struct slots)) / sizeof(uint64_t);
}

static struct slots *slots_new(uint64_t capacity)
{
    struct slots *slots = calloc(1, sizeof(*slots) + capacity * sizeof(slots->words[0]));

    if (slots != NULL)
        slots->capacity = capacity;
    return slots;
}

/* Into the first free slot from its home on, in an array that nobody else sees. */
static void slots_place(struct slots *slots, uint64_t hash, uint64_t word)
{
    uint64_t i = slots_home(slots, hash);

    while (slots->words[i] != WORD_EMPTY)
        i = slots_next(slots, i);
    slots->words[i] = word;
}

#define REBUILD_BATCH 8

/* Asks for the hashes in batches whose elements were prefetched: they lie all over the memory. */
static void slots_copy(const struct rcu_table *table, struct slots *to, const struct slots *from)
{
    uint64_t batch[REBUILD_BATCH];
    uint32_t count = 0;

    for (uint64_t i = 0; i < from->capacity; i++) {
        if (word_is_element(from->words[i])) {
            __builtin_prefetch(word_pointer(from->words[i]));
            batch[count++] = from->words[i];
        }
        if (count == REBUILD_BATCH || i + 1 == from->capacity) {
            for (uint32_t k = 0; k < count; k++)
                slots_place(to, table->hash(word_pointer(batch[k]), table->context), batch[k]);
            count = 0;
        }
    }
}

/* A new array with room for the shard's elements and `extra` more. 0 or -ENOMEM. */
static int shard_rebuild(const struct rcu_table *table, struct shard *shard, uint32_t extra)
{
    struct slots *old = shard->slots;
    struct slots *slots = NULL;

    if (shard->live + extra > 0) {
        slots = slots_new(capacity_for((uint64_t)shard->live + extra));
        if (slots == NULL)
            return -ENOMEM;
        if (old != NULL)
            slots_copy(table, slots, old);
    }
    shard->used = shard->live;
    RCU_PUBLISH(shard->slots, slots);
    if (old != NULL)
        rcu_retire(old, free);
    return 0;
}

void rcu_table_lock(struct rcu_table *table, uint64_t hash)
{
    pthread_mutex_lock(&shard_of(table, hash)->lock);
}

void rcu_table_unlock(struct rcu_table *table, uint64_t hash)
{
    pthread_mutex_unlock(&shard_of(table, hash)->lock);
}

static void shard_set_live(struct shard *shard, uint32_t live)
{
    __atomic_store_n(&shard->live, live, __ATOMIC_RELAXED);
}

int rcu_table_add_locked(struct rcu_table *table, uint64_t hash, void *element)
{
    struct shard *shard = shard_of(table, hash);
    struct slots *slots;
    uint64_t i;

    ASSERT(((uintptr_t)element & ~POINTER_MASK) == 0 && (uintptr_t)element > WORD_TOMBSTONE);
    if (shard->slots == NULL || (uint64_t)(shard->used + 1) * 4 > shard->slots->capacity * 3) {
        int err = shard_rebuild(table, shard, 1);

        if (err < 0)
            return err;
    }
    slots = shard->slots;
    i = slots_home(slots, hash);
    while (word_is_element(slots->words[i]))
        i = slots_next(slots, i);
    if (slots->words[i] == WORD_EMPTY)
        shard->used++;
    RCU_PUBLISH(slots->words[i], word_make(hash, element));
    shard_set_live(shard, shard->live + 1);
    return 0;
}

int rcu_table_insert(struct rcu_table *table, uint64_t hash, rcu_table_match_fn *match, const void *key, void *element,
                     void **out_existing)
{
    void *existing;
    int err = -EEXIST;

    rcu_table_lock(table, hash);
    existing = rcu_table_find(table, hash, match, key);
    if (existing == NULL)
        err = rcu_table_add_locked(table, hash, element);
    else if (out_existing != NULL)
        *out_existing = existing;
    rcu_table_unlock(table, hash);
    return err;
}

/* The slot of this very element; false when it is not there. */
static bool slots_locate(const struct slots *slots, uint64_t hash, const void *element, uint64_t *out_index)
{
    uint64_t word = word_make(hash, element);

    if (slots == NULL)
        return false;
    for (uint64_t i = slots_home(slots, hash); slots->words[i] != WORD_EMPTY; i = slots_next(slots, i)) {
        if (slots->words[i] == word) {
            *out_index = i;
            return true;
        }
    }
    return false;
}

bool rcu_table_replace_locked(struct rcu_table *table, uint64_t hash, void *old, void *element)
{
    struct slots *slots = shard_of(table, hash)->slots;
    uint64_t i;

    if (!slots_locate(slots, hash, old, &i))
        return false;
    RCU_PUBLISH(slots->words[i], word_make(hash, element));
    return true;
}

/* Empties slot `i`, and tombstones right before it, where no probe needs to go on; else leaves a tombstone. */
static void shard_clear_slot(struct shard *shard, uint64_t i)
{
    struct slots *slots = shard->slots;

    if (slots->words[slots_next(slots, i)] != WORD_EMPTY) {
        RCU_PUBLISH(slots->words[i], (uint64_t)WORD_TOMBSTONE);
        return;
    }
    do {
        RCU_PUBLISH(slots->words[i], (uint64_t)WORD_EMPTY);
        shard->used--;
        i = i == 0 ? slots->capacity - 1 : i - 1;
    } while (slots->words[i] == WORD_TOMBSTONE);
}

bool rcu_table_remove_locked(struct rcu_table *table, uint64_t hash, void *element)
{
    struct shard *shard = shard_of(table, hash);
    uint64_t i;

    if (!slots_locate(shard->slots, hash, element, &i))
        return false;
    shard_clear_slot(shard, i);
    shard_set_live(shard, shard->live - 1);
    if (shard->live == 0 || (shard->slots->capacity > CAPACITY_MIN && shard->live < shard->slots->capacity / 4))
        (void)shard_rebuild(table, shard, 0); /* without memory it stays large, which only wastes some */
    return true;
}

bool rcu_table_remove(struct rcu_table *table, uint64_t hash, void *element)
{
    bool removed;

    rcu_table_lock(table, hash);
    removed = rcu_table_remove_locked(table, hash, element);
    rcu_table_unlock(table, hash);
    return removed;
}

struct visitor {
    const struct rcu_table *table;
    void (*visit)(void *context, void *element);
    void *context;
    uint32_t left; /* to visit in this slice */
};

/* The least upper half of a hash whose home is slot `index`: 0..2^32. */
static uint64_t slots_bound(const struct slots *slots, uint64_t index)
{
    return ((index << 32) + slots->capacity - 1) / slots->capacity;
}

/* Visits the elements of home slot `home` whose upper half of the hash is at least `from`. */
static void visit_home(struct visitor *visitor, const struct slots *slots, uint64_t home, uint64_t from)
{
    uint64_t i = home;
    uint64_t word;

    while ((word = RCU_READ(slots->words[i])) != WORD_EMPTY) {
        if (word_is_element(word)) {
            void *element = word_pointer(word);
            uint64_t hash = visitor->table->hash(element, visitor->table->context);

            if (slots_home(slots, hash) == home && hash >> 32 >= from) {
                visitor->visit(visitor->context, element);
                visitor->left -= visitor->left > 0;
            }
        }
        i = slots_next(slots, i);
    }
}

/* Returns where to go on in the shard: 2^32 when it is done. */
static uint64_t visit_shard(struct visitor *visitor, const struct slots *slots, uint64_t from)
{
    if (slots == NULL)
        return UINT64_C(1) << 32;
    for (uint64_t home = (from * slots->capacity) >> 32; home < slots->capacity && visitor->left > 0; home++) {
        visit_home(visitor, slots, home, from);
        from = slots_bound(slots, home + 1);
    }
    return from;
}

void rcu_table_visit(const struct rcu_table *table, uint64_t *cursor, uint32_t limit,
                     void (*visit)(void *context, void *element), void *context)
{
    struct visitor visitor = {.table = table, .visit = visit, .context = context, .left = limit};
    uint64_t shard = *cursor >> 32;
    uint64_t from = *cursor & UINT32_MAX;

    ASSERT(limit > 0);
    while (shard < table->shard_count && visitor.left > 0) {
        from = visit_shard(&visitor, RCU_READ(table->shards[shard].slots), from);
        if (from > UINT32_MAX) {
            shard++;
            from = 0;
        }
    }
    *cursor = shard >= table->shard_count ? 0 : shard << 32 | from;
}

uint64_t rcu_table_count(const struct rcu_table *table)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < table->shard_count; i++)
        count += __atomic_load_n(&table->shards[i].live, __ATOMIC_RELAXED);
    return count;
}

size_t rcu_table_bytes(const struct rcu_table *table)
{
    size_t bytes = sizeof(*table) + table->shard_count * sizeof(table->shards[0]);

    for (uint32_t i = 0; i < table->shard_count; i++) {
        const struct slots *slots = RCU_READ(table->shards[i].slots);

        if (slots != NULL)
            bytes += sizeof(*slots) + slots->capacity * sizeof(slots->words[0]);
    }
    return bytes;
}
