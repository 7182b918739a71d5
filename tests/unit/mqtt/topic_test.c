/*
 * Topic names, filters, how they match, and shared subscriptions.
 */
#include "codec_test.h"

#include "mqtt/topic.h"

static struct slice text(const char *string)
{
    return slice_from_string(string);
}

static void a_topic_has_no_wildcard_at_any_place(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 40; len++) {
        uint8_t *bytes = malloc(len);

        assert_non_null(bytes);
        memset(bytes, 'a', len);
        for (size_t at = 0; at < len; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                bytes[at] = (uint8_t)byte;
                if (mqtt_topic_valid(slice_make(bytes, len)) != (byte != '+' && byte != '#'))
                    fail_msg("byte %02X at %zu of %zu", byte, at, len);
            }
            bytes[at] = 'a';
        }
        free(bytes);
    }
}

static void topics_and_filters_have_1_to_65535_bytes(void **state)
{
    uint8_t *bytes = malloc(MQTT_TOPIC_LEN_MAX + 1);

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 'a', MQTT_TOPIC_LEN_MAX + 1);
    assert_false(mqtt_topic_valid(slice_make(bytes, 0)));
    assert_false(mqtt_filter_valid(slice_make(bytes, 0)));
    assert_true(mqtt_topic_valid(slice_make(bytes, MQTT_TOPIC_LEN_MAX)));
    assert_true(mqtt_filter_valid(slice_make(bytes, MQTT_TOPIC_LEN_MAX)));
    assert_false(mqtt_topic_valid(slice_make(bytes, MQTT_TOPIC_LEN_MAX + 1)));
    assert_false(mqtt_filter_valid(slice_make(bytes, MQTT_TOPIC_LEN_MAX + 1)));
    free(bytes);
}

static void a_wildcard_fills_its_level(void **state)
{
    static const char *const good[] = {"a",   "/",  "+",   "#",   "+/+",  "a/+",   "+/a",
                                       "a/#", "/#", "+/#", "/+/", "a//b", "$SYS/#"};
    static const char *const bad[] = {"a+", "+a", "a/b+/c", "++",    "a/+b", "##", "a#",
                                      "#a", "#/", "#/a",    "a/#/b", "a/b#", "+#"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        if (!mqtt_filter_valid(text(good[i])))
            fail_msg("%s", good[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        if (mqtt_filter_valid(text(bad[i])))
            fail_msg("%s", bad[i]);
    }
}

static void tells_whether_a_filter_has_a_wildcard(void **state)
{
    (void)state;
    assert_false(mqtt_filter_has_wildcard(text("a/b")));
    assert_false(mqtt_filter_has_wildcard(text("a/long/filter/without/any/of/them")));
    assert_false(mqtt_filter_has_wildcard(text("\xC3\xA9/b")));
    assert_true(mqtt_filter_has_wildcard(text("+")));
    assert_true(mqtt_filter_has_wildcard(text("a/long/filter/with/one/+/of/them")));
    assert_true(mqtt_filter_has_wildcard(text("\xC3\xA9/#")));
}

static void counts_levels_by_separators(void **state)
{
    (void)state;
    assert_int_equal(mqtt_topic_level_count(text("a")), 1);
    assert_int_equal(mqtt_topic_level_count(text("/a")), 2);
    assert_int_equal(mqtt_topic_level_count(text("a//b")), 3);
    assert_int_equal(mqtt_topic_level_count(text("/")), 2);
}

static const struct {
    const char *topic;
    const char *filter;
    bool matches;
} pairs[] = {
    /* The standard's own examples, section 4.7.1. */
    {"sport/tennis/player1", "sport/tennis/player1/#", true},
    {"sport/tennis/player1/ranking", "sport/tennis/player1/#", true},
    {"sport/tennis/player1/score/wimbledon", "sport/tennis/player1/#", true},
    {"sport", "sport/#", true},
    {"sport/tennis/player1", "sport/tennis/+", true},
    {"sport/tennis/player1/ranking", "sport/tennis/+", false},
    {"sport", "sport/+", false},
    {"sport/", "sport/+", true},
    {"/finance", "+/+", true},
    {"/finance", "/+", true},
    {"/finance", "+", false},
    {"$SYS/monitor/Clients", "#", false},
    {"$SYS/monitor/Clients", "+/monitor/Clients", false},
    {"$SYS/monitor/Clients", "$SYS/#", true},
    {"$SYS/monitor/Clients", "$SYS/monitor/+", true},
    {"ACCOUNTS", "Accounts", false},
    /* Edges. */
    {"a", "a", true},
    {"a", "ab", false},
    {"ab", "a", false},
    {"a/b", "a", false},
    {"a", "a/b", false},
    {"a", "a/", false},
    {"a/", "a", false},
    {"a/", "a/", true},
    {"a/", "a/#", true},
    {"a//b", "a/+/b", true},
    {"a/b", "a/+/#", true},
    {"a", "a/+/#", false},
    {"a", "+/#", true},
    {"/", "+/+", true},
    {"/", "#", true},
    {"a/b/c", "a/#", true},
    {"ab/c", "a/#", false},
    {"a/$b", "a/+", true},
    {"a/$b", "a/#", true},
    {"a/b/c/d", "+/b/+/d", true},
    {"a/b/c/d", "+/b/+/e", false},
    {"", "#", false},
    {"a", "", false},
};

static void matches_as_the_standard_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(pairs); i++) {
        if (mqtt_topic_matches(text(pairs[i].topic), text(pairs[i].filter)) != pairs[i].matches)
            fail_msg("%s, %s", pairs[i].topic, pairs[i].filter);
    }
}

