/*
 * Behaviour of a broker without sockets: from a published message to sessions on several workers, whose turns the test
 * runs. Connections are in memory.
 */
#include "message_fixture.h"

#include <errno.h>
#include <stdio.h>

#include "base/rcu.h"
#include "broker/broker.h"
#include "broker/retainer/retainer.h"
#include "broker/session/session.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "event/mailbox.h"
#include "mqtt/topic.h"

#define WORKERS 3

struct client {
    struct session_link link;
    struct session *session;
    char log[512]; /* payload and QoS of what was sent */
    bool blocked;
    uint32_t asked; /* how often it was asked whether it can be sent to */
};

static struct broker *broker;
static struct zone zone;
static struct client clients[64];
static uint32_t client_count;

static enum session_write client_publish(struct session_link *link, const struct session_publish *publish)
{
    struct client *client = CONTAINER_OF(link, struct client, link);
    size_t len = strlen(client->log);

    snprintf(client->log + len, sizeof(client->log) - len, "%s%.*s%u", len > 0 ? " " : "",
             (int)publish->message->payload_len, (const char *)publish->message->payload, publish->qos);
    return SESSION_WRITTEN;
}

static void client_pubrel(struct session_link *link, uint16_t packet_id)
{
    (void)link;
    (void)packet_id;
}

static bool client_writable(struct session_link *link)
{
    struct client *client = CONTAINER_OF(link, struct client, link);

    client->asked++;
    return !client->blocked;
}

static void client_overload(struct session_link *link)
{
    (void)link;
}

static void client_close(struct session_link *link, enum reason_code code, const char *reason)
{
    (void)link;
    (void)code;
    (void)reason;
}

static const struct session_link_ops client_ops = {.publish = client_publish,
                                                   .pubrel = client_pubrel,
                                                   .writable = client_writable,
                                                   .overload = client_overload,
                                                   .close = client_close};

static void make_broker(const struct broker_settings *settings)
{
    rcu_thread_register();
    memset(clients, 0, sizeof(clients));
    client_count = 0;
    zone = (struct zone){.session = {.max_mqueue_len = 100}};
    assert_int_equal(broker_new(settings, &broker), 0);
}

static int set_up(void **state)
{
    (void)state;
    make_broker(&(struct broker_settings){
        .worker_count = WORKERS, .mailbox_bytes_max = 1 << 20, .share_strategy = SHARE_ROUND_ROBIN});
    return 0;
}

static int set_up_dispatch_ack(void **state)
{
    (void)state;
    make_broker(&(struct broker_settings){.worker_count = WORKERS,
                                          .mailbox_bytes_max = 1 << 20,
                                          .share_strategy = SHARE_ROUND_ROBIN,
                                          .dispatch_ack = true});
    return 0;
}

static void end_session(void *context, void *element)
{
    (void)context;
    session_end(element, "end of the test");
}

static int tear_down(void **state)
{
    uint64_t cursor = 0;

    (void)state;
    do
        rcu_table_visit(broker->registry, &cursor, 100, end_session, NULL);
    while (cursor != 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        session_host_finish(&broker->workers[i]->host);
    worker_pool_drain(broker->pool); /* before the grace period: deliveries may name what has just ended */
    rcu_barrier_all();
    worker_pool_drain(broker->pool);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(broker->workers[i]->host.refs_taken, 0);
    broker_free(broker);
    rcu_thread_unregister();
    return 0;
}

/* Turns of all workers, until what one hands to another has arrived. */
static void run_turns(void)
{
    for (int round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < WORKERS; i++) {
            worker_run_turn(broker->workers[i]->host.worker, worker_now_ms(broker->workers[i]->host.worker));
            broker_turn_end(broker->workers[i]);
        }
    }
}

static struct client *connect_client(uint32_t worker, uint16_t window)
{
    struct client *client = &clients[client_count];
    char id[8];
    struct session *existing;

