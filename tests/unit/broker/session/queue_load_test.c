/*
 * Behaviour of a durable session's queue that is larger than what may be in memory: what leaves it, how it comes back.
 */
#include "durable_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/rcu.h"
#include "broker/session/durable.h"
#include "broker/session/message_body.h"
#include "broker/session/queue_load.h"
#include "broker/session/session_record.h"
#include "hook/events.h"
#include "hook/hook.h"
#include "mqtt/message_record.h"

/* Runs jobs and acknowledges until `count` messages have come. */
static void read_all(struct durable_fixture *fixture, struct reader *reader, uint32_t count)
{
    while (reader->count < count) {
        if (reader_ack(reader) == 0)
            durable_run_job(fixture);
    }
    reader_ack(reader);
}

static void expect_numbers(const struct reader *reader, uint32_t first, uint32_t count)
{
    assert_int_equal(reader->count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(reader->numbers[i], first + i);
}

static void a_backlog_leaves_the_memory_and_comes_back_in_order(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct reader reader;
    struct session *session;

    fixture->base->zone.session.max_mqueue_len = 0;
    session = durable_absent(fixture, "c", 1, &subscription);
    for (uint32_t i = 0; i < 3000; i++) {
        durable_deliver(fixture, subscription, "t", i, 1);
        if (i % 100 == 0)
            durable_commit(fixture);
    }
    assert_true(session->flow->mqueue.bytes > 0);
    durable_commit(fixture);
    assert_int_equal(session->flow->mqueue.bytes, 0);
    assert_int_equal(queued(session), 3000);
    reader_connect(session, &reader, 20);
    read_all(fixture, &reader, 3000);
    expect_numbers(&reader, 0, 3000);
    assert_int_equal(reader.dup_count, 0);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    assert_int_equal(fixture->host->durable.load_bytes, 0);
    session_detach(session, true);
    reader_fini(&reader);
}

static void a_connected_client_s_backlog_leaves_the_memory_too(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct reader reader;
    struct session *session;
    size_t each;

    fixture->base->zone.session.max_mqueue_len = 0;
    session = durable_absent(fixture, "c", 1, &subscription);
    reader_connect(session, &reader, 1);
    reader.blocked = true;
    durable_deliver(fixture, subscription, "t", 0, 1);
    each = session->flow->mqueue.bytes;
    for (uint32_t i = 1; i < 2000; i++)
        durable_deliver(fixture, subscription, "t", i, 1);
    durable_commit(fixture);
    assert_true(session->flow->mqueue.bytes <= QUEUE_LOADED_COUNT * (each + 4));
    reader.blocked = false;
    session_on_writable(session);
    for (uint32_t i = 2000; i < 3000; i++) { /* live ones come meanwhile */
        durable_deliver(fixture, subscription, "t", i, 1);
        if (i % 10 == 0)
            reader_ack(&reader);
        if (i % 64 == 0)
            durable_commit(fixture);
    }
    durable_commit(fixture);
    read_all(fixture, &reader, 3000);
    expect_numbers(&reader, 0, 3000);
    session_detach(session, true);
    reader_fini(&reader);
}

static void large_messages_leave_the_memory_earlier(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct reader reader;
    struct session *session;
    char *payload = malloc(300001);

    assert_non_null(payload);
    memset(payload, '1', 300000);
    payload[300000] = '\0';
    fixture->base->zone.session.max_mqueue_len = 0;
    session = durable_absent(fixture, "c", 1, &subscription);
    reader_connect(session, &reader, 1);
    reader.blocked = true;
    for (int i = 0; i < 20; i++)
        fixture_deliver(fixture->base, subscription, payload, 1);
    durable_commit(fixture);
    assert_true(session->flow->mqueue.bytes <= QUEUE_LOADED_BYTES);
    assert_true(session->flow->mqueue.bytes > 0);
    free(payload);
    session_detach(session, true);
    assert_int_equal(session->flow->mqueue.bytes, 0);
    reader_fini(&reader);
}

static char high_topic[] = "high", low_topic[] = "t";
static struct mqueue_priority table[] = {{high_topic, 9}, {low_topic, 1}};

static void classes_stay_in_order_through_the_disk(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription, *high;
    struct reader reader;
    struct session *session;

    fixture->base->zone.session.max_mqueue_len = 0;
    fixture->base->zone.session.mqueue_priorities = table;
    fixture->base->zone.session.mqueue_priority_count = 2;
    session = durable_absent(fixture, "c", 1, &subscription);
    high = fixture_subscribe(session, "high", 1);
    for (uint32_t i = 0; i < 2000; i++) { /* the high ones come all after, with many low ones between */
        durable_deliver(fixture, subscription, "t", 100000 + i, 1);
        if (i % 40 == 0)
            durable_deliver(fixture, high, "high", i / 40, 1);
    }
    durable_commit(fixture);
    assert_int_equal(session->flow->mqueue.bytes, 0);
    reader_connect(session, &reader, 5);
    read_all(fixture, &reader, 2050);
    assert_int_equal(reader.count, 2050);
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(reader.numbers[i], i);
    for (uint32_t i = 0; i < 2000; i++)
        assert_int_equal(reader.numbers[50 + i], 100000 + i);
    session_detach(session, true);
    reader_fini(&reader);
}

static void a_client_that_comes_and_goes_gets_each_message_in_order(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct reader reader;
    struct session *session;
    uint32_t next = 0;

    fixture->base->zone.session.max_mqueue_len = 0;
    session = durable_absent(fixture, "c", 1, &subscription);
    for (uint32_t i = 0; i < 1000; i++)
        durable_deliver(fixture, subscription, "t", i, 1);
    for (int round = 0; round < 20; round++) {
        if (round % 3 == 0)
            durable_commit(fixture);
        reader_connect(session, &reader, 50);
        for (int step = 0; step < round % 4; step++) { /* with a job under way, or after it */
            if (reader_ack(&reader) == 0 && fixture->host->durable.load_job_count > 0)
                durable_run_job(fixture);
        }
        for (uint32_t i = 0; i < reader.count; i++)
            assert_int_equal(reader.numbers[i], next + i);
        next += reader.count - reader.to_ack_count;
        session_detach(session, true);
        reader_fini(&reader);
    }
    durable_commit(fixture);
    reader_connect(session, &reader, 50);
    read_all(fixture, &reader, 1000 - next);
    expect_numbers(&reader, next, 1000 - next);
    session_detach(session, true);
    reader_fini(&reader);
}

static void a_session_may_end_while_its_messages_are_read(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct reader reader;
    struct session *session = durable_absent(fixture, "c", 1, &subscription);

    durable_deliver(fixture, subscription, "t", 1, 1);
    durable_commit(fixture);
    reader_connect(session, &reader, 50);
    assert_int_equal(fixture->host->durable.load_job_count, 1);
    session_end(session, "test");
    durable_run_job(fixture);
    assert_int_equal(fixture->host->durable.load_job_count, 0);
    durable_commit(fixture);
    assert_int_equal(durable_all_rows(fixture), 0);
    reader_fini(&reader);
}

static struct subscription *three_on_disk(struct durable_fixture *fixture, struct session **out_session)
{
    struct subscription *subscription;

    *out_session = durable_absent(fixture, "c", 1, &subscription);
    for (uint32_t i = 0; i < 3; i++)
        durable_deliver(fixture, subscription, "t", i, 1);
    durable_commit(fixture);
    return subscription;
}

static void a_damaged_row_is_passed_over_and_stays(void **state)
{
    struct durable_fixture *fixture = *state;
    struct session *session;
    struct reader reader;
    uint8_t key[QUEUE_KEY_LEN];
    struct slice garbage = SLICE_LITERAL("garbage");

    three_on_disk(fixture, &session);
    queue_key(session->durable->number, 2, key);
    store_put(fixture->host->client, STORE_QUEUE, slice_make(key, sizeof(key)), &garbage, 1);
    durable_commit(fixture);
    reader_connect(session, &reader, 50);
    read_all(fixture, &reader, 2);
    assert_int_equal(reader.numbers[0], 0);
    assert_int_equal(reader.numbers[1], 2);
    assert_int_equal(queued(session), 0);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1);
    session_detach(session, true);
    reader_fini(&reader);
}

