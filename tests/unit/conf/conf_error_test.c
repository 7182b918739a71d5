/*
 * What a wrong configuration is told: file, line, key, what was found and what would be right.
 */
#include "conf_fixture.h"

#include "conf/conf_internal.h"

static void names_the_three_nearest_keys_for_an_unknown_one(void **state)
{
    (void)state;
    assert_errors(
        "\nzone.external.idle_timeot = 15s\n",
        "Error generating configuration in phase transform_datatypes\n"
        "test.conf:2: You've tried to set zone.external.idle_timeot, but there is no setting with that name.\n"
        "  Did you mean one of these?\n"
        "    zone.external.idle_timeout\n"
        "    zone.external.await_rel_timeout\n"
        "    zone.external.acl_nomatch\n"
        "Conf file attempted to set unknown variable: zone.external.idle_timeot\n");
}

static void refuses_a_key_of_another_listener_type(void **state)
{
    char *printed = errors_of("listener.wss.external.dhfile = x\n");

    (void)state;
    assert_non_null(strstr(printed, "unknown variable: listener.wss.external.dhfile\n"));
    free(printed);
}

static void tells_what_was_found_and_what_would_be_right(void **state)
{
    (void)state;
    assert_errors("mqtt.max_packet_size = 10M\n",
                  "Error generating configuration in phase transform_datatypes\n"
                  "test.conf:1: Error transforming datatype for: mqtt.max_packet_size\n"
                  "  \"10M\" cannot be converted to a(n) bytesize\n"
                  "  Right would be: bytes, or a number with KB, MB or GB, such as 64KB or 1.5MB\n");
    assert_errors("log.to = disk\n",
                  "Error generating configuration in phase transform_datatypes\n"
                  "test.conf:1: Error transforming datatype for: log.to\n"
                  "  \"disk\" is not a valid enum value, acceptable values are: off, file, console, both\n"
                  "  Right would be: off, file, console, both\n");
    assert_errors("rpc.tcp_client_num = 256\n", "Error generating configuration in phase validation\n"
                                                "test.conf:1: rpc.tcp_client_num invalid, should be between 1 and 255\n"
                                                "  Found: 256\n");
}

static void names_line_and_column_of_a_syntax_error(void **state)
{
    (void)state;
    assert_errors("log.to = off\nlog.level warning\n",
                  "test.conf:2: Syntax error in test.conf after line 2 column 11, parsing incomplete\n"
                  "  Expected = behind the key.\n");
    assert_errors("log.to =  \r\n",
                  "test.conf:1: Syntax error in test.conf after line 1 column 11, parsing incomplete\n"
                  "  Expected a value behind =; put # before the line to leave the key unset.\n");
    assert_errors("log..to = off\n",
                  "test.conf:1: Syntax error in test.conf after line 1 column 5, parsing incomplete\n"
                  "  A line should be: key = value; a key is words joined by dots.\n");
    assert_errors("log.to. = off\n",
                  "test.conf:1: Syntax error in test.conf after line 1 column 8, parsing incomplete\n"
                  "  A line should be: key = value; a key is words joined by dots.\n");
    assert_errors("include \n", "test.conf:1: Syntax error in test.conf after line 1 column 9, parsing incomplete\n"
                                "  Expected a path behind include.\n");
    assert_errors("node.cookie = a\x01\n",
                  "test.conf:1: Syntax error in test.conf after line 1 column 16, parsing incomplete\n"
                  "  A value cannot hold control characters.\n");
}

static void refuses_values_beyond_latin1(void **state)
{
    (void)state;
    assert_errors("\nnode.cookie = \xe4\xbd\xa0\n", "test.conf:2: Error converting value on line #2 to latin1\n");
    assert_errors("node.cookie = \xe9\n", "test.conf:1: Error converting value on line #1 to latin1\n");
}

