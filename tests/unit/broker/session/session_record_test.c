/*
 * Behaviour of what is stored of a session: what goes in comes out, keys sort as the session needs it, damage is noticed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/session/session_record.h"

#define BYTES_MAX 1024u
#define TEXT(text)                                                                                                     \
    {                                                                                                                  \
        (const uint8_t *)("" text), sizeof(text) - 1                                                                   \
    } /* of a static object */

static void assert_slice(struct slice found, struct slice expected)
{
    assert_int_equal(found.len, expected.len);
    assert_true(slice_equal(found, expected));
}

/* ---- keys ---- */

static void keys_come_back_and_sort_by_their_numbers(void **state)
{
    static const uint64_t numbers[] = {1, 255, 256, 70000, UINT64_C(1) << 40, UINT64_MAX};
    uint8_t last[QUEUE_KEY_LEN] = {0}, queue[QUEUE_KEY_LEN], session[SESSION_KEY_LEN], rel[AWAITING_REL_KEY_LEN];
    uint64_t number, sequence;
    uint16_t packet_id;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        session_key(numbers[i], session);
        assert_int_equal(session_key_decode(slice_make(session, sizeof(session)), &number), 0);
        assert_true(number == numbers[i]);
        awaiting_rel_key(numbers[i], 65535, rel);
        assert_int_equal(awaiting_rel_key_decode(slice_make(rel, sizeof(rel)), &number, &packet_id), 0);
        assert_true(number == numbers[i] && packet_id == 65535);
        for (size_t j = 0; j < ARRAY_COUNT(numbers); j++) {
            queue_key(numbers[i], numbers[j], queue);
            assert_memory_equal(queue, session, SESSION_KEY_LEN); /* the session's number is a prefix */
            assert_true(memcmp(last, queue, sizeof(queue)) < 0);
            memcpy(last, queue, sizeof(queue));
            assert_int_equal(queue_key_decode(slice_make(queue, sizeof(queue)), &number, &sequence), 0);
            assert_true(number == numbers[i] && sequence == numbers[j]);
        }
    }
}

static void keys_of_another_length_or_without_a_number_are_refused(void **state)
{
    uint8_t bytes[QUEUE_KEY_LEN + 1] = {1};
    uint64_t number, sequence;
    uint16_t packet_id;

    (void)state;
    bytes[9] = bytes[15] = 1;
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        struct slice key = slice_make(bytes, len);
        assert_int_equal(session_key_decode(key, &number), len == SESSION_KEY_LEN ? 0 : -EBADMSG);
        assert_int_equal(queue_key_decode(key, &number, &sequence), len == QUEUE_KEY_LEN ? 0 : -EBADMSG);
        assert_int_equal(awaiting_rel_key_decode(key, &number, &packet_id), len == AWAITING_REL_KEY_LEN ? 0 : -EBADMSG);
    }
    bytes[9] = bytes[15] = 0;
    assert_int_equal(queue_key_decode(slice_make(bytes, QUEUE_KEY_LEN), &number, &sequence), -EBADMSG);
    assert_int_equal(awaiting_rel_key_decode(slice_make(bytes, AWAITING_REL_KEY_LEN), &number, &packet_id), -EBADMSG);
}

static void check_subscription_key(const char *text)
{
    struct mqtt_shared_filter filter, found;
    struct buffer key;
    struct slice bytes;
    uint64_t number = 0;

    assert_true(mqtt_shared_filter_parse(slice_from_string(text), &filter));
    buffer_init(&key, BYTES_MAX);
    assert_int_equal(subscription_key(77, &filter, &key), 0);
    bytes = buffer_slice(&key);
    assert_int_equal(subscription_key_decode(bytes, &number, &found), 0);
    assert_int_equal(number, 77);
    assert_slice(found.filter, filter.filter);
    assert_slice(found.group, filter.group);
    assert_int_equal(found.group.data == NULL, filter.group.data == NULL);
    buffer_fini(&key);
}

