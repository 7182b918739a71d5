/*
 * Behaviour of messages: what they copy, what they take over, their references and their expiry.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "mqtt/encode.h"
#include "mqtt/message.h"

#define ASSERT_TEXT(slice, text) assert_true(slice_equal(slice, SLICE_LITERAL(text)))

static struct message *make_expiring(uint64_t created_ms, uint32_t interval_s)
{
    struct mqtt_properties properties = {.present = MQTT_PROP_BIT(MQTT_PROP_MESSAGE_EXPIRY_INTERVAL),
                                         .message_expiry_interval_s = interval_s};
    struct message_options options = {
        .topic = SLICE_LITERAL("t"), .properties = &properties, .now_ms = created_ms};
    struct message *message = message_new(&options);

    assert_non_null(message);
    return message;
}

static void copies_what_the_options_point_at(void **state)
{
    char topic[] = "a/b", payload[] = "hello", client[] = "me";
    struct message_options options = {
        .mountpoint = SLICE_LITERAL("m/"),
        .topic = slice_from_string(topic),
        .payload = slice_from_string(payload),
        .client_id = slice_from_string(client),
        .now_ms = 99,
        .qos = 2,
        .retain = true,
    };
    struct message *message = message_new(&options);

    (void)state;
    assert_non_null(message);
    topic[0] = payload[0] = client[0] = 'X';
    ASSERT_TEXT(message_topic(message), "m/a/b");
    ASSERT_TEXT(message_payload(message), "hello");
    ASSERT_TEXT(message_client_id(message), "me");
    assert_int_equal(message->qos, 2);
    assert_true(message->retain);
    assert_false(message->sys);
    assert_false(message->has_expiry);
    assert_int_equal(message->created_ms, 99);
    assert_int_equal(message->properties_len, 0);
    assert_int_equal(message_bytes(message), sizeof(*message) + 2 + 5 + 5);
    assert_null(message_unref(message));
}

static void keeps_a_payload_in_the_buffer_it_takes_over(void **state)
{
    uint8_t *buffer = malloc(16);
    struct message_options options = {.topic = SLICE_LITERAL("t"), .take_buffer = buffer};
    struct message *message;

    (void)state;
    assert_non_null(buffer);
    memcpy(buffer, "head:payload", 12);
    options.payload = slice_make(buffer + 5, 7);
    message = message_new(&options);
    assert_non_null(message);
    assert_ptr_equal(message->payload, buffer + 5);
    ASSERT_TEXT(message_payload(message), "payload");
    message_unref(message); /* frees the buffer: the leak check tells if it does not */
}

static void lives_until_its_last_reference_goes(void **state)
{
    struct message_options options = {.topic = SLICE_LITERAL("t"), .payload = SLICE_LITERAL("p")};
    struct message *message = message_new(&options);

    (void)state;
    assert_non_null(message);
    assert_ptr_equal(message_ref(message), message);
    message_ref_many(message, 3);
    message_ref_many(message, 0);
    for (int i = 0; i < 4; i++)
        assert_null(message_unref(message));
    ASSERT_TEXT(message_payload(message), "p");
    assert_int_equal(atomic_load(&message->refs), 1);
    message_unref(message);
    assert_null(message_unref(NULL));
}

static void takes_the_forwardable_properties_only(void **state)
{
    /* User Property "k": "v" is forwarded; the Message Expiry Interval is written anew with what is left. */
    static const uint8_t section[] = {0x26, 0, 1, 'k', 0, 1, 'v'};
    struct mqtt_properties properties = {
        .present = MQTT_PROP_BIT(MQTT_PROP_USER_PROPERTY) | MQTT_PROP_BIT(MQTT_PROP_MESSAGE_EXPIRY_INTERVAL),
        .raw = slice_make(section, sizeof(section)),
        .message_expiry_interval_s = 30,
    };
    struct message_options options = {.topic = SLICE_LITERAL("t"), .properties = &properties};
    struct message *message = message_new(&options);

    (void)state;
    assert_non_null(message);
    assert_int_equal(message->properties_len, mqtt_properties_forwardable(&properties, NULL));
    assert_int_equal(message->properties_len, sizeof(section));
    assert_memory_equal(message->properties, section, sizeof(section));
    assert_true(message->has_expiry);
    assert_int_equal(message->expiry_interval_s, 30);
    message_unref(message);
}

static void refuses_a_topic_that_the_mountpoint_makes_too_long(void **state)
{
    uint8_t *topic = malloc(UINT16_MAX);
    struct message_options options = {.mountpoint = SLICE_LITERAL("m"), .topic = slice_make(topic, UINT16_MAX)};
    struct message *message;

    (void)state;
    assert_non_null(topic);
    memset(topic, 'a', UINT16_MAX);
    assert_null(message_new(&options));
    options.mountpoint.len = 0;
    message = message_new(&options);
    assert_non_null(message);
    assert_int_equal(message->topic_len, UINT16_MAX);
    message_unref(message);
    free(topic);
}

static void expires_when_more_than_the_interval_has_passed(void **state)
{
    struct message *message = make_expiring(5000, 2), *at_once = make_expiring(5000, 0);

    (void)state;
    assert_false(message_expired(message, 5000));
    assert_false(message_expired(message, 7000));
    assert_true(message_expired(message, 7001));
    assert_false(message_expired(at_once, 5000));
    assert_true(message_expired(at_once, 5001));
    message_unref(message);
    message_unref(at_once);
}

static void has_not_expired_for_a_worker_whose_clock_is_behind(void **state)
{
    /* Workers read the clock once a turn: what another one made may come from this worker's future. */
    struct message *message = make_expiring(5000, 2);

    (void)state;
    assert_false(message_expired(message, 4999));
    assert_int_equal(message_expiry_left_s(message, 4999), 2);
    message_unref(message);
}

static void counts_the_interval_down_to_one_second(void **state)
{
    struct message *message = make_expiring(5000, 3), *for_ever = make_expiring(5000, UINT32_MAX);

    (void)state;
    assert_int_equal(message_expiry_left_s(message, 5000), 3);
    assert_int_equal(message_expiry_left_s(message, 5999), 3);
    assert_int_equal(message_expiry_left_s(message, 6000), 2);
    assert_int_equal(message_expiry_left_s(message, 8000), 1);
    assert_int_equal(message_expiry_left_s(message, 999999), 1);
    assert_false(message_expired(for_ever, 5000 + UINT64_C(4294967295) * 1000));
    assert_int_equal(message_expiry_left_s(for_ever, 5000), UINT32_MAX);
    message_unref(message);
    message_unref(for_ever);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_what_the_options_point_at),
        cmocka_unit_test(keeps_a_payload_in_the_buffer_it_takes_over),
        cmocka_unit_test(lives_until_its_last_reference_goes),
        cmocka_unit_test(takes_the_forwardable_properties_only),
        cmocka_unit_test(refuses_a_topic_that_the_mountpoint_makes_too_long),
        cmocka_unit_test(expires_when_more_than_the_interval_has_passed),
        cmocka_unit_test(has_not_expired_for_a_worker_whose_clock_is_behind),
        cmocka_unit_test(counts_the_interval_down_to_one_second),
    };

    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
