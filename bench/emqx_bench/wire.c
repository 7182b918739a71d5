/*
 * wire: the packets that are rare, see wire.h.
 */
#include "wire.h"

#include "mqtt/encode.h"

#include <string.h>

#define PROPERTY_SESSION_EXPIRY 0x11
#define PROPERTY_RECEIVE_MAXIMUM 0x21
#define CONNECT_PROPERTIES_MAX 8u /* bytes: both of the above */

static size_t write_u16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return 2;
}

static size_t write_text(uint8_t *out, const char *text, size_t len)
{
    memcpy(out + write_u16(out, (uint16_t)len), text, len);
    return 2 + len;
}

/* The bytes of each CONNACK property's value by identifier; 0 is unknown, 255 a string or binary data, 254 a pair
 * of strings (MQTT 5, section 3.2.2.3). */
static uint8_t connack_property_size(uint8_t property)
{
    switch (property) {
    case 0x11: /* Session Expiry Interval */
    case 0x27: /* Maximum Packet Size */ return 4;
    case 0x13: /* Server Keep Alive */
    case PROPERTY_RECEIVE_MAXIMUM:
    case 0x22: /* Topic Alias Maximum */ return 2;
    case 0x24: /* Maximum QoS */
    case 0x25: /* Retain Available */
    case 0x28: /* Wildcard Subscription Available */
    case 0x29: /* Subscription Identifiers Available */
    case 0x2A: /* Shared Subscription Available */ return 1;
    case 0x12: /* Assigned Client Identifier */
    case 0x15: /* Authentication Method */
    case 0x16: /* Authentication Data */
    case 0x1A: /* Response Information */
    case 0x1C: /* Server Reference */
    case 0x1F: /* Reason String */ return 255;
    case 0x26: /* User Property */ return 254;
    default: return 0;
    }
}

/* The bytes of one string or pair at `data`, or more than `len` when it is cut short. */
static size_t text_size(const uint8_t *data, size_t len, bool pair)
{
    size_t size = len < 2 ? 2 : 2u + wire_read_u16(data);

    if (pair)
        size += size + 2 > len ? 2 : 2u + wire_read_u16(data + size);
    return size;
}

static bool read_connack_properties(struct slice section, struct wire_connack *connack)
{
    while (section.len > 0) {
        uint8_t property = section.data[0];
        uint8_t kind = connack_property_size(property);
        size_t size;

        section = slice_skip(section, 1);
        size = kind >= 254 ? text_size(section.data, section.len, kind == 254) : kind;
        if (size == 0 || size > section.len)
            return false;
        if (property == PROPERTY_RECEIVE_MAXIMUM)
            connack->receive_max = wire_read_u16(section.data);
        section = slice_skip(section, size);
    }
    return connack->receive_max != 0;
}

bool wire_read_connack(enum mqtt_version version, struct slice body, struct wire_connack *out_connack)
{
    uint32_t properties_len = 0;
    int varint_len;

    if (body.len < 2)
        return false;
    *out_connack = (struct wire_connack){.code = body.data[1], .receive_max = UINT16_MAX};
    if (version != MQTT_V5 || body.len == 2)
        return true; /* a v5 broker that does not know v5 answers with two bytes */
    varint_len = wire_read_varint(body.data + 2, body.len - 2, &properties_len);
    if (varint_len <= 0 || 2 + (size_t)varint_len + properties_len != body.len)
        return false;
    return read_connack_properties(slice_skip(body, 2 + (size_t)varint_len), out_connack);
}

bool wire_read_suback(enum mqtt_version version, struct slice body, uint16_t *out_packet_id, struct slice *out_codes)
{
    uint32_t properties_len = 0;

    if (body.len < 3)
        return false;
    *out_packet_id = wire_read_u16(body.data);
    body = slice_skip(body, 2);
    if (version == MQTT_V5) {
        int varint_len = wire_read_varint(body.data, body.len, &properties_len);
        if (varint_len <= 0 || (size_t)varint_len + properties_len > body.len)
            return false;
        body = slice_skip(body, (size_t)varint_len + properties_len);
    }
    *out_codes = body;
    return true;
}

