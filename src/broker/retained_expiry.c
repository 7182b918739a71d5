/*
 * retained_expiry: drops expired retained messages, so that they make room under broker.max_retained_messages.
 *
 * The worker on which a message with an expiry interval was stored has a timer that runs at the earliest such moment
 * it knows. When it is due, the worker goes over the topics in slices with pauses between them; workers that are due at the
 * same time share the pass. After it each sets its timer to the earliest moment left. So nothing runs while nothing expires.
 * For those that a start has loaded the first worker does it.
 */
#include "broker/broker.h"
#include "broker/broker_internal.h"
#include "broker/retainer/retainer.h"

#define SWEEP_TOPICS 500   /* looked at in one slice: well under a millisecond even if all have expired */
#define SWEEP_PAUSE_MS 25u /* between two slices or passes: 20,000 topics a second for each worker */

static void start_timer(struct broker_worker *worker, uint64_t at_ms)
{
    uint64_t soonest_ms = worker_now_ms(worker->host.worker) + SWEEP_PAUSE_MS;

    timer_start(worker_timers(worker->host.worker), &worker->retained_expiry, at_ms > soonest_ms ? at_ms : soonest_ms);
}

static void on_due(struct timer *timer, uint64_t now_ms)
{
    struct broker_worker *worker = CONTAINER_OF(timer, struct broker_worker, retained_expiry);
    struct retainer *retainer = worker->broker->retainer;
    bool more = retainer_sweep(retainer, SWEEP_TOPICS, now_ms);
    uint64_t next_ms = more ? now_ms : retainer_next_expiry_ms(retainer);

    if (next_ms != UINT64_MAX)
        start_timer(worker, next_ms);
}

void broker_watch_retained_expiry(struct broker_worker *worker)
{
    uint64_t next_ms = retainer_next_expiry_ms(worker->broker->retainer);

    worker->retained_expiry.on_due = on_due;
    if (next_ms != UINT64_MAX &&
        (!timer_running(&worker->retained_expiry) || next_ms < worker->retained_expiry.deadline_ms))
        start_timer(worker, next_ms);
}

static void watch(struct worker *worker)
{
    broker_watch_retained_expiry(broker_worker_of(worker));
}

static void on_changed(struct worker *worker, struct post *post)
{
    struct broker *broker = CONTAINER_OF(post, struct broker, retained_changed);

    atomic_store(&broker->retained_change_posted, false);
    watch(worker);
}

void broker_change_retained(struct broker *broker, const struct retainer_settings *settings)
{
    retainer_change(broker->retainer, settings);
    if (atomic_exchange(&broker->retained_change_posted, true))
        return;
    broker->retained_changed.run = on_changed;
    worker_post(worker_pool_get(broker->pool, 0), &broker->retained_changed);
}

int broker_open_retained(struct broker *broker, struct store *store)
{
    return retainer_open(broker->retainer, store, broker->pool, watch);
}

void broker_close_retained(struct broker *broker)
{
    retainer_close(broker->retainer);
}
