/*
 * encode: packets to bytes. Pure: writes into the caller's memory, never allocates. Thread: any.
 *
 * Each writer comes with a size function; a writer given at least that many bytes cannot fail. Properties are
 * written only for MQTT_V5. A property section is written from a `struct mqtt_properties`: the single-valued
 * properties in the order of the wire identifiers, then User Properties (in order) copied from `raw`. Subscription
 * Identifiers of a PUBLISH are copied from `raw` if it has any, else the field is written. A present property that
 * the packet type can't have is left out.
 */
#ifndef MQTT_ENCODE_H
#define MQTT_ENCODE_H

#include "base/compiler.h"
#include "mqtt/packet.h"

#define MQTT_VARINT_MAX 268435455u /* the largest variable byte integer */

/* Bytes that mqtt_encode() writes for `packet`, fixed header included; 0 when it can't be expressed (a string
 * over 65,535 bytes, a remaining length over 268,435,455, a v3 AUTH, a v3 password without a user name). Field values
 * are not checked, so that tests can write what a peer must refuse.
 * CONNECT: a protocol name that is absent and a level of 0 stand for those of `version`. CONNACK: see
 * reason_code_to_v3_connack(). v3 SUBACK: codes from 0x80 become 0x80. Codes and properties of the other v3 packets
 * are left out. */
size_t mqtt_encoded_size(enum mqtt_version version, const struct mqtt_packet *packet);

/* Writes any packet, for either role. Returns the bytes written, 0 when `capacity` is too small. */
size_t mqtt_encode(enum mqtt_version version, const struct mqtt_packet *packet, uint8_t *out, size_t capacity);

/* Writes a variable byte integer (section 1.5.5): 1..4 bytes. `value` is at most 268,435,455. */
static inline size_t mqtt_write_varint(uint8_t *out, uint32_t value)
{
    size_t count = 0;

    do {
        uint8_t byte = value & 0x7F;
        value >>= 7;
        out[count++] = (uint8_t)(value > 0 ? byte | 0x80 : byte);
    } while (value > 0);
    return count;
}

