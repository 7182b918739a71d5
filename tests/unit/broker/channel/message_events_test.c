/*
 * message.deliver, message.acked and message.dropped: what they are told, in which order, and what may be changed.
 */
#include "channel_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "broker/channel/channel.h"
#include "hook/events.h"
#include "hook/hook_memory.h"
#include "mqtt/message.h"

static char seen[2048]; /* a word and texts for each event, with commas */
static struct {
    const char *topic; /* of message.deliver; NULL: unchanged */
    const char *payload;
    enum hook_verdict verdict; /* of all */
} act;

static struct hook *hooks[3];

static void note(const char *text)
{
    size_t len = strlen(seen);

    snprintf(seen + len, sizeof(seen) - len, "%s%s", len > 0 ? "," : "", text);
}

static void note_message(const char *what, struct slice client_id, const struct hook_message *message, const char *more)
{
    uint64_t now_ms = clock_wall_ms();
    char text[1000];

    snprintf(text, sizeof(text), "%s %.*s<%.*s %.*s=%.*s q%u%s%s", what, SLICE_ARG(client_id),
             SLICE_ARG(message->client_id), SLICE_ARG(message->topic), SLICE_ARG(message->payload), message->qos,
             message->retain ? "r" : "", more);
    note(text);
    if (message->topic.data != NULL)
        assert_true(message->published_at_ms <= now_ms && message->published_at_ms + 60000 > now_ms);
}

static enum hook_verdict on_deliver(void *context, void *data)
{
    struct hook_deliver *event = data;

    (void)context;
    note_message("deliver", event->client->client_id, &event->message, event->dup ? " dup" : "");
    if (act.topic != NULL)
        event->message.topic = hook_memory_copy(&event->memory, slice_from_string(act.topic));
    if (act.payload != NULL)
        event->message.payload = hook_memory_copy(&event->memory, slice_from_string(act.payload));
    return act.verdict;
}

static enum hook_verdict on_acked(void *context, void *data)
{
    struct hook_acked *event = data;
    char code[16];

    (void)context;
    snprintf(code, sizeof(code), " %02x", event->code);
    note_message("acked", event->client->client_id, &event->message, code);
    return act.verdict;
}

static enum hook_verdict on_dropped(void *context, void *data)
{
    struct hook_dropped *event = data;
    char more[64];

    (void)context;
    snprintf(more, sizeof(more), " %s%s%.*s", event->reason, event->user_name.data == NULL ? "" : " ",
             SLICE_ARG(event->user_name));
    note_message("dropped", event->client_id.data == NULL ? slice_from_string("nobody") : event->client_id,
                 &event->message, more);
    return act.verdict;
}

static int open_with(const char *conf)
{
    fixture_open(conf);
    seen[0] = '\0';
    memset(&act, 0, sizeof(act));
    hooks[0] = fixture_hook(HOOK_MESSAGE_DELIVER, 0, on_deliver, NULL);
    hooks[1] = fixture_hook(HOOK_MESSAGE_ACKED, 0, on_acked, NULL);
    hooks[2] = fixture_hook(HOOK_MESSAGE_DROPPED, 0, on_dropped, NULL);
    return 0;
}

static int open_fixture(void **state)
{
    (void)state;
    return open_with(
        "allow_anonymous = true\nzone.test.session_expiry_interval = 1h\nzone.test.mqueue_store_qos0 = off\n"
        "zone.test.max_mqueue_len = 2\nzone.test.high_watermark = 4KB\n");
}

static int open_mounted(void **state)
{
    (void)state;
    return open_with("allow_anonymous = true\nzone.test.mountpoint = m/\n");
}

static int open_ignoring_loops(void **state)
{
    (void)state;
    return open_with("allow_anonymous = true\nzone.test.ignore_loop_deliver = on\n");
}

static int close_fixture(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        hook_remove(hooks[i]);
    return fixture_close();
}

static int come(enum mqtt_version version, const char *client_id)
{
    int fd = fixture_connect_socket(0);

    fixture_say_connect(fd, version, client_id, "user", NULL);
    fixture_turns();
    assert_memory_equal(fixture_receive(fd), "20", 2);
    return fd;
}

static void subscribe(int fd, enum mqtt_version version, uint8_t qos)
{
    const uint8_t v4[] = {0x82, 6, 0, 1, 0, 1, 't', qos}, v5[] = {0x82, 7, 0, 1, 0, 0, 1, 't', qos};
    size_t len = version == MQTT_V5 ? sizeof(v5) : sizeof(v4);

    assert_int_equal(write(fd, version == MQTT_V5 ? v5 : v4, len), len);
    fixture_turns();
    assert_memory_equal(fixture_receive(fd), "90", 2);
}