static void filters_come_back_with_their_group(void **state)
{
    (void)state;
    check_subscription_key("a/b/+");
    check_subscription_key("#");
    check_subscription_key("/");
    check_subscription_key("$share/group/a/b");
    check_subscription_key("$queue/x/#");
    check_subscription_key("$share/g/$SYS/#");
}

static void a_shared_filter_and_a_plain_one_have_keys_and_hashes_of_their_own(void **state)
{
    static const char *const texts[] = {"b", "$share/a/b", "$share/b/a", "$queue/b", "$share/ab/c", "$share/a/bc"};
    struct buffer keys[ARRAY_COUNT(texts)];
    uint32_t hashes[ARRAY_COUNT(texts)];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct mqtt_shared_filter filter;
        assert_true(mqtt_shared_filter_parse(slice_from_string(texts[i]), &filter));
        buffer_init(&keys[i], BYTES_MAX);
        assert_int_equal(subscription_key(1, &filter, &keys[i]), 0);
        hashes[i] = queue_share_hash(&filter);
        assert_true(hashes[i] != 0);
        for (size_t j = 0; j < i; j++) {
            assert_false(slice_equal(buffer_slice(&keys[i]), buffer_slice(&keys[j])));
            assert_true(hashes[i] != hashes[j]);
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        buffer_fini(&keys[i]);
}

static void the_hash_of_a_group_is_the_same_in_each_run(void **state)
{
    struct mqtt_shared_filter filter = {SLICE_LITERAL("group"), SLICE_LITERAL("a/b")};

    (void)state;
    assert_int_equal(queue_share_hash(&filter), 0xbe99aafe);
}

static void bad_filters_are_refused(void **state)
{
    static const struct slice keys[] = {
        TEXT("12345678"),        TEXT("12345678\0"),        TEXT("12345678\1"),        TEXT("12345678\2a"),
        TEXT("12345678\1group"), TEXT("12345678\1group\0"), TEXT("12345678\1\0b"),     TEXT("12345678\0a/#/b"),
        TEXT("12345678\0a+"),    TEXT("12345678\0a\0b"),    TEXT("12345678\1a\0b\0c"), TEXT("12345678\1a\0b#"),
    };
    struct mqtt_shared_filter filter;
    uint64_t number;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        assert_int_equal(subscription_key_decode(keys[i], &number, &filter), -EBADMSG);
}

/* ---- records ---- */

static const struct session_record full_session = {
    .client_id = TEXT("client"),
    .zone = TEXT("external"),
    .will = TEXT("will record"),
    .expiry_interval_s = UINT32_MAX,
    .will_delay_s = 30,
    .created_at_s = UINT64_C(1) << 33,
    .left_ms = UINT64_MAX - 1,
    .sent_through = UINT64_C(1) << 50,
    .reserved_through = (UINT64_C(1) << 50) + 7,
    .window = 65535,
    .version = MQTT_V5,
};

/* The caller frees the data. */
static struct slice write_session(const struct session_record *record)
{
    struct buffer out;
    struct slice copy;

    buffer_init(&out, BYTES_MAX);
    assert_int_equal(session_record_encode(record, &out), 0);
    assert_int_equal(slice_dup(buffer_slice(&out), &copy), 0);
    buffer_fini(&out);
    return copy;
}

static void check_session(const struct session_record *record)
{
    struct slice bytes = write_session(record);
    struct session_record found;

    assert_int_equal(session_record_decode(bytes, &found), 0);
    assert_slice(found.client_id, record->client_id);
    assert_slice(found.zone, record->zone);
    assert_slice(found.will, record->will);
    assert_int_equal(found.expiry_interval_s, record->expiry_interval_s);
    assert_int_equal(found.will_delay_s, record->will_delay_s);
    assert_true(found.created_at_s == record->created_at_s);
    assert_true(found.left_ms == record->left_ms);
    assert_true(found.sent_through == record->sent_through);
    assert_true(found.reserved_through == record->reserved_through);
    assert_int_equal(found.window, record->window);
    assert_int_equal(found.version, record->version);
    slice_free(&bytes);
}

static void a_session_comes_back_as_it_was(void **state)
{
    struct session_record bare = {.client_id = SLICE_LITERAL("c"), .window = 1, .version = MQTT_V3_1};

    (void)state;
    check_session(&full_session);
    check_session(&bare);
}

/* Decodes a copy that ends where its memory does, so that a sanitizer sees a read behind it. */
static int decode_session(struct slice bytes)
{
    struct session_record record;
    struct slice copy;
    int err;

    if (bytes.len == 0)
        return session_record_decode(bytes, &record);
    assert_int_equal(slice_dup(bytes, &copy), 0);
    err = session_record_decode(copy, &record);
    slice_free(&copy);
    return err;
}

static void a_session_record_cut_short_or_too_long_is_refused(void **state)
{
    struct slice bytes = write_session(&full_session);
    uint8_t *longer = malloc(bytes.len + 1);

    (void)state;
    assert_non_null(longer);
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(decode_session(slice_make(bytes.data, len)), -EBADMSG);
    memcpy(longer, bytes.data, bytes.len);
    longer[bytes.len] = 0;
    assert_int_equal(decode_session(slice_make(longer, bytes.len + 1)), -EBADMSG);
    free(longer);
    slice_free(&bytes);
}

/* Byte `place` set to `value`: is it refused? */
static void refuses_session_with(size_t place, uint8_t value)
{
    struct slice bytes = write_session(&full_session);
    uint8_t *changed = (uint8_t *)(uintptr_t)bytes.data;

    changed[place] = value;
    assert_int_equal(decode_session(bytes), -EBADMSG);
    slice_free(&bytes);
}

static void a_session_record_that_means_nothing_is_refused(void **state)
{
    struct session_record record = full_session;
    struct slice bytes;

    (void)state;
    refuses_session_with(0, 0); /* version of the record */
    refuses_session_with(0, 2);
    refuses_session_with(1, 2); /* version of the protocol */
    refuses_session_with(1, 6);
    refuses_session_with(4, 7); /* lengths */
    refuses_session_with(11, 0xff);
    record.window = 0;
    bytes = write_session(&record);
    assert_int_equal(decode_session(bytes), -EBADMSG);
    slice_free(&bytes);
    record = full_session;
    record.client_id = SLICE_LITERAL("");
    bytes = write_session(&record);
    assert_int_equal(decode_session(bytes), -EBADMSG);
    slice_free(&bytes);
}

static void a_session_record_larger_than_its_buffer_is_refused(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, 16);
    assert_int_equal(session_record_encode(&full_session, &out), -ENOBUFS);
    buffer_fini(&out);
}

