/*
 * Behaviour of counters and gauges.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"

enum { THREADS = 4, ROUNDS = 20000 };

static void *count_in_a_thread(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        metric_add(METRIC_MESSAGES_RECEIVED, 1);
        metric_add(METRIC_BYTES_RECEIVED, 100);
        stat_add(STAT_CONNECTIONS, 2);
        stat_add(STAT_CONNECTIONS, -1);
    }
    return NULL;
}

static void sums_living_and_ended_threads(void **state)
{
    uint64_t messages = metrics_read(METRIC_MESSAGES_RECEIVED);
    uint64_t bytes = metrics_read(METRIC_BYTES_RECEIVED);
    uint64_t last = messages;
    pthread_t threads[THREADS];
    uint64_t max;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_in_a_thread, NULL), 0);
    metric_add(METRIC_MESSAGES_RECEIVED, 5);
    /* Read while they count and end: never falls. */
    for (int i = 0; i < 2000; i++) {
        uint64_t now = metrics_read(METRIC_MESSAGES_RECEIVED);

        assert_true(now >= last);
        last = now;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metrics_read(METRIC_MESSAGES_RECEIVED) - messages, THREADS * ROUNDS + 5);
    assert_int_equal(metrics_read(METRIC_BYTES_RECEIVED) - bytes, THREADS * ROUNDS * 100);
    assert_int_equal(stats_read(STAT_CONNECTIONS, &max), THREADS * ROUNDS);
    assert_true(max >= THREADS * ROUNDS);
}

/* What metric_add() and stat_add() do when there is no memory for a thread's block. */
static void counts_without_a_block_of_its_own(void **state)
{
    uint64_t before = metrics_read(METRIC_PACKETS_SENT);
    uint64_t max;

    (void)state;
    metrics_add_shared(METRIC_PACKETS_SENT, 2);
    metric_add(METRIC_PACKETS_SENT, 1);
    assert_int_equal(metrics_read(METRIC_PACKETS_SENT) - before, 3);
    stats_add_shared(STAT_SUBOPTIONS, 3);
    stat_add(STAT_SUBOPTIONS, -2);
    assert_int_equal(stats_read(STAT_SUBOPTIONS, &max), 1);
    stats_add_shared(STAT_SUBOPTIONS, -1);
    assert_int_equal(stats_read(STAT_SUBOPTIONS, &max), 0);
}

static void lets_a_gauge_among_the_metrics_fall(void **state)
{
    (void)state;
    metric_add(METRIC_MESSAGES_RETAINED, 10);
    metric_sub(METRIC_MESSAGES_RETAINED, 4);
    assert_int_equal(metrics_read(METRIC_MESSAGES_RETAINED), 6);
    metric_sub(METRIC_MESSAGES_RETAINED, 6);
    assert_int_equal(metrics_read(METRIC_MESSAGES_RETAINED), 0);
}

static void remembers_the_maximum_of_a_gauge(void **state)
{
    uint64_t max;

    (void)state;
    stat_set(STAT_ROUTES, 7);
    stat_set(STAT_ROUTES, 3);
    assert_int_equal(stats_read(STAT_ROUTES, &max), 3);
    assert_int_equal(max, 7);
    stat_add(STAT_SESSIONS, 5);
    stats_refresh();
    stat_add(STAT_SESSIONS, -5);
    assert_int_equal(stats_read(STAT_SESSIONS, &max), 0);
    assert_int_equal(max, 5);
}

static void does_not_show_a_gauge_below_zero(void **state)
{
    uint64_t max;

    (void)state;
    stat_add(STAT_SUBSCRIBERS, -1);
    assert_int_equal(stats_read(STAT_SUBSCRIBERS, &max), 0);
    assert_int_equal(max, 0);
    stat_add(STAT_SUBSCRIBERS, 1);
}

static void registers_metrics_at_run_time(void **state)
{
    uint32_t first;
    uint32_t again;
    uint32_t builtin;
    char name[80];

    (void)state;
    assert_int_equal(metrics_register("auth.http.success", "Clients accepted over HTTP", &first), 0);
    assert_true(first >= METRIC_COUNT);
    metric_add(first, 3);
    assert_int_equal(metrics_register("auth.http.success", "other text", &again), 0);
    assert_int_equal(again, first);
    assert_int_equal(metrics_read(first), 3);
    assert_string_equal(metrics_help(first), "Clients accepted over HTTP");
    assert_int_equal(metrics_register("bytes.sent", "", &builtin), 0);
    assert_int_equal(builtin, METRIC_BYTES_SENT);
    assert_int_equal(metrics_register("", "", &again), -EINVAL);
    memset(name, 'x', sizeof(name));
    name[64] = '\0';
    assert_int_equal(metrics_register(name, "", &again), -EINVAL);
}

