/*
 * message.publish: what it is told, what it may change, and that a cancelled message goes nowhere while its publisher goes on.
 */
#include "channel_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/channel/channel.h"
#include "broker/retainer/retainer.h"
#include "hook/events.h"
#include "hook/hook_memory.h"
#include "mqtt/message.h"

/* What a callback saw and what it does. */
struct rewriter {
    uint32_t calls;
    char seen[128]; /* "publisher topic payload qos retain", the publisher in parentheses when it is no client */
    const char *topic;
    const char *payload;
    bool unretains;
    bool forbids;
};

static struct rewriter rewriter;
static struct hook *hook;

static enum hook_verdict on_publish(void *context, void *data)
{
    struct rewriter *self = context;
    struct hook_publish *event = data;
    bool is_client = event->client != NULL;

    self->calls++;
    snprintf(self->seen, sizeof(self->seen), "%s%.*s%s %.*s %.*s %u %u", is_client ? "" : "(",
             SLICE_ARG(event->client_id), is_client ? "" : ")", SLICE_ARG(event->topic), SLICE_ARG(event->payload),
             event->qos, event->retain);
    if (is_client)
        assert_true(slice_equal(event->client->client_id, event->client_id));
    if (self->topic != NULL)
        event->topic = hook_memory_copy(&event->memory, slice_from_string(self->topic));
    if (self->payload != NULL)
        event->payload = hook_memory_copy(&event->memory, slice_from_string(self->payload));
    if (self->unretains)
        event->retain = false;
    event->is_allowed = !self->forbids;
    return HOOK_NEXT;
}

static int open_fixture(void **state)
{
    (void)state;
    fixture_open("allow_anonymous = true\n");
    rewriter = (struct rewriter){.calls = 0};
    hook = fixture_hook(HOOK_MESSAGE_PUBLISH, 0, on_publish, &rewriter);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    hook_remove(hook);
    return fixture_close();
}

static int come(enum mqtt_version version, const char *client_id)
{
    int fd = fixture_connect_socket(0);

    fixture_say_connect(fd, version, client_id, NULL, NULL);
    fixture_turns();
    assert_memory_equal(fixture_receive(fd), "20", 2);
    return fd;
}

/* A subscriber to a/b and x, at QoS 0. */
static int subscriber(void)
{
    static const uint8_t subscribe[] = {0x82, 12, 0, 1, 0, 3, 'a', '/', 'b', 0, 0, 1, 'x', 0};
    int fd = come(MQTT_V3_1_1, "sub");

    assert_int_equal(write(fd, subscribe, sizeof(subscribe)), sizeof(subscribe));
    fixture_turns();
    assert_string_equal(fixture_receive(fd), "900400010000");
    return fd;
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

static void it_sees_each_message_once_and_changes_nothing_by_looking(void **state)
{
    int sub = subscriber(), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    publish(pub, MQTT_V3_1_1, "a/b", "hi", 1, false);
    assert_int_equal(rewriter.calls, 1);
    assert_string_equal(rewriter.seen, "pub a/b hi 1 0");
    assert_string_equal(fixture_receive(sub), "30070003612f626869");
    assert_string_equal(fixture_receive(pub), "40020007");
}

static void topic_and_payload_may_be_changed(void **state)
{
    int sub = subscriber(), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    rewriter.topic = "x";
    rewriter.payload = "yo";
    publish(pub, MQTT_V3_1_1, "nowhere", "hi", 2, false);
    assert_string_equal(fixture_receive(sub), "3005000178796f");
    assert_string_equal(fixture_receive(pub), "50020007"); /* PUBREC */
}

static void retain_may_be_taken_away(void **state)
{
    int pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    publish(pub, MQTT_V3_1_1, "a/b", "hi", 0, true);
    assert_int_equal(retainer_count(fixture_broker->retainer), 1);
    rewriter.unretains = true;
    publish(pub, MQTT_V3_1_1, "x", "hi", 0, true);
    assert_string_equal(rewriter.seen, "pub x hi 0 1");
    assert_int_equal(retainer_count(fixture_broker->retainer), 1);
}

static void a_cancelled_message_goes_nowhere_and_is_acknowledged(void **state)
{
    static const uint8_t pubrel[] = {0x62, 2, 0, 7};
    int sub = subscriber(), v4 = come(MQTT_V3_1_1, "v4"), v5 = come(MQTT_V5, "v5");

    (void)state;
    rewriter.forbids = true;
    publish(v4, MQTT_V3_1_1, "a/b", "hi", 1, true);
    assert_string_equal(fixture_receive(v4), "40020007");
    publish(v5, MQTT_V5, "a/b", "hi", 1, true);
    assert_string_equal(fixture_receive(v5), "4003000710"); /* no matching subscribers */
    publish(v4, MQTT_V3_1_1, "a/b", "hi", 2, false);
    assert_string_equal(fixture_receive(v4), "50020007");
    assert_int_equal(write(v4, pubrel, sizeof(pubrel)), sizeof(pubrel));
    fixture_turns();
    assert_string_equal(fixture_receive(v4), "70020007");
    publish(v4, MQTT_V3_1_1, "a/b", "hi", 0, false);
    assert_string_equal(fixture_receive(sub), "");
    assert_int_equal(rewriter.calls, 4);
    assert_int_equal(retainer_count(fixture_broker->retainer), 0);
}

static void what_is_no_topic_name_is_dropped(void **state)
{
    static const char *const wrong[] = {"", "a/+", "#"};
    int sub = subscriber(), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        rewriter.topic = wrong[i];
        publish(pub, MQTT_V3_1_1, "a/b", "hi", 1, false);
        assert_string_equal(fixture_receive(pub), "40020007");
    }
    assert_string_equal(fixture_receive(sub), "");
}

