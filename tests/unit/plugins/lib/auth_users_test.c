/*
 * auth_users against a host of the test's own, in which jobs run, tickets are due and the store answers when the test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auth_users.h"

#define ROWS_MAX 4
#define JOBS_MAX 4
#define TEXT_BYTES 512

/* ---- the host ---- */

struct emqc_plugin_instance {
    int unused;
};
struct emqc_metric {
    char name[16];
    uint64_t value;
};
struct emqc_table {
    struct {
        char key[32], value[PASSWORD_ENTRY_BYTES];
        size_t key_len, value_len; /* key_len 0: free */
    } rows[ROWS_MAX];
};
struct emqc_ticket {
    emqc_apply_fn *apply; /* NULL: not completed */
    void *answer;
};
struct emqc_request {
    char printed[TEXT_BYTES];
    int result; /* -1: runs */
};
struct job {
    void (*work)(void *context);
    void (*done)(void *context);
    void *context;
};

static struct {
    struct emqc_plugin_instance self;
    struct emqc_table table;
    struct emqc_metric metrics[3];
    size_t metric_count;
    struct emqc_hook hook;
    struct emqc_command command;
    struct job jobs[JOBS_MAX];
    size_t job_count, jobs_max;
    bool runs_at_once; /* a job thread may be done before job_run() returns */
    struct emqc_ticket ticket;
    bool has_no_ticket;
    emqc_table_done_fn *written;
    void *written_context;
    int put_error;
    const char *configured[4]; /* name, password of id "1", then of "2" */
    int64_t hash, remembered;
    char failure[TEXT_BYTES];
    bool is_warned;
} fake;

static const char *config_string(const struct emqc_plugin_instance *self, const char *key, const char *name,
                                 const char *id)
{
    (void)self;
    assert_null(id);
    return fake.configured[(name[0] - '1') * 2 + (strstr(key, "$id.password") != NULL)];
}

static int64_t config_integer(const struct emqc_plugin_instance *self, const char *key, const char *name,
                              const char *id, int64_t otherwise)
{
    (void)self;
    assert_null(name);
    assert_null(id);
    if (strcmp(key, "auth.test.password_hash") == 0)
        return fake.hash;
    return strcmp(key, "auth.test.remembered_logins") == 0 ? fake.remembered : otherwise;
}

static int config_names(struct emqc_plugin_instance *self, const char *key, const char *const **out_names,
                        size_t *out_count)
{
    static const char *names[2];
    size_t half = strstr(key, "$id.password") != NULL;

    (void)self;
    *out_count = 0;
    for (size_t i = 0; i < 2; i++) {
        if (fake.configured[i * 2 + half] != NULL)
            names[(*out_count)++] = i == 0 ? "1" : "2";
    }
    *out_names = names;
    return 0;
}

static int config_wrong(struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                        const char *format, ...)
{
    va_list values;
    int len = snprintf(fake.failure, TEXT_BYTES, "%s(%s) ", key, name == NULL ? "" : name);

    (void)self;
    (void)id;
    va_start(values, format);
    vsnprintf(fake.failure + len, TEXT_BYTES - (size_t)len, format, values);
    va_end(values);
    return -EINVAL;
}

static int host_fail(struct emqc_plugin_instance *self, const char *format, ...)
{
    va_list values;

    (void)self;
    va_start(values, format);
    vsnprintf(fake.failure, TEXT_BYTES, format, values);
    va_end(values);
    return -EINVAL;
}

static void host_log(const struct emqc_plugin_instance *self, enum emqc_log_level level, const char *format, ...)
{
    (void)self;
    (void)format;
    fake.is_warned = level == EMQC_LOG_WARNING;
}

static int hook_add(struct emqc_plugin_instance *self, const struct emqc_hook *hook)
{
    (void)self;
    fake.hook = *hook;
    return 0;
}

static struct emqc_ticket *defer(struct emqc_event *event)
{
    (void)event;
    return fake.has_no_ticket ? NULL : &fake.ticket;
}

