/*
 * Behaviour of the message queue: order, priorities, what is dropped when it is full, expiry.
 */
#include "../message_fixture.h"

#include <stdio.h>

#include "broker/session/mqueue.h"
#include "broker/session/mqueue_internal.h"
#include "broker/zone.h"

static const struct zone_session three = {.max_mqueue_len = 3};
static const struct zone_session unlimited = {.max_mqueue_len = 0};

/* Puts a message in, whose only reference the queue then has. */
static void push_message(struct mqueue *queue, const struct zone_session *settings, struct message *message,
                         uint64_t now_ms, const char *dropped_payload, uint32_t expired_count)
{
    struct delivery_item item = {.message = message, .qos = message->qos}, dropped;
    uint32_t expired = 99;

    assert_int_equal(mqueue_push_take(queue, settings, &item, now_ms, &dropped, &expired), 0);
    assert_int_equal(expired, expired_count);
    if (dropped_payload == NULL) {
        assert_null(dropped.message);
        return;
    }
    assert_non_null(dropped.message);
    assert_true(slice_equal(message_payload(dropped.message), slice_from_string(dropped_payload)));
    message_unref(dropped.message);
}

static void push(struct mqueue *queue, const struct zone_session *settings, const char *topic, const char *payload)
{
    push_message(queue, settings, make_message(topic, payload, 1, 0), 0, NULL, 0);
}

static void expect(struct mqueue *queue, const char *payload)
{
    struct delivery_item item;

    assert_true(mqueue_peek(queue, &item));
    assert_true(slice_equal(message_payload(item.message), slice_from_string(payload)));
    mqueue_pop(queue);
    message_unref(item.message);
}

static void expect_empty(struct mqueue *queue)
{
    struct delivery_item item;

    assert_false(mqueue_peek(queue, &item));
    assert_int_equal(queue->count, 0);
    assert_int_equal(queue->qos0_count, 0);
}

static void gives_messages_in_the_order_they_came(void **state)
{
    struct mqueue queue = {0};
    char payload[16];

    (void)state;
    expect_empty(&queue);
    for (int round = 0; round < 3; round++) { /* the ring goes round */
        for (int i = 0; i < 100; i++) {
            snprintf(payload, sizeof(payload), "%d", i);
            push(&queue, &unlimited, "t", payload);
        }
        for (int i = 0; i < 100; i++) {
            snprintf(payload, sizeof(payload), "%d", i);
            expect(&queue, payload);
        }
        expect_empty(&queue);
    }
    mqueue_fini(&queue);
}

static void keeps_what_the_subscription_made_of_it(void **state)
{
    struct mqueue queue = {0};
    struct delivery_item item = {.message = make_message("t", "p", 2, 0),
                                 .subscription_id = 268435455,
                                 .qos = 2,
                                 .retain = true,
                                 .share_number = 0xFEDCBA98};
    struct delivery_item dropped, found;
    uint32_t expired;

    (void)state;
    assert_int_equal(mqueue_push_take(&queue, &unlimited, &item, 0, &dropped, &expired), 0);
    assert_true(mqueue_peek(&queue, &found));
    assert_ptr_equal(found.message, item.message);
    assert_int_equal(found.subscription_id, 268435455);
    assert_int_equal(found.qos, 2);
    assert_true(found.retain);
    assert_int_equal(found.share_number, 0xFEDCBA98);
    mqueue_fini(&queue);
}

/* Every third one comes through nothing in particular. */
static uint32_t subscription_id_of(uint32_t number)
{
    return number % 3 == 0 ? 0 : number;
}

static uint32_t share_number_of(uint32_t number)
{
    return number % 3 == 2 ? UINT32_MAX - number : 0;
}

/* With a message that is in the queue alone, and expires after a second when `expires`. */
static struct delivery_item numbered_item(uint32_t number, bool expires)
{
    return (struct delivery_item){
        .message = expires ? make_expiring("t", "p", 1, 0, 1) : make_message("t", "p", 1, 0),
        .sequence = number,
        .subscription_id = subscription_id_of(number),
        .share_number = share_number_of(number),
        .qos = 1,
    };
}

