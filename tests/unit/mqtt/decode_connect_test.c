/*
 * CONNECT (section 3.1) and CONNACK (section 3.2).
 */
#include "codec_test.h"

#define V3 "\0\6MQIsdp\3"
#define V4 "\0\4MQTT\4"
#define V5 "\0\4MQTT\5"
#define KEEP_ALIVE "\0\x3C"

/* The connection's version is not known before a CONNECT; what is given must not matter. */
#define CONNECT(body, out_packet) DECODE(MQTT_V3_1_1, C, 0x10, body, out_packet)
#define TAKES(body, out_packet) assert_int_equal(CONNECT(body, out_packet), REASON_SUCCESS)
#define REFUSES(reason, body) ASSERT_REFUSED(reason, MQTT_V3_1_1, C, 0x10, body)

static void takes_the_smallest_connect_of_each_version(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    TAKES(V3 "\2" KEEP_ALIVE "\0\1c", &packet);
    assert_int_equal(packet.connect.level, 3);
    ASSERT_SLICE(packet.connect.protocol_name, "MQIsdp");
    TAKES(V4 "\2" KEEP_ALIVE "\0\1c", &packet);
    assert_int_equal(packet.connect.level, 4);
    TAKES(V5 "\0" KEEP_ALIVE "\0\0\0", &packet);
    assert_int_equal(packet.type, MQTT_CONNECT);
    assert_int_equal(packet.connect.level, 5);
    assert_int_equal(packet.connect.keep_alive_s, 60);
    assert_false(packet.connect.is_bridge);
    assert_false(packet.connect.clean_start);
    assert_false(packet.connect.has_will);
    assert_int_equal(packet.connect.properties.present, 0);
    ASSERT_SLICE(packet.connect.client_id, "");
    assert_null(packet.connect.user_name.data);
    assert_null(packet.connect.password.data);
}

#define FULL                                                                                                           \
    V5 "\xEE" KEEP_ALIVE "\5\x11\0\0\0\x0A"                                                                            \
       "\0\2id"                                                                                                        \
       "\5\x18\0\0\0\7"                                                                                                \
       "\0\1w\0\3\1\0\2"                                                                                               \
       "\0\1u\0\2\0p"

static void takes_a_connect_with_all_its_parts(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    TAKES(FULL, &packet);
    assert_true(packet.connect.clean_start);
    assert_true(packet.connect.has_will);
    assert_int_equal(packet.connect.will.qos, 1);
    assert_true(packet.connect.will.retain);
    ASSERT_SLICE(packet.connect.client_id, "id");
    ASSERT_SLICE(packet.connect.will.topic, "w");
    ASSERT_SLICE(packet.connect.will.payload, "\1\0\2");
    ASSERT_SLICE(packet.connect.user_name, "u");
    ASSERT_SLICE(packet.connect.password, "\0p");
    assert_int_equal(packet.connect.properties.session_expiry_interval_s, 10);
    assert_int_equal(packet.connect.will.properties.will_delay_interval_s, 7);
}

static void every_cut_and_every_left_over_byte_is_malformed(void **state)
{
    (void)state;
    assert_cuts_are_malformed(MQTT_V5, C, 0x10, FULL, sizeof(FULL) - 1);
    REFUSES(REASON_MALFORMED_PACKET, FULL "\0");
    REFUSES(REASON_MALFORMED_PACKET, V4 "\2" KEEP_ALIVE "\0\1c\0");
}

static void a_level_with_the_high_bit_is_a_bridge(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    TAKES("\0\4MQTT\x84\2" KEEP_ALIVE "\0\1c", &packet);
    assert_true(packet.connect.is_bridge);
    assert_int_equal(packet.connect.level, 4);
    TAKES("\0\6MQIsdp\x83\2" KEEP_ALIVE "\0\1c", &packet);
    assert_true(packet.connect.is_bridge);
    assert_int_equal(packet.connect.level, 3);
}