static void a_large_message_keeps_its_buffer_until_it_is_copied(void **state)
{
    enum { SIZE = 50000 };
    static uint8_t packet[SIZE + 12] = {0x32, 0, 0, 0, 0, 1, 'x', 0, 9};
    int sub = subscriber(), pub = come(MQTT_V3_1_1, "pub");
    size_t remaining = SIZE + 5, sent = 0;

    (void)state;
    packet[1] = (uint8_t)(remaining % 128 | 128);
    packet[2] = (uint8_t)(remaining / 128 % 128 | 128);
    packet[3] = (uint8_t)(remaining / 16384);
    rewriter.topic = "a/b";
    rewriter.payload = "short";
    for (size_t len = 4 + remaining; sent < len;) {
        ssize_t now = write(pub, packet + sent, len - sent < 10000 ? len - sent : 10000);
        sent += now > 0 ? (size_t)now : 0;
        fixture_turns();
    }
    assert_string_equal(fixture_receive(pub), "40020009");
    assert_string_equal(fixture_receive(sub), "300a0003612f6273686f7274");
    rewriter.forbids = true;
    for (sent = 0; sent < 4 + remaining;) {
        ssize_t now = write(pub, packet + sent, 4 + remaining - sent < 10000 ? 4 + remaining - sent : 10000);
        sent += now > 0 ? (size_t)now : 0;
        fixture_turns();
    }
    assert_string_equal(fixture_receive(pub), "40020009");
    assert_string_equal(fixture_receive(sub), "");
}

static void wills_come_from_no_client(void **state)
{
    struct mqtt_packet packet = {
        .type = MQTT_CONNECT,
        .connect = {.client_id = slice_from_string("dying"),
                    .clean_start = true,
                    .level = MQTT_V3_1_1,
                    .has_will = true,
                    .will = {.topic = slice_from_string("a/b"), .payload = slice_from_string("bye")}}};
    int sub = subscriber(), fd = fixture_connect_socket(0);

    (void)state;
    fixture_send(fd, MQTT_V3_1_1, &packet);
    fixture_turns();
    assert_true(channel_kick(fixture_broker->workers[0]->host.worker, slice_from_string("dying")));
    fixture_turns();
    assert_string_equal(rewriter.seen, "(dying) a/b bye 0 0");
    assert_string_equal(fixture_receive(sub), "30080003612f62627965");
}

static void parts_of_the_broker_publish_through_it(void **state)
{
    struct message_options options = {.topic = slice_from_string("a/b"),
                                      .payload = slice_from_string("hi"),
                                      .client_id = slice_from_string("somebody"),
                                      .now_ms = fixture_now_ms};
    int sub = subscriber();

    (void)state;
    broker_publish_post_take(fixture_broker, message_new(&options));
    fixture_turns();
    assert_string_equal(rewriter.seen, "(somebody) a/b hi 0 0");
    assert_string_equal(fixture_receive(sub), "30070003612f626869");
    rewriter.forbids = true;
    broker_publish_post_take(fixture_broker, message_new(&options));
    fixture_turns();
    assert_int_equal(rewriter.calls, 2);
    assert_string_equal(fixture_receive(sub), "");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_sees_each_message_once_and_changes_nothing_by_looking),
        TEST(topic_and_payload_may_be_changed),
        TEST(retain_may_be_taken_away),
        TEST(a_cancelled_message_goes_nowhere_and_is_acknowledged),
        TEST(what_is_no_topic_name_is_dropped),
        TEST(a_large_message_keeps_its_buffer_until_it_is_copied),
        TEST(wills_come_from_no_client),
        TEST(parts_of_the_broker_publish_through_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
