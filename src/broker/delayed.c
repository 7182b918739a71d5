/*
 * delayed: taking messages in, listing and deleting what waits. What happens when they are due: delayed_due.c.
 */
#include "broker/delayed_internal.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "mqtt/message_record.h"

#include <errno.h>
#include <stdlib.h>

int delayed_new(struct broker *broker, const struct delayed_settings *settings)
{
    uint32_t count = broker->settings.worker_count;
    struct delayed *delayed = calloc(1, sizeof(*delayed) + count * sizeof(delayed->workers[0]));

    if (delayed == NULL)
        return -ENOMEM;
    delayed->broker = broker;
    delayed->settings = *settings;
    atomic_init(&delayed->off, settings->off);
    for (uint32_t i = 0; i < count; i++) {
        struct delayed_worker *here = &delayed->workers[i];
        here->worker = broker->workers[i];
        here->fresh_tail = &here->fresh;
        delayed_due_init(here);
    }
    broker->delayed = delayed;
    return 0;
}

bool delayed_is_on(const struct delayed *delayed)
{
    return !atomic_load_explicit(&delayed->off, memory_order_relaxed);
}

static void on_switched(struct worker *worker, struct post *post)
{
    struct delayed_worker *here = CONTAINER_OF(post, struct delayed_worker, switched);

    (void)worker;
    atomic_store(&here->switch_posted, false);
    delayed_schedule(here);
}

void delayed_switch(struct delayed *delayed, bool on)
{
    atomic_store(&delayed->off, !on);
    for (uint32_t i = 0; i < delayed->broker->settings.worker_count; i++) {
        struct delayed_worker *here = &delayed->workers[i];
        if (atomic_exchange(&here->switch_posted, true))
            continue; /* it looks after this */
        here->switched.run = on_switched;
        worker_post(here->worker->host.worker, &here->switched);
    }
}

void delayed_stop(struct delayed *delayed)
{
    atomic_store_explicit(&delayed->stopping, true, memory_order_relaxed);
}

void delayed_free(struct delayed *delayed)
{
    if (delayed == NULL)
        return;
    delayed_stop(delayed);
    for (uint32_t i = 0; i < delayed->broker->settings.worker_count; i++) {
        struct delayed_worker *here = &delayed->workers[i];
        delayed_due_fini(here);
        while (here->queue.root != NULL)
            message_unref(delayed_dequeue(here, here->queue.root));
        while (here->fresh != NULL) {
            struct delayed_fresh *fresh = here->fresh;
            here->fresh = fresh->next;
            free(fresh);
        }
    }
    delayed->broker->delayed = NULL;
    free(delayed);
}

/* ---- what all of it uses ---- */

uint64_t delayed_time_ms(const struct broker_worker *worker, uint64_t mono_ms)
{
    return worker->host.store == NULL ? mono_ms : store_time_ms(worker->host.store, mono_ms);
}

uint64_t delayed_now_ms(const struct broker *broker)
{
    return delayed_time_ms(broker->workers[0], clock_mono_ms());
}

void delayed_encode_key(struct delayed_key key, uint8_t out[DELAYED_KEY_BYTES])
{
    bytes_put_big(out, key.due_ms, 8);
    bytes_put_big(out + 8, key.number, 8);
}

struct delayed_key delayed_decode_key(const uint8_t *key)
{
    return (struct delayed_key){.due_ms = bytes_get_big(key, 8), .number = bytes_get_big(key + 8, 8)};
}

bool delayed_reserve(struct delayed *delayed, uint64_t bytes)
{
    uint64_t before = atomic_fetch_add_explicit(&delayed->memory_bytes, bytes, memory_order_relaxed);

    if (before + bytes <= delayed->settings.memory_max)
        return true;
    atomic_fetch_sub_explicit(&delayed->memory_bytes, bytes, memory_order_relaxed);
    return false;
}

struct delayed_entry *delayed_enqueue(struct delayed_worker *here, struct delayed_key key, uint32_t payload_len)
{
    struct delayed_entry *entry = calloc(1, sizeof(*entry));

    if (entry == NULL)
        return NULL;
    entry->key = key;
    entry->payload_len = payload_len;
    delayed_queue_insert(&here->queue, entry);
    stat_add(STAT_DELAYED, 1);
    return entry;
}

struct message *delayed_dequeue(struct delayed_worker *here, struct delayed_entry *entry)
{
    struct delayed *delayed = here->worker->broker->delayed;
    struct message *message = entry->message;

