/*
 * mailbox: how threads hand work to a worker.
 *
 * Two kinds. A *post* is a rare thing (a takeover, a query): an object with a function, pushed from any thread.
 * A *delivery* is one message for one of the worker's local targets: a turn's deliveries from one worker to
 * another travel as one batch with at most one wake-up. Order is kept: what one thread hands over first is
 * taken in first, posts and deliveries alike.
 *
 * A worker that has only a few deliveries for one that sleeps runs that one's turn itself instead of waking it (a lent
 * turn): deliveries are taken in, sockets written, then it sleeps on. Posts, and what comes behind them, wait for its own
 * thread. Its objects still have one owner at a time.
 *
 * A turn takes in what waits for some milliseconds at most, then it is the sockets' turn again.
 * Bounded: the batches waiting in a mailbox are counted in bytes (with the messages' own sizes). Over the limit
 * the mailbox is `congested`: publishers stop reading their sockets (mailbox_wait()) until it has drained to half.
 * Nothing is dropped and nobody blocks. Posts are not counted; who makes them bounds them.
 */
#ifndef EVENT_MAILBOX_H
#define EVENT_MAILBOX_H

#include "base/compiler.h"
#include "event/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in what is handed over; `run` runs on the worker's thread and owns the object from then on. */
struct post {
    struct post *next;
    void (*run)(struct worker *worker, struct post *post);
};

/* Hands `post` over and wakes the worker. The memory is the receiver's. Thread: any. */
void worker_post(struct worker *worker, struct post *post);

struct delivery {
    void *message; /* one reference of the receiver's */
    void *target;  /* what the router gave: a local subscriber list or a shared member */
    uint32_t kind; /* enum of broker/: which of the two, or what else */
    uint32_t attempt;
};

/* Takes in deliveries of worker `from`, in the order in which it handed them over. Set by the broker at start-up; runs on the worker's thread. */
typedef void worker_deliver_fn(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count);
void worker_set_deliver(struct worker *worker, worker_deliver_fn *deliver);

/* Adds a delivery of `bytes` to this turn's batch from `from` to `to` (another worker); it leaves at the end of
 * the turn, or at once when the batch is full (by count, or an eighth of the limit) or large enough to wake a `to` that sleeps. -ENOMEM: nothing was taken.
 * Thread: owner of `from`. */
MUST_USE int worker_deliver(struct worker *from, struct worker *to, const struct delivery *delivery, size_t bytes);

/* Is `to` over its limit? Thread: any; an answer of the moment. */
bool worker_congested(const struct worker *to);

/* Embedded in a publisher that stopped reading. */
struct mailbox_waiter {
    struct mailbox_waiter *next;
    struct mailbox_waiter *prev;
    void (*resume)(struct worker *worker, struct mailbox_waiter *waiter);
};
/* Calls `waiter->resume` on `self` once `to` has drained to half its limit; `resume` may wait again. Thread: owner of
 * `self`. */
void worker_wait_for_drain(struct worker *self, struct worker *to, struct mailbox_waiter *waiter);
/* A waiter that does not wait is fine. Thread: owner. */
void worker_wait_cancel(struct mailbox_waiter *waiter);

#endif
