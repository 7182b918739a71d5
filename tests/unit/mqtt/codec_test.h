/*
 * codec_test: what the codec's tests share. Bytes are decoded from a block of exactly their size, so that a sanitizer
 * sees a read past the end.
 */
#ifndef TESTS_MQTT_CODEC_TEST_H
#define TESTS_MQTT_CODEC_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "packet_equal.h"

#define C MQTT_FROM_CLIENT
#define S MQTT_FROM_SERVER

/* Decodes `first_byte` and a body. What the packet borrows is valid until the next call. */
static inline enum reason_code decode_body(enum mqtt_version version, enum mqtt_role role, uint8_t first_byte,
                                           const void *body, size_t len, struct mqtt_packet *out_packet)
{
    static uint8_t *held;
    struct mqtt_frame frame = {.type = first_byte >> 4,
                               .flags = first_byte & 0x0F,
                               .header_len = (uint8_t)(1 + mqtt_varint_size((uint32_t)len)),
                               .remaining_len = (uint32_t)len};
    const char *error = NULL;
    enum reason_code code;

    free(held);
    held = NULL;
    if (len > 0) {
        held = malloc(len);
        assert_non_null(held);
        memcpy(held, body, len);
    }
    memset(out_packet, 0xA5, sizeof(*out_packet)); /* nothing may be taken from here */
    code = mqtt_decode(version, role, &frame, held, out_packet, &error);
    assert_int_equal(code == REASON_SUCCESS, error == NULL);
    return code;
}

/* Body as a string literal, so that embedded zeros count. */
#define DECODE(version, role, first_byte, body, out_packet)                                                            \
    decode_body(version, role, first_byte, "" body, sizeof(body) - 1, out_packet)

#define ASSERT_TAKEN(version, role, first_byte, body, out_packet)                                                      \
    assert_int_equal(DECODE(version, role, first_byte, body, out_packet), REASON_SUCCESS)

#define ASSERT_REFUSED(reason, version, role, first_byte, body)                                                        \
    do {                                                                                                               \
        struct mqtt_packet refused_packet_;                                                                            \
        assert_int_equal(DECODE(version, role, first_byte, body, &refused_packet_), reason);                           \
    } while (0)

#define ASSERT_SLICE(slice_, text)                                                                                     \
    do {                                                                                                               \
        struct slice seen_ = (slice_);                                                                                 \
        assert_non_null(seen_.data);                                                                                   \
        assert_int_equal(seen_.len, sizeof(text) - 1);                                                                 \
        assert_memory_equal(seen_.data, "" text, sizeof(text) - 1);                                                    \
    } while (0)

/* Every proper beginning of the body must be refused as malformed. */
static inline void assert_cuts_are_malformed(enum mqtt_version version, enum mqtt_role role, uint8_t first_byte,
                                             const void *body, size_t len)
{
    for (size_t cut = 0; cut < len; cut++) {
        struct mqtt_packet packet;

        assert_int_equal(decode_body(version, role, first_byte, body, cut, &packet), REASON_MALFORMED_PACKET);
    }
}

#endif
