/*
 * The file's grammar, where settings come from and who wins.
 */
#include "conf_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static void reads_settings_between_comments_blanks_and_placeholders(void **state)
{
    struct conf *conf = load("\xef\xbb\xbf## prose \xe4\xbd\xa0\n#log.to = off\n\n \t\n{{ platform_bin_dir }}\n"
                             "  mqtt.max_qos_allowed\t= \t1  \r\n"
                             "cluster.name=a # b = c\n"
                             "node.name = caf\xc3\xa9@host");

    (void)state;
    assert_int_equal(conf_get_integer(conf, "mqtt.max_qos_allowed", NULL, 9), 1);
    assert_string_equal(conf_get_string(conf, "cluster.name", NULL), "a # b = c");
    assert_string_equal(conf_get_string(conf, "node.name", NULL), "caf\xc3\xa9@host");
    assert_false(conf_is_set(conf, "log.to", NULL));
    assert_string_equal(conf_get_string(conf, "log.to", NULL), "console");
    conf_free(conf);
}

static void takes_the_last_of_duplicates_at_the_first_position(void **state)
{
    struct conf *conf = load("node.cookie = one\nlog.to = file\nnode.cookie = two\n");
    struct conf_setting setting;

    (void)state;
    assert_string_equal(conf_get_string(conf, "node.cookie", NULL), "two");
    assert_true(conf_setting_at(conf, 0, &setting));
    assert_string_equal(setting.key, "node.cookie");
    assert_int_equal(setting.line, 3);
    assert_true(conf_setting_at(conf, 1, &setting));
    assert_string_equal(setting.file, "test.conf");
    assert_false(conf_setting_at(conf, 2, &setting));
    conf_free(conf);
}

