/*
 * properties: one table row holds all about one property; decoding, encoding and walking are loops over rows.
 *
 * The table is indexed by the identifier on the wire. All identifiers of MQTT 5 are below 0x80, so the variable
 * byte integer they are sent as is one byte.
 */
#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "mqtt/properties_internal.h"

enum property_type {
    PROPERTY_NONE, /* no such identifier */
    PROPERTY_U8,
    PROPERTY_U16,
    PROPERTY_U32,
    PROPERTY_VARINT,
    PROPERTY_STRING,
    PROPERTY_TOPIC, /* a string that must be a topic name */
    PROPERTY_BINARY,
    PROPERTY_PAIR,
};

struct property_row {
    const char *name; /* as the standard writes it */
    uint8_t property; /* enum mqtt_property */
    uint8_t type;     /* enum property_type */
    uint16_t offset;  /* of the field in struct mqtt_properties; none for a pair */
    uint32_t min;     /* numbers: the legal range */
    uint32_t max;
};

#define NUMBER(prop, type, field, min, max, name)                                                                      \
    {                                                                                                                  \
        name, MQTT_PROP_##prop, PROPERTY_##type, offsetof(struct mqtt_properties, field), min, max                     \
    }
#define TEXT(prop, type, field, name)                                                                                  \
    {                                                                                                                  \
        name, MQTT_PROP_##prop, PROPERTY_##type, offsetof(struct mqtt_properties, field), 0, 0                         \
    }

/* clang-format off */
static const struct property_row property_rows[] = {
    [0x01] = NUMBER(PAYLOAD_FORMAT_INDICATOR, U8, payload_format_indicator, 0, 1, "Payload Format Indicator"),
    [0x02] = NUMBER(MESSAGE_EXPIRY_INTERVAL, U32, message_expiry_interval_s, 0, UINT32_MAX, "Message Expiry Interval"),
    [0x03] = TEXT(CONTENT_TYPE, STRING, content_type, "Content Type"),
    [0x08] = TEXT(RESPONSE_TOPIC, TOPIC, response_topic, "Response Topic"),
    [0x09] = TEXT(CORRELATION_DATA, BINARY, correlation_data, "Correlation Data"),
    [0x0B] = NUMBER(SUBSCRIPTION_IDENTIFIER, VARINT, subscription_id, 1, MQTT_VARINT_MAX, "Subscription Identifier"),
    [0x11] = NUMBER(SESSION_EXPIRY_INTERVAL, U32, session_expiry_interval_s, 0, UINT32_MAX, "Session Expiry Interval"),
    [0x12] = TEXT(ASSIGNED_CLIENT_IDENTIFIER, STRING, assigned_client_id, "Assigned Client Identifier"),
    [0x13] = NUMBER(SERVER_KEEP_ALIVE, U16, server_keep_alive_s, 0, UINT16_MAX, "Server Keep Alive"),
    [0x15] = TEXT(AUTHENTICATION_METHOD, STRING, authentication_method, "Authentication Method"),
    [0x16] = TEXT(AUTHENTICATION_DATA, BINARY, authentication_data, "Authentication Data"),
    [0x17] = NUMBER(REQUEST_PROBLEM_INFORMATION, U8, request_problem_information, 0, 1, "Request Problem Information"),
    [0x18] = NUMBER(WILL_DELAY_INTERVAL, U32, will_delay_interval_s, 0, UINT32_MAX, "Will Delay Interval"),
    [0x19] = NUMBER(REQUEST_RESPONSE_INFORMATION, U8, request_response_information, 0, 1,
                    "Request Response Information"),
    [0x1A] = TEXT(RESPONSE_INFORMATION, STRING, response_information, "Response Information"),
    [0x1C] = TEXT(SERVER_REFERENCE, STRING, server_reference, "Server Reference"),
    [0x1F] = TEXT(REASON_STRING, STRING, reason_string, "Reason String"),
    [0x21] = NUMBER(RECEIVE_MAXIMUM, U16, receive_maximum, 1, UINT16_MAX, "Receive Maximum"),
    [0x22] = NUMBER(TOPIC_ALIAS_MAXIMUM, U16, topic_alias_maximum, 0, UINT16_MAX, "Topic Alias Maximum"),
    /* A Topic Alias of 0 has a reason code of its own, which the channel gives. */
    [0x23] = NUMBER(TOPIC_ALIAS, U16, topic_alias, 0, UINT16_MAX, "Topic Alias"),
    [0x24] = NUMBER(MAXIMUM_QOS, U8, maximum_qos, 0, 1, "Maximum QoS"),
    [0x25] = NUMBER(RETAIN_AVAILABLE, U8, retain_available, 0, 1, "Retain Available"),
    [0x26] = {"User Property", MQTT_PROP_USER_PROPERTY, PROPERTY_PAIR, 0, 0, 0},
    [0x27] = NUMBER(MAXIMUM_PACKET_SIZE, U32, maximum_packet_size, 1, UINT32_MAX, "Maximum Packet Size"),
    [0x28] = NUMBER(WILDCARD_SUBSCRIPTION_AVAILABLE, U8, wildcard_subscription_available, 0, 1,
                    "Wildcard Subscription Available"),
    [0x29] = NUMBER(SUBSCRIPTION_IDENTIFIER_AVAILABLE, U8, subscription_id_available, 0, 1,
                    "Subscription Identifier Available"),
    [0x2A] = NUMBER(SHARED_SUBSCRIPTION_AVAILABLE, U8, shared_subscription_available, 0, 1,
                    "Shared Subscription Available"),
};
/* clang-format on */

