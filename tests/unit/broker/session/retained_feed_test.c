/*
 * retained_feed: messages whose payload is on disk only, and those that are still being loaded, on their way to a session.
 */
#include "../retainer/durable_fixture.h"

#include "base/clock.h"
#include "base/rcu.h"
#include "broker/session/retained_feed.h"
#include "mqtt/topic.h"

#include <stdio.h>
#include <string.h>

/* The session's part: woken when the feed has waited. */
struct receiver {
    struct durable_fixture *fixture;
    struct retained_feed *feed;
    uint32_t used;
    uint32_t woken_count;
    uint32_t item_count;
    char log[2048]; /* the first character of each payload, and the QoS */
};

static void wake(void *context)
{
    ((struct receiver *)context)->woken_count++;
}

static struct receiver make_receiver(struct durable_fixture *fixture)
{
    return (struct receiver){.fixture = fixture};
}

static struct retained_source source_of(struct receiver *receiver)
{
    receiver->used = 0; /* a turn of its own */
    return (struct retained_source){.retainer = receiver->fixture->retainer,
                                    .worker = worker_pool_get(receiver->fixture->pool, 1),
                                    .wake = wake,
                                    .context = receiver,
                                    .now_ms = clock_mono_ms(),
                                    .used = &receiver->used};
}

static void request(struct receiver *receiver, const char *filter, uint8_t qos)
{
    struct retained_source source = source_of(receiver);
    struct retained_request wanted = {.filter = slice_from_string(filter), .qos = qos};

    assert_int_equal(retained_feed_add(&receiver->feed, &source, &wanted), 0);
}

/* Takes all that comes without waiting. */
static void take_items(struct receiver *receiver)
{
    struct delivery_item item;

    for (;;) {
        struct retained_source source = source_of(receiver);
        if (!retained_feed_peek(receiver->feed, &source, &item)) {
            if (retained_feed_ended(receiver->feed) || retained_feed_waits(receiver->feed))
                return;
            continue; /* as in another turn */
        }
        assert_true(item.retain && item.copy);
        assert_true(item.message->payload_len > 0);
        retained_feed_pop(receiver->feed);
        receiver->item_count++;
        size_t len = strlen(receiver->log);
        if (len + 4 < sizeof(receiver->log))
            snprintf(receiver->log + len, sizeof(receiver->log) - len, "%c%u ", item.message->payload[0], item.qos);
        message_unref(item.message);
        rcu_thread_quiescent();
    }
}

/* The same, waiting as often as the feed does. Whenever it says that it waits, it wakes later. */
static void take_all(struct receiver *receiver)
{
    take_items(receiver);
    while (!retained_feed_ended(receiver->feed)) {
        uint32_t woken_count = receiver->woken_count;
        assert_true(retained_feed_waits(receiver->feed));
        while (receiver->woken_count == woken_count)
            durable_turn(receiver->fixture);
        take_items(receiver);
    }
}

/* A payload of `length` bytes, over what stays in memory or not. */
static void store(struct durable_fixture *fixture, const char *topic, char first, size_t length, uint8_t qos)
{
    static char payload[200000];

    memset(payload, '-', length);
    payload[0] = first;
    payload[length] = '\0';
    durable_store(fixture, make_retained(topic, payload, qos, clock_mono_ms()), true);
}

static void payloads_on_disk_come_in_their_place(void **state)
{
    struct durable_fixture *fixture = *state;
    struct receiver receiver = make_receiver(fixture);

    durable_open(fixture);
    store(fixture, "t/1", 'a', 10, 1);
    store(fixture, "t/2", 'b', 1000, 2);
    store(fixture, "t/3", 'c', 10, 0);
    store(fixture, "t/4", 'd', 1000, 0);
    durable_commit(fixture);
    request(&receiver, "t/#", 1);
    take_items(&receiver);
    assert_string_equal(receiver.log, "a1 "); /* nothing passes the one that is read */
    assert_true(retained_feed_waits(receiver.feed));
    take_all(&receiver);
    assert_string_equal(receiver.log, "a1 b1 c0 d0 ");
    assert_int_equal(receiver.woken_count, 1); /* one read for both */
    assert_false(retained_feed_waits(receiver.feed));
    retained_feed_free(receiver.feed);
}

static void many_large_payloads_are_read_some_at_a_time(void **state)
{
    struct durable_fixture *fixture = *state;
    struct receiver receiver = make_receiver(fixture);
    char topic[16], expected[400] = "";

    durable_open(fixture);
    for (int i = 0; i < 60; i++) {
        snprintf(topic, sizeof(topic), "t/%02d", i);
        store(fixture, topic, (char)('A' + i), i < 40 ? 1000 : 100000, 0);
        snprintf(expected + strlen(expected), 5, "%c0 ", 'A' + i);
    }
    durable_commit(fixture);
    request(&receiver, "t/+", 0);
    take_all(&receiver);
    assert_string_equal(receiver.log, expected);
    assert_in_range(receiver.woken_count, 40 / 16 + 20, 40 / 16 + 1 + 20); /* by their number, then by their size */
    retained_feed_free(receiver.feed);
}

