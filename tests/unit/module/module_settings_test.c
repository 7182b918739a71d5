/*
 * module_settings: what is read of module.*, in which order, and where mistakes are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "conf/conf.h"
#include "module/module_settings.h"
#include "module/rewrite_rules.h"

static struct conf *load(const char *text)
{
    struct conf_load_options options = {.file = "emqx.conf"};
    struct conf_errors *errors = NULL;
    struct conf *conf = NULL;

    assert_int_equal(conf_load_text(&options, text, strlen(text), &conf, &errors), 0);
    return conf;
}

static struct conf *read_settings(const char *text, struct module_settings *out_settings)
{
    struct conf *conf = load(text);
    char error[MODULE_ERROR_BYTES];

    assert_int_equal(module_settings_read(conf, out_settings, error), 0);
    return conf;
}

static void assert_wrong(const char *text, const char *expected)
{
    struct conf *conf = load(text);
    struct module_settings settings;
    char error[MODULE_ERROR_BYTES] = "";

    assert_int_equal(module_settings_read(conf, &settings, error), -EINVAL);
    assert_string_equal(error, expected);
    conf_free(conf);
}

static void all_are_off_unless_switched_on(void **state)
{
    struct module_settings settings;
    struct conf *conf = read_settings("", &settings);

    (void)state;
    assert_false(settings.presence);
    assert_false(settings.subscription);
    assert_null(settings.rules);
    module_settings_fini(&settings);
    conf_free(conf);
    conf = read_settings("module.presence = on\nmodule.presence.qos = 2\n", &settings);
    assert_true(settings.presence);
    assert_int_equal(settings.presence_qos, 2);
    module_settings_fini(&settings);
    conf_free(conf);
}

static void what_is_off_is_not_looked_at(void **state)
{
    struct module_settings settings;
    struct conf *conf = read_settings("module.rewrite.rule.1 = nonsense\nmodule.subscription.1.topic = a#\n",
                                      &settings);

    (void)state;
    assert_null(settings.rules);
    assert_int_equal(settings.filter_count, 0);
    module_settings_fini(&settings);
    conf_free(conf);
}

static void filters_have_the_qos_of_their_id(void **state)
{
    struct module_settings settings;
    struct conf *conf = read_settings("module.subscription = on\n"
                                      "module.subscription.b.topic = t/b\n"
                                      "module.subscription.10.qos = 0\n"
                                      "module.subscription.10.topic = t/10\n"
                                      "module.subscription.9.topic = $share/g/t/%c\n"
                                      "module.subscription.b.qos = 2\n",
                                      &settings);

    (void)state;
    assert_true(settings.subscription);
    assert_int_equal(settings.filter_count, 3);
    assert_string_equal(settings.filters[0].pattern, "$share/g/t/%c");
    assert_int_equal(settings.filters[0].qos, 1);
    assert_string_equal(settings.filters[1].pattern, "t/10");
    assert_int_equal(settings.filters[1].qos, 0);
    assert_string_equal(settings.filters[2].pattern, "t/b");
    assert_int_equal(settings.filters[2].qos, 2);
    module_settings_fini(&settings);
    conf_free(conf);
}

static void assert_rule_order(const char *text, const char *first, const char *second, const char *third)
{
    struct module_settings settings;
    struct conf *conf = read_settings(text, &settings);
    struct rewrite_scratch *scratch = rewrite_scratch_new(settings.rules);
    struct rewrite_request requests[] = {
        {.text = SLICE_LITERAL("a/b")}, {.text = SLICE_LITERAL("a/c")}, {.text = SLICE_LITERAL("b")}};
    const char *expected[] = {first, second, third};

    assert_int_equal(rewrite_rules_count(settings.rules), 3);
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        struct slice result;
        assert_int_equal(rewrite_rules_apply(settings.rules, scratch, &requests[i], &result), REWRITE_CHANGED);
        assert_true(slice_equal(result, slice_from_string(expected[i])));
    }
    rewrite_scratch_free(scratch);
    module_settings_fini(&settings);
    conf_free(conf);
}

static void rules_are_in_the_order_of_their_ids(void **state)
{
    (void)state;
    assert_rule_order("module.rewrite = on\n"
                      "module.rewrite.rule.z = # . z\n"
                      "module.rewrite.rule.10 = a/# . ten\n"
                      "module.rewrite.rule.9 = a/b . nine\n",
                      "nine", "ten", "z");
}

static void rules_are_in_the_order_of_the_original_if_asked_for(void **state)
{
    (void)state;
    assert_rule_order("module.rewrite = on\n"
                      "module.rewrite.last_rule_first = on\n"
                      "module.rewrite.rule.1 = # . z\n"
                      "module.rewrite.rule.3 = a/# . ten\n"
                      "module.rewrite.rule.2 = a/b . nine\n",
                      "nine", "ten", "z");
}

static void mistakes_are_named_with_their_place(void **state)
{
    (void)state;
    assert_wrong(
        "module.rewrite = on\nmodule.rewrite.rule.1 = x/# ^x/(.+)$ y/$1\nmodule.rewrite.rule.2 = x/# ^x(\n",
        "Error generating configuration in phase apply_translations\n"
        "emqx.conf:3: module.rewrite.rule.2 invalid: it has 2 words\n"
        "  Right would be: a topic filter, a regular expression and the new topic, blanks between them, $1 in the "
        "new topic for the first group in parentheses: x/# ^x/y/(.+)$ z/y/$1");
    assert_wrong("module.subscription = on\nmodule.subscription.1.topic = a/#/b\n",
                 "Error generating configuration in phase apply_translations\n"
                 "emqx.conf:2: module.subscription.1.topic invalid: it is no topic filter\n"
                 "  Right would be: a topic filter, %c and %u in it for client identifier and user name: $client/%c");
    assert_wrong("module.subscription = on\nmodule.subscription.1.topic = $share/a\n",
                 "Error generating configuration in phase apply_translations\n"
                 "emqx.conf:2: module.subscription.1.topic invalid: it is no topic filter\n"
                 "  Right would be: a topic filter, %c and %u in it for client identifier and user name: $client/%c");
    assert_wrong("module.subscription = on\nmodule.subscription.1.topic = a\nmodule.subscription.11.qos = 1\n",
                 "Error generating configuration in phase apply_translations\n"
                 "emqx.conf:3: module.subscription.11.qos invalid: there is no topic with that ID\n"
                 "  Right would be: a line module.subscription.ID.topic with the same ID, or no QoS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_off_unless_switched_on),
        cmocka_unit_test(what_is_off_is_not_looked_at),
        cmocka_unit_test(filters_have_the_qos_of_their_id),
        cmocka_unit_test(rules_are_in_the_order_of_their_ids),
        cmocka_unit_test(rules_are_in_the_order_of_the_original_if_asked_for),
        cmocka_unit_test(mistakes_are_named_with_their_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
