/*
 * queue_load: see queue_load.h.
 *
 *   wanted ──► waits for its turn ──► job under way ──► messages in the queue ──► half of them sent: wanted again
 */
#include "broker/session/queue_load.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/session/durable.h"
#include "broker/session/session.h"
#include "broker/session/session_host.h"
#include "broker/session/session_internal.h"
#include "broker/session/session_record.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define LOAD_AHEAD (LOAD_SLICE / 2)
#define SLICE_BYTES QUEUE_LOADED_BYTES /* of messages in one slice; the first one may be larger */
#define SKIPPED_MAX (LOAD_SLICE * 4)   /* rows of other classes passed over in one slice */
#define SCANNED_MIN 8u                 /* fewer bodies are looked for alone */
#define SCANNED_GAP 8u                 /* or those whose numbers are further apart than so many, on average */
#define RETRY_MS 20                    /* a body that is not there yet: its publisher's batch is on its way */
#define RETRIES_MAX 100
#define DEFAULT_BYTES_MAX (16u << 20)

/* What a session has wanted, and how much of it is in memory. */
struct queue_load {
    struct list turn; /* in the host's list, while it waits for its turn */
    struct durable *durable;
    struct load_job *job; /* under way; NULL: none */
    struct timer retry;
    uint64_t charge; /* bytes read and still in the queue */
    uint32_t retry_count;
};

struct load_job {
    uv_work_t request;
    struct session_host *host;
    struct queue_load *load; /* NULL: cancelled */
    struct load_job *next;   /* spare ones */
    /* What the job sees. */
    struct store *store;
    uint64_t session_number;
    uint64_t mono_ms;
    uint32_t count;
    uint16_t priority;
    struct mqueue_loaded items[LOAD_SLICE];
    uint64_t body_numbers[LOAD_SLICE]; /* 0: the entry has the message, or was not found */
    /* While it runs. */
    uint64_t store_ms;
    uint64_t bytes;
    uint32_t place; /* the item that comes next */
    uint32_t body;  /* the item whose body comes next */
    uint32_t skipped;
    bool full;
    bool body_missing; /* an item was left out since its body is not there (yet) */
};

/* ---- in the job ---- */

/* The message of a record. */
static void restore(struct load_job *job, struct mqueue_loaded *item, struct slice bytes)
{
    struct message_record record;
    bool expired;

    if (message_record_decode(bytes, &record) < 0) {
        item->kind = MQUEUE_LOST;
        return;
    }
    if (item->sent && record.has_expiry &&
        record.created_ms + (uint64_t)record.expiry_interval_s * 1000 <= job->store_ms) {
        record.created_ms = job->store_ms; /* sent again with the last second of its interval */
        record.expiry_interval_s = 1;
    }
    item->message = message_record_restore(&record, job->mono_ms, job->store_ms, &expired);
    item->kind = item->message != NULL ? MQUEUE_READ : expired ? MQUEUE_EXPIRED : MQUEUE_NOT_READ;
    if (item->message != NULL)
        job->bytes += message_bytes(item->message);
    job->full |= job->bytes >= SLICE_BYTES || item->kind == MQUEUE_NOT_READ;
}

static bool on_row(void *context, struct slice key, struct slice value)
{
    struct load_job *job = context;
    struct mqueue_loaded *item = &job->items[job->place];
    struct queue_record record;
    uint64_t session_number, sequence;

    if (queue_key_decode(key, &session_number, &sequence) < 0)
        return true;                    /* not ours; store_check() names it */
    while (item->sequence < sequence) { /* its row is not there */
        item->kind = MQUEUE_LOST;
        if (++job->place == job->count || job->items[job->place].sequence <= item->sequence)
            return false;
        item = &job->items[job->place];
    }
    if (item->sequence > sequence)
        return ++job->skipped < SKIPPED_MAX;
    job->place++;
    if (queue_record_decode(value, &record) < 0) {
        item->kind = MQUEUE_LOST;
    } else if (record.body_number == 0) {
        restore(job, item, record.message);
    } else {
        job->body_numbers[item - job->items] = record.body_number;
    }
    /* A lower one comes next: it is looked for anew. */
    return !job->full && job->place < job->count && job->items[job->place].sequence > sequence;
}

