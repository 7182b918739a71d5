/*
 * flapping: the records, in shards: each a hash table with chains over a fixed array, and a list by the time of the last event.
 *
 * A record knows its client by 64 bits of a seeded hash: two clients that share one are counted as one, which among 131,072 records happens once in
 * two thousand million tables.
 */
#include "auth/flapping.h"

#include "base/hash.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#define SHARD_BITS 6u
#define SHARD_COUNT (1u << SHARD_BITS)
#define RECORDS_PER_SHARD (FLAPPING_RECORDS_MAX / SHARD_COUNT)
#define NONE UINT16_MAX
#define BARRED UINT32_MAX /* in place of a count */

struct record {
    uint64_t hash;
    uint64_t deadline_ms;
    uint32_t count;
    uint16_t chain; /* the next of the same bucket, or of the free ones */
    uint16_t newer; /* by the last event */
    uint16_t older;
};

static_assert(sizeof(struct record) <= 32, "as flapping.h says");
static_assert(RECORDS_PER_SHARD < NONE, "an index fits");

/* Locked: `lock`, alone. */
struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct record *records; /* NULL: none in use */
    uint16_t *buckets;      /* RECORDS_PER_SHARD */
    uint16_t free;
    uint16_t newest;
    uint16_t oldest;
    uint32_t count;
};

struct flapping {
    struct shard shards[SHARD_COUNT];
};

struct flapping *flapping_new(void)
{
    struct flapping *flapping = aligned_alloc(_Alignof(struct flapping), sizeof(*flapping));

    if (flapping == NULL)
        return NULL;
    memset(flapping, 0, sizeof(*flapping));
    for (uint32_t i = 0; i < SHARD_COUNT; i++)
        pthread_mutex_init(&flapping->shards[i].lock, NULL);
    return flapping;
}

static void shard_drop(struct shard *shard)
{
    free(shard->records);
    free(shard->buckets);
    shard->records = NULL;
    shard->buckets = NULL;
}

void flapping_free(struct flapping *flapping)
{
    if (flapping == NULL)
        return;
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        shard_drop(&flapping->shards[i]);
        pthread_mutex_destroy(&flapping->shards[i].lock);
    }
    free(flapping);
}

/* False: memory is short. */
static bool shard_make(struct shard *shard)
{
    shard->records = malloc(RECORDS_PER_SHARD * sizeof(struct record));
    shard->buckets = malloc(RECORDS_PER_SHARD * sizeof(uint16_t));
    if (shard->records == NULL || shard->buckets == NULL) {
        shard_drop(shard);
        return false;
    }
    memset(shard->buckets, 0xFF, RECORDS_PER_SHARD * sizeof(uint16_t));
    for (uint32_t i = 0; i < RECORDS_PER_SHARD; i++)
        shard->records[i].chain = (uint16_t)(i + 1 < RECORDS_PER_SHARD ? i + 1 : NONE);
    shard->free = 0;
    shard->newest = shard->oldest = NONE;
    return true;
}

static uint16_t *bucket_of(struct shard *shard, uint64_t hash)
{
    return &shard->buckets[(hash >> SHARD_BITS) % RECORDS_PER_SHARD];
}

static uint16_t find(struct shard *shard, uint64_t hash)
{
    uint16_t at = *bucket_of(shard, hash);

    while (at != NONE && shard->records[at].hash != hash)
        at = shard->records[at].chain;
    return at;
}

static void list_remove(struct shard *shard, uint16_t at)
{
    struct record *record = &shard->records[at];

    *(record->newer == NONE ? &shard->newest : &shard->records[record->newer].older) = record->older;
    *(record->older == NONE ? &shard->oldest : &shard->records[record->older].newer) = record->newer;
}

static void list_add_newest(struct shard *shard, uint16_t at)
{
    struct record *record = &shard->records[at];

    record->newer = NONE;
    record->older = shard->newest;
    *(shard->newest == NONE ? &shard->oldest : &shard->records[shard->newest].newer) = at;
    shard->newest = at;
}

static void forget(struct shard *shard, uint16_t at)
{
    uint16_t *link = bucket_of(shard, shard->records[at].hash);

    while (*link != at)
        link = &shard->records[*link].chain;
    *link = shard->records[at].chain;
    list_remove(shard, at);
    shard->records[at].chain = shard->free;
    shard->free = at;
    shard->count--;
}

