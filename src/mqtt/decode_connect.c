/*
 * decode_connect: CONNECT (section 3.1) and CONNACK (section 3.2).
 */
#include "mqtt/decode_internal.h"

#define BRIDGE_BIT 0x80

/* The connect flags, section 3.1.2.3. */
enum {
    CONNECT_RESERVED = 0x01,
    CONNECT_CLEAN_START = 0x02,
    CONNECT_WILL = 0x04,
    CONNECT_WILL_QOS = 0x18,
    CONNECT_WILL_QOS_SHIFT = 3,
    CONNECT_WILL_RETAIN = 0x20,
    CONNECT_PASSWORD = 0x40,
    CONNECT_USER_NAME = 0x80,
};

/* Protocol name and level; sets packet->version. */
static enum reason_code decode_protocol(struct decoding *packet, struct mqtt_connect *connect)
{
    static const struct {
        struct slice name;
        enum mqtt_version version;
    } protocols[] = {
        {{(const uint8_t *)"MQIsdp", 6}, MQTT_V3_1},
        {{(const uint8_t *)"MQTT", 4}, MQTT_V3_1_1},
        {{(const uint8_t *)"MQTT", 4}, MQTT_V5},
    };
    struct slice name;
    uint8_t level;

    if (!read_string(&packet->in, &name) || !read_u8(&packet->in, &level))
        return malformed(packet->out_error, "the protocol name or level is cut off");
    connect->protocol_name = name;
    connect->is_bridge = (level & BRIDGE_BIT) != 0;
    connect->level = level & (uint8_t)~BRIDGE_BIT;
    for (size_t i = 0; i < ARRAY_COUNT(protocols); i++) {
        if (connect->level == (uint8_t)protocols[i].version && slice_equal(name, protocols[i].name)) {
            packet->version = protocols[i].version;
            return REASON_SUCCESS;
        }
    }
    return refuse(packet->out_error, REASON_UNSUPPORTED_PROTOCOL_VERSION, "an unknown protocol name or level");
}

static enum reason_code check_flags(const struct decoding *packet, uint8_t flags)
{
    if ((flags & CONNECT_RESERVED) != 0)
        return malformed(packet->out_error, "the reserved connect flag is set"); /* [MQTT-3.1.2-3] */
    if ((flags & CONNECT_WILL_QOS) == CONNECT_WILL_QOS)
        return malformed(packet->out_error, "a will with QoS 3"); /* [MQTT-3.1.2-12] */
    if ((flags & CONNECT_WILL) == 0 && (flags & (CONNECT_WILL_QOS | CONNECT_WILL_RETAIN)) != 0)
        return malformed(packet->out_error, "will flags without a will"); /* [MQTT-3.1.2-11], [MQTT-3.1.2-13] */
    if (packet->version != MQTT_V5 && (flags & CONNECT_PASSWORD) != 0 && (flags & CONNECT_USER_NAME) == 0)
        return malformed(packet->out_error, "a password without a user name"); /* 3.1.1: [MQTT-3.1.2-22] */
    return REASON_SUCCESS;
}

static enum reason_code decode_will(struct decoding *packet, uint8_t flags, struct mqtt_will *out_will)
{
    enum reason_code refused;

    properties_clear(&out_will->properties);
    if (packet->version == MQTT_V5) {
        refused = properties_decode(&packet->in, &will_property_set, &out_will->properties, packet->out_error);
        if (refused != REASON_SUCCESS)
            return refused;
    }
    out_will->qos = (flags & CONNECT_WILL_QOS) >> CONNECT_WILL_QOS_SHIFT;
    out_will->retain = (flags & CONNECT_WILL_RETAIN) != 0;
    if (!read_string(&packet->in, &out_will->topic))
        return malformed(packet->out_error, "the will topic is cut off or not UTF-8");
    if (!read_binary(&packet->in, &out_will->payload))
        return malformed(packet->out_error, "the will payload is cut off");
    if (!mqtt_topic_valid(out_will->topic))
        return refuse(packet->out_error, REASON_TOPIC_NAME_INVALID, "the will topic is not a topic name");
    return REASON_SUCCESS;
}

