/*
 * clock: the time, and its text forms.
 *
 * Deadlines and intervals use the monotonic clock; what people read uses the wall clock. A worker reads the time
 * once a turn (worker_now_ms()), so these are for what has no turn.
 * Thread: any.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* `YYYY-MM-DD hh:mm:ss.mmm` and its terminating zero. */
#define CLOCK_LOCAL_TEXT_BYTES 24
/* The longest uptime and its terminating zero. */
#define CLOCK_UPTIME_TEXT_BYTES 80

/* CLOCK_MONOTONIC: never steps; its zero is some moment before the start of the process. */
uint64_t clock_mono_ns(void);
uint64_t clock_mono_us(void);
uint64_t clock_mono_ms(void);
/* The same clock as of the last timer interrupt, 1 to 10 ms ago: some 5 ns a call, for asking often whether time went on. */
uint64_t clock_mono_tick_ns(void);

/* Since 1970, UTC; may step when somebody sets the clock. */
uint64_t clock_wall_us(void);
uint64_t clock_wall_ms(void);

/* Writes the local time of `wall_ms` as `YYYY-MM-DD hh:mm:ss.mmm`. The part before the dot is kept per thread for
 * the last second asked for, so that the time zone is looked up once a second. */
void clock_format_local(uint64_t wall_ms, char out_text[CLOCK_LOCAL_TEXT_BYTES]);

/* Writes `uptime_s` seconds as `2 days,3 hours, 4 minutes, 5 seconds`; units above the highest that is not zero
 * are left out. Returns the length. */
size_t clock_format_uptime(uint64_t uptime_s, char out_text[CLOCK_UPTIME_TEXT_BYTES]);

#endif
