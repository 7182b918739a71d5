/*
 * acknowledge: PUBACK, PUBREC, PUBREL and PUBCOMP, of both directions.
 */
#include "broker/channel/access.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/channel/hold.h"
#include "hook/hook.h"
#include "hook/message_event.h"

#include <errno.h>

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

void channel_send_durable_ack(struct connection *connection, enum mqtt_type type, uint16_t packet_id,
                              enum reason_code code)
{
    if (connection->link.session != NULL && session_is_durable(connection->link.session))
        channel_hold(connection);
    channel_send_ack(connection, type, packet_id, code);
}

/* A packet ID that we don't know, in answer to our own PUBLISH. */
static void log_missed(struct connection *connection, const char *name, uint16_t packet_id)
{
    char peer[PEER_TEXT_MAX];

    peer_format(&connection->peer, peer);
    log_client_limited(LOG_LEVEL_WARNING, session_client_id(connection->link.session), peer,
                       "[Session] The %s PacketId %u is not found", name, packet_id);
}

/* message.acked, before the acknowledgement takes effect: what it makes room for comes behind it. */
static void tell_acked(const struct connection *connection, const struct mqtt_ack *ack, uint8_t qos)
{
    struct session *session = connection->link.session;
    const struct message *message = session_sent_message(session, ack->packet_id, qos);
    struct client_info client;
    struct hook_acked event = {.client = &client, .code = ack->code};

    if (message == NULL)
        return; /* unknown, of another kind, or received before */
    channel_client_info(connection, session_client_id(session), &client);
    event.message = hook_message_of(message, connection_now(connection));
    event.message.qos = qos;
    (void)hook_call(HOOK_MESSAGE_ACKED, &event);
}

static enum handled wrong_kind(struct connection *connection, const char *error)
{
    if (connection->version >= MQTT_V5)
        return connection_refuse(connection, REASON_PROTOCOL_ERROR, error);
    return HANDLED;
}

static enum handled on_puback(struct connection *connection, const struct mqtt_ack *ack)
{
    int err;

    metric_add(METRIC_PACKETS_PUBACK_RECEIVED, 1);
    if (UNLIKELY(hook_any(HOOK_MESSAGE_ACKED)))
        tell_acked(connection, ack, 1);
    err = session_on_puback(connection->link.session, ack->packet_id);
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
    int err;

    metric_add(METRIC_PACKETS_PUBREC_RECEIVED, 1);
    if (UNLIKELY(hook_any(HOOK_MESSAGE_ACKED)))
        tell_acked(connection, ack, 2);
    err = session_on_pubrec(connection->link.session, ack->packet_id, ack->code);
    if (LIKELY(err == 0))
        return HANDLED;
    if (err == -EPROTO)
        return wrong_kind(connection, "PUBREC for a QoS 1 message");
    metric_add(METRIC_PACKETS_PUBREC_MISSED, 1);
    log_missed(connection, "PUBREC", ack->packet_id);
    if (ack->code < REASON_UNSPECIFIED_ERROR)
        channel_send_durable_ack(connection, MQTT_PUBREL, ack->packet_id, REASON_PACKET_ID_NOT_FOUND);
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
    channel_send_durable_ack(connection, MQTT_PUBCOMP, ack->packet_id,
                             found ? REASON_SUCCESS : REASON_PACKET_ID_NOT_FOUND);
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
