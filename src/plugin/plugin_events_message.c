/*
 * plugin_events_message: events of messages, of TLS handshakes and of enhanced authentication for plugins.
 */
#include "plugin/plugin_events_internal.h"

_Static_assert(EMQC_PSK_KEY_MAX == HOOK_PSK_KEY_MAX && EMQC_ENHANCED_STATE_BYTES == ENHANCED_STATE_BYTES,
               "sizes are the same on both sides");
_Static_assert(EMQC_ENHANCED_START == (int)ENHANCED_START && EMQC_ENHANCED_CONTINUE == (int)ENHANCED_CONTINUE &&
                   EMQC_ENHANCED_AGAIN == (int)ENHANCED_AGAIN && EMQC_ENHANCED_ENDED == (int)ENHANCED_ENDED,
               "steps have the same numbers");

static const struct emqc_message_info *message_info(struct emqc_message_info *out, const struct hook_message *message)
{
    *out = (struct emqc_message_info){
        .size = sizeof(*out),
        .client_id = plugin_slice(message->client_id),
        .topic = plugin_slice(message->topic),
        .payload = plugin_slice(message->payload),
        .published_at_ms = message->published_at_ms,
        .qos = message->qos,
        .retain = message->retain,
    };
    return out;
}

enum hook_verdict plugin_on_publish(const struct plugin_call *call, void *data)
{
    struct hook_publish *from = data;
    struct plugin_place place = {from, &from->memory, HOOK_MESSAGE_PUBLISH};
    struct emqc_client client;
    struct emqc_publish event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .client_id = plugin_slice(from->client_id),
        .topic = plugin_slice(from->topic),
        .payload = plugin_slice(from->payload),
        .retain = from->retain,
        .qos = from->qos,
        .is_allowed = from->is_allowed,
    };
    enum hook_verdict verdict = plugin_call_with(call, &event.event);

    from->topic = plugin_slice_in(event.topic);
    from->payload = plugin_slice_in(event.payload);
    from->retain = event.retain;
    from->is_allowed = event.is_allowed;
    return verdict;
}

enum hook_verdict plugin_on_deliver(const struct plugin_call *call, void *data)
{
    struct hook_deliver *from = data;
    struct plugin_place place = {from, &from->memory, HOOK_MESSAGE_DELIVER};
    struct emqc_client client;
    struct emqc_message_info message;
    struct emqc_deliver event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .message = message_info(&message, &from->message),
        .topic = plugin_slice(from->message.topic),
        .payload = plugin_slice(from->message.payload),
        .dup = from->dup,
    };
    enum hook_verdict verdict = plugin_call_with(call, &event.event);

    from->message.topic = plugin_slice_in(event.topic);
    from->message.payload = plugin_slice_in(event.payload);
    return verdict;
}

enum hook_verdict plugin_on_acked(const struct plugin_call *call, void *data)
{
    const struct hook_acked *from = data;
    struct plugin_place place = {data, NULL, HOOK_MESSAGE_ACKED};
    struct emqc_client client;
    struct emqc_message_info message;
    struct emqc_acked event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .message = message_info(&message, &from->message),
        .code = (int)from->code,
    };

    return plugin_call_with(call, &event.event);
}

enum hook_verdict plugin_on_dropped(const struct plugin_call *call, void *data)
{
    const struct hook_dropped *from = data;
    struct plugin_place place = {data, NULL, HOOK_MESSAGE_DROPPED};
    struct emqc_message_info message;
    struct emqc_dropped event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client_id = plugin_slice(from->client_id),
        .user_name = plugin_slice(from->user_name),
        .reason = from->reason,
        .message = message_info(&message, &from->message),
    };

    return plugin_call_with(call, &event.event);
}

enum hook_verdict plugin_on_psk_lookup(const struct plugin_call *call, void *data)
{
    struct hook_psk_lookup *from = data;
    struct plugin_place place = {from, NULL, HOOK_TLS_PSK_LOOKUP};
    struct emqc_psk_lookup event = {
        .event = plugin_event_head(sizeof(event), &place),
        .identity = plugin_slice(from->identity),
        .key = from->key,
        .key_len = from->key_len,
    };
    enum hook_verdict verdict = plugin_call_with(call, &event.event);

    from->key_len = event.key_len > HOOK_PSK_KEY_MAX ? 0 : event.key_len;
    return verdict;
}

enum hook_verdict plugin_on_enhanced(const struct plugin_call *call, void *data)
{
    struct hook_enhanced_authenticate *from = data;
    struct plugin_place place = {from, &from->memory, HOOK_CLIENT_ENHANCED_AUTHENTICATE};
    struct emqc_client client;
    struct emqc_enhanced_authenticate event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .step = (enum emqc_enhanced_step)from->step,
        .method = plugin_slice(from->method),
        .data = plugin_slice(from->data),
        .state = from->state,
        .result = (int)from->result,
        .reason = from->reason,
        .answer = plugin_slice(from->answer),
        .user_name = plugin_slice(from->user_name),
        .is_superuser = from->is_superuser,
    };
    enum hook_verdict verdict = plugin_call_with(call, &event.event);

    from->result = plugin_reason(event.result);
    from->reason = event.reason;
    from->answer = plugin_slice_in(event.answer);
    from->user_name = plugin_slice_in(event.user_name);
    from->is_superuser = event.is_superuser;
    return verdict;
}