static void an_unknown_protocol_is_refused_and_named(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    assert_int_equal(CONNECT("\0\4MQTT\6\2\0\0\0\0\0", &packet), REASON_UNSUPPORTED_PROTOCOL_VERSION);
    assert_int_equal(packet.connect.level, 6);
    ASSERT_SLICE(packet.connect.protocol_name, "MQTT");
    REFUSES(REASON_UNSUPPORTED_PROTOCOL_VERSION, "\0\4MQTT\3\2\0\0\0\1c");
    REFUSES(REASON_UNSUPPORTED_PROTOCOL_VERSION, "\0\6MQIsdp\4\2\0\0\0\1c");
    REFUSES(REASON_UNSUPPORTED_PROTOCOL_VERSION, "\0\4mqtt\4\2\0\0\0\1c");
    REFUSES(REASON_UNSUPPORTED_PROTOCOL_VERSION, "\0\4MQTT\0\2\0\0\0\1c");
    REFUSES(REASON_UNSUPPORTED_PROTOCOL_VERSION, "\0\0\4\2\0\0\0\1c");
}

/* So that the refusal can be sent in the client's version. */
static void the_level_is_known_after_a_later_failure(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    assert_int_equal(CONNECT(V5 "\2\0\0\3\x21\0\0\0\0", &packet), REASON_PROTOCOL_ERROR);
    assert_int_equal(packet.connect.level, 5);
    assert_int_equal(CONNECT(V4, &packet), REASON_MALFORMED_PACKET);
    assert_int_equal(packet.connect.level, 4);
    assert_int_equal(CONNECT("\0\4MQ", &packet), REASON_MALFORMED_PACKET);
    assert_int_equal(packet.connect.level, 0);
    assert_null(packet.connect.protocol_name.data);
}

static void reserved_and_contradictory_flags_are_malformed(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    REFUSES(REASON_MALFORMED_PACKET, V4 "\3" KEEP_ALIVE "\0\1c"); /* [MQTT-3.1.2-3] */
    REFUSES(REASON_MALFORMED_PACKET, V5 "\1" KEEP_ALIVE "\0\0\0");
    REFUSES(REASON_MALFORMED_PACKET, V5 "\x1C" KEEP_ALIVE "\0\0\0\0\0\1w\0\0"); /* [MQTT-3.1.2-12] */
    REFUSES(REASON_MALFORMED_PACKET, V5 "\x18" KEEP_ALIVE "\0\0\0");
    REFUSES(REASON_MALFORMED_PACKET, V5 "\x08" KEEP_ALIVE "\0\0\0"); /* [MQTT-3.1.2-11] */
    REFUSES(REASON_MALFORMED_PACKET, V4 "\x10" KEEP_ALIVE "\0\1c");
    REFUSES(REASON_MALFORMED_PACKET, V4 "\x20" KEEP_ALIVE "\0\1c"); /* [MQTT-3.1.2-13] */
    TAKES(V5 "\x14" KEEP_ALIVE "\0\0\0\0\0\1w\0\0", &packet);
    assert_int_equal(packet.connect.will.qos, 2);
    ASSERT_SLICE(packet.connect.will.payload, "");
}

static void a_password_alone_is_for_mqtt_5(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    REFUSES(REASON_MALFORMED_PACKET, V3 "\x40" KEEP_ALIVE "\0\1c\0\1p");
    REFUSES(REASON_MALFORMED_PACKET, V4 "\x40" KEEP_ALIVE "\0\1c\0\1p"); /* 3.1.1: [MQTT-3.1.2-22] */
    TAKES(V5 "\x40" KEEP_ALIVE "\0\0\1c\0\1p", &packet);
    assert_null(packet.connect.user_name.data);
    ASSERT_SLICE(packet.connect.password, "p");
}

static void an_empty_user_name_is_not_an_absent_one(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    TAKES(V4 "\xC2" KEEP_ALIVE "\0\1c\0\0\0\0", &packet);
    ASSERT_SLICE(packet.connect.user_name, "");
    ASSERT_SLICE(packet.connect.password, "");
}

static void mqtt_3_1_lets_credentials_be_missing(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    TAKES(V3 "\xC2" KEEP_ALIVE "\0\1c", &packet);
    assert_null(packet.connect.user_name.data);
    assert_null(packet.connect.password.data);
    TAKES(V3 "\xC2" KEEP_ALIVE "\0\1c\0\1u", &packet);
    ASSERT_SLICE(packet.connect.user_name, "u");
    assert_null(packet.connect.password.data);
    REFUSES(REASON_MALFORMED_PACKET, V3 "\xC2" KEEP_ALIVE "\0\1c\0");
    REFUSES(REASON_MALFORMED_PACKET, V4 "\xC2" KEEP_ALIVE "\0\1c");
    REFUSES(REASON_MALFORMED_PACKET, V4 "\xC2" KEEP_ALIVE "\0\1c\0\1u");
}

