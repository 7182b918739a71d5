/*
 * scram_users: see scram_users.h.
 *
 * Keys of a new password are made by a job, as that takes long on purpose; a change is answered when it is on disk. Users of the settings are made
 * while the plugin is loaded, which takes as long.
 */
#include "scram_users.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_SLICE_ROWS 256u

/* One command that runs. */
struct task {
    struct scram_users *users;
    struct emqc_request *request;
    uint64_t cursor; /* list */
    bool is_new;     /* add */
    bool is_superuser;
    int err; /* of making the user */
    struct scram_user user;
    char *password; /* behind the name; both end with a zero */
    char name[];
};

static struct emqc_slice slice_of(const char *text)
{
    return (struct emqc_slice){text, strlen(text)};
}

bool scram_users_find(const struct scram_users *users, struct emqc_slice user_name, struct scram_user *out_user)
{
    uint8_t record[SCRAM_RECORD_MAX];
    int len = users->host->table_get(users->table, user_name, record, sizeof(record));
    bool is_found = len > 0 && len <= (int)sizeof(record) && scram_record_read(record, (size_t)len, out_user) == 0;

    OPENSSL_cleanse(record, sizeof(record));
    return is_found;
}

static int put(struct scram_users *users, struct emqc_slice name, const struct scram_user *user, bool only_new,
               emqc_table_done_fn *done, void *context)
{
    uint8_t record[SCRAM_RECORD_MAX];
    size_t len = scram_record_write(user, record);
    int err = users->host->table_put(users->table, name, (struct emqc_slice){(const char *)record, len}, only_new, done,
                                     context);

    OPENSSL_cleanse(record, sizeof(record));
    return err;
}

/* ---- commands ---- */

static void task_end(struct task *task, enum emqc_command_result result)
{
    struct scram_users *users = task->users;
    struct emqc_request *request = task->request;

    OPENSSL_cleanse(&task->user, sizeof(task->user));
    OPENSSL_cleanse(task->password, strlen(task->password));
    free(task);
    users->host->finish(request, result);
}

static void task_fail(struct task *task, const char *what)
{
    task->users->host->print_error(task->request, "Not changed: %s\n", what);
    task_end(task, EMQC_COMMAND_FAILED);
}

static void task_fail_with(struct task *task, int err)
{
    switch (err) {
    case -EEXIST: task_fail(task, "there is such a user"); break;
    case -ENOENT: task_fail(task, "there is no such user"); break;
    case -ENOSPC: task_fail(task, "there are as many users as auth.scram.max_users allows"); break;
    case -EROFS: task_fail(task, "the store cannot be written"); break;
    case -EAGAIN: task_fail(task, "too much waits to be done now; try again"); break;
    case -EIO: task_fail(task, "OpenSSL cannot compute SCRAM's keys"); break;
    case -EINVAL:
        task_fail(task, "a user name has 1 to 255 bytes and a password 1 to 1024, of UTF-8 without control characters");
        break;
    default: task_fail(task, strerror(-err)); break;
    }
}

static void on_written(void *context, int err)
{
    struct task *task = context;

    if (err == 0)
        task->users->host->print(task->request, "ok\n");
    else
        task->users->host->print_error(
            task->request, "The change is in effect, but not on disk yet, as the store cannot be written\n");
    task_end(task, err == 0 ? EMQC_COMMAND_OK : EMQC_COMMAND_FAILED);
}

/* Thread: job. */
static void make_user(void *context)
{
    struct task *task = context;

    task->err = scram_user_make(slice_of(task->password), task->users->iterations, task->is_superuser, &task->user);
}

static void on_made(void *context)
{
    struct task *task = context;
    struct scram_user before;
    int err = task->err;

    if (err == 0 && !task->is_new) {
        if (scram_users_find(task->users, slice_of(task->name), &before)) /* it may have gone meanwhile */
            task->user.is_superuser = before.is_superuser;
        else
            err = -ENOENT;
    }
    if (err == 0)
        err = put(task->users, slice_of(task->name), &task->user, task->is_new, on_written, task);
    if (err < 0)
        task_fail_with(task, err);
}

static void change(struct task *task)
{
    struct scram_user before;
    bool is_there = scram_users_find(task->users, slice_of(task->name), &before);
    int err = 0;

    if (!scram_text_fits(slice_of(task->name), SCRAM_USER_NAME_MAX))
        err = -EINVAL;
    else if (is_there == task->is_new)
        err = task->is_new ? -EEXIST : -ENOENT;
    if (err == 0)
        err = task->users->host->job_run(task->users->self, make_user, on_made, task);
    if (err < 0)
        task_fail_with(task, err);
}

static void delete (struct task *task)
{
    int err = task->users->host->table_delete(task->users->table, slice_of(task->name), on_written, task);

    if (err < 0)
        task_fail_with(task, err);
}

static void print_user(void *context, struct emqc_slice key, struct emqc_slice value)
{
    struct task *task = context;
    const struct emqc_host *host = task->users->host;
    struct scram_user user;
    bool is_read = scram_record_read((const uint8_t *)value.data, value.len, &user) == 0;

    host->print_slice(task->request, key);
    host->print(task->request, !is_read ? " (damaged)\n" : user.is_superuser ? " (superuser)\n" : "\n");
    OPENSSL_cleanse(&user, sizeof(user));
}

