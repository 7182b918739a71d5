/*
 * auth_users_command: `users list|add|update|del` and `clientid ...`, with the answers of EMQ X 3; `--hash` is ours.
 *
 * The hash of a new password is made by a job, as it may be slow; a change is answered when it is on disk.
 */
#include "lib/auth_users_internal.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_SLICE_ROWS 256u

static struct emqc_slice slice_of(const char *text)
{
    return (struct emqc_slice){text, strlen(text)};
}

/* One command that runs. */
struct task {
    struct auth_users *users;
    struct emqc_request *request;
    uint64_t cursor; /* list */
    bool is_new;     /* add */
    bool is_hashed;  /* what is given is an entry, not a password */
    int err;         /* of making the entry */
    size_t entry_len;
    char entry[PASSWORD_ENTRY_BYTES];
    char *password; /* behind the name */
    char name[];    /* both end with a zero */
};

static struct task *task_new(struct auth_users *users, struct emqc_request *request, const char *name,
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

static void task_end(struct task *task, enum emqc_command_result result)
{
    OPENSSL_cleanse(task->password, strlen(task->password));
    OPENSSL_cleanse(task->entry, sizeof(task->entry));
    task->users->host->finish(task->request, result);
    free(task);
}

static void fail_for_memory(struct auth_users *users, struct emqc_request *request)
{
    users->host->print_error(request, "memory is short\n");
    users->host->finish(request, EMQC_COMMAND_FAILED);
}

/* ---- list ---- */

static void print_name(void *context, struct emqc_slice key, struct emqc_slice value)
{
    struct task *task = context;

    (void)value;
    task->users->host->print_slice(task->request, key);
    task->users->host->print(task->request, "\n");
}

static void list_go_on(struct emqc_request *request, void *context)
{
    struct task *task = context;
    const struct emqc_host *host = task->users->host;

    if (host->abandoned(request)) {
        task_end(task, EMQC_COMMAND_FAILED);
        return;
    }
    host->table_visit(task->users->table, &task->cursor, LIST_SLICE_ROWS, print_name, task);
    if (task->cursor != 0)
        host->when_writable(request, list_go_on, task);
    else
        task_end(task, EMQC_COMMAND_OK);
}

static void list_start(struct auth_users *users, struct emqc_request *request)
{
    struct task *task = task_new(users, request, "", "");

    if (task == NULL)
        fail_for_memory(users, request);
    else
        list_go_on(request, task);
}

/* ---- add, update, del ---- */

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

/* Why a change was not made. */
static void refuse(struct task *task, int err)
{
    const struct auth_users *users = task->users;
    const struct emqc_host *host = users->host;

    switch (err) {
    case -EEXIST: host->print(task->request, "{error,%s}\n", users->kind->error_exists); break;
    case -ENOENT: host->print(task->request, "{error,%s}\n", users->kind->error_unknown); break;
    case -ENOSPC:
        host->print_error(task->request, "There are as many %ss as %s allows\n", users->kind->what,
                          auth_users_key(users, AUTH_USERS_MAX));
        break;
    case -EINVAL:
        host->print_error(task->request, "Not changed: that is no entry such as $sha256$SALT$HASH, $pbkdf2-sha512$..., "
                                         "$argon2id$...\n");
        break;
    case -E2BIG:
        host->print_error(task->request, "Too long: at most %u bytes for a %s, %u for a password\n", EMQC_TABLE_KEY_MAX,
                          users->kind->what, PASSWORD_BYTES_MAX);
        break;
    case -EROFS: host->print_error(task->request, "Not changed: the store cannot be written\n"); break;
    case -EAGAIN: host->print_error(task->request, "Not changed: too much waits to be done now; try again\n"); break;
    default: host->print_error(task->request, "Not changed: %s\n", strerror(-err)); break;
    }
    task_end(task, EMQC_COMMAND_FAILED);
}

/* Thread: job. */
static void make_entry(void *context)
{
    struct task *task = context;

    task->err = password_entry_make(task->users->hash, task->users->iterations, slice_of(task->password), task->entry,
                                    &task->entry_len);
}

/* The entry may have come or gone while its hash was made. */
static void on_made(void *context)
{
    struct task *task = context;
    const struct auth_users *users = task->users;
    int err = task->err;

    if (err == 0 && !task->is_new && !auth_users_has(users, task->name))
        err = -ENOENT;
    if (err == 0)
        err = users->host->table_put(users->table, slice_of(task->name),
                                     (struct emqc_slice){task->entry, task->entry_len}, task->is_new, on_written, task);
    if (err < 0)
        refuse(task, err);
}

/* An entry that is given: `--hash`. */
static int take_entry(struct task *task)
{
    struct password_entry entry;
    struct emqc_slice text = slice_of(task->password);

    if (password_entry_parse(text, &entry) < 0)
        return -EINVAL;
    memcpy(task->entry, text.data, text.len);
    task->entry_len = text.len;
    on_made(task);
    return 0;
}

static void put_start(struct task *task)
{
    const struct auth_users *users = task->users;
    size_t name_len = strlen(task->name), password_len = strlen(task->password);
    int err = 0;

    if (name_len == 0 || password_len == 0) {
        users->host->print_error(task->request, "The %s is empty\n", name_len == 0 ? users->kind->what : "password");
        task_end(task, EMQC_COMMAND_FAILED);
        return;
    }
    if (name_len > EMQC_TABLE_KEY_MAX || (!task->is_hashed && password_len > PASSWORD_BYTES_MAX))
        err = -E2BIG;
    else if (auth_users_has(users, task->name) == task->is_new)
        err = task->is_new ? -EEXIST : -ENOENT;
    else if (task->is_hashed)
        err = take_entry(task);
    else
        err = users->host->job_run(users->self, make_entry, on_made, task);
    if (err < 0)
        refuse(task, err);
}

/* `add` and `update`: NAME PASSWORD or NAME --hash ENTRY. False: other words. */
static bool put_parse(struct auth_users *users, struct emqc_request *request, int argc, char **argv)
{
    bool is_new = strcmp(argv[1], "add") == 0, is_hashed = argc == 5 && strcmp(argv[3], "--hash") == 0;
    struct task *task;

    if ((!is_new && strcmp(argv[1], "update") != 0) || (argc != 4 && !is_hashed))
        return false;
    task = task_new(users, request, argv[2], argv[argc - 1]);
    if (task == NULL) {
        fail_for_memory(users, request);
        return true;
    }
    task->is_new = is_new;
    task->is_hashed = is_hashed;
    put_start(task);
    return true;
}

static void delete_start(struct auth_users *users, struct emqc_request *request, const char *name)
{
    struct task *task = task_new(users, request, name, "");
    int err;

    if (task == NULL) {
        fail_for_memory(users, request);
        return;
    }
    err = auth_users_has(users, name) ? users->host->table_delete(users->table, slice_of(name), on_written, task)
                                      : -ENOENT;
    if (err == -ENOENT)
        on_written(task, 0);
    else if (err < 0)
        refuse(task, err);
}

static void command_run(void *context, struct emqc_request *request, int argc, char **argv)
{
    struct auth_users *users = context;
    const char *verb = argc > 1 ? argv[1] : "";

    if (strcmp(verb, "list") == 0 && argc == 2)
        list_start(users, request);
    else if (strcmp(verb, "del") == 0 && argc == 3)
        delete_start(users, request, argv[2]);
    else if (argc < 4 || !put_parse(users, request, argc, argv))
        users->host->finish(request, EMQC_COMMAND_USAGE);
}

int auth_users_add_command(struct auth_users *users)
{
    struct emqc_command command = {
        .size = sizeof(command),
        .name = users->kind->command,
        .usage = users->kind->usage,
        .run = command_run,
        .context = users,
    };

    return users->host->command_add(users->self, &command);
}
