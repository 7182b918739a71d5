/*
 * retainer: the rules of retained messages over retained_index.h, which holds and finds them.
 */
#include "broker/retainer/retainer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "broker/retainer/retainer_internal.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void ref_message(void *message)
{
    message_ref(message);
}

static void unref_message(void *message)
{
    message_unref(message);
}

static size_t bytes_of_message(const void *message)
{
    return message_bytes(message);
}

struct retainer *retainer_new(const struct retainer_options *options)
{
    struct retainer *retainer = calloc(1, sizeof(*retainer));
    struct retained_options index_options = {
        .ref = ref_message, .unref = unref_message, .message_bytes = bytes_of_message, .count_max = options->count_max};

    if (retainer == NULL)
        return NULL;
    atomic_init(&retainer->payload_max, options->payload_max);
    retainer->payload_in_memory_max = options->payload_in_memory_max;
    atomic_init(&retainer->next_expiry_ms, UINT64_MAX);
    retainer->index = retained_index_new(&index_options);
    if (retainer->index == NULL) {
        free(retainer);
        return NULL;
    }
    pthread_mutex_init(&retainer->sweep_lock, NULL);
    retained_loader_init(&retainer->loader);
    return retainer;
}

void retainer_free(struct retainer *retainer)
{
    if (retainer == NULL)
        return;
    retainer_position_fini(&retainer->sweep_position);
    pthread_mutex_destroy(&retainer->sweep_lock);
    retained_loader_fini(&retainer->loader);
    retained_index_free(retainer->index);
    free(retainer);
}

/* A message without its payload; NULL: short of memory. */
static struct message *stub_new(const struct message *message)
{
    struct message_parts parts = {
        .topic = message_topic(message),
        .now_ms = message->created_ms,
        .expiry_interval_s = message->expiry_interval_s,
        .qos = message->qos,
        .retain = true,
        .has_expiry = message->has_expiry,
    };

    return message_new_from_parts(&parts);
}

/* It is on disk now: its payload leaves memory, unless it is not the topic's message any more. */
static void leave_memory(struct retainer *retainer, struct message *message)
{
    struct message *stub = stub_new(message);
    struct retained_place place;

    if (stub == NULL)
        return;
    retained_index_lock(retainer->index, message_topic(message), &place);
    if (retained_place_message(&place) == message)
        (void)!retained_place_set(retainer->index, &place, stub, true); /* in the place of another: does not fail */
    retained_index_unlock(retainer->index, &place);
    message_unref(stub);
}

/* On the first worker. */
static void on_progress(struct store_client *client, void *context)
{
    struct retainer *retainer = context;
    struct message *message;

    (void)client;
    while ((message = retained_rows_pop_large(&retainer->rows)) != NULL) {
        leave_memory(retainer, message);
        message_unref(message);
    }
}

int retainer_open(struct retainer *retainer, struct store *store, struct worker_pool *pool,
                  void (*on_loaded)(struct worker *worker))
{
    int err;

    if (store == NULL)
        return 0;
    err = retained_rows_open(&retainer->rows, store, worker_pool_get(pool, 0), on_progress, retainer);
    if (err < 0)
        return err;
    for (uint32_t i = 0; i < worker_pool_count(pool); i++)
        retained_desk_init(retainer, worker_pool_get(pool, i));
    retainer->loader.on_loaded = on_loaded;
    err = retained_loader_start(retainer);
    if (err < 0)
        retained_rows_close(&retainer->rows);
    return err;
}

void retainer_close(struct retainer *retainer)
{
    retained_loader_stop(retainer);
    for (uint32_t i = 0; i < WORKER_COUNT_MAX; i++)
        retained_desk_finish(&retainer->desks[i]);
    retained_rows_close(&retainer->rows);
}

/* ---- settings ---- */

void retainer_set_mode(struct retainer *retainer, enum retainer_mode mode)
{
    atomic_store(&retainer->mode, mode);
}