static void a_row_that_is_missing_is_passed_over(void **state)
{
    static const uint64_t missing[3] = {1, 2, 3};

    for (int which = 0; which < 3; which++) {
        struct durable_fixture *fixture = *state;
        struct session *session;
        struct reader reader;
        uint8_t key[QUEUE_KEY_LEN];

        three_on_disk(fixture, &session);
        queue_key(session->durable->number, missing[which], key);
        store_delete(fixture->host->client, STORE_QUEUE, slice_make(key, sizeof(key)));
        durable_commit(fixture);
        reader_connect(session, &reader, 50);
        read_all(fixture, &reader, 2);
        assert_int_equal(reader.count, 2);
        assert_int_equal(queued(session), 0);
        session_end(session, "test");
        reader_fini(&reader);
    }
}

static void what_expired_on_disk_is_deleted_when_it_is_read(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct session *session = durable_absent(fixture, "c", 1, &subscription);
    struct reader reader;

    fixture_deliver_take(fixture->base, subscription, make_expiring("t", "1", 1, 0, 1)); /* long ago */
    durable_deliver(fixture, subscription, "t", 2, 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 2);
    reader_connect(session, &reader, 50);
    read_all(fixture, &reader, 1);
    expect_numbers(&reader, 2, 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    session_detach(session, true);
    reader_fini(&reader);
}

static void a_body_that_comes_late_is_waited_for(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct session *session = durable_absent(fixture, "c", 1, &subscription);
    struct message *message = make_message("t", "1", 1, fixture->base->now_ms);
    uint8_t key[SESSION_KEY_LEN], head[MESSAGE_RECORD_HEAD];
    struct slice parts[MESSAGE_RECORD_PARTS];
    struct reader reader;

    message->body = message_body_new(store_next_number(fixture->store));
    message->body->written = true; /* so says the publisher's worker, whose batch is behind ours */
    fixture_deliver_take(fixture->base, subscription, message_ref(message));
    durable_deliver(fixture, subscription, "t", 2, 1);
    durable_commit(fixture);
    reader_connect(session, &reader, 50);
    durable_run_job(fixture);
    assert_int_equal(reader.count, 0); /* and nothing overtakes it */
    session_key(message->body->number, key);
    message_record_encode(message, store_now_ms(fixture->store), head, parts);
    store_put(fixture->host->client, STORE_MESSAGE, slice_make(key, sizeof(key)), parts, MESSAGE_RECORD_PARTS);
    message_body_unref(message->body, fixture->host->client);
    message_unref(message);
    durable_commit(fixture);
    fixture_pass(fixture->base, 1000);
    read_all(fixture, &reader, 2);
    expect_numbers(&reader, 1, 2);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE) + durable_rows(fixture, STORE_MESSAGE), 0);
    session_detach(session, true);
    reader_fini(&reader);
}

