/*
 * store_state: whether the disk does its work, as the store thread finds out, and as others are told.
 *
 *                    write failed: no space                        write failed: anything else
 *   STORE_OPEN ────────────────────────────► STORE_FULL   STORE_FAILED ◄──────────────────── STORE_OPEN
 *       ▲      too little free space               │           │
 *       └────── a write succeeded, enough space ───┴───────────┘
 */
#include "store/store_internal.h"

#include "base/clock.h"
#include "base/metrics.h"

#include <string.h>
#include <sys/statvfs.h>

/* Free space must reach this many quarters of the minimum before there is enough again. */
#define SPACE_ENOUGH_QUARTERS 6

static bool is_full(const char *error)
{
    return strstr(error, "No space left") != NULL || strstr(error, "quota exceeded") != NULL;
}

void store_set_problem(struct store *store, const char *text)
{
    pthread_mutex_lock(&store->problem_lock);
    snprintf(store->problem, sizeof(store->problem), "%s", text);
    pthread_mutex_unlock(&store->problem_lock);
}

static void set_state(struct store *store, enum store_state state)
{
    if (state == STORE_OPEN)
        store_set_problem(store, "");
    if (state == __atomic_load_n(&store->state, __ATOMIC_RELAXED))
        return;
    __atomic_store_n(&store->state, state, __ATOMIC_RELEASE);
    stat_set(STAT_STORE_STATE, (uint64_t)state);
    store_clients_notify_all(store);
}

void store_on_failure(struct store *store, char *error)
{
    bool full;

    if (error != NULL)
        store_set_problem(store, error);
    rocksdb_free(error);
    pthread_mutex_lock(&store->problem_lock);
    full = is_full(store->problem);
    pthread_mutex_unlock(&store->problem_lock);
    store->writer.write_failed = true;
    store->writer.retry_ms = clock_mono_ms() + STORE_RETRY_MS;
    __atomic_add_fetch(&store->counters.failures, 1, __ATOMIC_RELAXED);
    metric_add(METRIC_STORE_FAILURES, 1);
    set_state(store, full ? STORE_FULL : STORE_FAILED);
}

/* Writes work: the state follows from the free space. */
static void set_state_by_space(struct store *store)
{
    char text[STORE_PROBLEM_BYTES];

    if (!store->writer.space_short) {
        set_state(store, STORE_OPEN);
        return;
    }
    snprintf(text, sizeof(text), "less than %llu MB are free on the disk of %s",
             (unsigned long long)(store->options.free_bytes_min >> 20), store->dir);
    store_set_problem(store, text);
    set_state(store, STORE_FULL);
}

void store_on_success(struct store *store)
{
    if (store->writer.write_failed) {
        store->writer.write_failed = false;
        set_state_by_space(store);
    }
}

void store_look_at_space(struct store *store)
{
    uint64_t enough = store->options.free_bytes_min;
    struct statvfs space;
    bool is_short;

    if (enough == 0 || statvfs(store->dir, &space) < 0)
        return;
    if (store->writer.space_short)
        enough = enough / 4 * SPACE_ENOUGH_QUARTERS;
    is_short = (uint64_t)space.f_bavail * space.f_frsize < enough;
    if (is_short == store->writer.space_short)
        return;
    store->writer.space_short = is_short;
    if (!store->writer.write_failed)
        set_state_by_space(store);
}

void store_look_at_background(struct store *store)
{
    uint64_t errors = 0;

    if (store->database == NULL || store->writer.write_failed ||
        rocksdb_property_int(store->database, "rocksdb.background-errors", &errors) != 0 ||
        errors == store->writer.background_errors)
        return;
    store->writer.background_errors = errors;
    store->writer.write_failed = true;
    store->writer.retry_ms = 0;
}

/* ---- asked by others ---- */

bool store_congested(const struct store *store)
{
    return __atomic_load_n(&store->congested, __ATOMIC_RELAXED);
}

bool store_would_congest(const struct store *store, const struct store_client *client)
{
    return client->open != NULL && __atomic_load_n(&store->queued_bytes, __ATOMIC_RELAXED) + client->open->length >=
                                       store->options.queue_bytes_max;
}

enum store_state store_state(const struct store *store)
{
    return __atomic_load_n(&store->state, __ATOMIC_ACQUIRE);
}

static void copy_problem(const struct store *store, const char *problem, char *out, size_t size)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&store->problem_lock;

    pthread_mutex_lock(lock);
    snprintf(out, size, "%s", problem);
    pthread_mutex_unlock(lock);
}

void store_problem(const struct store *store, char *out, size_t size)
{
    copy_problem(store, store->problem, out, size);
}

void store_read_problem(const struct store *store, char *out, size_t size)
{
    copy_problem(store, store->read_problem, out, size);
}
