/*
 * Behaviour of a session's life: connections that come and go, expiry, the will, the end.
 */
#include "session_fixture.h"

#include <stdio.h>

#include "broker/session/absence.h"

static uint64_t registered_count(struct fixture *fixture)
{
    return rcu_table_count(fixture->host.registry);
}

static void connect_with_will(struct fixture *fixture, struct session *session, struct peer *peer, const char *will,
                              uint32_t will_delay_s, uint32_t expiry_interval_s)
{
    fixture_connect_with(session, peer,
                         (struct session_attach_options){
                             .will = will == NULL ? NULL : make_message("will", will, 1, fixture->now_ms),
                             .will_delay_s = will_delay_s,
                             .expiry_interval_s = expiry_interval_s,
                             .window = 10,
                             .version = MQTT_V5,
                         });
}

static void a_session_without_expiry_ends_with_its_connection(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    fixture_subscribe(session, "t", 1);
    connect_with_will(fixture, session, &peer, NULL, 0, 0);
    assert_ptr_equal(peer.link.session, session);
    assert_int_equal(registered_count(fixture), 1);
    session_detach(session, true);
    assert_null(peer.link.session);
    assert_int_equal(registered_count(fixture), 0);
    assert_int_equal(fixture->host.session_count, 0);
    assert_int_equal(fixture->host.filters.count, 0);
    ASSERT_SENT(&peer, ""); /* ending is not closing */
}

static void a_session_ends_when_its_expiry_has_passed(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, NULL, 0, 10);
    fixture_pass(fixture, 60000); /* not while it is connected */
    session_detach(session, true);
    fixture_pass(fixture, 9999);
    assert_int_equal(registered_count(fixture), 1);
    fixture_pass(fixture, 1 + TIMER_WHEEL_TICK_MS);
    assert_int_equal(registered_count(fixture), 0);
    assert_int_equal(fixture->host.session_count, 0);
}

static void coming_back_stops_the_expiry(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, NULL, 0, 10);
    session_detach(session, true);
    fixture_pass(fixture, 9000);
    connect_with_will(fixture, session, &peer, NULL, 0, 5);
    fixture_pass(fixture, 60000);
    assert_int_equal(registered_count(fixture), 1);
    session_detach(session, true);
    fixture_pass(fixture, 5000 + TIMER_WHEEL_TICK_MS); /* the last interval counts */
    assert_int_equal(registered_count(fixture), 0);
}

static void an_expiry_of_ffffffff_never_ends(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, NULL, 0, UINT32_MAX);
    session_detach(session, true);
    assert_false(timer_running(&session->timer));
    fixture_pass(fixture, UINT64_C(400) * 86400 * 1000);
    assert_int_equal(registered_count(fixture), 1);
}

static void the_expiry_may_change_while_connected(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, NULL, 0, 10);
    session_set_expiry(session, 0);
    session_detach(session, true);
    assert_int_equal(registered_count(fixture), 0);
}

static void the_will_is_published_when_the_connection_breaks(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, "w", 0, 10);
    session_detach(session, false);
    ASSERT_HOST(fixture, "will:w");
    fixture_pass(fixture, 20000);
    ASSERT_HOST(fixture, ""); /* once */
}

static void a_normal_disconnect_drops_the_will(void **state)
{
    struct fixture *fixture = *state;
    struct session *one = fixture_session(fixture, "c"), *other = fixture_session(fixture, "d");
    struct peer peer;

    connect_with_will(fixture, one, &peer, "w", 5, 10);
    session_detach(one, true);
    connect_with_will(fixture, other, &peer, "w", 0, 0);
    session_detach(other, true);
    fixture_pass(fixture, 20000);
    ASSERT_HOST(fixture, "");
}

static void a_delayed_will_waits_its_time(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, "w", 5, 60);
    session_detach(session, false);
    fixture_pass(fixture, 4999);
    ASSERT_HOST(fixture, "");
    fixture_pass(fixture, 1 + TIMER_WHEEL_TICK_MS);
    ASSERT_HOST(fixture, "will:w");
    assert_int_equal(registered_count(fixture), 1);
    fixture_pass(fixture, 60000); /* then the expiry, from the same moment */
    assert_int_equal(registered_count(fixture), 0);
    ASSERT_HOST(fixture, "");
}

