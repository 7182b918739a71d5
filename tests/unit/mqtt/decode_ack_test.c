/*
 * PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7), DISCONNECT (3.14) and AUTH (3.15).
 */
#include "codec_test.h"

#include <stdio.h>

static const uint8_t acks[] = {0x40, 0x50, 0x62, 0x70};

static void takes_acknowledgements_in_all_their_lengths(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(acks); i++) {
        struct mqtt_packet packet;

        ASSERT_TAKEN(MQTT_V3_1_1, C, acks[i], "\1\2", &packet);
        assert_int_equal(packet.ack.packet_id, 0x0102);
        assert_int_equal(packet.ack.code, REASON_SUCCESS);
        ASSERT_TAKEN(MQTT_V5, C, acks[i], "\1\2", &packet);
        assert_int_equal(packet.ack.code, REASON_SUCCESS);
        assert_int_equal(packet.ack.properties.present, 0);
        ASSERT_TAKEN(MQTT_V5, S, acks[i], "\1\2\0", &packet);
        ASSERT_TAKEN(MQTT_V5, S, acks[i], "\1\2\0\0", &packet);
        ASSERT_TAKEN(MQTT_V5, S, acks[i], "\1\2\0\4\x1F\0\1r", &packet);
        ASSERT_SLICE(packet.ack.properties.reason_string, "r");
    }
}

static void refuses_acknowledgements_of_the_wrong_length(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(acks); i++) {
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, C, acks[i], "");
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, C, acks[i], "\1");
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1, C, acks[i], "\1\2\0");
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, acks[i], "\1\2\0\0\0");
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, acks[i], "\1\2\0\4\x1F\0\1");
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, acks[i], "\0\0"); /* [MQTT-2.2.1-3] */
    }
}

static void the_hot_path_looks_at_the_flags_too(void **state)
{
    static const uint8_t body[] = {0, 1};
    struct mqtt_frame frame = {.type = MQTT_PUBREL, .flags = 2, .header_len = 2, .remaining_len = 2};
    struct mqtt_ack ack;
    const char *error = NULL;

    (void)state;
    assert_int_equal(mqtt_decode_ack(MQTT_V5, &frame, body, &ack, &error), REASON_SUCCESS);
    assert_int_equal(ack.packet_id, 1);
    frame.flags = 0; /* [MQTT-3.6.1-1] */
    assert_int_equal(mqtt_decode_ack(MQTT_V5, &frame, body, &ack, &error), REASON_MALFORMED_PACKET);
    assert_non_null(error);
}

/* Which of all 256 reason codes are taken must be just those of section 2.4. */
static void assert_codes(enum mqtt_role role, uint8_t first_byte, const char *prefix, size_t prefix_len,
                         const char *suffix, size_t suffix_len, const char *legal)
{
    for (unsigned code = 0; code < 256; code++) {
        uint8_t body[16];
        char hex[4];
        struct mqtt_packet packet;
        enum reason_code expected;

        memcpy(body, prefix, prefix_len);
        body[prefix_len] = (uint8_t)code;
        memcpy(body + prefix_len + 1, suffix, suffix_len);
        snprintf(hex, sizeof(hex), "%02X ", code);
        expected = strstr(legal, hex) != NULL ? REASON_SUCCESS : REASON_PROTOCOL_ERROR;
        if (decode_body(MQTT_V5, role, first_byte, body, prefix_len + 1 + suffix_len, &packet) != expected)
            fail_msg("code %02X in a packet %02X", code, first_byte);
    }
}

static void each_packet_has_its_own_reason_codes(void **state)
{
    static const char published[] = "00 10 80 83 87 90 91 97 99 ";

    (void)state;
    assert_codes(C, 0x40, "\0\1", 2, "", 0, published);
    assert_codes(S, 0x50, "\0\1", 2, "", 0, published);
    assert_codes(C, 0x62, "\0\1", 2, "", 0, "00 92 ");
    assert_codes(S, 0x70, "\0\1", 2, "", 0, "00 92 ");
    assert_codes(S, 0x20, "\0", 1, "\0", 1, "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F ");
    assert_codes(S, 0x90, "\0\1\0", 3, "", 0, "00 01 02 80 83 87 8F 91 97 9E A1 A2 ");
    assert_codes(S, 0xB0, "\0\1\0", 3, "", 0, "00 11 80 83 87 8F 91 ");
    assert_codes(C, 0xE0, "", 0, "", 0, "00 04 80 81 82 83 8C 90 93 94 95 96 97 98 99 ");
    assert_codes(S, 0xE0, "", 0, "", 0,
                 "80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2 ");
    assert_codes(C, 0xF0, "", 0, "\4\x15\0\1m", 5, "18 19 ");
    assert_codes(S, 0xF0, "", 0, "\4\x15\0\1m", 5, "00 18 ");
}

static void takes_disconnects(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V3_1_1, C, 0xE0, "", &packet);
    assert_int_equal(packet.disconnect.code, REASON_SUCCESS);
    ASSERT_TAKEN(MQTT_V5, C, 0xE0, "", &packet);
    assert_int_equal(packet.disconnect.code, REASON_SUCCESS);
    assert_int_equal(packet.disconnect.properties.present, 0);
    ASSERT_TAKEN(MQTT_V5, C, 0xE0, "\4", &packet);
    assert_int_equal(packet.disconnect.code, REASON_DISCONNECT_WITH_WILL);
    ASSERT_TAKEN(MQTT_V5, C, 0xE0, "\0\5\x11\xFF\xFF\xFF\xFF", &packet);
    assert_int_equal(packet.disconnect.properties.session_expiry_interval_s, UINT32_MAX);
    ASSERT_TAKEN(MQTT_V5, S, 0xE0, "\x9D\4\x1C\0\1s", &packet);
    ASSERT_SLICE(packet.disconnect.properties.server_reference, "s");
}

static void refuses_bad_disconnects(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, C, 0xE0, "\0");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V3_1_1, S, 0xE0, "");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0xE0, "\0\0\0");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, S, 0xE0, "\x8B\5\x11\0\0\0\1"); /* [MQTT-3.14.2-2] */
}

static void an_auth_names_its_method(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V5, S, 0xF0, "", &packet);
    assert_int_equal(packet.disconnect.code, REASON_SUCCESS);
    ASSERT_TAKEN(MQTT_V5, C, 0xF0, "\x19\x08\x15\0\1m\x16\0\1d", &packet);
    assert_int_equal(packet.disconnect.code, REASON_RE_AUTHENTICATE);
    ASSERT_SLICE(packet.disconnect.properties.authentication_data, "d");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0xF0, "\x18\4\x16\0\1d");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0xF0, "\x18\0");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0xF0, ""); /* success is the server's word */
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0xF0, "\x18");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0xF0, "\x18\4\x15\0\1m\0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_acknowledgements_in_all_their_lengths),
        cmocka_unit_test(refuses_acknowledgements_of_the_wrong_length),
        cmocka_unit_test(the_hot_path_looks_at_the_flags_too),
        cmocka_unit_test(each_packet_has_its_own_reason_codes),
        cmocka_unit_test(takes_disconnects),
        cmocka_unit_test(refuses_bad_disconnects),
        cmocka_unit_test(an_auth_names_its_method),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
