/*
 * plugin_tables: tables of plugins: rows in memory for the workers, and in the store's table of users for the next run.
 *
 * A row of the store is named PLUGIN/TABLE, a zero, the key. Workers look rows up without a lock (base/rcu_table.h); only the control thread changes them.
 */
#include "plugin/plugin_internal.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/rcu.h"
#include "base/rcu_table.h"
#include "event/loop_mailbox.h"
#include "event/worker.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS 16u
#define TABLE_NAME_MAX 32u
#define PREFIX_BYTES_MAX (PLUGIN_NAME_MAX + 1 + TABLE_NAME_MAX + 1)

/* Shared: snapshot. */
struct emqc_table_row {
    uint32_t key_len;
    uint32_t value_len;
    uint8_t data[]; /* key, value */
};

struct emqc_table {
    struct emqc_table *next;
    struct plugin_tables *tables;
    struct rcu_table *rows;
    uint64_t rows_max;
    char prefix[PREFIX_BYTES_MAX + 1];
    size_t prefix_len; /* with the zero */
};

/* Somebody waits for a batch to be on disk. */
struct waiter {
    struct waiter *next;
    uint64_t number;
    struct emqc_table *table;
    emqc_table_done_fn *done;
    void *context;
};

struct plugin_tables {
    struct store *store;
    struct store_client *client;
    struct waiter *waiters; /* by rising number */
    struct waiter **waiters_end;
};

/* ---- rows ---- */

static struct slice row_key(const struct emqc_table_row *row)
{
    return slice_make(row->data, row->key_len);
}

static struct slice row_value(const struct emqc_table_row *row)
{
    return slice_make(row->data + row->key_len, row->value_len);
}

static uint64_t hash_row(const void *element, const void *context)
{
    (void)context;
    return hash_text(row_key(element));
}

static bool match_row(const void *element, const void *key)
{
    return slice_equal(row_key(element), *(const struct slice *)key);
}

static struct emqc_table_row *row_new(struct slice key, struct slice value)
{
    struct emqc_table_row *row = malloc(sizeof(*row) + key.len + value.len);

    if (row == NULL)
        return NULL;
    row->key_len = (uint32_t)key.len;
    row->value_len = (uint32_t)value.len;
    memcpy(row->data, key.data, key.len);
    if (value.len > 0)
        memcpy(row->data + key.len, value.data, value.len);
    return row;
}

/* Workers are online while they work; the control thread goes online for the moment. */
static void begin_reading(void)
{
    if (worker_current() == NULL)
        rcu_thread_online();
}

static void end_reading(void)
{
    if (worker_current() == NULL)
        rcu_thread_offline();
}

/* ---- opening ---- */

struct filling {
    struct emqc_table *table;
    int err;
};

static bool fill_row(void *context, struct slice key, struct slice value)
{
    struct filling *filling = context;
    struct emqc_table *table = filling->table;
    struct slice name = slice_make(key.data + table->prefix_len, key.len - table->prefix_len);
    struct emqc_table_row *row = row_new(name, value);

    filling->err = row == NULL ? -ENOMEM : rcu_table_insert(table->rows, hash_text(name), match_row, &name, row, NULL);
    if (filling->err < 0)
        free(row);
    return filling->err == 0;
}

static int fill(struct emqc_table *table)
{
    struct filling filling = {.table = table};
    struct slice prefix = slice_make(table->prefix, table->prefix_len);
    int err;

    rcu_thread_online();
    err = store_scan(table->tables->store, STORE_USER, prefix, prefix, fill_row, &filling);
    rcu_thread_offline();
    return filling.err < 0 ? filling.err : err;
}

static bool name_valid(const char *name)
{
    size_t len = name == NULL ? 0 : strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return len > 0 && len <= TABLE_NAME_MAX && name[len] == '\0';
}

static void table_free(struct emqc_table *table)
{
    rcu_table_free(table->rows, free);
    free(table);
}

int plugin_table_open(struct emqc_plugin_instance *self, const struct emqc_table_options *options,
                      struct emqc_table **out_table)
{
    struct emqc_table *table;
    int err;

