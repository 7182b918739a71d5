/*
 * acl_file: what a file makes of client.check_acl, what a reload does to it, and what is told when there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/acl_file.h"
#include "base/rcu.h"
#include "hook/acl_generation.h"
#include "hook/hook.h"
#include "net/ip_address.h"

struct fixture {
    char dir[64];
    char path[128];
    struct acl_file *file;
    char error[ACL_FILE_ERROR_BYTES];
};

static void write_file(const struct fixture *fixture, const char *text)
{
    FILE *out = fopen(fixture->path, "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static int open_fixture(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct acl_file_options options = {.filter_match = ACL_FILTER_COVER};

    assert_non_null(fixture);
    strcpy(fixture->dir, "/tmp/acl-file-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    snprintf(fixture->path, sizeof(fixture->path), "%s/acl.conf", fixture->dir);
    options.path = fixture->path;
    assert_int_equal(acl_file_open(&options, &fixture->file), 0);
    *state = fixture;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *fixture = *state;

    acl_file_close(fixture->file);
    assert_false(hook_any(HOOK_CLIENT_CHECK_ACL));
    unlink(fixture->path);
    rmdir(fixture->path);
    rmdir(fixture->dir);
    free(fixture);
    return 0;
}

static int load(struct fixture *fixture, const char *text)
{
    write_file(fixture, text);
    return acl_file_load(fixture->file, fixture->error);
}

/* Through the hook, as the broker asks. */
static bool ask(const char *address, enum acl_access access, const char *topic, bool nomatch)
{
    struct client_info client = {.client_id = SLICE_LITERAL("c")};
    struct hook_check_acl request = {
        .client = &client, .access = access, .topic = slice_from_string(topic), .is_allowed = nomatch};
    struct in_addr ipv4;

    assert_int_equal(inet_pton(AF_INET, address, &ipv4), 1);
    client.peer_address = ip_address_mapped(ipv4);
    assert_int_equal(hook_call(HOOK_CLIENT_CHECK_ACL, &request), HOOK_NEXT);
    return request.is_allowed;
}

#define REMOTE "192.0.2.1"

static void without_rules_the_verdict_stays(void **state)
{
    struct fixture *fixture = *state;

    assert_true(hook_any(HOOK_CLIENT_CHECK_ACL));
    assert_null(acl_file_rules(fixture->file));
    assert_true(ask(REMOTE, ACL_PUBLISH, "t", true));
    assert_false(ask(REMOTE, ACL_PUBLISH, "t", false));
}

static void rules_decide_and_what_fits_none_stays(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(load(fixture, "{allow, all, publish, [\"yes\"]}.\n{deny, all, publish, [\"no\"]}.\n"), 0);
    assert_int_equal(acl_rules_count(acl_file_rules(fixture->file)), 2);
    assert_true(ask(REMOTE, ACL_PUBLISH, "yes", false));
    assert_false(ask(REMOTE, ACL_PUBLISH, "no", true));
    assert_true(ask(REMOTE, ACL_PUBLISH, "other", true));
    assert_false(ask(REMOTE, ACL_PUBLISH, "other", false));
    assert_false(ask(REMOTE, ACL_SUBSCRIBE, "yes", false));
}

static enum hook_verdict decide_first(void *context, void *event)
{
    struct hook_check_acl *request = event;

    request->is_allowed = true;
    return *(enum hook_verdict *)context;
}

static void plugins_are_asked_before_the_file(void **state)
{
    struct fixture *fixture = *state;
    enum hook_verdict verdict = HOOK_STOP;
    struct hook_options options = {
        .point = HOOK_CLIENT_CHECK_ACL, .run = decide_first, .context = &verdict, .owner = "test"};
    struct client_info client = {.client_id = SLICE_LITERAL("c")};
    struct hook_check_acl request = {.client = &client, .access = ACL_PUBLISH, .topic = SLICE_LITERAL("t")};
    struct hook *hook = NULL;

    assert_int_equal(load(fixture, "{deny, all}.\n"), 0);
    assert_int_equal(hook_add(&options, &hook), 0);
    assert_int_equal(hook_call(HOOK_CLIENT_CHECK_ACL, &request), HOOK_STOP);
    assert_true(request.is_allowed);
    verdict = HOOK_NEXT; /* as {ok, allow}: a rule overrides it */
    assert_int_equal(hook_call(HOOK_CLIENT_CHECK_ACL, &request), HOOK_NEXT);
    assert_false(request.is_allowed);
    hook_remove(hook);
}

static void a_reload_replaces_all_rules_and_voids_verdicts(void **state)
{
    struct fixture *fixture = *state;
    uint32_t generation = acl_generation_read();

    assert_int_equal(load(fixture, "{deny, all, publish, [\"old\"]}.\n"), 0);
    assert_int_not_equal(acl_generation_read(), generation);
    assert_false(ask(REMOTE, ACL_PUBLISH, "old", true));
    generation = acl_generation_read();
    assert_int_equal(load(fixture, "{deny, all, publish, [\"new\"]}.\n"), 0);
    assert_int_not_equal(acl_generation_read(), generation);
    assert_true(ask(REMOTE, ACL_PUBLISH, "old", true));
    assert_false(ask(REMOTE, ACL_PUBLISH, "new", true));
    assert_int_equal(load(fixture, ""), 0);
    assert_true(ask(REMOTE, ACL_PUBLISH, "new", true));
}

