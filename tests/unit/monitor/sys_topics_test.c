/*
 * Behaviour of the $SYS topics: what is published, retained or not, through the normal path.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/rcu.h"
#include "base/version.h"
#include "broker/broker.h"
#include "broker/retainer/retainer.h"
#include "event/mailbox.h"
#include "monitor/sys_topics.h"
#include "mqtt/message.h"

static uv_loop_t loop;
static struct broker *broker;

static int set_up(void **state)
{
    struct broker_settings settings = {.worker_count = 2, .mailbox_bytes_max = 1 << 20};

    (void)state;
    rcu_thread_register();
    return uv_loop_init(&loop) < 0 || broker_new(&settings, &broker) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    broker_free(broker);
    rcu_thread_unregister();
    return uv_loop_close(&loop);
}

struct expected {
    const char *payload; /* NULL: any */
    uint32_t count;
};

static void note(void *context, struct message *message)
{
    struct expected *expected = context;

    assert_true(message->sys);
    assert_true(message->retain);
    assert_true(slice_equal(message_payload(message), slice_from_string(expected->payload)));
    expected->count++;
}

static void expect_retained(const char *topic, const char *payload)
{
    struct expected expected = {.payload = payload};

    struct retainer_position position = {0};

    assert_int_equal(
        retainer_match_slice(broker->retainer, slice_from_string(topic), &position, 100, 0, note, &expected), 0);
    assert_int_equal(expected.count, 1);
}

static struct sys_topics *open_topics(uint64_t interval_ms, uint64_t heartbeat_ms)
{
    struct sys_topics_options options = {.loop = &loop,
                                         .broker = broker,
                                         .node_name = "emqx@127.0.0.1",
                                         .interval_ms = interval_ms,
                                         .heartbeat_ms = heartbeat_ms};
    struct sys_topics *topics;

    assert_int_equal(sys_topics_open(&options, &topics), 0);
    return topics;
}

static void close_topics(struct sys_topics *topics)
{
    sys_topics_close(topics);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void the_interval_publishes_what_stays_as_retained_messages(void **state)
{
    struct sys_topics *topics = open_topics(1, 0);

    (void)state;
    while (retainer_count(broker->retainer) == 0) {
        uv_run(&loop, UV_RUN_ONCE); /* mostly until the timer is due */
        worker_pool_drain(broker->pool);
    }
    expect_retained("$SYS/brokers", "emqx@127.0.0.1");
    expect_retained("$SYS/brokers/emqx@127.0.0.1/version", EMQX_COMPAT_VERSION);
    expect_retained("$SYS/brokers/emqx@127.0.0.1/sysdescr", "EMQ X Broker");
    assert_int_equal(retainer_count(broker->retainer), 3);
    close_topics(topics);
}

static char topics_seen[4096];

/* The deliveries of worker 1, which the test has made a destination for $SYS. */
static void take_in(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count)
{
    (void)from;
    (void)worker;
    for (uint32_t i = 0; i < count; i++) {
        struct message *message = deliveries[i].message;
        size_t len = strlen(topics_seen);
        assert_false(message->retain);
        assert_true(message->payload_len > 0);
        snprintf(topics_seen + len, sizeof(topics_seen) - len, "%.*s ", (int)message->topic_len,
                 (const char *)message->topic);
        message_unref(message);
    }
}

static void the_heartbeat_reaches_subscribers_and_is_not_retained(void **state)
{
    static const char expected[] = "$SYS/brokers/emqx@127.0.0.1/uptime $SYS/brokers/emqx@127.0.0.1/datetime ";
    struct sys_topics *topics = open_topics(0, 1);
    int target;

    (void)state;
    topics_seen[0] = '\0';
    worker_set_deliver(worker_pool_get(broker->pool, 1), take_in);
    assert_int_equal(router_add(broker->router, SLICE_LITERAL("$SYS/brokers/+/+"), 1, &target), 0);
    while (topics_seen[0] == '\0') {
        uv_run(&loop, UV_RUN_ONCE);
        worker_pool_drain(broker->pool);
    }
    /* On a slow machine the timer may have been due twice. */
    assert_memory_equal(topics_seen, expected, strlen(expected));
    assert_int_equal(retainer_count(broker->retainer), 0);
    assert_ptr_equal(router_remove(broker->router, SLICE_LITERAL("$SYS/brokers/+/+"), 1), &target);
    close_topics(topics);
}

static void both_may_be_off(void **state)
{
    struct sys_topics *topics = open_topics(0, 0);

    (void)state;
    assert_int_equal(uv_run(&loop, UV_RUN_ONCE), 0); /* nothing to wait for */
    close_topics(topics);
    sys_topics_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_interval_publishes_what_stays_as_retained_messages),
        TEST(the_heartbeat_reaches_subscribers_and_is_not_retained),
        TEST(both_may_be_off),
    };

    return cmocka_run_group_tests_name("sys_topics", tests, NULL, NULL);
}
