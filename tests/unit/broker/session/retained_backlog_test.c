/*
 * Behaviour of the retained messages that wait to be sent to one subscriber.
 */
#include "../message_fixture.h"

#include "broker/session/retained_backlog.h"

static void gives_them_in_order_and_goes_with_the_last(void **state)
{
    struct message *message = make_retained("t", "p", 1, 0);
    struct retained_backlog *backlog = NULL;
    struct delivery_item item;

    (void)state;
    assert_false(retained_backlog_peek(backlog, &item));
    for (uint32_t i = 0; i < 1000; i++) {
        item = (struct delivery_item){.message = message_ref(message), .subscription_id = i, .qos = (uint8_t)(i % 3)};
        assert_int_equal(retained_backlog_push_take(&backlog, &item), 0);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(retained_backlog_peek(backlog, &item));
        assert_ptr_equal(item.message, message);
        assert_int_equal(item.subscription_id, i);
        assert_int_equal(item.qos, i % 3);
        assert_true(item.retain);
        assert_false(item.shared);
        retained_backlog_pop(&backlog);
        message_unref(item.message);
    }
    assert_null(backlog);
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
}

static void drops_what_is_left(void **state)
{
    struct message *message = make_retained("t", "p", 1, 0);
    struct retained_backlog *backlog = NULL;

    (void)state;
    retained_backlog_free(NULL);
    for (int i = 0; i < 20; i++) {
        struct delivery_item item = {.message = message_ref(message), .qos = 1};
        assert_int_equal(retained_backlog_push_take(&backlog, &item), 0);
    }
    for (int i = 0; i < 5; i++) {
        retained_backlog_pop(&backlog);
        message_unref(message);
    }
    retained_backlog_free(backlog);
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_them_in_order_and_goes_with_the_last),
        cmocka_unit_test(drops_what_is_left),
    };

    return cmocka_run_group_tests_name("retained_backlog", tests, NULL, NULL);
}
