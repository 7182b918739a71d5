/*
 * decode: the fixed header, the dispatch by type, and the packets that are small or hot. CONNECT and CONNACK are in
 * decode_connect.c, SUBSCRIBE and its kin in decode_subscribe.c.
 *
 * Lengths that are not in their shortest form: refused where MQTT 5 alone has them (property length, Subscription
 * Identifier) [MQTT-1.5.5-1]. In the fixed header they pass, because MQTT 3.1 and 3.1.1 do not forbid them and the
 * version is not known when a CONNECT's header is read.
 */
#include "mqtt/decode.h"
#include "mqtt/decode_internal.h"
#include "mqtt/text_internal.h"

#define PUBLISH_DUP 0x8
#define PUBLISH_RETAIN 0x1

enum mqtt_peek mqtt_frame_peek(const uint8_t *data, size_t len, struct mqtt_frame *out_frame)
{
    uint32_t remaining_len;
    uint8_t header_len = 2;

    if (len < 2)
        return MQTT_PEEK_MORE;
    remaining_len = data[1] & 0x7F;
    while (UNLIKELY(data[header_len - 1] >= 0x80)) {
        if (header_len == MQTT_FIXED_HEADER_MAX)
            return MQTT_PEEK_MALFORMED;
        if (header_len == len)
            return MQTT_PEEK_MORE;
        remaining_len |= (uint32_t)(data[header_len] & 0x7F) << (7 * (header_len - 1));
        header_len++;
    }
    *out_frame = (struct mqtt_frame){
        .type = data[0] >> 4, .flags = data[0] & 0x0F, .header_len = header_len, .remaining_len = remaining_len};
    return MQTT_PEEK_OK;
}

/* May the peer send this type, and are its flags as they must be? PUBLISH's flags are decode_publish()'s. */
static enum reason_code check_header(enum mqtt_version version, enum mqtt_role role, const struct mqtt_frame *frame,
                                     const char **out_error)
{
    const struct packet_rule *rule = &packet_rules[frame->type & 0x0F];
    uint8_t wrong = rule->flags ^ frame->flags;

    if (rule->senders == 0 || (uint8_t)version < rule->version_min)
        return malformed(out_error, "a reserved packet type");
    if ((rule->senders & 1 << role) == 0)
        return protocol_error(out_error, "a packet type that this side may not send");
    if (version == MQTT_V3_1)
        wrong &= (uint8_t)~rule->v3_1_ignored;
    if (wrong != 0 && frame->type != MQTT_PUBLISH)
        return malformed(out_error, "wrong flags in the fixed header"); /* [MQTT-2.1.3-1] */
    return REASON_SUCCESS;
}

/* A closer look at a topic that text_is_plain_topic() did not take. */
static enum reason_code check_topic(enum mqtt_version version, const struct mqtt_publish *publish,
                                    const char **out_error)
{
    if (publish->topic.len == 0) {
        if (version != MQTT_V5)
            return refuse(out_error, REASON_TOPIC_NAME_INVALID, "an empty topic");
        if (!mqtt_properties_have(&publish->properties, MQTT_PROP_TOPIC_ALIAS))
            return protocol_error(out_error, "an empty topic without a Topic Alias");
        return REASON_SUCCESS;
    }
    if (!mqtt_utf8_valid(publish->topic))
        return malformed(out_error, "the topic is not UTF-8"); /* [MQTT-1.5.4-1] */
    if (!mqtt_topic_valid(publish->topic))
        return refuse(out_error, REASON_TOPIC_NAME_INVALID, "a wildcard in the topic"); /* [MQTT-3.3.2-2] */
    return REASON_SUCCESS;
}