#define USER_PROPERTY_WIRE 0x26

const struct property_set will_property_set = {
    .allowed = MQTT_PROP_BIT(MQTT_PROP_WILL_DELAY_INTERVAL) | MQTT_PROP_BIT(MQTT_PROP_PAYLOAD_FORMAT_INDICATOR) |
               MQTT_PROP_BIT(MQTT_PROP_MESSAGE_EXPIRY_INTERVAL) | MQTT_PROP_BIT(MQTT_PROP_CONTENT_TYPE) |
               MQTT_PROP_BIT(MQTT_PROP_RESPONSE_TOPIC) | MQTT_PROP_BIT(MQTT_PROP_CORRELATION_DATA) |
               MQTT_PROP_BIT(MQTT_PROP_USER_PROPERTY),
    .repeated = MQTT_PROP_BIT(MQTT_PROP_USER_PROPERTY),
};

/* Section 3.3.2.3: what a server passes on to subscribers unaltered. */
static const uint32_t forwardable = MQTT_PROP_BIT(MQTT_PROP_PAYLOAD_FORMAT_INDICATOR) |
                                    MQTT_PROP_BIT(MQTT_PROP_CONTENT_TYPE) | MQTT_PROP_BIT(MQTT_PROP_RESPONSE_TOPIC) |
                                    MQTT_PROP_BIT(MQTT_PROP_CORRELATION_DATA) | MQTT_PROP_BIT(MQTT_PROP_USER_PROPERTY);

/* NULL when the standard has no such identifier. */
static const struct property_row *row_find(uint8_t wire_id)
{
    if (wire_id >= ARRAY_COUNT(property_rows) || property_rows[wire_id].type == PROPERTY_NONE)
        return NULL;
    return &property_rows[wire_id];
}

const char *mqtt_property_name(enum mqtt_property property)
{
    for (size_t wire_id = 0; wire_id < ARRAY_COUNT(property_rows); wire_id++) {
        const struct property_row *row = &property_rows[wire_id];

        if (row->type != PROPERTY_NONE && row->property == property)
            return row->name;
    }
    return "unknown property";
}

static enum reason_code refuse(enum reason_code code, const char *error, const char **out_error)
{
    *out_error = error;
    return code;
}

