/*
 * PUBLISH (section 3.3).
 */
#include "codec_test.h"

static const enum mqtt_version v3[] = {MQTT_V3_1, MQTT_V3_1_1};

static void takes_a_publish_of_each_qos(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V3_1_1, C, 0x30, "\0\3a/bhello", &packet);
    assert_int_equal(packet.publish.qos, 0);
    assert_int_equal(packet.publish.packet_id, 0);
    assert_int_equal(packet.publish.properties.present, 0);
    ASSERT_SLICE(packet.publish.topic, "a/b");
    ASSERT_SLICE(packet.publish.payload, "hello");
    ASSERT_TAKEN(MQTT_V3_1, S, 0x3B, "\0\1a\1\2", &packet);
    assert_int_equal(packet.publish.qos, 1);
    assert_true(packet.publish.dup);
    assert_true(packet.publish.retain);
    assert_int_equal(packet.publish.packet_id, 0x0102);
    ASSERT_SLICE(packet.publish.payload, "");
    ASSERT_TAKEN(MQTT_V5, C, 0x34, "\0\1a\xFF\xFF\0x", &packet);
    assert_int_equal(packet.publish.qos, 2);
    assert_false(packet.publish.dup);
    assert_int_equal(packet.publish.packet_id, 0xFFFF);
    ASSERT_SLICE(packet.publish.payload, "x");
}

static void qos_3_and_dup_at_qos_0_are_malformed(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x36, "\0\1a\0\1\0"); /* [MQTT-3.3.1-4] */
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, C, 0x36, "\0\1a\0\1");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x38, "\0\1a\0"); /* [MQTT-3.3.1-2] */
}

static void a_packet_identifier_of_0_is_malformed(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x32, "\0\1a\0\0\0"); /* [MQTT-2.2.1-3] */
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, C, 0x34, "\0\1a\0\0");
}

static void every_cut_is_malformed(void **state)
{
    (void)state;
    assert_cuts_are_malformed(MQTT_V3_1_1, C, 0x32, "\0\3a/b\0\1", 7);
    assert_cuts_are_malformed(MQTT_V5, C, 0x32, "\0\3a/b\0\1\3\x23\0\1", 11);
}

static void a_wildcard_in_the_topic_is_refused_at_any_place(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 24; len++) {
        for (size_t at = 0; at < len; at++) {
            uint8_t body[32] = {0, (uint8_t)len};
            struct mqtt_packet packet;

            memset(body + 2, 'a', len);
            assert_int_equal(decode_body(MQTT_V3_1_1, C, 0x30, body, 2 + len, &packet), REASON_SUCCESS);
            body[2 + at] = at % 2 == 0 ? '+' : '#';
            assert_int_equal(decode_body(MQTT_V3_1_1, C, 0x30, body, 2 + len, &packet), REASON_TOPIC_NAME_INVALID);
            body[2 + at] = 0; /* [MQTT-1.5.4-2] */
            assert_int_equal(decode_body(MQTT_V3_1_1, C, 0x30, body, 2 + len, &packet), REASON_MALFORMED_PACKET);
            body[2 + at] = 0xFF; /* [MQTT-1.5.4-1] */
            assert_int_equal(decode_body(MQTT_V3_1_1, C, 0x30, body, 2 + len, &packet), REASON_MALFORMED_PACKET);
        }
    }
}

static void topics_may_have_any_character(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\x0E\xE4\xB8\xAD\xE6\x96\x87/\xF0\x9F\x98\x80/ \x7F\0", &packet);
    ASSERT_SLICE(packet.publish.topic, "\xE4\xB8\xAD\xE6\x96\x87/\xF0\x9F\x98\x80/ \x7F");
}

static void an_empty_topic_needs_an_alias(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(v3); i++)
        ASSERT_REFUSED(REASON_TOPIC_NAME_INVALID, v3[i], C, 0x30, "\0\0x"); /* [MQTT-4.7.3-1] */
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0x30, "\0\0\0x");
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\0\3\x23\0\7x", &packet);
    ASSERT_SLICE(packet.publish.topic, "");
    assert_int_equal(packet.publish.properties.topic_alias, 7);
    ASSERT_SLICE(packet.publish.payload, "x");
}

static void leaves_alias_0_and_subscription_identifiers_to_the_channel(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\1a\3\x23\0\0", &packet);
    assert_true(mqtt_properties_have(&packet.publish.properties, MQTT_PROP_TOPIC_ALIAS));
    assert_int_equal(packet.publish.properties.topic_alias, 0);
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\1a\5\x0B\7\x0B\x80\1", &packet);
    assert_true(mqtt_properties_have(&packet.publish.properties, MQTT_PROP_SUBSCRIPTION_IDENTIFIER));
    assert_int_equal(packet.publish.properties.subscription_id, 128);
}

static void a_response_topic_is_a_topic_name(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\1a\6\x08\0\3r/s", &packet);
    ASSERT_SLICE(packet.publish.properties.response_topic, "r/s");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0x30, "\0\1a\6\x08\0\3r/#"); /* [MQTT-3.3.2-14] */
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0x30, "\0\1a\3\x08\0\0");
}

static void older_versions_have_no_properties(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(v3); i++) {
        ASSERT_TAKEN(v3[i], C, 0x30, "\0\1a\3\x23\0\7", &packet);
        assert_int_equal(packet.publish.properties.present, 0);
        assert_int_equal(packet.publish.properties.raw.len, 0);
        ASSERT_SLICE(packet.publish.payload, "\3\x23\0\7");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_publish_of_each_qos),
        cmocka_unit_test(qos_3_and_dup_at_qos_0_are_malformed),
        cmocka_unit_test(a_packet_identifier_of_0_is_malformed),
        cmocka_unit_test(every_cut_is_malformed),
        cmocka_unit_test(a_wildcard_in_the_topic_is_refused_at_any_place),
        cmocka_unit_test(topics_may_have_any_character),
        cmocka_unit_test(an_empty_topic_needs_an_alias),
        cmocka_unit_test(leaves_alias_0_and_subscription_identifiers_to_the_channel),
        cmocka_unit_test(a_response_topic_is_a_topic_name),
        cmocka_unit_test(older_versions_have_no_properties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