static void a_body_that_never_comes_does_not_stop_the_client(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct session *session = durable_absent(fixture, "c", 1, &subscription);
    struct message *message = make_message("t", "1", 1, fixture->base->now_ms);
    struct reader reader;

    message->body = message_body_new(store_next_number(fixture->store));
    message->body->written = true;
    fixture_deliver_take(fixture->base, subscription, message_ref(message));
    durable_deliver(fixture, subscription, "t", 2, 1);
    message_body_unref(message->body, fixture->host->client);
    message_unref(message);
    durable_commit(fixture);
    reader_connect(session, &reader, 50);
    while (reader.count == 0) {
        if (fixture->host->durable.load_job_count > 0)
            durable_run_job(fixture);
        fixture_pass(fixture->base, 100);
    }
    expect_numbers(&reader, 2, 1);
    session_detach(session, true);
    reader_fini(&reader);
}

static void over_the_budget_sessions_take_turns(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription = NULL;
    struct session *sessions[20];
    struct reader readers[20];
    char client_id[16];
    uint32_t idle = 0;

    fixture->base->zone.session.max_mqueue_len = 0;
    fixture->host->durable.load_bytes_max = 1000;
    for (int i = 0; i < 20; i++) {
        snprintf(client_id, sizeof(client_id), "c%d", i);
        sessions[i] = durable_absent(fixture, client_id, 1, &subscription);
    }
    for (uint32_t i = 0; i < 500; i++)
        durable_deliver(fixture, subscription, "t", i, 1);
    durable_commit(fixture);
    for (int i = 0; i < 20; i++)
        reader_connect(sessions[i], &readers[i], 10);
    assert_int_equal(fixture->host->durable.load_job_count, LOAD_JOBS_MAX);
    readers[0].blocked = true; /* takes nothing: the others must not wait for it */
    while (idle < 19) {
        idle = 0;
        for (int i = 1; i < 20; i++) {
            reader_ack(&readers[i]);
            idle += readers[i].count == 500 && readers[i].to_ack_count == 0;
        }
        if (fixture->host->durable.load_job_count > 0)
            durable_run_job(fixture);
        /* Two whole slices may be under way when the budget is used up. */
        assert_true(fixture->host->durable.load_bytes < (LOAD_JOBS_MAX + 1) * LOAD_SLICE * 250);
    }
    for (int i = 1; i < 20; i++)
        expect_numbers(&readers[i], 0, 500);
    readers[0].blocked = false;
    session_on_writable(sessions[0]);
    read_all(fixture, &readers[0], 500);
    expect_numbers(&readers[0], 0, 500);
    assert_int_equal(fixture->host->durable.load_bytes, 0);
    for (int i = 0; i < 20; i++) {
        session_detach(sessions[i], true);
        reader_fini(&readers[i]);
    }
}