static void a_delayed_will_is_published_when_the_session_ends_first(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, "w", 3600, 5); /* [MQTT-3.1.2-8] */
    session_detach(session, false);
    fixture_pass(fixture, 4999);
    ASSERT_HOST(fixture, "");
    fixture_pass(fixture, 1 + TIMER_WHEEL_TICK_MS);
    ASSERT_HOST(fixture, "will:w");
    assert_int_equal(registered_count(fixture), 0);
}

static void coming_back_in_time_takes_a_delayed_will_back(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, "old", 5, 60);
    session_detach(session, false);
    fixture_pass(fixture, 4000);
    connect_with_will(fixture, session, &peer, "new", 0, 60); /* [MQTT-3.1.3-9] */
    fixture_pass(fixture, 10000);
    ASSERT_HOST(fixture, "");
    session_detach(session, false);
    ASSERT_HOST(fixture, "will:new");
}

static void without_expiry_even_a_delayed_will_is_published_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    connect_with_will(fixture, session, &peer, "w", 30, 0);
    session_detach(session, false);
    ASSERT_HOST(fixture, "will:w");
}

static void a_will_is_as_old_as_its_publication(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct message *will = make_expiring("will", "w", 1, fixture->now_ms, 10);
    struct peer peer;

    fixture_connect_with(session, &peer,
                         (struct session_attach_options){.will = message_ref(will), .window = 1, .version = MQTT_V5});
    fixture_pass(fixture, 100000);
    session_detach(session, false);
    assert_false(message_expired(will, fixture->now_ms + 10000)); /* its expiry counts from here */
    assert_int_equal(refs_of(will), 1);
    message_unref(will);
}

static void a_takeover_moves_the_session_to_the_new_connection(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer old, new;

    connect_with_will(fixture, session, &old, "w", 0, 60);
    fixture_deliver(fixture, subscription, "a", 1);
    fixture->host.link_ops->close(&old.link, REASON_SESSION_TAKEN_OVER, "takeover");
    session_detach(session, false);
    fixture_deliver(fixture, subscription, "b", 1); /* between the two */
    fixture_connect(session, &new, 10);
    ASSERT_SENT(&old, "a1:1 close:8e");
    ASSERT_HOST(fixture, "will:w");
    ASSERT_SENT(&new, "a1:1! b1:2");
    assert_null(old.link.session);
    assert_ptr_equal(new.link.session, session);
}

static void ending_drops_what_waits(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 2);
    struct message *message = make_message("t", "a", 2, fixture->now_ms);
    struct peer peer;

    fixture_connect(session, &peer, 1);
    fixture_deliver_take(fixture, subscription, message_ref(message)); /* in flight */
    fixture_deliver_take(fixture, subscription, message_ref(message)); /* queued */
    assert_int_equal(session_on_publish_qos2(session, 1), SESSION_QOS2_NEW);
    assert_int_equal(refs_of(message), 3);
    session_end(session, "discarded");
    session_end(session, "twice is fine");
    assert_null(peer.link.session);
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
}

static void an_ending_session_hands_queued_shared_messages_on(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *shared = fixture_subscribe(session, "$share/g/t", 1),
                        *own = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 1);
    fixture_deliver(fixture, shared, "sent", 1); /* the client may have it: it is not for another one [MQTT-4.8.2-5] */
    fixture_deliver(fixture, shared, "a", 1);
    fixture_deliver(fixture, own, "b", 1);
    session_detach(session, false);
    session_end(session, "discarded");
    ASSERT_HOST(fixture, "again:g/t:a");
}

static void a_message_of_several_groups_is_handed_on_to_each(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *own = fixture_subscribe(session, "t", 1);
    struct subscription *one = fixture_subscribe(session, "$share/g/t", 1);
    struct subscription *other = fixture_subscribe(session, "$share/h/t", 1);
    struct message *message = make_message("t", "a", 1, fixture->now_ms);

    /* One message, once for the session's own subscription and once for each group. */
    fixture_deliver_take(fixture, own, message_ref(message));
    fixture_deliver_take(fixture, one, message_ref(message));
    fixture_deliver_take(fixture, other, message_ref(message));
    session_end(session, "discarded");
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
    assert_true(strstr(fixture->log, "again:g/t:a") != NULL);
    assert_true(strstr(fixture->log, "again:h/t:a") != NULL);
    assert_int_equal(fixture->log_len, strlen("again:g/t:a again:h/t:a"));
}

