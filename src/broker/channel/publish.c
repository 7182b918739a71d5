/*
 * publish: PUBLISH from a client and the acknowledgements of both directions. The hot path of the broker.
 *
 * decode ─► topic alias ─► capabilities ─► limits ─► QoS 2 ID ─► message ─► route ─► acknowledge
 */
#include "broker/channel/connection.h"

#include "base/log.h"
#include "base/metrics.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

#define TAKE_BUFFER_AT 32768u /* bytes of payload from which a message takes the receive buffer over */

void channel_send_ack(struct connection *connection, enum mqtt_type type, uint16_t packet_id, enum reason_code code)
{
    uint8_t *out = connection_reserve(connection, MQTT_ACK_SIZE_MAX);

    if (UNLIKELY(out == NULL))
        return;
    connection_commit(connection, mqtt_encode_ack((enum mqtt_version)connection->version, type, packet_id, code, out));
    metric_add(type == MQTT_PUBACK   ? METRIC_PACKETS_PUBACK_SENT
               : type == MQTT_PUBREC ? METRIC_PACKETS_PUBREC_SENT
               : type == MQTT_PUBREL ? METRIC_PACKETS_PUBREL_SENT
                                     : METRIC_PACKETS_PUBCOMP_SENT,
               1);
}

/* Puts the topic that an alias stands for in its place, or remembers it [MQTT-3.3.2-7 to 3.3.2-12]. */
static enum reason_code resolve_alias(struct connection *connection, struct mqtt_publish *publish,
                                      const char **out_error)
{
    uint16_t alias = publish->properties.topic_alias;
    uint16_t alias_max = connection_zone(connection)->caps.max_topic_alias;
    struct connection_extras *extras;

    if (!mqtt_properties_have(&publish->properties, MQTT_PROP_TOPIC_ALIAS))
        return REASON_SUCCESS;
    *out_error = "a topic alias that is 0 or over the maximum";
    if (alias == 0 || alias > alias_max)
        return REASON_TOPIC_ALIAS_INVALID;
    extras = connection_extras_get(connection);
    *out_error = "short of memory for topic aliases";
    if (extras != NULL && extras->aliases_in == NULL)
        extras->aliases_in = alias_table_new(alias_max);
    if (extras == NULL || extras->aliases_in == NULL)
        return REASON_IMPLEMENTATION_SPECIFIC_ERROR;
    if (publish->topic.len > 0) {
        int err = alias_table_set(extras->aliases_in, alias, publish->topic);
        if (err == -ENOSPC) {
            *out_error = "the topics of all aliases together are too long";
            return REASON_QUOTA_EXCEEDED;
        }
        return err < 0 ? REASON_IMPLEMENTATION_SPECIFIC_ERROR : REASON_SUCCESS;
    }
    publish->topic = alias_table_get(extras->aliases_in, alias);
    *out_error = "a topic alias that was not set";
    return publish->topic.len == 0 ? REASON_PROTOCOL_ERROR : REASON_SUCCESS;
}

static enum reason_code check_capabilities(const struct connection *connection, const struct mqtt_publish *publish,
                                           const char **out_error)
{
    const struct zone_capabilities *caps = &connection_zone(connection)->caps;

    if (UNLIKELY(publish->qos > caps->max_qos_allowed)) {
        *out_error = "a QoS over max_qos_allowed";
        return REASON_QOS_NOT_SUPPORTED;
    }
    if (UNLIKELY(publish->retain && !caps->retain_available)) {
        *out_error = "RETAIN although retain_available is off";
        return REASON_RETAIN_NOT_SUPPORTED;
    }
    if (UNLIKELY(connection->version >= MQTT_V5 &&
                 mqtt_properties_have(&publish->properties, MQTT_PROP_SUBSCRIPTION_IDENTIFIER))) {
        *out_error = "a subscription identifier in PUBLISH from a client"; /* [MQTT-3.3.4-6] */
        return REASON_PROTOCOL_ERROR;
    }
    return REASON_SUCCESS;
}

/* Does the packet fill the connection's own buffer, so that the message can have it? */
static bool owns_buffer(const struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body)
{
    return connection->partial != NULL && body > connection->partial &&
           body + frame->remaining_len == connection->partial + connection->partial_len;
}

