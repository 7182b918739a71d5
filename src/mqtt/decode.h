/*
 * decode: bytes to packets, strict as MQTT 3.1.1 and 5.0 demand. Pure: borrows, never allocates. Thread: any.
 *
 * Reading a stream: mqtt_frame_peek() on what has come; when it says the frame's size and that many bytes are
 * there, mqtt_decode_*() on exactly the frame.
 */
#ifndef MQTT_DECODE_H
#define MQTT_DECODE_H

#include "base/compiler.h"
#include "mqtt/packet.h"

#define MQTT_REMAINING_LENGTH_MAX 268435455u /* bytes; section 1.5.5 */
#define MQTT_FIXED_HEADER_MAX 5u             /* bytes */

/* The fixed header (section 2.1). */
struct mqtt_frame {
    uint8_t type;           /* enum mqtt_type; 0 is refused by decode */
    uint8_t flags;          /* low nibble of the first byte */
    uint8_t header_len;     /* 2..5 bytes */
    uint32_t remaining_len; /* bytes after the fixed header */
};

enum mqtt_peek {
    MQTT_PEEK_MORE,      /* the fixed header is not complete yet */
    MQTT_PEEK_OK,        /* `out_frame` is filled; its remaining bytes may still be missing */
    MQTT_PEEK_MALFORMED, /* a length of more than four bytes, or not in its shortest form is NOT refused: only >4 */
};

/* Looks at the fixed header at `data`. Nothing is consumed. */
enum mqtt_peek mqtt_frame_peek(const uint8_t *data, size_t len, struct mqtt_frame *out_frame);

/* Who sent the bytes: decides which packet types are legal. */
enum mqtt_role { MQTT_FROM_CLIENT, MQTT_FROM_SERVER };

/*
 * Decodes one whole packet. `body` is what follows the fixed header, `frame->remaining_len` bytes.
 * `version` is the connection's; for CONNECT it is ignored (the packet says its own).
 * REASON_SUCCESS and `*out_packet` filled, or the reason to close with: REASON_MALFORMED_PACKET (0x81),
 * REASON_PROTOCOL_ERROR (0x82), REASON_TOPIC_NAME_INVALID (0x90), REASON_TOPIC_FILTER_INVALID (0x8F),
 * REASON_UNSUPPORTED_PROTOCOL_VERSION (0x84, CONNECT only; level and protocol_name are then filled, the rest is
 * not). `*out_error` (may be NULL) is set on failure to a static text that says what was wrong, for the log.
 * After a CONNECT that failed, `level` and `protocol_name` are as far as they came (0 and absent if they did not), so
 * that the answer can be in the client's version. Other packets that failed have no defined content.
 * A v5 topic alias of 0 and a Subscription Identifier from a client are left to the channel (0x94, 0x82).
 */
MUST_USE enum reason_code mqtt_decode(enum mqtt_version version, enum mqtt_role role, const struct mqtt_frame *frame,
                                      const uint8_t *body, struct mqtt_packet *out_packet, const char **out_error);

/* The hot path of mqtt_decode() for PUBLISH alone; the same rules. `frame->type` must be MQTT_PUBLISH,
 * `body` not NULL. */
MUST_USE enum reason_code mqtt_decode_publish(enum mqtt_version version, enum mqtt_role role,
                                              const struct mqtt_frame *frame, const uint8_t *body,
                                              struct mqtt_publish *out_publish, const char **out_error);

/* The hot path of mqtt_decode() for PUBACK, PUBREC, PUBREL and PUBCOMP; the same rules. `frame->type` must be one of
 * them, `body` not NULL. */
MUST_USE enum reason_code mqtt_decode_ack(enum mqtt_version version, const struct mqtt_frame *frame,
                                          const uint8_t *body, struct mqtt_ack *out_ack, const char **out_error);

/* Takes the next filter off a decoded packet's `filters`: with its options (SUBSCRIBE) or without
 * (`out_options` NULL: UNSUBSCRIBE). v3 options have only a QoS. False at the end. The filter's syntax is the
 * channel's to check, per filter (topic.h); its UTF-8 was checked. */
bool mqtt_filter_next(struct slice *filters, struct slice *out_filter, struct mqtt_subscription_options *out_options);

/* Takes the next user property or other property off a raw section that was decoded before.
 * False at the end. `out_value` is for numbers the bytes of the number (big-endian, or the variable byte
 * integer as sent); for User Property it is the value and `out_name` the name. Used for User Property and for
 * repeated Subscription Identifiers. */
bool mqtt_property_next(struct slice *raw, enum mqtt_property *out_property, struct slice *out_name,
                        struct slice *out_value);

#endif