static void read_entries(struct load_job *job)
{
    uint8_t prefix[SESSION_KEY_LEN], from[QUEUE_KEY_LEN];

    session_key(job->session_number, prefix);
    while (job->place < job->count && !job->full && job->skipped < SKIPPED_MAX) {
        uint32_t began = job->place;
        uint64_t sequence = job->items[began].sequence;
        queue_key(job->session_number, sequence, from);
        int err = store_scan(job->store, STORE_QUEUE, slice_make(prefix, sizeof(prefix)),
                             slice_make(from, sizeof(from)), on_row, job);
        if (job->place == began) { /* damaged (`err`), or nothing from there on */
            job->items[began].kind = MQUEUE_LOST;
            job->place++;
        }
        (void)err;
    }
}

/* The item whose body comes next, from `place` on; job->place: none. */
static uint32_t next_body(const struct load_job *job, uint32_t place)
{
    while (place < job->place && (job->body_numbers[place] == 0 || job->items[place].kind != MQUEUE_NOT_READ))
        place++;
    return place;
}

static bool on_body(void *context, struct slice key, struct slice value)
{
    struct load_job *job = context;
    uint64_t number;

    if (session_key_decode(key, &number) < 0)
        return true;
    if (number < job->body_numbers[job->body])
        return ++job->skipped < SKIPPED_MAX;
    if (number > job->body_numbers[job->body])
        return false; /* not there, or not in order: looked for alone */
    restore(job, &job->items[job->body], value);
    job->body = next_body(job, job->body + 1);
    return !job->full && job->body < job->place;
}

/* Bodies of one publisher have numbers that are near each other: then reading on is faster than looking for each. */
static void scan_bodies(struct load_job *job)
{
    uint64_t first = job->body_numbers[job->body], last = first;
    uint8_t from[SESSION_KEY_LEN];
    uint32_t count = 0;

    for (uint32_t i = job->body; i < job->place; i = next_body(job, i + 1)) {
        last = job->body_numbers[i];
        count++;
    }
    if (count < SCANNED_MIN || last < first || last - first > (uint64_t)count * SCANNED_GAP)
        return;
    session_key(first, from);
    job->skipped = 0;
    /* What can't be read this way is tried alone, too. */
    if (store_scan(job->store, STORE_MESSAGE, slice_make("", 0), slice_make(from, sizeof(from)), on_body, job) < 0)
        return;
}

static void read_body(struct load_job *job, struct mqueue_loaded *item, uint64_t number)
{
    uint8_t key[SESSION_KEY_LEN];
    struct slice value;
    int found;

    session_key(number, key);
    found = store_get(job->store, STORE_MESSAGE, slice_make(key, sizeof(key)), &value);
    if (found == 1) {
        restore(job, item, value);
        free((void *)(uintptr_t)value.data);
    } else if (found == 0) {
        job->body_missing = job->full = true;
    } else {
        item->kind = MQUEUE_LOST;
    }
}

/* In their order, since nothing behind one that is left out is of use. */
static void read_bodies(struct load_job *job)
{
    job->full = false;
    job->body = next_body(job, 0);
    if (job->body < job->place)
        scan_bodies(job);
    while (!job->full && (job->body = next_body(job, job->body)) < job->place)
        read_body(job, &job->items[job->body], job->body_numbers[job->body]);
}

static void run_job(uv_work_t *request)
{
    struct load_job *job = CONTAINER_OF(request, struct load_job, request);

    job->store_ms = store_now_ms(job->store);
    read_entries(job);
    read_bodies(job);
}

