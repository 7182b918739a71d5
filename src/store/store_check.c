/*
 * store_check: reading everything, compacting everything, figures; and which table a damaged file belongs to.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- which table ---- */

/* Finds "NNNNNN." of a table file in a text of RocksDB; a missing one is told under its old name, .ldb. Length, 0: none. */
static size_t find_file(const char *text, const char **out_name)
{
    const char *end = strstr(text, ".sst");
    const char *begin;

    if (end == NULL)
        end = strstr(text, ".ldb");
    if (end == NULL)
        return 0;
    begin = end;
    while (begin > text && begin[-1] >= '0' && begin[-1] <= '9')
        begin--;
    *out_name = begin;
    return begin == end ? 0 : (size_t)(end + 1 - begin);
}

static const char *table_of_file(const rocksdb_t *database, const char *name, size_t length)
{
    const rocksdb_livefiles_t *files = rocksdb_livefiles((rocksdb_t *)(uintptr_t)database);
    const char *found = NULL;

    for (int i = 0; i < rocksdb_livefiles_count(files) && found == NULL; i++) {
        const char *file = rocksdb_livefiles_name(files, i); /* "/000012.sst" */

        if (strncmp(file + 1, name, length) == 0) {
            enum store_table table = store_table_of_family(rocksdb_livefiles_column_family_name(files, i));

            found = table == STORE_TABLE_COUNT ? NULL : store_table_name(table);
        }
    }
    rocksdb_livefiles_destroy(files);
    return found;
}

/* ---- a database that only reads ---- */

struct read_only {
    struct store_layout layout;
    rocksdb_t *database;
    rocksdb_column_family_handle_t *tables[STORE_TABLE_COUNT];
};

static void close_read_only(struct read_only *reader)
{
    for (int i = 0; i < STORE_TABLE_COUNT && reader->database != NULL; i++)
        rocksdb_column_family_handle_destroy(reader->tables[i]);
    if (reader->database != NULL)
        rocksdb_close(reader->database);
    store_layout_fini(&reader->layout);
}

/* `paranoid`: a file that is missing or has the wrong size is an error. On failure `*out_error` (rocksdb_free()), NULL: memory. */
static int open_read_only(struct read_only *reader, const char *dir, bool paranoid, char **out_error)
{
    static const struct store_options options = {.cache_bytes = 8u << 20, .write_buffer_bytes = 64u << 20};
    const char *names[STORE_TABLE_COUNT];
    int err = store_layout_init(&reader->layout, &options);

    if (err < 0)
        return err;
    rocksdb_options_set_paranoid_checks(reader->layout.database, paranoid);
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        names[i] = store_family_name((enum store_table)i);
        rocksdb_options_set_paranoid_checks(reader->layout.tables[i], paranoid);
    }
    reader->database = rocksdb_open_for_read_only_column_families(
        reader->layout.database, dir, STORE_TABLE_COUNT, names, (const rocksdb_options_t *const *)reader->layout.tables,
        reader->tables, 0, out_error);
    return reader->database == NULL ? -EIO : 0;
}

const char *store_damaged_table(const struct store *store, const char *error)
{
    struct read_only reader = {0};
    const char *name, *table = NULL;
    size_t length = find_file(error, &name);
    char *ignored = NULL;

    if (length == 0)
        return NULL;
    if (store->database != NULL)
        return table_of_file(store->database, name, length);
    if (open_read_only(&reader, store->dir, false, &ignored) == 0)
        table = table_of_file(reader.database, name, length);
    rocksdb_free(ignored);
    close_read_only(&reader);
    return table;
}

/* ---- check ---- */

/* How often a check looks whether it should end. */
#define ROWS_PER_LOOK 1024

static bool is_set(const uint32_t *flag)
{
    return flag != NULL && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0;
}

/* Reads all rows of a table and prints a line. 0, -EIO. */
static int check_table(rocksdb_t *database, rocksdb_column_family_handle_t *family, enum store_table table,
                       const uint32_t *interrupted, FILE *out)
{
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    rocksdb_iterator_t *iterator;
    uint64_t count = 0, bytes = 0;
    char *error = NULL;

    rocksdb_readoptions_set_verify_checksums(options, 1);
    rocksdb_readoptions_set_fill_cache(options, 0);
    rocksdb_readoptions_set_readahead_size(options, 2u << 20);
    iterator = rocksdb_create_iterator_cf(database, options, family);
    for (rocksdb_iter_seek_to_first(iterator); rocksdb_iter_valid(iterator); rocksdb_iter_next(iterator)) {
        size_t key_length, value_length;

        rocksdb_iter_key(iterator, &key_length);
        rocksdb_iter_value(iterator, &value_length);
        bytes += key_length + value_length;
        if (++count % ROWS_PER_LOOK == 0 && is_set(interrupted))
            break;
    }
    rocksdb_iter_get_error(iterator, &error);
    rocksdb_iter_destroy(iterator);
    rocksdb_readoptions_destroy(options);
    if (is_set(interrupted))
        fprintf(out, "%-14s interrupted\n", store_table_name(table));
    else if (error == NULL)
        fprintf(out, "%-14s ok        %12" PRIu64 " rows %14" PRIu64 " bytes\n", store_table_name(table), count, bytes);
    else
        fprintf(out, "%-14s DAMAGED   after %" PRIu64 " rows: %s\n", store_table_name(table), count, error);
    fflush(out);
    if (error == NULL)
        return is_set(interrupted) ? -EIO : 0;
    rocksdb_free(error);
    return -EIO;
}

