/*
 * metrics: counters since start, and gauges with their maximum since start.
 *
 * Each thread's block is written by that thread alone, with plain (relaxed) loads and stores, and read by others.
 * `lock` guards the list of blocks, the registered names and the maxima. A thread's end folds its block into `shared`
 * under the lock, so a reader sees its counts in one of the two places, never in both or none. Blocks are aligned to
 * cache lines, so that threads do not slow each other down.
 */
#include "base/metrics.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE_BYTES = 64, NAME_BYTES_MAX = 63 };

struct block_entry {
    struct metrics_block block; /* first: the thread's pointer is also the entry's */
    struct block_entry *next;
    struct block_entry *prev;
};

struct metric_text {
    const char *name;
    const char *help;
};

#define TEXT_ROW(name, text, help) {text, help},
static const struct metric_text metric_texts[METRIC_COUNT] = {METRIC_TABLE(TEXT_ROW)};
#undef TEXT_ROW

struct stat_text {
    const char *count_name;
    const char *max_name;
    const char *help;
};

#define TEXT_ROW(name, text, help) {text ".count", text ".max", help},
static const struct stat_text stat_texts[STAT_COUNT] = {STAT_TABLE(TEXT_ROW)};
#undef TEXT_ROW

_Thread_local struct metrics_block *metrics_block_here;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block_entry *blocks;  /* of the living threads */
static struct metrics_block shared; /* of ended threads and threads without a block: atomic additions */
static uint64_t stat_max[STAT_COUNT];
static struct metric_text registered[METRIC_REGISTERED_MAX];
static uint32_t registered_count; /* atomic: rows below it never change */

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error;

static void fold(uint64_t *into, const uint64_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        __atomic_fetch_add(&into[i], from[i], __ATOMIC_RELAXED);
}

/* Runs at the end of a thread that counted. */
static void block_release(void *pointer)
{
    struct block_entry *entry = pointer;

    metrics_block_here = NULL;
    pthread_mutex_lock(&lock);
    fold(shared.metrics, entry->block.metrics, METRIC_TOTAL_MAX);
    fold(shared.stats, entry->block.stats, STAT_COUNT);
    if (entry->prev != NULL)
        entry->prev->next = entry->next;
    else
        blocks = entry->next;
    if (entry->next != NULL)
        entry->next->prev = entry->prev;
    pthread_mutex_unlock(&lock);
    free(entry);
}

static void key_make(void)
{
    key_error = pthread_key_create(&key, block_release);
}

