/*
 * decode_internal: what the decode_*.c files share.
 */
#ifndef MQTT_DECODE_INTERNAL_H
#define MQTT_DECODE_INTERNAL_H

#include "mqtt/decode.h"
#include "mqtt/packet_rules_internal.h"
#include "mqtt/reader_internal.h"
#include "mqtt/reason_code_internal.h"

/* One packet on its way from bytes to struct. */
struct decoding {
    struct reader in;
    enum mqtt_version version;
    enum mqtt_role role;
    enum mqtt_type type;
    const char **out_error; /* never NULL here */
};

static inline enum reason_code refuse(const char **out_error, enum reason_code code, const char *error)
{
    *out_error = error;
    return code;
}

static inline enum reason_code malformed(const char **out_error, const char *error)
{
    return refuse(out_error, REASON_MALFORMED_PACKET, error);
}

static inline enum reason_code protocol_error(const char **out_error, const char *error)
{
    return refuse(out_error, REASON_PROTOCOL_ERROR, error);
}

/* The property section of MQTT 5; nothing is read for older versions. */
static inline enum reason_code decode_properties(struct decoding *packet, struct mqtt_properties *out_properties)
{
    if (packet->version != MQTT_V5) {
        properties_clear(out_properties);
        return REASON_SUCCESS;
    }
    return properties_decode(&packet->in, &packet_rules[packet->type].properties, out_properties, packet->out_error);
}

/* Nothing may be left after the last field. */
static inline enum reason_code decode_end(const struct decoding *packet)
{
    return packet->in.at == packet->in.end ? REASON_SUCCESS
                                           : malformed(packet->out_error, "bytes are left over after the packet");
}

/* Each decodes the body of the packets it is named after; flags and sender were checked. */
enum reason_code decode_connect(struct decoding *packet, struct mqtt_connect *out_connect);
enum reason_code decode_connack(struct decoding *packet, struct mqtt_connack *out_connack);
enum reason_code decode_subscribe(struct decoding *packet, struct mqtt_subscribe *out_subscribe);
enum reason_code decode_suback(struct decoding *packet, struct mqtt_suback *out_suback);

#endif
