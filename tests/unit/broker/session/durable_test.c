/*
 * Behaviour of durable sessions: what is stored when, what waits for that, and what is deleted.
 */
#include "durable_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/retainer/retainer.h"
#include "broker/session/durable.h"
#include "broker/session/message_body.h"
#include "broker/session/retained_feed.h"
#include "broker/session/session_record.h"
#include "mqtt/message_record.h"

static struct session *connected(struct durable_fixture *fixture, struct peer *peer, uint8_t qos, uint16_t window,
                                 struct subscription **out_subscription)
{
    struct session *session = fixture_session(fixture->base, "c");

    fixture_connect(session, peer, window);
    *out_subscription = fixture_subscribe(session, "t", qos);
    assert_true(session_is_durable(session));
    return session;
}

static void deliver(struct durable_fixture *fixture, struct subscription *subscription, const char *payload,
                    uint8_t qos)
{
    fixture_deliver(fixture->base, subscription, payload, qos);
}

/* A message whose body several sessions refer to, as the dispatcher makes it; the publisher's reference is the caller's. */
static struct message *message_with_body(struct durable_fixture *fixture, const char *payload, uint8_t qos)
{
    struct message *message = make_message("t", payload, qos, fixture->base->now_ms);
    uint8_t key[SESSION_KEY_LEN], head[MESSAGE_RECORD_HEAD];
    struct slice parts[MESSAGE_RECORD_PARTS];

    message->body = message_body_new(store_next_number(fixture->store));
    assert_non_null(message->body);
    message_record_encode(message, store_now_ms(fixture->store), head, parts);
    session_key(message->body->number, key);
    store_put(fixture->host->client, STORE_MESSAGE, slice_make(key, sizeof(key)), parts, MESSAGE_RECORD_PARTS);
    message->body->written = true;
    return message;
}

static void an_entry_is_stored_until_it_is_acknowledged(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 1, 10, &subscription);

    deliver(fixture, subscription, "a", 1);
    ASSERT_SENT(&peer, "a1:1"); /* at once: a crash could only send it again */
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_SESSION), 1);
    assert_int_equal(durable_rows(fixture, STORE_SUBSCRIPTION), 1);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1);
    assert_int_equal(session_on_puback(session, 1), 0);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    session_detach(session, true);
}

static void qos_0_and_sessions_that_end_with_their_connection_store_nothing(void **state)
{
    struct durable_fixture *fixture = *state;
    struct session *session = fixture_session(fixture->base, "c"), *durable;
    struct subscription *subscription = fixture_subscribe(session, "t", 2);
    struct peer peer, other;

    fixture_connect_with(session, &peer, (struct session_attach_options){.window = 10, .version = MQTT_V5});
    assert_false(session_is_durable(session));
    fixture_deliver(fixture->base, subscription, "a", 2);
    ASSERT_SENT(&peer, "a2:1");
    session_detach(session, true);
    durable_commit(fixture);
    assert_int_equal(durable_all_rows(fixture), 0);
    durable = connected(fixture, &other, 0, 10, &subscription);
    fixture_deliver(fixture->base, subscription, "b", 2);
    ASSERT_SENT(&other, "b0");
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    session_detach(durable, true);
}

static void a_packet_id_still_in_use_holds_the_next_messages_back(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 1, 10, &subscription);

    deliver(fixture, subscription, "a", 1);
    session->durable->next_sequence = 65536; /* once round */
    deliver(fixture, subscription, "b", 1);
    deliver(fixture, subscription, "c", 1);
    ASSERT_SENT(&peer, "a1:1");
    assert_int_equal(session_on_puback(session, 1), 0);
    ASSERT_SENT(&peer, "b1:1 c1:2");
    assert_int_equal(session_on_puback(session, 1), 0);
    assert_int_equal(session_on_puback(session, 2), 0);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    session_detach(session, true);
}

static void a_qos_2_message_waits_for_the_disk(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 2, 10, &subscription);

    deliver(fixture, subscription, "a", 2);
    deliver(fixture, subscription, "b", 1); /* in order */
    ASSERT_SENT(&peer, "");
    durable_commit(fixture);
    ASSERT_SENT(&peer, "a2:1 b1:2");
    assert_int_equal(session_on_pubrec(session, 1, REASON_SUCCESS), 0);
    ASSERT_SENT(&peer, "rel:1");
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1);
    assert_int_equal(durable_rows(fixture, STORE_INFLIGHT), 1);
    assert_int_equal(session_on_pubcomp(session, 1), 0);
    assert_int_equal(session_on_puback(session, 2), 0);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    assert_int_equal(durable_rows(fixture, STORE_INFLIGHT), 0);
    session_detach(session, true);
}