static void gives_wildcard_names_in_file_order(void **state)
{
    struct conf *conf = load("listener.tcp.zulu = 1\nlistener.tcp.alpha = 2\nlistener.tcp.zulu.backlog = 7\n"
                             "listener.tcp.mike.backlog = 7\nlistener.tcp.zulu = 3\n"
                             "listener.tcp.zulu.access.2 = allow all\nlistener.tcp.zulu.access.1 = deny all\n");
    const char **names;
    size_t count;

    (void)state;
    assert_int_equal(conf_names(conf, "listener.tcp.$name", NULL, &names, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "zulu");
    assert_string_equal(names[1], "alpha");
    free(names);
    assert_int_equal(conf_names(conf, "listener.tcp.$name.access.$id", "zulu", &names, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "2");
    assert_false(conf_find(conf, "listener.tcp.$name.access.$id", "zulu", "1")->access.allow);
    free(names);
    assert_int_equal(conf_names(conf, "zone.$name", NULL, &names, &count), 0);
    assert_int_equal(count, 0);
    free(names);
    conf_free(conf);
}

static void gives_every_used_name_the_defaults(void **state)
{
    struct conf *conf = load("zone.night.max_inflight = 5\nzone.day.idle_timeout = 3s\n");
    const char **names;
    size_t count;

    (void)state;
    assert_int_equal(conf_names(conf, "zone.$name", NULL, &names, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "night");
    free(names);
    assert_int_equal(conf_get_duration(conf, "zone.$name.idle_timeout", "night", 0), 15000);
    assert_int_equal(conf_get_duration(conf, "zone.$name.idle_timeout", "day", 0), 3000);
    assert_false(conf_is_set(conf, "zone.$name.idle_timeout", "night"));
    assert_true(conf_is_set(conf, "zone.$name.idle_timeout", "day"));
    assert_null(conf_find(conf, "zone.$name.mountpoint", "day", NULL));
    conf_free(conf);
}

static void keeps_an_escaped_dot_inside_a_word(void **state)
{
    struct conf *conf = load("zone.a\\.b.max_inflight = 5\n");
    const char **names;
    size_t count;

    (void)state;
    assert_int_equal(conf_names(conf, "zone.$name", NULL, &names, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(names[0], "a.b");
    assert_int_equal(conf_get_integer(conf, "zone.$name.max_inflight", names[0], 0), 5);
    free(names);
    conf_free(conf);
}

static void prefers_a_named_word_to_a_wildcard(void **state)
{
    struct conf *conf = load("log.error.file = e.log\nlog.rotation.size = 1MB\n");

    (void)state;
    assert_string_equal(conf_get_string(conf, "log.$level.file", "error"), "e.log");
    assert_int_equal(conf_get_bytes(conf, "log.rotation.size", NULL, 0), 1048576);
    conf_free(conf);
}

static void substitutes_recursively_and_from_defaults(void **state)
{
    struct conf *conf = load("node.cookie = <$( cluster.name )|$(log.dir)/$(log.file)>\ncluster.name = $(node.name)!\n"
                             "zone.a.max_packet_size = $(zone.a.max_mqueue_len)\nlog.dir = $(x\n"
                             "zone.b.mountpoint = $(zone.a.mqueue_default_priority)/\n");

    (void)state;
    assert_string_equal(conf_get_string(conf, "node.cookie", NULL), "<emqx@127.0.0.1!|$(x/emqx.log>");
    assert_int_equal(conf_get_bytes(conf, "zone.$name.max_packet_size", "a", 0), 1000);
    assert_string_equal(conf_get_string(conf, "zone.$name.mountpoint", "b"), "lowest/");
    conf_free(conf);
}

static void takes_overrides_from_the_environment(void **state)
{
    static char *const environment[] = {(char *)(uintptr_t) "EMQX_TCP_PORT=1884",
                                        (char *)(uintptr_t) "EMQX_NODE_NAME=env@host",
                                        (char *)(uintptr_t) "EMQX_ALLOW_ANONYMOUS=false",
                                        (char *)(uintptr_t) "EMQX_ZONE__EXTERNAL__MAX_INFLIGHT=9",
                                        (char *)(uintptr_t) "EMQX_LOG__TO=",
                                        (char *)(uintptr_t) "EMQX_HOME=/opt",
                                        (char *)(uintptr_t) "EMQX_NO__SUCH__KEY=1",
                                        (char *)(uintptr_t) "EMQX_ZONE____MAX_INFLIGHT=1",
                                        (char *)(uintptr_t) "PATH=/bin",
                                        NULL};
    const struct conf_load_options options = {.file = "test.conf", .environment = environment};
    static const char text[] = "listener.tcp.external = 1883\nallow_anonymous = true\nlog.to = file\n"
                               "cluster.name = $(node.name)\n";
    struct conf *conf = NULL;
    struct conf_errors *errors = NULL;
    char *notices;

    (void)state;
    assert_int_equal(conf_load_text(&options, text, strlen(text), &conf, &errors), 0);
    assert_int_equal(conf_find(conf, "listener.tcp.$name", "external", NULL)->address.port, 1884);
    assert_string_equal(conf_get_string(conf, "node.name", NULL), "env@host");
    assert_string_equal(conf_get_string(conf, "cluster.name", NULL), "env@host");
    assert_false(conf_get_bool(conf, "allow_anonymous", NULL, true));
    assert_int_equal(conf_get_integer(conf, "zone.$name.max_inflight", "external", 0), 9);
    assert_string_equal(conf_get_string(conf, "log.to", NULL), "file");
    notices = notices_of(conf);
    assert_non_null(strstr(
        notices,
        "EMQX_NO__SUCH__KEY is set in the environment, but there is no setting with that name, unless a plugin has one\n"));
    assert_non_null(strstr(notices, "EMQX_ZONE____MAX_INFLIGHT is set"));
    assert_null(strstr(notices, "EMQX_HOME"));
    free(notices);
    conf_free(conf);
}

/* A directory of its own with files in it, removed with its content. */
struct tree {
    char root[64];
};

static void tree_write(const struct tree *tree, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", tree->root, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int tree_setup(void **state)
{
    struct tree *tree = calloc(1, sizeof(*tree));
    char path[256];

    assert_non_null(tree);
    strcpy(tree->root, "/tmp/emqc-conf-test-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
    snprintf(path, sizeof(path), "%s/etc", tree->root);
    assert_int_equal(mkdir(path, 0700), 0);
    *state = tree;
    return 0;
}

static int tree_teardown(void **state)
{
    static const char *const names[] = {
        "etc/emqx.conf",      "etc/vm.args",          "etc/extra.conf", "etc/more.conf", "etc/plugins/b.conf",
        "etc/plugins/a.conf", "etc/plugins/c.config", "etc/plugins",    "etc",           ""};
    struct tree *tree = *state;
    char path[256];

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", tree->root, names[i]);
        remove(path);
    }
    free(tree);
    return 0;
}

static struct conf *tree_load(const struct tree *tree)
{
    const struct conf_load_options options = {
        .root_dir = tree->root, .file = "etc/emqx.conf", .plugins_dir = "etc/plugins"};
    struct conf *conf = NULL;
    struct conf_errors *errors = NULL;
    int err = conf_load(&options, &conf, &errors);

    if (err == -EINVAL)
        conf_errors_print(errors, stderr);
    assert_int_equal(err, 0);
    return conf;
}

static void lets_the_including_file_win(void **state)
{
    struct tree *tree = *state;
    struct conf *conf;
    char *notices;

    tree_write(tree, "etc/emqx.conf", "node.cookie = main\ninclude etc/extra.conf\nlog.to = off\n");
    tree_write(tree, "etc/extra.conf",
               "node.cookie = extra\nlog.to = both\nlog.level = debug\ninclude etc/more.conf\n");
    tree_write(tree, "etc/more.conf", "cluster.name = more\n");
    conf = tree_load(tree);
    assert_string_equal(conf_get_string(conf, "node.cookie", NULL), "main");
    assert_string_equal(conf_get_string(conf, "log.to", NULL), "off");
    assert_string_equal(conf_get_string(conf, "log.level", NULL), "debug");
    assert_string_equal(conf_get_string(conf, "cluster.name", NULL), "emqxcl");
    notices = notices_of(conf);
    assert_non_null(
        strstr(notices, "etc/extra.conf:4: include etc/more.conf is not read: included files cannot include others\n"));
    free(notices);
    conf_free(conf);
}

static void merges_plugin_files_in_alphabetical_order(void **state)
{
    struct tree *tree = *state;
    char path[256];
    struct conf *conf;

    snprintf(path, sizeof(path), "%s/etc/plugins", tree->root);
    assert_int_equal(mkdir(path, 0700), 0);
    tree_write(tree, "etc/emqx.conf", "node.cookie = main\ncluster.name = main\nlog.dir = main\n");
    tree_write(tree, "etc/plugins/b.conf", "node.cookie = b\n");
    tree_write(tree, "etc/plugins/a.conf", "node.cookie = a\ncluster.name = a\n");
    tree_write(tree, "etc/plugins/c.config", "[{not, a, conf, file}].\n");
    conf = tree_load(tree);
    assert_string_equal(conf_get_string(conf, "node.cookie", NULL), "b");
    assert_string_equal(conf_get_string(conf, "cluster.name", NULL), "a");
    assert_string_equal(conf_get_string(conf, "log.dir", NULL), "main");
    conf_free(conf);
}

static void does_without_a_plugins_directory(void **state)
{
    struct tree *tree = *state;

    tree_write(tree, "etc/emqx.conf", "node.cookie = main\n");
    conf_free(tree_load(tree));
}

static void says_that_flags_of_the_vm_are_not_looked_at(void **state)
{
    struct tree *tree = *state;
    struct conf *conf;
    char *notices;

    tree_write(tree, "etc/emqx.conf", "node.cookie = main\n");
    tree_write(tree, "etc/vm.args", "+P 256000\n");
    conf = tree_load(tree);
    notices = notices_of(conf);
    assert_non_null(strstr(notices, "/etc/vm.args is not looked at: it holds flags of the Erlang VM\n"));
    free(notices);
    conf_free(conf);
}

static void names_a_file_that_cannot_be_opened(void **state)
{
    struct tree *tree = *state;
    const struct conf_load_options options = {.root_dir = tree->root, .file = "etc/emqx.conf"};
    char *printed = errors_with(&options, NULL);

    assert_string_equal(printed, "etc/emqx.conf: Could not open file (etc/emqx.conf) for Reason enoent\n");
    free(printed);
    tree_write(tree, "etc/emqx.conf", "include etc/absent.conf\n");
    printed = errors_with(&options, NULL);
    assert_string_equal(printed, "etc/absent.conf: Could not open file (etc/absent.conf) for Reason enoent\n");
    free(printed);
}

static void refuses_a_directory_in_place_of_the_file(void **state)
{
    struct tree *tree = *state;
    const struct conf_load_options options = {.root_dir = tree->root, .file = "etc"};
    char *printed = errors_with(&options, NULL);

    assert_string_equal(printed, "etc: Could not open file (etc) for Reason eisdir\n");
    free(printed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_settings_between_comments_blanks_and_placeholders),
        cmocka_unit_test(takes_the_last_of_duplicates_at_the_first_position),
        cmocka_unit_test(gives_wildcard_names_in_file_order),
        cmocka_unit_test(gives_every_used_name_the_defaults),
        cmocka_unit_test(keeps_an_escaped_dot_inside_a_word),
        cmocka_unit_test(prefers_a_named_word_to_a_wildcard),
        cmocka_unit_test(substitutes_recursively_and_from_defaults),
        cmocka_unit_test(takes_overrides_from_the_environment),
        cmocka_unit_test_setup_teardown(lets_the_including_file_win, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(merges_plugin_files_in_alphabetical_order, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(does_without_a_plugins_directory, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(says_that_flags_of_the_vm_are_not_looked_at, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(names_a_file_that_cannot_be_opened, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(refuses_a_directory_in_place_of_the_file, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
