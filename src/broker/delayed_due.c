/*
 * delayed_due: publishes what is due, in order, a slice a turn.
 *
 *   timer ─► run_due() ─► first has its message ──────────────────────────► published; again, or timer for the next
 *                    └──► it is in the store: a job reads the next few ─► run_due()
 *
 * While a job reads, a mailbox it would publish to is full, or the store is congested, everything behind waits.
 */
#include "broker/delayed_internal.h"

#include "base/log.h"
#include "base/metrics.h"
#include "mqtt/message_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DUE_BYTES_MAX (1u << 20)  /* of messages published in one turn; one that is larger goes alone */
#define READ_COUNT_MAX 64u        /* messages that one job reads */
#define READ_BYTES_MAX (8u << 20) /* of their payloads; one that is larger is read alone */
#define LOOK_MS                                                                                                        \
    60000u /* the timer's clock stands while the machine sleeps, that of due times does not: so often it is looked */
#define CONGESTED_MS 50u /* until a congested store is asked again */
#define RETRY_MS 1000u   /* after memory was short */

/* Rows to delete once the turn that published their messages is settled. */
struct delayed_done {
    struct commit_step step;
    uint32_t count;
    struct delayed_key keys[DELAYED_DUE_SLICE];
};

struct read_row {
    struct delayed_key key;
    struct message *message; /* what was read */
    int err;                 /* 0; -ESTALE: expired; -ENOENT, -EIO, -EBADMSG, -ENOMEM */
};

struct delayed_read {
    uv_work_t request;
    struct delayed_worker *here;
    struct store *store;
    uint64_t mono_ms;
    uint64_t store_ms;
    uint32_t count;
    struct read_row rows[READ_COUNT_MAX];
};

/* The broker stops, or this is off. */
static bool rests(const struct delayed_worker *here)
{
    const struct delayed *delayed = here->worker->broker->delayed;

    return atomic_load_explicit(&delayed->stopping, memory_order_relaxed) || !delayed_is_on(delayed);
}

static const struct delayed_key first_key = {0, 0};

void delayed_schedule(struct delayed_worker *here)
{
    struct worker *worker = here->worker->host.worker;
    const struct delayed_entry *first = delayed_queue_next(&here->queue, first_key);

    timer_stop(worker_timers(worker), &here->timer);
    if (first == NULL || here->waiting || here->reading != NULL || rests(here))
        return; /* on_drained() or on_read() goes on; or nobody does */
    uint64_t mono_ms = worker_now_ms(worker), now_ms = delayed_time_ms(here->worker, mono_ms);
    uint64_t wait_ms = first->key.due_ms > now_ms ? first->key.due_ms - now_ms : 0;
    if (wait_ms == 0 && here->not_before_ms <= mono_ms) {
        worker_run_later(worker, &here->work);
        return;
    }
    uint64_t deadline_ms = mono_ms + (wait_ms < LOOK_MS ? wait_ms : LOOK_MS);
    timer_start(worker_timers(worker), &here->timer,
                deadline_ms > here->not_before_ms ? deadline_ms : here->not_before_ms);
}

static void pause_for(struct delayed_worker *here, uint64_t pause_ms)
{
    here->not_before_ms = worker_now_ms(here->worker->host.worker) + pause_ms;
}

static void drop(struct delayed_worker *here, struct delayed_entry *entry, bool keep_row)
{
    if (entry->stored && !keep_row)
        delayed_delete_row(here, entry->key);
    message_unref(delayed_dequeue(here, entry));
    metric_add(METRIC_MESSAGES_DELAYED_DROPPED, 1);
}

/* ---- reading what is in the store only ---- */

/* Thread: job. */
static int read_row(struct delayed_read *read, struct read_row *row)
{
    struct message_record record;
    struct slice value;
    bool expired = false;
    int found, err;

    found = delayed_read_record(read->store, row->key, &value);
    if (found <= 0)
        return found == 0 ? -ENOENT : found;
    err = message_record_decode(value, &record);
    if (err == 0) {
        row->message = message_record_restore(&record, read->mono_ms, read->store_ms, &expired);
        err = expired ? -ESTALE : row->message == NULL ? -ENOMEM : 0;
    }
    slice_free(&value);
    return err;
}

/* Thread: job. */
static void read_job(uv_work_t *request)
{
    struct delayed_read *read = CONTAINER_OF(request, struct delayed_read, request);

    for (uint32_t i = 0; i < read->count; i++)
        read->rows[i].err = read_row(read, &read->rows[i]);
}

static void take_row(struct delayed_worker *here, struct delayed_entry *entry, struct read_row *row)
{
    switch (row->err) {
    case 0:
        entry->message = row->message;
        row->message = NULL;
        break;
    case -ESTALE:
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
        drop(here, entry, false);
        break;
    case -ENOMEM: pause_for(here, RETRY_MS); break;
    default:
        log_client_limited(LOG_LEVEL_ERROR, SLICE_LITERAL(""), NULL,
                           "[Delayed] Message %llu is due and cannot be read: %s; leaving it in the store",
                           (unsigned long long)entry->key.number, strerror(-row->err));
        drop(here, entry, true);
        break;
    }
}

static void on_read(uv_work_t *request, int status)
{
    struct delayed_read *read = CONTAINER_OF(request, struct delayed_read, request);
    struct delayed_worker *here = read->here;

    (void)status; /* never cancelled */
    here->reading = NULL;
    for (uint32_t i = 0; i < read->count; i++) {
        struct read_row *row = &read->rows[i];
        struct delayed_entry *entry = rests(here) ? NULL : delayed_queue_find(&here->queue, row->key);
        if (entry != NULL && entry->message == NULL) /* else it was deleted meanwhile */
            take_row(here, entry, row);
        message_unref(row->message);
    }
    free(read);
    delayed_schedule(here);
}

