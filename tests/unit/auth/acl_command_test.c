/*
 * Texts and results of emqx_ctl acl.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/acl_command.h"
#include "auth/acl_file.h"

#define OUT_BYTES_MAX 8192

struct fixture {
    char dir[64];
    struct acl_file *file;
    struct ctl_registry *registry;
    struct ctl_sink sink;
    struct ctl_request *request;
    char out[OUT_BYTES_MAX];
    int status; /* -1: not finished */
};

static void sink_write(struct ctl_sink *sink, bool to_stderr, const char *data, size_t len)
{
    struct fixture *fixture = CONTAINER_OF(sink, struct fixture, sink);
    size_t used = strlen(fixture->out);

    assert_true(used + len + 2 < sizeof(fixture->out));
    if (to_stderr)
        fixture->out[used++] = '!';
    memcpy(fixture->out + used, data, len);
    fixture->out[used + len] = '\0';
}

static bool sink_congested(struct ctl_sink *sink)
{
    (void)sink;
    return false;
}

static void sink_finish(struct ctl_sink *sink, int status)
{
    CONTAINER_OF(sink, struct fixture, sink)->status = status;
}

static void write_rules(const char *text)
{
    FILE *out = fopen("acl.conf", "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void open_file(struct fixture *fixture, bool nomatch_allows)
{
    struct acl_file_options options = {.path = "acl.conf", .nomatch_allows = nomatch_allows};

    assert_int_equal(acl_file_open(&options, &fixture->file), 0);
    assert_int_equal(ctl_register(fixture->registry, &acl_command, fixture->file), 0);
}

static int open_fixture(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    strcpy(fixture->dir, "/tmp/acl-command-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    assert_int_equal(chdir(fixture->dir), 0);
    fixture->sink = (struct ctl_sink){.write = sink_write, .congested = sink_congested, .finish = sink_finish};
    fixture->registry = ctl_registry_new();
    assert_non_null(fixture->registry);
    *state = fixture;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *fixture = *state;

    ctl_registry_free(fixture->registry);
    acl_file_close(fixture->file);
    unlink("acl.conf");
    assert_int_equal(chdir("/"), 0);
    rmdir(fixture->dir);
    free(fixture);
    return 0;
}

/* `words` end with NULL. Standard error appears with ! before each write. */
static void assert_runs(struct fixture *fixture, const char *const *words, int status, const char *expected)
{
    int count = 0;

    while (words[count] != NULL)
        count++;
    fixture->out[0] = '\0';
    fixture->status = -1;
    assert_int_equal(ctl_run(fixture->registry, &fixture->sink, false, count, words, &fixture->request), 0);
    assert_string_equal(fixture->out, expected);
    assert_int_equal(fixture->status, status);
}

#define RUN(status, expected, ...)                                                                                     \
    assert_runs(fixture, (const char *const[]){"acl", __VA_ARGS__, NULL}, status, expected)

static void reload_says_nothing_when_all_is_well(void **state)
{
    struct fixture *fixture = *state;

    open_file(fixture, true);
    write_rules("{deny, all}.\n");
    RUN(0, "", "reload");
    assert_int_equal(acl_rules_count(acl_file_rules(fixture->file)), 1);
}

static void reload_of_a_wrong_file_fails_with_the_message(void **state)
{
    struct fixture *fixture = *state;

    open_file(fixture, true);
    RUN(1, "!cannot read acl.conf: No such file or directory\nThere are no rules.\n", "reload");
    write_rules("{deny, all}.\n");
    RUN(0, "", "reload");
    write_rules("{allow, all}.\n{deny, all, publsh, [\"a\"]}.\n");
    RUN(1,
        "!acl.conf:2:13: found the word publsh, expected subscribe, publish or pubsub\n"
        "The rules stay as they were.\n",
        "reload");
    RUN(0, "deny\nrule 1, acl.conf line 1: {deny, all}.\n", "check", "c", "u", "10.0.0.1", "publish", "t");
}

static void check_names_the_rule_that_decides(void **state)
{
    struct fixture *fixture = *state;

    open_file(fixture, true);
    write_rules("{allow, {user, \"alice\"},\n    publish, [\"a/%c\"]}.\n"
                "{deny, {ipaddr, \"10.0.0.0/8\"}, pubsub, [\"a/#\"]}.\n"
                "{deny, {ipaddr, \"2001:db8::/32\"}, pubsub, [\"a/#\"]}.\n");
    RUN(0, "allow\nthere are no rules, acl_nomatch decides\n", "check", "x", "alice", "10.0.0.1", "publish", "a/x");
    RUN(0, "", "reload");
    RUN(0, "allow\nrule 1, acl.conf line 1: {allow, {user, \"alice\"}, publish, [\"a/%c\"]}.\n", "check", "x", "alice",
        "10.0.0.1", "publish", "a/x");
    RUN(0, "deny\nrule 2, acl.conf line 3: {deny, {ipaddr, \"10.0.0.0/8\"}, pubsub, [\"a/#\"]}.\n", "check", "x", "",
        "10.0.0.1", "publish", "a/x");
    RUN(0, "deny\nrule 2, acl.conf line 3: {deny, {ipaddr, \"10.0.0.0/8\"}, pubsub, [\"a/#\"]}.\n", "check", "x", "",
        "::ffff:10.0.0.1", "subscribe", "$share/g/#");
    RUN(0, "deny\nrule 3, acl.conf line 4: {deny, {ipaddr, \"2001:db8::/32\"}, pubsub, [\"a/#\"]}.\n", "check", "x", "",
        "2001:db8::7", "subscribe", "+/b");
    RUN(0, "allow\nno rule fits, acl_nomatch decides\n", "check", "x", "", "192.0.2.1", "publish", "a/x");
}

static void what_no_rule_fits_is_as_acl_nomatch_says(void **state)
{
    struct fixture *fixture = *state;

    open_file(fixture, false);
    RUN(0, "deny\nthere are no rules, acl_nomatch decides\n", "check", "x", "", "192.0.2.1", "publish", "a/x");
}

static void a_long_rule_is_cut_and_control_characters_are_shown(void **state)
{
    struct fixture *fixture = *state;
    char rule[512], expected[512];

    open_file(fixture, false);
    snprintf(rule, sizeof(rule), "{deny, all, publish, [\"\x7F/%0300d\", \"a\"]}.", 0);
    write_rules(rule);
    RUN(0, "", "reload");
    snprintf(expected, sizeof(expected), "deny\nrule 1, acl.conf line 1: {deny, all, publish, [\"\\x7f/%0175d...\n", 0);
    RUN(0, expected, "check", "x", "", "192.0.2.1", "publish", "a");
}

static void wrong_words_are_told(void **state)
{
    struct fixture *fixture = *state;

    open_file(fixture, false);
    RUN(1, "!The third word has to be the client's address, such as 192.0.2.1 or 2001:db8::1\n", "check", "x", "",
        "localhost", "publish", "a");
    RUN(1, "!The last word has to be a topic, without + and #\n", "check", "x", "", "::1", "publish", "a/#");
    RUN(1, "!The last word has to be a topic, without + and #\n", "check", "x", "", "::1", "publish", "");
    RUN(1, "!The last word has to be a topic filter\n", "check", "x", "", "::1", "subscribe", "a#");
    RUN(1, "!The last word has to be a topic filter\n", "check", "x", "", "::1", "subscribe", "$share/g");
    RUN(1, "!The last word has to be a topic filter\n", "check", "x", "", "::1", "subscribe", "\xE9");
}

static void other_words_get_the_usage(void **state)
{
    static const char *const lines[][8] = {{"acl"},
                                           {"acl", "load"},
                                           {"acl", "reload", "now"},
                                           {"acl", "check", "x", "", "::1", "publish"},
                                           {"acl", "check", "x", "", "::1", "pubsub", "a"}};
    struct fixture *fixture = *state;

    open_file(fixture, false);
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        int count = 0;
        while (count < 8 && lines[i][count] != NULL)
            count++;
        fixture->out[0] = '\0';
        assert_int_equal(ctl_run(fixture->registry, &fixture->sink, false, count, lines[i], &fixture->request), 0);
        assert_int_equal(fixture->status, 1);
        assert_non_null(strstr(fixture->out, "acl reload "));
        assert_non_null(strstr(fixture->out, "acl check <Id> <User> <IP> publish <Topic>"));
    }
    fixture->out[0] = '\0';
    assert_int_equal(
        ctl_run(fixture->registry, &fixture->sink, false, 2, (const char *const[]){"acl", "--help"}, &fixture->request),
        0);
    assert_int_equal(fixture->status, 0);
    assert_non_null(strstr(fixture->out, "Examples:"));
}

static void without_a_file_in_the_configuration_there_is_nothing_to_do(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(ctl_register(fixture->registry, &acl_command, NULL), 0);
    RUN(1, "!The configuration names no acl_file\n", "reload");
    RUN(1, "!The configuration names no acl_file\n", "check", "x", "", "::1", "publish", "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reload_says_nothing_when_all_is_well, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(reload_of_a_wrong_file_fails_with_the_message, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(check_names_the_rule_that_decides, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(what_no_rule_fits_is_as_acl_nomatch_says, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(a_long_rule_is_cut_and_control_characters_are_shown, open_fixture,
                                        close_fixture),
        cmocka_unit_test_setup_teardown(wrong_words_are_told, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(other_words_get_the_usage, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(without_a_file_in_the_configuration_there_is_nothing_to_do, open_fixture,
                                        close_fixture),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