/* MQTT 3.1, section 3.1: "Server implementations must allow for the possibility that the User Name flag is set, but
 * the User Name string is missing"; likewise the password. */
static bool is_missing(const struct decoding *packet)
{
    return packet->version == MQTT_V3_1 && reader_left(&packet->in) == 0;
}

static enum reason_code decode_credentials(struct decoding *packet, uint8_t flags, struct mqtt_connect *connect)
{
    if ((flags & CONNECT_USER_NAME) != 0 && !is_missing(packet) && !read_string(&packet->in, &connect->user_name))
        return malformed(packet->out_error, "the user name is cut off or not UTF-8");
    if ((flags & CONNECT_PASSWORD) != 0 && !is_missing(packet) && !read_binary(&packet->in, &connect->password))
        return malformed(packet->out_error, "the password is cut off");
    return decode_end(packet);
}

/* Section 3.1.2.11.10: "It is a Protocol Error to include Authentication Data if there is no Authentication
 * Method". */
static bool has_data_without_method(const struct mqtt_properties *properties)
{
    return mqtt_properties_have(properties, MQTT_PROP_AUTHENTICATION_DATA) &&
           !mqtt_properties_have(properties, MQTT_PROP_AUTHENTICATION_METHOD);
}

enum reason_code decode_connect(struct decoding *packet, struct mqtt_connect *out_connect)
{
    uint8_t flags;
    enum reason_code refused = decode_protocol(packet, out_connect);

    if (refused != REASON_SUCCESS)
        return refused;
    if (!read_u8(&packet->in, &flags) || !read_u16(&packet->in, &out_connect->keep_alive_s))
        return malformed(packet->out_error, "the connect flags or the keep alive are cut off");
    refused = check_flags(packet, flags);
    if (refused != REASON_SUCCESS)
        return refused;
    out_connect->clean_start = (flags & CONNECT_CLEAN_START) != 0;
    out_connect->has_will = (flags & CONNECT_WILL) != 0;
    refused = decode_properties(packet, &out_connect->properties);
    if (refused != REASON_SUCCESS)
        return refused;
    if (has_data_without_method(&out_connect->properties))
        return protocol_error(packet->out_error, "Authentication Data without an Authentication Method");
    if (!read_string(&packet->in, &out_connect->client_id))
        return malformed(packet->out_error, "the client identifier is cut off or not UTF-8");
    if (out_connect->has_will) {
        refused = decode_will(packet, flags, &out_connect->will);
        if (refused != REASON_SUCCESS)
            return refused;
    }
    return decode_credentials(packet, flags, out_connect);
}

enum reason_code decode_connack(struct decoding *packet, struct mqtt_connack *out_connack)
{
    uint8_t flags;
    uint8_t code;
    enum reason_code refused;

    if (!read_u8(&packet->in, &flags) || !read_u8(&packet->in, &code))
        return malformed(packet->out_error, "the CONNACK is cut off");
    if (flags > 1)
        return malformed(packet->out_error, "reserved CONNACK flags are set"); /* [MQTT-3.2.2-1] */
    out_connack->session_present = flags == 1;
    if (packet->version != MQTT_V5) {
        if (!reason_code_from_v3_connack(code, &out_connack->code))
            return protocol_error(packet->out_error, "an unknown return code");
    } else if (reason_code_allowed(code, IN_CONNACK)) {
        out_connack->code = code;
    } else {
        return protocol_error(packet->out_error, "a reason code that a CONNACK can't have");
    }
    if (out_connack->session_present && out_connack->code != REASON_SUCCESS)
        return protocol_error(packet->out_error, "a refusal with session present"); /* [MQTT-3.2.2-6] */
    refused = decode_properties(packet, &out_connack->properties);
    if (refused != REASON_SUCCESS)
        return refused;
    if (has_data_without_method(&out_connack->properties))
        return protocol_error(packet->out_error, "Authentication Data without an Authentication Method");
    return decode_end(packet);
}
