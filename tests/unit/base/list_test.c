/*
 * Behaviour of the intrusive list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
    int number;
    struct list node;
};

static void assert_numbers(struct list *list, const char *digits)
{
    LIST_EACH(list, node)
    {
        assert_int_equal(LIST_ENTRY(node, struct item, node)->number, *digits - '0');
        digits++;
    }
    assert_int_equal(*digits, '\0');
}

static void keeps_the_order_of_insertion(void **state)
{
    struct item items[4];
    struct list list;

    (void)state;
    list_init(&list);
    assert_true(list_empty(&list));
    assert_null(list_first(&list));
    assert_null(list_last(&list));
    for (int i = 0; i < 4; i++)
        items[i].number = i;
    list_append(&list, &items[1].node);
    list_append(&list, &items[3].node);
    list_prepend(&list, &items[0].node);
    list_insert_before(&items[3].node, &items[2].node);
    assert_numbers(&list, "0123");
    assert_ptr_equal(list_first(&list), &items[0].node);
    assert_ptr_equal(list_last(&list), &items[3].node);
}

static void removes_a_node_also_twice(void **state)
{
    struct item items[3];
    struct list list;

    (void)state;
    list_init(&list);
    for (int i = 0; i < 3; i++) {
        items[i].number = i;
        list_append(&list, &items[i].node);
    }
    list_remove(&items[1].node);
    list_remove(&items[1].node);
    assert_true(list_empty(&items[1].node));
    assert_numbers(&list, "02");
}

static void lets_a_walk_remove_the_node_it_is_at(void **state)
{
    struct item items[5];
    struct list list;

    (void)state;
    list_init(&list);
    for (int i = 0; i < 5; i++) {
        items[i].number = i;
        list_append(&list, &items[i].node);
    }
    LIST_EACH(&list, node)
    {
        if (LIST_ENTRY(node, struct item, node)->number % 2 == 0)
            list_remove(node);
    }
    assert_numbers(&list, "13");
}

static void splices_one_list_behind_another(void **state)
{
    struct item items[4];
    struct list left;
    struct list right;

    (void)state;
    list_init(&left);
    list_init(&right);
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_append(i < 2 ? &left : &right, &items[i].node);
    }
    list_splice(&left, &right);
    assert_numbers(&left, "0123");
    assert_true(list_empty(&right));
    list_splice(&left, &right);
    assert_numbers(&left, "0123");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order_of_insertion),
        cmocka_unit_test(removes_a_node_also_twice),
        cmocka_unit_test(lets_a_walk_remove_the_node_it_is_at),
        cmocka_unit_test(splices_one_list_behind_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
