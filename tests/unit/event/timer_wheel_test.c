/*
 * Behaviour of the timer wheel, on a clock of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "event/timer_wheel.h"

#define START_MS UINT64_C(1000007)
#define DAY_MS UINT64_C(86400000)

struct probe {
    struct timer timer;
    uint32_t fired_count;
    uint64_t fired_ms;
    uint32_t fired_order; /* place among all that fired */
};

static uint32_t fired_total;

static void note_due(struct timer *timer, uint64_t now_ms)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);

    probe->fired_count++;
    probe->fired_ms = now_ms;
    probe->fired_order = ++fired_total;
}

static struct probe make_probe(void)
{
    return (struct probe){.timer = {.on_due = note_due}};
}

static int set_up(void **state)
{
    fired_total = 0;
    *state = timer_wheel_new(START_MS);
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    timer_wheel_free(*state);
    return 0;
}

/* Lets time pass as a worker does: sleeps as long as the wheel says, until `end_ms`. Returns the number of advances. */
static uint32_t run_until(struct timer_wheel *wheel, uint64_t *now_ms, uint64_t end_ms)
{
    uint32_t advances = 0;

    while (*now_ms < end_ms) {
        int64_t wait_ms = timer_wheel_next_ms(wheel, *now_ms);

        if (wait_ms < 0 || (uint64_t)wait_ms > end_ms - *now_ms)
            *now_ms = end_ms;
        else
            *now_ms += (uint64_t)wait_ms;
        timer_wheel_advance(wheel, *now_ms);
        advances++;
    }
    return advances;
}

static void fires_at_the_deadline_or_up_to_one_tick_later(void **state)
{
    static const uint64_t waits_ms[] = {1,     9,     10,     11,     2549,   2550,      2560,        2561,
                                        60000, 65536, 655350, 655360, 655370, 167772160, 40 * DAY_MS, 400 * DAY_MS};
    struct timer_wheel *wheel = *state;
    uint64_t now_ms = START_MS;

    for (size_t i = 0; i < ARRAY_COUNT(waits_ms); i++) {
        for (uint64_t skew_ms = 0; skew_ms < 30; skew_ms += 7) {
            struct probe probe = make_probe();
            uint64_t deadline_ms;

            now_ms += skew_ms;
            timer_wheel_advance(wheel, now_ms);
            deadline_ms = now_ms + waits_ms[i];
            timer_start(wheel, &probe.timer, deadline_ms);
            run_until(wheel, &now_ms, deadline_ms + TIMER_WHEEL_TICK_MS);
            assert_int_equal(probe.fired_count, 1);
            assert_in_range(probe.fired_ms, deadline_ms, deadline_ms + TIMER_WHEEL_TICK_MS);
            assert_false(timer_running(&probe.timer));
        }
    }
}

static void does_not_fire_before_the_deadline(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe probe = make_probe();

    timer_start(wheel, &probe.timer, START_MS + 1234);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 1233), 0);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 1240), 1);
    assert_int_equal(probe.fired_count, 1);
}

static void fires_a_deadline_years_away(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe probe = make_probe();
    uint64_t now_ms = START_MS;
    uint64_t deadline_ms = START_MS + 5 * 365 * DAY_MS + 3;
    uint32_t advances;

    timer_start(wheel, &probe.timer, deadline_ms);
    run_until(wheel, &now_ms, deadline_ms - 1);
    assert_int_equal(probe.fired_count, 0);
    advances = run_until(wheel, &now_ms, deadline_ms + TIMER_WHEEL_TICK_MS);
    assert_int_equal(probe.fired_count, 1);
    assert_true(advances < 10);
}

static void keeps_a_timer_whose_deadline_never_comes(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe probe = make_probe();
    uint64_t now_ms = START_MS;

    timer_start(wheel, &probe.timer, UINT64_MAX);
    run_until(wheel, &now_ms, START_MS + 3000 * DAY_MS);
    assert_int_equal(probe.fired_count, 0);
    assert_true(timer_running(&probe.timer));
}

static void jumps_over_a_long_pause_in_one_advance(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe near = make_probe();
    struct probe far = make_probe();
    struct probe later = make_probe();

    timer_start(wheel, &far.timer, START_MS + 300 * DAY_MS);
    timer_start(wheel, &near.timer, START_MS + 50);
    timer_start(wheel, &later.timer, START_MS + 700 * DAY_MS);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 600 * DAY_MS), 2);
    assert_int_equal(near.fired_order, 1);
    assert_int_equal(far.fired_order, 2);
    assert_int_equal(later.fired_count, 0);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 700 * DAY_MS + TIMER_WHEEL_TICK_MS), 1);
}

