/*
 * delayed_restore: what the store has, shared out among the workers, at start.
 */
#include "broker/delayed_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "mqtt/message_record.h"

#include <errno.h>
#include <inttypes.h>

struct restore {
    struct broker *broker;
    uint64_t mono_ms;
    uint64_t store_ms;
    uint64_t count;
    uint64_t expired;
    uint64_t damaged;
    int err;
};

static struct message *restore_message(const struct restore *restore, const struct message_record *record,
                                       bool *out_expired)
{
    if (record->payload.len > DELAYED_IN_MEMORY_MAX)
        return NULL; /* it stays in the store; its expiry is looked at when it is due */
    return message_record_restore(record, restore->mono_ms, restore->store_ms, out_expired);
}

/* -ENOMEM. */
static int restore_row(struct restore *restore, struct delayed_key key, const struct message_record *record)
{
    struct delayed *delayed = restore->broker->delayed;
    struct delayed_worker *here = &delayed->workers[key.number % restore->broker->settings.worker_count];
    bool expired = false;
    struct message *message = restore_message(restore, record, &expired);
    struct delayed_entry *entry;

    if (expired) {
        restore->expired++;
        delayed_delete_row(here, key);
        return 0;
    }
    entry = delayed_enqueue(here, key, (uint32_t)record->payload.len);
    if (entry == NULL) {
        message_unref(message);
        return -ENOMEM;
    }
    atomic_fetch_add_explicit(&delayed->count, 1, memory_order_relaxed);
    entry->stored = true;
    entry->kept = message != NULL && delayed_reserve(delayed, message_bytes(message));
    if (entry->kept)
        entry->message = message;
    else
        message_unref(message);
    restore->count++;
    return 0;
}

static bool visit_row(void *context, struct slice key, struct slice value)
{
    struct restore *restore = context;
    struct message_record record;

    if (key.len != DELAYED_KEY_BYTES || message_record_decode(value, &record) < 0) {
        restore->damaged++;
        return true;
    }
    restore->err = restore_row(restore, delayed_decode_key(key.data), &record);
    return restore->err == 0;
}

int delayed_restore(struct broker *broker)
{
    struct store *store = broker->workers[0]->host.store;
    struct restore restore = {.broker = broker, .mono_ms = clock_mono_ms()};
    int err;

    if (store == NULL)
        return 0;
    restore.store_ms = store_time_ms(store, restore.mono_ms);
    err = store_scan(store, STORE_DELAYED, SLICE_LITERAL(""), SLICE_LITERAL(""), visit_row, &restore);
    if (err == 0)
        err = restore.err;
    if (err < 0)
        return err;
    metric_add(METRIC_MESSAGES_EXPIRED, restore.expired);
    metric_add(METRIC_MESSAGES_DELAYED_DROPPED, restore.expired);
    if (restore.damaged > 0)
        log_error("[Delayed] %" PRIu64 " rows of the store's table are no delayed messages; leaving them there",
                  restore.damaged);
    log_info("[Delayed] %" PRIu64 " messages wait, %" PRIu64 " have expired", restore.count, restore.expired);
    for (uint32_t i = 0; i < broker->settings.worker_count; i++)
        delayed_schedule(&broker->delayed->workers[i]);
    return 0;
}
