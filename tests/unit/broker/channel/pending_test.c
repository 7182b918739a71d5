/*
 * client.check_acl and message.publish that answer later: only the client that waits waits, what it sends stays in order, and no answer is a
 * refusal.
 */
#include "channel_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/metrics.h"
#include "broker/channel/channel.h"
#include "broker/channel/connection.h"
#include "hook/acl_generation.h"
#include "hook/events.h"
#include "hook/hook_memory.h"
#include "hook/hook_run.h"

#define TIMEOUT_MS 5000
#define ASKED_MAX 16

/* Who is asked about topics that begin with "?", and answers when the test says so; of all others at once. */
struct judge {
    uint32_t calls;
    char asked[256]; /* "client topic" of each question, with commas */
    struct hook_ticket *tickets[ASKED_MAX];
    uint32_t ticket_count;
    uint32_t unwanted; /* answers that nobody waited for any more */
};

static struct judge judge;
static struct hook *hook;

struct verdict {
    bool is_allowed;
    enum hook_verdict verdict;
    const char *topic; /* of message.publish: another one; NULL: as it is */
};

static const struct verdict yes = {true, HOOK_STOP, NULL}, no = {false, HOOK_STOP, NULL},
                            perhaps = {true, HOOK_NEXT, NULL};

static void note(struct slice client_id, struct slice topic)
{
    size_t len = strlen(judge.asked);

    judge.calls++;
    snprintf(judge.asked + len, sizeof(judge.asked) - len, "%s%.*s %.*s", len > 0 ? "," : "", SLICE_ARG(client_id),
             SLICE_ARG(topic));
}

static enum hook_verdict defer(void *event)
{
    assert_true(judge.ticket_count < ASKED_MAX);
    struct hook_ticket *ticket = hook_defer(event);
    if (ticket != NULL)
        judge.tickets[judge.ticket_count++] = ticket;
    return HOOK_PENDING;
}

static enum hook_verdict on_check_acl(void *context, void *data)
{
    struct hook_check_acl *event = data;

    (void)context;
    note(event->client->client_id, event->topic);
    if (event->topic.data[0] == '?')
        return defer(event);
    event->is_allowed = event->topic.data[0] != '!';
    return HOOK_STOP;
}

static enum hook_verdict on_publish(void *context, void *data)
{
    struct hook_publish *event = data;

    (void)context;
    if (event->client == NULL)
        return HOOK_NEXT;
    note(event->client->client_id, event->topic);
    return event->topic.data[0] == '?' ? defer(event) : HOOK_NEXT;
}

static enum hook_verdict apply_acl(void *answer, void *data)
{
    const struct verdict *verdict = answer;
    struct hook_check_acl *event = data;

    if (event == NULL)
        judge.unwanted++;
    else
        event->is_allowed = verdict->is_allowed;
    return verdict->verdict;
}

static enum hook_verdict apply_publish(void *answer, void *data)
{
    const struct verdict *verdict = answer;
    struct hook_publish *event = data;

    if (event == NULL) {
        judge.unwanted++;
        return HOOK_STOP;
    }
    event->is_allowed = verdict->is_allowed;
    if (verdict->topic != NULL)
        event->topic = hook_memory_copy(&event->memory, slice_from_string(verdict->topic));
    return verdict->verdict;
}

static void answer_acl(uint32_t which, const struct verdict *verdict)
{
    hook_complete(judge.tickets[which], apply_acl, (void *)(uintptr_t)verdict);
    fixture_turns();
}

static void answer_publish(uint32_t which, const struct verdict *verdict)
{
    hook_complete(judge.tickets[which], apply_publish, (void *)(uintptr_t)verdict);
    fixture_turns();
}

static void open_with(bool is_stored, enum hook_point point)
{
    static const char conf[] = "allow_anonymous = true\nzone.test.enable_acl = on\nacl_nomatch = allow\n";

    if (is_stored)
        fixture_open_stored(conf);
    else
        fixture_open(conf);
    hook_set_limits(TIMEOUT_MS, ASKED_MAX);
    memset(&judge, 0, sizeof(judge));
    hook = fixture_hook(point, 0, point == HOOK_CLIENT_CHECK_ACL ? on_check_acl : on_publish, NULL);
}