static void a_refusing_pubrec_ends_the_exchange(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 2, 10, &subscription);

    deliver(fixture, subscription, "a", 2);
    durable_commit(fixture);
    assert_int_equal(session_on_pubrec(session, 1, REASON_QUOTA_EXCEEDED), 0);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE) + durable_rows(fixture, STORE_INFLIGHT), 0);
    session_detach(session, true);
}

static void a_message_published_at_qos_2_waits_until_its_publisher_was_heard(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 2, 10, &subscription);
    struct message *stored = message_with_body(fixture, "a", 2), *given_up = message_with_body(fixture, "b", 2);
    struct message_body *bodies[2] = {stored->body, given_up->body};

    message_ref(stored);
    message_ref(given_up);
    fixture_deliver_take(fixture->base, subscription, stored);
    fixture_deliver_take(fixture->base, subscription, given_up);
    deliver(fixture, subscription, "c", 1);
    durable_commit(fixture);
    ASSERT_SENT(&peer, "");
    stored->store_state = MESSAGE_STORED;
    session_host_on_stored(fixture->host);
    ASSERT_SENT(&peer, "a2:1");
    given_up->store_state = MESSAGE_GIVEN_UP;
    session_host_on_stored(fixture->host);
    ASSERT_SENT(&peer, "c1:3");
    message_body_unref(bodies[0], fixture->host->client);
    message_body_unref(bodies[1], fixture->host->client);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 2);
    assert_int_equal(durable_rows(fixture, STORE_MESSAGE), 1);
    message_unref(stored);
    message_unref(given_up);
    session_detach(session, true);
}

static void an_absent_session_keeps_a_message_until_its_publisher_was_heard(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct session *session = durable_absent(fixture, "c", 2, &subscription);
    struct message *stored = message_with_body(fixture, "a", 2), *given_up = message_with_body(fixture, "b", 2);

    message_ref(stored);
    message_ref(given_up);
    fixture_deliver_take(fixture->base, subscription, stored);
    fixture_deliver_take(fixture->base, subscription, given_up);
    message_body_unref(stored->body, fixture->host->client);
    message_body_unref(given_up->body, fixture->host->client);
    durable_commit(fixture);
    assert_true(session->flow->mqueue.bytes > 0);
    stored->store_state = MESSAGE_STORED;
    given_up->store_state = MESSAGE_GIVEN_UP;
    session_host_on_stored(fixture->host);
    assert_int_equal(session->flow->mqueue.bytes, 0);
    assert_int_equal(refs_of(stored), 1);
    assert_int_equal(refs_of(given_up), 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1);
    assert_int_equal(durable_rows(fixture, STORE_MESSAGE), 1);
    message_unref(stored);
    message_unref(given_up);
}

static void what_was_in_flight_goes_out_first_again(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 2, 3, &subscription);

    deliver(fixture, subscription, "a", 1);
    deliver(fixture, subscription, "b", 2);
    deliver(fixture, subscription, "c", 1);
    deliver(fixture, subscription, "d", 1);
    durable_commit(fixture);
    ASSERT_SENT(&peer, "a1:1 b2:2 c1:3");
    assert_int_equal(session_on_pubrec(session, 2, REASON_SUCCESS), 0);
    ASSERT_SENT(&peer, "rel:2");
    session_detach(session, true);
    assert_int_equal(in_flight(session), 1);
    assert_int_equal(queued(session), 3);
    fixture_connect(session, &peer, 10);
    while (in_flight(session) < 4)
        durable_run_job(fixture);
    ASSERT_SENT(&peer, "rel:2 a1:1! c1:3! d1:4");
    session_detach(session, true);
}

static void one_that_took_the_session_over_gets_it_all_again(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer, second;
    struct session *session = connected(fixture, &peer, 1, 10, &subscription);

    deliver(fixture, subscription, "a", 1);
    session->link = NULL; /* as connect.c does */
    fixture_connect(session, &second, 10);
    ASSERT_SENT(&second, "a1:1!");
    assert_int_equal(session_on_puback(session, 1), 0);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    session_detach(session, true);
}

