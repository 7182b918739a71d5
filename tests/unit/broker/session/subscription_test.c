/*
 * Behaviour of subscriptions: what the router knows of them, options, who gets a message and how.
 */
#include "session_fixture.h"

#include <stdio.h>

#include "mqtt/topic.h"

static uint32_t hits_of(struct fixture *fixture, const char *topic)
{
    struct router_hit hits[8];

    return router_match(fixture->host.router, slice_from_string(topic), hits, 8);
}

static void the_router_knows_the_first_and_forgets_the_last_subscriber(void **state)
{
    struct fixture *fixture = *state;
    struct subscription *one = fixture_subscribe(fixture_session(fixture, "a"), "t/+", 1);
    struct subscription *other;
    uint64_t version;

    assert_int_equal(hits_of(fixture, "t/x"), 1);
    version = router_version(fixture->host.router);
    other = fixture_subscribe(fixture_session(fixture, "b"), "t/+", 1);
    assert_ptr_equal(one->list, other->list);
    assert_true(slice_equal(subscription_filter(one), SLICE_LITERAL("t/+")));
    subscription_remove(one);
    assert_int_equal(router_version(fixture->host.router), version);
    assert_int_equal(hits_of(fixture, "t/x"), 1);
    subscription_remove(other);
    assert_int_equal(hits_of(fixture, "t/x"), 0);
    assert_int_equal(fixture->host.filters.count, 0);
}

static void subscribing_again_changes_the_options(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct mqtt_shared_filter filter = {.filter = SLICE_LITERAL("t")};
    struct mqtt_subscription_options options = {.qos = 1};
    struct subscription *subscription;
    bool is_new = false;

    assert_null(subscription_find(session, &filter));
    assert_int_equal(subscription_add(session, &filter, &options, 0, &is_new), 0);
    assert_true(is_new);
    options = (struct mqtt_subscription_options){
        .qos = 2, .no_local = true, .retain_as_published = true, .retain_handling = 2};
    assert_int_equal(subscription_add(session, &filter, &options, 77, &is_new), 0);
    assert_false(is_new);
    assert_int_equal(session->subscriptions.count, 1);
    subscription = subscription_find(session, &filter);
    assert_non_null(subscription);
    assert_int_equal(subscription->qos, 2);
    assert_int_equal(subscription->retain_handling, 2);
    assert_int_equal(subscription->subscription_id, 77);
    assert_true(subscription->no_local);
    assert_true(subscription->retain_as_published);
}

static void a_filter_and_its_shared_form_are_different_subscriptions(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *plain = fixture_subscribe(session, "t", 0),
                        *shared = fixture_subscribe(session, "$share/g/t", 0);
    struct subscription *other_group = fixture_subscribe(session, "$share/h/t", 0);
    struct subscription *queue = fixture_subscribe(session, "$queue/t", 0);

    assert_int_equal(session->subscriptions.count, 4);
    assert_false(plain->is_shared);
    assert_true(shared->is_shared);
    assert_ptr_not_equal(shared, other_group);
    assert_ptr_not_equal(shared, queue);
    assert_int_equal(hits_of(*state, "t"), 4);
    subscription_remove(shared);
    assert_int_equal(hits_of(*state, "t"), 3);
    assert_ptr_equal(fixture_subscribe(session, "$queue/t", 0), queue);
    assert_ptr_equal(fixture_subscribe(session, "t", 0), plain);
}

static void finds_each_of_many_subscriptions_after_removals(void **state)
{
    enum { COUNT = 200 };
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c"), *other = fixture_session(fixture, "d");
    struct subscription *subscriptions[COUNT];
    char filter[32];

    for (int i = 0; i < COUNT; i++) {
        snprintf(filter, sizeof(filter), i % 3 == 0 ? "$share/g/f/%d" : "f/%d", i);
        subscriptions[i] = fixture_subscribe(session, filter, 1);
        if (i % 2 == 0)
            fixture_subscribe(other, filter, 1);
    }
    for (int i = 0; i < COUNT; i += 4)
        subscription_remove(subscriptions[i]);
    for (int i = 0; i < COUNT; i++) {
        struct mqtt_shared_filter parsed;
        snprintf(filter, sizeof(filter), i % 3 == 0 ? "$share/g/f/%d" : "f/%d", i);
        assert_true(mqtt_shared_filter_parse(slice_from_string(filter), &parsed));
        assert_ptr_equal(subscription_find(session, &parsed), i % 4 == 0 ? NULL : subscriptions[i]);
    }
    assert_int_equal(session->subscriptions.count, COUNT - COUNT / 4);
}

