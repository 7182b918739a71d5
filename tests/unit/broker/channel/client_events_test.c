/*
 * client_events: client.connected and client.disconnected: when they come, with what, and that each coming has one going.
 */
#include "channel_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker/channel/channel.h"
#include "hook/events.h"

#define WAIT_MS 20000

/* What was told, in order: "+id:code" and "-id:reason". */
static char told[512];
static struct hook_connected last;
static int watched_fd = -1; /* looked at when client.connected comes */
static char watched[64];    /* what the client could have read by then */
static struct hook *hooks[2];

static void tell(const char *text)
{
    size_t len = strlen(told);

    assert_true(len + strlen(text) + 2 < sizeof(told));
    snprintf(told + len, sizeof(told) - len, "%s%s", len > 0 ? " " : "", text);
}

static enum hook_verdict on_connected(void *context, void *data)
{
    const struct hook_connected *event = data;
    char text[128];

    (void)context;
    last = *event;
    if (watched_fd >= 0)
        snprintf(watched, sizeof(watched), "%s", fixture_receive(watched_fd));
    snprintf(text, sizeof(text), "+%.*s:%02x", SLICE_ARG(event->client->client_id), event->code);
    tell(text);
    return HOOK_NEXT;
}

static enum hook_verdict on_disconnected(void *context, void *data)
{
    const struct hook_disconnected *event = data;
    char text[128];

    (void)context;
    snprintf(text, sizeof(text), "-%.*s:%s", SLICE_ARG(event->client->client_id), event->reason);
    tell(text);
    return HOOK_NEXT;
}

static int attach(void)
{
    told[0] = '\0';
    watched_fd = -1;
    hooks[0] = fixture_hook(HOOK_CLIENT_CONNECTED, 0, on_connected, NULL);
    hooks[1] = fixture_hook(HOOK_CLIENT_DISCONNECTED, 0, on_disconnected, NULL);
    return 0;
}

static int open_anonymous(void **state)
{
    (void)state;
    fixture_open("allow_anonymous = true\n");
    return attach();
}

static int open_stored(void **state)
{
    (void)state;
    fixture_open_stored("allow_anonymous = true\n");
    return attach();
}

static int open_closed(void **state)
{
    (void)state;
    fixture_open("allow_anonymous = false\n");
    return attach();
}

static int close_fixture(void **state)
{
    (void)state;
    hook_remove(hooks[0]);
    hook_remove(hooks[1]);
    return fixture_close();
}

static void assert_told(const char *expected)
{
    assert_string_equal(told, expected);
    told[0] = '\0';
}

static int come(const char *client_id)
{
    int fd = fixture_connect_socket(0);

    fixture_say_connect(fd, MQTT_V3_1_1, client_id, "u", "p");
    fixture_turns();
    return fd;
}

static void connected_comes_after_the_connack(void **state)
{
    (void)state;
    watched_fd = fixture_connect_socket(0);
    struct mqtt_packet packet = {
        .type = MQTT_CONNECT,
        .connect = {
            .client_id = slice_from_string("c"), .clean_start = true, .keep_alive_s = 77, .level = MQTT_V3_1_1}};

    fixture_send(watched_fd, MQTT_V3_1_1, &packet);
    fixture_turns();
    assert_told("+c:00");
    assert_string_equal(watched, "20020000");
    assert_int_equal(last.keep_alive_s, 77);
    assert_true(last.clean_start);
    assert_false(last.is_bridge);
    assert_true(clock_wall_ms() - last.connected_at_ms < 10000);
}

static void a_held_connack_is_told_when_it_leaves(void **state)
{
    uint64_t end_ms = clock_mono_ms() + WAIT_MS;
    struct mqtt_packet packet = {.type = MQTT_CONNECT,
                                 .connect = {.client_id = slice_from_string("c"), .level = MQTT_V3_1_1}};

    (void)state;
    watched_fd = fixture_connect_socket(0);
    fixture_send(watched_fd, MQTT_V3_1_1, &packet);
    while (told[0] == '\0') {
        assert_true(clock_mono_ms() < end_ms);
        fixture_turns();
    }
    assert_told("+c:00");
    assert_string_equal(watched, "20020000");
}

static void disconnected_says_why(void **state)
{
    static const uint8_t disconnect[] = {0xE0, 0}, nonsense[] = {0xF0, 0};
    int fd = come("a");

    (void)state;
    assert_int_equal(write(fd, disconnect, 2), 2);
    fixture_turns();
    assert_told("+a:00 -a:normal");
    fd = come("b");
    assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    fixture_turns();
    assert_told("+b:00 -b:closed");
    fd = come("c");
    assert_int_equal(write(fd, nonsense, 2), 2);
    fixture_turns();
    assert_memory_equal(told, "+c:00 -c:", 9);
    told[0] = '\0';
    come("d");
    assert_true(channel_kick(fixture_broker->workers[0]->host.worker, slice_from_string("d")));
    fixture_turns();
    assert_told("+d:00 -d:kicked");
}

static void a_taken_over_client_goes_before_the_new_one_has_come(void **state)
{
    struct mqtt_packet packet = {.type = MQTT_CONNECT,
                                 .connect = {.client_id = slice_from_string("c"), .level = MQTT_V3_1_1}};
    int fd = fixture_connect_socket(0);

    (void)state;
    fixture_send(fd, MQTT_V3_1_1, &packet);
    fixture_turns();
    fd = fixture_connect_socket(0);
    fixture_send(fd, MQTT_V3_1_1, &packet);
    fixture_turns();
    assert_told("+c:00 -c:conflict +c:00");
    come("c"); /* clean */
    assert_told("-c:discard +c:00");
}

static void refused_clients_have_come_with_their_code_and_never_go(void **state)
{
    int fd;

    (void)state;
    fd = come("c");
    assert_told("+c:87");
    assert_string_equal(fixture_receive(fd), "20020005closed");
    fd = fixture_connect_socket(0);
    fixture_say_connect(fd, MQTT_V3_1, "", NULL, NULL); /* no client ID, which MQTT 3.1 needs */
    fixture_turns();
    assert_non_null(strstr(told, ":85"));
}

#define ANONYMOUS(test) cmocka_unit_test_setup_teardown(test, open_anonymous, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ANONYMOUS(connected_comes_after_the_connack),
        cmocka_unit_test_setup_teardown(a_held_connack_is_told_when_it_leaves, open_stored, close_fixture),
        ANONYMOUS(disconnected_says_why),
        ANONYMOUS(a_taken_over_client_goes_before_the_new_one_has_come),
        cmocka_unit_test_setup_teardown(refused_clients_have_come_with_their_code_and_never_go, open_closed,
                                        close_fixture),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