    snprintf(id, sizeof(id), "c%u", client_count++);
    broker->workers[worker]->host.link_ops = &client_ops;
    client->session = session_new(&broker->workers[worker]->host, slice_from_string(id), &zone);
    assert_non_null(client->session);
    assert_int_equal(broker_register_session(broker, client->session, &existing), 0);
    struct session_attach_options options = {
        .link = &client->link, .expiry_interval_s = 100, .window = window, .version = MQTT_V5};
    session_attach(client->session, &options);
    return client;
}

static void subscribe(struct client *client, const char *filter, uint8_t qos)
{
    struct mqtt_subscription_options options = {.qos = qos};
    struct mqtt_shared_filter parsed;
    bool is_new;

    assert_true(mqtt_shared_filter_parse(slice_from_string(filter), &parsed));
    assert_int_equal(subscription_add(client->session, &parsed, &options, 0, &is_new), 0);
}

/* Publishes on a worker; the test keeps a reference of its own. */
static struct message *publish(uint32_t worker, const char *topic, const char *payload, uint8_t qos, bool routed)
{
    struct message *message = make_message(topic, payload, qos, 0);

    assert_int_equal(broker_publish_take(broker->workers[worker], message_ref(message)), routed);
    return message;
}

static uint32_t queued_of(const struct session *session)
{
    return session->flow == NULL ? 0 : session->flow->mqueue.count;
}

#define ASSERT_GOT(client, text)                                                                                       \
    do {                                                                                                               \
        assert_string_equal((client)->log, text);                                                                      \
        (client)->log[0] = '\0';                                                                                       \
    } while (0)

static void a_message_reaches_the_subscribers_of_every_worker(void **state)
{
    struct client *here = connect_client(0, 10), *there = connect_client(1, 10), *other = connect_client(2, 10);
    struct message *message;

    (void)state;
    subscribe(here, "a/+", 1);
    subscribe(there, "a/b", 2);
    subscribe(there, "#", 0);
    subscribe(other, "b", 0);
    message = publish(0, "a/b", "m", 2, true);
    ASSERT_GOT(here, "m1"); /* at once */
    ASSERT_GOT(there, "");
    run_turns();
    assert_true(strcmp(there->log, "m2 m0") == 0 || strcmp(there->log, "m0 m2") == 0);
    ASSERT_GOT(other, "");
    assert_int_equal(refs_of(message), 1 + 2); /* the two that were not QoS 0 */
    message_unref(message);
}

static void a_message_that_nobody_wants_is_freed(void **state)
{
    struct message *message;

    (void)state;
    message = publish(0, "nobody", "m", 1, false);
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
}

static void a_single_destination_elsewhere_takes_the_reference_over(void **state)
{
    struct client *there = connect_client(2, 10);
    struct message *message;

    (void)state;
    subscribe(there, "t", 1);
    message = publish(0, "t", "m", 1, true);
    assert_int_equal(refs_of(message), 2);
    run_turns();
    ASSERT_GOT(there, "m1");
    assert_int_equal(refs_of(message), 2);
    assert_int_equal(session_on_puback(there->session, 1), 0);
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
}

static void the_order_of_a_publisher_is_kept(void **state)
{
    struct client *there = connect_client(1, 100);

    (void)state;
    subscribe(there, "t/#", 2);
    for (int i = 0; i < 8; i++) {
        const char *topics[] = {"t/a", "t/b"};
        message_unref(publish(0, topics[i % 2], (char[]){(char)('a' + i), '\0'}, 1, true));
        if (i == 4)
            run_turns();
    }
    run_turns();
    ASSERT_GOT(there, "a1 b1 c1 d1 e1 f1 g1 h1");
}

static void new_subscribers_are_met_within_a_turn(void **state)
{
    struct client *one = connect_client(0, 10), *two = connect_client(0, 10), *there = connect_client(1, 10);

    (void)state;
    message_unref(publish(0, "t", "a", 0, false));
    subscribe(one, "t", 0);
    message_unref(publish(0, "t", "b", 0, true));
    subscribe(two, "+", 0);
    message_unref(publish(0, "t", "c", 0, true));
    subscribe(there, "#", 0);
    message_unref(publish(0, "t", "d", 0, true));
    session_end(one->session, "gone");
    message_unref(publish(0, "t", "e", 0, true));
    run_turns();
    ASSERT_GOT(one, "b0 c0 d0");
    ASSERT_GOT(two, "c0 d0 e0");
    ASSERT_GOT(there, "d0 e0");
}