static void complete(struct emqc_ticket *ticket, emqc_apply_fn *apply, void *answer)
{
    assert_null(ticket->apply); /* once */
    ticket->apply = apply;
    ticket->answer = answer;
}

static int command_add(struct emqc_plugin_instance *self, const struct emqc_command *command)
{
    (void)self;
    fake.command = *command;
    return 0;
}

static void print(struct emqc_request *request, const char *format, ...)
{
    size_t len = strlen(request->printed);
    va_list values;

    va_start(values, format);
    vsnprintf(request->printed + len, TEXT_BYTES - len, format, values);
    va_end(values);
}

static void print_slice(struct emqc_request *request, struct emqc_slice text)
{
    print(request, "%.*s", (int)text.len, text.data);
}

static void finish(struct emqc_request *request, enum emqc_command_result result)
{
    assert_int_equal(request->result, -1); /* once */
    request->result = (int)result;
}

static void when_writable(struct emqc_request *request, void (*resume)(struct emqc_request *, void *), void *context)
{
    resume(request, context);
}

static bool abandoned(const struct emqc_request *request)
{
    (void)request;
    return false;
}

static int metric(struct emqc_plugin_instance *self, const char *name, const char *help,
                  struct emqc_metric **out_metric)
{
    (void)self;
    (void)help;
    assert_memory_equal(name, "auth.test.", 10);
    stpcpy(fake.metrics[fake.metric_count].name, name + 10);
    *out_metric = &fake.metrics[fake.metric_count++];
    return 0;
}

static void metric_add(struct emqc_metric *counter, uint64_t amount)
{
    counter->value += amount;
}

static int job_run(struct emqc_plugin_instance *self, void (*work)(void *), void (*done)(void *), void *context)
{
    (void)self;
    if (fake.job_count == fake.jobs_max)
        return -EAGAIN;
    if (fake.runs_at_once) {
        work(context);
        return 0;
    }
    fake.jobs[fake.job_count++] = (struct job){work, done, context};
    return 0;
}

static int table_open(struct emqc_plugin_instance *self, const struct emqc_table_options *options,
                      struct emqc_table **out_table)
{
    (void)self;
    assert_string_equal(options->name, "things");
    *out_table = &fake.table;
    return 0;
}

static size_t row_of(struct emqc_slice key)
{
    for (size_t i = 0; i < ROWS_MAX; i++) {
        if (fake.table.rows[i].key_len == key.len && memcmp(fake.table.rows[i].key, key.data, key.len) == 0)
            return i;
    }
    return ROWS_MAX;
}

static int table_get(const struct emqc_table *table, struct emqc_slice key, void *out_value, size_t size)
{
    size_t row = row_of(key), len;

    assert_in_range(key.len, 1, EMQC_TABLE_KEY_MAX);
    if (row == ROWS_MAX)
        return -ENOENT;
    len = table->rows[row].value_len;
    if (size > 0)
        memcpy(out_value, table->rows[row].value, len < size ? len : size);
    return (int)len;
}

static int table_put(struct emqc_table *table, struct emqc_slice key, struct emqc_slice value, bool only_new,
                     emqc_table_done_fn *done, void *context)
{
    size_t row = row_of(key);

    if (fake.put_error < 0)
        return fake.put_error;
    if (only_new && row < ROWS_MAX)
        return -EEXIST;
    for (size_t i = 0; i < ROWS_MAX && row == ROWS_MAX; i++) {
        if (table->rows[i].key_len == 0)
            row = i;
    }
    if (row == ROWS_MAX)
        return -ENOSPC;
    memcpy(table->rows[row].key, key.data, key.len);
    memcpy(table->rows[row].value, value.data, value.len);
    table->rows[row].key_len = key.len;
    table->rows[row].value_len = value.len;
    fake.written = done;
    fake.written_context = context;
    return 0;
}