/* The messages of two shared subscriptions, most of them on disk only. */
static struct session *shared_session(struct durable_fixture *fixture)
{
    struct session *session = fixture_session(fixture->base, "c");
    struct subscription *a, *b, *own;
    struct peer peer;

    fixture->base->zone.session.max_mqueue_len = 0;
    fixture_connect(session, &peer, 1);
    a = fixture_subscribe(session, "$share/a/t", 1);
    b = fixture_subscribe(session, "$share/b/t", 1);
    own = fixture_subscribe(session, "t", 1);
    durable_deliver(fixture, a, "t", 1, 1); /* sent */
    session_detach(session, true);
    durable_deliver(fixture, a, "t", 2, 1);
    durable_deliver(fixture, own, "t", 3, 1);
    durable_deliver(fixture, b, "t", 4, 1);
    durable_commit(fixture);
    durable_deliver(fixture, a, "t", 5, 1);
    return session;
}

static void an_ended_session_s_shared_messages_are_read_and_handed_on(void **state)
{
    struct durable_fixture *fixture = *state;
    struct session *session = shared_session(fixture);

    session_end(session, "test");
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_SESSION), 1); /* a crash now must not lose them */
    while (!list_empty(&fixture->host->durable.redispatching))
        durable_run_job(fixture);
    ASSERT_HOST(fixture->base, "again:a/t:2 again:b/t:4 again:a/t:5");
    fixture_pass(fixture->base, 0);
    durable_commit(fixture);
    assert_int_equal(durable_all_rows(fixture), 0);
}

static void a_shutdown_keeps_shared_messages_that_were_not_handed_on(void **state)
{
    struct durable_fixture *fixture = *state;
    struct session *session = shared_session(fixture);

    session_end(session, "test");
    session_host_finish(fixture->host);
    ASSERT_HOST(fixture->base, "");
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_SESSION), 1);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 4); /* the first one was sent: it goes with the session */
}

static char dropped[2][64]; /* what message.dropped was told last, and before */

static enum hook_verdict on_dropped(void *context, void *data)
{
    const struct hook_dropped *event = data;

