/*
 * retainer: the rules of retained messages over retained_index.h, which holds and finds them.
 */
#include "broker/retainer/retainer.h"

#include "base/log.h"
#include "base/metrics.h"
#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

struct retainer {
    struct retained_index *index;
    uint64_t payload_max;
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
    retainer->index = retained_index_new(&options);
    if (retainer->index == NULL) {
        free(retainer);
        return NULL;
    }
    return retainer;
}

void retainer_free(struct retainer *retainer)
{
    if (retainer == NULL)
        return;
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
}

struct match {
    struct retainer *retainer;
    uint64_t now_ms;
    void (*visit)(void *context, struct message *message);
    void *context;
};

static void visit_live(void *context, struct slice topic, void *found)
{
    struct match *match = context;
    struct message *message = found;

    if (!message_expired(message, match->now_ms)) {
        match->visit(match->context, message);
        return;
    }
    if (retained_index_remove_if(match->retainer->index, topic, message)) {
        count_change(-1);
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
    }
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

uint64_t retainer_count(const struct retainer *retainer)
{
    return retained_index_count(retainer->index);
}
