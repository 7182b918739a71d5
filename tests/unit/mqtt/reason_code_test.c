/*
 * What logs, hooks and older clients see of a reason code.
 */
#include "codec_test.h"

#include "mqtt/reason_code_internal.h"

static const struct {
    unsigned code;
    const char *name;
    const char *text;
    unsigned v3;
} rows[] = {
    {0x00, "success", "Success", 0},
    {0x01, "granted_qos1", "Granted QoS 1", 3},
    {0x02, "granted_qos2", "Granted QoS 2", 3},
    {0x04, "disconnect_with_will_message", "Disconnect with Will Message", 3},
    {0x10, "no_matching_subscribers", "No matching subscribers", 3},
    {0x11, "no_subscription_existed", "No subscription existed", 3},
    {0x18, "continue_authentication", "Continue authentication", 3},
    {0x19, "re_authenticate", "Re-authenticate", 3},
    {0x80, "unspecified_error", "Unspecified error", 1},
    {0x81, "malformed_Packet", "Malformed Packet", 1},
    {0x82, "protocol_error", "Protocol Error", 1},
    {0x83, "implementation_specific_error", "Implementation specific error", 1},
    {0x84, "unsupported_protocol_version", "Unsupported Protocol Version", 1},
    {0x85, "client_identifier_not_valid", "Client Identifier not valid", 2},
    {0x86, "bad_username_or_password", "Bad User Name or Password", 4},
    {0x87, "not_authorized", "Not authorized", 5},
    {0x88, "server_unavailable", "Server unavailable", 3},
    {0x89, "server_busy", "Server busy", 3},
    {0x8A, "banned", "Banned", 5},
    {0x8B, "server_shutting_down", "Server shutting down", 3},
    {0x8C, "bad_authentication_method", "Bad authentication method", 5},
    {0x8D, "keepalive_timeout", "Keep Alive timeout", 3},
    {0x8E, "session_taken_over", "Session taken over", 3},
    {0x8F, "topic_filter_invalid", "Topic Filter invalid", 3},
    {0x90, "topic_name_invalid", "Topic Name invalid", 3},
    {0x91, "packet_identifier_inuse", "Packet Identifier in use", 3},
    {0x92, "packet_identifier_not_found", "Packet Identifier not found", 3},
    {0x93, "receive_maximum_exceeded", "Receive Maximum exceeded", 3},
    {0x94, "topic_alias_invalid", "Topic Alias invalid", 3},
    {0x95, "packet_too_large", "Packet too large", 3},
    {0x96, "message_rate_too_high", "Message rate too high", 3},
    {0x97, "quota_exceeded", "Quota exceeded", 3},
    {0x98, "administrative_action", "Administrative action", 3},
    {0x99, "payload_format_invalid", "Payload format invalid", 3},
    {0x9A, "retain_not_supported", "Retain not supported", 3},
    {0x9B, "qos_not_supported", "QoS not supported", 3},
    {0x9C, "use_another_server", "Use another server", 3},
    {0x9D, "server_moved", "Server moved", 3},
    {0x9E, "shared_subscriptions_not_supported", "Shared Subscriptions not supported", 3},
    {0x9F, "connection_rate_exceeded", "Connection rate exceeded", 3},
    {0xA0, "maximum_connect_time", "Maximum connect time", 3},
    {0xA1, "subscription_identifiers_not_supported", "Subscription Identifiers not supported", 3},
    {0xA2, "wildcard_subscriptions_not_supported", "Wildcard Subscriptions not supported", 3},
};

static void every_code_has_the_name_and_text_that_tools_know(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_string_equal(reason_code_name((enum reason_code)rows[i].code), rows[i].name);
        assert_string_equal(reason_code_text((enum reason_code)rows[i].code), rows[i].text);
    }
}

static void a_value_without_a_row_is_an_unknown_error(void **state)
{
    unsigned known = 0;

    (void)state;
    for (unsigned code = 0; code < 256; code++)
        known += strcmp(reason_code_name((enum reason_code)code), "unknown_error") != 0;
    assert_int_equal(known, ARRAY_COUNT(rows));
    assert_string_equal(reason_code_text((enum reason_code)0x03), "Unknown error");
    assert_string_equal(reason_code_text((enum reason_code)0xA3), "Unknown error");
    assert_string_equal(reason_code_name((enum reason_code)0xFFFF), "unknown_error");
}

static void older_clients_get_the_return_code_that_says_it_best(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_int_equal(reason_code_to_v3_connack((enum reason_code)rows[i].code), rows[i].v3);
    assert_int_equal(reason_code_to_v3_connack((enum reason_code)0xF0), 3);
}

static void a_return_code_comes_back_as_the_code_it_stands_for(void **state)
{
    enum reason_code code;

    (void)state;
    for (uint8_t value = 0; value <= 5; value++) {
        assert_true(reason_code_from_v3_connack(value, &code));
        assert_int_equal(reason_code_to_v3_connack(code), value);
    }
    assert_false(reason_code_from_v3_connack(6, &code));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_the_name_and_text_that_tools_know),
        cmocka_unit_test(a_value_without_a_row_is_an_unknown_error),
        cmocka_unit_test(older_clients_get_the_return_code_that_says_it_best),
        cmocka_unit_test(a_return_code_comes_back_as_the_code_it_stands_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
