/*
 * Behaviour of the store's clock, with clocks of the test's own: runs in one boot, a reboot, a wall clock that is set, a machine that sleeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "store/store_clock_internal.h"

#define HOUR_MS 3600000u
#define WALL_MS UINT64_C(1700000000000)

static struct store_clock_reading reading(const char *boot, uint64_t boot_ms, uint64_t wall_ms)
{
    struct store_clock_reading now = {.mono_ms = boot_ms - 500, .boot_ms = boot_ms, .wall_ms = wall_ms};

    snprintf((char *)now.boot_id, sizeof(now.boot_id), "%s", boot);
    return now;
}

/* One run: begins at `start` (with `record`, unless NULL), saves at `end` into `record`. Returns the store's time at both. */
struct run {
    uint64_t began_ms;
    uint64_t ended_ms;
};

static struct run run_clock(bool first, uint8_t *record, struct store_clock_reading start,
                            struct store_clock_reading end)
{
    struct store_clock clock;
    struct run run;

    store_clock_start(&clock, first ? NULL : record, &start);
    run.began_ms = store_clock_at(&clock, start.mono_ms);
    store_clock_follow(&clock, &end);
    run.ended_ms = store_clock_at(&clock, end.mono_ms);
    store_clock_record(&clock, &end, record);
    return run;
}

static void a_first_run_begins_somewhere(void **state)
{
    uint8_t record[STORE_CLOCK_RECORD_BYTES];
    struct run run = run_clock(true, record, reading("a", 1000, WALL_MS), reading("a", 5000, WALL_MS + 4000));

    (void)state;
    assert_true(run.began_ms > 0);
    assert_int_equal(run.ended_ms - run.began_ms, 4000);
}

static void in_the_same_boot_the_wall_clock_does_not_matter(void **state)
{
    uint8_t record[STORE_CLOCK_RECORD_BYTES];
    struct run first = run_clock(true, record, reading("a", 1000, WALL_MS), reading("a", 5000, WALL_MS + 4000));
    struct run second = run_clock(false, record, reading("a", 65000, WALL_MS - HOUR_MS), reading("a", 66000, 7));
    struct run third = run_clock(false, record, reading("a", 67000, WALL_MS * 2), reading("a", 67000, WALL_MS * 2));

    (void)state;
    assert_int_equal(second.began_ms - first.ended_ms, 60000);
    assert_int_equal(second.ended_ms - second.began_ms, 1000);
    assert_int_equal(third.began_ms - second.ended_ms, 1000);
}

static void over_a_reboot_the_wall_clock_says_what_has_passed(void **state)
{
    uint8_t record[STORE_CLOCK_RECORD_BYTES];
    struct run first = run_clock(true, record, reading("a", 1000, WALL_MS), reading("a", 5000, WALL_MS + 4000));
    struct run second = run_clock(false, record, reading("b", 90000, WALL_MS + HOUR_MS),
                                  reading("b", 90000, WALL_MS + HOUR_MS));

    (void)state;
    assert_int_equal(second.began_ms - first.ended_ms, HOUR_MS - 4000);
}

static void a_boot_clock_that_is_behind_means_a_reboot(void **state)
{
    uint8_t record[STORE_CLOCK_RECORD_BYTES];
    struct run first = run_clock(true, record, reading("", 50000, WALL_MS), reading("", 50000, WALL_MS));
    struct run second = run_clock(false, record, reading("", 2000, WALL_MS + 9000), reading("", 2000, WALL_MS + 9000));

    (void)state;
    assert_int_equal(second.began_ms - first.ended_ms, 9000);
}

static void a_wall_clock_set_back_over_a_reboot_stops_the_time_at_worst(void **state)
{
    uint8_t record[STORE_CLOCK_RECORD_BYTES];
    struct run first = run_clock(true, record, reading("a", 1000, WALL_MS), reading("a", 5000, WALL_MS + 4000));
    struct run second = run_clock(false, record, reading("b", 3000, 1000), reading("b", 4000, 2000));

    (void)state;
    assert_int_equal(second.began_ms, first.ended_ms);
    assert_int_equal(second.ended_ms - second.began_ms, 1000);
}

static void a_wall_clock_set_while_it_runs_changes_nothing_but_asks_for_a_record(void **state)
{
    struct store_clock_reading start = reading("a", 1000, 5000), same = reading("a", 3000, 7900);
    struct store_clock_reading set = reading("a", 4000, WALL_MS), back = reading("a", 5000, 6000);
    struct store_clock clock;
    uint8_t record[STORE_CLOCK_RECORD_BYTES];
    uint64_t began_ms;

    (void)state;
    store_clock_start(&clock, NULL, &start);
    began_ms = store_clock_at(&clock, start.mono_ms);
    assert_false(store_clock_follow(&clock, &same)); /* 900 ms: the clock is being adjusted */
    assert_true(store_clock_follow(&clock, &set));
    assert_true(store_clock_follow(&clock, &set)); /* until it is recorded */
    store_clock_record(&clock, &set, record);
    assert_false(store_clock_follow(&clock, &set));
    assert_int_equal(store_clock_at(&clock, set.mono_ms) - began_ms, 3000);
    assert_true(store_clock_follow(&clock, &back));
    assert_int_equal(store_clock_at(&clock, back.mono_ms) - began_ms, 4000);
    /* The record has the wall clock as it was set: a reboot now does not add what it was set forward by. */
    start = reading("b", 1000, WALL_MS + 2000);
    store_clock_start(&clock, record, &start);
    assert_int_equal(store_clock_at(&clock, start.mono_ms) - began_ms, 5000);
}

static void time_asleep_counts(void **state)
{
    struct store_clock_reading start = reading("a", 1000, WALL_MS),
                               awake = reading("a", 1000 + HOUR_MS, WALL_MS + HOUR_MS);
    struct store_clock clock;
    uint64_t began_ms;

    (void)state;
    store_clock_start(&clock, NULL, &start);
    began_ms = store_clock_at(&clock, start.mono_ms);
    awake.mono_ms = start.mono_ms + 10; /* stood still meanwhile */
    assert_false(store_clock_follow(&clock, &awake));
    assert_int_equal(store_clock_at(&clock, awake.mono_ms) - began_ms, HOUR_MS);
    store_clock_follow(&clock, &awake);
    assert_int_equal(store_clock_at(&clock, awake.mono_ms) - began_ms, HOUR_MS);
}

static void the_systems_clocks_agree(void **state)
{
    struct store_clock_reading one, two;

    (void)state;
    store_clock_read(&one);
    store_clock_read(&two);
    assert_true(one.mono_ms > 0 && one.boot_ms + 1 >= one.mono_ms && one.wall_ms > 0);
    assert_true(two.mono_ms >= one.mono_ms && two.boot_ms >= one.boot_ms);
    assert_memory_equal(one.boot_id, two.boot_id, sizeof(one.boot_id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_run_begins_somewhere),
        cmocka_unit_test(in_the_same_boot_the_wall_clock_does_not_matter),
        cmocka_unit_test(over_a_reboot_the_wall_clock_says_what_has_passed),
        cmocka_unit_test(a_boot_clock_that_is_behind_means_a_reboot),
        cmocka_unit_test(a_wall_clock_set_back_over_a_reboot_stops_the_time_at_worst),
        cmocka_unit_test(a_wall_clock_set_while_it_runs_changes_nothing_but_asks_for_a_record),
        cmocka_unit_test(time_asleep_counts),
        cmocka_unit_test(the_systems_clocks_agree),
    };

    return cmocka_run_group_tests_name("store_clock", tests, NULL, NULL);
}