static struct message *make_message(struct connection *connection, const struct mqtt_publish *publish,
                                    void *take_buffer)
{
    const struct session *session = connection->link.session;
    struct message_options options = {
        .mountpoint = connection_mountpoint(connection),
        .topic = publish->topic,
        .payload = publish->payload,
        .client_id = session_client_id(session),
        .properties = connection->version >= MQTT_V5 ? &publish->properties : NULL,
        .now_ms = connection_now(connection),
        .qos = publish->qos,
        .retain = publish->retain,
        .take_buffer = take_buffer,
    };

    return message_new(&options);
}

static void acknowledge(struct connection *connection, const struct mqtt_publish *publish, enum reason_code code)
{
    if (publish->qos == 1)
        channel_send_ack(connection, MQTT_PUBACK, publish->packet_id, code);
    else if (publish->qos == 2)
        channel_send_ack(connection, MQTT_PUBREC, publish->packet_id, code);
}

/* Registers a QoS 2 packet ID. HANDLED: publish it; else the answer was given. */
static enum handled begin_qos2(struct connection *connection, const struct mqtt_publish *publish, bool *out_new)
{
    *out_new = false;
    switch (session_on_publish_qos2(connection->link.session, publish->packet_id)) {
    case SESSION_QOS2_NEW: *out_new = true; return HANDLED;
    case SESSION_QOS2_DUPLICATE: /* sent again: acknowledged again, not published again [MQTT-4.3.3-10] */
        channel_send_ack(connection, MQTT_PUBREC, publish->packet_id,
                         publish->dup ? REASON_SUCCESS : REASON_PACKET_ID_IN_USE);
        return HANDLED;
    case SESSION_QOS2_FULL:
        metric_add(METRIC_MESSAGES_QOS2_DROPPED, 1);
        return connection_refuse(connection, REASON_RECEIVE_MAXIMUM_EXCEEDED,
                                 "more QoS 2 messages wait for PUBREL than max_awaiting_rel");
    default: connection_close(connection, REASON_IMPLEMENTATION_SPECIFIC_ERROR, "enomem"); return HANDLED_STOP;
    }
}

/* A packet limit that is used up holds the connection after this packet. */
static void limit_packets(struct connection *connection)
{
    struct token_bucket *bucket = connection->extras == NULL ? NULL : &connection->extras->publish_bucket;

    if (LIKELY(bucket == NULL || bucket->burst <= 0))
        return;
    uint64_t pause_ms = token_bucket_take(bucket, 1, connection_now(connection));
    if (pause_ms > 0)
        connection_pause(connection, pause_ms);
}

static enum handled route(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body,
                          const struct mqtt_publish *publish)
{
    bool take = publish->payload.len >= TAKE_BUFFER_AT && owns_buffer(connection, frame, body);
    struct message *message = make_message(connection, publish, take ? connection->partial : NULL);

    if (UNLIKELY(message == NULL)) {
        if (publish->qos == 2)
            session_forget_qos2(connection->link.session, publish->packet_id);
        connection_close(connection, REASON_IMPLEMENTATION_SPECIFIC_ERROR, "enomem");
        return HANDLED_STOP;
    }
    if (take) {
        connection->partial = NULL;
        connection->partial_len = connection->partial_capacity = 0;
    }
    bool routed = broker_publish_take(connection->worker, message);
    acknowledge(connection, publish, routed ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS);
    limit_packets(connection);
    if (UNLIKELY(connection->worker->congested != NULL))
        connection_wait_congestion(connection);
    return take ? HANDLED_TOOK_BUFFER : HANDLED;
}

enum handled channel_on_publish(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body)
{
    struct mqtt_publish publish;
    const char *error = "malformed PUBLISH";
    enum reason_code code;
    bool is_new;

    code = mqtt_decode_publish((enum mqtt_version)connection->version, MQTT_FROM_CLIENT, frame, body, &publish, &error);
    if (UNLIKELY(code != REASON_SUCCESS))
        return connection_refuse(connection, code, error);
    metric_add(METRIC_PACKETS_PUBLISH_RECEIVED, 1);
    metric_add(METRIC_MESSAGES_RECEIVED, 1);
    metric_add(METRIC_MESSAGES_QOS0_RECEIVED + publish.qos * 2u, 1);
    if (connection->version >= MQTT_V5)
        code = resolve_alias(connection, &publish, &error);
    if (code == REASON_SUCCESS)
        code = check_capabilities(connection, &publish, &error);
    if (UNLIKELY(code != REASON_SUCCESS)) {
        metric_add(METRIC_PACKETS_PUBLISH_ERROR, 1);
        return connection_refuse(connection, code, error);
    }
    if (publish.qos == 2) {
        enum handled handled = begin_qos2(connection, &publish, &is_new);
        if (!is_new)
            return handled;
    }
    return route(connection, frame, body, &publish);
}

