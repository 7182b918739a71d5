/*
 * store_open: opening the database, opening it again after a failure, closing it, and its errors in words.
 */
#include "store/store_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the tables hold now; store_schema.c. All versions have the same tables: who adds one tells store_files.c which lack it. */
#define SCHEMA_VERSION 1

static const struct store_upgrade upgrades[1]; /* none yet: version 1 is the first */
#define UPGRADE_COUNT 0

/* ---- errors ---- */

const char store_damage_advice[] =
    "  What can be done: restore the directory from a backup; or look at the extent of it with `emqx_ctl store check`;\n"
    "  or move the directory away: the broker then starts with no sessions, queued, retained or delayed messages.";

void store_tell_damage(const struct store *store, const char *what, char **out_error)
{
    const char *table = store_damaged_table(store, what);
    int length = table == NULL ? asprintf(out_error, "The store %s cannot be opened: %s\n%s", store->dir, what,
                                          store_damage_advice)
                               : asprintf(out_error, "The store %s cannot be opened: table '%s' is damaged: %s\n%s",
                                          store->dir, table, what, store_damage_advice);

    if (length < 0)
        *out_error = NULL;
}

static void tell(const struct store *store, const char *what, char **out_error)
{
    if (asprintf(out_error, "The store %s cannot be opened: %s", store->dir, what) < 0)
        *out_error = NULL;
}

/* ---- the database ---- */

static void close_database(struct store *store)
{
    for (int i = 0; i < STORE_TABLE_COUNT; i++)
        if (store->tables[i] != NULL)
            rocksdb_column_family_handle_destroy(store->tables[i]);
    memset(store->tables, 0, sizeof(store->tables));
    if (store->database != NULL)
        rocksdb_close(store->database);
    store->database = NULL;
}

/* `is_new`: makes what is missing. On failure `*out_error` (rocksdb_free()). */
static int open_database(struct store *store, bool is_new, char **out_error)
{
    const char *names[STORE_TABLE_COUNT];

    rocksdb_options_set_create_if_missing(store->layout.database, is_new);
    rocksdb_options_set_create_missing_column_families(store->layout.database, is_new);
    for (int i = 0; i < STORE_TABLE_COUNT; i++)
        names[i] = store_family_name((enum store_table)i);
    store->database = rocksdb_open_column_families(store->layout.database, store->dir, STORE_TABLE_COUNT, names,
                                                   (const rocksdb_options_t *const *)store->layout.tables,
                                                   store->tables, out_error);
    if (store->database != NULL && *out_error == NULL)
        return 0;
    memset(store->tables, 0, sizeof(store->tables));
    store->database = NULL;
    return -EIO;
}

static const char log_damaged[] =
    "its log is damaged: it ends before what is known to have been on disk, so acknowledged data is missing "
    "(to go on with what is left, delete the file MARK in it)";

/* Finds out what is on disk. -EIO: the row cannot be read. */
static int find_last_group(struct store *store)
{
    uint8_t value[8];
    int found = store_read_meta(store, META_COMMIT, value, sizeof(value));

    if (found < 0)
        return found;
    store->writer.group_on_disk = found == 0 ? 0 : bytes_get_big(value, 8);
    return 0;
}

/* Is all there that is known to have been on disk? */
static bool log_is_whole(const struct store *store)
{
    return store->writer.group_on_disk >= store_mark_read(store->mark_file);
}

static const char manifest_damaged[] =
    "the file MANIFEST, which lists its tables and files, is damaged: it is not what is known to have been on disk, so acknowledged data "
    "would be missing (to go on with what is left, delete the file MARK in it)";

/* As open_database(), of a store that is whole as far as is known. */
static int open_again(struct store *store, char **out_error)
{
    int err;

    if (!store_mark_manifest_is_whole(store->mark_file, store->dir)) {
        store_set_problem(store, manifest_damaged);
        return -EIO;
    }
    err = open_database(store, false, out_error);
    if (err == 0 && (find_last_group(store) < 0 || !log_is_whole(store))) {
        store_set_problem(store, log_damaged);
        close_database(store);
        err = -EIO;
    }
    return err;
}

int store_reopen(struct store *store)
{
    char *error = NULL;
    int err;

    store_interrupt_readers(store, INTERRUPT_REOPEN);
    pthread_rwlock_wrlock(&store->database_lock);
    __atomic_and_fetch(&store->interrupted, ~INTERRUPT_REOPEN, __ATOMIC_RELAXED);
    close_database(store);
    err = open_again(store, &error);
    pthread_rwlock_unlock(&store->database_lock);
    if (error != NULL)
        store_set_problem(store, error);
    rocksdb_free(error);
    store->writer.unsynced_ms = 0; /* what is replayed from the log goes into synced files */
    store->writer.background_errors = 0;
    return err;
}

/* ---- the first opening ---- */

static int check_manifest(struct store *store, bool is_new, char **out_error)
{
    if (is_new || store_mark_manifest_is_whole(store->mark_file, store->dir))
        return 0;
    store_tell_damage(store, manifest_damaged, out_error);
    return -EINVAL;
}

/* What a read at start-up that failed means: a damaged table. */
static int refuse_damaged(const struct store *store, char **out_error)
{
    store_tell_damage(store,
                      store->read_problem[0] == '\0' ? "a row of table 'meta' is not understood" : store->read_problem,
                      out_error);
    return -EINVAL;
}