static void list_go_on(struct emqc_request *request, void *context)
{
    struct task *task = context;
    const struct emqc_host *host = task->users->host;

    if (host->abandoned(request)) {
        task_end(task, EMQC_COMMAND_FAILED);
        return;
    }
    host->table_visit(task->users->table, &task->cursor, LIST_SLICE_ROWS, print_user, task);
    if (task->cursor != 0)
        host->when_writable(request, list_go_on, task);
    else
        task_end(task, EMQC_COMMAND_OK);
}

static struct task *task_new(struct scram_users *users, struct emqc_request *request, const char *name,
                             const char *password)
{
    size_t name_size = strlen(name) + 1, password_size = strlen(password) + 1;
    struct task *task = calloc(1, sizeof(*task) + name_size + password_size);

    if (task == NULL)
        return NULL;
    task->users = users;
    task->request = request;
    task->password = task->name + name_size;
    memcpy(task->name, name, name_size);
    memcpy(task->password, password, password_size);
    return task;
}

static void run_command(void *context, struct emqc_request *request, int argc, char **argv)
{
    struct scram_users *users = context;
    const char *word = argc > 1 ? argv[1] : "";
    bool adds = strcmp(word, "add") == 0 && (argc == 4 || (argc == 5 && strcmp(argv[4], "superuser") == 0));
    bool updates = strcmp(word, "update") == 0 && argc == 4;
    bool deletes = strcmp(word, "del") == 0 && argc == 3;
    struct task *task;

    if (!adds && !updates && !deletes && (strcmp(word, "list") != 0 || argc != 2)) {
        users->host->finish(request, EMQC_COMMAND_USAGE);
        return;
    }
    task = task_new(users, request, argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
    if (task == NULL) {
        users->host->print_error(request, "memory is short\n");
        users->host->finish(request, EMQC_COMMAND_FAILED);
        return;
    }
    task->is_new = adds;
    task->is_superuser = argc == 5;
    if (adds || updates)
        change(task);
    else if (deletes)
        delete (task);
    else
        list_go_on(request, task);
}

/* ---- the settings ---- */

#define KEY_USERNAME "auth.scram.user.$id.username"
#define KEY_PASSWORD "auth.scram.user.$id.password"
#define KEY_SUPERUSER "auth.scram.user.$id.superuser"

static int add_configured(struct scram_users *users, const char *id)
{
    const struct emqc_host *host = users->host;
    const char *name = host->config_string(users->self, KEY_USERNAME, id, NULL);
    const char *password = host->config_string(users->self, KEY_PASSWORD, id, NULL);
    struct scram_user user;
    int err;

    if (name == NULL || !scram_text_fits(slice_of(name), SCRAM_USER_NAME_MAX))
        return host->config_wrong(users->self, KEY_USERNAME, id, NULL,
                                  "1 to %u bytes of UTF-8 without control characters", SCRAM_USER_NAME_MAX);
    if (password == NULL || !scram_text_fits(slice_of(password), SCRAM_PASSWORD_MAX))
        return host->config_wrong(users->self, password == NULL ? KEY_USERNAME : KEY_PASSWORD, id, NULL,
                                  "a user needs a password: 1 to %u bytes of UTF-8 without control characters",
                                  SCRAM_PASSWORD_MAX);
    if (host->table_get(users->table, slice_of(name), &user, 0) >= 0)
        return 0; /* it may have changed its password since */
    err = scram_user_make(slice_of(password), users->iterations,
                          host->config_bool(users->self, KEY_SUPERUSER, id, NULL, false), &user);
    if (err == 0)
        err = put(users, slice_of(name), &user, true, NULL, NULL);
    OPENSSL_cleanse(&user, sizeof(user));
    if (err == -EEXIST || err == 0)
        return 0;
    return host->fail(users->self, "the user auth.scram.user.%s cannot be added: %s", id,
                      err == -ENOSPC ? "auth.scram.max_users is reached" : strerror(-err));
}

int scram_users_open(struct scram_users *users)
{
    static const struct emqc_usage usage[] = {
        {"scram list", "List users"},
        {"scram add <Username> <Password>", "Add a user"},
        {"scram add <Username> <Password> superuser", "Add a user who is not asked about topics"},
        {"scram update <Username> <Password>", "Change a user's password"},
        {"scram del <Username>", "Delete a user"},
        {NULL, "A changed password, or a deleted user, counts from the next login or re-authentication on.\n"},
    };
    const struct emqc_host *host = users->host;
    const struct emqc_command command = {
        .size = sizeof(command), .name = "scram", .usage = usage, .run = run_command, .context = users};
    const struct emqc_table_options options = {
        .size = sizeof(options),
        .name = "users",
        .rows_max = (uint64_t)host->config_integer(users->self, "auth.scram.max_users", NULL, NULL, 1000000)};
    const char *const *names = NULL;
    size_t count = 0;
    int err = host->table_open(users->self, &options, &users->table);

    if (err < 0)
        return host->fail(users->self, "the table of users cannot be opened: %s", strerror(-err));
    err = host->config_names(users->self, KEY_USERNAME, &names, &count);
    for (size_t i = 0; err == 0 && i < count; i++)
        err = add_configured(users, names[i]);
    if (err < 0)
        return err;
    err = host->command_add(users->self, &command);
    return err < 0 ? host->fail(users->self, "the command scram cannot be added: %s", strerror(-err)) : 0;
}