/* A packet ID that we don't know, in answer to our own PUBLISH. */
static void log_missed(struct connection *connection, const char *name, uint16_t packet_id)
{
    char peer[PEER_TEXT_MAX];

    peer_format(&connection->peer, peer);
    log_client_limited(LOG_LEVEL_WARNING, session_client_id(connection->link.session), peer,
                       "[Session] The %s PacketId %u is not found", name, packet_id);
}

static enum handled wrong_kind(struct connection *connection, const char *error)
{
    if (connection->version >= MQTT_V5)
        return connection_refuse(connection, REASON_PROTOCOL_ERROR, error);
    return HANDLED;
}

static enum handled on_puback(struct connection *connection, const struct mqtt_ack *ack)
{
    int err = session_on_puback(connection->link.session, ack->packet_id);

    metric_add(METRIC_PACKETS_PUBACK_RECEIVED, 1);
    if (LIKELY(err == 0))
        return HANDLED;
    if (err == -EPROTO)
        return wrong_kind(connection, "PUBACK for a QoS 2 message");
    metric_add(METRIC_PACKETS_PUBACK_MISSED, 1);
    log_missed(connection, "PUBACK", ack->packet_id);
    return HANDLED;
}

static enum handled on_pubrec(struct connection *connection, const struct mqtt_ack *ack)
{
    int err = session_on_pubrec(connection->link.session, ack->packet_id, ack->code);

    metric_add(METRIC_PACKETS_PUBREC_RECEIVED, 1);
    if (LIKELY(err == 0))
        return HANDLED;
    if (err == -EPROTO)
        return wrong_kind(connection, "PUBREC for a QoS 1 message");
    metric_add(METRIC_PACKETS_PUBREC_MISSED, 1);
    log_missed(connection, "PUBREC", ack->packet_id);
    if (ack->code < REASON_UNSPECIFIED_ERROR)
        channel_send_ack(connection, MQTT_PUBREL, ack->packet_id, REASON_PACKET_ID_NOT_FOUND);
    return HANDLED;
}

static enum handled on_pubrel(struct connection *connection, const struct mqtt_ack *ack)
{
    bool found = session_on_pubrel(connection->link.session, ack->packet_id);

    metric_add(METRIC_PACKETS_PUBREL_RECEIVED, 1);
    if (UNLIKELY(!found)) {
        metric_add(METRIC_PACKETS_PUBREL_MISSED, 1);
        log_missed(connection, "PUBREL", ack->packet_id);
    }
    channel_send_ack(connection, MQTT_PUBCOMP, ack->packet_id, found ? REASON_SUCCESS : REASON_PACKET_ID_NOT_FOUND);
    return HANDLED;
}

static enum handled on_pubcomp(struct connection *connection, const struct mqtt_ack *ack)
{
    int err = session_on_pubcomp(connection->link.session, ack->packet_id);

    metric_add(METRIC_PACKETS_PUBCOMP_RECEIVED, 1);
    if (LIKELY(err == 0))
        return HANDLED;
    if (err == -EPROTO)
        return wrong_kind(connection, "PUBCOMP before PUBREC");
    metric_add(METRIC_PACKETS_PUBCOMP_MISSED, 1);
    log_missed(connection, "PUBCOMP", ack->packet_id);
    return HANDLED;
}

enum handled channel_on_ack(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body)
{
    struct mqtt_ack ack;
    const char *error = "malformed acknowledgement";
    enum reason_code code = mqtt_decode_ack((enum mqtt_version)connection->version, frame, body, &ack, &error);

    if (UNLIKELY(code != REASON_SUCCESS))
        return connection_refuse(connection, code, error);
    switch (frame->type) {
    case MQTT_PUBACK: return on_puback(connection, &ack);
    case MQTT_PUBREC: return on_pubrec(connection, &ack);
    case MQTT_PUBREL: return on_pubrel(connection, &ack);
    default: return on_pubcomp(connection, &ack);
    }
}
