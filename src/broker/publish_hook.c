/*
 * publish_hook: message.publish. A message is immutable: when a callback has changed it, another one takes its place.
 */
#include "broker/broker.h"

#include "base/log.h"
#include "base/metrics.h"
#include "hook/events.h"
#include "hook/hook.h"
#include "hook/hook_memory.h"
#include "mqtt/decode.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <errno.h>

/* Bytes of payload that any packet has room for beside its topic and properties. */
#define PAYLOAD_MAX (MQTT_REMAINING_LENGTH_MAX - 65535u - 65536u)

static bool is_changed(const struct hook_publish *event, const struct message *message)
{
    return event->topic.data != message->topic || event->topic.len != message->topic_len ||
           event->payload.data != message->payload || event->payload.len != message->payload_len ||
           event->retain != message->retain;
}

/* `message` as `event` says. -ENOMEM; -ECANCELED: a callback made no message of it, which is its mistake. */
static int change(const struct message *message, const struct hook_publish *event, struct message **out_message)
{
    static struct log_limit limit = LOG_LIMIT_INIT(LOG_LIMIT_PER_SECOND);
    struct message_parts parts = {
        .client_id = event->client_id,
        .topic = event->topic,
        .properties = slice_make(message->properties, message->properties_len),
        .payload = event->payload,
        .now_ms = message->created_ms,
        .expiry_interval_s = message->expiry_interval_s,
        .qos = message->qos,
        .retain = event->retain,
        .has_expiry = message->has_expiry,
    };

    if (!mqtt_topic_valid(event->topic) || event->payload.len > PAYLOAD_MAX) {
        if (log_enabled(LOG_LEVEL_ERROR) && log_limit_pass(&limit))
            log_write_line(
                LOG_LEVEL_ERROR,
                "[Hooks] message.publish gave a message of %.*s a topic or payload that cannot be, dropping it",
                SLICE_ARG(event->client_id));
        return -ECANCELED;
    }
    *out_message = message_new_from_parts(&parts);
    if (*out_message == NULL)
        return -ENOMEM;
    (*out_message)->sys = message->sys;
    return 0;
}

void broker_tell_publish(const struct client_info *client, const struct message *message,
                         struct hook_publish *out_event)
{
    *out_event = (struct hook_publish){
        .client = client,
        .client_id = message_client_id(message),
        .topic = message_topic(message),
        .payload = message_payload(message),
        .qos = message->qos,
        .retain = message->retain,
        .is_allowed = true,
    };
}

int broker_take_publish(struct hook_publish *event, struct message **message)
{
    struct message *original = *message;
    bool changed = is_changed(event, original);
    int err = !event->is_allowed ? -ECANCELED : changed ? change(original, event, message) : 0;

    hook_memory_free(&event->memory);
    if (err < 0)
        *message = NULL;
    if (err < 0 || changed)
        message_unref(original);
    return err;
}

bool broker_publish_own_take(struct broker_worker *worker, struct message *message)
{
    if (UNLIKELY(hook_any(HOOK_MESSAGE_PUBLISH))) {
        struct hook_publish event;
        broker_tell_publish(NULL, message, &event);
        (void)hook_call(HOOK_MESSAGE_PUBLISH, &event);
        int err = broker_take_publish(&event, &message);
        if (err == -ENOMEM)
            metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        if (err < 0)
            return false;
    }
    return broker_publish_take(worker, message);
}
