/*
 * restore_bench: how long a start takes to build stored sessions again, and what an absent one weighs.
 *
 * Usage: restore_bench [SESSIONS [ENTRIES [shared]]]. Writes that many sessions, each with a subscription to a filter of its own and ENTRIES queued
 * messages of 100 bytes, into a store of its own under the directory TMPDIR (/tmp), opens it again and restores it. With `shared` the
 * messages are kept once for all sessions, each session having an entry for each (a fan-out); else each entry has its message in it.
 * Prints seconds, and bytes per session as the allocator counts them (the store's own memory not included).
 */
#include "../../tests/temporary_dir.h"
#include "allocated.h"
#include "base/clock.h"
#include "base/rcu.h"
#include "broker/session/restore.h"
#include "broker/session/session.h"
#include "broker/session/session_host.h"
#include "broker/session/session_record.h"
#include "broker/zone.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS 2u
#define PAYLOAD_BYTES 100
#define SUBMIT_BYTES (1u << 20)
#define TEXT_MAX 96

struct load {
    uint32_t sessions;
    uint32_t entries;
    bool shared;
};

static double seconds_since(uint64_t began_ms)
{
    return (double)(clock_mono_ms() - began_ms) / 1000;
}

static void must(bool fact, const char *what)
{
    if (fact)
        return;
    fprintf(stderr, "restore_bench: %s failed\n", what);
    exit(1);
}

static struct store *open_store(const char *dir)
{
    struct store_options options = {.dir = dir,
                                    .cache_bytes = 32u << 20,
                                    .write_buffer_bytes = 64u << 20,
                                    .queue_bytes_max = 64u << 20,
                                    .sync_interval_ms = 1000};
    struct store *store = NULL;
    char *error = NULL;
    int err = store_open(&options, &store, &error);

    if (err < 0)
        fprintf(stderr, "%s: %s\n", dir, error == NULL ? strerror(-err) : error);
    free(error);
    must(err == 0, "opening the store");
    return store;
}

/* ---- writing ---- */

static void put(struct store_client *client, enum store_table table, struct slice key, const struct slice *parts,
                uint32_t count)
{
    store_put(client, table, key, parts, count);
    if (store_open_bytes(client) > SUBMIT_BYTES)
        store_submit(client, false);
}

/* The record of a message in `parts`, the first of which is behind an empty place. */
static struct message *make_message(uint8_t head[MESSAGE_RECORD_HEAD], struct slice parts[1 + MESSAGE_RECORD_PARTS])
{
    uint8_t payload[PAYLOAD_BYTES] = {0};
    struct message_options options = {.topic = SLICE_LITERAL("site/1/device/000000/state"),
                                      .payload = slice_make(payload, sizeof(payload)),
                                      .client_id = SLICE_LITERAL("publisher-000000"),
                                      .qos = 1};
    struct message *message = message_new(&options);

    must(message != NULL, "memory");
    message_record_encode(message, 1, head, parts + 1);
    return message;
}

static void write_session(struct store_client *client, uint64_t number)
{
    char client_id[TEXT_MAX], text[TEXT_MAX];
    uint8_t key[SESSION_KEY_LEN], value[SUBSCRIPTION_RECORD_LEN];
    struct session_record record = {.zone = SLICE_LITERAL("external"),
                                    .expiry_interval_s = 7 * 86400,
                                    .created_at_s = 1,
                                    .left_ms = 1 + number,
                                    .reserved_through = SESSION_RESERVE,
                                    .window = 32,
                                    .version = MQTT_V5};
    struct subscription_record subscription = {.qos = 1};
    struct mqtt_shared_filter filter = {0};
    struct buffer bytes;
    struct slice part;

    snprintf(client_id, sizeof(client_id), "device-%08llu", (unsigned long long)number);
    snprintf(text, sizeof(text), "site/%llu/device/%llu/cmd", (unsigned long long)number % 1000,
             (unsigned long long)number);
    record.client_id = slice_from_string(client_id);
    filter.filter = slice_from_string(text);
    buffer_init(&bytes, UINT32_MAX);
    must(session_record_encode(&record, &bytes) == 0, "memory");
    session_key(number, key);
    part = buffer_slice(&bytes);
    put(client, STORE_SESSION, slice_make(key, sizeof(key)), &part, 1);
    buffer_clear(&bytes);
    must(subscription_key(number, &filter, &bytes) == 0, "memory");
    subscription_record_encode(&subscription, value);
    part = slice_make(value, sizeof(value));
    put(client, STORE_SUBSCRIPTION, buffer_slice(&bytes), &part, 1);
    buffer_fini(&bytes);
}

static void write_entries(struct store_client *client, const struct load *load, uint64_t number)
{
    uint8_t head[QUEUE_RECORD_HEAD], message_head[MESSAGE_RECORD_HEAD], key[QUEUE_KEY_LEN];
    struct slice parts[1 + MESSAGE_RECORD_PARTS] = {slice_make(head, sizeof(head))};
    struct message *message = make_message(message_head, parts);

    for (uint32_t i = 1; i <= load->entries; i++) {
        struct queue_record record = {.qos = 1, .body_number = load->shared ? i : 0};
        queue_record_encode(&record, head);
        queue_key(number, i, key);
        put(client, STORE_QUEUE, slice_make(key, sizeof(key)), parts, load->shared ? 1 : 1 + MESSAGE_RECORD_PARTS);
    }
    message_unref(message);
}