    if (!EMQC_HAS(options, struct emqc_table_options, rows_max) || !name_valid(options->name) || options->rows_max == 0)
        return -EINVAL;
    table = calloc(1, sizeof(*table));
    if (table == NULL || (table->rows = rcu_table_new(SHARDS, hash_row, NULL)) == NULL) {
        free(table);
        return -ENOMEM;
    }
    table->tables = self->host->tables;
    table->rows_max = options->rows_max;
    table->prefix_len = (size_t)snprintf(table->prefix, sizeof(table->prefix), "%s/%s", self->name, options->name) + 1;
    for (const struct emqc_table *other = self->tables; other != NULL; other = other->next) {
        if (strcmp(other->prefix, table->prefix) == 0) {
            table_free(table);
            return -EEXIST;
        }
    }
    err = fill(table);
    if (err < 0) {
        table_free(table);
        return err;
    }
    table->next = self->tables;
    self->tables = table;
    *out_table = table;
    return 0;
}

/* ---- reading ---- */

int plugin_table_get(const struct emqc_table *table, struct emqc_slice key, void *out_value, size_t size)
{
    struct slice name = plugin_slice_in(key);
    const struct emqc_table_row *row;
    int result = -ENOENT;

    begin_reading();
    row = rcu_table_find(table->rows, hash_text(name), match_row, &name);
    if (row != NULL) {
        result = (int)row->value_len;
        if (size > 0 && row->value_len > 0)
            memcpy(out_value, row_value(row).data, row->value_len < size ? row->value_len : size);
    }
    end_reading();
    return result;
}

struct visit {
    void (*visit)(void *context, struct emqc_slice key, struct emqc_slice value);
    void *context;
};

static void visit_row(void *context, void *element)
{
    const struct visit *visit = context;

    visit->visit(visit->context, plugin_slice(row_key(element)), plugin_slice(row_value(element)));
}

void plugin_table_visit(const struct emqc_table *table, uint64_t *cursor, uint32_t limit,
                        void (*visit)(void *context, struct emqc_slice key, struct emqc_slice value), void *context)
{
    struct visit wrapped = {visit, context};

    rcu_thread_online();
    rcu_table_visit(table->rows, cursor, limit == 0 ? 1 : limit, visit_row, &wrapped);
    rcu_thread_offline();
}

uint64_t plugin_table_count(const struct emqc_table *table)
{
    return rcu_table_count(table->rows);
}

/* ---- writing ---- */

static void answer_waiters(struct plugin_tables *tables, bool all)
{
    uint64_t committed = store_committed(tables->client);

    while (tables->waiters != NULL && (all || tables->waiters->number <= committed)) {
        struct waiter *waiter = tables->waiters;
        tables->waiters = waiter->next;
        if (tables->waiters == NULL)
            tables->waiters_end = &tables->waiters;
        if (waiter->done != NULL)
            waiter->done(waiter->context, waiter->number <= committed ? 0 : -EIO);
        free(waiter);
    }
}

static void on_store_progress(struct store_client *client, void *context)
{
    struct plugin_tables *tables = context;

    (void)client;
    answer_waiters(tables, store_state(tables->store) != STORE_OPEN);
}

static int check_store(const struct plugin_tables *tables)
{
    if (store_state(tables->store) != STORE_OPEN)
        return -EROFS;
    return store_congested(tables->store) ? -EAGAIN : 0;
}

/* The row's name in the store; freed by the caller. */
static int store_name(const struct emqc_table *table, struct slice key, struct slice *out_name)
{
    uint8_t *name = malloc(table->prefix_len + key.len);

    if (name == NULL)
        return -ENOMEM;
    memcpy(name, table->prefix, table->prefix_len);
    memcpy(name + table->prefix_len, key.data, key.len);
    *out_name = slice_make(name, table->prefix_len + key.len);
    return 0;
}

static int make_waiter(struct emqc_table *table, emqc_table_done_fn *done, void *context, struct waiter **out_waiter)
{
    *out_waiter = calloc(1, sizeof(**out_waiter));
    if (*out_waiter == NULL)
        return -ENOMEM;
    (*out_waiter)->table = table;
    (*out_waiter)->done = done;
    (*out_waiter)->context = context;
    return 0;
}

static void submit(struct plugin_tables *tables, struct waiter *waiter)
{
    waiter->number = store_submit(tables->client, waiter->done != NULL);
    *tables->waiters_end = waiter;
    tables->waiters_end = &waiter->next;
}

