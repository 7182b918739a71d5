/*
 * Behaviour of commit: when a turn of a worker is released, with a real store and workers whose turns the test runs.
 */
#include "message_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../temporary_dir.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "base/rcu.h"
#include "broker/broker.h"
#include "broker/commit.h"
#include "broker/retainer/retainer.h"
#include "broker/session/durable.h"
#include "broker/session/session.h"
#include "broker/session/session_record.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "event/mailbox.h"
#include "mqtt/topic.h"
#include "store/store.h"

#define WORKERS 3
#define WAIT_MS 20000

struct client {
    struct session_link link;
    struct session *session;
    char log[256]; /* payload and QoS of what was sent */
    bool blocked;
};

static struct broker *broker;
static struct store *store;
static struct zone zone;
static struct client clients[16];
static uint32_t client_count;
static char dir[64];

/* ---- connections in memory ---- */

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
    return !CONTAINER_OF(link, struct client, link)->blocked;
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

/* ---- a broker with a store ---- */

static int make_broker(bool dispatch_ack)
{
    struct store_options options = {.dir = dir,
                                    .cache_bytes = 1u << 20,
                                    .write_buffer_bytes = 4u << 20,
                                    .queue_bytes_max = 64u << 20,
                                    .sync_interval_ms = 3600000};
    struct broker_settings settings = {.worker_count = WORKERS,
                                       .mailbox_bytes_max = 1 << 20,
                                       .share_strategy = SHARE_ROUND_ROBIN,
                                       .dispatch_ack = dispatch_ack};

    memset(clients, 0, sizeof(clients));
    client_count = 0;
    zone = (struct zone){.session = {.max_mqueue_len = 100, .max_inflight = 100}};
    strcpy(dir, "/tmp/emqc-commit-XXXXXX");
    assert_non_null(mkdtemp(dir));
    rcu_thread_register();
    assert_int_equal(store_open(&options, &store, NULL), 0);
    settings.store = store;
    assert_int_equal(broker_new(&settings, &broker), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        broker->workers[i]->host.link_ops = &client_ops;
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return make_broker(false);
}

static int set_up_dispatch_ack(void **state)
{
    (void)state;
    return make_broker(true);
}

static void suspend_session(void *context, void *element)
{
    (void)context;
    session_suspend(element);
}

/* As a node ends. */
static int tear_down(void **state)
{
    uint64_t cursor = 0;

    (void)state;
    worker_pool_drain(broker->pool);
    do
        rcu_table_visit(broker->registry, &cursor, 100, suspend_session, NULL);
    while (cursor != 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        session_host_finish(&broker->workers[i]->host);
    worker_pool_drain(broker->pool);
    broker_close_retained(broker);
    broker_close_store(broker);
    rcu_barrier_all();
    worker_pool_drain(broker->pool);
    broker_free(broker);
    store_close(store);
    temporary_dir_remove(dir);
    rcu_thread_unregister();
    return 0;
}

static void run_turn(uint32_t worker)
{
    worker_run_turn(broker->workers[worker]->host.worker, clock_mono_ms());
    broker_turn_end(broker->workers[worker]);
}

/* Turns of these workers (a set) until `*flag`. */
static void run_until(unsigned workers, const bool *flag)
{
    uint64_t end_ms = clock_mono_ms() + WAIT_MS;

    while (!*flag) {
        assert_true(clock_mono_ms() < end_ms);
        for (uint32_t i = 0; i < WORKERS; i++) {
            if ((workers >> i & 1) != 0)
                run_turn(i);
        }
    }
}

/* Turns of these workers until all that worker 0 has submitted until now is on disk, and it has heard of it. */
static void run_until_quiet(unsigned workers)
{
    struct store_client *client = broker->workers[0]->host.client;
    uint64_t number = store_submit(client, true), end_ms = clock_mono_ms() + WAIT_MS;
    bool committed = false;

    for (int after = 0; after < 3; after += committed) {
        assert_true(clock_mono_ms() < end_ms);
        committed = store_committed(client) >= number;
        for (uint32_t i = 0; i < WORKERS; i++) {
            if ((workers >> i & 1) != 0)
                run_turn(i);
        }
    }
}

static struct client *connect_client(uint32_t worker, uint16_t window)
{
    struct client *client = &clients[client_count];
    char id[8];
    struct session *existing;

    snprintf(id, sizeof(id), "c%u", client_count++);
    client->session = session_new(&broker->workers[worker]->host, slice_from_string(id), &zone);
    assert_non_null(client->session);
    assert_int_equal(broker_register_session(broker, client->session, &existing), 0);
    struct session_attach_options options = {
        .link = &client->link, .expiry_interval_s = 100, .window = window, .version = MQTT_V5};
    session_attach(client->session, &options);
    assert_true(session_is_durable(client->session));
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

/* Sessions and subscriptions of the beginning are on disk, and nothing is under way. */
static void settle_down(void)
{
    run_until_quiet(7);
}

static uint64_t publish(uint32_t worker, const char *topic, const char *payload, uint8_t qos)
{
    uint64_t before = commit_mark(broker->workers[worker]);

    assert_true(broker_publish_take(broker->workers[worker], make_message(topic, payload, qos, 0)));
    return commit_mark(broker->workers[worker]) - before;
}

/* From a stored client of worker 0, as channel/ does it. */
static void publish_once(struct client *publisher, const char *topic, const char *payload, uint16_t packet_id)
{
    assert_int_equal(session_on_publish_qos2(publisher->session, packet_id), SESSION_QOS2_NEW);
    assert_true(broker_publish_once_take(broker->workers[0], make_message(topic, payload, 2, 0), publisher->session,
                                         packet_id));
}

static bool count_row(void *context, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

static uint32_t rows_of(enum store_table table)
{
    uint32_t count = 0;

    assert_int_equal(store_scan(store, table, slice_make(NULL, 0), slice_make(NULL, 0), count_row, &count), 0);
    return count;
}

static bool count_will(void *context, struct slice key, struct slice value)
{
    struct session_record record;

    (void)key;
    assert_int_equal(session_record_decode(value, &record), 0);
    *(uint32_t *)context += record.will.len > 0;
    return true;
}

/* Sessions whose record on disk has a will. */
static uint32_t wills(void)
{
    uint32_t count = 0;

    assert_int_equal(store_scan(store, STORE_SESSION, slice_make(NULL, 0), slice_make(NULL, 0), count_will, &count), 0);
    return count;
}

/* ---- what waits ---- */

struct waiter {
    struct commit_wait wait;
    bool released;
    uint32_t queued;   /* rows of STORE_QUEUE on disk at that moment */
    uint32_t received; /* of STORE_AWAITING_REL */
    uint32_t place;    /* among those released */
};

static uint32_t released_count;

static void on_released(struct broker_worker *worker, struct commit_wait *wait)
{
    struct waiter *waiter = CONTAINER_OF(wait, struct waiter, wait);

    (void)worker;
    waiter->released = true;
    waiter->queued = rows_of(STORE_QUEUE);
    waiter->received = rows_of(STORE_AWAITING_REL);
    waiter->place = ++released_count;
}

static void wait_for_turn(uint32_t worker, struct waiter *waiter)
{
    *waiter = (struct waiter){.wait.run = on_released};
    list_init(&waiter->wait.place);
    commit_wait(broker->workers[worker], &waiter->wait);
}

struct noted_step {
    struct commit_step step;
    bool done;
    uint32_t queued;
};

static void on_step(struct broker_worker *worker, struct commit_step *step)
{
    struct noted_step *noted = CONTAINER_OF(step, struct noted_step, step);

    (void)worker;
    noted->done = true;
}

#define ASSERT_GOT(client, text)                                                                                       \
    do {                                                                                                               \
        assert_string_equal((client)->log, text);                                                                      \
        (client)->log[0] = '\0';                                                                                       \
    } while (0)

/* ---- the tests ---- */

static void a_turn_is_released_when_its_own_batch_is_on_disk(void **state)
{
    struct client *here = connect_client(0, 1);
    static struct waiter waiter;

    (void)state;
    subscribe(here, "t", 1);
    settle_down();
    assert_true(publish(0, "t", "a", 1) > 0);
    wait_for_turn(0, &waiter);
    assert_false(waiter.released);
    run_until(1, &waiter.released);
    assert_int_equal(waiter.queued, 1);
}

static uint64_t syncs(void)
{
    return metrics_read(METRIC_STORE_SYNCS);
}

static void a_batch_that_leaves_before_the_turns_end_is_synced_if_somebody_waits_for_it(void **state)
{
    struct client *here = connect_client(0, 1);
    struct store_client *client = broker->workers[0]->host.client;
    uint64_t end_ms = clock_mono_ms() + WAIT_MS, before, number;

    (void)state;
    subscribe(here, "t", 2);
    settle_down();
    publish(0, "t", "a", 2); /* is sent when its entry is on disk */
    before = syncs();
    number = store_open_number(client);
    commit_submit(broker->workers[0]);
    while (store_committed(client) < number)
        assert_true(clock_mono_ms() < end_ms);
    assert_true(syncs() > before);
}

/* Publishes at QoS 2 to another worker until it is sent. How many syncs that took. */
static uint64_t syncs_of_a_message(struct client *publisher, struct client *there, uint16_t packet_id)
{
    uint64_t before = syncs(), end_ms = clock_mono_ms() + WAIT_MS;

    publish_once(publisher, "t", "a", packet_id);
    while (there->log[0] == '\0') {
        assert_true(clock_mono_ms() < end_ms);
        run_turn(0);
        run_turn(1);
    }
    ASSERT_GOT(there, "a2");
    return syncs() - before;
}

static void a_message_waits_for_a_sync_only_where_that_was_promised(void **state)
{
    struct client *publisher = connect_client(0, 9), *there = connect_client(1, 9);

    (void)state;
    subscribe(there, "t", 2);
    settle_down();
    assert_true(syncs_of_a_message(publisher, there, 1) > 0);
    zone.durability = DURABILITY_ASYNC;
    assert_int_equal(syncs_of_a_message(publisher, there, 2), 0);
}

static void what_is_not_stored_leaves_no_mark(void **state)
{
    struct client *here = connect_client(0, 1), *there = connect_client(1, 1);

    (void)state;
    subscribe(here, "t", 1);
    subscribe(there, "t", 1);
    settle_down();
    assert_int_equal(publish(0, "t", "a", 0), 0);
    session_set_expiry(here->session, 0);
    assert_true(publish(0, "t", "b", 1) > 0);
}

static void a_turn_waits_for_the_worker_that_was_handed_something(void **state)
{
    struct client *there = connect_client(1, 1);
    static struct waiter waiter;

    (void)state;
    subscribe(there, "t", 1);
    settle_down();
    assert_true(publish(0, "t", "a", 1) > 0);
    wait_for_turn(0, &waiter);
    run_until_quiet(1); /* the other worker does not run */
    assert_false(waiter.released);
    assert_int_equal(rows_of(STORE_QUEUE), 0);
    run_until(3, &waiter.released);
    assert_int_equal(waiter.queued, 1);
}

static void turns_are_released_in_order(void **state)
{
    struct client *here = connect_client(0, 1), *there = connect_client(1, 1);
    static struct waiter first, second;

    (void)state;
    subscribe(here, "here", 1);
    subscribe(there, "there", 1);
    settle_down();
    publish(0, "there", "a", 1);
    wait_for_turn(0, &first);
    run_turn(0);
    publish(0, "here", "b", 1);
    wait_for_turn(0, &second);
    run_until_quiet(1);
    assert_false(second.released); /* although it is on disk */
    assert_int_equal(rows_of(STORE_QUEUE), 1);
    run_until(3, &second.released);
    assert_true(first.released);
    assert_true(first.place < second.place);
}

static void who_no_longer_waits_is_not_called(void **state)
{
    struct client *here = connect_client(0, 1);
    static struct waiter stays, goes;

    (void)state;
    subscribe(here, "t", 1);
    settle_down();
    publish(0, "t", "a", 1);
    wait_for_turn(0, &goes);
    wait_for_turn(0, &stays);
    commit_wait_cancel(&goes.wait);
    run_until(1, &stays.released);
    assert_false(goes.released);
}

/* QoS 2: all of it, or nothing. */
static void a_packet_id_is_on_disk_with_the_message_or_not_at_all(void **state)
{
    struct client *publisher = connect_client(0, 1), *there = connect_client(1, 10);
    static struct waiter waiter;

    (void)state;
    subscribe(there, "t", 2);
    settle_down();
    publish_once(publisher, "t", "a", 7);
    wait_for_turn(0, &waiter);
    run_until_quiet(1);
    assert_false(waiter.released);
    assert_int_equal(rows_of(STORE_AWAITING_REL), 0);
    assert_int_equal(rows_of(STORE_MESSAGE), 0);
    run_turn(1); /* takes it in and submits: entries whose message is not there yet */
    ASSERT_GOT(there, "");
    run_until(1, &waiter.released);
    assert_int_equal(waiter.received, 1);
    assert_int_equal(waiter.queued, 1);
    assert_int_equal(rows_of(STORE_MESSAGE), 1);
    run_turn(1);
    ASSERT_GOT(there, "a2");
}

static void on_one_worker_packet_id_and_message_are_one_batch(void **state)
{
    struct client *publisher = connect_client(0, 1), *here = connect_client(0, 10);
    static struct waiter waiter;

    (void)state;
    subscribe(here, "t", 2);
    settle_down();
    publish_once(publisher, "t", "a", 7);
    wait_for_turn(0, &waiter);
    run_until(1, &waiter.released);
    assert_int_equal(waiter.received, 1);
    assert_int_equal(waiter.queued, 1);
    assert_int_equal(rows_of(STORE_MESSAGE), 0); /* it is in the entry */
    ASSERT_GOT(here, "a2");
}

/* After a crash it sends the first one again: the second, known by its ID, must not be what it comes after. */
static void packet_ids_of_a_publisher_are_stored_in_order(void **state)
{
    struct client *publisher = connect_client(0, 1), *there = connect_client(1, 10), *here = connect_client(0, 10);
    static struct waiter waiter;

    (void)state;
    subscribe(there, "there", 2);
    subscribe(here, "here", 2);
    settle_down();
    publish_once(publisher, "there", "a", 7);
    publish_once(publisher, "here", "b", 8);
    wait_for_turn(0, &waiter);
    run_until_quiet(1);
    assert_int_equal(rows_of(STORE_AWAITING_REL), 0);
    run_turn(1);
    run_until(1, &waiter.released);
    assert_int_equal(waiter.received, 2);
    ASSERT_GOT(here, "b2");
    publish_once(publisher, "here", "c", 9); /* nothing is under way: at once */
    commit_submit(broker->workers[0]);
    run_until_quiet(1);
    assert_int_equal(rows_of(STORE_AWAITING_REL), 3);
}

/* A packet ID on disk says that its message was kept: a publisher that sends it again is only answered. */
static void what_is_retained_is_submitted_before_what_refers_to_it(void **state)
{
    struct client *publisher = connect_client(0, 1);

    (void)state;
    assert_int_equal(broker_open_retained(broker, store), 0);
    settle_down();
    assert_int_equal(session_on_publish_qos2(publisher->session, 7), SESSION_QOS2_NEW);
    assert_false(broker_publish_once_take(broker->workers[0], make_retained("t", "a", 2, 0), publisher->session, 7));
    commit_submit(broker->workers[0]);
    assert_false(retainer_submit(broker->retainer, false)); /* nothing was left */
    settle_down();
    assert_int_equal(rows_of(STORE_RETAINED), 1);
    assert_int_equal(rows_of(STORE_AWAITING_REL), 1);
}

static void an_id_that_was_released_meanwhile_is_not_written(void **state)
{
    struct client *publisher = connect_client(0, 1), *there = connect_client(1, 10);
    static struct waiter waiter;

    (void)state;
    subscribe(there, "t", 2);
    settle_down();
    publish_once(publisher, "t", "a", 7);
    wait_for_turn(0, &waiter);
    run_turn(0);
    assert_true(session_on_pubrel(publisher->session, 7)); /* of a zone whose clients don't wait */
    run_until(3, &waiter.released);
    assert_int_equal(waiter.received, 0);
    assert_int_equal(waiter.queued, 1);
}

static void a_message_for_many_queues_is_stored_once(void **state)
{
    char payload[401];
    static struct waiter waiter;

    (void)state;
    memset(payload, 'x', 400);
    payload[400] = '\0';
    for (uint32_t i = 0; i < 6; i++) {
        struct client *client = connect_client(i % WORKERS, 1);
        subscribe(client, "t", 1);
        client->blocked = true;
    }
    settle_down();
    publish(0, "t", payload, 1);
    wait_for_turn(0, &waiter);
    run_until(7, &waiter.released);
    assert_int_equal(waiter.queued, 6);
    assert_int_equal(rows_of(STORE_MESSAGE), 1);
    for (uint32_t i = 0; i < 6; i++)
        session_end(clients[i].session, "end");
    run_until_quiet(7);
    run_until_quiet(7); /* what the others deleted, too */
    assert_int_equal(rows_of(STORE_QUEUE), 0);
    assert_int_equal(rows_of(STORE_MESSAGE), 0);
}

static void a_message_that_no_queue_took_leaves_nothing(void **state)
{
    struct client *publisher = connect_client(0, 1), *there = connect_client(1, 10);
    static struct waiter waiter;

    (void)state;
    subscribe(there, "t", 2);
    settle_down();
    publish_once(publisher, "t", "a", 7);
    wait_for_turn(0, &waiter);
    run_turn(0);
    session_end(there->session, "end"); /* before the delivery arrives */
    run_until(3, &waiter.released);
    assert_int_equal(waiter.received, 1);
    assert_int_equal(waiter.queued, 0);
    assert_int_equal(rows_of(STORE_MESSAGE), 0);
}

static void a_turn_waits_for_whom_a_shared_message_was_handed_on_to(void **state)
{
    struct client *full = connect_client(1, 1), *free = connect_client(2, 1);
    static struct waiter waiters[2];

    (void)state;
    subscribe(full, "$share/g/t", 1);
    subscribe(free, "$share/g/t", 1);
    full->blocked = true;
    settle_down();
    for (int i = 0; i < 2; i++) { /* one to each; the full one hands its own on */
        publish(0, "t", i == 0 ? "a" : "b", 1);
        wait_for_turn(0, &waiters[i]);
        run_turn(0);
    }
    run_until_quiet(3); /* worker 2 does not run */
    assert_false(waiters[1].released);
    assert_int_equal(rows_of(STORE_QUEUE), 0);
    run_until(7, &waiters[1].released);
    assert_int_equal(waiters[1].queued, 2);
    assert_int_equal(full->session->flow == NULL ? 0 : full->session->flow->mqueue.count, 0);
}

static void a_step_runs_when_the_others_have_taken_in(void **state)
{
    struct client *there = connect_client(1, 1);
    static struct noted_step step;
    static struct waiter waiter;

    (void)state;
    subscribe(there, "t", 1);
    settle_down();
    publish(0, "t", "a", 1);
    step = (struct noted_step){.step.run = on_step};
    commit_then(broker->workers[0], &step.step);
    wait_for_turn(0, &waiter);
    run_until_quiet(1);
    assert_false(step.done);
    run_turn(1);
    assert_false(waiter.released);
    run_until(1, &waiter.released);
    assert_true(step.done);
}

/* The deletion of what was handed on does not reach the disk before the others' entries do. */
static void what_an_ending_session_hands_on_is_somewhere_at_every_moment(void **state)
{
    struct client *away = connect_client(0, 1), *other = connect_client(1, 1);
    static struct waiter waiter;

    (void)state;
    subscribe(away, "$share/g/t", 1);
    session_detach(away->session, false);
    publish(0, "t", "a", 1);
    subscribe(other, "$share/g/t", 1);
    settle_down();
    assert_int_equal(rows_of(STORE_QUEUE), 1);
    session_end(away->session, "end");
    run_until_quiet(1); /* the other has not taken it in */
    assert_int_equal(rows_of(STORE_QUEUE), 1);
    assert_int_equal(rows_of(STORE_SESSION), 2);
    wait_for_turn(0, &waiter);
    run_until(3, &waiter.released);
    run_until_quiet(3);
    ASSERT_GOT(other, "a1");
    assert_int_equal(rows_of(STORE_QUEUE), 1);
    assert_int_equal(rows_of(STORE_SESSION), 1);
}

static void a_will_is_stored_until_it_is_in_the_queues(void **state)
{
    struct client *dying = connect_client(0, 1), *there = connect_client(1, 1);

    (void)state;
    subscribe(there, "w", 1);
    dying->session->will = make_message("w", "gone", 1, 0);
    durable_write_session(dying->session);
    settle_down();
    assert_int_equal(wills(), 1);
    session_detach(dying->session, false);
    run_until_quiet(1);
    assert_int_equal(wills(), 1);
    assert_int_equal(rows_of(STORE_QUEUE), 0);
    run_until_quiet(3);
    run_until_quiet(3);
    ASSERT_GOT(there, "gone1");
    assert_int_equal(wills(), 0);
    assert_int_equal(rows_of(STORE_QUEUE), 1);
}

static void a_stop_in_the_middle_of_a_turn_leaves_all_of_it(void **state)
{
    struct client *publisher = connect_client(0, 1), *there = connect_client(1, 10);
    static struct waiter waiter;

    (void)state;
    subscribe(there, "t", 2);
    settle_down();
    publish_once(publisher, "t", "a", 7);
    wait_for_turn(0, &waiter);
    worker_pool_drain(broker->pool); /* and no further turn */
    run_until_quiet(0);
    assert_int_equal(rows_of(STORE_AWAITING_REL), 1);
    assert_int_equal(rows_of(STORE_MESSAGE), 1);
    assert_int_equal(rows_of(STORE_QUEUE), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_turn_is_released_when_its_own_batch_is_on_disk),
        TEST(a_batch_that_leaves_before_the_turns_end_is_synced_if_somebody_waits_for_it),
        TEST(a_message_waits_for_a_sync_only_where_that_was_promised),
        TEST(what_is_not_stored_leaves_no_mark),
        TEST(a_turn_waits_for_the_worker_that_was_handed_something),
        TEST(turns_are_released_in_order),
        TEST(who_no_longer_waits_is_not_called),
        TEST(a_packet_id_is_on_disk_with_the_message_or_not_at_all),
        TEST(on_one_worker_packet_id_and_message_are_one_batch),
        TEST(packet_ids_of_a_publisher_are_stored_in_order),
        TEST(what_is_retained_is_submitted_before_what_refers_to_it),
        TEST(an_id_that_was_released_meanwhile_is_not_written),
        TEST(a_message_for_many_queues_is_stored_once),
        TEST(a_message_that_no_queue_took_leaves_nothing),
        cmocka_unit_test_setup_teardown(a_turn_waits_for_whom_a_shared_message_was_handed_on_to, set_up_dispatch_ack,
                                        tear_down),
        TEST(a_step_runs_when_the_others_have_taken_in),
        TEST(what_an_ending_session_hands_on_is_somewhere_at_every_moment),
        TEST(a_will_is_stored_until_it_is_in_the_queues),
        TEST(a_stop_in_the_middle_of_a_turn_leaves_all_of_it),
    };

    return cmocka_run_group_tests_name("commit", tests, NULL, NULL);
}
