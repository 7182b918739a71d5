/*
 * reader: takes the data types of MQTT 5, section 1.5, off the front of some bytes. Inline, as the decoder's speed
 * is here. Each function returns false, and takes nothing that matters, when the bytes do not hold the thing.
 */
#ifndef MQTT_READER_INTERNAL_H
#define MQTT_READER_INTERNAL_H

#include "base/slice.h"
#include "mqtt/topic.h"

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline size_t reader_left(const struct reader *in)
{
    return (size_t)(in->end - in->at);
}

static inline bool read_u8(struct reader *in, uint8_t *out_value)
{
    if (in->at == in->end)
        return false;
    *out_value = *in->at++;
    return true;
}

static inline bool read_u16(struct reader *in, uint16_t *out_value)
{
    if (reader_left(in) < 2)
        return false;
    *out_value = (uint16_t)(in->at[0] << 8 | in->at[1]);
    in->at += 2;
    return true;
}

static inline bool read_u32(struct reader *in, uint32_t *out_value)
{
    if (reader_left(in) < 4)
        return false;
    *out_value = (uint32_t)in->at[0] << 24 | (uint32_t)in->at[1] << 16 | (uint32_t)in->at[2] << 8 | in->at[3];
    in->at += 4;
    return true;
}

/* A variable byte integer. One that is not in its shortest form is refused [MQTT-1.5.5-1]. */
static inline bool read_varint(struct reader *in, uint32_t *out_value)
{
    uint32_t value = 0;

    for (unsigned count = 0; count < 4 && in->at < in->end; count++) {
        uint8_t byte = *in->at++;

        value |= (uint32_t)(byte & 0x7F) << (7 * count);
        if (byte < 0x80) {
            *out_value = value;
            return count == 0 || byte != 0;
        }
    }
    return false;
}

static inline bool read_bytes(struct reader *in, size_t len, struct slice *out_bytes)
{
    if (reader_left(in) < len)
        return false;
    *out_bytes = slice_make(in->at, len);
    in->at += len;
    return true;
}

/* Binary data: two bytes of length, then the bytes. */
static inline bool read_binary(struct reader *in, struct slice *out_bytes)
{
    uint16_t len;

    return read_u16(in, &len) && read_bytes(in, len, out_bytes);
}

/* Binary data that is a legal UTF-8 encoded string. */
static inline bool read_string(struct reader *in, struct slice *out_text)
{
    return read_binary(in, out_text) && mqtt_utf8_valid(*out_text);
}

/* All that is left. */
static inline struct slice read_rest(struct reader *in)
{
    struct slice rest = slice_make(in->at, reader_left(in));

    in->at = in->end;
    return rest;
}

#endif
