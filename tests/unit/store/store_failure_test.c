/*
 * Behaviour of the store on a disk that fails: nothing is lost, nothing comes out of order, it recovers by itself.
 */
#include "disk_fault.h"
#include "store_fixture.h"

#include "base/metrics.h"

#include <errno.h>

static int tear_down(void **state)
{
    disk_fault_set(DISK_WORKS, 0);
    return fixture_tear_down(state);
}

/* With `kind`, what is submitted waits and the state says why; then it is there, in order. */
static void fails_and_recovers(struct fixture *fixture, enum disk_fault kind, int error, enum store_state expected)
{
    char problem[256], key[16];
    uint32_t told;

    fixture_open(fixture);
    put_text(fixture->client, STORE_USER, "key", "before");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    told = fixture->told;
    disk_fault_set(kind, error);
    for (int i = 0; i < 20; i++) {
        put_text(fixture->client, STORE_USER, "key", i == 19 ? "last" : "between");
        snprintf(key, sizeof(key), "%02d", i);
        put_text(fixture->client, STORE_QUEUE, key, "");
        store_submit(fixture->client, true);
    }
    fixture_wait_for_state(fixture, expected);
    while (fixture->told == told)
        uv_run(&fixture->loop, UV_RUN_ONCE);
    store_problem(fixture->store, problem, sizeof(problem));
    assert_non_null(strstr(problem, strerror(error)));
    assert_true(store_committed(fixture->client) < 21);
    store_delete(fixture->client, STORE_QUEUE, SLICE_LITERAL("07"));
    store_submit(fixture->client, false);
    disk_fault_set(DISK_WORKS, 0);
    fixture_wait_for_state(fixture, STORE_OPEN);
    fixture_wait(fixture, fixture->client, 22);
    store_problem(fixture->store, problem, sizeof(problem));
    assert_string_equal(problem, "");
    for (int run = 0; run < 2; run++) {
        assert_string_equal(get_text(fixture->store, STORE_USER, "key"), "last");
        assert_string_equal(scan_text(fixture->store, STORE_QUEUE, "0", ""), "00= 01= 02= 03= 04= 05= 06= 08= 09= ");
        assert_string_equal(get_text(fixture->store, STORE_QUEUE, "19"), "");
        fixture_reopen(fixture);
    }
}

static void no_space_left(void **state)
{
    fails_and_recovers(*state, DISK_WRITES_FAIL, ENOSPC, STORE_FULL);
}

static void a_quota_is_used_up(void **state)
{
    fails_and_recovers(*state, DISK_WRITES_FAIL, EDQUOT, STORE_FULL);
}

static void writes_end_in_the_middle(void **state)
{
    fails_and_recovers(*state, DISK_WRITES_STOP, ENOSPC, STORE_FULL);
}

static void the_disk_is_read_only(void **state)
{
    fails_and_recovers(*state, DISK_WRITES_FAIL, EROFS, STORE_FAILED);
}

static void the_disk_does_not_sync(void **state)
{
    fails_and_recovers(*state, DISK_SYNCS_FAIL, EIO, STORE_FAILED);
}

static void the_directory_vanishes_and_comes_back(void **state)
{
    struct fixture *fixture = *state;
    char away[96];

    fixture_open(fixture);
    put_text(fixture->client, STORE_USER, "key", "before");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    snprintf(away, sizeof(away), "%s-away", fixture->dir);
    assert_int_equal(rename(fixture->dir, away), 0);
    disk_fault_set(DISK_SYNCS_FAIL, EIO); /* or it would go on in the open files */
    put_text(fixture->client, STORE_USER, "key", "after");
    store_submit(fixture->client, true);
    fixture_wait_for_state(fixture, STORE_FAILED);
    disk_fault_set(DISK_WORKS, 0);
    assert_int_equal(rename(away, fixture->dir), 0);
    fixture_wait(fixture, fixture->client, 2);
    assert_string_equal(get_text(fixture->store, STORE_USER, "key"), "after");
}