static void push_numbered(struct mqueue *queue, const struct zone_session *settings, uint32_t number, uint32_t dropped)
{
    struct delivery_item item = numbered_item(number, false), gone;
    uint32_t expired;

    assert_int_equal(mqueue_push_take(queue, settings, &item, 0, &gone, &expired), 0);
    assert_int_equal(gone.sequence, dropped);
    if (dropped == 0)
        return;
    assert_int_equal(gone.subscription_id, subscription_id_of(dropped));
    assert_int_equal(gone.share_number, share_number_of(dropped));
    message_unref(gone.message);
}

static void expect_numbered(struct mqueue *queue, uint32_t number)
{
    struct delivery_item item;

    assert_true(mqueue_peek(queue, &item));
    assert_int_equal(item.sequence, number);
    assert_int_equal(item.subscription_id, subscription_id_of(number));
    assert_int_equal(item.share_number, share_number_of(number));
    mqueue_pop(queue);
    message_unref(item.message);
}

static void ignore(struct mqueue *queue, const struct delivery_item *item)
{
    (void)queue;
    (void)item;
}

static void each_message_keeps_its_subscription_wherever_it_moves(void **state)
{
    struct mqueue queue = {.forget = ignore};
    uint32_t next = 1, first = 1;

    (void)state;
    for (int round = 0; round < 20; round++) { /* the ring goes round, grows, and is trimmed */
        for (int i = 0; i < 7; i++)
            push_numbered(&queue, &unlimited, next++, 0);
        for (int i = 0; i < 5; i++)
            expect_numbered(&queue, first++);
        if (round % 4 == 3)
            mqueue_trim(&queue, MQUEUE_TRIM_ALL);
    }
    while (first < next)
        expect_numbered(&queue, first++);
    expect_empty(&queue);
    mqueue_fini(&queue);
}

static void what_is_pushed_out_from_behind_sent_ones_takes_its_subscription_along(void **state)
{
    static const struct zone_session two = {.max_mqueue_len = 2};
    struct mqueue queue = {.forget = ignore};

    (void)state;
    for (uint32_t number = 5; number > 3; number--) { /* back from the window */
        struct delivery_item sent = numbered_item(number, false);
        sent.sent = true;
        assert_int_equal(mqueue_push_front_take(&queue, &two, &sent), 0);
    }
    push_numbered(&queue, &two, 7, 0);
    push_numbered(&queue, &two, 8, 0);
    push_numbered(&queue, &two, 9, 7);
    push_numbered(&queue, &two, 10, 8);
    for (uint32_t number = 4; number <= 10; number++) {
        if (number < 6 || number > 8)
            expect_numbered(&queue, number);
    }
    expect_empty(&queue);
    mqueue_fini(&queue);
}

static void subscriptions_stay_with_what_a_purge_leaves(void **state)
{
    struct mqueue queue = {.forget = ignore};
    struct delivery_item dropped;
    uint32_t expired;

    (void)state;
    for (uint32_t number = 1; number <= 12; number++) {
        struct delivery_item item = numbered_item(number, number % 4 < 2);
        assert_int_equal(mqueue_push_take(&queue, &unlimited, &item, 0, &dropped, &expired), 0);
    }
    assert_int_equal(mqueue_purge(&queue, 5000), 6);
    for (uint32_t number = 1; number <= 12; number++) {
        if (number % 4 >= 2)
            expect_numbered(&queue, number);
    }
    expect_empty(&queue);
    mqueue_fini(&queue);
}

static void room_for_subscriptions_is_made_when_one_comes(void **state)
{
    struct mqueue queue = {0};

    (void)state;
    for (int i = 0; i < 3; i++)
        push(&queue, &unlimited, "t", "p");
    assert_false(queue.classes[0].has_origins);
    push_numbered(&queue, &unlimited, 1, 0); /* where there is room for messages still */
    assert_true(queue.classes[0].has_origins);
    for (int i = 0; i < 3; i++)
        expect_numbered(&queue, 0);
    queue.forget = ignore;
    expect_numbered(&queue, 1);
    mqueue_fini(&queue);
}

