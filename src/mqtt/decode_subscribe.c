/*
 * decode_subscribe: SUBSCRIBE, UNSUBSCRIBE (sections 3.8 and 3.10) and their acknowledgements.
 */
#include "mqtt/decode_internal.h"

/* The subscription options byte, section 3.8.3.1. */
enum {
    OPTIONS_QOS = 0x03,
    OPTIONS_NO_LOCAL = 0x04,
    OPTIONS_RETAIN_AS_PUBLISHED = 0x08,
    OPTIONS_RETAIN_HANDLING = 0x30,
    OPTIONS_RETAIN_HANDLING_SHIFT = 4,
    OPTIONS_RESERVED = 0xC0,
};

static enum reason_code check_options(const struct decoding *packet, uint8_t options)
{
    if (packet->version != MQTT_V5)
        return options <= 2 ? REASON_SUCCESS /* 3.1.1: [MQTT-3.8.3-4] */
                            : malformed(packet->out_error, "a requested QoS other than 0, 1 and 2");
    if ((options & OPTIONS_RESERVED) != 0)
        return malformed(packet->out_error, "reserved subscription options are set"); /* [MQTT-3.8.3-5] */
    if ((options & OPTIONS_QOS) == 3)
        return protocol_error(packet->out_error, "a requested QoS of 3");
    if ((options & OPTIONS_RETAIN_HANDLING) == OPTIONS_RETAIN_HANDLING)
        return protocol_error(packet->out_error, "a Retain Handling of 3");
    return REASON_SUCCESS;
}

/* Goes once over all filters, so that mqtt_filter_next() can't fail. */
static enum reason_code check_filters(struct decoding *packet, uint32_t *out_count)
{
    uint32_t count = 0;

    while (reader_left(&packet->in) > 0) {
        struct slice filter;
        uint8_t options;
        enum reason_code refused;

        if (!read_string(&packet->in, &filter))
            return malformed(packet->out_error, "a filter is cut off or not UTF-8");
        count++;
        if (packet->type == MQTT_UNSUBSCRIBE)
            continue;
        if (!read_u8(&packet->in, &options))
            return malformed(packet->out_error, "the subscription options are cut off");
        refused = check_options(packet, options);
        if (refused != REASON_SUCCESS)
            return refused;
    }
    if (count == 0)
        return protocol_error(packet->out_error, "no filter"); /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
    *out_count = count;
    return REASON_SUCCESS;
}

static enum reason_code decode_packet_id(struct decoding *packet, uint16_t *out_packet_id)
{
    if (!read_u16(&packet->in, out_packet_id))
        return malformed(packet->out_error, "the packet identifier is cut off");
    if (*out_packet_id == 0)
        return malformed(packet->out_error, "a packet identifier of 0"); /* [MQTT-2.2.1-3] */
    return REASON_SUCCESS;
}

enum reason_code decode_subscribe(struct decoding *packet, struct mqtt_subscribe *out_subscribe)
{
    enum reason_code refused = decode_packet_id(packet, &out_subscribe->packet_id);

    if (refused != REASON_SUCCESS)
        return refused;
    refused = decode_properties(packet, &out_subscribe->properties);
    if (refused != REASON_SUCCESS)
        return refused;
    out_subscribe->filters = slice_make(packet->in.at, reader_left(&packet->in));
    return check_filters(packet, &out_subscribe->filter_count);
}

bool mqtt_filter_next(struct slice *filters, struct slice *out_filter, struct mqtt_subscription_options *out_options)
{
    struct reader in;
    uint8_t options;

    if (filters->len == 0)
        return false;
    in = (struct reader){filters->data, filters->data + filters->len};
    if (!read_binary(&in, out_filter))
        return false;
    if (out_options != NULL) {
        if (!read_u8(&in, &options))
            return false;
        *out_options = (struct mqtt_subscription_options){
            .qos = options & OPTIONS_QOS,
            .no_local = (options & OPTIONS_NO_LOCAL) != 0,
            .retain_as_published = (options & OPTIONS_RETAIN_AS_PUBLISHED) != 0,
            .retain_handling = (options & OPTIONS_RETAIN_HANDLING) >> OPTIONS_RETAIN_HANDLING_SHIFT,
        };
    }
    *filters = read_rest(&in);
    return true;
}

/* MQTT 3.x grants 0, 1 or 2 or fails with 0x80. MQTT 3.1 has no failure, but its servers send 0x80 as well. */
static bool is_suback_code(const struct decoding *packet, uint8_t code)
{
    if (packet->version != MQTT_V5)
        return code <= 2 || code == REASON_UNSPECIFIED_ERROR;
    return reason_code_allowed(code, packet_rules[packet->type].carriers[packet->role]);
}

enum reason_code decode_suback(struct decoding *packet, struct mqtt_suback *out_suback)
{
    enum reason_code refused = decode_packet_id(packet, &out_suback->packet_id);

    if (refused != REASON_SUCCESS)
        return refused;
    refused = decode_properties(packet, &out_suback->properties);
    if (refused != REASON_SUCCESS)
        return refused;
    out_suback->codes = slice_make(packet->in.at, reader_left(&packet->in));
    if (packet->type == MQTT_UNSUBACK && packet->version != MQTT_V5)
        return decode_end(packet);
    if (out_suback->codes.len == 0)
        return protocol_error(packet->out_error, "an acknowledgement without reason codes");
    for (size_t i = 0; i < out_suback->codes.len; i++) {
        if (!is_suback_code(packet, out_suback->codes.data[i]))
            return protocol_error(packet->out_error, "a reason code that this acknowledgement can't have");
    }
    return REASON_SUCCESS;
}
