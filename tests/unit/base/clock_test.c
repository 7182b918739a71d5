/*
 * Behaviour of the clock's text forms.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/compiler.h"

static void formats_local_time_with_milliseconds(void **state)
{
    char text[CLOCK_LOCAL_TEXT_BYTES];

    (void)state;
    clock_format_local(UINT64_C(1579082692123), text);
    assert_string_equal(text, "2020-01-15 12:04:52.123");
    clock_format_local(UINT64_C(1579082692007), text);
    assert_string_equal(text, "2020-01-15 12:04:52.007");
}

static void follows_the_second_forth_and_back(void **state)
{
    char text[CLOCK_LOCAL_TEXT_BYTES];

    (void)state;
    clock_format_local(UINT64_C(1579082692999), text);
    assert_string_equal(text, "2020-01-15 12:04:52.999");
    clock_format_local(UINT64_C(1579082693000), text);
    assert_string_equal(text, "2020-01-15 12:04:53.000");
    clock_format_local(UINT64_C(1579082692000), text);
    assert_string_equal(text, "2020-01-15 12:04:52.000");
    clock_format_local(0, text);
    assert_string_equal(text, "1970-01-01 02:00:00.000");
}

static void shows_a_time_beyond_all_calendars_as_zero(void **state)
{
    char text[CLOCK_LOCAL_TEXT_BYTES];

    (void)state;
    clock_format_local(UINT64_MAX, text);
    assert_string_equal(text, "0000-00-00 00:00:00.615");
}

static void formats_the_uptime_as_the_original_does(void **state)
{
    static const struct {
        uint64_t uptime_s;
        const char *text;
    } rows[] = {
        {0, "0 seconds"},
        {59, "59 seconds"},
        {60, "1 minutes, 0 seconds"},
        {3599, "59 minutes, 59 seconds"},
        {3605, "1 hours, 0 minutes, 5 seconds"},
        {7384, "2 hours, 3 minutes, 4 seconds"},
        {86400, "1 days,0 hours, 0 minutes, 0 seconds"},
        {86400 * 400 + 3661, "400 days,1 hours, 1 minutes, 1 seconds"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char text[CLOCK_UPTIME_TEXT_BYTES];

        assert_int_equal(clock_format_uptime(rows[i].uptime_s, text), strlen(rows[i].text));
        assert_string_equal(text, rows[i].text);
    }
}

static void fits_the_longest_uptime(void **state)
{
    char text[CLOCK_UPTIME_TEXT_BYTES];

    (void)state;
    assert_true(clock_format_uptime(UINT64_MAX, text) < sizeof(text));
    assert_string_equal(text, "213503982334601 days,7 hours, 0 minutes, 15 seconds");
}

static void agrees_across_units(void **state)
{
    uint64_t ms = clock_mono_ms();
    uint64_t us = clock_mono_us();
    uint64_t ns = clock_mono_ns();

    (void)state;
    assert_true(us / 1000 >= ms);
    assert_true(ns / 1000 >= us);
    assert_true(ns / 1000000 - ms < 60000);
    ms = clock_wall_ms();
    us = clock_wall_us();
    assert_true(us / 1000 >= ms && us / 1000 - ms < 60000);
    assert_true(ms / 1000 <= (uint64_t)time(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_local_time_with_milliseconds),
        cmocka_unit_test(follows_the_second_forth_and_back),
        cmocka_unit_test(shows_a_time_beyond_all_calendars_as_zero),
        cmocka_unit_test(formats_the_uptime_as_the_original_does),
        cmocka_unit_test(fits_the_longest_uptime),
        cmocka_unit_test(agrees_across_units),
    };

    setenv("TZ", "XXX-2", 1); /* two hours east, whatever the machine's own zone */
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
