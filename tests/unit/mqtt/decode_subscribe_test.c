/*
 * SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (sections 3.8 to 3.11).
 */
#include "codec_test.h"

static void takes_the_filters_with_their_options(void **state)
{
    struct mqtt_packet packet;
    struct mqtt_subscription_options options;
    struct slice filter;
    struct slice rest;

    (void)state;
    ASSERT_TAKEN(MQTT_V5, C, 0x82, "\0\x0A\2\x0B\5\0\3a/+\x2D\0\1b\2", &packet);
    assert_int_equal(packet.subscribe.packet_id, 10);
    assert_int_equal(packet.subscribe.filter_count, 2);
    assert_int_equal(packet.subscribe.properties.subscription_id, 5);
    rest = packet.subscribe.filters;
    assert_true(mqtt_filter_next(&rest, &filter, &options));
    ASSERT_SLICE(filter, "a/+");
    assert_int_equal(options.qos, 1);
    assert_true(options.no_local);
    assert_true(options.retain_as_published);
    assert_int_equal(options.retain_handling, 2);
    assert_true(mqtt_filter_next(&rest, &filter, &options));
    ASSERT_SLICE(filter, "b");
    assert_int_equal(options.qos, 2);
    assert_false(options.no_local);
    assert_false(options.retain_as_published);
    assert_int_equal(options.retain_handling, 0);
    assert_false(mqtt_filter_next(&rest, &filter, &options));
}

static void takes_an_unsubscribe(void **state)
{
    struct mqtt_packet packet;
    struct slice filter;
    struct slice rest;

    (void)state;
    ASSERT_TAKEN(MQTT_V3_1_1, C, 0xA2, "\0\x0A\0\1a\0\3b/#", &packet);
    assert_int_equal(packet.subscribe.filter_count, 2);
    rest = packet.subscribe.filters;
    assert_true(mqtt_filter_next(&rest, &filter, NULL));
    ASSERT_SLICE(filter, "a");
    assert_true(mqtt_filter_next(&rest, &filter, NULL));
    ASSERT_SLICE(filter, "b/#");
    assert_false(mqtt_filter_next(&rest, &filter, NULL));
}

static void a_packet_without_filters_is_a_protocol_error(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0x82, "\0\1\0"); /* [MQTT-3.8.3-2] */
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0xA2, "\0\1\0"); /* [MQTT-3.10.3-2] */
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V3_1_1, C, 0x82, "\0\1");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V3_1, C, 0xA2, "\0\1");
}

static void a_packet_identifier_of_0_is_malformed(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x82, "\0\0\0\0\1a\0");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, C, 0xA2, "\0\0\0\1a");
}

static void reserved_or_illegal_options_are_refused(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    for (unsigned options = 0; options < 256; options++) {
        uint8_t body[] = {0, 1, 0, 0, 1, 'a', (uint8_t)options};
        uint8_t v3_body[] = {0, 1, 0, 1, 'a', (uint8_t)options};
        enum reason_code expected = (options & 0xC0) != 0                               ? REASON_MALFORMED_PACKET
                                    : (options & 0x03) == 3 || (options & 0x30) == 0x30 ? REASON_PROTOCOL_ERROR
                                                                                        : REASON_SUCCESS;

        assert_int_equal(decode_body(MQTT_V5, C, 0x82, body, sizeof(body), &packet), expected);
        assert_int_equal(decode_body(MQTT_V3_1_1, C, 0x82, v3_body, sizeof(v3_body), &packet),
                         options <= 2 ? REASON_SUCCESS : REASON_MALFORMED_PACKET);
    }
}

static void every_cut_is_refused(void **state)
{
    struct mqtt_packet packet;
    static const uint8_t body[] = "\0\1\0\0\3a/b\1";

    (void)state;
    for (size_t cut = 0; cut < sizeof(body) - 1; cut++) {
        enum reason_code expected = cut == 3 ? REASON_PROTOCOL_ERROR : REASON_MALFORMED_PACKET;

        assert_int_equal(decode_body(MQTT_V5, C, 0x82, body, cut, &packet), expected);
    }
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x82, "\0\1\0\0\1a\0\0");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0xA2, "\0\1\0\0\1a\0");
}

static void filters_must_be_utf_8_but_their_syntax_is_left_to_the_channel(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x82, "\0\1\0\0\1\xFF\0"); /* [MQTT-3.8.3-1] */
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, C, 0xA2, "\0\1\0\2a\0");
    ASSERT_TAKEN(MQTT_V5, C, 0x82, "\0\1\0\0\2#+\0\0\0\0", &packet);
    assert_int_equal(packet.subscribe.filter_count, 2);
}

static void a_subscription_identifier_comes_once_and_is_not_0(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0x82, "\0\1\2\x0B\0\0\1a\0");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, C, 0x82, "\0\1\4\x0B\1\x0B\2\0\1a\0");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0xA2, "\0\1\2\x0B\1\0\1a");
}

static void walking_bytes_that_were_not_decoded_ends(void **state)
{
    struct mqtt_subscription_options options;
    struct slice cut_filter = SLICE_LITERAL("\0\3a");
    struct slice no_options = SLICE_LITERAL("\0\1a");
    struct slice nothing = {NULL, 0};
    struct slice filter;

    (void)state;
    assert_false(mqtt_filter_next(&cut_filter, &filter, NULL));
    assert_false(mqtt_filter_next(&no_options, &filter, &options));
    assert_false(mqtt_filter_next(&nothing, &filter, NULL));
}

static void takes_acknowledgements(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_TAKEN(MQTT_V3_1_1, S, 0x90, "\0\1\0\1\2\x80", &packet);
    ASSERT_SLICE(packet.suback.codes, "\0\1\2\x80");
    ASSERT_TAKEN(MQTT_V5, S, 0x90, "\0\1\0\2\x8F", &packet);
    ASSERT_SLICE(packet.suback.codes, "\2\x8F");
    ASSERT_TAKEN(MQTT_V3_1, S, 0xB0, "\0\1", &packet);
    assert_int_equal(packet.suback.packet_id, 1);
    assert_int_equal(packet.suback.codes.len, 0);
    ASSERT_TAKEN(MQTT_V5, S, 0xB0, "\0\1\0\0\x11", &packet);
    ASSERT_SLICE(packet.suback.codes, "\0\x11");
}

static void refuses_bad_acknowledgements(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V3_1_1, S, 0x90, "\0\1\3");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V3_1_1, S, 0x90, "\0\1\x87");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V3_1_1, S, 0x90, "\0\1");
    ASSERT_REFUSED(REASON_PROTOCOL_ERROR, MQTT_V5, S, 0xB0, "\0\1\0");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V3_1_1, S, 0xB0, "\0\1\0");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, S, 0x90, "\0\0\0\0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_filters_with_their_options),
        cmocka_unit_test(takes_an_unsubscribe),
        cmocka_unit_test(a_packet_without_filters_is_a_protocol_error),
        cmocka_unit_test(a_packet_identifier_of_0_is_malformed),
        cmocka_unit_test(reserved_or_illegal_options_are_refused),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(filters_must_be_utf_8_but_their_syntax_is_left_to_the_channel),
        cmocka_unit_test(a_subscription_identifier_comes_once_and_is_not_0),
        cmocka_unit_test(walking_bytes_that_were_not_decoded_ends),
        cmocka_unit_test(takes_acknowledgements),
        cmocka_unit_test(refuses_bad_acknowledgements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
