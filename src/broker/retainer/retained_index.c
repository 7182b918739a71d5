/*
 * retained_index: see retained_index.h.
 *
 * A match walks the list and asks each topic it meets where the next one that may match can be at the earliest:
 * right behind, or at a key that skips all that share the reason why this one does not match. So the cost goes with
 * the matches and with the values that a `+` runs through, not with the topics.
 */
#include "broker/retainer/retained_index.h"

#include "base/rcu.h"
#include "base/rcu_table.h"
#include "broker/retainer/topic_list_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define TOPIC_SHARDS 64u

struct retained_index {
    struct retained_options options;
    struct rcu_table *table; /* of entries */
    uint64_t seed;
    uint64_t count; /* topics, also those being added */
    uint64_t entry_bytes;
    uint64_t message_bytes;
    pthread_mutex_t list_lock; /* after a shard's */
    struct topic_list list;
};

static uint64_t topic_hash(const struct retained_index *index, struct slice topic)
{
    return XXH3_64bits_withSeed(topic.data, topic.len, index->seed);
}

static uint64_t entry_hash(const void *element, const void *context)
{
    return topic_hash(context, topic_entry_topic(element));
}

static bool entry_matches(const void *element, const void *key)
{
    return slice_equal(topic_entry_topic(element), *(const struct slice *)key);
}

struct retained_index *retained_index_new(const struct retained_options *options)
{
    struct retained_index *index = calloc(1, sizeof(*index));

    if (index == NULL)
        return NULL;
    index->options = *options;
    /* Fails only when the system has just started; then the address has to serve. */
    if (getrandom(&index->seed, sizeof(index->seed), GRND_NONBLOCK) < 0)
        index->seed = (uint64_t)(uintptr_t)index;
    topic_list_init(&index->list, (uint32_t)(index->seed >> 32));
    pthread_mutex_init(&index->list_lock, NULL);
    index->table = rcu_table_new(TOPIC_SHARDS, entry_hash, index);
    if (index->table == NULL) {
        retained_index_free(index);
        return NULL;
    }
    return index;
}

void retained_index_free(struct retained_index *index)
{
    struct topic_entry *entry;

    if (index == NULL)
        return;
    entry = topic_list_first(&index->list);
    while (entry != NULL) {
        struct topic_entry *next = topic_entry_next(entry);

        index->options.unref(entry->message);
        free(entry);
        entry = next;
    }
    rcu_table_free(index->table, NULL);
    pthread_mutex_destroy(&index->list_lock);
    free(index);
}

void retained_index_set_count_max(struct retained_index *index, uint64_t count_max)
{
    __atomic_store_n(&index->options.count_max, count_max, __ATOMIC_RELAXED);
}

static size_t message_size(const struct retained_index *index, const void *message)
{
    return index->options.message_bytes == NULL ? 0 : index->options.message_bytes(message);
}

