/*
 * timer_wheel: many timers for little; a hierarchical wheel per worker.
 *
 * Time is counted in ticks since the wheel was made. LEVELS wheels of SLOTS slots each: level 0 has one slot per tick,
 * each slot of level n stands for a whole turn of level n - 1. A timer goes to the lowest level whose turn reaches its
 * tick. When time enters a slot of a higher level, that slot is cascaded: its timers are placed anew, further down. So
 * a timer is placed at most LEVELS times, plus once per 497 days for a deadline beyond the last level's turn.
 *
 * A slot is a ring of timers around a sentinel. A bitmap per level says which slots hold timers: the next slot of
 * interest is found with a few bit scans, so an idle worker neither wakes for empty ticks nor walks through them.
 *
 * Always: a bit is set exactly when its slot holds a timer; every timer in level n has its tick after
 * `current`; timers that are due already wait in the list `due` for the next advance.
 */
#include "event/timer_wheel.h"

#include "base/compiler.h"

#include <stddef.h>
#include <stdlib.h>

#define LEVEL_BITS 8U
#define SLOTS (1U << LEVEL_BITS)
#define SLOT_MASK (SLOTS - 1U)
#define LEVELS 4U
#define WORDS (SLOTS / 64U)
/* The last tick that a timer can wait for without being placed anew, seen from the current one. */
#define REACH_MAX ((UINT64_C(1) << (LEVEL_BITS * LEVELS)) - 1U)

struct timer_wheel {
    uint64_t base_ms; /* time of tick 0 */
    uint64_t current; /* the last tick that was run */
    bool advancing;
    uint64_t occupied[LEVELS][WORDS];
    struct timer due;     /* sentinel: deadlines in the past, run by the next advance */
    struct timer expired; /* sentinel: taken out by the present advance and not run yet */
    struct timer slots[LEVELS][SLOTS];
};

static void ring_init(struct timer *sentinel)
{
    sentinel->next = sentinel;
    sentinel->prev = sentinel;
}

static bool ring_empty(const struct timer *sentinel)
{
    return sentinel->next == sentinel;
}

static void ring_append(struct timer *sentinel, struct timer *timer)
{
    timer->next = sentinel;
    timer->prev = sentinel->prev;
    sentinel->prev->next = timer;
    sentinel->prev = timer;
}

