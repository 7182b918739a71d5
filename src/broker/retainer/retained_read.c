/*
 * retained_read: see retained_read.h.
 *
 * A desk per worker keeps its reads in order and begins a few of them at once, in libuv's pool; the answer comes through the worker's
 * loop. A cancelled read that has begun runs to its end and finds that nobody wants it.
 */
#include "broker/retainer/retained_read.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/retainer/retainer_internal.h"
#include "mqtt/message.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <uv.h>

struct retained_read {
    struct list list; /* of those that wait for their turn */
    uv_work_t work;
    struct retained_desk *desk;
    retained_read_fn *done; /* NULL: cancelled */
    void *context;
    bool begun;
    uint32_t count;
    uint32_t read_count; /* of them it is known what became */
    struct {
        struct message *wanted;
        struct message *found;
    } items[];
};

bool retained_is_on_disk(const struct message *message)
{
    return retained_is_stub(message);
}

static struct retained_desk *desk_of(struct retainer *retainer, const struct worker *worker)
{
    return &retainer->desks[worker_index(worker)];
}

static void read_free(struct retained_read *read)
{
    for (uint32_t i = 0; i < read->count; i++) {
        message_unref(read->items[i].wanted);
        message_unref(read->items[i].found);
    }
    free(read);
}

static void complain(struct slice topic, int err)
{
    static struct log_limit limit = LOG_LIMIT_INIT(LOG_LIMIT_PER_SECOND);

    metric_add(err == -ENOMEM ? METRIC_MESSAGES_DROPPED_NO_MEMORY : METRIC_MESSAGES_DROPPED_UNREADABLE, 1);
    if (log_limit_pass(&limit))
        log_error("[Retainer] cannot read the retained message of %.*s from the store (table retained): %s, "
                  "leaving it out",
                  SLICE_ARG(topic), err == -ENOMEM ? "short of memory" : "damaged or unreadable");
}

/* NULL: there is none; `*out_err` says why if it should be said. Thread: job. */
static struct message *read_row(struct retainer *retainer, struct slice topic, int *out_err)
{
    struct message_record record;
    struct message *message = NULL;
    struct slice value = {NULL, 0};
    struct slice key;
    bool expired = false;
    uint8_t *buffer = malloc(topic.len);
    int found;

    *out_err = -ENOMEM;
    if (buffer == NULL)
        return NULL;
    key = retained_key(topic, buffer);
    found = store_get(retainer->rows.store, STORE_RETAINED, key, &value);
    *out_err = found < 0 ? found : 0;
    if (found > 0) {
        *out_err = retained_row_decode(key, value, &record);
        if (*out_err == 0)
            message = retainer_restore(retainer, &record, true, &expired);
        if (*out_err == 0 && message == NULL && !expired)
            *out_err = -ENOMEM;
        slice_free(&value);
    }
    free(buffer);
    return message;
}

/* Thread: job. */
static void run_read(uv_work_t *work)
{
    struct retained_read *read = CONTAINER_OF(work, struct retained_read, work);
    size_t bytes = 0;

    while (read->read_count < read->count && bytes < RETAINED_READ_BYTES_MAX) {
        struct slice topic = message_topic(read->items[read->read_count].wanted);
        int err;
        struct message *found = read_row(read->desk->retainer, topic, &err);

        read->items[read->read_count++].found = found;
        if (err < 0)
            complain(topic, err);
        if (found != NULL)
            bytes += found->payload_len;
    }
}

static void after_read(uv_work_t *work, int status)
{
    struct retained_read *read = CONTAINER_OF(work, struct retained_read, work);
    struct retained_desk *desk = read->desk;

    (void)status; /* never cancelled in libuv */
    desk->reads_begun--;
    if (read->done != NULL)
        read->done(desk->worker, read->context, read);
    read_free(read);
    if (list_first(&desk->reads) != NULL)
        worker_run_later(desk->worker, &desk->work);
}