static void too_little_free_space_is_full_but_writes_go_on(void **state)
{
    struct fixture *fixture = *state;
    char problem[256];

    fixture->options.free_bytes_min = UINT64_C(1) << 60;
    fixture_open(fixture);
    fixture_wait_for_state(fixture, STORE_FULL);
    store_problem(fixture->store, problem, sizeof(problem));
    assert_non_null(strstr(problem, "are free"));
    put_text(fixture->client, STORE_USER, "key", "value");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    assert_string_equal(get_text(fixture->store, STORE_USER, "key"), "value");
    assert_int_equal(store_state(fixture->store), STORE_FULL);
}

static void a_disk_that_fails_to_the_end_does_not_hold_up_closing(void **state)
{
    struct fixture *fixture = *state;

    fixture_open(fixture);
    put_text(fixture->client, STORE_USER, "key", "acknowledged");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    disk_fault_set(DISK_WRITES_FAIL, EIO);
    put_text(fixture->client, STORE_USER, "key", "never acknowledged");
    store_submit(fixture->client, true);
    fixture_close(fixture);
    disk_fault_set(DISK_WORKS, 0);
    fixture_open(fixture);
    assert_string_equal(get_text(fixture->store, STORE_USER, "key"), "acknowledged");
}

#define CLIENTS 3
#define FAILURES 3u
#define ROUND_BATCHES 5u

/* Batch i moves a row from one table to the other and counts. */
static void move_row(struct store_client *client, uint32_t i)
{
    uint8_t key[9];

    memcpy(key, &client, sizeof(client));
    key[8] = (uint8_t)(i % 10);
    store_put(client, i / 10 % 2 == 0 ? STORE_QUEUE : STORE_INFLIGHT, slice_make(key, 9), NULL, 0);
    store_delete(client, i / 10 % 2 == 0 ? STORE_INFLIGHT : STORE_QUEUE, slice_make(key, 9));
    store_put(client, STORE_USER, slice_make(key, 8), &(struct slice){(const uint8_t *)&i, sizeof(i)}, 1);
    store_submit(client, i % 7 == 0);
}

static bool count_row(void *context, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

static uint32_t count_rows(struct store *store, enum store_table table)
{
    uint32_t count = 0;

    assert_int_equal(store_scan(store, table, SLICE_LITERAL(""), SLICE_LITERAL(""), count_row, &count), 0);
    return count;
}

static void failures_now_and_then_lose_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct store_client *clients[CLIENTS];
    uint64_t failures = metrics_read(METRIC_STORE_FAILURES);
    uint32_t last = 0;

    fixture_open(fixture);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = fixture_client(fixture);
    disk_fault_set(DISK_SOME_FAIL, EIO);
    for (uint32_t i = 0; i % 20 != 0 || i == 0 || metrics_read(METRIC_STORE_FAILURES) < failures + FAILURES; i++) {
        for (int j = 0; j < CLIENTS; j++)
            move_row(clients[j], i);
        for (int j = 0; j < CLIENTS && (i + 1) % ROUND_BATCHES == 0; j++)
            fixture_wait(fixture, clients[j], i + 1);
        last = i;
    }
    disk_fault_set(DISK_WORKS, 0);
    fixture_wait_for_state(fixture, STORE_OPEN);
    for (int run = 0; run < 2; run++) {
        for (int i = 0; i < CLIENTS; i++) {
            struct slice value = {0};

            assert_int_equal(store_get(fixture->store, STORE_USER, slice_make(&clients[i], 8), &value), 1);
            assert_true(slice_equal(value, slice_make(&last, sizeof(last))));
            slice_free(&value);
            if (run == 0)
                store_client_close(clients[i]);
        }
        assert_int_equal(count_rows(fixture->store, STORE_QUEUE), 0);
        assert_int_equal(count_rows(fixture->store, STORE_INFLIGHT), CLIENTS * 10);
        fixture_reopen(fixture);
    }
}

int main(void)
{
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORE_TEST(no_space_left),
        STORE_TEST(a_quota_is_used_up),
        STORE_TEST(writes_end_in_the_middle),
        STORE_TEST(the_disk_is_read_only),
        STORE_TEST(the_disk_does_not_sync),
        STORE_TEST(the_directory_vanishes_and_comes_back),
        STORE_TEST(too_little_free_space_is_full_but_writes_go_on),
        STORE_TEST(a_disk_that_fails_to_the_end_does_not_hold_up_closing),
        STORE_TEST(failures_now_and_then_lose_nothing),
    };

    return cmocka_run_group_tests_name("store_failure", tests, NULL, NULL);
}
