/*
 * store_client: what a thread that writes sees: its open batch, submitting it, and hearing of its end.
 *
 * A batch is plain memory, rows one behind the other: header, key, value. It becomes RocksDB's form only in the store thread, so it does not care
 * whether the database is opened again meanwhile, and can be written again after a failure.
 * Submitted batches sit on a stack that the store thread takes as a whole and turns round; the moment of the push is a batch's place in the order.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES_FIRST 512

enum row_kind { ROW_PUT, ROW_DELETE, ROW_DELETE_PREFIX };

struct row_header {
    uint32_t key_length;
    uint32_t value_length;
    uint8_t table;
    uint8_t kind;
    uint8_t unused[2];
};

/* ---- life ---- */

static void run_progress(struct store_client *client)
{
    /* From here on another change posts again: what it changed before is seen below. */
    __atomic_store_n(&client->post_pending, false, __ATOMIC_SEQ_CST);
    if (!client->closed && client->options.on_progress != NULL)
        client->options.on_progress(client, client->options.context);
    store_client_unref(client);
}

static void on_post(struct worker *worker, struct post *post)
{
    (void)worker;
    run_progress(CONTAINER_OF(post, struct store_client, post));
}

static void on_loop_post(struct loop_post *post)
{
    run_progress(CONTAINER_OF(post, struct store_client, loop_post));
}

int store_client_open(struct store *store, const struct store_client_options *options, struct store_client **out_client)
{
    struct store_client *client = calloc(1, sizeof(*client));

    if (client == NULL)
        return -ENOMEM;
    client->store = store;
    client->options = *options;
    client->post.run = on_post;
    client->loop_post.run = on_loop_post;
    client->refs = 1;
    client->open_number = 1;
    pthread_mutex_lock(&store->clients_lock);
    list_append(&store->clients, &client->place);
    pthread_mutex_unlock(&store->clients_lock);
    *out_client = client;
    return 0;
}

static void free_batches(struct store_batch *batch)
{
    while (batch != NULL) {
        struct store_batch *next = batch->next;

        free(batch->rows);
        free(batch);
        batch = next;
    }
}

void store_client_unref(struct store_client *client)
{
    if (__atomic_sub_fetch(&client->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free_batches(client->open);
    free_batches(client->free_batches);
    free_batches(client->spares);
    free(client);
}

void store_client_close(struct store_client *client)
{
    struct store *store;

    if (client == NULL)
        return;
    store = client->store;
    if (store_dirty(client))
        store_submit(client, false);
    pthread_mutex_lock(&store->clients_lock);
    client->closed = true;
    list_remove(&client->place);
    pthread_mutex_unlock(&store->clients_lock);
    store_client_unref(client);
}

/* ---- the open batch ---- */

static struct store_batch *take_batch(struct store_client *client)
{
    struct store_batch *batch;

    if (client->free_batches == NULL) {
        client->free_batches = __atomic_exchange_n(&client->spares, NULL, __ATOMIC_ACQUIRE);
        __atomic_store_n(&client->spare_count, 0, __ATOMIC_RELAXED);
    }
    batch = client->free_batches;
    if (batch != NULL) {
        client->free_batches = batch->next;
        batch->next = NULL;
        return batch;
    }
    batch = calloc(1, sizeof(*batch));
    ASSERT(batch != NULL);
    batch->client = client;
    return batch;
}

/* Room for `length` bytes at the end of the open batch. */
static uint8_t *reserve(struct store_client *client, size_t length)
{
    struct store_batch *batch = client->open;
    uint8_t *room;

    if (batch == NULL)
        batch = client->open = take_batch(client);
    if (length > batch->capacity - batch->length) {
        size_t capacity = batch->capacity < BATCH_BYTES_FIRST ? BATCH_BYTES_FIRST : batch->capacity * 2;

        if (capacity < batch->length + length)
            capacity = batch->length + length;
        batch->rows = realloc(batch->rows, capacity);
        ASSERT(batch->rows != NULL);
        batch->capacity = capacity;
    }
    room = batch->rows + batch->length;
    batch->length += length;
    batch->count++;
    return room;
}

static uint8_t *begin_row(struct store_client *client, enum store_table table, enum row_kind kind, struct slice key,
                          size_t value_length)
{
    struct row_header header = {.key_length = (uint32_t)key.len,
                                .value_length = (uint32_t)value_length,
                                .table = (uint8_t)table,
                                .kind = (uint8_t)kind};
    uint8_t *room;

    ASSERT(key.len > 0 && key.len <= UINT32_MAX && value_length <= UINT32_MAX);
    room = reserve(client, sizeof(header) + key.len + value_length);
    memcpy(room, &header, sizeof(header));
    memcpy(room + sizeof(header), key.data, key.len);
    return room + sizeof(header) + key.len;
}

void store_put(struct store_client *client, enum store_table table, struct slice key, const struct slice *parts,
               uint32_t count)
{
    size_t length = 0;
    uint8_t *value;

    for (uint32_t i = 0; i < count; i++)
        length += parts[i].len;
    value = begin_row(client, table, ROW_PUT, key, length);
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i].len > 0)
            memcpy(value, parts[i].data, parts[i].len);
        value += parts[i].len;
    }
}

