/*
 * timer_wheel: many timers for little; a hashed, hierarchical wheel per worker (Varghese and Lauck).
 *
 * A timer is embedded in its owner: starting, moving and stopping take constant time and allocate nothing. The
 * resolution is TIMER_WHEEL_TICK_MS: a timer fires at its deadline or up to one tick later, never earlier.
 * Belongs to one worker. Thread: owner.
 */
#ifndef EVENT_TIMER_WHEEL_H
#define EVENT_TIMER_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define TIMER_WHEEL_TICK_MS 10

struct timer {
    struct timer *next; /* NULL: not started */
    struct timer *prev;
    uint64_t deadline_ms;
    void (*on_due)(struct timer *timer, uint64_t now_ms); /* set by the owner before starting */
};

struct timer_wheel;

/* An empty wheel whose time starts at `now_ms`. NULL when memory is short. */
struct timer_wheel *timer_wheel_new(uint64_t now_ms);
/* Timers still in it are dropped without a call. NULL is fine. */
void timer_wheel_free(struct timer_wheel *wheel);
/* Starts the timer, or moves it if it runs. A deadline in the past fires at the next advance. */
void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms);
/* A timer that is not running is fine. */
void timer_stop(struct timer_wheel *wheel, struct timer *timer);
static inline bool timer_running(const struct timer *timer)
{
    return timer->next != 0;
}
/* Runs what is due at `now_ms`; a callback may start and stop any timer. Returns the number of timers run. */
uint32_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);
/* Milliseconds until the next timer may be due (a lower bound): 0..UINT32_MAX; -1 when the wheel is empty. */
int64_t timer_wheel_next_ms(const struct timer_wheel *wheel, uint64_t now_ms);

#endif
