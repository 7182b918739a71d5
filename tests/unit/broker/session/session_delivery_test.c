/*
 * Behaviour of a session towards its client: what is sent, what waits, what is sent again.
 */
#include "session_fixture.h"

#include <errno.h>

#include "broker/retainer/retainer.h"
#include "broker/session/retained_feed.h"

static void sends_what_the_window_takes_and_queues_the_rest(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 2);
    fixture_deliver(*state, subscription, "a", 1);
    fixture_deliver(*state, subscription, "b", 1);
    fixture_deliver(*state, subscription, "c", 1);
    fixture_deliver(*state, subscription, "d", 1);
    ASSERT_SENT(&peer, "a1:1 b1:2");
    assert_int_equal(session_on_puback(session, 2), 0);
    ASSERT_SENT(&peer, "c1:3");
    assert_int_equal(session_on_puback(session, 1), 0);
    ASSERT_SENT(&peer, "d1:4");
    assert_int_equal(session_on_puback(session, 1), -ENOENT);
    assert_int_equal(session_on_puback(session, 3), 0);
    assert_int_equal(session_on_puback(session, 4), 0);
    assert_int_equal(in_flight(session), 0);
    ASSERT_SENT(&peer, "");
}

static void goes_through_both_halves_of_qos_2(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 2);
    struct peer peer;

    fixture_connect(session, &peer, 1);
    fixture_deliver(*state, subscription, "a", 2);
    fixture_deliver(*state, subscription, "b", 2);
    ASSERT_SENT(&peer, "a2:1");
    assert_int_equal(session_on_puback(session, 1), -EPROTO);
    assert_int_equal(session_on_pubcomp(session, 1), -EPROTO);
    assert_int_equal(session_on_pubrec(session, 1, REASON_SUCCESS), 0);
    ASSERT_SENT(&peer, "rel:1"); /* the window is still taken */
    assert_int_equal(session_on_pubrec(session, 1, REASON_SUCCESS), 0);
    ASSERT_SENT(&peer, "rel:1"); /* a PUBREC that comes again */
    assert_int_equal(session_on_puback(session, 1), -EPROTO);
    assert_int_equal(session_on_pubcomp(session, 1), 0);
    ASSERT_SENT(&peer, "b2:2");
    assert_int_equal(session_on_pubcomp(session, 1), -ENOENT);
    assert_int_equal(session_on_pubrec(session, 1, REASON_SUCCESS), -ENOENT);
    assert_int_equal(session_on_pubrec(session, 2, REASON_QUOTA_EXCEEDED), 0); /* [MQTT-4.3.3-4] */
    assert_int_equal(in_flight(session), 0);
    ASSERT_SENT(&peer, "");
}

static void a_qos_1_message_takes_no_pubrec(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct peer peer;

    fixture_connect(session, &peer, 10);
    fixture_deliver(*state, fixture_subscribe(session, "t", 1), "a", 1);
    assert_int_equal(session_on_pubrec(session, 1, REASON_SUCCESS), -EPROTO);
    assert_int_equal(session_on_puback(session, 1), 0);
}

static void sends_again_in_order_when_the_client_comes_back(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 2);
    struct peer peer;

    fixture_connect(session, &peer, 4);
    fixture_deliver(*state, subscription, "a", 1);
    fixture_deliver(*state, subscription, "b", 2);
    fixture_deliver(*state, subscription, "c", 2);
    fixture_deliver(*state, subscription, "d", 1);
    fixture_deliver(*state, subscription, "e", 1); /* waits */
    session_on_pubrec(session, 2, REASON_SUCCESS);
    session_on_puback(session, 4);
    ASSERT_SENT(&peer, "a1:1 b2:2 c2:3 d1:4 rel:2 e1:5");
    session_detach(session, false);
    assert_null(peer.link.session);
    fixture_deliver(*state, subscription, "f", 2);
    fixture_deliver(*state, subscription, "g", 0);
    fixture_connect(session, &peer, 10);
    ASSERT_SENT(&peer, "a1:1! rel:2 c2:3! e1:5! f2:6 g0");
    session_on_pubrec(session, 3, REASON_SUCCESS);
    ASSERT_SENT(&peer, "rel:3");
}