static void refuses_control_characters_in_the_environment(void **state)
{
    static char *const environment[] = {(char *)(uintptr_t) "EMQX_NODE_COOKIE=a\nlog.to = off", NULL};
    const struct conf_load_options options = {.file = "test.conf", .environment = environment};
    char *printed = errors_with(&options, "log.to = both\n");

    (void)state;
    assert_string_equal(printed,
                        "EMQX_NODE_COOKIE: node.cookie: the value should be one line of Latin-1 characters, at "
                        "most 16384 bytes long\n");
    free(printed);
}

static void refuses_unknown_references_and_cycles(void **state)
{
    (void)state;
    assert_errors("node.cookie = $(node.foo)\n",
                  "Error generating configuration in phase rhs_subs\n"
                  "test.conf:1: 'node.cookie' substitution requires a config variable 'node.foo' to be set\n");
    assert_errors("zone.a.mountpoint = $(zone.b.mqueue_default_priority)/\n",
                  "Error generating configuration in phase rhs_subs\n"
                  "test.conf:1: 'zone.a.mountpoint' substitution requires a config variable "
                  "'zone.b.mqueue_default_priority' to be set\n");
    assert_errors("node.cookie = $(cluster.name)\ncluster.name = $(log.dir)\nlog.dir = $(node.cookie)\n",
                  "Error generating configuration in phase rhs_subs\n"
                  "test.conf:3: Circular RHS substitutions: log.dir = $(node.cookie) comes back to node.cookie\n");
    assert_errors("node.cookie = x$(node.cookie)\n",
                  "Error generating configuration in phase rhs_subs\n"
                  "test.conf:1: Circular RHS substitutions: node.cookie = x$(node.cookie) comes back to node.cookie\n");
}

static void wants_exactly_one_list_of_ciphers(void **state)
{
    (void)state;
    assert_errors("listener.ssl.a = 8883\n",
                  "Error generating configuration in phase apply_translations\n"
                  "test.conf:1: listener.ssl.a.ciphers or listener.ssl.a.psk_ciphers is absent\n");
    assert_errors("listener.wss.a = 8884\nlistener.wss.a.ciphers = A\nlistener.wss.a.psk_ciphers = B\n",
                  "Error generating configuration in phase apply_translations\n"
                  "test.conf:1: listener.wss.a.ciphers and listener.wss.a.psk_ciphers cannot be configured at the "
                  "same time\n");
    assert_errors("listener.ssl.a = 8883\nlistener.ssl.a.ciphers = A\n", "");
}

static void wants_what_a_discovery_strategy_needs(void **state)
{
    (void)state;
    assert_errors("cluster.discovery = dns\ncluster.dns.name = x\n",
                  "Error generating configuration in phase apply_translations\n"
                  "test.conf:1: Translation for 'ekka.cluster_discovery' expected to find setting 'cluster.dns.app' "
                  "but was missing\n");
    assert_errors("node.heartbeat = off\n", "Error generating configuration in phase apply_translations\n"
                                            "test.conf:1: node.heartbeat should be 'on' or comment the line!\n");
}

static void wants_a_level_for_a_log_file_of_its_own(void **state)
{
    (void)state;
    assert_errors("log.loud.file = loud.log\n",
                  "Error generating configuration in phase validation\n"
                  "test.conf:1: log.loud.file invalid, the word between log and file should be one of debug, info, "
                  "notice, warning, error, critical, alert, emergency, all\n");
    assert_errors("log.alert.file = alert.log\n", "");
}

static void collects_errors_up_to_a_bound_and_counts_the_rest(void **state)
{
    char text[64 * 40] = "";
    char *printed;

    (void)state;
    for (int i = 0; i < 40; i++)
        snprintf(text + strlen(text), 64, "mqtt.max_qos_allowed.%d = 1\n", i);
    printed = errors_of(text);
    assert_non_null(strstr(printed, "test.conf:1: "));
    assert_non_null(strstr(printed, "test.conf:20: "));
    assert_null(strstr(printed, "test.conf:21: "));
    assert_non_null(strstr(printed, "\n... and 20 more errors\n"));
    free(printed);
}

