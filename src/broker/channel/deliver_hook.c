/*
 * deliver_hook: see deliver_hook.h.
 */
#include "broker/channel/deliver_hook.h"

#include "base/log.h"
#include "broker/channel/access.h"
#include "hook/hook.h"
#include "hook/hook_memory.h"
#include "hook/message_event.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

static bool same_bytes(struct slice left, struct slice right)
{
    return left.data == right.data && left.len == right.len;
}

/* A mistake of the callback, which must not cost the client its message nor fill the log. */
static void report(const struct connection *connection)
{
    connection_log_limited(connection, LOG_LEVEL_ERROR,
                           "message.deliver gave a message a topic or payload that cannot be, sending it unchanged");
}

/* `event->message` in the place of `publish->message`. False: memory is short. */
static bool change(const struct connection *connection, const struct hook_deliver *event,
                   struct session_publish *publish)
{
    const struct message *message = publish->message;
    struct message_parts parts = {
        .client_id = message_client_id(message),
        .topic = event->message.topic,
        .properties = slice_make(message->properties, message->properties_len),
        .payload = event->message.payload,
        .now_ms = message->created_ms,
        .expiry_interval_s = message->expiry_interval_s,
        .qos = message->qos,
        .retain = message->retain,
        .has_expiry = message->has_expiry,
    };
    struct message *changed;

    if (!mqtt_topic_valid(parts.topic) || parts.payload.len > MQTT_REMAINING_LENGTH_MAX) {
        report(connection);
        return true;
    }
    changed = message_new_from_parts(&parts);
    if (changed == NULL)
        return false;
    changed->sys = message->sys;
    publish->message = changed;
    return true;
}

bool channel_run_deliver(const struct connection *connection, struct session_publish *publish)
{
    const struct message *message = publish->message;
    struct client_info client;
    struct hook_deliver event = {.client = &client, .dup = publish->dup};
    bool done = true;

    channel_client_info(connection, connection_client_id(connection), &client);
    event.message = hook_message_of(message, connection_now(connection));
    event.message.qos = publish->qos;
    event.message.retain = publish->retain;
    (void)hook_call(HOOK_MESSAGE_DELIVER, &event);
    if (!same_bytes(event.message.topic, message_topic(message)) ||
        !same_bytes(event.message.payload, message_payload(message)))
        done = change(connection, &event, publish);
    hook_memory_free(&event.memory);
    return done;
}