static void the_granted_qos_is_the_lower_one_unless_the_zone_upgrades(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *zero = fixture_subscribe(session, "zero", 0), *two = fixture_subscribe(session, "two", 2);
    struct peer peer;

    fixture_connect(session, &peer, 100);
    fixture_deliver(fixture, zero, "a", 2);
    fixture_deliver(fixture, two, "b", 0);
    fixture_deliver(fixture, two, "c", 1);
    fixture_deliver(fixture, two, "d", 2);
    ASSERT_SENT(&peer, "a0 b0 c1:1 d2:2");
    fixture->zone.session.upgrade_qos = true;
    fixture_deliver(fixture, zero, "e", 2);
    fixture_deliver(fixture, two, "f", 0);
    ASSERT_SENT(&peer, "e2:3 f2:4");
}

static struct subscription *subscribe_with(struct session *session, const char *filter,
                                           struct mqtt_subscription_options options, uint32_t subscription_id)
{
    struct mqtt_shared_filter parsed;
    bool is_new;

    assert_true(mqtt_shared_filter_parse(slice_from_string(filter), &parsed));
    assert_int_equal(subscription_add(session, &parsed, &options, subscription_id, &is_new), 0);
    return subscription_find(session, &parsed);
}

static void retain_is_kept_only_for_retain_as_published(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *plain = subscribe_with(session, "t", (struct mqtt_subscription_options){.qos = 0}, 5);
    struct subscription *kept = subscribe_with(session, "#",
                                               (struct mqtt_subscription_options){.retain_as_published = true}, 0);
    struct peer peer;

    fixture_connect(session, &peer, 10);
    fixture_deliver_take(fixture, plain, make_retained("t", "a", 0, fixture->now_ms));
    fixture_deliver_take(fixture, kept, make_retained("t", "b", 0, fixture->now_ms));
    fixture_deliver(fixture, kept, "c", 0);
    ASSERT_SENT(&peer, "a0#5 b0r c0");
}

static void no_local_leaves_out_ones_own_messages(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "publisher");
    struct subscription *subscription = subscribe_with(session, "t",
                                                       (struct mqtt_subscription_options){.no_local = true}, 0);
    struct message_options of_another = {
        .topic = SLICE_LITERAL("t"), .payload = SLICE_LITERAL("other"), .client_id = SLICE_LITERAL("another")};
    struct message *own = make_message("t", "own", 0, fixture->now_ms), *other = message_new(&of_another);
    struct peer peer;

    fixture_connect(session, &peer, 10);
    fixture_deliver_take(fixture, subscription, own);
    assert_non_null(other);
    fixture_deliver_take(fixture, subscription, other);
    ASSERT_SENT(&peer, "other0");
}

static void every_subscriber_of_a_list_gets_the_message(void **state)
{
    struct fixture *fixture = *state;
    struct message *message = make_message("t", "a", 1, fixture->now_ms);
    struct subscription *subscription = NULL;
    struct session *sessions[5];
    struct peer peers[5];

    for (int i = 0; i < 5; i++) {
        sessions[i] = fixture_session(fixture, (char[]){(char)('a' + i), '\0'});
        subscription = fixture_subscribe(sessions[i], "t", (uint8_t)(i % 2));
        fixture_connect(sessions[i], &peers[i], 10);
    }
    fixture_deliver_take(fixture, subscription, message_ref(message));
    for (int i = 0; i < 5; i++)
        ASSERT_SENT(&peers[i], i % 2 == 0 ? "a0" : "a1:1");
    assert_int_equal(refs_of(message), 1 + 2); /* kept by those of QoS 1 */
    message_unref(message);
}