/* Takes a number off `in` and stores it if it is in the row's range. */
static enum reason_code number_decode(struct reader *in, const struct property_row *row, void *field,
                                      const char **out_error)
{
    uint8_t value_u8 = 0;
    uint16_t value_u16 = 0;
    uint32_t value = 0;
    bool is_whole;

    switch (row->type) {
    case PROPERTY_U8:
        is_whole = read_u8(in, &value_u8);
        value = value_u8;
        break;
    case PROPERTY_U16:
        is_whole = read_u16(in, &value_u16);
        value = value_u16;
        break;
    case PROPERTY_U32: is_whole = read_u32(in, &value); break;
    default: is_whole = read_varint(in, &value); break;
    }
    if (!is_whole)
        return refuse(REASON_MALFORMED_PACKET, "a property's number is cut off or too long", out_error);
    if (value < row->min || value > row->max)
        return refuse(REASON_PROTOCOL_ERROR, "a property's value is out of its range", out_error);
    if (row->type == PROPERTY_U8)
        *(uint8_t *)field = value_u8;
    else if (row->type == PROPERTY_U16)
        *(uint16_t *)field = value_u16;
    else
        *(uint32_t *)field = value;
    return REASON_SUCCESS;
}

static enum reason_code text_decode(struct reader *in, const struct property_row *row, struct slice *field,
                                    const char **out_error)
{
    if (!(row->type == PROPERTY_BINARY ? read_binary(in, field) : read_string(in, field)))
        return refuse(REASON_MALFORMED_PACKET, "a property's text is cut off or not UTF-8", out_error);
    if (row->type == PROPERTY_TOPIC && !mqtt_topic_valid(*field)) /* [MQTT-3.3.2-14] */
        return refuse(REASON_PROTOCOL_ERROR, "the Response Topic is not a topic name", out_error);
    return REASON_SUCCESS;
}

static enum reason_code value_decode(struct reader *in, const struct property_row *row,
                                     struct mqtt_properties *properties, const char **out_error)
{
    void *field = (char *)properties + row->offset;
    struct slice name;
    struct slice value;

    switch (row->type) {
    case PROPERTY_PAIR:
        if (!read_string(in, &name) || !read_string(in, &value))
            return refuse(REASON_MALFORMED_PACKET, "a User Property is cut off or not UTF-8", out_error);
        return REASON_SUCCESS;
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
    case PROPERTY_BINARY: return text_decode(in, row, field, out_error);
    default: return number_decode(in, row, field, out_error);
    }
}

enum reason_code properties_decode_some(struct reader *in, const struct property_set *set,
                                        struct mqtt_properties *out_properties, const char **out_error)
{
    struct reader section;
    uint32_t len;

    if (!read_varint(in, &len) || !read_bytes(in, len, &out_properties->raw))
        return refuse(REASON_MALFORMED_PACKET, "the property length does not fit the packet", out_error);
    section = (struct reader){out_properties->raw.data, out_properties->raw.data + len};
    while (section.at < section.end) {
        const struct property_row *row = row_find(*section.at++);
        enum reason_code code;
        uint32_t bit;

        if (row == NULL)
            return refuse(REASON_MALFORMED_PACKET, "a property identifier is unknown", out_error);
        bit = MQTT_PROP_BIT(row->property);
        if ((set->allowed & bit) == 0)
            /* Section 2.2.2.2: "an Identifier which is not valid for its packet type [...] is a Malformed Packet". */
            return refuse(REASON_MALFORMED_PACKET, "a property is not allowed in this packet", out_error);
        if ((out_properties->present & bit & ~set->repeated) != 0)
            return refuse(REASON_PROTOCOL_ERROR, "a property comes twice", out_error);
        code = value_decode(&section, row, out_properties, out_error);
        if (code != REASON_SUCCESS)
            return code;
        out_properties->present |= bit;
    }
    return REASON_SUCCESS;
}

bool mqtt_property_next(struct slice *raw, enum mqtt_property *out_property, struct slice *out_name,
                        struct slice *out_value)
{
    struct reader in;
    const struct property_row *row;
    struct slice name = {NULL, 0};
    struct slice value;
    uint32_t number;
    bool is_whole;