static void resumes_within_a_smaller_receive_maximum(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 2);
    struct peer peer;

    fixture_connect(session, &peer, 5);
    fixture_deliver(*state, subscription, "a", 1);
    fixture_deliver(*state, subscription, "b", 2);
    fixture_deliver(*state, subscription, "c", 1);
    fixture_deliver(*state, subscription, "d", 2);
    fixture_deliver(*state, subscription, "e", 1);
    fixture_deliver(*state, subscription, "f", 1); /* queued */
    session_on_pubrec(session, 2, REASON_SUCCESS);
    ASSERT_SENT(&peer, "a1:1 b2:2 c1:3 d2:4 e1:5 rel:2");
    session_detach(session, false);
    /* A released message still takes its place, as it does on a connection that stays [MQTT-3.3.4-9]. */
    fixture_connect(session, &peer, 2);
    ASSERT_SENT(&peer, "a1:1! rel:2");
    fixture_deliver(*state, subscription, "g", 1);
    ASSERT_SENT(&peer, "");
    session_on_puback(session, 1);
    ASSERT_SENT(&peer, "c1:3!");
    session_on_pubcomp(session, 2);
    ASSERT_SENT(&peer, "d2:4!");
    session_on_puback(session, 3);
    ASSERT_SENT(&peer, "e1:5!");
    session_on_pubrec(session, 4, REASON_SUCCESS);
    ASSERT_SENT(&peer, "rel:4");
    session_on_puback(session, 5);
    ASSERT_SENT(&peer, "f1:6");
    session_on_pubcomp(session, 4);
    ASSERT_SENT(&peer, "g1:7");
    assert_int_equal(in_flight(session), 2);
}

static void every_pubrel_is_sent_again_at_once(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 2);
    struct peer peer;

    fixture_connect(session, &peer, 3);
    fixture_deliver(*state, subscription, "a", 2);
    fixture_deliver(*state, subscription, "b", 2);
    fixture_deliver(*state, subscription, "c", 2);
    session_on_pubrec(session, 3, REASON_SUCCESS);
    session_on_pubrec(session, 2, REASON_SUCCESS);
    session_detach(session, false);
    fixture_connect(session, &peer, 1);
    ASSERT_SENT(&peer, "a2:1! rel:2 rel:3");
    session_on_pubcomp(session, 3);
    session_on_pubcomp(session, 2);
    session_on_pubrec(session, 1, REASON_SUCCESS);
    ASSERT_SENT(&peer, "rel:1");
}

static void a_resumption_cut_short_starts_from_the_oldest_again(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 3);
    fixture_deliver(*state, subscription, "a", 1);
    fixture_deliver(*state, subscription, "b", 1);
    fixture_deliver(*state, subscription, "c", 1);
    ASSERT_SENT(&peer, "a1:1 b1:2 c1:3");
    session_detach(session, false);
    fixture_connect(session, &peer, 1);
    ASSERT_SENT(&peer, "a1:1!");
    session_detach(session, false);
    fixture_connect(session, &peer, 2);
    ASSERT_SENT(&peer, "a1:1! b1:2!");
    session_detach(session, false);
    fixture_connect(session, &peer, 20);
    ASSERT_SENT(&peer, "a1:1! b1:2! c1:3!");
}

static void a_client_before_version_5_gets_it_again_after_a_while(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    fixture_connect_with(
        session, &peer, (struct session_attach_options){.expiry_interval_s = 60, .window = 32, .version = MQTT_V3_1_1});
    /* An inbound QoS 2 ID, which is looked after less often, must not put the resending off. */
    assert_int_equal(session_on_publish_qos2(session, 9), SESSION_QOS2_NEW);
    fixture_deliver(fixture, fixture_subscribe(session, "t", 2), "a", 1);
    ASSERT_SENT(&peer, "a1:1");
    fixture_pass(fixture, 19990);
    ASSERT_SENT(&peer, "");
    fixture_pass(fixture, 10020); /* within one and a half times the interval */
    ASSERT_SENT(&peer, "a1:1!");
    session_on_puback(session, 1);
    fixture_pass(fixture, 60000);
    ASSERT_SENT(&peer, "");
}

