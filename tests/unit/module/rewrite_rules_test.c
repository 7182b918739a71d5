/*
 * rewrite_rules: which rule is taken, what it makes of topics and filters, what is refused, and what hostile topics cost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "module/rewrite_rules.h"
#include "mqtt/topic.h"

#define TEXT_MAX 65600u

struct fixture {
    struct rewrite_rules *rules;
    struct rewrite_scratch *scratch;
};

static struct fixture open_rules(const char *const *texts, size_t count)
{
    struct fixture fixture = {.rules = rewrite_rules_new()};
    char error[REWRITE_ERROR_BYTES];

    assert_non_null(fixture.rules);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(rewrite_rules_add(fixture.rules, texts[i], error), 0);
    assert_int_equal(rewrite_rules_count(fixture.rules), count);
    fixture.scratch = rewrite_scratch_new(fixture.rules);
    assert_non_null(fixture.scratch);
    return fixture;
}

static void close_rules(struct fixture *fixture)
{
    rewrite_scratch_free(fixture->scratch);
    rewrite_rules_free(fixture->rules);
}

static enum rewrite_result apply(const struct fixture *fixture, struct rewrite_request request, char out[TEXT_MAX])
{
    struct slice text = request.text;
    enum rewrite_result result = rewrite_rules_apply(fixture->rules, fixture->scratch, &request, &text);

    assert_true(text.len < TEXT_MAX);
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return result;
}

/* What one rule makes of a topic name. */
static void assert_topic(const char *rule, const char *topic, enum rewrite_result expected, const char *becomes)
{
    struct fixture fixture = open_rules(&rule, 1);
    static char text[TEXT_MAX];

    assert_int_equal(apply(&fixture, (struct rewrite_request){.text = slice_from_string(topic)}, text), expected);
    assert_string_equal(text, becomes);
    close_rules(&fixture);
}

static void assert_filter(const char *rule, const char *filter, enum rewrite_result expected, const char *becomes)
{
    struct fixture fixture = open_rules(&rule, 1);
    static char text[TEXT_MAX];

    assert_int_equal(
        apply(&fixture, (struct rewrite_request){.text = slice_from_string(filter), .is_filter = true}, text),
        expected);
    assert_string_equal(text, becomes);
    close_rules(&fixture);
}

static void rewrites_as_the_shipped_examples_say(void **state)
{
    (void)state;
    assert_topic("x/# ^x/y/(.+)$ z/y/$1", "x/y/abc", REWRITE_CHANGED, "z/y/abc");
    assert_topic("x/# ^x/y/(.+)$ z/y/$1", "x/1/abc", REWRITE_SAME, "x/1/abc");
    assert_topic("x/# ^x/y/(.+)$ z/y/$1", "a/y/abc", REWRITE_SAME, "a/y/abc");
    assert_topic("y/+/z/# ^y/(.+)/z/(.+)$ y/z/$2", "y/a/z/b", REWRITE_CHANGED, "y/z/b");
    assert_topic("  y/+/z/#\t^y/(.+)/z/(.+)$   y/z/$2 ", "y/a/z/b/c", REWRITE_CHANGED, "y/z/b/c");
}

static void fills_in_groups(void **state)
{
    (void)state;
    assert_topic("# ^(.)(.)(.)$ $3/$2/$1/$2", "abc", REWRITE_CHANGED, "c/b/a/b");
    assert_topic("# b $x$/$", "abc", REWRITE_CHANGED, "$x$/$");
    assert_topic("# (a)|(b) <$1|$2>", "b", REWRITE_CHANGED, "<|b>");
    assert_topic("# ^(.+)$ $10", "a", REWRITE_CHANGED, "a0");
    assert_topic("# ^(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)$ $10$1$11", "0123456789", REWRITE_CHANGED, "9001");
    assert_topic("# ^(.+)$ $0/$1", "a", REWRITE_CHANGED, "$0/a");
    assert_topic("a/# ^a/(.+)$ $1", "a/$2/$1", REWRITE_CHANGED, "$2/$1"); /* what came in is not looked at again */
    assert_topic("# ^(.)/.$ $1", "\xC3\xA4/\xE2\x82\xAC", REWRITE_CHANGED, "\xC3\xA4"); /* characters, not bytes */
}