static void remember(struct shard *shard, uint64_t hash, uint64_t deadline_ms, uint32_t count)
{
    uint16_t at, *bucket = bucket_of(shard, hash);

    if (shard->free == NONE)
        forget(shard, shard->oldest);
    at = shard->free;
    shard->free = shard->records[at].chain;
    shard->records[at] = (struct record){.hash = hash, .deadline_ms = deadline_ms, .count = count, .chain = *bucket};
    *bucket = at;
    list_add_newest(shard, at);
    shard->count++;
}

static bool note(struct shard *shard, uint64_t hash, enum flapping_event event, struct flapping_threshold threshold,
                 uint64_t now_ms)
{
    struct record *record;
    uint16_t at;

    if (shard->records == NULL && !shard_make(shard))
        return false;
    at = find(shard, hash);
    record = &shard->records[at == NONE ? 0 : at];
    if (at != NONE && now_ms > record->deadline_ms) {
        forget(shard, at);
        if (event == FLAPPING_DISCONNECT)
            return false;
        at = NONE;
    }
    if (at == NONE) {
        remember(shard, hash, now_ms + threshold.period_ms, threshold.count == 0 ? BARRED : 1);
        return threshold.count == 0;
    }
    if (record->count == BARRED)
        return false;
    if (++record->count > threshold.count)
        record->count = BARRED;
    record->deadline_ms = now_ms + threshold.period_ms;
    list_remove(shard, at);
    list_add_newest(shard, at);
    return record->count == BARRED;
}

bool flapping_note(struct flapping *flapping, struct slice client_id, enum flapping_event event,
                   struct flapping_threshold threshold, uint64_t now_ms)
{
    uint64_t hash = hash_text(client_id);
    struct shard *shard = &flapping->shards[hash % SHARD_COUNT];
    bool is_flapping;

    pthread_mutex_lock(&shard->lock);
    is_flapping = note(shard, hash, event, threshold, now_ms);
    pthread_mutex_unlock(&shard->lock);
    return is_flapping;
}

/* The barred record, or NONE. */
static uint16_t find_barred(struct shard *shard, uint64_t hash)
{
    uint16_t at = shard->records == NULL ? NONE : find(shard, hash);

    return at == NONE || shard->records[at].count != BARRED ? NONE : at;
}

bool flapping_bars(struct flapping *flapping, struct slice client_id)
{
    uint64_t hash = hash_text(client_id);
    struct shard *shard = &flapping->shards[hash % SHARD_COUNT];
    bool is_barred;

    pthread_mutex_lock(&shard->lock);
    is_barred = find_barred(shard, hash) != NONE;
    pthread_mutex_unlock(&shard->lock);
    return is_barred;
}

void flapping_lift(struct flapping *flapping, struct slice client_id)
{
    uint64_t hash = hash_text(client_id);
    struct shard *shard = &flapping->shards[hash % SHARD_COUNT];
    uint16_t at;

    pthread_mutex_lock(&shard->lock);
    at = find_barred(shard, hash);
    if (at != NONE)
        forget(shard, at);
    pthread_mutex_unlock(&shard->lock);
}

static void shard_clean(struct shard *shard, uint64_t now_ms)
{
    for (uint16_t at = shard->records == NULL ? NONE : shard->oldest, next; at != NONE; at = next) {
        next = shard->records[at].newer;
        if (now_ms > shard->records[at].deadline_ms)
            forget(shard, at);
    }
    if (shard->count == 0)
        shard_drop(shard);
}

void flapping_clean(struct flapping *flapping, uint64_t now_ms)
{
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        pthread_mutex_lock(&flapping->shards[i].lock);
        shard_clean(&flapping->shards[i], now_ms);
        pthread_mutex_unlock(&flapping->shards[i].lock);
    }
}

uint32_t flapping_count(struct flapping *flapping)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        pthread_mutex_lock(&flapping->shards[i].lock);
        count += flapping->shards[i].count;
        pthread_mutex_unlock(&flapping->shards[i].lock);
    }
    return count;
}