/* Not in a lent turn, whose thread must not touch the loop. */
static void begin_reads(struct worker *worker, struct work *work)
{
    struct retained_desk *desk = CONTAINER_OF(work, struct retained_desk, work);

    while (desk->reads_begun < RETAINED_READS_OF_WORKER) {
        struct list *first = list_first(&desk->reads);
        if (first == NULL)
            return;
        struct retained_read *read = LIST_ENTRY(first, struct retained_read, list);
        int err;

        list_remove(first);
        read->begun = true;
        desk->reads_begun++;
        err = uv_queue_work(worker_uv_loop(worker), &read->work, run_read, after_read);
        ASSERT(err == 0); /* it fails only without a function */
    }
}

struct retained_read *retained_read_start(struct retainer *retainer, struct worker *worker,
                                          struct message *const *wanted, uint32_t count, retained_read_fn *done,
                                          void *context)
{
    struct retained_desk *desk = desk_of(retainer, worker);
    struct retained_read *read = calloc(1, sizeof(*read) + count * sizeof(read->items[0]));

    ASSERT(count > 0 && count <= RETAINED_READ_COUNT_MAX && desk->retainer != NULL);
    if (read == NULL)
        return NULL;
    read->desk = desk;
    read->done = done;
    read->context = context;
    read->count = count;
    for (uint32_t i = 0; i < count; i++)
        read->items[i].wanted = message_ref(wanted[i]);
    list_append(&desk->reads, &read->list);
    worker_run_later(worker, &desk->work);
    return read;
}

void retained_read_cancel(struct retained_read *read)
{
    if (read == NULL)
        return;
    read->done = NULL;
    if (read->begun)
        return; /* after_read() frees it */
    list_remove(&read->list);
    read_free(read);
}

uint32_t retained_read_count(const struct retained_read *read)
{
    return read->read_count;
}

struct message *retained_read_wanted(const struct retained_read *read, uint32_t index)
{
    return read->items[index].wanted;
}

struct message *retained_read_steal(struct retained_read *read, uint32_t index)
{
    struct message *found = read->items[index].found;

    read->items[index].found = NULL;
    return found;
}

/* ---- waiting for the loading ---- */

static void run_wake(struct worker *worker, struct post *post)
{
    struct retained_desk *desk = CONTAINER_OF(post, struct retained_desk, post);
    struct list woken;

    atomic_store(&desk->state, DESK_IDLE);
    list_init(&woken);
    list_splice(&woken, &desk->waiters);
    for (struct list *first = list_first(&woken); first != NULL; first = list_first(&woken)) {
        struct retained_waiter *waiter = LIST_ENTRY(first, struct retained_waiter, list);
        list_remove(first);
        waiter->wake(worker, waiter);
    }
}

uint64_t retained_load_version(const struct retainer *retainer)
{
    return atomic_load(&retainer->loader.version);
}

/* The loader moves its version, then looks at the state; we set the state, then look at the version: one of the two sees the other. */
bool retained_wait(struct retainer *retainer, struct worker *worker, struct retained_waiter *waiter, uint64_t version)
{
    struct retained_desk *desk = desk_of(retainer, worker);
    int idle = DESK_IDLE;

    if (list_empty(&waiter->list))
        list_append(&desk->waiters, &waiter->list);
    atomic_compare_exchange_strong(&desk->state, &idle, DESK_WANTED);
    if (retained_load_version(retainer) == version)
        return true;
    list_remove(&waiter->list);
    return false;
}

void retained_desk_wake(struct retained_desk *desk)
{
    int wanted = DESK_WANTED;

    if (atomic_compare_exchange_strong(&desk->state, &wanted, DESK_POSTED))
        worker_post(desk->worker, &desk->post);
}

void retained_desk_init(struct retainer *retainer, struct worker *worker)
{
    struct retained_desk *desk = desk_of(retainer, worker);

    *desk = (struct retained_desk){
        .retainer = retainer, .worker = worker, .post.run = run_wake, .work.run = begin_reads};
    list_init(&desk->waiters);
    list_init(&desk->reads);
}

void retained_desk_finish(struct retained_desk *desk)
{
    if (desk->retainer == NULL)
        return;
    while (desk->reads_begun > 0)
        uv_run(worker_uv_loop(desk->worker), UV_RUN_ONCE);
    worker_run_cancel(desk->worker, &desk->work); /* what has not begun is cancelled by who wants it */
}
