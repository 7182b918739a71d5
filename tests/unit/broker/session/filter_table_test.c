/*
 * Behaviour of the table of subscriber lists, whose chains cross each other when it is nearly full.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/session/filter_table.h"
#include "broker/session/subscription.h"

static struct subscriber_list *make_list(const char *filter)
{
    size_t len = strlen(filter);
    struct subscriber_list *list = calloc(1, sizeof(*list) + len);

    assert_non_null(list);
    list->filter_len = (uint16_t)len;
    memcpy(list->filter, filter, len);
    return list;
}

static void tells_filters_apart(void **state)
{
    struct filter_table table = {0};
    struct subscriber_list *one = make_list("a/+"), *other = make_list("b/#");

    (void)state;
    assert_null(filter_table_find(&table, SLICE_LITERAL("a/+")));
    assert_int_equal(filter_table_add(&table, one), 0);
    assert_null(filter_table_find(&table, SLICE_LITERAL("b/#")));
    assert_int_equal(filter_table_add(&table, other), 0);
    assert_ptr_equal(filter_table_find(&table, SLICE_LITERAL("a/+")), one);
    assert_ptr_equal(filter_table_find(&table, SLICE_LITERAL("b/#")), other);
    assert_null(filter_table_find(&table, SLICE_LITERAL("a/#")));
    filter_table_remove(&table, one);
    assert_null(filter_table_find(&table, SLICE_LITERAL("a/+")));
    assert_ptr_equal(filter_table_find(&table, SLICE_LITERAL("b/#")), other);
    filter_table_remove(&table, other);
    assert_int_equal(table.count, 0);
    filter_table_fini(&table);
    free(one);
    free(other);
}

/* The table's seed differs from run to run, and so do the chains; at two thirds full they are long enough. */
static void finds_what_is_there_after_any_removals(void **state)
{
    enum { COUNT = 200 };
    struct subscriber_list *lists[COUNT];
    bool in[COUNT] = {false};
    struct filter_table table = {0};
    uint32_t random = 31337, count = 0;

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        char filter[16];
        snprintf(filter, sizeof(filter), "f/%u", i);
        lists[i] = make_list(filter);
    }
    for (int step = 0; step < 5000; step++) {
        random = random * 1664525u + 1013904223u;
        uint32_t i = (random >> 16) % COUNT;
        if (in[i])
            filter_table_remove(&table, lists[i]);
        else
            assert_int_equal(filter_table_add(&table, lists[i]), 0);
        in[i] = !in[i];
        count = in[i] ? count + 1 : count - 1;
        assert_int_equal(table.count, count);
        for (uint32_t j = 0; j < COUNT; j += 3) {
            struct slice filter = slice_make(lists[j]->filter, lists[j]->filter_len);
            assert_ptr_equal(filter_table_find(&table, filter), in[j] ? lists[j] : NULL);
        }
    }
    filter_table_fini(&table);
    for (uint32_t i = 0; i < COUNT; i++)
        free(lists[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_filters_apart),
        cmocka_unit_test(finds_what_is_there_after_any_removals),
    };

    return cmocka_run_group_tests_name("filter_table", tests, NULL, NULL);
}