static void two_filters_get_the_same_large_message(void **state)
{
    struct durable_fixture *fixture = *state;
    struct receiver receiver = make_receiver(fixture);

    durable_open(fixture);
    store(fixture, "t/1", 'a', 1000, 1);
    durable_commit(fixture);
    request(&receiver, "t/1", 1);
    request(&receiver, "t/+", 0);
    take_all(&receiver);
    assert_string_equal(receiver.log, "a1 a0 ");
    retained_feed_free(receiver.feed);
}

static void what_is_gone_or_damaged_is_left_out(void **state)
{
    struct durable_fixture *fixture = *state;
    struct receiver receiver = make_receiver(fixture);

    durable_open(fixture);
    store(fixture, "t/1", 'a', 1000, 1);
    store(fixture, "t/2", 'b', 1000, 1);
    store(fixture, "t/3", 'c', 1000, 1);
    store(fixture, "t/4", 'd', 10, 1);
    durable_commit(fixture);
    request(&receiver, "t/+", 1);
    durable_write_row(fixture, "t/2", SLICE_LITERAL("nonsense"));
    durable_store(fixture, make_retained("t/3", "", 1, clock_mono_ms()), true); /* cleared since it was found */
    durable_commit(fixture);
    take_all(&receiver);
    assert_string_equal(receiver.log, "a1 d1 ");
    retained_feed_free(receiver.feed);
}

static void a_feed_may_go_while_it_is_read_for(void **state)
{
    struct durable_fixture *fixture = *state;
    struct receiver receiver = make_receiver(fixture);

    durable_open(fixture);
    store(fixture, "t/1", 'a', 1000, 1);
    durable_commit(fixture);
    for (int round = 0; round < 2; round++) {
        request(&receiver, "t/+", 1);
        take_items(&receiver);
        assert_true(retained_feed_waits(receiver.feed));
        if (round > 0)
            durable_turn(fixture); /* the read has begun */
        retained_feed_stop(receiver.feed);
        assert_false(retained_feed_waits(receiver.feed));
        retained_feed_free(receiver.feed);
        receiver.feed = NULL;
        receiver.woken_count = 0;
    }
    retained_feed_stop(NULL);
}

static const char *const behind[] = {"n/1", "n/2", "z", NULL};

static void a_subscription_goes_along_with_the_loading(void **state)
{
    struct durable_fixture *fixture = *state;
    struct receiver receiver = make_receiver(fixture);
    uint32_t first_count;

    durable_open_gated(fixture, behind);
    request(&receiver, "#", 0);
    take_items(&receiver);
    first_count = receiver.item_count;
    assert_in_range(first_count, 1, FIXTURE_BEFORE_GATE);
    assert_true(retained_feed_waits(receiver.feed));
    assert_int_equal(receiver.woken_count, 0);
    durable_turn(fixture);
    assert_int_equal(receiver.woken_count, 0); /* nothing is asked for meanwhile */
    durable_open_gate(fixture);
    take_all(&receiver);
    assert_int_equal(receiver.item_count, FIXTURE_BEFORE_GATE + 1 + 3);
    retained_feed_free(receiver.feed);
}

static void an_exact_filter_passes_those_that_wait_for_the_loading(void **state)
{
    struct durable_fixture *fixture = *state;
    struct receiver receiver = make_receiver(fixture);

    durable_open_gated(fixture, behind);
    request(&receiver, "n/+", 0);
    request(&receiver, "z/#", 0);
    take_items(&receiver);
    assert_true(retained_feed_waits(receiver.feed));
    request(&receiver, "z", 1); /* not loaded yet: read from the store */
    request(&receiver, "a/00001", 0);
    request(&receiver, "n/nothing", 0);
    while (receiver.item_count < 2) {
        durable_turn(fixture);
        take_items(&receiver);
    }
    assert_string_equal(receiver.log, "z1 a0 ");
    retained_feed_cancel(receiver.feed, SLICE_LITERAL("z/#"));
    durable_open_gate(fixture);
    take_all(&receiver);
    assert_string_equal(receiver.log, "z1 a0 n0 n0 ");
    retained_feed_free(receiver.feed);
}

static void a_cancelled_filter_no_longer_waits_for_the_loading(void **state)
{
    struct durable_fixture *fixture = *state;
    struct receiver receiver = make_receiver(fixture);

    durable_open_gated(fixture, behind);
    request(&receiver, "n/+", 0);
    take_items(&receiver);
    retained_feed_cancel(receiver.feed, SLICE_LITERAL("n/+"));
    assert_true(retained_feed_ended(receiver.feed));
    retained_feed_free(receiver.feed);
    durable_open_gate(fixture);
    assert_int_equal(receiver.woken_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, durable_set_up, durable_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(payloads_on_disk_come_in_their_place),
        TEST(many_large_payloads_are_read_some_at_a_time),
        TEST(two_filters_get_the_same_large_message),
        TEST(what_is_gone_or_damaged_is_left_out),
        TEST(a_feed_may_go_while_it_is_read_for),
        TEST(a_subscription_goes_along_with_the_loading),
        TEST(an_exact_filter_passes_those_that_wait_for_the_loading),
        TEST(a_cancelled_filter_no_longer_waits_for_the_loading),
    };

    return cmocka_run_group_tests_name("retained_feed", tests, NULL, NULL);
}
