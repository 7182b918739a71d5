/*
 * worker: one thread with one event loop. It owns connections, sessions and their timers; other threads reach
 * those only by posting to its mailbox (mailbox.h).
 *
 * A loop turn: wait for readiness (offline for RCU), run the ready I/O watches, take in the mailbox, run due
 * timers, then the turn's end: the broker's callback for what it has still to hand over, posts to other workers (one batch each), its
 * callback for the rest: socket writes.
 * The worker's own epoll set is the outer loop and a libuv loop sits in it as one descriptor: a libuv poll
 * handle costs 160 bytes a connection and a system call per change of interest, an edge-triggered watch costs
 * 16 bytes and none.
 */
#ifndef EVENT_WORKER_H
#define EVENT_WORKER_H

#include "base/compiler.h"
#include "event/timer_wheel.h"

#include <stdbool.h>
#include <stdint.h>

#define WORKER_COUNT_MAX 64

struct uv_loop_s;
struct worker;
struct post;

/* Embedded in whatever owns a descriptor. Edge-triggered: read until EAGAIN or a short read. */
struct io_watch {
    void (*on_ready)(struct worker *worker, struct io_watch *watch, uint32_t epoll_events);
    int fd;
};

/* Something to run in the next turn, without waiting: embedded in its owner. */
struct work {
    struct work *next; /* NULL and not last: not queued */
    void (*run)(struct worker *worker, struct work *work);
    bool queued;
};

/* Called at the end of every turn. Registered at start-up. */
typedef void worker_turn_end_fn(struct worker *worker, void *context);

struct worker_pool;

/* Makes `count` workers (1..WORKER_COUNT_MAX); their threads are not started yet. -ENOMEM, -errno. Thread: start-up. */
MUST_USE int worker_pool_new(uint32_t count, uint64_t mailbox_bytes_max, struct worker_pool **out_pool);
/* Starts the threads. Thread: start-up. */
MUST_USE int worker_pool_start(struct worker_pool *pool);
/* Asks every thread to end after its turn and joins them. Thread: control. */
void worker_pool_stop(struct worker_pool *pool);
/* Runs what still waits in the mailboxes, and what that hands over, on the calling thread. After worker_pool_stop().
 * The caller stays online (base/rcu.h) from what it does to workers' objects until this has returned: open batches leave
 * here, and what they name must not be freed before. Thread: control. */
void worker_pool_drain(struct worker_pool *pool);
/* After worker_pool_stop(). NULL is fine. */
void worker_pool_free(struct worker_pool *pool);
uint32_t worker_pool_count(const struct worker_pool *pool);
/* `index` below the count; valid until worker_pool_free(). Thread: any. */
struct worker *worker_pool_get(struct worker_pool *pool, uint32_t index);

/* Runs one turn without waiting, at the time `now_ms`, on the calling thread (registered for RCU; the turn's end is a
 * quiescent state). While the pool's threads don't run: so tests replay what workers do step by step. */
void worker_run_turn(struct worker *worker, uint64_t now_ms);

/* The worker of the calling thread, NULL on other threads. */
struct worker *worker_current(void);
uint32_t worker_index(const struct worker *worker);
/* The broker's per-worker state; set at start-up. Thread: any. */
void *worker_context(const struct worker *worker);
void worker_set_context(struct worker *worker, void *context);
void worker_set_turn_end(struct worker *worker, worker_turn_end_fn *turn_end);
/* The same, before that and before the batches are posted: to put something behind what they hold. */
void worker_set_hand_over(struct worker *worker, worker_turn_end_fn *hand_over);
/* Milliseconds of CLOCK_MONOTONIC, read once a turn. Thread: owner. */
uint64_t worker_now_ms(const struct worker *worker);
/* Is this turn run by another worker's thread, since its own sleeps (mailbox.h)? Nothing that this worker's epoll set may just be reporting may
 * be freed then. Thread: owner. */
bool worker_in_lent_turn(const struct worker *worker);
/* Share of the recent time that the worker spent working, 0..1000. Thread: any. */
uint32_t worker_load_permille(const struct worker *worker);
/* Runs `work` in the next turn; queued already is fine. Thread: owner. */
void worker_run_later(struct worker *worker, struct work *work);
/* Not queued is fine. Takes time in proportion to the queue. Thread: owner. */
void worker_run_cancel(struct worker *worker, struct work *work);
/* Thread: owner. */
struct timer_wheel *worker_timers(struct worker *worker);
struct uv_loop_s *worker_uv_loop(struct worker *worker);

/* Watches `watch->fd` for `epoll_events` (edge-triggered unless the caller says EPOLLEXCLUSIVE). -errno. Thread: owner. */
MUST_USE int worker_watch(struct worker *worker, struct io_watch *watch, uint32_t epoll_events);
/* Before the descriptor is closed; no event of this turn reaches the watch any more. Thread: owner. */
void worker_unwatch(struct worker *worker, struct io_watch *watch);

#endif