static void text_must_be_utf_8(void **state)
{
    (void)state;
    REFUSES(REASON_MALFORMED_PACKET, V4 "\2" KEEP_ALIVE "\0\1\xFF");                /* [MQTT-3.1.3-4] */
    REFUSES(REASON_MALFORMED_PACKET, V4 "\2" KEEP_ALIVE "\0\2a\0");                 /* [MQTT-1.5.4-2] */
    REFUSES(REASON_MALFORMED_PACKET, V4 "\x82" KEEP_ALIVE "\0\1c\0\3\xED\xA0\x80"); /* [MQTT-1.5.4-1] */
    REFUSES(REASON_MALFORMED_PACKET, V4 "\6" KEEP_ALIVE "\0\1c\0\1\xC0\0\0");       /* [MQTT-3.1.3-11] */
    REFUSES(REASON_MALFORMED_PACKET, "\0\4MQT\xFF\4\2" KEEP_ALIVE "\0\1c");
}

static void a_will_topic_is_a_topic_name(void **state)
{
    (void)state;
    REFUSES(REASON_TOPIC_NAME_INVALID, V4 "\6" KEEP_ALIVE "\0\1c\0\3a/#\0\0");
    REFUSES(REASON_TOPIC_NAME_INVALID, V5 "\6" KEEP_ALIVE "\0\0\1c\0\0\3a/+\0\0");
    REFUSES(REASON_TOPIC_NAME_INVALID, V5 "\6" KEEP_ALIVE "\0\0\1c\0\0\0\0\0");
}

static void authentication_data_needs_a_method(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    REFUSES(REASON_PROTOCOL_ERROR, V5 "\2" KEEP_ALIVE "\4\x16\0\1d\0\0");
    TAKES(V5 "\2" KEEP_ALIVE "\x08\x16\0\1d\x15\0\1m\0\0", &packet);
    ASSERT_SLICE(packet.connect.properties.authentication_method, "m");
    ASSERT_SLICE(packet.connect.properties.authentication_data, "d");
}

static void takes_connacks(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V3_1_1, S, 0x20, "\1\0", &packet);
    assert_true(packet.connack.session_present);
    assert_int_equal(packet.connack.code, REASON_SUCCESS);
    ASSERT_TAKEN(MQTT_V3_1, S, 0x20, "\0\5", &packet);
    assert_int_equal(packet.connack.code, REASON_NOT_AUTHORIZED);
    ASSERT_TAKEN(MQTT_V5, S, 0x20, "\0\x8A\0", &packet);
    assert_int_equal(packet.connack.code, REASON_BANNED);
    ASSERT_TAKEN(MQTT_V5, S, 0x20, "\0\0\5\x24\1\x13\0\x1E", &packet);
    assert_int_equal(packet.connack.properties.maximum_qos, 1);
    assert_int_equal(packet.connack.properties.server_keep_alive_s, 30);
}

static void refuses_bad_connacks(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, S, 0x20, "\2\0\0");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, S, 0x20, "\1\x80\0"); /* [MQTT-3.2.2-6] */
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, S, 0x20, "\0\1\0");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, S, 0x20, "\0\x8E\0");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V3_1_1, S, 0x20, "\0\6");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, S, 0x20, "\0\0\0");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, S, 0x20, "\0\0\0\0");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, S, 0x20, "\0\0\4\x16\0\1d");
    assert_cuts_are_malformed(MQTT_V5, S, 0x20, "\0\0\0", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_smallest_connect_of_each_version),
        cmocka_unit_test(takes_a_connect_with_all_its_parts),
        cmocka_unit_test(every_cut_and_every_left_over_byte_is_malformed),
        cmocka_unit_test(a_level_with_the_high_bit_is_a_bridge),
        cmocka_unit_test(an_unknown_protocol_is_refused_and_named),
        cmocka_unit_test(the_level_is_known_after_a_later_failure),
        cmocka_unit_test(reserved_and_contradictory_flags_are_malformed),
        cmocka_unit_test(a_password_alone_is_for_mqtt_5),
        cmocka_unit_test(an_empty_user_name_is_not_an_absent_one),
        cmocka_unit_test(mqtt_3_1_lets_credentials_be_missing),
        cmocka_unit_test(text_must_be_utf_8),
        cmocka_unit_test(a_will_topic_is_a_topic_name),
        cmocka_unit_test(authentication_data_needs_a_method),
        cmocka_unit_test(takes_connacks),
        cmocka_unit_test(refuses_bad_connacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
