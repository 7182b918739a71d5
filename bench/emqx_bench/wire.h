/*
 * wire: the few MQTT packets a load generator needs, read and written by hand for speed. Pure. Thread: any.
 *
 * A PUBLISH is read in one pass over its header; the properties of MQTT 5 are skipped. The tool sends one PUBLISH
 * many times: publish_frame.h keeps it encoded.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include "base/slice.h"
#include "mqtt/packet.h"

#include "buffer.h"

/* A fixed header (MQTT 5, section 2.1). */
struct wire_frame {
    uint8_t first;       /* packet type and flags */
    uint32_t header_len; /* bytes: 2..5 */
    uint32_t body_len;   /* bytes after the fixed header */
};

/* A received PUBLISH; its slices point into the frame. */
struct wire_publish {
    struct slice topic;
    struct slice payload;
    uint16_t packet_id; /* 0 at QoS 0 */
    uint8_t qos;
    bool dup;
    bool retain;
};

struct wire_connect {
    enum mqtt_version version;
    const char *client_id;
    const char *user_name; /* NULL: none */
    const char *password;  /* NULL: none */
    uint32_t expiry_s;     /* session expiry, v5 only; 0 is not sent */
    uint16_t keep_alive_s;
    uint16_t receive_max; /* v5 only; 0 is not sent */
    bool clean;
};

/* What the tool wants to know of a CONNACK. */
struct wire_connack {
    uint8_t code;         /* as sent: a v3 return code or a v5 reason code */
    uint16_t receive_max; /* 65,535 when the broker did not say */
};

static inline uint16_t wire_read_u16(const uint8_t *data)
{
    return (uint16_t)(data[0] << 8 | data[1]);
}

/* Reads a variable byte integer of at most four bytes. Returns its bytes, 0: more are needed, -1: malformed. */
static inline int wire_read_varint(const uint8_t *data, size_t len, uint32_t *out_value)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        if ((size_t)i >= len)
            return 0;
        value |= (uint32_t)(data[i] & 0x7F) << (7 * i);
        if ((data[i] & 0x80) == 0) {
            *out_value = value;
            return i + 1;
        }
    }
    return -1;
}

/* Reads a fixed header. Returns 1: done, 0: more bytes are needed, -1: malformed. */
static inline int wire_read_frame(const uint8_t *data, size_t len, struct wire_frame *out_frame)
{
    int varint_len;

    if (len < 2)
        return 0;
    out_frame->first = data[0];
    if (LIKELY(data[1] < 0x80)) {
        out_frame->header_len = 2;
        out_frame->body_len = data[1];
        return 1;
    }
    varint_len = wire_read_varint(data + 1, len - 1, &out_frame->body_len);
    if (varint_len <= 0)
        return varint_len;
    out_frame->header_len = 1 + (uint32_t)varint_len;
    return 1;
}

/* Reads the body of a PUBLISH. False: malformed. */
static inline bool wire_read_publish(enum mqtt_version version, uint8_t first, struct slice body,
                                     struct wire_publish *out_publish)
{
    const uint8_t *data = body.data;
    size_t at;

    out_publish->qos = (first >> 1) & 3;
    out_publish->dup = (first & 8) != 0;
    out_publish->retain = (first & 1) != 0;
    out_publish->packet_id = 0;
    if (UNLIKELY(body.len < 2 || out_publish->qos == 3))
        return false;
    out_publish->topic = slice_make(data + 2, wire_read_u16(data));
    at = 2 + out_publish->topic.len;
    if (out_publish->qos > 0) {
        if (UNLIKELY(at + 2 > body.len))
            return false;
        out_publish->packet_id = wire_read_u16(data + at);
        at += 2;
    }
    if (version == MQTT_V5 && LIKELY(at < body.len)) {
        uint32_t properties_len = 0;
        int varint_len = wire_read_varint(data + at, body.len - at, &properties_len);
        if (UNLIKELY(varint_len <= 0))
            return false;
        at += (size_t)varint_len + properties_len;
    } else if (version == MQTT_V5) {
        return false;
    }
    if (UNLIKELY(at > body.len))
        return false;
    out_publish->payload = slice_make(data + at, body.len - at);
    return true;
}

/* Reads the body of a CONNACK. False: malformed. */
bool wire_read_connack(enum mqtt_version version, struct slice body, struct wire_connack *out_connack);

/* Takes a SUBACK apart: the identifier and one code a filter. False: malformed. */
bool wire_read_suback(enum mqtt_version version, struct slice body, uint16_t *out_packet_id, struct slice *out_codes);

/* Appends a CONNECT. */
void wire_write_connect(struct buffer *out, const struct wire_connect *connect);

/* Appends a SUBSCRIBE of `filter_count` filters, all with `qos`. */
void wire_write_subscribe(struct buffer *out, enum mqtt_version version, uint16_t packet_id, const char *const *filters,
                          uint32_t filter_count, uint8_t qos);

/* Appends a PINGREQ or a DISCONNECT: two bytes. */
void wire_write_empty(struct buffer *out, enum mqtt_type type);

#endif