static void a_wrong_file_leaves_the_old_rules(void **state)
{
    struct fixture *fixture = *state;
    char expected[ACL_FILE_ERROR_BYTES];
    uint32_t generation;

    assert_int_equal(load(fixture, "{deny, all, publish, [\"t\"]}.\n"), 0);
    generation = acl_generation_read();
    assert_int_equal(load(fixture, "{allow, all}.\n{deny, al}.\n"), -EINVAL);
    snprintf(expected, sizeof(expected), "%s:2:8: found the word al, expected all; ", fixture->path);
    assert_memory_equal(fixture->error, expected, strlen(expected));
    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(acl_file_load(fixture->file, fixture->error), -ENOENT);
    snprintf(expected, sizeof(expected), "cannot read %s: No such file or directory", fixture->path);
    assert_string_equal(fixture->error, expected);
    assert_int_equal(acl_generation_read(), generation);
    assert_false(ask(REMOTE, ACL_PUBLISH, "t", true));
}

static void only_regular_files_of_a_sensible_size_are_read(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(mkdir(fixture->path, 0700), 0);
    assert_int_equal(acl_file_load(fixture->file, fixture->error), -EISDIR);
    assert_int_equal(rmdir(fixture->path), 0);
    assert_int_equal(mkfifo(fixture->path, 0600), 0);
    assert_int_equal(acl_file_load(fixture->file, fixture->error), -ENOTSUP);
    assert_non_null(strstr(fixture->error, "not a regular file"));
    assert_int_equal(unlink(fixture->path), 0);
    write_file(fixture, "{allow, all}.\n");
    assert_int_equal(truncate(fixture->path, (off_t)ACL_FILE_BYTES_MAX + 1), 0);
    assert_int_equal(acl_file_load(fixture->file, fixture->error), -EFBIG);
    assert_null(acl_file_rules(fixture->file));
}

static void the_shipped_file_does_what_it_says(void **state)
{
    struct acl_file_options options = {.path = SOURCE_ROOT "/etc/acl.conf", .filter_match = ACL_FILTER_COVER};
    struct client_info dashboard = {.client_id = SLICE_LITERAL("c"), .user_name = SLICE_LITERAL("dashboard")};
    struct hook_check_acl request = {
        .client = &dashboard, .access = ACL_SUBSCRIBE, .topic = SLICE_LITERAL("$SYS/#"), .is_allowed = false};
    struct acl_file *file = NULL;
    char error[ACL_FILE_ERROR_BYTES];

    (void)state;
    assert_int_equal(acl_file_open(&options, &file), 0);
    assert_int_equal(acl_file_load(file, error), 0);
    assert_int_equal(acl_rules_count(acl_file_rules(file)), 4);
    hook_call(HOOK_CLIENT_CHECK_ACL, &request);
    assert_true(request.is_allowed);
    assert_true(ask("127.0.0.1", ACL_SUBSCRIBE, "$SYS/#", false));
    assert_true(ask("127.0.0.1", ACL_SUBSCRIBE, "#", false));
    assert_false(ask(REMOTE, ACL_SUBSCRIBE, "#", true));
    assert_false(ask(REMOTE, ACL_SUBSCRIBE, "$SYS/#", true));
    assert_false(ask(REMOTE, ACL_SUBSCRIBE, "$SYS/brokers", true));
    assert_false(ask(REMOTE, ACL_SUBSCRIBE, "$SYS/+/x", true));
    assert_true(ask(REMOTE, ACL_SUBSCRIBE, "+/#", false));
    assert_true(ask(REMOTE, ACL_SUBSCRIBE, "a/#", false));
    assert_true(ask(REMOTE, ACL_PUBLISH, "$SYS/x", false));
    assert_true(ask(REMOTE, ACL_PUBLISH, "a", false));
    acl_file_close(file);
}

/* ---- reload while others ask ---- */

#define RELOADS 50

static _Atomic bool stop_asking;

/* Each set of rules allows exactly one of the two topics; a mixture of both would be seen. */
static void *keep_asking(void *context)
{
    uint64_t *asked = context;

    rcu_thread_register();
    while (!atomic_load(&stop_asking)) {
        struct client_info client = {.client_id = SLICE_LITERAL("c")};
        struct hook_check_acl request = {.client = &client, .access = ACL_PUBLISH, .topic = SLICE_LITERAL("t")};
        hook_call(HOOK_CLIENT_CHECK_ACL, &request);
        if (!request.is_allowed)
            abort();
        rcu_thread_quiescent();
        ++*asked;
    }
    rcu_thread_unregister();
    return NULL;
}

static void rules_may_be_replaced_while_threads_ask(void **state)
{
    struct fixture *fixture = *state;
    uint64_t asked[2] = {0};
    pthread_t threads[2];

    assert_int_equal(load(fixture, "{allow, all}.\n"), 0);
    atomic_store(&stop_asking, false);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, keep_asking, &asked[i]), 0);
    for (int i = 0; i < RELOADS; i++)
        assert_int_equal(load(fixture, i % 2 == 0 ? "{deny, {client, \"x\"}, publish, [\"t\"]}.\n{allow, all}.\n"
                                                  : "{allow, all, publish, [\"t\"]}.\n{deny, all}.\n"),
                         0);
    atomic_store(&stop_asking, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(asked[i] > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_rules_the_verdict_stays, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(rules_decide_and_what_fits_none_stays, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(plugins_are_asked_before_the_file, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(a_reload_replaces_all_rules_and_voids_verdicts, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(a_wrong_file_leaves_the_old_rules, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(only_regular_files_of_a_sensible_size_are_read, open_fixture, close_fixture),
        cmocka_unit_test(the_shipped_file_does_what_it_says),
        cmocka_unit_test_setup_teardown(rules_may_be_replaced_while_threads_ask, open_fixture, close_fixture),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