static void a_client_of_version_5_gets_nothing_again_while_connected(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    fixture_connect(session, &peer, 32);
    fixture_deliver(fixture, fixture_subscribe(session, "t", 2), "a", 1);
    ASSERT_SENT(&peer, "a1:1");
    fixture_pass(fixture, 100000);
    ASSERT_SENT(&peer, "");
}

static void an_exchange_that_began_survives_the_expiry_of_its_message(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 2);
    struct peer peer;

    fixture_connect(session, &peer, 32);
    fixture_deliver_take(fixture, subscription, make_expiring("t", "a", 2, fixture->now_ms, 5));
    fixture_deliver_take(fixture, subscription, make_expiring("t", "b", 1, fixture->now_ms, 5));
    ASSERT_SENT(&peer, "a2:1 b1:2");
    session_detach(session, false);
    fixture_deliver_take(fixture, subscription, make_expiring("t", "c", 2, fixture->now_ms, 5));
    fixture_pass(fixture, 6000);
    fixture_connect(session, &peer, 32);
    /* The client may have them already: without its ID a later QoS 2 message would look like a duplicate to it. */
    ASSERT_SENT(&peer, "a2:1! b1:2!");
    assert_int_equal(session_on_puback(session, 2), 0);
    assert_int_equal(session_on_pubrec(session, 1, REASON_SUCCESS), 0);
    assert_int_equal(session_on_pubcomp(session, 1), 0);
    assert_int_equal(in_flight(session), 0);
    assert_int_equal(queued(session), 0);
}

static void a_full_queue_drops_its_oldest_and_counts_it(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 1);
    session_detach(session, false);
    for (char c = 'a'; c <= 'g'; c++)
        fixture_deliver(*state, subscription, (char[]){c, '\0'}, 1);
    assert_int_equal(queued(session), 4);
    assert_int_equal(session->flow->drop_count, 3);
    fixture_connect(session, &peer, 10);
    ASSERT_SENT(&peer, "d1:1 e1:2 f1:3 g1:4");
}

static void one_message_through_two_subscriptions_fits_a_queue_of_one(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *one = fixture_subscribe(session, "t", 1), *other = fixture_subscribe(session, "#", 1);
    struct message *message = make_message("t", "a", 1, fixture->now_ms);
    struct peer peer;

    fixture->zone.session.max_mqueue_len = 1;
    fixture_connect(session, &peer, 1);
    session_detach(session, false);
    /* As in one dispatch: the references are settled after both. */
    subscriber_list_deliver(&fixture->host, one->list, message);
    subscriber_list_deliver(&fixture->host, other->list, message);
    assert_int_equal(fixture->host.refs_taken, 1);
    message_ref_many(message, 1);
    fixture->host.refs_taken = 0;
    /* And as in two deliveries from another worker. */
    fixture_deliver_take(fixture, one, message_ref(message));
    fixture_deliver_take(fixture, other, message_ref(message));
    assert_int_equal(refs_of(message), 2);
    assert_int_equal(queued(session), 1);
    message_unref(message);
    fixture_connect(session, &peer, 10);
    ASSERT_SENT(&peer, "a1:1");
}

static void a_slow_consumer_loses_qos_0_unless_it_is_stored(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 10);
    peer.blocked = true;
    fixture_deliver(fixture, subscription, "a", 0);
    fixture_deliver(fixture, subscription, "b", 1);
    peer.blocked = false;
    fixture_deliver(fixture, subscription, "c", 0); /* behind the one that waits */
    ASSERT_SENT(&peer, "");
    session_on_writable(session);
    ASSERT_SENT(&peer, "a0 b1:1 c0");
    fixture->zone.session.mqueue_store_qos0 = false;
    peer.blocked = true;
    fixture_deliver(fixture, subscription, "d", 0);
    fixture_deliver(fixture, subscription, "e", 1);
    peer.blocked = false;
    session_on_writable(session);
    ASSERT_SENT(&peer, "e1:2");
    session_detach(session, false);
    fixture_deliver(fixture, subscription, "f", 0);
    fixture_connect(session, &peer, 10);
    ASSERT_SENT(&peer, "b1:1! e1:2!");
}