enum reason_code mqtt_decode_publish(enum mqtt_version version, enum mqtt_role role, const struct mqtt_frame *frame,
                                     const uint8_t *body, struct mqtt_publish *out_publish, const char **out_error)
{
    struct reader in = {body, body + frame->remaining_len};
    const char *ignored;

    (void)role; /* both sides send PUBLISH, under the same rules */
    if (out_error == NULL)
        out_error = &ignored;
    out_publish->qos = frame->flags >> 1 & 3;
    out_publish->dup = (frame->flags & PUBLISH_DUP) != 0;
    out_publish->retain = (frame->flags & PUBLISH_RETAIN) != 0;
    out_publish->packet_id = 0;
    if (UNLIKELY(out_publish->qos == 3))
        return malformed(out_error, "a PUBLISH with QoS 3"); /* [MQTT-3.3.1-4] */
    if (UNLIKELY(out_publish->qos == 0 && out_publish->dup))
        return malformed(out_error, "a PUBLISH with QoS 0 and DUP"); /* [MQTT-3.3.1-2] */
    if (UNLIKELY(!read_binary(&in, &out_publish->topic)))
        return malformed(out_error, "the topic is cut off");
    if (out_publish->qos > 0) {
        if (UNLIKELY(!read_u16(&in, &out_publish->packet_id)))
            return malformed(out_error, "the packet identifier is cut off");
        if (UNLIKELY(out_publish->packet_id == 0))
            return malformed(out_error, "a packet identifier of 0"); /* [MQTT-2.2.1-3] */
    }
    properties_clear(&out_publish->properties);
    if (version == MQTT_V5) {
        enum reason_code code = properties_decode(&in, &packet_rules[MQTT_PUBLISH].properties, &out_publish->properties,
                                                  out_error);

        if (UNLIKELY(code != REASON_SUCCESS))
            return code;
    }
    if (UNLIKELY(!text_is_plain_topic(out_publish->topic.data, out_publish->topic.len))) {
        enum reason_code code = check_topic(version, out_publish, out_error);

        if (code != REASON_SUCCESS)
            return code;
    }
    out_publish->payload = read_rest(&in);
    return REASON_SUCCESS;
}

/* What of an acknowledgement comes after the packet identifier. */
static enum reason_code decode_ack_rest(struct decoding *packet, struct mqtt_ack *out_ack)
{
    uint8_t code = REASON_SUCCESS;

    if (packet->version != MQTT_V5)
        return decode_end(packet);
    read_u8(&packet->in, &code);
    if (!reason_code_allowed(code, packet_rules[packet->type].carriers[packet->role]))
        return protocol_error(packet->out_error, "a reason code that this acknowledgement can't have");
    out_ack->code = code;
    if (reader_left(&packet->in) > 0) { /* the property length may be left out; section 3.4.2.2.1 */
        enum reason_code refused = decode_properties(packet, &out_ack->properties);

        if (refused != REASON_SUCCESS)
            return refused;
    }
    return decode_end(packet);
}

enum reason_code mqtt_decode_ack(enum mqtt_version version, const struct mqtt_frame *frame, const uint8_t *body,
                                 struct mqtt_ack *out_ack, const char **out_error)
{
    struct decoding packet = {.in = {body, body + frame->remaining_len},
                              .version = version,
                              .role = MQTT_FROM_CLIENT,
                              .type = frame->type,
                              .out_error = out_error};
    const char *ignored;
    enum reason_code refused;

    ASSERT(frame->type >= MQTT_PUBACK && frame->type <= MQTT_PUBCOMP);
    if (out_error == NULL)
        packet.out_error = &ignored;
    refused = check_header(version, MQTT_FROM_CLIENT, frame, packet.out_error);
    if (UNLIKELY(refused != REASON_SUCCESS))
        return refused;
    out_ack->code = REASON_SUCCESS;
    properties_clear(&out_ack->properties);
    if (UNLIKELY(!read_u16(&packet.in, &out_ack->packet_id)))
        return malformed(packet.out_error, "the packet identifier is cut off");
    if (UNLIKELY(out_ack->packet_id == 0))
        return malformed(packet.out_error, "a packet identifier of 0");
    return LIKELY(frame->remaining_len == 2) ? REASON_SUCCESS : decode_ack_rest(&packet, out_ack);
}