/* Takes `row` over if it succeeds. */
static int put_row(struct emqc_table *table, struct emqc_table_row *row, bool only_new)
{
    struct slice key = row_key(row);
    uint64_t hash = hash_text(key);
    struct emqc_table_row *old;
    int err = 0;

    rcu_thread_online();
    old = rcu_table_find(table->rows, hash, match_row, &key);
    if (old != NULL && only_new)
        err = -EEXIST;
    else if (old == NULL && rcu_table_count(table->rows) >= table->rows_max)
        err = -ENOSPC;
    if (err == 0) {
        rcu_table_lock(table->rows, hash);
        if (old != NULL)
            ASSERT(rcu_table_replace_locked(table->rows, hash, old, row));
        else
            err = rcu_table_add_locked(table->rows, hash, row);
        rcu_table_unlock(table->rows, hash);
    }
    if (err == 0 && old != NULL)
        rcu_retire(old, free);
    rcu_thread_offline();
    return err;
}

int plugin_table_put(struct emqc_table *table, struct emqc_slice key, struct emqc_slice value, bool only_new,
                     emqc_table_done_fn *done, void *context)
{
    struct slice key_in = plugin_slice_in(key), value_in = plugin_slice_in(value), name = {NULL, 0};
    struct waiter *waiter = NULL;
    struct emqc_table_row *row = NULL;
    int err;

    if (key.len == 0 || key.len > EMQC_TABLE_KEY_MAX || value.len > EMQC_TABLE_VALUE_MAX)
        return -EINVAL;
    err = check_store(table->tables);
    if (err == 0)
        err = make_waiter(table, done, context, &waiter);
    if (err == 0)
        err = store_name(table, key_in, &name);
    if (err == 0 && (row = row_new(key_in, value_in)) == NULL)
        err = -ENOMEM;
    if (err == 0)
        err = put_row(table, row, only_new);
    if (err == 0) {
        store_put(table->tables->client, STORE_USER, name, &value_in, 1);
        submit(table->tables, waiter);
    } else {
        free(row);
        free(waiter);
    }
    slice_free(&name);
    return err;
}

int plugin_table_delete(struct emqc_table *table, struct emqc_slice key, emqc_table_done_fn *done, void *context)
{
    struct slice key_in = plugin_slice_in(key), name = {NULL, 0};
    uint64_t hash = hash_text(key_in);
    struct waiter *waiter = NULL;
    struct emqc_table_row *row;
    int err = check_store(table->tables);

    if (err == 0)
        err = make_waiter(table, done, context, &waiter);
    if (err == 0)
        err = store_name(table, key_in, &name);
    if (err < 0) {
        free(waiter);
        return err;
    }
    rcu_thread_online();
    row = rcu_table_find(table->rows, hash, match_row, &key_in);
    if (row != NULL) {
        ASSERT(rcu_table_remove(table->rows, hash, row));
        rcu_retire(row, free);
    }
    rcu_thread_offline();
    if (row == NULL) {
        free(waiter);
        slice_free(&name);
        return -ENOENT;
    }
    store_delete(table->tables->client, STORE_USER, name);
    submit(table->tables, waiter);
    slice_free(&name);
    return 0;
}

/* ---- the end ---- */

void plugin_tables_settle(struct emqc_plugin_instance *self)
{
    for (const struct emqc_table *table = self->tables; table != NULL; table = table->next) {
        for (struct waiter *waiter = table->tables->waiters; waiter != NULL; waiter = waiter->next) {
            emqc_table_done_fn *done = waiter->table == table ? waiter->done : NULL;
            if (done == NULL)
                continue;
            waiter->done = NULL;
            done(waiter->context, -ECANCELED);
        }
    }
}

void plugin_tables_remove(struct emqc_plugin_instance *self)
{
    plugin_tables_settle(self);
    while (self->tables != NULL) {
        struct emqc_table *table = self->tables;
        self->tables = table->next;
        table_free(table);
    }
}

int plugin_tables_open(const struct plugin_host_options *options, struct loop_mailbox *mailbox,
                       struct plugin_tables **out_tables)
{
    struct plugin_tables *tables = calloc(1, sizeof(*tables));
    struct store_client_options client = {.mailbox = mailbox, .on_progress = on_store_progress, .context = tables};
    int err;

    if (tables == NULL)
        return -ENOMEM;
    tables->store = options->store;
    tables->waiters_end = &tables->waiters;
    err = store_client_open(options->store, &client, &tables->client);
    if (err < 0) {
        free(tables);
        tables = NULL;
    }
    *out_tables = tables;
    return err;
}

void plugin_tables_close(struct plugin_tables *tables)
{
    if (tables == NULL)
        return;
    answer_waiters(tables, true);
    store_client_close(tables->client);
    free(tables);
}