static void gives_free_places_back(void **state)
{
    struct mqueue queue = {0};

    (void)state;
    for (int i = 0; i < 20; i++)
        push(&queue, &unlimited, "t", "p");
    uint32_t capacity = queue.classes[0].capacity;
    mqueue_trim(&queue, MQUEUE_TRIM_FREE);
    assert_int_equal(queue.classes[0].capacity, capacity); /* not worth it */
    mqueue_trim(&queue, MQUEUE_TRIM_ALL);
    assert_int_equal(queue.classes[0].capacity, 20);
    for (int i = 0; i < 17; i++)
        expect(&queue, "p");
    mqueue_trim(&queue, MQUEUE_TRIM_FREE);
    assert_int_equal(queue.classes[0].capacity, 3);
    push(&queue, &unlimited, "t", "q");
    for (int i = 0; i < 3; i++)
        expect(&queue, "p");
    expect(&queue, "q");
    mqueue_trim(&queue, MQUEUE_TRIM_FREE);
    assert_null(queue.classes);
    expect_empty(&queue);
}

static void a_full_queue_pushes_out_its_oldest(void **state)
{
    struct mqueue queue = {0};

    (void)state;
    push(&queue, &three, "t", "1");
    push(&queue, &three, "t", "2");
    push(&queue, &three, "t", "3");
    push_message(&queue, &three, make_message("t", "4", 1, 0), 0, "1", 0);
    push_message(&queue, &three, make_message("t", "5", 1, 0), 0, "2", 0);
    assert_int_equal(queue.count, 3);
    expect(&queue, "3");
    expect(&queue, "4");
    expect(&queue, "5");
    expect_empty(&queue);
    mqueue_fini(&queue);
}

static void a_queue_of_one_holds_the_newest(void **state)
{
    static const struct zone_session one = {.max_mqueue_len = 1};
    struct mqueue queue = {0};

    (void)state;
    push(&queue, &one, "t", "1");
    push_message(&queue, &one, make_message("t", "2", 1, 0), 0, "1", 0);
    push_message(&queue, &one, make_message("t", "3", 0, 0), 0, "2", 0);
    assert_int_equal(queue.qos0_count, 1);
    expect(&queue, "3");
    expect_empty(&queue);
    mqueue_fini(&queue);
}

static void expired_messages_go_before_live_ones(void **state)
{
    struct mqueue queue = {0};

    (void)state;
    push_message(&queue, &three, make_expiring("t", "1", 1, 0, 1), 0, NULL, 0);
    push_message(&queue, &three, make_message("t", "2", 1, 0), 0, NULL, 0);
    push_message(&queue, &three, make_expiring("t", "3", 1, 0, 1), 0, NULL, 0);
    push_message(&queue, &three, make_message("t", "4", 1, 0), 5000, NULL, 2);
    expect(&queue, "2");
    expect(&queue, "4");
    expect_empty(&queue);
    mqueue_fini(&queue);
}

static void purges_what_has_expired(void **state)
{
    struct mqueue queue = {0};

    (void)state;
    push_message(&queue, &unlimited, make_expiring("t", "1", 0, 0, 1), 0, NULL, 0);
    push_message(&queue, &unlimited, make_expiring("t", "2", 1, 0, 60), 0, NULL, 0);
    push_message(&queue, &unlimited, make_message("t", "3", 0, 0), 0, NULL, 0);
    push_message(&queue, &unlimited, make_expiring("t", "4", 2, 0, 1), 0, NULL, 0);
    assert_int_equal(mqueue_purge(&queue, 1000), 0);
    assert_int_equal(mqueue_purge(&queue, 1001), 2);
    assert_int_equal(queue.count, 2);
    assert_int_equal(queue.qos0_count, 1);
    expect(&queue, "2");
    expect(&queue, "3");
    expect_empty(&queue);
    mqueue_fini(&queue);
}

