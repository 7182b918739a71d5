/*
 * Behaviour of the store as its users see it: batches, order, commits, reading, numbers, everything there after it was opened again.
 */
#include "store_fixture.h"

#include "base/metrics.h"

#include <pthread.h>
#include <unistd.h>

static void what_was_committed_is_there_after_it_was_opened_again(void **state)
{
    struct fixture *fixture = *state;
    struct slice parts[3] = {SLICE_LITERAL("one "), SLICE_LITERAL(""), SLICE_LITERAL("two")};

    fixture_open(fixture);
    put_text(fixture->client, STORE_RETAINED, "a/b", "hello");
    store_put(fixture->client, STORE_RETAINED, SLICE_LITERAL("parts"), parts, 3);
    store_put(fixture->client, STORE_INFLIGHT, SLICE_LITERAL("nothing"), NULL, 0);
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    assert_string_equal(get_text(fixture->store, STORE_RETAINED, "a/b"), "hello");
    fixture_reopen(fixture);
    assert_string_equal(get_text(fixture->store, STORE_RETAINED, "a/b"), "hello");
    assert_string_equal(get_text(fixture->store, STORE_RETAINED, "parts"), "one two");
    assert_string_equal(get_text(fixture->store, STORE_INFLIGHT, "nothing"), "");
    assert_string_equal(get_text(fixture->store, STORE_QUEUE, "a/b"), "-");
}

static void closing_writes_what_was_submitted_and_what_was_open(void **state)
{
    struct fixture *fixture = *state;

    fixture_open(fixture);
    put_text(fixture->client, STORE_USER, "submitted", "1");
    store_submit(fixture->client, false);
    put_text(fixture->client, STORE_USER, "open", "2");
    fixture_reopen(fixture);
    assert_string_equal(scan_text(fixture->store, STORE_USER, "", ""), "open=2 submitted=1 ");
}

static void batches_take_effect_in_the_order_of_submission_over_clients(void **state)
{
    struct fixture *fixture = *state;
    struct store_client *other;

    fixture_open(fixture);
    other = fixture_client(fixture);
    put_text(other, STORE_USER, "key", "other, first");
    for (int i = 0; i < 100; i++) {
        put_text(fixture->client, STORE_USER, "key", "mine");
        store_submit(fixture->client, false);
        store_delete(other, STORE_USER, SLICE_LITERAL("key"));
        put_text(other, STORE_USER, "last", "other");
        store_submit(other, false);
    }
    put_text(fixture->client, STORE_USER, "last", "mine");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    assert_int_equal(store_committed(other), 100); /* was before it */
    assert_string_equal(scan_text(fixture->store, STORE_USER, "", ""), "last=mine ");
    store_client_close(other);
}

static void batches_are_numbered_and_an_empty_one_counts(void **state)
{
    struct fixture *fixture = *state;

    fixture_open(fixture);
    assert_int_equal(store_open_number(fixture->client), 1);
    assert_false(store_dirty(fixture->client));
    put_text(fixture->client, STORE_USER, "k", "v");
    assert_true(store_dirty(fixture->client));
    assert_true(store_open_bytes(fixture->client) >= 2);
    assert_int_equal(store_submit(fixture->client, false), 1);
    assert_int_equal(store_open_number(fixture->client), 2);
    assert_int_equal(store_submit(fixture->client, true), 2);
    fixture_wait(fixture, fixture->client, 2);
    assert_true(fixture->told > 0);
    assert_string_equal(get_text(fixture->store, STORE_USER, "k"), "v");
}

static void one_sync_serves_many_batches(void **state)
{
    struct fixture *fixture = *state;
    struct store_client *clients[8];
    uint64_t syncs, commits;
    char key[32];

    fixture_open(fixture);
    syncs = metrics_read(METRIC_STORE_SYNCS);
    commits = metrics_read(METRIC_STORE_BATCHES);
    for (int i = 0; i < 8; i++)
        clients[i] = fixture_client(fixture);
    for (int i = 0; i < 4000; i++) {
        snprintf(key, sizeof(key), "%05d", i);
        put_text(clients[i % 8], STORE_QUEUE, key, "value");
        store_submit(clients[i % 8], true);
    }
    for (int i = 0; i < 8; i++)
        fixture_wait(fixture, clients[i], 500);
    assert_int_equal(metrics_read(METRIC_STORE_BATCHES) - commits, 4000);
    assert_in_range(metrics_read(METRIC_STORE_SYNCS) - syncs, 1, 2000);
    for (int i = 0; i < 8; i++)
        store_client_close(clients[i]);
}

