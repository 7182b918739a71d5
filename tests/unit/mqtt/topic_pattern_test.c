/*
 * topic_pattern: %c and %u are replaced as whole levels only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqtt/topic_pattern.h"

static void assert_expands(const char *pattern, const char *user_name, const char *expected)
{
    struct slice text;

    assert_int_equal(
        topic_pattern_expand(slice_from_string(pattern), SLICE_LITERAL("id"), slice_from_string(user_name), &text), 0);
    assert_true(slice_equal(text, slice_from_string(expected)));
    slice_free(&text);
}

static void replaces_whole_levels(void **state)
{
    (void)state;
    assert_expands("%c", "me", "id");
    assert_expands("$client/%c", "me", "$client/id");
    assert_expands("%u/%c/%u/#", "me", "me/id/me/#");
    assert_expands("%c/%c/%c/%c", "me", "id/id/id/id");
    assert_expands("a%c/%cb/%%c/%c%u/%x/%", "me", "a%c/%cb/%%c/%c%u/%x/%");
    assert_expands("", "me", "");
    assert_expands("/%u/", "me", "/me/");
}

static void an_absent_user_name_leaves_its_placeholder(void **state)
{
    (void)state;
    assert_expands("%u/%c", NULL, "%u/id");
    assert_expands("%u/%c", "", "/id");
}

static void finds_placeholders(void **state)
{
    (void)state;
    assert_true(topic_pattern_has(SLICE_LITERAL("a/%c"), 'c'));
    assert_false(topic_pattern_has(SLICE_LITERAL("a/%c"), 'u'));
    assert_false(topic_pattern_has(SLICE_LITERAL("a%c/%cb"), 'c'));
    assert_false(topic_pattern_has(SLICE_LITERAL(""), 'c'));
}

static void wildcards_do_not_fit(void **state)
{
    (void)state;
    assert_true(topic_pattern_value_fits(SLICE_LITERAL("a/b")));
    assert_true(topic_pattern_value_fits(slice_make(NULL, 0)));
    assert_false(topic_pattern_value_fits(SLICE_LITERAL("+")));
    assert_false(topic_pattern_value_fits(SLICE_LITERAL("a#")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_whole_levels),
        cmocka_unit_test(an_absent_user_name_leaves_its_placeholder),
        cmocka_unit_test(finds_placeholders),
        cmocka_unit_test(wildcards_do_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