static char high_topic[] = "high", low_topic[] = "low";
static struct mqueue_priority table[] = {{high_topic, 255}, {low_topic, 1}};

static void the_highest_priority_goes_first(void **state)
{
    struct zone_session settings = {.mqueue_priorities = table, .mqueue_priority_count = 2};
    struct mqueue queue = {0};

    (void)state;
    push(&queue, &settings, "other", "other 1");
    push(&queue, &settings, "low", "low 1");
    push(&queue, &settings, "high", "high 1");
    push(&queue, &settings, "other", "other 2");
    push(&queue, &settings, "high", "high 2");
    expect(&queue, "high 1");
    push(&queue, &settings, "high", "high 3");
    expect(&queue, "high 2");
    expect(&queue, "high 3");
    expect(&queue, "low 1");
    expect(&queue, "other 1");
    expect(&queue, "other 2");
    expect_empty(&queue);
    mqueue_fini(&queue);
}

static void topics_without_priority_go_first_if_the_zone_says_so(void **state)
{
    struct zone_session settings = {
        .mqueue_priorities = table, .mqueue_priority_count = 2, .mqueue_default_highest = true};
    struct mqueue queue = {0};

    (void)state;
    push(&queue, &settings, "high", "high");
    push(&queue, &settings, "other", "other");
    expect(&queue, "other");
    expect(&queue, "high");
    mqueue_fini(&queue);
}

static void each_priority_has_a_limit_of_its_own(void **state)
{
    struct zone_session settings = {.max_mqueue_len = 2, .mqueue_priorities = table, .mqueue_priority_count = 2};
    struct mqueue queue = {0};

    (void)state;
    push(&queue, &settings, "low", "low 1");
    push(&queue, &settings, "low", "low 2");
    push(&queue, &settings, "high", "high 1");
    push(&queue, &settings, "high", "high 2");
    push_message(&queue, &settings, make_message("high", "high 3", 1, 0), 0, "high 1", 0);
    assert_int_equal(queue.count, 4);
    expect(&queue, "high 2");
    expect(&queue, "high 3");
    expect(&queue, "low 1");
    expect(&queue, "low 2");
    mqueue_fini(&queue);
}

static void drops_what_it_holds_in_the_end(void **state)
{
    struct message *message = make_message("t", "p", 1, 0);
    struct mqueue queue = {0};

    (void)state;
    push_message(&queue, &unlimited, message_ref(message), 0, NULL, 0);
    push_message(&queue, &unlimited, message_ref(message), 0, NULL, 0);
    assert_int_equal(refs_of(message), 3);
    mqueue_fini(&queue);
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_messages_in_the_order_they_came),
        cmocka_unit_test(keeps_what_the_subscription_made_of_it),
        cmocka_unit_test(each_message_keeps_its_subscription_wherever_it_moves),
        cmocka_unit_test(what_is_pushed_out_from_behind_sent_ones_takes_its_subscription_along),
        cmocka_unit_test(subscriptions_stay_with_what_a_purge_leaves),
        cmocka_unit_test(room_for_subscriptions_is_made_when_one_comes),
        cmocka_unit_test(gives_free_places_back),
        cmocka_unit_test(a_full_queue_pushes_out_its_oldest),
        cmocka_unit_test(a_queue_of_one_holds_the_newest),
        cmocka_unit_test(expired_messages_go_before_live_ones),
        cmocka_unit_test(purges_what_has_expired),
        cmocka_unit_test(the_highest_priority_goes_first),
        cmocka_unit_test(topics_without_priority_go_first_if_the_zone_says_so),
        cmocka_unit_test(each_priority_has_a_limit_of_its_own),
        cmocka_unit_test(drops_what_it_holds_in_the_end),
    };

    return cmocka_run_group_tests_name("mqueue", tests, NULL, NULL);
}
