/*
 * auth_users: loading and unloading, and the entries of the configuration.
 */
#include "lib/auth_users_internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define METRIC_BYTES 64

bool auth_users_has(const struct auth_users *users, const char *name)
{
    struct emqc_slice key = {name, strlen(name)};
    char value[1];

    return key.len > 0 && users->host->table_get(users->table, key, value, 0) != -ENOENT;
}

/* One entry of the configuration, unless it is in the table already. Its hash is made here and now, as it must be in force when the plugin is: a
 * slow one takes some hundredths of a second, and does so once in the life of the table. */
static int add_configured(struct auth_users *users, const char *id)
{
    const struct emqc_host *host = users->host;
    const char *name_key = auth_users_key(users, AUTH_USERS_NAME);
    const char *password_key = auth_users_key(users, AUTH_USERS_PASSWORD);
    const char *name = host->config_string(users->self, name_key, id, NULL);
    const char *password = host->config_string(users->self, password_key, id, NULL);
    char entry[PASSWORD_ENTRY_BYTES];
    struct emqc_slice key;
    size_t len = 0;
    int err;

    if (name == NULL || name[0] == '\0')
        return host->config_wrong(users->self, name_key, id, NULL, "must name whom the password is for");
    if (password == NULL || password[0] == '\0')
        return host->config_wrong(users->self, password_key, id, NULL, "must be the password of %s", name);
    if (strlen(name) > EMQC_TABLE_KEY_MAX)
        return host->config_wrong(users->self, name_key, id, NULL, "must have at most %u bytes", EMQC_TABLE_KEY_MAX);
    key = (struct emqc_slice){name, strlen(name)};
    if (auth_users_has(users, name))
        return 0;
    err = password_entry_make(users->hash, users->iterations, (struct emqc_slice){password, strlen(password)}, entry,
                              &len);
    if (err == -E2BIG)
        return host->config_wrong(users->self, password_key, id, NULL, "must have at most %u bytes",
                                  PASSWORD_BYTES_MAX);
    if (err == 0)
        err = host->table_put(users->table, key, (struct emqc_slice){entry, len}, true, NULL, NULL);
    OPENSSL_cleanse(entry, sizeof(entry));
    if (err == -ENOSPC)
        return host->config_wrong(users->self, auth_users_key(users, AUTH_USERS_MAX), NULL, NULL,
                                  "is too small for the entries of this file");
    return err < 0 ? host->fail(users->self, "the %s %s cannot be made: %s", users->kind->what, name, strerror(-err))
                   : 0;
}

/* All entries that have a name, and then those that have a password only, for the error. */
static int add_all_configured(struct auth_users *users)
{
    static const enum auth_users_key halves[] = {AUTH_USERS_NAME, AUTH_USERS_PASSWORD};
    const char *const *ids;
    size_t count = 0;

    for (size_t half = 0; half < 2; half++) {
        int err = users->host->config_names(users->self, auth_users_key(users, halves[half]), &ids, &count);
        if (err < 0)
            return err;
        for (size_t i = 0; i < count; i++) {
            if (half == 1 &&
                users->host->config_string(users->self, auth_users_key(users, AUTH_USERS_NAME), ids[i], NULL) != NULL)
                continue;
            err = add_configured(users, ids[i]);
            if (err < 0)
                return err;
        }
    }
    return 0;
}

static int open_table(struct auth_users *users)
{
    const struct emqc_host *host = users->host;
    struct emqc_table_options options = {
        .size = sizeof(options),
        .name = users->kind->table,
        .rows_max = (uint64_t)host->config_integer(users->self, auth_users_key(users, AUTH_USERS_MAX), NULL, NULL,
                                                   1000000),
    };
    int err = host->table_open(users->self, &options, &users->table);

    return err < 0 ? host->fail(users->self, "the table of %ss cannot be opened: %s", users->kind->what, strerror(-err))
                   : 0;
}

static int add_metric(struct auth_users *users, const char *result, const char *help, struct emqc_metric **out_metric)
{
    char name[METRIC_BYTES] = "auth.";

    stpcpy(stpcpy(stpcpy(name + 5, users->kind->metric), "."), result);
    return users->host->metric(users->self, name, help, out_metric);
}

static int add_metrics(struct auth_users *users)
{
    int err = add_metric(users, "success", "Clients whose password was right.", &users->success);

    if (err == 0)
        err = add_metric(users, "failure", "Clients that were refused.", &users->failure);
    if (err == 0)
        err = add_metric(users, "ignore", "Clients without an entry, left to others.", &users->ignore);
    return err;
}

static int attach(struct auth_users *users)
{
    struct emqc_hook hook = {
        .size = sizeof(hook),
        .point = EMQC_CLIENT_AUTHENTICATE,
        .run = auth_users_authenticate,
        .context = users,
    };
    int err = add_metrics(users);

    if (err == 0)
        err = auth_users_add_command(users);
    if (err == 0)
        err = users->host->hook_add(users->self, &hook);
    return err < 0 ? users->host->fail(users->self, "%s", strerror(-err)) : 0;
}

static int configure(struct auth_users *users)
{
    const struct emqc_host *host = users->host;
    const char *hash_key = auth_users_key(users, AUTH_USERS_HASH);
    int64_t remembered = host->config_integer(users->self, auth_users_key(users, AUTH_USERS_REMEMBERED), NULL, NULL, 0);

    users->hash = (enum password_kind)host->config_integer(users->self, hash_key, NULL, NULL, PASSWORD_ARGON2ID);
    users->iterations = (uint32_t)host->config_integer(users->self, auth_users_key(users, AUTH_USERS_ITERATIONS), NULL,
                                                       NULL, 0);
    if (users->hash <= PASSWORD_SHA256)
        host->log(users->self, EMQC_LOG_WARNING,
                  "%s = %s: whoever gets hold of the table finds out passwords fast; argon2id and pbkdf2-sha512 make "
                  "that slow",
                  hash_key, password_kind_name(users->hash));
    if (remembered > 0) {
        users->cache = password_cache_new((size_t)remembered);
        if (users->cache == NULL)
            return host->fail(users->self, "memory is short");
    }
    return 0;
}

int auth_users_load(const struct auth_users_kind *kind, const struct emqc_host *host, struct emqc_plugin_instance *self,
                    void **out_state)
{
    struct auth_users *users = calloc(1, sizeof(*users));
    int err;

    if (users == NULL)
        return host->fail(self, "memory is short");
    *users = (struct auth_users){.kind = kind, .host = host, .self = self};
    err = configure(users);
    if (err == 0)
        err = open_table(users);
    if (err == 0)
        err = add_all_configured(users);
    if (err == 0)
        err = attach(users); /* last, so that no client meets half a table */
    if (err < 0) {
        auth_users_unload(users);
        return err;
    }
    *out_state = users;
    return 0;
}

void auth_users_unload(void *state)
{
    struct auth_users *users = state;

    password_cache_free(users->cache);
    free(users);
}