static int table_delete(struct emqc_table *table, struct emqc_slice key, emqc_table_done_fn *done, void *context)
{
    size_t row = row_of(key);

    if (row == ROWS_MAX)
        return -ENOENT;
    table->rows[row].key_len = 0;
    fake.written = done;
    fake.written_context = context;
    return 0;
}

/* One row a call, so that lists come in parts. */
static void table_visit(const struct emqc_table *table, uint64_t *cursor, uint32_t limit,
                        void (*visit)(void *context, struct emqc_slice key, struct emqc_slice value), void *context)
{
    assert_true(limit > 0);
    if (table->rows[*cursor].key_len > 0)
        visit(context, (struct emqc_slice){table->rows[*cursor].key, table->rows[*cursor].key_len},
              (struct emqc_slice){table->rows[*cursor].value, table->rows[*cursor].value_len});
    *cursor = (*cursor + 1) % ROWS_MAX;
}

static const struct emqc_host host = {
    .size = sizeof(host),
    .abi = EMQC_PLUGIN_ABI,
    .config_string = config_string,
    .config_integer = config_integer,
    .config_names = config_names,
    .config_wrong = config_wrong,
    .fail = host_fail,
    .log = host_log,
    .hook_add = hook_add,
    .defer = defer,
    .complete = complete,
    .command_add = command_add,
    .print = print,
    .print_error = print,
    .print_slice = print_slice,
    .finish = finish,
    .when_writable = when_writable,
    .abandoned = abandoned,
    .metric = metric,
    .metric_add = metric_add,
    .job_run = job_run,
    .table_open = table_open,
    .table_get = table_get,
    .table_put = table_put,
    .table_delete = table_delete,
    .table_visit = table_visit,
};

/* ---- the plugin ---- */

static const struct emqc_key keys[AUTH_USERS_KEY_COUNT] = AUTH_USERS_KEYS("auth.test", "name", "name", "x");
static const struct emqc_usage usage[] = {{"things list", "List things"}, {NULL, NULL}};

static struct emqc_slice name_of(const struct emqc_client *client)
{
    return client->user_name;
}

static const struct auth_users_kind kind = {
    .table = "things",
    .command = "things",
    .what = "thing",
    .metric = "test",
    .error_exists = "is there",
    .error_unknown = "is not",
    .usage = usage,
    .keys = keys,
    .name_of = name_of,
};

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    fake.jobs_max = JOBS_MAX;
    fake.hash = PASSWORD_SHA256;
    fake.remembered = 100;
    return 0;
}

static void *load(void)
{
    void *plugin = NULL;

    if (auth_users_load(&kind, &host, &fake.self, &plugin) != 0)
        fail_msg("%s", fake.failure);
    assert_non_null(plugin);
    assert_int_equal(fake.hook.point, EMQC_CLIENT_AUTHENTICATE);
    return plugin;
}

/* All jobs that wait. */
static void run_jobs(void)
{
    for (size_t i = 0; i < fake.job_count; i++) {
        fake.jobs[i].work(fake.jobs[i].context);
        if (fake.jobs[i].done != NULL)
            fake.jobs[i].done(fake.jobs[i].context);
    }
    fake.job_count = 0;
}

static void written(int err)
{
    emqc_table_done_fn *done = fake.written;

    assert_non_null(done);
    fake.written = NULL;
    done(fake.written_context, err);
}

static void command(struct emqc_request *request, const char *verb, const char *name, const char *password)
{
    char words[4][64] = {"things"};
    char *argv[] = {words[0], words[1], NULL, NULL, NULL};
    int argc = 2;

    *request = (struct emqc_request){.result = -1};
    stpcpy(words[1], verb);
    if (name != NULL)
        argv[argc++] = strcpy(words[2], name);
    if (password != NULL)
        argv[argc++] = strcpy(words[3], password);
    fake.command.run(fake.command.context, request, argc, argv);
}

static void expect(const char *verb, const char *name, const char *password, const char *printed,
                   enum emqc_command_result result)
{
    struct emqc_request request;

