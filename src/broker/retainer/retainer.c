/*
 * retainer: the rules of retained messages over retained_index.h, which holds and finds them.
 */
#include "broker/retainer/retainer.h"

#include "base/log.h"
#include "base/metrics.h"
#include "mqtt/message.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct retainer {
    struct retained_index *index;
    uint64_t payload_max;
    _Atomic uint64_t next_expiry_ms; /* none expires earlier but those that the pass under way has yet to meet */
    pthread_mutex_t sweep_lock;      /* of the two below; only ever tried */
    struct retainer_position sweep_position;
    bool sweep_begun;
};

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

struct retainer *retainer_new(uint64_t count_max, uint64_t payload_max)
{
    struct retainer *retainer = calloc(1, sizeof(*retainer));
    struct retained_options options = {
        .ref = ref_message, .unref = unref_message, .message_bytes = bytes_of_message, .count_max = count_max};

    if (retainer == NULL)
        return NULL;
    retainer->payload_max = payload_max;
    atomic_init(&retainer->next_expiry_ms, UINT64_MAX);
    retainer->index = retained_index_new(&options);
    if (retainer->index == NULL) {
        free(retainer);
        return NULL;
    }
    pthread_mutex_init(&retainer->sweep_lock, NULL);
    return retainer;
}

void retainer_free(struct retainer *retainer)
{
    if (retainer == NULL)
        return;
    retainer_position_fini(&retainer->sweep_position);
    pthread_mutex_destroy(&retainer->sweep_lock);
    retained_index_free(retainer->index);
    free(retainer);
}

static void count_change(int64_t change)
{
    stat_add(STAT_RETAINED, change);
    metric_add(METRIC_MESSAGES_RETAINED, (uint64_t)change);
}

static void refuse(const struct message *message, const char *why)
{
    log_client_limited(LOG_LEVEL_ERROR, message_client_id(message), NULL,
                       "[Retainer] Cannot retain message(topic=%.*s, payload_size=%u): %s, delivering it only",
                       (int)message->topic_len, (const char *)message->topic, message->payload_len, why);
}

/* Makes sure that a pass begins at `expires_ms` or before. */
static void expect_expiry(struct retainer *retainer, uint64_t expires_ms)
{
    /* Adding nothing, not reading: a pass that takes the moment back after this sees all that was stored before it. */
    uint64_t next_ms = atomic_fetch_add_explicit(&retainer->next_expiry_ms, 0, memory_order_acq_rel);

    while (expires_ms < next_ms &&
           !atomic_compare_exchange_weak_explicit(&retainer->next_expiry_ms, &next_ms, expires_ms, memory_order_acq_rel,
                                                  memory_order_relaxed))
        ;
}

void retainer_store(struct retainer *retainer, struct message *message)
{
    void *previous = NULL;
    int err;

    if (message->payload_len == 0) {
        if (retained_index_remove(retainer->index, message_topic(message)) != NULL)
            count_change(-1);
        return;
    }
    if (retainer->payload_max > 0 && message->payload_len > retainer->payload_max) {
        refuse(message, "the payload is over broker.max_retained_payload");
        return;
    }
    err = retained_index_set(retainer->index, message_topic(message), message, &previous);
    if (err == -ENOSPC)
        refuse(message, "broker.max_retained_messages is reached");
    else if (err < 0)
        refuse(message, "short of memory");
    else if (previous == NULL)
        count_change(1);
    if (err == 0 && message->has_expiry)
        expect_expiry(retainer, message_expires_ms(message));
}

struct match {
    struct retainer *retainer;
    uint64_t now_ms;
    uint64_t next_expiry_ms; /* of those that a sweep has left */
    void (*visit)(void *context, struct message *message);
    void *context;
};

static void drop_expired(struct retainer *retainer, struct slice topic, const struct message *message)
{
    if (!retained_index_remove_if(retainer->index, topic, message))
        return;
    count_change(-1);
    metric_add(METRIC_MESSAGES_EXPIRED, 1);
}

static void visit_live(void *context, struct slice topic, void *found)
{
    struct match *match = context;
    struct message *message = found;

    if (!message_expired(message, match->now_ms)) {
        match->visit(match->context, message);
        return;
    }
    drop_expired(match->retainer, topic, message);
}

void retainer_position_fini(struct retainer_position *position)
{
    retained_cursor_fini(&position->cursor);
}

int retainer_match_slice(struct retainer *retainer, struct slice filter, struct retainer_position *position,
                         uint32_t limit, uint64_t now_ms, void (*visit)(void *context, struct message *message),
                         void *context)
{
    struct match match = {.retainer = retainer, .now_ms = now_ms, .visit = visit, .context = context};

    return retained_index_match(retainer->index, filter, &position->cursor, limit, visit_live, &match);
}

uint64_t retainer_next_expiry_ms(const struct retainer *retainer)
{
    return atomic_load_explicit(&retainer->next_expiry_ms, memory_order_acquire);
}

static void visit_sweep(void *context, struct slice topic, void *found)
{
    struct match *match = context;
    uint64_t expires_ms = message_expires_ms(found);

    if (message_expired(found, match->now_ms))
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
    expect_expiry(retainer, match.next_expiry_ms);
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

uint64_t retainer_count(const struct retainer *retainer)
{
    return retained_index_count(retainer->index);
}