static void more_matches_than_expected_are_all_served(void **state)
{
    struct client *client = connect_client(0, 1000);
    struct message *message;
    char filter[512];

    (void)state;
    /* "a/a/…/a" of 8 levels: each level literal or "+": 256 filters match. */
    for (unsigned mask = 0; mask < 256; mask++) {
        size_t len = 0;
        for (int level = 0; level < 8; level++)
            len += (size_t)snprintf(filter + len, sizeof(filter) - len, "%s%s", level > 0 ? "/" : "",
                                    (mask >> level & 1) != 0 ? "+" : "a");
        subscribe(client, filter, 1);
    }
    message = publish(0, "a/a/a/a/a/a/a/a", "", 1, true);
    assert_int_equal(client->session->flow->inflight.count, 256);
    assert_int_equal(refs_of(message), 257);
    message_unref(message);
}

static void a_group_spreads_its_messages_over_all_workers(void **state)
{
    struct client *members[3];

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        members[i] = connect_client(i, 10);
        subscribe(members[i], "$share/g/t", 1);
    }
    for (int i = 0; i < 6; i++)
        message_unref(publish(1, "t", "m", 1, true));
    run_turns();
    for (int i = 0; i < 3; i++)
        ASSERT_GOT(members[i], "m1 m1");
}

static void a_member_that_is_away_gets_nothing_while_another_is_there(void **state)
{
    struct client *away = connect_client(1, 10), *there = connect_client(2, 10);

    (void)state;
    subscribe(away, "$share/g/t", 1);
    subscribe(there, "$share/g/t", 1);
    session_detach(away->session, false);
    for (int i = 0; i < 3; i++)
        message_unref(publish(0, "t", "m", 1, true));
    run_turns();
    ASSERT_GOT(there, "m1 m1 m1");
    assert_int_equal(queued_of(away->session), 0);
}

/* With so many that they are taken down over several turns. */
static void subscribe_to_groups(struct client *client, uint32_t count)
{
    char filter[32];

    for (uint32_t i = 0; i < count; i++) {
        snprintf(filter, sizeof(filter), "$share/g/t/%u", i);
        subscribe(client, filter, 1);
    }
}

static void an_ended_member_of_many_groups_is_passed_over_at_once(void **state)
{
    struct client *ends = connect_client(1, 1), *stays = connect_client(1, 10);

    (void)state;
    subscribe_to_groups(ends, 2000);
    subscribe(stays, "$share/g/t/7", 1);
    session_detach(ends->session, false);
    session_detach(stays->session, false); /* nobody is there: then absent members are picked too */
    session_end(ends->session, "gone");
    for (int i = 0; i < 4; i++)
        message_unref(publish(1, "t/7", "m", 1, true));
    assert_int_equal(queued_of(stays->session), 4);
    message_unref(publish(1, "t/8", "m", 1, true)); /* only the ended one was there */
    message_unref(publish(1, "t/8", "m", 1, false));
    run_turns();
    run_turns();
    ASSERT_GOT(ends, "");
    message_unref(publish(0, "t/1999", "m", 1, false));
}

static void what_an_ending_member_of_many_groups_had_not_sent_goes_to_the_others(void **state)
{
    struct client *ends = connect_client(1, 1), *stays = connect_client(2, 10);

    (void)state;
    subscribe_to_groups(ends, 2000);
    for (int i = 0; i < 3; i++)
        message_unref(publish(0, "t/7", (char[]){(char)('a' + i), '\0'}, 1, true));
    run_turns();
    ASSERT_GOT(ends, "a1");
    assert_int_equal(queued_of(ends->session), 2);
    subscribe(stays, "$share/g/t/7", 1);
    session_end(ends->session, "gone");
    run_turns();
    ASSERT_GOT(stays, "b1 c1");
}