static void a_full_queue_drops_the_oldest_that_was_never_sent(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 1, 1, &subscription);

    deliver(fixture, subscription, "sent", 1);
    session_detach(session, true);
    for (char payload[2] = "a"; payload[0] <= 'f'; payload[0]++)
        deliver(fixture, subscription, payload, 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1 + 4);
    deliver(fixture, subscription, "g", 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1 + 4);
    fixture_connect(session, &peer, 10);
    while (in_flight(session) < 5)
        durable_run_job(fixture);
    ASSERT_SENT(&peer, "sent1:1! d1:5 e1:6 f1:7 g1:8");
    session_detach(session, true);
}

/* All kinds of rows that a session has. */
static struct session *full_session(struct durable_fixture *fixture, const char *client_id, struct peer *peer)
{
    struct session *session = fixture_session(fixture->base, client_id);
    struct subscription *subscription;

    fixture_connect_with(session, peer,
                         (struct session_attach_options){.expiry_interval_s = 3600,
                                                         .window = 2,
                                                         .version = MQTT_V5,
                                                         .will_delay_s = 60,
                                                         .will = make_message("w", "will", 1, 0)});
    subscription = fixture_subscribe(session, "t", 2);
    fixture_subscribe(session, "$share/g/s", 1);
    deliver(fixture, subscription, "a", 2);
    deliver(fixture, subscription, "b", 1);
    deliver(fixture, subscription, "c", 1);
    durable_commit(fixture);
    assert_int_equal(session_on_pubrec(session, 1, REASON_SUCCESS), 0);
    assert_int_equal(session_on_publish_qos2(session, 7), SESSION_QOS2_NEW);
    session_store_awaiting_rel(session, 7);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_SESSION), 1);
    assert_int_equal(durable_rows(fixture, STORE_SUBSCRIPTION), 2);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 2);
    assert_int_equal(durable_rows(fixture, STORE_INFLIGHT), 1);
    assert_int_equal(durable_rows(fixture, STORE_AWAITING_REL), 1);
    return session;
}

static void the_end_of_a_session_deletes_all_its_rows(void **state)
{
    struct durable_fixture *fixture = *state;
    struct peer peer;
    struct session *session = full_session(fixture, "c", &peer);

    assert_int_equal(fixture->durable_count, 1);
    session_end(session, "test");
    assert_int_equal(fixture->durable_count, 0);
    durable_commit(fixture);
    assert_int_equal(durable_all_rows(fixture), 0);
    ASSERT_HOST(fixture->base, "will:will");
}

static void the_end_of_a_large_session_takes_turns(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct session *session;

    fixture->base->zone.session.max_mqueue_len = 0;
    session = durable_absent(fixture, "c", 1, &subscription);
    for (uint32_t i = 0; i < 3000; i++)
        durable_deliver(fixture, subscription, "t", i, 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 3000);
    session_end(session, "test");
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_SESSION), 0); /* it can't come back */
    assert_true(durable_rows(fixture, STORE_QUEUE) > 2000);
    for (int i = 0; i < 10; i++)
        fixture_pass(fixture->base, 0);
    durable_commit(fixture);
    assert_int_equal(durable_all_rows(fixture), 0);
}

static void a_suspended_session_stays_stored(void **state)
{
    struct durable_fixture *fixture = *state;
    struct peer peer;
    struct session *session = full_session(fixture, "c", &peer);

    session_suspend(session);
    durable_commit(fixture);
    assert_int_equal(durable_all_rows(fixture), 1 + 2 + 2 + 1 + 1);
    assert_int_equal(fixture->durable_count, 0);
    ASSERT_HOST(fixture->base, "");
}

