/*
 * store_files: what lies in the directory before the database is opened.
 *
 * RocksDB takes a directory without the file CURRENT for an empty one, and makes each table that its list, the MANIFEST, does not name.
 * That is right for a store that is new, or that was killed while it was made. In any other a damaged file would empty tables
 * without a word: so only a new store has anything made, and others are refused here.
 */
#include "store/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- which files ---- */

static bool ends_in(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);

    return length > tail && strcmp(name + length - tail, suffix) == 0;
}

/* Rows: they are written when all tables are there. */
static bool is_data(const char *name)
{
    return ends_in(name, ".sst") || ends_in(name, ".blob");
}

/* Not made before the file CURRENT. The first MANIFEST is: whoever is killed then leaves it behind. */
static bool needs_current(const char *name)
{
    return is_data(name) || ends_in(name, ".log") ||
           (strncmp(name, "MANIFEST-", 9) == 0 && strcmp(name, "MANIFEST-000001") != 0);
}

/* Is there a file of that kind? 1, 0, -errno. */
static int find_kind(const char *path, bool (*is_kind)(const char *name))
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int found = 0;

    if (dir == NULL)
        return -errno;
    while (found == 0 && (entry = readdir(dir)) != NULL)
        found = is_kind(entry->d_name);
    closedir(dir);
    return found;
}

/* Is the file CURRENT there? 1, 0, -ENOMEM. */
static int find_current(const char *dir)
{
    char *path = NULL;
    int found;

    if (asprintf(&path, "%s/CURRENT", dir) < 0)
        return -ENOMEM;
    found = access(path, F_OK) == 0;
    free(path);
    return found;
}

/* ---- which tables ---- */

/* Has the store been in use? Its first row, the schema, is written when all tables are there; it is in the table that RocksDB always has.
 * 1, 0, -EIO: unreadable, with `*out_error` (rocksdb_free()). */
static int has_schema(const struct store *store, char **out_error)
{
    const char *name = store_family_name(STORE_META);
    const rocksdb_options_t *options = store->layout.tables[STORE_META];
    rocksdb_column_family_handle_t *meta = NULL;
    rocksdb_pinnableslice_t *row = NULL;
    rocksdb_t *database = rocksdb_open_for_read_only_column_families(store->layout.database, store->dir, 1, &name,
                                                                     &options, &meta, 0, out_error);

    if (database == NULL)
        return -EIO;
    row = rocksdb_get_pinned_cf(database, store->read_options, meta, (const char *)META_SCHEMA.data, META_SCHEMA.len,
                                out_error);
    rocksdb_pinnableslice_destroy(row);
    rocksdb_column_family_handle_destroy(meta);
    rocksdb_close(database);
    return *out_error != NULL ? -EIO : row != NULL;
}

/* 1, 0 or negative, as above. */
static int was_in_use(const struct store *store, char **out_error)
{
    int found = find_kind(store->dir, is_data);

    return found != 0 ? found : has_schema(store, out_error);
}

/* A table that we do not know belongs to a newer version. */
static int check_known(const struct store *store, char **names, size_t count, char **out_error)
{
    for (size_t i = 0; i < count; i++) {
        if (store_table_of_family(names[i]) != STORE_TABLE_COUNT)
            continue;
        if (asprintf(out_error, "The store %s cannot be opened: its table '%s' is unknown to this version of emqx",
                     store->dir, names[i]) < 0)
            *out_error = NULL;
        return -EINVAL;
    }
    return 0;
}

/* Some tables are not named. */
static int check_unfinished(const struct store *store, const uint8_t *is_named, char **out_error)
{
    char *error = NULL, *what = NULL;
    int used = was_in_use(store, &error);
    enum store_table table = STORE_META;

    if (used < 0 && error == NULL)
        return used;
    if (used < 0)
        store_tell_damage(store, error, out_error);
    rocksdb_free(error);
    if (used < 0)
        return -EINVAL;
    if (used == 0)
        return 0;
    while (is_named[table])
        table++;
    if (asprintf(&what,
                 "table '%s' is missing: the file MANIFEST, which names the tables, is damaged or ends too early",
                 store_table_name(table)) < 0)
        return -ENOMEM;
    store_tell_damage(store, what, out_error);
    free(what);
    return -EINVAL;
}

static int check_tables(const struct store *store, bool *out_new, char **out_error)
{
    uint8_t is_named[STORE_TABLE_COUNT] = {0};
    char *error = NULL;
    size_t count = 0, known = 0;
    char **names = rocksdb_list_column_families(store->layout.database, store->dir, &count, &error);
    int err;

    if (error != NULL) {
        store_tell_damage(store, error, out_error);
        rocksdb_free(error);
        rocksdb_list_column_families_destroy(names, 0);
        return -EINVAL;
    }
    err = check_known(store, names, count, out_error);
    for (size_t i = 0; i < count && err == 0; i++) {
        is_named[store_table_of_family(names[i])] = 1;
        known++;
    }
    rocksdb_list_column_families_destroy(names, count);
    if (err == 0 && known < STORE_TABLE_COUNT) {
        err = check_unfinished(store, is_named, out_error);
        *out_new = true;
    }
    return err;
}

int store_files_check(const struct store *store, bool *out_new, char **out_error)
{
    int found = find_current(store->dir);

    *out_new = false;
    if (found != 0)
        return found < 0 ? found : check_tables(store, out_new, out_error);
    found = find_kind(store->dir, needs_current);
    if (found < 0)
        return found;
    if (found) {
        store_tell_damage(store, "its file CURRENT is missing", out_error);
        return -EINVAL;
    }
    *out_new = true;
    return 0;
}