    command(&request, verb, name, password);
    run_jobs();
    if (fake.written != NULL) {
        assert_int_equal(request.result, -1); /* "ok" once it is on disk */
        written(0);
    }
    assert_string_equal(request.printed, printed);
    assert_int_equal(request.result, result);
}

struct login {
    struct emqc_client client;
    struct emqc_authenticate event;
};

static enum emqc_verdict log_in(struct login *login, const char *name, const char *password)
{
    *login = (struct login){
        .client = {.size = sizeof(login->client),
                   .user_name = {name, name == NULL ? 0 : strlen(name)},
                   .password = {password, password == NULL ? 0 : strlen(password)}},
        .event = {.event = {sizeof(login->event), EMQC_CLIENT_AUTHENTICATE, NULL}, .is_anonymous = true},
    };
    login->event.client = &login->client;
    return fake.hook.run(fake.hook.context, &login->event.event);
}

static void expect_login(const char *name, const char *password, enum emqc_verdict verdict, int result)
{
    struct login login;

    assert_int_equal(log_in(&login, name, password), verdict);
    assert_int_equal(login.event.result, result);
    assert_int_equal(login.event.is_anonymous, verdict == EMQC_NEXT);
    assert_int_equal(login.event.reason != NULL, result != EMQC_SUCCESS);
}

/* What apply() makes of the event of a login that waited. */
static void expect_answer(struct login *login, int result)
{
    struct emqc_ticket ticket = fake.ticket;

    assert_non_null(ticket.apply);
    fake.ticket = (struct emqc_ticket){NULL, NULL};
    assert_int_equal(ticket.apply(ticket.answer, &login->event.event), EMQC_STOP);
    assert_int_equal(login->event.result, result);
    assert_false(login->event.is_anonymous);
}

static uint64_t counted(const char *name)
{
    for (size_t i = 0; i < fake.metric_count; i++) {
        if (strcmp(fake.metrics[i].name, name) == 0)
            return fake.metrics[i].value;
    }
    fail_msg("%s", name);
    return 0;
}