/* Reads the entries from the first on that are due and without a message. */
static void start_read(struct delayed_worker *here, uint64_t mono_ms, uint64_t now_ms)
{
    struct delayed_read *read = calloc(1, sizeof(*read));
    struct delayed_entry *entry = delayed_queue_next(&here->queue, first_key);
    uint64_t bytes = 0;

    if (read == NULL) {
        pause_for(here, RETRY_MS);
        return;
    }
    read->here = here;
    read->store = here->worker->host.store;
    read->mono_ms = mono_ms;
    read->store_ms = now_ms;
    for (; entry != NULL && entry->key.due_ms <= now_ms && entry->message == NULL && read->count < READ_COUNT_MAX;
         entry = delayed_queue_next(&here->queue, entry->key)) {
        bytes += entry->payload_len;
        if (bytes > READ_BYTES_MAX && read->count > 0)
            break;
        read->rows[read->count++].key = entry->key;
    }
    if (uv_queue_work(worker_uv_loop(here->worker->host.worker), &read->request, read_job, on_read) == 0) {
        here->reading = read;
        return;
    }
    free(read);
    pause_for(here, RETRY_MS);
}

/* ---- publishing ---- */

static void on_settled(struct broker_worker *worker, struct commit_step *step)
{
    struct delayed_done *done = CONTAINER_OF(step, struct delayed_done, step);

    for (uint32_t i = 0; i < done->count; i++)
        delayed_delete_row(delayed_worker_of(worker), done->keys[i]);
    free(done);
}

/* The row goes at once (QoS 0), or when the turn is settled; at QoS 2 together with the message's body. False: memory is short. */
static bool give_up_row(struct delayed_worker *here, const struct delayed_entry *entry, struct delayed_done **done)
{
    if (!entry->stored)
        return true;
    if (entry->message->qos == 0) {
        delayed_delete_row(here, entry->key);
        return true;
    }
    if (*done == NULL) {
        *done = malloc(sizeof(**done));
        if (*done == NULL)
            return false;
        (*done)->step.run = on_settled;
        (*done)->count = 0;
    }
    if (entry->message->qos == 2 && !commit_message(here->worker, entry->message, NULL, 0))
        return false;
    (*done)->keys[(*done)->count++] = entry->key;
    return true;
}

static void on_drained(struct worker *worker, struct mailbox_waiter *waiter)
{
    struct delayed_worker *here = CONTAINER_OF(waiter, struct delayed_worker, waiter);

    (void)worker;
    here->waiting = false;
    delayed_schedule(here);
}

/* False: no further one in this turn. */
static bool publish(struct delayed_worker *here, struct delayed_entry *entry, uint64_t mono_ms,
                    struct delayed_done **done)
{
    struct broker_worker *worker = here->worker;

    if (message_expired(entry->message, mono_ms)) {
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
        drop(here, entry, false);
        return true;
    }
    if (worker->host.store != NULL && store_congested(worker->host.store)) {
        pause_for(here, CONGESTED_MS);
        return false;
    }
    if (!give_up_row(here, entry, done)) {
        pause_for(here, RETRY_MS);
        return false;
    }
    worker->congested = NULL;
    broker_publish_own_take(worker, delayed_dequeue(here, entry));
    metric_add(METRIC_MESSAGES_DELAYED_PUBLISHED, 1);
    if (LIKELY(worker->congested == NULL))
        return true;
    here->waiting = true;
    worker_wait_for_drain(worker->host.worker, worker->congested, &here->waiter);
    worker->congested = NULL;
    return false;
}

static void run_due(struct delayed_worker *here)
{
    uint64_t mono_ms = worker_now_ms(here->worker->host.worker), now_ms = delayed_time_ms(here->worker, mono_ms);
    struct delayed_done *done = NULL;
    uint64_t bytes = 0;

    if (here->waiting || here->reading != NULL || rests(here) || mono_ms < here->not_before_ms)
        return;
    for (uint32_t i = 0; i < DELAYED_DUE_SLICE && bytes < DUE_BYTES_MAX; i++) {
        struct delayed_entry *entry = delayed_queue_next(&here->queue, first_key);
        if (entry == NULL || entry->key.due_ms > now_ms)
            break;
        if (entry->message == NULL) {
            start_read(here, mono_ms, now_ms);
            break;
        }
        bytes += message_bytes(entry->message);
        if (!publish(here, entry, mono_ms, &done))
            break;
    }
    if (done != NULL)
        commit_then(here->worker, &done->step);
}

static void on_work(struct worker *worker, struct work *work)
{
    struct delayed_worker *here = CONTAINER_OF(work, struct delayed_worker, work);

    (void)worker;
    run_due(here);
    delayed_schedule(here);
}

static void on_due(struct timer *timer, uint64_t now_ms)
{
    (void)now_ms;
    delayed_schedule(CONTAINER_OF(timer, struct delayed_worker, timer));
}

void delayed_due_init(struct delayed_worker *here)
{
    here->timer.on_due = on_due;
    here->work.run = on_work;
    here->waiter.resume = on_drained;
}

void delayed_due_fini(struct delayed_worker *here)
{
    while (here->reading != NULL)
        uv_run(worker_uv_loop(here->worker->host.worker), UV_RUN_ONCE);
}