/* Retains a message and asks for it, as a subscription with that filter does. Topics sort in the order of the calls. */
static void push_retained(struct fixture *fixture, struct session *session, const char *topic, uint8_t qos)
{
    struct message *message = make_retained(topic, topic, qos, fixture->now_ms);
    struct retained_request request = {.filter = slice_from_string(topic), .qos = 2};

    (void)retainer_store(fixture->host.retainer, message, true);
    message_unref(message);
    assert_int_equal(session_push_retained(session, &request), 0);
}

static void retained_messages_go_before_live_ones(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 2);
    push_retained(*state, session, "a", 1);
    push_retained(*state, session, "b", 1);
    push_retained(*state, session, "c", 0);
    push_retained(*state, session, "d", 1);
    assert_false(session_has_room(session)); /* what is sent now would overtake them */
    session_drain(session);
    ASSERT_SENT(&peer, "a1:1r b1:2r c0r");
    fixture_deliver(*state, subscription, "x", 1);
    fixture_deliver(*state, subscription, "y", 0);
    ASSERT_SENT(&peer, "");
    session_on_puback(session, 1);
    ASSERT_SENT(&peer, "d1:3r");
    session_on_puback(session, 2);
    ASSERT_SENT(&peer, "x1:4 y0");
    assert_true(session->flow == NULL || session->flow->retained == NULL);
}

static void qos_0_does_not_overtake_retained_messages_where_it_is_not_stored(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture->zone.session.mqueue_store_qos0 = false;
    fixture_connect(session, &peer, 1);
    push_retained(*state, session, "a", 1);
    push_retained(*state, session, "b", 1);
    push_retained(*state, session, "old", 0);
    session_drain(session);
    ASSERT_SENT(&peer, "a1:1r");
    fixture_deliver(fixture, subscription, "new", 0);
    ASSERT_SENT(&peer, "");
    session_on_puback(session, 1);
    ASSERT_SENT(&peer, "b1:2r old0r new0");
}

static void retained_messages_wait_for_the_client_to_come_back(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct peer peer;

    fixture_connect(session, &peer, 1);
    push_retained(*state, session, "a", 1);
    push_retained(*state, session, "b", 1);
    session_drain(session);
    ASSERT_SENT(&peer, "a1:1r");
    session_detach(session, false);
    fixture_connect(session, &peer, 10);
    ASSERT_SENT(&peer, "a1:1!r b1:2r");
}

static void what_is_too_large_for_the_client_is_dropped_as_if_acknowledged(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 1);
    peer.result = SESSION_TOO_LARGE;
    fixture_deliver(*state, subscription, "a", 1);
    fixture_deliver(*state, subscription, "b", 0);
    assert_int_equal(in_flight(session), 0);
    peer.result = SESSION_WRITTEN;
    fixture_deliver(*state, subscription, "c", 1);
    ASSERT_SENT(&peer, "c1:2");
    session_detach(session, false);
    fixture_connect(session, &peer, 1);
    ASSERT_SENT(&peer, "c1:2!");
}

static void expired_messages_of_the_queue_are_not_sent(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 1);
    session_detach(session, false);
    fixture_deliver_take(fixture, subscription, make_expiring("t", "a", 1, fixture->now_ms, 2));
    fixture_deliver_take(fixture, subscription, make_expiring("t", "b", 1, fixture->now_ms, 200));
    fixture_pass(fixture, 3000);
    fixture_connect(session, &peer, 10);
    ASSERT_SENT(&peer, "b1:1");
}