static void say(int fd, const char *hex)
{
    uint8_t bytes[64];
    size_t len = strlen(hex) / 2;

    for (size_t i = 0; i < len; i++) {
        unsigned value;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
        bytes[i] = (uint8_t)value;
    }
    assert_int_equal(write(fd, bytes, len), len);
    fixture_turns();
}

static void publish(int fd, enum mqtt_version version, const char *topic, const char *payload, uint8_t qos, bool retain)
{
    struct mqtt_packet packet = {.type = MQTT_PUBLISH,
                                 .publish = {.topic = slice_from_string(topic),
                                             .payload = slice_from_string(payload),
                                             .packet_id = qos > 0 ? 7 : 0,
                                             .qos = qos,
                                             .retain = retain}};

    fixture_send(fd, version, &packet);
    fixture_turns();
}

static void assert_seen(const char *expected)
{
    assert_string_equal(seen, expected);
    seen[0] = '\0';
}

static void a_message_is_told_when_it_is_sent_and_when_it_is_acknowledged(void **state)
{
    int sub = come(MQTT_V3_1_1, "sub"), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    subscribe(sub, MQTT_V3_1_1, 2);
    publish(pub, MQTT_V3_1_1, "t", "a", 0, false);
    assert_seen("deliver sub<pub t=a q0");
    assert_string_equal(fixture_receive(sub), "300400017461");
    publish(pub, MQTT_V3_1_1, "t", "b", 1, false);
    assert_string_equal(fixture_receive(sub), "3206000174000162");
    say(sub, "40020001");
    say(sub, "40020001"); /* and no second time */
    assert_seen("deliver sub<pub t=b q1,acked sub<pub t=b q1 00");
    publish(pub, MQTT_V3_1_1, "t", "c", 2, false);
    say(sub, "50020002");
    say(sub, "50020002");
    say(sub, "70020002");
    assert_seen("deliver sub<pub t=c q2,acked sub<pub t=c q2 00");
    say(sub, "40020003"); /* unknown */
    say(sub, "50020003");
    assert_seen("");
}

static void each_subscriber_has_its_own_qos_and_answer(void **state)
{
    int one = come(MQTT_V5, "one"), two = come(MQTT_V5, "two"), pub = come(MQTT_V5, "pub");

    (void)state;
    subscribe(one, MQTT_V5, 1);
    subscribe(two, MQTT_V5, 2);
    publish(pub, MQTT_V5, "t", "a", 2, false);
    assert_non_null(strstr(seen, "deliver one<pub t=a q1"));
    assert_non_null(strstr(seen, "deliver two<pub t=a q2"));
    seen[0] = '\0';
    say(two, "5003000187"); /* refuses it */
    assert_seen("acked two<pub t=a q2 87");
    say(one, "4003000110");
    assert_seen("acked one<pub t=a q1 10");
}

static void an_acknowledgement_is_told_before_what_it_makes_room_for(void **state)
{
    struct mqtt_packet packet = {
        .type = MQTT_CONNECT,
        .connect = {.client_id = slice_from_string("sub"), .clean_start = true, .level = MQTT_V5}};
    int sub = fixture_connect_socket(0), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    packet.connect.properties.present = MQTT_PROP_BIT(MQTT_PROP_RECEIVE_MAXIMUM);
    packet.connect.properties.receive_maximum = 1;
    fixture_send(sub, MQTT_V5, &packet);
    fixture_turns();
    assert_memory_equal(fixture_receive(sub), "20", 2);
    subscribe(sub, MQTT_V5, 1);
    publish(pub, MQTT_V3_1_1, "t", "a", 1, false);
    publish(pub, MQTT_V3_1_1, "t", "b", 1, false);
    assert_seen("deliver sub<pub t=a q1");
    say(sub, "40020001");
    assert_seen("acked sub<pub t=a q1 00,deliver sub<pub t=b q1");
}