/* DISCONNECT: nothing, a reason code, or a reason code and properties (section 3.14.2). */
static enum reason_code decode_disconnect(struct decoding *packet, struct mqtt_disconnect *out_disconnect)
{
    uint8_t code = REASON_SUCCESS;
    enum reason_code refused;

    out_disconnect->code = REASON_SUCCESS;
    properties_clear(&out_disconnect->properties);
    if (packet->version != MQTT_V5) {
        if (packet->role == MQTT_FROM_SERVER)
            return protocol_error(packet->out_error, "a server does not send DISCONNECT before MQTT 5");
        return decode_end(packet);
    }
    read_u8(&packet->in, &code);
    if (!reason_code_allowed(code, packet_rules[packet->type].carriers[packet->role]))
        return protocol_error(packet->out_error, "a reason code that this DISCONNECT can't have");
    out_disconnect->code = code;
    if (reader_left(&packet->in) == 0)
        return REASON_SUCCESS;
    refused = decode_properties(packet, &out_disconnect->properties);
    if (refused != REASON_SUCCESS)
        return refused;
    if (packet->role == MQTT_FROM_SERVER &&
        mqtt_properties_have(&out_disconnect->properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL))
        return protocol_error(packet->out_error, "a Session Expiry Interval from a server"); /* [MQTT-3.14.2-2] */
    return decode_end(packet);
}

/* AUTH: nothing, or a reason code and properties with an Authentication Method (section 3.15.2). */
static enum reason_code decode_auth(struct decoding *packet, struct mqtt_disconnect *out_auth)
{
    uint8_t code = REASON_SUCCESS;
    bool is_short = !read_u8(&packet->in, &code);
    enum reason_code refused;

    properties_clear(&out_auth->properties);
    if (!reason_code_allowed(code, packet_rules[packet->type].carriers[packet->role]))
        return protocol_error(packet->out_error, "a reason code that this AUTH can't have");
    out_auth->code = code;
    if (is_short)
        return REASON_SUCCESS;
    refused = decode_properties(packet, &out_auth->properties);
    if (refused != REASON_SUCCESS)
        return refused;
    if (!mqtt_properties_have(&out_auth->properties, MQTT_PROP_AUTHENTICATION_METHOD))
        return protocol_error(packet->out_error, "an AUTH without an Authentication Method");
    return decode_end(packet);
}

enum reason_code mqtt_decode(enum mqtt_version version, enum mqtt_role role, const struct mqtt_frame *frame,
                             const uint8_t *body, struct mqtt_packet *out_packet, const char **out_error)
{
    static const uint8_t nothing[1];
    const char *ignored;
    struct decoding packet = {.version = version, .role = role, .type = frame->type};
    enum reason_code refused;

    packet.out_error = out_error == NULL ? &ignored : out_error;
    if (frame->remaining_len == 0)
        body = nothing; /* the caller may have no pointer for no bytes */
    packet.in = (struct reader){body, body + frame->remaining_len};
    out_packet->type = frame->type;
    if (frame->type == MQTT_CONNECT)
        memset(&out_packet->connect, 0, offsetof(struct mqtt_connect, will));
    refused = check_header(version, role, frame, packet.out_error);
    if (refused != REASON_SUCCESS)
        return refused;
    switch (packet.type) {
    case MQTT_CONNECT: return decode_connect(&packet, &out_packet->connect);
    case MQTT_CONNACK: return decode_connack(&packet, &out_packet->connack);
    case MQTT_PUBLISH: return mqtt_decode_publish(version, role, frame, body, &out_packet->publish, packet.out_error);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: return mqtt_decode_ack(version, frame, body, &out_packet->ack, packet.out_error);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: return decode_subscribe(&packet, &out_packet->subscribe);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK: return decode_suback(&packet, &out_packet->suback);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP: return decode_end(&packet);
    case MQTT_DISCONNECT: return decode_disconnect(&packet, &out_packet->disconnect);
    case MQTT_AUTH: return decode_auth(&packet, &out_packet->disconnect);
    }
    return malformed(packet.out_error, "a reserved packet type");
}