/* Moves all timers of `from` to the end of `to`. */
static void ring_splice(struct timer *to, struct timer *from)
{
    if (ring_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    ring_init(from);
}

/* The first tick at which `deadline_ms` has been reached. */
static uint64_t tick_of_deadline(const struct timer_wheel *wheel, uint64_t deadline_ms)
{
    uint64_t wait_ms;

    if (deadline_ms <= wheel->base_ms)
        return 0;
    wait_ms = deadline_ms - wheel->base_ms;
    return wait_ms / TIMER_WHEEL_TICK_MS + (wait_ms % TIMER_WHEEL_TICK_MS != 0);
}

/* Puts the timer, which is in no ring, where its tick belongs. `tick` is not before `current`. */
static void place(struct timer_wheel *wheel, struct timer *timer, uint64_t tick)
{
    uint64_t distance = tick - wheel->current;
    uint32_t level = 0;
    uint32_t slot;

    if (distance > REACH_MAX) {
        distance = REACH_MAX;
        tick = wheel->current + REACH_MAX;
    }
    while (distance >> (LEVEL_BITS * (level + 1)) != 0)
        level++;
    slot = (uint32_t)(tick >> (LEVEL_BITS * level)) & SLOT_MASK;
    ring_append(&wheel->slots[level][slot], timer);
    wheel->occupied[level][slot / 64] |= UINT64_C(1) << (slot % 64);
}

static void mark_empty(struct timer_wheel *wheel, uint32_t level, uint32_t slot)
{
    wheel->occupied[level][slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

/* Takes the timer out of its ring. When it was the last one of a slot, both its neighbours are the slot's sentinel,
 * whose address tells which bit to clear. */
static void unlink_timer(struct timer_wheel *wheel, struct timer *timer)
{
    struct timer *left = timer->prev;
    uintptr_t offset = (uintptr_t)left - (uintptr_t)wheel->slots; /* large for what lies before the slots */

    left->next = timer->next;
    timer->next->prev = left;
    timer->next = NULL;
    timer->prev = NULL;
    if (left->next == left && offset < sizeof(wheel->slots)) {
        uint32_t index = (uint32_t)(offset / sizeof(struct timer));

        mark_empty(wheel, index / SLOTS, index % SLOTS);
    }
}

/* How many slots after `slot` the next occupied one of the level is: 1..SLOTS (SLOTS: `slot` itself); 0: none is. */
static uint32_t distance_to_occupied(const uint64_t words[WORDS], uint32_t slot)
{
    uint32_t start = (slot + 1) & SLOT_MASK;

    for (uint32_t i = 0; i <= WORDS; i++) {
        uint32_t word = (start / 64 + i) % WORDS;
        uint64_t bits = words[word];

        if (i == 0)
            bits &= ~UINT64_C(0) << (start % 64);
        else if (i == WORDS) /* the start's word again, now the part before it */
            bits &= ~(~UINT64_C(0) << (start % 64));
        if (bits != 0)
            return ((word * 64 + (uint32_t)__builtin_ctzll(bits) - start) & SLOT_MASK) + 1;
    }
    return 0;
}

/* The next tick at which a timer is due or a slot is to be cascaded; UINT64_MAX: the levels are empty. */
static uint64_t next_event(const struct timer_wheel *wheel)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t level = 0; level < LEVELS; level++) {
        uint32_t shift = LEVEL_BITS * level;
        uint64_t turn = wheel->current >> shift;
        uint32_t distance = distance_to_occupied(wheel->occupied[level], (uint32_t)turn & SLOT_MASK);
        uint64_t tick = (turn + distance) << shift;

        if (distance != 0 && tick < next)
            next = tick;
    }
    return next;
}

/* Places the timers of a slot that the time has entered anew. */
static void cascade(struct timer_wheel *wheel, uint32_t level, uint32_t slot)
{
    struct timer moved;

    ring_init(&moved);
    ring_splice(&moved, &wheel->slots[level][slot]);
    mark_empty(wheel, level, slot);
    while (!ring_empty(&moved)) {
        struct timer *timer = moved.next;

        moved.next = timer->next;
        timer->next->prev = &moved;
        place(wheel, timer, tick_of_deadline(wheel, timer->deadline_ms));
    }
}

/* Makes `tick` the current one and moves what is due at it to `expired`. */
static void enter_tick(struct timer_wheel *wheel, uint64_t tick)
{
    uint32_t slot = (uint32_t)tick & SLOT_MASK;

    wheel->current = tick;
    for (uint32_t level = LEVELS - 1; level > 0; level--) {
        uint32_t shift = LEVEL_BITS * level;

        if ((tick & ((UINT64_C(1) << shift) - 1)) == 0)
            cascade(wheel, level, (uint32_t)(tick >> shift) & SLOT_MASK);
    }
    ring_splice(&wheel->expired, &wheel->slots[0][slot]);
    mark_empty(wheel, 0, slot);
}

struct timer_wheel *timer_wheel_new(uint64_t now_ms)
{
    struct timer_wheel *wheel = calloc(1, sizeof(*wheel));

    if (wheel == NULL)
        return NULL;
    wheel->base_ms = now_ms;
    ring_init(&wheel->due);
    ring_init(&wheel->expired);
    for (uint32_t level = 0; level < LEVELS; level++) {
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            ring_init(&wheel->slots[level][slot]);
    }
    return wheel;
}

void timer_wheel_free(struct timer_wheel *wheel)
{
    free(wheel);
}

void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms)
{
    uint64_t tick = tick_of_deadline(wheel, deadline_ms);

    ASSERT(timer->on_due != NULL);
    if (timer_running(timer))
        unlink_timer(wheel, timer);
    timer->deadline_ms = deadline_ms;
    if (tick <= wheel->current)
        ring_append(&wheel->due, timer);
    else
        place(wheel, timer, tick);
}

void timer_stop(struct timer_wheel *wheel, struct timer *timer)
{
    if (timer_running(timer))
        unlink_timer(wheel, timer);
}

uint32_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
    uint64_t target = now_ms <= wheel->base_ms ? 0 : (now_ms - wheel->base_ms) / TIMER_WHEEL_TICK_MS;
    uint32_t count = 0;

    ASSERT(!wheel->advancing);
    wheel->advancing = true;
    /* Everything due is taken out before the first call: what a callback starts anew with a deadline in the past waits
     * for the next advance, so this ends. */
    ring_splice(&wheel->expired, &wheel->due);
    while (wheel->current < target) {
        uint64_t tick = next_event(wheel);

        if (tick > target)
            wheel->current = target;
        else
            enter_tick(wheel, tick);
    }
    while (!ring_empty(&wheel->expired)) {
        struct timer *timer = wheel->expired.next;

        unlink_timer(wheel, timer);
        timer->on_due(timer, now_ms);
        count++;
    }
    wheel->advancing = false;
    return count;
}

int64_t timer_wheel_next_ms(const struct timer_wheel *wheel, uint64_t now_ms)
{
    uint64_t tick;
    uint64_t due_ms;

    if (!ring_empty(&wheel->due))
        return 0;
    tick = next_event(wheel);
    if (tick == UINT64_MAX)
        return -1;
    due_ms = wheel->base_ms + tick * TIMER_WHEEL_TICK_MS;
    if (due_ms <= now_ms)
        return 0;
    return due_ms - now_ms < UINT32_MAX ? (int64_t)(due_ms - now_ms) : (int64_t)UINT32_MAX;
}