void retainer_change(struct retainer *retainer, const struct retainer_settings *settings)
{
    retained_index_set_count_max(retainer->index, settings->count_max);
    atomic_store(&retainer->payload_max, settings->payload_max);
    /* Who stores a message looks at this after it stands in the index: either it sees the new value, or the sweep sees the message. */
    if (atomic_exchange(&retainer->default_expiry_ms, settings->expiry_ms) != settings->expiry_ms)
        retainer_expect_expiry(retainer, 0);
    retainer_set_mode(retainer, settings->mode);
}

bool retainer_stores(const struct retainer *retainer)
{
    return atomic_load_explicit(&retainer->mode, memory_order_relaxed) == RETAINER_STORES;
}

uint64_t retained_expires_ms(const struct retainer *retainer, const struct message *message)
{
    uint64_t default_ms;
    int64_t at_ms;

    if (message->has_expiry)
        return message_expires_ms(message);
    default_ms = atomic_load(&retainer->default_expiry_ms);
    if (default_ms == 0 || slice_starts_with(message_topic(message), SLICE_LITERAL("$SYS/")))
        return UINT64_MAX;
    at_ms = (int64_t)(message->created_ms + default_ms); /* before the clock's zero: see retainer_restore() */
    return at_ms < 0 ? 0 : (uint64_t)at_ms;
}

bool retainer_expires(const struct retainer *retainer, const struct message *message)
{
    return retained_expires_ms(retainer, message) != UINT64_MAX;
}

static bool is_expired(const struct retainer *retainer, const struct message *message, uint64_t now_ms)
{
    return retained_expires_ms(retainer, message) <= now_ms;
}

/* ---- rows ---- */

void retainer_count_change(int64_t change)
{
    stat_add(STAT_RETAINED, change);
    metric_add(METRIC_MESSAGES_RETAINED, (uint64_t)change);
}

int retained_row_decode(struct slice key, struct slice value, struct message_record *out_record)
{
    int err = message_record_decode(value, out_record);

    if (err < 0)
        return err;
    if (out_record->topic.len != key.len || out_record->payload.len == 0 || key.len == 0)
        return -EBADMSG;
    for (size_t i = 0; i < key.len; i++) {
        if ((key.data[i] == 0 ? '/' : key.data[i]) != out_record->topic.data[i])
            return -EBADMSG;
    }
    return 0;
}

struct message *retainer_restore(const struct retainer *retainer, const struct message_record *record, bool whole,
                                 bool *out_expired)
{
    struct message_record taken = *record;
    uint64_t mono_ms = clock_mono_ms(), store_ms = store_now_ms(retainer->rows.store);
    struct message *message;

    if (!whole && record->payload.len > retainer->payload_in_memory_max) {
        taken.client_id.len = 0;
        taken.properties.len = 0;
        taken.payload.len = 0;
    }
    message = message_record_restore(&taken, mono_ms, store_ms, out_expired);
    if (message == NULL || message->has_expiry)
        return message;
    /* Of these only the settings may say that they expire, from their publishing on; that may be before the clock's zero (and wraps around then). */
    if (store_ms > record->created_ms)
        message->created_ms = mono_ms - (store_ms - record->created_ms);
    *out_expired = is_expired(retainer, message, mono_ms);
    return *out_expired ? message_unref(message) : message;
}

static void refuse(const struct message *message, const char *why)
{
    metric_add(METRIC_MESSAGES_RETAINED_REFUSED, 1);
    log_client_limited(LOG_LEVEL_ERROR, message_client_id(message), NULL,
                       "[Retainer] Cannot retain message(topic=%.*s, payload_size=%u): %s, delivering it only",
                       (int)message->topic_len, (const char *)message->topic, message->payload_len, why);
}

void retainer_expect_expiry(struct retainer *retainer, uint64_t expires_ms)
{
    /* Adding nothing, not reading: a pass that takes the moment back after this sees all that was stored before it. */
    uint64_t next_ms = atomic_fetch_add_explicit(&retainer->next_expiry_ms, 0, memory_order_acq_rel);

    while (expires_ms < next_ms &&
           !atomic_compare_exchange_weak_explicit(&retainer->next_expiry_ms, &next_ms, expires_ms, memory_order_acq_rel,
                                                  memory_order_relaxed))
        ;
}