static int check_schema(struct store *store, char **out_error)
{
    char *why = NULL;
    int err = store_schema_check(store, SCHEMA_VERSION, upgrades, UPGRADE_COUNT, &why);

    if (why != NULL)
        tell(store, why, out_error);
    else if (err == -EIO)
        err = refuse_damaged(store, out_error);
    free(why);
    return err;
}

static int check_log(struct store *store, char **out_error)
{
    if (find_last_group(store) < 0)
        return refuse_damaged(store, out_error);
    if (!log_is_whole(store)) {
        store_tell_damage(store, log_damaged, out_error);
        return -EINVAL;
    }
    store->writer.group = store->writer.group_on_disk;
    return 0;
}

static int load(struct store *store, char **out_error)
{
    struct store_clock_reading reading;
    uint8_t record[STORE_CLOCK_RECORD_BYTES], value[8];
    char *error = NULL;
    int clock = store_read_meta(store, META_CLOCK, record, sizeof(record));
    int numbers = store_read_meta(store, META_NUMBERS, value, sizeof(value));
    int err;

    if (clock < 0 || numbers < 0)
        return refuse_damaged(store, out_error);
    store_clock_read(&reading);
    store_clock_start(&store->clock, clock == 0 ? NULL : record, &reading);
    store->next_number = numbers == 0 ? 1 : bytes_get_big(value, 8);
    err = store_write_first(store, &error);
    if (err < 0)
        tell(store, error, out_error);
    rocksdb_free(error);
    return err;
}

/* A directory that was just made is on disk only with its parent: else a power cut would take it with all that is synced in it. */
static int sync_parent(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    char *parent = slash == NULL ? strdup(".") : strndup(dir, slash == dir ? 1 : (size_t)(slash - dir));
    int file, err = 0;

    if (parent == NULL)
        return -ENOMEM;
    file = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(parent);
    if (file < 0)
        return -errno;
    if (fsync(file) < 0)
        err = -errno;
    close(file);
    return err;
}

static int make_dir(const char *dir)
{
    if (mkdir(dir, 0700) == 0)
        return sync_parent(dir);
    return errno == EEXIST ? 0 : -errno;
}

static int prepare(struct store *store)
{
    int err;

    if (store->dir == NULL || pthread_rwlock_init(&store->database_lock, NULL) != 0 ||
        pthread_mutex_init(&store->clients_lock, NULL) != 0 || pthread_mutex_init(&store->problem_lock, NULL) != 0 ||
        sem_init(&store->wake, 0, 0) < 0)
        return -ENOMEM;
    store->options.dir = store->dir;
    err = make_dir(store->dir);
    if (err < 0)
        return err;
    err = store_layout_init(&store->layout, &store->options);
    if (err < 0)
        return err;
    store->read_options = rocksdb_readoptions_create();
    store->write_options = rocksdb_writeoptions_create();
    store->sync_options = rocksdb_writeoptions_create();
    store->writer.write = rocksdb_writebatch_create();
    rocksdb_readoptions_set_verify_checksums(store->read_options, 1);
    rocksdb_writeoptions_set_sync(store->sync_options, 1);
    return 0;
}

int store_open(const struct store_options *options, struct store **out_store, char **out_error)
{
    struct store *store = calloc(1, sizeof(*store));
    char *error = NULL, *text = NULL;
    bool is_new = false;
    int err = -ENOMEM;

    if (store == NULL)
        return err;
    store->options = *options;
    store->mark_file = -1;
    list_init(&store->clients);
    store->dir = strdup(options->dir);
    err = prepare(store);
    if (err == 0)
        err = store_mark_open(store->dir, &store->mark_file);
    if (err == 0)
        err = store_files_check(store, &is_new, &text);
    if (err == 0)
        err = check_manifest(store, is_new, &text);
    if (err == 0 && open_database(store, is_new, &error) < 0) {
        store_tell_damage(store, error, &text);
        err = -EINVAL;
    }
    rocksdb_free(error);
    if (err == 0)
        err = check_schema(store, &text);
    if (err == 0)
        err = check_log(store, &text);
    if (err == 0)
        err = load(store, &text);
    if (err == 0)
        err = store_writer_start(store);
    if (err < 0) {
        if (text == NULL)
            tell(store, strerror(-err), &text);
        if (out_error != NULL)
            *out_error = text;
        else
            free(text);
        store_close(store);
        return err;
    }
    *out_store = store;
    return 0;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    store_writer_stop(store);
    close_database(store);
    if (store->mark_file >= 0) {
        fsync(store->mark_file);
        close(store->mark_file);
    }
    if (store->writer.write != NULL)
        rocksdb_writebatch_destroy(store->writer.write);
    if (store->read_options != NULL)
        rocksdb_readoptions_destroy(store->read_options);
    if (store->write_options != NULL)
        rocksdb_writeoptions_destroy(store->write_options);
    if (store->sync_options != NULL)
        rocksdb_writeoptions_destroy(store->sync_options);
    store_layout_fini(&store->layout);
    sem_destroy(&store->wake);
    pthread_mutex_destroy(&store->problem_lock);
    pthread_mutex_destroy(&store->clients_lock);
    pthread_rwlock_destroy(&store->database_lock);
    free(store->dir);
    free(store);
}
