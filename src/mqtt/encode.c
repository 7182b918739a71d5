/*
 * encode: each packet has one writer, which is run over a sink that only counts and then over one that writes.
 */
#include "mqtt/encode.h"
#include "mqtt/decode.h"
#include "mqtt/packet_rules_internal.h"
#include "mqtt/sink_internal.h"

static void emit_properties(struct sink *out, enum mqtt_version version, enum mqtt_type type,
                            const struct mqtt_properties *properties)
{
    if (version == MQTT_V5)
        properties_emit(out, &packet_rules[type].properties, properties);
}

static uint8_t connect_flags(const struct mqtt_connect *connect)
{
    unsigned flags = connect->clean_start ? 0x02 : 0;

    if (connect->has_will)
        flags |= 0x04u | (connect->will.qos & 3u) << 3 | (connect->will.retain ? 0x20u : 0);
    if (connect->password.data != NULL)
        flags |= 0x40;
    if (connect->user_name.data != NULL)
        flags |= 0x80;
    return (uint8_t)flags;
}

static void emit_connect(struct sink *out, enum mqtt_version version, const struct mqtt_connect *connect)
{
    struct slice name = connect->protocol_name;
    uint8_t level = connect->level;

    if (name.data == NULL)
        name = version == MQTT_V3_1 ? SLICE_LITERAL("MQIsdp") : SLICE_LITERAL("MQTT");
    if (level == 0)
        level = (uint8_t)version;
    emit_binary(out, name);
    emit_u8(out, (uint8_t)(connect->is_bridge ? level | 0x80 : level));
    emit_u8(out, connect_flags(connect));
    emit_u16(out, connect->keep_alive_s);
    emit_properties(out, version, MQTT_CONNECT, &connect->properties);
    emit_binary(out, connect->client_id);
    if (connect->has_will) {
        if (version == MQTT_V5)
            properties_emit(out, &will_property_set, &connect->will.properties);
        emit_binary(out, connect->will.topic);
        emit_binary(out, connect->will.payload);
    }
    if (connect->user_name.data != NULL)
        emit_binary(out, connect->user_name);
    if (connect->password.data != NULL)
        emit_binary(out, connect->password);
    if (version != MQTT_V5 && connect->password.data != NULL && connect->user_name.data == NULL)
        out->is_bad = true;
}

static void emit_connack(struct sink *out, enum mqtt_version version, const struct mqtt_connack *connack)
{
    emit_u8(out, connack->session_present);
    emit_u8(out, version == MQTT_V5 ? (uint8_t)connack->code : reason_code_to_v3_connack(connack->code));
    emit_properties(out, version, MQTT_CONNACK, &connack->properties);
}

static void emit_publish(struct sink *out, enum mqtt_version version, const struct mqtt_publish *publish)
{
    emit_binary(out, publish->topic);
    if (publish->qos > 0)
        emit_u16(out, publish->packet_id);
    emit_properties(out, version, MQTT_PUBLISH, &publish->properties);
    emit_bytes(out, publish->payload);
}

/* The shortest form that says it: sections 3.4.2.1 and 3.4.2.2.1. */
static void emit_ack(struct sink *out, enum mqtt_version version, enum mqtt_type type, const struct mqtt_ack *ack)
{
    bool has_properties = (ack->properties.present & packet_rules[type].properties.allowed) != 0;

    emit_u16(out, ack->packet_id);
    if (version != MQTT_V5 || (ack->code == REASON_SUCCESS && !has_properties))
        return;
    emit_u8(out, (uint8_t)ack->code);
    if (has_properties)
        emit_properties(out, version, type, &ack->properties);
}

static void emit_subscribe(struct sink *out, enum mqtt_version version, enum mqtt_type type,
                           const struct mqtt_subscribe *subscribe)
{
    emit_u16(out, subscribe->packet_id);
    emit_properties(out, version, type, &subscribe->properties);
    emit_bytes(out, subscribe->filters);
}

