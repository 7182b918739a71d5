/*
 * encode: packets to bytes. Pure: writes into the caller's memory, never allocates. Thread: any.
 *
 * Each writer comes with a size function; a writer given at least that many bytes cannot fail. Properties are
 * written only for MQTT_V5. A property section is written from a `struct mqtt_properties`: the single-valued
 * properties in the order of the wire identifiers, then User Properties (in order) copied from `raw`.
 */
#ifndef MQTT_ENCODE_H
#define MQTT_ENCODE_H

#include "base/compiler.h"
#include "mqtt/packet.h"

/* Bytes that mqtt_encode() writes for `packet`, fixed header included; 0 when it can't be expressed (a string
 * over 65,535 bytes, a remaining length over 268,435,455). */
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

/* Copies from a PUBLISH's or will's decoded properties the ones that travel to subscribers unchanged (section
 * 3.3.2.3: payload format, content type, response topic, correlation data, user properties, in the order they
 * came): the form in which a message keeps them. `out` NULL: only counts. Returns the bytes. */
size_t mqtt_properties_forwardable(const struct mqtt_properties *properties, uint8_t *out);

#endif