static void a_message_is_stored_once_for_a_thousand_sessions(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription = NULL;
    struct session *sessions[1000];
    struct peer peer;
    struct message *message;
    char client_id[16];

    for (int i = 0; i < 1000; i++) {
        snprintf(client_id, sizeof(client_id), "c%d", i);
        sessions[i] = durable_absent(fixture, client_id, 1, &subscription);
    }
    assert_int_equal(subscription->list->durable_count, 1000);
    message = message_with_body(fixture, "a", 1);
    fixture_deliver_take(fixture->base, subscription, message_ref(message));
    message_body_unref(message->body, fixture->host->client);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1000);
    assert_int_equal(durable_rows(fixture, STORE_MESSAGE), 1);
    assert_int_equal(refs_of(message), 1); /* nobody keeps it in memory */
    message_unref(message);
    for (int i = 0; i < 1000; i++) {
        fixture_connect(sessions[i], &peer, 10);
        while (in_flight(sessions[i]) == 0)
            durable_run_job(fixture);
        ASSERT_SENT(&peer, "a1:1");
        if (i == 999) {
            durable_commit(fixture);
            assert_int_equal(durable_rows(fixture, STORE_MESSAGE), 1);
        }
        assert_int_equal(session_on_puback(sessions[i], 1), 0);
        session_detach(sessions[i], true);
    }
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    assert_int_equal(durable_rows(fixture, STORE_MESSAGE), 0);
}

static void a_session_becomes_durable_with_what_it_has(void **state)
{
    struct durable_fixture *fixture = *state;
    struct session *session = fixture_session(fixture->base, "c");
    struct subscription *subscription = fixture_subscribe(session, "t", 1);
    struct peer peer, second;

    fixture_connect_with(session, &peer, (struct session_attach_options){.window = 1, .version = MQTT_V5});
    deliver(fixture, subscription, "a", 1);
    deliver(fixture, subscription, "b", 1);
    deliver(fixture, subscription, "c", 1);
    assert_int_equal(session_on_publish_qos2(session, 7), SESSION_QOS2_NEW);
    assert_int_equal(subscription->list->durable_count, 0);
    session->link = NULL; /* taken over */
    fixture_connect(session, &second, 10);
    assert_int_equal(subscription->list->durable_count, 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_SESSION), 1);
    assert_int_equal(durable_rows(fixture, STORE_SUBSCRIPTION), 1);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 2);
    assert_int_equal(durable_rows(fixture, STORE_AWAITING_REL), 1);
    ASSERT_SENT(&second, "a1:1!"); /* the ID of the next one is in use */
    assert_int_equal(session_on_puback(session, 1), 0);
    ASSERT_SENT(&second, "b1:1 c1:2");
    session_end(session, "test");
    durable_commit(fixture);
    assert_int_equal(durable_all_rows(fixture), 0);
}

static void received_ids_are_stored_until_they_are_released(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 2, 10, &subscription);

    fixture->base->zone.session.await_rel_timeout_ms = 10000;
    for (uint16_t id = 1; id <= 3; id++) {
        assert_int_equal(session_on_publish_qos2(session, id), SESSION_QOS2_NEW);
        session_store_awaiting_rel(session, id);
    }
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_AWAITING_REL), 3);
    assert_true(session_on_pubrel(session, 1));
    assert_int_equal(session_on_publish_qos2(session, 4), SESSION_QOS2_NEW);
    session_forget_qos2(session, 4);
    assert_int_equal(session_on_publish_qos2(session, 4), SESSION_QOS2_NEW); /* it is free again */
    session_forget_qos2(session, 4);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_AWAITING_REL), 2);
    for (int i = 0; i < 20; i++)
        fixture_pass(fixture->base, 1000);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_AWAITING_REL), 0); /* forgotten: no PUBREL came */
    session_detach(session, true);
}

static void subscriptions_are_stored_with_their_options(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 2, 10, &subscription);
    struct subscription *shared = fixture_subscribe(session, "$share/g/t", 1);

    assert_int_equal(subscription->list->durable_count, 1);
    assert_true(shared->shared->member.durable);
    fixture_subscribe(session, "t", 0);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_SUBSCRIPTION), 2);
    subscription_remove(shared);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_SUBSCRIPTION), 1);
    session_detach(session, true);
}

static struct session_record read_session(struct durable_fixture *fixture, const struct session *session,
                                          struct slice *out_bytes)
{
    struct session_record record;
    uint8_t key[SESSION_KEY_LEN];

    durable_commit(fixture);
    session_key(session->durable->number, key);
    assert_int_equal(store_get(fixture->store, STORE_SESSION, slice_make(key, sizeof(key)), out_bytes), 1);
    assert_int_equal(session_record_decode(*out_bytes, &record), 0);
    return record;
}

