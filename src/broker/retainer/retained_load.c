/*
 * retained_load: fills the index from the store while the workers run already.
 *
 * A thread of its own reads the rows in the order of the index, a chunk at a time, each as of a moment of its own, and adds what is not there:
 *
 *   forget topics whose deletion is on disk ──► read a chunk ──► add its messages ──► frontier moves ──► wake who waits ──┐
 *        ▲                                                                                                              │
 *        └──────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * Behind the frontier memory may lack what is stored. There
 * - a topic that was published meanwhile is in the index: its row, perhaps an older one, is left out;
 * - a topic that was cleared meanwhile is remembered (retained_rows.h) until a chunk is begun that cannot have its row any more;
 * - an exact filter that finds nothing is looked up in the store; a match with wildcards goes up to the frontier and waits there.
 * All of it is decided with the topic's lock held, so that nothing falls between.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/rcu.h"
#include "broker/retainer/retainer_internal.h"
#include "mqtt/message.h"
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK_ROWS 4096u              /* in one step, some milliseconds */
#define CHUNK_BYTES ((size_t)4 << 20) /* or when they are that many: what the loading needs beside the messages */
#define RETRY_MS 100u                 /* after short memory */

static struct retained_frontier everything = {.all = true};

struct chunk_row {
    struct message *message; /* or its stub */
    bool expired;            /* its row is to go */
};

struct chunk {
    struct retainer *retainer;
    uint32_t count;
    size_t bytes;
    uint32_t damaged;
    bool short_of_memory;
    bool full;
    size_t last_len; /* the last key read, whatever it held */
    uint8_t last[RETAINED_KEY_MAX + 1];
    struct chunk_row rows[CHUNK_ROWS];
};

void retained_loader_init(struct retained_loader *loader)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&loader->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&loader->lock, NULL);
    loader->frontier = &everything;
}

static void frontier_free(void *frontier)
{
    if (frontier != &everything)
        free(frontier);
}

void retained_loader_fini(struct retained_loader *loader)
{
    frontier_free(loader->frontier);
    pthread_cond_destroy(&loader->wake);
    pthread_mutex_destroy(&loader->lock);
}

bool retained_loading(const struct retainer *retainer, struct slice *out_last)
{
    const struct retained_frontier *frontier = RCU_READ(retainer->loader.frontier);

    if (LIKELY(frontier->all))
        return false;
    *out_last = slice_make(frontier->topic, frontier->topic_len);
    return true;
}

bool retained_may_be_unloaded(const struct retainer *retainer, struct slice topic)
{
    struct slice last;

    if (UNLIKELY(retained_loading(retainer, &last)))
        return last.len == 0 || retained_topic_compare(topic, last) > 0;
    return atomic_load_explicit(&retainer->loader.gap, memory_order_relaxed);
}

/* ---- one chunk ---- */

/* False: memory is short. */
static bool take_row(struct chunk *chunk, struct slice key, struct slice value)
{
    struct message_record record;
    struct chunk_row *row = &chunk->rows[chunk->count];

    row->expired = false;
    if (retained_row_decode(key, value, &record) < 0) {
        chunk->damaged++;
        return true;
    }
    row->message = retainer_restore(chunk->retainer, &record, false, &row->expired);
    if (row->message == NULL && row->expired) {
        /* It stands for its topic. */
        struct message_parts parts = {.topic = record.topic};
        row->message = message_new_from_parts(&parts);
    }
    if (row->message == NULL)
        return false;
    chunk->bytes += message_bytes(row->message);
    chunk->count++;
    return true;
}

/* Offline: nothing shared is touched. */
static bool visit_row(void *context, struct slice key, struct slice value)
{
    struct chunk *chunk = context;

    if (key.len > RETAINED_KEY_MAX) {
        chunk->damaged++; /* not a topic: the rest of its prefix comes next */
        key.len = RETAINED_KEY_MAX;
    } else if (!take_row(chunk, key, value)) {
        chunk->short_of_memory = true;
        return false;
    }
    memcpy(chunk->last, key.data, key.len);
    chunk->last_len = key.len;
    chunk->full = chunk->count == CHUNK_ROWS || chunk->bytes >= CHUNK_BYTES;
    return !chunk->full;
}

