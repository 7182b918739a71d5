/*
 * store_bench: how fast the store commits, with 1 to 200 batches waiting, rows of 100 bytes and 1 kB, with and without sync.
 *
 *   store_bench [DIR]      in a new directory below DIR (default: the current one), removed afterwards
 *
 * Each batch is one row put and, for the row that is 1000 batches old, one deleted: a queue that drains. The waiting batches are
 * submitted at once, from clients of a loop, and again when all of them are committed.
 */
#include "../../tests/temporary_dir.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "event/loop_mailbox.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define RUN_MS 1500
#define ROWS_KEPT 1000

struct bench {
    struct store *store;
    struct store_client *client;
    uv_loop_t loop;
    uint64_t next;
    uint8_t value[1024];
};

static void on_progress(struct store_client *client, void *context)
{
    struct bench *bench = context;

    (void)client;
    uv_stop(&bench->loop);
}

static void number_key(uint8_t key[16], uint64_t number)
{
    memset(key, 0, 16);
    for (int i = 15; i >= 8; i--, number >>= 8)
        key[i] = (uint8_t)number;
}

static void submit_row(struct bench *bench, size_t bytes, bool sync)
{
    struct slice part = slice_make(bench->value, bytes);
    uint8_t key[16];

    number_key(key, bench->next);
    store_put(bench->client, STORE_QUEUE, slice_make(key, sizeof(key)), &part, 1);
    if (bench->next >= ROWS_KEPT) {
        number_key(key, bench->next - ROWS_KEPT);
        store_delete(bench->client, STORE_QUEUE, slice_make(key, sizeof(key)));
    }
    bench->next++;
    store_submit(bench->client, sync);
}

static void measure(struct bench *bench, uint32_t waiting, size_t bytes, bool sync)
{
    uint64_t began_us = clock_mono_us(), rows = 0, rounds = 0, took_us;
    uint64_t syncs = metrics_read(METRIC_STORE_SYNCS), commits = metrics_read(METRIC_STORE_COMMITS);
    uint64_t busy_us = metrics_read(METRIC_STORE_COMMIT_US);

    do {
        for (uint32_t i = 0; i < waiting; i++)
            submit_row(bench, bytes, sync);
        while (store_committed(bench->client) + 1 < store_open_number(bench->client))
            uv_run(&bench->loop, UV_RUN_DEFAULT);
        rows += waiting;
        rounds++;
        took_us = clock_mono_us() - began_us;
    } while (took_us < RUN_MS * 1000);
    printf("%8u %8zu %6s %12.0f %12.0f %12.0f %14.1f\n", waiting, bytes, sync ? "yes" : "no",
           (double)rows * 1e6 / (double)took_us,
           (double)(metrics_read(METRIC_STORE_COMMITS) - commits) * 1e6 / (double)took_us,
           (double)(metrics_read(METRIC_STORE_SYNCS) - syncs) * 1e6 / (double)took_us,
           (double)(metrics_read(METRIC_STORE_COMMIT_US) - busy_us) / (double)rows);
}

int main(int argc, char **argv)
{
    static const uint32_t waiting[] = {1, 10, 50, 200};
    static const size_t sizes[] = {100, 1000};
    static struct bench bench;
    char dir[4096], *error = NULL;
    struct store_options options = {.dir = dir,
                                    .cache_bytes = 32u << 20,
                                    .write_buffer_bytes = 64u << 20,
                                    .queue_bytes_max = 64u << 20,
                                    .sync_interval_ms = 1000};
    struct store_client_options client = {.on_progress = on_progress, .context = &bench};

    snprintf(dir, sizeof(dir), "%s/store-bench-XXXXXX", argc > 1 ? argv[1] : ".");
    if (mkdtemp(dir) == NULL || uv_loop_init(&bench.loop) < 0 || loop_mailbox_open(&bench.loop, &client.mailbox) < 0)
        return 1;
    if (store_open(&options, &bench.store, &error) < 0 || store_client_open(bench.store, &client, &bench.client) < 0) {
        fprintf(stderr, "%s\n", error == NULL ? "no memory" : error);
        return 1;
    }
    for (size_t i = 0; i < sizeof(bench.value); i++)
        bench.value[i] = (uint8_t)(i * 2654435761u >> 11);
    printf("%8s %8s %6s %12s %12s %12s %14s\n", "waiting", "bytes", "sync", "batches/s", "commits/s", "syncs/s",
           "store us/batch");
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        for (size_t j = 0; j < ARRAY_COUNT(waiting) * 2; j++)
            measure(&bench, waiting[j / 2], sizes[i], j % 2 == 1);
    store_client_close(bench.client);
    store_close(bench.store);
    loop_mailbox_close(client.mailbox);
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    temporary_dir_remove(dir);
    return 0;
}
