/*
 * worker_internal: the worker's parts that worker.c and mailbox.c share.
 */
#ifndef EVENT_WORKER_INTERNAL_H
#define EVENT_WORKER_INTERNAL_H

#include "event/mailbox.h"
#include "event/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

struct delivery_batch; /* mailbox.c */
struct epoll_event;

struct worker_pool {
    uint32_t count;
    uint32_t started;
    uint64_t mailbox_bytes_max;
    struct worker *workers[WORKER_COUNT_MAX];
};

/* Who may run a worker's turn. Its own thread sets SLEEPING and takes AWAKE back; others change SLEEPING only. */
enum worker_state {
    WORKER_AWAKE,    /* its own thread runs, or was woken and will */
    WORKER_SLEEPING, /* its own thread waits, or is about to */
    WORKER_LENT,     /* its own thread waits while that of another worker runs a turn in its place */
};

/* What other threads write; on cache lines of its own. */
struct mailbox {
    _Alignas(64) struct post *_Atomic head; /* newest first */
    _Atomic uint8_t state;                  /* enum worker_state */
    _Alignas(64) _Atomic uint64_t bytes;    /* of batches that wait here */
    _Atomic uint64_t waiting_workers;       /* bit per worker that wants to hear of a drain */
};

/* Told to a worker by the mailbox it waits for. */
struct drain_post {
    struct post post;
    _Atomic bool in_flight;
    uint32_t drained; /* index of the worker that drained */
};

struct worker {
    struct mailbox mailbox;
    _Alignas(64) struct worker_pool *pool;
    uint32_t index;
    int epoll_fd;
    int wake_fd;
    _Atomic bool stop;
    pthread_t thread;
    uv_loop_t uv;
    struct io_watch uv_watch;
    uv_async_t uv_alive; /* libuv looks for events only while something is alive: see on_uv_ready() */
    struct io_watch wake_watch;
    uint64_t now_ms;
    uint64_t sleep_until_ms; /* what the own thread's wait was given */
    bool in_lent_turn;
    struct timer_wheel *wheel;
    void *context;
    worker_turn_end_fn *hand_over;
    worker_turn_end_fn *turn_end;
    worker_deliver_fn *deliver;
    struct post *taken; /* out of the mailbox, in order, and not run yet */
    struct post **taken_tail;
    struct epoll_event *ready; /* events of this turn that have not run yet */
    int ready_count;
    struct work *work_head; /* for the next turn */
    struct work **work_tail;
    struct work *work_running; /* what is left of this turn's */
    struct delivery_batch *outgoing[WORKER_COUNT_MAX];
    uint64_t outgoing_dirty;                         /* bit per worker with an open batch */
    struct mailbox_waiter waiters[WORKER_COUNT_MAX]; /* list heads: our publishers waiting for that worker */
    struct drain_post drain_posts[WORKER_COUNT_MAX]; /* [i]: what we post to worker i when we have drained */
    _Atomic uint32_t load_permille;                  /* recent share of time spent working */
    uint64_t load_since_ns;
    uint64_t load_busy_ns;
};

/* Takes in what waits, as far as that does not take long; the rest is for the next turn. False: nothing waited.
 * Thread: owner. */
bool mailbox_drain(struct worker *worker);
/* Posts the open batches. Thread: owner. */
void mailbox_flush(struct worker *worker);
/* The same, but a small batch for a worker that sleeps is not posted to be taken in after a wake-up: this thread runs that worker's
 * turn at once. Thread: owner. */
void mailbox_flush_in_person(struct worker *worker);
/* Wakes the worker if it sleeps. Thread: any. */
void worker_wake(struct worker *worker);
/* Runs one turn of `to`, which the caller has set to WORKER_LENT, on the thread of `from`; then `to` sleeps on. */
void worker_run_lent_turn(struct worker *from, struct worker *to);
void mailbox_init(struct worker *worker);

#endif
