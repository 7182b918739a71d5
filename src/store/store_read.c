/*
 * store_read: single rows and ranges. Readers hold the database's lock shared, so that it is not opened again under them.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Read ahead when a whole table is scanned. */
#define SCAN_READAHEAD_BYTES (256u << 10)

static int copy_value(const rocksdb_pinnableslice_t *pinned, struct slice *out_value)
{
    size_t length = 0;
    const char *bytes = rocksdb_pinnableslice_value(pinned, &length);
    uint8_t *copy = malloc(length == 0 ? 1 : length);

    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, bytes, length);
    *out_value = slice_make(copy, length);
    return 1;
}

/* Takes `error`; NULL: the database is not open. */
static int on_error(struct store *store, enum store_table table, char *error)
{
    pthread_mutex_lock(&store->problem_lock);
    snprintf(store->read_problem, sizeof(store->read_problem), "table '%s': %s", store_table_name(table),
             error == NULL ? "the store is being opened again after a failure" : error);
    pthread_mutex_unlock(&store->problem_lock);
    rocksdb_free(error);
    return -EIO;
}

/* With the lock, or on the store thread. */
static int get(struct store *store, enum store_table table, struct slice key, struct slice *out_value)
{
    rocksdb_pinnableslice_t *pinned;
    char *error = NULL;
    int found = 0;

    if (store->database == NULL)
        return on_error(store, table, NULL);
    pinned = rocksdb_get_pinned_cf(store->database, store->read_options, store->tables[table], (const char *)key.data,
                                   key.len, &error);
    if (error != NULL)
        return on_error(store, table, error);
    if (pinned != NULL) {
        found = copy_value(pinned, out_value);
        rocksdb_pinnableslice_destroy(pinned);
    }
    return found;
}

int store_read_meta(struct store *store, struct slice key, uint8_t *out_value, size_t length)
{
    struct slice value = {0};
    int found = get(store, STORE_META, key, &value);

    if (found == 1 && value.len != length)
        found = -EIO;
    if (found == 1)
        memcpy(out_value, value.data, length);
    slice_free(&value);
    return found;
}

int store_get(struct store *store, enum store_table table, struct slice key, struct slice *out_value)
{
    int found;

    pthread_rwlock_rdlock(&store->database_lock);
    found = get(store, table, key, out_value);
    pthread_rwlock_unlock(&store->database_lock);
    return found;
}

static bool is_after(struct slice left, struct slice right)
{
    size_t length = left.len < right.len ? left.len : right.len;
    int order = length == 0 ? 0 : memcmp(left.data, right.data, length);

    return order > 0 || (order == 0 && left.len > right.len);
}

static void visit_all(rocksdb_iterator_t *iterator, struct slice prefix, store_visit_fn *visit, void *context,
                      char **out_error)
{
    for (; rocksdb_iter_valid(iterator); rocksdb_iter_next(iterator)) {
        struct slice key, value;

        key.data = (const uint8_t *)rocksdb_iter_key(iterator, &key.len);
        value.data = (const uint8_t *)rocksdb_iter_value(iterator, &value.len);
        if (!slice_starts_with(key, prefix) || !visit(context, key, value))
            break;
    }
    rocksdb_iter_get_error(iterator, out_error);
}

int store_scan(struct store *store, enum store_table table, struct slice prefix, struct slice from,
               store_visit_fn *visit, void *context)
{
    struct slice first = is_after(from, prefix) ? from : prefix;
    rocksdb_readoptions_t *options;
    rocksdb_iterator_t *iterator;
    uint8_t *end = malloc(prefix.len == 0 ? 1 : prefix.len);
    size_t end_length;
    char *error = NULL;
    bool is_open;

    if (end == NULL)
        return -ENOMEM;
    end_length = store_prefix_end(prefix, end);
    options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(options, 1);
    rocksdb_readoptions_set_fill_cache(options, prefix.len > 0);
    if (prefix.len == 0)
        rocksdb_readoptions_set_readahead_size(options, SCAN_READAHEAD_BYTES);
    /* The iterator then does not look for more rows among the deleted ones behind the prefix. */
    if (end_length > 0)
        rocksdb_readoptions_set_iterate_upper_bound(options, (const char *)end, end_length);
    pthread_rwlock_rdlock(&store->database_lock);
    is_open = store->database != NULL;
    if (is_open) {
        iterator = rocksdb_create_iterator_cf(store->database, options, store->tables[table]);
        if (first.len == 0)
            rocksdb_iter_seek_to_first(iterator);
        else
            rocksdb_iter_seek(iterator, (const char *)first.data, first.len);
        visit_all(iterator, prefix, visit, context, &error);
        rocksdb_iter_destroy(iterator);
    }
    pthread_rwlock_unlock(&store->database_lock);
    rocksdb_readoptions_destroy(options);
    free(end);
    return is_open && error == NULL ? 0 : on_error(store, table, error);
}