static void what_an_ending_member_had_not_sent_goes_to_the_others(void **state)
{
    struct client *ends = connect_client(1, 1), *stays = connect_client(2, 10);
    struct message *messages[3];

    (void)state;
    subscribe(ends, "$share/g/t", 1);
    for (int i = 0; i < 3; i++)
        messages[i] = publish(0, "t", (char[]){(char)('a' + i), '\0'}, 1, true);
    run_turns();
    ASSERT_GOT(ends, "a1");
    subscribe(stays, "$share/g/t", 1);
    session_end(ends->session, "discarded");
    run_turns();
    ASSERT_GOT(stays, "b1 c1");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(refs_of(messages[i]), i == 0 ? 1 : 2);
        message_unref(messages[i]);
    }
}

static void a_message_on_its_way_to_a_member_that_ends_is_not_lost(void **state)
{
    struct client *ends = connect_client(1, 10), *stays = connect_client(2, 10);
    struct message *message;

    (void)state;
    subscribe(ends, "$share/g/t", 1);
    message = publish(0, "t", "m", 1, true); /* waits in the open batch */
    subscribe(stays, "$share/g/t", 1);
    session_end(ends->session, "discarded");
    run_turns();
    ASSERT_GOT(ends, "");
    ASSERT_GOT(stays, "m1");
    assert_int_equal(refs_of(message), 2);
    message_unref(message);
}

static void with_dispatch_ack_a_member_with_room_is_found(void **state)
{
    struct client *full = connect_client(1, 1), *also_full = connect_client(1, 1), *roomy = connect_client(2, 100);

    (void)state;
    subscribe(full, "$share/g/t", 1);
    subscribe(also_full, "$share/g/t", 1);
    subscribe(roomy, "$share/g/t", 1);
    full->blocked = also_full->blocked = true;
    for (int i = 0; i < 6; i++)
        message_unref(publish(0, "t", "m", 1, true));
    run_turns();
    ASSERT_GOT(roomy, "m1 m1 m1 m1 m1 m1");
    assert_int_equal(queued_of(full->session) + queued_of(also_full->session), 0);
}

static void with_dispatch_ack_and_no_room_anywhere_somebody_queues_it(void **state)
{
    struct message *messages[6];
    uint32_t queued = 0;

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        struct client *client = connect_client(i % WORKERS, 1);
        subscribe(client, "$share/g/t", 1);
        client->blocked = true;
    }
    for (int i = 0; i < 6; i++)
        messages[i] = publish(0, "t", "m", 1, true);
    run_turns();
    run_turns();
    for (uint32_t i = 0; i < 4; i++)
        queued += queued_of(clients[i].session);
    assert_int_equal(queued, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(refs_of(messages[i]), 2);
        message_unref(messages[i]);
    }
}

static void with_dispatch_ack_a_large_full_group_is_asked_so_often_and_no_more(void **state)
{
    enum { MEMBERS = 60, ASKED_MAX = 16, MESSAGES = 5 };
    struct message *messages[MESSAGES];

    (void)state;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct client *client = connect_client(i % WORKERS, 1);
        subscribe(client, "$share/g/t", 1);
        client->blocked = true;
    }
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint32_t asked = 0, most = 0, queued = 0;
        messages[i] = publish(i % WORKERS, "t", "m", 1, true);
        for (int round = 0; round <= ASKED_MAX; round++)
            run_turns(); /* each member may live on another worker than the one before */
        for (uint32_t c = 0; c < MEMBERS; c++) {
            asked += clients[c].asked;
            most = clients[c].asked > most ? clients[c].asked : most;
            queued += queued_of(clients[c].session);
            clients[c].asked = 0;
        }
        /* Sixteen say no; the one after them is asked only when it queues the message. Who has queued one of those
         * before needs no question. */
        assert_in_range(asked, ASKED_MAX - i, ASKED_MAX + 1);
        assert_int_equal(most, 1);
        assert_int_equal(queued, i + 1); /* neither lost nor twice */
    }
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(refs_of(messages[i]), 2);
        message_unref(messages[i]);
    }
}

