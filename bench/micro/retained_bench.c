/*
 * retained_bench: what retained messages weigh and how long a start with many of them takes.
 *
 * Usage: retained_bench DIRECTORY [MESSAGES [PAYLOAD]]. Stores small messages (with a payload of PAYLOAD bytes, default 32) in a store
 * in DIRECTORY, which is to be empty, ends, and loads them again, twice: with the payloads in memory and with all of them on disk only.
 * Prints the time of storing and of loading, when the first subscription of an exact topic was answered, and the bytes for each message as
 * the allocator counts them.
 */
#include "allocated.h"
#include "base/clock.h"
#include "base/rcu.h"
#include "broker/retainer/retainer.h"
#include "event/worker.h"
#include "mqtt/message.h"
#include "store/store.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES 1000000u
#define PAYLOAD 32u
#define COMMIT_EVERY 1000u

struct bench {
    const char *dir;
    uint32_t message_count;
    uint32_t payload_len;
    struct store *store;
    struct worker_pool *pool;
    struct retainer *retainer;
};

static bool all_loaded;

static void on_loaded(struct worker *worker)
{
    (void)worker;
    all_loaded = true;
}

static void check(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(-err));
    exit(1);
}

static void turn(const struct bench *bench)
{
    worker_run_turn(worker_pool_get(bench->pool, 0), clock_mono_ms());
    rcu_thread_offline(); /* what was retired goes */
    sched_yield();
    rcu_thread_online();
}

static void open_all(struct bench *bench, uint64_t payload_in_memory_max)
{
    struct store_options store_options = {.dir = bench->dir,
                                          .cache_bytes = 32u << 20,
                                          .write_buffer_bytes = 64u << 20,
                                          .queue_bytes_max = 64u << 20,
                                          .sync_interval_ms = 1000};
    struct retainer_options options = {.payload_in_memory_max = payload_in_memory_max};

    check(store_open(&store_options, &bench->store, NULL), "store_open");
    check(worker_pool_new(1, 1 << 20, &bench->pool), "worker_pool_new");
    bench->retainer = retainer_new(&options);
    check(bench->retainer == NULL ? -1 : 0, "retainer_new");
    all_loaded = false;
    check(retainer_open(bench->retainer, bench->store, bench->pool, on_loaded), "retainer_open");
}

static void close_all(struct bench *bench)
{
    worker_pool_drain(bench->pool);
    retainer_close(bench->retainer);
    store_close(bench->store);
    worker_pool_drain(bench->pool);
    worker_pool_free(bench->pool);
    retainer_free(bench->retainer);
    rcu_barrier_all();
}

static void topic_of(char text[64], uint32_t index)
{
    snprintf(text, 64, "site/%u/device/%u/temperature", index % 1000, index);
}

static void store_all(struct bench *bench)
{
    char *payload = calloc(1, bench->payload_len + 1);
    uint64_t begin_ms = clock_mono_ms();
    char topic[64];

    check(payload == NULL ? -1 : 0, "payload");
    memset(payload, 'x', bench->payload_len);
    for (uint32_t i = 0; i < bench->message_count; i++) {
        topic_of(topic, i);
        struct message_options options = {.topic = slice_from_string(topic),
                                          .payload = slice_from_string(payload),
                                          .client_id = SLICE_LITERAL("device-000001"),
                                          .now_ms = begin_ms,
                                          .qos = 1,
                                          .retain = true};
        struct message *message = message_new(&options);

        check(message == NULL ? -1 : 0, "message_new");
        if (retainer_store(bench->retainer, message, true) != RETAINER_WRITTEN)
            check(-1, "retainer_store");
        message_unref(message);
        if (i % COMMIT_EVERY != 0)
            continue;
        retainer_submit(bench->retainer, false);
        do
            turn(bench);
        while (store_congested(bench->store));
    }
    retainer_submit(bench->retainer, true);
    free(payload);
    printf("stored %u messages: %" PRIu64 " ms\n", bench->message_count, clock_mono_ms() - begin_ms);
}

static void count_found(void *context, struct message *message)
{
    (void)message;
    ++*(uint32_t *)context;
}

/* A filter for the last topic in the order of loading, asked as the first thing. */
static uint32_t ask_last(struct bench *bench)
{
    struct retainer_position position = {0};
    uint32_t found = 0;
    char topic[64];

    topic_of(topic, bench->message_count - 1);
    if (retainer_match_slice(bench->retainer, slice_from_string(topic), &position, 1000, 0, count_found, &found) != 0)
        check(-1, "retainer_match_slice");
    return found;
}

static void load_all(struct bench *bench, uint64_t payload_in_memory_max, const char *name)
{
    size_t before = allocated_bytes();
    uint64_t begin_us = clock_mono_us(), opened_us, answered_us, loaded_us;
    uint32_t found;

    open_all(bench, payload_in_memory_max);
    opened_us = clock_mono_us();
    found = ask_last(bench);
    answered_us = clock_mono_us();
    while (!all_loaded)
        turn(bench);
    loaded_us = clock_mono_us();
    rcu_barrier_all();
    if (retainer_count(bench->retainer) != bench->message_count || found != 1)
        check(-1, "not all are there");
    printf("%s: store open after %.0f ms, first answer after %.1f ms, all loaded after %.0f ms; %.0f bytes a message\n",
           name, (double)(opened_us - begin_us) / 1e3, (double)(answered_us - begin_us) / 1e3,
           (double)(loaded_us - begin_us) / 1e3, (double)(allocated_bytes() - before) / bench->message_count);
    close_all(bench);
}

int main(int argc, char **argv)
{
    struct bench bench = {.message_count = MESSAGES, .payload_len = PAYLOAD};

    if (argc < 2) {
        fprintf(stderr, "usage: %s DIRECTORY [MESSAGES [PAYLOAD]]\n", argv[0]);
        return 1;
    }
    bench.dir = argv[1];
    if (argc > 2)
        bench.message_count = (uint32_t)strtoul(argv[2], NULL, 10);
    if (argc > 3)
        bench.payload_len = (uint32_t)strtoul(argv[3], NULL, 10);
    rcu_thread_register();
    open_all(&bench, UINT64_MAX);
    while (!all_loaded)
        turn(&bench);
    store_all(&bench);
    close_all(&bench);
    load_all(&bench, UINT64_MAX, "payloads in memory");
    load_all(&bench, 0, "payloads on disk only");
    rcu_thread_unregister();
    return 0;
}