static void write_bodies(struct store_client *client, const struct load *load)
{
    uint8_t head[MESSAGE_RECORD_HEAD], key[SESSION_KEY_LEN];
    struct slice parts[1 + MESSAGE_RECORD_PARTS] = {0};
    struct message *message = make_message(head, parts);

    for (uint32_t i = 1; load->shared && i <= load->entries; i++) {
        session_key(i, key);
        put(client, STORE_MESSAGE, slice_make(key, sizeof(key)), parts + 1, MESSAGE_RECORD_PARTS);
    }
    message_unref(message);
}

static void write_all(const char *dir, const struct load *load)
{
    struct store_client_options options = {0};
    struct store *store = open_store(dir);
    struct store_client *client = NULL;

    must(store_client_open(store, &options, &client) == 0, "memory");
    write_bodies(client, load);
    for (uint64_t number = 1; number <= load->sessions; number++) {
        write_session(client, number);
        write_entries(client, load, number);
    }
    store_client_close(client);
    store_close(store);
}

/* ---- restoring ---- */

struct bench {
    struct worker_pool *pool;
    struct session_host hosts[WORKERS];
    struct session_host *list[WORKERS];
    struct zone zone;
    uint64_t began_ms;
};

static uint64_t session_hash(const void *element, const void *context)
{
    (void)context;
    return session_hash_of(session_client_id(element));
}

static void bench_init(struct bench *bench, struct store *store)
{
    struct router *router = router_new();
    struct rcu_table *registry = rcu_table_new(64, session_hash, NULL);
    struct store_client_options options = {0};

    must(router != NULL && registry != NULL && worker_pool_new(WORKERS, 1 << 20, &bench->pool) == 0, "memory");
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct session_host *host = &bench->hosts[i];
        *host = (struct session_host){
            .worker = worker_pool_get(bench->pool, i), .router = router, .registry = registry, .store = store};
        durable_host_init(&host->durable);
        must(store_client_open(store, &options, &host->client) == 0, "memory");
        bench->list[i] = host;
    }
}

static const struct zone *find_zone(void *context, struct slice name, bool *out_known)
{
    (void)name;
    *out_known = true;
    return &((struct bench *)context)->zone;
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    const struct bench *bench = context;

    printf("  after %.1f s: %.0f%%\n", seconds_since(bench->began_ms), (double)done * 100 / (double)total);
}

static void suspend_session(void *context, void *element)
{
    (void)context;
    session_suspend(element);
}

static void bench_fini(struct bench *bench)
{
    uint64_t cursor = 0;

    do
        rcu_table_visit(bench->hosts[0].registry, &cursor, 1000, suspend_session, NULL);
    while (cursor != 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        session_host_finish(&bench->hosts[i]);
    rcu_retire_flush();
    rcu_thread_offline();
    rcu_barrier_all();
    rcu_thread_online();
    worker_pool_drain(bench->pool);
    for (uint32_t i = 0; i < WORKERS; i++) {
        store_client_close(bench->hosts[i].client);
        filter_table_fini(&bench->hosts[i].filters);
    }
    rcu_table_free(bench->hosts[0].registry, NULL);
    router_free(bench->hosts[0].router);
    worker_pool_free(bench->pool);
}

static void restore(const char *dir, const struct load *load)
{
    struct bench bench = {.began_ms = clock_mono_ms()};
    struct store *store = open_store(dir);
    double open_s = seconds_since(bench.began_ms), restore_s;
    struct restore_counts counts = {0};
    size_t bytes;

    bench_init(&bench, store);
    struct restore_options options = {.store = store,
                                      .hosts = bench.list,
                                      .host_count = WORKERS,
                                      .find_zone = find_zone,
                                      .progress = on_progress,
                                      .context = &bench};
    bytes = allocated_bytes();
    bench.began_ms = clock_mono_ms();
    must(restore_sessions(&options, &counts) == 0, "restoring");
    restore_s = seconds_since(bench.began_ms);
    rcu_barrier_all();
    bytes = allocated_bytes() - bytes;
    must(counts.sessions == load->sessions && counts.entries == (uint64_t)load->sessions * load->entries &&
             counts.orphans == 0 && counts.damaged == 0,
         "finding all of it");
    printf("opening %.2f s, restoring %.2f s, %.0f bytes per session\n", open_s, restore_s,
           (double)bytes / load->sessions);
    bench_fini(&bench);
    store_close(store);
}

int main(int argc, char **argv)
{
    struct load load = {
        .sessions = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 200000,
        .entries = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 10,
        .shared = argc > 3 && strcmp(argv[3], "shared") == 0,
    };
    const char *parent = getenv("TMPDIR");
    char dir[256], store[280];
    uint64_t began_ms = clock_mono_ms();

    if (load.sessions == 0 || load.entries == 0) {
        fprintf(stderr, "usage: restore_bench [SESSIONS [ENTRIES [shared]]]\n");
        return 2;
    }
    snprintf(dir, sizeof(dir), "%s/restore-bench-XXXXXX", parent == NULL ? "/tmp" : parent);
    must(mkdtemp(dir) != NULL, "making a directory");
    snprintf(store, sizeof(store), "%s/store", dir);
    rcu_thread_register();
    write_all(store, &load);
    printf("%u sessions, %u messages each%s: written in %.2f s\n", load.sessions, load.entries,
           load.shared ? ", kept once" : "", seconds_since(began_ms));
    restore(store, &load);
    rcu_thread_unregister();
    temporary_dir_remove(dir);
    return 0;
}
