/*
 * Behaviour of message records: what goes in comes out, expiry goes on meanwhile, and damage is noticed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "mqtt/message.h"
#include "mqtt/message_record.h"

static struct message *make(bool expiring)
{
    struct mqtt_properties properties = {
        .present = MQTT_PROP_BIT(MQTT_PROP_CONTENT_TYPE) |
                   (expiring ? MQTT_PROP_BIT(MQTT_PROP_MESSAGE_EXPIRY_INTERVAL) : 0),
        .content_type = SLICE_LITERAL("text"),
        .message_expiry_interval_s = 60,
    };
    struct message_options options = {
        .topic = SLICE_LITERAL("a/b"),
        .payload = SLICE_LITERAL("payload"),
        .client_id = SLICE_LITERAL("publisher"),
        .properties = &properties,
        .now_ms = 1000,
        .qos = 2,
        .retain = true,
    };
    struct message *message = message_new(&options);

    assert_non_null(message);
    return message;
}

/* The record in `out`; its length. */
static size_t write_record(const struct message *message, uint64_t created_ms, uint8_t out[256])
{
    uint8_t head[MESSAGE_RECORD_HEAD];
    struct slice parts[MESSAGE_RECORD_PARTS];
    size_t len = 0;

    message_record_encode(message, created_ms, head, parts);
    for (size_t i = 0; i < MESSAGE_RECORD_PARTS; i++) {
        if (parts[i].len > 0)
            memcpy(out + len, parts[i].data, parts[i].len);
        len += parts[i].len;
    }
    assert_int_equal(len, message_record_bytes(message));
    return len;
}

static void a_message_comes_back_as_it_was(void **state)
{
    struct message *message = make(false), *again;
    struct message_record record;
    uint8_t bytes[256];
    bool expired;

    (void)state;
    assert_int_equal(message_record_decode(slice_make(bytes, write_record(message, 5000, bytes)), &record), 0);
    assert_int_equal(record.created_ms, 5000);
    again = message_record_restore(&record, 77, 9000, &expired);
    assert_non_null(again);
    assert_true(slice_equal(message_topic(again), message_topic(message)));
    assert_true(slice_equal(message_payload(again), message_payload(message)));
    assert_true(slice_equal(message_client_id(again), message_client_id(message)));
    assert_int_equal(again->properties_len, message->properties_len);
    assert_memory_equal(again->properties, message->properties, message->properties_len);
    assert_int_equal(again->qos, 2);
    assert_true(again->retain);
    assert_false(again->has_expiry);
    assert_int_equal(again->created_ms, 77);
    message_unref(again);
    message_unref(message);
}

static void the_expiry_interval_goes_on_while_the_message_is_stored(void **state)
{
    struct message *message = make(true), *again;
    struct message_record record;
    uint8_t bytes[256];
    bool expired;

    (void)state;
    assert_int_equal(message_record_decode(slice_make(bytes, write_record(message, 5000, bytes)), &record), 0);
    again = message_record_restore(&record, 100, 5000 + 20000, &expired);
    assert_false(expired);
    assert_int_equal(again->expiry_interval_s, 40);
    message_unref(again);
    assert_null(message_record_restore(&record, 100, 5000 + 60000, &expired));
    assert_true(expired);
    /* A clock behind the record's: nothing of the interval has passed. */
    again = message_record_restore(&record, 100, 10, &expired);
    assert_int_equal(again->expiry_interval_s, 60);
    message_unref(again);
    message_unref(message);
}

static void damaged_records_are_refused(void **state)
{
    struct message *message = make(true);
    struct message_record record;
    uint8_t bytes[256];
    size_t len = write_record(message, 5000, bytes);

    (void)state;
    for (size_t i = 0; i < len; i++)
        assert_int_equal(message_record_decode(slice_make(bytes, i), &record), -EBADMSG);
    assert_int_equal(message_record_decode(slice_make(bytes, len + 1), &record), -EBADMSG);
    bytes[0] = 9; /* a version that nobody knows */
    assert_int_equal(message_record_decode(slice_make(bytes, len), &record), -EBADMSG);
    bytes[0] = 1;
    bytes[1] = 3; /* QoS 3 */
    assert_int_equal(message_record_decode(slice_make(bytes, len), &record), -EBADMSG);
    message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_back_as_it_was),
        cmocka_unit_test(the_expiry_interval_goes_on_while_the_message_is_stored),
        cmocka_unit_test(damaged_records_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