static void a_group_of_any_size_asks_no_more_than_some_members(void **state)
{
    enum { MEMBERS = 20000 };
    struct broker_worker *here = broker->workers[0];
    static struct session *sessions[MEMBERS];
    struct mqtt_subscription_options options = {.qos = 1};
    struct mqtt_shared_filter filter = {.group = SLICE_LITERAL("g"), .filter = SLICE_LITERAL("t")};
    struct message *message;
    uint32_t queued = 0;
    bool is_new;

    (void)state;
    for (uint32_t i = 0; i < MEMBERS; i++) { /* none is connected */
        sessions[i] = session_new(&here->host, slice_make(&i, sizeof(i)), &zone);
        assert_non_null(sessions[i]);
        assert_int_equal(subscription_add(sessions[i], &filter, &options, 0, &is_new), 0);
    }
    message = publish(0, "t", "m", 1, true);
    assert_int_equal(refs_of(message), 2);
    message_unref(message);
    for (uint32_t i = 0; i < MEMBERS; i++)
        queued += queued_of(sessions[i]);
    assert_int_equal(queued, 1);
    for (uint32_t i = MEMBERS; i-- > 0;) {
        if (sessions[i]->flow != NULL)
            mqueue_fini(&sessions[i]->flow->mqueue); /* else it would go round the group once more */
        session_end(sessions[i], "end of the test");
    }
}

static void the_will_of_a_session_goes_to_its_subscribers(void **state)
{
    struct client *dies = connect_client(0, 10), *watches = connect_client(1, 10);

    (void)state;
    subscribe(watches, "will", 1);
    dies->session->will = make_message("will", "w", 1, 0);
    session_detach(dies->session, false);
    run_turns();
    ASSERT_GOT(watches, "w1");
}

static void a_post_from_outside_is_published(void **state)
{
    struct client *here = connect_client(0, 10), *there = connect_client(2, 10);

    (void)state;
    subscribe(here, "t", 0);
    subscribe(there, "t", 0);
    broker_publish_post_take(broker, make_message("t", "m", 0, 0));
    ASSERT_GOT(here, "");
    run_turns();
    ASSERT_GOT(here, "m0");
    ASSERT_GOT(there, "m0");
}

static void a_retained_publish_is_stored_and_an_empty_one_clears_it(void **state)
{
    (void)state;
    assert_false(broker_publish_take(broker->workers[0], make_retained("t", "m", 0, 0)));
    assert_int_equal(retainer_count(broker->retainer), 1);
    message_unref(publish(0, "t", "not retained", 0, false));
    assert_int_equal(retainer_count(broker->retainer), 1);
    assert_false(broker_publish_take(broker->workers[0], make_retained("t", "", 0, 0)));
    assert_int_equal(retainer_count(broker->retainer), 0);
}

static void expired_retained_messages_make_room_without_being_asked_for(void **state)
{
    uint64_t now_ms = worker_now_ms(broker->workers[0]->host.worker);
    char topic[16];

    (void)state;
    for (int i = 0; i < 1200; i++) { /* more than one slice */
        struct message *message;
        snprintf(topic, sizeof(topic), "t/%d", i);
        message = make_expiring(topic, "m", 0, now_ms, 1);
        message->retain = true;
        assert_false(broker_publish_take(broker->workers[i % 2], message));
    }
    assert_false(broker_publish_take(broker->workers[0], make_retained("stays", "m", 0, now_ms)));
    assert_int_equal(retainer_count(broker->retainer), 1201);
    run_turns();
    assert_int_equal(retainer_count(broker->retainer), 1201);
    assert_true(timer_running(&broker->workers[1]->retained_expiry));
    assert_false(timer_running(&broker->workers[2]->retained_expiry)); /* nothing was published there */
    for (uint64_t passed_ms = 0; passed_ms <= 1500; passed_ms += 10) {
        worker_run_turn(broker->workers[0]->host.worker, now_ms + passed_ms);
        worker_run_turn(broker->workers[1]->host.worker, now_ms + passed_ms);
        if (passed_ms <= 1000)
            assert_int_equal(retainer_count(broker->retainer), 1201);
    }
    assert_int_equal(retainer_count(broker->retainer), 1);
    assert_false(timer_running(&broker->workers[0]->retained_expiry)); /* nothing left to wait for */
    assert_false(timer_running(&broker->workers[1]->retained_expiry));
}

