/*
 * retained_rows: see retained_rows_internal.h.
 */
#include "broker/retainer/retained_rows_internal.h"

#include "base/hash.h"
#include "base/rcu_table.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct large {
    struct large *next;
    struct message *message;
    uint64_t batch;
};

struct cleared {
    struct cleared *next;
    uint64_t batch; /* the last one that deletes its row */
    uint64_t hash;
    size_t topic_len;
    uint8_t topic[];
};

static struct slice cleared_topic(const struct cleared *cleared)
{
    return slice_make(cleared->topic, cleared->topic_len);
}

static uint64_t cleared_hash(const void *element, const void *context)
{
    (void)context;
    return ((const struct cleared *)element)->hash;
}

static bool cleared_matches(const void *element, const void *key)
{
    return slice_equal(cleared_topic(element), *(const struct slice *)key);
}

struct slice retained_key(struct slice topic, uint8_t *out)
{
    ASSERT(topic.len <= RETAINED_KEY_MAX);
    for (size_t i = 0; i < topic.len; i++)
        out[i] = topic.data[i] == '/' ? 0 : topic.data[i];
    return slice_make(out, topic.len);
}

int retained_rows_open(struct retained_rows *rows, struct store *store, struct worker *worker,
                       void (*progress)(struct store_client *client, void *context), void *context)
{
    struct store_client_options options = {.worker = worker, .on_progress = progress, .context = context};
    int err;

    *rows = (struct retained_rows){.store = store};
    pthread_mutex_init(&rows->lock, NULL);
    rows->large_tail = &rows->large;
    rows->cleared_tail = &rows->cleared;
    rows->key = malloc(RETAINED_KEY_MAX);
    rows->cleared_index = rcu_table_new(1, cleared_hash, NULL);
    err = rows->key == NULL || rows->cleared_index == NULL ? -ENOMEM
                                                           : store_client_open(store, &options, &rows->client);
    if (err < 0)
        retained_rows_close(rows);
    return err;
}

static void drop_first_cleared(struct retained_rows *rows)
{
    struct cleared *first = rows->cleared;

    rcu_table_remove(rows->cleared_index, first->hash, first);
    rows->cleared = first->next;
    if (rows->cleared == NULL)
        rows->cleared_tail = &rows->cleared;
    free(first);
}

/* Gives the reference of the first one to the caller. */
static struct message *pop_first_large(struct retained_rows *rows)
{
    struct large *first = rows->large;
    struct message *message = first->message;

    rows->large = first->next;
    if (rows->large == NULL)
        rows->large_tail = &rows->large;
    free(first);
    return message;
}

void retained_rows_close(struct retained_rows *rows)
{
    if (rows->store == NULL)
        return;
    while (rows->large != NULL)
        message_unref(pop_first_large(rows));
    while (rows->cleared != NULL)
        drop_first_cleared(rows);
    rcu_table_free(rows->cleared_index, NULL);
    store_client_close(rows->client);
    free(rows->key);
    pthread_mutex_destroy(&rows->lock);
    *rows = (struct retained_rows){.store = NULL};
}

/* The lock is held. */
static void add_large(struct retained_rows *rows, struct message *message)
{
    struct large *large = malloc(sizeof(*large));

    if (large == NULL)
        return; /* it stays in memory */
    *large = (struct large){.message = message_ref(message), .batch = store_open_number(rows->client)};
    *rows->large_tail = large;
    rows->large_tail = &large->next;
}

static void set_dirty(struct retained_rows *rows)
{
    atomic_store_explicit(&rows->dirty, true, memory_order_release);
}

void retained_rows_put(struct retained_rows *rows, struct message *message, bool leaves_memory)
{
    struct slice parts[MESSAGE_RECORD_PARTS];
    uint8_t head[MESSAGE_RECORD_HEAD];

    message_record_encode(message, store_time_ms(rows->store, message->created_ms), head, parts);
    pthread_mutex_lock(&rows->lock);
    store_put(rows->client, STORE_RETAINED, retained_key(message_topic(message), rows->key), parts,
              MESSAGE_RECORD_PARTS);
    if (leaves_memory)
        add_large(rows, message);
    set_dirty(rows);
    pthread_mutex_unlock(&rows->lock);
}

/* The lock is held. */
static int remember_cleared(struct retained_rows *rows, struct slice topic)
{
    struct cleared *cleared = malloc(sizeof(*cleared) + topic.len);
    void *found = NULL;
    int err;

    if (cleared == NULL)
        return -ENOMEM;
    *cleared = (struct cleared){
        .batch = store_open_number(rows->client), .hash = hash_text(topic), .topic_len = topic.len};
    memcpy(cleared->topic, topic.data, topic.len);
    err = rcu_table_insert(rows->cleared_index, cleared->hash, cleared_matches, &topic, cleared, &found);
    if (err < 0) {
        free(cleared);
        if (err != -EEXIST)
            return err;
        ((struct cleared *)found)->batch = store_open_number(rows->client);
        return 0;
    }
    *rows->cleared_tail = cleared;
    rows->cleared_tail = &cleared->next;
    return 0;
}

int retained_rows_clear(struct retained_rows *rows, struct slice topic, bool remember)
{
    int err = 0;

    pthread_mutex_lock(&rows->lock);
    if (remember)
        err = remember_cleared(rows, topic);
    if (err == 0) {
        store_delete(rows->client, STORE_RETAINED, retained_key(topic, rows->key));
        set_dirty(rows);
    }
    pthread_mutex_unlock(&rows->lock);
    return err;
}

bool retained_rows_was_cleared(struct retained_rows *rows, struct slice topic)
{
    bool found;

    pthread_mutex_lock(&rows->lock);
    found = rcu_table_find(rows->cleared_index, hash_text(topic), cleared_matches, &topic) != NULL;
    pthread_mutex_unlock(&rows->lock);
    return found;
}

void retained_rows_forget_cleared(struct retained_rows *rows)
{
    pthread_mutex_lock(&rows->lock);
    uint64_t committed = store_committed(rows->client);
    while (rows->cleared != NULL && rows->cleared->batch <= committed)
        drop_first_cleared(rows);
    pthread_mutex_unlock(&rows->lock);
}

struct message *retained_rows_pop_large(struct retained_rows *rows)
{
    struct message *message = NULL;

    pthread_mutex_lock(&rows->lock);
    if (rows->large != NULL && rows->large->batch <= store_committed(rows->client))
        message = pop_first_large(rows);
    pthread_mutex_unlock(&rows->lock);
    return message;
}

bool retained_rows_submit(struct retained_rows *rows, bool sync)
{
    bool dirty;

    /* It falls after the submission: who finds it false knows that what it wrote was handed over before. */
    if (LIKELY(!atomic_load_explicit(&rows->dirty, memory_order_acquire)))
        return false;
    pthread_mutex_lock(&rows->lock);
    dirty = store_dirty(rows->client);
    if (dirty)
        (void)store_submit(rows->client, sync);
    atomic_store_explicit(&rows->dirty, false, memory_order_release);
    pthread_mutex_unlock(&rows->lock);
    return dirty;
}