struct metrics_block *metrics_thread_block(void)
{
    struct block_entry *entry;
    size_t bytes = (sizeof(*entry) + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;

    pthread_once(&key_once, key_make);
    if (key_error != 0)
        return NULL;
    entry = aligned_alloc(CACHE_LINE_BYTES, bytes);
    if (entry == NULL)
        return NULL;
    memset(entry, 0, sizeof(*entry));
    if (pthread_setspecific(key, entry) != 0) {
        free(entry);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    entry->next = blocks;
    if (blocks != NULL)
        blocks->prev = entry;
    blocks = entry;
    pthread_mutex_unlock(&lock);
    metrics_block_here = &entry->block;
    return metrics_block_here;
}

void metrics_add_shared(uint32_t metric, uint64_t count)
{
    __atomic_fetch_add(&shared.metrics[metric], count, __ATOMIC_RELAXED);
}

void stats_add_shared(enum stat_id stat, int64_t change)
{
    __atomic_fetch_add(&shared.stats[stat], (uint64_t)change, __ATOMIC_RELAXED);
}

/* Lock held. */
static uint64_t sum_metric(uint32_t metric)
{
    uint64_t sum = __atomic_load_n(&shared.metrics[metric], __ATOMIC_RELAXED);

    for (const struct block_entry *entry = blocks; entry != NULL; entry = entry->next)
        sum += __atomic_load_n(&entry->block.metrics[metric], __ATOMIC_RELAXED);
    return sum;
}

/* Lock held. The parts of several threads are not read at one moment: a sum may be below zero for a while. */
static uint64_t sum_stat(enum stat_id stat)
{
    uint64_t sum = __atomic_load_n(&shared.stats[stat], __ATOMIC_RELAXED);

    for (const struct block_entry *entry = blocks; entry != NULL; entry = entry->next)
        sum += __atomic_load_n(&entry->block.stats[stat], __ATOMIC_RELAXED);
    return (int64_t)sum < 0 ? 0 : sum;
}

/* Lock held. */
static uint64_t sum_stat_with_max(enum stat_id stat)
{
    uint64_t value = sum_stat(stat);

    if (value > stat_max[stat])
        stat_max[stat] = value;
    return value;
}

uint64_t metrics_read(uint32_t metric)
{
    uint64_t value;

    ASSERT(metric < metrics_count());
    pthread_mutex_lock(&lock);
    value = sum_metric(metric);
    pthread_mutex_unlock(&lock);
    return value;
}

static int find_name(const char *name, uint32_t *out_metric)
{
    uint32_t count = metrics_count();

    for (uint32_t metric = 0; metric < count; metric++) {
        if (strcmp(metrics_name(metric), name) == 0) {
            *out_metric = metric;
            return 0;
        }
    }
    return -ENOENT;
}

/* Lock held. */
static int add_name(const char *name, const char *help, uint32_t *out_metric)
{
    struct metric_text text = {NULL, NULL};
    uint32_t index = registered_count;

    if (index == METRIC_REGISTERED_MAX)
        return -ENOSPC;
    text.name = strdup(name);
    text.help = strdup(help);
    if (text.name == NULL || text.help == NULL) {
        free((void *)text.name);
        free((void *)text.help);
        return -ENOMEM;
    }
    registered[index] = text;
    __atomic_store_n(&registered_count, index + 1, __ATOMIC_RELEASE);
    *out_metric = METRIC_COUNT + index;
    return 0;
}

int metrics_register(const char *name, const char *help, uint32_t *out_metric)
{
    size_t length = strlen(name);
    int err;

    if (length == 0 || length > NAME_BYTES_MAX)
        return -EINVAL;
    pthread_mutex_lock(&lock);
    err = find_name(name, out_metric);
    if (err < 0)
        err = add_name(name, help, out_metric);
    pthread_mutex_unlock(&lock);
    return err;
}

uint32_t metrics_count(void)
{
    return METRIC_COUNT + __atomic_load_n(&registered_count, __ATOMIC_ACQUIRE);
}

static const struct metric_text *metric_text(uint32_t metric)
{
    ASSERT(metric < metrics_count());
    return metric < METRIC_COUNT ? &metric_texts[metric] : &registered[metric - METRIC_COUNT];
}

const char *metrics_name(uint32_t metric)
{
    return metric_text(metric)->name;
}

const char *metrics_help(uint32_t metric)
{
    return metric_text(metric)->help;
}

void metrics_visit(void (*visit)(const char *name, uint64_t value, void *context), void *context)
{
    uint64_t values[METRIC_TOTAL_MAX];
    uint32_t count = metrics_count();

    pthread_mutex_lock(&lock);
    for (uint32_t metric = 0; metric < count; metric++)
        values[metric] = sum_metric(metric);
    pthread_mutex_unlock(&lock);
    for (uint32_t metric = 0; metric < count; metric++)
        visit(metrics_name(metric), values[metric], context);
}

void stat_set(enum stat_id stat, uint64_t value)
{
    pthread_mutex_lock(&lock);
    __atomic_store_n(&shared.stats[stat], value, __ATOMIC_RELAXED);
    (void)sum_stat_with_max(stat);
    pthread_mutex_unlock(&lock);
}

void stats_refresh(void)
{
    pthread_mutex_lock(&lock);
    for (int stat = 0; stat < STAT_COUNT; stat++)
        (void)sum_stat_with_max((enum stat_id)stat);
    pthread_mutex_unlock(&lock);
}

uint64_t stats_read(enum stat_id stat, uint64_t *out_max)
{
    uint64_t value;

    pthread_mutex_lock(&lock);
    value = sum_stat_with_max(stat);
    *out_max = stat_max[stat];
    pthread_mutex_unlock(&lock);
    return value;
}

void stats_visit(void (*visit)(const char *name, uint64_t value, void *context), void *context)
{
    for (int stat = 0; stat < STAT_COUNT; stat++) {
        uint64_t max;
        uint64_t value = stats_read((enum stat_id)stat, &max);

        visit(stat_texts[stat].count_name, value, context);
        visit(stat_texts[stat].max_name, max, context);
    }
}

const char *stats_help(enum stat_id stat)
{
    return stat_texts[stat].help;
}