    (void)context;
    memcpy(dropped[1], dropped[0], sizeof(dropped[0]));
    snprintf(dropped[0], sizeof(dropped[0]), "%.*s %s %s", SLICE_ARG(event->client_id), event->reason,
             event->message.topic.data == NULL ? "?" : "in memory");
    return HOOK_NEXT;
}

static void what_is_dropped_on_disk_is_told_without_its_text(void **state)
{
    struct durable_fixture *fixture = *state;
    struct hook_options options = {.point = HOOK_MESSAGE_DROPPED, .run = on_dropped, .owner = "test"};
    struct subscription *subscription;
    struct session *session;
    struct hook *hook;

    assert_int_equal(hook_add(&options, &hook), 0);
    fixture->base->zone.session.max_mqueue_len = 2;
    session = durable_absent(fixture, "c", 1, &subscription);
    for (uint32_t i = 0; i < 3; i++)
        durable_deliver(fixture, subscription, "t", i, 1);
    assert_string_equal(dropped[0], "c queue_full in memory");
    assert_string_equal(dropped[1], "");
    durable_commit(fixture);
    durable_deliver(fixture, subscription, "t", 3, 1);
    assert_string_equal(dropped[0], "c queue_full ?");
    assert_string_equal(dropped[1], "c queue_full in memory");
    durable_commit(fixture);
    session_end(session, "test");
    hook_remove(hook);
}

/* Measured by what comes free, without the store's own memory. */
#define MANY 20000

static void an_absent_session_with_ten_messages_takes_less_than_a_kibibyte(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription = NULL;
    struct allocator_stats before, after;
    struct session **sessions = calloc(MANY, sizeof(*sessions));
    char client_id[24];

    assert_non_null(sessions);
    fixture->base->zone.session.max_mqueue_len = 1000;
    for (int i = 0; i < MANY; i++) {
        snprintf(client_id, sizeof(client_id), "client-%08d", i);
        sessions[i] = durable_absent(fixture, client_id, 1, &subscription);
    }
    for (uint32_t i = 0; i < 10; i++) {
        durable_deliver(fixture, subscription, "t", i, 1);
        durable_commit(fixture);
    }
    store_client_close(fixture->host->client);
    store_close(fixture->store);
    fixture->host->client = NULL;
    fixture->store = fixture->host->store = NULL;
    fixture_reclaim(fixture->base);
    allocator_stats(&before);
    for (int i = 0; i < MANY; i++)
        session_suspend(sessions[i]);
    fixture_reclaim(fixture->base);
    allocator_stats(&after);
    free(sessions);
    if (before.allocated_bytes == 0) /* a sanitizer's allocator does not tell */
        skip();
    uint64_t each = (before.allocated_bytes - after.allocated_bytes) / MANY;
    print_message("%llu bytes for an absent session\n", (unsigned long long)each);
    assert_in_range(each, 100, 1023);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, durable_set_up, durable_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_backlog_leaves_the_memory_and_comes_back_in_order),
        TEST(a_connected_client_s_backlog_leaves_the_memory_too),
        TEST(large_messages_leave_the_memory_earlier),
        TEST(classes_stay_in_order_through_the_disk),
        TEST(a_client_that_comes_and_goes_gets_each_message_in_order),
        TEST(a_session_may_end_while_its_messages_are_read),
        TEST(a_damaged_row_is_passed_over_and_stays),
        TEST(a_row_that_is_missing_is_passed_over),
        TEST(what_expired_on_disk_is_deleted_when_it_is_read),
        TEST(a_body_that_comes_late_is_waited_for),
        TEST(a_body_that_never_comes_does_not_stop_the_client),
        TEST(over_the_budget_sessions_take_turns),
        TEST(an_ended_session_s_shared_messages_are_read_and_handed_on),
        TEST(a_shutdown_keeps_shared_messages_that_were_not_handed_on),
        TEST(what_is_dropped_on_disk_is_told_without_its_text),
        TEST(an_absent_session_with_ten_messages_takes_less_than_a_kibibyte),
    };

    return cmocka_run_group_tests_name("queue_load", tests, NULL, NULL);
}
