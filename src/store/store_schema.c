/*
 * store_schema: the version of what the tables hold, and the steps from older ones.
 *
 * A step writes the new form and is safe to run twice: the version is raised after it.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_BYTES 4

static int set_version(struct store *store, uint32_t version)
{
    uint8_t value[VERSION_BYTES];
    char *error = NULL;

    bytes_put_big(value, version, VERSION_BYTES);
    rocksdb_put_cf(store->database, store->sync_options, store->tables[STORE_META], (const char *)META_SCHEMA.data,
                   META_SCHEMA.len, (const char *)value, VERSION_BYTES, &error);
    if (error == NULL)
        return 0;
    rocksdb_free(error);
    return -EIO;
}

static const struct store_upgrade *find_step(const struct store_upgrade *upgrades, uint32_t count, uint32_t from)
{
    for (uint32_t i = 0; i < count; i++)
        if (upgrades[i].from == from)
            return &upgrades[i];
    return NULL;
}

static int refuse(char **out_error, const char *format, uint32_t version, uint32_t current)
{
    if (asprintf(out_error, format, version, current) < 0)
        *out_error = NULL;
    return -EINVAL;
}

int store_schema_check(struct store *store, uint32_t current, const struct store_upgrade *upgrades, uint32_t count,
                       char **out_error)
{
    uint8_t value[VERSION_BYTES];
    uint32_t version;
    int found = store_read_meta(store, META_SCHEMA, value, VERSION_BYTES);

    if (found < 0)
        return found;
    if (found == 0)
        return set_version(store, current); /* a new store */
    for (version = (uint32_t)bytes_get_big(value, VERSION_BYTES); version != current; version++) {
        const struct store_upgrade *step = find_step(upgrades, count, version);
        int err;

        if (version > current)
            return refuse(out_error, "it was written by a newer version of emqx (format %u, this one knows %u)",
                          version, current);
        if (step == NULL)
            return refuse(out_error, "there is no way from its format %u to this version's %u", version, current);
        err = step->run(store);
        if (err == 0)
            err = set_version(store, version + 1);
        if (err < 0)
            return err;
    }
    return 0;
}