/* Is there, perhaps, a row of this topic? Its lock is held. */
static bool may_be_stored(const struct retainer *retainer, const struct retained_place *place)
{
    if (retainer->rows.store == NULL)
        return false;
    return (place->entry != NULL && retained_place_mark(place)) || retained_may_be_unloaded(retainer, place->topic);
}

/* Deletes the topic's row, if there is one. 1: it did, 0: there is none, -ENOMEM. Its lock is held. */
static int clear_row(struct retainer *retainer, const struct retained_place *place)
{
    struct slice last;
    int err;

    if (!may_be_stored(retainer, place))
        return 0;
    err = retained_rows_clear(&retainer->rows, place->topic,
                              retained_loading(retainer, &last) && retained_may_be_unloaded(retainer, place->topic));
    return err < 0 ? err : 1;
}

static enum retainer_result clear(struct retainer *retainer, const struct message *message, bool durable)
{
    struct retained_place place;
    bool removed = false;
    int cleared;

    retained_index_lock(retainer->index, message_topic(message), &place);
    cleared = clear_row(retainer, &place);
    if (cleared >= 0)
        removed = retained_place_remove(retainer->index, &place) != NULL;
    retained_index_unlock(retainer->index, &place);
    if (removed)
        retainer_count_change(-1);
    if (cleared < 0) {
        refuse(message, "short of memory");
        return RETAINER_FAILED;
    }
    return cleared > 0 && durable && message->qos > 0 ? RETAINER_WRITTEN : RETAINER_KEPT;
}

/* What is stored of a message that was just taken in. The topic's lock is held. */
static void write_row(struct retainer *retainer, struct retained_place *place, struct message *message, bool durable)
{
    if (durable && message->qos == 0 && store_congested(retainer->rows.store)) {
        /* It may be lost: nobody was promised anything. An older row stays, or memory would be needed for its deletion. */
        metric_add(METRIC_MESSAGES_RETAINED_UNSTORED, 1);
        retained_place_set_mark(place, may_be_stored(retainer, place));
    } else if (durable) {
        retained_rows_put(&retainer->rows, message, message->payload_len > retainer->payload_in_memory_max);
        retained_place_set_mark(place, true);
    } else if (may_be_stored(retainer, place)) {
        (void)!retained_rows_clear(&retainer->rows, place->topic, false); /* remembers nothing: does not fail */
        retained_place_set_mark(place, false);
    }
}

static int keep(struct retainer *retainer, struct message *message, bool durable)
{
    struct retained_place place;
    bool is_new;
    int err;

    retained_index_lock(retainer->index, message_topic(message), &place);
    is_new = retained_place_message(&place) == NULL;
    err = retained_place_set(retainer->index, &place, message, false);
    if (err == 0 && retainer->rows.store != NULL)
        write_row(retainer, &place, message, durable);
    retained_index_unlock(retainer->index, &place);
    if (err == 0 && is_new)
        retainer_count_change(1);
    return err;
}

enum retainer_result retainer_store(struct retainer *retainer, struct message *message, bool durable)
{
    int mode = atomic_load_explicit(&retainer->mode, memory_order_relaxed), err;
    uint64_t payload_max, expires_ms;

    durable = durable && retainer->rows.store != NULL && !message->sys;
    if (message->payload_len == 0)
        return clear(retainer, message, durable);
    if (UNLIKELY(mode != RETAINER_STORES)) {
        if (mode == RETAINER_OFF)
            return RETAINER_KEPT;
        durable = false;
    }
    payload_max = atomic_load_explicit(&retainer->payload_max, memory_order_relaxed);
    if (payload_max > 0 && message->payload_len > payload_max) {
        refuse(message, "the payload is over the limit (retainer.max_payload_size, broker.max_retained_payload)");
        return RETAINER_QUOTA;
    }
    err = keep(retainer, message, durable);
    if (err < 0) {
        refuse(message, err != -ENOSPC ? "short of memory"
                                       : "the limit of retained messages is reached (retainer.max_retained_messages, "
                                         "broker.max_retained_messages)");
        return err == -ENOSPC ? RETAINER_QUOTA : RETAINER_FAILED;
    }
    expires_ms = retained_expires_ms(retainer, message);
    if (expires_ms != UINT64_MAX)
        retainer_expect_expiry(retainer, expires_ms);
    return durable && message->qos > 0 ? RETAINER_WRITTEN : RETAINER_KEPT;
}