static void emit_suback(struct sink *out, enum mqtt_version version, enum mqtt_type type,
                        const struct mqtt_suback *suback)
{
    emit_u16(out, suback->packet_id);
    emit_properties(out, version, type, &suback->properties);
    if (version == MQTT_V5) {
        emit_bytes(out, suback->codes);
        return;
    }
    if (type == MQTT_UNSUBACK)
        return;
    for (size_t i = 0; i < suback->codes.len; i++) {
        uint8_t code = suback->codes.data[i];

        emit_u8(out, code < 0x80 ? code : 0x80); /* MQTT 3.1.1 knows one failure */
    }
}

/* DISCONNECT may leave out its property length, AUTH only reason code and property length together. */
static void emit_disconnect(struct sink *out, enum mqtt_version version, enum mqtt_type type,
                            const struct mqtt_disconnect *disconnect)
{
    bool has_properties = (disconnect->properties.present & packet_rules[type].properties.allowed) != 0;

    if (version != MQTT_V5 || (disconnect->code == REASON_SUCCESS && !has_properties))
        return;
    emit_u8(out, (uint8_t)disconnect->code);
    if (has_properties || type == MQTT_AUTH)
        emit_properties(out, version, type, &disconnect->properties);
}

static void emit_body(struct sink *out, enum mqtt_version version, const struct mqtt_packet *packet)
{
    switch (packet->type) {
    case MQTT_CONNECT: emit_connect(out, version, &packet->connect); break;
    case MQTT_CONNACK: emit_connack(out, version, &packet->connack); break;
    case MQTT_PUBLISH: emit_publish(out, version, &packet->publish); break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: emit_ack(out, version, packet->type, &packet->ack); break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: emit_subscribe(out, version, packet->type, &packet->subscribe); break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK: emit_suback(out, version, packet->type, &packet->suback); break;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP: break;
    case MQTT_DISCONNECT:
    case MQTT_AUTH: emit_disconnect(out, version, packet->type, &packet->disconnect); break;
    }
}

static uint8_t first_byte(const struct mqtt_packet *packet)
{
    if (packet->type == MQTT_PUBLISH)
        return mqtt_publish_first_byte(packet->publish.qos, packet->publish.dup, packet->publish.retain);
    return (uint8_t)((unsigned)packet->type << 4 | packet_rules[packet->type].flags);
}

/* Bytes after the fixed header; false when the packet can't be expressed. */
static bool remaining_len(enum mqtt_version version, const struct mqtt_packet *packet, uint32_t *out_len)
{
    struct sink count = {NULL, 0, false};

    if ((unsigned)packet->type >= ARRAY_COUNT(packet_rules) || packet_rules[packet->type].senders == 0 ||
        (uint8_t)version < packet_rules[packet->type].version_min)
        return false;
    emit_body(&count, version, packet);
    if (count.is_bad || count.len > MQTT_REMAINING_LENGTH_MAX)
        return false;
    *out_len = (uint32_t)count.len;
    return true;
}

size_t mqtt_encoded_size(enum mqtt_version version, const struct mqtt_packet *packet)
{
    uint32_t remaining;

    if (!remaining_len(version, packet, &remaining))
        return 0;
    return 1 + mqtt_varint_size(remaining) + remaining;
}

size_t mqtt_encode(enum mqtt_version version, const struct mqtt_packet *packet, uint8_t *out, size_t capacity)
{
    struct sink sink = {out, 0, false};
    uint32_t remaining;

    if (!remaining_len(version, packet, &remaining) || capacity < 1 + mqtt_varint_size(remaining) + remaining)
        return 0;
    emit_u8(&sink, first_byte(packet));
    emit_varint(&sink, remaining);
    emit_body(&sink, version, packet);
    ASSERT(sink.len == 1 + mqtt_varint_size(remaining) + remaining);
    return sink.len;
}

size_t mqtt_write_filter(struct slice filter, const struct mqtt_subscription_options *options, uint8_t *out)
{
    struct sink sink = {out, 0, false};

    emit_binary(&sink, filter);
    if (options != NULL)
        emit_u8(&sink, (uint8_t)((options->qos & 3u) | (options->no_local ? 4u : 0) |
                                 (options->retain_as_published ? 8u : 0) | (options->retain_handling & 3u) << 4));
    return sink.is_bad ? 0 : sink.len;
}
