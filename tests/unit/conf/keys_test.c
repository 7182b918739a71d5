/*
 * The tables of keys, and the files that are generated from them.
 */
#include "conf_fixture.h"

#include "conf/conf_internal.h"
#include "conf/conf_render.h"

static const struct conf_load_options shipped_options = {.root_dir = SOURCE_ROOT, .file = "etc/emqx.conf"};

static struct conf *load_shipped(void)
{
    struct conf *conf = NULL;
    struct conf_errors *errors = NULL;
    int err = conf_load(&shipped_options, &conf, &errors);

    if (err == -EINVAL)
        conf_errors_print(errors, stderr);
    assert_int_equal(err, 0);
    return conf;
}

static char *rendered(void (*render)(FILE *out))
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    render(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static char *file_text(const char *path)
{
    enum { SIZE = 512 * 1024 };
    char *text = calloc(1, SIZE);
    FILE *file = fopen(path, "r");

    assert_non_null(text);
    assert_non_null(file);
    assert_in_range(fread(text, 1, SIZE, file), 1, SIZE - 1);
    fclose(file);
    return text;
}

static char *next_line(char *line)
{
    line += strcspn(line, "\n");
    return *line == '\n' ? line + 1 : line;
}

/* When this fails: ninja -C BUILD update-conf */
static void assert_up_to_date(const char *path, void (*render)(FILE *out))
{
    char *expected = rendered(render), *found = file_text(path);

    if (strcmp(expected, found) != 0)
        fail_msg("%s differs from the key tables; run: ninja -C BUILD update-conf", path);
    free(expected);
    free(found);
}

static void committed_files_are_what_the_tables_give(void **state)
{
    (void)state;
    assert_up_to_date(SOURCE_ROOT "/etc/emqx.conf", conf_render_file);
    assert_up_to_date(SOURCE_ROOT "/docs/configuration.md", conf_render_reference);
}

static void knows_all_keys_of_the_original_and_says_something_about_each(void **state)
{
    size_t table_count, original = 0;
    const struct conf_table *const *tables = conf_core_tables(&table_count);

    (void)state;
    for (size_t i = 0; i < table_count; i++) {
        for (size_t j = 0; j < tables[i]->count; j++) {
            const struct conf_key *key = &tables[i]->keys[j];
            size_t len = strlen(key->help);

            original += !key->ours;
            if (len < 5 || key->help[len - 1] != '.')
                fail_msg("%s: the help is not a sentence", key->name);
            if ((key->type == CONF_ENUM) != (key->enum_words != NULL))
                fail_msg("%s: words are for enums only", key->name);
        }
    }
    assert_int_equal(original, 285);
}

static void the_shipped_file_has_the_settings_of_the_original(void **state)
{
    char *text = rendered(conf_render_file);
    size_t active = 0, commented = 0;

    (void)state;
    for (char *line = text; *line != '\0'; line = next_line(line)) {
        active += *line >= 'a' && *line <= 'z';
        commented += line[0] == '#' && line[1] == ' ';
    }
    assert_int_equal(active, 182);
    assert_int_equal(commented, 128 + 57); /* the keys that are ours */
    free(text);
}

/* The examples must be right as well: a user only takes the # away. */
static void the_commented_lines_of_the_shipped_file_are_valid(void **state)
{
    char *text = rendered(conf_render_file), *printed;

    (void)state;
    for (char *line = text; *line != '\0'; line = next_line(line)) {
        /* Only one of the two lists of ciphers may be set. */
        if (line[0] == '#' && line[1] == ' ' && memmem(line, strcspn(line, "="), ".psk_ciphers", 12) == NULL)
            line[0] = ' ';
    }
    printed = errors_of(text);
    assert_string_equal(printed, "");
    free(printed);
    free(text);
}

static void the_shipped_file_loads_with_its_values(void **state)
{
    struct conf *conf = load_shipped();

    (void)state;
    assert_string_equal(conf_get_string(conf, "node.name", NULL), "emqx@127.0.0.1");
    assert_true(conf_get_bool(conf, "allow_anonymous", NULL, false));
    assert_string_equal(conf_find(conf, "listener.tcp.$name", "internal", NULL)->text, "127.0.0.1:11883");
    assert_int_equal(conf_get_integer(conf, "listener.tcp.$name.max_connections", "external", 0), 1024000);
    assert_string_equal(conf_get_string(conf, "broker.shared_subscription_strategy", NULL), "random");
    assert_int_equal(conf_get_integer(conf, "os_mon.sysmem_high_watermark", NULL, 0), 70);
    assert_int_equal(conf_get_integer(conf, "node.workers", NULL, 99), 0);
    assert_int_equal(conf_get_bytes(conf, "broker.mailbox_bytes", NULL, 0), 64 << 20);
    conf_free(conf);
}

static void the_shipped_file_gives_a_short_report(void **state)
{
    struct conf *conf = load_shipped();
    char *notices = notices_of(conf);
    size_t lines = 0;

    (void)state;
    for (const char *at = notices; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 3);
    assert_non_null(strstr(notices, "rpc.* (14 keys)"));
    assert_non_null(strstr(notices, " are accepted but not yet in effect in this version\n"));
    assert_non_null(strstr(notices, " are accepted for compatibility and have no effect\n"));
    assert_non_null(strstr(notices, "allow_anonymous = true: every client is let in"));
    free(notices);
    conf_free(conf);
}

static void assert_notices(const char *text, const char *expected)
{
    struct conf *conf = load(text);
    char *notices = notices_of(conf);

    assert_string_equal(notices, expected);
    free(notices);
    conf_free(conf);
}

static void names_a_single_key_without_effect(void **state)
{
    (void)state;
    assert_notices("node.process_limit = 5\n", "node.process_limit is accepted for compatibility and has no effect\n");
    assert_notices("rpc.tcp_client_num = 1\n",
                   "rpc.tcp_client_num is accepted but not yet in effect in this version\n");
    assert_notices("log.to = file\n", "");
}

static void names_listeners_that_nothing_opens_and_unknown_zones(void **state)
{
    (void)state;
    assert_notices("listener.tcp.a.backlog = 5\nlistener.tcp.a.max_conn_rate = 5\n",
                   "listener.tcp.a.backlog is not looked at: no line listener.tcp.a = address:port opens that "
                   "listener\n");
    assert_notices("listener.tcp.a = 1883\nlistener.tcp.a.zone = extrenal\nzone.external.idle_timeout = 1s\n",
                   "listener.tcp.a.zone = extrenal: no zone of that name is configured, its clients get the "
                   "defaults\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(committed_files_are_what_the_tables_give),
        cmocka_unit_test(knows_all_keys_of_the_original_and_says_something_about_each),
        cmocka_unit_test(the_shipped_file_has_the_settings_of_the_original),
        cmocka_unit_test(the_commented_lines_of_the_shipped_file_are_valid),
        cmocka_unit_test(the_shipped_file_loads_with_its_values),
        cmocka_unit_test(the_shipped_file_gives_a_short_report),
        cmocka_unit_test(names_a_single_key_without_effect),
        cmocka_unit_test(names_listeners_that_nothing_opens_and_unknown_zones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