static size_t write_connect_properties(uint8_t *out, const struct wire_connect *connect)
{
    size_t at = 1; /* the length, under 128 */

    if (connect->expiry_s > 0) {
        out[at++] = PROPERTY_SESSION_EXPIRY;
        at += write_u16(out + at, (uint16_t)(connect->expiry_s >> 16));
        at += write_u16(out + at, (uint16_t)connect->expiry_s);
    }
    if (connect->receive_max > 0) {
        out[at++] = PROPERTY_RECEIVE_MAXIMUM;
        at += write_u16(out + at, connect->receive_max);
    }
    out[0] = (uint8_t)(at - 1);
    return at;
}

void wire_write_connect(struct buffer *out, const struct wire_connect *connect)
{
    const char *protocol = connect->version == MQTT_V3_1 ? "MQIsdp" : "MQTT";
    size_t protocol_len = strlen(protocol);
    size_t id_len = strlen(connect->client_id);
    size_t user_len = connect->user_name == NULL ? 0 : strlen(connect->user_name);
    size_t password_len = connect->password == NULL ? 0 : strlen(connect->password);
    uint8_t properties[1 + CONNECT_PROPERTIES_MAX];
    size_t properties_len = connect->version == MQTT_V5 ? write_connect_properties(properties, connect) : 0;
    size_t body_len = 2 + protocol_len + 4 + properties_len + 2 + id_len;
    uint8_t *data;
    size_t at;

    body_len += (connect->user_name == NULL ? 0 : 2 + user_len) + (connect->password == NULL ? 0 : 2 + password_len);
    data = buffer_reserve(out, body_len + 5);
    data[0] = MQTT_CONNECT << 4;
    at = 1 + mqtt_write_varint(data + 1, (uint32_t)body_len);
    at += write_text(data + at, protocol, protocol_len);
    data[at++] = (uint8_t)connect->version;
    data[at++] = (uint8_t)((connect->clean ? 0x02 : 0) | (connect->user_name != NULL ? 0x80 : 0) |
                           (connect->password != NULL ? 0x40 : 0));
    at += write_u16(data + at, connect->keep_alive_s);
    memcpy(data + at, properties, properties_len);
    at += properties_len;
    at += write_text(data + at, connect->client_id, id_len);
    if (connect->user_name != NULL)
        at += write_text(data + at, connect->user_name, user_len);
    if (connect->password != NULL)
        at += write_text(data + at, connect->password, password_len);
    buffer_commit(out, at);
}

void wire_write_subscribe(struct buffer *out, enum mqtt_version version, uint16_t packet_id, const char *const *filters,
                          uint32_t filter_count, uint8_t qos)
{
    size_t body_len = version == MQTT_V5 ? 3 : 2;
    uint8_t *data;
    size_t at;

    for (uint32_t i = 0; i < filter_count; i++)
        body_len += 2 + strlen(filters[i]) + 1;
    data = buffer_reserve(out, body_len + 5);
    data[0] = MQTT_SUBSCRIBE << 4 | 2;
    at = 1 + mqtt_write_varint(data + 1, (uint32_t)body_len);
    at += write_u16(data + at, packet_id);
    if (version == MQTT_V5)
        data[at++] = 0;
    for (uint32_t i = 0; i < filter_count; i++) {
        at += write_text(data + at, filters[i], strlen(filters[i]));
        data[at++] = qos;
    }
    buffer_commit(out, at);
}

void wire_write_empty(struct buffer *out, enum mqtt_type type)
{
    uint8_t *data = buffer_reserve(out, 2);

    data[0] = (uint8_t)((unsigned)type << 4);
    data[1] = 0;
    buffer_commit(out, 2);
}
