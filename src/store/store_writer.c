/*
 * store_writer: the store thread. It takes all batches that wait, writes them in order and syncs the log once for all of them.
 *
 *   wait ──► take what was submitted ──► write, in groups of STORE_WRITE_BYTES ──► sync ──► tell the clients
 *     ▲                                    │ failed                │ failed                        │
 *     └──────◄── STORE_RETRY_MS later, ◄───┴───────────────────────┘                               │
 *     │          the database opened again                                                         │
 *     └────────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * A group is one atomic write and has a number, which is written with it (META_COMMIT). After a failure the row tells which
 * groups reached the disk; those are not written again, the others are, in the same groups. So the state on disk is
 * at every moment that after some prefix of all groups.
 */
#include "store/store_internal.h"

#include "base/clock.h"
#include "base/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Numbers are reserved on disk this far ahead, and again when half of them are used up. */
#define NUMBERS_RESERVED (UINT64_C(1) << 32)

/* ---- one write ---- */

static void put_meta(struct store *store, struct slice key, const uint8_t *value, size_t length)
{
    rocksdb_writebatch_put_cf(store->writer.write, store->tables[STORE_META], (const char *)key.data, key.len,
                              (const char *)value, length);
}

static void put_u64(struct store *store, struct slice key, uint64_t number)
{
    uint8_t value[8];

    bytes_put_big(value, number, 8);
    put_meta(store, key, value, sizeof(value));
}

/* What a write has to say beside the batches; the number limit that holds once it is on disk. */
static uint64_t add_meta(struct store *store, uint64_t group)
{
    uint64_t next = __atomic_load_n(&store->next_number, __ATOMIC_RELAXED);
    uint64_t limit = store->writer.number_limit;
    uint64_t now_ms = clock_mono_ms();

    put_u64(store, META_COMMIT, group);
    if (next + NUMBERS_RESERVED / 2 >= limit) {
        limit = next + NUMBERS_RESERVED;
        put_u64(store, META_NUMBERS, limit);
    }
    if (now_ms >= store->writer.clock_saved_ms + STORE_LOOK_MS) {
        struct store_clock_reading reading;
        uint8_t record[STORE_CLOCK_RECORD_BYTES];

        store_clock_read(&reading);
        store_clock_record(&store->clock, &reading, record);
        put_meta(store, META_CLOCK, record, sizeof(record));
        store->writer.clock_saved_ms = now_ms;
    }
    return limit;
}

static void note_synced(struct store *store)
{
    store->writer.unsynced_ms = 0;
    __atomic_add_fetch(&store->counters.syncs, 1, __ATOMIC_RELAXED);
    metric_add(METRIC_STORE_SYNCS, 1);
    store_mark_write(store->mark_file, store->writer.group);
}

/* Writes store->writer.write, which holds the rows of `group`. -EIO with `*out_error`. */
static int write_group(struct store *store, uint64_t group, bool sync, char **out_error)
{
    uint64_t limit = add_meta(store, group);

    rocksdb_write(store->database, sync ? store->sync_options : store->write_options, store->writer.write, out_error);
    if (*out_error != NULL) {
        store->writer.clock_saved_ms = 0;
        return -EIO;
    }
    store->writer.number_limit = limit;
    if (sync)
        note_synced(store);
    else if (store->writer.unsynced_ms == 0)
        store->writer.unsynced_ms = clock_mono_ms();
    return 0;
}

static int sync_log(struct store *store, char **out_error)
{
    rocksdb_flush_wal(store->database, 1, out_error);
    if (*out_error != NULL)
        return -EIO;
    note_synced(store);
    return 0;
}

int store_write_first(struct store *store, char **out_error)
{
    rocksdb_writebatch_clear(store->writer.write);
    return write_group(store, store->writer.group, true, out_error);
}

/* ---- groups ---- */

/* Puts the rows of the next group, which begins with `first`, into store->writer.write. Returns the batch behind it. */
static struct store_batch *gather(struct store *store, struct store_batch *first, uint64_t *out_group)
{
    uint64_t group = first->group; /* 0: is written for the first time */
    struct store_batch *batch = first;
    size_t bytes = 0;
    uint32_t rows = 0;

    rocksdb_writebatch_clear(store->writer.write);
    for (; batch != NULL && batch->group == group; batch = batch->next) {
        if (group == 0 && rows > 0 && bytes + batch->length > STORE_WRITE_BYTES)
            break;
        store_batch_apply(batch, store->writer.write, store->tables);
        bytes += batch->length;
        rows += batch->count;
    }
    *out_group = group;
    if (group == 0 && rows > 0) {
        *out_group = ++store->writer.group;
        for (struct store_batch *member = first; member != batch; member = member->next)
            member->group = *out_group;
    }
    __atomic_add_fetch(&store->counters.bytes, bytes, __ATOMIC_RELAXED);
    metric_add(METRIC_STORE_COMMIT_BYTES, bytes);
    return batch;
}