static void answers_quick_hashes_at_once(void **state)
{
    void *plugin = load();

    (void)state;
    assert_true(fake.is_warned); /* sha256 */
    expect("add", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    expect_login("ada", "secret", EMQC_STOP, EMQC_SUCCESS);
    expect_login("ada", "Secret", EMQC_STOP, EMQC_BAD_USER_NAME_OR_PASSWORD);
    expect_login("ada", "", EMQC_STOP, EMQC_BAD_USER_NAME_OR_PASSWORD);
    expect_login("ada", NULL, EMQC_STOP, EMQC_BAD_USER_NAME_OR_PASSWORD);
    expect_login("bob", "secret", EMQC_NEXT, EMQC_SUCCESS); /* as the chain began */
    expect_login("", "secret", EMQC_NEXT, EMQC_SUCCESS);
    expect_login(NULL, NULL, EMQC_NEXT, EMQC_SUCCESS);
    assert_int_equal(counted("success"), 1);
    assert_int_equal(counted("failure"), 3);
    assert_int_equal(counted("ignore"), 3);
    auth_users_unload(plugin);
}

static void hashes_slowly_in_a_job_and_remembers(void **state)
{
    struct login login;
    void *plugin;

    (void)state;
    fake.hash = PASSWORD_ARGON2ID;
    plugin = load();
    assert_false(fake.is_warned);
    expect("add", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    assert_int_equal(log_in(&login, "ada", "wrong"), EMQC_PENDING);
    run_jobs();
    expect_answer(&login, EMQC_BAD_USER_NAME_OR_PASSWORD);
    assert_int_equal(log_in(&login, "ada", "secret"), EMQC_PENDING);
    run_jobs();
    expect_answer(&login, EMQC_SUCCESS);
    expect_login("ada", "secret", EMQC_STOP, EMQC_SUCCESS); /* no job any more */
    expect_login("ada", NULL, EMQC_STOP, EMQC_BAD_USER_NAME_OR_PASSWORD);
    assert_int_equal(log_in(&login, "ada", "wrong"), EMQC_PENDING); /* failures are not remembered */
    run_jobs();
    expect_answer(&login, EMQC_BAD_USER_NAME_OR_PASSWORD);
    /* With its entry goes what is remembered of it, even if the new password is the old one. */
    expect("update", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    assert_int_equal(log_in(&login, "ada", "secret"), EMQC_PENDING);
    run_jobs();
    expect_answer(&login, EMQC_SUCCESS);
    assert_int_equal(counted("success"), 3);
    auth_users_unload(plugin);
}

static void a_job_may_be_done_before_the_callback_returns(void **state)
{
    struct login login;
    void *plugin;

    (void)state;
    fake.hash = PASSWORD_ARGON2ID;
    plugin = load();
    expect("add", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    fake.runs_at_once = true;
    assert_int_equal(log_in(&login, "ada", "wrong"), EMQC_PENDING);
    expect_answer(&login, EMQC_BAD_USER_NAME_OR_PASSWORD);
    assert_int_equal(log_in(&login, "ada", "secret"), EMQC_PENDING);
    expect_answer(&login, EMQC_SUCCESS);
    auth_users_unload(plugin);
}

static void remembers_nothing_when_told_so(void **state)
{
    struct login login;
    void *plugin;

    (void)state;
    fake.hash = PASSWORD_ARGON2ID;
    fake.remembered = 0;
    plugin = load();
    expect("add", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(log_in(&login, "ada", "secret"), EMQC_PENDING);
        run_jobs();
        expect_answer(&login, EMQC_SUCCESS);
    }
    auth_users_unload(plugin);
}

static void refuses_when_there_is_no_room_for_a_job(void **state)
{
    struct login login;
    void *plugin;

    (void)state;
    fake.hash = PASSWORD_ARGON2ID;
    plugin = load();
    expect("add", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    fake.jobs_max = 0;
    assert_int_equal(log_in(&login, "ada", "secret"), EMQC_PENDING);
    expect_answer(&login, EMQC_SERVER_BUSY);
    expect("add", "bob", "secret", "Not changed: too much waits to be done now; try again\n", EMQC_COMMAND_FAILED);
    expect("update", "ada", "secret", "Not changed: too much waits to be done now; try again\n", EMQC_COMMAND_FAILED);
    fake.has_no_ticket = true; /* the broker refuses by itself */
    fake.jobs_max = JOBS_MAX;
    assert_int_equal(log_in(&login, "ada", "secret"), EMQC_PENDING);
    assert_int_equal(fake.job_count, 0);
    assert_int_equal(counted("failure"), 2);
    auth_users_unload(plugin);
}

static void an_answer_that_nobody_wants_is_freed(void **state)
{
    struct login login;
    void *plugin;

    (void)state;
    fake.hash = PASSWORD_ARGON2ID;
    plugin = load();
    expect("add", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    assert_int_equal(log_in(&login, "ada", "secret"), EMQC_PENDING);
    run_jobs();
    fake.ticket.apply(fake.ticket.answer, NULL);
    fake.ticket = (struct emqc_ticket){NULL, NULL};
    assert_int_equal(counted("success"), 0);
    expect_login("ada", "secret", EMQC_STOP, EMQC_SUCCESS); /* but it was not in vain */
    auth_users_unload(plugin);
}

static void a_damaged_entry_lets_nobody_in(void **state)
{
    static const char *const values[] = {"", "$", "secret", "$sha256$00", "$argon2id$v=19$m=1,t=1,p=1$$"};
    void *plugin = load();

    (void)state;
    expect("add", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        fake.table.rows[0].value_len = strlen(values[i]);
        memcpy(fake.table.rows[0].value, values[i], strlen(values[i]));
        expect_login("ada", "secret", EMQC_STOP, EMQC_SERVER_UNAVAILABLE);
        expect_login("ada", "", EMQC_STOP, EMQC_SERVER_UNAVAILABLE);
    }
    auth_users_unload(plugin);
}

static void answers_commands_as_the_original(void **state)
{
    struct emqc_request request;
    void *plugin = load();

    (void)state;
    expect("list", NULL, NULL, "", EMQC_COMMAND_OK);
    expect("add", "ada", "secret", "ok\n", EMQC_COMMAND_OK);
    expect("add", "bob", "secret", "ok\n", EMQC_COMMAND_OK);
    expect("list", NULL, NULL, "ada\nbob\n", EMQC_COMMAND_OK);
    expect("add", "ada", "other", "{error,is there}\n", EMQC_COMMAND_FAILED);
    expect("update", "eve", "other", "{error,is not}\n", EMQC_COMMAND_FAILED);
    expect("update", "ada", "other", "ok\n", EMQC_COMMAND_OK);
    expect_login("ada", "other", EMQC_STOP, EMQC_SUCCESS);
    expect("del", "ada", NULL, "ok\n", EMQC_COMMAND_OK);
    expect("del", "ada", NULL, "ok\n", EMQC_COMMAND_OK);
    expect_login("ada", "other", EMQC_NEXT, EMQC_SUCCESS);
    expect("add", "", "secret", "The thing is empty\n", EMQC_COMMAND_FAILED);
    expect("add", "ada", "", "The password is empty\n", EMQC_COMMAND_FAILED);
    expect("add", "ada", NULL, "", EMQC_COMMAND_USAGE);
    expect("del", "ada", "x", "", EMQC_COMMAND_USAGE);
    expect("list", "x", NULL, "", EMQC_COMMAND_USAGE);
    expect("lst", NULL, NULL, "", EMQC_COMMAND_USAGE);
    command(&request, "add", "ada", "secret");
    run_jobs();
    written(-EIO);
    assert_string_equal(request.printed,
                        "The change is in effect, but not on disk yet, as the store cannot be written\n");
    assert_int_equal(request.result, EMQC_COMMAND_FAILED);
    fake.put_error = -EROFS;
    expect("add", "eve", "secret", "Not changed: the store cannot be written\n", EMQC_COMMAND_FAILED);
    fake.put_error = -ENOSPC;
    expect("add", "eve", "secret", "There are as many things as auth.test.max_entries allows\n", EMQC_COMMAND_FAILED);
    auth_users_unload(plugin);
}

static void takes_entries_that_are_hashed_already(void **state)
{
    static const char md5[] = "$md5$01020304$274a116ae66899c55421c57ec999475f";
    struct emqc_request request;
    void *plugin = load();
    char words[5][64] = {"things", "add", "ada", "--hash", ""};
    char *argv[] = {words[0], words[1], words[2], words[3], words[4], NULL};

    (void)state;
    stpcpy(words[4], md5);
    request = (struct emqc_request){.result = -1};
    fake.command.run(fake.command.context, &request, 5, argv);
    written(0);
    assert_string_equal(request.printed, "ok\n");
    expect_login("ada", "public", EMQC_STOP, EMQC_SUCCESS);
    expect_login("ada", md5, EMQC_STOP, EMQC_BAD_USER_NAME_OR_PASSWORD);
    request = (struct emqc_request){.result = -1};
    fake.command.run(fake.command.context, &request, 5, argv);
    assert_string_equal(request.printed, "{error,is there}\n");
    stpcpy(words[1], "update");
    stpcpy(words[4], "$md5$0$0");
    request = (struct emqc_request){.result = -1};
    fake.command.run(fake.command.context, &request, 5, argv);
    assert_memory_equal(request.printed, "Not changed: that is no entry", 29);
    assert_int_equal(request.result, EMQC_COMMAND_FAILED);
    stpcpy(words[3], "--hush");
    request = (struct emqc_request){.result = -1};
    fake.command.run(fake.command.context, &request, 5, argv);
    assert_int_equal(request.result, EMQC_COMMAND_USAGE);
    expect("update", "ada", "--hash", "ok\n", EMQC_COMMAND_OK); /* a password like any other */
    expect_login("ada", "--hash", EMQC_STOP, EMQC_SUCCESS);
    auth_users_unload(plugin);
}

/* While the hash is made others may add or delete the same entry. */
static void looks_again_when_the_hash_is_made(void **state)
{
    struct emqc_request first, second;
    void *plugin = load();

    (void)state;
    command(&first, "add", "ada", "secret");
    command(&second, "add", "ada", "other");
    run_jobs();
    written(0);
    assert_string_equal(first.printed, "ok\n");
    assert_string_equal(second.printed, "{error,is there}\n");
    command(&first, "update", "ada", "other");
    fake.table.rows[0].key_len = 0; /* deleted meanwhile */
    run_jobs();
    assert_string_equal(first.printed, "{error,is not}\n");
    assert_int_equal(first.result, EMQC_COMMAND_FAILED);
    auth_users_unload(plugin);
}

static void adds_configured_entries_once(void **state)
{
    void *plugin;

    (void)state;
    fake.configured[0] = "ada";
    fake.configured[1] = "secret";
    fake.configured[2] = "bob";
    fake.configured[3] = "hidden";
    plugin = load();
    expect_login("ada", "secret", EMQC_STOP, EMQC_SUCCESS);
    expect_login("bob", "hidden", EMQC_STOP, EMQC_SUCCESS);
    expect("update", "ada", "changed", "ok\n", EMQC_COMMAND_OK);
    auth_users_unload(plugin);
    fake.metric_count = 0;
    plugin = load();
    expect_login("ada", "changed", EMQC_STOP, EMQC_SUCCESS);
    expect_login("ada", "secret", EMQC_STOP, EMQC_BAD_USER_NAME_OR_PASSWORD);
    auth_users_unload(plugin);
}

static void half_an_entry_is_an_error(void **state)
{
    static const struct {
        const char *name, *password, *failure;
    } rows[] = {
        {"ada", NULL, "auth.test.$id.password(2) must be the password of ada"},
        {"ada", "", "auth.test.$id.password(2) must be the password of ada"},
        {NULL, "secret", "auth.test.$id.name(2) must name whom the password is for"},
        {"", "secret", "auth.test.$id.name(2) must name whom the password is for"},
    };
    void *plugin = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fake.configured[2] = rows[i].name;
        fake.configured[3] = rows[i].password;
        assert_int_equal(auth_users_load(&kind, &host, &fake.self, &plugin), -EINVAL);
        assert_string_equal(fake.failure, rows[i].failure);
        assert_null(plugin);
        assert_null(fake.hook.run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(answers_quick_hashes_at_once, set_up),
        cmocka_unit_test_setup(hashes_slowly_in_a_job_and_remembers, set_up),
        cmocka_unit_test_setup(a_job_may_be_done_before_the_callback_returns, set_up),
        cmocka_unit_test_setup(remembers_nothing_when_told_so, set_up),
        cmocka_unit_test_setup(refuses_when_there_is_no_room_for_a_job, set_up),
        cmocka_unit_test_setup(an_answer_that_nobody_wants_is_freed, set_up),
        cmocka_unit_test_setup(a_damaged_entry_lets_nobody_in, set_up),
        cmocka_unit_test_setup(answers_commands_as_the_original, set_up),
        cmocka_unit_test_setup(takes_entries_that_are_hashed_already, set_up),
        cmocka_unit_test_setup(looks_again_when_the_hash_is_made, set_up),
        cmocka_unit_test_setup(adds_configured_entries_once, set_up),
        cmocka_unit_test_setup(half_an_entry_is_an_error, set_up),
    };

    return cmocka_run_group_tests_name("auth_users", tests, NULL, NULL);
}