void store_delete(struct store_client *client, enum store_table table, struct slice key)
{
    begin_row(client, table, ROW_DELETE, key, 0);
}

/* Of the smallest key above all keys that begin with `prefix`; 0: there is none. */
static size_t prefix_end_length(struct slice prefix)
{
    size_t length = prefix.len;

    while (length > 0 && prefix.data[length - 1] == 0xFF)
        length--;
    return length;
}

size_t store_prefix_end(struct slice prefix, uint8_t *out)
{
    size_t length = prefix_end_length(prefix);

    if (length == 0)
        return 0;
    memcpy(out, prefix.data, length);
    out[length - 1]++;
    return length;
}

void store_delete_prefix(struct store_client *client, enum store_table table, struct slice prefix)
{
    size_t length = prefix_end_length(prefix);

    ASSERT(length > 0); /* a prefix of nothing but 0xFF bytes has no end */
    store_prefix_end(prefix, begin_row(client, table, ROW_DELETE_PREFIX, prefix, length));
}

bool store_dirty(const struct store_client *client)
{
    return client->open != NULL;
}

size_t store_open_bytes(const struct store_client *client)
{
    return client->open == NULL ? 0 : client->open->length;
}

uint64_t store_open_number(const struct store_client *client)
{
    return client->open_number;
}

uint64_t store_submit(struct store_client *client, bool sync)
{
    struct store *store = client->store;
    struct store_batch *batch = client->open == NULL ? take_batch(client) : client->open;
    struct store_batch *top;
    uint64_t number = client->open_number++;

    client->open = NULL;
    batch->number = number;
    batch->sync = sync;
    batch->charged = batch->capacity + sizeof(*batch);
    __atomic_add_fetch(&client->refs, 1, __ATOMIC_RELAXED);
    /* Before the push: the store thread, which ends the congestion, then sees it when it is done with this batch. */
    if (__atomic_add_fetch(&store->queued_bytes, batch->charged, __ATOMIC_RELAXED) >= store->options.queue_bytes_max)
        __atomic_store_n(&store->congested, true, __ATOMIC_RELAXED);
    top = __atomic_load_n(&store->submitted, __ATOMIC_RELAXED);
    do
        batch->next = top;
    while (!__atomic_compare_exchange_n(&store->submitted, &top, batch, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    store_writer_wake(store);
    return number;
}

uint64_t store_committed(const struct store_client *client)
{
    return __atomic_load_n(&client->committed, __ATOMIC_ACQUIRE);
}

/* ---- the store thread's side ---- */

void store_batch_apply(const struct store_batch *batch, rocksdb_writebatch_t *write,
                       rocksdb_column_family_handle_t *const *tables)
{
    const uint8_t *at = batch->rows;

    for (uint32_t i = 0; i < batch->count; i++) {
        struct row_header header;
        const char *key = (const char *)at + sizeof(header);
        const char *value;

        memcpy(&header, at, sizeof(header));
        value = key + header.key_length;
        if (header.kind == ROW_PUT)
            rocksdb_writebatch_put_cf(write, tables[header.table], key, header.key_length, value, header.value_length);
        else if (header.kind == ROW_DELETE)
            rocksdb_writebatch_delete_cf(write, tables[header.table], key, header.key_length);
        else
            rocksdb_writebatch_delete_range_cf(write, tables[header.table], key, header.key_length, value,
                                               header.value_length);
        at = (const uint8_t *)value + header.value_length;
    }
}

void store_batch_release(struct store_batch *batch)
{
    struct store_client *client = batch->client;
    struct store_batch *top;

    if (batch->capacity > STORE_SPARE_BYTES ||
        __atomic_load_n(&client->spare_count, __ATOMIC_RELAXED) >= STORE_SPARE_MAX) {
        batch->next = NULL;
        free_batches(batch);
    } else {
        batch->length = 0;
        batch->count = 0;
        batch->group = 0;
        __atomic_add_fetch(&client->spare_count, 1, __ATOMIC_RELAXED);
        top = __atomic_load_n(&client->spares, __ATOMIC_RELAXED);
        do
            batch->next = top;
        while (!__atomic_compare_exchange_n(&client->spares, &top, batch, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    }
    store_client_unref(client);
}

/* Under clients_lock, so that nothing is posted once store_client_close() has returned. */
void store_client_notify(struct store_client *client)
{
    if (client->closed || client->options.on_progress == NULL ||
        (client->options.worker == NULL && client->options.mailbox == NULL))
        return;
    if (__atomic_exchange_n(&client->post_pending, true, __ATOMIC_SEQ_CST))
        return; /* under way: it will see what there is to see */
    __atomic_add_fetch(&client->refs, 1, __ATOMIC_RELAXED);
    if (client->options.worker != NULL)
        worker_post(client->options.worker, &client->post);
    else
        loop_mailbox_post(client->options.mailbox, &client->loop_post);
}

void store_clients_notify_all(struct store *store)
{
    pthread_mutex_lock(&store->clients_lock);
    LIST_EACH(&store->clients, node)
    store_client_notify(LIST_ENTRY(node, struct store_client, place));
    pthread_mutex_unlock(&store->clients_lock);
}