static void fires_a_deadline_in_the_past_at_the_next_advance(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe probe = make_probe();

    timer_wheel_advance(wheel, START_MS + 5000);
    timer_start(wheel, &probe.timer, START_MS + 10);
    assert_int_equal(timer_wheel_next_ms(wheel, START_MS + 5000), 0);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 5000), 1);
    assert_int_equal(timer_wheel_next_ms(wheel, START_MS + 5000), -1);
}

static void moves_a_running_timer(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe probe = make_probe();

    timer_start(wheel, &probe.timer, START_MS + 100);
    timer_start(wheel, &probe.timer, START_MS + 90000);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 80000), 0);
    timer_start(wheel, &probe.timer, START_MS + 80500);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 80510), 1);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 100000), 0);
}

static void says_when_the_next_timer_is_due(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe one = make_probe();
    struct probe two = make_probe();
    int64_t wait_ms;

    assert_int_equal(timer_wheel_next_ms(wheel, START_MS), -1);
    timer_start(wheel, &one.timer, START_MS + 1000);
    assert_int_equal(timer_wheel_next_ms(wheel, START_MS), 1000);
    assert_int_equal(timer_wheel_next_ms(wheel, START_MS + 400), 600);
    assert_int_equal(timer_wheel_next_ms(wheel, START_MS + 4000), 0);
    timer_start(wheel, &two.timer, START_MS + 600000);
    assert_int_equal(timer_wheel_next_ms(wheel, START_MS), 1000);
    timer_stop(wheel, &one.timer);
    wait_ms = timer_wheel_next_ms(wheel, START_MS);
    assert_in_range(wait_ms, 1, 600000);
    timer_stop(wheel, &two.timer);
    assert_int_equal(timer_wheel_next_ms(wheel, START_MS), -1);
}

static void wakes_seldom_for_a_far_timer(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe probe = make_probe();
    uint64_t now_ms = START_MS;

    timer_start(wheel, &probe.timer, START_MS + 7 * DAY_MS);
    assert_true(run_until(wheel, &now_ms, START_MS + 7 * DAY_MS + TIMER_WHEEL_TICK_MS) <= 5);
    assert_int_equal(probe.fired_count, 1);
}

static void stops_a_timer_that_does_not_run(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe probe = make_probe();

    timer_stop(wheel, &probe.timer);
    timer_start(wheel, &probe.timer, START_MS + 10);
    timer_stop(wheel, &probe.timer);
    timer_stop(wheel, &probe.timer);
    assert_false(timer_running(&probe.timer));
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 1000), 0);
}

static void ignores_a_clock_that_went_back(void **state)
{
    struct timer_wheel *wheel = *state;
    struct probe probe = make_probe();

    timer_wheel_advance(wheel, START_MS + 1000);
    timer_start(wheel, &probe.timer, START_MS + 2000);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 500), 0);
    assert_int_equal(timer_wheel_advance(wheel, 0), 0);
    assert_int_equal(timer_wheel_advance(wheel, START_MS + 2000), 1);
}

/* Two timers due in the same advance; the first that fires acts upon the other. */
struct pair {
    struct timer_wheel *wheel;
    struct probe other;
    struct timer timer;
    uint64_t restart_ms; /* 0: stop the other */
    uint32_t fired_count;
};

static void act_on_the_other(struct timer *timer, uint64_t now_ms)
{
    struct pair *pair = CONTAINER_OF(timer, struct pair, timer);

    (void)now_ms;
    pair->fired_count++;
    if (pair->restart_ms == 0)
        timer_stop(pair->wheel, &pair->other.timer);
    else
        timer_start(pair->wheel, &pair->other.timer, pair->restart_ms);
}

static void lets_a_callback_stop_a_timer_due_in_the_same_advance(void **state)
{
    struct pair pair = {.wheel = *state, .other = make_probe(), .timer = {.on_due = act_on_the_other}};

    timer_start(pair.wheel, &pair.timer, START_MS + 20);
    timer_start(pair.wheel, &pair.other.timer, START_MS + 20);
    assert_int_equal(timer_wheel_advance(pair.wheel, START_MS + 40), 1);
    assert_int_equal(pair.other.fired_count, 0);
    assert_int_equal(timer_wheel_next_ms(pair.wheel, START_MS + 40), -1);
}

