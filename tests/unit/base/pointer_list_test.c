/*
 * Behaviour of the pointer list: one element without memory, many with, removal in constant time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pointer_list.h"

#include <stdbool.h>

struct item {
    uint32_t index; /* in the list, as its owner keeps it */
    bool in;
};

static void add(struct pointer_list *list, struct item *item)
{
    item->index = list->count;
    assert_int_equal(pointer_list_add(list, item), 0);
    item->in = true;
}

static void take_out(struct pointer_list *list, struct item *item)
{
    struct item *moved = pointer_list_remove(list, item->index);

    if (moved != NULL)
        moved->index = item->index;
    item->in = false;
}

static void keeps_a_single_element_without_memory(void **state)
{
    struct pointer_list list = {0};
    struct item item;

    (void)state;
    add(&list, &item);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.capacity, 0);
    assert_ptr_equal(pointer_list_get(&list, 0), &item);
    assert_ptr_equal(pointer_list_items(&list)[0], &item);
    assert_null(pointer_list_remove(&list, 0));
    assert_int_equal(list.count, 0);
    assert_int_equal(list.capacity, 0);
}

static void keeps_the_order_of_adding(void **state)
{
    struct pointer_list list = {0};
    struct item items[100];

    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        add(&list, &items[i]);
    assert_int_equal(list.count, 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_ptr_equal(pointer_list_get(&list, i), &items[i]);
    pointer_list_fini(&list);
    assert_int_equal(list.count, 0);
}

static void moves_the_last_element_into_the_gap(void **state)
{
    struct pointer_list list = {0};
    struct item items[3];

    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        add(&list, &items[i]);
    assert_ptr_equal(pointer_list_remove(&list, 0), &items[2]);
    assert_ptr_equal(pointer_list_get(&list, 0), &items[2]);
    assert_ptr_equal(pointer_list_get(&list, 1), &items[1]);
    assert_null(pointer_list_remove(&list, 1)); /* it was the last one */
    assert_int_equal(list.count, 1);
    pointer_list_fini(&list);
}

static void gives_its_memory_back_with_the_last_element(void **state)
{
    struct pointer_list list = {0};
    struct item items[2];

    (void)state;
    add(&list, &items[0]);
    add(&list, &items[1]);
    assert_true(list.capacity > 0);
    take_out(&list, &items[0]);
    take_out(&list, &items[1]);
    assert_int_equal(list.capacity, 0);
    add(&list, &items[1]); /* and is usable again, without memory */
    assert_int_equal(list.capacity, 0);
    assert_ptr_equal(pointer_list_get(&list, 0), &items[1]);
}

static void finds_every_element_at_its_index_after_any_removals(void **state)
{
    enum { COUNT = 64 };
    struct pointer_list list = {0};
    struct item items[COUNT] = {0};
    uint32_t random = 12345, in = 0;

    (void)state;
    for (int step = 0; step < 20000; step++) {
        struct item *item;
        random = random * 1664525u + 1013904223u;
        item = &items[(random >> 16) % COUNT];
        if (item->in) {
            take_out(&list, item);
            in--;
        } else {
            add(&list, item);
            in++;
        }
        assert_int_equal(list.count, in);
        for (uint32_t i = 0; i < COUNT; i++)
            assert_true(!items[i].in || pointer_list_get(&list, items[i].index) == &items[i]);
    }
    pointer_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_a_single_element_without_memory),
        cmocka_unit_test(keeps_the_order_of_adding),
        cmocka_unit_test(moves_the_last_element_into_the_gap),
        cmocka_unit_test(gives_its_memory_back_with_the_last_element),
        cmocka_unit_test(finds_every_element_at_its_index_after_any_removals),
    };

    return cmocka_run_group_tests_name("pointer_list", tests, NULL, NULL);
}