    if (entry->kept)
        atomic_fetch_sub_explicit(&delayed->memory_bytes, message_bytes(message), memory_order_relaxed);
    atomic_fetch_sub_explicit(&delayed->count, 1, memory_order_relaxed);
    stat_add(STAT_DELAYED, -1);
    delayed_queue_remove(&here->queue, entry->key);
    free(entry);
    return message;
}

void delayed_delete_row(struct delayed_worker *here, struct delayed_key key)
{
    uint8_t bytes[DELAYED_KEY_BYTES];

    delayed_encode_key(key, bytes);
    store_delete(here->worker->host.client, STORE_DELAYED, slice_make(bytes, sizeof(bytes)));
}

/* ---- taking in ---- */

/* Counts one more message; false: the limit is reached. */
static bool count_one(struct delayed *delayed)
{
    uint64_t limit = delayed->settings.max_messages;

    if (atomic_fetch_add_explicit(&delayed->count, 1, memory_order_relaxed) < limit || limit == 0)
        return true;
    atomic_fetch_sub_explicit(&delayed->count, 1, memory_order_relaxed);
    return false;
}

static uint64_t next_number(struct delayed *delayed, struct store *store)
{
    if (store != NULL)
        return store_next_number(store);
    return atomic_fetch_add_explicit(&delayed->last_number, 1, memory_order_relaxed) + 1;
}

static void write_row(struct delayed_worker *here, struct delayed_key key, const struct message *message)
{
    uint8_t head[MESSAGE_RECORD_HEAD], bytes[DELAYED_KEY_BYTES];
    struct slice parts[MESSAGE_RECORD_PARTS];

    delayed_encode_key(key, bytes);
    message_record_encode(message, delayed_time_ms(here->worker, message->created_ms), head, parts);
    store_put(here->worker->host.client, STORE_DELAYED, slice_make(bytes, sizeof(bytes)), parts, MESSAGE_RECORD_PARTS);
}

void delayed_on_committed(struct broker_worker *worker)
{
    struct delayed_worker *here = delayed_worker_of(worker);
    uint64_t committed = here->fresh == NULL ? 0 : store_committed(worker->host.client);

    while (here->fresh != NULL && here->fresh->batch <= committed) {
        struct delayed_fresh *fresh = here->fresh;
        struct delayed_entry *entry = delayed_queue_find(&here->queue, fresh->key);
        if (entry != NULL) /* else it was due, or deleted, before it was on disk */
            entry->message = message_unref(entry->message);
        here->fresh = fresh->next;
        if (here->fresh == NULL)
            here->fresh_tail = &here->fresh;
        free(fresh);
    }
}

/* The message of a new entry stays in memory only until its row is written. */
static int keep_until_written(struct delayed_worker *here, struct delayed_key key)
{
    struct delayed_fresh *fresh = malloc(sizeof(*fresh));

    if (fresh == NULL)
        return -ENOMEM;
    *fresh = (struct delayed_fresh){.key = key, .batch = store_open_number(here->worker->host.client)};
    *here->fresh_tail = fresh;
    here->fresh_tail = &fresh->next;
    return 0;
}

static int check_limits(struct delayed *delayed, const struct message *message)
{
    uint64_t max_payload = delayed->settings.max_payload;

    if (max_payload > 0 && message->payload_len > max_payload)
        return -ENOSPC;
    return count_one(delayed) ? 0 : -ENOSPC;
}

/* Counted by check_limits(). The entry has a reference of its own. */
static int insert(struct delayed_worker *here, struct message *message, struct delayed_key key, bool stored)
{
    struct delayed *delayed = here->worker->broker->delayed;
    bool small = !stored || message->payload_len <= DELAYED_IN_MEMORY_MAX;
    bool kept = small && delayed_reserve(delayed, message_bytes(message));
    struct delayed_entry *entry;
    int err = 0;

    if (!kept)
        err = stored ? keep_until_written(here, key) : -ENOSPC;
    entry = err < 0 ? NULL : delayed_enqueue(here, key, message->payload_len);
    if (entry != NULL) {
        entry->message = message_ref(message);
        entry->stored = stored;
        entry->kept = kept;
        return 0;
    }
    if (kept)
        atomic_fetch_sub_explicit(&delayed->memory_bytes, message_bytes(message), memory_order_relaxed);
    atomic_fetch_sub_explicit(&delayed->count, 1, memory_order_relaxed);
    return err < 0 ? err : -ENOMEM;
}

