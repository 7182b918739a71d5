/*
 * clock: the time, and its text forms. clock_gettime() is answered in user space (vDSO), some 20 ns a call.
 */
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SECOND_TEXT_LENGTH = 19 }; /* YYYY-MM-DD hh:mm:ss */

static uint64_t clock_read_ns(clockid_t which)
{
    struct timespec now;

    clock_gettime(which, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_mono_us(void)
{
    return clock_read_ns(CLOCK_MONOTONIC) / 1000U;
}

uint64_t clock_mono_ms(void)
{
    return clock_read_ns(CLOCK_MONOTONIC) / 1000000U;
}

uint64_t clock_mono_tick_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t clock_wall_us(void)
{
    return clock_read_ns(CLOCK_REALTIME) / 1000U;
}

uint64_t clock_wall_ms(void)
{
    return clock_read_ns(CLOCK_REALTIME) / 1000000U;
}

void clock_format_local(uint64_t wall_ms, char out_text[CLOCK_LOCAL_TEXT_BYTES])
{
    static _Thread_local uint64_t cached_s = UINT64_MAX;
    static _Thread_local char cached[SECOND_TEXT_LENGTH + 1];
    uint64_t second = wall_ms / 1000U;
    uint32_t millisecond = (uint32_t)(wall_ms % 1000U);

    if (second != cached_s) {
        time_t when = (time_t)second;
        struct tm local;

        /* A year of more than four digits does not fit: such a time is shown as the first of all. */
        if (localtime_r(&when, &local) == NULL ||
            strftime(cached, sizeof(cached), "%Y-%m-%d %H:%M:%S", &local) != SECOND_TEXT_LENGTH)
            memcpy(cached, "0000-00-00 00:00:00", sizeof(cached));
        cached_s = second;
    }
    memcpy(out_text, cached, SECOND_TEXT_LENGTH);
    out_text[19] = '.';
    out_text[20] = (char)('0' + millisecond / 100U);
    out_text[21] = (char)('0' + millisecond / 10U % 10U);
    out_text[22] = (char)('0' + millisecond % 10U);
    out_text[23] = '\0';
}

size_t clock_format_uptime(uint64_t uptime_s, char out_text[CLOCK_UPTIME_TEXT_BYTES])
{
    uint64_t days = uptime_s / 86400U;
    uint64_t hours = uptime_s / 3600U % 24U;
    uint64_t minutes = uptime_s / 60U % 60U;
    uint64_t seconds = uptime_s % 60U;
    int length;

    if (days > 0)
        length = snprintf(out_text, CLOCK_UPTIME_TEXT_BYTES,
                          "%" PRIu64 " days,%" PRIu64 " hours, %" PRIu64 " minutes, %" PRIu64 " seconds", days, hours,
                          minutes, seconds);
    else if (hours > 0)
        length = snprintf(out_text, CLOCK_UPTIME_TEXT_BYTES,
                          "%" PRIu64 " hours, %" PRIu64 " minutes, %" PRIu64 " seconds", hours, minutes, seconds);
    else if (minutes > 0)
        length = snprintf(out_text, CLOCK_UPTIME_TEXT_BYTES, "%" PRIu64 " minutes, %" PRIu64 " seconds", minutes,
                          seconds);
    else
        length = snprintf(out_text, CLOCK_UPTIME_TEXT_BYTES, "%" PRIu64 " seconds", seconds);
    return (size_t)length;
}