static void count_add(uint64_t *counter, uint64_t value)
{
    __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

static void count_sub(uint64_t *counter, uint64_t value)
{
    __atomic_fetch_sub(counter, value, __ATOMIC_RELAXED);
}

static struct topic_entry *index_find(const struct retained_index *index, uint64_t hash, struct slice topic)
{
    return rcu_table_find(index->table, hash, entry_matches, &topic);
}

/* Gives up the index's reference once readers are gone. */
static void message_retire(struct retained_index *index, void *message)
{
    count_sub(&index->message_bytes, message_size(index, message));
    rcu_retire(message, index->options.unref);
}

/* The shard is locked. */
static int index_add(struct retained_index *index, uint64_t hash, struct slice topic, void *message)
{
    struct topic_entry *entry;
    int err = -ENOMEM;

    pthread_mutex_lock(&index->list_lock);
    entry = topic_entry_new(&index->list, topic);
    if (entry == NULL)
        goto out;
    entry->message = message;
    err = rcu_table_add_locked(index->table, hash, entry);
    if (err < 0) {
        free(entry);
        goto out;
    }
    topic_list_insert(&index->list, entry);
    count_add(&index->entry_bytes, topic_entry_size(entry));
out:
    pthread_mutex_unlock(&index->list_lock);
    return err;
}

/* Takes a place under the limit. 0 or -ENOSPC. */
static int index_reserve(struct retained_index *index)
{
    uint64_t count_max = __atomic_load_n(&index->options.count_max, __ATOMIC_RELAXED);

    if (__atomic_fetch_add(&index->count, 1, __ATOMIC_RELAXED) < count_max || count_max == 0)
        return 0;
    count_sub(&index->count, 1);
    return -ENOSPC;
}

void retained_index_lock(struct retained_index *index, struct slice topic, struct retained_place *out_place)
{
    uint64_t hash = topic_hash(index, topic);

    rcu_table_lock(index->table, hash);
    *out_place = (struct retained_place){topic, hash, index_find(index, hash, topic)};
}

void retained_index_unlock(struct retained_index *index, const struct retained_place *place)
{
    rcu_table_unlock(index->table, place->hash);
}

void *retained_place_message(const struct retained_place *place)
{
    return place->entry == NULL ? NULL : place->entry->message;
}

bool retained_place_mark(const struct retained_place *place)
{
    return place->entry->mark;
}

void retained_place_set_mark(struct retained_place *place, bool mark)
{
    place->entry->mark = mark;
}

/* Takes the reference. */
static int place_add(struct retained_index *index, struct retained_place *place, void *message, bool over_limit)
{
    int err = 0;

    if (over_limit)
        count_add(&index->count, 1);
    else
        err = index_reserve(index);
    if (err < 0)
        return err;
    err = index_add(index, place->hash, place->topic, message);
    if (err < 0)
        count_sub(&index->count, 1);
    else
        place->entry = index_find(index, place->hash, place->topic);
    return err;
}

int retained_place_set(struct retained_index *index, struct retained_place *place, void *message, bool over_limit)
{
    void *previous = retained_place_message(place);
    int err = 0;

    index->options.ref(message);
    if (previous != NULL)
        RCU_PUBLISH(place->entry->message, message);
    else
        err = place_add(index, place, message, over_limit);
    if (err < 0) {
        index->options.unref(message);
        return err;
    }
    count_add(&index->message_bytes, message_size(index, message));
    if (previous != NULL)
        message_retire(index, previous);
    return 0;
}

void *retained_place_remove(struct retained_index *index, struct retained_place *place)
{
    struct topic_entry *entry = place->entry;
    void *message = retained_place_message(place);

    if (entry == NULL)
        return NULL;
    rcu_table_remove_locked(index->table, place->hash, entry);
    pthread_mutex_lock(&index->list_lock);
    topic_list_remove(&index->list, entry);
    pthread_mutex_unlock(&index->list_lock);
    place->entry = NULL;
    count_sub(&index->count, 1);
    count_sub(&index->entry_bytes, topic_entry_size(entry));
    rcu_retire(entry, free);
    message_retire(index, message);
    return message;
}

int retained_index_set(struct retained_index *index, struct slice topic, void *message, void **out_previous)
{
    struct retained_place place;
    void *previous;
    int err;

    retained_index_lock(index, topic, &place);
    previous = retained_place_message(&place);
    err = retained_place_set(index, &place, message, false);
    retained_index_unlock(index, &place);
    if (err == 0 && out_previous != NULL)
        *out_previous = previous;
    return err;
}

void *retained_index_remove(struct retained_index *index, struct slice topic)
{
    struct retained_place place;
    void *message;

    retained_index_lock(index, topic, &place);
    message = retained_place_remove(index, &place);
    retained_index_unlock(index, &place);
    return message;
}

void *retained_index_get(const struct retained_index *index, struct slice topic)
{
    const struct topic_entry *entry = index_find(index, topic_hash(index, topic), topic);

    return entry == NULL ? NULL : RCU_READ(entry->message);
}

int retained_topic_compare(struct slice left, struct slice right)
{
    struct topic_key key = {right, {NULL, 0}};

    return topic_compare(left, &key);
}

void retained_cursor_fini(struct retained_cursor *cursor)
{
    free(cursor->topic);
    *cursor = (struct retained_cursor){NULL, 0};
}

/* The end of the level that starts at `start`. */
static size_t level_end(struct slice text, size_t start)
{
    const uint8_t *separator = start < text.len ? memchr(text.data + start, '/', text.len - start) : NULL;

    return separator == NULL ? text.len : (size_t)(separator - text.data);
}

static bool level_is(struct slice text, size_t start, size_t end, char wildcard)
{
    return end - start == 1 && text.data[start] == (uint8_t)wildcard;
}

/* The end of the literal levels from `start` on; `start` itself when there is none (then without the separator). */
static size_t literal_end(struct slice filter, size_t start)
{
    size_t end = start == 0 ? 0 : start - 1;

    while (start <= filter.len) {
        size_t stop = level_end(filter, start);

        if (level_is(filter, start, stop, '+') || level_is(filter, start, stop, '#'))
            break;
        end = stop;
        start = stop + 1;
    }
    return end;
}

enum step_kind { STEP_MATCH, STEP_NEXT, STEP_SEEK, STEP_END };

/* What a topic says about the way on. */
struct step {
    enum step_kind kind;
    struct topic_key key; /* of STEP_SEEK: nothing before it can match */
};

/* A topic beside a filter, level by level. */
struct comparison {
    struct slice topic;
    struct slice filter;
    size_t topic_start; /* of the level; beyond the text: no level is left */
    size_t topic_end;
    size_t filter_start;
    size_t filter_end;
    size_t plus_end; /* in the topic: of the last level that a `+` took */
    bool has_plus;
};

/* Past the first `len` bytes of `topic`, which are whole levels, and all that is below them: the byte 0 is the
 * one that comes right after `/` in the list's order. */
static struct step step_past(struct slice topic, size_t len)
{
    return (struct step){STEP_SEEK, {slice_make(topic.data, len), slice_make("\0", 1)}};
}

/* The topic has another level where the filter has a literal one: if it comes before that, on to the filter's level
 * (and the literal ones behind it); else nothing more can match below what the last `+` has taken. */
static struct step step_other_level(const struct comparison *at)
{
    size_t prefix = at->topic_start == 0 ? 0 : at->topic_start - 1;
    size_t suffix = at->filter_start == 0 ? 0 : at->filter_start - 1;
    size_t suffix_end = literal_end(at->filter, at->filter_start);
    struct topic_key key = {slice_make(at->topic.data, prefix),
                            slice_make(at->filter.data + suffix, suffix_end - suffix)};

    if (topic_compare(at->topic, &key) < 0)
        return (struct step){STEP_SEEK, key};
    return at->has_plus ? step_past(at->topic, at->plus_end) : (struct step){.kind = STEP_END};
}

static bool level_equal(const struct comparison *at)
{
    return slice_equal(slice_make(at->topic.data + at->topic_start, at->topic_end - at->topic_start),
                       slice_make(at->filter.data + at->filter_start, at->filter_end - at->filter_start));
}

/* Takes the next level of both. True: `*out_step` is decided. */
static bool comparison_advance(struct comparison *at, struct step *out_step)
{
    at->topic_end = level_end(at->topic, at->topic_start);
    at->filter_end = level_end(at->filter, at->filter_start);
    if (level_is(at->filter, at->filter_start, at->filter_end, '#')) {
        *out_step = (struct step){.kind = STEP_MATCH};
        return true;
    }
    if (at->topic_start > at->topic.len) {
        *out_step = (struct step){.kind = STEP_NEXT}; /* what is below this topic comes next */
        return true;
    }
    if (level_is(at->filter, at->filter_start, at->filter_end, '+')) {
        at->has_plus = true;
        at->plus_end = at->topic_end;
    } else if (!level_equal(at)) {
        *out_step = step_other_level(at);
        return true;
    }
    at->topic_start = at->topic_end + 1;
    at->filter_start = at->filter_end + 1;
    if (at->filter_start <= at->filter.len)
        return false;
    *out_step = at->topic_start > at->topic.len ? (struct step){.kind = STEP_MATCH}
                                                : step_past(at->topic, at->topic_end);
    return true;
}

static struct step step_of(struct slice topic, struct slice filter)
{
    struct comparison at = {.topic = topic, .filter = filter};
    struct step step;

    if (filter.len == 0)
        return (struct step){.kind = STEP_MATCH};
    /* Past all topics that start with `$` [MQTT-4.7.2-1], to the next byte. */
    if (topic.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#'))
        return (struct step){STEP_SEEK, {SLICE_LITERAL("%"), {NULL, 0}}};
    while (!comparison_advance(&at, &step))
        ;
    return step;
}

/* Often it is the next entry, which saves the search. */
static struct topic_entry *entry_seek(const struct retained_index *index, const struct topic_entry *entry,
                                      const struct topic_key *key)
{
    struct topic_entry *next = topic_entry_next(entry);

    if (next == NULL || topic_compare(topic_entry_topic(next), key) >= 0)
        return next;
    return topic_list_seek(&index->list, key);
}

static struct topic_entry *entry_after(const struct retained_index *index, const struct topic_entry *entry,
                                       const struct step *step)
{
    switch (step->kind) {
    case STEP_MATCH:
    case STEP_NEXT: return topic_entry_next(entry);
    case STEP_SEEK: return entry_seek(index, entry, &step->key);
    case STEP_END: break;
    }
    return NULL;
}

/* To go on at `topic`. 0, or -ENOMEM. */
static int cursor_set(struct retained_cursor *cursor, struct slice topic)
{
    uint8_t *copy = malloc(topic.len);

    retained_cursor_fini(cursor);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, topic.data, topic.len);
    *cursor = (struct retained_cursor){copy, topic.len};
    return 0;
}

/* To go on right behind `topic`: the first text that can come there is the topic and a `/`. 0, or -ENOMEM. */
static int cursor_set_behind(struct retained_cursor *cursor, struct slice topic)
{
    uint8_t *copy = malloc(topic.len + 1);

    retained_cursor_fini(cursor);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, topic.data, topic.len);
    copy[topic.len] = '/';
    *cursor = (struct retained_cursor){copy, topic.len + 1};
    return 0;
}