static void deletes_rows_by_prefix(void **state)
{
    struct fixture *fixture = *state;

    fixture_open(fixture);
    put_text(fixture->client, STORE_QUEUE, "a", "0");
    put_text(fixture->client, STORE_QUEUE, "b", "1");
    put_text(fixture->client, STORE_QUEUE, "b\xFF", "2");
    put_text(fixture->client, STORE_QUEUE, "bz", "3");
    put_text(fixture->client, STORE_QUEUE, "c", "4");
    store_submit(fixture->client, true);
    store_delete_prefix(fixture->client, STORE_QUEUE, SLICE_LITERAL("b"));
    put_text(fixture->client, STORE_QUEUE, "bb", "later");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    assert_string_equal(scan_text(fixture->store, STORE_QUEUE, "", ""), "a=0 bb=later c=4 ");
    store_delete_prefix(fixture->client, STORE_QUEUE, SLICE_LITERAL("b\xFF"));
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    fixture_reopen(fixture);
    assert_string_equal(scan_text(fixture->store, STORE_QUEUE, "", ""), "a=0 bb=later c=4 ");
}

static bool stop_at_two(void *context, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    return ++*(int *)context < 2;
}

static void scans_what_has_the_prefix_from_a_key_on(void **state)
{
    struct fixture *fixture = *state;
    int visited = 0;

    fixture_open(fixture);
    put_text(fixture->client, STORE_SUBSCRIPTION, "a1", "1");
    put_text(fixture->client, STORE_SUBSCRIPTION, "b1", "2");
    put_text(fixture->client, STORE_SUBSCRIPTION, "b2", "3");
    put_text(fixture->client, STORE_SUBSCRIPTION, "b3", "4");
    put_text(fixture->client, STORE_SUBSCRIPTION, "c1", "5");
    put_text(fixture->client, STORE_SUBSCRIPTION, "\xFF", "6");
    put_text(fixture->client, STORE_SUBSCRIPTION, "\xFF\xFF", "7");
    put_text(fixture->client, STORE_SESSION, "b4", "not this table");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    assert_string_equal(scan_text(fixture->store, STORE_SUBSCRIPTION, "b", ""), "b1=2 b2=3 b3=4 ");
    assert_string_equal(scan_text(fixture->store, STORE_SUBSCRIPTION, "b", "b2"), "b2=3 b3=4 ");
    assert_string_equal(scan_text(fixture->store, STORE_SUBSCRIPTION, "b", "a"), "b1=2 b2=3 b3=4 ");
    assert_string_equal(scan_text(fixture->store, STORE_SUBSCRIPTION, "b", "c"), "");
    assert_string_equal(scan_text(fixture->store, STORE_SUBSCRIPTION, "", "c"), "c1=5 \xFF=6 \xFF\xFF=7 ");
    assert_string_equal(scan_text(fixture->store, STORE_SUBSCRIPTION, "\xFF", ""), "\xFF=6 \xFF\xFF=7 ");
    assert_string_equal(scan_text(fixture->store, STORE_SUBSCRIPTION, "d", ""), "");
    assert_int_equal(
        store_scan(fixture->store, STORE_SUBSCRIPTION, SLICE_LITERAL(""), SLICE_LITERAL(""), stop_at_two, &visited), 0);
    assert_int_equal(visited, 2);
}

static void values_of_megabytes_come_back_whole(void **state)
{
    struct fixture *fixture = *state;
    size_t length = 6u << 20; /* more than one write gathers */
    char *large = malloc(length);
    struct slice part, value = {0};

    assert_non_null(large);
    for (size_t i = 0; i < length; i++)
        large[i] = (char)(i * 2654435761u >> 13);
    fixture_open(fixture);
    part = slice_make(large, length);
    for (int i = 0; i < 3; i++) {
        store_put(fixture->client, STORE_MESSAGE, slice_make("123", (size_t)i + 1), &part, 1);
        store_submit(fixture->client, i == 2);
    }
    fixture_wait(fixture, fixture->client, 3);
    fixture_reopen(fixture);
    assert_int_equal(store_get(fixture->store, STORE_MESSAGE, SLICE_LITERAL("12"), &value), 1);
    assert_true(slice_equal(value, part));
    slice_free(&value);
    free(large);
}

