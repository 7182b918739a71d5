/*
 * sink: where encode.c writes. The same code first counts (no memory) and then writes, so a size can't differ from
 * what is written.
 */
#ifndef MQTT_SINK_INTERNAL_H
#define MQTT_SINK_INTERNAL_H

#include "base/slice.h"
#include "mqtt/encode.h"

struct sink {
    uint8_t *data; /* NULL: only count */
    size_t len;    /* bytes so far */
    bool is_bad;   /* something could not be expressed */
};

static inline void emit_u8(struct sink *out, uint8_t value)
{
    if (out->data != NULL)
        out->data[out->len] = value;
    out->len++;
}

static inline void emit_u16(struct sink *out, uint16_t value)
{
    emit_u8(out, (uint8_t)(value >> 8));
    emit_u8(out, (uint8_t)value);
}

static inline void emit_u32(struct sink *out, uint32_t value)
{
    emit_u16(out, (uint16_t)(value >> 16));
    emit_u16(out, (uint16_t)value);
}

static inline void emit_varint(struct sink *out, size_t value)
{
    uint8_t bytes[4];
    size_t count;

    if (value > MQTT_VARINT_MAX) {
        out->is_bad = true;
        return;
    }
    count = mqtt_write_varint(bytes, (uint32_t)value);
    for (size_t i = 0; i < count; i++)
        emit_u8(out, bytes[i]);
}

static inline void emit_bytes(struct sink *out, struct slice bytes)
{
    if (out->data != NULL && bytes.len > 0)
        memcpy(out->data + out->len, bytes.data, bytes.len);
    out->len += bytes.len;
}

/* Binary data or a UTF-8 encoded string, with its length. */
static inline void emit_binary(struct sink *out, struct slice bytes)
{
    if (bytes.len > UINT16_MAX) {
        out->is_bad = true;
        return;
    }
    emit_u16(out, (uint16_t)bytes.len);
    emit_bytes(out, bytes);
}

#endif
