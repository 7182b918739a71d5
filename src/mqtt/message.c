/*
 * message: making and freeing; everything else is inline. The parts lie behind the header in the order client id,
 * topic, properties, payload, so that what is sent is read in one direction.
 */
#include "mqtt/message.h"

#include "mqtt/encode.h"

#include <stdlib.h>

static uint8_t *put(uint8_t *out, struct slice part)
{
    if (part.len > 0)
        memcpy(out, part.data, part.len);
    return out + part.len;
}

struct message *message_new(const struct message_options *options)
{
    size_t topic_len = options->mountpoint.len + options->topic.len;
    size_t properties_len = options->properties == NULL || options->properties->present == 0
                                ? 0
                                : mqtt_properties_forwardable(options->properties, NULL);
    size_t payload_len = options->take_buffer == NULL ? options->payload.len : 0;
    struct message *message;
    uint8_t *out;

    if (topic_len > UINT16_MAX || options->client_id.len > UINT16_MAX)
        return NULL;
    message = malloc(sizeof(*message) + options->client_id.len + topic_len + properties_len + payload_len);
    if (message == NULL)
        return NULL;
    atomic_init(&message->refs, 1);
    message->qos = options->qos;
    message->retain = options->retain;
    message->sys = options->sys;
    message->has_expiry = options->properties != NULL &&
                          mqtt_properties_have(options->properties, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL);
    message->expiry_interval_s = message->has_expiry ? options->properties->message_expiry_interval_s : 0;
    message->created_ms = options->now_ms;
    message->client_id_len = (uint16_t)options->client_id.len;
    message->topic_len = (uint16_t)topic_len;
    message->properties_len = (uint32_t)properties_len;
    message->payload_len = (uint32_t)options->payload.len;
    message->taken_buffer = options->take_buffer;
    message->body = NULL;
    atomic_init(&message->store_state, MESSAGE_UNSTORED);
    out = put(message->data, options->client_id);
    message->topic = out;
    out = put(put(out, options->mountpoint), options->topic);
    message->properties = out;
    if (properties_len > 0)
        out += mqtt_properties_forwardable(options->properties, out);
    message->payload = options->take_buffer == NULL ? out : options->payload.data;
    if (options->take_buffer == NULL)
        put(out, options->payload);
    return message;
}

struct message *message_new_from_parts(const struct message_parts *parts)
{
    struct message *message = malloc(sizeof(*message) + parts->client_id.len + parts->topic.len +
                                     parts->properties.len + parts->payload.len);
    uint8_t *out;

    if (message == NULL)
        return NULL;
    *message = (struct message){
        .qos = parts->qos,
        .retain = parts->retain,
        .has_expiry = parts->has_expiry,
        .expiry_interval_s = parts->expiry_interval_s,
        .payload_len = (uint32_t)parts->payload.len,
        .properties_len = (uint32_t)parts->properties.len,
        .topic_len = (uint16_t)parts->topic.len,
        .client_id_len = (uint16_t)parts->client_id.len,
        .created_ms = parts->now_ms,
    };
    atomic_init(&message->refs, 1);
    message->topic = out = put(message->data, parts->client_id);
    message->properties = out = put(out, parts->topic);
    message->payload = out = put(out, parts->properties);
    put(out, parts->payload);
    return message;
}

struct message *message_unref(struct message *message)
{
    if (message != NULL && atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) == 1) {
        free(message->taken_buffer);
        free(message);
    }
    return NULL;
}

size_t message_bytes(const struct message *message)
{
    return sizeof(*message) + message->client_id_len + message->topic_len + message->properties_len +
           message->payload_len;
}