static void subscriptions_come_back_as_they_were(void **state)
{
    uint8_t bytes[SUBSCRIPTION_RECORD_LEN];

    (void)state;
    for (unsigned i = 0; i < 3 * 3 * 2 * 2; i++) {
        struct subscription_record record = {
            .subscription_id = 268435455 - i,
            .qos = (uint8_t)(i % 3),
            .retain_handling = (uint8_t)(i / 3 % 3),
            .no_local = i / 9 % 2 != 0,
            .retain_as_published = i / 18 != 0,
        };
        struct subscription_record found;
        subscription_record_encode(&record, bytes);
        assert_int_equal(subscription_record_decode(slice_make(bytes, sizeof(bytes)), &found), 0);
        assert_int_equal(found.subscription_id, record.subscription_id);
        assert_int_equal(found.qos, record.qos);
        assert_int_equal(found.retain_handling, record.retain_handling);
        assert_int_equal(found.no_local, record.no_local);
        assert_int_equal(found.retain_as_published, record.retain_as_published);
    }
}

static void bad_subscription_records_are_refused(void **state)
{
    static const uint8_t flags[] = {3, 0x30, 0x40, 0x80};
    struct subscription_record record = {.subscription_id = 5, .qos = 1};
    uint8_t bytes[SUBSCRIPTION_RECORD_LEN + 1] = {0};

    (void)state;
    subscription_record_encode(&record, bytes);
    for (size_t len = 0; len <= sizeof(bytes); len++)
        assert_int_equal(subscription_record_decode(slice_make(bytes, len), &record),
                         len == SUBSCRIPTION_RECORD_LEN ? 0 : -EBADMSG);
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        bytes[1] = flags[i];
        assert_int_equal(subscription_record_decode(slice_make(bytes, SUBSCRIPTION_RECORD_LEN), &record), -EBADMSG);
    }
    bytes[0] = 2;
    bytes[1] = 0;
    assert_int_equal(subscription_record_decode(slice_make(bytes, SUBSCRIPTION_RECORD_LEN), &record), -EBADMSG);
}