static void a_queued_copy_goes_to_the_group_through_which_it_came(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *one = fixture_subscribe(session, "$share/g/t", 1);
    struct subscription *other = fixture_subscribe(session, "$share/h/t", 1);
    struct message *a = make_message("t", "a", 1, fixture->now_ms), *b = make_message("t", "b", 1, fixture->now_ms);
    struct peer peer;

    fixture_connect(session, &peer, 1);
    fixture_deliver_take(fixture, one, message_ref(a)); /* sent: `a` is not for another member of g */
    fixture_deliver_take(fixture, other, message_ref(a));
    /* The copies of `b` do not follow each other, as when they come from two workers. */
    fixture_deliver_take(fixture, other, message_ref(b));
    fixture_deliver(fixture, other, "c", 1);
    fixture_deliver_take(fixture, one, message_ref(b));
    session_end(session, "discarded");
    ASSERT_HOST(fixture, "again:h/t:a again:h/t:b again:h/t:c again:g/t:b");
    ASSERT_SENT(&peer, "a1:1");
    message_unref(a);
    message_unref(b);
}

static void a_queued_copy_of_a_group_left_before_goes_to_no_other(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *left = fixture_subscribe(session, "$share/g/t", 1);

    fixture_deliver(fixture, left, "a", 1);
    subscription_remove(left);
    fixture_deliver(fixture, fixture_subscribe(session, "$share/h/t", 1), "b", 1);
    fixture_deliver(fixture, fixture_subscribe(session, "$share/g/t", 1), "c", 1); /* another membership */
    session_end(session, "discarded");
    ASSERT_HOST(fixture, "again:h/t:b again:g/t:c");
}

static void a_session_is_found_by_others_until_it_ends(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "client");

    assert_true(slice_equal(session_client_id(session), SLICE_LITERAL("client")));
    assert_int_equal(registered_count(fixture), 1);
    session_end(session, "kicked");
    assert_int_equal(registered_count(fixture), 0);
    /* Who found it before may still read its client ID in this turn. */
    assert_true(slice_equal(session_client_id(session), SLICE_LITERAL("client")));
    assert_true(session->ended);
}

static void subscribe_to_many(struct session *session, uint32_t count)
{
    char filter[16];

    for (uint32_t i = 0; i < count; i++) {
        snprintf(filter, sizeof(filter), "t/%u", i);
        fixture_subscribe(session, filter, 1);
    }
}

static void the_end_of_very_many_subscriptions_takes_several_turns(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    uint32_t turns = 0;
    struct peer peer;

    subscribe_to_many(session, 5000);
    connect_with_will(fixture, session, &peer, NULL, 0, 0);
    session_detach(session, true);
    assert_int_equal(fixture->host.filters.count, 5000);
    assert_int_equal(registered_count(fixture), 0); /* the client ID is free, and nobody counts it any more */
    assert_int_equal(fixture->host.session_count, 0);
    for (uint32_t before = 5000; fixture->host.filters.count > 0; before = fixture->host.filters.count, turns++) {
        fixture_pass(fixture, 0);
        assert_in_range(before - fixture->host.filters.count, 1, 1000);
    }
    assert_in_range(turns, 5, 5000);
}

static void an_ended_session_gets_nothing_while_it_is_taken_down(void **state)
{
    struct fixture *fixture = *state;
    struct session *ended = fixture_session(fixture, "c"), *again;
    struct subscription *left, *new;
    struct peer peer;

    left = fixture_subscribe(ended, "t/0", 1);
    subscribe_to_many(ended, 2000);
    connect_with_will(fixture, ended, &peer, NULL, 0, 0);
    session_detach(ended, true);
    again = fixture_session(fixture, "c");
    new = fixture_subscribe(again, "t/0", 1);
    assert_ptr_not_equal(new, left);
    connect_with_will(fixture, again, &peer, NULL, 0, 3600);
    fixture_deliver(fixture, new, "a", 1); /* to all subscribers of "t/0": the ended session is one still */
    fixture_deliver(fixture, new, "b", 0);
    ASSERT_SENT(&peer, "a1:1 b0");
    for (int i = 0; i < 10; i++)
        fixture_pass(fixture, 0);
    assert_int_equal(fixture->host.filters.count, 1);
    fixture_deliver(fixture, new, "c", 0);
    ASSERT_SENT(&peer, "c0");
}