static int check_tables(rocksdb_t *database, rocksdb_column_family_handle_t *const *tables, const uint32_t *interrupted,
                        FILE *out)
{
    int err = 0;

    for (int i = 0; i < STORE_TABLE_COUNT && !is_set(interrupted); i++)
        if (check_table(database, tables[i], (enum store_table)i, interrupted, out) < 0)
            err = -EIO;
    return err;
}

int store_check(struct store *store, FILE *out)
{
    int err = -EIO;

    pthread_rwlock_rdlock(&store->database_lock);
    if (store->database == NULL)
        fprintf(out, "The store is not open at the moment.\n");
    else
        err = check_tables(store->database, store->tables, &store->interrupted, out);
    pthread_rwlock_unlock(&store->database_lock);
    return err;
}

int store_check_dir(const char *dir, FILE *out)
{
    struct read_only reader = {0};
    char *error = NULL;
    int err = open_read_only(&reader, dir, true, &error);

    if (err < 0)
        fprintf(out, "The store %s cannot be opened: %s\n", dir, error == NULL ? strerror(-err) : error);
    else
        err = check_tables(reader.database, reader.tables, NULL, out);
    rocksdb_free(error);
    close_read_only(&reader);
    return err;
}

/* ---- compact, stats ---- */

static uint64_t figure(const struct store *store, int table, const char *name)
{
    uint64_t value = 0;

    if (rocksdb_property_int_cf(store->database, store->tables[table], name, &value) != 0)
        return 0;
    return value;
}

static uint64_t disk_bytes(const struct store *store, int table)
{
    return figure(store, table, "rocksdb.total-sst-files-size") + figure(store, table, "rocksdb.total-blob-file-size");
}

int store_compact(struct store *store, FILE *out)
{
    int err = 0;

    pthread_rwlock_rdlock(&store->database_lock);
    if (store->database == NULL) {
        fprintf(out, "The store is not open at the moment.\n");
        err = -EIO;
    }
    for (int i = 0; i < STORE_TABLE_COUNT && err == 0; i++) {
        uint64_t before = disk_bytes(store, i);

        rocksdb_compact_range_cf(store->database, store->tables[i], NULL, 0, NULL, 0);
        fprintf(out, "%-14s %12" PRIu64 " -> %12" PRIu64 " bytes\n", store_table_name((enum store_table)i), before,
                disk_bytes(store, i));
        fflush(out);
        if (is_set(&store->interrupted))
            err = -EIO;
    }
    pthread_rwlock_unlock(&store->database_lock);
    return err;
}

void store_interrupt_readers(struct store *store, uint32_t reason)
{
    __atomic_or_fetch(&store->interrupted, reason, __ATOMIC_RELAXED);
    if (store->database != NULL)
        rocksdb_disable_manual_compaction(store->database);
}

void store_interrupt(struct store *store)
{
    pthread_rwlock_rdlock(&store->database_lock);
    store_interrupt_readers(store, INTERRUPT_STOP);
    pthread_rwlock_unlock(&store->database_lock);
}

static uint64_t counter(const uint64_t *value)
{
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void print_counters(const struct store *store, FILE *out)
{
    static const char *const states[] = {[STORE_OPEN] = "open", [STORE_FULL] = "full", [STORE_FAILED] = "failed"};
    uint64_t commits = counter(&store->counters.commits);
    char problem[STORE_PROBLEM_BYTES];

    store_problem(store, problem, sizeof(problem));
    fprintf(out, "state          %s%s%s\n", states[store_state(store)], problem[0] == '\0' ? "" : ": ", problem);
    fprintf(out, "waiting        %" PRIu64 " bytes%s\n", counter(&store->queued_bytes),
            store_congested(store) ? ", congested" : "");
    fprintf(out, "commits        %" PRIu64 " of %" PRIu64 " batches with %" PRIu64 " bytes, %" PRIu64 " syncs\n",
            commits, counter(&store->counters.batches), counter(&store->counters.bytes),
            counter(&store->counters.syncs));
    fprintf(out, "commit time    %" PRIu64 " us on average, %" PRIu64 " us at most\n",
            commits == 0 ? 0 : counter(&store->counters.commit_us) / commits, counter(&store->counters.slowest_us));
    fprintf(out, "failures       %" PRIu64 "\n", counter(&store->counters.failures));
}

void store_print_stats(struct store *store, FILE *out)
{
    print_counters(store, out);
    pthread_rwlock_rdlock(&store->database_lock);
    if (store->database == NULL) {
        pthread_rwlock_unlock(&store->database_lock);
        return;
    }
    fprintf(out, "cache          %zu bytes\n\n", rocksdb_cache_get_usage(store->layout.cache));
    fprintf(out, "%-14s %12s %14s %14s\n", "table", "rows (about)", "disk bytes", "memory bytes");
    for (int i = 0; i < STORE_TABLE_COUNT; i++)
        fprintf(out, "%-14s %12" PRIu64 " %14" PRIu64 " %14" PRIu64 "\n", store_table_name((enum store_table)i),
                figure(store, i, "rocksdb.estimate-num-keys"), disk_bytes(store, i),
                figure(store, i, "rocksdb.size-all-mem-tables"));
    pthread_rwlock_unlock(&store->database_lock);
}
