/*
 * session.created, .resumed, .subscribed, .unsubscribed and .terminated: once each, in the right order, with what they are about.
 */
#include "channel_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/channel/channel.h"
#include "hook/events.h"

static char told[512];
static struct hook *hooks[6];
static char words[][16] = {"created", "resumed", "subscribed", "unsubscribed", "terminated", "connected"};

static void tell(const char *text)
{
    size_t len = strlen(told);

    assert_true(len + strlen(text) + 2 < sizeof(told));
    snprintf(told + len, sizeof(told) - len, "%s%s", len > 0 ? " " : "", text);
}

/* `context` is the point's word. */
static enum hook_verdict on_session(void *context, void *data)
{
    const struct hook_session *event = data;
    char text[64];

    snprintf(text, sizeof(text), "%s:%.*s:%u", (const char *)context, SLICE_ARG(event->client->client_id),
             event->expiry_interval_s);
    tell(text);
    return HOOK_NEXT;
}

static enum hook_verdict on_filter(void *context, void *data)
{
    const struct hook_session_filter *event = data;
    char text[64];

    snprintf(text, sizeof(text), "%s:%.*s:%.*s:%u%s", (const char *)context, SLICE_ARG(event->filter),
             SLICE_ARG(event->group), event->options.qos, event->is_new ? ":new" : "");
    tell(text);
    return HOOK_NEXT;
}

static enum hook_verdict on_terminated(void *context, void *data)
{
    const struct hook_session_terminated *event = data;
    char text[64];

    snprintf(text, sizeof(text), "%s:%.*s:%s", (const char *)context, SLICE_ARG(event->client_id), event->reason);
    tell(text);
    return HOOK_NEXT;
}

static enum hook_verdict on_connected(void *context, void *data)
{
    (void)data;
    tell(context);
    return HOOK_NEXT;
}

static int open_fixture(void **state)
{
    (void)state;
    fixture_open("allow_anonymous = true\nzone.test.mountpoint = m/\n");
    told[0] = '\0';
    hooks[0] = fixture_hook(HOOK_SESSION_CREATED, 0, on_session, words[0]);
    hooks[1] = fixture_hook(HOOK_SESSION_RESUMED, 0, on_session, words[1]);
    hooks[2] = fixture_hook(HOOK_SESSION_SUBSCRIBED, 0, on_filter, words[2]);
    hooks[3] = fixture_hook(HOOK_SESSION_UNSUBSCRIBED, 0, on_filter, words[3]);
    hooks[4] = fixture_hook(HOOK_SESSION_TERMINATED, 0, on_terminated, words[4]);
    hooks[5] = fixture_hook(HOOK_CLIENT_CONNECTED, 0, on_connected, words[5]);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++)
        hook_remove(hooks[i]);
    return fixture_close();
}

static void assert_told(const char *expected)
{
    assert_string_equal(told, expected);
    told[0] = '\0';
}

/* MQTT 5, with that session expiry. */
static int come(const char *client_id, bool clean_start, uint32_t expiry_s)
{
    struct mqtt_packet packet = {.type = MQTT_CONNECT,
                                 .connect = {.client_id = slice_from_string(client_id),
                                             .clean_start = clean_start,
                                             .level = MQTT_V5,
                                             .properties = {.present = MQTT_PROP_BIT(MQTT_PROP_SESSION_EXPIRY_INTERVAL),
                                                            .session_expiry_interval_s = expiry_s}}};
    int fd = fixture_connect_socket(0);

    fixture_send(fd, MQTT_V5, &packet);
    fixture_turns();
    (void)fixture_receive(fd);
    return fd;
}

static void say_disconnect(int fd)
{
    static const uint8_t disconnect[] = {0xE0, 0};

    assert_int_equal(write(fd, disconnect, sizeof(disconnect)), sizeof(disconnect));
    fixture_turns();
}

static void a_session_of_one_connection_ends_with_it(void **state)
{
    int fd = come("c", true, 0);

    (void)state;
    assert_told("created:c:0 connected");
    say_disconnect(fd);
    assert_memory_equal(told, "terminated:c:", 13);
    assert_null(strchr(told, ' ')); /* once */
}

static void a_session_that_stays_is_resumed_and_expires(void **state)
{
    int fd = come("c", false, 60);

    (void)state;
    assert_told("created:c:60 connected");
    say_disconnect(fd);
    assert_told("");
    fd = come("c", false, 30);
    assert_told("resumed:c:30 connected");
    say_disconnect(fd);
    fixture_now_ms += 31000;
    fixture_turns();
    assert_told("terminated:c:expired");
}

static void a_clean_start_ends_the_old_session_first(void **state)
{
    (void)state;
    come("c", false, 60);
    told[0] = '\0';
    come("c", true, 0);
    assert_told("terminated:c:discarded created:c:0 connected");
}

static void subscriptions_are_told_with_their_mountpoint(void **state)
{
    static const uint8_t one[] = {0x82, 7, 0, 1, 0, 0, 1, 'a', 2},
                         shared[] = {0x82, 16, 0, 1, 0, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'b', 1};
    static const uint8_t unsubscribe[] = {0xA2, 9, 0, 1, 0, 0, 1, 'a', 0, 1, 'z'};
    int fd = come("c", true, 0);

    (void)state;
    told[0] = '\0';
    assert_int_equal(write(fd, one, sizeof(one)), sizeof(one));
    fixture_turns();
    assert_told("subscribed:m/a::2:new");
    assert_int_equal(write(fd, one, sizeof(one)), sizeof(one));
    fixture_turns();
    assert_told("subscribed:m/a::2");
    assert_int_equal(write(fd, shared, sizeof(shared)), sizeof(shared));
    fixture_turns();
    assert_told("subscribed:m/b:g:1:new");
    assert_int_equal(write(fd, unsubscribe, sizeof(unsubscribe)), sizeof(unsubscribe));
    fixture_turns();
    assert_told("unsubscribed:m/a::0");
    say_disconnect(fd); /* which ends the shared one without a word */
    assert_memory_equal(told, "terminated:c:", 13);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_of_one_connection_ends_with_it),
        TEST(a_session_that_stays_is_resumed_and_expires),
        TEST(a_clean_start_ends_the_old_session_first),
        TEST(subscriptions_are_told_with_their_mountpoint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