static void the_record_says_when_the_client_left_and_keeps_its_will(void **state)
{
    struct durable_fixture *fixture = *state;
    struct session *session = fixture_session(fixture->base, "c");
    struct session_record record;
    struct slice bytes;
    struct peer peer;

    fixture_connect_with(session, &peer,
                         (struct session_attach_options){.expiry_interval_s = 3600,
                                                         .window = 5,
                                                         .version = MQTT_V5,
                                                         .will_delay_s = 60,
                                                         .will = make_message("w", "will", 1, 0)});
    deliver(fixture, fixture_subscribe(session, "t", 1), "a", 1);
    record = read_session(fixture, session, &bytes);
    assert_true(slice_equal(record.client_id, slice_from_string("c")));
    assert_int_equal(record.left_ms, 0);
    assert_int_equal(record.expiry_interval_s, 3600);
    assert_int_equal(record.will_delay_s, 60);
    assert_int_equal(record.window, 5);
    assert_true(record.will.len > 0);
    free((void *)(uintptr_t)bytes.data);
    session_set_expiry(session, 7200); /* DISCONNECT */
    session_detach(session, false);
    record = read_session(fixture, session, &bytes);
    assert_true(record.left_ms > 0);
    assert_int_equal(record.expiry_interval_s, 7200);
    assert_int_equal(record.sent_through, 1);
    assert_true(record.reserved_through >= 1);
    assert_true(record.will.len > 0);
    free((void *)(uintptr_t)bytes.data);
    fixture_pass(fixture->base, 61000);
    ASSERT_HOST(fixture->base, "will:will");
    record = read_session(fixture, session, &bytes);
    assert_int_equal(record.will.len, 0);
    assert_true(record.left_ms > 0);
    free((void *)(uintptr_t)bytes.data);
}

/* The bytes that a client of this will writes when it leaves. */
static size_t bytes_of_leaving(struct durable_fixture *fixture, const char *client_id, uint32_t will_delay_s,
                               struct message *will)
{
    struct session *session = fixture_session(fixture->base, client_id);
    struct peer peer;
    size_t bytes;

    fixture_connect_with(
        session, &peer,
        (struct session_attach_options){
            .expiry_interval_s = 3600, .window = 5, .version = MQTT_V5, .will_delay_s = will_delay_s, .will = will});
    durable_commit(fixture);
    session_set_expiry(session, 7200); /* DISCONNECT with the will, and a new expiry */
    session_detach(session, false);
    bytes = store_open_bytes(fixture->host->client);
    durable_commit(fixture);
    return bytes;
}

static void leaving_writes_the_record_once_unless_a_will_must_be_kept_meanwhile(void **state)
{
    struct durable_fixture *fixture = *state;
    size_t plain = bytes_of_leaving(fixture, "1", 0, NULL);

    assert_true(plain > 0);
    assert_int_equal(bytes_of_leaving(fixture, "2", 0, make_message("w", "now", 0, 0)), plain);
    ASSERT_HOST(fixture->base, "will:now");
    /* With the will, which others are to store, and without it once they have. */
    assert_true(bytes_of_leaving(fixture, "4", 0, make_message("w", "now", 1, 0)) > 2 * plain);
    ASSERT_HOST(fixture->base, "will:now");
    assert_true(bytes_of_leaving(fixture, "3", 60, make_message("w", "later", 1, 0)) > plain);
    ASSERT_HOST(fixture->base, "");
}

static void sequences_are_reserved_before_they_are_used(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct session *session = durable_absent(fixture, "c", 1, &subscription);
    struct session_record record;
    struct slice bytes;

    for (uint32_t i = 0; i < 2 * SESSION_RESERVE + 1; i++)
        durable_deliver(fixture, subscription, "t", i, 1);
    record = read_session(fixture, session, &bytes);
    assert_true(record.reserved_through >= 2 * SESSION_RESERVE + 1);
    free((void *)(uintptr_t)bytes.data);
}

static void push_retained(struct durable_fixture *fixture, struct session *session, const char *topic, uint8_t qos)
{
    struct message *message = make_retained(topic, topic, qos, fixture->base->now_ms);
    struct retained_request request = {.filter = slice_from_string(topic), .qos = 2};

    (void)retainer_store(fixture->host->retainer, message, false);
    message_unref(message);
    assert_int_equal(session_push_retained(session, &request), 0);
}