static void what_is_sent_again_is_told_again_and_retained_messages_too(void **state)
{
    int sub = fixture_connect_socket(0), pub = come(MQTT_V3_1_1, "pub");
    struct mqtt_packet packet = {.type = MQTT_CONNECT,
                                 .connect = {.client_id = slice_from_string("sub"), .level = MQTT_V3_1_1}};

    (void)state;
    publish(pub, MQTT_V3_1_1, "t", "a", 1, true);
    assert_seen("dropped nobody<pub t=a q1r no_subscriber");
    fixture_send(sub, MQTT_V3_1_1, &packet);
    fixture_turns();
    assert_string_equal(fixture_receive(sub), "20020000");
    say(sub, "8206000100017401");
    assert_string_equal(fixture_receive(sub), "9003000101"
                                              "3306000174000161");
    assert_seen("deliver sub<pub t=a q1r");
    act.payload = "new";
    sub = fixture_connect_socket(0);
    fixture_send(sub, MQTT_V3_1_1, &packet);
    fixture_turns();
    assert_seen("deliver sub<pub t=a q1r dup");
    assert_string_equal(fixture_receive(sub), "20020100"
                                              "3b080001740001"
                                              "6e6577");
    act.payload = NULL;
    say(sub, "40020001");
    assert_seen("acked sub<pub t=a q1r 00"); /* as it was published */
}

static void topic_and_payload_may_be_changed_for_one_client(void **state)
{
    int sub = come(MQTT_V3_1_1, "sub"), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    subscribe(sub, MQTT_V3_1_1, 1);
    act.topic = "x/y";
    act.payload = "";
    publish(pub, MQTT_V3_1_1, "t", "a", 1, false);
    assert_string_equal(fixture_receive(sub), "32070003782f790001");
    act.topic = "x/+"; /* no topic name: its mistake */
    publish(pub, MQTT_V3_1_1, "t", "a", 0, false);
    assert_string_equal(fixture_receive(sub), "300400017461");
}

static void stop_keeps_the_others_from_being_asked(void **state)
{
    struct hook *behind = fixture_hook(HOOK_MESSAGE_DELIVER, -1, on_deliver, &act);
    struct hook *acked = fixture_hook(HOOK_MESSAGE_ACKED, -1, on_acked, &act);
    int sub = come(MQTT_V3_1_1, "sub"), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    subscribe(sub, MQTT_V3_1_1, 1);
    publish(pub, MQTT_V3_1_1, "t", "a", 1, false);
    say(sub, "40020001");
    assert_seen("deliver sub<pub t=a q1,deliver sub<pub t=a q1,acked sub<pub t=a q1 00,acked sub<pub t=a q1 00");
    act.verdict = HOOK_STOP;
    publish(pub, MQTT_V3_1_1, "t", "a", 1, false);
    say(sub, "40020002");
    assert_seen("deliver sub<pub t=a q1,acked sub<pub t=a q1 00");
    hook_remove(behind);
    hook_remove(acked);
}

static void topics_are_told_with_the_mountpoint(void **state)
{
    int sub = come(MQTT_V3_1_1, "sub"), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    subscribe(sub, MQTT_V3_1_1, 1);
    publish(pub, MQTT_V3_1_1, "t", "a", 1, false);
    say(sub, "40020001");
    assert_seen("deliver sub<pub m/t=a q1,acked sub<pub m/t=a q1 00");
    act.topic = "m/new";
    publish(pub, MQTT_V3_1_1, "t", "a", 0, false);
    assert_string_equal(fixture_receive(sub), "3206000174000161"
                                              "300600036e657761");
}

static void what_nobody_has_subscribed_to_is_dropped(void **state)
{
    int pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    publish(pub, MQTT_V3_1_1, "none", "a", 0, false);
    publish(pub, MQTT_V3_1_1, "none", "b", 2, true);
    assert_seen("dropped nobody<pub none=a q0 no_subscriber,dropped nobody<pub none=b q2r no_subscriber");
}

static void what_an_absent_client_cannot_keep_is_dropped(void **state)
{
    struct mqtt_packet packet = {.type = MQTT_CONNECT,
                                 .connect = {.client_id = slice_from_string("sub"), .level = MQTT_V3_1_1}};
    int sub = fixture_connect_socket(0), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    fixture_send(sub, MQTT_V3_1_1, &packet);
    fixture_turns();
    assert_string_equal(fixture_receive(sub), "20020000");
    subscribe(sub, MQTT_V3_1_1, 1);
    say(sub, "e000");
    publish(pub, MQTT_V3_1_1, "t", "z", 0, false);
    assert_seen("dropped sub<pub t=z q0 absent");
    publish(pub, MQTT_V3_1_1, "t", "a", 1, false);
    publish(pub, MQTT_V3_1_1, "t", "b", 1, false);
    assert_seen("");
    publish(pub, MQTT_V3_1_1, "t", "c", 1, false);
    assert_seen("dropped sub<pub t=a q1 queue_full");
}