static void a_full_mailbox_stops_the_publisher(void **state)
{
    struct client *there = connect_client(1, 10);

    (void)state;
    subscribe(there, "t", 0);
    message_unref(publish(0, "t", "m", 0, true));
    assert_null(broker->workers[0]->congested);
    for (int i = 0; i < 40; i++) {
        static char large[65536];
        memset(large, 'x', sizeof(large) - 1);
        message_unref(publish(0, "t", large, 0, true));
    }
    assert_ptr_equal(broker->workers[0]->congested, broker->workers[1]->host.worker);
    broker->workers[0]->congested = NULL;
    run_turns();
    assert_false(worker_congested(broker->workers[1]->host.worker));
}

static void a_client_id_belongs_to_one_session(void **state)
{
    struct client *client = connect_client(1, 10);
    struct session *other, *existing = NULL;

    (void)state;
    assert_ptr_equal(broker_find_session(broker, SLICE_LITERAL("c0")), client->session);
    assert_null(broker_find_session(broker, SLICE_LITERAL("c1")));
    other = session_new(&broker->workers[0]->host, SLICE_LITERAL("c0"), &zone);
    assert_non_null(other);
    assert_int_equal(broker_register_session(broker, other, &existing), -EEXIST);
    assert_ptr_equal(existing, client->session);
    session_end(other, "lost the race");
    assert_ptr_equal(broker_find_session(broker, SLICE_LITERAL("c0")), client->session); /* the other one is no loss */
    session_end(client->session, "kicked");
    assert_null(broker_find_session(broker, SLICE_LITERAL("c0")));
}

static void new_sessions_are_spread_over_the_workers(void **state)
{
    static struct session *sessions[300];

    (void)state;
    for (uint32_t i = 0; i < 300; i++) {
        struct broker_worker *place = broker_place_session(broker->workers[0]);
        sessions[i] = session_new(&place->host, slice_make(&i, sizeof(i)), &zone);
        assert_non_null(sessions[i]);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_in_range(broker->workers[i]->host.session_count, 85, 120); /* an eighth more stay where they arrived */
    for (uint32_t i = 0; i < 300; i++)
        session_end(sessions[i], "end of the test");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_ACK(name) cmocka_unit_test_setup_teardown(name, set_up_dispatch_ack, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_reaches_the_subscribers_of_every_worker),
        TEST(a_message_that_nobody_wants_is_freed),
        TEST(a_single_destination_elsewhere_takes_the_reference_over),
        TEST(the_order_of_a_publisher_is_kept),
        TEST(new_subscribers_are_met_within_a_turn),
        TEST(more_matches_than_expected_are_all_served),
        TEST(a_group_spreads_its_messages_over_all_workers),
        TEST(a_member_that_is_away_gets_nothing_while_another_is_there),
        TEST(an_ended_member_of_many_groups_is_passed_over_at_once),
        TEST(what_an_ending_member_of_many_groups_had_not_sent_goes_to_the_others),
        TEST(what_an_ending_member_had_not_sent_goes_to_the_others),
        TEST(a_message_on_its_way_to_a_member_that_ends_is_not_lost),
        TEST_ACK(with_dispatch_ack_a_member_with_room_is_found),
        TEST_ACK(with_dispatch_ack_and_no_room_anywhere_somebody_queues_it),
        TEST_ACK(with_dispatch_ack_a_large_full_group_is_asked_so_often_and_no_more),
        TEST_ACK(a_group_of_any_size_asks_no_more_than_some_members),
        TEST(the_will_of_a_session_goes_to_its_subscribers),
        TEST(a_post_from_outside_is_published),
        TEST(a_retained_publish_is_stored_and_an_empty_one_clears_it),
        TEST(expired_retained_messages_make_room_without_being_asked_for),
        TEST(a_full_mailbox_stops_the_publisher),
        TEST(a_client_id_belongs_to_one_session),
        TEST(new_sessions_are_spread_over_the_workers),
    };

    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