static void gives_errors_to_callers_one_by_one(void **state)
{
    const struct conf_load_options options = {.file = "test.conf"};
    static const char text[] = "log.to = 1\nmqtt.max_qos_allowed = 3\n";
    struct conf *conf = NULL;
    struct conf_errors *errors = NULL;

    (void)state;
    assert_int_equal(conf_load_text(&options, text, strlen(text), &conf, &errors), -EINVAL);
    assert_int_equal(conf_errors_count(errors), 2);
    assert_int_equal(conf_errors_get(errors, 1)->line, 2);
    assert_string_equal(conf_errors_get(errors, 1)->key, "mqtt.max_qos_allowed");
    assert_int_equal(conf_errors_get(errors, 1)->phase, CONF_VALIDATION);
    assert_null(conf_errors_get(errors, 2));
    conf_errors_free(errors);
}

static char *repeated(const char *before, char c, size_t count, const char *after)
{
    char *text = malloc(strlen(before) + count + strlen(after) + 1);

    assert_non_null(text);
    strcpy(text, before);
    memset(text + strlen(before), c, count);
    strcpy(text + strlen(before) + count, after);
    return text;
}

static void bounds_lines_and_keys(void **state)
{
    char *text = repeated("node.cookie = ", 'x', CONF_LINE_BYTES_MAX, "\n"), *printed = errors_of(text);

    (void)state;
    assert_non_null(strstr(printed, "The line is longer than 16384 bytes."));
    free(text);
    free(printed);
    text = repeated("node.", 'x', CONF_KEY_BYTES_MAX, " = 1\n");
    printed = errors_of(text);
    assert_non_null(strstr(printed, "A line should be: key = value"));
    free(text);
    free(printed);
    printed = errors_of("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o = 1\n");
    assert_non_null(strstr(printed, "unknown variable: a.b.c.d.e.f.g.h.i.j.k.l.m.n.o\n"));
    free(printed);
}

static void bounds_what_substitution_makes(void **state)
{
    char *half = repeated("cluster.name = ", 'x', CONF_TEXT_BYTES_MAX / 2,
                          "\nnode.cookie = $(cluster.name)$(cluster.name)$(cluster.name)\n");
    char *printed = errors_of(half);

    (void)state;
    assert_non_null(strstr(printed, "node.cookie: the value is longer than 16384 bytes after substitution\n"));
    free(half);
    free(printed);
}

static void bounds_the_number_of_settings(void **state)
{
    size_t size = (CONF_SETTINGS_MAX + 2) * 16, used = 0;
    char *text = malloc(size), *printed;

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < CONF_SETTINGS_MAX + 1; i++)
        used += (size_t)snprintf(text + used, size - used, "log.to = off\n");
    printed = errors_of(text);
    assert_string_equal(printed, "test.conf:10001: Too many settings, the limit is 10000\n");
    free(printed);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_the_three_nearest_keys_for_an_unknown_one),
        cmocka_unit_test(refuses_a_key_of_another_listener_type),
        cmocka_unit_test(tells_what_was_found_and_what_would_be_right),
        cmocka_unit_test(names_line_and_column_of_a_syntax_error),
        cmocka_unit_test(refuses_values_beyond_latin1),
        cmocka_unit_test(refuses_control_characters_in_the_environment),
        cmocka_unit_test(refuses_unknown_references_and_cycles),
        cmocka_unit_test(wants_exactly_one_list_of_ciphers),
        cmocka_unit_test(wants_what_a_discovery_strategy_needs),
        cmocka_unit_test(wants_a_level_for_a_log_file_of_its_own),
        cmocka_unit_test(collects_errors_up_to_a_bound_and_counts_the_rest),
        cmocka_unit_test(gives_errors_to_callers_one_by_one),
        cmocka_unit_test(bounds_lines_and_keys),
        cmocka_unit_test(bounds_what_substitution_makes),
        cmocka_unit_test(bounds_the_number_of_settings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