static inline size_t mqtt_varint_size(uint32_t value)
{
    return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

#define MQTT_ACK_SIZE_MAX 5 /* bytes: PUBACK … PUBCOMP with a reason code and without properties */

/* The acknowledgement hot path: PUBACK, PUBREC, PUBREL or PUBCOMP without properties. v3, or v5 with
 * REASON_SUCCESS: 4 bytes; else 5 (section 3.4.2.1 allows both short forms). Returns the bytes written. */
static inline size_t mqtt_encode_ack(enum mqtt_version version, enum mqtt_type type, uint16_t packet_id,
                                     enum reason_code code, uint8_t out[MQTT_ACK_SIZE_MAX])
{
    bool with_code = version == MQTT_V5 && code != REASON_SUCCESS;

    out[0] = (uint8_t)((unsigned)type << 4 | (type == MQTT_PUBREL ? 2u : 0u));
    out[1] = with_code ? 3 : 2;
    out[2] = (uint8_t)(packet_id >> 8);
    out[3] = (uint8_t)packet_id;
    if (!with_code)
        return 4;
    out[4] = (uint8_t)code;
    return 5;
}

static inline uint8_t mqtt_publish_first_byte(uint8_t qos, bool dup, bool retain)
{
    return (uint8_t)((unsigned)MQTT_PUBLISH << 4 | (dup ? 8u : 0) | (qos & 3u) << 1 | (retain ? 1u : 0));
}

/*
 * A PUBLISH in parts: the output hot path. All before the payload is written into the caller's memory; the payload
 * follows from where it lies.
 */
struct mqtt_publish_head {
    struct slice topic;      /* at most 65,535 bytes; empty when a topic alias stands for it */
    struct slice properties; /* v5: bytes of properties as mqtt_properties_forwardable() gives them */
    struct slice extra;      /* v5: bytes of properties of this delivery, from mqtt_write_*() below */
    size_t payload_len;
    uint16_t packet_id; /* written when `qos` > 0 */
    uint8_t qos;
    bool dup;
    bool retain;
};

/* Bytes after the fixed header, payload included. The packet can be sent if it is at most 268,435,455. */
static inline size_t mqtt_publish_remaining_len(enum mqtt_version version, const struct mqtt_publish_head *head)
{
    size_t properties_len = head->properties.len + head->extra.len;
    size_t len = 2 + head->topic.len + (head->qos > 0 ? 2 : 0) + head->payload_len;

    return version == MQTT_V5 ? len + mqtt_varint_size((uint32_t)properties_len) + properties_len : len;
}

/* Bytes that mqtt_publish_head_write() writes; the packet has `payload_len` more. */
static inline size_t mqtt_publish_head_size(enum mqtt_version version, const struct mqtt_publish_head *head)
{
    size_t remaining_len = mqtt_publish_remaining_len(version, head);

    return 1 + mqtt_varint_size((uint32_t)remaining_len) + remaining_len - head->payload_len;
}

/* Writes all before the payload. `*out_packet_id_at` (may be NULL) is where in `out` the two bytes of the packet
 * identifier are (big-endian), or would be: the place to patch when a frame is written once for many. The DUP flag
 * is bit 3 of the first byte. Returns the bytes written. */
static inline size_t mqtt_publish_head_write(enum mqtt_version version, const struct mqtt_publish_head *head,
                                             uint8_t *out, size_t *out_packet_id_at)
{
    uint8_t *at = out;

    *at++ = mqtt_publish_first_byte(head->qos, head->dup, head->retain);
    at += mqtt_write_varint(at, (uint32_t)mqtt_publish_remaining_len(version, head));
    *at++ = (uint8_t)(head->topic.len >> 8);
    *at++ = (uint8_t)head->topic.len;
    if (head->topic.len > 0)
        memcpy(at, head->topic.data, head->topic.len);
    at += head->topic.len;
    if (out_packet_id_at != NULL)
        *out_packet_id_at = (size_t)(at - out);
    if (head->qos > 0) {
        *at++ = (uint8_t)(head->packet_id >> 8);
        *at++ = (uint8_t)head->packet_id;
    }
    if (version == MQTT_V5) {
        at += mqtt_write_varint(at, (uint32_t)(head->properties.len + head->extra.len));
        if (head->properties.len > 0)
            memcpy(at, head->properties.data, head->properties.len);
        at += head->properties.len;
        if (head->extra.len > 0)
            memcpy(at, head->extra.data, head->extra.len);
        at += head->extra.len;
    }
    return (size_t)(at - out);
}

/* The properties that differ per delivery, each with its identifier. Return the bytes written. */
static inline size_t mqtt_write_message_expiry(uint8_t out[5], uint32_t interval_s)
{
    out[0] = 0x02;
    out[1] = (uint8_t)(interval_s >> 24);
    out[2] = (uint8_t)(interval_s >> 16);
    out[3] = (uint8_t)(interval_s >> 8);
    out[4] = (uint8_t)interval_s;
    return 5;
}

static inline size_t mqtt_write_topic_alias(uint8_t out[3], uint16_t alias)
{
    out[0] = 0x23;
    out[1] = (uint8_t)(alias >> 8);
    out[2] = (uint8_t)alias;
    return 3;
}

/* `id` is 1..268,435,455. At most 5 bytes. */
static inline size_t mqtt_write_subscription_id(uint8_t out[5], uint32_t id)
{
    out[0] = 0x0B;
    return 1 + mqtt_write_varint(out + 1, id);
}

/* Writes one User Property, with its identifier, as `raw` of struct mqtt_properties has them: name and value at most
 * 65,535 bytes. `out` NULL: only counts. Returns the bytes, at most 5 + name + value; 0 when one is too long. */
size_t mqtt_write_user_property(struct slice name, struct slice value, uint8_t *out);

/* Writes one entry of a SUBSCRIBE's (or, `options` NULL, an UNSUBSCRIBE's) payload. `out` NULL: only counts. Returns
 * the bytes, at most 3 + filter; 0 when it is over 65,535 bytes. For v3 set nothing but the QoS. */
size_t mqtt_write_filter(struct slice filter, const struct mqtt_subscription_options *options, uint8_t *out);

/* Copies from a PUBLISH's or will's decoded properties the ones that travel to subscribers unchanged (section
 * 3.3.2.3: payload format, content type, response topic, correlation data, user properties, in the order they
 * came): the form in which a message keeps them. `out` NULL: only counts. Returns the bytes. */
size_t mqtt_properties_forwardable(const struct mqtt_properties *properties, uint8_t *out);

#endif