static void a_full_queue_of_a_connected_client_tells_its_user(void **state)
{
    struct mqtt_packet packet = {.type = MQTT_CONNECT,
                                 .connect = {.client_id = slice_from_string("sub"),
                                             .user_name = slice_from_string("bob"),
                                             .clean_start = true,
                                             .level = MQTT_V5}};
    int sub = fixture_connect_socket(0), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    packet.connect.properties.present = MQTT_PROP_BIT(MQTT_PROP_RECEIVE_MAXIMUM);
    packet.connect.properties.receive_maximum = 1;
    fixture_send(sub, MQTT_V5, &packet);
    fixture_turns();
    assert_memory_equal(fixture_receive(sub), "20", 2);
    subscribe(sub, MQTT_V5, 1);
    for (char payload[2] = "a"; payload[0] <= 'd'; payload[0]++)
        publish(pub, MQTT_V3_1_1, "t", payload, 1, false);
    assert_seen("deliver sub<pub t=a q1,dropped sub<pub t=b q1 queue_full bob");
}

/* Its socket takes nothing any more: QoS 0 is dropped, where it is not to be queued. */
static void a_client_that_does_not_read_misses_qos_0(void **state)
{
    static char large[900];
    int sub = come(MQTT_V3_1_1, "sub"), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    memset(large, 'x', sizeof(large) - 1);
    subscribe(sub, MQTT_V3_1_1, 0);
    for (uint32_t i = 0; i < 20000 && strstr(seen, "slow_consumer") == NULL; i++) {
        seen[0] = '\0';
        publish(pub, MQTT_V3_1_1, "t", large, 0, false);
    }
    assert_non_null(strstr(seen, "dropped sub<pub t=xxx"));
    assert_non_null(strstr(seen, " slow_consumer user"));
}

static void a_client_does_not_get_its_own(void **state)
{
    int sub = come(MQTT_V3_1_1, "sub");

    (void)state;
    subscribe(sub, MQTT_V3_1_1, 1);
    publish(sub, MQTT_V3_1_1, "t", "a", 1, false);
    assert_seen("dropped sub<sub t=a q1 no_local user");
    assert_string_equal(fixture_receive(sub), "40020007");
}

static void what_is_too_large_for_a_client_is_dropped(void **state)
{
    struct mqtt_packet packet = {
        .type = MQTT_CONNECT,
        .connect = {.client_id = slice_from_string("sub"), .clean_start = true, .level = MQTT_V5}};
    int sub = fixture_connect_socket(0), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    packet.connect.properties.present = MQTT_PROP_BIT(MQTT_PROP_MAXIMUM_PACKET_SIZE);
    packet.connect.properties.maximum_packet_size = 60;
    fixture_send(sub, MQTT_V5, &packet);
    fixture_turns();
    assert_memory_equal(fixture_receive(sub), "20", 2);
    subscribe(sub, MQTT_V5, 1);
    act.payload = "0123456789012345678901234567890123456789012345678901234567890123456789";
    publish(pub, MQTT_V3_1_1, "t", "a", 1, false);
    assert_seen("deliver sub<pub t=a q1,dropped sub<pub t=a q1 too_large");
    assert_string_equal(fixture_receive(sub), "");
}

#define TEST(test, open) cmocka_unit_test_setup_teardown(test, open, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_told_when_it_is_sent_and_when_it_is_acknowledged, open_fixture),
        TEST(each_subscriber_has_its_own_qos_and_answer, open_fixture),
        TEST(an_acknowledgement_is_told_before_what_it_makes_room_for, open_fixture),
        TEST(what_is_sent_again_is_told_again_and_retained_messages_too, open_fixture),
        TEST(topic_and_payload_may_be_changed_for_one_client, open_fixture),
        TEST(stop_keeps_the_others_from_being_asked, open_fixture),
        TEST(topics_are_told_with_the_mountpoint, open_mounted),
        TEST(what_nobody_has_subscribed_to_is_dropped, open_fixture),
        TEST(what_an_absent_client_cannot_keep_is_dropped, open_fixture),
        TEST(a_full_queue_of_a_connected_client_tells_its_user, open_fixture),
        TEST(a_client_that_does_not_read_misses_qos_0, open_fixture),
        TEST(a_client_does_not_get_its_own, open_ignoring_loops),
        TEST(what_is_too_large_for_a_client_is_dropped, open_fixture),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