static void numbers_rise_and_are_never_given_twice(void **state)
{
    struct fixture *fixture = *state;
    uint64_t number, last = 0;

    for (int run = 0; run < 3; run++) {
        fixture_open(fixture);
        for (int i = 0; i < 1000; i++) {
            number = store_next_number(fixture->store);
            assert_true(number > last);
            last = number;
        }
        fixture_close(fixture);
    }
}

static void time_goes_on_over_runs(void **state)
{
    struct fixture *fixture = *state;
    uint64_t time;

    fixture_open(fixture);
    time = store_now_ms(fixture->store);
    assert_true(time > 0);
    fixture_reopen(fixture);
    assert_in_range(store_now_ms(fixture->store) - time, 0, 60000);
}

/* Congestion: the store thread is held up by a reader that keeps the database's lock? No: by more than it can write at once. */
static void more_than_the_limit_congests_until_it_is_written(void **state)
{
    struct fixture *fixture = *state;
    static char block[1u << 20];
    struct slice part = slice_make(block, sizeof(block));
    uint32_t told;

    fixture->options.queue_bytes_max = sizeof(block);
    fixture_open(fixture);
    assert_false(store_congested(fixture->store));
    told = fixture->told;
    for (uint32_t i = 0; i < 16; i++)
        store_put(fixture->client, STORE_MESSAGE, slice_make(&i, sizeof(i)), &part, 1);
    store_submit(fixture->client, true);
    while (store_congested(fixture->store))
        uv_run(&fixture->loop, UV_RUN_ONCE); /* told when it ends, or this never returns */
    fixture_wait(fixture, fixture->client, 1);
    assert_true(fixture->told > told);
}

static void a_closed_client_is_not_told(void **state)
{
    struct fixture *fixture = *state;
    struct store_client *other;

    fixture_open(fixture);
    other = fixture_client(fixture);
    put_text(other, STORE_USER, "k", "v");
    store_submit(other, true);
    store_client_close(other);
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    assert_int_equal(fixture->told, 1);
    assert_string_equal(get_text(fixture->store, STORE_USER, "k"), "v");
}

#define THREADS 4
#define THREAD_BATCHES 2000

static void *write_batches(void *context)
{
    struct store_client *client = context;

    for (uint32_t i = 0; i < THREAD_BATCHES; i++) {
        struct slice part = slice_make(&i, sizeof(i));

        store_put(client, STORE_USER, slice_make(&client, sizeof(client)), &part, 1);
        store_put(client, STORE_RULE, slice_make(&client, sizeof(client)), &part, 1);
        store_submit(client, i % 16 == 0);
    }
    return NULL;
}

static void threads_write_at_the_same_time(void **state)
{
    struct fixture *fixture = *state;
    struct store_client *clients[THREADS];
    pthread_t threads[THREADS];

    fixture_open(fixture);
    for (int i = 0; i < THREADS; i++)
        clients[i] = fixture_client(fixture);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_batches, clients[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        struct slice key = slice_make(&clients[i], sizeof(clients[i]));
        struct slice user = {0}, rule = {0};
        uint32_t last = THREAD_BATCHES - 1;

        fixture_wait(fixture, clients[i], THREAD_BATCHES);
        assert_int_equal(store_get(fixture->store, STORE_USER, key, &user), 1);
        assert_int_equal(store_get(fixture->store, STORE_RULE, key, &rule), 1);
        assert_true(slice_equal(user, slice_make(&last, sizeof(last))));
        assert_true(slice_equal(user, rule));
        slice_free(&user);
        slice_free(&rule);
        store_client_close(clients[i]);
    }
}

int main(void)
{
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        STORE_TEST(what_was_committed_is_there_after_it_was_opened_again),
        STORE_TEST(closing_writes_what_was_submitted_and_what_was_open),
        STORE_TEST(batches_take_effect_in_the_order_of_submission_over_clients),
        STORE_TEST(batches_are_numbered_and_an_empty_one_counts),
        STORE_TEST(one_sync_serves_many_batches),
        STORE_TEST(deletes_rows_by_prefix),
        STORE_TEST(scans_what_has_the_prefix_from_a_key_on),
        STORE_TEST(values_of_megabytes_come_back_whole),
        STORE_TEST(numbers_rise_and_are_never_given_twice),
        STORE_TEST(time_goes_on_over_runs),
        STORE_TEST(more_than_the_limit_congests_until_it_is_written),
        STORE_TEST(a_closed_client_is_not_told),
        STORE_TEST(threads_write_at_the_same_time),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