/* The entry's bytes; how many. */
static size_t write_entry(const struct queue_record *record, uint8_t out[64])
{
    queue_record_encode(record, out);
    if (record->message.len > 0)
        memcpy(out + QUEUE_RECORD_HEAD, record->message.data, record->message.len);
    return QUEUE_RECORD_HEAD + record->message.len;
}

static void check_entry(const struct queue_record *record)
{
    struct queue_record found;
    uint8_t bytes[64];
    size_t len = write_entry(record, bytes);

    assert_int_equal(queue_record_decode(slice_make(bytes, len), &found), 0);
    assert_int_equal(found.subscription_id, record->subscription_id);
    assert_int_equal(found.share_hash, record->share_hash);
    assert_int_equal(found.priority, record->priority);
    assert_int_equal(found.qos, record->qos);
    assert_int_equal(found.retain, record->retain);
    assert_true(found.body_number == record->body_number);
    assert_slice(found.message, record->message);
}

static const struct queue_record inline_entry = {
    .subscription_id = 268435455,
    .share_hash = 0x89abcdef,
    .priority = 256,
    .qos = 2,
    .retain = true,
    .message = TEXT("message record"),
};
static const struct queue_record referring_entry = {.qos = 1, .body_number = UINT64_MAX};

static void queue_entries_come_back_as_they_were(void **state)
{
    (void)state;
    check_entry(&inline_entry);
    check_entry(&referring_entry);
}

static void bad_queue_entries_are_refused(void **state)
{
    static const uint8_t flags[] = {0, 3, 9, 0x81};
    struct queue_record record;
    uint8_t bytes[64] = {0};
    size_t len = write_entry(&inline_entry, bytes);

    (void)state;
    for (size_t i = 0; i <= QUEUE_RECORD_HEAD; i++) /* neither number nor message */
        assert_int_equal(queue_record_decode(slice_make(bytes, i), &record), -EBADMSG);
    bytes[12] = 1; /* number and message */
    assert_int_equal(queue_record_decode(slice_make(bytes, len), &record), -EBADMSG);
    len = write_entry(&referring_entry, bytes);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(queue_record_decode(slice_make(bytes, i), &record), -EBADMSG);
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        bytes[1] = flags[i];
        assert_int_equal(queue_record_decode(slice_make(bytes, len), &record), -EBADMSG);
    }
    bytes[1] = 1;
    bytes[0] = 0;
    assert_int_equal(queue_record_decode(slice_make(bytes, len), &record), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_back_and_sort_by_their_numbers),
        cmocka_unit_test(keys_of_another_length_or_without_a_number_are_refused),
        cmocka_unit_test(filters_come_back_with_their_group),
        cmocka_unit_test(a_shared_filter_and_a_plain_one_have_keys_and_hashes_of_their_own),
        cmocka_unit_test(the_hash_of_a_group_is_the_same_in_each_run),
        cmocka_unit_test(bad_filters_are_refused),
        cmocka_unit_test(a_session_comes_back_as_it_was),
        cmocka_unit_test(a_session_record_cut_short_or_too_long_is_refused),
        cmocka_unit_test(a_session_record_that_means_nothing_is_refused),
        cmocka_unit_test(a_session_record_larger_than_its_buffer_is_refused),
        cmocka_unit_test(subscriptions_come_back_as_they_were),
        cmocka_unit_test(bad_subscription_records_are_refused),
        cmocka_unit_test(queue_entries_come_back_as_they_were),
        cmocka_unit_test(bad_queue_entries_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
