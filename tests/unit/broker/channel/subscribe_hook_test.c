/*
 * client.subscribe and client.unsubscribe: asked about each filter that may be subscribed, and what they change takes effect.
 */
#include "channel_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/session/session.h"
#include "broker/session/subscription.h"
#include "hook/events.h"
#include "hook/hook_memory.h"

/* Filters that came by, and what becomes of those that are `from`. */
static struct {
    char seen[128]; /* "filter:qos" and "-filter" for UNSUBSCRIBE, in order; the last ones */
    const char *from;
    const char *to;
    uint8_t qos;           /* of the changed one; over 2: stays */
    enum reason_code code; /* of it */
    uint32_t calls;
} rule;

static struct hook *hooks[3];

static void note(const char *text)
{
    size_t len = strlen(rule.seen);

    rule.calls++;
    if (len + strlen(text) + 2 < sizeof(rule.seen))
        snprintf(rule.seen + len, sizeof(rule.seen) - len, "%s%s", len > 0 ? " " : "", text);
}

static bool is_from(struct slice filter)
{
    return rule.from != NULL && slice_equal(filter, slice_from_string(rule.from));
}

static enum hook_verdict on_subscribe(void *context, void *data)
{
    struct hook_subscribe *event = data;
    char text[64];

    (void)context;
    assert_true(slice_equal(event->client->client_id, slice_from_string("c")));
    snprintf(text, sizeof(text), "%.*s:%u", SLICE_ARG(event->filter), event->options.qos);
    note(text);
    if (!is_from(event->filter))
        return HOOK_NEXT;
    if (rule.to != NULL)
        event->filter = hook_memory_copy(&event->memory, slice_from_string(rule.to));
    if (rule.qos <= 2)
        event->options.qos = rule.qos;
    event->code = rule.code;
    return HOOK_STOP;
}

static enum hook_verdict on_unsubscribe(void *context, void *data)
{
    struct hook_unsubscribe *event = data;
    char text[64];

    (void)context;
    snprintf(text, sizeof(text), "-%.*s", SLICE_ARG(event->filter));
    note(text);
    if (is_from(event->filter))
        event->filter = hook_memory_copy(&event->memory, slice_from_string(rule.to));
    return HOOK_NEXT;
}

static enum hook_verdict deny_secrets(void *context, void *data)
{
    struct hook_check_acl *event = data;

    (void)context;
    event->is_allowed = !slice_equal(event->topic, slice_from_string("secret"));
    return HOOK_STOP;
}

static int open_fixture(void **state)
{
    (void)state;
    fixture_open("allow_anonymous = true\nzone.test.enable_acl = on\nacl_nomatch = allow\n");
    memset(&rule, 0, sizeof(rule));
    rule.qos = 3;
    hooks[0] = fixture_hook(HOOK_CLIENT_SUBSCRIBE, 0, on_subscribe, NULL);
    hooks[1] = fixture_hook(HOOK_CLIENT_UNSUBSCRIBE, 0, on_unsubscribe, NULL);
    hooks[2] = fixture_hook(HOOK_CLIENT_CHECK_ACL, -1, deny_secrets, NULL);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        hook_remove(hooks[i]);
    return fixture_close();
}

static int come(enum mqtt_version version)
{
    int fd = fixture_connect_socket(0);

    fixture_say_connect(fd, version, "c", NULL, NULL);
    fixture_turns();
    assert_memory_equal(fixture_receive(fd), "20", 2);
    return fd;
}

/* SUBSCRIBE or UNSUBSCRIBE to these filters at QoS 1; what is answered. */
static const char *ask(int fd, enum mqtt_version version, enum mqtt_type type, const char *const *filters,
                       uint32_t count)
{
    uint8_t raw[1000];
    size_t len = 0;

    for (uint32_t i = 0; i < count; i++) {
        size_t filter_len = strlen(filters[i]);
        assert_true(len + filter_len + 3 <= sizeof(raw));
        raw[len++] = 0;
        raw[len++] = (uint8_t)filter_len;
        memcpy(raw + len, filters[i], filter_len);
        len += filter_len;
        if (type == MQTT_SUBSCRIBE)
            raw[len++] = 1;
    }
    struct mqtt_packet packet = {.type = type,
                                 .subscribe = {.packet_id = 1, .filter_count = count, .filters = slice_make(raw, len)}};
    fixture_send(fd, version, &packet);
    fixture_turns();
    return fixture_receive(fd);
}

static const char *subscribe_one(int fd, const char *filter)
{
    return ask(fd, MQTT_V3_1_1, MQTT_SUBSCRIBE, &filter, 1);
}