bool retainer_submit(struct retainer *retainer, bool sync)
{
    return retained_rows_submit(&retainer->rows, sync);
}

struct match {
    struct retainer *retainer;
    uint64_t now_ms;
    uint64_t next_expiry_ms; /* of those that a sweep has left */
    void (*visit)(void *context, struct message *message);
    void *context;
};

/* Takes the topic's message out, if it is still `only` (NULL: whichever it is). 1: it did; 0; -ENOMEM. */
static int take_out(struct retainer *retainer, struct slice topic, const struct message *only)
{
    struct retained_place place;
    int removed = 0;

    retained_index_lock(retainer->index, topic, &place);
    if (only == NULL || retained_place_message(&place) == only) {
        removed = clear_row(retainer, &place);
        if (removed >= 0)
            removed = retained_place_remove(retainer->index, &place) != NULL;
    }
    retained_index_unlock(retainer->index, &place);
    if (removed > 0)
        retainer_count_change(-1);
    return removed;
}

static void drop_expired(struct retainer *retainer, struct slice topic, const struct message *message)
{
    if (take_out(retainer, topic, message) > 0) /* else another one took its place, or it goes when it is met again */
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
}

static void visit_live(void *context, struct slice topic, void *found)
{
    struct match *match = context;
    struct message *message = found;

    if (!is_expired(match->retainer, message, match->now_ms)) {
        match->visit(match->context, message);
        return;
    }
    drop_expired(match->retainer, topic, message);
}

void retainer_position_fini(struct retainer_position *position)
{
    retained_cursor_fini(&position->cursor);
}

/* An exact filter beyond what is loaded: if it is not in memory it may be on disk. */
static int visit_unloaded(struct match *match, struct slice topic)
{
    struct message *stub;

    if (retained_rows_was_cleared(&match->retainer->rows, topic))
        return 0;
    stub = message_new_from_parts(&(struct message_parts){.topic = topic, .now_ms = match->now_ms, .retain = true});
    if (stub == NULL)
        return -ENOMEM;
    match->visit(match->context, stub);
    message_unref(stub);
    return 0;
}

/* While messages are being loaded. What is said of a topic's place in the loading must hold before the index is asked. */
static int match_while_loading(struct match *match, struct slice filter, struct slice last,
                               struct retainer_position *position, uint32_t limit)
{
    const struct retained_index *index = match->retainer->index;
    bool unloaded;

    if (mqtt_filter_has_wildcard(filter))
        return retained_index_match_until(index, filter, &last, &position->cursor, limit, visit_live, match);
    unloaded = retained_may_be_unloaded(match->retainer, filter);
    if (unloaded && retained_index_get(index, filter) == NULL)
        return visit_unloaded(match, filter);
    return retained_index_match(index, filter, &position->cursor, limit, visit_live, match);
}

int retainer_match_slice(struct retainer *retainer, struct slice filter, struct retainer_position *position,
                         uint32_t limit, uint64_t now_ms, void (*visit)(void *context, struct message *message),
                         void *context)
{
    struct match match = {.retainer = retainer, .now_ms = now_ms, .visit = visit, .context = context};
    struct slice last;

    if (UNLIKELY(atomic_load_explicit(&retainer->mode, memory_order_relaxed) == RETAINER_OFF)) {
        retainer_position_fini(position);
        return 0;
    }
    if (UNLIKELY(retained_loading(retainer, &last)))
        return match_while_loading(&match, filter, last, position, limit);
    return retained_index_match(retainer->index, filter, &position->cursor, limit, visit_live, &match);
}

