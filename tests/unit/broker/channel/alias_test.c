/*
 * Behaviour of topic aliases, received and sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "broker/channel/alias.h"

static void an_alias_means_the_topic_that_was_set_last(void **state)
{
    struct alias_table *table = alias_table_new(10);
    char topic[] = "a/b";

    (void)state;
    assert_non_null(table);
    assert_null(alias_table_get(table, 1).data);
    assert_null(alias_table_get(table, 10).data);
    assert_int_equal(alias_table_set(table, 10, slice_from_string(topic)), 0);
    topic[0] = 'X'; /* it is copied */
    assert_true(slice_equal(alias_table_get(table, 10), SLICE_LITERAL("a/b")));
    assert_int_equal(alias_table_set(table, 10, SLICE_LITERAL("longer/topic")), 0);
    assert_true(slice_equal(alias_table_get(table, 10), SLICE_LITERAL("longer/topic")));
    assert_null(alias_table_get(table, 9).data);
    alias_table_free(table);
    alias_table_free(NULL);
}

static void may_set_a_topic_from_its_own_memory(void **state)
{
    struct alias_table *table = alias_table_new(1);

    (void)state;
    assert_non_null(table);
    assert_int_equal(alias_table_set(table, 1, SLICE_LITERAL("same")), 0);
    assert_int_equal(alias_table_set(table, 1, alias_table_get(table, 1)), 0);
    assert_true(slice_equal(alias_table_get(table, 1), SLICE_LITERAL("same")));
    alias_table_free(table);
}

static void refuses_more_bytes_of_topics_than_the_bound(void **state)
{
    static uint8_t bytes[ALIAS_BYTES_MAX / 16 - 1];
    struct alias_table *table = alias_table_new(20);
    struct slice longest = slice_make(bytes, sizeof(bytes));

    (void)state;
    assert_non_null(table);
    for (uint16_t alias = 1; alias <= 16; alias++)
        assert_int_equal(alias_table_set(table, alias, longest), 0);
    assert_int_equal(alias_table_set(table, 17, SLICE_LITERAL("of sixteen bytes")), 0);
    assert_int_equal(alias_table_set(table, 18, SLICE_LITERAL("a")), -ENOSPC);
    assert_null(alias_table_get(table, 18).data);
    assert_int_equal(alias_table_set(table, 1, longest), 0); /* one goes, the other comes */
    assert_int_equal(alias_table_set(table, 1, SLICE_LITERAL("short")), 0);
    assert_int_equal(alias_table_set(table, 18, SLICE_LITERAL("a")), 0);
    alias_table_free(table);
}

static void a_topic_is_unknown_the_first_time_it_is_sent(void **state)
{
    struct alias_table *table = alias_table_new(ALIAS_OUT_MAX);
    bool known = true;

    (void)state;
    assert_non_null(table);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("a"), &known), 1);
    assert_false(known);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("b"), &known), 2);
    assert_false(known);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("a"), &known), 1);
    assert_true(known);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("b"), &known), 2);
    assert_true(known);
    alias_table_free(table);
}

static void the_oldest_alias_is_assigned_anew_when_all_are_used(void **state)
{
    struct alias_table *table = alias_table_new(3);
    char topic[8];
    bool known = true;

    (void)state;
    assert_non_null(table);
    for (uint16_t i = 0; i < 8; i++) {
        snprintf(topic, sizeof(topic), "t%u", i);
        assert_int_equal(alias_table_assign(table, slice_from_string(topic), &known), i % 3 + 1);
        assert_false(known);
    }
    /* The last three are known: 5, 6 and 7 have the aliases 3, 1 and 2. */
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("t5"), &known), 3);
    assert_true(known);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("t6"), &known), 1);
    assert_true(known);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("t4"), &known), 3);
    assert_false(known);
    alias_table_free(table);
}

static void a_single_alias_is_enough(void **state)
{
    struct alias_table *table = alias_table_new(1);
    bool known = true;

    (void)state;
    assert_non_null(table);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("a"), &known), 1);
    assert_false(known);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("a"), &known), 1);
    assert_true(known);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("b"), &known), 1);
    assert_false(known);
    assert_int_equal(alias_table_assign(table, SLICE_LITERAL("a"), &known), 1);
    assert_false(known);
    alias_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alias_means_the_topic_that_was_set_last),
        cmocka_unit_test(may_set_a_topic_from_its_own_memory),
        cmocka_unit_test(refuses_more_bytes_of_topics_than_the_bound),
        cmocka_unit_test(a_topic_is_unknown_the_first_time_it_is_sent),
        cmocka_unit_test(the_oldest_alias_is_assigned_anew_when_all_are_used),
        cmocka_unit_test(a_single_alias_is_enough),
    };

    return cmocka_run_group_tests_name("alias", tests, NULL, NULL);
}