static void the_first_rule_whose_filter_matches_decides(void **state)
{
    static const char *const rules[] = {"a/+ ^a/1$ one", "a/# ^a/.*$ many", "# . any"};
    struct fixture fixture = open_rules(rules, 3);
    static char text[TEXT_MAX];

    (void)state;
    assert_int_equal(apply(&fixture, (struct rewrite_request){.text = SLICE_LITERAL("a/1")}, text), REWRITE_CHANGED);
    assert_string_equal(text, "one");
    assert_int_equal(apply(&fixture, (struct rewrite_request){.text = SLICE_LITERAL("a/2")}, text), REWRITE_SAME);
    assert_int_equal(apply(&fixture, (struct rewrite_request){.text = SLICE_LITERAL("a/2/3")}, text), REWRITE_CHANGED);
    assert_string_equal(text, "many");
    assert_int_equal(apply(&fixture, (struct rewrite_request){.text = SLICE_LITERAL("b")}, text), REWRITE_CHANGED);
    assert_string_equal(text, "any");
    /* A leading wildcard is not for topics with a dollar sign [MQTT-4.7.2-1]. */
    assert_int_equal(apply(&fixture, (struct rewrite_request){.text = SLICE_LITERAL("$SYS/b")}, text), REWRITE_SAME);
    close_rules(&fixture);
}

static void rewrites_filters_as_if_they_were_names(void **state)
{
    (void)state;
    assert_filter("x/# ^x/y/(.+)$ z/y/$1", "x/y/#", REWRITE_CHANGED, "z/y/#");
    assert_filter("x/# ^x/y/(.+)$ z/y/$1", "x/y/+/b", REWRITE_CHANGED, "z/y/+/b");
    assert_filter("x/# ^x/y/(.+)$ z/y/$1", "x/#", REWRITE_SAME, "x/#");
    assert_filter("x/+ ^x/(.+)$ all/#", "x/1", REWRITE_CHANGED, "all/#");
}

static void keeps_what_stands_before_a_filter(void **state)
{
    const char *rule = "x/# ^x/(.+)$ z/$1";
    struct fixture fixture = open_rules(&rule, 1);
    struct rewrite_request request = {
        .text = SLICE_LITERAL("x/1"), .prefix = SLICE_LITERAL("$share/group/"), .is_filter = true};
    static char text[TEXT_MAX];

    (void)state;
    assert_int_equal(apply(&fixture, request, text), REWRITE_CHANGED);
    assert_string_equal(text, "$share/group/z/1");
    close_rules(&fixture);
}

static void what_would_be_no_topic_stays(void **state)
{
    static char topic[65536];
    const char *longer = "# ^(.+)$ $1$1";

    (void)state;
    assert_topic("x/# ^x/(.*)$ all/#", "x/1", REWRITE_INVALID, "x/1");
    assert_topic("x/# ^x/(.*)$ $1", "x/", REWRITE_INVALID, "x/");
    assert_filter("x/# ^x/(.*)$ $1", "x/", REWRITE_INVALID, "x/");
    assert_filter("x/# ^x/(.*)$ z$1", "x/#", REWRITE_INVALID, "x/#");
    assert_filter("x/# ^x/(.*)$ $1", "x/$share/g/t", REWRITE_INVALID, "x/$share/g/t");
    memset(topic, 'a', 32768);
    assert_topic(longer, topic, REWRITE_INVALID, topic);
    topic[32767] = '\0';
    assert_topic("# ^(.+)$ $1$1", "ab", REWRITE_CHANGED, "abab");
    assert_topic("# ^(.+)$ $1", "ab", REWRITE_SAME, "ab");
}

static void text_that_is_not_utf_8_stays(void **state)
{
    (void)state;
    assert_topic("# ^(.+)$ z/$1", "a\xFF", REWRITE_GIVEN_UP, "a\xFF");
    assert_topic("# ^(.+)$ z/$1", "a\xED\xA0\x80", REWRITE_GIVEN_UP, "a\xED\xA0\x80");
}