static int open_acl(void **state)
{
    (void)state;
    open_with(false, HOOK_CLIENT_CHECK_ACL);
    return 0;
}

static int open_publish(void **state)
{
    (void)state;
    open_with(false, HOOK_MESSAGE_PUBLISH);
    return 0;
}

static int open_publish_stored(void **state)
{
    (void)state;
    open_with(true, HOOK_MESSAGE_PUBLISH);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
        assert_int_equal(hook_pending_count(fixture_broker->workers[i]->host.worker), 0);
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

static void say_publish(int fd, enum mqtt_version version, const char *topic, uint8_t qos, uint16_t packet_id)
{
    struct mqtt_packet packet = {
        .type = MQTT_PUBLISH,
        .publish = {
            .topic = slice_from_string(topic), .payload = slice_from_string("p"), .packet_id = packet_id, .qos = qos}};

    fixture_send(fd, version, &packet);
}

static void say(int fd, const void *bytes, size_t len)
{
    assert_int_equal(write(fd, bytes, len), len);
}

static const uint8_t ping[] = {0xC0, 0};

/* A subscriber to all topics of one level, at QoS 0. */
static int listener(void)
{
    static const uint8_t subscribe[] = {0x82, 6, 0, 1, 0, 1, '+', 0};
    int fd = come(MQTT_V3_1_1, "listener");

    say(fd, subscribe, sizeof(subscribe));
    fixture_turns();
    assert_string_equal(fixture_receive(fd), "9003000100");
    return fd;
}

static struct connection *connection_of(const char *client_id)
{
    struct session *session = broker_find_session(fixture_broker, slice_from_string(client_id));

    assert_non_null(session);
    assert_non_null(session->link);
    return CONTAINER_OF(session->link, struct connection, link);
}

/* ---- client.check_acl ---- */

static void a_publish_waits_and_what_is_behind_it_keeps_its_order(void **state)
{
    int sub = listener(), pub = come(MQTT_V3_1_1, "pub"), other = come(MQTT_V3_1_1, "other");
    uint64_t packets = metrics_read(METRIC_PACKETS_RECEIVED), messages = metrics_read(METRIC_MESSAGES_RECEIVED);

    (void)state;
    say_publish(pub, MQTT_V3_1_1, "?a", 1, 1);
    say_publish(pub, MQTT_V3_1_1, "b", 1, 2);
    say(pub, ping, 2);
    fixture_turns();
    say_publish(pub, MQTT_V3_1_1, "?a", 1, 3);
    say_publish(other, MQTT_V3_1_1, "c", 0, 0);
    fixture_turns();
    assert_string_equal(fixture_receive(pub), "");
    assert_string_equal(fixture_receive(sub), "3004000163"
                                              "70");
    answer_acl(0, &yes);
    assert_string_equal(fixture_receive(sub), "300500023f61"
                                              "70"
                                              "3004000162"
                                              "70"
                                              "300500023f61"
                                              "70");
    assert_string_equal(fixture_receive(pub), "40020001"
                                              "40020002"
                                              "d000"
                                              "40020003");
    assert_string_equal(judge.asked, "listener +,pub ?a,other c,pub b"); /* the second ?a is remembered */
    assert_int_equal(metrics_read(METRIC_PACKETS_RECEIVED), packets + 5);
    assert_int_equal(metrics_read(METRIC_MESSAGES_RECEIVED), messages + 4);
    assert_null(connection_of("pub")->extras->question);
}

static void a_late_no_is_a_no(void **state)
{
    int sub = listener(), v4 = come(MQTT_V3_1_1, "v4"), v5 = come(MQTT_V5, "v5");

    (void)state;
    say_publish(v4, MQTT_V3_1_1, "?a", 1, 1);
    say_publish(v5, MQTT_V5, "?a", 2, 1);
    fixture_turns();
    answer_acl(0, &no);
    answer_acl(1, &no);
    assert_string_equal(fixture_receive(v4), "40020001");
    assert_string_equal(fixture_receive(v5), "5003000187");
    assert_string_equal(fixture_receive(sub), "");
}

static void no_answer_in_time_denies_and_is_not_remembered(void **state)
{
    int sub = listener(), pub = come(MQTT_V5, "pub");
    uint64_t timeouts = metrics_read(METRIC_HOOKS_PENDING_TIMEOUT);

    (void)state;
    say_publish(pub, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    fixture_now_ms += TIMEOUT_MS - 100;
    fixture_turns();
    assert_string_equal(fixture_receive(pub), "");
    fixture_now_ms += 200;
    fixture_turns();
    assert_string_equal(fixture_receive(pub), "4003000187");
    assert_int_equal(metrics_read(METRIC_HOOKS_PENDING_TIMEOUT), timeouts + 1);
    answer_acl(0, &yes);
    assert_int_equal(judge.unwanted, 1);
    say_publish(pub, MQTT_V5, "?a", 1, 2);
    fixture_turns();
    assert_int_equal(judge.ticket_count, 2); /* asked again */
    answer_acl(1, &yes);
    assert_string_equal(fixture_receive(pub), "40020002");
    assert_string_equal(fixture_receive(sub), "300500023f6170");
}

static void over_the_limit_nobody_is_asked_and_all_is_denied(void **state)
{
    int one = come(MQTT_V5, "one"), two = come(MQTT_V5, "two");

    (void)state;
    assert_ptr_equal(connection_of("one")->worker, connection_of("two")->worker);
    hook_set_limits(TIMEOUT_MS, 1);
    say_publish(one, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    say_publish(two, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    assert_string_equal(fixture_receive(two), "4003000187");
    answer_acl(0, &yes);
    assert_string_equal(fixture_receive(one), "4003000110");
}

static void a_callback_behind_it_may_still_say_no(void **state)
{
    struct hook *behind = fixture_hook(HOOK_CLIENT_CHECK_ACL, -1, on_check_acl, &judge);
    int pub = come(MQTT_V5, "pub");

    (void)state;
    say_publish(pub, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    answer_acl(0, &perhaps); /* the next one waits as well */
    assert_string_equal(fixture_receive(pub), "");
    assert_string_equal(judge.asked, "pub ?a,pub ?a");
    answer_acl(1, &no);
    assert_string_equal(fixture_receive(pub), "4003000187");
    hook_remove(behind);
}

static void rules_that_change_meanwhile_are_not_remembered(void **state)
{
    int pub = come(MQTT_V5, "pub");

    (void)state;
    say_publish(pub, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    acl_generation_bump();
    answer_acl(0, &yes);
    assert_string_equal(fixture_receive(pub), "4003000110");
    say_publish(pub, MQTT_V5, "?a", 1, 2);
    fixture_turns();
    answer_acl(1, &yes);
    assert_string_equal(fixture_receive(pub), "4003000210");
}

static void each_filter_of_a_subscribe_may_wait(void **state)
{
    static const uint8_t subscribe[] = {0x82, 25,  0,   9, 0, 1, 'a', 0,   0, 2, '?', 'b', 1, 0,
                                        2,    '!', 'c', 0, 0, 2, '?', 'd', 0, 0, 1,   'e', 2};
    int sub = come(MQTT_V3_1_1, "sub"), pub = come(MQTT_V3_1_1, "pub");
    uint64_t packets = metrics_read(METRIC_PACKETS_SUBSCRIBE_RECEIVED);

    (void)state;
    say(sub, subscribe, sizeof(subscribe));
    say(sub, ping, 2);
    fixture_turns();
    assert_string_equal(judge.asked, "sub a,sub ?b");
    say_publish(pub, MQTT_V3_1_1, "a", 0, 0); /* in effect already */
    fixture_turns();
    assert_string_equal(fixture_receive(sub), "3004000161"
                                              "70");
    answer_acl(0, &yes);
    assert_string_equal(judge.asked, "sub a,sub ?b,pub a,sub !c,sub ?d");
    assert_string_equal(fixture_receive(sub), "");
    answer_acl(1, &no);
    assert_string_equal(fixture_receive(sub), "9007000900018080"
                                              "02d000");
    assert_int_equal(metrics_read(METRIC_PACKETS_SUBSCRIBE_RECEIVED), packets + 1);
    assert_int_equal(connection_of("sub")->link.session->subscriptions.count, 3);
}

static void a_filter_without_answer_is_denied_and_the_others_are_served(void **state)
{
    static const uint8_t subscribe[] = {0x82, 11, 0, 9, 0, 2, '?', 'b', 1, 0, 1, 'e', 2};
    int sub = come(MQTT_V3_1_1, "sub");

    (void)state;
    say(sub, subscribe, sizeof(subscribe));
    fixture_turns();
    fixture_now_ms += TIMEOUT_MS + 100;
    fixture_turns();
    assert_string_equal(fixture_receive(sub), "900400098002");
    answer_acl(0, &yes);
    assert_int_equal(judge.unwanted, 1);
}

/* Over what is served at once, and among those that are served later. */
static void a_large_subscribe_waits_in_the_middle(void **state)
{
    enum { FILTERS = 700, WAITS_AT = 500 };
    uint8_t packet[FILTERS * 7 + 16] = {0x82};
    size_t len = 0;
    int sub = come(MQTT_V3_1_1, "sub");

    (void)state;
    for (size_t i = 0; i < FILTERS; i++)
        len += (size_t)sprintf((char *)packet + 5 + len, "%c%c%c%03zu%c", 0, 4, i == WAITS_AT ? '?' : 'f', i, 0);
    packet[1] = (uint8_t)((len + 2) % 128 | 128);
    packet[2] = (uint8_t)((len + 2) / 128);
    packet[4] = 7;
    say(sub, packet, len + 5);
    say(sub, ping, 2);
    fixture_turns();
    assert_int_equal(judge.calls, WAITS_AT + 1);
    assert_string_equal(fixture_receive(sub), "");
    answer_acl(0, &yes);
    fixture_turns();
    assert_int_equal(judge.calls, FILTERS);
    const char *got = fixture_receive(sub);
    assert_int_equal(strlen(got), 2 * (3 + 2 + FILTERS + 2));
    assert_memory_equal(got, "90be050007", 10);
    assert_null(strstr(got, "80"));
    assert_int_equal(connection_of("sub")->link.session->subscriptions.count, FILTERS);
}

static void say_connect_with_will(int fd, const char *client_id)
{
    struct mqtt_packet packet = {
        .type = MQTT_CONNECT,
        .connect = {.client_id = slice_from_string(client_id),
                    .clean_start = true,
                    .level = MQTT_V3_1_1,
                    .has_will = true,
                    .will = {.topic = slice_from_string("?w"), .payload = slice_from_string("p")}}};

    fixture_send(fd, MQTT_V3_1_1, &packet);
}

static void a_will_waits_before_connack(void **state)
{
    int fd = fixture_connect_socket(0), denied = fixture_connect_socket(0), silent = fixture_connect_socket(0);
    uint64_t connects = metrics_read(METRIC_PACKETS_CONNECT_RECEIVED), packets = metrics_read(METRIC_PACKETS_RECEIVED);

    (void)state;
    say_connect_with_will(fd, "c");
    say(fd, ping, 2);
    fixture_turns();
    say_connect_with_will(denied, "d");
    fixture_turns();
    say_connect_with_will(silent, "s");
    fixture_turns();
    assert_string_equal(fixture_receive(fd), "");
    assert_null(broker_find_session(fixture_broker, slice_from_string("c")));
    answer_acl(0, &yes);
    answer_acl(1, &no);
    fixture_now_ms += TIMEOUT_MS + 100;
    fixture_turns();
    assert_string_equal(fixture_receive(fd), "20020000"
                                             "d000");
    assert_string_equal(fixture_receive(denied), "20020005closed");
    assert_string_equal(fixture_receive(silent), "20020005closed");
    answer_acl(2, &yes);
    assert_int_equal(judge.unwanted, 1);
    assert_string_equal(judge.asked, "c ?w,d ?w,s ?w");
    assert_non_null(connection_of("c")->link.session->will);
    assert_int_equal(metrics_read(METRIC_PACKETS_CONNECT_RECEIVED), connects + 3);
    assert_int_equal(metrics_read(METRIC_PACKETS_RECEIVED), packets + 4);
}

static void a_generated_client_id_stays_while_its_will_waits(void **state)
{
    int fd = fixture_connect_socket(0);
    char client_id[64] = "";

    (void)state;
    say_connect_with_will(fd, "");
    fixture_turns();
    assert_int_equal(sscanf(judge.asked, "%63s", client_id), 1);
    answer_acl(0, &yes);
    assert_string_equal(fixture_receive(fd), "20020000");
    assert_non_null(connection_of(client_id));
    assert_int_equal(judge.calls, 1);
}

static void who_goes_while_it_waits_is_not_asked_for_any_more(void **state)
{
    static const uint8_t subscribe[] = {0x82, 7, 0, 9, 0, 2, '?', 'b', 1};
    int sub = come(MQTT_V3_1_1, "sub"), pub = come(MQTT_V3_1_1, "pub"), willing = fixture_connect_socket(0);

    (void)state;
    say(sub, subscribe, sizeof(subscribe));
    fixture_turns();
    say_publish(pub, MQTT_V3_1_1, "?a", 1, 1);
    fixture_turns();
    say_connect_with_will(willing, "w");
    fixture_turns();
    assert_int_equal(judge.ticket_count, 3);
    assert_true(channel_kick(connection_of("sub")->worker->host.worker, slice_from_string("sub")));
    assert_true(channel_kick(connection_of("pub")->worker->host.worker, slice_from_string("pub")));
    fixture_now_ms += 3600000; /* idle_timeout */
    fixture_turns();
    for (uint32_t i = 0; i < 3; i++)
        answer_acl(i, &yes);
    assert_int_equal(judge.unwanted, 3);
}

/* ---- message.publish ---- */

static void a_message_waits_and_what_is_behind_it_keeps_its_order(void **state)
{
    int sub = listener(), pub = come(MQTT_V3_1_1, "pub"), other = come(MQTT_V3_1_1, "other");
    uint64_t packets = metrics_read(METRIC_PACKETS_RECEIVED), messages = metrics_read(METRIC_MESSAGES_RECEIVED);

    (void)state;
    say_publish(pub, MQTT_V3_1_1, "?a", 1, 1);
    say_publish(pub, MQTT_V3_1_1, "b", 1, 2);
    say(pub, ping, 2);
    fixture_turns();
    say_publish(other, MQTT_V3_1_1, "c", 0, 0);
    fixture_turns();
    assert_string_equal(fixture_receive(pub), "");
    assert_string_equal(fixture_receive(sub), "3004000163"
                                              "70");
    answer_publish(0, &yes);
    assert_string_equal(fixture_receive(sub), "300500023f61"
                                              "70"
                                              "3004000162"
                                              "70");
    assert_string_equal(fixture_receive(pub), "40020001"
                                              "40020002"
                                              "d000");
    assert_string_equal(judge.asked, "pub ?a,other c,pub b");
    assert_int_equal(metrics_read(METRIC_PACKETS_RECEIVED), packets + 4);
    assert_int_equal(metrics_read(METRIC_MESSAGES_RECEIVED), messages + 3);
    assert_null(connection_of("pub")->extras->publication);
}

static void a_late_answer_may_change_or_stop_a_message(void **state)
{
    static const struct verdict elsewhere = {true, HOOK_STOP, "x"};
    int sub = listener(), pub = come(MQTT_V5, "pub");

    (void)state;
    say_publish(pub, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    answer_publish(0, &elsewhere);
    assert_string_equal(fixture_receive(sub), "3004000178"
                                              "70");
    assert_string_equal(fixture_receive(pub), "40020001");
    say_publish(pub, MQTT_V5, "?a", 1, 2);
    fixture_turns();
    answer_publish(1, &no);
    assert_string_equal(fixture_receive(sub), "");
    assert_string_equal(fixture_receive(pub), "4003000210");
}

static void a_message_without_answer_is_not_published(void **state)
{
    int sub = listener(), v5 = come(MQTT_V5, "v5"), v4 = come(MQTT_V3_1_1, "v4");

    (void)state;
    say_publish(v5, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    say_publish(v4, MQTT_V3_1_1, "?a", 1, 1);
    fixture_turns();
    fixture_now_ms += TIMEOUT_MS + 100;
    fixture_turns();
    assert_string_equal(fixture_receive(v5), "4003000183");
    assert_string_equal(fixture_receive(v4), "closed"); /* an acknowledgement would promise something */
    say_publish(v5, MQTT_V5, "?a", 0, 0);
    fixture_turns();
    fixture_now_ms += TIMEOUT_MS + 100;
    fixture_turns();
    say(v5, ping, 2);
    fixture_turns();
    assert_string_equal(fixture_receive(v5), "d000");
    assert_string_equal(fixture_receive(sub), "");
    for (uint32_t i = 0; i < 3; i++)
        answer_publish(i, &yes);
    assert_int_equal(judge.unwanted, 3);
}

static void over_the_limit_messages_are_refused(void **state)
{
    int one = come(MQTT_V5, "one"), two = come(MQTT_V5, "two");

    (void)state;
    assert_ptr_equal(connection_of("one")->worker, connection_of("two")->worker);
    hook_set_limits(TIMEOUT_MS, 1);
    say_publish(one, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    say_publish(two, MQTT_V5, "?a", 1, 1);
    fixture_turns();
    assert_string_equal(fixture_receive(two), "4003000197");
    answer_publish(0, &yes);
    assert_string_equal(fixture_receive(one), "4003000110");
}

static void qos_2_is_published_once_also_when_it_waits(void **state)
{
    static const uint8_t pubrel[] = {0x62, 2, 0, 1};
    int sub = listener(), pub = come(MQTT_V5, "pub");

    (void)state;
    say_publish(pub, MQTT_V5, "?a", 2, 1);
    say_publish(pub, MQTT_V5, "?a", 2, 1);
    fixture_turns();
    assert_int_equal(judge.ticket_count, 1);
    answer_publish(0, &yes);
    assert_int_equal(judge.ticket_count, 1);
    assert_string_equal(fixture_receive(pub), "50020001"
                                              "5003000191");
    say(pub, pubrel, sizeof(pubrel));
    fixture_turns();
    assert_string_equal(fixture_receive(pub), "70020001");
    assert_string_equal(fixture_receive(sub), "300500023f6170");
    say_publish(pub, MQTT_V5, "?a", 2, 2); /* without an answer its packet ID is free again */
    fixture_turns();
    fixture_now_ms += TIMEOUT_MS + 100;
    fixture_turns();
    assert_string_equal(fixture_receive(pub), "5003000283");
    assert_false(session_awaits_rel(connection_of("pub")->link.session, 2));
    answer_publish(1, &yes);
}

static void say_connect_stored(int fd, bool clean_start)
{
    struct mqtt_packet packet = {
        .type = MQTT_CONNECT,
        .connect = {.client_id = slice_from_string("durable"), .clean_start = clean_start, .level = MQTT_V3_1_1}};

    fixture_send(fd, MQTT_V3_1_1, &packet);
    fixture_turns();
}

/* Turns until something has come: what is stored is acknowledged by another thread's work. */
static const char *receive_stored(int fd)
{
    const char *got = "";

    while (got[0] == '\0') {
        fixture_turns();
        got = fixture_receive(fd);
    }
    return got;
}

static void a_stored_client_that_is_taken_over_may_send_its_message_again(void **state)
{
    int first = fixture_connect_socket(0), second;
    struct session *session;

    (void)state;
    say_connect_stored(first, false);
    assert_string_equal(receive_stored(first), "20020000");
    session = connection_of("durable")->link.session;
    assert_true(session_is_durable(session));
    say_publish(first, MQTT_V3_1_1, "?a", 2, 1);
    fixture_turns();
    assert_int_equal(judge.ticket_count, 1);
    second = fixture_connect_socket(0);
    say_connect_stored(second, false);
    assert_string_equal(receive_stored(second), "20020100");
    assert_ptr_equal(connection_of("durable")->link.session, session);
    assert_false(session_awaits_rel(session, 1));
    say_publish(second, MQTT_V3_1_1, "?a", 2, 1);
    fixture_turns();
    answer_publish(0, &yes); /* of the first */
    assert_int_equal(judge.unwanted, 1);
    assert_string_equal(fixture_receive(second), "");
    answer_publish(1, &yes);
    assert_string_equal(receive_stored(second), "50020001");
    assert_true(session_awaits_rel(session, 1));
}

static void a_large_message_waits_in_its_own_buffer(void **state)
{
    enum { SIZE = 50000 };
    static uint8_t packet[SIZE + 12] = {0x32, 0, 0, 0, 0, 2, '?', 'a', 0, 9};
    size_t remaining = SIZE + 6, sent = 0;
    static const struct verdict elsewhere = {true, HOOK_STOP, "x"};
    int pub = come(MQTT_V3_1_1, "pub");
    uint64_t bytes = 0;
    static uint8_t got[SIZE];
    int sub = listener();

    (void)state;
    packet[1] = (uint8_t)(remaining % 128 | 128);
    packet[2] = (uint8_t)(remaining / 128 % 128 | 128);
    packet[3] = (uint8_t)(remaining / 16384);
    while (sent < 4 + remaining) {
        ssize_t now = write(pub, packet + sent, 4 + remaining - sent < 10000 ? 4 + remaining - sent : 10000);
        sent += now > 0 ? (size_t)now : 0;
        fixture_turns();
    }
    say(pub, ping, 2);
    fixture_turns();
    assert_string_equal(fixture_receive(pub), "");
    answer_publish(0, &elsewhere);
    assert_string_equal(fixture_receive(pub), "40020009"
                                              "d000");
    for (ssize_t now = 1; now > 0; bytes += now > 0 ? (uint64_t)now : 0) {
        fixture_turns();
        now = read(sub, got, sizeof(got));
    }
    assert_int_equal(bytes, 4 + SIZE + 3);
}

static void a_message_of_who_is_kicked_is_not_published(void **state)
{
    int sub = listener(), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    say_publish(pub, MQTT_V3_1_1, "?a", 0, 0);
    fixture_turns();
    assert_true(channel_kick(connection_of("pub")->worker->host.worker, slice_from_string("pub")));
    fixture_turns();
    answer_publish(0, &yes);
    assert_int_equal(judge.unwanted, 1);
    assert_string_equal(fixture_receive(sub), "");
}

static void a_client_that_has_said_all_and_closed_is_heard(void **state)
{
    static const uint8_t disconnect[] = {0xE0, 0};
    int sub = listener(), pub = come(MQTT_V3_1_1, "pub");

    (void)state;
    say_publish(pub, MQTT_V3_1_1, "?a", 0, 0);
    say_publish(pub, MQTT_V3_1_1, "?b", 0, 0);
    say(pub, disconnect, 2);
    assert_int_equal(shutdown(pub, SHUT_WR), 0);
    fixture_turns();
    answer_publish(0, &yes);
    answer_publish(1, &yes);
    assert_string_equal(fixture_receive(sub), "300500023f6170"
                                              "300500023f6270");
    assert_null(broker_find_session(fixture_broker, slice_from_string("pub")));
}

#define TEST(test, open) cmocka_unit_test_setup_teardown(test, open, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_publish_waits_and_what_is_behind_it_keeps_its_order, open_acl),
        TEST(a_late_no_is_a_no, open_acl),
        TEST(no_answer_in_time_denies_and_is_not_remembered, open_acl),
        TEST(over_the_limit_nobody_is_asked_and_all_is_denied, open_acl),
        TEST(a_callback_behind_it_may_still_say_no, open_acl),
        TEST(rules_that_change_meanwhile_are_not_remembered, open_acl),
        TEST(each_filter_of_a_subscribe_may_wait, open_acl),
        TEST(a_filter_without_answer_is_denied_and_the_others_are_served, open_acl),
        TEST(a_large_subscribe_waits_in_the_middle, open_acl),
        TEST(a_will_waits_before_connack, open_acl),
        TEST(a_generated_client_id_stays_while_its_will_waits, open_acl),
        TEST(who_goes_while_it_waits_is_not_asked_for_any_more, open_acl),
        TEST(a_message_waits_and_what_is_behind_it_keeps_its_order, open_publish),
        TEST(a_late_answer_may_change_or_stop_a_message, open_publish),
        TEST(a_message_without_answer_is_not_published, open_publish),
        TEST(over_the_limit_messages_are_refused, open_publish),
        TEST(qos_2_is_published_once_also_when_it_waits, open_publish),
        TEST(a_stored_client_that_is_taken_over_may_send_its_message_again, open_publish_stored),
        TEST(a_large_message_waits_in_its_own_buffer, open_publish),
        TEST(a_message_of_who_is_kicked_is_not_published, open_publish),
        TEST(a_client_that_has_said_all_and_closed_is_heard, open_publish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
