/*
 * hook_run: an event whose callbacks may answer later.
 *
 *   worker                                            any thread
 *   hook_run_start()
 *     callback: hook_defer() ── ticket ──────────────► asks somebody, waits
 *     returns HOOK_PENDING
 *   (other clients)                                    hook_complete(ticket, apply, answer)
 *     apply(answer, event): changes the event ◄─post───┘
 *     the callbacks behind it
 *   on_done()
 *
 * The event is changed on its worker only. A ticket is completed exactly once, whatever has become of the event: by then it may have waited too
 * long (hook_set_limits()), its client may have gone, or its callback been removed; the event has failed then, which means a refusal.
 * Bounded: a worker has at most so many tickets out (hook_set_limits()); at the limit further events end as HOOK_BUSY.
 */
#ifndef HOOK_HOOK_RUN_H
#define HOOK_HOOK_RUN_H

#include "event/timer_wheel.h"
#include "hook/hook.h"

struct hook_ticket; /* opaque: an answer that is owed */
struct worker;

#define HOOK_PENDING_TIMEOUT_MS 5000u /* without hook_set_limits() */
#define HOOK_PENDING_MAX 10000u

enum hook_result {
    HOOK_RAN,    /* the chain has ended: the event says the result */
    HOOK_WAITS,  /* on_done() follows, on this worker */
    HOOK_FAILED, /* a callback that was to answer later did not: too late, removed, or memory was short */
    HOOK_BUSY,   /* too many events of this worker wait */
};

/* Embedded by who fires the event; the first five are set by it. */
struct hook_run {
    enum hook_point point;
    struct worker *worker; /* the caller's own */
    void *event;           /* stays where it is until the run has ended */
    /* The end of a run that has waited; never HOOK_WAITS. The run may be freed in it. Thread: owner. */
    void (*on_done)(struct hook_run *run, enum hook_result result);
    uint64_t only; /* 0: the whole chain; else only the callback that is known by this number, if it is still there */
    uint64_t stopped_by;        /* once it has ended: the number of the callback that has said HOOK_STOP; 0: none has */
    struct hook_ticket *ticket; /* NULL: it does not wait */
    struct hook *calling;       /* while its callback runs */
    struct timer timer;         /* while it waits */
    bool is_busy;               /* hook_defer() met the limit */
};

/* For all workers: how long an event waits (over 0), and tickets of a worker (over 0). Thread: start-up. */
void hook_set_limits(uint32_t pending_timeout_ms, uint32_t pending_max);

/* Runs the chain from its beginning. Thread: the worker's, online. */
enum hook_result hook_run_start(struct hook_run *run);
/* The event is not wanted any more: on_done() is not called. One that does not wait is fine. Thread: owner. */
void hook_run_cancel(struct hook_run *run);

/* ---- for callbacks ---- */

/* Applies `answer`, which it takes over, to the event, on the event's worker, and says HOOK_NEXT or HOOK_STOP. With `event` NULL nobody wants
 * the answer any more: it is only freed, on any thread. */
typedef enum hook_verdict hook_apply_fn(void *answer, void *event);

/* For a callback, with the event it got: an answer will follow, and the callback returns HOOK_PENDING. NULL (the limit, short memory, a
 * point where nobody can wait): none may follow; it returns HOOK_PENDING all the same and the event ends as it must. */
struct hook_ticket *hook_defer(void *event);

/* The answer; the ticket is gone. `apply` is called exactly once, possibly before this returns, and not after hook_remove() of the callback
 * has returned unless from within this. Thread: any. */
void hook_complete(struct hook_ticket *ticket, hook_apply_fn *apply, void *answer);

/* Tickets of this worker, for tests and figures. Thread: owner. */
uint32_t hook_pending_count(const struct worker *worker);

#endif