/* Writes everything that waits, and syncs if somebody asked for it. */
static int write_waiting(struct store *store, char **out_error)
{
    struct store_batch *batch = store->writer.first;
    bool sync = false, written = false;
    uint64_t group;
    int err = 0;

    for (struct store_batch *each = batch; each != NULL; each = each->next)
        sync |= each->sync;
    while (batch != NULL && batch->group != 0 && batch->group <= store->writer.group_on_disk)
        batch = batch->next;
    while (err == 0 && batch != NULL) {
        batch = gather(store, batch, &group);
        if (group != 0)
            err = write_group(store, group, sync && batch == NULL, out_error);
        written |= group != 0;
    }
    if (err == 0 && store->writer.write_failed && !written)
        err = store_write_first(store, out_error); /* does it work again? */
    if (err == 0 && sync && store->writer.unsynced_ms != 0)
        err = sync_log(store, out_error);
    return err;
}

/* ---- the end of a commit ---- */

static void end_congestion(struct store *store)
{
    if (!__atomic_load_n(&store->congested, __ATOMIC_RELAXED) ||
        __atomic_load_n(&store->queued_bytes, __ATOMIC_RELAXED) >= store->options.queue_bytes_max / 2)
        return;
    __atomic_store_n(&store->congested, false, __ATOMIC_RELAXED);
    store_clients_notify_all(store);
}

static void touch(struct store_client **touched, struct store_client *client)
{
    if (client->touched)
        return;
    client->touched = true;
    client->next_touched = *touched;
    *touched = client;
    __atomic_add_fetch(&client->refs, 1, __ATOMIC_RELAXED);
}

static void tell(struct store *store, struct store_client *client)
{
    pthread_mutex_lock(&store->clients_lock);
    for (struct store_client *each = client; each != NULL; each = each->next_touched)
        store_client_notify(each);
    pthread_mutex_unlock(&store->clients_lock);
    while (client != NULL) {
        struct store_client *next = client->next_touched;

        client->touched = false;
        store_client_unref(client);
        client = next;
    }
}

/* All batches taken are on disk. */
static void complete(struct store *store)
{
    struct store_batch *batch = store->writer.first;
    struct store_client *touched = NULL;
    size_t bytes = 0;
    uint64_t count = 0;

    store->writer.first = store->writer.last = NULL;
    while (batch != NULL) {
        struct store_batch *next = batch->next;

        touch(&touched, batch->client);
        __atomic_store_n(&batch->client->committed, batch->number, __ATOMIC_RELEASE);
        bytes += batch->charged;
        count++;
        store_batch_release(batch);
        batch = next;
    }
    __atomic_sub_fetch(&store->queued_bytes, bytes, __ATOMIC_RELAXED);
    __atomic_add_fetch(&store->counters.batches, count, __ATOMIC_RELAXED);
    metric_add(METRIC_STORE_BATCHES, count);
    stat_set(STAT_STORE_QUEUE_BYTES, __atomic_load_n(&store->queued_bytes, __ATOMIC_RELAXED));
    tell(store, touched);
    end_congestion(store);
}

static void count_commit(struct store *store, uint64_t began_us)
{
    uint64_t took_us = clock_mono_us() - began_us;

    __atomic_add_fetch(&store->counters.commits, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&store->counters.commit_us, took_us, __ATOMIC_RELAXED);
    if (took_us > store->counters.slowest_us)
        __atomic_store_n(&store->counters.slowest_us, took_us, __ATOMIC_RELAXED);
    metric_add(METRIC_STORE_COMMITS, 1);
    metric_add(METRIC_STORE_COMMIT_US, took_us);
}

static void commit(struct store *store)
{
    uint64_t began_us = clock_mono_us();
    char *error = NULL;

    if (store->writer.write_failed && store_reopen(store) < 0) {
        store_on_failure(store, NULL);
        return;
    }
    if (write_waiting(store, &error) < 0) {
        store_on_failure(store, error);
        return;
    }
    store_on_success(store);
    if (store->writer.first == NULL)
        return;
    count_commit(store, began_us);
    complete(store);
}

/* ---- what is looked at from time to time ---- */

static void look(struct store *store, uint64_t now_ms)
{
    struct store_clock_reading reading;
    char *error = NULL;

    if (now_ms < store->writer.look_ms)
        return;
    store->writer.look_ms = now_ms + STORE_LOOK_MS;
    store_look_at_space(store);
    store_look_at_background(store);
    store_mark_manifest(store->mark_file, store->dir, &store->writer.manifest);
    store_clock_read(&reading);
    if (!store_clock_follow(&store->clock, &reading) || store->writer.write_failed)
        return;
    store->writer.clock_saved_ms = 0;
    rocksdb_writebatch_clear(store->writer.write);
    if (write_group(store, store->writer.group, false, &error) < 0)
        store_on_failure(store, error);
}