static int match_exact(const struct retained_index *index, struct slice topic,
                       void (*visit)(void *context, struct slice topic, void *message), void *context)
{
    const struct topic_entry *entry = index_find(index, topic_hash(index, topic), topic);

    if (entry != NULL)
        visit(context, topic_entry_topic(entry), RCU_READ(entry->message));
    return 0;
}

static bool is_behind(struct slice topic, const struct slice *last)
{
    return last != NULL && retained_topic_compare(topic, *last) > 0;
}

/* Nothing is left up to `last`. 0: nothing behind it can match; 2; -ENOMEM. */
static int match_at_last(struct slice filter, struct slice last, struct retained_cursor *cursor)
{
    if (step_of(last, filter).kind != STEP_END)
        return cursor_set_behind(cursor, last) < 0 ? -ENOMEM : 2;
    retained_cursor_fini(cursor);
    return 0;
}

int retained_index_match_until(const struct retained_index *index, struct slice filter, const struct slice *last,
                               struct retained_cursor *cursor, uint32_t limit,
                               void (*visit)(void *context, struct slice topic, void *message), void *context)
{
    struct topic_key from = {slice_make(cursor->topic, cursor->len), {NULL, 0}};
    size_t literal_len = filter.len == 0 ? 0 : literal_end(filter, 0);
    struct topic_entry *entry;

    ASSERT(limit > 0);
    if (literal_len > 0 && literal_len == filter.len)
        return match_exact(index, filter, visit, context);
    if (cursor->topic == NULL)
        from.head = slice_make(filter.data, literal_len);
    if (last != NULL && (last->len == 0 || is_behind(from.head, last)))
        return 2;
    entry = topic_list_seek(&index->list, &from);
    for (; entry != NULL && limit > 0 && !is_behind(topic_entry_topic(entry), last); limit--) {
        struct step step = step_of(topic_entry_topic(entry), filter);

        if (step.kind == STEP_MATCH)
            visit(context, topic_entry_topic(entry), RCU_READ(entry->message));
        if (step.kind == STEP_END)
            last = NULL;
        entry = entry_after(index, entry, &step);
    }
    if (last != NULL && (entry == NULL || is_behind(topic_entry_topic(entry), last)))
        return match_at_last(filter, *last, cursor);
    if (entry != NULL)
        return cursor_set(cursor, topic_entry_topic(entry)) < 0 ? -ENOMEM : 1;
    retained_cursor_fini(cursor);
    return 0;
}

int retained_index_match(const struct retained_index *index, struct slice filter, struct retained_cursor *cursor,
                         uint32_t limit, void (*visit)(void *context, struct slice topic, void *message), void *context)
{
    return retained_index_match_until(index, filter, NULL, cursor, limit, visit, context);
}

uint64_t retained_index_count(const struct retained_index *index)
{
    return __atomic_load_n(&index->count, __ATOMIC_RELAXED);
}

uint64_t retained_index_bytes(const struct retained_index *index)
{
    return sizeof(*index) + rcu_table_bytes(index->table) + __atomic_load_n(&index->entry_bytes, __ATOMIC_RELAXED) +
           __atomic_load_n(&index->message_bytes, __ATOMIC_RELAXED);
}
