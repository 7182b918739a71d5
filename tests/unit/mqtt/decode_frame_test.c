/*
 * The fixed header: lengths, types, flags, senders; and the packets that are only that.
 */
#include "codec_test.h"

#define PEEK(bytes, out_frame) mqtt_frame_peek((const uint8_t *)(bytes), sizeof(bytes) - 1, out_frame)

static const enum mqtt_version versions[] = {MQTT_V3_1, MQTT_V3_1_1, MQTT_V5};

static void reads_remaining_lengths_of_one_to_four_bytes(void **state)
{
    static const uint32_t values[] = {0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        uint8_t bytes[5] = {0x3D};
        size_t len = 1 + mqtt_write_varint(bytes + 1, values[i]);
        struct mqtt_frame frame;

        assert_int_equal(len, 1 + mqtt_varint_size(values[i]));
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(mqtt_frame_peek(bytes, cut, &frame), MQTT_PEEK_MORE);
        assert_int_equal(mqtt_frame_peek(bytes, len, &frame), MQTT_PEEK_OK);
        assert_int_equal(frame.type, MQTT_PUBLISH);
        assert_int_equal(frame.flags, 0xD);
        assert_int_equal(frame.header_len, len);
        assert_int_equal(frame.remaining_len, values[i]);
    }
}

static void refuses_a_remaining_length_of_five_bytes(void **state)
{
    struct mqtt_frame frame;

    (void)state;
    assert_int_equal(PEEK("\x30\xFF\xFF\xFF", &frame), MQTT_PEEK_MORE);
    assert_int_equal(PEEK("\x30\xFF\xFF\xFF\xFF", &frame), MQTT_PEEK_MALFORMED);
    assert_int_equal(PEEK("\x30\x80\x80\x80\x80\x01", &frame), MQTT_PEEK_MALFORMED);
}

static void takes_a_remaining_length_that_is_longer_than_need_be(void **state)
{
    struct mqtt_frame frame;

    (void)state;
    assert_int_equal(PEEK("\xC0\x80\x80\x00", &frame), MQTT_PEEK_OK);
    assert_int_equal(frame.header_len, 4);
    assert_int_equal(frame.remaining_len, 0);
}

static void reserved_types_are_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, versions[i], C, 0x00, "");
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, versions[i], S, 0x00, "");
    }
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1, C, 0xF0, "");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, S, 0xF0, "");
}

static void a_type_from_the_wrong_side_is_a_protocol_error(void **state)
{
    static const uint8_t server_only[] = {0x20, 0x90, 0xB0, 0xD0};
    static const uint8_t client_only[] = {0x10, 0x82, 0xA2, 0xC0};
    struct mqtt_packet packet;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(decode_body(MQTT_V5, C, server_only[i], "", 0, &packet), REASON_PROTOCOL_ERROR);
        assert_int_equal(decode_body(MQTT_V5, S, client_only[i], "", 0, &packet), REASON_PROTOCOL_ERROR);
    }
}

/* [MQTT-2.1.3-1] Each type but PUBLISH with each of the 15 wrong flags. */
static void wrong_flags_are_malformed(void **state)
{
    static const struct {
        uint8_t first_byte;
        enum mqtt_role role;
        const char *body;
        size_t len;
    } good[] = {
        {0x10, C, "\0\4MQTT\5\2\0\0\0\0\0", 13},
        {0x20, S, "\0\0\0", 3},
        {0x40, C, "\0\1", 2},
        {0x50, C, "\0\1", 2},
        {0x62, C, "\0\1", 2},
        {0x70, C, "\0\1", 2},
        {0x82, C, "\0\1\0\0\1a\0", 7},
        {0x90, S, "\0\1\0\0", 4},
        {0xA2, C, "\0\1\0\0\1a", 6},
        {0xB0, S, "\0\1\0\0", 4},
        {0xC0, C, "", 0},
        {0xD0, S, "", 0},
        {0xE0, C, "", 0},
        {0xF0, S, "", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        for (uint8_t flags = 0; flags < 16; flags++) {
            struct mqtt_packet packet;
            uint8_t first_byte = (uint8_t)((good[i].first_byte & 0xF0) | flags);
            enum reason_code code = decode_body(MQTT_V5, good[i].role, first_byte, good[i].body, good[i].len, &packet);

            if (code != (first_byte == good[i].first_byte ? REASON_SUCCESS : REASON_MALFORMED_PACKET))
                fail_msg("first byte %02X", first_byte);
        }
    }
}

static void mqtt_3_1_may_set_dup_on_what_it_sends_again(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V3_1, C, 0x6A, "\0\1", &packet);
    ASSERT_TAKEN(MQTT_V3_1, C, 0x8A, "\0\1\0\1a\0", &packet);
    ASSERT_TAKEN(MQTT_V3_1, C, 0xAA, "\0\1\0\1a", &packet);
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1, C, 0x60, "\0\1");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1, C, 0x48, "\0\1");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, C, 0x6A, "\0\1");
}

static void pings_have_no_body(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        ASSERT_TAKEN(versions[i], C, 0xC0, "", &packet);
        assert_int_equal(packet.type, MQTT_PINGREQ);
        ASSERT_TAKEN(versions[i], S, 0xD0, "", &packet);
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, versions[i], C, 0xC0, "\0");
        ASSERT_REFUSED(REASON_MALFORMED_PACKET, versions[i], S, 0xD0, "\0");
    }
}

static void works_without_a_place_for_the_error(void **state)
{
    struct mqtt_frame frame = {.type = MQTT_PINGREQ, .flags = 1, .header_len = 2, .remaining_len = 0};
    struct mqtt_frame publish = {.type = MQTT_PUBLISH, .flags = 6, .header_len = 2, .remaining_len = 1};
    struct mqtt_frame ack = {.type = MQTT_PUBACK, .flags = 0, .header_len = 2, .remaining_len = 1};
    struct mqtt_packet packet;
    const uint8_t byte = 0;

    (void)state;
    assert_int_equal(mqtt_decode(MQTT_V5, C, &frame, NULL, &packet, NULL), REASON_MALFORMED_PACKET);
    assert_int_equal(mqtt_decode_publish(MQTT_V5, C, &publish, &byte, &packet.publish, NULL), REASON_MALFORMED_PACKET);
    assert_int_equal(mqtt_decode_ack(MQTT_V5, &ack, &byte, &packet.ack, NULL), REASON_MALFORMED_PACKET);
}

static void types_have_the_standards_names(void **state)
{
    (void)state;
    assert_string_equal(mqtt_type_name(MQTT_CONNECT), "CONNECT");
    assert_string_equal(mqtt_type_name(MQTT_PUBREL), "PUBREL");
    assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
    assert_string_equal(mqtt_type_name((enum mqtt_type)0), "reserved");
    assert_string_equal(mqtt_type_name((enum mqtt_type)16), "reserved");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_remaining_lengths_of_one_to_four_bytes),
        cmocka_unit_test(refuses_a_remaining_length_of_five_bytes),
        cmocka_unit_test(takes_a_remaining_length_that_is_longer_than_need_be),
        cmocka_unit_test(reserved_types_are_malformed),
        cmocka_unit_test(a_type_from_the_wrong_side_is_a_protocol_error),
        cmocka_unit_test(wrong_flags_are_malformed),
        cmocka_unit_test(mqtt_3_1_may_set_dup_on_what_it_sends_again),
        cmocka_unit_test(pings_have_no_body),
        cmocka_unit_test(works_without_a_place_for_the_error),
        cmocka_unit_test(types_have_the_standards_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