static void refuses_more_metrics_than_there_is_room_for(void **state)
{
    uint32_t metric;
    int err = 0;

    (void)state;
    for (int i = 0; i <= METRIC_REGISTERED_MAX && err == 0; i++) {
        char name[32];

        snprintf(name, sizeof(name), "test.%d", i);
        err = metrics_register(name, "", &metric);
    }
    assert_int_equal(err, -ENOSPC);
    assert_int_equal(metrics_count(), METRIC_TOTAL_MAX);
}

static void collect(const char *name, uint64_t value, void *context)
{
    char *text = context;

    (void)value;
    strcat(text, name);
    strcat(text, " ");
}

/* The names and their order as the original prints them. */
static void visits_the_names_of_the_original_first(void **state)
{
    static const char expected[] =
        "bytes.received bytes.sent packets.received packets.sent packets.connect.received packets.connack.sent "
        "packets.connack.error packets.connack.auth_error packets.publish.received packets.publish.sent "
        "packets.publish.error packets.publish.auth_error packets.puback.received packets.puback.sent "
        "packets.puback.missed packets.pubrec.received packets.pubrec.sent packets.pubrec.missed "
        "packets.pubrel.received packets.pubrel.sent packets.pubrel.missed packets.pubcomp.received "
        "packets.pubcomp.sent packets.pubcomp.missed packets.subscribe.received packets.subscribe.error "
        "packets.subscribe.auth_error packets.suback.sent packets.unsubscribe.received packets.unsubscribe.error "
        "packets.unsuback.sent packets.pingreq.received packets.pingresp.sent packets.disconnect.received "
        "packets.disconnect.sent packets.auth.received packets.auth.sent messages.received messages.sent "
        "messages.qos0.received messages.qos0.sent messages.qos1.received messages.qos1.sent messages.qos2.received "
        "messages.qos2.expired messages.qos2.sent messages.qos2.dropped messages.retained messages.dropped "
        "messages.expired messages.forward auth.mqtt.anonymous ";
    static char names[METRIC_TOTAL_MAX * 64];

    (void)state;
    metrics_visit(collect, names);
    assert_memory_equal(names, expected, sizeof(expected) - 1);
    assert_string_equal(metrics_name(METRIC_OWN_FIRST), "client.acl.allow");
    assert_string_equal(metrics_name(METRIC_OWN_FIRST - 1), "auth.mqtt.anonymous");
    assert_int_equal(METRIC_OWN_FIRST, 52);
}

static void visits_count_and_maximum_of_each_gauge(void **state)
{
    static const char expected[] =
        "connections.count connections.max sessions.count sessions.max sessions.persistent.count "
        "sessions.persistent.max topics.count topics.max suboptions.count suboptions.max subscribers.count "
        "subscribers.max subscriptions.count subscriptions.max subscriptions.shared.count subscriptions.shared.max "
        "routes.count routes.max retained.count retained.max ";
    static char names[2048];

    (void)state;
    stats_visit(collect, names);
    assert_memory_equal(names, expected, sizeof(expected) - 1); /* the original's, then ours */
    assert_true(strlen(stats_help(STAT_RETAINED)) > 0);
}

static void gives_each_metric_a_help_text_and_a_name_of_its_own(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < METRIC_COUNT; i++) {
        assert_true(strlen(metrics_help(i)) > 0);
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(metrics_name(i), metrics_name(k));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_living_and_ended_threads),
        cmocka_unit_test(counts_without_a_block_of_its_own),
        cmocka_unit_test(lets_a_gauge_among_the_metrics_fall),
        cmocka_unit_test(remembers_the_maximum_of_a_gauge),
        cmocka_unit_test(does_not_show_a_gauge_below_zero),
        cmocka_unit_test(registers_metrics_at_run_time),
        cmocka_unit_test(refuses_more_metrics_than_there_is_room_for),
        cmocka_unit_test(visits_the_names_of_the_original_first),
        cmocka_unit_test(visits_count_and_maximum_of_each_gauge),
        cmocka_unit_test(gives_each_metric_a_help_text_and_a_name_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