static void an_inbound_qos_2_id_is_a_duplicate_until_it_is_released(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    fixture->zone.session.max_awaiting_rel = 2;
    fixture_connect(session, &peer, 1);
    assert_false(session_on_pubrel(session, 5));
    assert_int_equal(session_on_publish_qos2(session, 5), SESSION_QOS2_NEW);
    assert_int_equal(session_on_publish_qos2(session, 5), SESSION_QOS2_DUPLICATE);
    assert_int_equal(session_on_publish_qos2(session, 6), SESSION_QOS2_NEW);
    assert_int_equal(session_on_publish_qos2(session, 7), SESSION_QOS2_FULL);
    assert_int_equal(session_on_publish_qos2(session, 6), SESSION_QOS2_DUPLICATE);
    session_detach(session, false);
    fixture_connect(session, &peer, 1);
    assert_int_equal(session_on_publish_qos2(session, 5), SESSION_QOS2_DUPLICATE); /* also over a new connection */
    assert_true(session_on_pubrel(session, 5));
    assert_false(session_on_pubrel(session, 5));
    session_forget_qos2(session, 6);
    assert_int_equal(session_on_publish_qos2(session, 6), SESSION_QOS2_NEW);
}

static void a_session_that_is_left_holds_nothing_in_reserve(void **state)
{
    struct session *session = fixture_session(*state, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer;

    fixture_connect(session, &peer, 1);
    fixture_deliver(*state, subscription, "a", 1);
    fixture_deliver(*state, subscription, "b", 1);
    assert_int_equal(session_on_publish_qos2(session, 7), SESSION_QOS2_NEW);
    ASSERT_SENT(&peer, "a1:1");
    session_detach(session, true); /* all of it is needed */
    fixture_connect(session, &peer, 1);
    ASSERT_SENT(&peer, "a1:1!");
    assert_int_equal(session_on_publish_qos2(session, 7), SESSION_QOS2_DUPLICATE);
    assert_true(session_on_pubrel(session, 7));
    assert_int_equal(session_on_puback(session, 1), 0);
    ASSERT_SENT(&peer, "b1:2");
    assert_int_equal(session_on_puback(session, 2), 0);
    assert_non_null(session->flow);
    session_detach(session, true);
    assert_null(session->flow);
    fixture_connect(session, &peer, 1);
    fixture_deliver(*state, subscription, "c", 1);
    ASSERT_SENT(&peer, "c1:1");
}

static void an_inbound_qos_2_id_is_forgotten_after_its_timeout(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = fixture_session(fixture, "c");
    struct peer peer;

    fixture->zone.session.await_rel_timeout_ms = 10000;
    fixture_connect(session, &peer, 1);
    assert_int_equal(session_on_publish_qos2(session, 5), SESSION_QOS2_NEW);
    fixture_pass(fixture, 9000);
    assert_int_equal(session_on_publish_qos2(session, 5), SESSION_QOS2_DUPLICATE);
    for (int i = 0; i < 9; i++)
        fixture_pass(fixture, 1000);
    assert_int_equal(session_on_publish_qos2(session, 5), SESSION_QOS2_NEW);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sends_what_the_window_takes_and_queues_the_rest),
        TEST(goes_through_both_halves_of_qos_2),
        TEST(a_qos_1_message_takes_no_pubrec),
        TEST(sends_again_in_order_when_the_client_comes_back),
        TEST(resumes_within_a_smaller_receive_maximum),
        TEST(every_pubrel_is_sent_again_at_once),
        TEST(a_resumption_cut_short_starts_from_the_oldest_again),
        TEST(a_client_before_version_5_gets_it_again_after_a_while),
        TEST(a_client_of_version_5_gets_nothing_again_while_connected),
        TEST(an_exchange_that_began_survives_the_expiry_of_its_message),
        TEST(a_full_queue_drops_its_oldest_and_counts_it),
        TEST(one_message_through_two_subscriptions_fits_a_queue_of_one),
        TEST(a_slow_consumer_loses_qos_0_unless_it_is_stored),
        TEST(retained_messages_go_before_live_ones),
        TEST(qos_0_does_not_overtake_retained_messages_where_it_is_not_stored),
        TEST(retained_messages_wait_for_the_client_to_come_back),
        TEST(what_is_too_large_for_the_client_is_dropped_as_if_acknowledged),
        TEST(expired_messages_of_the_queue_are_not_sent),
        TEST(an_inbound_qos_2_id_is_a_duplicate_until_it_is_released),
        TEST(a_session_that_is_left_holds_nothing_in_reserve),
        TEST(an_inbound_qos_2_id_is_forgotten_after_its_timeout),
    };

    return cmocka_run_group_tests_name("session_delivery", tests, NULL, NULL);
}