static void retained_messages_are_stored_as_they_are_sent(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 2, 3, &subscription);

    push_retained(fixture, session, "a", 2);
    push_retained(fixture, session, "b", 1);
    push_retained(fixture, session, "c", 0);
    push_retained(fixture, session, "d", 2);
    push_retained(fixture, session, "e", 1);
    deliver(fixture, subscription, "live", 1);
    session_drain(session);
    ASSERT_SENT(&peer, "b1:3r c0r"); /* of QoS 2: when they are on disk */
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 4);
    ASSERT_SENT(&peer, "a2:2r d2:4r");
    assert_int_equal(session_on_puback(session, 3), 0);
    ASSERT_SENT(&peer, "e1:5r");
    session_detach(session, true);
    fixture_connect(session, &peer, 10);
    while (in_flight(session) < 4)
        durable_run_job(fixture);
    ASSERT_SENT(&peer, "a2:2!r d2:4!r e1:5!r live1:1");
    session_end(session, "test");
    durable_commit(fixture);
    assert_int_equal(durable_all_rows(fixture), 0);
}

static void a_message_too_large_for_the_client_is_deleted(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 1, 3, &subscription);

    peer.result = SESSION_TOO_LARGE;
    deliver(fixture, subscription, "a", 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 0);
    assert_int_equal(in_flight(session), 0);
    session_detach(session, true);
}

static void qos_0_for_an_absent_client_stays_within_its_memory(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct session *session;

    fixture->base->zone.session.max_mqueue_len = 0;
    fixture->base->zone.force_shutdown_bytes = 2000;
    session = durable_absent(fixture, "c", 2, &subscription);
    for (uint32_t i = 0; i < 100; i++)
        durable_deliver(fixture, subscription, "t", i, 0);
    assert_in_range(session->flow->mqueue.bytes, 2000, 2500);
    for (uint32_t i = 0; i < 100; i++)
        durable_deliver(fixture, subscription, "t", i, 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 100); /* those go to the disk */
    assert_in_range(session->flow->mqueue.bytes, 2000, 2500);
}

static void expired_messages_are_deleted(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, 1, 1, &subscription);

    deliver(fixture, subscription, "a", 1);
    fixture_deliver_take(fixture->base, subscription, make_expiring("t", "b", 1, fixture->base->now_ms, 1));
    deliver(fixture, subscription, "c", 1);
    fixture_pass(fixture->base, 2000);
    assert_int_equal(session_on_puback(session, 1), 0);
    ASSERT_SENT(&peer, "a1:1 c1:3");
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1);
    session_detach(session, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, durable_set_up, durable_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_entry_is_stored_until_it_is_acknowledged),
        TEST(qos_0_and_sessions_that_end_with_their_connection_store_nothing),
        TEST(a_packet_id_still_in_use_holds_the_next_messages_back),
        TEST(a_qos_2_message_waits_for_the_disk),
        TEST(a_refusing_pubrec_ends_the_exchange),
        TEST(a_message_published_at_qos_2_waits_until_its_publisher_was_heard),
        TEST(an_absent_session_keeps_a_message_until_its_publisher_was_heard),
        TEST(what_was_in_flight_goes_out_first_again),
        TEST(one_that_took_the_session_over_gets_it_all_again),
        TEST(a_full_queue_drops_the_oldest_that_was_never_sent),
        TEST(the_end_of_a_session_deletes_all_its_rows),
        TEST(the_end_of_a_large_session_takes_turns),
        TEST(a_suspended_session_stays_stored),
        TEST(a_message_is_stored_once_for_a_thousand_sessions),
        TEST(a_session_becomes_durable_with_what_it_has),
        TEST(received_ids_are_stored_until_they_are_released),
        TEST(subscriptions_are_stored_with_their_options),
        TEST(the_record_says_when_the_client_left_and_keeps_its_will),
        TEST(leaving_writes_the_record_once_unless_a_will_must_be_kept_meanwhile),
        TEST(sequences_are_reserved_before_they_are_used),
        TEST(retained_messages_are_stored_as_they_are_sent),
        TEST(a_message_too_large_for_the_client_is_deleted),
        TEST(qos_0_for_an_absent_client_stays_within_its_memory),
        TEST(expired_messages_are_deleted),
    };

    return cmocka_run_group_tests_name("durable", tests, NULL, NULL);
}