/* The place is locked. */
static int add_message(struct retainer *retainer, struct retained_place *place, struct message *message)
{
    int err = retained_place_set(retainer->index, place, message, true); /* over the limit too: what is there stays */

    if (err < 0)
        return err;
    retained_place_set_mark(place, true);
    retainer_count_change(1);
    if (retainer_expires(retainer, message))
        retainer_expect_expiry(retainer, retained_expires_ms(retainer, message));
    return 0;
}

/* Adds a row that nothing has overtaken. */
static void add_row(struct retainer *retainer, const struct chunk_row *row)
{
    struct slice topic = message_topic(row->message);
    struct retained_place place;
    int err = 0;

    retained_index_lock(retainer->index, topic, &place);
    if (retained_place_message(&place) == NULL && !retained_rows_was_cleared(&retainer->rows, topic)) {
        if (row->expired) {
            err = retained_rows_clear(&retainer->rows, topic, false);
            metric_add(METRIC_MESSAGES_EXPIRED, 1);
        } else {
            err = add_message(retainer, &place, row->message);
        }
    }
    retained_index_unlock(retainer->index, &place);
    if (err < 0) { /* memory: the row stays for the next start */
        atomic_store(&retainer->loader.gap, true);
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
    }
}

static void publish_frontier(struct retainer *retainer, struct retained_frontier *frontier)
{
    struct retained_frontier *old = retainer->loader.frontier;

    RCU_PUBLISH(retainer->loader.frontier, frontier);
    rcu_retire(old, frontier_free);
    atomic_fetch_add(&retainer->loader.version, 1);
    for (uint32_t i = 0; i < WORKER_COUNT_MAX; i++) {
        if (retainer->desks[i].retainer != NULL)
            retained_desk_wake(&retainer->desks[i]);
    }
}

/* The frontier behind the chunk's last row. NULL: short of memory. */
static struct retained_frontier *frontier_new(const struct chunk *chunk)
{
    struct retained_frontier *frontier = malloc(sizeof(*frontier) + chunk->last_len);

    if (frontier == NULL)
        return NULL;
    frontier->all = false;
    frontier->topic_len = chunk->last_len;
    for (size_t i = 0; i < chunk->last_len; i++)
        frontier->topic[i] = chunk->last[i] == 0 ? '/' : chunk->last[i];
    return frontier;
}

static void add_chunk(struct retainer *retainer, struct chunk *chunk)
{
    for (uint32_t i = 0; i < chunk->count; i++) {
        add_row(retainer, &chunk->rows[i]);
        chunk->rows[i].message = message_unref(chunk->rows[i].message);
    }
    if (chunk->damaged > 0) {
        log_error("[Retainer] %u damaged retained messages (table retained of the store), leaving them out",
                  chunk->damaged);
        metric_add(METRIC_MESSAGES_DROPPED_UNREADABLE, chunk->damaged);
        atomic_store(&retainer->loader.gap, true);
    }
    (void)retained_rows_submit(&retainer->rows, false);
}

/* Reads the rows behind the last one. 0, -EIO. */
static int read_chunk(struct retainer *retainer, struct chunk *chunk)
{
    const struct slice every_row = {NULL, 0};
    struct slice from = slice_make(chunk->last, chunk->last_len);
    uint8_t *behind = chunk->last + chunk->last_len;

    if (chunk->last_len > 0) { /* the first text that can come behind it */
        *behind = 0;
        from.len++;
    }
    chunk->count = 0;
    chunk->bytes = 0;
    chunk->damaged = 0;
    chunk->full = false;
    chunk->short_of_memory = false;
    return store_scan(retainer->rows.store, STORE_RETAINED, every_row, from, visit_row, chunk);
}

/* ---- the thread ---- */