/* ---- turns ---- */

static uint64_t bytes_max(const struct durable_host *host)
{
    return host->load_bytes_max > 0 ? host->load_bytes_max : DEFAULT_BYTES_MAX;
}

static struct load_job *job_get(struct durable_host *host)
{
    struct load_job *job = host->load_spare;

    if (job == NULL)
        return malloc(sizeof(*job));
    host->load_spare = job->next;
    return job;
}

static void job_put(struct durable_host *host, struct load_job *job)
{
    job->next = host->load_spare;
    host->load_spare = job;
}

/* How many entries may be read for this session now: over the budget, only those that leave at once. */
static uint32_t slice_for(struct session *session)
{
    const struct durable_host *host = &session->host->durable;
    uint32_t in_flight = session->flow->inflight.count;
    struct delivery_item item;

    if (host->load_bytes < bytes_max(host))
        return LOAD_SLICE;
    if (mqueue_peek(&session->flow->mqueue, &item) && item.message != NULL)
        return 0; /* what it has must go first */
    uint32_t room = in_flight < session->window ? session->window - in_flight : 1;
    return room < LOAD_SLICE ? room : LOAD_SLICE;
}

static void on_done(uv_work_t *request, int status);

/* False: there is nothing to begin. */
static bool start(struct queue_load *load)
{
    struct session *session = load->durable->session;
    struct session_host *host = session->host;
    uint32_t slice = slice_for(session);
    struct load_job *job;

    if (slice == 0)
        return false;
    job = job_get(&host->durable);
    if (job == NULL) {
        log_client_limited(LOG_LEVEL_ERROR, session_client_id(session), NULL,
                           "[Session] short of memory: queued messages are read back later");
        timer_start(worker_timers(host->worker), &load->retry, worker_now_ms(host->worker) + RETRY_MS);
        return true;
    }
    job->count = mqueue_wanted(&session->flow->mqueue, LOAD_AHEAD, job->items, slice, &job->priority);
    if (job->count == 0) {
        job_put(&host->durable, job);
        return false;
    }
    memset(job->body_numbers, 0, job->count * sizeof(job->body_numbers[0]));
    job->host = host;
    job->load = load;
    job->store = host->store;
    job->session_number = load->durable->number;
    job->mono_ms = worker_now_ms(host->worker);
    job->bytes = 0;
    job->place = job->skipped = 0;
    job->full = job->body_missing = false;
    load->job = job;
    host->durable.load_job_count++;
    uv_queue_work(worker_uv_loop(host->worker), &job->request, run_job, on_done); /* only fails without a function */
    return true;
}

static void start_next(struct session_host *host)
{
    struct durable_host *durable = &host->durable;

    while (!list_empty(&durable->loads) && durable->load_job_count < LOAD_JOBS_MAX) {
        struct queue_load *load = LIST_ENTRY(list_first(&durable->loads), struct queue_load, turn);
        list_remove(&load->turn);
        start(load);
    }
}

static void on_retry(struct timer *timer, uint64_t now_ms)
{
    (void)now_ms;
    session_go_on(CONTAINER_OF(timer, struct queue_load, retry)->durable->session);
}

/* An item without a body: its publisher's batch may be a moment behind. After a while it is given up. Or memory was short. */
static void retry_later(struct queue_load *load, struct load_job *job, uint32_t place)
{
    struct worker *worker = job->host->worker;

    if (job->body_missing && store_state(job->store) == STORE_OPEN && ++load->retry_count > RETRIES_MAX) {
        job->items[place].kind = MQUEUE_LOST;
        load->retry_count = 0;
        return;
    }
    timer_start(worker_timers(worker), &load->retry, worker_now_ms(worker) + RETRY_MS);
}