/* Batches that nobody waits for are synced after a while. */
static void sync_late(struct store *store, uint64_t now_ms)
{
    char *error = NULL;

    if (store->writer.unsynced_ms == 0 || store->writer.write_failed ||
        now_ms < store->writer.unsynced_ms + store->options.sync_interval_ms)
        return;
    if (sync_log(store, &error) < 0)
        store_on_failure(store, error);
}

/* ---- the thread ---- */

static void take_submitted(struct store *store)
{
    struct store_batch *batch = __atomic_exchange_n(&store->submitted, NULL, __ATOMIC_ACQUIRE);
    struct store_batch *first = NULL, *last = batch;

    while (batch != NULL) {
        struct store_batch *next = batch->next;

        batch->next = first;
        first = batch;
        batch = next;
    }
    if (first == NULL)
        return;
    if (store->writer.last == NULL)
        store->writer.first = first;
    else
        store->writer.last->next = first;
    store->writer.last = last;
}

void store_writer_wake(struct store *store)
{
    if (__atomic_load_n(&store->sleeping, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&store->sleeping, false, __ATOMIC_SEQ_CST))
        sem_post(&store->wake);
}

static void sleep_until(struct store *store, uint64_t until_ms)
{
    struct timespec until = {.tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000};

    __atomic_store_n(&store->sleeping, true, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&store->submitted, __ATOMIC_SEQ_CST) == NULL &&
        !__atomic_load_n(&store->stopping, __ATOMIC_SEQ_CST))
        while (sem_clockwait(&store->wake, CLOCK_MONOTONIC, &until) < 0 && errno == EINTR)
            ;
    __atomic_store_n(&store->sleeping, false, __ATOMIC_SEQ_CST);
}

static uint64_t next_event(const struct store *store)
{
    uint64_t at_ms = store->writer.look_ms;

    if (store->writer.unsynced_ms != 0 && store->writer.unsynced_ms + store->options.sync_interval_ms < at_ms)
        at_ms = store->writer.unsynced_ms + store->options.sync_interval_ms;
    if (store->writer.write_failed && store->writer.retry_ms < at_ms)
        at_ms = store->writer.retry_ms;
    return at_ms;
}

/* The last words: everything that waits, the time, and a sync. A disk that does not work is asked once more. */
static void write_last(struct store *store)
{
    char *error = NULL;

    take_submitted(store);
    if (store->writer.first != NULL || store->writer.write_failed)
        commit(store);
    if (store->writer.write_failed)
        commit(store);
    if (store->writer.write_failed)
        return;
    store->writer.clock_saved_ms = 0;
    if (store_write_first(store, &error) < 0)
        rocksdb_free(error); /* nobody waits for it */
    store_mark_manifest(store->mark_file, store->dir, &store->writer.manifest);
}

/* A disk that does not work to the end: nobody was told that these are written. */
static void drop_waiting(struct store *store)
{
    while (store->writer.first != NULL) {
        struct store_batch *batch = store->writer.first;

        store->writer.first = batch->next;
        store_batch_release(batch);
    }
    store->writer.last = NULL;
}

static void *run(void *context)
{
    struct store *store = context;

    pthread_setname_np(pthread_self(), "store");
    rocksdb_set_perf_level(rocksdb_disable); /* it would count each comparison of keys */
    while (!__atomic_load_n(&store->stopping, __ATOMIC_SEQ_CST)) {
        uint64_t now_ms = clock_mono_ms();

        look(store, now_ms);
        sync_late(store, now_ms);
        if (!store->writer.write_failed)
            take_submitted(store);
        if (store->writer.write_failed ? now_ms >= store->writer.retry_ms : store->writer.first != NULL)
            commit(store);
        else
            sleep_until(store, next_event(store));
    }
    write_last(store);
    drop_waiting(store);
    return NULL;
}

int store_writer_start(struct store *store)
{
    int err = pthread_create(&store->thread, NULL, run, store);

    store->thread_started = err == 0;
    return -err;
}

void store_writer_stop(struct store *store)
{
    if (!store->thread_started)
        return;
    __atomic_store_n(&store->stopping, true, __ATOMIC_SEQ_CST);
    store_writer_wake(store);
    pthread_join(store->thread, NULL);
    store->thread_started = false;
}

/* ---- asked by others ---- */

uint64_t store_next_number(struct store *store)
{
    return __atomic_fetch_add(&store->next_number, 1, __ATOMIC_RELAXED);
}

uint64_t store_time_ms(const struct store *store, uint64_t mono_ms)
{
    return store_clock_at(&store->clock, mono_ms);
}

uint64_t store_now_ms(const struct store *store)
{
    return store_clock_at(&store->clock, clock_mono_ms());
}