static int add(struct delayed_worker *here, struct message *message, uint64_t delay_ms, bool stored)
{
    struct delayed *delayed = here->worker->broker->delayed;
    uint64_t mono_ms = worker_now_ms(here->worker->host.worker);
    struct delayed_key key = {.due_ms = delayed_time_ms(here->worker, mono_ms) + delay_ms};
    int err = check_limits(delayed, message);

    if (err < 0)
        return err;
    key.number = next_number(delayed, here->worker->host.store);
    delayed_on_committed(here->worker);
    err = insert(here, message, key, stored);
    if (err < 0)
        return err;
    if (stored)
        write_row(here, key, message);
    if (delayed_queue_next(&here->queue, (struct delayed_key){0, 0})->key.number == key.number)
        delayed_schedule(here);
    return 0;
}

int delayed_add_take(struct broker_worker *worker, struct message *message, uint64_t delay_ms, bool stored)
{
    int err = add(delayed_worker_of(worker), message, delay_ms, stored && worker->host.store != NULL);

    message_unref(message);
    metric_add(err < 0 ? METRIC_MESSAGES_DELAYED_DROPPED : METRIC_MESSAGES_DELAYED, 1);
    return err;
}

void delayed_add_whole(struct broker_worker *worker, const struct message *message)
{
    struct message_parts parts = {
        .client_id = message_client_id(message),
        .properties = slice_make(message->properties, message->properties_len),
        .payload = message_payload(message),
        .now_ms = message->created_ms,
        .expiry_interval_s = message->expiry_interval_s,
        .qos = message->qos,
        .retain = message->retain,
        .has_expiry = message->has_expiry,
    };
    struct message *inner = NULL;
    uint64_t delay_ms = 0;

    if (delayed_parse(message_topic(message), clock_wall_ms(), &delay_ms, &parts.topic) == DELAYED_FINE)
        inner = message_new_from_parts(&parts);
    if (inner == NULL)
        metric_add(METRIC_MESSAGES_DELAYED_DROPPED, 1);
    else if (delayed_add_take(worker, inner, delay_ms, broker_store_problem(worker->broker) == REASON_SUCCESS) < 0)
        log_client_limited(LOG_LEVEL_WARNING, message_client_id(message), NULL,
                           "[Delayed] no room for a message to %.*s, dropping it", SLICE_ARG(message_topic(message)));
}

/* ---- questions ---- */

bool delayed_visit(struct broker_worker *worker, struct delayed_key *cursor, uint32_t limit, delayed_visit_fn *visit,
                   void *context)
{
    const struct delayed_queue *queue = &delayed_worker_of(worker)->queue;

    for (uint32_t i = 0; i < limit; i++) {
        const struct delayed_entry *entry = delayed_queue_next(queue, *cursor);
        if (entry == NULL)
            return false;
        *cursor = entry->key;
        visit(context, entry);
    }
    return delayed_queue_next(queue, *cursor) != NULL;
}

int delayed_delete(struct broker_worker *worker, uint64_t number, struct delayed_key *cursor, uint32_t limit)
{
    struct delayed_worker *here = delayed_worker_of(worker);

    for (uint32_t i = 0; i < limit; i++) {
        struct delayed_entry *entry = delayed_queue_next(&here->queue, *cursor);
        if (entry == NULL)
            return 0;
        *cursor = entry->key;
        if (entry->key.number != number)
            continue;
        if (entry->stored)
            delayed_delete_row(here, entry->key);
        message_unref(delayed_dequeue(here, entry));
        metric_add(METRIC_MESSAGES_DELAYED_DROPPED, 1);
        return 1;
    }
    return -EAGAIN;
}

int delayed_read_record(struct store *store, struct delayed_key key, struct slice *out_record)
{
    uint8_t bytes[DELAYED_KEY_BYTES];

    delayed_encode_key(key, bytes);
    return store_get(store, STORE_DELAYED, slice_make(bytes, sizeof(bytes)), out_record);
}

struct delayed_figures delayed_figures(const struct delayed *delayed)
{
    return (struct delayed_figures){
        .settings = delayed->settings,
        .count = atomic_load_explicit(&delayed->count, memory_order_relaxed),
        .memory_bytes = atomic_load_explicit(&delayed->memory_bytes, memory_order_relaxed),
    };
}