static void count_lost(const struct session *session, uint32_t expired, uint32_t lost)
{
    if (expired > 0)
        metric_add(METRIC_MESSAGES_EXPIRED, expired);
    if (lost == 0)
        return;
    metric_add(METRIC_MESSAGES_DROPPED_UNREADABLE, lost);
    log_client_limited(
        LOG_LEVEL_ERROR, session_client_id(session), NULL,
        "[Session] %u queued messages can't be read from the store, going on without them; emqx_ctl store check", lost);
}

static void take_in(struct queue_load *load, struct load_job *job)
{
    struct session *session = load->durable->session;
    uint32_t expired, lost, place = 0;

    while (place < job->count && (job->items[place].kind != MQUEUE_NOT_READ))
        place++;
    if (job->body_missing || place == 0)
        retry_later(load, job, place);
    if (place > 0)
        load->retry_count = 0;
    uint64_t bytes = mqueue_fill_take(&session->flow->mqueue, job->priority, job->items, job->count, &expired, &lost);
    load->charge += bytes;
    session->host->durable.load_bytes += bytes;
    count_lost(session, expired, lost);
}

static void on_done(uv_work_t *request, int status)
{
    struct load_job *job = CONTAINER_OF(request, struct load_job, request);
    struct session_host *host = job->host;
    struct queue_load *load = job->load;

    (void)status;
    host->durable.load_job_count--;
    if (load == NULL) {
        for (uint32_t i = 0; i < job->count; i++)
            message_unref(job->items[i].message);
    } else {
        load->job = NULL;
        take_in(load, job);
    }
    job_put(&host->durable, job);
    if (load != NULL)
        session_go_on(load->durable->session);
    start_next(host);
}

/* ---- for the session ---- */

void queue_load_recount(struct session *session)
{
    struct queue_load *load = session->durable->load;
    uint64_t left;

    if (load == NULL || load->charge == 0)
        return;
    left = session->flow->mqueue.bytes;
    if (left >= load->charge)
        return;
    session->host->durable.load_bytes -= load->charge - left;
    load->charge = left;
}

static struct queue_load *load_get(struct durable *durable)
{
    if (durable->load != NULL)
        return durable->load;
    durable->load = calloc(1, sizeof(*durable->load));
    if (durable->load == NULL)
        return NULL;
    durable->load->durable = durable;
    list_init(&durable->load->turn);
    durable->load->retry.on_due = on_retry;
    return durable->load;
}

bool queue_load_want(struct session *session)
{
    struct durable_host *host = &session->host->durable;
    struct queue_load *load = session->durable->load;
    struct mqueue_loaded first;
    uint16_t priority;

    queue_load_recount(session);
    if (load != NULL && (load->job != NULL || !list_empty(&load->turn) || timer_running(&load->retry)))
        return true;
    if (mqueue_wanted(&session->flow->mqueue, LOAD_AHEAD, &first, 1, &priority) == 0)
        return false;
    load = load_get(session->durable);
    if (load == NULL)
        return false; /* the next acknowledgement or message asks again */
    if (host->load_job_count < LOAD_JOBS_MAX && list_empty(&host->loads))
        return start(load);
    list_append(&host->loads, &load->turn);
    return true;
}

void queue_load_cancel(struct durable *durable)
{
    struct queue_load *load = durable->load;
    struct session_host *host;

    if (load == NULL)
        return;
    host = durable->session->host;
    list_remove(&load->turn);
    timer_stop(worker_timers(host->worker), &load->retry);
    if (load->job != NULL)
        load->job->load = NULL;
    host->durable.load_bytes -= load->charge;
    free(load);
    durable->load = NULL;
}

void queue_load_finish(struct session_host *host)
{
    while (host->durable.load_job_count > 0)
        uv_run(worker_uv_loop(host->worker), UV_RUN_ONCE);
    while (host->durable.load_spare != NULL) {
        struct load_job *next = host->durable.load_spare->next;
        free(host->durable.load_spare);
        host->durable.load_spare = next;
    }
}