static void takes_shared_filters_apart(void **state)
{
    struct mqtt_shared_filter shared;

    (void)state;
    assert_true(mqtt_shared_filter_parse(text("$share/g/a/#"), &shared));
    ASSERT_SLICE(shared.group, "g");
    ASSERT_SLICE(shared.filter, "a/#");
    assert_true(mqtt_shared_filter_parse(text("$share/group//a"), &shared));
    ASSERT_SLICE(shared.group, "group");
    ASSERT_SLICE(shared.filter, "/a");
    assert_true(mqtt_shared_filter_parse(text("$queue/a/b"), &shared));
    ASSERT_SLICE(shared.group, "$queue");
    ASSERT_SLICE(shared.filter, "a/b");
}

static void leaves_other_filters_as_they_are(void **state)
{
    static const char *const plain[] = {"a/b", "$SYS/#", "$share", "$queue", "$shared/g/a", "share/g/a"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(plain); i++) {
        struct mqtt_shared_filter shared;

        assert_true(mqtt_shared_filter_parse(text(plain[i]), &shared));
        assert_null(shared.group.data);
        assert_true(slice_equal(shared.filter, text(plain[i])));
    }
}

static void refuses_a_share_prefix_that_is_not_whole(void **state)
{
    static const char *const bad[] = {
        "$share/",         "$share//a",         "$share/g", "$share/g/",           "$share/+/a",
        "$share/g#/a",     "$share/#/a",        "$queue/",  "$share/g/$share/h/a", "$share/g/$queue/a",
        "$queue/$queue/a", "$queue/$share/g/a",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct mqtt_shared_filter shared;

        if (mqtt_shared_filter_parse(text(bad[i]), &shared))
            fail_msg("%s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topic_has_no_wildcard_at_any_place),
        cmocka_unit_test(topics_and_filters_have_1_to_65535_bytes),
        cmocka_unit_test(a_wildcard_fills_its_level),
        cmocka_unit_test(tells_whether_a_filter_has_a_wildcard),
        cmocka_unit_test(counts_levels_by_separators),
        cmocka_unit_test(matches_as_the_standard_says),
        cmocka_unit_test(takes_shared_filters_apart),
        cmocka_unit_test(leaves_other_filters_as_they_are),
        cmocka_unit_test(refuses_a_share_prefix_that_is_not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