    if (raw->len == 0)
        return false;
    in = (struct reader){raw->data + 1, raw->data + raw->len};
    row = row_find(raw->data[0]);
    if (row == NULL)
        return false;
    switch (row->type) {
    case PROPERTY_U8: is_whole = read_bytes(&in, 1, &value); break;
    case PROPERTY_U16: is_whole = read_bytes(&in, 2, &value); break;
    case PROPERTY_U32: is_whole = read_bytes(&in, 4, &value); break;
    case PROPERTY_VARINT:
        is_whole = read_varint(&in, &number);
        value = slice_make(raw->data + 1, (size_t)(in.at - raw->data) - 1);
        break;
    case PROPERTY_PAIR: is_whole = read_binary(&in, &name) && read_binary(&in, &value); break;
    default: is_whole = read_binary(&in, &value); break;
    }
    if (!is_whole)
        return false;
    *raw = slice_make(in.at, reader_left(&in));
    *out_property = row->property;
    *out_name = name;
    *out_value = value;
    return true;
}

/* Copies the properties of `wanted` from `raw` as they are, in their order. Returns how many there were. */
static size_t emit_from_raw(struct sink *out, struct slice raw, uint32_t wanted)
{
    enum mqtt_property property;
    struct slice name;
    struct slice value;
    size_t count = 0;

    for (struct slice rest = raw; mqtt_property_next(&rest, &property, &name, &value); raw = rest) {
        if ((wanted & MQTT_PROP_BIT(property)) == 0)
            continue;
        emit_bytes(out, slice_make(raw.data, raw.len - rest.len));
        count++;
    }
    return count;
}

static void field_emit(struct sink *out, const struct property_row *row, const struct mqtt_properties *properties)
{
    const void *field = (const char *)properties + row->offset;

    switch (row->type) {
    case PROPERTY_U8: emit_u8(out, *(const uint8_t *)field); break;
    case PROPERTY_U16: emit_u16(out, *(const uint16_t *)field); break;
    case PROPERTY_U32: emit_u32(out, *(const uint32_t *)field); break;
    case PROPERTY_VARINT: emit_varint(out, *(const uint32_t *)field); break;
    default: emit_binary(out, *(const struct slice *)field); break;
    }
}

static void section_emit(struct sink *out, uint32_t present, const struct property_set *set,
                         const struct mqtt_properties *properties)
{
    for (size_t wire_id = 0; wire_id < ARRAY_COUNT(property_rows); wire_id++) {
        const struct property_row *row = &property_rows[wire_id];
        uint32_t bit = MQTT_PROP_BIT(row->property);

        if (row->type == PROPERTY_NONE || row->type == PROPERTY_PAIR || (present & bit) == 0)
            continue;
        if ((set->repeated & bit) != 0 && emit_from_raw(out, properties->raw, bit) > 0)
            continue;
        emit_u8(out, (uint8_t)wire_id);
        field_emit(out, row, properties);
    }
    if ((present & MQTT_PROP_BIT(MQTT_PROP_USER_PROPERTY)) != 0)
        emit_from_raw(out, properties->raw, MQTT_PROP_BIT(MQTT_PROP_USER_PROPERTY));
}

void properties_emit(struct sink *out, const struct property_set *set, const struct mqtt_properties *properties)
{
    struct sink count = {NULL, 0, false};
    uint32_t present = properties->present & set->allowed;

    if (present == 0) {
        emit_u8(out, 0);
        return;
    }
    section_emit(&count, present, set, properties);
    emit_varint(out, count.len);
    section_emit(out, present, set, properties);
    out->is_bad |= count.is_bad;
}

size_t mqtt_properties_forwardable(const struct mqtt_properties *properties, uint8_t *out)
{
    struct sink sink = {out, 0, false};

    if ((properties->present & forwardable) == 0)
        return 0;
    if ((properties->present & ~forwardable) == 0)
        emit_bytes(&sink, properties->raw);
    else
        emit_from_raw(&sink, properties->raw, forwardable);
    return sink.len;
}

size_t mqtt_write_user_property(struct slice name, struct slice value, uint8_t *out)
{
    struct sink sink = {out, 0, false};

    emit_u8(&sink, USER_PROPERTY_WIRE);
    emit_binary(&sink, name);
    emit_binary(&sink, value);
    return sink.is_bad ? 0 : sink.len;
}