static void lets_a_callback_move_a_timer_due_in_the_same_advance(void **state)
{
    struct pair pair = {
        .wheel = *state, .other = make_probe(), .timer = {.on_due = act_on_the_other}, .restart_ms = START_MS + 500};

    timer_start(pair.wheel, &pair.timer, START_MS + 20);
    timer_start(pair.wheel, &pair.other.timer, START_MS + 20);
    assert_int_equal(timer_wheel_advance(pair.wheel, START_MS + 40), 1);
    assert_int_equal(timer_wheel_advance(pair.wheel, START_MS + 500), 1);
    assert_int_equal(pair.other.fired_ms, START_MS + 500);
}

struct restarter {
    struct timer_wheel *wheel;
    struct timer timer;
    uint64_t deadline_ms;
    uint32_t fired_count;
};

static void start_again(struct timer *timer, uint64_t now_ms)
{
    struct restarter *restarter = CONTAINER_OF(timer, struct restarter, timer);

    (void)now_ms;
    restarter->fired_count++;
    timer_start(restarter->wheel, timer, restarter->deadline_ms);
}

static void ends_an_advance_when_a_callback_starts_in_the_past(void **state)
{
    struct restarter restarter = {.wheel = *state, .timer = {.on_due = start_again}, .deadline_ms = START_MS};

    timer_start(restarter.wheel, &restarter.timer, START_MS + 10);
    assert_int_equal(timer_wheel_advance(restarter.wheel, START_MS + 100), 1);
    assert_int_equal(timer_wheel_advance(restarter.wheel, START_MS + 100), 1);
    assert_int_equal(restarter.fired_count, 2);
}

/* Many timers, started, moved and stopped at random, against a plain array as the model. */
static void agrees_with_a_plain_list_of_deadlines(void **state)
{
    enum { COUNT = 400, ROUNDS = 20000 };
    static struct probe probes[COUNT];
    struct timer_wheel *wheel = *state;
    uint64_t deadlines_ms[COUNT] = {0}; /* 0: stopped */
    uint64_t now_ms = START_MS;
    uint64_t random = 88172645463325252U;

    for (int i = 0; i < COUNT; i++)
        probes[i] = make_probe();
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t which;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        which = (uint32_t)(random >> 20) % COUNT;
        if (random % 8 < 5) {
            /* Waits of all magnitudes, from nothing to some hundred days. */
            uint64_t wait_ms = (random >> 30) >> (random % 34);

            deadlines_ms[which] = now_ms + wait_ms;
            timer_start(wheel, &probes[which].timer, deadlines_ms[which]);
        } else if (random % 8 == 5) {
            deadlines_ms[which] = 0;
            timer_stop(wheel, &probes[which].timer);
        } else {
            uint64_t before_ms = now_ms;
            int64_t wait_ms = timer_wheel_next_ms(wheel, now_ms);

            now_ms += (random >> 40) >> (random % 25);
            timer_wheel_advance(wheel, now_ms);
            for (int i = 0; i < COUNT; i++) {
                bool fired = probes[i].fired_count != 0;

                if (deadlines_ms[i] == 0 || deadlines_ms[i] > now_ms)
                    assert_false(fired);
                else if (deadlines_ms[i] + TIMER_WHEEL_TICK_MS <= now_ms)
                    assert_true(fired);
                if (fired) {
                    assert_int_equal(probes[i].fired_count, 1);
                    assert_false(timer_running(&probes[i].timer));
                    assert_true(wait_ms >= 0 && before_ms + (uint64_t)wait_ms <= now_ms);
                    deadlines_ms[i] = 0;
                    probes[i].fired_count = 0;
                } else {
                    assert_int_equal(timer_running(&probes[i].timer), deadlines_ms[i] != 0);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fires_at_the_deadline_or_up_to_one_tick_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(does_not_fire_before_the_deadline, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fires_a_deadline_years_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_a_timer_whose_deadline_never_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(jumps_over_a_long_pause_in_one_advance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fires_a_deadline_in_the_past_at_the_next_advance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(moves_a_running_timer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_when_the_next_timer_is_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wakes_seldom_for_a_far_timer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stops_a_timer_that_does_not_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ignores_a_clock_that_went_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lets_a_callback_stop_a_timer_due_in_the_same_advance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lets_a_callback_move_a_timer_due_in_the_same_advance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ends_an_advance_when_a_callback_starts_in_the_past, set_up, tear_down),
        cmocka_unit_test_setup_teardown(agrees_with_a_plain_list_of_deadlines, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