/* ---- for administrators ---- */

bool retainer_is_loading(const struct retainer *retainer)
{
    struct slice last;

    return retained_loading(retainer, &last);
}

int retainer_visit_slice(struct retainer *retainer, struct slice filter, struct retainer_position *position,
                         uint32_t limit, uint64_t now_ms, void (*visit)(void *context, struct message *message),
                         void *context)
{
    struct match match = {.retainer = retainer, .now_ms = now_ms, .visit = visit, .context = context};

    return retained_index_match(retainer->index, filter, &position->cursor, limit, visit_live, &match);
}

struct cleaning {
    struct retainer *retainer;
    uint64_t count;
    int err;
};

static void clean_one(void *context, struct message *message)
{
    struct cleaning *cleaning = context;
    int removed = take_out(cleaning->retainer, message_topic(message),
                           NULL); /* perhaps another one meanwhile, or its stub */

    if (removed < 0)
        cleaning->err = removed;
    else
        cleaning->count += (uint32_t)removed;
}

int retainer_clean_slice(struct retainer *retainer, struct slice filter, struct retainer_position *position,
                         uint32_t limit, uint64_t now_ms, uint64_t *count)
{
    struct cleaning cleaning = {.retainer = retainer};
    int more = retainer_visit_slice(retainer, filter, position, limit, now_ms, clean_one, &cleaning);

    *count += cleaning.count;
    if (cleaning.err == 0)
        return more;
    retainer_position_fini(position);
    return cleaning.err;
}

/* ---- expiry ---- */

uint64_t retainer_next_expiry_ms(const struct retainer *retainer)
{
    return atomic_load_explicit(&retainer->next_expiry_ms, memory_order_acquire);
}

static void visit_sweep(void *context, struct slice topic, void *found)
{
    struct match *match = context;
    uint64_t expires_ms = retained_expires_ms(match->retainer, found);

    if (expires_ms <= match->now_ms)
        drop_expired(match->retainer, topic, found);
    else if (expires_ms < match->next_expiry_ms)
        match->next_expiry_ms = expires_ms;
}

/* The lock is held. */
static bool sweep_slice(struct retainer *retainer, uint32_t limit, uint64_t now_ms)
{
    const struct slice every_topic = {NULL, 0};
    struct match match = {.retainer = retainer, .now_ms = now_ms, .next_expiry_ms = UINT64_MAX};
    int more;

    if (!retainer->sweep_begun) {
        if (retainer_next_expiry_ms(retainer) > now_ms)
            return false;
        /* Taken back before the first topic is looked at: what is stored from now on says itself when it expires. */
        atomic_exchange_explicit(&retainer->next_expiry_ms, UINT64_MAX, memory_order_acq_rel);
        retainer->sweep_begun = true;
    }
    more = retained_index_match(retainer->index, every_topic, &retainer->sweep_position.cursor, limit, visit_sweep,
                                &match);
    retainer->sweep_begun = more > 0;
    if (more < 0)
        match.next_expiry_ms = now_ms; /* no memory to go on from here: from the beginning then */
    retainer_expect_expiry(retainer, match.next_expiry_ms);
    return more != 0;
}

bool retainer_sweep(struct retainer *retainer, uint32_t limit, uint64_t now_ms)
{
    bool more;

    if (pthread_mutex_trylock(&retainer->sweep_lock) != 0)
        return true;
    more = sweep_slice(retainer, limit, now_ms);
    pthread_mutex_unlock(&retainer->sweep_lock);
    return more;
}

bool retainer_is_empty(const struct retainer *retainer)
{
    struct slice last;

    if (UNLIKELY(atomic_load_explicit(&retainer->mode, memory_order_relaxed) == RETAINER_OFF))
        return true;
    /* First: what was being loaded is counted afterwards. */
    return !retained_loading(retainer, &last) && retained_index_count(retainer->index) == 0;
}

uint64_t retainer_count(const struct retainer *retainer)
{
    return retained_index_count(retainer->index);
}