static void a_shared_member_without_room_hands_on_if_asked_to(void **state)
{
    struct fixture *fixture = *state;
    struct session *one = fixture_session(fixture, "a"), *other = fixture_session(fixture, "b");
    struct subscription *member = fixture_subscribe(one, "$share/g/t", 1);
    struct message *message = make_message("t", "m", 1, fixture->now_ms);
    struct peer peer;

    fixture_subscribe(other, "$share/g/t", 1);
    /* Not connected: no room. */
    shared_target_deliver(&fixture->host, member->shared, message, true, 0);
    ASSERT_HOST(fixture, "next:m:1");
    assert_int_equal(fixture->host.refs_taken, 0);
    fixture_connect(one, &peer, 1);
    shared_target_deliver(&fixture->host, member->shared, message, true, 0);
    ASSERT_SENT(&peer, "m1:1");
    assert_int_equal(fixture->host.refs_taken, 1);
    /* The window is full now. */
    shared_target_deliver(&fixture->host, member->shared, message, true, 0);
    ASSERT_HOST(fixture, "next:m:1");
    /* Everybody was asked: the last one keeps it. */
    shared_target_deliver(&fixture->host, member->shared, message, true, 1);
    ASSERT_HOST(fixture, "");
    assert_int_equal(queued(one), 1);
    assert_int_equal(fixture->host.refs_taken, 2);
    message_ref_many(message, 2);
    fixture->host.refs_taken = 0;
    message_unref(message);
}

static void a_delivery_for_a_member_that_left_goes_to_its_group(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "a");
    struct subscription *subscription = fixture_subscribe(session, "$share/g/t/#", 1);
    struct shared_target *target = subscription->shared; /* as a picker of another worker has it */
    struct message *message = make_message("t/x", "m", 1, fixture->now_ms);

    subscription_remove(subscription);
    shared_target_deliver(&fixture->host, target, message, false, 0);
    ASSERT_HOST(fixture, "again:g/t/#:m");
    assert_int_equal(fixture->host.refs_taken, 0);
    message_unref(message);
}

static void a_delivery_for_a_list_that_ended_reaches_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "a");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct subscriber_list *list = subscription->list;
    struct message *message = make_message("t", "m", 1, fixture->now_ms);

    subscription_remove(subscription);
    subscriber_list_deliver(&fixture->host, list, message);
    assert_int_equal(fixture->host.refs_taken, 0);
    message_unref(message);
}

static void pickers_see_who_is_connected(void **state)
{
    struct session *session = fixture_session(*state, "a");
    struct subscription *subscription = fixture_subscribe(session, "$share/g/t", 1);
    struct peer peer;

    assert_false(subscription->shared->member.online);
    fixture_connect(session, &peer, 1);
    assert_true(subscription->shared->member.online);
    assert_true(fixture_subscribe(session, "$share/h/t", 1)->shared->member.online);
    session_detach(session, false);
    assert_false(subscription->shared->member.online);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_router_knows_the_first_and_forgets_the_last_subscriber),
        TEST(subscribing_again_changes_the_options),
        TEST(a_filter_and_its_shared_form_are_different_subscriptions),
        TEST(finds_each_of_many_subscriptions_after_removals),
        TEST(the_granted_qos_is_the_lower_one_unless_the_zone_upgrades),
        TEST(retain_is_kept_only_for_retain_as_published),
        TEST(no_local_leaves_out_ones_own_messages),
        TEST(every_subscriber_of_a_list_gets_the_message),
        TEST(a_shared_member_without_room_hands_on_if_asked_to),
        TEST(a_delivery_for_a_member_that_left_goes_to_its_group),
        TEST(a_delivery_for_a_list_that_ended_reaches_nobody),
        TEST(pickers_see_who_is_connected),
    };

    return cmocka_run_group_tests_name("subscription", tests, NULL, NULL);
}
