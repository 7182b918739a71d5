/*
 * Behaviour of the counting of connects and disconnects.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "auth/flapping.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PERIOD_MS 1000u

static const struct flapping_threshold three = {.count = 3, .period_ms = PERIOD_MS};

static bool note(struct flapping *flapping, const char *client_id, enum flapping_event event, uint64_t now_ms)
{
    return flapping_note(flapping, slice_from_string(client_id), event, three, now_ms);
}

static int set_up(void **state)
{
    *state = flapping_new();
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    flapping_free(*state);
    return 0;
}

static void one_event_more_than_the_threshold_is_flapping(void **state)
{
    assert_false(note(*state, "c", FLAPPING_CONNECT, 0));
    assert_false(note(*state, "c", FLAPPING_DISCONNECT, 10));
    assert_false(note(*state, "c", FLAPPING_CONNECT, 20));
    assert_true(note(*state, "c", FLAPPING_DISCONNECT, 30));
}

static void counting_starts_anew_after_flapping(void **state)
{
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++)
            assert_false(note(*state, "c", FLAPPING_CONNECT, 5));
        assert_true(note(*state, "c", FLAPPING_CONNECT, 5));
        flapping_lift(*state, SLICE_LITERAL("c"));
    }
    assert_int_equal(flapping_count(*state), 0);
}

static void who_flaps_is_barred_until_that_is_lifted(void **state)
{
    for (int i = 0; i < 3; i++)
        note(*state, "c", FLAPPING_CONNECT, 0);
    assert_false(flapping_bars(*state, SLICE_LITERAL("c")));
    assert_true(note(*state, "c", FLAPPING_CONNECT, 0));
    for (int i = 0; i < 20; i++)
        assert_false(note(*state, "c", FLAPPING_DISCONNECT, 0)); /* told once */
    assert_true(flapping_bars(*state, SLICE_LITERAL("c")));
    assert_false(flapping_bars(*state, SLICE_LITERAL("d")));
    flapping_lift(*state, SLICE_LITERAL("d"));
    flapping_lift(*state, SLICE_LITERAL("c"));
    assert_false(flapping_bars(*state, SLICE_LITERAL("c")));
}

static void who_is_not_barred_keeps_its_count(void **state)
{
    for (int i = 0; i < 3; i++)
        note(*state, "c", FLAPPING_CONNECT, 0);
    flapping_lift(*state, SLICE_LITERAL("c"));
    assert_true(note(*state, "c", FLAPPING_CONNECT, 0));
}

static void each_event_extends_the_time(void **state)
{
    for (uint64_t i = 0; i < 3; i++)
        assert_false(note(*state, "c", FLAPPING_CONNECT, i * PERIOD_MS));
    assert_true(note(*state, "c", FLAPPING_CONNECT, 3u * PERIOD_MS));
}

static void an_event_after_the_period_starts_anew(void **state)
{
    for (uint64_t i = 0; i < 20; i++)
        assert_false(note(*state, "c", i % 2 == 0 ? FLAPPING_CONNECT : FLAPPING_DISCONNECT, i * (PERIOD_MS + 1)));
    assert_int_equal(flapping_count(*state), 0); /* the last one, a disconnect, has ended its record */
    assert_false(note(*state, "c", FLAPPING_CONNECT, 100 * PERIOD_MS));
    assert_int_equal(flapping_count(*state), 1);
}

static void clients_are_counted_one_by_one(void **state)
{
    char name[16];

    for (int event = 0; event < 3; event++) {
        for (int i = 0; i < 1000; i++) {
            snprintf(name, sizeof(name), "c%d", i);
            assert_false(note(*state, name, FLAPPING_CONNECT, 0));
        }
    }
    assert_int_equal(flapping_count(*state), 1000);
    assert_true(note(*state, "c500", FLAPPING_CONNECT, 0));
    flapping_lift(*state, SLICE_LITERAL("c500"));
    assert_int_equal(flapping_count(*state), 999);
}

static void cleaning_forgets_what_is_over(void **state)
{
    note(*state, "old", FLAPPING_CONNECT, 0);
    note(*state, "new", FLAPPING_CONNECT, 500);
    note(*state, "kept", FLAPPING_CONNECT, 0);
    note(*state, "kept", FLAPPING_DISCONNECT, 400);
    flapping_clean(*state, PERIOD_MS);
    assert_int_equal(flapping_count(*state), 3);
    flapping_clean(*state, PERIOD_MS + 1);
    assert_int_equal(flapping_count(*state), 2);
    flapping_clean(*state, 2 * PERIOD_MS);
    assert_int_equal(flapping_count(*state), 0);
    assert_false(note(*state, "new", FLAPPING_CONNECT, 2 * PERIOD_MS));
    assert_int_equal(flapping_count(*state), 1);
}

static void records_are_bounded_and_the_quietest_client_makes_room(void **state)
{
    char name[16];

    for (int i = 0; i < 3; i++)
        assert_false(note(*state, "quiet", FLAPPING_CONNECT, 0));
    for (uint32_t i = 0; i < 2 * FLAPPING_RECORDS_MAX; i++) {
        snprintf(name, sizeof(name), "c%u", i);
        note(*state, name, FLAPPING_CONNECT, 1);
    }
    assert_in_range(flapping_count(*state), FLAPPING_RECORDS_MAX * 9 / 10, FLAPPING_RECORDS_MAX);
    assert_false(note(*state, "quiet", FLAPPING_CONNECT, 2)); /* its record had gone */
}

static void a_threshold_of_zero_is_met_at_once(void **state)
{
    assert_true(flapping_note(*state, SLICE_LITERAL("c"), FLAPPING_CONNECT, (struct flapping_threshold){0, 1000}, 0));
}

static void *note_many(void *context)
{
    uint32_t *flapped;
    char name[16];

    flapped = calloc(1, sizeof(*flapped));
    assert_non_null(flapped);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "c%d", i % 50);
        *flapped += note(context, name, FLAPPING_CONNECT, 0);
    }
    return flapped;
}

static void threads_count_together(void **state)
{
    pthread_t threads[4];
    uint32_t sum = 0;

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, note_many, *state), 0);
    for (int i = 0; i < 4; i++) {
        void *flapped;
        assert_int_equal(pthread_join(threads[i], &flapped), 0);
        sum += *(uint32_t *)flapped;
        free(flapped);
    }
    assert_int_equal(sum, 50); /* of each client the fourth event */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_event_more_than_the_threshold_is_flapping),
        TEST(counting_starts_anew_after_flapping),
        TEST(who_flaps_is_barred_until_that_is_lifted),
        TEST(who_is_not_barred_keeps_its_count),
        TEST(each_event_extends_the_time),
        TEST(an_event_after_the_period_starts_anew),
        TEST(clients_are_counted_one_by_one),
        TEST(cleaning_forgets_what_is_over),
        TEST(records_are_bounded_and_the_quietest_client_makes_room),
        TEST(a_threshold_of_zero_is_met_at_once),
        TEST(threads_count_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