/* Waits up to `ms`, 0: not at all. True: the thread is to end. */
static bool loader_pause(struct retained_loader *loader, uint64_t ms)
{
    struct timespec until;
    bool stop;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms * 1000000);
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&loader->lock);
    if (ms > 0 && !loader->stop)
        pthread_cond_timedwait(&loader->wake, &loader->lock, &until);
    stop = loader->stop;
    pthread_mutex_unlock(&loader->lock);
    return stop;
}

/* One step; 1: go on, 0: everything is loaded, -EIO, -ENOMEM: again in a while. The thread is online but while it reads. */
static int load_step(struct retainer *retainer, struct chunk *chunk)
{
    struct retained_frontier *frontier;
    int err;

    retained_rows_forget_cleared(&retainer->rows);
    rcu_thread_offline();
    err = read_chunk(retainer, chunk);
    rcu_thread_online();
    add_chunk(retainer, chunk);
    if (err < 0)
        return err;
    if (!chunk->full && !chunk->short_of_memory)
        return 0;
    frontier = chunk->last_len == 0 ? NULL : frontier_new(chunk);
    if (frontier != NULL)
        publish_frontier(retainer, frontier);
    return frontier == NULL || chunk->short_of_memory ? -ENOMEM : 1;
}

static void load(struct retainer *retainer, struct chunk *chunk)
{
    struct retained_loader *loader = &retainer->loader;
    uint64_t begin_ms = clock_mono_ms();
    int more = 1;

    while (!loader_pause(loader, more < 0 ? RETRY_MS : 0)) {
        more = load_step(retainer, chunk);
        if (more != 0 && more != -EIO)
            continue;
        if (more == -EIO) {
            atomic_store(&loader->gap, true);
            log_error(
                "[Retainer] cannot read the stored retained messages (table retained) behind topic %.*s: going on "
                "without the rest; `emqx_ctl store check` says more",
                SLICE_ARG(slice_make(chunk->last, chunk->last_len)));
        }
        publish_frontier(retainer, &everything);
        retained_rows_forget_cleared(&retainer->rows);
        log_info("[Retainer] %" PRIu64 " retained messages loaded in %" PRIu64 " ms", retainer_count(retainer),
                 clock_mono_ms() - begin_ms);
        worker_post(retainer->desks[0].worker, &loader->done);
        return;
    }
}

static void *loader_main(void *argument)
{
    struct retainer *retainer = argument;
    struct chunk *chunk = NULL;

    pthread_setname_np(pthread_self(), "retained-load");
    rcu_thread_register();
    while (chunk == NULL && !loader_pause(&retainer->loader, 0)) {
        chunk = calloc(1, sizeof(*chunk));
        if (chunk == NULL)
            loader_pause(&retainer->loader, RETRY_MS);
    }
    if (chunk != NULL) {
        chunk->retainer = retainer;
        load(retainer, chunk);
    }
    free(chunk);
    rcu_thread_unregister();
    return NULL;
}

static void run_done(struct worker *worker, struct post *post)
{
    struct retained_loader *loader = CONTAINER_OF(post, struct retained_loader, done);

    if (loader->on_loaded != NULL)
        loader->on_loaded(worker);
}

int retained_loader_start(struct retainer *retainer)
{
    struct retained_loader *loader = &retainer->loader;
    struct retained_frontier *nothing = calloc(1, sizeof(*nothing));
    int err;

    if (nothing == NULL)
        return -ENOMEM;
    loader->done.run = run_done;
    loader->frontier = nothing;
    err = -pthread_create(&loader->thread, NULL, loader_main, retainer);
    if (err < 0) {
        loader->frontier = &everything;
        free(nothing);
        return err;
    }
    loader->running = true;
    return 0;
}

void retained_loader_stop(struct retainer *retainer)
{
    struct retained_loader *loader = &retainer->loader;

    if (!loader->running)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&loader->lock);
    pthread_join(loader->thread, NULL);
    loader->running = false;
}