static double cpu_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Without the limit each of these would take from seconds to ages. */
static void no_topic_holds_a_thread(void **state)
{
    static const char *const rules[] = {
        "# ^(a+)+$ z/$1",         "# (a|aa)+$ z",      "# (.*)*(.*)*(.*)*\\d z",
        "# (.+)/(.+)/(.+)\\d z",  "# .*.*.*.*.*\\d z", "# ^(?:(?:a?){9}){9}\\d z",
        "# (?=(a+))a*\\d\\1 z",   "# (?>.*)\\d z",     "# ((?:a++|\\d)*+)+[cd] z",
        "# (?:.*?a){20}.*\\d$ z", "# (a(?1)?)+\\d z",  "# [^b]*\\d z",
    };
    static const size_t lens[] = {40, 1000, 65535};
    static char topic[65536], text[TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        for (size_t j = 0; j < sizeof(lens) / sizeof(lens[0]); j++) {
            struct fixture fixture = open_rules(&rules[i], 1);
            double from_ms = cpu_ms();
            memset(topic, 'a', lens[j]);
            topic[lens[j] / 2] = '/';
            (void)apply(&fixture, (struct rewrite_request){.text = slice_make(topic, lens[j])}, text);
            assert_true(cpu_ms() - from_ms < 500); /* some milliseconds; a sanitizer build takes longer */
            close_rules(&fixture);
        }
    }
}

static void gives_up_on_too_much_work(void **state)
{
    (void)state;
    assert_topic("# ^(a+)+$ z/$1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", REWRITE_GIVEN_UP,
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!");
    assert_topic("# ^(a+)+$ z/$1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", REWRITE_CHANGED,
                 "z/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
}

static void a_plain_rule_takes_the_longest_topic(void **state)
{
    static char topic[65536], text[TEXT_MAX];
    const char *rule = "x/# ^x/(.+)$ y/$1";
    struct fixture fixture = open_rules(&rule, 1);

    (void)state;
    memset(topic, 'a', 65535);
    memcpy(topic, "x/", 2);
    assert_int_equal(apply(&fixture, (struct rewrite_request){.text = slice_make(topic, 65535)}, text),
                     REWRITE_CHANGED);
    assert_memory_equal(text, "y/aaaa", 6);
    assert_int_equal(strlen(text), 65535);
    close_rules(&fixture);
}

static void assert_refused(const char *rule, const char *why)
{
    struct rewrite_rules *rules = rewrite_rules_new();
    char error[REWRITE_ERROR_BYTES] = "";

    assert_non_null(rules);
    assert_int_equal(rewrite_rules_add(rules, rule, error), -EINVAL);
    assert_string_equal(error, why);
    assert_int_equal(rewrite_rules_count(rules), 0);
    rewrite_rules_free(rules);
}

static void refuses_bad_rules(void **state)
{
    (void)state;
    assert_refused("", "it has 0 words");
    assert_refused("x/#", "it has 1 word");
    assert_refused("x/# ^x/(.+)$", "it has 2 words");
    assert_refused("x/# ^x/(.+)$ y z", "it has 4 words");
    assert_refused("x/#/y ^x y", "x/#/y is no topic filter");
    assert_refused("x/y+ ^x y", "x/y+ is no topic filter");
    assert_refused("# ^x/(.+$ y/$1",
                   "the regular expression ^x/(.+$ is wrong at its character 8: missing closing parenthesis");
    assert_refused("# \\C y",
                   "the regular expression \\C is wrong at its character 3: using \\C is disabled by the application");
    assert_refused("# ^x/(.+)$ y/$2", "the new topic has $2, but the regular expression has 1 group in parentheses");
    assert_refused("# ^x$ $1", "the new topic has $1, but the regular expression has 0 groups in parentheses");
    assert_refused("# ^x/(.+)$ y/#/$1", "y/#/$1 makes no topic");
    assert_refused("# ^x/(.+)$ y+", "y+ makes no topic");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewrites_as_the_shipped_examples_say),
        cmocka_unit_test(fills_in_groups),
        cmocka_unit_test(the_first_rule_whose_filter_matches_decides),
        cmocka_unit_test(rewrites_filters_as_if_they_were_names),
        cmocka_unit_test(keeps_what_stands_before_a_filter),
        cmocka_unit_test(what_would_be_no_topic_stays),
        cmocka_unit_test(text_that_is_not_utf_8_stays),
        cmocka_unit_test(no_topic_holds_a_thread),
        cmocka_unit_test(gives_up_on_too_much_work),
        cmocka_unit_test(a_plain_rule_takes_the_longest_topic),
        cmocka_unit_test(refuses_bad_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
