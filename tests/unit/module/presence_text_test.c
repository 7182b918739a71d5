/*
 * presence_text: payloads as the original wrote them (captured from it), and topics that MQTT allows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "hook/events.h"
#include "module/presence_text.h"
#include "mqtt/topic.h"
#include "net/ip_address.h"

static struct client_info make_client(struct slice client_id, struct slice user_name, uint8_t version)
{
    struct client_info client = {.client_id = client_id, .user_name = user_name, .version = version};
    struct in_addr ipv4;

    assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &ipv4), 1);
    client.peer_address = ip_address_mapped(ipv4);
    return client;
}

static void assert_content(struct buffer *buffer, const char *expected)
{
    assert_int_equal(buffer_append(buffer, slice_make("", 1)), 0);
    assert_string_equal((const char *)buffer_slice(buffer).data, expected);
    buffer_fini(buffer);
}

static void assert_connected(const struct hook_connected *event, uint64_t ts_ms, const char *expected)
{
    struct buffer out;

    buffer_init(&out, 1 << 20);
    assert_int_equal(presence_connected(&out, event, ts_ms), 0);
    assert_content(&out, expected);
}

static void assert_disconnected(const struct client_info *client, const char *reason, uint64_t ts_ms,
                                const char *expected)
{
    struct hook_disconnected event = {.client = client, .reason = reason};
    struct buffer out;

    buffer_init(&out, 1 << 20);
    assert_int_equal(presence_disconnected(&out, &event, ts_ms), 0);
    assert_content(&out, expected);
}

static void tells_of_a_client_that_has_come(void **state)
{
    struct client_info client = make_client(SLICE_LITERAL("live1"), SLICE_LITERAL("alice"), 4);
    struct hook_connected event = {.client = &client, .keep_alive_s = 60};

    (void)state;
    assert_connected(
        &event, 1795401495176,
        "{\"clean_start\":false,\"clientid\":\"live1\",\"connack\":0,\"ipaddress\":\"127.0.0.1\",\"keepalive\":60,"
        "\"proto_name\":\"MQTT\",\"proto_ver\":4,\"ts\":1795401495176,\"username\":\"alice\"}");
    client = make_client(SLICE_LITERAL("pres3"), slice_make(NULL, 0), 3);
    event.clean_start = true;
    assert_connected(
        &event, 1795401573090,
        "{\"clean_start\":true,\"clientid\":\"pres3\",\"connack\":0,\"ipaddress\":\"127.0.0.1\",\"keepalive\":60,"
        "\"proto_name\":\"MQIsdp\",\"proto_ver\":3,\"ts\":1795401573090,\"username\":\"undefined\"}");
    client = make_client(SLICE_LITERAL("m\xC3\xBCller"), SLICE_LITERAL("\xC3\xBC\"q"), 5);
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &client.peer_address), 1);
    assert_connected(
        &event, 1,
        "{\"clean_start\":true,\"clientid\":\"m\xC3\xBCller\",\"connack\":0,\"ipaddress\":\"2001:db8::1\",\"keepalive\":60,"
        "\"proto_name\":\"MQTT\",\"proto_ver\":5,\"ts\":1,\"username\":\"\xC3\xBC\\\"q\"}");
}

static void tells_of_a_client_that_has_gone(void **state)
{
    struct client_info client = make_client(SLICE_LITERAL("sl/ash"), SLICE_LITERAL("u"), 4);

    (void)state;
    assert_disconnected(&client, "normal", 1795401583769,
                        "{\"clientid\":\"sl/ash\",\"username\":\"u\",\"reason\":\"normal\",\"ts\":1795401583769}");
    client.user_name = slice_make(NULL, 0);
    assert_disconnected(
        &client, "keepalive_timeout", 0,
        "{\"clientid\":\"sl/ash\",\"username\":\"undefined\",\"reason\":\"keepalive_timeout\",\"ts\":0}");
}

static void escapes_what_json_does_not_allow(void **state)
{
    struct client_info client = make_client(SLICE_LITERAL("a\\b\x01\x1F\x7F\b\f\n\r\t"), SLICE_LITERAL(""), 4);

    (void)state;
    assert_disconnected(
        &client, "normal", 0,
        "{\"clientid\":\"a\\\\b\\u0001\\u001f\x7F\\b\\f\\n\\r\\t\",\"username\":\"\",\"reason\":\"normal\",\"ts\":0}");
    client.client_id = SLICE_LITERAL("a\0b");
    assert_disconnected(&client, "normal", 0,
                        "{\"clientid\":\"a\\u0000b\",\"username\":\"\",\"reason\":\"normal\",\"ts\":0}");
}

static void replaces_what_is_not_utf_8(void **state)
{
    struct client_info client = make_client(SLICE_LITERAL("x"), SLICE_LITERAL("\xFFz\xC3\xE2\x82\xAC\xF0\x9F"), 4);

    (void)state;
    assert_disconnected(
        &client, "normal", 0,
        "{\"clientid\":\"x\",\"username\":\"\xEF\xBF\xBDz\xEF\xBF\xBD\xE2\x82\xAC\xEF\xBF\xBD\xEF\xBF\xBD\","
        "\"reason\":\"normal\",\"ts\":0}");
}

static void assert_topic(struct slice client_id, const char *expected)
{
    struct buffer out;

    buffer_init(&out, MQTT_TOPIC_LEN_MAX);
    assert_int_equal(presence_topic(&out, SLICE_LITERAL("n@h"), client_id, SLICE_LITERAL("connected")), 0);
    assert_true(mqtt_topic_valid(buffer_slice(&out)) && mqtt_utf8_valid(buffer_slice(&out)));
    assert_content(&out, expected);
}

static void makes_a_legal_topic_of_any_client_id(void **state)
{
    (void)state;
    assert_topic(SLICE_LITERAL("id1"), "$SYS/brokers/n@h/clients/id1/connected");
    assert_topic(SLICE_LITERAL("sl/ash"), "$SYS/brokers/n@h/clients/sl/ash/connected");
    assert_topic(SLICE_LITERAL("m\xC3\xBCller"), "$SYS/brokers/n@h/clients/m\xC3\xBCller/connected");
    assert_topic(SLICE_LITERAL("a+b/#"), "$SYS/brokers/n@h/clients/a%2Bb/%23/connected");
    assert_topic(SLICE_LITERAL("\xFFz"), "$SYS/brokers/n@h/clients/%FFz/connected");
}

static void refuses_a_client_id_that_is_too_long(void **state)
{
    static uint8_t id[65535];
    struct buffer out;

    (void)state;
    memset(id, 'a', sizeof(id));
    buffer_init(&out, MQTT_TOPIC_LEN_MAX);
    assert_int_equal(presence_topic(&out, SLICE_LITERAL("n@h"), slice_make(id, sizeof(id)), SLICE_LITERAL("connected")),
                     -ENOBUFS);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_of_a_client_that_has_come),      cmocka_unit_test(tells_of_a_client_that_has_gone),
        cmocka_unit_test(escapes_what_json_does_not_allow),     cmocka_unit_test(replaces_what_is_not_utf_8),
        cmocka_unit_test(makes_a_legal_topic_of_any_client_id), cmocka_unit_test(refuses_a_client_id_that_is_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