static bool has_subscription(const char *filter)
{
    struct session *session = broker_find_session(fixture_broker, slice_from_string("c"));
    struct mqtt_shared_filter parsed;

    assert_true(mqtt_shared_filter_parse(slice_from_string(filter), &parsed));
    return subscription_find(session, &parsed) != NULL;
}

static void each_filter_comes_by_once_but_denied_ones(void **state)
{
    static const char *const filters[] = {"a/+", "secret", "$share/g/b"};
    int fd = come(MQTT_V3_1_1);

    (void)state;
    assert_string_equal(ask(fd, MQTT_V3_1_1, MQTT_SUBSCRIBE, filters, 3), "90050001018001");
    assert_string_equal(rule.seen, "a/+:1 $share/g/b:1");
    assert_true(has_subscription("$share/g/b"));
}

static void a_filter_may_become_another_one(void **state)
{
    static const uint8_t retained[] = {0x31, 7, 0, 3, 'n', 'e', 'w', 'h', 'i'};
    int fd = come(MQTT_V3_1_1);

    (void)state;
    assert_int_equal(write(fd, retained, sizeof(retained)), sizeof(retained));
    rule.from = "old";
    rule.to = "new";
    rule.qos = 0;
    /* What is retained for the new filter follows the SUBACK. */
    assert_string_equal(subscribe_one(fd, "old"), "9003000100"
                                                  "310700036e65776869");
    assert_true(has_subscription("new"));
    assert_false(has_subscription("old"));
}

static void a_filter_that_is_none_is_refused(void **state)
{
    static const char *const wrong[] = {"", "a/#/b", "$share/+/x"};
    int fd = come(MQTT_V3_1_1);

    (void)state;
    rule.from = "old";
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        rule.to = wrong[i];
        assert_string_equal(subscribe_one(fd, "old"), "9003000180");
    }
    assert_false(has_subscription("old"));
}

static void a_refusal_is_of_one_filter(void **state)
{
    static const char *const filters[] = {"x", "no", "y"};
    int v5 = come(MQTT_V5);

    (void)state;
    rule.from = "no";
    rule.code = REASON_QUOTA_EXCEEDED;
    assert_string_equal(ask(v5, MQTT_V5, MQTT_SUBSCRIBE, filters, 3), "9006000100019701");
    assert_true(has_subscription("y"));
    assert_false(has_subscription("no"));
}

static void unsubscribing_comes_by_and_may_be_changed(void **state)
{
    static const char *const filters[] = {"old", "x"};
    int fd = come(MQTT_V3_1_1);

    (void)state;
    subscribe_one(fd, "new");
    subscribe_one(fd, "x");
    rule.seen[0] = '\0';
    rule.from = "old";
    rule.to = "new";
    assert_string_equal(ask(fd, MQTT_V3_1_1, MQTT_UNSUBSCRIBE, filters, 2), "b0020001");
    assert_string_equal(rule.seen, "-old -x");
    assert_false(has_subscription("new"));
    assert_false(has_subscription("x"));
}

/* So many that they are served in several turns. */
static void packets_with_very_many_filters_are_treated_alike(void **state)
{
    enum { FILTERS = 600 };
    static uint8_t packet[FILTERS * 4 + 5] = {0x82, 0, 0, 0, 9};
    static const uint8_t retained[] = {0x31, 7, 0, 3, 'n', 'e', 'w', 'h', 'i'};
    size_t len = 5;
    int fd = come(MQTT_V3_1_1);

    (void)state;
    assert_int_equal(write(fd, retained, sizeof(retained)), sizeof(retained));
    for (uint32_t i = 0; i < FILTERS; i++) {
        packet[len++] = 0;
        packet[len++] = 1;
        packet[len++] = i == 100 || i == 599 ? 'o' : 'x';
        packet[len++] = 0;
    }
    packet[1] = (uint8_t)((len - 3) % 128 | 128);
    packet[2] = (uint8_t)((len - 3) / 128);
    rule.from = "o";
    rule.to = "new";
    assert_int_equal(write(fd, packet, len), len);
    fixture_turns();
    fixture_turns();
    const char *answer = fixture_receive(fd);
    size_t answer_len = strlen(answer);
    assert_int_equal(rule.calls, FILTERS);
    assert_memory_equal(answer, "90da040009", 10);
    assert_int_equal(answer_len, 2 * (5 + FILTERS) + 2 * 18); /* SUBACK, and the retained message for either */
    assert_string_equal(answer + answer_len - 18, "310700036e65776869");
    assert_true(has_subscription("new"));
    assert_false(has_subscription("o"));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_filter_comes_by_once_but_denied_ones), TEST(a_filter_may_become_another_one),
        TEST(a_filter_that_is_none_is_refused),          TEST(a_refusal_is_of_one_filter),
        TEST(unsubscribing_comes_by_and_may_be_changed), TEST(packets_with_very_many_filters_are_treated_alike),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