static void sessions_that_end_together_are_taken_down_in_order(void **state)
{
    struct fixture *fixture = *state;
    char id[] = "c0";

    for (int i = 0; i < 5; i++, id[1]++) {
        struct session *session = fixture_session(fixture, id);
        subscribe_to_many(session, 1000);
        session_end(session, "gone");
    }
    assert_int_equal(fixture->host.filters.count, 1000);
    for (int i = 0; i < 20; i++)
        fixture_pass(fixture, 0);
    assert_int_equal(fixture->host.filters.count, 0);
    assert_null(fixture->host.ending);
}

static void stopping_takes_down_what_is_left(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");

    subscribe_to_many(session, 5000);
    session_end(session, "gone");
    fixture_pass(fixture, 0);
    session_host_finish(&fixture->host);
    assert_int_equal(fixture->host.filters.count, 0);
}

static void over_the_limit_the_session_left_the_longest_ago_ends(void **state)
{
    struct fixture *fixture = *state;
    struct session *sessions[5];
    struct peer peers[5];
    _Atomic uint64_t absent = 0;
    char id[] = "c0";

    fixture->host.absent_count = &absent;
    fixture->host.absent_max = 3;
    for (int i = 0; i < 5; i++, id[1]++) {
        sessions[i] = fixture_session(fixture, id);
        connect_with_will(fixture, sessions[i], &peers[i], i == 1 ? "w" : NULL, 3600, 7200);
    }
    assert_int_equal(absent, 0);
    for (int i = 0; i < 3; i++)
        session_detach(sessions[i], false);
    assert_int_equal(absent, 3);
    connect_with_will(fixture, sessions[0], &peers[0], NULL, 0, 7200); /* it comes back, and goes again */
    session_detach(sessions[0], true);
    assert_int_equal(registered_count(fixture), 5);
    ASSERT_HOST(fixture, "");
    session_detach(sessions[3], true); /* now the second one has been away the longest */
    ASSERT_HOST(fixture, "will:w");
    assert_int_equal(registered_count(fixture), 4);
    assert_int_equal(absent, 3);
    session_detach(sessions[4], true);
    assert_int_equal(registered_count(fixture), 3);
    assert_ptr_equal(fixture->host.absent_oldest->session, sessions[0]);
    fixture_pass(fixture, 7200 * 1000 + TIMER_WHEEL_TICK_MS);
    assert_int_equal(registered_count(fixture), 0);
    assert_int_equal(absent, 0);
    assert_null(fixture->host.absent_newest);
    fixture->host.absent_count = NULL;
}

static void a_limit_that_other_workers_have_used_up_leaves_no_session(void **state)
{
    struct fixture *fixture = *state;
    _Atomic uint64_t absent = 3;
    struct peer peer;

    fixture->host.absent_count = &absent;
    fixture->host.absent_max = 3;
    connect_with_will(fixture, fixture_session(fixture, "c"), &peer, NULL, 0, 7200);
    session_detach(peer.link.session, true);
    assert_int_equal(registered_count(fixture), 0);
    assert_int_equal(absent, 3);
    fixture->host.absent_count = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_without_expiry_ends_with_its_connection),
        TEST(a_session_ends_when_its_expiry_has_passed),
        TEST(coming_back_stops_the_expiry),
        TEST(an_expiry_of_ffffffff_never_ends),
        TEST(the_expiry_may_change_while_connected),
        TEST(the_will_is_published_when_the_connection_breaks),
        TEST(a_normal_disconnect_drops_the_will),
        TEST(a_delayed_will_waits_its_time),
        TEST(a_delayed_will_is_published_when_the_session_ends_first),
        TEST(coming_back_in_time_takes_a_delayed_will_back),
        TEST(without_expiry_even_a_delayed_will_is_published_at_once),
        TEST(a_will_is_as_old_as_its_publication),
        TEST(a_takeover_moves_the_session_to_the_new_connection),
        TEST(ending_drops_what_waits),
        TEST(an_ending_session_hands_queued_shared_messages_on),
        TEST(a_message_of_several_groups_is_handed_on_to_each),
        TEST(a_queued_copy_goes_to_the_group_through_which_it_came),
        TEST(a_queued_copy_of_a_group_left_before_goes_to_no_other),
        TEST(a_session_is_found_by_others_until_it_ends),
        TEST(the_end_of_very_many_subscriptions_takes_several_turns),
        TEST(an_ended_session_gets_nothing_while_it_is_taken_down),
        TEST(sessions_that_end_together_are_taken_down_in_order),
        TEST(stopping_takes_down_what_is_left),
        TEST(over_the_limit_the_session_left_the_longest_ago_ends),
        TEST(a_limit_that_other_workers_have_used_up_leaves_no_session),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
